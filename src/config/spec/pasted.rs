//! What pasting does to `[[private-link]]` entries: a piece at the end of the file belongs to the last
//! entry, and a piece that is appended twice stands twice.

use std::collections::HashMap;

use super::{EndpointSpec, PrivateLinkSpec};
use crate::config::findings::{Findings, Path, Problem, Span};

/// Reports endpoints without addresses and names, and entries that repeat one above.
pub(super) fn check(links: &mut [PrivateLinkSpec], findings: &mut Findings<'_>) {
    // In a file with broken lines, what is missing may stand there.
    if findings.is_broken() {
        return;
    }
    report_empty(links, findings);
    report_repeated(links, findings);
}

fn report_empty(links: &[PrivateLinkSpec], findings: &mut Findings<'_>) {
    let is_empty =
        |endpoint: &EndpointSpec| endpoint.addresses.is_missing() && !endpoint.names_given;
    let all = || {
        links.iter().enumerate().flat_map(|(entry, link)| {
            link.endpoints.iter().enumerate().map(move |(index, e)| (entry, link, index, e))
        })
    };
    if !all().any(|(.., endpoint)| is_empty(endpoint)) {
        return;
    }
    // The first endpoint of each name that has something to answer with.
    let mut named: HashMap<&str, (&PrivateLinkSpec, Span)> = HashMap::new();
    for (_, link, _, endpoint) in all().filter(|(.., endpoint)| !is_empty(endpoint)) {
        if let Some(name) = endpoint.name.good() {
            named.entry(&name.value).or_insert((link, endpoint.span));
        }
    }
    let top = Path::Root.key("private-link");
    for (entry, link, index, endpoint) in all().filter(|(.., endpoint)| is_empty(endpoint)) {
        let twin = endpoint.name.good().and_then(|name| Some((name, named.get(&*name.value)?)));
        let problem = match twin {
            None => Problem::bare("neither addresses nor names; write addresses = [\"10.1.0.5\"]")
                .help(format!("it belongs to {}", in_words(link, findings))),
            Some((name, (other, span))) => {
                let key = if endpoint.probe.is_missing() { "what it says" } else { "probe" };
                let line = findings.line(*span);
                let name = &name.value;
                Problem::bare(format!(
                    "neither addresses nor names; it belongs to the last [[private-link]] above it: \
                     {}",
                    in_words(link, findings)
                ))
                .help(format!(
                    "the endpoint \"{name}\" on line {line} belongs to {}: add {key} there, and delete \
                     this one",
                    in_words(other, findings)
                ))
            }
        };
        let path = top.item(entry, links.len());
        let endpoints = path.key("endpoint");
        findings.error(endpoints.item(index, link.endpoints.len()), endpoint.span, problem);
    }
}

/// An entry, for messages.
fn in_words(link: &PrivateLinkSpec, findings: &Findings<'_>) -> String {
    let line = findings.line(link.span);
    match (link.service.good(), link.public_zone.good()) {
        (Some(service), _) => format!("service = \"{}\" (line {line})", service.value),
        (None, Some(zone)) => format!("public-zone = \"{}\" (line {line})", zone.value),
        (None, None) => format!("the [[private-link]] on line {line}"),
    }
}

/// Which zones an entry stands for, as far as its own words say: equal texts mean equal zones.
fn identity(link: &PrivateLinkSpec) -> Option<String> {
    if let Some(service) = link.service.good() {
        let cloud = link.cloud.good().map(|cloud| cloud.value).unwrap_or_default();
        let variables = link.variables.iter().map(|variable| {
            format!(" {}={}", variable.name, variable.value.as_deref().unwrap_or(""))
        });
        return Some(format!("{} {cloud}{}", service.value, variables.collect::<String>()));
    }
    let (public, private) = (link.public_zone.good()?, link.private_zone.good()?);
    Some(format!("{} {}", public.value, private.value).to_ascii_lowercase())
}

fn report_repeated(links: &mut [PrivateLinkSpec], findings: &mut Findings<'_>) {
    let mut alike: HashMap<String, Vec<usize>> = HashMap::new();
    for (entry, link) in links.iter().enumerate() {
        if let Some(identity) = identity(link) {
            alike.entry(identity).or_default().push(entry);
        }
    }
    let mut repeated = Vec::new();
    for entries in alike.values().filter(|entries| entries.len() > 1) {
        // The first entry that has an endpoint of this name with this listed name.
        let mut listed: HashMap<(&str, String), usize> = HashMap::new();
        for (entry, link) in entries.iter().filter_map(|entry| Some((*entry, links.get(*entry)?))) {
            let mut first = None;
            for endpoint in &link.endpoints {
                let Some(name) = endpoint.name.good() else { continue };
                for listing in &endpoint.names.entries {
                    let text = endpoint.names.text(listing).to_ascii_lowercase();
                    let owner = *listed.entry((&name.value, text)).or_insert(entry);
                    first = first.or((owner != entry).then_some((owner, name.value.clone())));
                }
            }
            repeated.extend(first.map(|(first, name)| (entry, first, name)));
        }
    }
    repeated.sort_unstable();
    let (top, of) = (Path::Root.key("private-link"), links.len());
    for (entry, first, name) in repeated {
        let Some(above) = links.get(first) else { continue };
        let words = in_words(above, findings);
        let problem = format!(
            "this entry stands twice: {words} has the endpoint \"{name}\" with the same names already"
        );
        let help = "the output of `import azure` was probably appended twice: delete the older one";
        let Some(link) = links.get_mut(entry) else { continue };
        link.repeats_another = true;
        let path = top.item(entry, of);
        let (key, span) = match (link.service.good(), link.public_zone.good()) {
            (Some(service), _) => ("service", service.span),
            (None, Some(zone)) => ("public-zone", zone.span),
            (None, None) => continue,
        };
        findings.error(path.key(key), span, Problem::new(problem).help(help));
    }
}
