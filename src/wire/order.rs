//! The order of an answer section: along the chain, each RRset together, and its signatures behind
//! it. Stub resolvers read the section once from the front: if a CNAME stands behind the records of
//! its target, glibc finds no data.

use super::chain::{Chain, Owner};
use super::constants::Rtype;
use super::message::Record;
use super::u16_at;

/// RRsets at one name that the check tells apart. A section with more of them, such as a reply to
/// ANY, counts as unordered and is sorted.
const MAX_KNOWN_SETS: usize = 8;

/// Where a record belongs: records in order have keys in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Key {
    /// The name on the chain; a DNAME belongs to the first name that it leads on from.
    place: usize,
    /// It stands at that name itself, and not above.
    is_on: bool,
    /// What tells sets of records at that place apart.
    set: usize,
    is_signature: bool,
}

impl Key {
    /// The key of a record that belongs to the chain.
    pub(super) fn new(owner: Owner, record: &Record<'_>, qtype: Rtype, chain: &Chain) -> Self {
        let is_signature = record.rtype == Rtype::RRSIG;
        let covered = u16_at(record.rdata, 0).filter(|_| is_signature).map(Rtype);
        let rtype = covered.unwrap_or(record.rtype);
        match owner {
            Owner::On(place) => {
                let main = if place < chain.links.len() { Rtype::CNAME } else { qtype };
                let set = if rtype == main { 0 } else { 1 + usize::from(rtype.0) };
                Self { place, is_on: true, set, is_signature }
            }
            Owner::Above(place, labels) => Self { place, is_on: false, set: labels, is_signature },
            Owner::Stranger => {
                Self { place: usize::MAX, is_on: true, set: usize::MAX, is_signature }
            }
        }
    }

    /// The key of the CNAME that the DNAME above the name of that number makes.
    pub(super) fn of_made_cname(place: usize) -> Self {
        Self { place, is_on: true, set: 0, is_signature: false }
    }
}

/// Tells while records are walked whether they stand in order.
#[derive(Default)]
pub(super) struct Watch {
    last: Option<Key>,
    /// Sets that were met at the last key's place.
    sets: Vec<usize>,
    is_broken: bool,
    /// A key came that belongs before the one before it.
    is_unsorted: bool,
}

impl Watch {
    pub(super) fn note(&mut self, key: Key) {
        let Some(last) = self.last.replace(key) else {
            self.sets.push(key.set);
            return;
        };
        self.is_unsorted |= key < last;
        if (last.place, last.is_on) != (key.place, key.is_on) {
            self.is_broken |= (last.place, last.is_on) > (key.place, key.is_on);
            self.sets.clear();
            self.sets.push(key.set);
        } else if last.set == key.set {
            self.is_broken |= last.is_signature && !key.is_signature;
        } else {
            self.is_broken |= self.sets.contains(&key.set) || self.sets.len() >= MAX_KNOWN_SETS;
            if !self.is_broken {
                self.sets.push(key.set);
            }
        }
    }

    pub(super) fn is_in_order(&self) -> bool {
        !self.is_broken || !self.is_unsorted
    }
}
