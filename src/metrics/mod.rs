//! Counters: one set a worker, so that counting never shares a written cache line between cores;
//! summed only when somebody looks. It also owns how many log lines may be written.

mod allowance;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use allowance::Allowance;

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Event {
    /// A query over UDP.
    Udp,
    /// A query over TCP.
    Tcp,
    /// Answered from a private-link zone.
    Private,
    /// Answered here, because the name has no place in the public DNS.
    Special,
    /// Answered from the cache.
    Cached,
    /// Answered from the cache, past its time.
    Stale,
    /// Answered by an upstream.
    Forwarded,
    /// Refused by policy.
    Refused,
    /// Answered with FORMERR, NOTIMP or BADVERS.
    Fault,
    /// Fetched anew before its end.
    Prefetched,
    /// Answered with our own SERVFAIL: no upstream gave an answer.
    Failed,
    /// An upstream's answer refused: a public address for a name that must be private.
    FilteredPublic,
    /// An upstream's answer refused: a private address under rebind protection.
    FilteredPrivate,
    /// An upstream's answer refused: it does not validate.
    Bogus,
    /// A query of our own that came back to us.
    Loop,
    /// Dropped: the client may not ask.
    DroppedAccess,
    /// Dropped: not a query.
    DroppedNotAQuery,
}

/// Every event with the label under which it is shown.
const LABELS: [(Event, &str); 17] = [
    (Event::Udp, "udp"),
    (Event::Tcp, "tcp"),
    (Event::Private, "private"),
    (Event::Special, "special"),
    (Event::Cached, "cached"),
    (Event::Stale, "stale"),
    (Event::Forwarded, "forwarded"),
    (Event::Refused, "refused"),
    (Event::Fault, "fault"),
    (Event::Prefetched, "prefetched"),
    (Event::Failed, "failed"),
    (Event::FilteredPublic, "filtered-public"),
    (Event::FilteredPrivate, "filtered-private"),
    (Event::Bogus, "bogus"),
    (Event::Loop, "loop"),
    (Event::DroppedAccess, "dropped-access"),
    (Event::DroppedNotAQuery, "dropped-not-a-query"),
];

/// One worker's counters. 128 octets of alignment keep them off every other worker's cache lines,
/// and off those that the processor fetches beside them.
#[derive(Default, Debug)]
#[repr(align(128))]
pub struct Counters([AtomicU64; LABELS.len()]);

impl Counters {
    /// Counts one `event`.
    pub fn count(&self, event: Event) {
        if let Some(cell) = self.0.get(event as usize) {
            // One thread writes; a plain add would do, but only atomics can be read meanwhile.
            cell.store(cell.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// How often `event` was counted.
    pub fn total(&self, event: Event) -> u64 {
        self.0.get(event as usize).map_or(0, |cell| cell.load(Ordering::Relaxed))
    }
}

/// The sums over all workers, as `label=value` words.
pub struct Totals<'a, C>(pub &'a [C]);

impl<C: AsRef<Counters>> fmt::Display for Totals<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (event, label)) in LABELS.into_iter().enumerate() {
            let sum: u64 = self.0.iter().map(|worker| worker.as_ref().total(event)).sum();
            write!(f, "{}{label}={sum}", if index == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn totals_sum_over_workers_under_each_label() {
        let workers = [Arc::new(Counters::default()), Arc::new(Counters::default())];
        workers[0].count(Event::Private);
        workers[1].count(Event::Private);
        workers[1].count(Event::DroppedNotAQuery);
        let text = Totals(&workers).to_string();
        assert!(text.starts_with("udp=0 tcp=0 private=2 "), "{text}");
        assert!(text.ends_with(" dropped-not-a-query=1"), "{text}");
        for (place, (event, _)) in LABELS.into_iter().enumerate() {
            assert_eq!(event as usize, place, "labels stand in the order of the events");
        }
    }
}
