//! A plain DNS client for our own commands: one question to one server over UDP or TCP, with an end.
//!
//! Blocks the calling thread. The packet path has `upstream`, which shares its sockets and is harder
//! to deceive; this one shows what came. Knows no configuration and prints nothing.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::wire::{Header, MAX_MESSAGE_OCTETS, MessageWriter, Question, Rcode, flags};

/// Times that a question is sent over UDP: a datagram may get lost.
pub const UDP_TRIES: u32 = 2;
/// Octets of a query: a name, its type and class, an OPT record, with room to spare.
const QUERY_OCTETS: usize = 512;

/// How a message travels.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Transport {
    /// One datagram each way.
    Udp,
    /// A connection of its own (RFC 7766).
    Tcp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        })
    }
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing came in time.
    #[error("no reply from {server} over {transport} within {patience:?}{}", times(*tries))]
    Silent {
        /// Who was asked.
        server: SocketAddr,
        /// How.
        transport: Transport,
        /// How long each try waited.
        patience: Duration,
        /// How often it was asked.
        tries: u32,
    },
    /// The kernel or the other host says no.
    #[error("no reply from {server} over {transport}: {why}")]
    Network {
        /// Who was asked.
        server: SocketAddr,
        /// How.
        transport: Transport,
        /// What the system says.
        why: io::Error,
    },
}

fn times(tries: u32) -> String {
    if tries == 1 { String::new() } else { format!(", asked {tries} times") }
}

/// A query as a stub resolver sends it: RD, the question's own DO and CD, and an OPT record where
/// `edns` says so; DO needs one.
pub fn message(id: u16, question: &Question, edns: bool) -> Vec<u8> {
    let bits = if question.checking_disabled { flags::RD | flags::CD } else { flags::RD };
    let mut message = Vec::with_capacity(QUERY_OCTETS);
    let mut writer = MessageWriter::begin(&mut message, QUERY_OCTETS, id, bits);
    let written = writer
        .raw(question.qname.as_wire())
        .and_then(|()| writer.raw(&question.qtype.0.to_be_bytes()))
        .and_then(|()| writer.raw(&question.qclass.to_be_bytes()))
        .and_then(|()| match edns {
            true => writer.opt(Rcode::NOERROR, question.dnssec_ok, None, &[]),
            false => Ok(()),
        });
    debug_assert!(written.is_ok(), "a query always fits into 512 octets");
    writer.set_counts([1, 0, 0, u16::from(edns)]);
    message
}

/// Asks over UDP, and over TCP where the reply is truncated, as stub resolvers do; gives the reply's
/// octets and how they came. `patience` is for each try.
///
/// # Errors
/// There is no reply.
pub fn ask(
    server: SocketAddr,
    message: &[u8],
    patience: Duration,
) -> Result<(Transport, Vec<u8>), ClientError> {
    let reply = ask_udp(server, message, patience, UDP_TRIES)?;
    if Header::read(&reply).is_some_and(|header| header.has(flags::TC)) {
        return Ok((Transport::Tcp, ask_tcp(server, message, patience)?));
    }
    Ok((Transport::Udp, reply))
}

/// Asks over UDP up to `tries` times, waiting for `patience` each time; gives the first response
/// with the query's id.
///
/// # Errors
/// There is none.
pub fn ask_udp(
    server: SocketAddr,
    message: &[u8],
    patience: Duration,
    tries: u32,
) -> Result<Vec<u8>, ClientError> {
    let transport = Transport::Udp;
    let network = |why| ClientError::Network { server, transport, why };
    let any: IpAddr = if server.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    let socket = UdpSocket::bind((any, 0)).map_err(network)?;
    socket.connect(server).map_err(network)?;
    let mut buffer = vec![0; MAX_MESSAGE_OCTETS];
    for _ in 0..tries {
        socket.send(message).map_err(network)?;
        let deadline = Instant::now() + patience;
        while let Some(left) = left_until(deadline) {
            socket.set_read_timeout(Some(left)).map_err(network)?;
            match socket.recv(&mut buffer) {
                Ok(octets) if answers(buffer.get(..octets).unwrap_or(&[]), message) => {
                    buffer.truncate(octets);
                    return Ok(buffer);
                }
                // A late reply to somebody else's question.
                Ok(_) => {}
                Err(error) if is_timeout(&error) => break,
                Err(error) => return Err(network(error)),
            }
        }
    }
    Err(ClientError::Silent { server, transport, patience, tries })
}

/// Asks over a connection of its own, which takes `patience` in all.
///
/// # Errors
/// There is no connection, or no reply over it.
pub fn ask_tcp(
    server: SocketAddr,
    message: &[u8],
    patience: Duration,
) -> Result<Vec<u8>, ClientError> {
    let transport = Transport::Tcp;
    over_tcp(server, message, Instant::now() + patience).map_err(|why| {
        if is_timeout(&why) {
            ClientError::Silent { server, transport, patience, tries: 1 }
        } else {
            ClientError::Network { server, transport, why }
        }
    })
}

fn over_tcp(server: SocketAddr, message: &[u8], deadline: Instant) -> io::Result<Vec<u8>> {
    let left = || left_until(deadline).ok_or(io::ErrorKind::TimedOut);
    let mut stream = TcpStream::connect_timeout(&server, left()?)?;
    stream.set_write_timeout(Some(left()?))?;
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    stream.write_all(&[&length.to_be_bytes(), message].concat())?;
    // Octet by octet, a reply could take for ever.
    let mut fill = |mut rest: &mut [u8]| -> io::Result<()> {
        while !rest.is_empty() {
            stream.set_read_timeout(Some(left()?))?;
            match stream.read(rest)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                octets => rest = rest.get_mut(octets..).unwrap_or(&mut []),
            }
        }
        Ok(())
    };
    let mut length = [0; 2];
    fill(&mut length)?;
    let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
    fill(&mut reply)?;
    Ok(reply)
}

/// Whether `reply` is a response with the id of `query`.
fn answers(reply: &[u8], query: &[u8]) -> bool {
    let id = query.get(..2);
    id.is_some() && reply.get(..2) == id && reply.get(2).is_some_and(|octet| octet & 0x80 != 0)
}

fn left_until(deadline: Instant) -> Option<Duration> {
    deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
