//! From the configuration to the look-up tables.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::addresses::Sets;
use super::pulse::Register;
use super::{Apex, Endpoint, Node, Owner, Role, Unlisted, Zone, Zones};
use crate::access::SiteId;
use crate::config::{self, AllDown, PrivateLink};
use crate::wire::{MAX_NAME_OCTETS, Name, NameMap, QName};

const ROLES: [Role; 2] = [Role::Public, Role::Private];

impl Zones {
    /// Builds the tables of `links`. Where several have a zone, they agree on what it gives to
    /// names that none of them lists.
    pub fn new(links: &[PrivateLink]) -> Self {
        let mut apexes: NameMap<Apex> = NameMap::with_capacity(2 * links.len());
        let mut shared: Vec<Users<'_>> = Vec::new();
        for (zone, link) in links.iter().enumerate() {
            for role in ROLES {
                let name = apex(link, role);
                let first = Apex { zone, role, shared: None };
                let apex = apexes.or_insert(&QName::from(name), first);
                // Pairs of one entry with the same zone have the same names there.
                if links.get(apex.zone).is_some_and(|first| first.entry != link.entry) {
                    share(apex, name, zone, &mut shared);
                }
            }
        }
        let inner = inner_zones(links, &apexes);
        let inner_of = |zone: &Name| {
            let at = apexes.get(&QName::from(zone))?;
            inner.get(place_of_inner(*at))
        };
        let mut register = Register::default();
        let zones = links.iter().map(|link| {
            build_zone(link, ROLES.map(|role| inner_of(apex(link, role))), &mut register)
        });
        let zones = zones.collect();
        let all = Arc::clone(register.all());
        let shared = shared.iter().map(|users| owners(links, users, inner_of(users.apex)));
        let shared = shared.collect();
        let above_zones = above_zones(links);
        let fingerprint = fingerprint(links);
        Self { zones, apexes, shared, above_zones, fingerprint, pulses: register.finish(), all }
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

/// Hashes what decides which names are private, and in which zone. Addresses and probes count only
/// where a name whose addresses are all down is forwarded.
fn fingerprint(links: &[PrivateLink]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for link in links {
        (link.entry, &link.public_zone, &link.private_zone, link.unlisted).hash(&mut hasher);
        let is_public_when_down = link.all_down == AllDown::Public;
        is_public_when_down.hash(&mut hasher);
        for (endpoint, number) in link.endpoints.iter().zip(0_u64..) {
            (number, endpoint.addresses.is_empty()).hash(&mut hasher);
            endpoint.names.iter().for_each(|(name, _)| name.hash(&mut hasher));
            if is_public_when_down {
                endpoint.addresses.hash(&mut hasher);
                endpoint.names.iter().for_each(|(_, addresses)| addresses.hash(&mut hasher));
                endpoint.targets(link).hash(&mut hasher);
            }
        }
    }
    hasher.finish()
}

/// The pairs with a common zone.
struct Users<'a> {
    apex: &'a Name,
    zones: Vec<usize>,
}

/// Adds `zone` to those that have the apex `name`.
fn share<'a>(apex: &mut Apex, name: &'a Name, zone: usize, shared: &mut Vec<Users<'a>>) {
    let place = match apex.shared {
        Some(place) => place.get() as usize,
        None => {
            shared.push(Users { apex: name, zones: vec![apex.zone] });
            apex.shared = u32::try_from(shared.len()).ok().and_then(NonZeroU32::new);
            shared.len()
        }
    };
    if let Some(users) = shared.get_mut(place - 1) {
        users.zones.push(zone);
    }
}

/// Every name that a zone of ours, or a name in one, lies below: those above private zones, and
/// those at and above zones that hold a name. Names below a zone's own are [`Node`]s.
fn above_zones(links: &[PrivateLink]) -> NameMap<()> {
    let mut above: NameMap<()> = NameMap::default();
    for link in links {
        let holds_any = link.unlisted != Unlisted::Forward
            || link.endpoints.iter().any(|endpoint| !endpoint.names.is_empty());
        let lowest = if holds_any {
            [Some(link.public_zone.clone()), Some(link.private_zone.clone())]
        } else {
            // The private zone itself is ours whatever it holds.
            [None, link.private_zone.parent()]
        };
        for lowest in lowest {
            let mut next = lowest;
            while let Some(name) = next {
                // Where a name stands already, those above it do too.
                let known = above.insert(&QName::from(&name), ()).is_some();
                next = name.parent().filter(|_| !known);
            }
        }
    }
    above.shrink_to_fit();
    above
}

/// Whose each name is of these pairs with a common zone: the one's that lists it, else the first's
/// that lists one below it. Names that do not stand in that zone have no part in this.
fn owners(links: &[PrivateLink], users: &Users<'_>, inner: Option<&Inner>) -> NameMap<Owner> {
    let mut owners: NameMap<Owner> = NameMap::default();
    let zones = users.zones.iter().filter_map(|zone| Some((*zone, links.get(*zone)?)));
    for (zone, link) in zones {
        for (name, _) in link.endpoints.iter().flat_map(|endpoint| endpoint.names.iter()) {
            let qname = QName::from(name);
            if !fits(users.apex, inner, &qname) {
                continue;
            }
            let new = Owner { zone, listed: true, is_above: false };
            let owner = owners.or_insert(&qname, new);
            if !owner.listed {
                *owner = Owner { is_above: owner.is_above, ..new };
            }
            for above in names_above(name) {
                let new = Owner { zone, listed: false, is_above: true };
                owners.or_insert(&QName::from(&above), new).is_above = true;
            }
        }
    }
    owners.shrink_to_fit();
    owners
}

/// The names between `name` and the apex that it is relative to.
fn names_above(name: &Name) -> impl Iterator<Item = Name> {
    let above = |name: &Name| name.parent().filter(|above| above.label_count() > 0);
    std::iter::successors(above(name), move |name| above(name))
}

fn apex(link: &PrivateLink, role: Role) -> &Name {
    match role {
        Role::Public => &link.public_zone,
        Role::Private => &link.private_zone,
    }
}

/// Names relative to an apex that belong to deeper zones (`privatelink` below the public zone).
#[derive(Default)]
struct Inner {
    apexes: NameMap<()>,
    /// Names between those and the apex.
    above: Vec<Name>,
}

/// Two for each pair of zones, empty but where the pair is the first with that zone: see
/// [`place_of_inner`].
fn inner_zones(links: &[PrivateLink], apexes: &NameMap<Apex>) -> Vec<Inner> {
    let mut inner: Vec<Inner> = Vec::new();
    inner.resize_with(ROLES.len() * links.len(), Default::default);
    for (at, link) in links.iter().enumerate() {
        for zone in ROLES.map(|role| apex(link, role)) {
            // Once for each zone, however many share it.
            let is_first = apexes.get(&QName::from(zone)).is_some_and(|apex| apex.zone == at);
            let Some(parent) = zone.parent().filter(|_| is_first) else { continue };
            // The nearest one around it is enough: what is inside both is inside the nearer one.
            let Some((above, around)) = apexes.deepest(&QName::from(&parent)) else { continue };
            let inner = inner.get_mut(place_of_inner(*around));
            if let (Some(inner), Some(relative)) = (inner, relative(zone, above + 1)) {
                inner.apexes.insert(&QName::from(&relative), ());
                inner.above.extend(names_above(&relative));
            }
        }
    }
    inner
}

fn place_of_inner(apex: Apex) -> usize {
    ROLES.len() * apex.zone + usize::from(apex.role == Role::Private)
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

fn build_zone(link: &PrivateLink, inner: [Option<&Inner>; 2], register: &mut Register) -> Zone {
    let count = link.endpoints.iter().map(|endpoint| endpoint.names.len()).sum();
    let mut listings: Vec<Listing<'_>> = Vec::with_capacity(count);
    let mut names: NameMap<Node> = NameMap::with_capacity(count);
    for (endpoint, config) in link.endpoints.iter().enumerate() {
        for (name, ips) in config.names.iter() {
            let qname = QName::from(name);
            let [public, private] = inner;
            let fits = [
                fits(&link.public_zone, public, &qname),
                fits(&link.private_zone, private, &qname),
            ];
            let node = names.or_insert(&qname, Node::default());
            let before = node.listed.then_some(node.sets);
            node.listed = true;
            // A place in `listings` until all are known.
            node.sets = u32::try_from(listings.len()).unwrap_or(u32::MAX);
            listings.push(Listing { endpoint, ips, before });
            // Names between it and the apex exist, and have nothing unless they are listed too.
            for above in names_above(name) {
                names.or_insert(&QName::from(&above), Node::default()).note_below(fits);
            }
        }
    }
    // So do those above a deeper zone. Where what is not listed is an upstream's, it says so itself.
    if link.unlisted == Unlisted::Nxdomain {
        for (inner, is_public) in inner.into_iter().zip([true, false]) {
            for above in inner.into_iter().flat_map(|inner| &inner.above) {
                let node = names.or_insert(&QName::from(above), Node::default());
                node.note_below([is_public, !is_public]);
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

/// Whether a listed name stands in the zone of `apex`: one that would be too long there, or that
/// belongs to a deeper zone, does not.
fn fits(apex: &Name, inner: Option<&Inner>, relative: &QName) -> bool {
    relative.as_wire().len() - 1 + apex.as_wire().len() <= MAX_NAME_OCTETS
        && inner.is_none_or(|inner| inner.apexes.deepest(relative).is_none())
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
