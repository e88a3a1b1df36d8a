//! Zones of several entries: who may share one, what they must then agree on, and which lie inside
//! others.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;

use super::names;
use super::pairs::{Pair, Zones, unlisted};
use crate::catalog::Role;
use crate::config::findings::{Findings, Path, Problem, Span};
use crate::config::model::Unlisted;
use crate::config::spec::PrivateLinkSpec;
use crate::config::table::Field;
use crate::wire::{Name, NameMap, QName};

/// Zones inside others, nearest ones only.
#[derive(Default)]
pub(super) struct Nested<'z> {
    inside: HashMap<&'z Name, Inside<'z>>,
}

#[derive(Default)]
struct Inside<'z> {
    by_name: NameMap<&'z Name>,
    /// The same ones.
    zones: Vec<&'z Name>,
}

impl<'z> Nested<'z> {
    pub(super) fn new(all: &'z [Option<Zones>]) -> Self {
        let pairs = || all.iter().flatten().flat_map(|zones| &zones.pairs);
        let mut known: NameMap<&Name> = NameMap::default();
        let mut distinct = Vec::new();
        for zone in pairs().flat_map(|pair| [&pair.public.value, &pair.private.value]) {
            if known.insert(&QName::from(zone), zone).is_none() {
                distinct.push(zone);
            }
        }
        let mut inside: HashMap<&Name, Inside<'_>> = HashMap::new();
        for zone in distinct {
            let Some(parent) = zone.parent() else { continue };
            let Some((_, around)) = known.deepest(&QName::from(&parent)) else { continue };
            let inside = inside.entry(around).or_default();
            inside.by_name.insert(&QName::from(zone), zone);
            inside.zones.push(zone);
        }
        Self { inside }
    }

    /// Whether a zone of another entry lies in one of these.
    pub(super) fn has_others(&self, zones: &Zones) -> bool {
        let own = zones.pairs.iter().flat_map(|pair| [&pair.public.value, &pair.private.value]);
        let mut inside = own.filter_map(|zone| self.inside.get(zone));
        inside.any(|inside| inside.zones.iter().any(|zone| !zones.have(zone)))
    }

    /// The zone inside `zone` that `name` stands in.
    pub(super) fn around(&self, name: &Name, zone: &Name) -> Option<&'z Name> {
        let (_, inner) = self.inside.get(zone)?.by_name.deepest(&QName::from(name))?;
        Some(inner)
    }
}

/// Which entry each zone stands in; `None` where several have it.
pub(super) struct Owners(NameMap<Option<usize>>);

impl Owners {
    pub(super) fn new(all: &[Option<Zones>]) -> Self {
        let mut owners: NameMap<Option<usize>> = NameMap::default();
        for (entry, zones) in all.iter().enumerate() {
            for pair in zones.iter().flat_map(|zones| &zones.pairs) {
                for zone in [&pair.public.value, &pair.private.value] {
                    let owner = owners.or_insert(&QName::from(zone), Some(entry));
                    *owner = owner.filter(|first| *first == entry);
                }
            }
        }
        Self(owners)
    }

    /// Whether `zone` lies inside a zone that is not `entry`'s alone.
    pub(super) fn is_inside_of_others(&self, zone: &Name, entry: usize) -> bool {
        let mut above = zone.parent();
        while let Some(name) = above {
            match self.0.deepest(&QName::from(&name)) {
                Some((_, owner)) if *owner != Some(entry) => return true,
                Some((labels, _)) => above = (0..=labels).try_fold(name, |name, _| name.parent()),
                None => return false,
            }
        }
        false
    }
}

/// One of an entry's pairs.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct User {
    entry: usize,
    pair: usize,
}

/// Zones that stand in several entries, each with its users in the file's order. Of zones with the
/// same users there is only the first.
pub(super) struct Shared<'z>(Vec<(&'z Name, Vec<User>)>);

impl<'z> Shared<'z> {
    /// Reports zones that stand twice and may not: `None` then.
    pub(super) fn find(all: &'z [Option<Zones>], findings: &mut Findings<'_>) -> Option<Self> {
        let mut users: HashMap<&Name, (Role, Vec<User>)> = HashMap::new();
        let mut order = Vec::new();
        let mut twice = false;
        let known = all.iter().enumerate().filter_map(|(at, zones)| Some((at, zones.as_ref()?)));
        for (entry, zones) in known {
            'entry: for (index, pair) in zones.pairs.iter().enumerate() {
                let zone_of = [(Role::Public, &pair.public), (Role::Private, &pair.private)];
                for (role, at) in zone_of {
                    let (first_role, users) = users.entry(&at.value).or_insert_with(|| {
                        order.push(&at.value);
                        (role, Vec::new())
                    });
                    let first = users.first().and_then(|user| first_use(all, *user));
                    if let Some((other, first)) = first
                        && (*first_role != role || !may_share(other, first, zones, pair))
                    {
                        let span = place(first, *first_role);
                        report_twice(entry, all.len(), zones, (role, pair), span, findings);
                        twice = true;
                        break 'entry;
                    }
                    users.push(User { entry, pair: index });
                }
            }
        }
        let mut seen = HashSet::new();
        let shared = order.into_iter().filter_map(|zone| {
            let (_, users) = users.remove(zone)?;
            let first = users.first()?.entry;
            let several = users.iter().any(|user| user.entry != first);
            (several && seen.insert(users.clone())).then_some((zone, users))
        });
        let shared = shared.collect();
        (!twice).then_some(Self(shared))
    }

    /// Reports what entries with a common zone do not agree on.
    pub(super) fn check(
        &self,
        specs: &[PrivateLinkSpec],
        all: &[Option<Zones>],
        findings: &mut Findings<'_>,
    ) {
        let (mut settings, mut names) = (HashSet::new(), HashSet::new());
        for (zone, users) in &self.0 {
            let Some(first) = users.first() else { continue };
            let repeats = |user: &&User| specs.get(user.entry).is_some_and(|s| s.repeats_another);
            let others = users.iter().filter(|user| user.entry != first.entry);
            for user in others.filter(|user| !repeats(user)) {
                if settings.insert(user.entry) {
                    check_settings(zone, [*first, *user], specs, all, findings);
                }
            }
            check_names(users, specs, all, &mut names, findings);
        }
    }
}

fn first_use(all: &[Option<Zones>], user: User) -> Option<(&Zones, &Pair)> {
    let zones = all.get(user.entry)?.as_ref()?;
    Some((zones, zones.pairs.get(user.pair)?))
}

/// Pairs share zones as Azure shares them: one public zone may lead to several private ones, and
/// several public ones to one. A pair that may be a slip shares nothing.
fn may_share(first: &Zones, pair: &Pair, second: &Zones, other: &Pair) -> bool {
    is_same(pair, other) || (first.are_trusted(pair) && second.are_trusted(other))
}

fn is_same(pair: &Pair, other: &Pair) -> bool {
    pair.public.value == other.public.value && pair.private.value == other.private.value
}

fn place(pair: &Pair, role: Role) -> Span {
    match role {
        Role::Public => pair.public.span,
        Role::Private => pair.private.span,
    }
}

fn report_twice(
    entry: usize,
    of: usize,
    zones: &Zones,
    (role, pair): (Role, &Pair),
    first: Span,
    findings: &mut Findings<'_>,
) {
    let top = Path::Root.key("private-link");
    let path = top.item(entry, of);
    let (key, at) = match role {
        Role::Public => ("public-zone", &pair.public),
        Role::Private => ("private-zone", &pair.private),
    };
    let key = if zones.by_service { "service" } else { key };
    let line = findings.line(first);
    let problem = format!("the zone {} stands twice in the file (first on line {line})", at.value);
    findings.error(path.key(key), at.span, Problem::new(problem));
}

fn check_settings(
    zone: &Name,
    users: [User; 2],
    specs: &[PrivateLinkSpec],
    all: &[Option<Zones>],
    findings: &mut Findings<'_>,
) {
    let spec_of = |user: User| Some((specs.get(user.entry)?, all.get(user.entry)?.as_ref()));
    let [Some((first, first_zones)), Some((second, zones))] = users.map(spec_of) else { return };
    let (Some(one), Some(other)) = (unlisted(first, first_zones), unlisted(second, zones)) else {
        return;
    };
    let place = |spec: &PrivateLinkSpec| spec.unlisted.good().map_or(spec.span, |at| at.span);
    let line = findings.line(place(first));
    let problem = if one != other {
        format!(
            "\"{}\" here, but \"{}\" in another entry with the zone {zone} (line {line}); make \
             them equal",
            other.word(),
            one.word()
        )
    } else if one == Unlisted::Wildcard {
        let remedy = if lead_together(users, all) {
            "put both endpoints into one entry"
        } else {
            "list the names, and write unlisted = \"forward\" into both entries"
        };
        format!(
            "another entry with the zone {zone} (line {line}) has a wildcard too, and a name that \
             neither lists would be both's; {remedy}"
        )
    } else {
        return;
    };
    let top = Path::Root.key("private-link");
    let path = top.item(users[1].entry, specs.len());
    let key = if matches!(second.unlisted, Field::Missing) { path } else { path.key("unlisted") };
    findings.error(key, place(second), Problem::bare(problem));
}

/// Whether both lead the names of a zone to the same private zone, so that one entry can have both.
fn lead_together(users: [User; 2], all: &[Option<Zones>]) -> bool {
    match users.map(|user| first_use(all, user)) {
        [Some((_, first)), Some((_, second))] => is_same(first, second),
        _ => true,
    }
}

/// Reports names that two entries list; `reported` are entries with the places of theirs.
fn check_names(
    users: &[User],
    specs: &[PrivateLinkSpec],
    all: &[Option<Zones>],
    reported: &mut HashSet<(usize, usize)>,
    findings: &mut Findings<'_>,
) {
    let top = Path::Root.key("private-link");
    let mut listed: HashMap<Cow<'_, Name>, (User, Span), RandomState> = HashMap::default();
    for user @ User { entry, pair } in users {
        let (Some(spec), Some(Some(zones))) = (specs.get(*entry), all.get(*entry)) else {
            continue;
        };
        if spec.repeats_another {
            continue;
        }
        let of = spec.endpoints.len();
        for (index, endpoint) in spec.endpoints.iter().enumerate() {
            for name in &endpoint.names.entries {
                let Some(relative) = names::relative(&name.name, zones, *pair) else { continue };
                let Some((first, place)) = listed.get(&relative) else {
                    listed.insert(relative, (*user, name.span));
                    continue;
                };
                if first.entry == *entry || !reported.insert((*entry, name.span.start)) {
                    continue;
                }
                let line = findings.line(*place);
                let remedy = if lead_together([*first, *user], all) {
                    "put both endpoints into one entry"
                } else {
                    "Azure leads a name to one private zone only, so keep it in one of the entries"
                };
                let problem = format!(
                    "another [[private-link]] with this zone lists the name too (line {line}); \
                     {remedy}"
                );
                let path = top.item(*entry, specs.len());
                let endpoints = path.key("endpoint");
                let path = endpoints.item(index, of);
                let names = path.key("names");
                let path = names.key(endpoint.names.text(name));
                findings.error(path, name.span, Problem::bare(problem));
            }
        }
    }
}
