//! A kept answer, copied out.

use std::cell::Cell;

use crate::wire::AnswerRef;

/// Room for a copy of any answer, 64-bit words: 64 KiB and its tables (2 octets for each record of
/// at least 11). Memory that is not used is not taken.
const SCRATCH_WORDS: usize = 80 * 1_024 / 8;
/// Shortest TTL that is worth a refresh before its end, seconds: below, the last tenth is no time
/// to get an answer in.
const MIN_REFRESH_TTL_SECONDS: u32 = 10;
/// The share of its TTL that an answer has left when it is worth a refresh: Unbound's choice too.
const REFRESH_SHARE: u32 = 10;

/// A kept answer.
pub struct Hit {
    pub(super) copy: Scratch,
    /// Whole seconds since it came, to be taken off every TTL.
    pub age_seconds: u32,
    /// For how many seconds it still holds; 0 for one that is past its time, which only
    /// [`super::Cache::find_stale`] gives.
    pub left_seconds: u32,
    /// It is an answer only while its chain leads to a private name of ours.
    pub needs_us: bool,
    pub(super) ttl_seconds: u32,
    /// It was found before, or its question had come back after its time.
    pub(super) was_used: bool,
}

impl Hit {
    /// The answer as it came, or its front ([`super::Cache::find_for_udp`]).
    pub fn answer(&self) -> AnswerRef<'_> {
        AnswerRef::from_front(bytemuck::cast_slice(&self.copy.0)).unwrap_or_default()
    }

    /// Whether its time is over, so that it may only serve as RFC 8767 §5 says.
    pub fn is_stale(&self) -> bool {
        self.left_seconds == 0
    }

    /// For how many whole seconds its time has been over; 0 in the first, and while it holds.
    pub fn expired_seconds(&self) -> u32 {
        self.age_seconds.saturating_sub(self.ttl_seconds)
    }

    /// Whether to ask for it anew behind this hit: a tenth of its TTL is left at most, the TTL is
    /// 10 seconds at least, and somebody had asked for it before. Each such hit says so; it is the
    /// caller who asks once.
    pub fn wants_refresh(&self) -> bool {
        self.was_used
            && self.ttl_seconds >= MIN_REFRESH_TTL_SECONDS
            && self.left_seconds <= self.ttl_seconds / REFRESH_SHARE
    }
}

/// This thread's memory for the copy of an entry, lent to one [`Hit`] at a time: a hit that comes
/// while another one lives brings its own.
pub(super) struct Scratch(Vec<u64>);

thread_local! {
    static SCRATCH: Cell<Vec<u64>> = const { Cell::new(Vec::new()) };
}

impl Scratch {
    pub(super) fn take() -> Self {
        let mut words = SCRATCH.take();
        if words.capacity() == 0 {
            words.reserve_exact(SCRATCH_WORDS);
        }
        Self(words)
    }

    pub(super) fn words(&mut self) -> &mut Vec<u64> {
        &mut self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        SCRATCH.set(std::mem::take(&mut self.0));
    }
}
