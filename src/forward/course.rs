//! What a question's tries need to know: whom it may be sent to, and how long that may take.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::policy::Order;
use super::target::{Mark, ProbeZones, Target};
use crate::addresses::HostBlock;
use crate::upstream::{InFlight, MAX_TIMEOUT, Upstream};
use crate::wire::{QName, Question};

/// A server that nobody has measured has this share of the budget for itself, together with the
/// others of its rule: half, so that each can be asked twice.
const UNMEASURED_SHARE: u32 = 2;
/// The least time for a server that nobody has measured.
const UNMEASURED_MIN: Duration = Duration::from_millis(100);

/// What a question's race is about.
pub(super) struct Course<'a> {
    pub(super) question: &'a Question,
    /// The client whose share of the seats the question takes.
    pub(super) client: HostBlock,
    pub(super) targets: &'a [Arc<Target>],
    pub(super) order: &'a Order,
    /// Upstreams that are asked last, by number.
    pub(super) avoid: &'a [u64],
    pub(super) probe_zones: &'a ProbeZones,
    /// Questions that may wait for one server.
    pub(super) in_flight: u32,
    pub(super) begun: Instant,
    pub(super) deadline: Instant,
    /// What the rule gives a question; its `deadline` may leave it less.
    pub(super) budget: Duration,
}

impl<'a> Course<'a> {
    /// Takes a seat among the questions that wait for `upstream`; `None` if there are none at all.
    pub(super) fn enter(&self, upstream: &'a Upstream, now: Instant) -> Option<InFlight<'a>> {
        upstream.enter(self.in_flight, self.client, &self.question.qname, now)
    }

    /// The zone that the question belongs to, among those that are probed for loops.
    pub(super) fn mark(&self) -> Mark {
        self.probe_zones.covering(&QName::from(&self.question.qname))
    }

    /// The share of one try in `budget`, with a server that nobody has measured.
    fn unmeasured(&self, budget: Duration) -> Duration {
        let servers = u32::try_from(self.targets.len()).unwrap_or(u32::MAX);
        let tries = UNMEASURED_SHARE.saturating_mul(servers).max(1);
        (budget / tries).clamp(UNMEASURED_MIN, MAX_TIMEOUT)
    }

    /// How long a try with `upstream` is waited for.
    pub(super) fn timeout(&self, upstream: &Upstream) -> Duration {
        let left = || self.deadline.saturating_duration_since(self.begun);
        upstream.rtt().map_or_else(|| self.unmeasured(left()), |rtt| rtt.timeout())
    }

    /// How long a try without a reply must have been waited for to count as silence: a question of
    /// little time says nothing about a server that nobody has measured.
    pub(super) fn silence(&self, upstream: &Upstream) -> Duration {
        upstream.rtt().map_or_else(|| self.unmeasured(self.budget), |rtt| rtt.timeout())
    }
}
