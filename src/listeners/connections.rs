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
/// A flood has ebbed away when no more than one in so many connections is left.
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
    /// not lock the table, so the key may be too low; [`Table::displace`] then corrects it.
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
        // More than one only after a reload that lowered the bound.
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
mod tests {
    use std::time::Duration;

    use super::*;

    fn limits(all: usize, per_client: usize) -> Limits {
        Limits {
            tcp_connections: all,
            tcp_connections_per_client: per_client,
            tcp_idle: Duration::from_secs(10),
            ..super::super::tests::LIMITS
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Microseconds from now on: later than any table's birth only by what the test takes.
    fn at(micros: u64) -> Instant {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        *START.get_or_init(Instant::now) + Duration::from_secs(60) + Duration::from_micros(micros)
    }

    async fn gave_way(ticket: &Ticket) -> bool {
        tokio::time::timeout(Duration::ZERO, ticket.displaced()).await.is_ok()
    }

    #[test]
    fn a_client_has_its_cap_and_gets_its_places_back() {
        let table = Connections::default();
        let limits = limits(10, 2);
        let first = table.admit(ip("192.0.2.1"), at(0), &limits).unwrap();
        let _second = table.admit(ip("192.0.2.1"), at(0), &limits).unwrap();
        // The same client in IPv6 clothes.
        let mapped = table.admit(ip("::ffff:192.0.2.1"), at(0), &limits);
        assert_eq!(mapped.unwrap_err(), OverClientCap);
        table.admit(ip("192.0.2.2"), at(0), &limits).unwrap();
        drop(first);
        assert_eq!(table.open(), 1);
        table.admit(ip("192.0.2.1"), at(0), &limits).unwrap();
    }

    #[test]
    fn descriptors_bound_the_table_where_they_are_fewer_than_the_limit() {
        let table = Connections::default();
        let limits = limits(10, 10);
        let open = || table.admit(ip("192.0.2.1"), at(0), &limits).unwrap();
        table.set_room(2);
        let _held = [open(), open()];
        let third = open();
        assert_eq!((third.displaced, table.open()), (1, 2));
        table.set_room(0);
        let _last = open();
        assert_eq!(table.open(), 1, "one at least");
        table.set_room(usize::MAX);
        let _more = [open(), open()];
        assert_eq!(table.open(), 3);
    }

    #[test]
    fn an_ipv6_client_is_its_64() {
        let table = Connections::default();
        let limits = limits(10, 1);
        let _held = table.admit(ip("2001:db8::1"), at(0), &limits).unwrap();
        assert!(table.admit(ip("2001:db8::ffff:2"), at(0), &limits).is_err());
        assert!(table.admit(ip("2001:db8:0:1::1"), at(0), &limits).is_ok());
    }

    #[tokio::test]
    async fn the_one_idle_longest_gives_way_and_busy_ones_last() {
        let table = Connections::default();
        let limits = limits(3, 3);
        let busy = table.admit(ip("192.0.2.1"), at(1), &limits).unwrap();
        busy.set_busy(true);
        let old = table.admit(ip("192.0.2.2"), at(2), &limits).unwrap();
        let fresh = table.admit(ip("192.0.2.3"), at(3), &limits).unwrap();
        old.set_active(at(5));
        let fourth = table.admit(ip("192.0.2.4"), at(6), &limits).unwrap();
        assert_eq!(fourth.displaced, 1);
        assert!(gave_way(&fresh).await);
        assert!(!gave_way(&old).await && !gave_way(&busy).await);
        assert_eq!(table.open(), 3);
        // The evicted one's own end takes nothing from the table.
        drop(fresh);
        assert_eq!(table.open(), 3);
        for ticket in [&old, &fourth] {
            ticket.set_busy(true);
        }
        let _fifth = table.admit(ip("192.0.2.5"), at(7), &limits).unwrap();
        assert!(gave_way(&busy).await, "all are busy: the oldest of them");
    }

    #[tokio::test]
    async fn a_displacement_looks_at_a_bounded_number_of_places() {
        const ALL: u64 = 10 * LOOKS as u64;
        let table = Connections::default();
        let limits = limits(ALL as usize, ALL as usize);
        let open = |micros| table.admit(ip("192.0.2.1"), at(micros), &limits).unwrap();
        let tickets: Vec<_> = (0..ALL).map(open).collect();
        // All but the last are busy or were active since.
        for (place, ticket) in tickets.iter().enumerate().take(tickets.len() - 1) {
            ticket.set_busy(place % 2 == 0);
            ticket.set_active(at(2 * ALL));
        }
        let keys = || {
            let entries = |table: &Table| table.places.values().map(|e| e.key).collect::<Vec<_>>();
            entries(&table.lock())
        };
        let before = keys().into_iter().max();
        assert!(table.displace_one(at(3 * ALL)));
        assert!(gave_way(&tickets[0]).await, "all that it looked at are in use: the oldest");
        let corrected = keys().into_iter().filter(|key| Some(*key) > before).count();
        assert_eq!(corrected, LOOKS - 1);
        // What was looked at stands behind the rest now: the idle one is found in the end.
        let idle = tickets.last().unwrap().id;
        let displaced = (0..tickets.len()).find(|_| {
            table.displace_one(at(3 * ALL));
            !table.lock().places.contains_key(&idle)
        });
        assert!(displaced.is_some_and(|turns| turns <= 10), "{displaced:?}");
    }

    #[test]
    fn the_table_gives_its_memory_back_and_tells_of_a_flood_once() {
        const MANY: usize = 5_000;
        let table = Connections::default();
        let limits = limits(MANY, MANY);
        let address =
            |n: usize| IpAddr::from((u32::try_from(n).unwrap() + 0x0a00_0000).to_be_bytes());
        let mut tickets: Vec<_> =
            (0..MANY).map(|n| table.admit(address(n), at(0), &limits).unwrap()).collect();
        assert!(!table.has_ebbed(), "it is high");
        tickets.truncate(MANY / EBB + 1);
        assert!(!table.has_ebbed());
        tickets.truncate(MANY / EBB);
        assert!(table.has_ebbed() && !table.has_ebbed());
        tickets.truncate(FLOOD - 1);
        assert!(table.has_ebbed() && !table.has_ebbed());
        drop(tickets);
        assert!(!table.has_ebbed(), "no flood");
        let table = table.lock();
        assert!(table.by_activity.is_empty());
        for capacity in [table.places.capacity(), table.clients.capacity()] {
            assert!(capacity <= EBB * MIN_ROOM, "{capacity}");
        }
    }

    #[tokio::test]
    async fn over_the_octets_in_all_the_one_that_holds_most_gives_way() {
        let table = Connections::default();
        let open = |at_micros| table.admit(ip("192.0.2.1"), at(at_micros), &limits(9, 9)).unwrap();
        let (small, most, other) = (open(0), open(1), open(2));
        let first = small.account().hold(1_000);
        let half = LATE_OCTETS_IN_ALL / 2;
        let second = most.account().hold(half);
        let third = other.account().hold(half - 1_000);
        assert_eq!(table.held_octets(), LATE_OCTETS_IN_ALL, "at the bound");
        assert_eq!((first.displaced, second.displaced, third.displaced), (0, 0, 0));
        let over = small.account().hold(1);
        assert_eq!((over.displaced, table.open()), (1, 2));
        assert!(gave_way(&most).await && !gave_way(&small).await && !gave_way(&other).await);
        assert_eq!(table.held_octets(), half + 1);
        // What it still gets is counted, what was taken from the sum is not taken again.
        let fourth = most.account().hold(10);
        drop((second, most, fourth));
        assert_eq!(table.held_octets(), half + 1);
        drop((first, third, over));
        assert_eq!((table.held_octets(), table.open()), (0, 2));
        let own = small.account().hold(LATE_OCTETS_IN_ALL + 1);
        assert_eq!((own.displaced, table.held_octets()), (1, 0));
        assert!(gave_way(&small).await);
    }

    #[tokio::test]
    async fn a_lower_bound_after_a_reload_is_reached() {
        let table = Connections::default();
        let wide = limits(3, 3);
        let held: Vec<_> =
            (0..3).map(|now| table.admit(ip("192.0.2.1"), at(now), &wide).unwrap()).collect();
        let ticket = table.admit(ip("192.0.2.2"), at(9), &limits(1, 1)).unwrap();
        assert_eq!((ticket.displaced, table.open()), (3, 1));
        for ticket in &held {
            assert!(gave_way(ticket).await);
        }
    }
}
