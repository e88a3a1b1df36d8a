//! No port is free for another socket: queries fail, and no upstream is blamed.

use std::fs;
use std::net::{TcpListener, UdpSocket};

use super::daemon::Daemon;
use super::process::until;
use super::space::{self, Space};
use super::{FIRST, MANY, UPSTREAM};

/// Where the kernel takes the ports from that it gives to sockets (ip(7)).
const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
/// A range of two ports, both of them taken.
const TAKEN: [u16; 2] = [20_000, 20_001];
/// Of the client, outside the range.
const CLIENT_PORT: u16 = 30_000;
/// Queries that are to fail.
const FAILED: usize = 20;

#[test]
fn without_a_free_port_no_upstream_over_udp_is_blamed() {
    space::within("ports-udp", |space| no_free_port(space, ""));
}

#[test]
fn without_a_free_port_no_upstream_over_tcp_is_blamed() {
    space::within("ports-tcp", |space| no_free_port(space, "tcp://"));
}

fn no_free_port(space: &Space, scheme: &str) {
    let rule = format!("[[forward]]\nzones = ['.']\nupstreams = ['{scheme}{UPSTREAM}']\n");
    let daemon = Daemon::start_with(space, "['127.0.0.1:0']", &rule, false);
    let ask = || daemon.send_from(CLIENT_PORT, "whence.example.").receive();
    assert_eq!(ask(), Some(FIRST), "{}", daemon.log());
    let range = fs::read_to_string(RANGE).expect("the range");
    let taken = TAKEN.map(|port| {
        (UdpSocket::bind(("0.0.0.0", port)).expect("a port"), TcpListener::bind(("0.0.0.0", port)))
    });
    fs::write(RANGE, TAKEN.map(|port| port.to_string()).join(" ")).expect("set");
    // A socket that is open goes on until a query draws it for another port.
    let failed = (0..20 * MANY).filter(|_| ask().is_none()).take(FAILED).count();
    assert_eq!(failed, FAILED, "{}", daemon.log());
    daemon.wait_for_log(&format!(
        "no socket for an upstream: no port is free towards {UPSTREAM}:53; widen the range of ports"
    ));
    daemon.signal("-USR1");
    daemon.wait_for_log(" own-shortage=");
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains(" own-shortage=")).expect("just seen");
    assert!(line.contains(" state=up ") && line.contains(" unreachable=0 "), "{line}");
    assert!(!line.contains(" own-shortage=0 ") && !log.contains("is down"), "{log}");
    fs::write(RANGE, range).expect("set back");
    // A dial that failed is not tried again at once.
    until("an answer", ask);
    for _ in 0..MANY {
        assert_eq!(ask(), Some(FIRST), "{}", daemon.log());
    }
    drop(taken);
}
