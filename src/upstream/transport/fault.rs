//! What a connection brings: a reply, or why there is none.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::upstream::failure::{TryError, kind_of, kind_of_connect};

/// Characters of a reason: servers have a say in what it is.
const REASON_CHARS: usize = 200;

/// A reply as it came.
#[derive(PartialEq, Eq, Debug)]
pub(in crate::upstream) struct Reply {
    /// A DNS message, not read yet.
    pub(in crate::upstream) octets: Vec<u8>,
    /// How long HTTP caches have kept it, which counts against its TTLs (RFC 8484 §5.1). Seconds.
    pub(in crate::upstream) age_seconds: u32,
}

/// What went wrong on a connection or on the way to one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::upstream) struct Fault {
    pub(in crate::upstream) error: TryError,
    /// For people.
    pub(in crate::upstream) reason: String,
    /// The connection takes no more queries.
    pub(in crate::upstream) is_dead: bool,
    /// How long the server wants to be left alone, if it said that.
    pub(in crate::upstream) rest: Option<Duration>,
}

impl Reply {
    /// A reply that comes from the server itself.
    pub(in crate::upstream) fn new(octets: Vec<u8>) -> Self {
        Self { octets, age_seconds: 0 }
    }
}

impl Fault {
    /// One that ends the connection.
    pub(in crate::upstream) fn dead(error: TryError, reason: &str) -> Self {
        Self { error, reason: presentable(reason), is_dead: true, rest: None }
    }

    /// One that leaves the connection to other queries.
    pub(in crate::upstream) fn of_query(error: TryError, reason: &str) -> Self {
        Self { error, reason: presentable(reason), is_dead: false, rest: None }
    }

    /// What an error of the bind or connect means that draws the port of a socket towards `peer`.
    pub(in crate::upstream) fn of_connect(error: &io::Error, peer: SocketAddr) -> Self {
        Self::of_kind(kind_of_connect(error, peer), &error.to_string())
    }

    /// What an error of a stream means that [`kind_of`] has classified. TLS calls octets that are
    /// none of its own invalid, and we call replies so that no query asked for.
    pub(in crate::upstream) fn of_kind(kind: io::ErrorKind, reason: &str) -> Self {
        let error = match kind {
            io::ErrorKind::InvalidData => TryError::Garbled,
            kind => TryError::of_kind(kind),
        };
        Self::dead(error, reason)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::from(&error)
    }
}

impl From<&io::Error> for Fault {
    fn from(error: &io::Error) -> Self {
        Self::of_kind(kind_of(error), &error.to_string())
    }
}

/// One short line: parts of it may be the server's words.
fn presentable(reason: &str) -> String {
    reason.chars().filter(|c| !c.is_control()).take(REASON_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_one_short_line() {
        let words = format!("http 500\r\n\u{1b}[31m{}", "x".repeat(70_000));
        let shown = presentable(&words);
        assert!(shown.starts_with("http 500[31mxxx"), "{shown}");
        assert_eq!(shown.chars().count(), REASON_CHARS);
    }

    #[test]
    fn octets_that_are_no_tls_are_garbled() {
        let fault = Fault::from(io::Error::new(io::ErrorKind::InvalidData, "not TLS"));
        assert_eq!(fault, Fault::dead(TryError::Garbled, "not TLS"));
        let fault = Fault::from(io::Error::from_raw_os_error(libc::ECONNREFUSED));
        assert_eq!(fault.error, TryError::Unreachable(io::ErrorKind::ConnectionRefused));
        assert!(fault.is_dead);
    }
}
