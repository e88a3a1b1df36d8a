//! Pairs of zones that the catalogue lacks, and that the files show to belong together.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::facts::Origin;
use super::model::ZonePair;
use super::names::{Hints, Mention, PRIVATE_LABEL, places};
use crate::catalog::{self, Role};

/// The pairs, those with the better evidence first. A name with Azure's label inside tells its zones
/// itself. Otherwise one address has a name in both forms.
pub(super) fn learn<'s>(all: impl Iterator<Item = Mention<'s>> + Clone) -> Vec<ZonePair> {
    let own = Own::of(all.clone());
    let (mut shown, mut usual) = (BTreeSet::new(), BTreeSet::new());
    for Mention { said, hints } in all {
        let fqdn = said.record.fqdn.as_str();
        if in_private_zone(fqdn) {
            continue;
        }
        let addresses = &said.record.addresses;
        match (Labelled::of(fqdn), said.origin, said.zone.as_deref()) {
            (Some(labelled), ..) => {
                let others = match own.names.contains(labelled.public_name().as_str()) {
                    true => BTreeSet::new(),
                    false => own.beside(labelled.relative, &labelled.pair.private_zone, addresses),
                };
                let is_usual = others.is_empty() && own.allows(&labelled, hints);
                usual.extend(Some(labelled.pair).filter(|pair| is_usual && is_narrow(pair)));
                shown.extend(others);
            }
            (None, Origin::Zone, Some(zone)) if places(fqdn, hints).is_empty() => {
                let below = fqdn.strip_suffix(zone).and_then(|front| front.strip_suffix('.'));
                shown.extend(
                    below.map(|front| own.beside(front, zone, addresses)).into_iter().flatten(),
                );
            }
            _ => {}
        }
    }
    shown.into_iter().chain(usual).collect()
}

/// Whether the catalogue has a private zone above the name.
fn in_private_zone(fqdn: &str) -> bool {
    places(fqdn, Hints::default()).iter().any(|place| place.role == Role::Private)
}

/// A name with Azure's label inside: `x.privatelink.example.com`.
struct Labelled<'n> {
    relative: &'n str,
    pair: ZonePair,
}

impl<'n> Labelled<'n> {
    fn of(fqdn: &'n str) -> Option<Self> {
        let (relative, public) = fqdn.rsplit_once(&format!(".{PRIVATE_LABEL}."))?;
        let private_zone = format!("{PRIVATE_LABEL}.{public}");
        Some(Self { relative, pair: ZonePair { public_zone: public.to_owned(), private_zone } })
    }

    fn public_name(&self) -> String {
        format!("{}.{}", self.relative, self.pair.public_zone)
    }
}

/// What endpoints say of themselves.
#[derive(Default)]
struct Own<'s> {
    names: BTreeSet<&'s str>,
    /// Names in no zone of the catalogue, by address.
    unknown: BTreeMap<IpAddr, BTreeSet<&'s str>>,
    /// Names of endpoints with a type that no service at those zones has.
    strangers: BTreeSet<&'s str>,
    /// Public zones of the catalogue that names of the files lie in.
    catalogued: BTreeSet<String>,
}

impl<'s> Own<'s> {
    fn of(all: impl Iterator<Item = Mention<'s>>) -> Self {
        let mut own = Self::default();
        for Mention { said, hints } in all {
            let fqdn = said.record.fqdn.as_str();
            let place = places(fqdn, hints).into_iter().next();
            if said.origin == Origin::Own {
                own.names.insert(fqdn);
                if place.is_none() {
                    own.strangers.extend(hints.resource_type.map(|_| fqdn));
                    for address in &said.record.addresses {
                        own.unknown.entry(*address).or_default().insert(fqdn);
                    }
                }
            }
            let place = place.filter(|place| place.role == Role::Public);
            own.catalogued.extend(place.map(|place| place.public_zone));
        }
        own
    }

    /// The pairs of a private zone and the zones of unknown names that have the same address, and
    /// the same labels in front.
    fn beside(&self, relative: &str, zone: &str, addresses: &[IpAddr]) -> BTreeSet<ZonePair> {
        let same = addresses.iter().filter_map(|address| self.unknown.get(address)).flatten();
        let public = same.filter_map(|name| name.strip_prefix(relative)?.strip_prefix('.'));
        let pairs = public.map(|public| ZonePair {
            public_zone: public.to_owned(),
            private_zone: zone.to_owned(),
        });
        pairs
            .filter(|pair| is_narrow(pair) && catalog::zones_at(&pair.public_zone).is_empty())
            .collect()
    }

    /// Whether a public zone that the catalogue leads elsewhere may have this private zone too: an
    /// endpoint of another type says so, or the files have no name in the catalogue's pair.
    fn allows(&self, labelled: &Labelled<'_>, hints: Hints<'_>) -> bool {
        let zone = &labelled.pair.public_zone;
        let at = catalog::zones_at(zone);
        let is_others = |kind: &str| !at.iter().any(|place| place.service.has_resource_type(kind));
        at.is_empty()
            || hints.resource_type.is_some_and(is_others)
            || self.strangers.contains(labelled.public_name().as_str())
            || !self.catalogued.contains(zone)
    }
}

/// Whether neither zone would take names that are others'.
fn is_narrow(pair: &ZonePair) -> bool {
    let ZonePair { public_zone, private_zone } = pair;
    let is_zone = |zone: &str| zone.contains('.') && !zone.starts_with("*.");
    let is_wide = |zone: &str| catalog::public_zone_below(zone).is_some();
    let apart = public_zone != private_zone && !public_zone.ends_with(&format!(".{private_zone}"));
    apart
        && [public_zone, private_zone].iter().all(|zone| is_zone(zone) && !is_wide(zone))
        && catalog::zones_at(private_zone).is_empty()
}
