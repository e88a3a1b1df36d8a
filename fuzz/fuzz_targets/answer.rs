//! Any octets from an upstream. The question is the one that the reply itself repeats, so that the
//! fuzzer gets behind the check of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use privatelinkd::wire::{
    Answer, HEADER_OCTETS, MAX_MESSAGE_OCTETS, Rtype, canonical_rdata, flags, read_name, u32_at,
};
use privatelinkd_fuzz::question_of;

/// Octets of one record's RDATA with its names written out: two names and what stands around them.
const MAX_CANONICAL_OCTETS: usize = 65_535 + 2 * 255;

fuzz_target!(|message: &[u8]| {
    let Some(question) = question_of(message) else { return };
    let Ok(parsed) = Answer::parse(message, &question) else { return };
    let answer = parsed.borrowed();

    let kept = answer.message();
    assert!(kept.len() <= MAX_MESSAGE_OCTETS);
    assert!(answer.question_end() <= kept.len());

    // As many records as the header counts, back to back to the last octet, none of them OPT.
    let header = answer.header();
    let counted = [header.answers, header.authorities, header.additionals];
    let records: Vec<_> = answer.records().collect();
    assert_eq!(records.len(), counted.into_iter().map(usize::from).sum::<usize>());
    assert_eq!(records.last().map_or(answer.question_end(), |last| last.end()), kept.len());
    assert!(records.is_sorted_by_key(|record| record.section));
    assert!(records.iter().all(|record| record.rtype != Rtype::OPT));
    let answers = &records[..usize::from(header.answers)];
    assert_eq!(
        answers.last().map_or(answer.question_end(), |last| last.end()),
        answer.answers_end()
    );
    // Every CNAME kept is a link of the chain that begins at the question.
    let cnames = answers.iter().filter(|record| record.rtype == Rtype::CNAME).count();
    assert_eq!(answer.links().count(), cnames);
    assert_eq!(answer.has_links(), cnames > 0);
    let mut owner = question.qname.clone();
    for link in answer.links() {
        let (name, _) = read_name(kept, link.cname.owner_at).expect("a link has an owner");
        assert_eq!(name.to_name(), owner);
        owner = link.target.to_name();
    }

    // One place a record, each inside, each a TTL within RFC 2181's range.
    assert_eq!(answer.ttl_places().count(), records.len());
    for (place, record) in answer.ttl_places().zip(&records) {
        assert_eq!(place, record.ttl_at);
        let ttl = u32_at(kept, record.ttl_at).expect("a place inside the message");
        assert_eq!(ttl, record.ttl);
        assert!(ttl <= i32::MAX.unsigned_abs());
    }
    assert_eq!(answer.min_ttl(), records.iter().map(|record| record.ttl).min());
    if let Some(ttl) = answer.negative_ttl() {
        assert!(records.iter().any(|record| record.rtype == Rtype::SOA && ttl <= record.ttl));
    }

    // Names are read and RDATA is written out within bounds, or refused.
    for record in &records {
        let _ = read_name(kept, record.owner_at);
        let mut rdata = Vec::new();
        if canonical_rdata(kept, record, &mut rdata).is_ok() {
            assert!(rdata.len() <= MAX_CANONICAL_OCTETS);
        }
    }

    // What was kept is a reply to the same question, and keeping it again changes nothing.
    let mut again = kept.to_vec();
    again[10..HEADER_OCTETS].copy_from_slice(&header.additionals.to_be_bytes());
    let again = Answer::parse(&again, &question).expect("what was kept can be read");
    let again = again.borrowed();
    assert!(again.ttl_places().eq(answer.ttl_places()));
    assert_eq!(again.message()[HEADER_OCTETS..], kept[HEADER_OCTETS..]);

    // Who did not set DO gets all but signatures and denials.
    if let Ok(plain) = answer.without_dnssec(&question) {
        let kinds = [Rtype::DS, Rtype::RRSIG, Rtype::NSEC, Rtype::DNSKEY, Rtype::NSEC3];
        let is_extra = |rtype: Rtype| kinds.contains(&rtype) && rtype != question.qtype;
        let others = records.iter().filter(|record| !is_extra(record.rtype)).count();
        let plain = plain.borrowed();
        assert!(plain.records().count() >= others);
        let may_hold = question.qtype == Rtype::ANY;
        assert!(may_hold || !plain.records().any(|record| is_extra(record.rtype)));
    }
    // A verdict changes AD and TTLs alone.
    let judged = parsed.clone().judged(true, 60);
    assert!(judged.borrowed().header().has(flags::AD));
    assert_eq!(judged.borrowed().records().count(), records.len());
    assert!(judged.borrowed().min_ttl().is_none_or(|ttl| ttl <= 60));
});
