//! A good upstream gives one bad reply, beside an upstream that takes all signatures away.

use std::future::Future;
use std::rc::Rc;
use std::time::Instant;

use hickory_proto::rr::RecordType;

use super::super::keys::{MAX_KEY_REPEATS, REPEAT_EVERY};
use super::faults::{
    Fault, Shared, corrupt, faults, first, head, none, plain, shared, strip, with_faults,
};
use super::upstream::World;
use crate::metrics::Event;
use crate::wire::Rtype;

/// The place of the good upstream in the rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Good {
    First,
    Last,
}

impl Good {
    /// The place of the other one.
    fn other(self) -> usize {
        match self {
            Self::First => 1,
            Self::Last => 0,
        }
    }
}

/// Names that clients ask for right after the bad reply.
const CLIENTS: usize = 20;
/// The same in tests of many cases.
const FEW_CLIENTS: usize = 4;

fn strips() -> Fault {
    Rc::new(|_, _, message| {
        strip(message);
        true
    })
}

fn corrupts() -> Fault {
    Rc::new(|_, _, message| {
        corrupt(message);
        true
    })
}

/// Runs `test` with an upstream that has `fault`, and with one that strips signatures.
fn beside_stripping<F: Future<Output = ()>>(
    zones: &Shared,
    good: Good,
    fault: Fault,
    test: impl FnOnce(World) -> F,
) {
    beside(zones, strips(), good, fault, test);
}

/// Runs `test` with an upstream that has `fault`, and with the `other` one.
fn beside<F: Future<Output = ()>>(
    zones: &Shared,
    other: Fault,
    good: Good,
    fault: Fault,
    test: impl FnOnce(World) -> F,
) {
    let upstreams = match good {
        Good::First => vec![fault, other],
        Good::Last => vec![other, fault],
    };
    with_faults(zones, upstreams, test);
}

/// Asks for so many names of `zone`, one after another. Returns how many answers did not validate.
async fn failures(world: &World, zone: &str, names: usize) -> usize {
    let mut failures = 0;
    for number in 0..names {
        let reply = world.ask(&plain(&format!("n{number}.{zone}"))).await;
        failures += usize::from(head(&reply) != "NOERROR ra ad");
    }
    failures
}

#[test]
fn one_bad_reply_about_keys_costs_no_client_its_answer() {
    let mut all = Vec::new();
    for good in [Good::First, Good::Last] {
        for (qname, rtype, signer) in [
            ("hashed.test", RecordType::DNSKEY, "hashed.test"),
            ("hashed.test", RecordType::DS, "test"),
            ("test", RecordType::DNSKEY, "test"),
            ("test", RecordType::DS, ""),
            ("", RecordType::DNSKEY, ""),
        ] {
            for (kind, fault) in faults(signer) {
                // With the keys of the zones above proven before, and without.
                for is_warm in [true, false] {
                    if is_warm && qname != "hashed.test" {
                        continue;
                    }
                    let zones = shared();
                    let fault = Rc::clone(&fault);
                    let fault = first(1, qname, rtype, move |zones, m| fault(zones, m));
                    beside_stripping(&zones, good, fault, async |world| {
                        if is_warm {
                            let reply = world.ask(&plain("www.signed.test")).await;
                            assert_eq!(head(&reply), "NOERROR ra ad", "{good:?}");
                        }
                        let failures = failures(&world, "hashed.test", FEW_CLIENTS).await;
                        if failures > 0 {
                            let case = format!("{good:?} {kind} {qname} {rtype}");
                            all.push(format!("{case} warm {is_warm}: {failures}"));
                        }
                    });
                }
            }
        }
    }
    assert!(all.is_empty(), "{all:#?}");
}

#[test]
fn the_other_upstream_may_give_wrong_signatures_instead_of_none() {
    for good in [Good::First, Good::Last] {
        for (qname, rtype, signer) in [
            ("hashed.test", RecordType::DNSKEY, "hashed.test"),
            ("hashed.test", RecordType::DS, "test"),
        ] {
            for (kind, fault) in faults(signer) {
                let zones = shared();
                let fault = first(1, qname, rtype, move |zones, m| fault(zones, m));
                beside(&zones, corrupts(), good, fault, async |world| {
                    // Keys of the good one are proven before.
                    assert_eq!(head(&world.ask(&plain("www.signed.test")).await), "NOERROR ra ad");
                    let failures = failures(&world, "hashed.test", FEW_CLIENTS).await;
                    assert_eq!(failures, 0, "{good:?} {kind} {rtype}");
                });
            }
        }
    }
}

#[test]
fn one_bad_denial_of_keys_costs_no_client_its_answer() {
    for good in [Good::First, Good::Last] {
        for (kind, fault) in faults("test") {
            // Another zone's keys are no denial.
            if kind == "another's" {
                continue;
            }
            let zones = shared();
            let fault = first(1, "unsigned.test", RecordType::DS, move |zones, m| fault(zones, m));
            beside_stripping(&zones, good, fault, async |world| {
                for qname in ["www.unsigned.test", "mail.unsigned.test"] {
                    let reply = world.ask(&plain(qname)).await;
                    assert_eq!(head(&reply), "NOERROR ra", "{good:?} {kind} {qname}");
                }
                assert_eq!(world.counted(Event::Bogus), 0, "{good:?} {kind}");
            });
        }
    }
}

#[test]
fn clients_that_ask_at_once_all_get_their_answers() {
    for good in [Good::First, Good::Last] {
        for rtype in [RecordType::DNSKEY, RecordType::DS] {
            let zones = shared();
            let fault = first(1, "hashed.test", rtype, |_, message| corrupt(message));
            beside_stripping(&zones, good, fault, async |world| {
                assert_eq!(head(&world.ask(&plain("www.signed.test")).await), "NOERROR ra ad");
                let world = Rc::new(world);
                let asking = (0..CLIENTS).map(|number| {
                    let world = Rc::clone(&world);
                    let qname = format!("n{number}.hashed.test");
                    tokio::task::spawn_local(async move { head(&world.ask(&plain(&qname)).await) })
                });
                for asked in asking.collect::<Vec<_>>() {
                    let reply = asked.await.expect("no panic");
                    assert_eq!(reply, "NOERROR ra ad", "{good:?} {rtype}");
                }
                assert_eq!(world.counted(Event::Bogus), 0);
            });
        }
    }
}

#[test]
fn a_zone_may_change_its_keys_in_a_hurry() {
    for good in [Good::First, Good::Last] {
        // The zone of the names, and the one above it while the zone of the names is unknown.
        for (changed, zone) in [("signed.test", "signed.test"), ("test", "hashed.test")] {
            let zones = shared();
            let served = Rc::clone(&zones);
            beside_stripping(&zones, good, none(), async |world| {
                assert_eq!(head(&world.ask(&plain("www.signed.test")).await), "NOERROR ra ad");
                change_key(&served, changed);
                assert_eq!(failures(&world, zone, CLIENTS).await, 0, "{good:?} {changed}");
            });
        }
    }
}

#[test]
fn a_parent_may_change_its_keys_in_a_hurry_beside_one_upstream() {
    let zones = shared();
    let served = Rc::clone(&zones);
    with_faults(&zones, vec![none()], async |world| {
        assert_eq!(head(&world.ask(&plain("www.signed.test")).await), "NOERROR ra ad");
        change_key(&served, "test");
        assert_eq!(failures(&world, "hashed.test", CLIENTS).await, 0);
    });
}

/// Signs the data of a zone with a key that it publishes at the same time.
fn change_key(zones: &Shared, apex: &str) {
    let mut zones = zones.borrow_mut();
    let zone = zones.zone_mut(apex);
    let next = zone.publish_another();
    zone.sign_data_with(next);
}

#[test]
fn the_upstream_that_strips_is_asked_last_after_one_repeat() {
    for good in [Good::First, Good::Last] {
        let zones = shared();
        let fault = first(1, "hashed.test", RecordType::DNSKEY, |_, message| corrupt(message));
        beside_stripping(&zones, good, fault, async |world| {
            let heard = || {
                [Rtype::A, Rtype::DNSKEY, Rtype::DS, Rtype::NS]
                    .map(|qtype| world.heard_by(good.other(), qtype))
                    .iter()
                    .sum::<usize>()
            };
            assert_eq!(head(&world.ask(&plain("www.hashed.test")).await), "NOERROR ra ad");
            let before = heard();
            assert!(before > 0, "{good:?}");
            assert_eq!(failures(&world, "hashed.test", CLIENTS).await, 0, "{good:?}");
            assert_eq!(heard(), before, "{good:?}");
        });
    }
}

#[test]
fn a_zone_that_is_broken_does_not_multiply_queries() {
    for good in [Good::First, Good::Last] {
        for is_warm in [true, false] {
            let zones = shared();
            let broken =
                first(usize::MAX, "hashed.test", RecordType::DNSKEY, |_, message| corrupt(message));
            beside_stripping(&zones, good, broken, async |world| {
                if is_warm {
                    assert_eq!(head(&world.ask(&plain("www.signed.test")).await), "NOERROR ra ad");
                }
                let before = world.heard(Rtype::DNSKEY);
                let begun = Instant::now();
                assert_eq!(failures(&world, "hashed.test", CLIENTS).await, CLIENTS);
                let runs = 1 + begun.elapsed().as_secs() / REPEAT_EVERY.as_secs();
                // Root, test and hashed.test, each once and so often again.
                let most = 3 * (1 + u64::from(MAX_KEY_REPEATS) * runs);
                let asked = (world.heard(Rtype::DNSKEY) - before) as u64;
                assert!(asked <= most, "{good:?} {is_warm}: {asked}");
                // Another zone is none the worse.
                assert_eq!(failures(&world, "signed.test", CLIENTS).await, 0, "{good:?} {is_warm}");
            });
        }
    }
}
