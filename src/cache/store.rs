//! Entries in memory of a fixed size: an index of slots over two rings.
//!
//! What stands here is found without a lock and without a write that another thread could notice,
//! but for the first use of an entry, which sets one bit. Entries are kept by S3-FIFO (Yang et al.,
//! "FIFO queues are all you need for cache eviction", SOSP 2023): new ones enter the small ring,
//! those that were used while there move to the main ring, where use earns another round. A flood
//! of names that nobody asks for twice passes through the small ring and leaves the main one alone.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::ring::Ring;

/// Slots in a bucket: two cache lines, which processors fetch as a pair. With eight, one entry in ten
/// would find its bucket full of others worth keeping while half of the index is empty.
const BUCKET_SLOTS: usize = 16;
/// The index's share of the memory: two slots for an entry of 176 octets.
const INDEX_SHARE: usize = 12;
/// The small ring's share of the rest, as the paper has it.
const SMALL_SHARE: usize = 10;
/// Second rounds that one insertion grants at most, so that its time has a bound. The next entry
/// goes, used or not.
const MAX_ROUNDS: u32 = 32;
/// Where a slot's bits of the hash begin.
const TAG_SHIFT: u32 = 50;
/// Words before an entry's payload: [`Head`].
const HEAD_WORDS: usize = 3;
/// What the head's 24 bits can say: far above a message of 64 KiB with its tables.
const MAX_PAYLOAD_OCTETS: u32 = (1 << 24) - 1;

/// Which ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Which {
    Small,
    Main,
}

/// Where an entry stands, in one word: 14 bits of its hash, one for whether it was used, one for
/// the ring, 48 for the place. Places begin at 1, so an empty slot is 0. (2^48 words are three years
/// of 100,000 insertions a second.)
#[derive(Clone, Copy, PartialEq, Eq)]
struct Slot(u64);

impl Slot {
    const EMPTY: Self = Self(0);
    const USED: u64 = 1 << 49;
    const MAIN: u64 = 1 << 48;
    const PLACE: u64 = Self::MAIN - 1;

    fn new(tag: u64, which: Which, place: u64) -> Self {
        let ring = if which == Which::Main { Self::MAIN } else { 0 };
        Self(tag << TAG_SHIFT | ring | place & Self::PLACE)
    }

    fn tag(self) -> u64 {
        self.0 >> TAG_SHIFT
    }

    fn which(self) -> Which {
        if self.0 & Self::MAIN == 0 { Which::Small } else { Which::Main }
    }

    fn place(self) -> u64 {
        self.0 & Self::PLACE
    }

    fn is_used(self) -> bool {
        self.0 & Self::USED != 0
    }
}

/// What stands before an entry's payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Head {
    /// Octets of the payload; 24 bits count.
    payload_octets: u32,
    /// The caller's.
    pub(super) mark: u8,
    /// For how long it holds, seconds.
    pub(super) ttl_seconds: u32,
    /// When it was stored, by the caller's clock.
    pub(super) stored_ms: u64,
    /// Of its key.
    hash: u64,
}

impl Head {
    fn write(self) -> [u64; HEAD_WORDS] {
        let first = u64::from(self.payload_octets)
            | u64::from(self.mark) << 24
            | u64::from(self.ttl_seconds) << 32;
        [first, self.stored_ms, self.hash]
    }

    #[allow(clippy::cast_possible_truncation, reason = "fields of a word")]
    fn read([first, stored_ms, hash]: [u64; HEAD_WORDS]) -> Self {
        Self {
            payload_octets: first as u32 & MAX_PAYLOAD_OCTETS,
            mark: (first >> 24) as u8,
            ttl_seconds: (first >> 32) as u32,
            stored_ms,
            hash,
        }
    }

    /// Words of the entry, these included.
    fn words(self) -> usize {
        HEAD_WORDS + (self.payload_octets as usize).div_ceil(8)
    }

    /// Whether it still holds at `now_ms`.
    pub(super) fn holds_at(self, now_ms: u64) -> bool {
        now_ms < self.stored_ms.saturating_add(u64::from(self.ttl_seconds) * 1_000)
    }
}

/// What a caller says of an entry beside its key and payload.
#[derive(Clone, Copy)]
pub(super) struct NewEntry {
    pub(super) mark: u8,
    pub(super) ttl_seconds: u32,
    pub(super) stored_ms: u64,
}

/// Memory for entries, all of it spoken for at the start and touched as it is used.
pub(super) struct Store {
    index: Box<[AtomicU64]>,
    small: Ring,
    main: Ring,
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
    /// An entry on its way.
    entry: Vec<u64>,
}

impl Store {
    /// A store of at most `octets`; `None` when the system does not give so much.
    pub(super) fn new(octets: usize) -> Option<Self> {
        let words = octets / 8;
        let slots = words / INDEX_SHARE / BUCKET_SLOTS * BUCKET_SLOTS;
        let small = (words - slots) / SMALL_SHARE;
        let store = Self {
            index: bytemuck::allocation::try_zeroed_slice_box(slots).ok()?,
            small: Ring::new(small)?,
            main: Ring::new(words - slots - small)?,
            hasher: foldhash::quality::RandomState::default(),
            writer: Mutex::new(Writer { small_head: 1, main_head: 1, entry: Vec::new() }),
            entries: AtomicUsize::new(0),
        };
        store.small.free(1);
        store.main.free(1);
        Some(store)
    }

    /// The hash of a key. Drawn anew by each process, so that nobody outside can aim at a bucket.
    pub(super) fn hash(&self, key: impl std::hash::Hash) -> u64 {
        self.hasher.hash_one(key)
    }

    /// Copies the payload of the entry under `hash` that `is_it` knows into `to`, in place of what
    /// stood there. Takes no lock.
    pub(super) fn find(
        &self,
        hash: u64,
        to: &mut Vec<u64>,
        is_it: impl Fn(Head, &[u64]) -> bool,
    ) -> Option<Head> {
        for cell in self.bucket(hash) {
            // Pairs with the store of the slot: who sees it sees the entry.
            let slot = Slot(cell.load(Ordering::Acquire));
            if slot.tag() != tag(hash) || slot == Slot::EMPTY {
                continue;
            }
            let Some(head) = self.copy(slot, hash, to).filter(|head| is_it(*head, to)) else {
                continue;
            };
            if !slot.is_used() {
                // Lost when the slot has changed meanwhile: then there is nothing to mark.
                let (relaxed, used) = (Ordering::Relaxed, slot.0 | Slot::USED);
                let _lost = cell.compare_exchange(slot.0, used, relaxed, relaxed);
            }
            return Some(head);
        }
        None
    }

    /// Copies the payload of the entry that `slot` tells of, if it is one under `hash` and still
    /// whole.
    fn copy(&self, slot: Slot, hash: u64, to: &mut Vec<u64>) -> Option<Head> {
        let (ring, place) = (self.ring(slot.which()), slot.place());
        let head = read_head(ring, place);
        // Asked twice: before its length is believed, and when all is read.
        if head.hash != hash || !ring.holds(place) {
            return None;
        }
        to.clear();
        ring.copy(place + HEAD_WORDS as u64, head.words() - HEAD_WORDS, to);
        ring.holds(place).then_some(head)
    }

    /// Puts `payload` under `hash`, in place of the entry that `is_it` knows. Gives false for one
    /// that is too large.
    pub(super) fn insert(
        &self,
        hash: u64,
        payload: &[u8],
        entry: NewEntry,
        is_it: impl Fn(Head, &[u64]) -> bool,
    ) -> bool {
        let NewEntry { mark, ttl_seconds, stored_ms } = entry;
        let Some(payload_octets) =
            u32::try_from(payload.len()).ok().filter(|octets| *octets <= MAX_PAYLOAD_OCTETS)
        else {
            return false;
        };
        let head = Head { payload_octets, mark, ttl_seconds, stored_ms, hash };
        let mut writer = self.lock();
        // Asked for once more after its time, or after it fell out of the small ring.
        let known = self.known(hash, &mut writer.entry, is_it);
        let which = if known.is_some() { Which::Main } else { Which::Small };
        if head.words() as u64 > self.ring(which).capacity() {
            return false;
        }
        let mut rounds = MAX_ROUNDS;
        match which {
            Which::Small => {
                self.make_room_in_small(head.words(), stored_ms, &mut rounds, &mut writer)
            }
            Which::Main => {
                self.make_room_in_main(head.words(), stored_ms, &mut rounds, &mut writer)
            }
        }
        writer.entry.clear();
        writer.entry.extend(head.write());
        writer.entry.extend(payload.chunks(8).map(word));
        let Some(cell) = known.or_else(|| self.vacant(hash)) else { return false };
        let slot = self.append(which, tag(hash), &mut writer);
        if !self.is_whole(Slot(cell.load(Ordering::Relaxed))) {
            self.entries.fetch_add(1, Ordering::Relaxed);
        }
        cell.store(slot.0, Ordering::Release);
        true
    }

    /// The cell of the entry that `is_it` knows, or of one that has lately fallen out of the small
    /// ring and may have been it.
    fn known(
        &self,
        hash: u64,
        scratch: &mut Vec<u64>,
        is_it: impl Fn(Head, &[u64]) -> bool,
    ) -> Option<&AtomicU64> {
        let mut ghost = None;
        for cell in self.bucket(hash) {
            let slot = Slot(cell.load(Ordering::Relaxed));
            if slot.tag() != tag(hash) || slot == Slot::EMPTY {
                continue;
            }
            if !self.is_whole(slot) {
                ghost = ghost.or(Some(cell));
            } else if self.copy(slot, hash, scratch).is_some_and(|head| is_it(head, scratch)) {
                return Some(cell);
            }
        }
        ghost
    }

    /// A cell for a new entry: an empty one, one whose entry is gone, or the least worth keeping.
    fn vacant(&self, hash: u64) -> Option<&AtomicU64> {
        let worth = |cell: &&AtomicU64| {
            let slot = Slot(cell.load(Ordering::Relaxed));
            let rank = match (slot.is_used(), slot.which()) {
                _ if !self.is_whole(slot) => u8::from(slot != Slot::EMPTY),
                (false, Which::Small) => 2,
                (false, Which::Main) => 3,
                (true, _) => 4,
            };
            (rank, slot.place())
        };
        self.bucket(hash).iter().min_by_key(worth)
    }

    /// Frees `words` in the small ring; what was used there moves to the main one.
    fn make_room_in_small(&self, words: usize, now_ms: u64, rounds: &mut u32, writer: &mut Writer) {
        // While memory lies idle nothing has to go.
        let is_kept = |slot: Slot, head: Head, writer: &Writer| {
            slot.is_used() || has_room(&self.main, writer.main_head, head.words())
        };
        while !has_room(&self.small, writer.small_head, words) {
            let place = self.small.tail();
            let head = read_head(&self.small, place);
            let entry = self.cell_at(head.hash, Which::Small, place);
            let behind = place + head.words() as u64;
            match entry {
                Some((cell, slot)) if head.holds_at(now_ms) && is_kept(slot, head, writer) => {
                    self.make_room_in_main(head.words(), now_ms, rounds, writer);
                    writer.entry.clear();
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

    /// Frees `words` in the main ring; what was used goes another round, `rounds` entries at most.
    fn make_room_in_main(&self, words: usize, now_ms: u64, rounds: &mut u32, writer: &mut Writer) {
        while !has_room(&self.main, writer.main_head, words) {
            let place = self.main.tail();
            let head = read_head(&self.main, place);
            let entry = self.cell_at(head.hash, Which::Main, place);
            let behind = place + head.words() as u64;
            match entry {
                Some((cell, slot)) if slot.is_used() && *rounds > 0 && head.holds_at(now_ms) => {
                    *rounds -= 1;
                    writer.entry.clear();
                    self.main.copy(place, head.words(), &mut writer.entry);
                    self.main.free(behind);
                    let slot = self.append(Which::Main, slot.tag(), writer);
                    cell.store(slot.0, Ordering::Release);
                }
                Some((cell, _)) => {
                    cell.store(Slot::EMPTY.0, Ordering::Relaxed);
                    self.forget_one();
                    self.main.free(behind);
                }
                None => self.main.free(behind),
            }
        }
    }

    /// Writes `writer.entry` into a ring, where room was made for it.
    fn append(&self, which: Which, tag: u64, writer: &mut Writer) -> Slot {
        let head = match which {
            Which::Small => &mut writer.small_head,
            Which::Main => &mut writer.main_head,
        };
        let place = *head;
        *head += writer.entry.len() as u64;
        self.ring(which).write(place, &writer.entry);
        Slot::new(tag, which, place)
    }

    /// The cell that tells of the entry at `place`, unless it was replaced.
    fn cell_at(&self, hash: u64, which: Which, place: u64) -> Option<(&AtomicU64, Slot)> {
        let slots = self.bucket(hash).iter().map(|cell| (cell, Slot(cell.load(Ordering::Relaxed))));
        let mut slots = slots.filter(|(_, slot)| *slot != Slot::EMPTY);
        slots.find(|(_, slot)| slot.which() == which && slot.place() == place)
    }

    fn ring(&self, which: Which) -> &Ring {
        match which {
            Which::Small => &self.small,
            Which::Main => &self.main,
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

    /// Forgets everything.
    pub(super) fn clear(&self) {
        let writer = self.lock();
        self.small.free(writer.small_head);
        self.main.free(writer.main_head);
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
        let writer = self.lock();
        let used = writer.small_head - self.small.tail() + writer.main_head - self.main.tail();
        8 * (self.index.len() as u64 + used)
    }

    fn bucket(&self, hash: u64) -> &[AtomicU64] {
        // The high half of a product: an even spread over any number of buckets.
        let buckets = (self.index.len() / BUCKET_SLOTS) as u128;
        let bucket = usize::try_from((u128::from(hash) * buckets) >> 64).unwrap_or(0);
        let first = bucket * BUCKET_SLOTS;
        self.index.get(first..first + BUCKET_SLOTS).unwrap_or(&[])
    }
}

/// The bits of a hash that a slot keeps: the low ones, for the high ones choose the bucket.
fn tag(hash: u64) -> u64 {
    hash & (u64::MAX >> TAG_SHIFT)
}

fn word(octets: &[u8]) -> u64 {
    let mut word = [0; 8];
    for (to, octet) in word.iter_mut().zip(octets) {
        *to = *octet;
    }
    u64::from_ne_bytes(word)
}

fn read_head(ring: &Ring, place: u64) -> Head {
    Head::read([ring.word(place), ring.word(place + 1), ring.word(place + 2)])
}

fn has_room(ring: &Ring, head: u64, words: usize) -> bool {
    ring.capacity() - (head - ring.tail()) >= words as u64
}
