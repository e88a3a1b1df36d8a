//! Zones of which a server answers nothing: they get fewer of its seats (`super::shares`).
//!
//! A zone is known by the last labels that names have in common. [`LABELS`] ancestors of a name are
//! looked at, so that a silent zone is found whether it is `example.org` or `lab.example.co.uk`.
//! Any reply for a name below an ancestor ends what was known of it.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::quality::RandomState;
use tokio::time::Instant;

use crate::wire::Name;

/// Ancestors of a name that are looked at: those with one to so many labels.
const LABELS: usize = 4;
/// Zones that one server's table holds, 32 octets each. A zone whose place is taken wears the other
/// one down, so the zones with the most silence stay.
const ZONES: usize = 512;
/// Questions in a row without a reply that make a zone silent: more than loss or one slow name.
const ENOUGH: u32 = 32;
/// What is counted at most: a zone that another one wears down is forgotten soon.
const MOST: u32 = 64;
/// How long a zone counts as silent after its last question without a reply.
const LASTS: Duration = Duration::from_secs(10);

/// What one server's silence is about.
#[derive(Default, Debug)]
pub(super) struct SilentZones {
    /// Seeded: clients must not choose which names collide.
    hasher: RandomState,
    /// Whether the table was ever written: a server without silent names pays one load.
    is_used: AtomicBool,
    /// Empty until then.
    table: Mutex<Vec<Zone>>,
}

#[derive(Clone, Copy, Debug)]
struct Zone {
    hash: u64,
    /// Questions in a row without a reply.
    silent: u32,
    last: Instant,
}

impl SilentZones {
    /// Takes note of a question for `name` that had its time and got no reply.
    pub(super) fn note_silence(&self, name: &Name, now: Instant) {
        let mut table = self.table();
        if table.is_empty() {
            table.resize(ZONES, Zone { hash: 0, silent: 0, last: now });
            self.is_used.store(true, Ordering::Relaxed);
        }
        self.each_ancestor(name, |hash| {
            let Some(zone) = table.get_mut(place_of(hash)) else { return };
            if zone.silent > 0 && zone.hash != hash {
                zone.silent -= 1;
                return;
            }
            let silent = zone.silent.saturating_add(1).min(MOST);
            *zone = Zone { hash, silent, last: now };
        });
    }

    /// Takes note of a reply for `name`.
    pub(super) fn note_reply(&self, name: &Name) {
        if !self.is_used.load(Ordering::Relaxed) {
            return;
        }
        let mut table = self.table();
        self.each_ancestor(name, |hash| {
            if let Some(zone) = table.get_mut(place_of(hash)).filter(|zone| zone.hash == hash) {
                zone.silent = 0;
            }
        });
    }

    /// Returns whether an ancestor of `name` is silent.
    pub(super) fn covers(&self, name: &Name, now: Instant) -> bool {
        if !self.is_used.load(Ordering::Relaxed) {
            return false;
        }
        let table = self.table();
        let mut covers = false;
        self.each_ancestor(name, |hash| {
            covers |= table.get(place_of(hash)).is_some_and(|zone| {
                zone.hash == hash
                    && zone.silent >= ENOUGH
                    && now.saturating_duration_since(zone.last) < LASTS
            });
        });
        covers
    }

    /// Calls `visit` with the hash of each ancestor that is looked at. The name itself and the root
    /// are none.
    fn each_ancestor(&self, name: &Name, mut visit: impl FnMut(u64)) {
        let mut wire = name.as_wire();
        for left in (1..name.label_count()).rev() {
            let Some((octets, rest)) = wire.split_first() else { return };
            let Some(ancestor) = rest.get(usize::from(*octets)..) else { return };
            wire = ancestor;
            if left <= LABELS {
                visit(self.hasher.hash_one(ancestor));
            }
        }
    }

    /// A panic in between leaves no half-done state: each section only moves values.
    fn table(&self) -> MutexGuard<'_, Vec<Zone>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn place_of(hash: u64) -> usize {
    usize::try_from(hash % ZONES as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn silence(zones: &SilentZones, under: &str, count: u32, now: Instant) {
        for number in 0..count {
            zones.note_silence(&name(&format!("n{number}.{under}")), now);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_zone_is_silent_after_enough_silence_in_a_row() {
        let (zones, now) = (SilentZones::default(), Instant::now());
        let fresh = name("fresh.tarpit.example");
        silence(&zones, "tarpit.example", ENOUGH - 1, now);
        assert!(!zones.covers(&fresh, now));
        zones.note_silence(&name("last.tarpit.example"), now);
        assert!(zones.covers(&fresh, now));
        assert!(zones.covers(&name("a.b.c.tarpit.example"), now));
        assert!(!zones.covers(&name("www.other.test"), now));
        assert!(!zones.covers(&fresh, now + LASTS), "it is tried again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_ends_the_silence_of_all_zones_above_it() {
        let (zones, now) = (SilentZones::default(), Instant::now());
        silence(&zones, "tarpit.example", ENOUGH, now);
        assert!(zones.covers(&name("www.other.example"), now));
        zones.note_reply(&name("www.other.example"));
        assert!(!zones.covers(&name("www.third.example"), now));
        assert!(zones.covers(&name("x.tarpit.example"), now), "none of its names got a reply");
        zones.note_reply(&name("x.tarpit.example"));
        assert!(!zones.covers(&name("x.tarpit.example"), now));
    }

    #[tokio::test(start_paused = true)]
    async fn names_that_differ_in_many_labels_do_not_hide_their_zone() {
        let (zones, now) = (SilentZones::default(), Instant::now());
        for number in 0..20_000 {
            zones.note_silence(&name(&format!("a.b{number}.c{number}.tarpit.example")), now);
        }
        assert!(zones.covers(&name("x.tarpit.example"), now));
        assert_eq!(zones.table().len(), ZONES);
    }

    #[test]
    fn a_name_is_no_ancestor_of_itself() {
        let zones = SilentZones::default();
        for (text, count) in [(".", 0), ("a", 0), ("a.b", 1), ("a.b.c.d.e", 4), ("a.b.c.d.e.f", 4)]
        {
            let mut seen = 0;
            zones.each_ancestor(&name(text), |_| seen += 1);
            assert_eq!(seen, count, "{text}");
        }
    }
}
