//! When a server that could not be reached is dialled again.

use std::time::Duration;

use rand::RngExt;
use tokio::time::Instant;

use super::failure::TryError;

/// The longest wait after the first failure: a server that restarts is missed for about this long.
const FIRST: Duration = Duration::from_millis(100);
/// The longest wait after many. Together with the bound of a dial it stays below 4 s, and one SYN a
/// second for each worker is no load.
const LONGEST: Duration = Duration::from_secs(1);

/// Failures in a row, and until when nobody dials.
#[derive(Default)]
pub(super) struct Backoff {
    failures: u32,
    blocked: Option<Blocked>,
}

/// What nobody dials for, and until when.
struct Blocked {
    until: Instant,
    error: TryError,
    reason: String,
}

impl Backoff {
    /// A dial failed, or what it opened died without a reply. The wait is drawn from the upper half
    /// of its bound, so that workers do not dial in step.
    pub(super) fn failed(&mut self, now: Instant, error: TryError, reason: String) {
        let bound = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let wait = bound.mul_f64(rand::rng().random_range(0.5..=1.0));
        self.blocked = Some(Blocked { until: now + wait, error, reason });
    }

    /// A reply came.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Why nobody dials now; the second is for people.
    pub(super) fn blocks(&self, now: Instant) -> Option<(TryError, &str)> {
        let blocked = self.blocked.as_ref().filter(|blocked| now < blocked.until);
        blocked.map(|blocked| (blocked.error, blocked.reason.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_grow_to_a_bound_and_end_with_a_reply() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        assert_eq!(backoff.blocks(now), None);
        for bound_ms in [100, 200, 400, 800, 1_000, 1_000, 1_000] {
            backoff.failed(now, TryError::Busy, "why".to_owned());
            let bound = Duration::from_millis(bound_ms);
            assert_eq!(
                backoff.blocks(now + bound / 2 - Duration::from_millis(1)),
                Some((TryError::Busy, "why"))
            );
            assert_eq!(backoff.blocks(now + bound + Duration::from_millis(1)), None);
        }
        for _ in 0..100 {
            backoff.failed(now, TryError::Garbled, "why".to_owned());
        }
        assert_eq!(backoff.blocks(now), Some((TryError::Garbled, "why")));
        assert_eq!(backoff.blocks(now + LONGEST), None);
        backoff.succeeded();
        assert_eq!(backoff.blocks(now), None);
        backoff.failed(now, TryError::Busy, "why".to_owned());
        assert_eq!(backoff.blocks(now + FIRST), None, "the count begins anew");
    }

    #[tokio::test(start_paused = true)]
    async fn waits_differ() {
        let now = Instant::now();
        let blocked_after_75_ms = |_: &u32| {
            let mut backoff = Backoff::default();
            backoff.failed(now, TryError::Busy, "why".to_owned());
            backoff.blocks(now + Duration::from_millis(75)).is_some()
        };
        let blocked = (0..1_000).filter(blocked_after_75_ms).count();
        assert!((300..700).contains(&blocked), "{blocked} of 1,000");
    }
}
