//! Against servers of a few lines on loopback.

use std::net::TcpListener;
use std::thread;

use super::*;
use crate::wire::{Query, Rtype};

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(30);

fn query() -> Vec<u8> {
    message(0x1234, &Question::plain("api.example".parse().unwrap(), Rtype::A), true)
}

/// Answers the first datagram with all that `replies` makes of it.
fn udp(replies: impl FnOnce(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 512];
        let (octets, asker) = socket.recv_from(&mut buffer).unwrap();
        for reply in replies(&buffer[..octets]) {
            socket.send_to(&reply, asker).unwrap();
        }
    });
    address
}

fn response(query: &[u8], bits: u8) -> Vec<u8> {
    let mut reply = query.to_vec();
    reply[2] |= 0x80 | bits;
    reply
}

#[test]
fn a_query_says_what_it_was_told_to() {
    let question = Question {
        dnssec_ok: true,
        checking_disabled: true,
        ..Question::plain("api.example".parse().unwrap(), Rtype::A)
    };
    let with = message(7, &question, true);
    let read = Query::parse(&with).unwrap();
    assert!(read.dnssec_ok() && read.to_question() == question);
    assert_eq!(Header::read(&with).map(|h| (h.id, h.flags)), Some((7, flags::RD | flags::CD)));
    let without = message(7, &question, false);
    assert_eq!(Header::read(&without).map(|header| header.additionals), Some(0));
    assert!(without.ends_with(b"\x07example\0\0\x01\0\x01"));
}

#[test]
fn other_messages_are_passed_over() {
    let server = udp(|query| {
        let mut other = response(query, 0);
        other[0] ^= 1;
        vec![other, query.to_vec(), vec![query[0]], response(query, 0)]
    });
    let query = query();
    let (transport, reply) = ask(server, &query, LONG).unwrap();
    assert_eq!((transport, reply), (Transport::Udp, response(&query, 0)));
}

#[test]
fn silence_ends_and_is_said() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = silent.local_addr().unwrap();
    let error = ask(server, &query(), SHORT).unwrap_err().to_string();
    assert_eq!(error, format!("no reply from {server} over UDP within 30ms, asked 2 times"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    let error = ask_tcp(server, &query(), SHORT).unwrap_err().to_string();
    assert_eq!(error, format!("no reply from {server} over TCP within 30ms"));
}

#[test]
fn who_sends_octet_by_octet_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // A reply of 65,535 octets, one at a time, until nobody listens.
        while stream.write_all(&[0xff]).is_ok() {
            thread::sleep(Duration::from_millis(5));
        }
    });
    let begun = Instant::now();
    let error = ask_tcp(server, &query(), Duration::from_millis(200)).unwrap_err();
    assert!(matches!(error, ClientError::Silent { .. }), "{error}");
    assert!(begun.elapsed() < LONG);
}

#[test]
fn what_is_truncated_is_asked_over_tcp() {
    let (listener, socket) = loop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // The same port may be somebody else's over UDP.
        if let Ok(socket) = UdpSocket::bind(listener.local_addr().unwrap()) {
            break (listener, socket);
        }
    };
    let server = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 512];
        let (octets, asker) = socket.recv_from(&mut buffer).unwrap();
        socket.send_to(&response(&buffer[..octets], 2), asker).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let mut query = vec![0; octets + 2];
        stream.read_exact(&mut query).unwrap();
        stream.write_all(&[&query[..2], &response(&query[2..], 0)].concat()).unwrap();
    });
    let query = query();
    let (transport, reply) = ask(server, &query, LONG).unwrap();
    assert_eq!((transport, reply), (Transport::Tcp, response(&query, 0)));
}

#[test]
fn a_closed_port_is_said() {
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = ask_tcp(closed, &query(), LONG).unwrap_err().to_string();
    assert!(error.starts_with(&format!("no reply from {closed} over TCP: ")), "{error}");
    assert!(error.to_lowercase().contains("refused"), "{error}");
}
