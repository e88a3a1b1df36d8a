//! Answers that a wildcard gave: the name itself must be denied (RFC 4035 §5.3.4, RFC 5155 §8.8).
//!
//! The validator looks at such an answer as one for the wildcard's own name, and at the denial as an
//! answer of its own; here is found which denial that must be. hickory's own check refuses the
//! wildcards of most zones: it wants the wildcard covered, which exists.

use std::collections::HashSet;

use hickory_proto::dnssec::rdata::{DNSSECRData, NSEC, NSEC3, RRSIG};
use hickory_proto::op::{Message, OpCode};
use hickory_proto::rr::{Name as HickoryName, RData, Record};

use super::parts::Part;
use super::whole::{Whole, signature};

/// Above so many iterations an NSEC3 proves nothing, and its zone counts as unsigned (RFC 9276 §3.2).
pub(super) const NSEC3_INSECURE_ITERATIONS: u16 = 100;

/// What was asked for, where a wildcard stood in for it.
pub(super) struct Expansion {
    /// The name that is not there.
    name: HickoryName,
    /// Labels of the wildcard's parent.
    labels: u8,
    /// The zone that signed it.
    zone: HickoryName,
    /// What the answer brought along.
    proofs: Vec<Record>,
}

/// A denial that does what it should, if it validates.
pub(super) struct Denial {
    pub(super) part: Part,
    /// It leaves names out, or is hashed too often: nothing is certain then.
    pub(super) is_weak: bool,
}

impl Expansion {
    /// Turns the `answers` of `name` into those of the wildcard that gave them; `None` where they are
    /// the name's own.
    pub(super) fn undo(
        name: &HickoryName,
        answers: &mut Vec<Record>,
        proofs: impl FnOnce() -> Vec<Record>,
    ) -> Option<(Self, HickoryName)> {
        let labels_of = |s: &RRSIG| s.input().num_labels;
        let fewest = answers.iter().filter_map(signature).min_by_key(|s| labels_of(s))?;
        let (labels, zone) = (labels_of(fewest), fewest.input().signer_name.clone());
        if labels >= name.num_labels() {
            return None;
        }
        let wildcard = name.trim_to(labels.into()).prepend_label("*").ok()?;
        answers.retain(|record| signature(record).is_none_or(|s| labels_of(s) == labels));
        for record in answers {
            record.name = wildcard.clone();
        }
        Some((Self { name: name.clone(), labels, zone, proofs: proofs() }, wildcard))
    }

    /// The name that a wildcard stood in for.
    pub(super) fn name(&self) -> &HickoryName {
        &self.name
    }

    /// The denial of the name: the first one that the zone has signed.
    pub(super) fn denial(&self) -> Option<Denial> {
        let signatures = self.proofs.iter().filter_map(|record| Some((record, signature(record)?)));
        let ours = signatures.filter(|(_, signature)| signature.input().signer_name == self.zone);
        let signed: HashSet<_> =
            ours.map(|(record, s)| (&record.name, s.input().type_covered)).collect();
        let is_signed = |record: &&Record| signed.contains(&(&record.name, record.record_type()));
        let mut hashed = None;
        let denies = |record| Some((record, self.denies(record, &mut hashed)?));
        let (record, is_weak) = self.proofs.iter().filter(is_signed).find_map(denies)?;
        let mut message = Message::response(0, OpCode::Query);
        message.add_answers(self.proofs.iter().cloned());
        let whole = Whole::of(message);
        let part = Part::new(&whole, record.name.clone(), record.record_type());
        Some(Denial { part, is_weak })
    }

    /// Whether a record denies the name, and if so, whether it is weak. `hashed` is the name's hash,
    /// once that has been needed.
    fn denies<'a>(&'a self, record: &'a Record, hashed: &mut Option<Hashed<'a>>) -> Option<bool> {
        match &record.data {
            RData::DNSSEC(DNSSECRData::NSEC(denial)) => {
                self.is_covered(&record.name, denial).then_some(false)
            }
            RData::DNSSEC(DNSSECRData::NSEC3(denial)) => {
                let is_costly = denial.iterations() > NSEC3_INSECURE_ITERATIONS;
                (is_costly || self.is_hash_covered(&record.name, denial, hashed)?)
                    .then_some(is_costly || denial.opt_out())
            }
            _ => None,
        }
    }

    /// Whether the name lies between a denial's owner and the next one (RFC 4034 §4.1.1). The last
    /// one's next is the apex. What the parent says at a cut is not about names below it
    /// (RFC 6840 §4.1).
    fn is_covered(&self, owner: &HickoryName, denial: &NSEC) -> bool {
        let next = denial.next_domain_name();
        let is_cut = denial.is_ancestor_delegation() && owner.zone_of(&self.name);
        !is_cut
            && *owner < self.name
            && (self.name < *next || *next == self.zone)
            && self.zone.zone_of(owner)
            // The name would be there, empty.
            && !self.name.zone_of(next)
            // Below a name that is there, no wildcard from above it counts (RFC 4592 §3.3.1).
            && common_labels(&self.name, owner).max(common_labels(&self.name, next))
                <= usize::from(self.labels)
    }

    /// Whether the hash of the name, or of what it lies below, is between two that follow each other.
    /// All denials of a zone have the same parameters (RFC 5155 §7.1), so the name is hashed once,
    /// and denials with others than the first one say nothing.
    fn is_hash_covered<'a>(
        &self,
        owner: &HickoryName,
        denial: &'a NSEC3,
        hashed: &mut Option<Hashed<'a>>,
    ) -> Option<bool> {
        if owner.base_name() != self.zone {
            return Some(false);
        }
        let (salt, iterations) = (denial.salt(), denial.iterations());
        let hashed = match hashed {
            Some(hashed) => hashed,
            None => {
                let next_closer = self.name.trim_to(usize::from(self.labels) + 1);
                let hash = denial.hash_algorithm().hash(salt, &next_closer, iterations).ok()?;
                hashed.insert(Hashed { salt, iterations, hash: base32_hex(hash.as_ref()) })
            }
        };
        if (hashed.salt, hashed.iterations) != (salt, iterations) {
            return Some(false);
        }
        let begin = owner.iter().next()?.to_ascii_lowercase();
        let (begin, end) = (begin.as_slice(), base32_hex(denial.next_hashed_owner_name()));
        let (hash, end) = (hashed.hash.as_bytes(), end.as_bytes());
        Some(if begin < end { begin < hash && hash < end } else { begin < hash || hash < end })
    }
}

/// The hash of a name by the parameters of a zone.
struct Hashed<'a> {
    salt: &'a [u8],
    iterations: u16,
    /// In base 32.
    hash: String,
}

/// How many labels two names share from the root on.
fn common_labels(one: &HickoryName, other: &HickoryName) -> usize {
    let pairs = one.iter().rev().zip(other.iter().rev());
    pairs.take_while(|(one, other)| one.eq_ignore_ascii_case(other)).count()
}

/// Base 32 with the alphabet that keeps the order, without padding (RFC 5155 §1.3, RFC 4648 §7).
pub(super) fn base32_hex(octets: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
    let (mut text, mut bits, mut count) = (String::new(), 0_u32, 0);
    let mut push = |bits: u32| {
        text.extend(ALPHABET.get((bits & 31) as usize).copied().map(char::from));
    };
    for octet in octets {
        bits = bits << 8 | u32::from(*octet);
        count += 8;
        while count >= 5 {
            count -= 5;
            push(bits >> count);
        }
    }
    if count > 0 {
        push(bits << (5 - count));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_32_as_rfc_4648_has_it() {
        for (octets, expected) in
            [("", ""), ("f", "co"), ("fo", "cpng"), ("foo", "cpnmu"), ("foobar", "cpnmuoj1e8")]
        {
            assert_eq!(base32_hex(octets.as_bytes()), expected);
        }
    }
}
