//! Which names go together: a private one, and the public ones that lead to it.

use std::collections::{HashMap, HashSet};

use crate::azure::{self, Hints, PRIVATE_LABEL, ZonePair};
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
        let shown = shown.iter().filter_map(Pair::parse);
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

    /// The names that go with a name of the files, of which they tell the pair (`None`: they do not).
    /// A guess of the catalogue's never goes before what the files tell.
    pub(super) fn of_record(
        &self,
        name: &Name,
        home: Option<&ZonePair>,
        hints: Hints<'_>,
    ) -> Names {
        let deepest = self.deepest(name, hints);
        let told = home.and_then(Pair::parse);
        let is_told = |found: &Found| told.as_ref() == Some(&found.pair);
        match (deepest.first(), &told) {
            // The configuration has the zone, and leads it where the files do.
            (Some(_), Some(_)) if deepest.iter().any(is_told) => {
                self.through(name, told.as_ref(), hints)
            }
            // It leads it elsewhere, or has a zone that the files do not tell of and that is not only
            // a wider one of another service.
            (Some(Found { catalogued: false, .. }), Some(_)) => self.names(name, hints),
            (Some(Found { catalogued: false, pair, .. }), None) if !is_catalogued(name, pair) => {
                self.names(name, hints)
            }
            (_, Some(_)) => self.through(name, told.as_ref(), hints),
            (_, None) => Names { publics: vec![name.clone()], private: None },
        }
    }

    /// As [`Self::names`], by this pair.
    fn through(&self, name: &Name, pair: Option<&Pair>, hints: Hints<'_>) -> Names {
        let private = pair.and_then(|pair| match name.is_within(&pair.private) {
            true => Some(name.clone()),
            false => moved(name, &pair.public, &pair.private),
        });
        match private {
            Some(private) if private != *name => {
                self.with_private(vec![name.clone()], private, hints)
            }
            Some(private) => self.with_private(Vec::new(), private, hints),
            None => self.names(name, hints),
        }
    }

    /// The names that go with `name`, itself among them. Of the catalogue's public names only one
    /// is taken, and only for a name that is private: Azure need not have the others. What the name's
    /// endpoint says tells which pair it is of, where a zone has several and no entry lists the name.
    pub(super) fn names(&self, name: &Name, hints: Hints<'_>) -> Names {
        let alone = || Names { publics: vec![name.clone()], private: None };
        match self.deepest(name, hints).first() {
            None => alone(),
            Some(Found { role: Role::Private, .. }) => {
                self.with_private(Vec::new(), name.clone(), hints)
            }
            Some(Found { role: Role::Public, pair, .. }) => {
                match moved(name, &pair.public, &pair.private) {
                    Some(private) => self.with_private(vec![name.clone()], private, hints),
                    None => alone(),
                }
            }
        }
    }

    /// A private name with these public ones, and with those that its zones tell.
    fn with_private(&self, publics: Vec<Name>, private: Name, hints: Hints<'_>) -> Names {
        let mut names = Names { publics, private: None };
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
        let mut own = zones.filter_map(|zone| {
            let pairs = self.zones.get(&zone)?;
            (!is_labelled_in_front(name, &zone)).then(|| (zone.label_count(), pairs))
        });
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

    fn parse(pair: &ZonePair) -> Option<Self> {
        Some(Self {
            public: pair.public_zone.parse().ok()?,
            private: pair.private_zone.parse().ok()?,
        })
    }

    fn zone(&self, role: Role) -> &Name {
        match role {
            Role::Public => &self.public,
            Role::Private => &self.private,
        }
    }
}

/// Whether the catalogue has this pair, with the name in one of its zones.
fn is_catalogued(name: &Name, pair: &Pair) -> bool {
    let parsed = |text: &String| text.parse::<Name>().ok();
    catalog::places(&name.to_string()).iter().any(|place| {
        let (public, private) = (parsed(&place.public_zone), parsed(&place.private_zone));
        public.as_ref() == Some(&pair.public) && private.as_ref() == Some(&pair.private)
    })
}

/// The pairs of the catalogue's deepest zone above `name`.
fn catalogued(name: &Name) -> Vec<Found> {
    let mut deepest = None;
    let mut all: Vec<Found> = Vec::new();
    for place in azure::places(&name.to_string(), Hints::default()) {
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

/// Whether Azure's label stands in front of the zone: then the name lies in another, private zone.
fn is_labelled_in_front(name: &Name, zone: &Name) -> bool {
    let front = name.label_count().saturating_sub(zone.label_count());
    name.labels().take(front).any(|label| label == PRIVATE_LABEL.as_bytes())
}

/// `name`, which lies in `from`, in `to` instead.
fn moved(name: &Name, from: &Name, to: &Name) -> Option<Name> {
    let octets = name.as_wire().len().checked_sub(from.as_wire().len())?;
    let labels = name.as_wire().get(..octets)?;
    Name::from_wire(&[labels, to.as_wire()].concat()).ok()
}
