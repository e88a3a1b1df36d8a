//! Why a question got no usable answer.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use crate::upstream::{Breakdown, Flaw};
use crate::wire::{Answer, Ede, Rcode};

/// Why a question got no usable answer. SERVFAIL to the client, unless there is stale data and
/// [`Failure::may_serve_stale`] allows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// No upstream replied inside the budget.
    TimedOut,
    /// No upstream could be reached; the kind is the last one's.
    Unreachable(io::ErrorKind),
    /// Replies came, none that helps: the best of them, one with a chain before others, SERVFAIL
    /// before REFUSED before others, one that explains itself before one that does not. Its extended
    /// errors are worth passing on.
    BadReply(Arc<Answer>),
    /// An upstream replied with a chain in a circle, or with more links than we follow: the links up
    /// to there.
    Endless(Arc<Answer>),
    /// What came back is not DNS, or answers other questions.
    Garbled,
    /// An upstream replied, but nothing that it says can be the answer.
    Unusable(Flaw),
    /// An upstream refused the request with this HTTP status.
    Declined(u16),
    /// An upstream failed, and said so without a DNS reply.
    ServerFailed(Breakdown),
    /// Upstreams say that they have too much to do.
    ServersBusy,
    /// No upstream proved that it is the one that is meant.
    Untrusted,
    /// Every upstream of the rule sends our queries back to us.
    Looping,
    /// More clients wait than `limits.in-flight` allows.
    Overloaded,
    /// This host has no descriptor or memory left for a socket.
    OwnShortage,
    /// The rule has no upstream at present: its resolv.conf names none.
    NoUpstream,
    /// An answer came with an address that must not be let through.
    Filtered(Unwanted),
    /// An answer came that does not validate.
    Bogus(Unproven),
    /// An answer came, but nobody gave the keys that would tell whether it validates.
    Unvalidated(Unproven),
}

/// An address that an answer must not hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unwanted {
    /// A public one, where the name must be private.
    Public(IpAddr),
    /// A private one, where a name of the public DNS could reach our own network by it.
    Private(IpAddr),
}

/// Why validation vouches for nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unproven {
    /// The extended error that says it.
    pub ede: Ede,
    /// The same in words, with the name that it is about.
    pub text: Arc<str>,
}

impl Failure {
    /// Whether to say the same again for a while without asking (RFC 9520 §3.1): not of what is our
    /// own state, which may be another one in a moment.
    pub fn is_worth_remembering(&self) -> bool {
        !matches!(self, Self::Overloaded | Self::OwnShortage | Self::Looping | Self::NoUpstream)
    }

    /// Whether expired data may serve in its place (RFC 8767 §5): not where an upstream gave an
    /// answer and we refused it. Keys that cannot be had are an outage like any other.
    pub fn may_serve_stale(&self) -> bool {
        !matches!(self, Self::Filtered(_) | Self::Bogus(_))
    }

    /// The reply behind the failure, if it may show a chain that leads to a name of ours.
    pub fn shown(&self) -> Option<&Arc<Answer>> {
        match self {
            Self::BadReply(answer) | Self::Endless(answer) => Some(answer),
            _ => None,
        }
    }

    /// The extended error (RFC 8914 §4) that tells the client.
    pub fn ede(&self) -> Ede {
        match self {
            Self::TimedOut => Ede::NoReachableAuthority,
            Self::BadReply(answer) if answer.rcode() == Rcode::REFUSED => Ede::NoReachableAuthority,
            Self::Unreachable(_)
            | Self::Untrusted
            | Self::Garbled
            | Self::Endless(_)
            | Self::Unusable(_)
            | Self::Declined(_)
            | Self::ServerFailed(_)
            | Self::ServersBusy => Ede::NetworkError,
            Self::NoUpstream => Ede::NotReady,
            Self::BadReply(_) | Self::Looping | Self::Overloaded | Self::OwnShortage => Ede::Other,
            Self::Filtered(_) => Ede::Filtered,
            Self::Bogus(why) | Self::Unvalidated(why) => why.ede,
        }
    }

    /// The extended error's text: short, so that it fits beside anything.
    pub fn text(&self) -> Cow<'static, str> {
        let text = match self {
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
            Self::Endless(_) | Self::Unusable(Flaw::Endless) => {
                "upstream's CNAME chain is a loop or too long"
            }
            Self::Unusable(Flaw::Malformed) => "upstream's reply has malformed records",
            Self::Unusable(Flaw::OtherQuestion) => "upstream replied to another question",
            Self::Unusable(Flaw::BadCookie) => "upstream rejects its own cookie",
            Self::Unusable(Flaw::RestMissing) => "upstream's reply is truncated, also over TCP",
            Self::Declined(status) => return format!("upstream refuses: HTTP {status}").into(),
            Self::ServerFailed(how) => return format!("upstream fails: {how}").into(),
            Self::ServersBusy => "upstreams are too busy",
            Self::Untrusted => "no upstream's certificate is trusted",
            Self::Looping => "forwarding loop",
            Self::Overloaded => "too many queries wait for upstreams",
            Self::OwnShortage => "the resolver has no descriptors, memory or ports left",
            Self::NoUpstream => "no upstream is known at present",
            Self::Filtered(unwanted) => return unwanted.to_string().into(),
            Self::Bogus(why) | Self::Unvalidated(why) => return why.text.to_string().into(),
        };
        text.into()
    }

    /// Whether an upstream said it, and not the clock: it tells more than that the time is over.
    pub(super) fn is_from_server(&self) -> bool {
        matches!(
            self,
            Self::BadReply(_)
                | Self::Endless(_)
                | Self::Unusable(_)
                | Self::Declined(_)
                | Self::ServerFailed(_)
        )
    }

    /// How much it tells whoever reads it, in comparison.
    pub(super) fn telling(&self) -> u8 {
        // A chain may lead to a name of ours, and is an answer then: it goes before all others.
        let shows_chain = self.shown().is_some_and(|answer| answer.borrowed().has_links());
        let chain = if shows_chain { 20 } else { 0 };
        match self {
            Self::BadReply(answer) => {
                let explained = u8::from(!answer.ede_options().is_empty());
                let rcode = match answer.rcode() {
                    Rcode::SERVFAIL => 4,
                    Rcode::REFUSED => 2,
                    _ => 0,
                };
                10 + chain + rcode + explained
            }
            Self::ServerFailed(_) => 9,
            Self::Endless(_) => 5 + chain,
            Self::Unusable(_) => 5,
            Self::Declined(_) => 4,
            Self::Untrusted => 4,
            Self::Garbled => 3,
            Self::Unreachable(_) => 2,
            _ => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(kind) => write!(f, "{} ({kind})", self.text()),
            Self::BadReply(answer) => write!(f, "upstream replied {}", answer.rcode()),
            _ => f.write_str(&self.text()),
        }
    }
}

impl std::error::Error for Failure {}

impl fmt::Display for Unwanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Public(address) => {
                write!(f, "public address {address} for a name that must be private")
            }
            Self::Private(address) => {
                write!(f, "private address {address} refused: rebind protection")
            }
        }
    }
}
