//! One exchange with one server: UDP first, TCP where the reply asks for it.
//!
//! Owns sockets towards upstreams and what RFC 1035, 5452 and 6891 want of a client on them. Knows
//! no order among servers and no budget: who drops the future of a try has ended that try.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod health;
mod link;
mod query;
mod report;
mod server;
mod socket;
mod tcp;
mod udp;
mod waiters;

#[cfg(test)]
pub(crate) mod tests;

pub use health::{Alarm, MAX_TIMEOUT, MIN_TIMEOUT, Rtt};
pub use link::Link;
pub use report::{LastError, Tally, UpstreamReport};
pub use server::{InFlight, Upstream};
pub use socket::ReceiveBuffer;

use std::io;

/// Why one try with one server gave no reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TryError {
    /// The kernel or the server's host refused or lost the way.
    #[error("unreachable: {0}")]
    Unreachable(io::ErrorKind),
    /// What came back is not a DNS reply, or not to our question, also over TCP.
    #[error("the reply does not answer the question or is malformed")]
    Garbled,
    /// The server does not prove that it is the one that is meant.
    #[error("the server's certificate is not trusted")]
    Untrusted,
    /// As many queries wait for this server as its sockets may hold.
    #[error("too many queries wait for this server")]
    Busy,
}
