//! Whether a server that is there wants our queries: it may refuse them, or be busy.
//!
//! Clients choose the names, and a server may refuse some names only. So requests that it refused
//! ask for a probe, and a refused probe after them marks the server down.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::health::DOUBT_TRIES;

/// How long a server is left alone that says that it is busy, and not for how long.
const REST: Duration = Duration::from_secs(1);

/// What a server's own words say. Shared by all workers.
#[derive(Debug)]
pub(super) struct Willingness {
    born: Instant,
    /// Requests in a row that it refused.
    declined: AtomicU32,
    /// When it last said that it is busy; milliseconds after `born`.
    told_busy_ms: AtomicU64,
    /// Until when it wants to be left alone; 0: it does not. Milliseconds after `born`.
    busy_until_ms: AtomicU64,
}

impl Willingness {
    pub(super) fn new() -> Self {
        Self {
            born: Instant::now(),
            declined: AtomicU32::new(0),
            told_busy_ms: AtomicU64::new(0),
            busy_until_ms: AtomicU64::new(0),
        }
    }

    /// It took a request.
    pub(super) fn accepted(&self) {
        // A store by every reply would bounce the line between cores.
        if self.declined.load(Ordering::Relaxed) != 0 {
            self.declined.store(0, Ordering::Relaxed);
        }
    }

    /// It refused a client's request. Returns whether a probe should look at it now.
    pub(super) fn declined(&self) -> bool {
        self.one_more() == DOUBT_TRIES
    }

    /// It refused a probe. Returns how many requests in a row it has refused if that is proof that
    /// it refuses all.
    pub(super) fn probe_declined(&self) -> Option<u32> {
        Some(self.one_more()).filter(|tries| *tries >= DOUBT_TRIES)
    }

    fn one_more(&self) -> u32 {
        self.declined.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// Whether it refused the last requests, so that a probe must tell whether it refuses all.
    pub(super) fn is_declining(&self) -> bool {
        self.declined.load(Ordering::Relaxed) >= DOUBT_TRIES
    }

    /// It is busy, and wants to be left alone for `rest`.
    pub(super) fn told_busy(&self, rest: Option<Duration>, now: Instant) {
        self.told_busy_ms.store(self.ms(now), Ordering::Relaxed);
        let until_ms = self.ms(now + rest.unwrap_or(REST));
        self.busy_until_ms.fetch_max(until_ms, Ordering::Relaxed);
    }

    /// It answered a query that left at `begun`.
    pub(super) fn answered(&self, begun: Instant) {
        self.accepted();
        if self.busy_until_ms.load(Ordering::Relaxed) != 0
            && self.ms(begun) > self.told_busy_ms.load(Ordering::Relaxed)
        {
            self.busy_until_ms.store(0, Ordering::Relaxed);
        }
    }

    /// For how long it still wants to be left alone.
    pub(super) fn busy_for(&self) -> Option<Duration> {
        let until_ms = self.busy_until_ms.load(Ordering::Relaxed);
        // Nearly all servers are not busy, and need no clock.
        if until_ms == 0 {
            return None;
        }
        let left_ms = until_ms.saturating_sub(self.ms(Instant::now()));
        (left_ms > 0).then(|| Duration::from_millis(left_ms))
    }

    fn ms(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.born).as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_server_is_left_alone_for_as_long_as_it_said() {
        let willingness = Willingness::new();
        advance(ms(5)).await;
        assert_eq!(willingness.busy_for(), None);
        willingness.told_busy(Some(ms(30_000)), Instant::now());
        // A shorter time does not end a longer one.
        willingness.told_busy(None, Instant::now());
        assert_eq!(willingness.busy_for(), Some(ms(30_000)));
        advance(ms(29_999)).await;
        assert_eq!(willingness.busy_for(), Some(ms(1)));
        advance(ms(1)).await;
        assert_eq!(willingness.busy_for(), None);
        willingness.told_busy(None, Instant::now());
        assert_eq!(willingness.busy_for(), Some(REST));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_to_a_later_query_ends_the_rest() {
        let willingness = Willingness::new();
        let before = Instant::now();
        advance(ms(5)).await;
        willingness.told_busy(Some(ms(30_000)), Instant::now());
        advance(ms(5)).await;
        willingness.answered(before);
        assert!(willingness.busy_for().is_some(), "the query had left before");
        willingness.answered(Instant::now());
        assert_eq!(willingness.busy_for(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_probe_after_a_refused_request_is_proof() {
        let willingness = Willingness::new();
        assert_eq!(willingness.probe_declined(), None, "one probe alone");
        assert_eq!(willingness.probe_declined(), Some(2));
        willingness.accepted();
        assert!(!willingness.declined() && !willingness.is_declining());
        assert!(willingness.declined(), "now a probe should look");
        assert!(!willingness.declined() && willingness.is_declining(), "it has been told to");
        willingness.answered(Instant::now());
        assert_eq!(willingness.probe_declined(), None);
    }
}
