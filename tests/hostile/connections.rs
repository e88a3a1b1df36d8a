//! Clients that take all the connections they get, fill them with octets, or may not ask at all.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use hickory_proto::op::ResponseCode;

use super::daemon::{Daemon, PRIVATE, PRIVATE_ADDRESS, config, query};
use super::process::until;
use super::upstream;

/// Connections and queries on each that wait for a silent upstream, 40 MiB in all.
const FLOODING: usize = 80;
const QUERIES_EACH: usize = 8;
/// Octets of each query: the most that a frame holds.
const LONGEST: usize = 65_535;
/// What the daemon may take for them, beyond what it had: tasks, tables and one read buffer each.
const MOST_KIB: usize = 24 << 10;
/// What may be left of it when they are gone.
const LEFT_KIB: usize = 8 << 10;

const OPENED: usize = 300;
const CAP: usize = 100;

#[test]
fn half_open_connections_of_one_client_are_its_own_trouble() {
    let text = config(&upstream::closed().to_string(), "300ms");
    let limits = format!("[limits]\ntcp-connections-per-client = {CAP}\ntcp-message = '60s'\n");
    let daemon = Daemon::start(&format!("{text}{limits}"));
    let greedy = Ipv4Addr::LOCALHOST;
    let mut streams: Vec<TcpStream> = (0..OPENED)
        .map(|_| {
            let mut stream = daemon.connect(greedy);
            // The first octet of a length; those over the cap may be gone by now.
            let _gone = stream.write_all(&[0]);
            stream.set_read_timeout(Some(Duration::from_millis(1))).expect("a time-out");
            stream
        })
        .collect();
    until("the connections over the cap are closed", || {
        streams.retain_mut(|stream| !is_closed(stream));
        (streams.len() <= CAP).then_some(())
    });
    assert_eq!(daemon.ask_udp(PRIVATE).expect("UDP").address(), Some(PRIVATE_ADDRESS));
    let other = Ipv4Addr::new(127, 0, 0, 2);
    let reply = daemon.ask_tcp_from(other, PRIVATE).expect("TCP of another client");
    assert_eq!(reply.address(), Some(PRIVATE_ADDRESS));
    // Those inside the cap are held, and give their places back.
    assert_eq!(streams.len(), CAP);
    drop(streams);
    until("the client may connect again", || daemon.ask_tcp(PRIVATE));
}

fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0]) {
        Ok(octets) => octets == 0,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

#[test]
fn long_queries_that_wait_are_not_kept_and_their_memory_returns() {
    let (_silent, address) = upstream::silent();
    // The queries must still wait when the private answers come, on a busy machine too.
    let mut daemon = Daemon::start(&config(&address.to_string(), "8s"));
    daemon.assert_well();
    let before = resident_kib(&daemon);
    let mut streams: Vec<_> = (0..FLOODING).map(|_| daemon.connect(Ipv4Addr::LOCALHOST)).collect();
    for (at, stream) in streams.iter_mut().enumerate() {
        for number in 0..QUERIES_EACH {
            let query = padded(&format!("n{number}.c{at}.example."));
            stream.write_all(&query).expect("taken");
        }
    }
    // A whole query that is answered at once shows that those before it were taken in.
    for stream in &mut streams {
        let private = query(9, PRIVATE);
        let length = u16::try_from(private.len()).expect("short").to_be_bytes();
        stream.write_all(&[&length, &private[..]].concat()).expect("taken");
        let mut id = [0; 4];
        stream.read_exact(&mut id).expect("a reply");
        assert_eq!(id[3], 9, "the private answer is first");
    }
    let during = resident_kib(&daemon);
    assert!(during < before + MOST_KIB, "{before} KiB, then {during}");
    drop(streams);
    until("the memory is back", || (resident_kib(&daemon) < before + LEFT_KIB).then_some(()));
    daemon.assert_well();
}

#[test]
fn clients_outside_access_take_no_place_of_others() {
    let outside = Ipv4Addr::new(127, 0, 0, 9);
    for refused in ["answer", "drop"] {
        let text = config(&upstream::closed().to_string(), "300ms");
        let access = format!("[access]\nallow = ['127.0.0.1']\nrefused = '{refused}'\n");
        let mut daemon = Daemon::start(&format!("{text}{access}[limits]\ntcp-connections = 1\n"));
        let mut served = daemon.connect(Ipv4Addr::LOCALHOST);
        let ask = |served: &mut TcpStream| {
            let private = query(9, PRIVATE);
            let length = u16::try_from(private.len()).expect("short").to_be_bytes();
            served.write_all(&[&length, &private[..]].concat()).expect("still open");
            let mut length = [0; 2];
            served.read_exact(&mut length).expect("a reply");
            let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
            served.read_exact(&mut reply).expect("a reply");
        };
        ask(&mut served);
        let held: Vec<_> = (0..OPENED).map(|_| daemon.connect(outside)).collect();
        ask(&mut served);
        drop(held);
        let reply = until("an answer, or none for certain", || {
            let reply = daemon.ask_tcp_from(outside, PRIVATE);
            (reply.is_some() == (refused == "answer")).then_some(reply)
        });
        assert!(reply.is_none_or(|reply| reply.rcode() == ResponseCode::Refused));
        ask(&mut served);
        drop(served);
        daemon.assert_well();
    }
}

/// A framed query of [`LONGEST`] octets: EDNS padding (RFC 7830) behind a short one.
fn padded(name: &str) -> Vec<u8> {
    let mut message = query(1, name);
    message[11] = 1;
    let padding = LONGEST - message.len() - 15;
    let octets = |number: usize| u16::try_from(number).expect("16 bits").to_be_bytes();
    message.extend_from_slice(b"\0\0\x29\x04\xd0\0\0\0\0");
    message.extend_from_slice(&octets(padding + 4));
    message.extend_from_slice(b"\0\x0c");
    message.extend_from_slice(&octets(padding));
    message.resize(LONGEST, 0);
    [&octets(LONGEST)[..], &message].concat()
}

/// What the daemon has in memory.
fn resident_kib(daemon: &Daemon) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a number");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
