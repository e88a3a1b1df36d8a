//! The table of proven zones: their keys, or the fact that they are unsigned.
//!
//! An entry outlives the question that proved it, for as long as the proof holds. The table
//! compares whole names. Its hash has a secret, so that no stranger can choose names that collide;
//! and a collision costs time, never a verdict.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::parts::Part;
use crate::wire::Name;

/// Zones in the table: all that a site of some hundred people asks for within an hour. A zone's
/// keys take about a kilobyte, so the table takes a few megabytes. A zone with
/// [`super::clerk::MAX_KEYS`] keys of 4,096 bits takes 20 KiB.
pub(super) const MAX_ZONES: usize = 1_024;

/// Both clocks. The lifetime of a signature goes by the wall clock, which also counts while the
/// machine sleeps. A TTL goes by the monotonic clock, which cannot be set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    pub(super) now: Instant,
    pub(super) wall: SystemTime,
}

impl Clocks {
    pub(super) fn read() -> Self {
        Self { now: Instant::now(), wall: SystemTime::now() }
    }
}

/// The proof about a zone.
#[derive(Clone)]
pub(super) enum Proven {
    /// It has these keys: a DNSKEY answer without signatures, for they were checked.
    Keys(Arc<Part>),
    /// Nothing signs it, or anything below it.
    Unsigned,
}

/// A zone that is known.
pub(super) struct Known {
    pub(super) zone: Name,
    pub(super) proven: Proven,
    /// When it was proven.
    pub(super) learned: Instant,
    /// How long the proof still holds, seconds.
    pub(super) left_seconds: u32,
}

/// The zones of which something was proven under one configuration. Shared by all workers; only
/// questions that upstreams were asked come here.
#[derive(Default)]
pub struct KnownZones {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    zones: HashMap<Name, Entry>,
    /// Counts look-ups: the zone with the lowest stamp was used least recently.
    stamp: u64,
}

struct Entry {
    proven: Proven,
    learned: Instant,
    until: Instant,
    until_wall: SystemTime,
    stamp: u64,
}

impl Entry {
    /// How long it holds from `at` on.
    fn left(&self, at: Clocks) -> Duration {
        let by_wall = self.until_wall.duration_since(at.wall).unwrap_or_default();
        self.until.saturating_duration_since(at.now).min(by_wall)
    }
}

impl KnownZones {
    /// Returns how many zones stand in the table, those included whose time is over.
    pub fn len(&self) -> usize {
        self.table().zones.len()
    }

    /// Returns whether the table is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether something was proven after `since` of a zone at or above `name`: a verdict
    /// of before may be another one now.
    pub fn has_learned_since(&self, name: &Name, since: Instant) -> bool {
        let table = self.table();
        ancestry(name).any(|zone| table.zones.get(&zone).is_some_and(|e| e.learned > since))
    }

    /// Returns the known zones at or above `name` that are at or below `top`, the highest first.
    pub(super) fn path(&self, name: &Name, top: &Name, at: Clocks) -> Vec<Known> {
        let mut table = self.table();
        if table.zones.is_empty() {
            return Vec::new();
        }
        table.stamp += 1;
        let stamp = table.stamp;
        let mut path = Vec::new();
        for zone in ancestry(name).take_while(|zone| zone.is_within(top)) {
            let Some(entry) = table.zones.get_mut(&zone) else { continue };
            let left = entry.left(at);
            if left.is_zero() {
                continue;
            }
            entry.stamp = stamp;
            path.push(Known {
                zone,
                proven: entry.proven.clone(),
                learned: entry.learned,
                left_seconds: u32::try_from(left.as_secs()).unwrap_or(u32::MAX),
            });
        }
        path.reverse();
        path
    }

    /// Keeps the proof about `zone` for `ttl_seconds` from `at` on, or not at all if that is 0. If
    /// the table is full, it drops the zones that have expired, or else the least recently used
    /// one.
    pub(super) fn learn(&self, zone: Name, proven: Proven, ttl_seconds: u32, at: Clocks) {
        if ttl_seconds == 0 {
            return;
        }
        let ttl = Duration::from_secs(ttl_seconds.into());
        let mut table = self.table();
        if table.zones.len() >= MAX_ZONES && !table.zones.contains_key(&zone) {
            table.zones.retain(|_, entry| !entry.left(at).is_zero());
            if table.zones.len() >= MAX_ZONES {
                let oldest = table.zones.iter().min_by_key(|(_, entry)| entry.stamp);
                if let Some(oldest) = oldest.map(|(zone, _)| zone.clone()) {
                    table.zones.remove(&oldest);
                }
            }
        }
        table.stamp += 1;
        let entry = Entry {
            proven,
            learned: at.now,
            until: at.now + ttl,
            until_wall: at.wall + ttl,
            stamp: table.stamp,
        };
        table.zones.insert(zone, entry);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing in here panics half-way; if it did, a zone would be proven again.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name and the names above it, up to the root.
fn ancestry(name: &Name) -> impl Iterator<Item = Name> + use<> {
    std::iter::successors(Some(name.clone()), Name::parent)
}
