//! Private-link zones: which names are ours, and which addresses each has for whom.
//!
//! Built once for each configuration and never changed, but for what probes find out about its
//! addresses. Knows nothing of messages beyond names, and nothing of how one probes.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod addresses;
mod build;
mod choice;
mod marked;
mod pulse;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::access::SiteId;
use crate::config::AllDown;
pub use crate::config::Unlisted;
use crate::wire::{Name, NameMap, QName};
pub use addresses::{Addresses, Candidates};
pub use choice::Holder;
pub use marked::Marked;
pub use pulse::{Change, Fault, Pulse, PulseReport, Pulses, State};

/// All private-link zones.
#[derive(Default)]
pub struct Zones {
    /// Of public and private zones.
    apexes: NameMap<Apex>,
    zones: Box<[Zone]>,
    /// For each apex of several pairs, whose the names below it are.
    shared: Box<[NameMap<Owner>]>,
    /// Names that a zone of ours lies below, and zones that hold a name.
    above_zones: NameMap<()>,
    /// Of what decides which names are private: equal tables have equal ones.
    fingerprint: u64,
    /// What is probed, each once, in the file's order.
    pulses: Box<[Arc<Pulse>]>,
    /// What the pulses have in common.
    all: Arc<Pulses>,
}

/// A pair of a public zone P and its private zone Q.
#[derive(Debug)]
pub struct Zone {
    /// P.
    pub public: Name,
    /// Q.
    pub private: Name,
    /// When Q ends in P, Q's labels above P (wire form, no root): `privatelink`.
    pub above_public: Option<Box<[u8]>>,
    /// What a name that no endpoint lists gets.
    pub unlisted: Unlisted,
    /// TTL of CNAME and address records, seconds.
    pub ttl_seconds: u32,
    /// TTL and MINIMUM of the SOA, seconds.
    pub negative_ttl_seconds: u32,
    /// What a name gets while every address of it is down.
    pub all_down: AllDown,
    /// Whether any address of any zone is down.
    pulses: Arc<Pulses>,
    endpoints: Box<[Endpoint]>,
    /// Listed names and the names above them, relative to either zone.
    names: NameMap<Node>,
    /// What [`Candidates`] are read from.
    sets: Box<[[u8; 4]]>,
    /// Where those of endpoints with a wildcard begin.
    wildcard: u32,
}

/// A private endpoint, as far as choosing one needs it.
#[derive(Debug)]
struct Endpoint {
    name: Box<str>,
    sites: Box<[SiteId]>,
    /// What is probed, in the order of addresses; empty where nothing is.
    pulses: Box<[(IpAddr, Arc<Pulse>)]>,
}

/// Which zone of the pair a name stands in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// P: answers begin with the CNAME into Q.
    Public,
    /// Q.
    Private,
}

#[derive(Clone, Copy, Debug)]
struct Apex {
    /// The first pair of zones with this one.
    zone: usize,
    role: Role,
    /// If there are others, which of `shared` is this apex's, counted from 1.
    shared: Option<NonZeroU32>,
}

/// Whose a name is that stands below an apex of several pairs.
#[derive(Clone, Copy, Debug)]
struct Owner {
    zone: usize,
    /// It lists the name; otherwise it is the first that lists one below it.
    listed: bool,
    /// One of the pairs lists a name below it.
    is_above: bool,
}

/// A listed name, or a name above one.
#[derive(Clone, Copy, Default, Debug)]
struct Node {
    /// Where its [`Candidates`] begin, if it is listed.
    sets: u32,
    /// It is listed. Then it exists wherever a query can name it.
    listed: bool,
    /// In the public zone, a listed name or a zone of ours lies below it.
    above_public: bool,
    /// The same in the private zone.
    above_private: bool,
}

/// A name that stands in a zone of ours.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The pair of zones.
    pub zone: &'a Zone,
    /// Which of the two.
    pub role: Role,
    /// How many of the name's labels stand above the zone's apex.
    pub labels: usize,
    /// What the name is there.
    pub place: Place<'a>,
}

/// What a name is in its zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place<'a> {
    /// The zone's own name.
    Apex,
    /// A name above a listed one, in a zone that forwards nothing: it exists and has no records
    /// (RFC 8020, RFC 4592 §2.2.2).
    Empty,
    /// A name with addresses, listed or covered by the wildcard: one set for each endpoint.
    Served(Candidates<'a>),
    /// No endpoint lists it, and the zone says NXDOMAIN.
    Missing,
    /// No endpoint lists it, and the zone says to forward it. A listed name may lie below it.
    Foreign,
    /// Every address of it is down, and the zone says to forward it as long as that is so.
    Away(Candidates<'a>),
}

/// Why an endpoint was chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preference {
    /// It names the client's site.
    OwnSite,
    /// It names no site.
    EverySite,
    /// Only endpoints of other sites have the name.
    OtherSite,
    /// Those that come before it are down.
    NextUp,
    /// No address of the family asked is up, others are: answered as if all were.
    FamilyDown,
    /// No address is up at all: answered as the zone's `all-down` says.
    AllDown,
}

impl Zones {
    /// Whether the same names are private in the same zones under `other`.
    pub fn has_names_of(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }

    /// Finds the zone of ours that `qname` stands in: the private zone before the public one, since
    /// it is the deeper of the two; the apex of the public zone is found too, but is not ours.
    pub fn find(&self, qname: &QName) -> Option<Found<'_>> {
        let (labels, apex) = self.apexes.deepest(qname)?;
        let at = match apex.shared {
            Some(shared) => self.owner(shared, qname, labels).map_or(apex.zone, |owner| owner.zone),
            None => apex.zone,
        };
        let (zone, role) = (self.zones.get(at)?, apex.role);
        let place = if labels == 0 { Place::Apex } else { zone.place(role, qname, labels) };
        Some(Found { zone, role, labels, place })
    }

    /// The pair that has the name of the first `labels` labels; none where all agree what it gets.
    #[cold]
    #[inline(never)]
    fn owner(&self, shared: NonZeroU32, qname: &QName, labels: usize) -> Option<&Owner> {
        let owners = self.shared.get(shared.get() as usize - 1)?;
        owners.relative(qname, labels)
    }

    /// Whether a name of ours lies below `qname`, in whatever zone. An upstream's NXDOMAIN for
    /// `qname` would deny that name too (RFC 8020).
    ///
    /// Only denials ask: it costs a query that is answered otherwise nothing.
    #[cold]
    #[inline(never)]
    pub fn has_below(&self, qname: &QName) -> bool {
        if self.above_zones.get(qname).is_some() {
            return true;
        }
        let Some((labels, apex)) = self.apexes.deepest(qname) else { return false };
        let Some(zone) = self.zones.get(apex.zone).filter(|_| labels > 0) else { return false };
        if zone.unlisted == Unlisted::Wildcard {
            // The wildcard has names below every name.
            return true;
        }
        match apex.shared {
            Some(shared) => self.owner(shared, qname, labels).is_some_and(|owner| owner.is_above),
            None => {
                let node = zone.names.relative(qname, labels);
                node.is_some_and(|node| node.is_above(apex.role))
            }
        }
    }

    /// What is probed, each once, in the file's order.
    pub fn pulses(&self) -> &[Arc<Pulse>] {
        &self.pulses
    }

    /// What was counted of all that is probed.
    pub fn tally(&self) -> &Pulses {
        &self.all
    }

    /// How many pairs of zones.
    pub fn len(&self) -> usize {
        self.zones.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.zones.is_empty()
    }
}

impl Node {
    /// Whether a name of ours lies below it in this zone of the pair.
    fn is_above(&self, role: Role) -> bool {
        match role {
            Role::Public => self.above_public,
            Role::Private => self.above_private,
        }
    }

    /// Notes in which of P and Q a name of ours lies below it.
    fn note_below(&mut self, [public, private]: [bool; 2]) {
        self.above_public |= public;
        self.above_private |= private;
    }
}

impl Found<'_> {
    /// Whether we answer this name ourselves; the others are forwarded.
    pub fn is_ours(&self) -> bool {
        match self.place {
            Place::Apex => self.role == Role::Private,
            Place::Foreign | Place::Away(_) => false,
            Place::Empty | Place::Served(_) | Place::Missing => true,
        }
    }
}

impl Zone {
    /// P or Q.
    pub fn apex(&self, role: Role) -> &Name {
        match role {
            Role::Public => &self.public,
            Role::Private => &self.private,
        }
    }

    /// What the name of the first `labels` labels is below P or Q.
    #[inline]
    fn place(&self, role: Role, qname: &QName, labels: usize) -> Place<'_> {
        match self.names.relative(qname, labels) {
            Some(node) if node.listed => self.served(Candidates::at(&self.sets, node.sets, false)),
            // Where upstreams have the other names, they may have this one.
            Some(node) if self.unlisted != Unlisted::Forward && node.is_above(role) => Place::Empty,
            // Below a listed name too: "every name below the zone" is the wildcard's.
            _ => match self.unlisted {
                Unlisted::Wildcard => self.served(Candidates::at(&self.sets, self.wildcard, true)),
                Unlisted::Nxdomain => Place::Missing,
                Unlisted::Forward => Place::Foreign,
            },
        }
    }

    #[inline]
    fn served<'a>(&self, candidates: Candidates<'a>) -> Place<'a> {
        if self.all_down == AllDown::Public && self.is_all_down(candidates) {
            Place::Away(candidates)
        } else {
            Place::Served(candidates)
        }
    }

    /// The name of the endpoint that gives `addresses`.
    pub fn endpoint_name(&self, addresses: &Addresses<'_>) -> &str {
        self.endpoints.get(addresses.endpoint).map_or("", |endpoint| &endpoint.name)
    }
}
