mod disk;
mod failures;
mod file;
mod negatives;
mod stale;
mod store;

use std::time::Duration;

use super::*;
use crate::wire::{MessageWriter, Name};

fn question(name: &str, qtype: Rtype) -> Question {
    Question::plain(name.parse::<Name>().expect("a name"), qtype)
}

/// A reply: flags beside QR, records as (section, type, ttl, rdata), owner = the question's name.
fn reply(question: &Question, flag_bits: u16, records: &[(Section, Rtype, u32, &[u8])]) -> Answer {
    let mut out = Vec::new();
    let mut writer = MessageWriter::begin(&mut out, 65_535, 1, flags::QR | flag_bits);
    writer.raw(question.qname.as_wire()).expect("room");
    writer.raw(&question.qtype.0.to_be_bytes()).expect("room");
    writer.raw(&question.qclass.to_be_bytes()).expect("room");
    let mut counts = [1, 0, 0, 0];
    for (section, rtype, ttl, rdata) in records {
        counts[1 + *section as usize] += 1;
        writer.raw(&[0xc0, 12]).expect("room");
        writer.fixed(*rtype, 1, *ttl, rdata.len()).expect("room");
        writer.raw(rdata).expect("room");
    }
    writer.set_counts(counts);
    Answer::parse(&out, question).expect("a reply")
}

fn soa(minimum: u32) -> Vec<u8> {
    [&[0, 0][..], &[0; 16], &minimum.to_be_bytes()].concat()
}

/// Puts an address for each of `names` into `cache`.
fn keep_addresses(cache: &Cache, names: impl Iterator<Item = String>, now: Instant) {
    for name in names {
        let question = question(&name, Rtype::A);
        cache.insert(&question, &reply(&question, 0, &[A]), false, now);
    }
}

/// Keeps that there is no such name, for `ttl` seconds.
fn keep_nxdomain(cache: &Cache, name: &str, ttl: u32, now: Instant) -> Option<u32> {
    let question = question(name, Rtype::A);
    let soa = soa(ttl);
    let soa = (Section::Authority, Rtype::SOA, ttl, &soa[..]);
    cache.insert(&question, &reply(&question, Rcode::NXDOMAIN.0, &[soa]), false, now)
}

fn finds(cache: &Cache, name: &str, now: Instant) -> bool {
    cache.find(&question(name, Rtype::A).borrowed(), now).is_some()
}

/// How long a reply is kept, seconds.
fn kept(flag_bits: u16, qtype: Rtype, records: &[(Section, Rtype, u32, &[u8])]) -> Option<u32> {
    let question = question("a.example", qtype);
    let answer = reply(&question, flag_bits, records);
    Cache::new(1 << 20, Duration::ZERO).insert(&question, &answer, false, Instant::now())
}

const A: (Section, Rtype, u32, &[u8]) = (Section::Answer, Rtype::A, 300, &[10, 0, 0, 1]);

#[test]
fn a_positive_answer_holds_for_its_smallest_ttl() {
    assert_eq!(kept(0, Rtype::A, &[A]), Some(300));
    assert_eq!(kept(0, Rtype::A, &[A, (Section::Authority, Rtype::NS, 20, &[0])]), Some(20));
    let long = (Section::Answer, Rtype::A, 1_000_000, &[10, 0, 0, 1][..]);
    assert_eq!(kept(0, Rtype::A, &[long]), Some(86_400));
    let unsigned_wrap = (Section::Answer, Rtype::A, 0x8000_0001, &[10, 0, 0, 1][..]);
    assert_eq!(kept(0, Rtype::A, &[unsigned_wrap]), None);
}

#[test]
fn a_negative_answer_holds_as_its_soa_says() {
    let soa_30 = soa(30);
    let authority = |ttl| (Section::Authority, Rtype::SOA, ttl, &soa_30[..]);
    assert_eq!(kept(0, Rtype::A, &[authority(600)]), Some(30));
    assert_eq!(kept(0, Rtype::A, &[authority(10)]), Some(10));
    assert_eq!(kept(Rcode::NXDOMAIN.0, Rtype::A, &[authority(600)]), Some(30));
    // RFC 2308 §5: without a SOA it is not kept.
    assert_eq!(kept(Rcode::NXDOMAIN.0, Rtype::A, &[]), None);
    assert_eq!(kept(0, Rtype::A, &[]), None);
    // A CNAME without its end is no answer to A; to CNAME it is.
    let cname = (Section::Answer, Rtype::CNAME, 60, &[1, b'b', 0][..]);
    assert_eq!(kept(0, Rtype::A, &[cname]), None);
    assert_eq!(kept(0, Rtype::CNAME, &[cname]), Some(60));
    assert_eq!(kept(0, Rtype::A, &[cname, authority(600)]), Some(30));
    let soa_day = soa(86_400);
    let long = (Section::Authority, Rtype::SOA, 86_400, &soa_day[..]);
    assert_eq!(kept(0, Rtype::A, &[long]), Some(3_600));
}

#[test]
fn truncated_failed_and_zero_ttl_answers_are_not_kept() {
    assert_eq!(kept(flags::TC, Rtype::A, &[A]), None);
    assert_eq!(kept(Rcode::SERVFAIL.0, Rtype::A, &[A]), None);
    assert_eq!(kept(Rcode::REFUSED.0, Rtype::A, &[A]), None);
    assert_eq!(kept(0, Rtype::A, &[(Section::Answer, Rtype::A, 0, &[10, 0, 0, 1])]), None);
}

#[test]
fn an_answer_ages_and_ends() {
    let cache = Cache::new(1 << 20, Duration::ZERO);
    let start = Instant::now();
    let question = question("a.example", Rtype::A);
    cache.insert(&question, &reply(&question, 0, &[A]), false, start);
    let age = |seconds| {
        let now = start + Duration::from_millis(seconds);
        cache.find(&question.borrowed(), now).map(|hit| hit.age_seconds)
    };
    assert_eq!(age(0), Some(0));
    assert_eq!(age(999), Some(0));
    assert_eq!(age(299_999), Some(299));
    assert_eq!(age(300_000), None);
}

#[test]
fn the_key_is_name_type_class_do_and_cd() {
    let cache = Cache::new(1 << 20, Duration::ZERO);
    let now = Instant::now();
    let question = question("a.example", Rtype::A);
    cache.insert(&question, &reply(&question, 0, &[A]), false, now);
    let same = question.borrowed();
    assert!(cache.find(&same, now).is_some());
    let others = [
        QuestionRef { qname: b"\x01b\x07example\x00", ..same },
        QuestionRef { qtype: Rtype::AAAA, ..same },
        QuestionRef { qclass: 3, ..same },
        QuestionRef { dnssec_ok: true, ..same },
        QuestionRef { checking_disabled: true, ..same },
    ];
    for other in others {
        assert!(cache.find(&other, now).is_none(), "{other:?}");
    }
    cache.clear();
    assert!(cache.find(&same, now).is_none());
}

#[test]
fn the_bound_in_octets_is_hard() {
    let bound = 1 << 20;
    let cache = Cache::new(bound, Duration::ZERO);
    let now = Instant::now();
    let mut most = 0;
    for index in 0..20_000 {
        let question = question(&format!("name-{index}.example"), Rtype::A);
        cache.insert(&question, &reply(&question, 0, &[A]), false, now);
        most = most.max(cache.octets());
    }
    assert!(most <= bound, "{most} octets");
    assert!(most > bound / 2, "only {most} octets used");
    let last = question("name-19999.example", Rtype::A);
    assert!(cache.find(&last.borrowed(), now).is_some());
}

#[test]
fn size_zero_keeps_nothing() {
    let cache = Cache::new(0, Duration::ZERO);
    let question = question("a.example", Rtype::A);
    assert_eq!(cache.insert(&question, &reply(&question, 0, &[A]), false, Instant::now()), None);
    assert!(cache.find(&question.borrowed(), Instant::now()).is_none());
}

#[test]
fn a_chain_to_us_is_kept_as_long_as_its_links_whatever_the_upstream_says_of_its_end() {
    let cname = (Section::Answer, Rtype::CNAME, 60, &[1, b'b', 0][..]);
    for rcode in [Rcode::NOERROR, Rcode::SERVFAIL] {
        let question = question("a.example", Rtype::A);
        let answer = reply(&question, rcode.0, &[cname]);
        let cache = Cache::new(1 << 20, Duration::ZERO);
        let now = Instant::now();
        assert_eq!(cache.insert(&question, &answer, false, now), None);
        assert_eq!(cache.insert(&question, &answer, true, now), Some(60));
        assert!(cache.find(&question.borrowed(), now).is_some_and(|hit| hit.needs_us));
    }
    // One that is an answer of its own stays that.
    let question = question("a.example", Rtype::A);
    let cache = Cache::new(1 << 20, Duration::ZERO);
    let (now, soa) = (Instant::now(), soa(60));
    let denial = (Section::Authority, Rtype::SOA, 60, &soa[..]);
    cache.insert(&question, &reply(&question, 0, &[cname, denial]), true, now);
    assert!(cache.find(&question.borrowed(), now).is_some_and(|hit| !hit.needs_us));
}

#[test]
fn of_a_large_answer_only_the_front_is_copied_for_udp() {
    let (cache, now) = (Cache::new(1 << 22, Duration::ZERO), Instant::now());
    let question = question("a.example", Rtype::A);
    let find = |is_udp: bool| {
        let question = question.borrowed();
        let hit =
            if is_udp { cache.find_for_udp(&question, now) } else { cache.find(&question, now) };
        let hit = hit.expect("kept");
        let answer = hit.answer();
        let front = (answer.question().to_vec(), answer.answers_end(), answer.ttl_places().count());
        (answer.message().len(), answer.rcode(), *answer.header(), front)
    };
    for records in [1_u32, 70, 127, 200, 1_000, 3_900] {
        let addresses: Vec<_> = (0..records).map(u32::to_be_bytes).collect();
        let lines = addresses.iter().map(|address| (A.0, A.1, A.2, &address[..]));
        let answer = reply(&question, 0, &lines.collect::<Vec<_>>());
        let octets = answer.borrowed().message().len();
        cache.insert(&question, &answer, false, now).expect("kept");
        let (whole, front) = (find(false), find(true));
        assert_eq!(whole.0, octets);
        assert_eq!((whole.1, whole.2, whole.3), (front.1, front.2, front.3));
        // Small ones are copied whole in any case.
        assert_eq!(front.0, if octets < 3_500 { octets } else { 2_048 }, "{octets}");
    }
}
