//! Records that a reply holds twice (RFC 2181 §5: a set has each record once).

use std::hash::{BuildHasher, Hasher};

use foldhash::quality::RandomState;

use super::message::{Header, Malformed, Record, Records, compressed_names, each_label};
use super::name::MAX_NAME_OCTETS;

/// What is known of one record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Print {
    /// Of section, owner, type and RDATA.
    hash: u64,
    /// The caller's number for the record.
    index: usize,
    owner_at: usize,
}

/// Collects records of one message, and finds duplicates. Two records are equal if two hashes agree
/// whose keys no sender knows, so the cost is one reading of the names and one sort. The letter case
/// of names does not count (RFC 4343 §3): a rewritten reply has its owners in lower case.
pub(super) struct Duplicates<'m> {
    message: &'m [u8],
    state: RandomState,
    prints: Vec<Print>,
    /// The last owner as it was spelt, and its hash.
    owner: (&'m [u8], u64),
}

impl<'m> Duplicates<'m> {
    pub(super) fn new(message: &'m [u8]) -> Self {
        Self { message, state: RandomState::default(), prints: Vec::new(), owner: (&[], 0) }
    }

    /// Notes a record under the caller's number. The numbers must grow.
    pub(super) fn note(&mut self, index: usize, record: &Record<'_>) {
        let spelt = record.owner_octets(self.message);
        if self.owner.0 != spelt {
            self.owner = (spelt, hash_of_owner(&self.state, self.message, record));
        }
        let hash = hash_of(&self.state, self.message, record, self.owner.1);
        self.prints.push(Print { hash, index, owner_at: record.owner_at });
    }

    /// The numbers of the records that another one stands for, in order.
    pub(super) fn find(mut self) -> Vec<usize> {
        let mut found = Vec::new();
        if self.prints.len() < 2 {
            return found;
        }
        self.prints.sort_unstable();
        let other = RandomState::default();
        for alike in self.prints.chunk_by(|a, b| a.hash == b.hash) {
            let Some((first, others)) = alike.split_first().filter(|(_, rest)| !rest.is_empty())
            else {
                continue;
            };
            let first = self.second_hash(&other, first);
            let is_same = |print: &&Print| self.second_hash(&other, print) == first;
            found.extend(others.iter().filter(is_same).map(|print| print.index));
        }
        found.sort_unstable();
        found
    }

    fn second_hash(&self, state: &RandomState, print: &Print) -> Option<u64> {
        let one = Header { answers: 1, authorities: 0, additionals: 0, ..Header::EMPTY };
        let record = Records::new(self.message, &one, print.owner_at).next()?.ok()?;
        let owner = hash_of_owner(state, self.message, &record);
        Some(hash_of(state, self.message, &record, owner))
    }
}

fn hash_of_owner(state: &RandomState, message: &[u8], record: &Record<'_>) -> u64 {
    let mut hasher = state.build_hasher();
    // `relevance` has read the owner before, so this does not fail.
    let _end = hash_name(&mut hasher, message, record.owner_at);
    hasher.finish()
}

/// Hashes the name at `at` in lower case, all at once, because a name may have 127 labels. Returns
/// where the octets behind it begin.
fn hash_name(hasher: &mut impl Hasher, message: &[u8], at: usize) -> Result<usize, Malformed> {
    let (mut octets, mut len) = ([0; MAX_NAME_OCTETS], 0);
    let end = each_label(message, at, |label| {
        if let Some(to) = octets.get_mut(len..len + label.len()) {
            to.copy_from_slice(label);
            len += label.len();
        }
    })?;
    // The root's octet is there already. No length octet is a letter.
    let name = octets.get_mut(..=len).unwrap_or_default();
    name.make_ascii_lowercase();
    hasher.write(name);
    Ok(end)
}

/// The hash of a record whose owner has the hash `owner`, the names in its RDATA uncompressed.
fn hash_of(state: &RandomState, message: &[u8], record: &Record<'_>, owner: u64) -> u64 {
    let mut hasher = state.build_hasher();
    hasher.write_u64(owner);
    hasher.write_u32(u32::from(record.rtype.0) << 2 | record.section as u32);
    let Some((fixed, names)) = compressed_names(record) else {
        hasher.write(record.rdata);
        return hasher.finish();
    };
    hasher.write(record.rdata.get(..fixed).unwrap_or(&[]));
    let mut at = record.rdata_at + fixed;
    for _ in 0..names {
        let Ok(end) = hash_name(&mut hasher, message, at) else { break };
        at = end;
    }
    hasher.write(message.get(at..record.end()).unwrap_or(&[]));
    hasher.finish()
}
