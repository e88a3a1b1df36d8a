//! Chains whose names belong to rules of which one validates and the other does not.

use std::rc::Rc;

use hickory_proto::op::{Message as HickoryMessage, OpCode, Query as HickoryQuery};
use hickory_proto::rr::rdata::{A, CNAME};
use hickory_proto::rr::{Name as HickoryName, RData, Record, RecordType};
use hickory_proto::serialize::binary::BinDecodable;

use super::upstream::{Answering, World, in_world_of};
use super::*;
use crate::config::{Dnssec, Forward};
use crate::dnssec::testing::{AnchorFile, TTL, Zones, name};
use crate::metrics::Event;
use crate::wire::Query;

/// DO among the extended flags.
const DO: u32 = 0x8000;
const AD: u8 = 0x20;
const CD: u8 = 0x10;

/// The number of the upstream of the rule that validates, and of the one that does not.
const VALIDATING: usize = 0;
const PLAIN: usize = 1;

/// Runs `test` with a rule for `.` that validates what `zones` say, and a rule for `corp.example`
/// that does not; both upstreams set AD always. `plain` are the CNAMEs of the plain upstream; it
/// has an address for each other name.
fn in_both<F: Future<Output = ()>>(
    zones: Zones,
    plain: &'static [(&'static str, &'static str)],
    test: impl FnOnce(World) -> F,
) {
    let anchors = AnchorFile::of_root(&zones);
    let signed: Answering = Rc::new(move |query: &Query<'_>| {
        let mut reply = zones.answer(&hickory_query(query));
        reply.metadata.authentic_data = true;
        // It knows nothing of the other rule's names.
        let is_out = |record: &Record| match &record.data {
            RData::CNAME(CNAME(target)) => name("corp.example").zone_of(target),
            _ => false,
        };
        if reply.answers.iter().any(is_out) {
            reply.metadata.response_code = ResponseCode::NoError;
            reply.authorities.clear();
        }
        Some(reply.to_vec().expect("encodable"))
    });
    let unsigned: Answering = Rc::new(move |query: &Query<'_>| {
        let asked = hickory_query(query);
        let mut reply = HickoryMessage::response(0, OpCode::Query);
        reply.metadata.authentic_data = true;
        let link = plain.iter().find(|(from, _)| *asked.name() == name(from));
        let data =
            link.map_or(RData::A(A::new(192, 0, 2, 7)), |(_, to)| RData::CNAME(CNAME(name(to))));
        reply.add_answer(Record::from_rdata(asked.name().clone(), TTL, data));
        // Shows whether CD was set.
        if query.header.has(flags::CD) {
            reply.answers[0].ttl = 42;
        }
        reply.add_query(asked);
        Some(reply.to_vec().expect("encodable"))
    });
    let setting = |config: &mut Config, rule: &mut Forward| {
        let corp = vec!["corp.example".parse().expect("a name")];
        let upstreams = vec![rule.upstreams.remove(PLAIN)];
        config.forwards.push(Forward { zones: corp, upstreams, ..rule.clone() });
        rule.dnssec = Dnssec::Validate;
        config.dnssec.trust_anchors = Some(anchors.0.clone());
    };
    in_world_of(vec![signed, unsigned], setting, test);
}

fn hickory_query(query: &Query<'_>) -> HickoryQuery {
    let qname = HickoryName::from_bytes(query.qname.as_wire()).expect("a name");
    HickoryQuery::query(qname, RecordType::from(query.qtype.0))
}

/// Zones of which `signed.test` also has names that lead to the plain rule.
fn zones() -> Zones {
    let mut zones = Zones::new();
    for (from, to) in [("to", "www.corp.example"), ("round", "back.corp.example")] {
        let target = RData::CNAME(CNAME(name(to)));
        zones.zone_mut("signed.test").add(name(&format!("{from}.signed.test")), target);
    }
    zones
}

/// The same with another address than the signed one for `www.signed.test`.
fn forged() -> Zones {
    let zones = zones();
    zones.tamper(|_, query, message| {
        if query.query_type() == RecordType::A {
            for record in &mut message.answers {
                if let RData::A(address) = &mut record.data {
                    *address = A::new(203, 0, 113, 66);
                }
            }
        }
    });
    zones
}

const PLAIN_LINKS: &[(&str, &str)] = &[
    ("in.corp.example", "www.signed.test"),
    ("back.corp.example", "www.signed.test"),
    ("far.corp.example", "to.signed.test"),
    ("open.corp.example", "www.unsigned.test"),
];

async fn told(world: &World, qname: &str, bits: u8, extended: u32) -> String {
    let mut asked = query(qname, 1, 1_232, extended);
    asked[3] |= bits;
    text(&world.ask(&asked).await)
}

/// The same, without signatures.
async fn told_with_signatures(world: &World, qname: &str) -> (String, usize) {
    let text = told(world, qname, AD, DO).await;
    (text.split(':').next().expect("a head").to_owned(), text.matches("RRSIG").count())
}

#[test]
fn a_hop_is_judged_under_its_own_rule() {
    in_both(forged(), PLAIN_LINKS, async |world| {
        // First while no key is known, then with keys and a remembered failure.
        for _cold_and_warm in 0..2 {
            assert_eq!(told(&world, "www.signed.test", 0, 0).await, "SERVFAIL ra: ");
            for qname in ["in.corp.example", "round.signed.test"] {
                assert_eq!(told(&world, qname, 0, 0).await, "SERVFAIL ra: ", "{qname}");
                assert_eq!(told(&world, qname, AD, DO).await, "SERVFAIL ra: ", "{qname}");
            }
        }
        // Clients that validate for themselves get everything, and AD never.
        let itself = told(&world, "in.corp.example", CD | AD, DO).await;
        assert!(itself.starts_with("NOERROR ra: "), "{itself}");
        assert!(itself.contains("203.0.113.66"), "{itself}");
    });
}

#[test]
fn a_forged_hop_is_refused_before_any_key_is_known() {
    in_both(forged(), PLAIN_LINKS, async |world| {
        assert_eq!(told(&world, "in.corp.example", 0, 0).await, "SERVFAIL ra: ");
        assert_eq!(world.counted(Event::Bogus), 1);
        // The remembered failure answers.
        let heard = world.heard(Rtype::A);
        assert_eq!(told(&world, "in.corp.example", 0, 0).await, "SERVFAIL ra: ");
        assert_eq!(world.heard(Rtype::A), heard);
    });
}

#[test]
fn a_chain_is_vouched_for_as_far_as_its_weakest_part() {
    in_both(zones(), PLAIN_LINKS, async |world| {
        // From the upstreams, then from the cache.
        for _new_and_kept in 0..2 {
            // The plain upstream vouches for the link, and validation for the end.
            let in_signed = told_with_signatures(&world, "in.corp.example").await;
            assert_eq!(in_signed, ("NOERROR ra ad".to_owned(), 1));
            // Nothing of these ends is signed, whatever their upstreams say of AD.
            for qname in ["open.corp.example", "to.signed.test", "far.corp.example"] {
                let head = told_with_signatures(&world, qname).await.0;
                assert_eq!(head, "NOERROR ra", "{qname}");
            }
            let plain = told(&world, "in.corp.example", 0, 0).await;
            let expected = "NOERROR ra: in.corp.example. 300 CNAME www.signed.test.; \
                            www.signed.test. 300 A 192.0.2.1";
            assert_eq!(plain, expected);
        }
        assert_eq!(world.counted(Event::Bogus), 0);
    });
}

#[test]
fn a_plain_rules_upstream_is_asked_without_cd_behind_a_signed_link() {
    in_both(zones(), PLAIN_LINKS, async |world| {
        let expected = "NOERROR ra: to.signed.test. 300 CNAME www.corp.example.; \
                        www.corp.example. 300 A 192.0.2.7";
        assert_eq!(told(&world, "to.signed.test", 0, 0).await, expected);
        let itself = told(&world, "to.signed.test", CD, 0).await;
        assert!(itself.ends_with("www.corp.example. 42 A 192.0.2.7"), "{itself}");
    });
}

#[test]
fn a_chain_through_both_rules_ends_within_16_links_or_is_a_failure() {
    const PLAIN_TO_LADDER: &[(&str, &str)] = &[("in.corp.example", "n1.signed.test")];
    for (last, is_answer) in [(16, true), (17, false), (40, false)] {
        let mut zones = Zones::new();
        let zone = zones.zone_mut("signed.test");
        let step = |number: usize| name(&format!("n{number}.signed.test"));
        for number in 1..last {
            zone.add(step(number), RData::CNAME(CNAME(step(number + 1))));
        }
        zone.add(step(last), RData::A(A::new(192, 0, 2, 1)));
        // Each reply has one link, as from a server that does not follow them.
        zones.tamper(|_, query, message| {
            if query.query_type() == RecordType::A {
                message.answers.retain(|record| record.name == *query.name());
                if message.answers.iter().any(|r| r.record_type() == RecordType::CNAME) {
                    message.authorities.clear();
                }
            }
        });
        in_both(zones, PLAIN_TO_LADDER, async move |world| {
            for bits in [0, CD] {
                let told = told(&world, "in.corp.example", bits, 0).await;
                if is_answer {
                    assert_eq!(told.matches("CNAME").count(), 16, "{told}");
                    assert!(told.ends_with("192.0.2.1"), "{told}");
                } else {
                    assert_eq!(told, "SERVFAIL ra: ", "{last}");
                }
            }
            // A chain with and one without CD, and one more of a second round.
            let heard = world.heard_by(VALIDATING, Rtype::A);
            assert!(heard <= 3 * 17, "{heard}");
        });
    }
}
