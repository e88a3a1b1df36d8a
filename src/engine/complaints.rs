//! Log lines about refused answers: one a minute for each zone and kind,
//! however many there are.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::wire::Name;

/// Between two lines about one zone.
const PAUSE: Duration = Duration::from_secs(60);
/// Zones and kinds that are remembered. They come from the configuration, so more than this are hardly ever
/// refused in one minute; those are counted, but get no line.
const MAX_ZONES: usize = 256;

/// What a line is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Subject {
    /// An address that must not go out.
    Address,
    /// A signature that does not hold.
    Signature,
}

/// When each zone's last line was written.
#[derive(Default)]
pub(super) struct Complaints(Mutex<HashMap<(Subject, Name), Told>>);

struct Told {
    at: Instant,
    /// Refusals since then.
    untold: u64,
}

impl Complaints {
    /// Notes a refusal; gives how many went without a line before it when it is time for one.
    pub(super) fn note(&self, subject: Subject, zone: &Name) -> Option<u64> {
        self.note_at(subject, zone, Instant::now())
    }

    fn note_at(&self, subject: Subject, zone: &Name, now: Instant) -> Option<u64> {
        let key = (subject, zone.clone());
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = told.get_mut(&key) {
            if now.saturating_duration_since(last.at) < PAUSE {
                last.untold += 1;
                return None;
            }
            last.at = now;
            return Some(std::mem::take(&mut last.untold));
        }
        if told.len() >= MAX_ZONES {
            told.retain(|_, last| now.saturating_duration_since(last.at) < PAUSE);
        }
        if told.len() >= MAX_ZONES {
            return None;
        }
        told.insert(key, Told { at: now, untold: 0 });
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(text: &str) -> Name {
        text.parse().expect("a name")
    }

    #[test]
    fn a_line_a_minute_for_each_zone() {
        let (complaints, begin) = (Complaints::default(), Instant::now());
        let after = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(complaints.note_at(Subject::Address, &zone("a.test"), begin), Some(0));
        assert_eq!(complaints.note_at(Subject::Address, &zone("a.test"), after(1)), None);
        assert_eq!(complaints.note_at(Subject::Address, &zone("b.test"), after(1)), Some(0));
        assert_eq!(complaints.note_at(Subject::Address, &zone("a.test"), after(59)), None);
        assert_eq!(complaints.note_at(Subject::Address, &zone("a.test"), after(60)), Some(2));
        assert_eq!(complaints.note_at(Subject::Address, &zone("a.test"), after(61)), None);
        assert_eq!(complaints.note_at(Subject::Signature, &zone("a.test"), after(61)), Some(0));
    }

    #[test]
    fn the_table_is_bounded() {
        let (complaints, begin) = (Complaints::default(), Instant::now());
        for index in 0..MAX_ZONES {
            assert_eq!(
                complaints.note_at(Subject::Address, &zone(&format!("z{index}.test")), begin),
                Some(0)
            );
        }
        let (one_more, late) = (zone("more.test"), begin + PAUSE);
        assert_eq!(complaints.note_at(Subject::Address, &one_more, begin), None);
        assert_eq!(complaints.note_at(Subject::Address, &one_more, late), Some(0));
        assert_eq!(complaints.0.lock().expect("unpoisoned").len(), 1);
    }
}
