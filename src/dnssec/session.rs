//! The state that the rounds of one question's validation share: their cost, the zones that they
//! used, and the zones that a later round must not take from memory.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::known::{Clocks, Known, KnownZones};
use crate::wire::Name;

/// One question's validation, from the first round to the last.
pub struct Session {
    known: Arc<KnownZones>,
    pub(super) effort: Effort,
    /// Zones whose keys, or digests of keys, the last round used, and since when we have had them.
    used: HashMap<Name, Instant>,
    /// Whether the last round had to ask for any keys.
    asked: bool,
    /// The name whose records did not validate.
    failed: Option<Name>,
    /// Zones about which only newer records count than of this time.
    fresh: HashMap<Name, Instant>,
}

/// The cost of a question so far.
#[derive(Default)]
pub(super) struct Effort {
    /// Questions about keys.
    pub(super) queries: usize,
    /// Looks at records that the clerk holds already.
    pub(super) looks: usize,
    /// Signatures in all messages that the validator got.
    pub(super) signatures: usize,
    /// Records that were read, looked at, copied, or hashed for one signature.
    pub(super) steps: usize,
    /// Rounds of hashing over NSEC3 records.
    pub(super) hash_rounds: usize,
}

impl Session {
    /// Returns a session that knows the zones in `known` and adds to them.
    pub fn new(known: Arc<KnownZones>) -> Self {
        Self {
            known,
            effort: Effort::default(),
            used: HashMap::new(),
            asked: false,
            failed: None,
            fresh: HashMap::new(),
        }
    }

    /// Begins another round, for an answer about `name`.
    pub(super) fn begin(&mut self, name: &Name) {
        self.used.clear();
        self.asked = false;
        self.failed = Some(name.clone());
    }

    /// Returns the zones at or above the name that failed whose keys were used, the deepest first,
    /// and since when we had them; the name itself if there are none.
    pub fn at_fault(&self) -> Vec<(Name, Instant)> {
        let Some(failed) = &self.failed else { return Vec::new() };
        let used = self.used.iter().filter(|(zone, _)| failed.is_within(zone));
        let mut zones: Vec<_> = used.map(|(zone, since)| (zone.clone(), *since)).collect();
        zones.sort_by_key(|(zone, _)| std::cmp::Reverse(zone.label_count()));
        if zones.is_empty() {
            zones.push((failed.clone(), Instant::now()));
        }
        zones
    }

    /// Returns whether the last round took all keys from the table of proven ones: then the answer
    /// is more likely to be wrong than they are.
    pub fn took_proven_keys_only(&self) -> bool {
        !self.asked && !self.used.is_empty()
    }

    /// Makes the next rounds use nothing about `zone` that we had before `since`.
    pub fn renew(&mut self, zone: Name, since: Instant) {
        self.fresh.insert(zone, since);
    }

    pub(super) fn fail_at(&mut self, name: &Name) {
        self.failed = Some(name.clone());
    }

    pub(super) fn note_asked_for_keys(&mut self) {
        self.asked = true;
    }

    pub(super) fn note_used(&mut self, zone: &Name, since: Instant) {
        let known = self.used.entry(zone.clone()).or_insert(since);
        *known = since.min(*known);
    }

    /// Returns the time from which on an answer about `name` counts, if a zone above it is renewed.
    pub(super) fn fresh_since(&self, name: &Name) -> Option<Instant> {
        if self.fresh.is_empty() {
            return None;
        }
        let mut names = std::iter::successors(Some(name.clone()), Name::parent);
        names.find_map(|name| self.fresh.get(&name)).copied()
    }

    /// Returns the known zones on the way from `top` down to `name`, without those that must be
    /// asked again.
    pub(super) fn path(&self, name: &Name, top: &Name) -> Vec<Known> {
        let mut path = self.known.path(name, top, Clocks::read());
        path.retain(|known| {
            self.fresh.get(&known.zone).is_none_or(|since| known.learned >= *since)
        });
        path
    }

    pub(super) fn known(&self) -> &KnownZones {
        &self.known
    }
}
