//! What is refused, left out and warned of. The texts themselves: tests/snippets/.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{Check, Material, NoServer, Refusal, Target, Zone, is_plain, servers, write, zones};
use crate::config::testing::{defender, endpoint, minimal};
use crate::sys::ScopedAddress;
use crate::wire::{Name, Rtype};

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().expect("an address")).collect()
}

fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().expect("an address with a port")).collect()
}

fn listeners(texts: &[&str]) -> Vec<ScopedAddress> {
    texts.iter().map(|text| text.parse().expect("an address with a port")).collect()
}

fn material(at: &[&str]) -> Material {
    Material {
        servers: addresses(at),
        zones: zones(&minimal()),
        checks: vec![Check {
            name: name("api.cloud.defender.microsoft.com"),
            rtype: Rtype::A,
            chain: vec![name("api.privatelink.cloud.defender.microsoft.com")],
            addresses: ips(&["10.1.0.5"]),
        }],
        client: None,
        forwards_all: true,
        slowest: Duration::from_secs(2),
        warnings: Vec::new(),
    }
}

#[test]
fn every_target_has_a_name_that_is_read_back() {
    for target in Target::ALL {
        assert_eq!(target.name().parse(), Ok(target));
        assert_eq!(serde_json::to_value(target).expect("JSON"), target.name());
    }
    let unknown = "Windows".parse::<Target>().expect_err("case counts").to_string();
    assert!(unknown.contains("windows, bind, unbound"), "{unknown}");
}

#[test]
fn the_same_material_gives_the_same_octets() {
    for target in Target::ALL {
        let made = || write(target, &material(&["10.0.0.4:53"])).expect("a snippet");
        assert_eq!(made(), made());
        assert!(made().text.ends_with('\n') && made().text.is_ascii(), "{target:?}");
    }
}

#[test]
fn both_zones_of_each_link_are_forwarded_once() {
    let mut config = minimal();
    let second = defender(vec![endpoint("hub", &[], &["10.1.0.5"], &[])]);
    config.private_links.push(second);
    let found: Vec<String> = zones(&config).iter().map(|zone| zone.name.to_string()).collect();
    assert_eq!(found, ["cloud.defender.microsoft.com", "privatelink.cloud.defender.microsoft.com"]);
}

#[test]
fn a_zone_inside_another_is_named_but_not_repeated_except_on_windows() {
    let inner = "privatelink.cloud.defender.microsoft.com";
    for target in Target::ALL.into_iter().filter(|target| *target != Target::ResolvConf) {
        let text = write(target, &material(&["10.0.0.4:53"])).expect("a snippet").text;
        let own: Vec<&str> =
            text.lines().filter(|line| !line.starts_with(target.comment())).collect();
        let in_rules = own.iter().any(|line| line.contains(inner));
        assert_eq!(in_rules, target == Target::Windows, "{target:?}\n{text}");
        assert!(text.contains(inner), "{target:?}\n{text}");
    }
}

#[test]
fn a_configuration_without_zones_has_nothing_to_forward() {
    let none = Material { zones: Vec::new(), ..material(&["10.0.0.4:53"]) };
    assert_eq!(write(Target::Bind, &none), Err(Refusal::NoZones));
}

#[test]
fn names_that_a_syntax_could_read_as_something_else_are_refused() {
    for odd in [
        "a\\\"b.example",
        "a\\;b.example",
        "a\\010b.example",
        "a\\'b.example",
        "a/b.example",
        "a\\.b.example",
        "a{b.example",
        "a\\032b.example",
        "*.example",
        "-a.example",
        "\\195\\164.x",
        ".",
    ] {
        let zone = Zone { name: name(odd), ours: true };
        assert!(!is_plain(&zone.name), "{odd}");
        let material = Material { zones: vec![zone], ..material(&["10.0.0.4:53"]) };
        for target in Target::ALL {
            let refusal = write(target, &material).expect_err(odd);
            assert!(matches!(refusal, Refusal::OddZone { .. }), "{odd}: {refusal}");
        }
    }
    for plain in ["a", "privatelink.blob.core.windows.net", "_tcp.a-b.9", "xn--a.example"] {
        assert!(is_plain(&name(plain)), "{plain}");
    }
}

#[test]
fn a_port_is_refused_where_the_target_has_none_for_it() {
    for target in Target::ALL {
        let refused = matches!(target, Target::Windows | Target::ResolvConf);
        let outcome = write(target, &material(&["10.0.0.4:5300"]));
        assert_eq!(outcome.is_err(), refused, "{target:?}");
        match outcome {
            Ok(snippet) => assert!(snippet.text.contains("5300"), "{}", snippet.text),
            Err(refusal) => {
                assert!(refusal.to_string().contains("cannot carry a port"), "{refusal}");
            }
        }
    }
}

#[test]
fn loopback_is_refused_where_the_daemon_cannot_be_beside() {
    for target in Target::ALL {
        let refused = matches!(target, Target::Windows | Target::CorednsCustom);
        for server in ["127.0.0.1:53", "[::1]:53"] {
            assert_eq!(
                write(target, &material(&[server])).is_err(),
                refused,
                "{target:?} {server}"
            );
        }
    }
}

#[test]
fn an_address_of_no_host_is_refused() {
    for server in ["0.0.0.0:53", "[::]:53", "224.0.0.1:53", "[ff02::1]:53", "10.0.0.4:0"] {
        for target in Target::ALL {
            let refusal = write(target, &material(&[server])).expect_err(server);
            assert!(matches!(refusal, Refusal::NoHost { .. }), "{server}: {refusal}");
        }
    }
}

#[test]
fn servers_that_nobody_would_ask_are_left_out_and_named() {
    let all: Vec<String> = (1..=20).map(|host| format!("10.0.0.{host}:53")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    for (target, most) in [
        (Target::Windows, 2),
        (Target::ResolvConf, 3),
        (Target::Coredns, 15),
        (Target::CorednsCustom, 15),
    ] {
        let fits = write(target, &material(&all[..most])).expect("a snippet");
        assert_eq!(fits.warnings, Vec::<String>::new());
        let over = write(target, &material(&all[..=most])).expect("a snippet");
        let left_out = format!("10.0.0.{}:53", most + 1);
        assert!(over.warnings[0].contains(&left_out), "{:?}", over.warnings);
        let used = over.text.lines().filter(|line| !line.starts_with('#'));
        assert!(!used.collect::<String>().contains(&format!("10.0.0.{}", most + 1)));
    }
    for target in [Target::Bind, Target::Unbound, Target::Dnsmasq, Target::SystemdResolved] {
        assert_eq!(write(target, &material(&all)).expect("a snippet").warnings.len(), 0);
    }
}

#[test]
fn a_daemon_that_refuses_other_names_is_warned_of_where_they_come() {
    for target in Target::ALL {
        let material = Material { forwards_all: false, ..material(&["10.0.0.4:53"]) };
        let warned = !write(target, &material).expect("a snippet").warnings.is_empty();
        let expected = matches!(target, Target::ResolvConf | Target::SystemdResolved);
        assert_eq!(warned, expected, "{target:?}");
    }
}

#[test]
fn windows_is_warned_of_answers_that_take_longer_than_it_waits() {
    for (slowest, warned) in [(2_000, false), (2_001, true)] {
        let slowest = Duration::from_millis(slowest);
        let material = Material { slowest, ..material(&["10.0.0.4:53"]) };
        let snippet = write(Target::Windows, &material).expect("a snippet");
        assert_eq!(!snippet.warnings.is_empty(), warned, "{slowest:?} {:?}", snippet.warnings);
        let by_hand = snippet.text.lines().any(|line| line.starts_with("# WARNING: "));
        assert_eq!(by_hand, warned);
    }
}

#[test]
fn resolv_conf_waits_longer_than_the_daemon_takes_within_what_glibc_reads() {
    for (slowest, timeout) in [(0, 1), (2_000, 3), (2_500, 4), (29_000, 30), (60_000, 30)] {
        let slowest = Duration::from_millis(slowest);
        let material = Material { slowest, ..material(&["10.0.0.4:53"]) };
        let text = write(Target::ResolvConf, &material).expect("a snippet").text;
        assert!(
            text.contains(&format!("options ndots:1 timeout:{timeout} attempts:2\n")),
            "{text}"
        );
    }
}

#[test]
fn a_resolver_that_would_ask_itself_is_warned_of() {
    for target in Target::ALL.into_iter().filter(|target| target.shares_our_host()) {
        let warned = !write(target, &material(&["127.0.0.1:53"])).expect("one").warnings.is_empty();
        assert_eq!(warned, target.takes_port_53(), "{target:?}");
        if target.takes_port() {
            let other = write(target, &material(&["127.0.0.1:5300"])).expect("one");
            assert_eq!(other.warnings, Vec::<String>::new(), "{target:?}");
        }
    }
}

#[test]
fn without_a_check_the_text_says_how_to_find_out() {
    let material = Material { checks: Vec::new(), ..material(&["10.0.0.4:53"]) };
    for target in Target::ALL {
        let text = write(target, &material).expect("a snippet").text;
        assert!(text.contains("privatelinkd explain NAME"), "{text}");
        assert!(!text.contains("dig +short"), "{text}");
    }
}

#[test]
fn comments_fit_a_screen() {
    for target in Target::ALL {
        let text = write(target, &material(&["10.0.0.4:53"])).expect("a snippet").text;
        let indented = format!("{}   ", target.comment());
        let long = text.lines().find(|line| {
            line.len() > 100 && line.starts_with(target.comment()) && !line.starts_with(&indented)
        });
        assert_eq!(long, None);
    }
}

#[test]
fn addresses_of_the_configuration_are_taken_where_others_can_ask_them() {
    let found = |listen: &[&str], local: &[&str]| servers(&listeners(listen), &ips(local));
    let local = ["127.0.0.1", "10.0.0.4", "fe80::1", "::1", "fd00::4", "fd00::5"];
    let both = found(&["127.0.0.1:53", "10.0.0.9:5300", "[fd00::9]:53"], &local).expect("two");
    assert_eq!(both.servers, addresses(&["10.0.0.9:5300", "[fd00::9]:53"]));
    assert_eq!(both.warnings, Vec::<String>::new());
    let inside = found(&["127.0.0.1:53"], &local).expect("one");
    assert_eq!(inside.servers, addresses(&["127.0.0.1:53"]));
    assert!(inside.warnings[0].contains("only this host itself"), "{:?}", inside.warnings);
    let of_one_link = ["[fe80::4%eth0]:53", "10.0.0.9:53"];
    assert_eq!(found(&of_one_link, &local).expect("one").servers, addresses(&["10.0.0.9:53"]));
    assert_eq!(found(&of_one_link[..1], &local), Err(NoServer::OneLink));
}

#[test]
fn of_every_address_the_only_one_is_taken_and_none_is_guessed() {
    let found = |listen: &[&str], local: &[&str]| servers(&listeners(listen), &ips(local));
    let host = ["127.0.0.1", "10.0.0.4", "::1", "fe80::1", "fd00::4", "fd00::5"];
    let v4 = found(&["0.0.0.0:5300", "[::]:5300"], &host).expect("the IPv4 one");
    assert_eq!(v4.servers, addresses(&["10.0.0.4:5300"]));
    assert!(v4.warnings[0].contains("IPv6 addresses are left out"), "{:?}", v4.warnings);
    assert_eq!(found(&["[::]:53"], &host), Err(NoServer::Several(ips(&["fd00::4", "fd00::5"]))));
    let several = ["10.0.0.4", "172.17.0.1"];
    let error = found(&["0.0.0.0:53"], &several).expect_err("two");
    assert!(error.to_string().contains("10.0.0.4, 172.17.0.1; write --server"), "{error}");
    let none = found(&["0.0.0.0:53"], &["127.0.0.1", "169.254.1.1", "fd00::4"]).expect_err("none");
    assert_eq!(none, NoServer::None);
}
