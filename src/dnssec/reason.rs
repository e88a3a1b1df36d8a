//! Why something does not validate: the validator tells only that it does not.

use std::collections::HashSet;

use hickory_proto::dnssec::rdata::DNSSECRData;
use hickory_proto::rr::{RData, Record, RecordType, SerialNumber};

use super::Source;
use super::clerk::{Clerk, Missing};
use super::parts::{Part, now_seconds, signature};
use crate::forward::{Failure, Unproven};
use crate::wire::Ede;

/// A verdict, in words.
pub(super) fn bogus(ede: Ede, text: impl AsRef<str>) -> Failure {
    Failure::Bogus(unproven(ede, text.as_ref()))
}

/// Turns missing keys into a failure: bogus if the answer makes validation cost too much, and no
/// verdict if no upstream gave the keys.
pub(super) fn lacking(missing: &Missing) -> Failure {
    let ede = Ede::DnssecIndeterminate;
    match missing {
        Missing::Unanswered(what) => Failure::Unvalidated(unproven(ede, what)),
        Missing::Unaffordable(what) => Failure::Bogus(unproven(ede, what)),
    }
}

fn unproven(ede: Ede, text: &str) -> Unproven {
    Unproven { ede, text: format!("DNSSEC: {text}").into() }
}

/// Why `part` does not validate.
pub(super) fn why<S: Source>(part: &Part, clerk: &Clerk<'_, S>) -> Failure {
    if let Some(missing) = clerk.missing() {
        return lacking(missing);
    }
    let now = now_seconds();
    let Part { name, asked, message, .. } = part;
    let records = if part.is_positive() { &message.answers } else { &message.authorities };
    let denials = [RecordType::NSEC, RecordType::NSEC3];
    if !part.is_positive() && !records.iter().any(|record| denials.contains(&record.record_type()))
    {
        return bogus(Ede::NsecMissing, format!("no proof that there is no {name} {asked}"));
    }
    if let Some(why) = unsigned(records).or_else(|| untimely(records, now)) {
        return why;
    }
    for brought in clerk.brought() {
        let answers = &brought.message.answers;
        if let Some(why) = untimely(answers, now) {
            return why;
        }
        let no_keys = brought.asked == RecordType::DNSKEY && !brought.is_positive();
        if no_keys {
            return bogus(Ede::DnskeyMissing, format!("zone {} has no keys", brought.name));
        }
    }
    if part.is_positive() {
        bogus(Ede::DnssecBogus, format!("the signature of {name} {asked} does not validate"))
    } else {
        bogus(Ede::DnssecBogus, format!("it is not proven that there is no {name} {asked}"))
    }
}

/// A record set without any signature.
fn unsigned(records: &[Record]) -> Option<Failure> {
    let signatures = records.iter().filter_map(|record| Some((&record.name, signature(record)?)));
    let signed: HashSet<_> =
        signatures.map(|(name, signature)| (name, signature.input().type_covered)).collect();
    let mut data = records.iter().filter(|record| signature(record).is_none());
    let bare = data.find(|record| !signed.contains(&(&record.name, record.record_type())))?;
    let (name, rtype) = (&bare.name, bare.record_type());
    Some(bogus(Ede::RrsigsMissing, format!("{name} {rtype} is not signed, but its zone is")))
}

/// Signatures that are all past their time, or all before it.
fn untimely(records: &[Record], now: SerialNumber) -> Option<Failure> {
    let signatures = || records.iter().filter_map(|record| Some((record, signature(record)?)));
    let (first, signature) = signatures().next()?;
    let (name, rtype) = (&first.name, signature.input().type_covered);
    if signatures().all(|(_, signature)| signature.input().sig_expiration < now) {
        let text = format!("the signature of {name} {rtype} has expired");
        return Some(bogus(Ede::SignatureExpired, text));
    }
    if signatures().all(|(_, signature)| signature.input().sig_inception > now) {
        let text = format!("the signature of {name} {rtype} is not valid yet");
        return Some(bogus(Ede::SignatureNotYetValid, text));
    }
    None
}

/// Whether a denial leaves names out (RFC 5155 §6): then nothing is said of them for certain.
pub(super) fn opts_out(record: &Record) -> bool {
    matches!(&record.data, RData::DNSSEC(DNSSECRData::NSEC3(denial)) if denial.opt_out())
}
