//! Link-local addresses, which mean something only together with an interface (RFC 4007): of
//! upstreams, of listeners, in a resolv.conf, and where hosts are looked up.

use std::net::{IpAddr, Ipv6Addr};
use std::process::Command;
use std::time::Instant;

use super::daemon::{Daemon, config};
use super::process::{self, PROGRAM};
use super::space::{self, EVERYWHERE, HOST, LINK_LOCAL, Space};
use super::{FIRST, RECOVERY};

/// Ours, on each cable.
const NEAR: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));

const LOOPBACK: &str = "['127.0.0.1:0']";
const EVERY_ADDRESS: &str = "['[::]:5300']";

fn rule(upstream: &str) -> String {
    format!("[[forward]]\nzones = ['.']\nupstreams = ['{upstream}']\n")
}

fn forwarding(space: &Space, upstream: &str) -> Daemon {
    Daemon::start_with(space, LOOPBACK, &rule(upstream), true)
}

fn number_of(interface: &str) -> u32 {
    privatelinkd::sys::scope_id(interface).expect("an interface")
}

#[test]
fn an_upstream_is_reached_over_its_interface() {
    space::within("upstream", |space| {
        // The same address is on another link too, where nothing answers.
        space.near("link add other type veth peer name other-end");
        space.near("link set other up");
        space.near("link set other-end up");
        space.near("addr add fe80::7/64 dev other nodad");
        let number = number_of("near");
        for upstream in [
            format!("{LINK_LOCAL}%near"),
            format!("[{LINK_LOCAL}%{number}]:53"),
            format!("tcp://[{LINK_LOCAL}%near]"),
            format!("tcp://[{LINK_LOCAL}%25near]:{EVERYWHERE}"),
        ] {
            let daemon = forwarding(space, &upstream);
            assert_eq!(daemon.ask(), Some(NEAR), "{upstream}: {}", daemon.log());
        }
        let wrong = format!("{LINK_LOCAL}%other");
        assert_eq!(forwarding(space, &wrong).ask(), None);
    });
}

#[test]
fn an_interface_may_come_later_and_come_back_as_another() {
    space::within("interface", |space| {
        let upstream = format!("[{LINK_LOCAL}%late]:{EVERYWHERE}");
        let daemon = forwarding(space, &upstream);
        // Two tries that cannot reach it are an outage, which the log says.
        for name in ["one.example.", "two.example."] {
            assert_eq!(daemon.send_for(name).receive(), None);
        }
        daemon.wait_for_log("this host has no network interface late now");
        for turn in 1..=2 {
            space.join("late", "far1");
            let since = Instant::now();
            while daemon.ask() != Some(NEAR) {
                assert!(since.elapsed() < RECOVERY, "{turn}: {}", daemon.log());
            }
            space.near("link del late");
            // A query that waits for the other side may still be under way.
            let since = Instant::now();
            while daemon.ask().is_some() {
                assert!(since.elapsed() < RECOVERY, "{turn}: {}", daemon.log());
            }
        }
    });
}

#[test]
fn a_resolv_conf_has_servers_with_an_interface() {
    space::within("resolv-conf", |space| {
        let file = space.folder().join("resolv.conf");
        let number = number_of("near");
        for server in [format!("{LINK_LOCAL}%near"), format!("{LINK_LOCAL}%{number}")] {
            let text = format!("nameserver {LINK_LOCAL}\nnameserver {server}\n");
            std::fs::write(&file, text).expect("written");
            let daemon = forwarding(space, &format!("resolv.conf:{}", file.display()));
            assert_eq!(daemon.ask(), Some(NEAR), "{server}: {}", daemon.log());
            daemon.wait_for_log(&format!("nameserver {LINK_LOCAL} is left out"));
        }
    });
}

#[test]
fn a_host_is_looked_up_over_an_interface() {
    space::within("host", |space| {
        let rules = format!(
            "[[forward]]\nzones = ['inner.example']\nupstreams = ['{LINK_LOCAL}%near']\n{}",
            rule(&format!("tcp://{HOST}"))
        );
        let daemon = Daemon::start_with(space, LOOPBACK, &rules, false);
        assert_eq!(daemon.ask(), Some(FIRST), "{}", daemon.log());
    });
}

#[test]
fn a_listener_is_on_its_interface() {
    space::within("listener", |space| {
        space.join("near1", "far1");
        let near = number_of("near");
        let upstream = rule("10.99.9.53");
        for listen in ["['[fe80::1%near]:5300']".to_owned(), format!("['[fe80::1%{near}]:5300']")] {
            let _daemon = Daemon::start_with(space, &listen, &upstream, false);
            assert!(space.far_is_answered_by("[fe80::1%far0]:5300"), "{listen}");
        }
        // Both links have the same addresses: each reply leaves where its query came from.
        let _daemon = Daemon::start_with(space, EVERY_ADDRESS, &upstream, false);
        for far in ["far0", "far1", "far0"] {
            assert!(space.far_is_answered_by(&format!("[fe80::1%{far}]:5300")), "{far}");
        }
    });
}

#[test]
fn a_listener_waits_for_its_interface_while_another_serves() {
    space::within("late-interface", |space| {
        let upstream = rule("10.99.9.53");
        for freebind in [false, true] {
            let listen = format!(
                "['[fe80::1%late]:5300', '127.0.0.1:5300']\nadmin = '[fe80::1%late]:9153'\n\
                 freebind = {freebind}"
            );
            let daemon = Daemon::start_with(space, &listen, &upstream, false);
            daemon.wait_for_log("this host has no network interface late yet");
            space.join("late", "far1");
            daemon.wait_for_log("listening on [fe80::1%late]:5300 (UDP and TCP)");
            daemon.wait_for_log("listening on [fe80::1%late]:9153 (admin, HTTP)");
            assert!(space.far_is_answered_by("[fe80::1%far1]:5300"), "{}", daemon.log());
            drop(daemon);
            space.near("link del late");
        }
    });
}

#[test]
fn a_listener_without_its_interface_is_an_error() {
    space::within("no-interface", |space| {
        let file = config(space, "['[fe80::1%none0]:5300']", &rule("10.99.9.53"));
        let output = process::run(&file).output().expect("the daemon runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{said}");
        let expected = "cannot listen on [fe80::1%none0]:5300 (UDP): this host has no such network";
        assert!(said.contains(expected), "{said}");
        // The file itself is good: it may be for another host.
        let check = Command::new(PROGRAM).args(["check", "--config"]).arg(&file).output();
        assert!(check.expect("it runs").status.success());
    });
}

#[test]
fn we_are_no_upstream_of_ours_on_the_same_interface_alone() {
    space::within("ourselves", |space| {
        space.join("near1", "far1");
        space.near("addr add fe80::9/64 dev near1 nodad");
        let rule = |interface: &str| rule(&format!("[fe80::9%{interface}]:5300"));
        let file = config(space, EVERY_ADDRESS, &rule("near1"));
        let output = process::run(&file).output().expect("the daemon runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("upstream [fe80::9%near1]:5300 is this daemon itself"), "{said}");
        let daemon = Daemon::start_with(space, EVERY_ADDRESS, &rule("near"), false);
        assert!(!daemon.log().contains("itself"), "{}", daemon.log());
    });
}

#[test]
fn the_admin_address_and_what_it_shows_have_an_interface() {
    space::within("admin", |space| {
        let listen = format!("{LOOPBACK}\nadmin = '[fe80::1%near]:9153'");
        let upstream = rule(&format!("{LINK_LOCAL}%near"));
        let daemon = Daemon::start_with(space, &listen, &upstream, true);
        assert_eq!(daemon.ask(), Some(NEAR), "{}", daemon.log());
        let explain = |admin: &[&str]| {
            let file = config(space, &listen, &upstream);
            let mut explain = Command::new(PROGRAM);
            explain.args(["explain", "www.example", "--live"]).args(admin);
            let output = explain.arg("--config").arg(file).output().expect("it runs");
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said).into_owned();
            assert!(output.status.success(), "{said}");
            said
        };
        for said in [explain(&[]), explain(&["--admin", "[fe80::1%near]:9153"])] {
            assert!(said.contains(&format!("[{LINK_LOCAL}%near]:53")), "{said}");
        }
    });
}
