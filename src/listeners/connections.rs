//! The table of open TCP connections: how many in all, how many of each client, who gives way.
//!
//! Also counts the octets of late answers that connections hold, and has a bound on their sum.
//!
//! Shared by the workers; locked when a connection opens or ends, never for a query.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::addresses::HostBlock;
use crate::config::Limits;

/// Octets of late answers that all connections together hold: as much as 64 KiB for each of a
/// thousand connections, and little beside the cache.
pub(super) const LATE_OCTETS_IN_ALL: usize = 64 << 20;

/// The open connections of all workers.
#[derive(Clone, Default, Debug)]
pub struct Connections(Arc<State>);

#[derive(Debug)]
struct State {
    /// What times are counted from.
    born: Instant,
    table: Mutex<Table>,
    /// The sum over all places, those that gave way included.
    held_octets: AtomicUsize,
    /// Connections that leave enough descriptors for the rest of the process.
    room: AtomicUsize,
}

impl Default for State {
    fn default() -> Self {
        Self {
            born: Instant::now(),
            table: Mutex::default(),
            held_octets: AtomicUsize::new(0),
            room: AtomicUsize::new(usize::MAX),
        }
    }
}

/// Places that one displacement looks at. Each that is busy, or was active since the table last
/// looked, moves behind the others, so the next displacement finds other places in front.
const LOOKS: usize = 32;
/// Entries that a map keeps room for, however few connections are open.
const MIN_ROOM: usize = 64;
/// So many connections are a flood whose memory is worth returning: with 64 KiB each, 4 MiB.
const FLOOD: usize = 64;
/// A flood is over if at most one in so many connections is left.
const EBB: usize = 4;

#[derive(Default, Debug)]
struct Table {
    /// At most `tcp_connections`.
    places: HashMap<u64, Entry>,
    /// The keys of all places with their ids, the one idle longest first as far as the table knows.
    by_activity: BTreeSet<(u64, u64)>,
    /// The most that were open since [`Connections::has_ebbed`] last said so.
    peak: usize,
    /// How many of `places` each client holds; never 0.
    clients: HashMap<HostBlock, usize>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    place: Arc<Place>,
    /// Its key in `by_activity`: what `active_micros` was when the table last looked. A query does
    /// not lock the table, so the key may be out of date; [`Table::displace`] then corrects it.
    key: u64,
}

/// What the table knows of a connection.
#[derive(Debug)]
struct Place {
    client: HostBlock,
    /// When its last query came or its last answer went.
    active_micros: AtomicU64,
    /// Queries of it are under way.
    busy: AtomicBool,
    /// Of its late answers; 0 when it gave way.
    held_octets: AtomicUsize,
    give_way: Notify,
}

/// Where a connection's late answers are counted.
#[derive(Clone, Debug)]
pub(super) struct Account {
    table: Connections,
    place: Arc<Place>,
}

/// Octets that are held; counted until dropped.
#[derive(Debug)]
pub(super) struct Held {
    account: Account,
    octets: usize,
    /// How many connections gave way for them.
    pub(super) displaced: usize,
}

/// Why a connection may not open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct OverClientCap;

/// The right to a connection; given back when dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    table: Connections,
    id: u64,
    place: Arc<Place>,
    /// How many others gave way for this one.
    pub(super) displaced: usize,
}

impl Connections {
    /// How many are open.
    pub fn open(&self) -> usize {
        self.lock().places.len()
    }

    /// Octets of late answers that are held now.
    pub fn held_octets(&self) -> usize {
        self.0.held_octets.load(Ordering::Relaxed)
    }

    /// Sets how many may be open whatever `limits.tcp-connections` allows: more would leave no
    /// descriptors for sockets to upstreams.
    pub fn set_room(&self, room: usize) {
        self.0.room.store(room, Ordering::Relaxed);
    }

    /// Takes in a connection of `client`. When as many are open as may be, the one idle longest
    /// gives way, so that those who hold connections cannot keep newcomers out.
    pub(super) fn admit(
        &self,
        client: IpAddr,
        now: Instant,
        limits: &Limits,
    ) -> Result<Ticket, OverClientCap> {
        let client = HostBlock::of(client);
        let mut table = self.lock();
        let held = table.clients.get(&client).copied().unwrap_or(0);
        if held >= limits.tcp_connections_per_client {
            return Err(OverClientCap);
        }
        let mut displaced = 0;
        let now_micros = self.micros(now);
        // More than one only after a reload that lowered the bound or left less room.
        let most = limits.tcp_connections.min(self.0.room.load(Ordering::Relaxed)).max(1);
        while table.places.len() >= most && table.displace(now_micros) {
            displaced += 1;
        }
        let place = Arc::new(Place {
            client,
            active_micros: AtomicU64::new(now_micros),
            busy: AtomicBool::new(false),
            held_octets: AtomicUsize::new(0),
            give_way: Notify::new(),
        });
        let id = table.next;
        table.next += 1;
        table.insert(id, Arc::clone(&place), now_micros);
        *table.clients.entry(client).or_default() += 1;
        Ok(Ticket { table: self.clone(), id, place, displaced })
    }

    /// Makes the one idle longest give way; `false` when there is none.
    pub(super) fn displace_one(&self, now: Instant) -> bool {
        self.lock().displace(self.micros(now))
    }

    /// Whether a flood of connections is over since the last call: the heap then holds memory that
    /// the allocator keeps for the next one.
    pub fn has_ebbed(&self) -> bool {
        let mut table = self.lock();
        let open = table.places.len();
        let has_ebbed = table.peak >= FLOOD && open <= table.peak / EBB;
        if has_ebbed {
            table.peak = open;
        }
        has_ebbed
    }

    /// Lets those that hold most give way until the sum is within its bound: their clients are
    /// the ones that do not read. Returns how many. Looks at every place, but only over the bound:
    /// each look closes a connection that holds at least the mean.
    fn displace_holders(&self) -> usize {
        let mut displaced = 0;
        let mut table = self.lock();
        // Each turn takes one from the table.
        while self.held_octets() > LATE_OCTETS_IN_ALL {
            let held = |place: &Place| place.held_octets.load(Ordering::Relaxed);
            let all = table.places.iter().map(|(id, entry)| (*id, held(&entry.place)));
            let most = all.max_by_key(|(_, held)| *held);
            let Some(id) = most.filter(|(_, held)| *held > 0).map(|(id, _)| id) else {
                break;
            };
            let Some(place) = table.remove(id) else { break };
            // Its memory is free as soon as its task runs.
            let octets = place.held_octets.swap(0, Ordering::AcqRel);
            self.0.held_octets.fetch_sub(octets, Ordering::Relaxed);
            place.give_way.notify_one();
            displaced += 1;
        }
        displaced
    }

    fn micros(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.0.born).as_micros();
        u64::try_from(since).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // No change to the table is left half done by a panic.
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn insert(&mut self, id: u64, place: Arc<Place>, key: u64) {
        self.places.insert(id, Entry { place, key });
        self.by_activity.insert((key, id));
        self.peak = self.peak.max(self.places.len());
    }

    /// Makes the one idle longest give way, a busy one only if the first [`LOOKS`] are all busy;
    /// `false` when there is none.
    fn displace(&mut self, now_micros: u64) -> bool {
        let Some(id) = self.first_idle(now_micros) else { return false };
        if let Some(place) = self.remove(id) {
            place.give_way.notify_one();
        }
        true
    }

    fn first_idle(&mut self, now_micros: u64) -> Option<u64> {
        let mut oldest_busy: Option<(u64, u64)> = None;
        for _ in 0..LOOKS {
            let (key, id) = *self.by_activity.first()?;
            let place = &self.places.get(&id)?.place;
            let active = place.active_micros.load(Ordering::Relaxed);
            if place.busy.load(Ordering::Relaxed) {
                oldest_busy = Some(oldest_busy.map_or((active, id), |old| old.min((active, id))));
                self.set_key(id, now_micros.max(key + 1));
            } else if active > key {
                self.set_key(id, active);
            } else {
                return Some(id);
            }
        }
        oldest_busy.or_else(|| self.by_activity.first().copied()).map(|(_, id)| id)
    }

    fn set_key(&mut self, id: u64, key: u64) {
        if let Some(entry) = self.places.get_mut(&id) {
            self.by_activity.remove(&(entry.key, id));
            self.by_activity.insert((key, id));
            entry.key = key;
        }
    }

    fn remove(&mut self, id: u64) -> Option<Arc<Place>> {
        let Entry { place, key } = self.places.remove(&id)?;
        self.by_activity.remove(&(key, id));
        if let Some(held) = self.clients.get_mut(&place.client) {
            *held -= 1;
            if *held == 0 {
                self.clients.remove(&place.client);
            }
        }
        if self.places.capacity() > EBB * self.places.len().max(MIN_ROOM) {
            self.places.shrink_to(2 * self.places.len());
        }
        if self.clients.capacity() > EBB * self.clients.len().max(MIN_ROOM) {
            self.clients.shrink_to(2 * self.clients.len());
        }
        Some(place)
    }
}

impl Account {
    /// Counts `octets`. Where all would hold too much now, those that hold most give way, this one
    /// among them.
    pub(super) fn hold(&self, octets: usize) -> Held {
        // The sum first, and on every processor: it is never less than its parts, so it cannot
        // fall below zero.
        let before = self.table.0.held_octets.fetch_add(octets, Ordering::Relaxed);
        self.place.held_octets.fetch_add(octets, Ordering::AcqRel);
        let is_over = before + octets > LATE_OCTETS_IN_ALL;
        let displaced = if is_over { self.table.displace_holders() } else { 0 };
        Held { account: self.clone(), octets, displaced }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Account { table, place } = &self.account;
        // Of a place that gave way, what it held was taken from the sum already.
        let take = |held: usize| Some(held.saturating_sub(self.octets));
        let held = place.held_octets.fetch_update(Ordering::AcqRel, Ordering::Acquire, take);
        let taken = held.unwrap_or(0).min(self.octets);
        table.0.held_octets.fetch_sub(taken, Ordering::Relaxed);
    }
}

impl Ticket {
    /// Where its late answers are counted.
    pub(super) fn account(&self) -> Account {
        Account { table: self.table.clone(), place: Arc::clone(&self.place) }
    }

    /// Waits for the order to give way.
    pub(super) async fn displaced(&self) {
        self.place.give_way.notified().await;
    }

    /// A query came or an answer went.
    pub(super) fn set_active(&self, now: Instant) {
        self.place.active_micros.store(self.table.micros(now), Ordering::Relaxed);
    }

    /// Whether queries are under way.
    pub(super) fn set_busy(&self, busy: bool) {
        self.place.busy.store(busy, Ordering::Relaxed);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.table.lock().remove(self.id);
    }
}

#[cfg(test)]
mod tests;
