//! What a question's tries need to know: whom it may be sent to, and how long that may take.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::policy::Order;
use super::target::{Mark, ProbeZones, Target};
use crate::upstream::{MAX_TIMEOUT, Upstream};
use crate::wire::{QName, Question};

/// A server that nobody has measured has this share of the budget for itself, together with the
/// others of its rule: half, so that each can be asked twice.
const UNMEASURED_SHARE: u32 = 2;
/// The least time for a server that nobody has measured.
const UNMEASURED_MIN: Duration = Duration::from_millis(100);

/// What a question's race is about.
pub(super) struct Course<'a> {
    pub(super) question: &'a Question,
    pub(super) targets: &'a [Arc<Target>],
    pub(super) order: &'a Order,
    pub(super) probe_zones: &'a ProbeZones,
    /// Questions that may wait for one server.
    pub(super) in_flight: u32,
    pub(super) begun: Instant,
    pub(super) deadline: Instant,
}

impl Course<'_> {
    /// The zone that the question belongs to, among those that are probed for loops.
    pub(super) fn mark(&self) -> Mark {
        self.probe_zones.covering(&QName::from(&self.question.qname))
    }

    /// The time of one try with a server that nobody has measured.
    fn unmeasured(&self) -> Duration {
        let servers = u32::try_from(self.targets.len()).unwrap_or(u32::MAX);
        let tries = UNMEASURED_SHARE.saturating_mul(servers).max(1);
        (self.deadline.saturating_duration_since(self.begun) / tries)
            .clamp(UNMEASURED_MIN, MAX_TIMEOUT)
    }

    /// How long a try with `upstream` is waited for.
    pub(super) fn timeout(&self, upstream: &Upstream) -> Duration {
        upstream.rtt().map_or_else(|| self.unmeasured(), |rtt| rtt.timeout())
    }
}
