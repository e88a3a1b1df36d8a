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
    /// Zones whose keys, or digests of keys, the last round used.
    used: HashMap<Name, Used>,
    /// Whether the last round had to ask for any keys.
    asked: bool,
    /// The name whose records did not validate.
    failed: Option<Name>,
    /// Zones about which only newer records count than of this time; `None`: all that we have
    /// count.
    fresh: HashMap<Name, Option<Instant>>,
}

/// Keys, or digests of keys, of a zone that a round used.
#[derive(Clone, Copy)]
struct Used {
    /// Since when we have had them, the oldest of them.
    since: Instant,
    is_proven: bool,
}

/// A zone whose keys may have caused a bad verdict.
pub struct Fault {
    /// The zone.
    pub zone: Name,
    /// Since when we have had its keys.
    pub since: Instant,
    /// Whether all that was used about the zone was proven before.
    pub is_proven: bool,
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

    /// Returns the zones at or above the name that failed whose keys were used, the deepest first;
    /// the name itself if there are none.
    pub fn at_fault(&self) -> Vec<Fault> {
        let Some(failed) = &self.failed else { return Vec::new() };
        let used = self.used.iter().filter(|(zone, _)| failed.is_within(zone));
        let fault = |(zone, used): (&Name, &Used)| {
            let Used { since, is_proven } = *used;
            Fault { zone: zone.clone(), since, is_proven }
        };
        let mut faults: Vec<_> = used.map(fault).collect();
        faults.sort_by_key(|fault| std::cmp::Reverse(fault.zone.label_count()));
        if faults.is_empty() {
            let (zone, since) = (failed.clone(), Instant::now());
            faults.push(Fault { zone, since, is_proven: false });
        }
        faults
    }

    /// Returns whether the last round took all keys from the table of proven ones: then the answer
    /// is more likely to be wrong than they are.
    pub fn took_proven_keys_only(&self) -> bool {
        !self.asked && !self.used.is_empty()
    }

    /// Makes the next rounds use nothing about `zone` that we had before `since`.
    pub fn renew(&mut self, zone: Name, since: Instant) {
        self.fresh.insert(zone, Some(since));
    }

    /// Makes the next rounds use whatever we have about `zone`, even if a zone above it is renewed.
    pub fn accept(&mut self, zone: Name) {
        self.fresh.insert(zone, None);
    }

    /// Returns whether the session has renewed `zone`.
    pub fn has_renewed(&self, zone: &Name) -> bool {
        self.fresh.get(zone).is_some_and(Option::is_some)
    }

    pub(super) fn fail_at(&mut self, name: &Name) {
        self.failed = Some(name.clone());
    }

    pub(super) fn note_asked_for_keys(&mut self) {
        self.asked = true;
    }

    pub(super) fn note_used(&mut self, zone: &Name, since: Instant, is_proven: bool) {
        let used = self.used.entry(zone.clone()).or_insert(Used { since, is_proven });
        used.since = since.min(used.since);
        used.is_proven &= is_proven;
    }

    /// Returns the time from which on an answer about `name` counts, if it or the next zone above
    /// it that was renewed has one.
    pub(super) fn fresh_since(&self, name: &Name) -> Option<Instant> {
        if self.fresh.is_empty() {
            return None;
        }
        let mut names = std::iter::successors(Some(name.clone()), Name::parent);
        names.find_map(|name| self.fresh.get(&name)).copied().flatten()
    }

    /// Returns the known zones on the way from `top` down to `name`, without those that must be
    /// asked again.
    pub(super) fn path(&self, name: &Name, top: &Name) -> Vec<Known> {
        let mut path = self.known.path(name, top, Clocks::read());
        path.retain(|known| {
            let since = self.fresh.get(&known.zone).copied().flatten();
            since.is_none_or(|since| known.learned >= since)
        });
        path
    }

    pub(super) fn known(&self) -> &KnownZones {
        &self.known
    }
}
