//! From the configuration to the look-up tables.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Addresses, Endpoint, Kind, Node, Role, Zone, Zones};
use crate::access::SiteId;
use crate::config::{self, PrivateLink};
use crate::wire::{Name, NameMap, QName};

impl Zones {
    /// Builds the tables of `links`.
    pub fn new(links: &[PrivateLink]) -> Self {
        let mut nodes = NameMap::default();
        let mut zones = Vec::with_capacity(links.len());
        for (zone, link) in links.iter().enumerate() {
            for role in [Role::Public, Role::Private] {
                let apex = apex(link, role).clone();
                nodes.insert(apex, Node { zone, role, kind: Kind::Apex });
            }
        }
        for (index, link) in links.iter().enumerate() {
            let (zone, names) = build_zone(link);
            for (listed, name) in names.iter().enumerate() {
                for role in [Role::Public, Role::Private] {
                    insert_listed(&mut nodes, index, role, apex(link, role), name, listed);
                }
            }
            zones.push(zone);
        }
        Self { nodes, zones: zones.into_boxed_slice() }
    }
}

fn apex(link: &PrivateLink, role: Role) -> &Name {
    match role {
        Role::Public => &link.public_zone,
        Role::Private => &link.private_zone,
    }
}

/// Puts a listed name and the empty non-terminals above it into the map. A place that already
/// belongs to a deeper zone (`privatelink` below the public zone) stays that zone's.
fn insert_listed(
    nodes: &mut NameMap<Node>,
    zone: usize,
    role: Role,
    apex: &Name,
    relative: &Name,
    listed: usize,
) {
    let Ok(name) = relative.under(apex) else { return };
    let belongs = |nodes: &NameMap<Node>, name: &Name| {
        nodes
            .deepest(&QName::from(name))
            .is_some_and(|(_, node)| node.zone == zone && node.role == role)
    };
    if !belongs(nodes, &name) || nodes.get(&name).is_some_and(|node| node.kind == Kind::Apex) {
        return;
    }
    nodes.insert(name.clone(), Node { zone, role, kind: Kind::Listed(listed) });
    let mut above = name.parent();
    while let Some(name) = above.filter(|name| name != apex) {
        if nodes.get(&name).is_none() {
            nodes.insert(name.clone(), Node { zone, role, kind: Kind::Empty });
        }
        above = name.parent();
    }
}

/// The zone, and its listed names in the order of its `listed` table.
fn build_zone(link: &PrivateLink) -> (Zone, Vec<Name>) {
    let mut listed: BTreeMap<&Name, Vec<Addresses>> = BTreeMap::new();
    let mut wildcard = Vec::new();
    for (index, endpoint) in link.endpoints.iter().enumerate() {
        if !endpoint.addresses.is_empty() {
            wildcard.push(addresses(index, &endpoint.addresses));
        }
        for (name, ips) in &endpoint.names {
            listed.entry(name).or_default().push(addresses(index, ips));
        }
    }
    let names = listed.keys().map(|name| (*name).clone()).collect();
    let zone = Zone {
        public: link.public_zone.clone(),
        private: link.private_zone.clone(),
        above_public: above_public(link),
        unlisted: link.unlisted,
        ttl_seconds: link.ttl_seconds,
        negative_ttl_seconds: link.negative_ttl_seconds,
        endpoints: link.endpoints.iter().map(build_endpoint).collect(),
        listed: listed.into_values().map(Vec::into_boxed_slice).collect(),
        wildcard: wildcard.into_boxed_slice(),
    };
    (zone, names)
}

/// Q's labels above P when Q lies below P, so that a CNAME target can point into the question.
fn above_public(link: &PrivateLink) -> Option<Box<[u8]>> {
    if !link.private_zone.is_within(&link.public_zone) {
        return None;
    }
    let (private, public) = (link.private_zone.as_wire(), link.public_zone.as_wire());
    private.get(..private.len() - public.len()).map(Into::into)
}

fn build_endpoint(endpoint: &config::Endpoint) -> Endpoint {
    Endpoint {
        name: endpoint.name.as_str().into(),
        sites: endpoint.sites.iter().map(|site| SiteId(*site)).collect(),
    }
}

fn addresses(endpoint: usize, ips: &[IpAddr]) -> Addresses {
    let v4 = ips.iter().filter_map(|ip| match ip {
        IpAddr::V4(ip) => Some(*ip),
        IpAddr::V6(_) => None,
    });
    let v6 = ips.iter().filter_map(|ip| match ip {
        IpAddr::V4(_) => None,
        IpAddr::V6(ip) => Some(*ip),
    });
    Addresses { endpoint, v4: v4.collect(), v6: v6.collect() }
}
