//! Servers that take so many queries on a connection and then hang up, whatever else has come.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

/// The address of every name.
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);
/// Octets of a header, and of QTYPE and QCLASS.
const HEADER: usize = 12;
const QUESTION_TAIL: usize = 4;

/// Serves each connection of `listener` in a thread of its own.
pub(crate) fn serve(
    listener: TcpListener,
    serve: impl Fn(TcpStream) -> io::Result<()> + Clone + Send + 'static,
) {
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let serve = serve.clone();
            // Clients may hang up as they like.
            thread::spawn(move || serve(stream).is_ok());
        }
    });
}

/// Answers so many queries.
pub(crate) fn answer(mut stream: impl Read + Write, queries: usize) -> io::Result<()> {
    for _ in 0..queries {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut query)?;
        let reply = reply(&query, false);
        let length = u16::try_from(reply.len()).expect("short").to_be_bytes();
        stream.write_all(&[&length, &reply[..]].concat())?;
        stream.flush()?;
    }
    Ok(())
}

/// The reply to `query`, with [`ADDRESS`] or truncated.
pub(crate) fn reply(query: &[u8], is_truncated: bool) -> Vec<u8> {
    let name = query[HEADER..].iter().position(|octet| *octet == 0).expect("a root");
    let mut reply = query[..HEADER + name + 1 + QUESTION_TAIL].to_vec();
    reply[2..4].copy_from_slice(&[0x81, 0x80]);
    reply[8..HEADER].fill(0);
    if is_truncated {
        reply[2] |= 0x02;
        return reply;
    }
    reply[6..8].copy_from_slice(&[0, 1]);
    reply.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04");
    reply.extend_from_slice(&ADDRESS.octets());
    reply
}
