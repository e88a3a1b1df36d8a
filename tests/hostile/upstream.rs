//! Upstreams that answer late, one thing, or not at all.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::rdata::{A, CNAME};
use hickory_proto::rr::{Name, RData, Record};
use hickory_proto::serialize::binary::BinEncodable;

/// A socket that nobody reads; silent as long as it is held.
pub(crate) fn silent() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("bound");
    (socket, address)
}

/// A listener and a socket on one port.
pub(crate) fn tcp_and_udp() -> (TcpListener, UdpSocket) {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        match UdpSocket::bind(listener.local_addr().expect("bound")) {
            Ok(socket) => return (listener, socket),
            // Another test has the number for UDP.
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// A port of loopback on which nobody listens.
pub(crate) fn closed() -> SocketAddr {
    silent().1
}

/// The reply to `query` with `address`, TTL 0; `None` when it is no query.
pub(crate) fn answer(query: &[u8], address: Ipv4Addr) -> Option<Vec<u8>> {
    answer_for(query, address, 0)
}

/// As [`answer`], to be kept for `ttl` seconds.
fn answer_for(query: &[u8], address: Ipv4Addr, ttl: u32) -> Option<Vec<u8>> {
    let mut message = Message::from_vec(query).ok()?;
    let name = message.queries.first()?.name().clone();
    message.metadata.message_type = MessageType::Response;
    message.metadata.recursion_available = true;
    message.answers.push(Record::from_rdata(name, ttl, RData::A(A(address))));
    Some(message.to_vec().expect("encodable"))
}

/// `reply` with a CNAME from the first name to the second in front, and its records at the second.
pub(crate) fn chain(reply: &[u8], (from, to): (Name, Name)) -> Vec<u8> {
    let mut message = Message::from_vec(reply).expect("a message");
    for record in &mut message.answers {
        record.name = to.clone();
    }
    message.answers.insert(0, Record::from_rdata(from, 0, RData::CNAME(CNAME(to))));
    message.to_vec().expect("encodable")
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

/// Answers every name with an address, TTL 0, each after `delay`; never one below `zone`.
pub(crate) fn answering_all_but(zone: &'static str, delay: Duration) -> SocketAddr {
    let (socket, address) = silent();
    let ours = socket.try_clone().expect("a second handle");
    let (later, due) = channel::<(Instant, Vec<u8>, SocketAddr)>();
    thread::spawn(move || {
        while let Ok((due, query, client)) = due.recv() {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let Some(reply) = answer(&query, Ipv4Addr::new(192, 0, 2, 1)) else { continue };
            let _lost = ours.send_to(&reply, client);
        }
    });
    let suffix = Name::from_ascii(zone).expect("a name").to_bytes().expect("encodable");
    thread::spawn(move || {
        let mut buffer = [0; 4_096];
        while let Ok((octets, client)) = socket.recv_from(&mut buffer) {
            let query = &buffer[..octets];
            // The flood is most of it, so its names are found without reading the message.
            if query.windows(suffix.len()).any(|part| part.eq_ignore_ascii_case(&suffix)) {
                continue;
            }
            let _ended = later.send((Instant::now() + delay, query.to_vec(), client));
        }
    });
    address
}

/// Sends for every query the datagrams that `says` makes of it, a few milliseconds apart.
pub(crate) fn saying(socket: UdpSocket, says: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) {
    thread::spawn(move || {
        let mut buffer = [0; 4_096];
        while let Ok((octets, client)) = socket.recv_from(&mut buffer) {
            for datagram in says(&buffer[..octets]) {
                let _lost = socket.send_to(&datagram, client);
                thread::sleep(Duration::from_millis(2));
            }
        }
    });
}

/// Answers every query with `address`, TTL five minutes, for as long as it is held.
pub(crate) struct Keeping {
    address: SocketAddr,
    socket: UdpSocket,
    thread: Option<thread::JoinHandle<()>>,
}

impl Keeping {
    pub(crate) fn start(address: Ipv4Addr) -> Self {
        let (socket, at) = silent();
        let ours = socket.try_clone().expect("a second handle");
        let thread = thread::spawn(move || {
            let mut buffer = [0; 4_096];
            // An empty datagram is the end.
            while let Ok((octets @ 1.., client)) = ours.recv_from(&mut buffer) {
                let Some(reply) = answer_for(&buffer[..octets], address, 300) else { continue };
                let _lost = ours.send_to(&reply, client);
            }
        });
        Self { address: at, socket, thread: Some(thread) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Closes the port: whoever asks there from now on is refused.
impl Drop for Keeping {
    fn drop(&mut self) {
        self.socket.send_to(&[], self.address).expect("sent");
        if let Some(thread) = self.thread.take() {
            thread.join().expect("ended");
        }
    }
}
