//! Private names inside forwarded answers: the chain is followed, cut where it enters a zone of
//! ours, and ends in our address. Otherwise a public answer could slip past us mid-chain.

use super::private::{self, Owner, Want};
use super::recorder::{Recorder, Step};
use super::reply::{Age, Reply};
use crate::wire::{
    AnswerRef, CLASS_IN, Full, HEADER_OCTETS, Link, QName, Rcode, Record, Rtype, flags, read_name,
};
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
    let dnssec_ok = reply.dnssec_ok();
    let copied = if dnssec_ok {
        copy_signed_links(&mut reply, answer, age, links)
    } else {
        copy_links(&mut reply, answer, age, links)
    };
    let mut written = copied.and_then(|at| {
        let above = target.as_wire().get(..target.label_offset(found.labels)).unwrap_or(&[]);
        private::append(&mut reply, &Owner { at, above_apex: above, found }, want, recorder)
    });
    if dnssec_ok {
        written = written.and_then(|rcode| {
            copy_denials(&mut reply, answer, age, links)?;
            Ok(rcode)
        });
    }
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

/// The same for a client with DO: with all signatures, and with the DNAMEs that made CNAMEs.
#[cold]
fn copy_signed_links(
    reply: &mut Reply<'_>,
    answer: &AnswerRef<'_>,
    age: Age,
    links: usize,
) -> Result<usize, Full> {
    let (mut owner_at, mut target_at) = (HEADER_OCTETS, HEADER_OCTETS);
    for record in answer.link_records(links) {
        if record.rtype == Rtype::CNAME {
            owner_at = target_at;
            let target = name_at(answer, record.rdata_at)?;
            let (pointer, octets) = (private::pointer(owner_at)?, target.as_wire());
            reply.writer.record(
                pointer,
                Rtype::CNAME,
                CLASS_IN,
                age.ttl(record.ttl),
                octets.len(),
            )?;
            target_at = reply.writer.len();
            reply.writer.raw(octets)?;
        } else if record.covers(Rtype::CNAME) {
            let octets = record.rdata.len();
            let pointer = private::pointer(owner_at)?;
            reply.writer.record(pointer, Rtype::RRSIG, CLASS_IN, age.ttl(record.ttl), octets)?;
            reply.writer.raw(record.rdata)?;
        } else {
            copy_whole(reply, answer, age, &record)?;
        }
        reply.answers += 1;
    }
    Ok(target_at)
}

/// Copies the denials that prove the links, behind all answers.
#[cold]
fn copy_denials(
    reply: &mut Reply<'_>,
    answer: &AnswerRef<'_>,
    age: Age,
    links: usize,
) -> Result<(), Full> {
    for record in answer.denials(links) {
        copy_whole(reply, answer, age, &record)?;
        reply.authorities += 1;
    }
    // A reply without a proof that it needs is truncated (RFC 4035 §3.1.3).
    if answer.is_whole() { Ok(()) } else { Err(Full) }
}

/// Copies a DNAME, a denial, or a signature of one, its names uncompressed.
fn copy_whole(
    reply: &mut Reply<'_>,
    answer: &AnswerRef<'_>,
    age: Age,
    record: &Record<'_>,
) -> Result<(), Full> {
    let ttl = age.ttl(record.ttl);
    reply.writer.raw(name_at(answer, record.owner_at)?.as_wire())?;
    if record.rtype == Rtype::DNAME {
        let target = name_at(answer, record.rdata_at)?;
        reply.writer.fixed(record.rtype, CLASS_IN, ttl, target.as_wire().len())?;
        return reply.writer.raw(target.as_wire());
    }
    // Names in the RDATA of the others are never compressed (RFC 4034 §3.1.7, §4.1.1).
    reply.writer.fixed(record.rtype, CLASS_IN, ttl, record.rdata.len())?;
    reply.writer.raw(record.rdata)
}

/// The name at `at` of an answer, where one was read before.
fn name_at(answer: &AnswerRef<'_>, at: usize) -> Result<QName, Full> {
    read_name(answer.message(), at).map(|(name, _)| name).map_err(|_| Full)
}
