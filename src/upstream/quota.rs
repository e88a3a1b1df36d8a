//! How many queries a server takes on one connection, learnt from how its connections end.
//!
//! A server with such a limit closes a connection after so many replies, although more queries have
//! been sent over it. A restart of the server looks the same. So if a connection has had that many
//! replies and stays open, the limit doubles. Above [`MOST`] there is no limit.

use std::cell::Cell;
use std::time::Duration;

/// Limits above this are none: no connection carries as many queries at a time.
const MOST: u32 = 512;
/// How long a connection that has reached the limit must stay open to refute it. A server closes it
/// right behind the last reply.
const STAYS: Duration = Duration::from_millis(100);
/// Some servers close a connection only when one query too many arrives, so each doubling costs a
/// query a second way. After each doubling that was wrong, the next one waits twice as long, up to
/// 2^8 times [`STAYS`], 26 s.
const MOST_WRONG: u32 = 8;

/// What one link knows about one server.
#[derive(Default)]
pub(super) struct Quota {
    limit: Cell<Option<u32>>,
    is_doubled: Cell<bool>,
    /// Doublings in a row that a connection's end has refuted.
    wrong: Cell<u32>,
}

impl Quota {
    /// The most queries of one connection; `None`: there is no limit.
    pub(super) fn limit(&self) -> Option<u32> {
        self.limit.get()
    }

    /// A connection ended after so many replies, and more queries had been sent over it.
    pub(super) fn note_end(&self, replies: u32) {
        let (limit, old) = (replies.max(1), self.limit.get());
        if self.is_doubled.take() && old.is_some_and(|old| limit < old) {
            self.wrong.set((self.wrong.get() + 1).min(MOST_WRONG));
        } else if old != Some(limit) {
            self.wrong.set(0);
        }
        self.limit.set((limit <= MOST).then_some(limit));
    }

    /// A connection that has had so many queries, all answered, is open for [`Self::stays`] longer.
    pub(super) fn note_open(&self, queries: u32) {
        let Some(limit) = self.limit.get().filter(|limit| queries >= *limit) else { return };
        let doubled = limit.saturating_mul(2);
        self.is_doubled.set(true);
        self.limit.set((doubled <= MOST).then_some(doubled));
    }

    /// How long a connection that has reached the limit must stay open for [`Self::note_open`].
    pub(super) fn stays(&self) -> Duration {
        STAYS * (1 << self.wrong.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_what_a_connection_brought_before_its_end() {
        let quota = Quota::default();
        assert_eq!(quota.limit(), None);
        for (replies, limit) in [(10, Some(10)), (1, Some(1)), (0, Some(1)), (100, Some(100))] {
            quota.note_end(replies);
            assert_eq!(quota.limit(), limit);
        }
        quota.note_end(MOST);
        assert_eq!(quota.limit(), Some(MOST));
        quota.note_end(MOST + 1);
        assert_eq!(quota.limit(), None);
    }

    #[test]
    fn a_connection_that_stays_open_doubles_the_limit_until_it_is_gone() {
        let quota = Quota::default();
        quota.note_open(7);
        assert_eq!(quota.limit(), None);
        quota.note_end(3);
        quota.note_open(2);
        assert_eq!(quota.limit(), Some(3), "it has not reached the limit");
        let limits: Vec<_> = std::iter::from_fn(|| {
            quota.note_open(quota.limit()?);
            quota.limit()
        })
        .collect();
        assert_eq!(limits, [6, 12, 24, 48, 96, 192, 384]);
        assert_eq!((quota.limit(), quota.stays()), (None, STAYS));
    }

    #[test]
    fn each_wrong_doubling_makes_the_next_one_wait_longer_up_to_a_bound() {
        let quota = Quota::default();
        quota.note_end(1);
        let mut waits = Vec::new();
        for _ in 0..12 {
            waits.push(quota.stays().as_millis() / STAYS.as_millis());
            quota.note_open(1);
            assert_eq!(quota.limit(), Some(2));
            quota.note_end(1);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 256, 256, 256]);
        // Connections that were open beside the last one tell nothing new.
        quota.note_end(1);
        assert_eq!(quota.stays(), STAYS * 256);
        quota.note_end(5);
        assert_eq!((quota.limit(), quota.stays()), (Some(5), STAYS));
    }
}
