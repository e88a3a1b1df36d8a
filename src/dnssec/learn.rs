//! Takes proofs about zones out of a verdict: the keys of the zones on the way, or that one of them
//! is unsigned.
//!
//! hickory returns its verdict on an answer, and not on the keys that it checked for it. So this
//! module asks hickory again, about each zone, within the same round. hickory's own memory answers
//! then, and checks no signature twice.

use std::sync::Arc;

use hickory_proto::op::{DnsRequest, DnsRequestOptions, Message, OpCode, Query};
use hickory_proto::rr::rdata::{NS, NULL};
use hickory_proto::rr::{Name as HickoryName, RData, Record, RecordType};
use hickory_resolver::net::DnsHandle;
use hickory_resolver::net::dnssec::DnssecDnsHandle;
use hickory_resolver::net::xfer::FirstAnswer;

use super::clerk::{Clerk, Desk};
use super::known::{Clocks, Proven};
use super::parts::{Part, from_hickory, seconds_left, signature, to_hickory};
use super::whole::Whole;
use super::{Security, Source};
use crate::wire::Name;

/// Longest that a zone counts as unsigned, seconds: as any denial (RFC 2308 §5).
const MAX_UNSIGNED_SECONDS: u32 = 3_600;
/// The type of a record that no zone has (RFC 6895 §3.1: for private use).
const NO_TYPE: u16 = 65_280;

/// Keeps the proofs of `handle` about the zones on the way from the anchor's zone, `top`, to
/// `part`.
pub(super) async fn learn<S: Source>(
    part: &Part,
    security: Security,
    handle: &DnssecDnsHandle<Desk>,
    top: &Name,
    clerk: &mut Clerk<'_, S>,
) {
    let Some(name) = from_hickory(&part.name) else { return };
    for zone in clerk.held_above(&name, RecordType::DNSKEY) {
        learn_keys(&zone, handle, top, clerk).await;
    }
    if security != Security::Insecure {
        return;
    }
    for zone in clerk.held_above(&name, RecordType::DS) {
        if learn_unsigned(&zone, handle, top, clerk).await.is_some() {
            return;
        }
    }
}

/// Notes the keys of `zone` if they are held and proven: for their TTL, that of the digests that
/// name them, and while the keys of the zone above count, whichever ends first.
async fn learn_keys<S: Source>(
    zone: &Name,
    handle: &DnssecDnsHandle<Desk>,
    top: &Name,
    clerk: &mut Clerk<'_, S>,
) -> Option<()> {
    let held = &clerk.held(zone, RecordType::DNSKEY)?.part;
    if held.signature_count() == 0 {
        return None;
    }
    let keys = held.bare_keys()?;
    let above = left_above(zone, top, clerk)?;
    let mut ttl_seconds = secure_ttl(zone, RecordType::DNSKEY, handle, clerk).await?.min(above);
    if zone != top {
        ttl_seconds = ttl_seconds.min(secure_ttl(zone, RecordType::DS, handle, clerk).await?);
    }
    let proven = Proven::Keys(Arc::new(keys));
    clerk.session().known().learn(zone.clone(), proven, ttl_seconds, Clocks::read());
    Some(())
}

/// Notes that nothing signs `zone` if that is proven: a record there without a signature is fine.
async fn learn_unsigned<S: Source>(
    zone: &Name,
    handle: &DnssecDnsHandle<Desk>,
    top: &Name,
    clerk: &mut Clerk<'_, S>,
) -> Option<()> {
    // The anchor says that its zone is signed.
    if zone == top {
        return None;
    }
    let above = left_above(zone, top, clerk)?;
    let ttl_seconds = denial_ttl(&clerk.held(zone, RecordType::DS)?.part.message)?.min(above);
    let age_seconds = clerk.age_seconds(zone, RecordType::DS);
    let name = to_hickory(zone)?;
    let no_type = RecordType::from(NO_TYPE);
    // The question presumes that a zone begins here; the denial must show it.
    let begins = RData::NS(NS(HickoryName::root()));
    let unsigned = RData::Unknown { code: no_type, rdata: NULL::new() };
    for (rtype, data) in [(RecordType::NS, begins), (no_type, unsigned)] {
        let mut message = Message::response(0, OpCode::Query);
        message.add_answer(Record::from_rdata(name.clone(), 0, data));
        let part = Part::new(&Whole::of(message), name.clone(), rtype);
        if !clerk.put(Arc::new(part)) {
            return None;
        }
    }
    let request = request(name, no_type);
    let judged = clerk.serve_off_duty(handle.send(request).first_answer()).await.ok()?;
    let mut records = judged.answers.iter();
    records.next().filter(|record| record.proof.is_insecure())?;
    let ttl_seconds = ttl_seconds.saturating_sub(age_seconds);
    clerk.session().known().learn(zone.clone(), Proven::Unsigned, ttl_seconds, Clocks::read());
    Some(())
}

/// Returns how long the proof of the zone above still holds, seconds; `None` if there is none.
fn left_above<S: Source>(zone: &Name, top: &Name, clerk: &mut Clerk<'_, S>) -> Option<u32> {
    if zone == top {
        return Some(u32::MAX);
    }
    let path = clerk.session().path(&zone.parent()?, top);
    let above = path.last()?;
    matches!(above.proven, Proven::Keys(_)).then_some(above.left_seconds)
}

/// Returns how long the held records of a type at `zone` are valid, seconds; `None` unless all of
/// them are secure.
async fn secure_ttl<S: Source>(
    zone: &Name,
    rtype: RecordType,
    handle: &DnssecDnsHandle<Desk>,
    clerk: &mut Clerk<'_, S>,
) -> Option<u32> {
    let request = request(to_hickory(zone)?, rtype);
    let judged = clerk.serve_off_duty(handle.send(request).first_answer()).await.ok()?;
    let records = || judged.answers.iter().filter(|record| record.record_type() == rtype);
    let ttl_seconds = records().map(|record| record.ttl).min()?;
    let age_seconds = clerk.age_seconds(zone, rtype);
    records()
        .all(|record| record.proof.is_secure())
        .then(|| ttl_seconds.saturating_sub(age_seconds))
}

/// Returns how long an answer about DS may count at most, seconds.
fn denial_ttl(message: &Message) -> Option<u32> {
    let ttl_of = |record: &Record| match signature(record) {
        Some(signature) => {
            let input = signature.input();
            record.ttl.min(input.original_ttl).min(seconds_left(input.sig_expiration))
        }
        None => record.ttl,
    };
    message.all_sections().map(ttl_of).min().map(|ttl| ttl.min(MAX_UNSIGNED_SECONDS))
}

fn request(name: HickoryName, rtype: RecordType) -> DnsRequest {
    DnsRequest::from_query(Query::query(name, rtype), DnsRequestOptions::default())
}
