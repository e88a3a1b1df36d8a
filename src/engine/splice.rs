//! Private names inside forwarded answers: the chain is followed, cut where it enters a zone of
//! ours, and ends in our address. Otherwise a public answer could slip past us mid-chain.

use super::private::{self, Owner, Want};
use super::recorder::{Recorder, Step};
use super::reply::Reply;
use crate::wire::{
    Answer, CLASS_IN, Full, QName, Rcode, Record, Rtype, Section, flags, read_name, u16_at,
};
use crate::zones::{Found, Zones};

/// CNAMEs followed in one answer; resolvers give up between 8 and 17. A longer chain could hide a
/// name of ours, so it is an error and not passed on.
const MAX_LINKS: usize = 16;
/// Where the question's name begins.
const QNAME_AT: usize = crate::wire::HEADER_OCTETS;

/// Where a chain leads.
pub(super) enum Chain<'z> {
    /// It never enters a zone of ours; its last name, and whether there was a CNAME at all.
    Elsewhere { last: QName, links: usize },
    /// It enters one of ours behind so many CNAMEs.
    Ours { links: usize, target: QName, found: Found<'z> },
    /// It goes in circles, or is longer than we follow.
    Endless,
}

/// Follows the CNAMEs of `answer` from `qname` on.
pub(super) fn follow<'z>(zones: &'z Zones, answer: &Answer, qname: &QName) -> Chain<'z> {
    let mut last = qname.clone();
    for links in 0..=MAX_LINKS {
        let Some(target) = cname_target(answer, &last) else {
            return Chain::Elsewhere { last, links };
        };
        if let Some(found) = zones.find(&target).filter(Found::is_ours) {
            return Chain::Ours { links: links + 1, target, found };
        }
        last = target;
    }
    Chain::Endless
}

fn cname_target(answer: &Answer, owner: &QName) -> Option<QName> {
    let record = answers_of(answer, owner).find(|record| record.rtype == Rtype::CNAME)?;
    read_name(answer.message(), record.rdata_at).ok().map(|(target, _)| target)
}

fn answers_of<'a>(
    answer: &'a Answer,
    owner: &'a QName,
) -> impl Iterator<Item = Record<'a>> + use<'a> {
    answer.records().take_while(|record| record.section == Section::Answer).filter(|record| {
        read_name(answer.message(), record.owner_at)
            .is_ok_and(|(name, _)| name.as_wire() == owner.as_wire())
    })
}

/// Writes the chain up to `target` and our own answer behind it.
pub(super) fn write<R: Recorder>(
    mut reply: Reply<'_>,
    qname: &QName,
    answer: &Answer,
    age_seconds: u32,
    cut: (usize, &QName, Found<'_>),
    want: Want,
    recorder: &mut R,
) {
    let (links, target, found) = cut;
    recorder.note(|| Step::Cut { at: target.to_string() });
    let written = copy_links(&mut reply, qname, answer, age_seconds, links).and_then(|at| {
        let above = target.as_wire().get(..target.label_offset(found.labels)).unwrap_or(&[]);
        private::append(&mut reply, &Owner { at, above_apex: above, found }, want, recorder)
    });
    match written {
        Ok(rcode) => reply.finish(0, rcode, private::why(rcode), &[]),
        Err(Full) => {
            reply.truncate();
            reply.finish(flags::TC, Rcode::NOERROR, None, &[]);
        }
    }
}

/// Copies `links` CNAMEs with their signatures. Gives where the last target begins.
fn copy_links(
    reply: &mut Reply<'_>,
    qname: &QName,
    answer: &Answer,
    age_seconds: u32,
    links: usize,
) -> Result<usize, Full> {
    let mut owner = qname.clone();
    let mut owner_at = QNAME_AT;
    for _ in 0..links {
        let target = cname_target(answer, &owner).ok_or(Full)?;
        let pointer = private::pointer(owner_at)?;
        let mut target_at = None;
        for record in answers_of(answer, &owner) {
            let ttl = record.ttl.saturating_sub(age_seconds);
            let writer = &mut reply.writer;
            if record.rtype == Rtype::CNAME && target_at.is_none() {
                writer.raw(&pointer)?;
                writer.fixed(Rtype::CNAME, CLASS_IN, ttl, target.as_wire().len())?;
                target_at = Some(writer.len());
                writer.raw(target.as_wire())?;
                reply.answers += 1;
            } else if record.rtype == Rtype::RRSIG
                && u16_at(record.rdata, 0) == Some(Rtype::CNAME.0)
            {
                // Names in it are never compressed (RFC 4034 §3.1.7).
                writer.raw(&pointer)?;
                writer.fixed(Rtype::RRSIG, CLASS_IN, ttl, record.rdata.len())?;
                writer.raw(record.rdata)?;
                reply.answers += 1;
            }
        }
        owner_at = target_at.ok_or(Full)?;
        owner = target;
    }
    Ok(owner_at)
}
