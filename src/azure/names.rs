//! One name in its two forms: which service's zones a name of the files lies in, and which pair of
//! zones each name is taken for, so that every place that says something of it means the same name.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::Said;
use super::model::ZonePair;
use crate::catalog::{self, Place, Role, Service};

/// The label that Azure's private zones begin with.
pub const PRIVATE_LABEL: &str = "privatelink";

/// What an endpoint says of the service behind it.
#[derive(Clone, Copy, Default, Debug)]
pub struct Hints<'h> {
    /// `Microsoft.Storage/storageAccounts`, in any case.
    pub resource_type: Option<&'h str>,
    /// `blob`, in any case.
    pub group_ids: &'h [String],
}

impl Hints<'_> {
    /// Whether the service has resources of the endpoint's type; not where that is unknown.
    fn name_type_of(&self, place: &Place) -> bool {
        self.resource_type.is_some_and(|kind| place.service.has_resource_type(kind))
    }

    /// Whether one of the endpoint's groups is the service's.
    pub(super) fn name_group_of(&self, place: &Place) -> bool {
        self.group_ids.iter().any(|group| contains(place.service.group_ids, group))
    }
}

fn contains(known: &[&str], one: &str) -> bool {
    known.iter().any(|known| known.eq_ignore_ascii_case(one))
}

/// Whether some service of the catalogue has resources of this type.
pub(super) fn is_known_type(resource_type: &str) -> bool {
    catalog::services().iter().any(|service| service.has_resource_type(resource_type))
}

/// The places of a name in the deepest zones above it, the likeliest service first: the one that the
/// hints name, then the one with the fewest zones, as a whole of many needs more to be known.
///
/// A zone of another service than the endpoint's is no place of its names, however wide it is, see
/// [`fits`].
pub fn places(fqdn: &str, hints: Hints<'_>) -> Vec<Place> {
    let mut places = likely(fqdn, hints);
    places.retain(|place| fits(place, hints));
    let deepest = places.iter().map(|place| labels(&place.relative)).min();
    places.retain(|place| Some(labels(&place.relative)) == deepest);
    places
}

fn labels(relative: &str) -> usize {
    relative.split('.').count()
}

/// All places of a name, in zones of any depth; the likeliest service first. A name with Azure's
/// label in front of a zone lies in a private zone that the catalogue lacks.
pub(super) fn likely(fqdn: &str, hints: Hints<'_>) -> Vec<Place> {
    if is_zone(fqdn) {
        return Vec::new();
    }
    let mut places = catalog::places(fqdn);
    places.retain(|place| !has_private_label(&place.relative));
    places.sort_by_cached_key(|place| {
        let service = place.service;
        let (kind, group) = (hints.name_type_of(place), hints.name_group_of(place));
        // Of several public zones that share a private one, a private name alone means the usual one.
        let usual = || format!("{PRIVATE_LABEL}.{}", place.public_zone);
        let unusual = place.role == Role::Private && place.private_zone != usual();
        // Azure calls what a zone is for as the group is called: `blob`, `vault`.
        let own =
            service.group_ids.iter().any(|id| Some(*id) == place.public_zone.split('.').next());
        let unlikely = (!(kind && group), !kind, !group, unusual, service.pairs.len(), !own);
        (unlikely, service.name, service.cloud)
    });
    places
}

/// Whether an endpoint with these hints may have the name in that zone.
///
/// - A private zone says by itself which public one it stands for.
/// - Below a public zone, the service has to be one for the endpoint's type. Zones that services
///   share go on being shared: Azure Backup, say, has names in the zone of Storage's blobs.
/// - Without a type, the name fits unless the zone is a whole domain, such as azure.com, in which
///   other services have zones that the catalogue may lack.
fn fits(place: &Place, hints: Hints<'_>) -> bool {
    if place.role == Role::Private || hints.name_type_of(place) {
        return true;
    }
    let is_single = labels(&place.relative) == 1;
    match hints.resource_type {
        Some(_) => is_single && is_shared(&place.public_zone),
        None => is_single || hints.name_group_of(place) || !is_domain_of_several(place),
    }
}

/// Whether one of the labels is Azure's: a name never has it in front of its zone.
pub(super) fn has_private_label(relative: &str) -> bool {
    relative.split('.').any(|label| label == PRIVATE_LABEL)
}

/// Whether several services have this public zone.
fn is_shared(public_zone: &str) -> bool {
    let at = catalog::zones_at(public_zone);
    let publics = at.iter().filter(|place| place.role == Role::Public);
    let services: BTreeSet<&str> = publics.map(|place| place.service.name).collect();
    services.len() > 1
}

/// Whether the place's public zone is a registered domain with zones of other services in it.
fn is_domain_of_several(place: &Place) -> bool {
    let zone = place.public_zone.as_str();
    let below = || catalog::public_zone_below(zone).map(|(service, _)| service.name);
    labels(zone) == 2 && below().is_some_and(|other| other != place.service.name)
}

/// Whether the name is a zone of the catalogue, which has no address of its own and only looks like a
/// name of the zone above it. With a variable for its first label, a public zone may be any name.
fn is_zone(fqdn: &str) -> bool {
    let at = catalog::zones_at(fqdn);
    at.iter().any(|place| place.role == Role::Private || place.variables.is_empty())
}

/// The service that the hints mean, by type and group, if the name lies in one of its zones.
pub(super) fn meant_service(fqdn: &str, hints: Hints<'_>) -> Option<&'static Service> {
    let places = places(fqdn, hints).into_iter();
    let mut meant = places.filter(|place| hints.name_type_of(place) && hints.name_group_of(place));
    meant.next().map(|place| place.service)
}

/// The service and the zone of a name that has no private form of its own, as Azure's aliases lead
/// from it to names with other labels.
pub(super) fn led_elsewhere(fqdn: &str) -> Option<(&'static Service, &'static str)> {
    let below = |zone: &&str| fqdn.strip_suffix(zone).is_some_and(|front| front.ends_with('.'));
    catalog::services().iter().find_map(|service| {
        let zone = service.also_public.iter().find(|zone| below(zone))?;
        Some((service, *zone))
    })
}

/// Whether Azure's aliases may lead from `own` to `fqdn`.
pub(super) fn is_alias_into(own: &str, fqdn: &str) -> bool {
    let service = led_elsewhere(own).map(|(service, _)| service);
    let mut at = places(fqdn, Hints::default()).into_iter();
    service.is_some_and(|service| at.any(|place| std::ptr::eq(place.service, service)))
}

/// A name of the files, and what is known of it there.
#[derive(Clone, Copy)]
pub(super) struct Mention<'s> {
    pub(super) said: &'s Said,
    pub(super) hints: Hints<'s>,
}

/// Where a name lies: in one of these zones, behind `relative`.
#[derive(Clone, Debug)]
struct Home {
    pair: ZonePair,
    relative: String,
}

impl Home {
    fn of(place: &Place) -> Self {
        let pair = ZonePair {
            public_zone: place.public_zone.clone(),
            private_zone: place.private_zone.clone(),
        };
        Self { pair, relative: place.relative.clone() }
    }

    fn private_name(&self) -> String {
        format!("{}.{}", self.relative, self.pair.private_zone)
    }
}

/// How doubtful a home is. Of all homes that the files give to a name, the first in this order is
/// taken: its private form stands in the files, an endpoint's type and group mean its service, the
/// zone is the deepest, the catalogue has it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Doubt {
    is_unseen: bool,
    is_other_type: bool,
    is_other_group: bool,
    labels: usize,
    is_learnt: bool,
}

/// Which zones each name of the files lies in: each name has one pair in all files together.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Pairs that the catalogue lacks, by either zone.
    learnt: BTreeMap<String, ZonePair>,
    /// The pair of each name, with what stands in front of its zone.
    homes: BTreeMap<String, Option<Home>>,
}

impl Names {
    /// Takes pairs that the catalogue lacks. A zone has one counterpart, the first.
    pub(super) fn new(pairs: impl IntoIterator<Item = ZonePair>) -> Self {
        let mut names = Self::default();
        for pair in pairs {
            let zones = [pair.public_zone.clone(), pair.private_zone.clone()];
            if zones.iter().all(|zone| !names.learnt.contains_key(zone)) {
                names.learnt.extend(zones.map(|zone| (zone, pair.clone())));
            }
        }
        names
    }

    /// Decides for each name which zones it lies in. The private form that the files have goes
    /// first, then the service that an endpoint names, then the deepest zone.
    pub(super) fn settle<'s>(&mut self, all: impl Iterator<Item = Mention<'s>> + Clone) {
        let seen: BTreeSet<&str> = all.clone().map(|it| it.said.record.fqdn.as_str()).collect();
        let mut best: BTreeMap<&str, Option<(Doubt, Home)>> = BTreeMap::new();
        for Mention { said, hints } in all {
            let fqdn = said.record.fqdn.as_str();
            let here = self.likeliest(fqdn, hints, &seen);
            let known = best.entry(fqdn).or_default();
            let key = |(doubt, home): &(Doubt, Home)| (*doubt, home.pair.clone());
            *known = known.take().into_iter().chain(here).min_by_key(key);
        }
        let homes = best.into_iter();
        self.homes =
            homes.map(|(fqdn, home)| (fqdn.to_owned(), home.map(|(_, home)| home))).collect();
    }

    fn likeliest(
        &self,
        fqdn: &str,
        hints: Hints<'_>,
        seen: &BTreeSet<&str>,
    ) -> Option<(Doubt, Home)> {
        let doubt = |home: &Home, place: Option<&Place>| Doubt {
            is_unseen: !seen.contains(home.private_name().as_str()),
            is_other_type: !place.is_some_and(|place| hints.name_type_of(place)),
            is_other_group: !place.is_some_and(|place| hints.name_group_of(place)),
            labels: labels(&home.relative),
            is_learnt: place.is_none(),
        };
        let places = likely(fqdn, hints);
        let catalogued = places.iter().filter_map(|place| {
            let home = Home::of(place);
            let doubt = doubt(&home, Some(place));
            // The files may have the private form though the service is not the endpoint's.
            (!doubt.is_unseen || fits(place, hints)).then_some((doubt, home))
        });
        let learnt = self.learnt_home(fqdn).map(|home| (doubt(&home, None), home));
        // The first of equals, which is the likeliest service.
        catalogued.chain(learnt).min_by_key(|(doubt, _)| *doubt)
    }

    /// The learnt pair that a name lies in, deepest zone first; nothing of a zone itself.
    fn learnt_home(&self, fqdn: &str) -> Option<Home> {
        if self.is_zone(fqdn) {
            return None;
        }
        let (pair, relative) = fqdn.match_indices('.').find_map(|(dot, _)| {
            let (relative, zone) = (fqdn.get(..dot)?, fqdn.get(dot + 1..)?);
            Some((self.learnt.get(zone)?, relative))
        })?;
        let home = Home { pair: pair.clone(), relative: relative.to_owned() };
        (!has_private_label(relative)).then_some(home)
    }

    fn home(&self, fqdn: &str) -> Option<Home> {
        match self.homes.get(fqdn) {
            Some(home) => home.clone(),
            None => self.likeliest(fqdn, Hints::default(), &BTreeSet::new()).map(|(_, home)| home),
        }
    }

    /// The pairs that the catalogue lacks.
    pub(super) fn pairs(&self) -> Vec<ZonePair> {
        let pairs: BTreeSet<ZonePair> = self.learnt.values().cloned().collect();
        pairs.into_iter().collect()
    }

    /// The name in its private form; itself where only one form is known.
    pub(super) fn key(&self, fqdn: &str) -> String {
        self.home(fqdn).map_or_else(|| fqdn.to_owned(), |home| home.private_name())
    }

    /// The zones that the name lies in, if they are known.
    pub(super) fn pair(&self, fqdn: &str) -> Option<ZonePair> {
        self.home(fqdn).map(|home| home.pair)
    }

    /// Whether the name is a zone, be it of the catalogue or learnt.
    pub(super) fn is_zone(&self, fqdn: &str) -> bool {
        self.learnt.contains_key(fqdn) || is_zone(fqdn)
    }

    /// Whether a name is the public form, as far as one can tell.
    pub(super) fn is_public(&self, fqdn: &str) -> bool {
        match self.home(fqdn) {
            Some(home) => home.private_name() != fqdn,
            None => !has_private_label(fqdn),
        }
    }
}
