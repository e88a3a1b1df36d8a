//! One name in its two forms: which service's zones a name of the files lies in, and zones that the
//! catalogue lacks but the files show in both forms.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::facts::{Origin, Said};
use super::model::ZonePair;
use crate::catalog::{self, Place, Role};

/// The label that Azure's private zones begin with.
const PRIVATE_LABEL: &str = "privatelink";

/// What an endpoint says of the service behind it.
#[derive(Clone, Copy, Default, Debug)]
pub struct Hints<'h> {
    /// `Microsoft.Storage/storageAccounts`, in any case.
    pub resource_type: Option<&'h str>,
    /// `blob`, in any case.
    pub group_ids: &'h [String],
}

/// The places of a name in the deepest zones above it, the likeliest service first: the one that the
/// hints name, then the one with the fewest zones, as a whole of many needs more to be known.
pub fn places(fqdn: &str, hints: Hints<'_>) -> Vec<Place> {
    if is_zone(fqdn) {
        return Vec::new();
    }
    let mut places = catalog::places(fqdn);
    let labels = |place: &Place| place.relative.split('.').count();
    let deepest = places.iter().map(labels).min();
    places.retain(|place| Some(labels(place)) == deepest);
    places.sort_by_cached_key(|place| {
        let service = place.service;
        let kind = hints.resource_type.is_some_and(|kind| {
            service.resource_types.iter().any(|known| known.eq_ignore_ascii_case(kind))
        });
        let group = hints
            .group_ids
            .iter()
            .any(|group| service.group_ids.iter().any(|known| known.eq_ignore_ascii_case(group)));
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

/// Whether the name is a zone of the catalogue, which has no address of its own and only looks like a
/// name of the zone above it. With a variable for its first label, a public zone may be any name.
fn is_zone(fqdn: &str) -> bool {
    let at = catalog::zones_at(fqdn);
    at.iter().any(|place| place.role == Role::Private || place.variables.is_empty())
}

/// What tells names apart: every name in its private form.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Pairs that the catalogue lacks, by either zone.
    pairs: BTreeMap<String, ZonePair>,
}

impl Names {
    pub(super) fn new(pairs: impl IntoIterator<Item = ZonePair>) -> Self {
        let mut names = Self::default();
        for pair in pairs.into_iter().collect::<BTreeSet<_>>() {
            for zone in [&pair.private_zone, &pair.public_zone] {
                names.pairs.entry(zone.clone()).or_insert_with(|| pair.clone());
            }
        }
        names
    }

    /// Learns the zones that the catalogue lacks: by Azure's label in them, or because one address
    /// has a name in both forms.
    pub(super) fn learn<'s>(all: impl Iterator<Item = &'s Said>) -> Self {
        let unknown = all.filter(|said| catalog::places(&said.record.fqdn).is_empty());
        let (mut pairs, mut zoned) = (BTreeSet::new(), Vec::new());
        let mut own: BTreeMap<IpAddr, BTreeSet<&str>> = BTreeMap::new();
        for said in unknown {
            let fqdn = said.record.fqdn.as_str();
            match (by_label(fqdn), said.origin, said.zone.as_deref()) {
                (Some(pair), ..) => {
                    pairs.insert(pair);
                }
                (None, Origin::Own, _) => {
                    for address in &said.record.addresses {
                        own.entry(*address).or_default().insert(fqdn);
                    }
                }
                (None, Origin::Zone, Some(zone)) => zoned.push((fqdn, zone, said)),
                (None, Origin::Zone, None) => {}
            }
        }
        for (fqdn, zone, said) in zoned {
            let below = fqdn.strip_suffix(zone).and_then(|front| front.strip_suffix('.'));
            let Some(relative) = below else { continue };
            let same = said.record.addresses.iter().filter_map(|address| own.get(address));
            for public in same.flatten() {
                let rest = public.strip_prefix(relative).and_then(|rest| rest.strip_prefix('.'));
                pairs.extend(rest.and_then(|public_zone| pair(public_zone, zone)));
            }
        }
        Self::new(pairs)
    }

    pub(super) fn into_pairs(self) -> Vec<ZonePair> {
        let pairs: BTreeSet<ZonePair> = self.pairs.into_values().collect();
        pairs.into_iter().collect()
    }

    /// The name in its private form; itself where only one form is known.
    pub(super) fn key(&self, fqdn: &str, hints: Hints<'_>) -> String {
        if let Some(place) = places(fqdn, hints).into_iter().next() {
            return format!("{}.{}", place.relative, place.private_zone);
        }
        match self.home(fqdn) {
            Some((pair, relative)) => format!("{relative}.{}", pair.private_zone),
            None => fqdn.to_owned(),
        }
    }

    /// The private zone of the name, if it is known.
    pub(super) fn zone(&self, fqdn: &str, hints: Hints<'_>) -> Option<String> {
        let place = places(fqdn, hints).into_iter().next().map(|place| place.private_zone);
        place.or_else(|| Some(self.home(fqdn)?.0.private_zone.clone()))
    }

    /// Whether the name is a zone, be it of the catalogue or learnt.
    pub(super) fn is_zone(&self, fqdn: &str) -> bool {
        self.pairs.contains_key(fqdn) || is_zone(fqdn)
    }

    /// The learnt pair that a name lies in, deepest zone first, and what stands in front of the zone;
    /// nothing of a zone itself.
    pub(super) fn home<'n>(&self, fqdn: &'n str) -> Option<(&ZonePair, &'n str)> {
        if self.is_zone(fqdn) {
            return None;
        }
        fqdn.match_indices('.').find_map(|(dot, _)| {
            let (relative, zone) = (fqdn.get(..dot)?, fqdn.get(dot + 1..)?);
            Some((self.pairs.get(zone)?, relative))
        })
    }
}

/// Whether a name is the public form, as far as one can tell.
pub(super) fn is_public(fqdn: &str) -> bool {
    match catalog::places(fqdn).first() {
        Some(place) => place.role == Role::Public,
        None => !fqdn.split('.').any(|label| label == PRIVATE_LABEL),
    }
}

/// The zones of a name with Azure's label inside: `x.privatelink.example.com`.
fn by_label(fqdn: &str) -> Option<ZonePair> {
    let (_, public) = fqdn.rsplit_once(&format!(".{PRIVATE_LABEL}."))?;
    pair(public, &format!("{PRIVATE_LABEL}.{public}"))
}

/// Two zones, unless one would take names that are others'.
fn pair(public: &str, private: &str) -> Option<ZonePair> {
    let is_zone = |zone: &str| zone.contains('.') && !zone.starts_with("*.");
    let is_wide = |zone: &str| {
        catalog::public_zone_below(zone).is_some() || !catalog::zones_at(zone).is_empty()
    };
    let apart = public != private && !public.ends_with(&format!(".{private}"));
    let fits = apart && [public, private].iter().all(|zone| is_zone(zone) && !is_wide(zone));
    fits.then(|| ZonePair { public_zone: public.to_owned(), private_zone: private.to_owned() })
}
