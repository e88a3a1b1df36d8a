//! Which rule, which servers, and resolv.conf changing under us.

use std::collections::HashMap;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::config::testing::{forward_all, plain};
use crate::config::{Forward, Scheme, UpstreamHost, UpstreamServer, UpstreamSource};
use crate::forward::target::{Evidence, Mark};
use crate::forward::{OwnAddresses, Rule, Rules, own_upstreams};
use crate::sys::{LocalAddress, scope_id};
use crate::wire::{Name, QName};

pub(super) fn address(text: &str) -> UpstreamSource {
    plain(text.parse().unwrap())
}

pub(super) fn forward(zones: &[&str], upstreams: Vec<UpstreamSource>) -> Forward {
    Forward {
        zones: zones.iter().map(|zone| zone.parse().unwrap()).collect(),
        upstreams,
        timeout: Duration::from_secs(1),
        ..forward_all()
    }
}

fn servers(rule: &Rule) -> Vec<String> {
    rule.targets().iter().map(|target| target.upstream().server().to_string()).collect()
}

fn own() -> OwnAddresses {
    OwnAddresses {
        listen: vec!["0.0.0.0:53".parse().unwrap(), "[fd00::5]:53".parse().unwrap()],
        local: vec!["10.0.0.9".parse::<IpAddr>().unwrap().into()],
    }
}

/// A file of its own for each test, gone with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("privatelinkd-{}-{number}.conf", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _gone = fs::remove_file(&self.0);
    }
}

#[test]
fn the_longest_zone_wins() {
    let forwards = [
        forward(&["."], vec![address("192.0.2.1:53")]),
        forward(&["corp.example", "lab.example"], vec![address("192.0.2.2:53")]),
        forward(&["a.corp.example"], vec![address("192.0.2.3:53")]),
    ];
    let rules = Rules::build(&forwards, &[], OwnAddresses::default(), None);
    for (name, expected) in [
        ("example", "192.0.2.1:53"),
        ("xcorp.example", "192.0.2.1:53"),
        ("corp.example", "192.0.2.2:53"),
        ("x.lab.example", "192.0.2.2:53"),
        ("b.a.corp.example", "192.0.2.3:53"),
    ] {
        let name: Name = name.parse().unwrap();
        assert_eq!(servers(rules.find(&QName::from(&name)).unwrap()), [expected]);
    }
    let rules = Rules::build(&forwards[1..], &[], OwnAddresses::default(), None);
    assert!(rules.find(&QName::from(&Name::root())).is_none());
}

#[test]
fn we_are_no_upstream_of_ours() {
    let own = own();
    let is_us = |text: &str| own.is_us(&text.parse().unwrap());
    for us in ["10.0.0.9:53", "127.0.0.1:53", "127.0.0.53:53", "0.0.0.0:53", "[fd00::5]:53"] {
        assert!(is_us(us), "{us}");
    }
    assert!(is_us("[::ffff:10.0.0.9]:53"));
    for other in ["10.0.0.9:5353", "10.0.0.8:53", "[::1]:53", "[fd00::6]:53"] {
        assert!(!is_us(other), "{other}");
    }
    let ours = vec![address("10.0.0.9:53"), address("10.0.0.4:53"), address("10.0.0.4:53")];
    let forwards = [forward(&["."], ours)];
    assert_eq!(own_upstreams(&forwards, &own), ["10.0.0.9:53".parse().unwrap()]);
    let rules = Rules::build(&forwards, &[], own.clone(), None);
    assert_eq!(servers(rules.iter().next().unwrap()), ["10.0.0.4:53"]);
}

#[test]
fn a_link_local_address_is_ours_on_its_interface_alone() {
    let lo = scope_id("lo").unwrap();
    let here = LocalAddress { ip: "fe80::1".parse().unwrap(), scope: lo };
    let is_us = |listen: &str, local: &[LocalAddress], upstream: &str| {
        let own = OwnAddresses { listen: vec![listen.parse().unwrap()], local: local.to_vec() };
        own.is_us(&upstream.parse().unwrap())
    };
    let by_number = format!("[fe80::1%{lo}]:53");
    for (listen, local) in [("[::]:53", &[here][..]), ("[fe80::1%lo]:53", &[]), (&by_number, &[])] {
        assert!(is_us(listen, local, "[fe80::1%lo]:53"), "{listen}");
        assert!(is_us(listen, local, &by_number), "{listen}");
        for other in
            ["[fe80::1%lo]:54", "[fe80::1%none0]:53", "[fe80::1%999]:53", "[fe80::2%lo]:53"]
        {
            assert!(!is_us(listen, local, other), "{listen} {other}");
        }
    }
    // Routers often have the same address on each link.
    let elsewhere = LocalAddress { scope: 999, ..here };
    assert!(!is_us("[::]:53", &[elsewhere], "[fe80::1%lo]:53"));
}

#[test]
fn an_upstream_that_becomes_us_is_left_out_until_it_is_another_again() {
    let sources = ["10.0.0.7:53", "10.0.0.7:5353", "192.0.2.1:53"].map(address).to_vec();
    let rules = Rules::build(&[forward(&["."], sources)], &[], own(), None);
    let rule = rules.iter().next().unwrap();
    let all = ["10.0.0.7:53", "10.0.0.7:5353", "192.0.2.1:53"];
    let kept = Arc::clone(&rule.targets()[2]);
    let local = |addresses: &[&str]| -> Vec<LocalAddress> {
        addresses.iter().map(|address| address.parse::<IpAddr>().unwrap().into()).collect()
    };
    assert!(!rules.set_local(local(&["10.0.0.9", "10.0.0.8"])), "nobody's upstream");
    assert_eq!(servers(rule), all);
    assert!(rules.set_local(local(&["10.0.0.7"])));
    assert_eq!(servers(rule), ["10.0.0.7:5353", "192.0.2.1:53"], "the port is not ours");
    assert!(Arc::ptr_eq(&kept, &rule.targets()[1]), "what is known of the others stays");
    assert!(!rules.set_local(local(&["10.0.0.7"])), "nothing is new");
    assert!(rules.set_local(local(&["10.0.0.9"])));
    assert_eq!(servers(rule), all);
}

#[test]
fn resolv_conf_is_read_again_when_it_changes() {
    let file = Scratch::new();
    let sources = vec![address("192.0.2.1:53"), UpstreamSource::ResolvConf(file.0.clone())];
    let rules = Rules::build(&[forward(&["."], sources)], &[], own(), None);
    let rule = rules.iter().next().unwrap();
    assert_eq!(servers(rule), ["192.0.2.1:53"], "a missing file is no server");

    fs::write(&file.0, "nameserver 10.0.0.9\nnameserver 192.0.2.2\n").unwrap();
    assert!(rules.refresh());
    assert_eq!(servers(rule), ["192.0.2.1:53", "192.0.2.2:53"], "our own address is left out");
    let kept = Arc::clone(&rule.targets()[1]);

    fs::write(&file.0, "nameserver 192.0.2.3\nnameserver 192.0.2.2\n").unwrap();
    assert!(rules.refresh());
    assert_eq!(servers(rule), ["192.0.2.1:53", "192.0.2.3:53", "192.0.2.2:53"]);
    assert!(Arc::ptr_eq(&kept, &rule.targets()[2]), "what stays keeps its state");

    fs::write(&file.0, "").unwrap();
    assert!(!rules.refresh());
    assert_eq!(servers(rule).len(), 3, "an empty file is one that is being written");
    fs::remove_file(&file.0).unwrap();
    assert!(!rules.refresh());
    assert_eq!(servers(rule).len(), 3);

    fs::write(&file.0, "nameserver 192.0.2.9\n").unwrap();
    assert!(rules.refresh());
    assert_eq!(servers(rule), ["192.0.2.1:53", "192.0.2.9:53"]);
    assert!(!rules.refresh(), "nothing has changed since");

    // Another text, the same servers: we ourselves are none.
    fs::write(&file.0, "nameserver 192.0.2.9\nnameserver 10.0.0.9\n").unwrap();
    assert!(!rules.refresh());
}

#[test]
fn one_address_is_one_upstream_also_across_reloads() {
    let both = [
        forward(&["."], vec![address("192.0.2.1:53")]),
        forward(&["corp.example"], vec![address("192.0.2.1:53")]),
    ];
    let before = Rules::build(&both, &[], OwnAddresses::default(), None);
    let of = |rules: &Rules, index: usize| {
        Arc::clone(rules.iter().nth(index).unwrap().targets()[0].upstream())
    };
    assert!(Arc::ptr_eq(&of(&before, 0), &of(&before, 1)));
    before.iter().next().unwrap().targets()[0].set_looping(Mark::at(0), Evidence::Proven);

    let after = Rules::build(&both, &[], OwnAddresses::default(), Some(&before));
    assert!(Arc::ptr_eq(&of(&before, 0), &of(&after, 0)));
    assert!(Arc::ptr_eq(&of(&before, 0), &of(&after, 1)));
    assert!(after.iter().next().unwrap().targets()[0].is_looping(), "the mark is the rule's");
    assert!(!after.iter().nth(1).unwrap().targets()[0].is_looping());
}

#[test]
fn marks_follow_their_zone_across_reloads() {
    let servers = || vec![address("192.0.2.1:53"), address("192.0.2.2:53")];
    let (p, q): (Name, Name) = ("p.example".parse().unwrap(), "q.example".parse().unwrap());
    let build = |forwards: &[Forward], protected: &[Name], previous: Option<&Rules>| {
        Rules::build(forwards, protected, OwnAddresses::default(), previous)
    };
    let before = build(&[forward(&["."], servers())], &[p.clone(), q.clone()], None);
    // The mark of p.example, which is the second zone probed.
    before.iter().next().unwrap().targets()[1].set_looping(Mark::at(1), Evidence::Proven);

    let marks = |rules: &Rules, rule: usize, server: usize| {
        let rule = rules.iter().nth(rule).unwrap();
        let loops = |mark: &Mark| rule.targets()[server].loops_for(*mark);
        (0..4).map(Mark::at).map(|mark| loops(&mark)).collect::<Vec<_>>()
    };
    // Another place in the list of the same rule.
    let after = build(&[forward(&["."], servers())], &[q, p], Some(&before));
    assert_eq!(marks(&after, 0, 0), [false; 4]);
    assert_eq!(marks(&after, 0, 1), [false, false, true, false]);
    // A rule of its own; the first rule covers it no more.
    let both = [forward(&["."], servers()), forward(&["p.example"], servers())];
    let last = build(&both, &[], Some(&after));
    assert_eq!(marks(&last, 0, 1), [false; 4]);
    assert_eq!(marks(&last, 1, 1), [true, false, false, false]);
}

#[test]
fn a_reload_while_a_file_is_being_written_keeps_its_servers() {
    let file = Scratch::new();
    let forwards = [forward(&["."], vec![UpstreamSource::ResolvConf(file.0.clone())])];
    fs::write(&file.0, "nameserver 192.0.2.2\n").unwrap();
    let build = |previous: Option<&Rules>| Rules::build(&forwards, &[], own(), previous);
    let first = build(None);
    fs::write(&file.0, "").unwrap();
    let second = build(Some(&first));
    fs::remove_file(&file.0).unwrap();
    let third = build(Some(&second));
    for rules in [&second, &third] {
        assert_eq!(servers(rules.iter().next().unwrap()), ["192.0.2.2:53"]);
        assert!(rules.has_servers_of(&first) && !rules.refresh());
    }
    fs::write(&file.0, "nameserver 192.0.2.3\n").unwrap();
    assert!(third.refresh());
    assert_eq!(servers(third.iter().next().unwrap()), ["192.0.2.3:53"]);
    assert!(!third.has_servers_of(&first));
    assert!(build(None).has_servers_of(&third), "a fresh start reads the same");
}

#[test]
fn a_host_is_looked_for_at_the_servers_of_its_rule_first() {
    let named = |host: &str| UpstreamServer {
        scheme: Scheme::Tls,
        host: UpstreamHost::Name { name: host.parse().unwrap(), port: 853 },
        ..UpstreamServer::plain("192.0.2.1:53".parse().unwrap())
    };
    let inner = named("dns.corp.example");
    let forwards = |outer: &str| {
        let named = UpstreamSource::Server(inner.clone());
        [
            forward(&["."], vec![address(outer), named]),
            forward(&["corp.example"], vec![address("192.0.2.2:53"), address(outer)]),
        ]
    };
    let upstream = |rules: &Rules| {
        let rule = Arc::clone(rules.iter().next().unwrap());
        let targets = rule.targets();
        Arc::clone(
            targets.iter().find(|target| *target.upstream().server() == inner).unwrap().upstream(),
        )
    };
    let plain = |address: &str| UpstreamServer::plain(address.parse().unwrap());
    let asked = |addresses: &[&str]| {
        let servers = addresses.iter().map(|address| plain(address)).collect();
        HashMap::from([("dns.corp.example".parse::<Name>().unwrap(), servers)])
    };
    let first = Rules::build(&forwards("192.0.2.1:53"), &[], own(), None);
    assert!(upstream(&first).bootstrap().asks(&asked(&["192.0.2.2:53", "192.0.2.1:53"])));

    let same = Rules::build(&forwards("192.0.2.1:53"), &[], own(), Some(&first));
    assert!(Arc::ptr_eq(&upstream(&first), &upstream(&same)), "nothing changed");
    let other = Rules::build(&forwards("192.0.2.3:53"), &[], own(), Some(&first));
    assert!(upstream(&other).bootstrap().asks(&asked(&["192.0.2.2:53", "192.0.2.3:53"])));
    let kept = upstream(&first);
    assert!(kept.bootstrap().asks(&asked(&["192.0.2.2:53", "192.0.2.1:53"])), "still in force");
}
