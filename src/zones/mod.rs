//! Private-link zones: which names are ours, and which addresses each has for whom.
//!
//! Built once for each configuration and never changed. Knows nothing of messages beyond names.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod addresses;
mod build;
#[cfg(test)]
mod tests;

use std::num::NonZeroU32;

use crate::access::SiteId;
pub use crate::config::Unlisted;
use crate::wire::{Name, NameMap, QName};
pub use addresses::{Addresses, Candidates};

/// All private-link zones.
#[derive(Default)]
pub struct Zones {
    /// Of public and private zones.
    apexes: NameMap<Apex>,
    zones: Box<[Zone]>,
    /// For each apex of several pairs, all but the first of them, in the file's order.
    shared: Box<[Box<[usize]>]>,
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
    endpoints: Box<[Endpoint]>,
    /// Listed names and empty non-terminals, relative to either zone.
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
    /// Where the others stand in `shared`, if there are any.
    others: Option<NonZeroU32>,
}

/// A name that exists below the apex.
#[derive(Clone, Copy, Default, Debug)]
struct Node {
    /// Where its [`Candidates`] begin, if it is listed.
    sets: u32,
    /// It is listed, not just above a name that is.
    listed: bool,
    /// It exists in the public zone.
    public: bool,
    /// It exists in the private zone.
    private: bool,
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
    /// A name above a listed one: it exists and has no records (RFC 8020, RFC 4592 §2.2.2).
    Empty,
    /// A name with addresses, listed or covered by the wildcard: one set for each endpoint.
    Served(Candidates<'a>),
    /// No endpoint lists it, and the zone says NXDOMAIN.
    Missing,
    /// No endpoint lists it, and the zone says to forward it.
    Foreign,
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
}

impl Zones {
    /// Finds the zone of ours that `qname` stands in: the private zone before the public one, since
    /// it is the deeper of the two; the apex of the public zone is found too, but is not ours.
    pub fn find(&self, qname: &QName) -> Option<Found<'_>> {
        let (labels, apex) = self.apexes.deepest(qname)?;
        let (zone, role) = (self.zones.get(apex.zone)?, apex.role);
        let place = if labels == 0 { Place::Apex } else { zone.place(role, qname, labels) };
        let found = Found { zone, role, labels, place };
        match apex.others {
            Some(others) if !found.is_certain() => Some(self.find_among(others, qname, found)),
            _ => Some(found),
        }
    }

    /// Goes on with the other pairs of an apex: one that lists the name, else one that lists a name
    /// below it, else `first`.
    #[cold]
    fn find_among<'a>(&'a self, others: NonZeroU32, qname: &QName, first: Found<'a>) -> Found<'a> {
        let mut best = first;
        let others = self.shared.get(others.get() as usize - 1).into_iter().flatten();
        for zone in others.filter_map(|zone| self.zones.get(*zone)) {
            let found = Found { zone, place: zone.place(first.role, qname, first.labels), ..first };
            if found.is_certain() {
                return found;
            }
            if found.place == Place::Empty && best.place != Place::Empty {
                best = found;
            }
        }
        best
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

impl Found<'_> {
    /// Whether no other pair with the same zone can know better.
    fn is_certain(&self) -> bool {
        match self.place {
            Place::Apex => true,
            Place::Served(candidates) => !candidates.is_wildcard,
            Place::Empty | Place::Missing | Place::Foreign => false,
        }
    }

    /// Whether we answer this name ourselves; the others are forwarded.
    pub fn is_ours(&self) -> bool {
        match self.place {
            Place::Apex => self.role == Role::Private,
            Place::Foreign => false,
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
    fn place(&self, role: Role, qname: &QName, labels: usize) -> Place<'_> {
        let exists = |node: &&Node| match role {
            Role::Public => node.public,
            Role::Private => node.private,
        };
        match self.names.relative(qname, labels).filter(exists) {
            Some(node) if node.listed => {
                Place::Served(Candidates::at(&self.sets, node.sets, false))
            }
            Some(_) => Place::Empty,
            // Below a listed name too: "every name below the zone" is the wildcard's.
            None => match self.unlisted {
                Unlisted::Wildcard => {
                    Place::Served(Candidates::at(&self.sets, self.wildcard, true))
                }
                Unlisted::Nxdomain => Place::Missing,
                Unlisted::Forward => Place::Foreign,
            },
        }
    }

    /// Chooses among the endpoints that have a name: one of the client's own site, else one for
    /// every site, else any other; the file's order within each.
    pub fn choose<'a>(
        &self,
        candidates: Candidates<'a>,
        site: Option<SiteId>,
    ) -> Option<(Addresses<'a>, Preference)> {
        let sites = |addresses: &Addresses<'_>| {
            self.endpoints.get(addresses.endpoint).map_or(&[][..], |endpoint| &*endpoint.sites)
        };
        let (mut every, mut first) = (None, None);
        for addresses in candidates {
            let sites = sites(&addresses);
            if site.is_some_and(|site| sites.contains(&site)) {
                return Some((addresses, Preference::OwnSite));
            }
            if sites.is_empty() && every.is_none() {
                every = Some((addresses, Preference::EverySite));
            }
            first = first.or(Some((addresses, Preference::OtherSite)));
        }
        every.or(first)
    }

    /// The name of the endpoint that gives `addresses`.
    pub fn endpoint_name(&self, addresses: &Addresses<'_>) -> &str {
        self.endpoints.get(addresses.endpoint).map_or("", |endpoint| &endpoint.name)
    }
}
