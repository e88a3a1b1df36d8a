//! What several places say of one endpoint's names: one record each, or a complaint.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::facts::{Origin, Said};
use super::join::Assembly;
use super::log::{Log, shown};
use super::model::{Record, Source};
use super::names::{Names, is_public};

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
        let key = names.key(&said.record.fqdn, assembly.hints());
        by_name.entry(key).or_default().push(said);
    }
    let mut records = Vec::new();
    for said in by_name.values() {
        match one_record(said, log) {
            Some(record) => records.push(record),
            None => doubtful.extend(said.first().map(|said| said.record.fqdn.clone())),
        }
    }
    records.sort_by(|a, b| a.fqdn.cmp(&b.fqdn));
    records
}

/// What `said`, all of one name, comes down to.
fn one_record(said: &[&Said], log: &mut Log) -> Option<Record> {
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
    let fqdn = said.iter().map(|said| &said.record.fqdn).min_by_key(|n| (!is_public(n), *n))?;
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
