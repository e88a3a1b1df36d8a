//! Upstreams that answer late, one thing, or not at all.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record};

/// A socket that nobody reads; silent as long as it is held.
pub(crate) fn silent() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("bound");
    (socket, address)
}

/// A port of loopback on which nobody listens.
pub(crate) fn closed() -> SocketAddr {
    silent().1
}

/// The reply to `query` with `address`, TTL 0; `None` when it is no query.
pub(crate) fn answer(query: &[u8], address: Ipv4Addr) -> Option<Vec<u8>> {
    let mut message = Message::from_vec(query).ok()?;
    let name = message.queries.first()?.name().clone();
    message.metadata.message_type = MessageType::Response;
    message.metadata.recursion_available = true;
    message.answers.push(Record::from_rdata(name, 0, RData::A(A(address))));
    Some(message.to_vec().expect("encodable"))
}

/// Answers every query with `address`, TTL 0, after `delay`; tells of each query when it comes.
pub(crate) fn answering(socket: UdpSocket, address: Ipv4Addr, delay: Duration) -> Receiver<()> {
    let (tell, told) = channel();
    thread::spawn(move || {
        let mut buffer = [0; 4_096];
        while let Ok((octets, client)) = socket.recv_from(&mut buffer) {
            let _nobody_listens = tell.send(());
            thread::sleep(delay);
            let Some(reply) = answer(&buffer[..octets], address) else { continue };
            let _lost = socket.send_to(&reply, client);
        }
    });
    told
}
