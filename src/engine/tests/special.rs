//! Special names: what is answered here, what goes on to a rule, and what no answer denies.

use super::*;
use crate::config::testing::{forward_all, plain};
use crate::config::{Expect, Forward, SpecialConfig};
use crate::special::{Scope, zones};

/// One that belongs to no site.
const OUTSIDE: &str = "192.0.2.53:53";
const INSIDE: &str = "10.0.0.4:53";

fn rule(zone: &str, servers: &[&str]) -> Forward {
    let upstreams = servers.iter().map(|server| plain(server.parse().expect("one"))).collect();
    Forward { zones: vec![zone.parse().expect("a name")], upstreams, ..forward_all() }
}

/// A snapshot whose rule for everything has these servers, with further rules.
fn forwarding(servers: &[&str], rules: &[&str]) -> Snapshot {
    with(|config| {
        config.forwards = vec![rule(".", servers)];
        config.forwards.extend(rules.iter().map(|zone| rule(zone, &[INSIDE])));
    })
}

fn verdict(snapshot: &Snapshot, name: &str, qtype: Rtype) -> Verdict {
    decided(snapshot, &asked("10.0.0.1"), &query(name, qtype.0, 1_232, 0)).0
}

fn soa(zone: &str) -> String {
    format!("{zone}. 300 SOA {zone}. nobody.invalid. 1 3600 300 2419200 300")
}

fn v6_address(last: u8) -> String {
    format!("{last}.{}ip6.arpa", "0.".repeat(31))
}

#[test]
fn every_special_zone_has_a_soa_and_a_ns_and_nothing_that_it_should_not_have() {
    let snapshot = forwarding(&[OUTSIDE], &[]);
    for zone in zones() {
        let name = zone.name.to_string();
        let soa = soa(&name);
        assert_eq!(ask(&snapshot, &name, Rtype::SOA), format!("NOERROR aa ra: {soa}"));
        let ns = format!("NOERROR aa ra: {name}. 300 NS {name}.");
        assert_eq!(ask(&snapshot, &name, Rtype::NS), ns);
        let nodata = format!("NOERROR aa ra:  | {soa}");
        assert_eq!(ask(&snapshot, &name, Rtype(15)), nodata);
        let below = ask(&snapshot, &format!("host.{name}"), Rtype::TXT);
        let exists = matches!(&*name, "localhost" | "resolver.arpa");
        let expected = if exists { nodata } else { format!("NXDOMAIN aa ra:  | {soa}") };
        assert_eq!(below, expected, "{name}");
    }
}

#[test]
fn localhost_is_this_host_and_so_is_its_reverse_name() {
    let snapshot = forwarding(&[OUTSIDE], &[]);
    for name in ["localhost", "a.b.localhost", "LOCALHOST"] {
        let owner = name.to_ascii_lowercase();
        let v4 = format!("NOERROR aa ra: {owner}. 300 A 127.0.0.1");
        assert_eq!(ask(&snapshot, name, Rtype::A).to_ascii_lowercase(), v4.to_ascii_lowercase());
        let v6 = format!("NOERROR aa ra: {owner}. 300 AAAA ::1");
        let said = ask(&snapshot, name, Rtype::AAAA);
        assert_eq!(said.to_ascii_lowercase(), v6.to_ascii_lowercase());
    }
    let any = ask(&snapshot, "a.localhost", Rtype::ANY);
    assert_eq!(any, "NOERROR aa ra: a.localhost. 300 A 127.0.0.1");
    for name in ["1.0.0.127.in-addr.arpa".to_owned(), v6_address(1)] {
        let said = ask(&snapshot, &name, Rtype::PTR);
        assert_eq!(said, format!("NOERROR aa ra: {name}. 300 PTR localhost."));
        assert!(ask(&snapshot, &name, Rtype::ANY).ends_with("PTR localhost."), "{name}");
        assert!(ask(&snapshot, &name, Rtype::TXT).starts_with("NOERROR aa ra:  | "), "{name}");
    }
    let nodata = format!("NOERROR aa ra:  | {}", soa("127.in-addr.arpa"));
    for name in ["0.127.in-addr.arpa", "0.0.127.in-addr.arpa"] {
        assert_eq!(ask(&snapshot, name, Rtype::PTR), nodata, "{name}");
    }
    for name in ["1.127.in-addr.arpa", "2.0.0.127.in-addr.arpa", "1.1.0.0.127.in-addr.arpa"] {
        let said = ask(&snapshot, name, Rtype::PTR);
        assert!(said.starts_with("NXDOMAIN aa ra:  | "), "{name}: {said}");
    }
}

#[test]
fn every_type_is_answered_and_nothing_is_authentic() {
    let snapshot = forwarding(&[OUTSIDE], &[]);
    for qtype in 1..=u16::MAX {
        let message = query("x.invalid", qtype, 1_232, 0x8000);
        let (verdict, reply) = decided(&snapshot, &asked("10.0.0.1"), &message);
        match Rtype(qtype) {
            Rtype::OPT => assert_eq!(verdict, Verdict::Reply(Outcome::Fault)),
            Rtype::AXFR | Rtype::IXFR => assert_eq!(verdict, Verdict::Reply(Outcome::Refused)),
            _ => {
                assert_eq!(verdict, Verdict::Reply(Outcome::Special));
                let expected = format!("NXDOMAIN aa ra:  | {}", soa("invalid"));
                assert_eq!(text(&reply), expected, "{qtype}");
            }
        }
    }
    let svcb = format!("NOERROR aa ra:  | {}", soa("resolver.arpa"));
    assert_eq!(ask(&snapshot, "_dns.resolver.arpa", Rtype::SVCB), svcb);
}

#[test]
fn a_sites_names_go_to_servers_of_the_site_alone() {
    let names = ["1.0.0.10.in-addr.arpa", "dc1.corp.local", "nas.home.arpa", "a.test"];
    let azure = "168.63.129.16:53";
    for (servers, goes) in [
        (&[INSIDE][..], true),
        (&[azure], true),
        (&[azure, INSIDE, "127.0.0.53:53", "[fd00::4]:53", "169.254.169.253:53"], true),
        (&[OUTSIDE], false),
        (&[INSIDE, OUTSIDE], false),
        (&["[2620:fe::fe]:53"], false),
        (&[], false),
    ] {
        let snapshot = forwarding(servers, &[]);
        for name in names {
            let expected = match goes || servers.is_empty() {
                true => Verdict::Forward,
                false => Verdict::Reply(Outcome::Special),
            };
            assert_eq!(verdict(&snapshot, name, Rtype::PTR), expected, "{name}: {servers:?}");
        }
        for name in ["a.invalid", "a.onion", "localhost", "1.0.0.127.in-addr.arpa"] {
            let said = verdict(&snapshot, name, Rtype::A);
            assert_eq!(said, Verdict::Reply(Outcome::Special), "{name}: {servers:?}");
        }
    }
    // A daemon without upstreams denies no name that another server of the client may have.
    let nothing = with(|_| {});
    for name in names {
        assert_eq!(ask(&nothing, name, Rtype::PTR), "REFUSED ra: ", "{name}");
    }
    assert!(ask(&nothing, "localhost", Rtype::A).ends_with("A 127.0.0.1"));
}

#[test]
fn a_rule_has_its_part_and_no_name_above_it_is_denied() {
    let rules = ["3.5.10.in-addr.arpa", "corp.local", "a.b.invalid", "d.f.ip6.arpa", "localhost"];
    let snapshot = forwarding(&[OUTSIDE], &rules);
    for zone in rules {
        for name in [zone.to_owned(), format!("x.{zone}")] {
            assert_eq!(verdict(&snapshot, &name, Rtype::PTR), Verdict::Forward, "{name}");
        }
    }
    for (name, zone) in [
        ("10.in-addr.arpa", "10.in-addr.arpa"),
        ("5.10.in-addr.arpa", "10.in-addr.arpa"),
        ("local", "local"),
        ("b.invalid", "invalid"),
    ] {
        let nodata = format!("NOERROR aa ra:  | {}", soa(zone));
        assert_eq!(ask(&snapshot, name, Rtype::A), nodata, "{name}");
    }
    for name in ["6.10.in-addr.arpa", "4.5.10.in-addr.arpa", "x.local", "c.invalid"] {
        assert!(ask(&snapshot, name, Rtype::A).starts_with("NXDOMAIN aa ra:  | "), "{name}");
    }
    // A rule above special zones names them too, unless it is for everything.
    let above = forwarding(&[OUTSIDE], &["in-addr.arpa"]);
    for name in ["1.0.0.10.in-addr.arpa", "1.0.0.127.in-addr.arpa"] {
        assert_eq!(verdict(&above, name, Rtype::PTR), Verdict::Forward, "{name}");
    }
}

#[test]
fn a_private_zone_in_a_special_one_has_its_part() {
    let snapshot = with(|config| {
        config.forwards = vec![rule(".", &[OUTSIDE])];
        let link = &mut config.private_links[0];
        link.public_zone = "db.corp.local".parse().expect("a name");
        link.private_zone = "privatelink.db.corp.local".parse().expect("a name");
        link.unlisted = Unlisted::Forward;
    });
    let said = ask(&snapshot, "api.db.corp.local", Rtype::A);
    assert!(said.ends_with("A 10.1.0.5"), "{said}");
    // Its other names are the upstream's, as `unlisted` says.
    assert_eq!(verdict(&snapshot, "x.db.corp.local", Rtype::A), Verdict::Forward);
    for name in ["local", "corp.local"] {
        let nodata = format!("NOERROR aa ra:  | {}", soa("local"));
        assert_eq!(ask(&snapshot, name, Rtype::A), nodata, "{name}");
    }
    assert!(ask(&snapshot, "x.corp.local", Rtype::A).starts_with("NXDOMAIN"));
}

#[test]
fn the_ds_of_a_delegated_zone_is_its_parents() {
    let snapshot = forwarding(&[OUTSIDE], &[]);
    for zone in zones() {
        let name = zone.name.to_string();
        let said = verdict(&snapshot, &name, Rtype::DS);
        let expected = match name.contains('.') {
            true => Verdict::Forward,
            false => Verdict::Reply(Outcome::Special),
        };
        assert_eq!(said, expected, "{name}");
        let below = verdict(&snapshot, &format!("x.{name}"), Rtype::DS);
        assert_eq!(below, Verdict::Reply(Outcome::Special), "{name}");
    }
    assert!(ask(&with(|_| {}), "127.in-addr.arpa", Rtype::DS).starts_with("NOERROR aa ra:  | "));
}

#[test]
fn the_configuration_says_what_is_forwarded_and_what_is_answered() {
    let listed = |servers: &[&str], forward: &[&str], answer: &[&str]| {
        let names = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("one")).collect();
        with(|config| {
            config.forwards = vec![rule(".", servers)];
            config.special = SpecialConfig { forward: names(forward), answer: names(answer) };
        })
    };
    let everything = listed(&[OUTSIDE], &["."], &[]);
    for zone in zones() {
        let name = zone.name.to_string();
        assert_eq!(verdict(&everything, &name, Rtype::A), Verdict::Forward, "{name}");
    }
    let nothing = listed(&[INSIDE], &[], &["."]);
    for zone in zones() {
        let name = zone.name.to_string();
        let expected = Verdict::Reply(Outcome::Special);
        assert_eq!(verdict(&nothing, &name, Rtype(15)), expected, "{name}");
    }
    let part = listed(&[OUTSIDE], &["7.10.in-addr.arpa"], &[]);
    assert_eq!(verdict(&part, "1.7.10.in-addr.arpa", Rtype::PTR), Verdict::Forward);
    assert!(ask(&part, "10.in-addr.arpa", Rtype::PTR).starts_with("NOERROR"));
    assert!(ask(&part, "8.10.in-addr.arpa", Rtype::PTR).starts_with("NXDOMAIN"));
}

#[test]
fn an_explanation_says_which_rfc_and_how_to_turn_it_off() {
    let step = |snapshot: &Snapshot, name: &str| {
        let ask = Ask {
            name: name.parse().expect("a name"),
            rtype: Rtype::A,
            client: "10.0.0.1".parse().expect("an address"),
            dnssec: false,
        };
        let explanation = snapshot.explain(&ask, false).expect("readable");
        let special = explanation.steps.into_iter().find_map(|step| match step {
            Step::Special { zone, source, because, outside } => {
                Some((zone, source, because, outside))
            }
            _ => None,
        });
        (explanation.verdict, special.expect("a step"))
    };
    let local = |because, outside: Option<&str>| {
        ("local".to_owned(), "RFC 6762 §22.1".to_owned(), because, outside.map(str::to_owned))
    };
    let (verdict, said) = step(&forwarding(&[INSIDE, OUTSIDE], &[]), "x.local");
    assert_eq!(verdict, Conclusion::Special);
    assert_eq!(said, local(SpecialReason::Outside, Some(OUTSIDE)));
    let (verdict, said) = step(&forwarding(&[INSIDE], &[]), "x.local");
    assert_eq!(verdict, Conclusion::Forwarded);
    assert_eq!(said, local(SpecialReason::Inside, None));
    let (_, (zone, _, because, _)) = step(&forwarding(&[INSIDE], &[]), "x.onion");
    assert_eq!((&*zone, because), ("onion", SpecialReason::Nowhere));
}

#[test]
fn an_expectation_may_be_about_a_special_name() {
    let snapshot = forwarding(&[OUTSIDE], &[]);
    let expect = |query: &str, answer: &[&str]| Expect {
        client: "10.0.0.1".parse().expect("an address"),
        qname: query.parse().expect("a name"),
        qtype: Rtype::A,
        answer: answer.iter().map(|text| text.parse().expect("an address")).collect(),
        line: 1,
    };
    let unmet = |expect: Expect| snapshot.unmet(&[expect]).pop().map(|unmet| unmet.what);
    assert_eq!(unmet(expect("a.localhost", &["127.0.0.1"])), None);
    assert_eq!(unmet(expect("x.local", &[])), None);
    let what = unmet(expect("x.local", &["10.1.0.5"])).expect("it does not hold");
    assert!(what.contains("it is a special name, and the answer is []"), "{what}");
}

#[test]
fn our_own_questions_leave_no_more_than_those_of_clients() {
    let snapshot = forwarding(&[OUTSIDE], &["corp.local"]);
    let goes = |name: &str, qtype| {
        let question = Question::plain(name.parse().expect("a name"), qtype);
        snapshot.rule_for(&question).is_some()
    };
    assert!(goes("www.example", Rtype::DNSKEY) && goes("a.corp.local", Rtype::A));
    assert!(goes("10.in-addr.arpa", Rtype::DS));
    assert!(!goes("a.local", Rtype::A) && !goes("a.invalid", Rtype::DS));
    assert!(!goes("1.10.in-addr.arpa", Rtype::DS));
    let special = zones().into_iter().filter(|zone| zone.scope == Scope::Nowhere);
    for zone in special {
        assert!(!goes(&format!("a.{}", zone.name), Rtype::A), "{}", zone.name);
    }
}
