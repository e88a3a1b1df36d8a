//! Kept answers of upstreams: wire octets by question, bounded in octets, aged by the clock that
//! the caller passes in.
//!
//! Refuses to know where an answer came from and who asks for it.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod ring;
mod store;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::Instant;

use self::store::{Head, NewEntry, Store};
use crate::wire::{Answer, AnswerRef, Question, QuestionRef, Rcode, Rtype, Section, flags};

/// Longest a record is kept, seconds: a day, whatever its TTL says, so that a wrong one does not
/// stay for weeks (RFC 8767 §4 allows a cap; Unbound and BIND default to a day and a week).
const MAX_TTL_SECONDS: u32 = 86_400;
/// Longest a negative answer is kept, seconds (RFC 2308 §5 suggests one to three hours).
const MAX_NEGATIVE_TTL_SECONDS: u32 = 3_600;
/// Room for a copy of any answer, 64-bit words: 64 KiB and its tables (2 octets for each record of
/// at least 11). Memory that is not used is not taken.
const SCRATCH_WORDS: usize = 80 * 1_024 / 8;

/// What the cache's clock shows when it is made, milliseconds: some 35 years.
const CLOCK_BEGIN_MS: u64 = 1 << 40;

/// Bits of an entry's mark.
const DNSSEC_OK: u8 = 1;
const CHECKING_DISABLED: u8 = 2;
const NEEDS_US: u8 = 4;

/// Answers by question.
pub struct Cache {
    /// 0 when the configuration turns the cache off.
    size_octets: usize,
    /// Made when something is first kept: a snapshot's own cache may give way to its predecessor's.
    /// `None` when the system did not give so much memory.
    store: OnceLock<Option<Store>>,
    /// Where its clock begins.
    born: Instant,
}

/// A kept answer that still holds.
pub struct Hit {
    copy: Scratch,
    /// Whole seconds since it came, to be taken off every TTL.
    pub age_seconds: u32,
    /// For how many seconds it still holds; at least 1.
    pub left_seconds: u32,
    /// It is an answer only while its chain leads to a private name of ours.
    pub needs_us: bool,
}

impl Hit {
    /// The answer as it came.
    pub fn answer(&self) -> AnswerRef<'_> {
        AnswerRef::from_octets(bytemuck::cast_slice(&self.copy.0)).unwrap_or_default()
    }
}

/// This thread's memory for the copy of an entry, lent to one [`Hit`] at a time: a hit that comes
/// while another one lives brings its own.
struct Scratch(Vec<u64>);

thread_local! {
    static SCRATCH: Cell<Vec<u64>> = const { Cell::new(Vec::new()) };
}

impl Scratch {
    fn take() -> Self {
        let mut words = SCRATCH.take();
        if words.capacity() == 0 {
            words.reserve_exact(SCRATCH_WORDS);
        }
        Self(words)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        SCRATCH.set(std::mem::take(&mut self.0));
    }
}

impl Cache {
    /// A cache of at most `size_octets`; 0 keeps nothing.
    pub fn new(size_octets: u64) -> Self {
        let size_octets = usize::try_from(size_octets).unwrap_or(usize::MAX);
        Self { size_octets, store: OnceLock::new(), born: Instant::now() }
    }

    fn store(&self) -> Option<&Store> {
        self.store.get()?.as_ref()
    }

    fn store_to_keep(&self) -> Option<&Store> {
        let octets = self.size_octets;
        let made = || {
            let store = (octets > 0).then(|| Store::new(octets)).flatten();
            if store.is_none() && octets > 0 {
                tracing::error!(
                    "the system gives no {octets} octets for the cache: nothing is kept; write a \
                     smaller cache.size"
                );
            }
            store
        };
        self.store.get_or_init(made).as_ref()
    }

    /// Finds the answer to `question` if it still holds at `now`. Takes no lock, allocates nothing
    /// (but once a thread) and writes nothing that another thread reads, save at the first use of
    /// an entry.
    pub fn find(&self, question: &QuestionRef<'_>, now: Instant) -> Option<Hit> {
        let store = self.store()?;
        let mut copy = Scratch::take();
        let key = Key::new(question);
        let head = store
            .find(store.hash(question), &mut copy.0, |head, payload| key.is_of(head, payload))?;
        let age_ms = self.ms(now).saturating_sub(head.stored_ms);
        let age_seconds = u32::try_from(age_ms / 1_000).unwrap_or(u32::MAX);
        // An answer of TTL n holds for n seconds and not in the second that follows.
        let left_seconds = head.ttl_seconds.checked_sub(age_seconds).filter(|left| *left > 0)?;
        Some(Hit { copy, age_seconds, left_seconds, needs_us: head.mark & NEEDS_US != 0 })
    }

    /// Keeps `answer` if it may be kept. Gives for how many seconds.
    ///
    /// `leads_to_us`: its chain ends in a private name. Then the upstream's word about the end does
    /// not count, and the answer holds as long as the chain, even where it shows nothing else.
    pub fn insert(
        &self,
        question: &Question,
        answer: &Answer,
        leads_to_us: bool,
        now: Instant,
    ) -> Option<u32> {
        let store = self.store_to_keep()?;
        let view = answer.borrowed();
        let own = lifetime(question, &view);
        let ttl_seconds = own.or_else(|| chain_lifetime(&view).filter(|_| leads_to_us))?;
        let question = question.borrowed();
        let key = Key::new(&question);
        let needs_us = if own.is_none() { NEEDS_US } else { 0 };
        let entry = NewEntry { mark: key.bits | needs_us, ttl_seconds, stored_ms: self.ms(now) };
        let is_it = |head: Head, payload: &[u64]| key.is_of(head, payload);
        store.insert(store.hash(question), answer.octets(), entry, is_it).then_some(ttl_seconds)
    }

    /// Forgets everything.
    pub fn clear(&self) {
        if let Some(store) = self.store() {
            store.clear();
        }
    }

    /// How many answers are kept, those past their time included.
    pub fn len(&self) -> usize {
        self.store().map_or(0, Store::len)
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the entries take, octets; never above the bound.
    pub fn octets(&self) -> u64 {
        self.store().map_or(0, Store::octets)
    }

    /// `now` by the cache's clock; a caller's may begin before it.
    fn ms(&self, now: Instant) -> u64 {
        let ms = |span: u128| u64::try_from(span / 1_000_000).unwrap_or(CLOCK_BEGIN_MS);
        match now.checked_duration_since(self.born) {
            Some(after) => CLOCK_BEGIN_MS.saturating_add(ms(after.as_nanos())),
            None => {
                let before = self.born.duration_since(now).as_nanos();
                // Rounded down on this side too.
                CLOCK_BEGIN_MS.saturating_sub(ms(before.next_multiple_of(1_000_000)))
            }
        }
    }
}

/// A question as an entry shows it: its mark's bits, and the question section of its message.
struct Key<'a> {
    qname: &'a [u8],
    qtype_and_qclass: [u8; 4],
    bits: u8,
}

impl<'a> Key<'a> {
    fn new(question: &QuestionRef<'a>) -> Self {
        let qtype_and_qclass = u32::from(question.qtype.0) << 16 | u32::from(question.qclass);
        let dnssec_ok = if question.dnssec_ok { DNSSEC_OK } else { 0 };
        let checking_disabled = if question.checking_disabled { CHECKING_DISABLED } else { 0 };
        Self {
            qname: question.qname,
            qtype_and_qclass: qtype_and_qclass.to_be_bytes(),
            bits: dnssec_ok | checking_disabled,
        }
    }

    /// Whether an entry is this question's.
    fn is_of(&self, head: Head, payload: &[u64]) -> bool {
        head.mark & (DNSSEC_OK | CHECKING_DISABLED) == self.bits
            && AnswerRef::from_octets(bytemuck::cast_slice(payload)).is_some_and(|answer| {
                let question = answer.question().split_last_chunk();
                question == Some((self.qname, &self.qtype_and_qclass))
            })
    }
}

/// For how many seconds `answer` may be kept; `None`: not at all. Positive answers by their
/// smallest TTL, negative ones by their SOA (RFC 2308 §5). Truncated ones and failures are no
/// answers.
fn lifetime(question: &Question, answer: &AnswerRef<'_>) -> Option<u32> {
    if answer.header().has(flags::TC) {
        return None;
    }
    let smallest = answer.min_ttl()?;
    let ttl = match answer.rcode() {
        Rcode::NOERROR if is_positive(question, answer) => smallest.min(MAX_TTL_SECONDS),
        Rcode::NOERROR | Rcode::NXDOMAIN => {
            smallest.min(answer.negative_ttl()?).min(MAX_NEGATIVE_TTL_SECONDS)
        }
        _ => return None,
    };
    (ttl > 0).then_some(ttl)
}

/// For how many seconds the CNAMEs of `answer` hold, whatever it says of their end.
fn chain_lifetime(answer: &AnswerRef<'_>) -> Option<u32> {
    let cnames = answer.records().filter(|record| record.rtype == Rtype::CNAME);
    let smallest = cnames.map(|record| record.ttl).min()?.min(MAX_TTL_SECONDS);
    (smallest > 0 && !answer.header().has(flags::TC)).then_some(smallest)
}

/// Whether the answer section holds what was asked for.
fn is_positive(question: &Question, answer: &AnswerRef<'_>) -> bool {
    answer
        .records()
        .take_while(|record| record.section == Section::Answer)
        .any(|record| record.rtype == question.qtype || question.qtype == Rtype::ANY)
}
