//! Addresses that must not go out.

use std::net::IpAddr;
use std::rc::Rc;

use super::super::complaints::Subject;
use super::upstream::{Answering, in_world};
use super::*;
use crate::config::Forward;
use crate::config::testing::forward_all;
use crate::metrics::Event;
use crate::wire::Query;

/// (owner, type, RDATA).
type Line = (String, Rtype, Vec<u8>);

fn wire(name: &str) -> Vec<u8> {
    name.parse::<Name>().expect("a name").as_wire().to_vec()
}

fn address(owner: &str, text: &str) -> Line {
    match text.parse().expect("an address") {
        IpAddr::V4(v4) => (owner.to_owned(), Rtype::A, v4.octets().to_vec()),
        IpAddr::V6(v6) => (owner.to_owned(), Rtype::AAAA, v6.octets().to_vec()),
    }
}

fn cname(owner: &str, target: &str) -> Line {
    (owner.to_owned(), Rtype::CNAME, wire(target))
}

fn reply(qname: &str, qtype: Rtype, answers: &[Line]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = MessageWriter::begin(&mut out, 65_535, 1, flags::QR);
    writer.raw(&wire(qname)).expect("room");
    writer.raw(&[qtype.0.to_be_bytes(), [0, 1]].concat()).expect("room");
    for (owner, rtype, rdata) in answers {
        writer.raw(&wire(owner)).expect("room");
        writer.fixed(*rtype, 1, 300, rdata.len()).expect("room");
        writer.raw(rdata).expect("room");
    }
    writer.set_counts([1, u16::try_from(answers.len()).expect("few"), 0, 0]);
    out
}

fn rule(change: impl FnOnce(&mut Forward)) -> Snapshot {
    protecting(change, |_| {})
}

fn protecting(
    change: impl FnOnce(&mut Forward),
    config: impl FnOnce(&mut crate::config::PrivateLink),
) -> Snapshot {
    with(|all| {
        let mut forward = forward_all();
        change(&mut forward);
        all.forwards = vec![forward];
        config(&mut all.private_links[0]);
    })
}

fn admits(snapshot: &Snapshot, qname: &str, qtype: Rtype, answers: &[Line]) -> bool {
    let question = Question::plain(qname.parse().expect("a name"), qtype);
    let answer = Answer::parse(&reply(qname, qtype, answers), &question).expect("a reply");
    let rule = snapshot.rules.find(&(&question.qname).into());
    rule.is_none_or(|rule| snapshot.guard_check(rule, &question, &answer.borrowed()).is_ok())
}

fn admits_address(snapshot: &Snapshot, text: &str) -> bool {
    let line = address("www.example", text);
    admits(snapshot, "www.example", line.1, &[line])
}

const PUBLIC: [&str; 10] = [
    "20.1.2.3",
    "203.0.113.9",
    "224.0.0.1",
    "2603:1030::1",
    "::ffff:20.1.2.3",
    "64:ff9b::20.1.2.3",
    "64:ff9b:1::20.1.2.3",
    "2002:1401:203::1",
    "2001:0:1401:203::ebfe:fdfc",
    "2603:1030::5efe:20.1.2.3",
];
const PRIVATE: [&str; 14] = [
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "169.254.169.254",
    "0.0.0.0",
    "::",
    "::1",
    "fd00::1",
    "fe80::1",
    "::ffff:10.1.2.3",
    "64:ff9b::10.1.2.3",
    "::10.1.2.3",
    "::ffff:0:10.1.2.3",
    "fd00::5efe:10.1.2.3",
];
/// Neither an address of the Internet nor one that a private name should have: reserved ranges, and
/// tunnels whose routers take a private address out of a public one.
const NEITHER: [&str; 8] = [
    "0.1.2.3",
    "198.18.0.1",
    "240.0.0.1",
    "fec0::1",
    "::0.1.2.3",
    "2603:1030::5efe:10.1.2.3",
    "2603:1030::200:5efe:10.1.2.3",
    // Teredo by the server 20.1.2.3 to the client 10.1.2.3, whose bits are inverted.
    "2001:0:1401:203::f5fe:fdfc",
];

#[test]
fn a_rule_lets_through_all_addresses_or_those_of_one_kind() {
    let all = rule(|_| {});
    let private = rule(|rule| rule.require_private = true);
    let public = rule(|rule| rule.rebind_protection = Some(Vec::new()));
    for text in PUBLIC {
        assert!(admits_address(&all, text), "{text}");
        assert!(!admits_address(&private, text), "{text}");
        assert!(admits_address(&public, text), "{text}");
    }
    for text in PRIVATE {
        assert!(admits_address(&all, text), "{text}");
        assert!(admits_address(&private, text), "{text}");
        assert!(!admits_address(&public, text), "{text}");
    }
    for text in NEITHER {
        assert!(admits_address(&all, text), "{text}");
        assert!(!admits_address(&private, text), "{text}");
        assert!(!admits_address(&public, text), "{text}");
    }
}

#[test]
fn one_address_among_many_is_enough() {
    let private = rule(|rule| rule.require_private = true);
    let mut answers = vec![cname("www.example", "edge.example")];
    answers.extend((1..9).map(|last| address("edge.example", &format!("10.0.0.{last}"))));
    assert!(admits(&private, "www.example", Rtype::A, &answers));
    answers.push(address("edge.example", "20.1.2.3"));
    assert!(!admits(&private, "www.example", Rtype::A, &answers));
}

#[test]
fn exceptions_hold_for_the_name_asked_at_and_below_them() {
    let exceptions = ["corp.example".parse().expect("a name")];
    let public = rule(|rule| rule.rebind_protection = Some(exceptions.to_vec()));
    let asks = |qname: &str, end: &str| {
        let mut answers = vec![address(end, "10.1.2.3")];
        if qname != end {
            answers.push(cname(qname, end));
        }
        admits(&public, qname, Rtype::A, &answers)
    };
    assert!(asks("corp.example", "corp.example"));
    assert!(asks("host.corp.example", "cdn.test"));
    assert!(!asks("xcorp.example", "xcorp.example"));
    // Anybody can point a name of their own there.
    assert!(!asks("evil.test", "host.corp.example"));
}

#[test]
fn hints_in_service_bindings_are_addresses_too() {
    let private = rule(|rule| rule.require_private = true);
    let public = rule(|rule| rule.rebind_protection = Some(Vec::new()));
    let binding = |params: &[(u16, &[u8])]| -> Vec<u8> {
        let mut rdata = vec![0, 1, 0];
        for (key, value) in params {
            rdata.extend(key.to_be_bytes());
            rdata.extend(u16::try_from(value.len()).expect("short").to_be_bytes());
            rdata.extend_from_slice(value);
        }
        rdata
    };
    let alpn: (u16, &[u8]) = (1, b"\x02h2");
    let v4: &[u8] = &[10, 0, 0, 1, 20, 1, 2, 3];
    let v6: &[u8] = &[0xfd; 16];
    for rtype in [Rtype::HTTPS, Rtype::SVCB] {
        let holds = |snapshot: &Snapshot, params: &[(u16, &[u8])]| {
            let line = ("www.example".to_owned(), rtype, binding(params));
            admits(snapshot, "www.example", rtype, &[line])
        };
        assert!(holds(&private, &[alpn]));
        assert!(!holds(&private, &[alpn, (4, v4)]));
        assert!(holds(&private, &[alpn, (6, v6)]));
        assert!(!holds(&public, &[alpn, (6, v6)]));
        assert!(!holds(&public, &[(4, &v4[..4])]));
        assert!(holds(&public, &[(4, &v4[4..])]));
    }
}

#[test]
fn a_zone_protects_its_names_wherever_a_chain_meets_them() {
    // Names that no endpoint lists are forwarded, so chains are not cut at them.
    let snapshot = protecting(
        |_| {},
        |link| {
            link.require_private = true;
            link.unlisted = Unlisted::Forward;
        },
    );
    let (p, q, listed) = (format!("x.{P}"), format!("x.{Q}"), format!("api.{P}"));
    let ends = |chain: &[&str], end: &str| {
        let mut answers: Vec<_> = chain.windows(2).map(|link| cname(link[0], link[1])).collect();
        answers.push(address(chain[chain.len() - 1], end));
        admits(&snapshot, chain[0], Rtype::A, &answers)
    };
    for chain in [&[P][..], &[&p], &[&q], &[&p, &q, "cdn.test"], &["a.test", &q, "cdn.test"]] {
        assert!(!ends(chain, "20.1.2.3"), "{chain:?}");
        assert!(ends(chain, "10.1.2.3"), "{chain:?}");
    }
    assert!(ends(&["a.test", "cdn.test"], "20.1.2.3"));
    // Cut before the upstream's end, which nobody gets.
    assert!(ends(&["a.test", &listed], "20.1.2.3"));
    assert!(ends(&["a.test", &p, &listed], "20.1.2.3"));
}

fn answers_with(lines: Vec<Line>) -> Answering {
    Rc::new(move |query: &Query<'_>| {
        let qname = query.qname.to_name().to_string();
        Some(reply(&qname, query.qtype, &lines))
    })
}

#[test]
fn a_refused_answer_is_a_failure_with_its_reason_and_is_not_kept() {
    let public = answers_with(vec![address("www.example", "20.1.2.3")]);
    in_world(
        public,
        |_, rule| rule.require_private = true,
        |world| async move {
            // The second is told what the first was, and counts as well.
            for asked in 1..=2 {
                let reply = world.ask(&query("www.example", 1, 1_232, 0)).await;
                assert_eq!(text(&reply), "SERVFAIL ra: ");
                let shown = Shown::read(&reply).expect("a reply");
                assert_eq!(
                    shown.extended_errors,
                    ["17 (Filtered): public address 20.1.2.3 for a name that must be private"]
                );
                assert_eq!(world.counted(Event::FilteredPublic), asked);
            }
            assert!(world.worker.snapshot().cache.is_empty());
        },
    );
    let private = answers_with(vec![address("www.example", "::ffff:10.1.2.3")]);
    in_world(
        private,
        |_, rule| rule.rebind_protection = Some(Vec::new()),
        |world| async move {
            let reply = world.ask(&query("www.example", 28, 1_232, 0)).await;
            let shown = Shown::read(&reply).expect("a reply");
            let why = "17 (Filtered): private address ::ffff:10.1.2.3 refused: rebind protection";
            assert_eq!(shown.extended_errors, [why]);
            assert_eq!(world.counted(Event::FilteredPrivate), 1);
        },
    );
}

#[test]
fn a_chain_that_enters_our_zone_is_answered_by_us_whatever_followed() {
    let chain =
        vec![cname("www.example", &format!("api.{Q}")), address(&format!("api.{Q}"), "20.1.2.3")];
    let protect = |config: &mut Config, rule: &mut Forward| {
        rule.require_private = true;
        config.private_links[0].require_private = true;
    };
    in_world(answers_with(chain), protect, |world| async move {
        for _ in 0..2 {
            let reply = world.ask(&query("www.example", 1, 1_232, 0)).await;
            assert_eq!(
                text(&reply),
                format!("NOERROR ra: www.example. 300 CNAME api.{Q}.; api.{Q}. 60 A 10.1.0.5")
            );
        }
        assert_eq!(world.heard(Rtype::A), 1);
        assert_eq!(world.counted(Event::FilteredPublic), 0);
    });
}

#[test]
fn a_snapshot_that_refuses_more_does_not_take_over_answers() {
    let lax = with(|_| {});
    let strict = with(|config| config.private_links[0].require_private = true);
    assert!(lax.is_no_stricter_than(&strict));
    assert!(strict.is_no_stricter_than(&strict));
    assert!(!strict.is_no_stricter_than(&lax));
}

#[test]
fn a_reload_does_not_begin_anew_with_its_log_lines() {
    let (old, mut new) = (with(|_| {}), with(|_| {}));
    let zone: Name = "a.test".parse().expect("a name");
    assert_eq!(old.complaints.note(Subject::Address, &zone), Some(0));
    new.carry_over(&old);
    assert_eq!(new.complaints.note(Subject::Address, &zone), None);
}

#[test]
fn an_explanation_says_what_is_looked_for() {
    let checks = |snapshot: &Snapshot, name: &str| {
        let ask = Ask {
            name: name.parse().expect("a name"),
            rtype: Rtype::A,
            client: "10.0.0.1".parse().expect("an address"),
            dnssec: false,
        };
        let explained = snapshot.explain(&ask, false).expect("readable");
        explained.steps.into_iter().find(|step| matches!(step, Step::Checks { .. }))
    };
    let zone = protecting(|_| {}, |link| link.require_private = true);
    let expected = Step::Checks {
        require_private: Some(P.to_owned()),
        rebind_protection: false,
        dnssec: false,
    };
    assert_eq!(checks(&zone, P), Some(expected));
    assert_eq!(checks(&zone, "www.example"), None);
    let public = rule(|rule| rule.rebind_protection = Some(Vec::new()));
    let expected = Step::Checks { require_private: None, rebind_protection: true, dnssec: false };
    assert_eq!(checks(&public, "www.example"), Some(expected));
}

#[test]
fn an_answer_fetched_by_a_second_rule_is_held_against_that_rule() {
    let answering: Answering = Rc::new(|query: &Query<'_>| {
        let qname = query.qname.to_name().to_string();
        let line = match qname.trim_end_matches('.') {
            "alias.test" => cname("alias.test", "db.corp.test"),
            _ => address("db.corp.test", "20.1.2.3"),
        };
        Some(reply(&qname, query.qtype, &[line]))
    });
    in_world(
        answering,
        |config, rule| {
            let zones = vec!["corp.test".parse().expect("a name")];
            config.forwards.push(Forward { zones, require_private: true, ..rule.clone() });
        },
        |world| async move {
            let shown = Shown::read(&world.ask(&query("alias.test", 1, 1_232, 0)).await);
            let errors = shown.expect("a reply").extended_errors;
            assert!(errors[0].starts_with("17 (Filtered): public address 20.1.2.3"), "{errors:?}");
        },
    );
}

#[test]
fn what_an_upstream_says_behind_the_cut_is_not_kept() {
    let target = format!("api.{Q}");
    let lines = vec![cname("www.example", &target), address(&target, "20.1.2.3")];
    in_world(
        answers_with(lines),
        |_, rule| rule.require_private = true,
        |world| async move {
            let reply = world.ask(&query("www.example", 1, 1_232, 0)).await;
            assert!(text(&reply).ends_with(&format!("api.{Q}. 60 A 10.1.0.5")), "{}", text(&reply));
            let question = Question::plain("www.example".parse().expect("a name"), Rtype::A);
            let question = Question { dnssec_ok: false, ..question };
            let snapshot = world.worker.snapshot();
            let hit = snapshot.cache.find(&question.borrowed(), Instant::now()).expect("kept");
            assert!(hit.needs_us);
            assert_eq!(hit.answer().records().count(), 1, "the CNAME alone");
        },
    );
}

/// A label above a listed name is forwarded like any other that is not listed, and protected like
/// them.
#[test]
fn a_name_above_a_listed_one_must_be_private_too() {
    let required = |require_private| {
        protecting(
            |_| {},
            |link| {
                link.unlisted = Unlisted::Forward;
                link.require_private = require_private;
            },
        )
    };
    for zone in [P, Q] {
        let name = format!("westeurope.{zone}");
        let public = [address(&name, "20.1.2.3")];
        assert!(admits(&required(false), &name, Rtype::A, &public));
        assert!(!admits(&required(true), &name, Rtype::A, &public));
        assert!(admits(&required(true), &name, Rtype::A, &[address(&name, "10.1.2.3")]));
        let chain = [cname("www.example", &name), address(&name, "20.1.2.3")];
        assert!(!admits(&required(true), "www.example", Rtype::A, &chain));
    }
}
