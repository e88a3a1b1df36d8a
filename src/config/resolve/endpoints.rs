//! Endpoints of one private-link zone: who they are for, what they list, and that every client gets
//! one answer for one name.

use std::collections::HashMap;
use std::net::IpAddr;

use super::SiteIndex;
use super::listed::{Clients, Listed, Scope, scopes};
use super::zones::Zones;
use crate::config::findings::{Findings, Path, Problem, Span};
use crate::config::model::{Endpoint, Unlisted};
use crate::config::spec::{EndpointSpec, NameSpec, PrivateLinkSpec};
use crate::config::suggest::{any_of, did_you_mean};
use crate::config::table::{At, Field};
use crate::wire::{MAX_NAME_OCTETS, Name, NameMap, QName};

/// `nested`: zones of other entries inside this one's.
pub(super) fn check(
    spec: &PrivateLinkSpec,
    zones: Option<&Zones>,
    nested: &NameMap<Name>,
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
            check_relative_names(endpoint, zones, nested, path, findings);
        }
    }
    check_unlisted(spec, zones, path, findings);
    check_wildcards(spec, top, findings);
    let listed = Listed::collect(spec, top, findings);
    let clients = Clients::of(spec);
    listed.report_conflicts(spec, &clients, top, findings);
    listed.warn_of_other_sites(spec, &clients, top, findings);
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
    if spec.addresses.is_missing() && !spec.names_given {
        let problem = "neither addresses nor names; write addresses = [\"10.1.0.5\"]";
        findings.error(path, spec.span, Problem::bare(problem));
    }
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

fn check_relative_names(
    spec: &EndpointSpec,
    zones: &Zones,
    nested: &NameMap<Name>,
    path: Path<'_>,
    findings: &mut Findings<'_>,
) {
    let (public, private) = (&zones.public.value, &zones.private.value);
    // The private zone is mostly `privatelink` inside the public one; a name ending so is a slip.
    let inner = relative_to(private, public).and_then(|text| text.parse::<Name>().ok());
    let longest = public.as_wire().len().max(private.as_wire().len());
    let path = path.key("names");
    for entry in &spec.names.entries {
        let (NameSpec { name, span, .. }, text) = (entry, spec.names.text(entry));
        let zone = [Some(private), Some(public), inner.as_ref()]
            .into_iter()
            .flatten()
            // Hardly any name ends so, which is cheaper to see than whole labels.
            .find(|zone| name.as_wire().ends_with(zone.as_wire()) && name.is_within(zone));
        let problem = if let Some(zone) = zone {
            match relative_to(name, zone) {
                Some(right) => format!("names are relative to the zone; write \"{right}\""),
                None => "this is the zone itself, which has no address; write a name below it, \
                         such as \"api\""
                    .to_owned(),
            }
        } else if text.ends_with('.') && !text.ends_with("\\.") {
            format!("names are relative to the zone; write \"{name}\", without the final dot")
        } else if name.as_wire().len() - 1 + longest > MAX_NAME_OCTETS {
            format!("with the zone behind it, the name is longer than {MAX_NAME_OCTETS} octets")
        } else {
            warn_of_nested_zone(name, *span, zones, nested, path.key(text), findings);
            continue;
        };
        findings.error(path.key(text), *span, Problem::bare(problem));
    }
}

/// What stands in front of `zone` in `name`; nothing if they are equal or unrelated.
fn relative_to(name: &Name, zone: &Name) -> Option<String> {
    let (name, zone) = (name.to_string(), zone.to_string());
    Some(name.strip_suffix(&zone)?.strip_suffix('.')?.to_owned())
}

fn warn_of_nested_zone(
    name: &Name,
    span: Span,
    zones: &Zones,
    nested: &NameMap<Name>,
    path: Path<'_>,
    findings: &mut Findings<'_>,
) {
    if nested.is_empty() {
        return;
    }
    let full = [name.under(&zones.public.value), name.under(&zones.private.value)];
    let mut inside = full.iter().flatten().filter_map(|full| nested.deepest(&QName::from(full)));
    if let Some((_, zone)) = inside.next() {
        let problem = format!("never answered from here: the zone {zone} of another entry has it");
        findings.warn(path, span, Problem::bare(problem));
    }
}

/// Whether `unlisted`, `addresses` and `names` fit together.
fn check_unlisted(
    spec: &PrivateLinkSpec,
    zones: Option<&Zones>,
    path: Path<'_>,
    findings: &mut Findings<'_>,
) {
    let with_addresses = spec.endpoints.iter().position(|e| !e.addresses.is_missing());
    let any_names = spec.endpoints.iter().any(|e| e.names_given);
    let unlisted = match &spec.unlisted {
        Field::Wrong => return,
        Field::Missing => Unlisted::Wildcard,
        Field::Good(at) => at.value,
    };
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
            let problem = "never used: they are for names not listed, and unlisted is not \
                           \"wildcard\"";
            if any_names {
                findings.warn(endpoint.key("addresses"), span, Problem::new(problem));
            } else {
                let problem = Problem::new(problem).help("list names, or leave unlisted out");
                findings.error(endpoint.key("addresses"), span, problem);
            }
        }
        _ => {}
    }
}

/// Endpoints whose addresses no client comes to first, as others before them have the same clients.
fn check_wildcards(spec: &PrivateLinkSpec, top: Path<'_>, findings: &mut Findings<'_>) {
    if spec.unlisted.good().is_some_and(|at| at.value != Unlisted::Wildcard) {
        return;
    }
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
