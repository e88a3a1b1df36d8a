//! The real binary validates over signed zones, while its upstreams spoil, delay or lose replies
//! about keys. Counts what the upstreams are asked.

mod client;
#[path = "../harness/process.rs"]
mod process;
#[path = "../harness/temporary.rs"]
mod temporary;
mod upstream;
mod zones;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use client::{Client, Flags};
use upstream::{Does, Upstream};
use zones::Signed;

const A: u16 = 1;
const NS: u16 = 2;
const DS: u16 = 43;
const DNSKEY: u16 = 48;
/// A validated answer of the signed zone.
const GOOD: &str = "NOERROR ad 192.0.2.1";

/// Starts a daemon with one rule, which validates the answers of these upstreams.
fn validating(zones: &Signed, upstreams: &[&Upstream]) -> Client {
    let servers: Vec<_> =
        upstreams.iter().map(|up| format!("{:?}", up.address().to_string())).collect();
    Client::start(&zones.anchor(), &servers.join(", "))
}

/// Counts the questions about keys that an upstream has heard, those included that were sent again
/// because this machine is busy: it hears the question of another name after them.
fn about_keys(client: &Client, upstream: &Upstream) -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    assert_eq!(client.ask(&format!("later{number}.signed.test"), A, Flags::Ad), GOOD);
    [DNSKEY, DS, NS].into_iter().map(|rtype| upstream.heard(rtype)).sum()
}

#[test]
fn one_bad_reply_about_keys_costs_no_client_its_answer() {
    for (qname, rtype) in
        [("signed.test", DNSKEY), ("signed.test", DS), ("test", DNSKEY), ("test", DS), ("", DNSKEY)]
    {
        for does in [Does::Corrupt, Does::Strip, Does::Replay, Does::Empty, Does::Fail, Does::Lose]
        {
            let zones = Signed::new();
            let upstream = Upstream::start(&zones);
            upstream.spoil(qname, rtype, 1, does);
            let client = validating(&zones, &[&upstream]);
            for label in ["www", "mail", "other"] {
                let reply = client.ask(&format!("{label}.signed.test"), A, Flags::Ad);
                assert_eq!(reply, GOOD, "{does:?} {qname} {rtype}");
            }
            assert_eq!(upstream.left(), 0, "{does:?} {qname} {rtype}: it was not asked for");
        }
    }
}

#[test]
fn a_late_reply_about_keys_makes_one_answer_slow_and_no_other() {
    let zones = Signed::new();
    let upstream = Upstream::start(&zones);
    // Later than a try waits, and earlier than the question's end.
    upstream.spoil("signed.test", DNSKEY, 64, Does::Delay(Duration::from_millis(1_300)));
    let client = validating(&zones, &[&upstream]);
    assert_eq!(client.ask("www.signed.test", A, Flags::Ad), GOOD);
    let before = about_keys(&client, &upstream);
    assert_eq!(client.ask("mail.signed.test", A, Flags::Ad), GOOD);
    assert_eq!(about_keys(&client, &upstream), before);
}

#[test]
fn one_bad_denial_of_keys_costs_no_client_its_answer() {
    for does in [Does::Corrupt, Does::Strip, Does::Empty, Does::Fail, Does::Lose] {
        let zones = Signed::new();
        let upstream = Upstream::start(&zones);
        upstream.spoil("unsigned.test", DS, 1, does);
        let client = validating(&zones, &[&upstream]);
        for label in ["www", "mail"] {
            let reply = client.ask(&format!("{label}.unsigned.test"), A, Flags::Ad);
            assert_eq!(reply, "NOERROR 192.0.2.1", "{does:?}");
        }
        assert_eq!(upstream.left(), 0, "{does:?}");
    }
}

#[test]
fn one_bad_answer_is_asked_for_once_more_and_its_keys_are_not() {
    let zones = Signed::new();
    let upstream = Upstream::start(&zones);
    let client = validating(&zones, &[&upstream]);
    assert_eq!(client.ask("www.signed.test", A, Flags::Ad), GOOD);
    let before = about_keys(&client, &upstream);
    upstream.spoil("mail.signed.test", A, 1, Does::Corrupt);
    assert_eq!(client.ask("mail.signed.test", A, Flags::Ad), GOOD);
    assert_eq!(upstream.left(), 0);
    assert_eq!(about_keys(&client, &upstream), before);
}

#[test]
fn further_names_of_a_zone_cost_no_question_about_keys() {
    let zones = Signed::new();
    let upstream = Upstream::start(&zones);
    let client = validating(&zones, &[&upstream]);
    assert_eq!(client.ask("www.signed.test", A, Flags::Ad), GOOD);
    assert_eq!(client.ask("www.unsigned.test", A, Flags::Ad), "NOERROR 192.0.2.1");
    let before = about_keys(&client, &upstream);
    for number in 0..20 {
        let reply = client.ask(&format!("n{number}.signed.test"), A, Flags::Ad);
        assert_eq!(reply, GOOD);
        let reply = client.ask(&format!("a.b.n{number}.unsigned.test"), A, Flags::Ad);
        assert_eq!(reply, "NOERROR 192.0.2.1");
    }
    assert_eq!(about_keys(&client, &upstream), before);
    assert!(upstream.heard(A) >= 42, "{}", upstream.heard(A));
}

#[test]
fn a_broken_zone_does_not_multiply_queries() {
    let zones = Signed::new();
    let upstream = Upstream::start(&zones);
    upstream.spoil("signed.test", DNSKEY, usize::MAX, Does::Corrupt);
    let client = validating(&zones, &[&upstream]);
    let begun = Instant::now();
    let names = 50;
    for number in 0..names {
        let reply = client.ask(&format!("n{number}.signed.test"), A, Flags::Ad);
        assert_eq!(reply, "SERVFAIL");
    }
    // Each ten seconds, sixteen answers are asked for again, and the keys of each zone twice; the
    // root, test and signed.test have keys. A busy machine adds questions that are sent again.
    let runs = 1 + usize::try_from(begun.elapsed().as_secs() / 10).expect("few");
    assert!(upstream.heard(A) <= names + 16 * runs + 15, "{}", upstream.heard(A));
    assert!(upstream.heard(DNSKEY) <= 3 * (1 + 2 * runs) + 10, "{}", upstream.heard(DNSKEY));
    assert!(upstream.heard(DS) <= 3 * (1 + 2 * runs) + 10, "{}", upstream.heard(DS));
}

#[test]
fn what_a_client_with_cd_asks_for_proves_nothing() {
    let zones = Signed::new();
    let upstream = Upstream::start(&zones);
    upstream.spoil("signed.test", DNSKEY, 1, Does::Corrupt);
    let client = validating(&zones, &[&upstream]);
    assert!(client.ask("signed.test", DNSKEY, Flags::CdAndDo).starts_with("NOERROR"));
    assert_eq!(upstream.left(), 0);
    assert_eq!(client.ask("www.signed.test", A, Flags::Ad), GOOD);
    // Only the client that set CD gets a forged answer.
    upstream.spoil("mail.signed.test", A, 1, Does::Forge);
    assert_eq!(client.ask("mail.signed.test", A, Flags::CdAndDo), "NOERROR 192.0.2.66");
    assert_eq!(client.ask("mail.signed.test", A, Flags::Ad), GOOD);
    assert_eq!(client.ask("mail.signed.test", A, Flags::CdAndDo), "NOERROR 192.0.2.66");
}

#[test]
fn an_upstream_that_strips_signatures_gives_way_to_another() {
    let zones = Signed::new();
    let (strips, good) = (Upstream::start(&zones), Upstream::start(&zones));
    strips.spoil_all(Does::Strip);
    let client = validating(&zones, &[&strips, &good]);
    for number in 0..20 {
        let reply = client.ask(&format!("n{number}.signed.test"), A, Flags::Ad);
        assert_eq!(reply, GOOD, "{number}");
    }
    // It was asked first until that was found out. On a busy machine the other may be late at
    // times.
    assert!(strips.heard(A) <= 10, "{}", strips.heard(A));
}

#[test]
fn one_bad_reply_about_keys_beside_an_upstream_that_strips_costs_no_client_its_answer() {
    for is_good_first in [true, false] {
        for (rtype, does) in [
            (DNSKEY, Does::Corrupt),
            (DNSKEY, Does::Strip),
            (DNSKEY, Does::Replay),
            (DNSKEY, Does::Fail),
            (DNSKEY, Does::Lose),
            (DNSKEY, Does::Delay(Duration::from_millis(1_300))),
            (DS, Does::Corrupt),
            (DS, Does::Replay),
            (DS, Does::Lose),
        ] {
            let zones = Signed::new();
            let (good, strips) = (Upstream::start(&zones), Upstream::start(&zones));
            strips.spoil_all(Does::Strip);
            let upstreams = if is_good_first { [&good, &strips] } else { [&strips, &good] };
            let client = validating(&zones, &upstreams);
            // The keys of the zones above are proven.
            assert_eq!(client.ask("www.signed.test", A, Flags::Ad), GOOD);
            good.spoil("hashed.test", rtype, 1, does);
            for number in 0..20 {
                let reply = client.ask(&format!("n{number}.hashed.test"), A, Flags::Ad);
                assert_eq!(reply, GOOD, "{does:?} {rtype} {is_good_first} {number}");
            }
            assert_eq!(good.left(), 0, "{does:?} {rtype} {is_good_first}: it was not asked for");
        }
    }
}

#[test]
fn a_zone_may_change_its_keys_in_a_hurry_beside_an_upstream_that_strips() {
    for is_good_first in [true, false] {
        let zones = Signed::new();
        let (good, strips) = (Upstream::start(&zones), Upstream::start(&zones));
        strips.spoil_all(Does::Strip);
        let upstreams = if is_good_first { [&good, &strips] } else { [&strips, &good] };
        let client = validating(&zones, &upstreams);
        assert_eq!(client.ask("n1.signed.test", A, Flags::Ad), GOOD);
        zones.change_data_key("signed.test");
        for number in 2..20 {
            let reply = client.ask(&format!("n{number}.signed.test"), A, Flags::Ad);
            assert_eq!(reply, GOOD, "{is_good_first} {number}");
        }
    }
}

#[test]
fn a_zone_may_change_its_keys_in_a_hurry() {
    let zones = Signed::new();
    let upstream = Upstream::start(&zones);
    let client = validating(&zones, &[&upstream]);
    assert_eq!(client.ask("n1.signed.test", A, Flags::Ad), GOOD);
    zones.change_data_key("signed.test");
    assert_eq!(client.ask("n2.signed.test", A, Flags::Ad), GOOD);
    let before = about_keys(&client, &upstream);
    assert_eq!(client.ask("n3.signed.test", A, Flags::Ad), GOOD);
    assert_eq!(about_keys(&client, &upstream), before);
}
