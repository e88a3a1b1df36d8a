//! Which names go together: a private one, and the public ones that lead to it.

use std::collections::{HashMap, HashSet};

use crate::azure::{self, Hints, ZonePair};
use crate::catalog::{self, Role};
use crate::config::PrivateLink;
use crate::wire::Name;

/// A public zone and its private zone.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Pair {
    public: Name,
    private: Name,
}

/// Zones by name: the configuration's own, then what the files show, over the catalogue's.
pub(super) struct Pairs {
    zones: HashMap<Name, Vec<(Role, Pair)>>,
    shared: Shared,
}

/// Zones that entries have in common, each with pairs of its own: Azure leads names of one public
/// zone to several private ones, and names of several public ones to one.
#[derive(Default)]
struct Shared {
    zones: HashSet<Name>,
    /// The pairs of the entries that list a name of these zones.
    listed: HashMap<Name, Vec<Pair>>,
}

/// Names that stand for one thing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Names {
    pub publics: Vec<Name>,
    pub private: Option<Name>,
}

impl Names {
    /// Public ones first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Name> {
        self.publics.iter().chain(&self.private)
    }

    /// What tells them from others.
    pub(super) fn key(&self) -> Option<&Name> {
        self.private.as_ref().or_else(|| self.publics.first())
    }

    /// Takes in what is not among them.
    pub(super) fn merge(&mut self, others: Self) {
        for name in others.publics {
            if !self.publics.contains(&name) {
                self.publics.push(name);
            }
        }
        self.private = self.private.take().or(others.private);
    }
}

impl Pairs {
    pub(super) fn new(links: &[PrivateLink], shown: &[ZonePair]) -> Self {
        let configured = links.iter().map(Pair::of);
        let shown = shown.iter().filter_map(|pair| {
            Some(Pair {
                public: pair.public_zone.parse().ok()?,
                private: pair.private_zone.parse().ok()?,
            })
        });
        let mut zones: HashMap<Name, Vec<(Role, Pair)>> = HashMap::new();
        for pair in configured.chain(shown) {
            for (role, zone) in [(Role::Public, &pair.public), (Role::Private, &pair.private)] {
                let known = zones.entry(zone.clone()).or_default();
                if !known.contains(&(role, pair.clone())) {
                    known.push((role, pair.clone()));
                }
            }
        }
        Self { zones, shared: Shared::new(links) }
    }

    /// The names that go with `name`, itself among them. Of the catalogue's public names only one
    /// is taken, and only for a name that is private: Azure need not have the others. What the name's
    /// endpoint says tells which pair it is of, where a zone has several and no entry lists the name.
    pub(super) fn names(&self, name: &Name, hints: Hints<'_>) -> Names {
        let mut names = Names { publics: Vec::new(), private: None };
        let private = match self.deepest(name, hints).first() {
            None => {
                names.publics.push(name.clone());
                return names;
            }
            Some(Found { role: Role::Private, .. }) => name.clone(),
            Some(Found { role: Role::Public, pair, .. }) => {
                names.publics.push(name.clone());
                match moved(name, &pair.public, &pair.private) {
                    Some(private) => private,
                    None => return names,
                }
            }
        };
        for Found { role, pair, catalogued } in self.deepest(&private, hints) {
            let known = |public: &Name| {
                names.publics.contains(public) || catalogued && !names.publics.is_empty()
            };
            let public = moved(&private, &pair.private, &pair.public);
            let public = public.filter(|public| role == Role::Private && !known(public));
            names.publics.extend(public);
        }
        names.private = Some(private);
        names
    }

    /// The pairs of the deepest zone that `name` lies in, with the zone's role; those of one role
    /// only.
    fn deepest(&self, name: &Name, hints: Hints<'_>) -> Vec<Found> {
        let mut zone = Some(name.clone());
        let zones = std::iter::from_fn(|| {
            let next = zone.as_ref().and_then(Name::parent);
            std::mem::replace(&mut zone, next)
        });
        let mut own = zones.filter_map(|zone| Some((zone.label_count(), self.zones.get(&zone)?)));
        let catalogued = catalogued(name);
        let theirs = catalogued.first().map(|found| found.pair.zone(found.role).label_count());
        let mut found = match own.next() {
            Some((own, pairs)) if theirs.is_none_or(|theirs| own >= theirs) => {
                let found = |(role, pair): &(Role, Pair)| Found {
                    role: *role,
                    pair: pair.clone(),
                    catalogued: false,
                };
                pairs.iter().map(found).collect()
            }
            _ => catalogued,
        };
        if let Some(role) = found.first().map(|found| found.role) {
            found.retain(|other| other.role == role);
        }
        self.shared.narrow(name, hints, &mut found);
        found
    }
}

impl Shared {
    fn new(links: &[PrivateLink]) -> Self {
        let mut users: HashMap<&Name, HashMap<usize, Vec<Pair>>> = HashMap::new();
        for link in links {
            for zone in [&link.public_zone, &link.private_zone] {
                users.entry(zone).or_default().entry(link.entry).or_default().push(Pair::of(link));
            }
        }
        let differ = |of: &HashMap<usize, Vec<Pair>>| {
            let mut all = of.values();
            let first = all.next();
            all.any(|pairs| Some(pairs) != first)
        };
        let zones = users.iter().filter(|(_, of)| differ(of)).map(|(zone, _)| (*zone).clone());
        let mut shared = Self { zones: zones.collect(), listed: HashMap::new() };
        for link in links {
            for zone in [&link.public_zone, &link.private_zone] {
                if shared.zones.contains(zone) {
                    shared.note_listed(link, zone);
                }
            }
        }
        shared
    }

    fn note_listed(&mut self, link: &PrivateLink, zone: &Name) {
        for (name, _) in link.endpoints.iter().flat_map(|endpoint| endpoint.names.iter()) {
            let Ok(name) = name.under(zone) else { continue };
            let pairs = self.listed.entry(name).or_default();
            if !pairs.contains(&Pair::of(link)) {
                pairs.push(Pair::of(link));
            }
        }
    }

    /// Leaves the pairs that the name is of, as far as that is known.
    fn narrow(&self, name: &Name, hints: Hints<'_>, found: &mut Vec<Found>) {
        let Some(first) = found.first() else { return };
        let is_shared = self.zones.contains(first.pair.zone(first.role));
        let leads_apart = first.catalogued && first.role == Role::Public;
        if found.len() < 2 || !(is_shared || leads_apart) {
            return;
        }
        if let Some(pairs) = self.listed.get(name) {
            found.retain(|found| pairs.contains(&found.pair));
            return;
        }
        let likely = azure::places(&name.to_string(), hints).into_iter().next();
        let likely = likely.and_then(|place| {
            let (public, private) =
                (place.public_zone.parse().ok()?, place.private_zone.parse().ok()?);
            Some(Pair { public, private })
        });
        if found.iter().any(|found| Some(&found.pair) == likely.as_ref()) {
            found.retain(|found| Some(&found.pair) == likely.as_ref());
        }
    }
}

/// A pair that a name lies in.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Found {
    role: Role,
    pair: Pair,
    /// Only the catalogue has it.
    catalogued: bool,
}

impl Pair {
    fn of(link: &PrivateLink) -> Self {
        Self { public: link.public_zone.clone(), private: link.private_zone.clone() }
    }

    fn zone(&self, role: Role) -> &Name {
        match role {
            Role::Public => &self.public,
            Role::Private => &self.private,
        }
    }
}

/// The pairs of the catalogue's deepest zone above `name`.
fn catalogued(name: &Name) -> Vec<Found> {
    let mut deepest = None;
    let mut all: Vec<Found> = Vec::new();
    for place in catalog::places(&name.to_string()) {
        let (Ok(public), Ok(private)) = (place.public_zone.parse(), place.private_zone.parse())
        else {
            continue;
        };
        let found = Found { role: place.role, pair: Pair { public, private }, catalogued: true };
        let zone = found.pair.zone(found.role);
        if *zone == *deepest.get_or_insert_with(|| zone.clone()) && !all.contains(&found) {
            all.push(found);
        }
    }
    all
}

/// `name`, which lies in `from`, in `to` instead.
fn moved(name: &Name, from: &Name, to: &Name) -> Option<Name> {
    let octets = name.as_wire().len().checked_sub(from.as_wire().len())?;
    let labels = name.as_wire().get(..octets)?;
    Name::from_wire(&[labels, to.as_wire()].concat()).ok()
}
