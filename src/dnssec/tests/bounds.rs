//! What one question may cost, at the bound.

use super::super::clerk::{
    Clerk, MAX_KEYS, MAX_LOOKS, MAX_QUERIES, MAX_SIGNATURES, MAX_SIGNATURES_IN_ALL, Missing,
};
use super::super::parts::signature;
use super::*;
use hickory_proto::dnssec::rdata::RRSIG;

/// Adds so many signatures beside the first one, each with other octets: a record that comes twice
/// is dropped.
fn add_signatures(message: &mut Message, count: usize) {
    let is_signature = |record: &&Record| signature(record).is_some();
    let one = message.answers.iter().find(is_signature).expect("signed").clone();
    let input = signature(&one).expect("a signature").input().clone();
    message.add_answers((0..count).map(|number| {
        let other = RRSIG::from_sig(input.clone(), number.to_be_bytes().to_vec());
        Record::from_rdata(one.name.clone(), TTL, RData::DNSSEC(DNSSECRData::RRSIG(other)))
    }));
}

#[test]
fn a_question_takes_so_many_queries_and_no_more() {
    let resolver = Resolver::new(Zones::new());
    // The way up from an unsigned name is asked for label by label.
    let below = |labels: usize| format!("{}x.unsigned.test", "a.".repeat(labels));
    assert_eq!(ask(&resolver, &below(40), Rtype::A), INSECURE);
    let before = resolver.asked.borrow().len();
    assert!(before <= MAX_QUERIES, "{before}");
    assert_eq!(ask(&resolver, &below(80), Rtype::A), Err(Ede::DnssecIndeterminate));
    assert_eq!(resolver.asked.borrow().len() - before, MAX_QUERIES);
}

#[test]
fn silence_is_no_verdict_and_excess_is_one() {
    let resolver = Resolver::new(Zones::new());
    let file = AnchorFile::of_root(&resolver.zones);
    let validator = validator(&file, &[]).expect("anchors");
    let judged = |qname: &str| judge(&validator, &resolver, &question(qname, Rtype::A));
    let deep = format!("{}x.unsigned.test", "a.".repeat(80));
    assert!(matches!(judged(&deep), Err(Failure::Bogus(_))), "{:?}", judged(&deep));
    resolver.silent.set(true);
    let failure = judged("www.signed.test");
    assert!(matches!(failure, Err(Failure::Unvalidated(_))), "{failure:?}");
}

#[test]
fn each_zones_keys_are_asked_for_once() {
    let resolver = Resolver::new(Zones::new());
    assert_eq!(ask(&resolver, "lost.signed.test", Rtype::A), SECURE);
    assert_eq!(resolver.count(Rtype::DNSKEY), 4, "{:?}", resolver.asked);
    assert_eq!(resolver.count(Rtype::DS), 3, "{:?}", resolver.asked);
}

#[test]
fn more_signatures_and_keys_than_anybody_has_are_not_looked_at() {
    let judged = |signatures: usize| {
        let resolver = Resolver::new(Zones::new());
        change(&resolver.zones, "www.signed.test", RecordType::A, move |_, message| {
            add_signatures(message, signatures - 1);
        });
        ask(&resolver, "www.signed.test", Rtype::A)
    };
    assert_eq!(judged(MAX_SIGNATURES), SECURE);
    assert_eq!(judged(MAX_SIGNATURES + 1), Err(Ede::DnssecIndeterminate));
    let judged = |keys: usize| ask(&Resolver::new(with_keys(keys)), "www.signed.test", Rtype::A);
    assert_eq!(judged(MAX_KEYS), SECURE);
    assert_eq!(judged(MAX_KEYS + 1), Err(Ede::DnssecIndeterminate));
}

#[test]
fn all_looks_and_signatures_of_a_question_are_counted() {
    let resolver = Resolver::new(Zones::new());
    let root = || ".".parse::<Name>().expect("a name");
    let mut session = session();
    let mut clerk = Clerk::new(&resolver, &mut session);
    for _ in 0..MAX_LOOKS {
        assert!(run(clerk.bring(root(), RecordType::DNSKEY)).is_some());
    }
    assert!(run(clerk.bring(root(), RecordType::DNSKEY)).is_none());
    let too_many = Missing::Unaffordable("validation takes too many steps".to_owned());
    assert_eq!(clerk.missing(), Some(&too_many));
    resolver.zones.tamper(|_, _, message| add_signatures(message, MAX_SIGNATURES - 1));
    let mut other = super::session();
    let mut clerk = Clerk::new(&resolver, &mut other);
    for asked in 1..=5 {
        // Names that a wildcard has, so that there is always an answer.
        let qname: Name = format!("{asked}.signed.test").parse().expect("a name");
        let is_affordable = asked * MAX_SIGNATURES <= MAX_SIGNATURES_IN_ALL;
        assert_eq!(run(clerk.bring(qname, RecordType::A)).is_some(), is_affordable, "{asked}");
    }
}
