//! Few file descriptors: misses are still resolved, and no upstream is blamed.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use hickory_proto::op::ResponseCode;

use super::daemon::{Daemon, config};
use super::process::{self, PROGRAM};
use super::temporary::File;
use super::upstream;

/// Descriptors of the daemon in the floods: it starts with them, and hardly more.
const FEW: u32 = 48;
/// Connections of a flood, several times as many.
const FLOOD: usize = 300;

/// `run` with these limits of open files, soft and hard.
fn limited(limits: &str, config: &Path) -> Command {
    let mut command = Command::new("prlimit");
    command.arg(format!("--nofile={limits}")).args([PROGRAM, "run", "--config"]).arg(config);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The soft limit of a running daemon.
fn soft_limit(daemon: &Daemon) -> u64 {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).expect("proc");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    line.split_whitespace().nth(3).and_then(|word| word.parse().ok()).expect("a number")
}

fn text(upstream: &str) -> String {
    config(upstream, "2s") + "[limits]\nworkers = 1\ntcp-connections-per-client = 1000\n"
}

#[test]
fn a_flood_of_connections_leaves_descriptors_to_misses() {
    let (socket, address) = upstream::silent();
    let public = Ipv4Addr::new(203, 0, 113, 7);
    let _arrived = upstream::answering(socket, public, Duration::ZERO);
    let file = File::new(&text(&address.to_string()));
    let mut daemon = Daemon::run(&mut limited(&format!("{FEW}:{FEW}"), file.path()));
    daemon.wait_for_log(&format!("the limit of open files is {FEW}, and the configuration may"));
    let mut held: Vec<TcpStream> = Vec::new();
    for number in 0..FLOOD {
        held.push(daemon.connect(Ipv4Addr::LOCALHOST));
        if number % 10 == 0 {
            let reply = daemon.ask_udp(&format!("www{number}.example.")).expect("a reply");
            assert_eq!(reply.address(), Some(public), "{number}: {}", daemon.log());
        }
    }
    daemon.signal("-USR1");
    daemon.wait_for_log(&format!("upstream {address} state=up"));
    assert!(!daemon.log().contains("is down"), "{}", daemon.log());
    daemon.assert_well();
    daemon.signal("-TERM");
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
}

#[test]
fn a_soft_limit_is_raised_to_what_the_configuration_needs() {
    let file = File::new(&text("127.0.0.1:9"));
    let daemon = Daemon::run(&mut limited("64:4096", file.path()));
    let limit = soft_limit(&daemon);
    assert!((1_001..=4_096).contains(&limit), "{limit}");
    assert!(!daemon.log().contains("the limit of open files is"), "{}", daemon.log());
}

#[test]
fn a_hard_limit_that_is_too_low_is_said_at_start_and_at_a_reload() {
    let file = File::new(&text("127.0.0.1:9"));
    let daemon = Daemon::run(&mut limited("64:1536", file.path()));
    assert_eq!(soft_limit(&daemon), 1_536);
    daemon.wait_for_log("the limit of open files is 1536, and the configuration may need ");
    assert!(daemon.log().contains("Set LimitNOFILE="), "{}", daemon.log());
    file.write(&text("127.0.0.1:9").replace("workers = 1", "workers = 1\ntcp-connections = 100"));
    daemon.signal("-HUP");
    daemon.wait_for_log("reloaded");
    assert_eq!(daemon.log().matches("the limit of open files is 1536").count(), 1, "it fits now");
}

#[test]
fn without_a_descriptor_a_miss_fails_and_no_upstream_is_blamed() {
    let (socket, address) = upstream::silent();
    let public = Ipv4Addr::new(203, 0, 113, 7);
    let _arrived = upstream::answering(socket, public, Duration::ZERO);
    let file = File::new(&text(&address.to_string()));
    let mut daemon = Daemon::run(&mut limited("1024:4096", file.path()));
    // Fewer than are open: no new one can be had.
    let lower = |limit: &str| {
        let pid = daemon.pid().to_string();
        let status = Command::new("prlimit").args(["--pid", &pid, limit]).status();
        assert!(status.expect("prlimit runs").success());
    };
    lower("--nofile=3:4096");
    for number in 0..20 {
        let reply = daemon.ask_udp(&format!("www{number}.example.")).expect("a reply");
        assert_eq!(reply.rcode(), ResponseCode::ServFail, "{number}");
    }
    daemon.signal("-USR1");
    daemon.wait_for_log(&format!("upstream {address} state="));
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains(&format!("upstream {address} state=")));
    let line = line.expect("the upstream's totals");
    assert!(line.contains(" state=up ") && line.contains(" unreachable=0 "), "{line}");
    assert!(!line.contains(" own-shortage=0 "), "{line}");
    assert_eq!(log.matches("no socket for an upstream: Too many open files").count(), 1, "{log}");
    assert!(!log.contains("is down"), "{log}");
    lower("--nofile=1024:4096");
    let reply = daemon.ask_udp("late.example.").expect("a reply");
    assert_eq!(reply.address(), Some(public), "{}", daemon.log());
    daemon.assert_well();
}

/// A server over TCP that answers every query with `address`, and closes connections that are idle, so
/// that the next query needs a new one.
fn answering_over_tcp(address: Ipv4Addr) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let port = listener.local_addr().expect("bound").port();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || serve(stream, address));
        }
    });
    port
}

fn serve(mut stream: TcpStream, address: Ipv4Addr) {
    stream.set_read_timeout(Some(Duration::from_millis(300))).expect("a time-out");
    let mut octets = [0; 2];
    while stream.read_exact(&mut octets).is_ok() {
        let mut query = vec![0; u16::from_be_bytes(octets).into()];
        let Ok(()) = stream.read_exact(&mut query) else { return };
        let reply = upstream::answer(&query, address).expect("a query");
        let octets = u16::try_from(reply.len()).expect("short").to_be_bytes();
        let _lost = stream.write_all(&[&octets, &reply[..]].concat());
    }
}

#[test]
fn without_a_descriptor_no_host_is_looked_up_and_its_upstream_is_not_blamed() {
    let (socket, resolver) = upstream::silent();
    let _arrived = upstream::answering(socket, Ipv4Addr::LOCALHOST, Duration::ZERO);
    let public = Ipv4Addr::new(203, 0, 113, 7);
    let host = format!("tcp://dns.example:{}", answering_over_tcp(public));
    let inner = format!("[[forward]]\nzones = ['inner.example']\nupstreams = ['{resolver}']\n");
    let file = File::new(&(text(&host) + &inner));
    let mut daemon = Daemon::run(&mut limited("1024:4096", file.path()));
    let lower = |limit: &str| {
        let pid = daemon.pid().to_string();
        let status = Command::new("prlimit").args(["--pid", &pid, limit]).status();
        assert!(status.expect("prlimit runs").success());
    };
    lower("--nofile=3:4096");
    // The probes of the start may have opened a connection before.
    let mut names = (0..).map(|number| format!("early{number}.example."));
    process::until("a failure", || {
        let reply = daemon.ask_udp(&names.next()?).expect("a reply");
        thread::sleep(Duration::from_secs(1));
        (reply.rcode() == ResponseCode::ServFail).then_some(())
    });
    for number in 0..20 {
        let reply = daemon.ask_udp(&format!("www{number}.example.")).expect("a reply");
        assert_eq!(reply.rcode(), ResponseCode::ServFail, "{number}");
    }
    daemon.signal("-USR1");
    daemon.wait_for_log(&format!("upstream {host} state="));
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains(&format!("upstream {host} state=")));
    let line = line.expect("the upstream's totals");
    assert!(line.contains(" state=up "), "{line}");
    assert!(!line.contains(" own-shortage=0 "), "{line}");
    assert!(!log.contains("is down"), "{log}");
    lower("--nofile=1024:4096");
    // A dial that failed is tried again within a second.
    let mut names = (0..).map(|number| format!("late{number}.example."));
    let answered =
        process::until("an answer", || daemon.ask_udp(&names.next()?).expect("a reply").address());
    assert_eq!(answered, public);
    daemon.assert_well();
}
