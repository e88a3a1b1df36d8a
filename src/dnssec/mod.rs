//! Validation of what upstreams answer (RFC 4035 §5): whether signatures lead to a trust anchor.
//!
//! The cryptography and the proofs are hickory's; which part of an answer is held against which
//! question, who fetches keys, and every bound is ours. Refuses to know clients, caches and rules:
//! a [`Source`] brings keys, and says which names are validated at all.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod anchors;
mod canonical;
mod clerk;
mod known;
mod learn;
mod parts;
mod reason;
mod session;
mod trust;
mod validator;
mod whole;
mod wildcard;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

pub use anchors::AnchorError;
pub use known::KnownZones;
pub use session::{Fault, Session};
pub use validator::Validator;
#[cfg(fuzzing)]
pub use validator::validator_with_anchors;

use crate::wire::{Answer, QName, Question};

/// Where keys come from.
pub trait Source {
    /// Whether answers for `name` are validated; the others' names count as unsigned.
    fn validates(&self, name: &QName) -> bool;

    /// Brings the answer to a question about DS, DNSKEY or NS, which has DO and CD set; `None`
    /// where there is none to be had. With `since`, none that came before that moment will do.
    fn ask(
        &self,
        question: Question,
        since: Option<Instant>,
    ) -> impl Future<Output = Option<Brought>>;
}

/// An answer about keys. Nothing says yet that it is true.
#[derive(Clone, Debug)]
pub struct Brought {
    /// The answer, with the TTLs that it came with.
    pub answer: Arc<Answer>,
    /// When it came.
    pub since: Instant,
}

/// The verdict on an answer that is not bogus.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Judged {
    /// What the answer is worth.
    pub security: Security,
    /// The answer without records that its question does not ask for, if there were any: such
    /// records are not judged, so no client may get them.
    pub stripped: Option<Answer>,
}

impl Judged {
    /// The part of `answer` that was judged, and its worth.
    pub fn with(self, answer: Answer) -> (Answer, Security) {
        (self.stripped.unwrap_or(answer), self.security)
    }
}

/// What an answer that is not bogus is worth (RFC 4035 §4.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Security {
    /// All of it is signed, and the signatures lead to a trust anchor.
    Secure {
        /// For how long, seconds: no TTL in it may be longer (RFC 4035 §5.3.3).
        ttl_seconds: u32,
    },
    /// It lies, at least in part, where nothing is signed, no trust anchor leads to, or nothing is
    /// validated.
    Insecure,
}
