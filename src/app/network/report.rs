//! How often the log hears of it.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

/// The time in which [`LINES`] may be said.
const WINDOW: Duration = Duration::from_secs(60);
/// Lines in a [`WINDOW`]: a tunnel that comes up by itself and in steps, not one that flaps all day.
const LINES: u32 = 10;

/// Bounds the lines about one matter.
#[derive(Default, Debug)]
pub(super) struct Report {
    /// When the window began; none before the first line.
    since: Option<Instant>,
    said: u32,
    unsaid: u32,
}

/// How many lines were left out before this one. Displays as a remark behind it, or as nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Unsaid(u32);

impl fmt::Display for Unsaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            times => write!(f, " ({times} more times since the last line)"),
        }
    }
}

impl Report {
    /// Whether there may be a line now; the first one of a window brings how many there were not.
    pub(super) fn may_say(&mut self, now: Instant) -> Option<Unsaid> {
        if self.since.is_none_or(|since| now.duration_since(since) >= WINDOW) {
            (self.since, self.said) = (Some(now), 0);
        }
        if self.said == LINES {
            self.unsaid = self.unsaid.saturating_add(1);
            return None;
        }
        self.said += 1;
        Some(Unsaid(std::mem::take(&mut self.unsaid)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_lines_a_minute_and_the_rest_is_counted() {
        let mut report = Report::default();
        let begin = Instant::now();
        for _ in 0..LINES {
            assert_eq!(report.may_say(begin), Some(Unsaid(0)));
        }
        for _ in 0..7 {
            assert_eq!(report.may_say(begin + Duration::from_secs(59)), None);
        }
        let next = report.may_say(begin + WINDOW).unwrap();
        assert_eq!(next.to_string(), " (7 more times since the last line)");
        assert_eq!(report.may_say(begin + WINDOW).unwrap().to_string(), "");
    }
}
