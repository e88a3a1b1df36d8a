//! Why a question got no usable answer.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::wire::{Answer, Ede, Rcode};

/// Why a question got no usable answer. Every one of them is a reason to serve stale data where
/// there is some (RFC 8767 §5), and SERVFAIL to the client otherwise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// No upstream replied inside the budget.
    TimedOut,
    /// No upstream could be reached; the kind is the last one's.
    Unreachable(io::ErrorKind),
    /// Replies came, none that helps: the best of them, SERVFAIL before REFUSED before others, one
    /// that explains itself before one that does not. Its extended errors are worth passing on.
    BadReply(Arc<Answer>),
    /// What came back was malformed or answered other questions.
    Garbled,
    /// An encrypted upstream showed a certificate that is not trusted.
    Untrusted,
    /// Every upstream of the rule sends our queries back to us.
    Looping,
    /// More clients wait than `limits.in-flight` allows.
    Overloaded,
    /// The rule has no upstream at present: its resolv.conf names none.
    NoUpstream,
}

impl Failure {
    /// The extended error (RFC 8914 §4) that tells the client.
    pub fn ede(&self) -> Ede {
        match self {
            Self::TimedOut => Ede::NoReachableAuthority,
            Self::BadReply(answer) if answer.rcode() == Rcode::REFUSED => Ede::NoReachableAuthority,
            Self::Unreachable(_) | Self::Garbled | Self::Untrusted => Ede::NetworkError,
            Self::NoUpstream => Ede::NotReady,
            Self::BadReply(_) | Self::Looping | Self::Overloaded => Ede::Other,
        }
    }

    /// The extended error's text: short, so that it fits beside anything.
    pub fn text(&self) -> &'static str {
        match self {
            Self::TimedOut => "no upstream replied in time",
            Self::Unreachable(_) => "no upstream can be reached",
            Self::BadReply(answer) => match answer.rcode() {
                Rcode::SERVFAIL => "upstream replied SERVFAIL",
                Rcode::REFUSED => "upstream replied REFUSED",
                Rcode::NOTIMP => "upstream replied NOTIMP",
                Rcode::FORMERR => "upstream replied FORMERR",
                _ => "upstream replied with an error",
            },
            Self::Garbled => "upstream replies are malformed",
            Self::Untrusted => "the upstream's certificate is not trusted",
            Self::Looping => "forwarding loop",
            Self::Overloaded => "too many queries wait for upstreams",
            Self::NoUpstream => "no upstream is known at present",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(kind) => write!(f, "{} ({kind})", self.text()),
            Self::BadReply(answer) => write!(f, "upstream replied {}", answer.rcode()),
            _ => f.write_str(self.text()),
        }
    }
}

impl std::error::Error for Failure {}
