//! Kept answers of upstreams: wire octets by question, bounded in octets, aged by the clock that
//! the caller passes in.
//!
//! Refuses to know where an answer came from and who asks for it.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use quick_cache::{Equivalent, Weighter};

use crate::wire::{Answer, Question, QuestionRef, Rcode, Rtype, Section, flags};

/// Longest a record is kept, seconds: a day, whatever its TTL says, so that a wrong one does not
/// stay for weeks (RFC 8767 §4 allows a cap; Unbound and BIND default to a day and a week).
const MAX_TTL_SECONDS: u32 = 86_400;
/// Longest a negative answer is kept, seconds (RFC 2308 §5 suggests one to three hours).
const MAX_NEGATIVE_TTL_SECONDS: u32 = 3_600;
/// What an entry takes beside its message and name, octets: its slot in the table (which grows by
/// doubling and keeps half as many again for names it has just dropped), the `Arc`'s counts, and
/// what the allocator rounds up.
const ENTRY_OVERHEAD_OCTETS: usize =
    3 * (size_of::<Question>() + size_of::<Entry>() + 24) + size_of::<Answer>() + 64;
/// An average entry for the table's first size; a guess that only costs a resize.
const TYPICAL_ENTRY_OCTETS: usize = ENTRY_OVERHEAD_OCTETS + 200;

/// Answers by question.
pub struct Cache {
    /// `None` when the configuration turns the cache off.
    answers: Option<Answers>,
}

type Answers = quick_cache::sync::Cache<Question, Entry, ByOctets>;

/// An answer, when it came, and for how long it holds.
#[derive(Clone)]
struct Entry {
    answer: Arc<Answer>,
    stored: Instant,
    ttl_seconds: u32,
    needs_us: bool,
}

/// A kept answer that still holds.
pub struct Hit {
    /// The answer as it came.
    pub answer: Arc<Answer>,
    /// Whole seconds since then, to be taken off every TTL.
    pub age_seconds: u32,
    /// For how many seconds it still holds; at least 1.
    pub left_seconds: u32,
    /// It is an answer only while its chain leads to a private name of ours.
    pub needs_us: bool,
}

#[derive(Clone)]
struct ByOctets;

impl Weighter<Question, Entry> for ByOctets {
    fn weight(&self, question: &Question, entry: &Entry) -> u64 {
        let octets = question.qname.as_wire().len() + entry.answer.heap_octets();
        (octets + ENTRY_OVERHEAD_OCTETS) as u64
    }
}

impl Equivalent<Question> for QuestionRef<'_> {
    fn equivalent(&self, question: &Question) -> bool {
        *self == question.borrowed()
    }
}

impl Cache {
    /// A cache of at most `size_octets`; 0 keeps nothing.
    pub fn new(size_octets: u64) -> Self {
        let entries = usize::try_from(size_octets).unwrap_or(usize::MAX) / TYPICAL_ENTRY_OCTETS;
        // The table is sized by what it will hold only up to a point: it grows when needed.
        let entries = entries.min(1_024);
        let answers =
            (size_octets > 0).then(|| Answers::with_weighter(entries, size_octets, ByOctets));
        Self { answers }
    }

    /// Finds the answer to `question` if it still holds at `now`. Does not allocate.
    pub fn find(&self, question: &QuestionRef<'_>, now: Instant) -> Option<Hit> {
        let entry = self.answers.as_ref()?.get(question)?;
        let age = now.saturating_duration_since(entry.stored).as_secs();
        let age_seconds = u32::try_from(age).unwrap_or(u32::MAX);
        // An answer of TTL n holds for n seconds and not in the second that follows.
        let left_seconds = entry.ttl_seconds.checked_sub(age_seconds).filter(|left| *left > 0)?;
        let Entry { answer, needs_us, .. } = entry;
        Some(Hit { answer, age_seconds, left_seconds, needs_us })
    }

    /// Keeps `answer` if it may be kept. Gives for how many seconds.
    ///
    /// `leads_to_us`: its chain ends in a private name. Then the upstream's word about the end does
    /// not count, and the answer holds as long as the chain, even where it shows nothing else.
    pub fn insert(
        &self,
        question: Question,
        answer: Arc<Answer>,
        leads_to_us: bool,
        now: Instant,
    ) -> Option<u32> {
        let answers = self.answers.as_ref()?;
        let own = lifetime(&question, &answer);
        let ttl_seconds = own.or_else(|| chain_lifetime(&answer).filter(|_| leads_to_us))?;
        let needs_us = own.is_none();
        answers.insert(question, Entry { answer, stored: now, ttl_seconds, needs_us });
        Some(ttl_seconds)
    }

    /// Forgets everything.
    pub fn clear(&self) {
        if let Some(answers) = &self.answers {
            answers.clear();
        }
    }

    /// How many answers are kept, those past their time included.
    pub fn len(&self) -> usize {
        self.answers.as_ref().map_or(0, Answers::len)
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the entries take, octets; never above the bound.
    pub fn octets(&self) -> u64 {
        self.answers.as_ref().map_or(0, Answers::weight)
    }
}

/// For how many seconds `answer` may be kept; `None`: not at all. Positive answers by their
/// smallest TTL, negative ones by their SOA (RFC 2308 §5). Truncated ones and failures are no
/// answers.
fn lifetime(question: &Question, answer: &Answer) -> Option<u32> {
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
fn chain_lifetime(answer: &Answer) -> Option<u32> {
    let cnames = answer.records().filter(|record| record.rtype == Rtype::CNAME);
    let smallest = cnames.map(|record| record.ttl).min()?.min(MAX_TTL_SECONDS);
    (smallest > 0 && !answer.header().has(flags::TC)).then_some(smallest)
}

/// Whether the answer section holds what was asked for.
fn is_positive(question: &Question, answer: &Answer) -> bool {
    answer
        .records()
        .take_while(|record| record.section == Section::Answer)
        .any(|record| record.rtype == question.qtype || question.qtype == Rtype::ANY)
}
