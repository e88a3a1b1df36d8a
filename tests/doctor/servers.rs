//! Servers of a few lines on loopback: what a resolver or an upstream says, and over what.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::thread;

use socket2::{Domain, Socket, Type};

/// Types and rcodes of these tests.
pub(crate) const A: u16 = 1;
pub(crate) const AAAA: u16 = 28;
pub(crate) const DS: u16 = 43;
pub(crate) const SERVFAIL: u8 = 2;
pub(crate) const NXDOMAIN: u8 = 3;
pub(crate) const REFUSED: u8 = 5;

/// A query, as far as the servers look.
pub(crate) struct Asked {
    pub(crate) name: String,
    pub(crate) rtype: u16,
    pub(crate) unchecked: bool,
    pub(crate) edns: bool,
}

/// What is said to it.
pub(crate) enum Said {
    Nothing,
    /// An rcode and records; whether a query's OPT comes back.
    Reply(u8, Vec<Vec<u8>>, bool),
}

impl Said {
    pub(crate) fn code(rcode: u8) -> Self {
        Self::Reply(rcode, Vec::new(), true)
    }

    pub(crate) fn records(records: Vec<Vec<u8>>) -> Self {
        Self::Reply(0, records, true)
    }
}

/// A record of the question's own name.
pub(crate) fn record(rtype: u16, rdata: &[u8]) -> Vec<u8> {
    record_of(&[0xc0, 12], rtype, rdata)
}

fn record_of(owner: &[u8], rtype: u16, rdata: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rdata.len()).expect("short").to_be_bytes();
    [owner, &rtype.to_be_bytes(), &[0, 1, 0, 0, 0, 60], &length, rdata].concat()
}

pub(crate) fn address(text: &str) -> Vec<u8> {
    match text.parse().expect("an address") {
        IpAddr::V4(ip) => record(A, &ip.octets()),
        IpAddr::V6(ip) => record(AAAA, &ip.octets()),
    }
}

/// A CNAME to `target`, and its address if there is one.
pub(crate) fn through(target: &str, address: Option<&str>) -> Vec<Vec<u8>> {
    let mut name = Vec::new();
    for label in target.split('.') {
        name.push(u8::try_from(label.len()).expect("short"));
        name.extend(label.as_bytes());
    }
    name.push(0);
    let mut records = vec![record(5, &name)];
    if let Some(address) = address {
        let ip: std::net::Ipv4Addr = address.parse().expect("an address");
        records.push(record_of(&name, A, &ip.octets()));
    }
    records
}

/// The internet: `com` is signed and nothing below it; no name has an address.
pub(crate) fn internet(asked: &Asked) -> Said {
    match asked.rtype {
        DS if asked.name == "com" => Said::records(vec![record(DS, &[0, 1, 8, 2, 9, 9, 9, 9])]),
        A | AAAA => Said::code(NXDOMAIN),
        _ => Said::code(0),
    }
}

type Answering = Arc<dyn Fn(&Asked) -> Said + Send + Sync>;

/// Answers over UDP and TCP until the test ends.
pub(crate) fn serve(answer: impl Fn(&Asked) -> Said + Send + Sync + 'static) -> SocketAddr {
    let answer: Answering = Arc::new(answer);
    let (socket, listener) = loop {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        // The same port may be somebody else's over TCP.
        if let Ok(listener) = TcpListener::bind(socket.local_addr().expect("bound")) {
            break (socket, listener);
        }
    };
    let over_tcp = Arc::clone(&answer);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // A query without an answer keeps its connection busy, and must not delay the others.
            let answer = Arc::clone(&over_tcp);
            thread::spawn(move || serve_stream(stream, &*answer));
        }
    });
    serve_udp(socket, answer)
}

fn serve_stream(mut stream: TcpStream, answer: &dyn Fn(&Asked) -> Said) {
    let mut length = [0; 2];
    while stream.read_exact(&mut length).is_ok() {
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut query).expect("a query");
        let Some(reply) = reply(&query, answer) else { continue };
        let length = u16::try_from(reply.len()).expect("short").to_be_bytes();
        let _gone = stream.write_all(&[&length, &*reply].concat());
    }
}

/// Answers over UDP alone; nobody listens on the same port of TCP.
pub(crate) fn serve_without_tcp(
    answer: impl Fn(&Asked) -> Said + Send + Sync + 'static,
) -> SocketAddr {
    loop {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let address = socket.local_addr().expect("bound");
        // Bound and not listening: it refuses, and is nobody else's.
        let closed = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        if closed.bind(&address.into()).is_ok() {
            std::mem::forget(closed);
            return serve_udp(socket, Arc::new(answer));
        }
    }
}

fn serve_udp(socket: UdpSocket, answer: Answering) -> SocketAddr {
    let address = socket.local_addr().expect("bound");
    thread::spawn(move || {
        let mut buffer = [0; 4_096];
        while let Ok((octets, asker)) = socket.recv_from(&mut buffer) {
            if let Some(reply) = reply(&buffer[..octets], &*answer) {
                let _gone = socket.send_to(&reply, asker);
            }
        }
    });
    address
}

/// Sends what comes to `to`, and what comes from there back to the last who asked.
pub(crate) fn relay(to: SocketAddr) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("bound");
    thread::spawn(move || {
        let (mut buffer, mut last) = ([0; 4_096], None);
        while let Ok((octets, from)) = socket.recv_from(&mut buffer) {
            let next = if from == to { last } else { Some(to) };
            if from != to {
                last = Some(from);
            }
            if let Some(next) = next {
                let _gone = socket.send_to(&buffer[..octets], next);
            }
        }
    });
    address
}

fn reply(query: &[u8], answer: &dyn Fn(&Asked) -> Said) -> Option<Vec<u8>> {
    let mut labels = Vec::new();
    let mut at = 12;
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..end]).to_lowercase());
        at = end;
    }
    let end = at + 5;
    let asked = Asked {
        name: labels.join("."),
        rtype: u16::from_be_bytes([query[at + 1], query[at + 2]]),
        unchecked: query[3] & 0x10 != 0,
        edns: query[11] != 0,
    };
    let Said::Reply(rcode, records, keeps_opt) = answer(&asked) else { return None };
    // Behind the question there is nothing but the OPT.
    let opt = if keeps_opt { &query[end..] } else { &[] };
    let count = u8::try_from(records.len()).expect("few");
    let bits = [0x80 | query[2], 0x80 | (query[3] & 0x10) | rcode];
    let counts = [0, 1, 0, count, 0, 0, 0, u8::from(!opt.is_empty())];
    Some([&query[..2], &bits, &counts, &query[12..end], &records.concat(), opt].concat())
}
