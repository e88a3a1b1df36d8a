//! Real sockets on loopback.

use std::net::{IpAddr, Ipv4Addr, UdpSocket as Client};
use std::time::{Duration, Instant};

use super::super::batch::{RECEIVE_OCTETS, REPLY_OCTETS};
use super::super::bind::bind;
use super::*;
use crate::sys::ReplyPath;

fn server(ip: &str) -> (UdpSocket, SocketAddr) {
    let address = SocketAddr::new(ip.parse().unwrap(), 0);
    let mut listeners = bind(&[address.into()], 1, false).unwrap().listeners.remove(0);
    (listeners.udp.remove(0), listeners.address)
}

fn client(ip: &str) -> Client {
    let client = Client::bind((ip.parse::<IpAddr>().unwrap(), 0)).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    client
}

/// Loopback delivers inside `send`, so what was sent is there; the loop is for the kernel's odd
/// day.
fn receive(socket: &UdpSocket, batch: &mut Batch) -> usize {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        match socket.recv_batch(batch) {
            Ok(count) => return count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < end => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn an_empty_queue_would_block() {
    let (socket, _) = server("127.0.0.1");
    let mut batch = Batch::new();
    let error = socket.recv_batch(&mut batch).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    assert_eq!(batch.received().count(), 0);
    assert_eq!(socket.send_batch(&mut batch), Sent::default());
}

#[test]
fn a_batch_comes_in_order_and_goes_back_to_each_peer() {
    for ip in ["127.0.0.1", "::1"] {
        let (socket, address) = server(ip);
        let clients = [client(ip), client(ip), client(ip)];
        for (index, client) in clients.iter().enumerate() {
            client.send_to(&vec![b'q'; index + 1], address).unwrap();
        }
        let mut batch = Batch::new();
        assert_eq!(receive(&socket, &mut batch), 3);
        for (index, message) in batch.received().enumerate() {
            assert_eq!(message.payload, vec![b'q'; index + 1]);
            assert_eq!(message.peer, clients[index].local_addr().unwrap());
            assert_eq!(message.path, ReplyPath::Bound);
            assert!(!message.truncated);
            // The second gets silence.
            if index != 1 {
                message.reply.extend_from_slice(message.payload);
                message.reply.push(b'!');
            }
        }
        assert_eq!(socket.send_batch(&mut batch), Sent { sent: 2, dropped: 0 });
        let mut buffer = [0; 16];
        assert_eq!(clients[0].recv_from(&mut buffer).unwrap(), (2, address));
        assert_eq!(&buffer[..2], b"q!");
        assert_eq!(clients[2].recv_from(&mut buffer).unwrap(), (4, address));
        clients[1].set_nonblocking(true).unwrap();
        assert!(clients[1].recv_from(&mut buffer).is_err());
    }
}

#[test]
fn a_batch_is_used_again_without_traces_of_the_last() {
    let (socket, address) = server("127.0.0.1");
    let client = client("127.0.0.1");
    let mut batch = Batch::new();
    for round in 0..3 {
        for _ in 0..BATCH_SLOTS + 1 {
            client.send_to(b"query", address).unwrap();
        }
        assert_eq!(receive(&socket, &mut batch), BATCH_SLOTS);
        batch.received().for_each(|message| message.reply.push(round));
        assert_eq!(socket.send_batch(&mut batch).sent, BATCH_SLOTS);
        assert_eq!(receive(&socket, &mut batch), 1);
        assert!(batch.received().all(|message| message.reply.is_empty()));
        let mut buffer = [0; 16];
        for _ in 0..BATCH_SLOTS {
            assert_eq!(client.recv(&mut buffer).unwrap(), 1);
            assert_eq!(buffer[0], round);
        }
    }
    // Nothing above outgrew what `new` allocated.
    assert!(batch.received().all(|message| message.reply.capacity() == REPLY_OCTETS));
}

#[test]
fn what_is_too_long_is_cut_and_marked() {
    let (socket, address) = server("127.0.0.1");
    let client = client("127.0.0.1");
    client.send_to(&[7; RECEIVE_OCTETS], address).unwrap();
    client.send_to(&[8; RECEIVE_OCTETS + 1], address).unwrap();
    client.send_to(&[], address).unwrap();
    let mut batch = Batch::new();
    assert_eq!(receive(&socket, &mut batch), 3);
    let seen: Vec<_> =
        batch.received().map(|message| (message.payload.len(), message.truncated)).collect();
    assert_eq!(seen, [(RECEIVE_OCTETS, false), (RECEIVE_OCTETS, true), (0, false)]);
}

#[test]
fn a_reply_leaves_from_the_address_asked() {
    let (socket, bound) = server("0.0.0.0");
    let mut batch = Batch::new();
    let client = client("127.0.0.1");
    let asked = [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)];
    for ip in asked {
        client.send_to(b"query", (ip, bound.port())).unwrap();
    }
    assert_eq!(receive(&socket, &mut batch), 2);
    for (message, ip) in batch.received().zip(asked) {
        assert_eq!(message.path, ReplyPath::V4(ip));
        message.reply.extend_from_slice(b"reply");
    }
    assert_eq!(socket.send_batch(&mut batch).sent, 2);
    let mut buffer = [0; 16];
    for ip in asked {
        let (_, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!(from, SocketAddr::new(ip.into(), bound.port()));
    }
    // And a late one as well.
    let peer = client.local_addr().unwrap();
    let mut outbox = Outbox::default();
    outbox.push_to(b"late", peer, ReplyPath::V4(asked[1]));
    assert_eq!(socket.send_all(&mut outbox), Sent { sent: 1, dropped: 0 });
    let (octets, from) = client.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..octets], from.ip()), (&b"late"[..], asked[1].into()));
}

#[test]
fn the_ipv6_wildcard_answers_from_the_address_asked() {
    let (socket, bound) = server("::");
    let mut batch = Batch::new();
    let client = client("::1");
    let address = SocketAddr::new("::1".parse().unwrap(), bound.port());
    client.send_to(b"query", address).unwrap();
    assert_eq!(receive(&socket, &mut batch), 1);
    let (peer, path) = batch
        .received()
        .map(|message| {
            message.reply.extend_from_slice(b"reply");
            (message.peer, message.path)
        })
        .next()
        .unwrap();
    assert!(matches!(path, ReplyPath::V6(ip, interface) if ip.is_loopback() && interface > 0));
    assert_eq!(socket.send_batch(&mut batch).sent, 1);
    let mut buffer = [0; 16];
    assert_eq!(client.recv_from(&mut buffer).unwrap(), (5, address));
    let mut outbox = Outbox::default();
    outbox.push_to(b"late", peer, path);
    assert_eq!(socket.send_all(&mut outbox), Sent { sent: 1, dropped: 0 });
    assert_eq!(client.recv_from(&mut buffer).unwrap(), (4, address));
}

#[test]
fn one_reply_that_cannot_go_does_not_hold_up_the_next() {
    let (socket, address) = server("127.0.0.1");
    let (first, second) = (client("127.0.0.1"), client("127.0.0.1"));
    first.send_to(b"query", address).unwrap();
    second.send_to(b"query", address).unwrap();
    let mut batch = Batch::new();
    assert_eq!(receive(&socket, &mut batch), 2);
    // 65,508 octets do not fit into a datagram: the kernel refuses this one with EMSGSIZE.
    for (message, octets) in batch.received().zip([65_508, 4]) {
        message.reply.resize(octets, 0);
    }
    assert_eq!(socket.send_batch(&mut batch), Sent { sent: 1, dropped: 1 });
    assert_eq!(second.recv(&mut [0; 16]).unwrap(), 4);
    let mut outbox = Outbox::default();
    let peers = [&first, &second].map(|client| client.local_addr().unwrap());
    outbox.push_to(&[0; 65_508], peers[0], ReplyPath::Bound);
    outbox.push_to(b"late", peers[1], ReplyPath::Bound);
    assert_eq!(socket.send_all(&mut outbox), Sent { sent: 1, dropped: 1 });
    assert!(outbox.is_empty());
    assert_eq!(second.recv(&mut [0; 16]).unwrap(), 4);
}

#[test]
fn an_icmp_error_stops_neither_side() {
    let (socket, address) = server("127.0.0.1");
    let gone = client("127.0.0.1");
    gone.send_to(b"query", address).unwrap();
    let mut batch = Batch::new();
    assert_eq!(receive(&socket, &mut batch), 1);
    drop(gone);
    batch.received().for_each(|message| message.reply.push(1));
    // The reply meets a closed port; the kernel hears "port unreachable".
    assert_eq!(socket.send_batch(&mut batch).sent, 1);
    let client = client("127.0.0.1");
    client.send_to(b"query", address).unwrap();
    assert_eq!(receive(&socket, &mut batch), 1);
    batch.received().for_each(|message| message.reply.push(2));
    assert_eq!(socket.send_batch(&mut batch).sent, 1);
    assert_eq!(client.recv(&mut [0; 16]).unwrap(), 1);
}
