//! The decision: octets of a query in, octets of its answer out.
//!
//! [`decide`] is pure: the clock is an argument, nothing waits, and a hit allocates nothing. What
//! it says to forward, [`Worker::resolve`] finishes. Knows no socket of any client.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod chase;
mod checks;
mod complaints;
mod decide;
mod denial;
mod expect;
mod explain;
mod fetch;
mod guard;
mod key_replies;
mod keys;
mod private;
pub mod query_lines;
mod recorder;
mod refreshes;
mod reply;
mod shown;
mod snapshot;
mod special;
mod splice;
#[cfg(test)]
mod tests;
mod trial;
mod validated;
mod worker;

use std::net::IpAddr;
use std::time::Instant;

#[cfg(fuzzing)]
pub use chase::chase_once;
#[cfg(fuzzing)]
pub use decide::answer_forwarded;
pub use decide::decide;
pub use expect::{Expectation, MAX_UNMET, query_message, question_message};
pub use explain::{Ask, Conclusion, Explanation};
pub use fetch::Remembered;
pub use keys::Keys;
pub use recorder::{DownAddress, Recorder, Silent, SpecialReason, Step, Steps, UpstreamState};
pub use shown::{Shown, ShownRecord, Undecodable, printable};
pub use snapshot::Snapshot;
pub use worker::{Shared, Worker};

/// How a query came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// In a datagram: replies are bounded by what the client takes.
    Udp,
    /// On a stream: replies have up to 65,535 octets.
    Tcp,
}

/// Who asks, how, and when.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// The client's address.
    pub client: IpAddr,
    /// How the query came.
    pub transport: Transport,
    /// The clock.
    pub now: Instant,
    /// Any number; turns the order of a name's addresses.
    pub rotation: u32,
}

/// What a query gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The reply stands at the buffer's end.
    Reply(Outcome),
    /// Silence.
    Drop(Silence),
    /// Neither ours nor kept: an upstream must be asked.
    Forward,
}

/// What kind of reply was written; also the label that counts it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// From a private-link zone.
    Private,
    /// A special name, which has no place in the public DNS.
    Special,
    /// From the cache.
    Cached,
    /// From the cache, past its time: no upstream gave a newer one (RFC 8767).
    Stale,
    /// From an upstream, just now.
    Forwarded,
    /// By policy.
    Refused,
    /// The message was no query that one can answer.
    Fault,
    /// No upstream gave an answer.
    Failed,
    /// A query of our own that came back to us.
    Loop,
}

/// Why nothing is said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Silence {
    /// The client may not ask, and the configuration says to drop it.
    Access,
    /// A response, or less than a header.
    NotAQuery,
}
