//! One question to one server in the caller's own thread: for commands, which keep no state between
//! questions and run nothing beside them.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::wire::{Header, MAX_MESSAGE_OCTETS, flags, u16_at};

/// How long a server is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For each try over UDP, and for all of an exchange over TCP.
    pub each: Duration,
    /// Tries over UDP; a datagram may get lost.
    pub udp_tries: usize,
}

/// How a reply came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Over {
    /// In a datagram.
    Udp,
    /// On a connection, asked so at once.
    Tcp,
    /// On a connection, because the one in a datagram was truncated.
    TcpAfterUdp,
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum OnceError {
    /// This host has no socket to give.
    #[error("cannot open a UDP socket: {0}")]
    NoSocket(io::Error),
    /// There is no way to the server.
    #[error("cannot reach {server}: {why}")]
    Unreachable {
        /// The server.
        server: SocketAddr,
        /// What the system says.
        why: io::Error,
    },
    /// The server's host refused the datagram, or the socket broke.
    #[error("no reply from {server} over UDP: {why}")]
    Refused {
        /// The server.
        server: SocketAddr,
        /// What the system says.
        why: io::Error,
    },
    /// Nothing came.
    #[error(
        "no reply from {server} over UDP within {:?}, asked {} times",
        patience.each,
        patience.udp_tries
    )]
    Silence {
        /// The server.
        server: SocketAddr,
        /// How long it was waited for.
        patience: Patience,
    },
    /// The connection failed, ended early or took too long.
    #[error("no reply from {server} over TCP{}", unless_late(why, patience))]
    Stream {
        /// The server.
        server: SocketAddr,
        /// What the system says.
        why: io::Error,
        /// How long it was waited for.
        patience: Patience,
    },
}

/// How long was waited, or what the system says where that is the reason.
fn unless_late(why: &io::Error, patience: &Patience) -> String {
    match why.kind() {
        io::ErrorKind::TimedOut => format!(" within {:?}", patience.each),
        _ => format!(": {why}"),
    }
}

/// Sends `message` over UDP, and over TCP when the reply is truncated. `is_ours` says whether a
/// datagram with the right id is the reply at all; one that is not is waited past.
///
/// # Errors
/// No reply in time.
pub fn ask(
    server: SocketAddr,
    message: &[u8],
    patience: Patience,
    is_ours: impl Fn(&[u8]) -> bool,
) -> Result<(Vec<u8>, Over), OnceError> {
    let reply = ask_udp(server, message, patience, is_ours)?;
    if Header::read(&reply).is_some_and(|header| header.has(flags::TC)) {
        return Ok((ask_tcp(server, message, patience)?, Over::TcpAfterUdp));
    }
    Ok((reply, Over::Udp))
}

/// Sends `message` over UDP alone. `is_ours` as in [`ask`].
///
/// # Errors
/// No reply in time.
pub fn ask_udp(
    server: SocketAddr,
    message: &[u8],
    patience: Patience,
    is_ours: impl Fn(&[u8]) -> bool,
) -> Result<Vec<u8>, OnceError> {
    let any: IpAddr = if server.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    let socket = UdpSocket::bind((any, 0)).map_err(OnceError::NoSocket)?;
    socket.connect(server).map_err(|why| OnceError::Unreachable { server, why })?;
    let refused = |why| OnceError::Refused { server, why };
    let mut buffer = vec![0; MAX_MESSAGE_OCTETS];
    for _ in 0..patience.udp_tries {
        socket.send(message).map_err(refused)?;
        let deadline = Instant::now() + patience.each;
        while let Some(left) = left_until(deadline) {
            socket.set_read_timeout(Some(left)).map_err(refused)?;
            match socket.recv(&mut buffer) {
                Ok(octets) => {
                    let reply = buffer.get(..octets).unwrap_or(&[]);
                    // Others are late replies to somebody else's question, or forged.
                    if same_id(reply, message) && is_ours(reply) {
                        buffer.truncate(octets);
                        return Ok(buffer);
                    }
                }
                Err(error) if is_timeout(&error) => break,
                Err(error) => return Err(refused(error)),
            }
        }
    }
    Err(OnceError::Silence { server, patience })
}

/// Sends `message` over TCP.
///
/// # Errors
/// No reply in time.
pub fn ask_tcp(
    server: SocketAddr,
    message: &[u8],
    patience: Patience,
) -> Result<Vec<u8>, OnceError> {
    let deadline = Instant::now() + patience.each;
    let ask = || -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect_timeout(&server, patience.each)?;
        stream.set_write_timeout(Some(patience.each))?;
        let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
        stream.write_all(&[&length.to_be_bytes(), message].concat())?;
        let mut length = [0; 2];
        read_whole(&mut stream, &mut length, deadline)?;
        let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
        read_whole(&mut stream, &mut reply, deadline)?;
        Ok(reply)
    };
    let reply = ask().map_err(|why| OnceError::Stream { server, why, patience })?;
    if same_id(&reply, message) {
        return Ok(reply);
    }
    let why = io::Error::new(io::ErrorKind::InvalidData, "a reply to something else came");
    Err(OnceError::Stream { server, why, patience })
}

/// Fills `octets` before `deadline`, however slowly they trickle in.
fn read_whole(stream: &mut TcpStream, octets: &mut [u8], deadline: Instant) -> io::Result<()> {
    let mut filled = 0;
    while let Some(rest) = octets.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let left = left_until(deadline).ok_or(io::ErrorKind::TimedOut)?;
        stream.set_read_timeout(Some(left))?;
        match stream.read(rest) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(octets) => filled += octets,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_timeout(&error) => return Err(io::ErrorKind::TimedOut.into()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn same_id(reply: &[u8], message: &[u8]) -> bool {
    u16_at(reply, 0).is_some_and(|id| Some(id) == u16_at(message, 0))
}

/// `None` when nothing is left.
fn left_until(deadline: Instant) -> Option<Duration> {
    deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    const QUERY: [u8; 12] = [7, 7, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    const REPLY: [u8; 12] = [7, 7, 0x81, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    const TRUNCATED: [u8; 12] = [7, 7, 0x83, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    /// Long, where a reply comes; nobody waits for it.
    const LONG: Patience = Patience { each: Duration::from_secs(20), udp_tries: 2 };
    /// Short, where none does.
    const SHORT: Patience = Patience { each: Duration::from_millis(20), udp_tries: 2 };

    /// A server that says these things to each datagram, and counts what it gets.
    fn udp(says: Vec<Vec<u8>>) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let address = socket.local_addr().expect("bound");
        thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((_, client)) = socket.recv_from(&mut buffer) {
                for reply in &says {
                    let _lost = socket.send_to(reply, client);
                }
            }
        });
        address
    }

    #[test]
    fn what_is_not_the_reply_is_waited_past() {
        let other_id = [&[7, 8], &REPLY[2..]].concat();
        let server = udp(vec![vec![], vec![7], other_id, TRUNCATED.to_vec(), REPLY.to_vec()]);
        let (reply, over) = ask(server, &QUERY, LONG, |reply| reply == REPLY).expect("a reply");
        assert_eq!((reply.as_slice(), over), (&REPLY[..], Over::Udp));
    }

    #[test]
    fn silence_ends_after_the_tries() {
        let silent = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let server = silent.local_addr().expect("bound");
        let error = ask(server, &QUERY, SHORT, |_| true).expect_err("silence");
        assert!(error.to_string().contains("within 20ms, asked 2 times"), "{error}");
        silent.set_nonblocking(true).expect("set");
        let mut buffer = [0; 512];
        let received = std::iter::from_fn(|| silent.recv(&mut buffer).ok()).count();
        assert_eq!(received, 2);
    }

    /// What a connection to the same port gets, and how that ends.
    fn over_tcp(
        says: &'static [u8],
        stays: bool,
        patience: Patience,
    ) -> Result<Vec<u8>, OnceError> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let server = listener.local_addr().expect("bound");
        let held = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut query = [0; 14];
            stream.read_exact(&mut query).expect("the query");
            stream.write_all(says).expect("sent");
            stays.then_some(stream)
        });
        let reply = ask_tcp(server, &QUERY, patience);
        drop(held.join());
        reply
    }

    #[test]
    fn a_connection_gives_a_whole_reply_or_an_error() {
        let whole = [&[0, 12], &REPLY[..]].concat().leak();
        assert_eq!(over_tcp(whole, false, LONG).expect("a reply"), REPLY);
        let cut = &whole[..9];
        let error = over_tcp(cut, false, LONG).expect_err("cut off").to_string();
        assert!(error.contains("over TCP"), "{error}");
        let error = over_tcp(cut, true, SHORT).expect_err("half of it").to_string();
        assert!(error.contains("over TCP within 20ms"), "{error}");
        let error = over_tcp(&[0, 2, 9, 9], true, LONG).expect_err("another id").to_string();
        assert!(error.contains("something else"), "{error}");
    }

    #[test]
    fn a_truncated_reply_is_asked_for_again_over_tcp() {
        // Until a free port is free for both.
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            let address = udp.local_addr().expect("bound");
            if let Ok(tcp) = TcpListener::bind(address) {
                break (udp, tcp);
            }
        };
        let server = udp.local_addr().expect("bound");
        thread::spawn(move || {
            let (_, client) = udp.recv_from(&mut [0; 512]).expect("a query");
            udp.send_to(&TRUNCATED, client).expect("sent");
            let (mut stream, _) = tcp.accept().expect("a connection");
            stream.write_all(&[&[0, 12], &REPLY[..]].concat()).expect("sent");
            let _query = stream.read(&mut [0; 14]);
        });
        let (reply, over) = ask(server, &QUERY, LONG, |_| true).expect("a reply");
        assert_eq!((reply.as_slice(), over), (&REPLY[..], Over::TcpAfterUdp));
    }
}
