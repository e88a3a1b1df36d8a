//! A reply of an upstream whose chain may enter zones of ours: there it is cut, and no address that
//! the upstream put behind one of our names remains.
//!
//! The input is the reply; its question is the one that it repeats, with DO if the reply has CD.
#![no_main]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use privatelinkd::engine::{Asked, Outcome, Transport, answer_forwarded};
use privatelinkd::wire::{
    Answer, AnswerError, CLASS_IN, Query, Question, Rtype, Section, flags, read_name,
};
use privatelinkd::zones::Found;
use privatelinkd_fuzz::{SNAPSHOT, ZONES, check_address, check_private, query_for, question_of};

fuzz_target!(|reply: &[u8]| {
    let Some(question) = question_of(reply).filter(|question| question.qclass == CLASS_IN) else {
        return;
    };
    let has_cd = reply.get(3).is_some_and(|octet| octet & 0x10 != 0);
    let question = Question { dnssec_ok: has_cd, ..question };
    let Ok(answer) = Answer::parse(reply, &question) else { return };
    // Our own names never come here: `decide` answers them.
    if ZONES.find(&(&question.qname).into()).as_ref().is_some_and(Found::is_ours) {
        return;
    }
    let answer = answer.borrowed();
    // CNAME asks for the link itself, not for where it leads.
    let cut = answer.links().position(|link| {
        question.qtype != Rtype::CNAME
            && ZONES.find(&link.target).as_ref().is_some_and(Found::is_ours)
    });

    let request = query_for(&question);
    let Ok(query) = Query::parse(&request) else { return };
    let client = [10, 1, 0, 9].into();
    for transport in [Transport::Udp, Transport::Tcp] {
        let asked = Asked { client, transport, now: Instant::now(), rotation: 1 };
        let mut out = Vec::new();
        let outcome = answer_forwarded(&SNAPSHOT, &asked, &query, &answer, &mut out);
        let is_cut = outcome == Outcome::Private;
        assert_eq!(is_cut, cut.is_some());
        check(&out, &question, cut);
    }
    // What the cache keeps of such an answer is the way to us alone.
    if let Some(index) = cut {
        let way = answer.way(&question, index + 1).expect("links fit");
        for record in way.borrowed().records() {
            let is_proof = match record.section {
                Section::Answer => record.rtype == Rtype::DNAME,
                _ => matches!(record.rtype, Rtype::NSEC | Rtype::NSEC3),
            };
            let is_link = matches!(record.rtype, Rtype::CNAME | Rtype::RRSIG);
            assert!(is_link || (is_proof && question.dnssec_ok));
        }
        assert_eq!(way.borrowed().links().count(), index + 1);
    }
});

/// What a client gets: `cut` is the link that leads to us.
fn check(out: &[u8], question: &Question, cut: Option<usize>) {
    let read = match Answer::parse(out, question) {
        // Ours may be a link longer than what we take from others.
        Err(AnswerError::Endless) if cut.is_some() => return,
        read => read.expect("a reply that can be read"),
    };
    let read = read.borrowed();
    read.records().for_each(|record| check_address(&read, &record));
    let Some(index) = cut else { return };
    assert!(!read.header().has(flags::AD | flags::AA), "nobody signed this");
    for record in read.records().filter(|record| record.section == Section::Answer) {
        check_private(&record);
        assert!(matches!(
            record.rtype,
            Rtype::CNAME | Rtype::DNAME | Rtype::RRSIG | Rtype::A | Rtype::AAAA | Rtype::SOA
        ));
        assert!(record.rtype != Rtype::DNAME || question.dnssec_ok);
        let (owner, _) = read_name(read.message(), record.owner_at).expect("an owner");
        let is_address = matches!(record.rtype, Rtype::A | Rtype::AAAA);
        let is_ours = ZONES.find(&owner).as_ref().is_some_and(Found::is_ours);
        assert!(!is_address || is_ours, "an address of {owner}");
    }
    if !read.header().has(flags::TC) {
        assert!(read.links().count() > index, "the links that lead to us are kept");
    }
}
