//! What several endpoints of one zone list together: one answer for one name and client, and no
//! listed name that takes another site's traffic unseen.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use foldhash::fast::RandomState;

use crate::config::findings::{Findings, Path, Problem};
use crate::config::spec::{EndpointSpec, NameSpec, PrivateLinkSpec};
use crate::config::suggest::any_of;
use crate::config::table::At;
use crate::wire::Name;

/// The clients that an endpoint is the first choice of: a site's, or (`None`) everybody's.
pub(super) type Scope<'a> = Option<&'a str>;

pub(super) fn scopes(endpoint: &EndpointSpec) -> Vec<Scope<'_>> {
    if endpoint.sites.is_missing() {
        return vec![None];
    }
    endpoint.sites.items.iter().map(|at| Some(at.value.as_str())).collect()
}

/// Who lists what in one zone.
pub(super) struct Listed<'s> {
    /// The first lister of each name: the endpoint's index and the entry.
    first: HashMap<&'s Name, (usize, &'s NameSpec), RandomState>,
    /// The values of `first`, in the order of the endpoints.
    order: Vec<(usize, &'s NameSpec)>,
    /// The others, for the few names that have some.
    others: BTreeMap<&'s Name, Vec<(usize, &'s NameSpec)>>,
}

impl<'s> Listed<'s> {
    /// Reports names that one endpoint lists twice.
    pub(super) fn collect(
        spec: &'s PrivateLinkSpec,
        top: Path<'_>,
        findings: &mut Findings<'_>,
    ) -> Self {
        let most = spec.endpoints.iter().map(|e| e.names.entries.len()).max().unwrap_or(0);
        let mut listed = Self {
            first: HashMap::with_capacity_and_hasher(most, RandomState::default()),
            order: Vec::with_capacity(most),
            others: BTreeMap::new(),
        };
        for (index, endpoint) in spec.endpoints.iter().enumerate() {
            for entry in &endpoint.names.entries {
                let Some(first) = listed.first.get(&entry.name) else {
                    listed.first.insert(&entry.name, (index, entry));
                    listed.order.push((index, entry));
                    continue;
                };
                let others = listed.others.entry(&entry.name).or_default();
                // Endpoints come one after the other, so one that has the name is the latest.
                let latest = others.last().unwrap_or(first);
                if latest.0 == index {
                    let line = findings.line(latest.1.span);
                    let problem = format!("the same name stands on line {line}; keep one of them");
                    let path = top.item(index, spec.endpoints.len());
                    let names = path.key("names");
                    let path = names.key(endpoint.names.text(entry));
                    findings.error(path, entry.span, Problem::bare(problem));
                } else {
                    others.push((index, entry));
                }
            }
        }
        listed
    }

    /// Reports names for which the same clients would have two different address lists.
    pub(super) fn report_conflicts(
        &self,
        spec: &PrivateLinkSpec,
        clients: &Clients<'_>,
        top: Path<'_>,
        findings: &mut Findings<'_>,
    ) {
        for (name, others) in &self.others {
            let Some(first) = self.first.get(name) else { continue };
            let mut seen: HashMap<usize, (usize, &NameSpec, Vec<IpAddr>)> = HashMap::new();
            for (index, entry) in std::iter::once(first).chain(others) {
                let Some(endpoint) = spec.endpoints.get(*index) else { continue };
                let addresses = sorted(endpoint.names.addresses(entry));
                let mut conflict = None;
                for group in clients.groups_of.get(*index).into_iter().flatten() {
                    let new = || (*index, *entry, addresses.clone());
                    let (lister, before, theirs) = seen.entry(*group).or_insert_with(new);
                    // Behind one that is probed, it stands by.
                    let stands_by = spec.endpoints.get(*lister).is_some_and(|one| one.is_probed());
                    if *theirs != addresses && !stands_by {
                        conflict = conflict.or(Some((*group, before.span)));
                    }
                }
                let Some((group, before)) = conflict else { continue };
                let site = clients.groups.get(group).and_then(|group| *group.scopes.first()?);
                let whose = site.map_or("everybody".to_owned(), |site| format!("site \"{site}\""));
                let line = findings.line(before);
                let problem = format!(
                    "a name with two different address lists for {whose} (the other: line {line}); \
                     make them equal, give the endpoints different sites, or the other one a probe"
                );
                let path = top.item(*index, spec.endpoints.len());
                let names = path.key("names");
                let path = names.key(endpoint.names.text(entry));
                findings.error(path, entry.span, Problem::bare(problem));
            }
        }
    }

    /// Where there are wildcards: a listed name beats each, also that of another site's endpoint.
    pub(super) fn warn_of_other_sites(
        &self,
        spec: &PrivateLinkSpec,
        clients: &Clients<'_>,
        top: Path<'_>,
        findings: &mut Findings<'_>,
    ) {
        let entries = |endpoint: &EndpointSpec| endpoint.names.entries.len();
        let all: usize = spec.endpoints.iter().map(entries).sum();
        for Group { endpoints, scopes } in &clients.groups {
            let own = || endpoints.iter().filter_map(|index| spec.endpoints.get(*index));
            if own().all(|endpoint| endpoint.addresses.is_missing()) {
                continue;
            }
            // The rule, and cheaply seen: nobody else lists anything.
            if own().map(entries).sum::<usize>() == all {
                continue;
            }
            let covered: HashSet<&Name, RandomState> =
                own().flat_map(|e| &e.names.entries).map(|n| &n.name).collect();
            let missing = self.first.len() - covered.len();
            // Found after as many steps as `covered` has names: the work stays linear in the file.
            let example = self.order.iter().find(|(_, entry)| !covered.contains(&entry.name));
            let (Some((lister, example)), Some(index)) = (example, endpoints.first()) else {
                continue;
            };
            let text = spec.endpoints.get(*lister).map_or("", |e| e.names.text(example));
            let span = own().next().map_or(spec.span, |endpoint| endpoint.span);
            let names = match missing {
                1 => format!("\"{text}\""),
                2 => format!("\"{text}\" and one more name"),
                _ => format!("\"{text}\" and {} more names", missing - 1),
            };
            let sites: Vec<&str> = scopes.iter().copied().flatten().take(10).collect();
            let clients = match sites.as_slice() {
                [] => "clients of no site or another one".to_owned(),
                sites => format!("clients of site {}", any_of(sites.iter().copied())),
            };
            let line = findings.line(example.span);
            let problem = format!(
                "{clients} get {names} from another endpoint (line {line}): a listed name beats \
                 every wildcard; list it here too if that is not meant"
            );
            findings.warn(top.item(*index, spec.endpoints.len()), span, Problem::bare(problem));
        }
    }
}

/// Clients that are the first choice of the same endpoints; they share warnings, and the work.
struct Group<'s> {
    endpoints: Vec<usize>,
    scopes: Vec<Scope<'s>>,
}

/// All clients of a zone, grouped.
pub(super) struct Clients<'s> {
    groups: Vec<Group<'s>>,
    /// For each endpoint, its places in `groups`.
    groups_of: Vec<Vec<usize>>,
}

impl<'s> Clients<'s> {
    pub(super) fn of(spec: &'s PrivateLinkSpec) -> Self {
        let mut endpoints_of: BTreeMap<Scope<'_>, Vec<usize>> = BTreeMap::new();
        for (index, endpoint) in spec.endpoints.iter().enumerate() {
            for scope in scopes(endpoint) {
                endpoints_of.entry(scope).or_default().push(index);
            }
        }
        let mut groups: BTreeMap<Vec<usize>, Vec<Scope<'_>>> = BTreeMap::new();
        for (scope, endpoints) in endpoints_of {
            groups.entry(endpoints).or_default().push(scope);
        }
        let mut clients = Self { groups: Vec::new(), groups_of: Vec::new() };
        clients.groups_of.resize_with(spec.endpoints.len(), Vec::new);
        for (number, (endpoints, scopes)) in groups.into_iter().enumerate() {
            for index in &endpoints {
                if let Some(groups) = clients.groups_of.get_mut(*index) {
                    groups.push(number);
                }
            }
            clients.groups.push(Group { endpoints, scopes });
        }
        clients
    }
}

fn sorted(list: &[At<IpAddr>]) -> Vec<IpAddr> {
    let mut addresses: Vec<_> = list.iter().map(|at| at.value).collect();
    addresses.sort_unstable();
    addresses
}
