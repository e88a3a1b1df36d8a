//! Which objects of the files are the same endpoint's, and whose records the zones hold.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::agree::{advice, agree, lists_others};
use super::aliases::follow;
use super::facts::{
    Alias, EndpointFact, Facts, GroupFact, InterfaceFact, ResourceId, Said, said_by,
};
use super::learn::learn;
use super::log::{Log, shown};
use super::members::complain_of_missing_members;
use super::model::{Endpoint, Inventory, LeftOut, Record, Source, called};
use super::nameless::{complain_of_empty_zones, empty_hint, own_service_hint};
use super::names::{Hints, Mention, Names};

/// Most names of an endpoint that a complaint repeats.
const MAX_NAMES_SHOWN: usize = 3;

/// What the files say of one endpoint.
#[derive(Debug)]
pub(super) struct Assembly {
    pub(super) name: String,
    region: Option<String>,
    pub(super) resource_type: Option<String>,
    pub(super) group_ids: Vec<String>,
    interfaces: BTreeSet<ResourceId>,
    addresses: BTreeSet<IpAddr>,
    pub(super) said: Vec<Said>,
    unfit: BTreeSet<(Source, String)>,
    state_known: bool,
    /// The records of a zone that no endpoint claims.
    is_zone: bool,
    /// Zones of its group without a record.
    empty_zones: Vec<Source>,
    /// The private link service that it leads to.
    own_service: Option<String>,
    /// What to ask Azure where it has no names.
    hint: String,
    pub(super) source: Source,
}

impl Assembly {
    fn new(name: &str, source: &Source) -> Self {
        Self {
            name: name.to_owned(),
            region: None,
            resource_type: None,
            group_ids: Vec::new(),
            interfaces: BTreeSet::new(),
            addresses: BTreeSet::new(),
            said: Vec::new(),
            unfit: BTreeSet::new(),
            state_known: false,
            is_zone: false,
            empty_zones: Vec::new(),
            own_service: None,
            hint: String::new(),
            source: source.clone(),
        }
    }

    pub(super) fn hints(&self) -> Hints<'_> {
        Hints { resource_type: self.resource_type.as_deref(), group_ids: &self.group_ids }
    }

    fn absorb(&mut self, said: Vec<Said>) {
        self.addresses.extend(said.iter().flat_map(|said| &said.record.addresses));
        self.said.extend(said);
    }

    fn absorb_endpoint(&mut self, fact: EndpointFact) {
        self.region = self.region.take().or(fact.region);
        self.resource_type =
            self.resource_type.take().or_else(|| fact.target.as_ref()?.resource_type());
        let own_service = fact.target.filter(ResourceId::is_private_link_service);
        self.own_service = self.own_service.take().or_else(|| Some(own_service?.name().to_owned()));
        self.group_ids.extend(fact.group_ids);
        self.group_ids.sort_unstable();
        self.group_ids.dedup();
        if fact.lists_nothing {
            self.hint = empty_hint(&fact.name, fact.id.as_ref(), fact.interfaces.first());
        }
        self.interfaces.extend(fact.interfaces);
        self.addresses.extend(fact.addresses);
        self.unfit.extend(fact.unfit.map(|why| (fact.source.clone(), why)));
        self.state_known |= fact.state_known;
        self.absorb(fact.said);
    }

    fn endpoint(self, records: Vec<Record>) -> Endpoint {
        Endpoint {
            name: self.name,
            region: self.region,
            resource_type: self.resource_type,
            group_ids: self.group_ids,
            records,
            source: self.source,
        }
    }

    fn absorb_interface(&mut self, fact: InterfaceFact) {
        self.region = self.region.take().or(fact.region);
        // A group that only the network interface names.
        let groups = fact.said.iter().filter_map(|said| said.record.group_id.clone());
        self.group_ids.extend(groups);
        self.group_ids.sort_unstable();
        self.group_ids.dedup();
        self.addresses.extend(fact.addresses);
        self.absorb(said_by(fact.said, &fact.source));
    }
}

/// How endpoints are told apart, sorted: by id, or by what else there is.
type Key = (String, String);

struct Joined {
    all: BTreeMap<Key, Assembly>,
    /// As [`Inventory::doubtful`].
    doubtful: Vec<String>,
}

/// Joins everything that was read.
pub(super) fn join(facts: Facts, log: &mut Log) -> Inventory {
    let Facts { endpoints, mut interfaces, groups, mut records, mut aliases, .. } = facts;
    let Facts { requirements, connections, .. } = facts;
    let mut joined = Joined { all: BTreeMap::new(), doubtful: Vec::new() };
    joined.endpoints(endpoints);
    for connection in connections {
        let key = (String::new(), connection.endpoint.to_string());
        match (joined.all.get_mut(&key), connection.unfit) {
            (Some(assembly), Some(why)) => {
                assembly.unfit.insert((connection.source, why));
            }
            (Some(assembly), None) => assembly.state_known = true,
            (None, Some(why)) => {
                let name = shown(connection.endpoint.name());
                let text = format!("private endpoint {name}, which no file has: {why}");
                log.noted(&connection.source, text);
            }
            (None, None) => {}
        }
    }
    interfaces.sort_by(|a, b| a.source.cmp(&b.source));
    interfaces.into_iter().for_each(|fact| joined.interface(fact));
    joined.groups(groups, &mut records, log);
    records.sort_by(|a, b| a.record.source.cmp(&b.record.source));

    aliases.sort_by(|a, b| a.said.record.source.cmp(&b.said.record.source));
    let names = names(&joined, &records, &aliases);
    joined.records(records, &names, log);

    let mut inventory = Inventory { doubtful: joined.doubtful, ..Inventory::default() };
    for (_, assembly) in joined.all {
        if let Some(endpoint) = finish(assembly, &names, &mut inventory, log) {
            complain_of_missing_members(&endpoint, &requirements, log);
            inventory.endpoints.push(endpoint);
        }
    }
    let key = |e: &Endpoint| (e.name.clone(), e.region.clone(), e.source.clone());
    inventory.endpoints.sort_by_cached_key(key);
    inventory.left_out.sort_by_cached_key(|left_out| key(&left_out.endpoint));
    inventory.nameless.sort_by_cached_key(key);
    inventory.doubtful.sort_unstable();
    inventory.doubtful.dedup();
    follow(&aliases, &names, &mut inventory, log);
    inventory.pairs = names.pairs();
    let endpoints = inventory.left_out.iter().map(|left_out| &left_out.endpoint);
    let records = endpoints.chain(&inventory.endpoints).flat_map(|endpoint| &endpoint.records);
    let fqdns = records.map(|record| &record.fqdn).chain(&inventory.doubtful);
    inventory.homes = fqdns.map(|fqdn| (fqdn.clone(), names.pair(fqdn))).collect();
    inventory
}

/// Which zones all the names of the files lie in.
fn names(joined: &Joined, records: &[Said], aliases: &[Alias]) -> Names {
    let own = joined.all.values().flat_map(|assembly| {
        let hints = assembly.hints();
        assembly.said.iter().map(move |said| Mention { said, hints })
    });
    let in_zones = records.iter().chain(aliases.iter().map(|alias| &alias.said));
    let all = own.chain(in_zones.map(|said| Mention { said, hints: Hints::default() }));
    let mut names = Names::new(learn(all.clone()));
    names.settle(all);
    names
}

impl Joined {
    fn endpoints(&mut self, mut facts: Vec<EndpointFact>) {
        facts.sort_by(|a, b| a.source.cmp(&b.source));
        for fact in facts {
            let key = match &fact.id {
                Some(id) => (String::new(), id.to_string()),
                None => {
                    let region = fact.region.as_deref().unwrap_or("");
                    (fact.name.to_lowercase(), format!("{region} {}", fact.group_ids.join(" ")))
                }
            };
            let new = || Assembly::new(&fact.name, &fact.source);
            self.all.entry(key).or_insert_with(new).absorb_endpoint(fact);
        }
    }

    fn interface(&mut self, fact: InterfaceFact) {
        let known = fact.id.as_ref().and_then(|id| {
            let holds = |(_, assembly): &(&Key, &Assembly)| assembly.interfaces.contains(id);
            self.all.iter().find(holds).map(|(key, _)| key.clone())
        });
        let key = match (known, &fact.endpoint) {
            (Some(key), _) => key,
            (None, Some(id)) => (String::new(), id.to_string()),
            (None, None) => self.by_address(&fact.addresses).unwrap_or_else(|| {
                let id = fact.id.as_ref().map(ToString::to_string);
                ("nic".to_owned(), id.unwrap_or_else(|| fact.source.to_string()))
            }),
        };
        let name = fact.endpoint.as_ref().map_or(fact.name.as_str(), ResourceId::name);
        let new = || Assembly::new(name, &fact.source);
        self.all.entry(key).or_insert_with(new).absorb_interface(fact);
    }

    /// Zone groups; the records of one that no endpoint is known of stay alone.
    fn groups(&mut self, mut groups: Vec<GroupFact>, records: &mut Vec<Said>, log: &mut Log) {
        groups.sort_by(|a, b| a.source.cmp(&b.source));
        for group in groups {
            let addresses: Vec<IpAddr> =
                group.said.iter().flat_map(|said| said.record.addresses.clone()).collect();
            let key = match &group.endpoint {
                Some(id) => Some((String::new(), id.to_string())),
                None => self.by_address(&addresses),
            };
            let Some(key) = key else {
                complain_of_empty_zones(&group.empty, &group.said, log);
                records.extend(group.said);
                continue;
            };
            let name = group.endpoint.as_ref().map_or("", ResourceId::name);
            let new = || Assembly::new(name, &group.source);
            let assembly = self.all.entry(key).or_insert_with(new);
            assembly.empty_zones.extend(group.empty);
            assembly.absorb(group.said);
        }
    }

    /// The one endpoint that has one of these addresses; nobody where several do.
    fn by_address(&self, addresses: &[IpAddr]) -> Option<Key> {
        let has = |assembly: &Assembly| addresses.iter().any(|a| assembly.addresses.contains(a));
        let mut all = self.all.iter().filter(|(_, assembly)| has(assembly));
        match (all.next(), all.next()) {
            (Some((key, _)), None) => Some(key.clone()),
            _ => None,
        }
    }

    /// Gives records of zones to the endpoints whose names and addresses they are.
    fn records(&mut self, records: Vec<Said>, names: &Names, log: &mut Log) {
        let mut by_address: BTreeMap<IpAddr, Vec<Key>> = BTreeMap::new();
        let mut by_name: BTreeMap<String, Vec<Key>> = BTreeMap::new();
        for (key, assembly) in &self.all {
            for address in &assembly.addresses {
                by_address.entry(*address).or_default().push(key.clone());
            }
            for said in &assembly.said {
                let name = names.key(&said.record.fqdn);
                by_name.entry(name).or_default().push(key.clone());
            }
        }
        by_name.values_mut().for_each(Vec::dedup);
        for said in records {
            let name = names.key(&said.record.fqdn);
            let owners = by_name.get(&name).map_or(&[][..], Vec::as_slice);
            if !owners.is_empty() {
                self.compare(said, owners, log);
                continue;
            }
            let near: BTreeSet<&Key> =
                said.record.addresses.iter().filter_map(|a| by_address.get(a)).flatten().collect();
            let near: Vec<&Key> = near.into_iter().collect();
            match near.as_slice() {
                [] => self.give_to_zone(said, names),
                near if near.iter().all(|key| self.lists_others(key, &said)) => {
                    self.complain_of_stranger(&said, near, names, log);
                }
                [one] => self.give(said, one),
                _ => self.give_to_zone(said, names),
            }
        }
    }

    /// Whether the endpoint says itself which names it has, and the record's name cannot be where one
    /// of them leads.
    fn lists_others(&self, key: &Key, said: &Said) -> bool {
        self.all.get(key).is_some_and(|assembly| lists_others(assembly, said))
    }

    /// A record that leads to an endpoint which has other names: Azure gives addresses to the next one.
    fn complain_of_stranger(&mut self, said: &Said, near: &[&Key], names: &Names, log: &mut Log) {
        let Some(assembly) = near.first().and_then(|key| self.all.get(*key)) else { return };
        let addresses: Vec<_> = said.record.addresses.iter().map(ToString::to_string).collect();
        let text = format!(
            "{} has {} in the zone, which is now the private endpoint {} ({}), and that one does not \
             list the name; {}",
            shown(&said.record.fqdn),
            addresses.join(", "),
            shown(called(&assembly.name)),
            assembly.source,
            advice(&assembly.said, &said.record.fqdn, names),
        );
        log.left_out(&said.record.source, text);
        self.doubtful.push(said.record.fqdn.clone());
    }

    fn give(&mut self, said: Said, key: &Key) {
        if let Some(assembly) = self.all.get_mut(key) {
            assembly.absorb(vec![said]);
        }
    }

    fn give_to_zone(&mut self, said: Said, names: &Names) {
        let fqdn = &said.record.fqdn;
        let zone = names.pair(fqdn).map(|pair| pair.private_zone).or_else(|| said.zone.clone());
        let parent = || fqdn.split_once('.').map_or("", |(_, parent)| parent).to_owned();
        let zone = zone.unwrap_or_else(parent);
        let new = || Assembly { is_zone: true, ..Assembly::new(&zone, &said.record.source) };
        let key = ("zone".to_owned(), zone.clone());
        self.all.entry(key).or_insert_with(new).absorb(vec![said]);
    }

    /// Holds a record against the endpoints that have its name: each takes what is its own; what is
    /// nobody's is stale.
    fn compare(&mut self, said: Said, owners: &[Key], log: &mut Log) {
        let mut left: BTreeSet<IpAddr> = said.record.addresses.iter().copied().collect();
        let mut others = Vec::new();
        for key in owners {
            let Some(assembly) = self.all.get_mut(key) else { continue };
            let is_own = |address: &&IpAddr| assembly.addresses.contains(address);
            let own: Vec<IpAddr> = said.record.addresses.iter().filter(is_own).copied().collect();
            if own.is_empty() {
                others.push(format!("{} ({})", shown(called(&assembly.name)), assembly.source));
                continue;
            }
            left.retain(|address| !own.contains(address));
            let mut part = said.clone();
            part.record.addresses = own;
            assembly.said.push(part);
        }
        if left.is_empty() {
            return;
        }
        let left: Vec<_> = left.iter().map(ToString::to_string).collect();
        let whose =
            if others.is_empty() { String::new() } else { format!(": {}", others.join(", ")) };
        let text = format!(
            "{} has {} in the zone, but not at the private endpoint of that name{whose}; a record \
             of an endpoint that was deleted or made anew? Delete it in Azure, or give that \
             endpoint too",
            shown(&said.record.fqdn),
            left.join(", "),
        );
        log.left_out(&said.record.source, text);
    }
}

/// The first names of an endpoint, for messages.
fn some_names(said: &[Said]) -> String {
    let names: BTreeSet<&str> = said.iter().map(|said| said.record.fqdn.as_str()).collect();
    let mut shown: Vec<String> = names.iter().take(MAX_NAMES_SHOWN).map(|n| shown(n)).collect();
    if names.len() > MAX_NAMES_SHOWN {
        shown.push("…".to_owned());
    }
    if shown.is_empty() { String::new() } else { format!(" ({})", shown.join(", ")) }
}

/// The endpoint; one that must not be used is left out in `inventory`, and that has been said then.
fn finish(
    assembly: Assembly,
    names: &Names,
    inventory: &mut Inventory,
    log: &mut Log,
) -> Option<Endpoint> {
    let Inventory { left_out, doubtful, nameless, .. } = inventory;
    let name = shown(called(&assembly.name));
    if !assembly.unfit.is_empty() {
        let listed = some_names(&assembly.said);
        for (source, why) in &assembly.unfit {
            log.left_out(source, format!("private endpoint {name}{listed}: {why}"));
        }
        let why: Vec<_> = assembly.unfit.iter().map(|(_, why)| why.clone()).collect();
        // What they disagree about changes nothing.
        let records = agree(&assembly, names, &mut Vec::new(), &mut Log::new());
        let (endpoint, why) = (assembly.endpoint(records), why.join("; "));
        left_out.push(LeftOut { endpoint, why, is_unfit: true });
        return None;
    }
    complain_of_empty_zones(&assembly.empty_zones, &assembly.said, log);
    if let (Some(service), true) = (&assembly.own_service, assembly.said.is_empty()) {
        let hint = own_service_hint(service, &assembly.addresses);
        log.noted(&assembly.source, format!("private endpoint {name}: {hint}"));
        nameless.push(assembly.endpoint(Vec::new()));
        return None;
    }
    if assembly.said.is_empty() {
        let hint = if assembly.hint.is_empty() {
            "no usable name of it in the files"
        } else {
            &assembly.hint
        };
        log.left_out(&assembly.source, format!("private endpoint {name}: {hint}"));
        let why = "no file has its names".to_owned();
        left_out.push(LeftOut { endpoint: assembly.endpoint(Vec::new()), why, is_unfit: false });
        return None;
    }
    let records = agree(&assembly, names, doubtful, log);
    if records.is_empty() {
        let why = "the files disagree about its names".to_owned();
        left_out.push(LeftOut { endpoint: assembly.endpoint(records), why, is_unfit: false });
        return None;
    }
    if !assembly.state_known && !assembly.is_zone {
        log.noted(
            &assembly.source,
            format!(
                "private endpoint {name}: no file says whether its connection is Approved; give \
                 the output of az network private-endpoint show"
            ),
        );
    }
    Some(assembly.endpoint(records))
}
