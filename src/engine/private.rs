//! Answers from private-link zones: the CNAME that keeps the label, addresses, SOA.

use std::net::IpAddr;

use super::recorder::{Recorder, Step};
use super::reply::Reply;
use crate::access::SiteId;
use crate::wire::{CLASS_IN, Ede, Full, MAX_NAME_OCTETS, Rcode, Rtype};
use crate::zones::{Addresses, Found, Place, Role};

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
    let zone = owner.found.zone;
    recorder.note(|| zone_step(&owner.found));
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
    let chosen = match owner.found.place {
        Place::Served(candidates) => zone.choose(candidates, want.site),
        _ => None,
    };
    if let Some((addresses, because)) = chosen {
        recorder.note(|| Step::Endpoint {
            endpoint: zone.endpoint_name(&addresses).to_owned(),
            because,
            wildcard: addresses.is_wildcard,
            addresses: all(&addresses),
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

/// The extended error that goes with a private answer's rcode.
pub(super) fn why(rcode: Rcode) -> Option<(Ede, &'static str)> {
    (rcode == Rcode::YXDOMAIN)
        .then_some((Ede::Other, "the CNAME target would be longer than 255 octets"))
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
    };
    Step::Zone {
        public_zone: found.zone.public.to_string(),
        private_zone: found.zone.private.to_string(),
        place: place.to_owned(),
    }
}

fn all(addresses: &Addresses<'_>) -> Vec<IpAddr> {
    let v4 = addresses.v4.iter().copied().map(IpAddr::from);
    v4.chain(addresses.v6.iter().copied().map(IpAddr::from)).collect()
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

/// The SOA of the private zone, whose name begins at `apex_at`. Its TTL equals its MINIMUM, without
/// which Windows DNS keeps the wrong one (KB3064749).
fn append_soa(reply: &mut Reply<'_>, apex_at: usize, ttl: u32) -> Result<(), Full> {
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
