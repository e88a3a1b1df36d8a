//! Probes of endpoints: that there is something to check, that what follows can follow, and that
//! there are not too many.

use std::collections::HashSet;
use std::net::IpAddr;

use super::pairs::{Zones, unlisted};
use crate::config::findings::{Findings, Path, Problem};
use crate::config::limits;
use crate::config::model::Unlisted;
use crate::config::probes::{AllDown, Probe, Probes};
use crate::config::spec::{EndpointSpec, ForwardSpec, PrivateLinkSpec, ProbesSpec};
use crate::config::table::{At, Field};
use crate::wire::{Name, NameMap, QName};

pub(super) fn check(
    links: &[PrivateLinkSpec],
    all: &[Option<Zones>],
    forwards: &[ForwardSpec],
    probing: Option<&ProbesSpec>,
    findings: &mut Findings<'_>,
) {
    let top = Path::Root.key("private-link");
    for (index, (link, zones)) in links.iter().zip(all).enumerate() {
        let (path, zones) = (top.item(index, links.len()), zones.as_ref());
        all_down(link, zones, forwards, path, findings);
        let endpoints = path.key("endpoint");
        for (index, endpoint) in link.endpoints.iter().enumerate() {
            let path = endpoints.item(index, link.endpoints.len());
            nothing_to_check(link, zones, endpoint, path, findings);
        }
    }
    too_many(links, all, findings);
    let Some(probes) = probing else { return };
    if !links.iter().any(has_probe) {
        let problem = "no effect: no endpoint has a probe; write probe = \"tcp:443\" at one";
        findings.warn(Path::Root.key("probes"), probes.span, Problem::bare(problem));
    }
    too_long(probes, findings);
}

pub(super) fn resolve(spec: Option<ProbesSpec>) -> Probes {
    let Some(spec) = spec else { return Probes::default() };
    let interval = spec.interval.or(limits::PROBE_INTERVAL.default);
    let count = |field: Field<usize>, default| {
        field.good().and_then(|at| u32::try_from(at.value).ok()).unwrap_or(default)
    };
    let Probes { rise, fall, .. } = Probes::default();
    Probes {
        interval,
        timeout: spec.timeout.or(Probes::default_timeout(interval)),
        rise: count(spec.rise, rise),
        fall: count(spec.fall, fall),
    }
}

/// Whether some endpoint of it is probed, or was meant to be.
fn has_probe(link: &PrivateLinkSpec) -> bool {
    link.endpoints.iter().any(EndpointSpec::is_probed)
}

/// Half the interval, so that one that takes its whole time does not put off the next.
fn too_long(spec: &ProbesSpec, findings: &mut Findings<'_>) {
    let Some(timeout) = spec.timeout.good() else { return };
    let interval = match &spec.interval {
        Field::Good(at) => at.value,
        Field::Missing => limits::PROBE_INTERVAL.default,
        Field::Wrong => return,
    };
    if timeout.value > interval / 2 {
        let most = humantime::format_duration(interval / 2);
        let problem = format!("more than half the interval; write \"{most}\" at most");
        let path = Path::Root.key("probes");
        findings.error(path.key("timeout"), timeout.span, Problem::new(problem));
    }
}

/// `all-down` that does nothing, or cannot do what it says.
fn all_down(
    link: &PrivateLinkSpec,
    zones: Option<&Zones>,
    forwards: &[ForwardSpec],
    path: Path<'_>,
    findings: &mut Findings<'_>,
) {
    let Some(at) = link.all_down.good() else { return };
    let path = path.key("all-down");
    if at.value != AllDown::ServeAll && !has_probe(link) {
        let problem = "no effect: no endpoint of this zone has a probe; write probe = \"tcp:443\" \
                       at each";
        findings.warn(path, at.span, Problem::new(problem));
    }
    if at.value != AllDown::Public {
        return;
    }
    if let Some(private) = link.require_private.good().filter(|at| at.value) {
        let line = findings.line(private.span);
        let problem = format!(
            "require-private (line {line}) refuses the public addresses that this asks for; \
             leave that out, or write \"servfail\""
        );
        findings.error(path, at.span, Problem::new(problem));
    }
    let mut rules = NameMap::default();
    for forward in forwards {
        for zone in &forward.zones.items {
            rules.insert(&QName::from(&zone.value), forward);
        }
    }
    for zone in names(zones) {
        let rule = rules.deepest(&QName::from(zone)).map(|(_, forward)| forward);
        let private = rule.and_then(|rule| rule.require_private.good()).filter(|at| at.value);
        let problem = match (rule, private) {
            (None, _) => format!(
                "no forward rule covers {zone}, so nobody can say what is public there; write one, \
                 or \"servfail\""
            ),
            (_, Some(private)) => format!(
                "the rule for {zone} has require-private (line {}), which refuses the public \
                 addresses that this asks for; give the zone a rule without, or write \"servfail\"",
                findings.line(private.span)
            ),
            _ => continue,
        };
        findings.error(path, at.span, Problem::new(problem));
        return;
    }
}

/// A certificate is checked against a name; an address that no name lists has none.
fn nothing_to_check(
    link: &PrivateLinkSpec,
    zones: Option<&Zones>,
    endpoint: &EndpointSpec,
    path: Path<'_>,
    findings: &mut Findings<'_>,
) {
    let Some(At { value: Some(Probe::Tls { port, name: None }), span }) = endpoint.probe.good()
    else {
        return;
    };
    let listed: HashSet<IpAddr> = listed(endpoint).collect();
    let unused = unlisted(link, zones).is_some_and(|unlisted| unlisted != Unlisted::Wildcard);
    let nameless = endpoint.addresses.items.iter().find(|at| !listed.contains(&at.value));
    if let Some(nameless) = nameless.filter(|_| !unused) {
        let ip = nameless.value;
        let zone = names(zones).next().map_or("example".to_owned(), ToString::to_string);
        let problem = format!(
            "no name lists {ip}, so there is none to check its certificate against; write one that \
             the certificate holds, such as \"tls:{port}#api.{zone}\", or \"tcp:{port}\""
        );
        findings.error(path.key("probe"), *span, Problem::new(problem));
    }
}

/// The zones of an entry, as far as they are known, a public one first.
fn names(zones: Option<&Zones>) -> impl Iterator<Item = &Name> {
    let pairs = zones.into_iter().flat_map(|zones| &zones.pairs);
    pairs.flat_map(|pair| [&pair.public.value, &pair.private.value])
}

fn listed(endpoint: &EndpointSpec) -> impl Iterator<Item = IpAddr> {
    let names = endpoint.names.entries.iter();
    names.flat_map(|entry| endpoint.names.addresses(entry)).map(|at| at.value)
}

/// An address, its probe, and where the name of its certificate comes from, if it needs one: an
/// entry, its pair, its endpoint.
type Counted<'s> = (IpAddr, &'s Probe, Option<[usize; 3]>);

/// Counts each address once for each probe that is written, as they are made then.
fn too_many(links: &[PrivateLinkSpec], all: &[Option<Zones>], findings: &mut Findings<'_>) {
    let most = limits::MAX_PROBE_TARGETS;
    let mut targets: HashSet<Counted<'_>> = HashSet::new();
    let top = Path::Root.key("private-link");
    for (index, (link, zones)) in links.iter().zip(all).enumerate() {
        for (number, endpoint) in link.endpoints.iter().enumerate() {
            let Some(At { value: Some(probe), span }) = endpoint.probe.good() else { continue };
            // Names differ from zone to zone, and from endpoint to endpoint.
            let zones = zones.as_ref().filter(|_| matches!(probe, Probe::Tls { name: None, .. }));
            let in_pair = |pair| zones.map(|_| [index, pair, number]);
            for pair in 0..zones.map_or(1, |zones| zones.pairs.len()) {
                let wildcard = endpoint.addresses.items.iter().map(|at| at.value);
                targets.extend(wildcard.map(|ip| (ip, probe, in_pair(pair))));
                for entry in &endpoint.names.entries {
                    let has = |zones| super::names::relative(&entry.name, zones, pair).is_some();
                    if zones.is_none_or(has) {
                        let listed = endpoint.names.addresses(entry).iter().map(|at| at.value);
                        targets.extend(listed.map(|ip| (ip, probe, in_pair(pair))));
                    }
                }
            }
            if targets.len() > most {
                let problem = format!(
                    "more than {most} addresses to probe in this file; write \"none\" where many \
                     names have an address each"
                );
                let path = top.item(index, links.len());
                findings.error(path.key("endpoint").key("probe"), *span, Problem::bare(problem));
                return;
            }
        }
    }
}
