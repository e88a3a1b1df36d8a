//! Private-link zones: which two they are, and that they do not step on others.

use std::collections::HashMap;

use super::SiteIndex;
use super::endpoints;
use crate::catalog::{self, Service};
use crate::config::findings::{Findings, Path, Problem, Span};
use crate::config::model::{PrivateLink, Unlisted};
use crate::config::probes::AllDown;
use crate::config::spec::{ForwardSpec, PrivateLinkSpec};
use crate::config::suggest::did_you_mean;
use crate::config::table::{At, Field};
use crate::wire::{Name, NameMap, QName};

/// The two zones of an entry, each with the place that it comes from.
pub(super) struct Zones {
    pub(super) public: At<Name>,
    pub(super) private: At<Name>,
    pub(super) service: Option<&'static Service>,
}

pub(super) fn resolve(
    specs: Vec<PrivateLinkSpec>,
    sites: &SiteIndex,
    findings: &mut Findings<'_>,
) -> Vec<PrivateLink> {
    let (top, of) = (Path::Root.key("private-link"), specs.len());
    let all: Vec<Option<Zones>> = specs
        .iter()
        .enumerate()
        .map(|(index, spec)| zones_of(spec, top.item(index, of), findings))
        .collect();
    // Which of two entries owns a zone is not known then; more about it would only mislead.
    let twice = report_zones_twice(&all, findings);
    let nested = if twice { vec![NameMap::default(); all.len()] } else { nested_zones(&all) };
    for (index, ((spec, zones), nested)) in specs.iter().zip(&all).zip(&nested).enumerate() {
        endpoints::check(spec, zones.as_ref(), nested, top.item(index, of), sites, findings);
        unused_require_private(spec, top.item(index, of), findings);
    }
    let resolved = specs.into_iter().zip(all);
    resolved.filter_map(|(spec, zones)| Some(private_link(spec, zones?, sites))).collect()
}

fn private_link(spec: PrivateLinkSpec, zones: Zones, sites: &SiteIndex) -> PrivateLink {
    PrivateLink {
        service: spec.service.good().map(|at| at.value.clone()),
        public_zone: zones.public.value,
        private_zone: zones.private.value,
        unlisted: spec.unlisted.or(Unlisted::Wildcard),
        ttl_seconds: spec.ttl_seconds,
        negative_ttl_seconds: spec.negative_ttl_seconds,
        require_private: spec.require_private.or(false),
        all_down: spec.all_down.or(AllDown::ServeAll),
        endpoints: spec
            .endpoints
            .into_iter()
            .filter_map(|endpoint| endpoints::resolve(endpoint, sites))
            .collect(),
    }
}

/// Only `unlisted = "forward"` lets an upstream say what a name of these zones has.
fn unused_require_private(spec: &PrivateLinkSpec, path: Path<'_>, findings: &mut Findings<'_>) {
    let Some(at) = spec.require_private.good().filter(|at| at.value) else { return };
    let forwards = match &spec.unlisted {
        Field::Good(unlisted) => unlisted.value == Unlisted::Forward,
        Field::Missing => false,
        // What it was meant to be is not known.
        Field::Wrong => true,
    };
    if !forwards {
        let problem = "no upstream is asked for names of these zones, so there is nothing to \
                       refuse; leave it out, or write unlisted = \"forward\"";
        findings.warn(path.key("require-private"), at.span, Problem::new(problem));
    }
}

/// For each entry, the zones of others that lie inside its own, nearest ones only.
fn nested_zones(all: &[Option<Zones>]) -> Vec<NameMap<Name>> {
    let mut owners: NameMap<usize> = NameMap::default();
    let zones = || {
        let known =
            all.iter().enumerate().filter_map(|(owner, zones)| Some((owner, zones.as_ref()?)));
        known.flat_map(|(owner, z)| [(owner, &z.public.value), (owner, &z.private.value)])
    };
    for (owner, zone) in zones() {
        owners.insert(&QName::from(zone), owner);
    }
    let mut nested = vec![NameMap::default(); all.len()];
    for (owner, zone) in zones() {
        let Some(parent) = zone.parent() else { continue };
        let Some((_, outer)) = owners.deepest(&QName::from(&parent)) else { continue };
        if let Some(inside) = nested.get_mut(*outer).filter(|_| *outer != owner) {
            inside.insert(&QName::from(zone), zone.clone());
        }
    }
    nested
}

/// The entry's zones, or nothing when they are not known; that has been said then.
fn zones_of(spec: &PrivateLinkSpec, path: Path<'_>, findings: &mut Findings<'_>) -> Option<Zones> {
    let given = !spec.public_zone.is_missing() || !spec.private_zone.is_missing();
    if !spec.service.is_missing() {
        let service = spec.service.good()?;
        if given {
            let problem = "write either service, or public-zone and private-zone, not both";
            findings.error(path.key("service"), service.span, Problem::new(problem));
            return None;
        }
        return service_zones(service, path, findings);
    }
    if !given {
        let problem =
            "write service = \"defender-for-containers\", or public-zone and private-zone";
        findings.error(path, spec.span, Problem::bare(problem));
        return None;
    }
    missing_zones(spec, path, findings);
    let private_fits = spec.private_zone.good().is_none_or(|zone| {
        let fault = hijacking(spec, &zone.value);
        fault.map(|p| findings.error(path.key("private-zone"), zone.span, p)).is_none()
    });
    let public_fits = spec.public_zone.good().is_none_or(|zone| {
        let fault = too_wide(&zone.value);
        fault.map(|p| findings.error(path.key("public-zone"), zone.span, p)).is_none()
    });
    let (public, private) = (spec.public_zone.good()?.clone(), spec.private_zone.good()?.clone());
    if !private_fits || !public_fits {
        return None;
    }
    let service = known_as_public(&public.value);
    if !expected_pair(&public.value, &private.value) {
        let problem = Problem::new("neither \"privatelink.\" and the public zone nor one we know");
        let help = format!("usual here: \"privatelink.{}\"", public.value);
        findings.warn(path.key("private-zone"), private.span, problem.help(help));
    }
    Some(Zones { public, private, service })
}

fn service_zones(
    service: &At<String>,
    path: Path<'_>,
    findings: &mut Findings<'_>,
) -> Option<Zones> {
    let names = || catalog::services().iter().map(|known| known.name);
    let Some(known) = catalog::find(&service.value) else {
        let known = names().collect::<Vec<_>>().join(", ");
        let problem = Problem::new(format!(
            "not in the catalogue ({known}); write one of its names, or public-zone and \
             private-zone"
        ));
        let help = did_you_mean(&service.value, names());
        let problem = help.into_iter().fold(problem, Problem::help);
        findings.error(path.key("service"), service.span, problem);
        return None;
    };
    let at = |zone: &str| zone.parse().ok().map(|value| At { value, span: service.span });
    Some(Zones {
        public: at(known.public_zone)?,
        private: at(known.private_zone)?,
        service: Some(known),
    })
}

fn missing_zones(spec: &PrivateLinkSpec, path: Path<'_>, findings: &mut Findings<'_>) {
    if spec.public_zone.is_missing() {
        let private = spec.private_zone.good().map(|zone| zone.value.to_string());
        let public = private.as_deref().and_then(|text| text.strip_prefix("privatelink."));
        let problem = match public {
            Some(public) => format!("missing; write public-zone = \"{public}\""),
            None => "missing; write the zone that clients ask".to_owned(),
        };
        findings.error(path.key("public-zone"), spec.span, Problem::bare(problem));
    }
    if spec.private_zone.is_missing() {
        let problem = match spec.public_zone.good() {
            Some(public) => {
                format!("missing; write private-zone = \"privatelink.{}\"", public.value)
            }
            None => "missing; write the zone that holds the addresses".to_owned(),
        };
        findings.error(path.key("private-zone"), spec.span, Problem::bare(problem));
    }
}

/// The service of this public zone; the catalogue writes zones as [`Name`] displays them.
fn known_as_public(zone: &Name) -> Option<&'static Service> {
    let text = zone.to_string();
    catalog::services().iter().find(|service| service.public_zone == text)
}

/// A public zone, or one above it, given as private zone: it would hide public names.
fn hijacking(spec: &PrivateLinkSpec, private: &Name) -> Option<Problem> {
    let own = spec.public_zone.good().map(|zone| &zone.value);
    let known = catalog::services().iter().find_map(|service| {
        let public: Name = service.public_zone.parse().ok()?;
        public.is_within(private).then_some((service, public))
    });
    let own = own.filter(|public| public.is_within(private));
    let public = own.or(known.as_ref().map(|(_, public)| public))?;
    let right = match &known {
        Some((service, known)) if known == public => service.private_zone.to_owned(),
        _ => format!("privatelink.{public}"),
    };
    let what = if public == private {
        "this is the public zone".to_owned()
    } else {
        format!("the public zone {public} lies inside it")
    };
    Some(Problem::new(format!(
        "{what}: as private zone it would hijack every public name; write \"{right}\""
    )))
}

/// A public zone above one that we know, such as the `*.defender.microsoft.com` of some drafts.
fn too_wide(public: &Name) -> Option<Problem> {
    if known_as_public(public).is_some() {
        return None;
    }
    let below = format!(".{public}");
    let inside = |service: &&Service| service.public_zone.ends_with(&below);
    catalog::services().iter().find(inside).map(|service| {
        Problem::new(format!(
            "wider than the service: every name below it would be answered privately; write \
             \"{}\"",
            service.public_zone
        ))
    })
}

fn expected_pair(public: &Name, private: &Name) -> bool {
    let usual = private.labels().next() == Some(b"privatelink")
        && private.parent().is_some_and(|parent| parent == *public);
    usual || {
        let (public, private) = (public.to_string(), private.to_string());
        let known = |s: &Service| s.public_zone == public && s.private_zone == private;
        catalog::services().iter().any(known)
    }
}

fn report_zones_twice(all: &[Option<Zones>], findings: &mut Findings<'_>) -> bool {
    let mut twice = false;
    let mut owners: HashMap<&Name, Span> = HashMap::new();
    let top = Path::Root.key("private-link");
    for (index, zones) in all.iter().enumerate() {
        let Some(zones) = zones else { continue };
        let path = top.item(index, all.len());
        for (key, at) in [("public-zone", &zones.public), ("private-zone", &zones.private)] {
            let Some(first) = owners.insert(&at.value, at.span) else { continue };
            let line = findings.line(first);
            let key = if zones.public.span == zones.private.span { "service" } else { key };
            let problem =
                format!("the zone {} stands twice in the file (first on line {line})", at.value);
            findings.error(path.key(key), at.span, Problem::new(problem));
            twice = true;
            break;
        }
    }
    twice
}

/// The zones of an entry, as far as they are known, the public one first.
pub(super) fn names_of(spec: &PrivateLinkSpec) -> Vec<Name> {
    let service = spec.service.good().and_then(|at| catalog::find(&at.value));
    match service {
        Some(service) => [service.public_zone, service.private_zone]
            .iter()
            .filter_map(|zone| zone.parse().ok())
            .collect(),
        None => [&spec.public_zone, &spec.private_zone]
            .iter()
            .filter_map(|field| field.good().map(|at| at.value.clone()))
            .collect(),
    }
}

/// `unlisted = "forward"` needs somewhere to forward to.
pub(super) fn warn_of_uncovered_forwarding(
    links: &[PrivateLinkSpec],
    forwards: &[ForwardSpec],
    findings: &mut Findings<'_>,
) {
    let mut rules = NameMap::default();
    for rule in forwards.iter().flat_map(|forward| &forward.zones.items) {
        rules.insert(&QName::from(&rule.value), ());
    }
    let top = Path::Root.key("private-link");
    for (index, spec) in links.iter().enumerate() {
        let Some(unlisted) = spec.unlisted.good().filter(|at| at.value == Unlisted::Forward) else {
            continue;
        };
        let zones = names_of(spec);
        let lost = zones.iter().find(|zone| rules.deepest(&QName::from(*zone)).is_none());
        if let Some(lost) = lost {
            let path = top.item(index, links.len());
            let problem = format!("no forward rule covers {lost}: names not listed get REFUSED");
            findings.warn(path.key("unlisted"), unlisted.span, Problem::new(problem));
        }
    }
}
