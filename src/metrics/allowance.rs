//! How many log lines may be written now.

use std::time::Duration;

use tokio::time::Instant;

/// Log lines that may be written now. The number grows with time, up to a limit.
#[derive(Debug)]
pub(crate) struct Allowance {
    most: u32,
    every: Duration,
    left: u32,
    /// When it last grew, or was first used.
    since: Option<Instant>,
}

impl Allowance {
    /// `most` lines, of which one comes back after each `every`.
    pub(crate) const fn new(most: u32, every: Duration) -> Self {
        Self { most, every, left: most, since: None }
    }

    /// Takes a line at `now`, if one is left.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let may = self.grow(now);
        self.left -= u32::from(may);
        may
    }

    /// Takes a line of `one` and of `all`, or none of either.
    pub(crate) fn take_both(one: &mut Self, all: &mut Self, now: Instant) -> bool {
        let may = one.grow(now) & all.grow(now);
        if may {
            one.left -= 1;
            all.left -= 1;
        }
        may
    }

    /// Lines that were left when it last grew.
    #[cfg(test)]
    pub(crate) fn left(&self) -> u32 {
        self.left
    }

    /// Adds what has grown until `now`; gives whether a line is left.
    fn grow(&mut self, now: Instant) -> bool {
        let since = self.since.filter(|_| self.left < self.most).unwrap_or(now);
        let passed = now.saturating_duration_since(since).as_nanos() / self.every.as_nanos().max(1);
        let lines = u32::try_from(passed).unwrap_or(u32::MAX).min(self.most - self.left);
        self.left += lines;
        // A full allowance saves up no more time.
        let is_full = self.left == self.most;
        self.since = Some(if is_full { now } else { since + self.every * lines });
        self.left > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of ten lines may be written at `now`.
    fn taken(allowance: &mut Allowance, now: Instant) -> usize {
        (0..10).filter(|_| allowance.take(now)).count()
    }

    #[test]
    fn a_full_allowance_saves_up_no_more() {
        let (mut allowance, begin) = (Allowance::new(3, Duration::from_secs(10)), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(taken(&mut allowance, begin), 3);
        assert_eq!(taken(&mut allowance, at(9)), 0);
        assert_eq!(taken(&mut allowance, at(25)), 2, "the rest of a step is kept");
        assert_eq!(taken(&mut allowance, at(30)), 1);
        assert_eq!(taken(&mut allowance, at(3_600)), 3);
        assert_eq!(taken(&mut allowance, at(3_609)), 0);
        assert_eq!(taken(&mut allowance, at(3_610)), 1);
    }
}
