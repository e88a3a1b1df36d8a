//! Rules that validate, with an upstream over signed zones.

use std::rc::Rc;
use std::sync::Arc;

use hickory_proto::op::{Query as HickoryQuery, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME};
use hickory_proto::rr::{Name as HickoryName, RData, RecordType};
use hickory_proto::serialize::binary::BinDecodable;

use super::kept::keep;
use super::upstream::{World, in_world};
use super::*;
use crate::config::{Dnssec, Forward};
use crate::dnssec::testing::{AnchorFile, Zones, name};
use crate::metrics::Event;
use crate::wire::Query;

/// DO among the extended flags.
const DO: u32 = 0x8000;

/// Runs `test` with a worker whose rule validates what `zones` say; the upstream sets AD always.
fn validating<F: Future<Output = ()>>(zones: Zones, test: impl FnOnce(World) -> F) {
    changed(zones, |_, _| {}, test);
}

fn changed<F: Future<Output = ()>>(
    zones: Zones,
    change: impl FnOnce(&mut Config, &mut Forward),
    test: impl FnOnce(World) -> F,
) {
    let anchors = AnchorFile::of_root(&zones);
    let answering = Rc::new(move |query: &Query<'_>| {
        assert!(query.dnssec_ok() && query.header.has(flags::CD));
        let qname = HickoryName::from_bytes(query.qname.as_wire()).expect("a name");
        let asked = HickoryQuery::query(qname, RecordType::from(query.qtype.0));
        let mut reply = zones.answer(&asked);
        reply.metadata.authentic_data = true;
        // A question taken away stands for silence.
        (!reply.queries.is_empty()).then(|| reply.to_vec().expect("encodable"))
    });
    let setting = |config: &mut Config, rule: &mut Forward| {
        rule.dnssec = Dnssec::Validate;
        config.dnssec.trust_anchors = Some(anchors.0.clone());
        change(config, rule);
    };
    in_world(answering, setting, test);
}

/// rcode and bits, and how many signatures there are.
fn shown(reply: &[u8]) -> (String, usize) {
    let message = Message::from_vec(reply).expect("hickory reads our replies");
    let signatures = message.all_sections().filter(|r| r.record_type() == RecordType::RRSIG);
    let text = text(reply);
    (text.split(':').next().expect("a head").to_owned(), signatures.count())
}

fn with_flag(mut query: Vec<u8>, flag: u8) -> Vec<u8> {
    query[3] |= flag;
    query
}

const AD: u8 = 0x20;
const CD: u8 = 0x10;

#[test]
fn clients_get_what_they_asked_for() {
    validating(Zones::new(), |world| async move {
        let plain = query("www.signed.test", 1, 1_232, 0);
        let ad = with_flag(plain.clone(), AD);
        let signed = query("www.signed.test", 1, 1_232, DO);
        // From the upstream, then from the cache.
        for _ in 0..2 {
            assert_eq!(shown(&world.ask(&plain).await), ("NOERROR ra".to_owned(), 0));
            assert_eq!(shown(&world.ask(&ad).await), ("NOERROR ra ad".to_owned(), 0));
            assert_eq!(shown(&world.ask(&signed).await), ("NOERROR ra ad".to_owned(), 1));
        }
        let expected = "NOERROR ra: www.signed.test. 300 A 192.0.2.1";
        assert_eq!(text(&world.ask(&plain).await), expected);
        // Once with, once without DO.
        assert_eq!(world.heard(Rtype::A), 2);
        assert_eq!(world.heard(Rtype::DNSKEY), 3);
        assert_eq!(world.heard(Rtype::DS), 2);
        assert_eq!(world.counted(Event::Bogus), 0);
    });
}

#[test]
fn an_upstreams_ad_is_not_believed() {
    validating(Zones::new(), |world| async move {
        for qname in ["www.unsigned.test", "out.signed.test"] {
            let asked = with_flag(query(qname, 1, 1_232, 0), AD);
            assert_eq!(shown(&world.ask(&asked).await).0, "NOERROR ra", "{qname}");
        }
    });
}

#[test]
fn denials_are_kept_with_their_verdict() {
    validating(Zones::new(), |world| async move {
        for (qname, flag, expected, signatures) in [
            ("none.www.signed.test", 0, "NXDOMAIN ra ad", 0),
            ("none.www.signed.test", DO, "NXDOMAIN ra ad", 2),
            ("none.www.unsigned.test", DO, "NXDOMAIN ra", 0),
        ] {
            let asked = with_flag(query(qname, 1, 1_232, flag), AD);
            for _ in 0..2 {
                let expected = (expected.to_owned(), signatures);
                assert_eq!(shown(&world.ask(&asked).await), expected, "{qname}");
            }
        }
        assert_eq!(world.heard(Rtype::A), 3);
    });
}

#[test]
fn bogus_is_a_failure_with_its_reason_unless_the_client_validates() {
    let zones = Zones::new();
    zones.tamper(|_, _, message| {
        for record in &mut message.answers {
            if let RData::A(address) = &mut record.data {
                *address = A::new(192, 0, 2, 66);
            }
        }
    });
    validating(zones, |world| async move {
        let asked = query("www.signed.test", 1, 1_232, 0);
        let reply = world.ask(&asked).await;
        assert_eq!(text(&reply), "SERVFAIL ra: ");
        let why = "6 (DNSSEC Bogus): DNSSEC: the signature of www.signed.test. A does not validate";
        assert_eq!(Shown::read(&reply).expect("a reply").extended_errors, [why]);
        assert_eq!(world.counted(Event::Bogus), 1);
        let itself = with_flag(query("www.signed.test", 1, 1_232, DO), CD | AD);
        for _ in 0..2 {
            assert_eq!(shown(&world.ask(&itself).await), ("NOERROR ra".to_owned(), 1));
        }
        // What was asked without validation is not what others get.
        assert_eq!(text(&world.ask(&asked).await), "SERVFAIL ra: ");
    });
}

#[test]
fn a_chain_into_our_zone_must_be_signed_as_far_as_we_follow_it() {
    let chain = |is_forged: bool| {
        let mut zones = Zones::new();
        let into = RData::CNAME(CNAME(name(&format!("api.{Q}"))));
        zones.zone_mut("signed.test").add(name("ours.signed.test"), into);
        if is_forged {
            zones.tamper(|_, query, message| {
                if query.query_type() == RecordType::A {
                    let target = RData::CNAME(CNAME(name(&format!("data.westeurope.{Q}"))));
                    message.answers[0].data = target;
                }
            });
        }
        zones
    };
    let asked = || query("ours.signed.test", 1, 1_232, 0);
    validating(chain(false), |world| async move {
        let expected =
            format!("NOERROR ra: ours.signed.test. 300 CNAME api.{Q}.; api.{Q}. 60 A 10.1.0.5");
        assert_eq!(text(&world.ask(&asked()).await), expected);
    });
    validating(chain(true), |world| async move {
        assert_eq!(text(&world.ask(&asked()).await), "SERVFAIL ra: ");
    });
}

#[test]
fn keys_that_never_come_end_the_question_with_its_time() {
    let zones = Zones::new();
    let budget = Duration::from_millis(150);
    let shorten = |_: &mut Config, rule: &mut Forward| rule.timeout = budget;
    zones.tamper(|_, query, message| {
        if query.query_type() == RecordType::DNSKEY {
            message.queries.clear();
        }
    });
    changed(zones, shorten, |world| async move {
        let reply = world.ask(&query("www.signed.test", 1, 1_232, 0)).await;
        assert_eq!(text(&reply), "SERVFAIL ra: ");
        // The question's time and that of its last key end within the same millisecond.
        let either = [
            "22 (No Reachable Authority): no upstream replied in time",
            "5 (DNSSEC Indeterminate): DNSSEC: no answer for . DNSKEY",
        ];
        let why = Shown::read(&reply).expect("a reply").extended_errors;
        assert!(either.contains(&why[0].as_str()), "{why:?}");
        assert!(world.worker.snapshot().cache.is_empty());
    });
}

#[test]
fn what_cannot_be_validated_for_want_of_keys_is_stale_not_bogus() {
    let zones = Zones::new();
    zones.tamper(|_, query, message| {
        if query.query_type() == RecordType::DNSKEY {
            message.metadata.response_code = ResponseCode::ServFail;
            message.answers.clear();
        }
    });
    validating(zones, |world| async move {
        let old = [("www.signed.test", 60, Rtype::A, vec![203, 0, 113, 9])];
        let snapshot = Arc::clone(&world.worker.snapshot());
        keep(&snapshot, "www.signed.test", Rtype::A, 0, &old, Duration::from_secs(100));
        // The second time the failure is remembered.
        for _ in 0..2 {
            let reply = world.ask(&query("www.signed.test", 1, 1_232, 0)).await;
            assert_eq!(text(&reply), "NOERROR ra: www.signed.test. 30 A 203.0.113.9");
        }
        // Without anything kept there is nothing but the reason.
        let reply = world.ask(&query("lost.signed.test", 1, 1_232, 0)).await;
        assert_eq!(text(&reply), "SERVFAIL ra: ");
        let why = "5 (DNSSEC Indeterminate): DNSSEC: no answer for . DNSKEY";
        assert_eq!(Shown::read(&reply).expect("a reply").extended_errors, [why]);
        assert_eq!(world.counted(Event::Bogus), 0);
    });
}

#[test]
fn answers_of_before_do_not_slip_past_validation() {
    let config = |anchors: &[&str]| {
        with(|config| {
            let rule =
                Forward { dnssec: Dnssec::Validate, ..crate::config::testing::forward_all() };
            config.forwards = vec![rule];
            config.dnssec.negative_trust_anchors =
                anchors.iter().map(|name| name.parse().expect("a name")).collect();
        })
    };
    let (lax, strict) = (config(&["corp.test"]), config(&[]));
    assert!(lax.is_no_stricter_than(&strict));
    assert!(!strict.is_no_stricter_than(&lax));
}

#[test]
fn records_of_another_type_than_asked_do_not_reach_the_client() {
    let zones = Zones::new();
    zones.tamper(|_, query, message| {
        if query.query_type() == RecordType::A {
            let data = RData::AAAA("2001:db8::66".parse().expect("an address"));
            let other = Record::from_rdata(query.name().clone(), 300, data);
            message.add_answer(other);
        }
    });
    validating(zones, |world| async move {
        // From the upstream, then from the cache.
        for _new_and_kept in 0..2 {
            let plain = world.ask(&query("www.unsigned.test", 1, 1_232, 0)).await;
            assert_eq!(text(&plain), "NOERROR ra: www.unsigned.test. 300 A 192.0.2.1");
            let signed = world.ask(&query("www.signed.test", 1, 1_232, DO)).await;
            assert_eq!(shown(&signed), ("NOERROR ra ad".to_owned(), 1));
            assert!(!text(&signed).contains("AAAA"), "{}", text(&signed));
        }
        assert_eq!(world.counted(Event::Bogus), 0);
    });
}

#[test]
fn a_wildcards_denial_stays_with_its_cname_when_the_end_is_asked_for() {
    let mut zones = Zones::new();
    let into = RData::CNAME(CNAME(name("www.hashed.test")));
    zones.zone_mut("signed.test").add(name("*.cut.signed.test"), into);
    zones.tamper(|_, query, message| {
        if *query.name() == name("x.cut.signed.test") {
            message.answers.retain(|record| record.name == *query.name());
        }
    });
    validating(zones, |world| async move {
        let asked = with_flag(query("x.cut.signed.test", 1, 1_232, DO), AD);
        // The CNAME and its denial, and the address, each with a signature.
        assert_eq!(shown(&world.ask(&asked).await), ("NOERROR ra ad".to_owned(), 3));
        assert_eq!(world.heard(Rtype::A), 2);
    });
}
