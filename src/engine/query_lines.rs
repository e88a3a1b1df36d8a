//! How many queries get a log line.
//!
//! Clients choose how many queries there are, and so how fast the log grows. Each outcome has its own
//! allowance, so that a flood of refused queries takes no line from answered ones. The allowances
//! belong to the process, as the log does.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::Outcome;
use crate::metrics::Allowance;

/// Lines at once about queries that any stranger can send: a second of a misconfigured resolver.
const REFUSED: u32 = 1_000;
/// 100 such lines a second, some 2 GB a day, which log rotation copes with.
const REFUSED_EVERY: Duration = Duration::from_millis(10);
/// Lines at once about other queries: as many as journald takes of a service in 30 seconds.
const ANSWERED: u32 = 10_000;
/// 5,000 such lines a second, which is 1 MB: more than sites of this daemon's size ask.
const ANSWERED_EVERY: Duration = Duration::from_micros(200);
/// Between two lines about what was left out for one outcome.
const TELL_EVERY: Duration = Duration::from_secs(60);

static LINES: Mutex<QueryLines> = Mutex::new(QueryLines::new());

/// Takes a line about a query with this outcome, if one is left; else counts it as left out.
pub(super) fn take(outcome: Outcome) -> bool {
    lines().take(outcome, Instant::now())
}

/// Logs how many lines were left out, once a minute for each outcome.
pub fn tell() {
    tell_each(lines().due(Instant::now(), TELL_EVERY));
}

/// Logs how many lines were left out that no line has told of yet.
pub fn tell_all() {
    tell_each(lines().due(Instant::now(), Duration::ZERO));
}

/// Lines that were left out since the start.
pub fn left_out() -> u64 {
    lines().left_out
}

/// Called with the numbers alone, because the caller must not log while it holds the lock.
fn tell_each(untold: Vec<(Outcome, u64)>) {
    for (outcome, lines) in untold {
        warn!(
            "{lines} lines about queries with outcome {outcome:?} were left out: too many at once"
        );
    }
}

fn lines() -> MutexGuard<'static, QueryLines> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct QueryLines {
    outcomes: [Lines; 9],
    left_out: u64,
}

/// The lines about one outcome.
#[derive(Debug)]
struct Lines {
    outcome: Outcome,
    allowance: Allowance,
    /// Left out, and not told yet.
    untold: u64,
    told_at: Option<Instant>,
}

impl Lines {
    const fn new(outcome: Outcome, most: u32, every: Duration) -> Self {
        Self { outcome, allowance: Allowance::new(most, every), untold: 0, told_at: None }
    }

    /// How many lines were left out, if that is due.
    fn due(&mut self, now: Instant, pause: Duration) -> Option<(Outcome, u64)> {
        let is_early = |at| now.saturating_duration_since(at) < pause;
        if self.untold == 0 || self.told_at.is_some_and(is_early) {
            return None;
        }
        self.told_at = Some(now);
        Some((self.outcome, std::mem::take(&mut self.untold)))
    }
}

impl QueryLines {
    const fn new() -> Self {
        let outcomes = [
            Lines::new(Outcome::Refused, REFUSED, REFUSED_EVERY),
            Lines::new(Outcome::Fault, REFUSED, REFUSED_EVERY),
            Lines::new(Outcome::Loop, REFUSED, REFUSED_EVERY),
            Lines::new(Outcome::Private, ANSWERED, ANSWERED_EVERY),
            Lines::new(Outcome::Special, ANSWERED, ANSWERED_EVERY),
            Lines::new(Outcome::Cached, ANSWERED, ANSWERED_EVERY),
            Lines::new(Outcome::Stale, ANSWERED, ANSWERED_EVERY),
            Lines::new(Outcome::Forwarded, ANSWERED, ANSWERED_EVERY),
            Lines::new(Outcome::Failed, ANSWERED, ANSWERED_EVERY),
        ];
        Self { outcomes, left_out: 0 }
    }

    fn take(&mut self, outcome: Outcome, now: Instant) -> bool {
        let Some(lines) = self.outcomes.iter_mut().find(|lines| lines.outcome == outcome) else {
            return true;
        };
        let may = lines.allowance.take(now);
        lines.untold += u64::from(!may);
        self.left_out += u64::from(!may);
        may
    }

    fn due(&mut self, now: Instant, pause: Duration) -> Vec<(Outcome, u64)> {
        self.outcomes.iter_mut().filter_map(|lines| lines.due(now, pause)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of `queries` get a line.
    fn logged(lines: &mut QueryLines, outcome: Outcome, queries: u32, now: Instant) -> u32 {
        (0..queries).map(|_| u32::from(lines.take(outcome, now))).sum()
    }

    #[test]
    fn each_outcome_has_its_allowance_and_what_is_left_out_is_told_once_a_minute() {
        let (mut lines, begin) = (QueryLines::new(), Instant::now());
        let after = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(logged(&mut lines, Outcome::Refused, 5_000, begin), REFUSED);
        for (outcome, allowed) in [
            (Outcome::Fault, REFUSED),
            (Outcome::Loop, REFUSED),
            (Outcome::Private, ANSWERED),
            (Outcome::Special, ANSWERED),
            (Outcome::Cached, ANSWERED),
            (Outcome::Stale, ANSWERED),
            (Outcome::Forwarded, ANSWERED),
            (Outcome::Failed, ANSWERED),
        ] {
            assert_eq!(logged(&mut lines, outcome, allowed, begin), allowed, "{outcome:?}");
            assert!(!lines.take(outcome, begin), "{outcome:?}");
        }
        assert_eq!(lines.left_out, 4_000 + 8);
        let told = lines.due(begin, TELL_EVERY);
        assert_eq!((told.len(), told[0]), (9, (Outcome::Refused, 4_000)));
        assert!(lines.due(begin, TELL_EVERY).is_empty());

        assert_eq!(logged(&mut lines, Outcome::Refused, 5_000, after(2)), 200);
        assert_eq!(logged(&mut lines, Outcome::Cached, 50_000, after(1)), 5_000);
        assert!(lines.due(after(59), TELL_EVERY).is_empty());
        let told = [(Outcome::Refused, 4_800), (Outcome::Cached, 45_000)];
        assert_eq!(lines.due(after(60), TELL_EVERY), told);
        lines.take(Outcome::Refused, after(60));
        assert_eq!(logged(&mut lines, Outcome::Refused, 5_001, after(60)), REFUSED - 1);
        assert_eq!(lines.due(after(61), Duration::ZERO), [(Outcome::Refused, 4_002)], "the end");
    }
}
