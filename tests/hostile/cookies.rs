//! Upstreams that speak DNS cookies, break them or want none; what clients see of them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_proto::op::ResponseCode;

use super::daemon::{Daemon, config, query};
use super::upstream;

const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 81);
/// Octets of a header.
const HEADER: usize = 12;
/// Octets of an OPT record without options.
const OPT: usize = 11;
const SERVER: &[u8] = b"the server's own";
const CLIENT: &[u8] = b"a client";

/// Where the question of `query` ends.
fn question_end(query: &[u8]) -> usize {
    let name = query[HEADER..].iter().position(|octet| *octet == 0).expect("a root");
    HEADER + name + 1 + 4
}

/// The data of the COOKIE option of `query`: the daemon sends no other option.
fn cookie(query: &[u8]) -> Option<&[u8]> {
    let options = query.get(question_end(query) + OPT..)?;
    options.strip_prefix(&[0, 10, 0]).map(|rest| &rest[1..])
}

/// An answer with the OPT of a server that speaks cookies. `rcode`: the four low and the upper bits.
fn reply(query: &[u8], rcode: (u8, u8), server: &[u8]) -> Vec<u8> {
    let mut reply = query[..question_end(query)].to_vec();
    reply[2..4].copy_from_slice(&[0x81, 0x80 | rcode.0]);
    reply[6..HEADER].copy_from_slice(&[0, u8::from(rcode == (0, 0)), 0, 0, 0, 1]);
    if rcode == (0, 0) {
        reply.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04");
        reply.extend_from_slice(&ADDRESS.octets());
    }
    let cookie = cookie(query).map_or(Vec::new(), |cookie| [&cookie[..8], server].concat());
    let octets = u8::try_from(cookie.len()).expect("short");
    reply.extend_from_slice(&[0, 0, 41, 4, 208, rcode.1, 0, 0, 0]);
    match octets {
        0 => reply.extend_from_slice(&[0, 0]),
        _ => reply.extend_from_slice(&[0, 4 + octets, 0, 10, 0, octets]),
    }
    reply.extend_from_slice(&cookie);
    reply
}

fn good(query: &[u8]) -> Vec<u8> {
    reply(query, (0, 0), SERVER)
}

/// An upstream that sends datagrams, and its address.
fn saying(says: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let (socket, address) = upstream::silent();
    upstream::saying(socket, says);
    address
}

fn holds(octets: &[u8], part: &[u8]) -> bool {
    octets.windows(part.len()).any(|window| window == part)
}

/// `query` with an OPT that has a COOKIE option, as a client sends it.
fn with_cookie(mut query: Vec<u8>, data: &[u8]) -> Vec<u8> {
    let octets = u8::try_from(data.len()).expect("short");
    query[11] += 1;
    query.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 4 + octets, 0, 10, 0, octets]);
    query.extend_from_slice(data);
    query
}

#[test]
fn cookies_of_clients_and_of_upstreams_never_meet() {
    let seen: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let into = Arc::clone(&seen);
    let address = saying(move |query| {
        into.lock().expect("unpoisoned").push(query.to_vec());
        vec![good(query)]
    });
    let mut daemon = Daemon::start(&config(&address.to_string(), "5s"));
    let socket = daemon.udp();
    let mut replies = Vec::new();
    for number in 0..10 {
        for repeat in 0..2 {
            let plain = query(number * 2 + repeat, &format!("n{number}.example."));
            for asked in [plain.clone(), with_cookie(plain, CLIENT)] {
                socket.send(&asked).expect("sent");
                let mut reply = [0; 4_096];
                let octets = socket.recv(&mut reply).expect("a reply");
                let reply = reply[..octets].to_vec();
                assert_eq!(reply[3] & 0x0f, 0, "NOERROR");
                assert_eq!(reply[11], asked[11], "an OPT for who sent one");
                replies.push(reply);
            }
        }
    }
    let seen = seen.lock().expect("unpoisoned");
    let ours: Vec<_> = seen.iter().filter_map(|query| cookie(query)).collect();
    assert!(ours.len() >= 10, "{}", ours.len());
    assert!(ours.iter().any(|cookie| cookie.len() == 8 + SERVER.len()), "sent back");
    assert!(!seen.iter().any(|query| holds(query, CLIENT)), "a client's cookie went on");
    for reply in &replies {
        assert!(!holds(reply, SERVER) && !holds(reply, CLIENT));
        assert!(!ours.iter().any(|cookie| holds(reply, &cookie[..8])));
    }
    drop(seen);
    daemon.signal("-USR1");
    daemon.wait_for_log(" cookies=yes ");
    daemon.assert_well();
}

#[test]
fn a_box_that_drops_queries_with_cookies_loses_no_query() {
    let address = saying(|query| match cookie(query) {
        Some(_) => Vec::new(),
        None => vec![good(query)],
    });
    let mut daemon = Daemon::start(&config(&address.to_string(), "5s"));
    for number in 0..20 {
        let reply = daemon.ask_udp(&format!("n{number}.example.")).expect("a reply");
        assert_eq!((number, reply.address()), (number, Some(ADDRESS)));
    }
    daemon.wait_for_log("it is asked without cookies for ten minutes");
    assert!(!daemon.log().contains("is down"), "{}", daemon.log());
    daemon.assert_well();
}

#[test]
fn forged_replies_without_the_cookie_are_not_taken() {
    // The forger knows all but the cookie, and is faster. It leaves probes for loops alone.
    let address = saying(|query| {
        if !query[HEADER + 1].eq_ignore_ascii_case(&b'n') {
            return vec![good(query)];
        }
        let mut forged = good(query);
        forged.truncate(question_end(query) + 16);
        forged[11] = 0;
        forged[question_end(query) + 15] ^= 1;
        match cookie(query) {
            Some(cookie) if cookie.len() > 8 => vec![forged, good(query)],
            _ => vec![good(query)],
        }
    });
    let mut daemon = Daemon::start(
        &config(&address.to_string(), "5s").replace("[listen]", "[limits]\nworkers = 1\n[listen]"),
    );
    for number in 0..20 {
        let reply = daemon.ask_udp(&format!("n{number}.example.")).expect("a reply");
        assert_eq!((number, reply.address()), (number, Some(ADDRESS)));
    }
    daemon.signal("-USR1");
    daemon.wait_for_log(" other-cookie=19 ");
    daemon.assert_well();
}

#[test]
fn badcookie_never_reaches_clients() {
    let address = saying(|query| match query[HEADER + 1].to_ascii_lowercase() {
        b'b' => vec![reply(query, (7, 1), SERVER)],
        _ => vec![good(query)],
    });
    let mut daemon = Daemon::start(&config(&address.to_string(), "5s"));
    for number in 0..6 {
        let reply = daemon.ask_udp(&format!("b{number}.example.")).expect("a reply");
        assert_eq!(reply.rcode(), ResponseCode::ServFail);
    }
    let reply = daemon.ask_udp("www.example.").expect("a reply");
    assert_eq!(reply.address(), Some(ADDRESS));
    assert!(!daemon.log().contains("is down"), "{}", daemon.log());
    daemon.assert_well();
}
