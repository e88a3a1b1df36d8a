//! `[[expect]]`: what holds, and what is said of what does not.

use super::kept::{keep, wire};
use super::*;
use crate::config::testing::forward_all;
use crate::config::{Expect, Site};
use crate::wire::{Header, Query};

fn expect(client: &str, name: &str, qtype: Rtype, answer: &[&str]) -> Expect {
    Expect {
        client: client.parse().expect("an address"),
        qname: name.parse().expect("a name"),
        qtype,
        answer: answer.iter().map(|a| a.parse().expect("an address")).collect(),
        line: 7,
    }
}

/// What is said of the one expectation, which must not hold.
fn words(snapshot: &Snapshot, expect: Expect) -> String {
    let unmet = snapshot.unmet(&[expect]);
    assert_eq!(unmet.len(), 1);
    assert_eq!(unmet[0].line, 7);
    unmet[0].what.clone()
}

/// Two sites; `hub` for everybody, `paris` and `rome` for their own; `hub` has IPv6 too.
fn two_sites() -> Snapshot {
    with(|config| {
        let site = |name: &str, network: &str| Site {
            name: name.to_owned(),
            networks: vec![network.parse().expect("a prefix")],
        };
        config.sites = vec![site("paris", "10.2.0.0/16"), site("rome", "10.3.0.0/16")];
        config.private_links = vec![defender(vec![
            endpoint("hub", &[], &["10.1.0.5", "fd00::5"], &[]),
            endpoint("paris", &[0], &["10.2.0.5", "10.2.0.6"], &[]),
            endpoint("rome", &[1], &["10.3.0.5"], &[]),
        ])];
        config.forwards = vec![forward_all()];
    })
}

#[test]
fn each_site_has_its_own_answer_in_both_families() {
    let snapshot = two_sites();
    let (public, private) = (format!("api.{P}"), format!("api.{Q}"));
    for name in [&public, &private] {
        let all = [
            expect("10.9.9.9", name, Rtype::A, &["10.1.0.5"]),
            expect("10.2.9.9", name, Rtype::A, &["10.2.0.5", "10.2.0.6"]),
            // In any order, and once or twice.
            expect("10.2.9.9", name, Rtype::A, &["10.2.0.6", "10.2.0.5", "10.2.0.5"]),
            expect("10.3.9.9", name, Rtype::A, &["10.3.0.5"]),
            expect("10.9.9.9", name, Rtype::AAAA, &["fd00::5"]),
            // NODATA.
            expect("10.2.9.9", name, Rtype::AAAA, &[]),
            // IPv4 inside IPv6, as some programs write it.
            expect("::ffff:10.2.9.9", name, Rtype::A, &["10.2.0.5", "10.2.0.6"]),
        ];
        assert_eq!(snapshot.unmet(&all), []);
    }
}

#[test]
fn who_answers_and_for_which_site_is_said() {
    let snapshot = two_sites();
    let api = format!("api.{P}");
    let said = words(&snapshot, expect("10.2.9.9", &api, Rtype::A, &["10.1.0.5"]));
    let expected = format!(
        "10.2.9.9 (site paris) asks {api} A: expected [10.1.0.5], but the answer is [10.2.0.5, \
         10.2.0.6], from endpoint paris by its wildcard"
    );
    assert_eq!(said, expected);
    // A part of the answer is not the answer, nor is more than it.
    for answer in [&["10.2.0.5"][..], &["10.2.0.5", "10.2.0.6", "10.2.0.7"], &[]] {
        words(&snapshot, expect("10.2.9.9", &api, Rtype::A, answer));
    }
    let said = words(&snapshot, expect("10.9.9.9", &api, Rtype::AAAA, &[]));
    assert!(said.contains("the answer is [fd00::5], from endpoint hub"), "{said}");
}

#[test]
fn an_empty_answer_is_ours_or_does_not_hold() {
    let snapshot = with(|config| {
        config.private_links[0].unlisted = Unlisted::Nxdomain;
        config.forwards = vec![forward_all()];
    });
    let all = [
        expect("10.0.0.1", &format!("nobody.{P}"), Rtype::A, &[]),
        expect("10.0.0.1", &format!("nobody.{Q}"), Rtype::AAAA, &[]),
        // A label above a listed name.
        expect("10.0.0.1", &format!("westeurope.{Q}"), Rtype::A, &[]),
    ];
    assert_eq!(snapshot.unmet(&all), []);
    let forwarding = with(|config| {
        config.private_links[0].unlisted = Unlisted::Forward;
        config.forwards = vec![forward_all()];
    });
    for zone in [P, Q] {
        let above = expect("10.0.0.1", &format!("westeurope.{zone}"), Rtype::A, &[]);
        let said = words(&forwarding, above);
        assert!(said.ends_with("it is forwarded, not answered from a private-link zone"), "{said}");
    }
    // What an upstream says cannot be expected, not even nothing.
    for name in ["www.example", P] {
        let said = words(&snapshot, expect("10.0.0.1", name, Rtype::A, &[]));
        assert!(said.ends_with("it is forwarded, not answered from a private-link zone"), "{said}");
    }
}

#[test]
fn what_is_kept_proves_nothing() {
    let snapshot = with(|config| config.forwards = vec![forward_all()]);
    let end = format!("api.{Q}");
    let chain = [
        ("www.contoso.com", 300, Rtype::CNAME, wire(&end)),
        (&*end, 60, Rtype::A, vec![20, 50, 1, 1]),
    ];
    keep(&snapshot, "www.contoso.com", Rtype::A, 0, &chain, Duration::ZERO);
    let answered = ask(&snapshot, "www.contoso.com", Rtype::A);
    assert!(answered.ends_with("A 10.1.0.5"), "{answered}");
    // A start, which has no cache yet, could not say so.
    let said = words(&snapshot, expect("10.0.0.1", "www.contoso.com", Rtype::A, &["10.1.0.5"]));
    assert!(said.contains("it is forwarded"), "{said}");
}

#[test]
fn why_a_client_gets_nothing_is_said() {
    let api = format!("api.{P}");
    let outside = |refused| {
        let snapshot = with(|config| config.access.refused = refused);
        words(&snapshot, expect("192.0.2.1", &api, Rtype::A, &["10.1.0.5"]))
    };
    let said = outside(Refused::Answer);
    assert!(said.contains("it is refused: ") && said.contains("access"), "{said}");
    let said = outside(Refused::Drop);
    assert!(said.contains("refused = \"drop\""), "{said}");
    // Nothing is forwarded there.
    let said = words(&with(|_| {}), expect("10.0.0.1", "www.example", Rtype::A, &[]));
    assert!(said.contains("it is refused: ") && !said.contains("access"), "{said}");
}

#[test]
fn the_first_thousand_are_told() {
    let snapshot = two_sites();
    let wrong = expect("10.9.9.9", &format!("api.{P}"), Rtype::A, &["10.9.9.9"]);
    let right = expect("10.9.9.9", &format!("api.{P}"), Rtype::A, &["10.1.0.5"]);
    let mut all = vec![right; 20_000];
    assert_eq!(snapshot.unmet(&all), []);
    all.extend(vec![wrong; MAX_UNMET - 1]);
    assert_eq!(snapshot.unmet(&all).len(), MAX_UNMET - 1);
    all.extend(all[20_000..20_002].to_vec());
    assert_eq!(snapshot.unmet(&all).len(), MAX_UNMET);
}

#[test]
fn a_query_says_what_its_question_wants() {
    let question = Question {
        dnssec_ok: true,
        checking_disabled: true,
        ..Question::plain("api.example".parse().expect("a name"), Rtype::A)
    };
    let with = question_message(7, &question, true);
    let read = Query::parse(&with).expect("a query");
    assert!(read.dnssec_ok() && read.to_question() == question);
    assert_eq!(Header::read(&with).map(|h| (h.id, h.flags)), Some((7, flags::RD | flags::CD)));
    let without = question_message(7, &question, false);
    assert_eq!(Header::read(&without).map(|header| header.additionals), Some(0));
    assert!(without.ends_with(b"\x07example\0\0\x01\0\x01"));
}
