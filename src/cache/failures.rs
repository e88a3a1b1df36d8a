//! Questions that got no answer lately, so that nobody asks for them again at once (RFC 9520).

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hashbrown::HashTable;

use crate::wire::{Question, QuestionRef};

/// Failures that are remembered at most: 1.3 MiB of names as long as names can be. Where more
/// questions fail within a second or five, the oldest are asked again a little early.
const MAX_FAILURES: usize = 4_096;
/// Shortest and longest time that a failure is remembered (RFC 9520 §3.2).
const MIN_TTL: Duration = Duration::from_secs(1);
const MAX_TTL: Duration = Duration::from_secs(300);

/// Failed questions with a word on each, for a short time. `T` is what is remembered, cheap to
/// clone.
pub struct Failures<T> {
    /// Questions remembered; while it is 0, nobody takes the lock.
    count: AtomicUsize,
    hasher: foldhash::quality::RandomState,
    memory: Mutex<Memory<T>>,
}

/// The last [`MAX_FAILURES`] failures in the order of their coming, going around, and where each
/// question's stands.
struct Memory<T> {
    places: Vec<Option<Failed<T>>>,
    /// The place of the next one.
    next: usize,
    by_question: HashTable<usize>,
}

struct Failed<T> {
    question: Question,
    hash: u64,
    value: T,
    until: Instant,
}

impl<T: Clone> Failures<T> {
    /// Nothing remembered.
    pub fn new() -> Self {
        let memory = Memory { places: Vec::new(), next: 0, by_question: HashTable::new() };
        Self {
            count: AtomicUsize::new(0),
            hasher: foldhash::quality::RandomState::default(),
            memory: Mutex::new(memory),
        }
    }

    /// Remembers that `question` failed at `now`, in place of what was known of it, for `ttl`: at
    /// least a second and at most five minutes (RFC 9520 §3.2).
    pub fn note(&self, question: &Question, value: T, ttl: Duration, now: Instant) {
        let hash = self.hasher.hash_one(question);
        let until = now + ttl.clamp(MIN_TTL, MAX_TTL);
        let mut memory = self.lock();
        memory.take(hash, &question.borrowed());
        memory.push(Failed { question: question.clone(), hash, value, until });
        self.count.store(memory.by_question.len(), Ordering::Relaxed);
    }

    /// What was noted of `question`, if that still counts at `now`.
    pub fn recent(&self, question: &QuestionRef<'_>, now: Instant) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        let hash = self.hasher.hash_one(question);
        let mut memory = self.lock();
        let value = memory.find(hash, question).map(|failed| (failed.value.clone(), failed.until));
        if value.as_ref().is_some_and(|(_, until)| now >= *until) {
            memory.take(hash, question);
            self.count.store(memory.by_question.len(), Ordering::Relaxed);
            return None;
        }
        value.map(|(value, _)| value)
    }

    /// Forgets what was noted of `question`: it was answered.
    pub fn forget(&self, question: &QuestionRef<'_>) {
        if self.is_empty() {
            return;
        }
        let hash = self.hasher.hash_one(question);
        let mut memory = self.lock();
        memory.take(hash, question);
        self.count.store(memory.by_question.len(), Ordering::Relaxed);
    }

    /// Forgets everything: another network, other upstreams, or the machine slept.
    pub fn clear(&self) {
        let mut memory = self.lock();
        *memory = Memory { places: Vec::new(), next: 0, by_question: HashTable::new() };
        self.count.store(0, Ordering::Relaxed);
    }

    /// How many questions are remembered, those included whose time is over and after which nobody
    /// has asked since; never above 4,096.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Memory<T>> {
        // Nothing in here panics half-way; if it did, a failure would be forgotten.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> Default for Failures<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Memory<T> {
    fn find(&self, hash: u64, question: &QuestionRef<'_>) -> Option<&Failed<T>> {
        let place = self.by_question.find(hash, |place| is_at(&self.places, *place, question))?;
        self.places.get(*place)?.as_ref()
    }

    /// Removes what is known of `question`.
    fn take(&mut self, hash: u64, question: &QuestionRef<'_>) {
        let places = &mut self.places;
        let entry = self.by_question.find_entry(hash, |place| is_at(places, *place, question));
        if let Ok(entry) = entry {
            let (place, _) = entry.remove();
            if let Some(failed) = places.get_mut(place) {
                *failed = None;
            }
        }
    }

    /// Puts `failed` into the next place, whose owner goes.
    fn push(&mut self, failed: Failed<T>) {
        let (place, hash) = (self.next, failed.hash);
        self.next = (place + 1) % MAX_FAILURES;
        if let Some(there) = self.places.get_mut(place) {
            let oldest = there.replace(failed);
            if let Some(oldest) = oldest
                && let Ok(entry) = self.by_question.find_entry(oldest.hash, |at| *at == place)
            {
                entry.remove();
            }
        } else {
            self.places.push(Some(failed));
        }
        let places = &self.places;
        let hash_at = |at: &usize| places.get(*at).and_then(Option::as_ref).map_or(0, |f| f.hash);
        self.by_question.insert_unique(hash, place, hash_at);
    }
}

fn is_at<T>(places: &[Option<Failed<T>>], place: usize, question: &QuestionRef<'_>) -> bool {
    let failed = places.get(place).and_then(Option::as_ref);
    failed.is_some_and(|failed| failed.question.borrowed() == *question)
}
