//! Which server of a rule is asked first, and in which order the others follow.
//!
//! Whatever the policy, those that are down come last: they are asked only when nobody else has
//! answered. Before them come those that the question avoids, and before these the busy ones.
//! Chosen from what is known of the servers, without a lock and, for the first, without an
//! allocation.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::target::{Mark, Target, may_be_asked};
use crate::config::Policy;
use crate::upstream::Upstream;

/// `fastest` leaves the server that it has for one that takes less than this share of its time...
const FASTER_NUMERATOR: u32 = 4;
const FASTER_DENOMINATOR: u32 = 5;
/// ...and is ahead by as much as this: what nobody feels is no reason to change.
const FASTER_BY: Duration = Duration::from_millis(2);

/// A rule's policy, and what it remembers between queries. Shared by all workers.
#[derive(Debug)]
pub(super) struct Order {
    policy: Policy,
    /// `spread`: counts queries.
    turn: AtomicUsize,
    /// `fastest`: the place of the server that it has.
    kept: AtomicUsize,
}

impl Order {
    pub(super) fn new(policy: Policy) -> Self {
        Self { policy, turn: AtomicUsize::new(0), kept: AtomicUsize::new(0) }
    }

    /// Whether servers have to be measured although nobody asks them.
    pub(super) fn compares(&self) -> bool {
        self.policy == Policy::Fastest
    }

    /// The place of the server to ask first: none of those to `avoid` while another is up. `None`
    /// when all are proven to loop for `mark`.
    pub(super) fn first(
        &self,
        targets: &[Arc<Target>],
        mark: Mark,
        avoid: &[u64],
    ) -> Option<usize> {
        let standing = |upstream: &Upstream| Standing::of(upstream, avoid);
        let best = candidates(targets, mark).map(|(_, upstream)| standing(upstream)).min()?;
        let those = || candidates(targets, mark).filter(|(_, up)| standing(up) == best);
        let first = match self.policy {
            // Of those that are down, all are asked soon.
            _ if best == Standing::Down => None,
            Policy::Ordered => None,
            Policy::Fastest => self.fastest(those()),
            Policy::Spread => {
                let turn = self.turn.fetch_add(1, Ordering::Relaxed);
                those().nth(turn % those().count().max(1)).map(|(place, _)| place)
            }
        };
        // A server's standing may have changed meanwhile.
        let in_order = || those().chain(candidates(targets, mark)).next();
        first.or_else(|| in_order().map(|(place, _)| place))
    }

    /// The places of all servers that may be asked for names of `mark`, in the order in which they
    /// are asked after the one at `first`, which comes first.
    pub(super) fn all(
        &self,
        targets: &[Arc<Target>],
        mark: Mark,
        first: usize,
        avoid: &[u64],
    ) -> Vec<usize> {
        let mut all: Vec<_> = candidates(targets, mark).collect();
        all.sort_by_cached_key(|(place, upstream)| {
            let rank = match self.policy {
                Policy::Ordered => Duration::ZERO,
                Policy::Fastest => pace(upstream),
                // From the first on, and around.
                Policy::Spread if *place < first => Duration::MAX,
                Policy::Spread => Duration::ZERO,
            };
            (*place != first, Standing::of(upstream, avoid), rank, *place)
        });
        all.into_iter().map(|(place, _)| place).collect()
    }

    /// The one that it has, unless another is clearly faster.
    fn fastest<'a>(&self, up: impl Iterator<Item = (usize, &'a Arc<Upstream>)>) -> Option<usize> {
        let kept = self.kept.load(Ordering::Relaxed);
        let (mut best, mut pace_of_kept) = (None, None);
        for (place, upstream) in up {
            let pace = pace(upstream);
            if place == kept {
                pace_of_kept = Some(pace);
            }
            // Equals: the file's order.
            if best.is_none_or(|(_, least)| pace < least) {
                best = Some((place, pace));
            }
        }
        let (place, pace) = best?;
        if pace_of_kept.is_some_and(|kept| !is_clearly_less(pace, kept)) {
            return Some(kept);
        }
        // A store by every query would bounce the line between cores; here something has changed.
        self.kept.store(place, Ordering::Relaxed);
        Some(place)
    }
}

/// How willingly a server is asked: the least first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Standing {
    Ready,
    /// It has said so.
    Busy,
    /// The question wants the answer of another one.
    Avoided,
    Down,
}

impl Standing {
    /// Returns the standing of `upstream` for a question that avoids the upstreams of these numbers.
    pub(super) fn of(upstream: &Upstream, avoid: &[u64]) -> Self {
        if upstream.is_down() {
            Self::Down
        } else if avoid.contains(&upstream.number()) {
            Self::Avoided
        } else if upstream.is_busy() {
            Self::Busy
        } else {
            Self::Ready
        }
    }
}

fn candidates(
    targets: &[Arc<Target>],
    mark: Mark,
) -> impl Iterator<Item = (usize, &Arc<Upstream>)> {
    let may_be_asked = may_be_asked(targets, mark);
    targets
        .iter()
        .enumerate()
        .filter(move |(_, target)| may_be_asked(target))
        .map(|(place, target)| (place, target.upstream()))
}

/// Who was never measured is the slowest.
fn pace(upstream: &Upstream) -> Duration {
    upstream.pace().unwrap_or(Duration::MAX)
}

fn is_clearly_less(pace: Duration, than: Duration) -> bool {
    pace.saturating_add(FASTER_BY) <= than
        && pace < (than / FASTER_DENOMINATOR).saturating_mul(FASTER_NUMERATOR)
}
