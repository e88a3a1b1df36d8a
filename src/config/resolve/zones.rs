//! Private-link zones: what entries mean, and that they do not step on others.

use super::SiteIndex;
use super::pairs::{Zones, unlisted, zones_of};
use super::shared::{Nested, Owners, Shared};
use super::{endpoints, names, probes, tenants};
use crate::config::findings::{Findings, Path, Problem};
use crate::config::model::{Endpoint, Names, PrivateLink, Unlisted};
use crate::config::probes::AllDown;
use crate::config::spec::{ForwardSpec, PrivateLinkSpec, ProbesSpec};
use crate::wire::{Name, NameMap, QName};

pub(super) fn resolve(
    mut specs: Vec<PrivateLinkSpec>,
    forwards: &[ForwardSpec],
    probing: Option<&ProbesSpec>,
    sites: &SiteIndex,
    findings: &mut Findings<'_>,
) -> Vec<PrivateLink> {
    let (top, of) = (Path::Root.key("private-link"), specs.len());
    let all: Vec<Option<Zones>> = specs
        .iter()
        .enumerate()
        .map(|(index, spec)| zones_of(spec, top.item(index, of), findings))
        .collect();
    for (index, (spec, zones)) in specs.iter_mut().zip(&all).enumerate() {
        if let Some(zones) = zones {
            names::into_private_zones(spec, zones, top.item(index, of), findings);
        }
    }
    check(&specs, &all, sites, findings);
    warn_of_unlisted(&specs, &all, forwards, findings);
    probes::check(&specs, &all, forwards, probing, findings);
    let owners = Owners::new(&all);
    let resolved = specs.into_iter().zip(all).enumerate();
    resolved
        .filter_map(|(entry, (spec, zones))| {
            Some(private_links(entry, spec, zones?, sites, &owners))
        })
        .flatten()
        .collect()
}

fn check(
    specs: &[PrivateLinkSpec],
    all: &[Option<Zones>],
    sites: &SiteIndex,
    findings: &mut Findings<'_>,
) {
    let (top, of) = (Path::Root.key("private-link"), specs.len());
    let shared = Shared::find(all, findings);
    // Which of two entries owns a zone is not known then; more about it would only mislead.
    let nested = if shared.is_some() { Nested::new(all) } else { Nested::default() };
    for (index, (spec, zones)) in specs.iter().zip(all).enumerate() {
        let (path, zones) = (top.item(index, of), zones.as_ref());
        endpoints::check(spec, zones, &nested, path, sites, findings);
        unused_require_private(spec, zones, path, findings);
    }
    if let Some(shared) = shared {
        shared.check(specs, all, findings);
    }
}

/// One for each pair of the entry. A pair of which no endpoint has anything is left out where that
/// makes no difference to anybody: its names are the upstream's, unless a zone of another entry lies
/// around it, which would have them then.
fn private_links(
    entry: usize,
    spec: PrivateLinkSpec,
    zones: Zones,
    sites: &SiteIndex,
    owners: &Owners,
) -> Vec<PrivateLink> {
    let unlisted = unlisted(&spec, Some(&zones)).unwrap_or(Unlisted::Wildcard);
    let service = spec.service.good().map(|at| at.value.clone());
    let (ttl_seconds, negative_ttl_seconds) = (spec.ttl_seconds, spec.negative_ttl_seconds);
    let require_private = spec.require_private.or(false);
    let all_down = spec.all_down.or(AllDown::ServeAll);
    let endpoints = spec.endpoints.into_iter();
    let endpoints: Vec<Endpoint> =
        endpoints.filter_map(|endpoint| endpoints::resolve(endpoint, sites)).collect();
    let of_pairs: Vec<Vec<Endpoint>> = if zones.one_private().is_some() {
        std::iter::repeat_n(endpoints, zones.pairs.len()).collect()
    } else {
        let pairs = 0..zones.pairs.len();
        pairs.map(|pair| of_pair(&endpoints, &zones, pair, unlisted)).collect()
    };
    let several = zones.pairs.len() > 1;
    let cloud = zones.cloud;
    let links = zones.pairs.into_iter().zip(of_pairs).map(|(pair, endpoints)| PrivateLink {
        entry,
        service: service.clone(),
        cloud,
        public_zone: pair.public.value,
        private_zone: pair.private.value,
        unlisted,
        ttl_seconds,
        negative_ttl_seconds,
        require_private,
        all_down,
        endpoints,
    });
    let is_idle = |link: &PrivateLink| {
        let forwards = link.unlisted == Unlisted::Forward && !link.require_private;
        let is_inside = || {
            let zones = [&link.public_zone, &link.private_zone];
            zones.into_iter().any(|zone| owners.is_inside_of_others(zone, entry))
        };
        several && forwards && link.endpoints.is_empty() && !is_inside()
    };
    links.filter(|link| !is_idle(link)).collect()
}

/// What the endpoints have in one of several pairs; those that have nothing there are left out.
fn of_pair(
    endpoints: &[Endpoint],
    zones: &Zones,
    pair: usize,
    unlisted: Unlisted,
) -> Vec<Endpoint> {
    let has_wildcard = unlisted == Unlisted::Wildcard;
    let of_pair = endpoints.iter().map(|endpoint| {
        let mut own = Names::default();
        for (name, addresses) in endpoint.names.iter() {
            if let Some(relative) = names::relative(name, zones, pair) {
                own.push(relative.into_owned(), addresses.iter().copied());
            }
        }
        let addresses = if has_wildcard { endpoint.addresses.clone() } else { Vec::new() };
        Endpoint { names: own, addresses, ..endpoint.without_names() }
    });
    of_pair.filter(|here| !here.names.is_empty() || !here.addresses.is_empty()).collect()
}

/// Only `unlisted = "forward"` lets an upstream say what a name of these zones has.
fn unused_require_private(
    spec: &PrivateLinkSpec,
    zones: Option<&Zones>,
    path: Path<'_>,
    findings: &mut Findings<'_>,
) {
    let Some(at) = spec.require_private.good().filter(|at| at.value) else { return };
    // Where it cannot be said what `unlisted` is, it may be that.
    if unlisted(spec, zones).is_some_and(|unlisted| unlisted != Unlisted::Forward) {
        let problem = "no upstream is asked for names of these zones, so there is nothing to \
                       refuse; leave it out, or write unlisted = \"forward\"";
        findings.warn(path.key("require-private"), at.span, Problem::new(problem));
    }
}

/// `unlisted = "forward"` needs somewhere to forward to, and what other tenants have needs to be
/// forwarded where it can be.
fn warn_of_unlisted(
    specs: &[PrivateLinkSpec],
    all: &[Option<Zones>],
    forwards: &[ForwardSpec],
    findings: &mut Findings<'_>,
) {
    let mut rules = NameMap::default();
    for rule in forwards.iter().flat_map(|forward| &forward.zones.items) {
        rules.insert(&QName::from(&rule.value), ());
    }
    let top = Path::Root.key("private-link");
    for (index, (spec, zones)) in specs.iter().zip(all).enumerate() {
        let Some(zones) = zones else { continue };
        let Some(unlisted) = unlisted(spec, Some(zones)) else { continue };
        let path = top.item(index, specs.len());
        let names = zones.pairs.iter().flat_map(|pair| [&pair.public.value, &pair.private.value]);
        let is_lost = |zone: &&Name| rules.deepest(&QName::from(*zone)).is_none();
        if unlisted != Unlisted::Forward {
            if !names.into_iter().all(|zone| is_lost(&zone)) {
                tenants::warn_of_hidden(spec, zones, unlisted, path, findings);
            }
            continue;
        }
        let Some(lost) = names.into_iter().find(is_lost) else { continue };
        let problem = format!("no forward rule covers {lost}: names not listed get REFUSED");
        match spec.unlisted.good() {
            Some(at) => findings.warn(path.key("unlisted"), at.span, Problem::new(problem)),
            None => findings.warn(path.key("unlisted"), spec.span, Problem::bare(problem)),
        }
    }
}
