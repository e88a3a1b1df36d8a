//! Answers taken apart: what of them is held against which question.
//!
//! A chain of CNAMEs crosses zones, and its end may be a denial, so each link and the end are an
//! answer of their own. Records that could prove nothing about a part's name are left out of it:
//! what a stranger's zone says, however well signed, must not count.

use std::collections::HashSet;
use std::time::{SystemTime, UNIX_EPOCH};

use hickory_proto::dnssec::rdata::{DNSKEY, DNSSECRData, RRSIG};
use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name as HickoryName, RData, Record, RecordType, SerialNumber};
use hickory_proto::serialize::binary::{BinDecodable, BinEncodable};

use super::whole::Whole;
pub(super) use super::whole::signature;
use super::wildcard::{Expansion, NSEC3_INSECURE_ITERATIONS};
use crate::wire::Name;

/// Names that hickory hashes beside those from the asked one up to the zone: the asked one once
/// more, and the wildcard.
const NAMES_BESIDE: usize = 3;

/// An answer to one question, without what does not belong to it.
pub(super) struct Part {
    pub(super) message: Message,
    pub(super) name: HickoryName,
    pub(super) asked: RecordType,
    /// A wildcard gave it: `name` is the wildcard's then.
    pub(super) expansion: Option<Expansion>,
    /// Records that were looked at for it.
    looked_at: usize,
}

impl Part {
    /// What `whole` says of records of one type at `name`.
    pub(super) fn new(whole: &Whole, name: HickoryName, asked: RecordType) -> Self {
        let held_answer = |record: &&Record| {
            signature(record).is_none_or(|signature| is_from_above(signature, &name))
        };
        let mut looked_at = whole.set(&name, asked).count();
        let mut answers: Vec<_> = whole.set(&name, asked).filter(held_answer).cloned().collect();
        let is_positive = answers.iter().any(|record| signature(record).is_none());
        let undone = Expansion::undo(&name, &mut answers, || proofs(whole, &name));
        if !is_positive || undone.is_some() {
            looked_at += whole.proofs().count();
        }
        let (expansion, name) = match undone.filter(|_| is_positive) {
            Some((expansion, wildcard)) => (Some(expansion), wildcard),
            None => (None, name),
        };
        let mut message = Message::response(0, OpCode::Query);
        message.add_query(Query::query(name.clone(), asked));
        message.metadata.response_code =
            if is_positive { ResponseCode::NoError } else { whole.message().response_code };
        if is_positive {
            message.insert_answers(as_set(answers));
        } else {
            message.insert_authorities(proofs(whole, &name));
        }
        Self { message, name, asked, expansion, looked_at }
    }

    /// The same with its first record alone, which says that there are records of that type.
    pub(super) fn shortened(mut self) -> Self {
        self.message.answers.truncate(1);
        self
    }

    /// The name whose records it holds, where a wildcard's stand for them too.
    pub(super) fn stands_for(&self) -> &HickoryName {
        self.expansion.as_ref().map_or(&self.name, Expansion::name)
    }

    /// Whether it has what was asked.
    pub(super) fn is_positive(&self) -> bool {
        !self.message.answers.is_empty()
    }

    /// The signatures over `covered` in the answer section.
    pub(super) fn signatures(&self, covered: RecordType) -> impl Iterator<Item = &RRSIG> {
        let signatures = self.message.answers.iter().filter_map(signature);
        signatures.filter(move |signature| signature.input().type_covered == covered)
    }

    /// The answers of one type.
    pub(super) fn records(&self, rtype: RecordType) -> impl Iterator<Item = &Record> {
        self.message.answers.iter().filter(move |record| record.record_type() == rtype)
    }

    /// The keys in it.
    pub(super) fn keys(&self) -> impl Iterator<Item = &DNSKEY> {
        self.message.answers.iter().filter_map(|record| match &record.data {
            RData::DNSSEC(DNSSECRData::DNSKEY(key)) => Some(key),
            _ => None,
        })
    }

    /// The same keys without signatures; `None` if there are none, or a wildcard gave them.
    pub(super) fn bare_keys(&self) -> Option<Self> {
        let keys = self.records(RecordType::DNSKEY).cloned();
        let mut message = Message::response(0, OpCode::Query);
        message.add_answers(keys);
        let bare = Self::new(&Whole::of(message), self.name.clone(), RecordType::DNSKEY);
        (bare.is_positive() && self.expansion.is_none()).then_some(bare)
    }

    /// Whether a signature is valid at `now` (RFC 4034 §3.1.5).
    pub(super) fn is_in_time(&self, signature: &RRSIG, now: SerialNumber) -> bool {
        let input = signature.input();
        input.sig_inception <= now && now <= input.sig_expiration
    }

    /// How many signatures validation may have to look at.
    pub(super) fn signature_count(&self) -> usize {
        self.message.all_sections().filter(|record| signature(record).is_some()).count()
    }

    /// How many records there are. Each time that hickory asks for a part, all are copied.
    pub(super) fn len(&self) -> usize {
        self.message.answers.len() + self.message.authorities.len()
    }

    /// Steps to make it and to check its signatures: a record that is looked at, or hashed for one
    /// signature.
    pub(super) fn steps(&self) -> usize {
        let signatures = self.message.answers.iter().filter_map(signature).count();
        let hashed = (self.message.answers.len() - signatures) * signatures;
        self.looked_at + hashed
    }

    /// Rounds of hashing that a look at its NSEC3 records may take: each name from the part's up to
    /// the zone's, and a wildcard, with one round more than the zone has iterations. None for
    /// iterations that make a zone unsigned.
    pub(super) fn hash_rounds(&self) -> usize {
        let iterations = self.message.authorities.iter().filter_map(|record| match &record.data {
            RData::DNSSEC(DNSSECRData::NSEC3(denial)) => Some(denial.iterations()),
            _ => None,
        });
        let counted = iterations.filter(|iterations| *iterations <= NSEC3_INSECURE_ITERATIONS);
        let names = usize::from(self.name.num_labels()) + NAMES_BESIDE;
        counted.max().map_or(0, |most| names * (usize::from(most) + 1))
    }
}

/// Records of one type and owner as one set: in canonical order, without duplicates, and with the
/// TTL that is the lowest one (RFC 4034 §6.3, RFC 2181 §5.2). The signatures are behind them.
///
/// hickory sorts them for each signature and key, and compares their TTLs first. In order already,
/// that costs one comparison for each record.
fn as_set(records: Vec<Record>) -> Vec<Record> {
    let (signatures, mut data): (Vec<_>, Vec<_>) =
        records.into_iter().partition(|record| signature(record).is_some());
    let ttl = data.iter().map(|record| record.ttl).min().unwrap_or(0);
    data.iter_mut().for_each(|record| record.ttl = ttl);
    data.sort_by_cached_key(|record| record.data.to_bytes().unwrap_or_default());
    data.dedup_by(|one, other| one.data == other.data);
    data.extend(signatures);
    data
}

/// The SOA of a zone at or above `name`, and signed denials of such a zone, with their signatures.
fn proofs(whole: &Whole, name: &HickoryName) -> Vec<Record> {
    let signed: HashSet<_> = whole
        .proofs()
        .filter_map(|record| {
            let signature = signature(record).filter(|s| is_from_above(s, name))?;
            Some((&record.name, signature.input().type_covered))
        })
        .collect();
    let counts = |owner: &HickoryName, rtype: RecordType| match rtype {
        RecordType::SOA => owner.zone_of(name),
        RecordType::NSEC | RecordType::NSEC3 => signed.contains(&(owner, rtype)),
        _ => false,
    };
    let held = |record: &&Record| match signature(record) {
        Some(signature) => {
            is_from_above(signature, name) && counts(&record.name, signature.input().type_covered)
        }
        None => counts(&record.name, record.record_type()),
    };
    whole.proofs().filter(held).cloned().collect()
}

fn is_from_above(signature: &RRSIG, name: &HickoryName) -> bool {
    signature.input().signer_name.zone_of(name)
}

/// The clock as signatures count it: seconds, modulo 2^32 (RFC 4034 §3.1.5).
pub(super) fn now_seconds() -> SerialNumber {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    SerialNumber::new(u32::try_from(since & u64::from(u32::MAX)).unwrap_or(0))
}

/// How long a signature that ends then is still valid, seconds; 0 if it has expired.
pub(super) fn seconds_left(expiration: SerialNumber) -> u32 {
    let left = expiration.get().wrapping_sub(now_seconds().get());
    // Serial numbers: what lies in the upper half is in the past (RFC 1982).
    if left > u32::MAX / 2 { 0 } else { left }
}

/// A name as hickory has it.
pub(super) fn to_hickory(name: &Name) -> Option<HickoryName> {
    HickoryName::from_bytes(name.as_wire()).ok()
}

/// A name of hickory's as ours.
pub(super) fn from_hickory(name: &HickoryName) -> Option<Name> {
    Name::from_wire(&name.to_bytes().ok()?).ok()
}
