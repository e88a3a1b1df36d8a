//! Upstreams' denials of names that ours lie below.
//!
//! An upstream may have, or lack, any name that we forward. Where it says NXDOMAIN for a name above
//! one of ours, a resolver that minimises its questions would stop there (RFC 8020, RFC 9156) and
//! never ask for ours. So a client hears NODATA instead. The cache keeps what the upstream said:
//! after a reload other names may be ours.

use crate::wire::{AnswerRef, QName, Rcode};
use crate::zones::Zones;

/// How a client hears what an upstream answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Denial {
    /// As the upstream said it, be it a denial or not.
    AsSaid,
    /// The upstream denies a name that a name of ours lies below: NODATA.
    AsNodata,
}

impl Denial {
    /// How a client that asks for `qname` hears `answer`.
    #[inline]
    pub(super) fn of(zones: &Zones, qname: &QName, answer: &AnswerRef<'_>) -> Self {
        if answer.rcode() == Rcode::NXDOMAIN && is_above_ours(zones, qname, answer) {
            Self::AsNodata
        } else {
            Self::AsSaid
        }
    }
}

#[cold]
#[inline(never)]
fn is_above_ours(zones: &Zones, qname: &QName, answer: &AnswerRef<'_>) -> bool {
    match chain_end(answer) {
        Some(end) => zones.has_below(&end),
        None => zones.has_below(qname),
    }
}

/// The name that the CNAMEs of `answer` lead to. NXDOMAIN is about that name and not about the
/// question's, which exists (RFC 6604 §3).
pub(super) fn chain_end(answer: &AnswerRef<'_>) -> Option<QName> {
    answer.links().last().map(|link| link.target)
}
