//! Aliases (CNAME record sets) of private zones: each gets the addresses of what it leads to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::facts::Alias;
use super::log::{Log, shown};
use super::model::{Endpoint, Inventory, Record};
use super::names::Names;

/// Most links of a chain of aliases. Chains in private zones have one or two.
const MAX_LINKS: usize = 8;
/// What to do about an alias whose end is not known.
const REMEDY: &str = "list the alias by hand with the addresses that it leads to";

/// Gives each alias to the endpoints that have its target, and complains about those of which no
/// endpoint has it.
pub(super) fn follow(aliases: &[Alias], names: &Names, inventory: &mut Inventory, log: &mut Log) {
    let chains = Chains::new(aliases, names, inventory);
    let mut found: BTreeMap<(usize, String), Record> = BTreeMap::new();
    for alias in aliases {
        let record = &alias.said.record;
        let key = names.key(&record.fqdn);
        let holders = match (chains.end(&key), chains.holders.get(&key)) {
            (Ok(holders), None) => holders,
            // The endpoint lists the alias too, and Azure's record says the same.
            (Ok(end), Some(own)) if own.iter().all(|own| own.is_among(end)) => continue,
            (_, Some(_)) => {
                let why = "a private endpoint has that name itself with other addresses, which are \
                           taken; delete the alias in Azure if it is stale";
                log.left_out(&record.source, complaint(alias, why));
                continue;
            }
            (Err(why), None) => {
                log.left_out(&record.source, complaint(alias, &why));
                inventory.doubtful.push(record.fqdn.clone());
                continue;
            }
        };
        for Holder { place, addresses } in holders {
            let new = || Record { addresses: addresses.clone(), ..record.clone() };
            let at = found.entry((*place, key.clone())).or_insert_with(new);
            if at.source != record.source {
                at.also.push(record.source.clone());
            }
        }
    }
    for ((place, _), record) in found {
        let endpoint = match place.checked_sub(inventory.endpoints.len()) {
            None => inventory.endpoints.get_mut(place),
            Some(place) => inventory.left_out.get_mut(place).map(|left_out| &mut left_out.endpoint),
        };
        let Some(Endpoint { records, .. }) = endpoint else { continue };
        records.push(record);
        records.sort_by(|a, b| a.fqdn.cmp(&b.fqdn));
    }
}

fn complaint(alias: &Alias, why: &str) -> String {
    let (name, target) = (shown(&alias.said.record.fqdn), shown(&alias.target));
    format!("{name} is an alias (CNAME) of {target}, but {why}")
}

/// An endpoint that has a name.
struct Holder {
    /// Its place among the endpoints, and behind them those that are left out.
    place: usize,
    addresses: Vec<IpAddr>,
}

impl Holder {
    fn is_among(&self, others: &[Self]) -> bool {
        others.iter().any(|other| other.addresses == self.addresses)
    }
}

/// What leads where; all names in their private form.
struct Chains {
    /// The targets of each alias, several if the files disagree.
    targets: BTreeMap<String, BTreeSet<String>>,
    /// Which endpoints have a name.
    holders: BTreeMap<String, Vec<Holder>>,
    doubtful: BTreeSet<String>,
}

impl Chains {
    fn new(aliases: &[Alias], names: &Names, inventory: &Inventory) -> Self {
        let mut targets: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for alias in aliases {
            let target = names.key(&alias.target);
            targets.entry(names.key(&alias.said.record.fqdn)).or_default().insert(target);
        }
        let mut holders: BTreeMap<String, Vec<Holder>> = BTreeMap::new();
        let left_out = inventory.left_out.iter().map(|left_out| &left_out.endpoint);
        for (place, endpoint) in inventory.endpoints.iter().chain(left_out).enumerate() {
            for record in &endpoint.records {
                let holder = Holder { place, addresses: record.addresses.clone() };
                holders.entry(names.key(&record.fqdn)).or_default().push(holder);
            }
        }
        let doubtful = inventory.doubtful.iter().map(|name| names.key(name)).collect();
        Self { targets, holders, doubtful }
    }

    /// The endpoints that an alias leads to, or why there are none.
    fn end(&self, alias: &str) -> Result<&[Holder], String> {
        let mut passed = BTreeSet::new();
        let mut name = alias;
        while let Some(targets) = self.targets.get(name) {
            if !passed.insert(name) {
                let name = shown(name);
                return Err(format!("the aliases lead in a circle, through {name}; {REMEDY}"));
            }
            if passed.len() > MAX_LINKS {
                return Err(format!("it takes more than {MAX_LINKS} aliases to its end; {REMEDY}"));
            }
            let mut targets = targets.iter();
            let (Some(target), None) = (targets.next(), targets.next()) else {
                let name = shown(name);
                return Err(format!("the files have several targets of {name}; {REMEDY}"));
            };
            name = target;
            if let Some(holders) = self.holders.get(name) {
                return Ok(holders);
            }
        }
        let name = shown(name);
        Err(match self.doubtful.contains(&name) {
            true => format!("the files leave doubtful which addresses {name} has; {REMEDY}"),
            false => format!(
                "no endpoint and no record in the files has addresses of {name}; give the files \
                 that have, or list the alias by hand with these addresses"
            ),
        })
    }
}
