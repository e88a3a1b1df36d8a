//! One bad reply among good ones: validation asks again, and no client notices.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use hickory_proto::rr::RecordType;

use super::super::keys::{MAX_ANSWER_REPEATS, MAX_KEY_REPEATS, REPEAT_EVERY};
use super::faults::{Fault, corrupt, faults, first, head, none, plain, shared, strip, with_faults};
use super::kept::keep;
use super::*;
use crate::dnssec::testing::Zones;
use crate::metrics::Event;

const DO: u32 = 0x8000;
const CD: u8 = 0x10;

#[test]
fn one_bad_reply_about_keys_costs_no_client_its_answer() {
    for (qname, rtype, signer) in [
        ("signed.test", RecordType::DNSKEY, "signed.test"),
        ("signed.test", RecordType::DS, "test"),
        ("test", RecordType::DNSKEY, "test"),
        ("test", RecordType::DS, ""),
        ("", RecordType::DNSKEY, ""),
    ] {
        for (kind, fault) in faults(signer) {
            let zones = shared();
            let fault = first(1, qname, rtype, move |zones, message| fault(zones, message));
            with_faults(&zones, vec![fault], |world| async move {
                let replies = [
                    world.ask(&plain("www.signed.test")).await,
                    world.ask(&plain("mail.signed.test")).await,
                ];
                for reply in replies {
                    assert_eq!(head(&reply), "NOERROR ra ad", "{kind} {qname} {rtype}");
                }
                assert_eq!(world.counted(Event::Bogus), 0, "{kind} {qname} {rtype}");
                // Each is asked twice at most, where it was bad or could have been.
                assert!(world.heard(Rtype::A) <= 3, "{kind} {qname}");
                let asked = world.heard(Rtype::DNSKEY) + world.heard(Rtype::DS);
                assert!(asked <= 10, "{kind} {qname} {rtype}: {asked}");
            });
        }
    }
}

#[test]
fn one_bad_denial_of_keys_costs_no_client_its_answer() {
    for (kind, fault) in faults("test") {
        // Another zone's keys are no denial.
        if kind == "another's" {
            continue;
        }
        let zones = shared();
        let fault = first(1, "unsigned.test", RecordType::DS, move |zones, m| fault(zones, m));
        with_faults(&zones, vec![fault], |world| async move {
            for qname in ["www.unsigned.test", "mail.unsigned.test", "x.y.unsigned.test"] {
                let reply = head(&world.ask(&plain(qname)).await);
                assert!(reply == "NOERROR ra" || reply == "NXDOMAIN ra", "{kind} {qname}: {reply}");
            }
            assert_eq!(world.counted(Event::Bogus), 0, "{kind}");
            assert!(world.heard(Rtype::DS) <= 4, "{kind}: {}", world.heard(Rtype::DS));
        });
    }
}

#[test]
fn an_answer_that_does_not_validate_is_asked_for_once_more() {
    for (qname, expected) in [
        ("www.signed.test", "NOERROR ra ad"),
        ("none.www.signed.test", "NXDOMAIN ra ad"),
        ("x.wild.signed.test", "NOERROR ra ad"),
    ] {
        let zones = shared();
        with_faults(
            &zones,
            vec![first(1, qname, RecordType::A, |_, m| corrupt(m))],
            |world| async move {
                // The keys are known already: they are not asked for again.
                assert_eq!(head(&world.ask(&plain("mail.signed.test")).await), "NOERROR ra ad");
                let keys = world.heard(Rtype::DNSKEY) + world.heard(Rtype::DS);
                assert_eq!(head(&world.ask(&plain(qname)).await), expected);
                assert_eq!(world.heard(Rtype::A), 3);
                assert_eq!(world.heard(Rtype::DNSKEY) + world.heard(Rtype::DS), keys);
                assert_eq!(world.counted(Event::Bogus), 0);
            },
        );
    }
}

#[test]
fn the_second_answer_of_a_zone_asks_nobody_for_keys() {
    let zones = shared();
    with_faults(&zones, vec![none()], |world| async move {
        for (qname, expected) in
            [("www.signed.test", "NOERROR ra ad"), ("www.unsigned.test", "NOERROR ra")]
        {
            assert_eq!(head(&world.ask(&plain(qname)).await), expected);
        }
        let keys = || world.heard(Rtype::DNSKEY) + world.heard(Rtype::DS) + world.heard(Rtype::NS);
        let before = keys();
        for (qname, expected) in [
            ("mail.signed.test", "NOERROR ra ad"),
            ("none.www.signed.test", "NXDOMAIN ra ad"),
            ("mail.unsigned.test", "NOERROR ra"),
            ("a.b.c.unsigned.test", "NOERROR ra"),
        ] {
            assert_eq!(head(&world.ask(&plain(qname)).await), expected, "{qname}");
        }
        assert_eq!(keys(), before);
    });
}

#[test]
fn a_zone_that_is_broken_does_not_multiply_queries() {
    let zones = shared();
    let broken =
        first(usize::MAX, "signed.test", RecordType::DNSKEY, |_, message| corrupt(message));
    with_faults(&zones, vec![broken], |world| async move {
        let names = 30;
        let begun = Instant::now();
        for number in 0..names {
            let reply = world.ask(&plain(&format!("n{number}.signed.test"))).await;
            assert_eq!(head(&reply), "SERVFAIL ra");
        }
        assert_eq!(world.counted(Event::Bogus), names);
        // Under load this may take longer than until the keys may be asked for again.
        let runs = 1 + begun.elapsed().as_secs() / REPEAT_EVERY.as_secs();
        let asked_again = u64::from(MAX_ANSWER_REPEATS) * runs;
        assert!(world.heard(Rtype::A) as u64 <= names + asked_again, "{}", world.heard(Rtype::A));
        // Root, test and signed.test, each once and so often again.
        let most = 3 * (1 + u64::from(MAX_KEY_REPEATS) * runs);
        assert!(world.heard(Rtype::DNSKEY) as u64 <= most, "{}", world.heard(Rtype::DNSKEY));
        assert!(world.heard(Rtype::DS) as u64 <= most, "{}", world.heard(Rtype::DS));
    });
}

#[test]
fn what_clients_with_cd_ask_for_proves_nothing_and_denies_nothing() {
    let zones = shared();
    // The client with CD gets the bad one, and others would if they shared it.
    let fault = first(1, "signed.test", RecordType::DNSKEY, |_, message| corrupt(message));
    with_faults(&zones, vec![fault], |world| async move {
        let itself = |qname: &str, qtype: Rtype| {
            let mut query = query(qname, qtype.0, 1_232, DO);
            query[3] |= CD;
            query
        };
        assert_eq!(head(&world.ask(&itself("signed.test", Rtype::DNSKEY)).await), "NOERROR ra");
        assert_eq!(world.heard(Rtype::DNSKEY), 1);
        assert_eq!(head(&world.ask(&plain("www.signed.test")).await), "NOERROR ra ad");
        // Nothing was bad, so nothing was asked twice.
        assert_eq!(world.heard(Rtype::A), 1);
        assert_eq!(world.heard(Rtype::DNSKEY), 4);
        // Nor the other way round.
        assert_eq!(head(&world.ask(&itself("test", Rtype::DS)).await), "NOERROR ra");
        assert_eq!(head(&world.ask(&plain("mail.signed.test")).await), "NOERROR ra ad");
        assert_eq!(world.counted(Event::Bogus), 0);
    });
}

#[test]
fn clients_that_ask_at_once_all_go_by_what_was_asked_again() {
    let zones = shared();
    let fault = first(1, "signed.test", RecordType::DNSKEY, |_, message| corrupt(message));
    with_faults(&zones, vec![fault], |world| async move {
        let world = Rc::new(world);
        let asking = (0..20).map(|number| {
            let world = Rc::clone(&world);
            // Some follow another's question.
            let qname = format!("n{}.signed.test", number / 2);
            tokio::task::spawn_local(async move { head(&world.ask(&plain(&qname)).await) })
        });
        for asked in asking.collect::<Vec<_>>() {
            assert_eq!(asked.await.expect("no panic"), "NOERROR ra ad");
        }
        assert!(world.heard(Rtype::DNSKEY) <= 6, "{}", world.heard(Rtype::DNSKEY));
        assert_eq!(world.counted(Event::Bogus), 0);
    });
}

#[test]
fn an_upstream_that_strips_signatures_is_asked_last() {
    let zones = shared();
    let strips: Fault = Rc::new(|_, _, message| {
        strip(message);
        true
    });
    with_faults(&zones, vec![strips, none()], |world| async move {
        assert_eq!(head(&world.ask(&plain("www.signed.test")).await), "NOERROR ra ad");
        let heard = |upstream: usize| {
            [Rtype::A, Rtype::DNSKEY, Rtype::DS, Rtype::NS]
                .map(|qtype| world.heard_by(upstream, qtype))
                .iter()
                .sum::<usize>()
        };
        for zone in ["signed.test", "hashed.test"] {
            let reply = world.ask(&plain(&format!("mail.{zone}"))).await;
            assert_eq!(head(&reply), "NOERROR ra ad", "{zone}");
            let before = heard(0);
            assert!(before > 0);
            for number in 0..30 {
                let reply = world.ask(&plain(&format!("n{number}.{zone}"))).await;
                assert_eq!(head(&reply), "NOERROR ra ad", "{number} {zone}");
            }
            assert_eq!(heard(0), before, "{zone}");
        }
        assert_eq!(world.counted(Event::Bogus), 0);
    });
}

#[test]
fn a_second_upstream_without_signatures_does_no_harm() {
    let zones = shared();
    let strips: Fault = Rc::new(|_, _, message| {
        strip(message);
        true
    });
    let fault = first(1, "www.signed.test", RecordType::A, |_, message| corrupt(message));
    with_faults(&zones, vec![fault, strips], |world| async move {
        // The first one's reply is corrupted, and the other's is stripped.
        let _either = world.ask(&plain("www.signed.test")).await;
        for number in 0..5 {
            let reply = world.ask(&plain(&format!("n{number}.signed.test"))).await;
            assert_eq!(head(&reply), "NOERROR ra ad", "{number}");
        }
    });
}

#[test]
fn a_verdict_is_forgotten_when_keys_are_proven() {
    let zones = shared();
    let fault = first(2, "www.signed.test", RecordType::A, |_, message| corrupt(message));
    with_faults(&zones, vec![fault], |world| async move {
        // Both times: nothing is proven of the zone by that.
        assert_eq!(head(&world.ask(&plain("www.signed.test")).await), "SERVFAIL ra");
        assert_eq!(head(&world.ask(&plain("mail.signed.test")).await), "NOERROR ra ad");
        assert_eq!(head(&world.ask(&plain("www.signed.test")).await), "NOERROR ra ad");
    });
}

#[test]
fn bogus_is_never_stale_whatever_is_asked_again() {
    let zones = shared();
    let fault = first(usize::MAX, "www.signed.test", RecordType::A, |_, message| corrupt(message));
    with_faults(&zones, vec![fault], |world| async move {
        let old = [("www.signed.test", 60, Rtype::A, vec![203, 0, 113, 9])];
        let snapshot = Arc::clone(&world.worker.snapshot());
        keep(&snapshot, "www.signed.test", Rtype::A, 0, &old, Duration::from_secs(100));
        for _ in 0..2 {
            assert_eq!(head(&world.ask(&plain("www.signed.test")).await), "SERVFAIL ra");
        }
    });
}

#[test]
fn asking_again_takes_no_longer_than_the_question_has() {
    let zones = shared();
    // The first reply is bad, and then there is silence.
    let asked = Cell::new(0);
    let fault: Fault = Rc::new(move |_, query, message| {
        let is_it = query.query_type() == RecordType::A;
        if is_it {
            asked.set(asked.get() + 1);
            if asked.get() == 1 { corrupt(message) } else { message.queries.clear() }
        }
        is_it
    });
    with_faults(&zones, vec![fault], |world| async move {
        let begun = Instant::now();
        let reply = world.ask(&plain("www.signed.test")).await;
        assert_eq!(head(&reply), "SERVFAIL ra");
        let why = Shown::read(&reply).expect("a reply").extended_errors;
        let verdict =
            "6 (DNSSEC Bogus): DNSSEC: the signature of www.signed.test. A does not validate";
        assert_eq!(why, [verdict]);
        // Five seconds, and what a busy machine adds.
        assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    });
}

#[test]
fn a_zone_may_change_its_keys_while_answers_are_kept() {
    let zones = shared();
    let world_zones = Rc::clone(&zones);
    with_faults(&zones, vec![none()], |world| async move {
        let zones = world_zones;
        let ask =
            async |label: &str| head(&world.ask(&plain(&format!("{label}.signed.test"))).await);
        let change = |change: &dyn Fn(&mut Zones)| change(&mut zones.borrow_mut());
        assert_eq!(ask("n1").await, "NOERROR ra ad");
        // A key for the data is published ahead, and known by the time that it is used. The zone
        // did not wait for that: the new key is not among those that we know.
        change(&|zones| {
            let zone = zones.zone_mut("signed.test");
            let next = zone.publish_another();
            zone.sign_data_with(next);
        });
        assert_eq!(ask("n2").await, "NOERROR ra ad");
        // Both sign the keys, then the parent names the new one, then the old one goes.
        change(&|zones| {
            let zone = zones.zone_mut("signed.test");
            let next = zone.publish_another();
            zone.sign_keys_too_with(next);
        });
        assert_eq!(ask("n3").await, "NOERROR ra ad");
        change(&|zones| {
            let zone = zones.zone_mut("signed.test");
            let old = zone.change_over();
            let (child, digest) = (zone.name.clone(), zone.ds());
            zone.withdraw(&old);
            zones.zone_mut("test").name_key(&child, digest);
        });
        assert_eq!(ask("n4").await, "NOERROR ra ad");
        assert_eq!(ask("none.www").await, "NXDOMAIN ra ad");
        assert_eq!(world.counted(Event::Bogus), 0);
    });
}
