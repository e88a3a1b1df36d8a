//! Where each record of the inventory goes: a service of the catalogue, or two zones.

use std::collections::{BTreeMap, BTreeSet};

use super::{Entry, Listed};
use crate::azure::log::{Log, shown};
use crate::azure::model::{Endpoint, Inventory, Record};
use crate::azure::names::{Hints, Names, places};
use crate::catalog::{self, Place};
use crate::config::limits::MAX_ADDRESSES;
use crate::wire::Name;

/// What variables that are regions are called.
const REGION_VARIABLES: [&str; 2] = ["regionName", "region"];

/// All records that can be placed, in the inventory's order.
pub(super) fn all(inventory: &Inventory, log: &mut Log) -> Vec<Listed> {
    let names = Names::new(inventory.pairs.iter().cloned());
    let mut used: BTreeSet<(&str, String)> = BTreeSet::new();
    let mut listed = Vec::new();
    // Endpoints that say what they lead to go first: others share their services.
    for hinted in [true, false] {
        for (index, endpoint) in inventory.endpoints.iter().enumerate() {
            if hinted == endpoint.group_ids.is_empty() {
                continue;
            }
            let bound = Bound::of(endpoint);
            for record in &endpoint.records {
                match place(index, endpoint, record, &bound, &names, &used) {
                    Ok(name) => listed.push(name),
                    Err(why) => complain(record, &why, log),
                }
            }
        }
        for name in &listed {
            if let Entry::Service { service, .. } = &name.entry {
                used.insert((service.name, name.private_zone.clone()));
            }
        }
    }
    listed.iter().for_each(|name| note_unusual(name, log));
    listed
}

/// Complains about a record that is not listed.
fn complain(record: &Record, why: &str, log: &mut Log) {
    let name = shown(&record.fqdn);
    match led_elsewhere(&record.fqdn) {
        Some(zone) => log.noted(
            &record.source,
            format!(
                "{name}: not listed, and need not be: Azure's own aliases lead from {zone} into a \
                 zone of its service; forward it, and the chain ends in the private address"
            ),
        ),
        None => log.left_out(&record.source, format!("{name}: {why}")),
    }
}

/// The zone of a name that has no private form of its own, as Azure's aliases lead away from it.
fn led_elsewhere(fqdn: &str) -> Option<&'static str> {
    let mut zones = catalog::services().iter().flat_map(|service| service.also_public);
    let below = |zone: &&str| fqdn.strip_suffix(zone).is_some_and(|front| front.ends_with('.'));
    zones.find(|zone| below(zone)).copied()
}

/// Notes zones that are a pair only because one address has a name in both.
fn note_unusual(name: &Listed, log: &mut Log) {
    let Entry::Zones { public_zone, private_zone } = &name.entry else { return };
    let usual = *private_zone == format!("privatelink.{public_zone}");
    let Some(source) = name.sources.first().filter(|_| !usual) else { return };
    let (public, private) = (shown(public_zone), shown(private_zone));
    log.noted(
        source,
        format!(
            "{public} and {private} are taken for a public zone and its private one, as this name \
             stands in both with the same address; `privatelinkd check` warns of the pair"
        ),
    );
}

/// What the variables of services stand for at one endpoint.
struct Bound<'e> {
    by_service: BTreeMap<(&'static str, &'static str), String>,
    region: Option<&'e str>,
}

impl<'e> Bound<'e> {
    fn of(endpoint: &'e Endpoint) -> Self {
        let mut by_service = BTreeMap::new();
        for record in &endpoint.records {
            for place in places(&record.fqdn, hints(endpoint)) {
                for (variable, value) in place.variables {
                    by_service.entry((place.service.name, variable)).or_insert(value);
                }
            }
        }
        Self { by_service, region: endpoint.region.as_deref() }
    }

    /// All variables of the place's service, or the first that is not known.
    fn variables(&self, place: &Place) -> Result<BTreeMap<&'static str, String>, &'static str> {
        let here: BTreeMap<&str, &String> =
            place.variables.iter().map(|(name, value)| (*name, value)).collect();
        let mut variables = BTreeMap::new();
        for name in place.service.variables() {
            let region = || {
                let is_label = |text: &&str| text.bytes().all(|o| o.is_ascii_alphanumeric());
                let region = self.region.filter(|_| REGION_VARIABLES.contains(&name));
                region.filter(is_label).map(str::to_owned)
            };
            let elsewhere = || self.by_service.get(&(place.service.name, name)).cloned();
            let value = here.get(name).map(|value| (*value).clone());
            let value = value.or_else(elsewhere).or_else(region).ok_or(name)?;
            variables.insert(name, value);
        }
        Ok(variables)
    }
}

fn hints(endpoint: &Endpoint) -> Hints<'_> {
    Hints { resource_type: endpoint.resource_type.as_deref(), group_ids: &endpoint.group_ids }
}

/// The record placed, or why it is left out.
fn place(
    index: usize,
    endpoint: &Endpoint,
    record: &Record,
    bound: &Bound<'_>,
    names: &Names,
    used: &BTreeSet<(&str, String)>,
) -> Result<Listed, String> {
    if record.addresses.len() > MAX_ADDRESSES {
        return Err(format!("{} addresses; at most {MAX_ADDRESSES} go", record.addresses.len()));
    }
    let mut candidates = places(&record.fqdn, hints(endpoint));
    if endpoint.group_ids.is_empty() {
        // Stable: among those in use, and among the others, the likeliest stays first.
        candidates.sort_by_key(|p| !used.contains(&(p.service.name, p.private_zone.clone())));
    }
    let whole = candidates.iter().find_map(|place| Some((place, bound.variables(place).ok()?)));
    let sources = std::iter::once(&record.source).chain(&record.also).cloned().collect();
    let (entry, public_zone, private_zone, relative) = match (whole, candidates.first()) {
        (Some((place, variables)), _) => {
            let entry = Entry::Service { service: place.service, variables };
            (entry, &place.public_zone, &place.private_zone, place.relative.as_str())
        }
        (None, Some(place)) => {
            let missing = bound.variables(place).err().unwrap_or_default();
            return Err(format!(
                "nothing in the files says what {missing} is in the zones of {}; give the \
                 endpoint too (az network private-endpoint show)",
                place.service.name
            ));
        }
        (None, None) => {
            let Some((pair, relative)) = names.home(&record.fqdn) else {
                return Err(unknown(&record.fqdn, names));
            };
            let (public_zone, private_zone) = (&pair.public_zone, &pair.private_zone);
            let entry = Entry::Zones {
                public_zone: public_zone.clone(),
                private_zone: private_zone.clone(),
            };
            (entry, public_zone, private_zone, relative)
        }
    };
    check_relative(relative, &entry)?;
    check_ending(relative, [public_zone, private_zone], names)?;
    for zone in [public_zone, private_zone] {
        format!("{relative}.{zone}").parse::<Name>().map_err(|e| format!("below {zone}: {e}"))?;
    }
    Ok(Listed {
        endpoint: index,
        public_zone: public_zone.clone(),
        private_zone: private_zone.clone(),
        relative: relative.to_owned(),
        entry,
        addresses: record.addresses.clone(),
        sources,
    })
}

/// Whether the configuration can list a name.
fn check_relative(relative: &str, entry: &Entry) -> Result<(), String> {
    let own_zones = matches!(entry, Entry::Service { service, .. } if !service.other_tenants);
    if relative == "*" && !own_zones {
        return Err(
            "a wildcard, but other tenants have names in this zone; give the endpoints, so \
                    that names can be listed one by one"
                .to_owned(),
        );
    }
    if relative != "*" && relative.split('.').any(|label| label == "*") {
        return Err("a wildcard below the zone; list its names one by one".to_owned());
    }
    Ok(())
}

/// Whether a name in front of its zone ends in a zone once more: nobody's name does, and the
/// configuration takes it for one that should have been relative.
fn check_ending(relative: &str, zones: [&str; 2], names: &Names) -> Result<(), String> {
    let [public, private] = zones;
    let inner = private.strip_suffix(public).and_then(|front| front.strip_suffix('.'));
    let mut starts = std::iter::once(0).chain(relative.match_indices('.').map(|(dot, _)| dot + 1));
    let end = starts.find_map(|start| {
        let end = relative.get(start..)?;
        (inner == Some(end) || zones.contains(&end) || names.is_zone(end)).then_some(end)
    });
    match end {
        Some(end) => Err(format!("{} twice; a slip in the record's name?", shown(end))),
        None => Ok(()),
    }
}

fn unknown(fqdn: &str, names: &Names) -> String {
    if names.is_zone(fqdn) {
        return "the zone itself, which has no address at an endpoint".to_owned();
    }
    "in no zone of the catalogue (see `privatelinkd services`), and its private form is not in the \
     files: give the DNS zone group too, or write public-zone and private-zone by hand"
        .to_owned()
}
