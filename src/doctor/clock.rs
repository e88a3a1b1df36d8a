//! The system's clock: signatures and certificates fail where it is wrong.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::finding::Finding;

/// Nobody ran this program before: 1 July 2026, seconds since 1970.
const WRITTEN_SECONDS: u64 = 1_782_864_000;
/// And hardly anybody runs it so much later: certificates and keys of today are over by then.
const LATEST_SECONDS: u64 = WRITTEN_SECONDS + 30 * 365 * 86_400;
/// How far signers' clocks may be from the right time (RFC 4035 leaves it to policy).
const SLACK_SECONDS: i64 = 300;
/// How the two clocks that Linux systems mostly have are set right.
const REMEDIES: [&str; 2] = ["timedatectl set-ntp true", "chronyc makestep"];

/// What was looked at.
pub(super) struct Clock {
    pub(super) now: SystemTime,
    /// Whether the kernel is told that somebody keeps the clock; `None`: it does not say.
    pub(super) synchronised: Option<bool>,
    /// Inception and expiration of signatures that servers gave just now.
    pub(super) signatures: Vec<(u32, u32)>,
}

impl Clock {
    pub(super) fn finding(&self) -> Finding {
        let about = "the system's clock";
        let fails = "DNSSEC validation and encrypted upstreams fail with such a clock";
        let since = self.now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let day = humantime::format_rfc3339_seconds(UNIX_EPOCH + since);
        let set = |finding: Finding| finding.advise_all(REMEDIES.map(str::to_owned));
        if !(WRITTEN_SECONDS..LATEST_SECONDS).contains(&since.as_secs()) {
            let found = format!("it says {day}, which cannot be; {fails}");
            return set(Finding::problem("clock-wrong", about, found));
        }
        if let Some(off) = self.off_signatures(since) {
            let found = format!(
                "it says {day}, and every signature that came just now is {off}; unless the \
                 upstream gives old ones, {fails}"
            );
            return set(Finding::problem("clock-wrong", about, found));
        }
        match self.synchronised {
            Some(false) => set(Finding::warning(
                "clock-unsynchronised",
                about,
                format!("it says {day}, and nothing keeps it right; where it drifts, {fails}"),
            )),
            Some(true) => {
                Finding::fine("clock", about, format!("it says {day}, and is kept synchronised"))
            }
            None => Finding::fine("clock", about, format!("it says {day}, which may be right")),
        }
    }

    /// What is wrong with all signatures, if something is.
    fn off_signatures(&self, since: Duration) -> Option<&'static str> {
        // Times count modulo 2^32 (RFC 4034 §3.1.5): compared as numbers on a circle.
        #[allow(clippy::cast_possible_truncation, reason = "as the RFC has it")]
        let now = since.as_secs() as u32;
        let ahead = |time: u32| i64::from(time.wrapping_sub(now).cast_signed());
        let too_early = |inception: u32| ahead(inception) > SLACK_SECONDS;
        let too_late = |expiration: u32| ahead(expiration) < -SLACK_SECONDS;
        let all = |is_off: &dyn Fn(&(u32, u32)) -> bool| {
            !self.signatures.is_empty() && self.signatures.iter().all(is_off)
        };
        if all(&|(inception, _)| too_early(*inception)) {
            Some("not valid yet: the clock is slow")
        } else if all(&|(_, expiration)| too_late(*expiration)) {
            Some("past its end: the clock is fast")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity;

    fn at(seconds: u64, synchronised: Option<bool>, signatures: &[(u32, u32)]) -> Finding {
        let now = UNIX_EPOCH + Duration::from_secs(seconds);
        Clock { now, synchronised, signatures: signatures.to_vec() }.finding()
    }

    #[test]
    fn a_clock_is_right_wrong_or_left_alone() {
        let fine = at(WRITTEN_SECONDS, Some(true), &[]);
        assert_eq!((fine.severity, fine.check), (Severity::Fine, "clock"));
        assert!(fine.found.contains("2026-07-01T00:00:00Z"), "{}", fine.found);
        let alone = at(WRITTEN_SECONDS, Some(false), &[]);
        assert_eq!(alone.severity, Severity::Warning);
        assert_eq!(alone.advice, REMEDIES);
        for seconds in [0, WRITTEN_SECONDS - 1, LATEST_SECONDS] {
            assert_eq!(at(seconds, Some(true), &[]).check, "clock-wrong", "{seconds}");
        }
        assert_eq!(at(WRITTEN_SECONDS, None, &[]).severity, Severity::Fine);
    }

    #[test]
    fn signatures_tell_the_time() {
        let now = u32::try_from(WRITTEN_SECONDS).unwrap() + 86_400;
        let (valid, over, to_come) =
            ((now - 9_999, now + 9_999), (now - 9_999, now - 999), (now + 999, now + 9_999));
        let check = |signatures: &[(u32, u32)]| {
            let finding = at(u64::from(now), Some(true), signatures);
            (finding.check, finding.found)
        };
        assert_eq!(check(&[valid]).0, "clock");
        assert_eq!(check(&[over, valid]).0, "clock", "one that is valid proves the others wrong");
        let (fast, words) = check(&[over, over]);
        assert!(fast == "clock-wrong" && words.contains("the clock is fast"), "{words}");
        let (slow, words) = check(&[to_come]);
        assert!(slow == "clock-wrong" && words.contains("the clock is slow"), "{words}");
        // A signer's clock may be a little ahead.
        assert_eq!(check(&[(now + 299, now + 9_999)]).0, "clock");
    }
}
