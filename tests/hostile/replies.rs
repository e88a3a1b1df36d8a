//! Upstreams, and others in their name, whose replies are not what was asked for.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use hickory_proto::op::ResponseCode;

use super::daemon::{Daemon, config};
use super::process::PATIENCE;
use super::upstream;

const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 80);
/// Octets of a header.
const HEADER: usize = 12;

fn answer(query: &[u8]) -> Vec<u8> {
    upstream::answer(query, ADDRESS).expect("the daemon sends messages")
}

/// Where the question of `query` ends.
fn question_end(query: &[u8]) -> usize {
    let name = query[HEADER..].iter().position(|octet| *octet == 0).expect("a root");
    HEADER + name + 1 + 4
}

fn asks_for(query: &[u8], label: &[u8]) -> bool {
    let name = query.get(HEADER + 1..).and_then(|name| name.get(..label.len()));
    name.is_some_and(|name| name.eq_ignore_ascii_case(label))
}

/// A reply to `query` with `records`, `count` of them, in its answer section.
fn reply(query: &[u8], count: u16, records: &[u8]) -> Vec<u8> {
    let mut reply = query[..question_end(query)].to_vec();
    reply[2..4].copy_from_slice(&[0x81, 0x80]);
    reply[6..8].copy_from_slice(&count.to_be_bytes());
    reply[8..HEADER].fill(0);
    reply.extend_from_slice(records);
    reply
}

/// An upstream that sends datagrams, and its address.
fn saying(says: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let (socket, address) = upstream::silent();
    upstream::saying(socket, says);
    address
}

#[test]
fn unusable_replies_for_some_names_leave_the_upstream_in_use() {
    let address = saying(|query| {
        let owner_and_type = b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c";
        let circle = [&owner_and_type[..], &[0, 2, 0xc0, 12]].concat();
        let datagram = match query[HEADER + 1].to_ascii_lowercase() {
            // A CNAME that leads to itself, one that is cut, and a question with nothing behind it.
            b'a' => reply(query, 1, &circle),
            b'b' => reply(query, 1, &circle[..circle.len() - 1]),
            b'c' => reply(query, 9, &[]),
            // An address of three octets, one of another class, and a record of type ANY.
            b'd' => reply(query, 1, b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x03\xc0\0\x02"),
            b'e' => reply(query, 1, b"\xc0\x0c\0\x01\0\x03\0\0\0\x3c\0\x04\xc0\0\x02\x01"),
            b'f' => reply(query, 1, b"\xc0\x0c\0\xff\0\x01\0\0\0\x3c\0\0"),
            _ => answer(query),
        };
        vec![datagram]
    });
    let mut daemon = Daemon::start(&config(&address.to_string(), "2s"));
    for number in 0..5 {
        for kind in ["a", "b", "c", "d", "e", "f"] {
            let reply = daemon.ask_udp(&format!("{kind}{number}.example.")).expect("a reply");
            assert_eq!(reply.rcode(), ResponseCode::ServFail, "{kind}");
        }
    }
    let reply = daemon.ask_udp("www.example.").expect("a reply");
    assert_eq!((reply.rcode(), reply.address()), (ResponseCode::NoError, Some(ADDRESS)));
    assert!(!daemon.log().contains("is down"), "{}", daemon.log());
    daemon.assert_well();
}

#[test]
fn a_truncated_reply_without_tcp_leaves_the_upstream_in_use() {
    let address = saying(|query| {
        let mut datagram = reply(query, 0, &[]);
        if asks_for(query, b"large") {
            datagram[2] |= 0x02;
            return vec![datagram];
        }
        vec![answer(query)]
    });
    let mut daemon = Daemon::start(&config(&address.to_string(), "2s"));
    for number in 0..6 {
        let reply = daemon.ask_udp(&format!("large{number}.example.")).expect("a reply");
        assert_eq!(reply.rcode(), ResponseCode::ServFail);
    }
    assert_eq!(daemon.ask_udp("www.example.").expect("a reply").address(), Some(ADDRESS));
    assert!(!daemon.log().contains("is down"), "{}", daemon.log());
    daemon.assert_well();
}

#[test]
fn datagrams_that_are_not_the_reply_do_not_end_a_query() {
    let address = saying(|query| {
        let good = answer(query);
        let mut other = good.clone();
        // Another letter or digit, whatever the case.
        other[HEADER + 1] ^= 0x01;
        let bare = [&query[..2], &[0x81, 0x82], &[0; 8]].concat();
        // The daemon's own query, a reply cut in its question, garbage, another question, an error
        // without one.
        let cut = good[..question_end(query) - 1].to_vec();
        vec![query.to_vec(), cut, [&query[..2], &[0xee; 99]].concat(), other, bare, good]
    });
    let mut daemon = Daemon::start(&config(&address.to_string(), "2s"));
    for number in 0..10 {
        let reply = daemon.ask_udp(&format!("n{number}.example.")).expect("a reply");
        assert_eq!(reply.rcode(), ResponseCode::NoError, "{number}");
        assert_eq!(reply.address(), Some(ADDRESS));
    }
    assert!(!daemon.log().contains("is down"), "{}", daemon.log());
    daemon.signal("-USR1");
    daemon.wait_for_log("mismatches=");
    let log = daemon.log();
    let (_, count) = log.rsplit_once("mismatches=").expect("just seen");
    let count = count.split(' ').next().and_then(|count| count.parse::<u32>().ok());
    assert!(count.is_some_and(|count| count >= 50), "{count:?}");
    daemon.assert_well();
}

/// A reply of some 60 KiB that is full of owners of a hundred pointers each.
fn bomb(query: &[u8]) -> Vec<u8> {
    let fixed = |rtype: u8, octets: usize| {
        let octets = u16::try_from(octets).expect("short").to_be_bytes();
        [&[0, rtype, 0, 1, 0, 0, 0, 0x3c][..], &octets].concat()
    };
    let pointer = |to: usize| (0xc000 | u16::try_from(to).expect("near")).to_be_bytes();
    let rungs_at = question_end(query) + 1 + 10;
    let mut rungs = vec![1, b'x', 0];
    let mut last = rungs_at;
    for _ in 0..100 {
        let here = rungs_at + rungs.len();
        rungs.extend(pointer(last));
        last = here;
    }
    let records = 4_600_u16;
    let mut octets = [&[0][..], &fixed(16, rungs.len()), &rungs].concat();
    let record = [&pointer(last)[..], &fixed(2, 1), &[0]].concat();
    octets.extend(record.repeat(usize::from(records)));
    reply(query, records + 1, &octets)
}

#[test]
fn replies_of_names_that_are_long_to_read_cost_little() {
    const BOMBS: u32 = 40;
    /// For each, in a build that is not optimised.
    const MOST: Duration = Duration::from_millis(40);
    let address = saying(|query| match asks_for(query, b"bomb") {
        true => vec![bomb(query)],
        false => vec![answer(query)],
    });
    let mut daemon = Daemon::start(&config(&address.to_string(), "5s"));
    assert_eq!(daemon.ask_udp("www.example.").expect("a reply").address(), Some(ADDRESS));
    let before = daemon.processor_time();
    for number in 0..BOMBS {
        let reply = daemon.ask_udp(&format!("bomb{number}.example.")).expect("a reply");
        assert_eq!(reply.rcode(), ResponseCode::ServFail);
    }
    let spent = daemon.processor_time() - before;
    assert!(spent < BOMBS * MOST, "{spent:?}");
    assert_eq!(daemon.ask_udp("other.example.").expect("a reply").address(), Some(ADDRESS));
    daemon.assert_well();
}

/// Sends truncated replies over UDP; over TCP, the answer to the first query and then the same again
/// and again, a millisecond apart. Tells how many of those the other end took before it hung up.
fn repeating(replies: u32) -> (SocketAddr, Receiver<u32>) {
    let (listener, socket) = loop {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        if let Ok(socket) = UdpSocket::bind(listener.local_addr().expect("bound")) {
            break (listener, socket);
        }
    };
    let address = listener.local_addr().expect("bound");
    upstream::saying(socket, |query| {
        let mut truncated = reply(query, 0, &[]);
        truncated[2] |= 0x02;
        vec![truncated]
    });
    let (tell, told) = channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let tell = tell.clone();
            thread::spawn(move || tell.send(repeat(stream, replies)));
        }
    });
    (address, told)
}

fn repeat(mut stream: TcpStream, replies: u32) -> u32 {
    let mut repeat = || {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut query)?;
        let answer = answer(&query);
        let length = u16::try_from(answer.len()).expect("short").to_be_bytes();
        let frame = [&length[..], &answer].concat();
        let mut sent = 0;
        while sent < replies && stream.write_all(&frame).is_ok() {
            sent += 1;
            thread::sleep(Duration::from_millis(1));
        }
        std::io::Result::Ok(sent)
    };
    repeat().unwrap_or(0)
}

#[test]
fn an_upstream_that_sends_replies_for_ever_is_hung_up_on() {
    const MANY: u32 = 2_000;
    /// How many may leave before the end of the connection is known here, on a busy machine.
    const MOST: u32 = 500;
    let (address, told) = repeating(MANY);
    let mut daemon = Daemon::start(&config(&address.to_string(), "2s"));
    // One query alone: another one would find the connection blocked, and dial.
    let reply = daemon.ask_udp("n0.example.").expect("a reply");
    assert_eq!(reply.address(), Some(ADDRESS));
    let taken = told.recv_timeout(PATIENCE).expect("hung up on");
    assert!(taken < MOST, "{taken}");
    let reply = daemon.ask_udp("n1.example.").expect("a reply");
    assert_eq!(reply.address(), Some(ADDRESS));
    daemon.assert_well();
}

#[test]
fn a_server_that_folds_the_case_of_names_loses_no_query() {
    let address = saying(|query| {
        let mut folded = answer(query);
        let end = question_end(query);
        folded[HEADER..end].make_ascii_lowercase();
        vec![folded]
    });
    let mut daemon = Daemon::start(&config(&address.to_string(), "2s"));
    for number in 0..20 {
        let reply = daemon.ask_udp(&format!("WwW{number}.Example.")).expect("a reply");
        assert_eq!(reply.address(), Some(ADDRESS), "{number}");
    }
    daemon.wait_for_log("folds the case of names");
    assert!(!daemon.log().contains("is down"), "{}", daemon.log());
    daemon.assert_well();
}

#[test]
fn an_upstream_without_udp_is_asked_over_tcp_and_stays_in_use() {
    // Each query over UDP meets an ICMP error, as from a forger that guesses the port.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut length = [0; 2];
                while stream.read_exact(&mut length).is_ok() {
                    let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
                    stream.read_exact(&mut query)?;
                    let answer = answer(&query);
                    let length = u16::try_from(answer.len()).expect("short").to_be_bytes();
                    stream.write_all(&[&length[..], &answer].concat())?;
                }
                std::io::Result::Ok(())
            });
        }
    });
    let mut daemon = Daemon::start(&config(&address.to_string(), "2s"));
    for number in 0..20 {
        let reply = daemon.ask_udp(&format!("n{number}.example.")).expect("a reply");
        assert_eq!(reply.address(), Some(ADDRESS), "{number}");
    }
    assert!(!daemon.log().contains("is down"), "{}", daemon.log());
    daemon.assert_well();
}
