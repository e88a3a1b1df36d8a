//! The state that validation keeps between questions: proven keys, unproven answers about keys, and
//! the repeats after bad verdicts.
//!
//! This state is apart from the cache of answers. So no client can add to it, and no client gets an
//! unproven answer from it. It belongs to one set of rules and anchors, as the cache does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::dnssec::{Brought, KnownZones};
use crate::forward::Flights;
use crate::wire::{Name, Question, Rtype};

/// How long an answer about keys that is not proven serves at most: bad ones are kept for so long
/// (RFC 4035 §4.7), and a zone that is broken is not asked for each of its names. Unbound's
/// `val-bogus-ttl` is the same.
pub(super) const UNPROVEN: Duration = Duration::from_secs(60);
/// Answers about keys that are kept unproven, failures included.
pub(super) const MAX_UNPROVEN: usize = 1_024;
/// Octets of all of them: answers with keys have some hundred, and a thousand at times.
pub(super) const MAX_UNPROVEN_OCTETS: usize = 4 << 20;

/// After bad verdicts, so much is asked for again within this time:
pub(super) const REPEAT_EVERY: Duration = Duration::from_secs(10);
/// the keys of a zone so often, because the first repeat may meet an upstream that is worse than
/// the first one;
pub(super) const MAX_KEY_REPEATS: u32 = 2;
/// and so many answers of a zone: as many as may be under way when an upstream begins to spoil
/// them.
pub(super) const MAX_ANSWER_REPEATS: u32 = 16;
/// Zones whose repeats are counted. While all are taken, nothing is asked again for other zones. So
/// all repeats together are bounded too.
pub(super) const MAX_REPEATING: usize = 1_024;

/// How long an upstream is asked last after its answer did not validate and another upstream's did.
pub(super) const SUSPECTED: Duration = Duration::from_secs(60);
/// Labels of a domain for which it is asked last. The servers of a zone may cause that, by giving
/// answers of which one is bad, so it must not harm others.
const SUSPECT_LABELS: usize = 2;
/// An upstream that spoils the answers of so many domains is asked last for all names.
pub(super) const SUSPECT_FOR_ALL: usize = 4;
/// Pairs of a domain and an upstream that are remembered so.
pub(super) const MAX_SUSPECTS: usize = 256;

/// How long an upstream counts as one whose keys were proven. Its replies prove more all the time,
/// unless nothing is asked.
pub(super) const GAVE_PROVEN: Duration = Duration::from_secs(3_600);
/// Such upstreams that are remembered: more than a rule has.
pub(super) const MAX_GAVE_PROVEN: usize = 64;

/// An answer about keys, and the upstream that gave it, by number.
#[derive(Clone)]
pub(super) struct Told {
    pub(super) brought: Brought,
    pub(super) upstream: u64,
}

/// A question about keys that no upstream answered.
#[derive(Clone, Copy)]
pub(super) struct Unanswered {
    since: Instant,
    /// The paths to the upstreams that were asked, as for any failure.
    pub(super) paths: u64,
}

/// The state of validation between questions. All workers share it; only questions that upstreams
/// were asked come here.
pub struct Keys {
    /// Zones of which something is proven.
    pub(super) known: Arc<KnownZones>,
    /// Questions about keys under way.
    pub(super) flights: Flights<Told>,
    unproven: Mutex<Unproven>,
    repeats: Mutex<HashMap<Name, Repeats>>,
    /// By domain and upstream.
    suspects: Mutex<HashMap<(Name, u64), Instant>>,
    /// Upstreams whose replies about keys were proven, and until when they count.
    gave_proven: Mutex<HashMap<u64, Instant>>,
}

#[derive(Default)]
struct Unproven {
    /// By name and type.
    kept: HashMap<(Name, Rtype), Kept>,
    octets: usize,
}

struct Kept {
    outcome: Result<Told, Unanswered>,
    until: Instant,
}

impl Kept {
    fn since(&self) -> Instant {
        match &self.outcome {
            Ok(told) => told.brought.since,
            Err(unanswered) => unanswered.since,
        }
    }

    fn octets(&self) -> usize {
        self.outcome.as_ref().map_or(0, |told| told.brought.answer.octets().len())
    }
}

/// Repeats of one zone.
struct Repeats {
    answers: Run,
    keys: Run,
    /// When the keys were last asked for again.
    keys_at: Option<Instant>,
}

/// Repeats of one kind within [`REPEAT_EVERY`].
struct Run {
    begun: Instant,
    count: u32,
}

impl Run {
    /// Counts one more, if there are not `most` already.
    fn takes(&mut self, most: u32, now: Instant) -> bool {
        if self.is_over(now) {
            *self = Self { begun: now, count: 0 };
        }
        let takes = self.count < most;
        self.count += u32::from(takes);
        takes
    }

    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.begun) >= REPEAT_EVERY
    }
}

impl Keys {
    /// `limit` is `limits.in-flight`: how many clients may wait for keys.
    pub fn new(limit: usize) -> Self {
        Self {
            known: Arc::default(),
            flights: Flights::new(limit),
            unproven: Mutex::default(),
            repeats: Mutex::default(),
            suspects: Mutex::default(),
            gave_proven: Mutex::default(),
        }
    }

    /// Changes the limit, for a reload.
    pub fn set_limit(&self, limit: usize) {
        self.flights.set_limit(limit);
    }

    /// Forgets which questions no upstream answered: another network, or the machine slept.
    pub fn forget_failures(&self) {
        lock(&self.unproven).kept.retain(|_, kept| kept.outcome.is_ok());
    }

    /// Finds the kept outcome of `question`, unless it came before `since`.
    pub(super) fn find(
        &self,
        question: &Question,
        since: Option<Instant>,
        now: Instant,
    ) -> Option<Result<Told, Unanswered>> {
        let unproven = lock(&self.unproven);
        let kept = unproven.kept.get(&(question.qname.clone(), question.qtype))?;
        let counts = now < kept.until && since.is_none_or(|since| kept.since() >= since);
        counts.then(|| kept.outcome.clone())
    }

    /// Keeps an answer for its time, [`UNPROVEN`] at most.
    pub(super) fn keep(&self, question: &Question, told: Told) {
        let ttl = told.brought.answer.borrowed().min_ttl().unwrap_or(0);
        let until = told.brought.since + UNPROVEN.min(Duration::from_secs(ttl.into()));
        self.note(question, Kept { outcome: Ok(told), until });
    }

    /// Remembers for `ttl` that no upstream answered.
    pub(super) fn note_unanswered(
        &self,
        question: &Question,
        paths: u64,
        ttl: Duration,
        now: Instant,
    ) {
        let outcome = Err(Unanswered { since: now, paths });
        self.note(question, Kept { outcome, until: now + ttl.min(UNPROVEN) });
    }

    fn note(&self, question: &Question, new: Kept) {
        let now = new.since();
        let mut unproven = lock(&self.unproven);
        let key = (question.qname.clone(), question.qtype);
        unproven.remove(&key);
        if unproven.is_full_with(&new) {
            let over =
                |(key, kept): (&(Name, Rtype), &Kept)| (kept.until <= now).then(|| key.clone());
            let over: Vec<_> = unproven.kept.iter().filter_map(over).collect();
            over.iter().for_each(|key| unproven.remove(key));
        }
        while unproven.is_full_with(&new) {
            let oldest = unproven.kept.iter().min_by_key(|(_, kept)| kept.since());
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else { return };
            unproven.remove(&oldest);
        }
        unproven.octets += new.octets();
        unproven.kept.insert(key, new);
    }

    /// Allows one more answer of `zone` to be asked for again, if there were not too many.
    pub(super) fn may_ask_again(&self, zone: &Name, now: Instant) -> bool {
        let mut repeats = lock(&self.repeats);
        let of_zone = of_zone(&mut repeats, zone, now);
        of_zone.is_some_and(|of_zone| of_zone.answers.takes(MAX_ANSWER_REPEATS, now))
    }

    /// Returns the time from which on answers about the keys of `zone` count, after a bad verdict
    /// over keys that we have had since `had_since`. That is `now`, or the time of the last repeat
    /// if the keys are older than it. Returns `None` if there were too many repeats.
    pub(super) fn renew(&self, zone: &Name, had_since: Instant, now: Instant) -> Option<Instant> {
        let mut repeats = lock(&self.repeats);
        let of_zone = of_zone(&mut repeats, zone, now)?;
        let is_recent = |last: &Instant| now.saturating_duration_since(*last) < REPEAT_EVERY;
        let last = of_zone.keys_at.filter(|last| had_since < *last && is_recent(last));
        if last.is_none() && of_zone.keys.takes(MAX_KEY_REPEATS, now) {
            of_zone.keys_at = Some(now);
            return Some(now);
        }
        last
    }

    /// Notes that keys from these upstreams were proven.
    pub(super) fn note_gave_proven(&self, upstreams: impl Iterator<Item = u64>, now: Instant) {
        let mut gave = lock(&self.gave_proven);
        for upstream in upstreams {
            if gave.len() >= MAX_GAVE_PROVEN && !gave.contains_key(&upstream) {
                gave.retain(|_, until| now < *until);
            }
            if gave.len() < MAX_GAVE_PROVEN || gave.contains_key(&upstream) {
                gave.insert(upstream, now + GAVE_PROVEN);
            }
        }
    }

    /// Returns the upstreams that gave proven keys, and have spoilt nothing since then.
    pub(super) fn gave_proven(&self, now: Instant) -> Vec<u64> {
        let gave = lock(&self.gave_proven);
        gave.iter().filter(|(_, until)| now < **until).map(|(upstream, _)| *upstream).collect()
    }

    /// Notes that an upstream's answer about `zone` did not validate and another upstream's did.
    pub(super) fn suspect(&self, zone: &Name, upstream: u64, now: Instant) {
        lock(&self.gave_proven).remove(&upstream);
        let excess = zone.label_count().saturating_sub(SUSPECT_LABELS);
        let domain = (0..excess).try_fold(zone.clone(), |name, _| name.parent());
        let key = (domain.unwrap_or_else(Name::root), upstream);
        let mut suspects = lock(&self.suspects);
        suspects.retain(|_, until| now < *until);
        if suspects.len() < MAX_SUSPECTS || suspects.contains_key(&key) {
            suspects.insert(key, now + SUSPECTED);
        }
    }

    /// The upstreams that are asked last for `name`, by number.
    pub(super) fn suspects(&self, name: &Name, now: Instant) -> Vec<u64> {
        let suspects = lock(&self.suspects);
        // Nearly always there are none.
        if suspects.is_empty() {
            return Vec::new();
        }
        let mut domains = HashMap::new();
        for ((domain, upstream), _) in suspects.iter().filter(|(_, until)| now < **until) {
            let worth = if name.is_within(domain) { SUSPECT_FOR_ALL } else { 1 };
            *domains.entry(*upstream).or_insert(0) += worth;
        }
        let bad = domains.into_iter().filter(|(_, domains)| *domains >= SUSPECT_FOR_ALL);
        bad.map(|(upstream, _)| upstream).collect()
    }

    #[cfg(test)]
    pub(super) fn unproven(&self) -> (usize, usize) {
        let unproven = lock(&self.unproven);
        (unproven.kept.len(), unproven.octets)
    }
}

impl Unproven {
    fn is_full_with(&self, new: &Kept) -> bool {
        self.kept.len() >= MAX_UNPROVEN || self.octets + new.octets() > MAX_UNPROVEN_OCTETS
    }

    fn remove(&mut self, key: &(Name, Rtype)) {
        if let Some(kept) = self.kept.remove(key) {
            self.octets -= kept.octets();
        }
    }
}

impl Repeats {
    fn is_over(&self, now: Instant) -> bool {
        self.answers.is_over(now) && self.keys.is_over(now)
    }
}

/// The repeats of `zone`, those of none so far where there is room.
fn of_zone<'a>(
    repeats: &'a mut HashMap<Name, Repeats>,
    zone: &Name,
    now: Instant,
) -> Option<&'a mut Repeats> {
    if !repeats.contains_key(zone) && repeats.len() >= MAX_REPEATING {
        repeats.retain(|_, of_zone| !of_zone.is_over(now));
        if repeats.len() >= MAX_REPEATING {
            return None;
        }
    }
    let run = || Run { begun: now, count: 0 };
    let none = || Repeats { answers: run(), keys: run(), keys_at: None };
    Some(repeats.entry(zone.clone()).or_insert_with(none))
}

/// A panic in between leaves no half-done state that matters.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
