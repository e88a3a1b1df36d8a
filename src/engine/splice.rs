//! Private names inside forwarded answers: the chain is followed, cut where it enters a zone of
//! ours, and ends in our address. Otherwise a public answer could slip past us mid-chain.

use super::private::{self, Owner, Want};
use super::recorder::{Recorder, Step};
use super::reply::Reply;
use crate::wire::{
    Answer, CLASS_IN, Full, QName, Rcode, Record, Rtype, Section, flags, read_name, u16_at,
};
use crate::zones::{Found, Zones};

/// CNAMEs that one answer may hold; resolvers give up between 8 and 17. A longer chain could hide a
/// name of ours, so it is an error and not passed on.
const MAX_LINKS: usize = 16;
/// Where the question's name begins.
const QNAME_AT: usize = crate::wire::HEADER_OCTETS;

/// A CNAME of an answer, with the signature that stands right behind it.
#[derive(Clone, Copy)]
struct Link<'a> {
    cname: Record<'a>,
    signature: Option<Record<'a>>,
}

/// The CNAMEs of an answer, in its order.
struct Links<'a> {
    links: [Option<Link<'a>>; MAX_LINKS],
}

/// Where a chain leads.
pub(super) enum Chain<'z> {
    /// It never enters a zone of ours; its last name, and how many CNAMEs lead there.
    Elsewhere { last: QName, links: usize },
    /// It enters one of ours behind so many CNAMEs.
    Ours { links: usize, target: QName, found: Found<'z> },
    /// It goes in circles, or is longer than we follow.
    Endless,
}

/// Follows the CNAMEs of `answer` from `qname` on.
pub(super) fn follow<'z>(zones: &'z Zones, answer: &Answer, qname: &QName) -> Chain<'z> {
    let Some(all) = Links::collect(answer) else { return Chain::Endless };
    let mut last = qname.clone();
    for links in 0..=MAX_LINKS {
        let Some((_, target)) = all.from(answer, &last) else {
            return Chain::Elsewhere { last, links };
        };
        if let Some(found) = zones.find(&target).filter(Found::is_ours) {
            return Chain::Ours { links: links + 1, target, found };
        }
        last = target;
    }
    Chain::Endless
}

impl<'a> Links<'a> {
    /// `None` when there are more than we follow. Walks the answer section once, so that thousands
    /// of records cost no more than a copy.
    fn collect(answer: &'a Answer) -> Option<Self> {
        let mut links = [None; MAX_LINKS];
        let mut count = 0;
        let mut behind_cname = false;
        for record in answer.records().take_while(|record| record.section == Section::Answer) {
            if record.rtype == Rtype::CNAME {
                *links.get_mut(count)? = Some(Link { cname: record, signature: None });
                count += 1;
            } else if behind_cname
                && record.rtype == Rtype::RRSIG
                && u16_at(record.rdata, 0) == Some(Rtype::CNAME.0)
                && let Some(Some(link)) = links.get_mut(count - 1)
            {
                link.signature = Some(record);
            }
            behind_cname = record.rtype == Rtype::CNAME;
        }
        Some(Self { links })
    }

    /// The CNAME at `owner` and its target.
    fn from(&self, answer: &Answer, owner: &QName) -> Option<(Link<'a>, QName)> {
        let at = |place| read_name(answer.message(), place).map(|(name, _)| name);
        let mut links = self.links.iter().flatten();
        let link = links.find(|link| {
            at(link.cname.owner_at).is_ok_and(|name| name.as_wire() == owner.as_wire())
        })?;
        Some((*link, at(link.cname.rdata_at).ok()?))
    }
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
    let all = Links::collect(answer).ok_or(Full)?;
    let mut owner = qname.clone();
    let mut owner_at = QNAME_AT;
    for _ in 0..links {
        let (link, target) = all.from(answer, &owner).ok_or(Full)?;
        let pointer = private::pointer(owner_at)?;
        let writer = &mut reply.writer;
        let ttl = link.cname.ttl.saturating_sub(age_seconds);
        writer.raw(&pointer)?;
        writer.fixed(Rtype::CNAME, CLASS_IN, ttl, target.as_wire().len())?;
        owner_at = writer.len();
        writer.raw(target.as_wire())?;
        reply.answers += 1;
        if let Some(signature) = link.signature {
            // Names in it are never compressed (RFC 4034 §3.1.7).
            let ttl = signature.ttl.saturating_sub(age_seconds);
            writer.raw(&pointer)?;
            writer.fixed(Rtype::RRSIG, CLASS_IN, ttl, signature.rdata.len())?;
            writer.raw(signature.rdata)?;
            reply.answers += 1;
        }
        owner = target;
    }
    Ok(owner_at)
}
