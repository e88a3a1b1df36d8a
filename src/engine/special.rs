//! Answers for special names, which no upstream is asked for.

use std::net::Ipv6Addr;
use std::sync::Arc;

use super::private::{append_soa, pointer};
use super::recorder::{Recorder, Silent, SpecialReason, Step};
use super::reply::Reply;
use super::snapshot::Snapshot;
use super::{Outcome, Transport, Verdict};
use crate::forward::Rule;
use crate::special::{Contents, Found, Scope};
use crate::wire::{CLASS_IN, Full, HEADER_OCTETS, QName, Query, Question, Rcode, Rtype, flags};

/// TTL of all records and MINIMUM of the SOA. RFC 6303 §3 has three hours as its example. With five
/// minutes, clients soon see a zone that the operator has just named in a rule, and asking again
/// costs a decision alone.
const TTL_SECONDS: u32 = 300;
/// The only name that points to loopback addresses (RFC 6303 §3).
const LOCALHOST: &[u8] = b"\x09localhost\x00";

impl Snapshot {
    /// Returns the rule that a question of our own goes by; `None` if no upstream may be asked.
    pub(super) fn rule_for(&self, question: &Question) -> Option<&Arc<Rule>> {
        let qname = QName::from(&question.qname);
        let is_special = self.zones.find(&qname).is_none()
            && answered(self, &qname, question.qtype, &mut Silent).is_some();
        if is_special { None } else { self.rules.find(&qname) }
    }
}

/// Returns the special zone by which `qname`, a name of no private-link zone, is answered here;
/// `None` if it goes the way of all other names.
#[inline]
pub(super) fn answered<'a, R: Recorder>(
    snapshot: &'a Snapshot,
    qname: &QName,
    qtype: Rtype,
    recorder: &mut R,
) -> Option<Found<'a>> {
    let found = snapshot.special.find(qname)?;
    is_answered(snapshot, &found, qname, qtype, recorder).then_some(found)
}

#[cold]
#[inline(never)]
fn is_answered<R: Recorder>(
    snapshot: &Snapshot,
    found: &Found<'_>,
    qname: &QName,
    qtype: Rtype,
    recorder: &mut R,
) -> bool {
    let rule = snapshot.rules.find(qname);
    // The parent has the DS: a validator needs its proof that the zone is not signed (RFC 8375 §4).
    // Top-level domains of the table have no delegation, so there is nothing to prove.
    if qtype == Rtype::DS
        && found.labels == 0
        && found.zone.name.label_count() > 1
        && rule.is_some()
    {
        return false;
    }
    let because = match (found.scope, rule) {
        (Scope::Nowhere, _) => SpecialReason::Nowhere,
        // Nothing is sent anywhere, and who asks may have another server to ask.
        (Scope::Site, None) => return false,
        (Scope::Site, Some(rule)) if rule.leads_outside() => SpecialReason::Outside,
        (Scope::Site, Some(_)) => SpecialReason::Inside,
    };
    recorder.note(|| Step::Special {
        zone: found.zone.name.to_string(),
        source: found.zone.source.to_owned(),
        because,
        outside: rule.filter(|_| because == SpecialReason::Outside).and_then(|rule| rule.outside()),
    });
    because != SpecialReason::Inside
}

/// Writes what `query` gets, whose name is special. The zone is ours, as RFC 6303 §3 has it: a SOA
/// and a NS, and nothing is signed.
pub(super) fn answer(
    snapshot: &Snapshot,
    query: &Query<'_>,
    transport: Transport,
    found: &Found<'_>,
    out: &mut Vec<u8>,
) -> Verdict {
    let mut reply = Reply::begin(query, transport, out);
    match append(&mut reply, snapshot, query, found) {
        Ok(rcode) => reply.finish(flags::AA, rcode, None, &[]),
        // All of it fits into 512 octets.
        Err(Full) => {
            reply.truncate();
            reply.finish(flags::AA | flags::TC, Rcode::NOERROR, None, &[]);
        }
    }
    Verdict::Reply(Outcome::Special)
}

fn append(
    reply: &mut Reply<'_>,
    snapshot: &Snapshot,
    query: &Query<'_>,
    found: &Found<'_>,
) -> Result<Rcode, Full> {
    let (qname, qtype) = (&query.qname, query.qtype);
    let is_apex = found.labels == 0;
    let apex_at = HEADER_OCTETS + qname.label_offset(found.labels);
    if has_localhost_for(found, qname) && matches!(qtype, Rtype::PTR | Rtype::ANY) {
        return one_record(reply, Rtype::PTR, LOCALHOST);
    }
    match (found.zone.contents, qtype) {
        (Contents::Loopback, Rtype::A | Rtype::ANY) => {
            return one_record(reply, Rtype::A, &[127, 0, 0, 1]);
        }
        (Contents::Loopback, Rtype::AAAA) => {
            return one_record(reply, Rtype::AAAA, &Ipv6Addr::LOCALHOST.octets());
        }
        (_, Rtype::NS) if is_apex => return one_record(reply, Rtype::NS, &pointer(apex_at)?),
        _ => {}
    }
    append_soa(reply, apex_at, TTL_SECONDS)?;
    if is_apex && matches!(qtype, Rtype::SOA | Rtype::ANY) {
        reply.answers += 1;
        return Ok(Rcode::NOERROR);
    }
    reply.authorities += 1;
    Ok(if exists(snapshot, found, qname) { Rcode::NOERROR } else { Rcode::NXDOMAIN })
}

/// Appends the one record that answers the question. ANY gets one RRset (RFC 8482 §4.1).
fn one_record(reply: &mut Reply<'_>, rtype: Rtype, rdata: &[u8]) -> Result<Rcode, Full> {
    let owner = pointer(HEADER_OCTETS)?;
    reply.writer.record(owner, rtype, CLASS_IN, TTL_SECONDS, rdata.len())?;
    reply.writer.raw(rdata)?;
    reply.answers += 1;
    Ok(Rcode::NOERROR)
}

/// Whether `qname` is the reverse name of 127.0.0.1 or ::1.
fn has_localhost_for(found: &Found<'_>, qname: &QName) -> bool {
    match found.zone.contents {
        Contents::LoopbackV6 => found.labels == 0,
        Contents::LoopbackV4 => found.labels == 3 && is_begin_of_127_0_0_1(qname, 3),
        Contents::Nothing | Contents::EmptyNames | Contents::Loopback => false,
    }
}

/// Whether the first `labels` labels of `qname` are the last ones of `1.0.0`.
fn is_begin_of_127_0_0_1(qname: &QName, labels: usize) -> bool {
    let wanted = [&b"1"[..], b"0", b"0"];
    let wanted = wanted.iter().skip(wanted.len().saturating_sub(labels));
    labels <= 3 && wanted.enumerate().all(|(index, label)| qname.label(index) == *label)
}

/// Whether the name is there, be it only because another name lies below it (RFC 8020).
fn exists(snapshot: &Snapshot, found: &Found<'_>, qname: &QName) -> bool {
    let holds = match found.zone.contents {
        Contents::EmptyNames | Contents::Loopback => true,
        Contents::LoopbackV4 => is_begin_of_127_0_0_1(qname, found.labels),
        Contents::Nothing | Contents::LoopbackV6 => false,
    };
    holds
        || found.labels == 0
        || snapshot.special.has_below(qname)
        || snapshot.zones.has_below(qname)
}
