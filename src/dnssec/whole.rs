//! An answer as hickory reads it, and where its records stand.
//!
//! An answer can hold 4,000 records, and each of its names and types is looked at by itself. So it is
//! sorted once by owner and type. An answer with more records than any honest zone sends is refused
//! before other code reads it.

use std::collections::{BTreeSet, HashMap};

use hickory_proto::dnssec::rdata::{DNSSECRData, RRSIG};
use hickory_proto::op::Message;
use hickory_proto::rr::{Name as HickoryName, RData, Record, RecordType};

use super::canonical::canonicalize;
use crate::wire::{AnswerRef, Rtype, Section, read_name};

/// Signatures in one answer. A chain of 16 CNAMEs has one or two for each link, and up to three
/// denials for each wildcard.
pub(super) const MAX_SIGNATURES_OF_ANSWER: usize = 256;
/// SOA, NSEC and NSEC3 records in the authority section. A denial takes one SOA and up to three
/// others, and each of 16 links can need as many.
pub(super) const MAX_PROOFS: usize = 64;
/// Types in the bit maps of an answer: 64 for each of its proofs. One octet of a map stands for
/// eight types, and hickory keeps each as an entry of a tree, so 64 KiB would become 500,000 entries.
pub(super) const MAX_MAPPED_TYPES: usize = 64 * MAX_PROOFS;
/// Types that an answer to ANY may have at one name: the apex of a signed zone has some 20.
pub(super) const MAX_TYPES: usize = 64;

const CSYNC: u16 = 62;
/// Octets before the salt of NSEC3, and before the bit map of CSYNC (RFC 5155 §3.2, RFC 7477 §2.1).
const NSEC3_FIXED_OCTETS: usize = 4;
const CSYNC_FIXED_OCTETS: usize = 6;

/// An answer, sorted by owner and type.
pub(super) struct Whole {
    message: Message,
    /// The answer section: which records there are of an owner and a type, by number, with the
    /// signatures that cover them.
    sets: HashMap<(HickoryName, RecordType), Vec<usize>>,
    /// The same owners with their types.
    types: HashMap<HickoryName, BTreeSet<RecordType>>,
    /// The authority section: records that prove what there is not, by number, with the signatures
    /// over them.
    proofs: Vec<usize>,
}

/// Why an answer is not looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unfit {
    /// hickory cannot read it.
    Undecodable,
    /// It has more of this than any honest answer.
    TooMany(&'static str),
}

impl Unfit {
    /// In words; `of` says which answer, and begins with a blank if it says anything.
    pub(super) fn text(self, of: &str) -> String {
        match self {
            Self::Undecodable => format!("the answer{of} cannot be decoded"),
            Self::TooMany(what) => format!("too many {what} in the answer{of}"),
        }
    }
}

impl Whole {
    /// Reads an answer.
    pub(super) fn read(answer: &AnswerRef<'_>) -> Result<Self, Unfit> {
        check(answer)?;
        let octets = answer.message();
        let mut message = Message::from_vec(octets).map_err(|_| Unfit::Undecodable)?;
        let mut records = answer.records();
        let decoded = message.answers.iter_mut().chain(&mut message.authorities);
        for (decoded, record) in decoded.zip(records.by_ref()) {
            canonicalize(decoded, octets, &record);
        }
        let whole = Self::of(message);
        // A name has few types, or is an attack: each type is judged by itself.
        if whole.types.values().any(|types| types.len() > MAX_TYPES) && is_any(answer) {
            return Err(Unfit::TooMany("types"));
        }
        Ok(whole)
    }

    /// Sorts a message of our own.
    pub(super) fn of(message: Message) -> Self {
        let (mut sets, mut types) = (HashMap::<_, Vec<usize>>::new(), HashMap::new());
        for (place, record) in message.answers.iter().enumerate() {
            let rtype = covered(record);
            sets.entry((record.name.clone(), rtype)).or_default().push(place);
            if signature(record).is_none() {
                let of_name: &mut BTreeSet<_> = types.entry(record.name.clone()).or_default();
                of_name.insert(rtype);
            }
        }
        let proves = |record: &Record| {
            matches!(covered(record), RecordType::SOA | RecordType::NSEC | RecordType::NSEC3)
        };
        let authorities = message.authorities.iter().enumerate();
        let proofs = authorities.filter(|(_, record)| proves(record)).map(|(place, _)| place);
        let proofs = proofs.collect();
        Self { message, sets, types, proofs }
    }

    pub(super) fn message(&self) -> &Message {
        &self.message
    }

    /// How many records there are.
    pub(super) fn len(&self) -> usize {
        self.message.answers.len() + self.message.authorities.len()
    }

    /// The records of a type at `name` in the answer section, and the signatures over them.
    pub(super) fn set(
        &self,
        name: &HickoryName,
        rtype: RecordType,
    ) -> impl Iterator<Item = &Record> {
        let places = self.sets.get(&(name.clone(), rtype)).into_iter().flatten();
        places.filter_map(|place| self.message.answers.get(*place))
    }

    /// All sets of the answer section, each with the numbers of its records.
    pub(super) fn sets(&self) -> impl Iterator<Item = (&HickoryName, RecordType, &[usize])> {
        self.sets.iter().map(|((name, rtype), places)| (name, *rtype, places.as_slice()))
    }

    /// The types that `name` has in the answer section, signatures aside.
    pub(super) fn types(&self, name: &HickoryName) -> impl Iterator<Item = RecordType> {
        self.types.get(name).into_iter().flatten().copied()
    }

    /// SOA, NSEC and NSEC3 records of the authority section, and the signatures over them.
    pub(super) fn proofs(&self) -> impl Iterator<Item = &Record> + Clone {
        self.proofs.iter().filter_map(|place| self.message.authorities.get(*place))
    }
}

/// The signature that a record is.
pub(super) fn signature(record: &Record) -> Option<&RRSIG> {
    match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(signature)) => Some(signature),
        _ => None,
    }
}

/// The type of a record, or the one that it signs.
fn covered(record: &Record) -> RecordType {
    signature(record).map_or_else(|| record.record_type(), |s| s.input().type_covered)
}

fn is_any(answer: &AnswerRef<'_>) -> bool {
    let kind = answer.question().last_chunk::<4>();
    kind.is_some_and(|[high, low, ..]| Rtype(u16::from_be_bytes([*high, *low])) == Rtype::ANY)
}

/// Counts what an answer holds, before hickory decodes it.
fn check(answer: &AnswerRef<'_>) -> Result<(), Unfit> {
    let (mut signatures, mut proofs, mut mapped) = (0, 0, 0);
    for record in answer.records() {
        let is_denial = record.rtype == Rtype::NSEC || record.rtype == Rtype::NSEC3;
        if record.rtype == Rtype::RRSIG {
            signatures += 1;
        } else if record.section == Section::Authority && (is_denial || record.rtype == Rtype::SOA)
        {
            proofs += 1;
        }
        if is_denial || record.rtype.0 == CSYNC {
            mapped += mapped_types(answer, &record);
        }
        if signatures > MAX_SIGNATURES_OF_ANSWER {
            return Err(Unfit::TooMany("signatures"));
        }
        if proofs > MAX_PROOFS {
            return Err(Unfit::TooMany("proofs"));
        }
        if mapped > MAX_MAPPED_TYPES {
            return Err(Unfit::TooMany("types in bit maps"));
        }
    }
    Ok(())
}

/// How many types the bit map of a record names; a record without a readable one has none.
fn mapped_types(answer: &AnswerRef<'_>, record: &crate::wire::Record<'_>) -> usize {
    let rdata = record.rdata;
    let length_at = |at: usize| rdata.get(at).map(|length| usize::from(*length));
    let map_at = match record.rtype {
        Rtype(CSYNC) => Some(CSYNC_FIXED_OCTETS),
        // Salt and hash stand before it, each behind its length.
        Rtype::NSEC3 => length_at(NSEC3_FIXED_OCTETS).and_then(|salt| {
            let hash_at = NSEC3_FIXED_OCTETS + 1 + salt;
            Some(hash_at + 1 + length_at(hash_at)?)
        }),
        _ => read_name(answer.message(), record.rdata_at)
            .ok()
            .and_then(|(_, end)| end.checked_sub(record.rdata_at)),
    };
    let mut rest = map_at.and_then(|at| rdata.get(at..)).unwrap_or(&[]);
    let mut types = 0;
    // Each window: its number, its length, its bits (RFC 4034 §4.1.2).
    while let [_, length, behind @ ..] = rest {
        let Some((bits, next)) = behind.split_at_checked(usize::from(*length)) else { break };
        types += bits.iter().map(|octet| octet.count_ones() as usize).sum::<usize>();
        rest = next;
    }
    types
}
