//! Where each record of the inventory goes: a service of the catalogue, or two zones.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Entry, Listed};
use crate::azure::log::{Log, shown};
use crate::azure::model::{Endpoint, Inventory, Record, ZonePair};
use crate::azure::names::{
    Hints, Names, PRIVATE_LABEL, has_private_label, is_known_type, led_elsewhere, likely,
};
use crate::catalog::{self, Cloud, Place, Role};
use crate::config::limits::MAX_ADDRESSES;
use crate::wire::Name;

/// What variables that are regions are called.
const REGION_VARIABLES: [&str; 2] = ["regionName", "region"];

/// All records that can be placed, in the inventory's order.
pub(super) fn all(inventory: &Inventory, log: &mut Log) -> Vec<Listed> {
    let mut placing = Placing::new(inventory);
    let mut listed = Vec::new();
    // Endpoints that say what they lead to go first: others share their services.
    for hinted in [true, false] {
        for (index, endpoint) in inventory.endpoints.iter().enumerate() {
            if hinted == endpoint.group_ids.is_empty() {
                continue;
            }
            let bound = Bound::of(endpoint);
            for record in &endpoint.records {
                match placing.place(index, endpoint, record, &bound) {
                    Ok(name) => listed.push(name),
                    Err(refusal) => refusal.say(record, log),
                }
            }
        }
        for name in &listed {
            if let Entry::Service { service, .. } = &name.entry {
                placing.used.insert((service.name, name.private_zone.clone()));
            }
        }
    }
    listed.iter().for_each(|name| note_unusual(name, log));
    listed
}

/// Why a record is not listed.
enum Refusal {
    /// It is missing.
    LeftOut(String),
    /// It cannot be listed as long as the catalogue lacks its service.
    Noted(String),
}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Self::LeftOut(why)
    }
}

impl Refusal {
    fn say(&self, record: &Record, log: &mut Log) {
        let name = shown(&record.fqdn);
        match (self, led_elsewhere(&record.fqdn)) {
            (_, Some((service, zone))) if record.fqdn.starts_with("*.") => log.left_out(
                &record.source,
                format!(
                    "{name}: a wildcard; Azure's own aliases lead from {zone} to names with other \
                     labels in a private zone of {service}. Ask Azure for the alias of each name in \
                     use, and list where it leads with {addresses} in an entry with service = \
                     \"{service}\": then a forwarded name ends in the private address",
                    service = service.name,
                    addresses = listed(&record.addresses),
                ),
            ),
            (_, Some((_, zone))) => log.noted(
                &record.source,
                format!(
                    "{name}: not listed, and need not be: Azure's own aliases lead from {zone} into \
                     a zone of its service; forward it, and the chain ends in the private address"
                ),
            ),
            (Self::LeftOut(why), None) => log.left_out(&record.source, format!("{name}: {why}")),
            (Self::Noted(why), None) => log.noted(&record.source, format!("{name}: {why}")),
        }
    }
}

fn listed(addresses: &[IpAddr]) -> String {
    let addresses: Vec<_> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
    format!("[{}]", addresses.join(", "))
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
            for place in likely(&record.fqdn, hints(endpoint)) {
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

/// A service by what tells it from others.
type ServiceKey = (&'static str, Cloud);

/// What all records together say of each other.
struct Placing<'i> {
    inventory: &'i Inventory,
    /// The zones that the catalogue lacks.
    names: Names,
    /// Services in use, each with a private zone.
    used: BTreeSet<(&'static str, String)>,
    /// Services that some name cannot do without.
    needed: BTreeSet<ServiceKey>,
    /// Of these, those that a name with this address cannot do without.
    needed_at: BTreeMap<IpAddr, BTreeSet<ServiceKey>>,
}

impl<'i> Placing<'i> {
    fn new(inventory: &'i Inventory) -> Self {
        let mut placing = Self {
            inventory,
            names: Names::new(inventory.pairs.iter().cloned()),
            used: BTreeSet::new(),
            needed: BTreeSet::new(),
            needed_at: BTreeMap::new(),
        };
        for endpoint in &inventory.endpoints {
            for record in &endpoint.records {
                let places = placing.candidates(endpoint, record);
                let services: BTreeSet<ServiceKey> =
                    places.iter().map(|place| key(place)).collect();
                if services.len() == 1 {
                    for address in &record.addresses {
                        placing.needed_at.entry(*address).or_default().extend(&services);
                    }
                    placing.needed.extend(services);
                }
            }
        }
        placing
    }

    /// The pair that a record's name lies in.
    fn home(&self, record: &Record) -> Option<ZonePair> {
        match self.inventory.homes.get(&record.fqdn) {
            Some(home) => home.clone(),
            None => self.names.pair(&record.fqdn),
        }
    }

    /// The services that a record may belong to, the likeliest first.
    fn candidates(&self, endpoint: &Endpoint, record: &Record) -> Vec<Place> {
        let Some(home) = self.home(record) else { return Vec::new() };
        let mut places = likely(&record.fqdn, hints(endpoint));
        places.retain(|place| place.private_zone == home.private_zone);
        let Some(provider) = places.first().map(|place| provider(place)) else { return places };
        // Stable: among equals, the likeliest stays first.
        if endpoint.resource_type.is_none() {
            let is_used = |place: &Place| {
                endpoint.group_ids.is_empty()
                    && self.used.contains(&(place.service.name, place.private_zone.clone()))
            };
            let is_beside = |place: &Place| {
                let mut at = record.addresses.iter().filter_map(|ip| self.needed_at.get(ip));
                at.any(|services| services.contains(&key(place)))
            };
            let is_needed = |place: &Place| {
                self.needed.contains(&key(place)) && self::provider(place) == provider
            };
            let is_group = |place: &Place| hints(endpoint).name_group_of(place);
            places.sort_by_key(|place| {
                (!is_used(place), !is_group(place), !is_beside(place), !is_needed(place))
            });
        }
        places
    }

    /// The record placed, or why it is left out.
    fn place(
        &self,
        index: usize,
        endpoint: &Endpoint,
        record: &Record,
        bound: &Bound<'_>,
    ) -> Result<Listed, Refusal> {
        if record.addresses.len() > MAX_ADDRESSES {
            let count = record.addresses.len();
            return Err(format!("{count} addresses; at most {MAX_ADDRESSES} go").into());
        }
        let candidates = self.candidates(endpoint, record);
        let whole = candidates.iter().find_map(|place| Some((place, bound.variables(place).ok()?)));
        let (entry, pair) = match (whole, candidates.first()) {
            (Some((place, variables)), _) => {
                (Entry::Service { service: place.service, variables }, pair_of(place))
            }
            (None, Some(place)) => {
                let missing = bound.variables(place).err().unwrap_or_default();
                return Err(Refusal::LeftOut(format!(
                    "nothing in the files says what {missing} is in the zones of {}; give the \
                     endpoint too (az network private-endpoint show)",
                    place.service.name
                )));
            }
            (None, None) => {
                let Some(pair) = self.home(record) else {
                    return Err(self.unknown(endpoint, record));
                };
                let ZonePair { public_zone, private_zone } = pair.clone();
                (Entry::Zones { public_zone, private_zone }, pair)
            }
        };
        let ZonePair { public_zone, private_zone } = pair;
        let relative = [&private_zone, &public_zone]
            .into_iter()
            .find_map(|zone| record.fqdn.strip_suffix(zone.as_str())?.strip_suffix('.'))
            .ok_or_else(|| format!("neither below {public_zone} nor below {private_zone}"))?;
        check_relative(relative, &entry, &public_zone, record)?;
        check_ending(relative, [&public_zone, &private_zone], &self.names)?;
        for zone in [&public_zone, &private_zone] {
            format!("{relative}.{zone}")
                .parse::<Name>()
                .map_err(|error| format!("below {zone}: {error}"))?;
        }
        Ok(Listed {
            endpoint: index,
            relative: relative.to_owned(),
            public_zone,
            private_zone,
            entry,
            addresses: record.addresses.clone(),
            sources: std::iter::once(&record.source).chain(&record.also).cloned().collect(),
        })
    }

    /// Why a name lies in no known zone.
    fn unknown(&self, endpoint: &Endpoint, record: &Record) -> Refusal {
        let fqdn = record.fqdn.as_str();
        if self.names.is_zone(fqdn) {
            return "the zone itself, which has no address at an endpoint".to_owned().into();
        }
        if let Some(why) = misplaced(fqdn) {
            return why.into();
        }
        let unknown_type = endpoint.resource_type.as_deref().filter(|kind| !is_known_type(kind));
        if let Some(kind) = unknown_type {
            return Refusal::Noted(format!(
                "not listed: no service of the catalogue (see `privatelinkd services`) has \
                 resources of type {}, and no file has the name's private form; give the DNS zone \
                 group too, or write {}",
                shown(kind),
                by_hand(record)
            ));
        }
        let others = likely(fqdn, hints(endpoint)).into_iter().next();
        let zone = others.map_or("in no zone of the catalogue".to_owned(), |place| {
            let (zone, service) = (place.public_zone, place.service.name);
            format!("the zone {zone} is of another service, {service}, as far as the files tell")
        });
        Refusal::LeftOut(format!(
            "{zone} (see `privatelinkd services`), and its private form is not in the files: give \
             the DNS zone group too, or write public-zone and private-zone by hand"
        ))
    }
}

fn key(place: &Place) -> ServiceKey {
    (place.service.name, place.service.cloud)
}

/// The provider of the service: `Microsoft.Storage`.
fn provider(place: &Place) -> &'static str {
    let kind = place.service.resource_types.first().copied().unwrap_or_default();
    kind.split('/').next().unwrap_or_default()
}

fn pair_of(place: &Place) -> ZonePair {
    ZonePair { public_zone: place.public_zone.clone(), private_zone: place.private_zone.clone() }
}

/// What is wrong with a name in a private zone that neither the catalogue nor the files explain.
fn misplaced(fqdn: &str) -> Option<String> {
    let (front, zone) = fqdn.rsplit_once(&format!(".{PRIVATE_LABEL}."))?;
    if has_private_label(front) {
        return Some(format!("{PRIVATE_LABEL} twice; a slip in the record's name?"));
    }
    let at = catalog::zones_at(zone);
    let (zone, private) = (shown(zone), format!("{PRIVATE_LABEL}.{}", shown(zone)));
    Some(match at.iter().find(|place| place.role == Role::Public) {
        Some(place) => format!(
            "in {private}, but Azure leads {zone} to {} ({}); give the endpoint too, or write \
             public-zone and private-zone by hand if a service has it so",
            place.private_zone, place.service.name
        ),
        None => format!(
            "the catalogue lacks {private}, and {zone} holds zones of other services; write \
             public-zone and private-zone by hand, one pair for each of your names if need be"
        ),
    })
}

/// What to write where an interface says which part of its name is the member.
fn by_hand(record: &Record) -> String {
    let member = record.member.as_deref().map(str::to_lowercase);
    let public = member.as_deref().and_then(|m| record.fqdn.strip_prefix(m)?.strip_prefix('.'));
    match (member.as_deref(), public) {
        (Some(member), Some(public)) if public.contains('.') => format!(
            "an entry by hand, once Azure's page on the service says so: public-zone = \"{public}\", \
             private-zone = \"{PRIVATE_LABEL}.{public}\", names = {{ \"{member}\" = {} }}",
            listed(&record.addresses)
        ),
        _ => format!(
            "an entry with public-zone and private-zone (mostly {PRIVATE_LABEL}. and the public \
             zone) by hand, where the name is listed with {}",
            listed(&record.addresses)
        ),
    }
}

/// Whether the configuration can list a name.
fn check_relative(
    relative: &str,
    entry: &Entry,
    public_zone: &str,
    record: &Record,
) -> Result<(), String> {
    let own_zones = matches!(entry, Entry::Service { service, .. } if !service.other_tenants);
    if relative == "*" && !own_zones {
        return Err(
            "a wildcard, but other tenants have names in this zone; give the endpoints, so \
                    that names can be listed one by one"
                .to_owned(),
        );
    }
    if relative != "*" && relative.split('.').any(|label| label == "*") {
        let whose = match entry {
            Entry::Service { service, .. } => format!("service = \"{}\"", service.name),
            Entry::Zones { public_zone, .. } => format!("public-zone = \"{}\"", shown(public_zone)),
        };
        let one = entry.name_key(&relative.replacen('*', "NAME", 1), public_zone);
        return Err(format!(
            "a wildcard below the zone, which the configuration cannot hold: names that it covers \
             are forwarded, and Azure's public answer stands, until they are listed one by one \
             in the entry with {whose}: \"{one}\" = {}",
            listed(&record.addresses)
        ));
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
