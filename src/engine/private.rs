//! Answers from private-link zones: the CNAME that keeps the label, addresses, SOA.

use super::recorder::{DownAddress, Recorder, Step};
use super::reply::Reply;
use crate::access::SiteId;
use crate::config::AllDown;
use crate::wire::{CLASS_IN, Ede, Full, MAX_NAME_OCTETS, Rcode, Rtype, flags};
use crate::zones::{Addresses, Candidates, Found, Place, Preference, Role, State, Zone};

/// The pointer bits of a compressed name (RFC 1035 §4.1.4).
const POINTER: u16 = 0xc000;
/// RNAME of the synthesised SOA (RFC 6303 §3).
const RNAME: &[u8] = b"\x06nobody\x07invalid\x00";
/// Serial, refresh, retry, expire, seconds. Nobody transfers the zone: any serial is as good, the
/// times are those of Azure's own private zones.
const SOA_TIMES: [u32; 4] = [1, 3_600, 300, 2_419_200];

/// A name of ours that the message already holds, uncompressed.
pub(super) struct Owner<'a> {
    /// Where it begins, octets from the message's start.
    pub(super) at: usize,
    /// Its labels above the zone's apex, in wire form without a root.
    pub(super) above_apex: &'a [u8],
    /// What it is.
    pub(super) found: Found<'a>,
}

/// Who asks for what.
#[derive(Clone, Copy)]
pub(super) struct Want {
    pub(super) qtype: Rtype,
    pub(super) site: Option<SiteId>,
    pub(super) rotation: u32,
}

/// Appends what `owner` has of the type asked: the chain from the public zone into the private
/// one, then addresses, or the SOA of the private zone when there are none. Gives the rcode.
pub(super) fn append<R: Recorder>(
    reply: &mut Reply<'_>,
    owner: &Owner<'_>,
    want: Want,
    recorder: &mut R,
) -> Result<Rcode, Full> {
    recorder.note(|| zone_step(&owner.found));
    match owner.found.place {
        Place::Served(candidates) if owner.found.zone.any_down() => {
            append_while_down(reply, owner, candidates, want, recorder)
        }
        Place::Served(candidates) => {
            append_chosen(reply, owner, want, recorder, |zone| zone.choose(candidates, want.site))
        }
        _ => append_chosen(reply, owner, want, recorder, |_| None),
    }
}

/// The same while something is down, here or in another zone. A path of its own, so that the usual
/// one carries nothing for it.
#[cold]
fn append_while_down<R: Recorder>(
    reply: &mut Reply<'_>,
    owner: &Owner<'_>,
    candidates: Candidates<'_>,
    want: Want,
    recorder: &mut R,
) -> Result<Rcode, Full> {
    let zone = owner.found.zone;
    let chosen = zone.choose_up(candidates, want.site, want.qtype);
    // The CNAME alone is the same whoever is down.
    let link_alone =
        owner.found.role == Role::Public && matches!(want.qtype, Rtype::CNAME | Rtype::ANY);
    let Some((marked, because)) = chosen.filter(|_| !link_alone) else {
        return append_chosen(reply, owner, want, recorder, |_| None);
    };
    recorder.note_some(|| down_step(zone, candidates));
    marked.with_rest(|rest| {
        if because == Preference::AllDown && is_withheld(zone, &rest, want.qtype) {
            return Ok(Rcode::SERVFAIL);
        }
        append_chosen(reply, owner, want, recorder, |_| Some((rest, because)))
    })
}

/// The chain, and then what `choose` says.
#[inline]
fn append_chosen<'a, R: Recorder>(
    reply: &mut Reply<'_>,
    owner: &Owner<'a>,
    want: Want,
    recorder: &mut R,
    choose: impl FnOnce(&'a Zone) -> Option<(Addresses<'a>, Preference)>,
) -> Result<Rcode, Full> {
    let zone = owner.found.zone;
    let (mut owner_at, mut apex_at) = (owner.at, owner.at + owner.above_apex.len());
    if owner.found.role == Role::Public {
        if owner.above_apex.len() + zone.private.as_wire().len() > MAX_NAME_OCTETS {
            return Ok(Rcode::YXDOMAIN);
        }
        (owner_at, apex_at) = append_cname(reply, owner)?;
        if matches!(want.qtype, Rtype::CNAME | Rtype::ANY) {
            return Ok(Rcode::NOERROR);
        }
    }
    if let Some((addresses, because)) = choose(zone) {
        recorder.note(|| Step::Endpoint {
            endpoint: zone.endpoint_name(&addresses).to_owned(),
            because,
            wildcard: addresses.is_wildcard,
            addresses: addresses.iter().collect(),
        });
        if append_addresses(reply, owner_at, zone.ttl_seconds, &addresses, want)? {
            return Ok(Rcode::NOERROR);
        }
    }
    let is_apex = owner.found.place == Place::Apex;
    let ttl = zone.negative_ttl_seconds;
    append_soa(reply, apex_at, ttl)?;
    if is_apex && matches!(want.qtype, Rtype::SOA | Rtype::ANY) {
        reply.answers += 1;
        return Ok(Rcode::NOERROR);
    }
    reply.authorities += 1;
    Ok(if owner.found.place == Place::Missing { Rcode::NXDOMAIN } else { Rcode::NOERROR })
}

/// Whether the zone would rather fail than give `addresses`, all of which are down. What has none of
/// the type asked stays NODATA.
fn is_withheld(zone: &Zone, addresses: &Addresses<'_>, qtype: Rtype) -> bool {
    let has_some = match qtype {
        Rtype::A => !addresses.v4.is_empty(),
        Rtype::AAAA => !addresses.v6.is_empty(),
        Rtype::ANY => true,
        _ => false,
    };
    zone.all_down == AllDown::Servfail && has_some
}

/// AA, unless it is a failure, for which nobody is an authority.
pub(super) fn bits(rcode: Rcode) -> u16 {
    if rcode == Rcode::SERVFAIL { 0 } else { flags::AA }
}

/// The extended error that goes with a private answer's rcode.
pub(super) fn why(rcode: Rcode) -> Option<(Ede, &'static str)> {
    match rcode {
        Rcode::YXDOMAIN => Some((Ede::Other, "the CNAME target would be longer than 255 octets")),
        Rcode::SERVFAIL => Some((Ede::Other, "every address of this private endpoint is down")),
        _ => None,
    }
}

/// What is down, where that makes the name an upstream's.
pub(super) fn away_step(found: &Found<'_>) -> Option<Step> {
    match found.place {
        Place::Away(candidates) => down_step(found.zone, candidates),
        _ => None,
    }
}

/// What is down of the addresses that a name has.
fn down_step(zone: &Zone, candidates: Candidates<'_>) -> Option<Step> {
    let addresses: Vec<_> = zone
        .not_up(candidates)
        .map(|(endpoint, pulse)| {
            let (target, report) = (pulse.target(), pulse.report());
            DownAddress {
                address: target.address,
                endpoint: endpoint.to_owned(),
                probe: target.probe.to_string(),
                since_seconds: report.since_seconds,
                proving: report.state == State::Proving,
                last_failure: report.last_fault.map(|(fault, _)| fault),
            }
        })
        .collect();
    (!addresses.is_empty()).then_some(Step::Down { addresses })
}

/// The zone that a name stands in, in words.
pub(super) fn zone_step(found: &Found<'_>) -> Step {
    let place = match found.place {
        Place::Apex if found.role == Role::Public => "the public zone's own: forwarded",
        Place::Apex => "the private zone's own",
        Place::Empty => "empty: a listed name lies below it",
        Place::Served(_) => "served",
        Place::Missing => "listed by no endpoint: unlisted = \"nxdomain\"",
        Place::Foreign => "listed by no endpoint: unlisted = \"forward\"",
        Place::Away(_) => "down at every endpoint: all-down = \"public\"",
    };
    Step::Zone {
        public_zone: found.zone.public.to_string(),
        private_zone: found.zone.private.to_string(),
        place: place.to_owned(),
    }
}

/// A compression pointer to `at`, which has 14 bits.
pub(super) fn pointer(at: usize) -> Result<[u8; 2], Full> {
    match u16::try_from(at) {
        Ok(at) if at & POINTER == 0 => Ok((POINTER | at).to_be_bytes()),
        _ => Err(Full),
    }
}

/// The CNAME from the public zone into the private one, its label kept. Gives where the target and
/// where the private zone's name begin.
fn append_cname(reply: &mut Reply<'_>, owner: &Owner<'_>) -> Result<(usize, usize), Full> {
    let zone = owner.found.zone;
    let above_apex = owner.above_apex;
    let writer = &mut reply.writer;
    // A target below the public zone ends in a pointer to the owner's own tail.
    let public_at = pointer(owner.at + above_apex.len())?;
    let (middle, tail) = match &zone.above_public {
        Some(labels) => (&**labels, &public_at[..]),
        None => (zone.private.as_wire(), &[][..]),
    };
    let rdata = above_apex.len() + middle.len() + tail.len();
    writer.record(pointer(owner.at)?, Rtype::CNAME, CLASS_IN, zone.ttl_seconds, rdata)?;
    let target_at = writer.len();
    writer.raw(above_apex)?;
    writer.raw(middle)?;
    writer.raw(tail)?;
    reply.answers += 1;
    Ok((target_at, target_at + above_apex.len()))
}

/// The addresses of the type asked, turned by `rotation`; false when there are none. ANY gets one
/// RRset (RFC 8482 §4.1).
fn append_addresses(
    reply: &mut Reply<'_>,
    owner_at: usize,
    ttl: u32,
    addresses: &Addresses<'_>,
    want: Want,
) -> Result<bool, Full> {
    let owner = pointer(owner_at)?;
    let count = match want.qtype {
        Rtype::A => append_rrset(reply, owner, Rtype::A, ttl, addresses.v4, want.rotation)?,
        Rtype::AAAA => append_rrset(reply, owner, Rtype::AAAA, ttl, addresses.v6, want.rotation)?,
        Rtype::ANY if !addresses.v4.is_empty() => {
            append_rrset(reply, owner, Rtype::A, ttl, addresses.v4, want.rotation)?
        }
        Rtype::ANY => append_rrset(reply, owner, Rtype::AAAA, ttl, addresses.v6, want.rotation)?,
        _ => 0,
    };
    reply.answers += count;
    Ok(count > 0)
}

fn append_rrset<T: Octets>(
    reply: &mut Reply<'_>,
    owner: [u8; 2],
    rtype: Rtype,
    ttl: u32,
    addresses: &[T],
    rotation: u32,
) -> Result<u16, Full> {
    // Spread first: a client that asks A and AAAA in turn sees every second number only.
    let spread = rotation.wrapping_mul(0x9e37_79b9) >> 16;
    let first = spread as usize % addresses.len().max(1);
    let (end, begin) = addresses.split_at_checked(first).unwrap_or((addresses, &[]));
    for address in begin.iter().chain(end) {
        address.with_octets(|octets| {
            reply.writer.record(owner, rtype, CLASS_IN, ttl, octets.len())?;
            reply.writer.raw(octets)
        })?;
    }
    u16::try_from(addresses.len()).map_err(|_| Full)
}

/// An address as RDATA.
trait Octets {
    fn with_octets<T>(&self, use_octets: impl FnOnce(&[u8]) -> T) -> T;
}

impl Octets for [u8; 4] {
    fn with_octets<T>(&self, use_octets: impl FnOnce(&[u8]) -> T) -> T {
        use_octets(self)
    }
}

impl Octets for [u8; 16] {
    fn with_octets<T>(&self, use_octets: impl FnOnce(&[u8]) -> T) -> T {
        use_octets(self)
    }
}

/// The SOA of a zone of ours, whose name begins at `apex_at`. Its TTL equals its MINIMUM, without
/// which Windows DNS keeps the wrong one (KB3064749).
pub(super) fn append_soa(reply: &mut Reply<'_>, apex_at: usize, ttl: u32) -> Result<(), Full> {
    let apex = pointer(apex_at)?;
    let writer = &mut reply.writer;
    let rdata = apex.len() + RNAME.len() + 4 * (SOA_TIMES.len() + 1);
    writer.record(apex, Rtype::SOA, CLASS_IN, ttl, rdata)?;
    // MNAME is the zone itself, as in RFC 6303 §3: there is no other server to name.
    writer.raw(&apex)?;
    writer.raw(RNAME)?;
    for seconds in SOA_TIMES.into_iter().chain([ttl]) {
        writer.raw(&seconds.to_be_bytes())?;
    }
    Ok(())
}
