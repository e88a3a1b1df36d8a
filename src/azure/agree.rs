//! What several places say of one endpoint's names: one record each, or a complaint.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::facts::{Origin, Said};
use super::join::Assembly;
use super::log::{Log, shown};
use super::model::{Record, Source, called};
use super::names::{Names, is_alias_into, meant_service, places};

/// Addresses of one family that one object gives to a name.
type Statements<'s> = BTreeMap<(Origin, &'s Source), BTreeSet<IpAddr>>;

/// The endpoint's records, sorted. A name that places disagree about is left out, and `doubtful`.
pub(super) fn agree(
    assembly: &Assembly,
    names: &Names,
    doubtful: &mut Vec<String>,
    log: &mut Log,
) -> Vec<Record> {
    let mut by_name: BTreeMap<String, Vec<&Said>> = BTreeMap::new();
    for said in &assembly.said {
        let key = names.key(&said.record.fqdn);
        by_name.entry(key).or_default().push(said);
    }
    let mut records = Vec::new();
    for said in by_name.values() {
        let Some(first) = said.first() else { continue };
        if said.iter().all(|said| lists_others(assembly, said)) {
            complain_of_stray(assembly, first, names, log);
            doubtful.push(first.record.fqdn.clone());
            continue;
        }
        match one_record(said, names, log) {
            Some(record) => records.push(record),
            None => doubtful.push(first.record.fqdn.clone()),
        }
    }
    records.sort_by(|a, b| a.fqdn.cmp(&b.fqdn));
    records
}

/// Whether an endpoint says itself which names it has, and a record is none of them. Azure's aliases
/// may lead from its names to the record's, and a service may have a zone beside those of its names,
/// as Purview's portal has.
pub(super) fn lists_others(assembly: &Assembly, record: &Said) -> bool {
    let mut own = assembly.said.iter().filter(|said| said.origin == Origin::Own).peekable();
    if record.origin == Origin::Own || own.peek().is_none() {
        return false;
    }
    let (hints, fqdn) = (assembly.hints(), record.record.fqdn.as_str());
    let addresses = &record.record.addresses;
    let meant = meant_service(fqdn, hints);
    let (mut leads, mut is_beside) = (false, meant.is_some());
    for own in own {
        let at = own.record.addresses.iter().any(|address| addresses.contains(address));
        leads |= at && is_alias_into(&own.record.fqdn, fqdn);
        is_beside &= !places(&own.record.fqdn, hints)
            .iter()
            .any(|place| meant.is_some_and(|meant| std::ptr::eq(place.service, meant)));
    }
    !leads && !is_beside
}

/// A record of the endpoint's zone group that the endpoint does not list: written for another zone or
/// region, or left over.
fn complain_of_stray(assembly: &Assembly, said: &Said, names: &Names, log: &mut Log) {
    let addresses: BTreeSet<IpAddr> = said.record.addresses.iter().copied().collect();
    let text = format!(
        "{} has {} in the zone group of the private endpoint {} ({}), but the endpoint itself does \
         not list the name; {}",
        shown(&said.record.fqdn),
        listed(&addresses),
        shown(called(&assembly.name)),
        assembly.source,
        advice(&assembly.said, &said.record.fqdn, names),
    );
    log.left_out(&said.record.source, text);
}

/// What to do about a record of another name at an endpoint. It is sure to be another name only where
/// the zones of all of them are known.
pub(super) fn advice(endpoint: &[Said], fqdn: &str, names: &Names) -> &'static str {
    let mut own = endpoint.iter().filter(|said| said.origin == Origin::Own);
    let is_known = |fqdn: &str| names.pair(fqdn).is_some();
    match (own.all(|said| is_known(&said.record.fqdn)), is_known(fqdn)) {
        (true, true) => "delete the record in Azure if it is stale, or list the name by hand",
        (true, false) => {
            "Azure has the endpoint's names in another zone; look whether this zone is right, and \
             list the name by hand if it is"
        }
        (false, _) => {
            "the catalogue lacks the zones of this service, so the record may well be right: list \
             the name by hand, in an entry with public-zone and private-zone"
        }
    }
}

/// What `said`, all of one name, comes down to.
fn one_record(said: &[&Said], names: &Names, log: &mut Log) -> Option<Record> {
    let mut addresses = BTreeSet::new();
    for v6 in [false, true] {
        let mut statements = Statements::new();
        for said in said {
            let of_family = said.record.addresses.iter().filter(|a| a.is_ipv6() == v6);
            let mut of_family = of_family.peekable();
            if of_family.peek().is_some() {
                statements.entry((said.origin, &said.of)).or_default().extend(of_family);
            }
        }
        addresses.extend(one_family(&said.first()?.record.fqdn, &statements, log)?);
    }
    // The public form is the one that people know.
    let fqdn =
        said.iter().map(|said| &said.record.fqdn).min_by_key(|n| (!names.is_public(n), *n))?;
    let mut sources: BTreeSet<Source> =
        said.iter().map(|said| said.record.source.clone()).collect();
    let source = sources.pop_first()?;
    Some(Record {
        fqdn: fqdn.clone(),
        addresses: addresses.into_iter().collect(),
        group_id: said.iter().filter_map(|said| said.record.group_id.clone()).min(),
        member: said.iter().filter_map(|said| said.record.member.clone()).min(),
        source,
        also: sources.into_iter().collect(),
    })
}

/// The addresses that all agree on, or nothing when they do not. An endpoint's own word goes before a
/// zone's, which nobody may have cleaned up.
fn one_family(fqdn: &str, statements: &Statements<'_>, log: &mut Log) -> Option<BTreeSet<IpAddr>> {
    let Some(((origin, first), addresses)) = statements.first_key_value() else {
        return Some(BTreeSet::new());
    };
    for ((other_origin, other), others) in statements.iter().skip(1) {
        if others == addresses {
            continue;
        }
        let (here, there) = (listed(addresses), listed(others));
        let name = shown(fqdn);
        if origin == other_origin {
            log.left_out(
                first,
                format!(
                    "{name} is {here} here, but {there} in {other}: one of them is old; ask Azure \
                     for both anew"
                ),
            );
            return None;
        }
        if !others.is_subset(addresses) {
            log.left_out(
                other,
                format!(
                    "{name} is {there} in this zone, but {here} at its private endpoint ({first}), \
                     which is taken; delete the record in Azure if it is stale"
                ),
            );
        }
    }
    Some(addresses.clone())
}

fn listed(addresses: &BTreeSet<IpAddr>) -> String {
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    addresses.join(", ")
}
