//! From the configuration to the look-up tables.

use std::net::IpAddr;
use std::sync::Arc;

use super::addresses::Sets;
use super::pulse::Register;
use super::{Apex, Endpoint, Node, Role, Zone, Zones};
use crate::access::SiteId;
use crate::config::{self, PrivateLink};
use crate::wire::{MAX_NAME_OCTETS, Name, NameMap, QName};

const ROLES: [Role; 2] = [Role::Public, Role::Private];

impl Zones {
    /// Builds the tables of `links`.
    pub fn new(links: &[PrivateLink]) -> Self {
        let mut apexes = NameMap::with_capacity(2 * links.len());
        for (zone, link) in links.iter().enumerate() {
            for role in ROLES {
                apexes.insert(&QName::from(apex(link, role)), Apex { zone, role });
            }
        }
        let inner = inner_zones(links, &apexes);
        let mut register = Register::default();
        let zones = links.iter().zip(&inner);
        let zones = zones.map(|(link, inner)| build_zone(link, inner, &mut register)).collect();
        let all = Arc::clone(register.all());
        Self { zones, apexes, pulses: register.finish(), all }
    }

    /// Goes on with what probes have found out under `old`, for what is probed in the same way. Until
    /// then everything counts as up.
    pub fn go_on_from(&mut self, old: &Self) {
        let mut register = Register::following(&old.all, &old.pulses);
        for zone in &mut self.zones {
            zone.pulses = Arc::clone(&old.all);
            for (_, pulse) in zone.endpoints.iter_mut().flat_map(|one| &mut one.pulses) {
                *pulse = register.pulse(pulse.target());
            }
        }
        (self.all, self.pulses) = (Arc::clone(&old.all), register.finish());
    }
}

fn apex(link: &PrivateLink, role: Role) -> &Name {
    match role {
        Role::Public => &link.public_zone,
        Role::Private => &link.private_zone,
    }
}

/// Names relative to an apex that belong to deeper zones (`privatelink` below the public zone).
type Inner = NameMap<()>;

/// For each pair of zones, what lies in others inside its two.
fn inner_zones(links: &[PrivateLink], apexes: &NameMap<Apex>) -> Vec<[Inner; 2]> {
    let mut inner: Vec<[Inner; 2]> = Vec::new();
    inner.resize_with(links.len(), Default::default);
    for zone in links.iter().flat_map(|link| ROLES.map(|role| apex(link, role))) {
        let Some(parent) = zone.parent() else { continue };
        // The nearest one around it is enough: what is inside both is inside the nearer one.
        let Some((above, around)) = apexes.deepest(&QName::from(&parent)) else { continue };
        let Some(inner) = inner.get_mut(around.zone) else { continue };
        let [public, private] = inner;
        let inner = match around.role {
            Role::Public => public,
            Role::Private => private,
        };
        if let Some(relative) = relative(zone, above + 1) {
            inner.insert(&QName::from(&relative), ());
        }
    }
    inner
}

/// The first `labels` labels of `name` as a name.
fn relative(name: &Name, labels: usize) -> Option<Name> {
    let octets = name.labels().take(labels).map(|label| label.len() + 1).sum();
    Name::from_wire(&[name.as_wire().get(..octets)?, &[0]].concat()).ok()
}

/// One endpoint's addresses for a name.
struct Listing<'a> {
    endpoint: usize,
    ips: &'a [IpAddr],
    /// Where the listing of the same name by the endpoint before stands, if there is one.
    before: Option<u32>,
}

fn build_zone(link: &PrivateLink, inner: &[Inner; 2], register: &mut Register) -> Zone {
    let count = link.endpoints.iter().map(|endpoint| endpoint.names.len()).sum();
    let mut listings: Vec<Listing<'_>> = Vec::with_capacity(count);
    let mut names: NameMap<Node> = NameMap::with_capacity(count);
    for (endpoint, config) in link.endpoints.iter().enumerate() {
        for (name, ips) in config.names.iter() {
            let qname = QName::from(name);
            let [public, private] = fits(link, inner, &qname);
            let node = names.or_insert(&qname, Node::default());
            let before = node.listed.then_some(node.sets);
            node.listed = true;
            // A place in `listings` until all are known.
            node.sets = u32::try_from(listings.len()).unwrap_or(u32::MAX);
            (node.public, node.private) = (node.public | public, node.private | private);
            listings.push(Listing { endpoint, ips, before });
            // Names between it and the apex exist, and have nothing unless they are listed too.
            let mut above = name.parent().filter(|above| above.label_count() > 0);
            while let Some(name) = above {
                let node = names.or_insert(&QName::from(&name), Node::default());
                (node.public, node.private) = (node.public | public, node.private | private);
                above = name.parent().filter(|above| above.label_count() > 0);
            }
        }
    }
    names.shrink_to_fit();
    let mut sets = Sets::with_capacity(count);
    // In the table's order, so that names and addresses that are neighbours once are it twice.
    let mut same = Vec::new();
    for node in names.values_mut().filter(|node| node.listed) {
        let mut next = Some(node.sets);
        while let Some(listing) = next.and_then(|at| listings.get(at as usize)) {
            same.push((listing.endpoint, listing.ips));
            next = listing.before;
        }
        node.sets = sets.push(same.drain(..).rev());
    }
    let wildcard = link.endpoints.iter().enumerate();
    let wildcard = wildcard.map(|(index, endpoint)| (index, &*endpoint.addresses));
    let wildcard = sets.push(wildcard.filter(|(_, ips)| !ips.is_empty()));
    Zone {
        public: link.public_zone.clone(),
        private: link.private_zone.clone(),
        above_public: above_public(link),
        unlisted: link.unlisted,
        ttl_seconds: link.ttl_seconds,
        negative_ttl_seconds: link.negative_ttl_seconds,
        all_down: link.all_down,
        pulses: Arc::clone(register.all()),
        endpoints: link
            .endpoints
            .iter()
            .map(|endpoint| build_endpoint(endpoint, link, register))
            .collect(),
        names,
        sets: sets.finish(),
        wildcard,
    }
}

/// In which of the two zones a listed name stands: one that would be too long there, or that
/// belongs to a deeper zone, does not.
fn fits(link: &PrivateLink, inner: &[Inner; 2], relative: &QName) -> [bool; 2] {
    let [public, private] = inner;
    [(&link.public_zone, public), (&link.private_zone, private)].map(|(apex, inner)| {
        relative.as_wire().len() - 1 + apex.as_wire().len() <= MAX_NAME_OCTETS
            && inner.deepest(relative).is_none()
    })
}

/// Q's labels above P when Q lies below P, so that a CNAME target can point into the question.
fn above_public(link: &PrivateLink) -> Option<Box<[u8]>> {
    if !link.private_zone.is_within(&link.public_zone) {
        return None;
    }
    let (private, public) = (link.private_zone.as_wire(), link.public_zone.as_wire());
    private.get(..private.len() - public.len()).map(Into::into)
}

fn build_endpoint(
    endpoint: &config::Endpoint,
    link: &PrivateLink,
    register: &mut Register,
) -> Endpoint {
    let targets = endpoint.targets(link).into_iter();
    Endpoint {
        name: endpoint.name.as_str().into(),
        sites: endpoint.sites.iter().map(|site| SiteId(*site)).collect(),
        pulses: targets.map(|target| (target.address, register.pulse(&target))).collect(),
    }
}
