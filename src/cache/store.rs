//! Entries in memory of a fixed size: an index of slots over three rings.
//!
//! What stands here is found without a lock and without a write that another thread could notice,
//! but for the first use of an entry, which sets one bit. Entries are kept by S3-FIFO (Yang et al.,
//! "FIFO queues are all you need for cache eviction", SOSP 2023): new ones enter the small ring,
//! those that were used while there move to the main ring, where use earns another round. A flood
//! of names that nobody asks for twice passes through the small ring and leaves the main one alone.
//!
//! Negative entries have a ring of their own, where use earns another round too, and take no slot
//! from others: a flood of names that do not exist pushes out nothing but its like.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::entry::{Found, HEAD_WORDS, Head, MAX_PAYLOAD_OCTETS, NewEntry, Slot, Which, tag};
use super::ring::Ring;

/// Slots in a bucket: two cache lines, which processors fetch as a pair. With eight, one entry in ten
/// would find its bucket full of others worth keeping while half of the index is empty.
const BUCKET_SLOTS: usize = 16;
/// The index's share of the memory: two slots for an entry of 176 octets.
const INDEX_SHARE: usize = 12;
/// The small ring's share of the rest, as the paper has it.
const SMALL_SHARE: usize = 10;
/// The negative ring's share of the rest: what is asked most of it is the AAAA of names that have
/// none, and those answers are small.
const NEGATIVE_SHARE: usize = 8;
/// Second rounds that one insertion grants at most, so that its time has a bound. The next entry
/// goes, used or not.
const MAX_ROUNDS: u32 = 32;

/// Payloads of so many words are copied whole: that costs no more than to look what is needed.
const SMALL_WORDS: usize = 512;

/// Memory for entries, all of it spoken for at the start and touched as it is used.
pub(super) struct Store {
    index: Box<[AtomicU64]>,
    small: Ring,
    main: Ring,
    negative: Ring,
    /// For how long entries past their time are worth keeping.
    stale_ms: u64,
    hasher: foldhash::quality::RandomState,
    writer: Mutex<Writer>,
    /// Entries that can be found.
    entries: AtomicUsize,
}

/// What only who writes needs.
struct Writer {
    /// The next free place of each ring.
    small_head: u64,
    main_head: u64,
    negative_head: u64,
    /// An entry on its way.
    entry: Vec<u64>,
    /// Second rounds that this insertion may still grant.
    rounds: u32,
    /// The time of this insertion.
    now_ms: u64,
}

impl Writer {
    fn head(&mut self, which: Which) -> &mut u64 {
        match which {
            Which::Small => &mut self.small_head,
            Which::Main => &mut self.main_head,
            Which::Negative => &mut self.negative_head,
        }
    }
}

impl Store {
    /// A store of at most `octets` that thinks entries worth keeping until `stale_ms` after their
    /// time; `None` when the system does not give so much.
    pub(super) fn new(octets: usize, stale_ms: u64) -> Option<Self> {
        let words = octets / 8;
        let slots = words / INDEX_SHARE / BUCKET_SLOTS * BUCKET_SLOTS;
        let small = (words - slots) / SMALL_SHARE;
        let negative = (words - slots) / NEGATIVE_SHARE;
        let writer = Writer {
            small_head: 1,
            main_head: 1,
            negative_head: 1,
            entry: Vec::new(),
            rounds: 0,
            now_ms: 0,
        };
        let store = Self {
            index: bytemuck::allocation::try_zeroed_slice_box(slots).ok()?,
            small: Ring::new(small)?,
            main: Ring::new(words - slots - small - negative)?,
            negative: Ring::new(negative)?,
            stale_ms,
            hasher: foldhash::quality::RandomState::default(),
            writer: Mutex::new(writer),
            entries: AtomicUsize::new(0),
        };
        for ring in [&store.small, &store.main, &store.negative] {
            ring.free(1);
        }
        Some(store)
    }

    /// The hash of a key. Drawn anew by each process, so that nobody outside can aim at a bucket.
    pub(super) fn hash(&self, key: impl std::hash::Hash) -> u64 {
        self.hasher.hash_one(key)
    }

    /// Copies the payload of the entry under `hash` that `is_it` knows into `to`, in place of what
    /// stood there, or that `part` of it. Takes no lock.
    #[inline]
    pub(super) fn find(
        &self,
        hash: u64,
        to: &mut Vec<u64>,
        part: Part,
        is_it: impl Fn(Head, &[u64]) -> bool,
    ) -> Option<Found> {
        for cell in self.bucket(hash) {
            // Pairs with the store of the slot: who sees it sees the entry.
            let slot = Slot(cell.load(Ordering::Acquire));
            if slot.tag() != tag(hash) || slot == Slot::EMPTY {
                continue;
            }
            let Some(head) = self.copy(slot, hash, to, part).filter(|head| is_it(*head, to)) else {
                continue;
            };
            if !slot.is_used() {
                // Lost when the slot has changed meanwhile: then there is nothing to mark.
                let (relaxed, used) = (Ordering::Relaxed, slot.0 | Slot::USED);
                let _lost = cell.compare_exchange(slot.0, used, relaxed, relaxed);
            }
            return Some(Found { head, standing: slot.standing() });
        }
        None
    }

    /// Copies `part` of the payload of the entry that `slot` tells of, if it is one under `hash` and
    /// still whole.
    fn copy(&self, slot: Slot, hash: u64, to: &mut Vec<u64>, part: Part) -> Option<Head> {
        let (ring, place) = (self.ring(slot.which()), slot.place());
        let head = read_head(ring, place);
        // Asked twice: before its length is believed, and when all is read.
        if head.hash != hash || !ring.holds(place) {
            return None;
        }
        let (from, mut words) = (place + HEAD_WORDS as u64, head.words() - HEAD_WORDS);
        if let Part::Front(octets) = part
            && words > SMALL_WORDS
        {
            words = words.min(octets(ring.words(from)).div_ceil(8));
        }
        ring.copy(from, words, to);
        ring.holds(place).then_some(head)
    }

    /// Puts `payload` under `hash`, in place of the entry that `is_it` knows unless that one came
    /// later. Gives false for one that is not kept: it is too large, or negative where all around is
    /// worth more.
    pub(super) fn insert(
        &self,
        hash: u64,
        payload: &[u8],
        entry: NewEntry,
        now_ms: u64,
        is_it: impl Fn(Head, &[u64]) -> bool,
    ) -> bool {
        let NewEntry { mark, ttl_seconds, stored_ms, is_negative, standing } = entry;
        let Some(payload_octets) =
            u32::try_from(payload.len()).ok().filter(|octets| *octets <= MAX_PAYLOAD_OCTETS)
        else {
            return false;
        };
        let head = Head { payload_octets, mark, ttl_seconds, stored_ms, hash };
        let mut writer = self.lock();
        let known = match self.known(hash, &mut writer.entry, is_it) {
            Known::Whole(_, there) if there.stored_ms > stored_ms => return false,
            Known::Whole(cell, _) | Known::Ghost(cell) => Some(cell),
            Known::No => None,
        };
        let which = match (is_negative, known) {
            (true, _) => Which::Negative,
            // Asked for once more after its time, or after it fell out of the small ring.
            (false, Some(_)) => Which::Main,
            (false, None) if standing.main => Which::Main,
            (false, None) => Which::Small,
        };
        if head.words() as u64 > self.ring(which).capacity() {
            return false;
        }
        (writer.rounds, writer.now_ms) = (MAX_ROUNDS, now_ms);
        match which {
            Which::Small => self.make_room_in_small(head.words(), &mut writer),
            Which::Main | Which::Negative => self.make_room(which, head.words(), &mut writer),
        }
        let vacant = || self.vacant(hash, is_negative, now_ms);
        let Some(cell) = known.or_else(vacant) else { return false };
        writer.entry.clear();
        writer.entry.extend(head.write());
        let (words, rest) = payload.as_chunks();
        writer.entry.extend(words.iter().map(|word| u64::from_ne_bytes(*word)));
        writer.entry.extend((!rest.is_empty()).then(|| word(rest)));
        let slot = self.append(which, tag(hash), &mut writer);
        if !self.is_whole(Slot(cell.load(Ordering::Relaxed))) {
            self.entries.fetch_add(1, Ordering::Relaxed);
        }
        let used = if standing.used { Slot::USED } else { 0 };
        cell.store(slot.0 | used, Ordering::Release);
        true
    }

    /// What is known of the entry that `is_it` knows.
    fn known(
        &self,
        hash: u64,
        scratch: &mut Vec<u64>,
        is_it: impl Fn(Head, &[u64]) -> bool,
    ) -> Known<'_> {
        let mut known = Known::No;
        for cell in self.bucket(hash) {
            let slot = Slot(cell.load(Ordering::Relaxed));
            if slot.tag() != tag(hash) || slot == Slot::EMPTY {
                continue;
            }
            if !self.is_whole(slot) {
                known = Known::Ghost(cell);
            } else if let Some(head) = self.copy(slot, hash, scratch, Part::Whole)
                && is_it(head, scratch)
            {
                return Known::Whole(cell, head);
            }
        }
        known
    }

    /// A cell for a new entry: an empty one, one whose entry is gone, or the least worth keeping;
    /// for a negative entry none that a positive one has.
    fn vacant(&self, hash: u64, is_negative: bool, now_ms: u64) -> Option<&AtomicU64> {
        let slot_of = |cell: &AtomicU64| Slot(cell.load(Ordering::Relaxed));
        let bucket = self.bucket(hash);
        let free = bucket.iter().filter(|cell| !self.is_whole(slot_of(cell)));
        if let Some(cell) = free.min_by_key(|cell| slot_of(cell).place()) {
            return Some(cell);
        }
        let worth = |cell: &&AtomicU64| {
            let slot = slot_of(cell);
            let head = read_head(self.ring(slot.which()), slot.place());
            let use_rank = match (slot.is_used(), slot.which()) {
                _ if !head.is_alive_at(now_ms, self.stale_ms) => 0,
                (false, Which::Negative) => 1,
                (false, Which::Small) => 2,
                (false, Which::Main) => 3,
                (true, Which::Negative) => 4,
                (true, _) => 5,
            };
            (use_rank, head.is_alive_at(now_ms, 0), slot.place())
        };
        let may_go = |cell: &&AtomicU64| {
            let slot = slot_of(cell);
            !is_negative || slot.which() == Which::Negative || worth(cell).0 == 0
        };
        bucket.iter().filter(may_go).min_by_key(worth)
    }

    /// Frees `words` in the small ring; what was used there moves to the main one.
    fn make_room_in_small(&self, words: usize, writer: &mut Writer) {
        // While memory lies idle nothing has to go.
        let is_kept = |slot: Slot, head: Head, writer: &Writer| {
            slot.is_used() || has_room(&self.main, writer.main_head, head.words())
        };
        while !has_room(&self.small, writer.small_head, words) {
            let place = self.small.tail();
            let head = read_head(&self.small, place);
            let entry = self.cell_at(head.hash, Which::Small, place);
            let behind = place + head.words() as u64;
            let is_alive = head.is_alive_at(writer.now_ms, self.stale_ms);
            match entry {
                Some((cell, slot)) if is_alive && is_kept(slot, head, writer) => {
                    self.make_room(Which::Main, head.words(), writer);
                    self.small.copy(place, head.words(), &mut writer.entry);
                    let slot = self.append(Which::Main, slot.tag(), writer);
                    cell.store(slot.0, Ordering::Release);
                }
                // The slot stays: should the name be asked for again, it is known.
                Some(_) => self.forget_one(),
                None => {}
            }
            self.small.free(behind);
        }
    }

    /// Frees `words` in the main or the negative ring; what was used goes another round, so many
    /// entries as `writer.rounds` says at most.
    fn make_room(&self, which: Which, words: usize, writer: &mut Writer) {
        let ring = self.ring(which);
        while !has_room(ring, *writer.head(which), words) {
            let place = ring.tail();
            let head = read_head(ring, place);
            let entry = self.cell_at(head.hash, which, place);
            let behind = place + head.words() as u64;
            let is_alive = head.is_alive_at(writer.now_ms, self.stale_ms);
            match entry {
                Some((cell, slot)) if slot.is_used() && writer.rounds > 0 && is_alive => {
                    writer.rounds -= 1;
                    ring.copy(place, head.words(), &mut writer.entry);
                    ring.free(behind);
                    let slot = self.append(which, slot.tag(), writer);
                    cell.store(slot.0, Ordering::Release);
                }
                Some((cell, _)) => {
                    cell.store(Slot::EMPTY.0, Ordering::Relaxed);
                    self.forget_one();
                    ring.free(behind);
                }
                None => ring.free(behind),
            }
        }
    }

    /// Writes `writer.entry` into a ring, where room was made for it.
    fn append(&self, which: Which, tag: u64, writer: &mut Writer) -> Slot {
        let words = writer.entry.len() as u64;
        let head = writer.head(which);
        let place = *head;
        *head += words;
        self.ring(which).write(place, &writer.entry);
        Slot::new(tag, which, place)
    }

    /// The cell that tells of the entry at `place`, unless it was replaced.
    fn cell_at(&self, hash: u64, which: Which, place: u64) -> Option<(&AtomicU64, Slot)> {
        let slots = self.bucket(hash).iter().map(|cell| (cell, Slot(cell.load(Ordering::Relaxed))));
        let mut slots = slots.filter(|(_, slot)| *slot != Slot::EMPTY);
        slots.find(|(_, slot)| slot.which() == which && slot.place() == place)
    }

    /// Shows `see` each entry that can be found, in the order of their coming in each ring. Holds
    /// the lock for one look at each ring; what is written, moved or removed meanwhile may be
    /// missing, or be shown twice.
    pub(super) fn visit<E>(
        &self,
        mut see: impl FnMut(Found, &[u64]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut payload = Vec::new();
        // What leaves the small ring meanwhile is met in the main one.
        for which in [Which::Small, Which::Main, Which::Negative] {
            let ring = self.ring(which);
            let end = *self.lock().head(which);
            let mut place = ring.tail();
            while place < end {
                let head = read_head(ring, place);
                let Some(behind) = ring.holds(place).then(|| place + head.words() as u64) else {
                    // Overtaken by the writer: on from what is still whole.
                    place = ring.tail();
                    continue;
                };
                if let Some((_, slot)) = self.cell_at(head.hash, which, place)
                    && self.copy(slot, head.hash, &mut payload, Part::Whole).is_some()
                {
                    see(Found { head, standing: slot.standing() }, &payload)?;
                }
                place = behind;
            }
        }
        Ok(())
    }

    fn ring(&self, which: Which) -> &Ring {
        match which {
            Which::Small => &self.small,
            Which::Main => &self.main,
            Which::Negative => &self.negative,
        }
    }

    fn is_whole(&self, slot: Slot) -> bool {
        slot != Slot::EMPTY && slot.place() >= self.ring(slot.which()).tail()
    }

    fn forget_one(&self) {
        self.entries.fetch_sub(1, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        // Who panicked while writing left at worst an entry that nobody finds.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the entry that `is_it` knows; its octets are taken when the ring comes around.
    pub(super) fn remove(&self, hash: u64, is_it: impl Fn(Head, &[u64]) -> bool) {
        let mut writer = self.lock();
        if let Known::Whole(cell, _) = self.known(hash, &mut writer.entry, is_it) {
            cell.store(Slot::EMPTY.0, Ordering::Release);
            self.forget_one();
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        let mut writer = self.lock();
        for which in [Which::Small, Which::Main, Which::Negative] {
            self.ring(which).free(*writer.head(which));
        }
        // Left alone, they would tell of names that had been here. What is zero is not touched, so
        // that it takes no memory.
        let slots = self.index.iter().filter(|cell| cell.load(Ordering::Relaxed) != 0);
        slots.for_each(|cell| cell.store(Slot::EMPTY.0, Ordering::Relaxed));
        self.entries.store(0, Ordering::Relaxed);
    }

    /// Entries that can be found.
    pub(super) fn len(&self) -> usize {
        self.entries.load(Ordering::Relaxed)
    }

    /// Octets of the index and of the entries, those included that were replaced and stand until
    /// their place is needed.
    pub(super) fn octets(&self) -> u64 {
        let mut writer = self.lock();
        let rings = [Which::Small, Which::Main, Which::Negative];
        let used = rings.map(|which| *writer.head(which) - self.ring(which).tail());
        8 * (self.index.len() as u64 + used.iter().sum::<u64>())
    }

    fn bucket(&self, hash: u64) -> &[AtomicU64] {
        // The high half of a product: an even spread over any number of buckets.
        let buckets = (self.index.len() / BUCKET_SLOTS) as u128;
        let bucket = usize::try_from((u128::from(hash) * buckets) >> 64).unwrap_or(0);
        let first = bucket * BUCKET_SLOTS;
        self.index.get(first..first + BUCKET_SLOTS).unwrap_or(&[])
    }
}

/// How much of a payload is copied.
#[derive(Clone, Copy)]
pub(super) enum Part {
    Whole,
    /// As many octets as this makes of the payload's first two words; all where there are few.
    Front(fn([u64; 2]) -> usize),
}

/// Where an entry is that is to be replaced.
enum Known<'a> {
    /// There, whole.
    Whole(&'a AtomicU64, Head),
    /// One has lately fallen out of the small ring that may have been it.
    Ghost(&'a AtomicU64),
    /// Nowhere.
    No,
}

/// Up to eight octets, zeros behind them.
fn word(octets: &[u8]) -> u64 {
    let mut word = [0; 8];
    for (to, octet) in word.iter_mut().zip(octets) {
        *to = *octet;
    }
    u64::from_ne_bytes(word)
}

fn read_head(ring: &Ring, place: u64) -> Head {
    Head::read(ring.words(place))
}

fn has_room(ring: &Ring, head: u64, words: usize) -> bool {
    ring.capacity() - (head - ring.tail()) >= words as u64
}
