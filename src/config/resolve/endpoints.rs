//! Endpoints of one entry: who they are for, what they list, and that every client gets one answer
//! for one name.

use std::collections::HashMap;
use std::net::IpAddr;

use super::SiteIndex;
use super::listed::{Clients, Listed, Scope, scopes};
use super::names;
use super::pairs::{Zones, unlisted};
use super::shared::Nested;
use crate::config::findings::{Findings, Path, Problem, Span};
use crate::config::model::{Endpoint, Unlisted};
use crate::config::spec::{EndpointSpec, PrivateLinkSpec};
use crate::config::suggest::{any_of, did_you_mean};
use crate::config::table::{At, Field};

pub(super) fn check(
    spec: &PrivateLinkSpec,
    zones: Option<&Zones>,
    nested: &Nested<'_>,
    path: Path<'_>,
    sites: &SiteIndex,
    findings: &mut Findings<'_>,
) {
    if spec.endpoints.is_empty() {
        if spec.endpoints_given {
            return;
        }
        let problem = "missing; write at least one [[private-link.endpoint]]";
        findings.error(path.key("endpoint"), spec.span, Problem::bare(problem));
        return;
    }
    let (top, of) = (path.key("endpoint"), spec.endpoints.len());
    let mut lines: HashMap<&str, usize> = HashMap::new();
    for (index, endpoint) in spec.endpoints.iter().enumerate() {
        let path = top.item(index, of);
        if let Some(name) = endpoint.name.good() {
            let line = findings.line(name.span);
            if let Some(first) = lines.insert(&name.value, line) {
                let problem = format!(
                    "another endpoint of this zone has this name (line {first}); choose another"
                );
                findings.error(path.key("name"), name.span, Problem::new(problem));
            }
        }
        check_sites(endpoint, path, sites, findings);
        check_addresses(endpoint, path, findings);
        if let Some(zones) = zones {
            names::check(endpoint, zones, nested, path, findings);
        }
    }
    let unlisted = unlisted(spec, zones);
    if let Some(unlisted) = unlisted {
        check_unlisted(spec, zones, unlisted, path, findings);
    }
    if unlisted == Some(Unlisted::Wildcard) {
        check_wildcards(spec, top, findings);
    }
    let listed = Listed::collect(spec, top, findings);
    let clients = Clients::of(spec);
    listed.report_conflicts(spec, &clients, top, findings);
    if unlisted == Some(Unlisted::Wildcard) {
        listed.warn_of_other_sites(spec, &clients, top, findings);
    }
}

pub(super) fn resolve(spec: EndpointSpec, sites: &SiteIndex) -> Option<Endpoint> {
    let Field::Good(At { value: name, .. }) = spec.name else { return None };
    let site = |at: &At<String>| sites.by_name.get(&at.value).copied();
    Some(Endpoint {
        name,
        sites: spec.sites.items.iter().filter_map(site).collect(),
        addresses: spec.addresses.values(),
        names: spec.names.values(),
        probe: spec.probe.or(None),
    })
}

fn check_sites(
    spec: &EndpointSpec,
    path: Path<'_>,
    sites: &SiteIndex,
    findings: &mut Findings<'_>,
) {
    if sites.incomplete {
        return;
    }
    for at in spec.sites.items.iter().filter(|at| !sites.by_name.contains_key(&at.value)) {
        let known = || sites.sorted.iter().map(String::as_str);
        let problem = if sites.sorted.is_empty() {
            Problem::new("there is no [[site]]; write one, or leave sites out for everybody")
        } else {
            let shown = any_of(known().take(10));
            Problem::new(format!("no [[site]] has this name; write {shown}"))
        };
        let near = !findings.full_of_errors();
        let help = near.then(|| did_you_mean(&at.value, known())).flatten();
        findings.error(path.key("sites"), at.span, help.into_iter().fold(problem, Problem::help));
    }
}

fn check_addresses(spec: &EndpointSpec, path: Path<'_>, findings: &mut Findings<'_>) {
    warn_of_loopback(&spec.addresses.items, path.key("addresses"), findings);
    let names = path.key("names");
    for entry in &spec.names.entries {
        let path = names.key(spec.names.text(entry));
        warn_of_loopback(spec.names.addresses(entry), path, findings);
    }
}

fn warn_of_loopback(list: &[At<IpAddr>], path: Path<'_>, findings: &mut Findings<'_>) {
    if let Some(at) = list.iter().find(|at| at.value.is_loopback()) {
        let problem = "a loopback address sends every client to itself; right only for a proxy \
                       beside each client";
        findings.warn(path, at.span, Problem::new(problem));
    }
}

/// Whether `unlisted`, `addresses` and `names` fit together.
fn check_unlisted(
    spec: &PrivateLinkSpec,
    zones: Option<&Zones>,
    unlisted: Unlisted,
    path: Path<'_>,
    findings: &mut Findings<'_>,
) {
    let with_addresses = spec.endpoints.iter().position(|e| !e.addresses.is_missing());
    let any_names = spec.endpoints.iter().any(|e| e.names_given);
    let span = spec.unlisted.good().map_or(spec.span, |at| at.span);
    match (unlisted, with_addresses) {
        (Unlisted::Wildcard, None) if any_names => {
            let problem = "unlisted is \"wildcard\", but no endpoint has addresses; write some, or \
                           unlisted = \"nxdomain\" or \"forward\"";
            findings.error(path.key("unlisted"), span, Problem::bare(problem));
        }
        (Unlisted::Wildcard, Some(_)) if !any_names => {
            let Some(service) = zones.and_then(|zones| zones.service) else { return };
            if service.members.len() > 1 {
                let members = service.members.join(" and ");
                let problem = format!(
                    "all names get the same addresses, but {members} of {} have one each; list \
                     them under names",
                    service.name
                );
                findings.warn(path, spec.span, Problem::bare(problem));
            }
        }
        (Unlisted::Nxdomain | Unlisted::Forward, Some(index)) => {
            let top = path.key("endpoint");
            let endpoint = top.item(index, spec.endpoints.len());
            let Some(span) = spec.endpoints.get(index).and_then(|e| e.addresses.span) else {
                return;
            };
            let by_default = spec.unlisted.is_missing();
            let problem = Problem::new(if by_default {
                "never used: other tenants have names in these zones too, so names not listed are \
                 forwarded"
            } else {
                "never used: they are for names not listed, and unlisted is not \"wildcard\""
            });
            if any_names {
                findings.warn(endpoint.key("addresses"), span, problem);
            } else {
                let problem = problem.help(if by_default {
                    "list yours under names"
                } else {
                    "list names, or write unlisted = \"wildcard\""
                });
                findings.error(endpoint.key("addresses"), span, problem);
            }
        }
        _ => {}
    }
}

/// Endpoints whose addresses no client comes to first, as others before them have the same clients.
fn check_wildcards(spec: &PrivateLinkSpec, top: Path<'_>, findings: &mut Findings<'_>) {
    let mut taken: HashMap<Scope<'_>, (Span, bool)> = HashMap::new();
    for (index, endpoint) in spec.endpoints.iter().enumerate() {
        let Some(span) = endpoint.addresses.span else { continue };
        let scopes = scopes(endpoint);
        let before = scopes.iter().find_map(|scope| taken.get(scope).copied());
        // Behind those that are probed, it stands by.
        let is_taken = |scope| taken.get(scope).is_some_and(|(_, is_probed)| !is_probed);
        if let Some((first, _)) = before.filter(|_| scopes.iter().all(is_taken)) {
            let line = findings.line(first);
            let problem = format!(
                "not used: all its clients have the addresses of another endpoint (line {line}) \
                 before these; give it other sites, or that one a probe"
            );
            let path = top.item(index, spec.endpoints.len());
            findings.warn(path.key("addresses"), span, Problem::new(problem));
        }
        for scope in scopes {
            taken.entry(scope).or_insert((span, endpoint.is_probed()));
        }
    }
}
