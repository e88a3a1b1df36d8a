//! Kept answers of upstreams: wire octets by question, bounded in octets, aged by the clock that
//! the caller passes in; and what failed lately, for as short a time ([`Failures`]).
//!
//! Refuses to know where an answer came from and who asks for it, and when one past its time may
//! serve (RFC 8767): it only has it still.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod entry;
mod failures;
pub mod file;
mod hit;
mod ring;
mod store;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

pub use self::failures::Failures;
pub use self::hit::Hit;

use self::entry::{Found, Head, NewEntry, Standing};
use self::hit::Scratch;
use self::store::{Part, Store};
use crate::wire::{
    Answer, AnswerRef, MAX_NAME_OCTETS, Question, QuestionRef, Rcode, Rtype, Section,
    UDP_PAYLOAD_OCTETS, flags,
};

/// Longest a record is kept, seconds: a day, whatever its TTL says, so that a wrong one does not
/// stay for weeks (RFC 8767 §4 allows a cap; Unbound and BIND default to a day and a week).
const MAX_TTL_SECONDS: u32 = 86_400;
/// Longest a negative answer is kept, seconds (RFC 2308 §5 suggests one to three hours).
const MAX_NEGATIVE_TTL_SECONDS: u32 = 3_600;

/// What the cache's clock shows when it is made, milliseconds: some 35 years.
const CLOCK_BEGIN_MS: u64 = 1 << 40;

/// Bits of an entry's mark.
const DNSSEC_OK: u8 = 1;
const CHECKING_DISABLED: u8 = 2;
const NEEDS_US: u8 = 4;

/// Octets of a message that are copied for a reply over UDP, if the message is larger: more than any
/// such reply has, so that what is left out cannot make a difference to it.
const FRONT_OCTETS: usize = 2_048;
const _: () = assert!(FRONT_OCTETS > UDP_PAYLOAD_OCTETS as usize + MAX_NAME_OCTETS);

/// Octets of an answer's front, by its first two words.
fn front_octets(words: [u64; 2]) -> usize {
    AnswerRef::front_octets(bytemuck::cast(words), FRONT_OCTETS)
}

/// Answers by question.
pub struct Cache {
    /// 0 when the configuration turns the cache off.
    size_octets: usize,
    /// How long after its time an answer is still worth keeping.
    stale_seconds: u32,
    /// Made when something is first kept: a snapshot's own cache may give way to its predecessor's.
    /// `None` when the system did not give so much memory.
    store: OnceLock<Option<Store>>,
    /// Where its clock begins.
    born: Instant,
    /// By how much the clock was put forward.
    advanced_ms: AtomicU64,
    /// One writes its file at a time.
    saving: Mutex<()>,
}

impl Cache {
    /// A cache of at most `size_octets`, 0 for one that keeps nothing, whose answers serve for
    /// `stale` after their time (RFC 8767), counted in whole seconds.
    pub fn new(size_octets: u64, stale: Duration) -> Self {
        Self {
            size_octets: usize::try_from(size_octets).unwrap_or(usize::MAX),
            stale_seconds: u32::try_from(stale.as_secs()).unwrap_or(u32::MAX),
            store: OnceLock::new(),
            born: Instant::now(),
            advanced_ms: AtomicU64::new(0),
            saving: Mutex::new(()),
        }
    }

    /// An empty one with the same bounds.
    #[must_use]
    pub fn another(&self) -> Self {
        Self::new(self.size_octets as u64, Duration::from_secs(self.stale_seconds.into()))
    }

    fn store(&self) -> Option<&Store> {
        self.store.get()?.as_ref()
    }

    fn store_to_keep(&self) -> Option<&Store> {
        let octets = self.size_octets;
        let stale_ms = u64::from(self.stale_seconds) * 1_000;
        let made = || {
            let store = (octets > 0).then(|| Store::new(octets, stale_ms)).flatten();
            if store.is_none() && octets > 0 {
                tracing::error!(
                    "cannot allocate {octets} octets for the cache, so no answer is cached; set a \
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
        // An answer of TTL n holds for n seconds and not in the second that follows.
        self.find_younger(question, now, 0, Part::Whole)
    }

    /// As [`Self::find`], for a reply over UDP: of an answer that is far too large for one, only the
    /// front is copied ([`AnswerRef::from_front`]). So a name with a large answer costs no more than
    /// others until its client comes over TCP.
    pub fn find_for_udp(&self, question: &QuestionRef<'_>, now: Instant) -> Option<Hit> {
        self.find_younger(question, now, 0, Part::Front(front_octets))
    }

    /// Finds the answer to `question` even if its time was over at `now`, for at most as long as
    /// the cache was told ([`Hit::expired_seconds`]), negative ones included. For when nobody gives
    /// a new one (RFC 8767 §5). One that somebody else has got meanwhile is found too, and is fresh.
    pub fn find_stale(&self, question: &QuestionRef<'_>, now: Instant) -> Option<Hit> {
        self.find_younger(question, now, self.stale_seconds, Part::Whole)
    }

    /// Finds the answer to `question` unless its time had been over for `stale_seconds` at `now`.
    #[inline]
    fn find_younger(
        &self,
        question: &QuestionRef<'_>,
        now: Instant,
        stale_seconds: u32,
        part: Part,
    ) -> Option<Hit> {
        let store = self.store()?;
        let mut copy = Scratch::take();
        let key = Key::new(question);
        let is_it = |head: Head, payload: &[u64]| key.is_of(head, payload);
        let hash = store.hash(question);
        let Found { head, standing } = store.find(hash, copy.words(), part, is_it)?;
        let age_ms = self.ms(now).saturating_sub(head.stored_ms);
        let age_seconds = u32::try_from(age_ms / 1_000).unwrap_or(u32::MAX);
        if age_seconds >= head.ttl_seconds.saturating_add(stale_seconds) {
            return None;
        }
        Some(Hit {
            copy,
            age_seconds,
            left_seconds: head.ttl_seconds.saturating_sub(age_seconds),
            needs_us: head.mark & NEEDS_US != 0,
            ttl_seconds: head.ttl_seconds,
            was_used: standing.main || standing.used,
        })
    }

    /// Keeps `answer` if it may be kept. Gives for how many seconds. One that may not be kept (TTL 0, or
    /// a denial without SOA) is newer all the same: what is kept past its time for its question goes,
    /// so that it does not serve as stale data later (RFC 8767 §4).
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
        let now_ms = self.ms(now);
        let aged = Aged { now_ms, age_ms: 0, is_over: false, standing: Standing::default() };
        self.insert_aged(question, answer, leads_to_us, aged)
    }

    fn insert_aged(
        &self,
        question: &Question,
        answer: &Answer,
        leads_to_us: bool,
        aged: Aged,
    ) -> Option<u32> {
        let Aged { now_ms, age_ms, is_over, standing } = aged;
        let Some(Lifetime { ttl_seconds, is_negative, needs_us }) =
            lifetime(question, &answer.borrowed(), leads_to_us)
        else {
            self.remove_expired(&question.borrowed(), answer, now_ms);
            return None;
        };
        let ttl_ms = u64::from(ttl_seconds) * 1_000;
        let age_ms = if is_over { age_ms.max(ttl_ms) } else { age_ms };
        if age_ms >= ttl_ms + u64::from(self.stale_seconds) * 1_000 {
            return None;
        }
        let stored_ms = now_ms.saturating_sub(age_ms);
        let store = self.store_to_keep()?;
        let question = question.borrowed();
        let key = Key::new(&question);
        let mark = key.bits | if needs_us { NEEDS_US } else { 0 };
        let entry = NewEntry { mark, ttl_seconds, stored_ms, is_negative, standing };
        let is_it = |head: Head, payload: &[u64]| key.is_of(head, payload);
        let kept = store.insert(store.hash(question), answer.octets(), entry, now_ms, is_it);
        kept.then_some(ttl_seconds)
    }

    /// Removes the expired entry for `question`, if `answer` says anything about the name.
    fn remove_expired(&self, question: &QuestionRef<'_>, answer: &Answer, now_ms: u64) {
        let is_final = matches!(answer.rcode(), Rcode::NOERROR | Rcode::NXDOMAIN | Rcode::YXDOMAIN);
        let Some(store) = self.store().filter(|_| is_final) else { return };
        let key = Key::new(question);
        store.remove(store.hash(question), |head, payload| {
            !head.is_alive_at(now_ms, 0) && key.is_of(head, payload)
        });
    }

    /// Puts the cache's clock forward: the machine slept for so long, which [`Instant`] does not
    /// count, and all that is kept has aged meanwhile.
    pub fn advance(&self, by: Duration) {
        let by_ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        let (relaxed, add) = (Ordering::Relaxed, |ms: u64| Some(ms.saturating_add(by_ms)));
        // Cannot fail: the addition always gives something.
        let _before = self.advanced_ms.fetch_update(relaxed, relaxed, add);
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
        let since_birth_ms = match now.checked_duration_since(self.born) {
            Some(after) => CLOCK_BEGIN_MS.saturating_add(ms(after.as_nanos())),
            None => {
                let before = self.born.duration_since(now).as_nanos();
                // Rounded down on this side too.
                CLOCK_BEGIN_MS.saturating_sub(ms(before.next_multiple_of(1_000_000)))
            }
        };
        since_birth_ms.saturating_add(self.advanced_ms.load(Ordering::Relaxed))
    }
}

/// How old an answer is that is to be kept, and what is known of its use.
struct Aged {
    /// By the cache's clock.
    now_ms: u64,
    age_ms: u64,
    /// It counts as past its time, whatever its age.
    is_over: bool,
    standing: Standing,
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
            && AnswerRef::from_front(bytemuck::cast_slice(payload)).is_some_and(|answer| {
                let question = answer.question().split_last_chunk();
                question == Some((self.qname, &self.qtype_and_qclass))
            })
    }
}

/// For how long and as what an answer is kept.
struct Lifetime {
    ttl_seconds: u32,
    /// It says that there is no such name, or nothing of that type.
    is_negative: bool,
    /// It is an answer only while its chain leads to a private name of ours.
    needs_us: bool,
}

/// For how long `answer` may be kept; `None`: not at all. Positive answers by their smallest TTL,
/// negative ones by their SOA (RFC 2308 §5), a chain to us by its links if by nothing else. Truncated
/// ones and failures are no answers.
fn lifetime(question: &Question, answer: &AnswerRef<'_>, leads_to_us: bool) -> Option<Lifetime> {
    if answer.header().has(flags::TC) {
        return None;
    }
    let smallest = answer.min_ttl()?;
    let is_positive = answer.rcode() == Rcode::NOERROR && has_what_is_asked(question, answer);
    let own = match answer.rcode() {
        Rcode::NOERROR if is_positive => Some(smallest.min(MAX_TTL_SECONDS)),
        Rcode::NOERROR | Rcode::NXDOMAIN => {
            answer.negative_ttl().map(|ttl| ttl.min(smallest).min(MAX_NEGATIVE_TTL_SECONDS))
        }
        _ => None,
    };
    let own = own.filter(|ttl| *ttl > 0);
    let ttl_seconds = own.or_else(|| chain_lifetime(answer).filter(|_| leads_to_us))?;
    let needs_us = own.is_none();
    // What an upstream denies at the end of a chain to us is a name that we answer.
    Some(Lifetime { ttl_seconds, is_negative: !is_positive && !leads_to_us, needs_us })
}

/// For how many seconds the CNAMEs of `answer` hold, whatever it says of their end.
fn chain_lifetime(answer: &AnswerRef<'_>) -> Option<u32> {
    let cnames = answer.records().filter(|record| record.rtype == Rtype::CNAME);
    let smallest = cnames.map(|record| record.ttl).min()?.min(MAX_TTL_SECONDS);
    (smallest > 0).then_some(smallest)
}

/// Whether the answer section holds what was asked for.
fn has_what_is_asked(question: &Question, answer: &AnswerRef<'_>) -> bool {
    answer
        .records()
        .take_while(|record| record.section == Section::Answer)
        .any(|record| record.rtype == question.qtype || question.qtype == Rtype::ANY)
}
