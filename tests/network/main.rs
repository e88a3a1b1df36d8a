//! The network changes under the real binary: in namespaces of the test's own, with an upstream on
//! the far side of a cable that says from which of our addresses it was asked.
//!
//! Needs root; says so and does nothing without.

mod daemon;
mod late;
mod link_local;
#[path = "../harness/namespaces.rs"]
mod namespaces;
mod ports;
#[path = "../harness/process.rs"]
mod process;
mod space;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use daemon::Daemon;
use space::Space;

/// What a client may notice of a change, retries included.
const RECOVERY: Duration = Duration::from_secs(3);
/// Queries that open all sockets that a worker has for one upstream, all but surely.
const MANY: usize = 100;
/// What the daemon says when it makes sockets anew.
const ANEW: &str = "upstream sockets are made anew";

/// Our addresses, and the other side's.
const FIRST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 99, 0, 2));
const SECOND: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 99, 1, 2));
const UPSTREAM: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 99, 9, 53));
const FIRST_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 2));
const SECOND_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd99, 1, 0, 0, 0, 0, 0, 2));
const UPSTREAM_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd99, 9, 0, 0, 0, 0, 0, 0x53));

/// The upstream, in its own namespace: `space` runs it.
#[test]
#[ignore = "not a test by itself"]
fn upstream() {
    space::serve_if_asked();
}

/// A client in the far namespace: `space` runs it.
#[test]
#[ignore = "not a test by itself"]
fn client() {
    space::ask_if_asked();
}

/// A daemon whose every socket has [`FIRST`] for its source.
fn daemon(space: &Space) -> Daemon {
    daemon_of(space, UPSTREAM, FIRST)
}

fn daemon_of(space: &Space, upstream: IpAddr, source: IpAddr) -> Daemon {
    let daemon = Daemon::start(space, SocketAddr::new(upstream, 53));
    for _ in 0..MANY {
        assert_eq!(daemon.ask(), Some(source), "{}", daemon.log());
    }
    daemon
}

/// Asks until the upstream has heard `source`, and then asks many times: each must be answered.
fn recovers(daemon: &Daemon, since: Instant, source: IpAddr) {
    while daemon.ask() != Some(source) {
        assert!(since.elapsed() < RECOVERY, "{}", daemon.log());
    }
    assert!(since.elapsed() < RECOVERY, "{:?}: {}", since.elapsed(), daemon.log());
    for _ in 0..MANY {
        assert_eq!(daemon.ask(), Some(source), "{}", daemon.log());
    }
}

#[test]
fn a_source_address_that_leads_nowhere_any_more_is_left() {
    space::within("source", |space| {
        let daemon = daemon(space);
        // A tunnel has gone, but its address has not: what is sent from there is lost.
        space.far(&format!("route add blackhole {FIRST}/32"));
        let waiting = daemon.send();
        // And another one has come.
        space.near(&format!("addr add {SECOND}/24 dev near"));
        space.near(&format!("route replace {UPSTREAM} via 10.99.0.1 src {SECOND}"));
        let since = Instant::now();
        assert_eq!(waiting.receive(), Some(SECOND), "{}", daemon.log());
        recovers(&daemon, since, SECOND);
        daemon.wait_for_log(&format!(
            "{UPSTREAM}:53 is reached from {SECOND} now, from {FIRST} before; {ANEW}"
        ));
    });
}

#[test]
fn an_address_that_is_taken_away_is_left() {
    space::within("address", |space| {
        let daemon = daemon(space);
        space.near(&format!("addr del {FIRST}/24 dev near"));
        space.near(&format!("addr add {SECOND}/24 dev near"));
        space.near(&format!("route replace {UPSTREAM} dev near"));
        recovers(&daemon, Instant::now(), SECOND);
        daemon.wait_for_log(ANEW);
    });
}

/// Here the kernel goes on sending from the address that is gone.
#[test]
fn an_ipv6_address_that_is_taken_away_is_left() {
    space::within("address-v6", |space| {
        let daemon = daemon_of(space, UPSTREAM_V6, FIRST_V6);
        space.near(&format!("addr del {FIRST_V6}/64 dev near"));
        space.near(&format!("addr add {SECOND_V6}/64 dev near nodad"));
        space.near(&format!("route replace {UPSTREAM_V6} dev near"));
        recovers(&daemon, Instant::now(), SECOND_V6);
        daemon.wait_for_log(ANEW);
    });
}

#[test]
fn a_link_goes_down_and_comes_up() {
    space::within("link", |space| {
        let daemon = daemon(space);
        space.near("link set near down");
        daemon.wait_for_log(&format!("there is no way to {UPSTREAM}:53 now, from {FIRST} before"));
        assert_eq!(daemon.ask(), None, "an answer from nowhere");
        space.near("link set near up");
        space.route_to_upstream();
        recovers(&daemon, Instant::now(), FIRST);
        daemon.wait_for_log("there was no way before");
    });
}

#[test]
fn routes_that_lead_elsewhere_change_nothing() {
    space::within("storm", |space| {
        let daemon = daemon(space);
        let routes: Vec<String> =
            (0..5_000).map(|n| format!("172.{}.{}.0/24", 16 + n / 250, n % 250)).collect();
        for verb in ["add", "del"] {
            let lines: Vec<_> =
                routes.iter().map(|to| format!("route {verb} {to} via 10.99.0.1")).collect();
            space.near_batch(&lines);
            assert_eq!(daemon.ask(), Some(FIRST), "{}", daemon.log());
        }
        // What is heard later is told later: behind this one nothing of the storm comes.
        space.near(&format!("route replace blackhole {UPSTREAM}"));
        daemon.wait_for_log("there is no way to");
        let log = daemon.log();
        assert_eq!(log.matches(ANEW).count(), 1, "{log}");
    });
}
