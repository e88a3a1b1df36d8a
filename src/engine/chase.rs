//! Answers that end in a CNAME: their target is asked too, and both become one answer.
//!
//! Azure's resolver leaves the final address out now and then, without setting TC.

use std::sync::Arc;

use super::splice::{self, Chain};
use crate::forward::Failure;
use crate::upstream::Flaw;
use crate::wire::{
    Answer, AnswerRef, Full, MAX_LINKS, MAX_MESSAGE_OCTETS, Malformed, MessageWriter, Name,
    Question, Rcode, Record, RecordCopier, Rtype, Section, flags,
};
use crate::zones::Zones;

/// Answers that are fetched behind the first one: each brings a link at least, and an answer with
/// more links than that is none ([`MAX_LINKS`]).
pub(super) const MAX_HOPS: usize = MAX_LINKS;

/// The failure for a chain that does not end within the limit. Clients would take its first links
/// alone for an answer without addresses.
pub(super) const ENDLESS: Failure = Failure::Unusable(Flaw::Endless);

/// Tells which code validates the names that a chain leads to.
#[derive(Clone, Copy)]
pub(super) enum Hops<'a> {
    /// Each name's own rule says whether it is validated.
    ByTheirRules,
    /// The caller judges the whole chain, so all of it is asked for with signatures.
    JudgedByCaller {
        /// Upstreams that are asked last, by number.
        avoid: &'a [u64],
    },
}

impl<'a> Hops<'a> {
    pub(super) fn avoid(self) -> &'a [u64] {
        match self {
            Self::ByTheirRules => &[],
            Self::JudgedByCaller { avoid } => avoid,
        }
    }
}

/// The name that must be asked next when `answer` stops at a CNAME: it holds neither what was asked
/// nor a SOA that says there is none, and its target is not ours.
pub(super) fn next(zones: &Zones, question: &Question, answer: &AnswerRef<'_>) -> Option<Name> {
    let chased = !matches!(question.qtype, Rtype::CNAME | Rtype::ANY | Rtype::RRSIG);
    if !chased || !answer.has_links() || answer.rcode() != Rcode::NOERROR {
        return None;
    }
    if answer.negative_ttl().is_some() {
        return None;
    }
    let ends = answer
        .records()
        .take_while(|record| record.section == Section::Answer)
        .any(|record| record.rtype == question.qtype);
    if ends {
        return None;
    }
    match splice::follow(zones, answer) {
        Chain::Elsewhere(last) => last.map(|last| last.to_name()),
        Chain::Ours { .. } => None,
    }
}

/// `first` with `rest`, which answers what `first` led to, behind it. Fails where both are a chain
/// of more links than an answer may hold, or do not fit into a message.
pub(super) fn join(
    question: &Question,
    first: &AnswerRef<'_>,
    rest: &AnswerRef<'_>,
) -> Result<Answer, Failure> {
    let mut out = Vec::with_capacity(first.message().len() + rest.message().len());
    let both_authentic = first.header().flags & rest.header().flags & flags::AD;
    let word = flags::QR | both_authentic | (rest.rcode().0 & flags::RCODE);
    let mut counts = [1, 0, 0, 0];
    let mut writer = MessageWriter::begin(&mut out, MAX_MESSAGE_OCTETS, 0, word);
    let mut question_octets = question.qname.as_wire().to_vec();
    question_octets.extend(question.qtype.0.to_be_bytes());
    question_octets.extend(question.qclass.to_be_bytes());
    writer.raw(&question_octets).map_err(|Full| Failure::Garbled)?;
    let mut copier = RecordCopier::new(question.qname.as_wire());
    // A wildcard's CNAME needs its denials (RFC 4035 §5.3.4); what else the first says of zones is
    // not about the end.
    let any = |_: Rtype| true;
    let proves = |rtype: Rtype| matches!(rtype, Rtype::NSEC | Rtype::NSEC3 | Rtype::RRSIG);
    let parts: [(_, _, usize, &dyn Fn(Rtype) -> bool); 4] = [
        (first, Section::Answer, 1, &any),
        (rest, Section::Answer, 1, &any),
        (first, Section::Authority, 2, &proves),
        (rest, Section::Authority, 2, &any),
    ];
    for (from, section, place, belongs) in parts {
        let in_section = |record: &Record<'_>| record.section == section && belongs(record.rtype);
        for record in from.records().filter(in_section) {
            copier
                .copy(&mut writer, from.message(), &record)
                .map_err(|Malformed| Failure::Garbled)?;
            if let Some(count) = counts.get_mut(place) {
                *count += 1;
            }
        }
    }
    writer.set_counts(counts);
    let joined = Answer::parse_endless(&out, question).map_err(|_| Failure::Garbled)?;
    if joined.is_endless() { Err(Failure::Endless(Arc::new(joined))) } else { Ok(joined) }
}

/// Joins `first` and what `answer_to` returns for the name that `first` ends at, as a worker does.
/// For the fuzz target `chain`.
#[cfg(fuzzing)]
pub fn chase_once(
    zones: &Zones,
    question: &Question,
    first: &AnswerRef<'_>,
    answer_to: impl FnOnce(&Question) -> Option<Answer>,
) -> Option<Result<Answer, Failure>> {
    let next = Question { qname: next(zones, question, first)?, ..question.clone() };
    let rest = answer_to(&next)?;
    Some(join(question, first, &rest.borrowed()))
}
