//! How an entry and the slot that tells of it look in memory.

/// Where a slot's bits of the hash begin.
const TAG_SHIFT: u32 = 51;
/// Where a slot names the ring.
const RING_SHIFT: u32 = 48;
/// Words before an entry's payload: [`Head`].
pub(super) const HEAD_WORDS: usize = 3;
/// What the head's 24 bits can say: far above a message of 64 KiB with its tables.
pub(super) const MAX_PAYLOAD_OCTETS: u32 = (1 << 24) - 1;

/// Which ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Which {
    /// What is new.
    Small,
    /// What was asked for again.
    Main,
    /// What says that there is nothing.
    Negative,
}

/// Where an entry stands, in one word: 13 bits of its hash, one for whether it was used, two for
/// the ring, 48 for the place. Places begin at 1, so an empty slot is 0. (2^48 words are three years
/// of 100,000 insertions a second.)
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(pub(super) u64);

impl Slot {
    pub(super) const EMPTY: Self = Self(0);
    pub(super) const USED: u64 = 1 << 50;
    const PLACE: u64 = (1 << RING_SHIFT) - 1;

    pub(super) fn new(tag: u64, which: Which, place: u64) -> Self {
        let ring = match which {
            Which::Small => 0,
            Which::Main => 1,
            Which::Negative => 2,
        };
        Self(tag << TAG_SHIFT | ring << RING_SHIFT | place & Self::PLACE)
    }

    pub(super) fn tag(self) -> u64 {
        self.0 >> TAG_SHIFT
    }

    pub(super) fn which(self) -> Which {
        match self.0 >> RING_SHIFT & 3 {
            0 => Which::Small,
            1 => Which::Main,
            _ => Which::Negative,
        }
    }

    pub(super) fn place(self) -> u64 {
        self.0 & Self::PLACE
    }

    pub(super) fn is_used(self) -> bool {
        self.0 & Self::USED != 0
    }

    /// What eviction knows of its use.
    pub(super) fn standing(self) -> Standing {
        Standing { main: self.which() == Which::Main, used: self.is_used() }
    }
}

/// The bits of a hash that a slot keeps: the low ones, for the high ones choose the bucket.
pub(super) fn tag(hash: u64) -> u64 {
    hash & (u64::MAX >> TAG_SHIFT)
}

/// What is known of an entry's use.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Standing {
    /// It was asked for again after its time, or was used in the small ring until it left it.
    pub(super) main: bool,
    /// It was found since it came into its ring, or to its end and around.
    pub(super) used: bool,
}

/// What stands before an entry's payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Head {
    /// Octets of the payload; 24 bits count.
    pub(super) payload_octets: u32,
    /// The caller's.
    pub(super) mark: u8,
    /// For how long it holds, seconds.
    pub(super) ttl_seconds: u32,
    /// When it was stored, by the caller's clock.
    pub(super) stored_ms: u64,
    /// Of its key.
    pub(super) hash: u64,
}

impl Head {
    pub(super) fn write(self) -> [u64; HEAD_WORDS] {
        let first = u64::from(self.payload_octets)
            | u64::from(self.mark) << 24
            | u64::from(self.ttl_seconds) << 32;
        [first, self.stored_ms, self.hash]
    }

    #[allow(clippy::cast_possible_truncation, reason = "fields of a word")]
    pub(super) fn read([first, stored_ms, hash]: [u64; HEAD_WORDS]) -> Self {
        Self {
            payload_octets: first as u32 & MAX_PAYLOAD_OCTETS,
            mark: (first >> 24) as u8,
            ttl_seconds: (first >> 32) as u32,
            stored_ms,
            hash,
        }
    }

    /// Words of the entry, these included.
    pub(super) fn words(self) -> usize {
        HEAD_WORDS + (self.payload_octets as usize).div_ceil(8)
    }

    /// Whether it is worth its memory at `now_ms`: it holds, or is past its time for less than
    /// `stale_ms`.
    pub(super) fn is_alive_at(self, now_ms: u64, stale_ms: u64) -> bool {
        let lasts_ms = (u64::from(self.ttl_seconds) * 1_000).saturating_add(stale_ms);
        now_ms < self.stored_ms.saturating_add(lasts_ms)
    }
}

/// What a caller says of an entry beside its key and payload.
#[derive(Clone, Copy)]
pub(super) struct NewEntry {
    pub(super) mark: u8,
    pub(super) ttl_seconds: u32,
    pub(super) stored_ms: u64,
    /// It says that there is nothing: it may take the place of its like only.
    pub(super) is_negative: bool,
    /// Of its use before it was read from a file; the default for what is new.
    pub(super) standing: Standing,
}

/// What was found, and what had been known of its use until then.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub(super) head: Head,
    pub(super) standing: Standing,
}
