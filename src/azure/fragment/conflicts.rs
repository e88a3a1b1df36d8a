//! Names that several endpoints have.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Listed;
use super::sites::Sites;
use crate::azure::log::{Log, shown};
use crate::azure::model::Inventory;

/// Most endpoints that a complaint about one name repeats.
const MAX_SHOWN: usize = 4;

/// Leaves out names for which the same clients would have two answers.
pub(super) fn settle(
    inventory: &Inventory,
    sites: &Sites,
    listed: Vec<Listed>,
    log: &mut Log,
) -> Vec<Listed> {
    let mut by_name: BTreeMap<String, Vec<Listed>> = BTreeMap::new();
    for name in listed {
        by_name.entry(name.private_name()).or_default().push(name);
    }
    let mut settled = Vec::new();
    for (name, mut all) in by_name {
        all.sort_by_key(|listed| listed.endpoint);
        if is_divided(&all, sites) {
            complain(&name, &all, inventory, log);
            continue;
        }
        // A name stands in one entry, though several services may have its zone.
        let entry = all.iter().map(|listed| &listed.entry).min_by_key(|entry| entry.key()).cloned();
        let mut clients: BTreeSet<Option<&str>> = BTreeSet::new();
        for mut listed in all {
            let own = scopes(listed.endpoint, sites);
            // Who comes second for all its clients is never asked for; of a wildcard, `check` says so.
            let is_late = listed.relative == "*" && own.iter().all(|scope| clients.contains(scope));
            clients.extend(own);
            if !is_late {
                listed.entry = entry.clone().unwrap_or(listed.entry);
                settled.push(listed);
            }
        }
    }
    settled
}

/// Leaves out names that would never be answered: a zone of other names, deeper than their own, takes
/// them.
pub(super) fn unshadowed(listed: Vec<Listed>, log: &mut Log) -> Vec<Listed> {
    let zones = |listed: &Listed| [listed.public_zone.clone(), listed.private_zone.clone()];
    let all: BTreeSet<String> = listed.iter().flat_map(zones).collect();
    let mut kept = Vec::with_capacity(listed.len());
    for name in listed {
        let inner = zones(&name).into_iter().find_map(|zone| {
            let dots = name.relative.match_indices('.').map(|(dot, _)| dot + 1);
            let inside = dots.filter_map(|start| name.relative.get(start..));
            let mut inside = inside.map(|front| format!("{front}.{zone}"));
            inside.find(|inner| all.contains(inner))
        });
        let (Some(inner), Some(source)) = (inner, name.sources.first()) else {
            kept.push(name);
            continue;
        };
        log.left_out(
            source,
            format!(
                "{}.{}: the zone {} of other names in the files would take it; list it there by \
                 hand, or look whether that zone belongs in Azure",
                shown(&name.relative),
                shown(&name.public_zone),
                shown(&inner),
            ),
        );
    }
    kept
}

/// The sites of an endpoint; nothing stands for everybody else.
fn scopes(endpoint: usize, sites: &Sites) -> Vec<Option<&str>> {
    match sites.of.get(endpoint).map(Vec::as_slice) {
        None | Some([]) => vec![None],
        Some(sites) => sites.iter().map(|site| Some(site.as_str())).collect(),
    }
}

fn is_divided(all: &[Listed], sites: &Sites) -> bool {
    let mut answers: BTreeMap<Option<&str>, &[IpAddr]> = BTreeMap::new();
    all.iter().any(|listed| {
        scopes(listed.endpoint, sites).into_iter().any(|scope| {
            *answers.entry(scope).or_insert(&listed.addresses) != listed.addresses.as_slice()
        })
    })
}

fn complain(name: &str, all: &[Listed], inventory: &Inventory, log: &mut Log) {
    let mut endpoints: Vec<String> = Vec::new();
    for listed in all.iter().take(MAX_SHOWN) {
        let endpoint = inventory.endpoints.get(listed.endpoint);
        let called = endpoint.map_or(String::new(), |endpoint| shown(endpoint.title()));
        let addresses: Vec<_> = listed.addresses.iter().map(ToString::to_string).collect();
        let source = listed.sources.first().map(ToString::to_string).unwrap_or_default();
        endpoints.push(format!("{} at {called} ({source})", addresses.join(", ")));
    }
    let more = all.len().saturating_sub(MAX_SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let first = all.iter().filter_map(|listed| listed.sources.first()).min();
    let Some(source) = first else { return };
    let text = format!(
        "{}: the same clients would have two answers: {}{more}; give the endpoints different \
         clients with --sites ENDPOINT-OR-REGION=NETWORK, or leave the old one out",
        shown(name),
        endpoints.join("; "),
    );
    log.left_out(source, text);
}
