//! Questions that wait for one server.

use std::task::Context;
use std::time::Duration;

use tokio::time::Instant;

use super::health::Rtt;
use super::server::{Upstream, count};
use super::shares::{Holder, Seat};
use crate::addresses::HostBlock;
use crate::wire::Name;

/// How long a question must have waited at least to count as silence about its zone: a nearby
/// resolver looks up most names within this time.
pub(super) const SILENT_MIN: Duration = Duration::from_millis(100);

/// A question's seat among those that wait for one server. Dropped without [`Self::end`], the server
/// was silent about the name.
pub struct InFlight<'a> {
    upstream: &'a Upstream,
    seat: Seat<'a>,
    name: &'a Name,
    begun: Instant,
    is_ended: bool,
}

impl InFlight<'_> {
    /// Returns whether another question has taken the seat. If not, the task of `context` wakes
    /// when that happens.
    pub fn poll_lost(&self, context: &Context<'_>) -> bool {
        let is_lost = self.seat.poll_lost(context);
        if is_lost {
            count(&self.upstream.counters.busy);
        }
        is_lost
    }

    /// Gives the seat back because the server has replied, or a try has failed at once.
    pub fn end(mut self, is_reply: bool) {
        self.is_ended = true;
        if is_reply {
            self.upstream.silent_zones.note_reply(self.name);
        }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if self.is_ended {
            return;
        }
        let now = Instant::now();
        let usual = self.upstream.rtt().map_or(Duration::ZERO, Rtt::timeout);
        if now.saturating_duration_since(self.begun) >= usual.max(SILENT_MIN) {
            self.upstream.silent_zones.note_silence(self.name, now);
        }
    }
}

impl Upstream {
    /// Takes a seat for a question of `client` for `name` that is asked at `begun`. At most `limit`
    /// are taken, so another question may lose its seat: see [`Shares`]. Returns `None` only if
    /// `limit` is zero.
    pub fn enter<'a>(
        &'a self,
        limit: u32,
        client: HostBlock,
        name: &'a Name,
        begun: Instant,
    ) -> Option<InFlight<'a>> {
        if limit == 0 {
            count(&self.counters.busy);
            return None;
        }
        // If the server says nothing at all, its zones are not what is wrong.
        let is_silent = self.silent_zones.covers(name, begun) && self.health.is_heard(begun);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let seat = self.shares.enter(limit, Holder { client, is_silent });
        Some(InFlight { upstream: self, seat, name, begun, is_ended: false })
    }
}
