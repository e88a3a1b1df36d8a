//! One exchange with one server: UDP first and TCP where the reply asks for it, or one connection
//! over TCP, TLS, HTTP/2, QUIC or HTTP/3.
//!
//! Owns sockets towards upstreams, what RFC 1035, 5452 and 6891 want of a client on them, whom an
//! encrypted one trusts and where a host's name leads. Knows no order among servers and no budget:
//! who drops the future of a try has ended that try.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod backoff;
mod bootstrap;
mod case;
mod connection;
mod connections;
mod cookie;
mod dial;
mod failure;
mod frames;
mod health;
mod in_flight;
mod link;
mod lookup;
mod notices;
mod once;
mod pool;
mod query;
mod queue;
mod quota;
mod race;
mod report;
mod search;
mod server;
mod shares;
mod silence;
mod socket;
mod stream;
mod transport;
mod trust;
mod udp;
mod waiters;
mod willingness;

#[cfg(test)]
pub(crate) mod tests;

pub use bootstrap::Bootstrap;
pub use cookie::Cookies;
#[cfg(fuzzing)]
pub use cookie::read_cookie;
pub use failure::{Breakdown, Flaw, TryError};
#[cfg(fuzzing)]
pub use frames::ask_in_frames;
pub use health::{Alarm, Haste, MAX_TIMEOUT, MIN_TIMEOUT, Rtt};
pub use in_flight::InFlight;
pub use link::Link;
pub use once::{OnceError, Over, Patience, ask, ask_tcp, ask_udp};
#[cfg(fuzzing)]
pub use query::read_reply;
pub use report::{LastError, Tally, UpstreamReport};
pub use server::Upstream;
pub use shares::{Holder, Seat, Shares};
pub use socket::ReceiveBuffer;
#[cfg(fuzzing)]
pub use transport::{Sent, ask_over_http2, ask_over_http3, ask_over_quic};
pub use trust::{certificate_fault, trusting_system};
