//! Private names inside forwarded answers: the chain is followed, cut where it enters a zone of
//! ours, and ends in our address. Otherwise a public answer could slip past us mid-chain.

use super::private::{self, Owner, Want};
use super::recorder::{Recorder, Step};
use super::reply::{Age, Reply};
use crate::wire::{AnswerRef, CLASS_IN, Full, HEADER_OCTETS, Link, QName, Rcode, Rtype, flags};
use crate::zones::{Found, Zones};

/// Where a chain leads.
pub(super) enum Chain<'z> {
    /// It never enters a zone of ours; its last name, where there is a CNAME at all.
    Elsewhere(Option<QName>),
    /// It enters one of ours behind so many CNAMEs.
    Ours { links: usize, target: QName, found: Found<'z> },
}

/// Where the CNAMEs of `answer` lead who asks for `qtype`; `None` without any.
pub(super) fn chain<'z>(
    zones: &'z Zones,
    qtype: Rtype,
    answer: &AnswerRef<'_>,
) -> Option<Chain<'z>> {
    // CNAME asks for the link itself, not for where it leads.
    (answer.has_links() && qtype != Rtype::CNAME).then(|| follow(zones, answer))
}

/// Follows the CNAMEs of `answer` from its question on.
pub(super) fn follow<'z>(zones: &'z Zones, answer: &AnswerRef<'_>) -> Chain<'z> {
    let mut last = None;
    for (index, Link { target, .. }) in answer.links().enumerate() {
        if let Some(found) = zones.find(&target).filter(Found::is_ours) {
            return Chain::Ours { links: index + 1, target, found };
        }
        last = Some(target);
    }
    Chain::Elsewhere(last)
}

/// Behind how many CNAMEs of `answer` who asks for `qtype` comes to a name of ours, if they do.
pub(super) fn links_to_us(zones: &Zones, qtype: Rtype, answer: &AnswerRef<'_>) -> Option<usize> {
    match chain(zones, qtype, answer)? {
        Chain::Ours { links, .. } => Some(links),
        Chain::Elsewhere(_) => None,
    }
}

/// Whether a chain ends with us, whatever the upstream says of its end.
pub(super) fn leads_to_us(zones: &Zones, qtype: Rtype, answer: &AnswerRef<'_>) -> bool {
    matches!(chain(zones, qtype, answer), Some(Chain::Ours { .. }))
}

/// Writes the chain up to `target` and our own answer behind it.
pub(super) fn write<R: Recorder>(
    mut reply: Reply<'_>,
    answer: &AnswerRef<'_>,
    age: Age,
    cut: (usize, &QName, Found<'_>),
    want: Want,
    recorder: &mut R,
) {
    let (links, target, found) = cut;
    recorder.note(|| Step::Cut { at: target.to_string() });
    let written = copy_links(&mut reply, answer, age, links).and_then(|at| {
        let above = target.as_wire().get(..target.label_offset(found.labels)).unwrap_or(&[]);
        private::append(&mut reply, &Owner { at, above_apex: above, found }, want, recorder)
    });
    match written {
        Ok(rcode) => reply.finish(0, rcode, age.why(rcode).or(private::why(rcode)), &[]),
        Err(Full) => {
            reply.truncate();
            reply.finish(flags::TC, Rcode::NOERROR, None, &[]);
        }
    }
}

/// Copies `links` CNAMEs with their signatures. Gives where the last target begins.
fn copy_links(
    reply: &mut Reply<'_>,
    answer: &AnswerRef<'_>,
    age: Age,
    links: usize,
) -> Result<usize, Full> {
    let mut owner_at = HEADER_OCTETS;
    for Link { cname, signature, target } in answer.links().take(links) {
        let pointer = private::pointer(owner_at)?;
        let writer = &mut reply.writer;
        let ttl = age.ttl(cname.ttl);
        writer.record(pointer, Rtype::CNAME, CLASS_IN, ttl, target.as_wire().len())?;
        owner_at = writer.len();
        writer.raw(target.as_wire())?;
        reply.answers += 1;
        if let Some(signature) = signature {
            // Names in it are never compressed (RFC 4034 §3.1.7).
            let ttl = age.ttl(signature.ttl);
            writer.record(pointer, Rtype::RRSIG, CLASS_IN, ttl, signature.rdata.len())?;
            writer.raw(signature.rdata)?;
            reply.answers += 1;
        }
    }
    Ok(owner_at)
}
