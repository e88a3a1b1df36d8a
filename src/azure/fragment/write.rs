//! TOML: every line says where it comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::sites::Sites;
use super::{Entry, Extent, Listed, Planned, Unlisted};
use crate::azure::log::{is_plain, shown};
use crate::azure::model::{Endpoint, Inventory, Source};

/// Longest name of an endpoint in the configuration, characters.
const MAX_LABEL_CHARS: usize = 64;
/// Most places that one line's comment names.
const MAX_SOURCES: usize = 4;
/// The least that a fragment lacks: where to listen, and whom to ask for everything else.
const LISTEN: &str = "\n[listen]\ndns = [\"127.0.0.1:5300\", \"[::1]:5300\"]\n";
const FORWARD: &str = "\n[[forward]]\nzones = [\".\"]\nupstreams = [\"resolv.conf\"] # whom this \
                       host asks\n";

/// All entries.
pub(super) fn all(
    inventory: &Inventory,
    sites: &Sites,
    entries: &[Planned],
    extent: Extent,
) -> String {
    let labels = labels(&inventory.endpoints);
    let mut text = head(inventory, entries, extent);
    if extent == Extent::Whole {
        text += LISTEN;
    }
    for (name, networks) in &sites.networks {
        let networks: Vec<_> = networks.iter().map(ToString::to_string).collect();
        let (name, networks) = (quoted(name), list(&networks));
        text += &format!("\n[[site]]\nname = {name}\nnetworks = {networks}\n");
    }
    for planned in entries {
        entry(planned, &mut text);
        for (index, names) in &planned.endpoints {
            let (Some(found), Some(label)) = (inventory.endpoints.get(*index), labels.get(*index))
            else {
                continue;
            };
            let of = sites.of.get(*index).map_or(&[][..], Vec::as_slice);
            endpoint(found, label, of, names, planned, &mut text);
        }
    }
    if extent == Extent::Whole {
        text += FORWARD;
    }
    text
}

fn head(inventory: &Inventory, entries: &[Planned], extent: Extent) -> String {
    let names = || entries.iter().flat_map(|planned| planned.endpoints.values().flatten());
    let endpoints = names().filter_map(|name| inventory.endpoints.get(name.endpoint));
    let sources = endpoints.map(|endpoint| &endpoint.source);
    let sources = sources.chain(names().flat_map(|name| &name.sources));
    let files: BTreeSet<&str> = sources.map(|source| source.file.as_str()).collect();
    let mut text = "# What Azure says, read by `privatelinkd import azure` from\n".to_owned();
    for file in files {
        let _infallible = writeln!(text, "#   {}", shown(file));
    }
    text += match extent {
        Extent::Fragment => {
            "# Add [listen] and a [[forward]], and try it with `privatelinkd check`.\n"
        }
        Extent::Whole => "# Try it with `privatelinkd check`.\n",
    };
    text
}

fn entry(planned: &Planned, text: &mut String) {
    *text += "\n[[private-link]]\n";
    match &planned.entry {
        Entry::Service { service, variables } => {
            let _infallible = writeln!(text, "service = {}", quoted(service.name));
            if service.cloud != crate::catalog::Cloud::default() {
                let _infallible = writeln!(text, "cloud = {}", quoted(service.cloud.word()));
            }
            if !variables.is_empty() {
                let variables: Vec<_> = variables
                    .iter()
                    .map(|(name, value)| format!("{name} = {}", quoted(value)))
                    .collect();
                let _infallible = writeln!(text, "variables = {{ {} }}", variables.join(", "));
            }
        }
        Entry::Zones { public_zone, private_zone } => {
            let (public, private) = (quoted(public_zone), quoted(private_zone));
            *text += "# Not in the catalogue; the files have these names in both zones, or the \
                      private zone says which\n# public one it stands for.\n";
            *text += &format!("public-zone = {public}\nprivate-zone = {private}\n");
        }
    }
    *text += match planned.unlisted {
        Unlisted::Wildcard => {
            "# Azure has a wildcard in this zone: every name that is not listed leads to `addresses`.\n\
             unlisted = \"wildcard\"\n"
        }
        Unlisted::Nxdomain => {
            "# All names here are yours: one that Azure did not list goes neither to another member's\n\
             # address nor to the public endpoint. For Azure's documented wildcard: unlisted = \
             \"wildcard\" and\n# addresses = [the api member's].\n\
             unlisted = \"nxdomain\"\n"
        }
        Unlisted::Forward => {
            "# Other tenants have names here too: what is not listed goes to a [[forward]].\n\
             unlisted = \"forward\"\n"
        }
    };
}

fn endpoint(
    found: &Endpoint,
    label: &str,
    sites: &[String],
    names: &[Listed],
    planned: &Planned,
    text: &mut String,
) {
    *text += "\n[[private-link.endpoint]]\n";
    let mut what: Vec<String> = vec![shown(found.title())];
    what.extend(found.resource_type.as_deref().map(shown));
    what.extend(found.group_ids.iter().take(MAX_SOURCES).map(|group| shown(group)));
    what.extend(found.region.as_deref().map(shown));
    let _infallible = writeln!(text, "# {}; {}", what.join(", "), place(&found.source));
    let _infallible = writeln!(text, "name = {}", quoted(label));
    if !sites.is_empty() {
        let _infallible = writeln!(text, "sites = {}", list(sites));
    }
    for name in names.iter().filter(|name| name.relative == "*") {
        let comment = comment(&name.sources);
        let _infallible = writeln!(text, "addresses = {} # {comment}", list(&name.addresses));
    }
    if let Some(port) = planned.entry.port() {
        let _infallible = writeln!(
            text,
            "# probe = \"tcp:{port}\" # where this host reaches the endpoint, on the service's port"
        );
    }
    let mut listed = names.iter().filter(|name| name.relative != "*").peekable();
    if listed.peek().is_some() {
        *text += "[private-link.endpoint.names]\n";
    }
    for name in listed {
        let addresses = list(&name.addresses);
        let key = quoted(&planned.entry.name_key(&name.relative, &name.public_zone));
        let _infallible = writeln!(text, "{key} = {addresses} # {}", comment(&name.sources));
    }
}

fn comment(sources: &[Source]) -> String {
    let mut places: Vec<String> = sources.iter().take(MAX_SOURCES).map(place).collect();
    if let Some(more) = sources.len().checked_sub(MAX_SOURCES).filter(|more| *more > 0) {
        places.push(format!("{more} more"));
    }
    places.join("; ")
}

/// A place on one line; the file's name may hold anything.
fn place(source: &Source) -> String {
    let file = shown(&source.file);
    if source.at.is_empty() { file } else { format!("{file}: {}", source.at) }
}

fn list<T: ToString>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(&item.to_string())).collect();
    format!("[{}]", items.join(", "))
}

/// A TOML string, or key, of any text.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if is_plain(c) => quoted.push(c),
            c => {
                let _infallible = write!(quoted, "\\U{:08X}", u32::from(c));
            }
        }
    }
    quoted.push('"');
    quoted
}

/// A name of 1 to 64 printable characters for each endpoint, none twice.
fn labels(endpoints: &[Endpoint]) -> Vec<String> {
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    let mut labels = Vec::with_capacity(endpoints.len());
    for endpoint in endpoints {
        let plain = endpoint.name.chars().take(MAX_LABEL_CHARS);
        let plain: String = plain.map(|c| if is_plain(c) { c } else { '-' }).collect();
        let plain = match plain.trim() {
            "" => "endpoint",
            plain => plain,
        };
        let mut label = plain.to_owned();
        // Each turn takes another number, and no more of them are taken than there are endpoints.
        while taken.contains_key(&label) {
            let next = taken.entry(plain.to_owned()).or_insert(1);
            *next += 1;
            let number = format!("-{next}");
            let room = MAX_LABEL_CHARS - number.len();
            label = plain.chars().take(room).chain(number.chars()).collect();
        }
        taken.insert(label.clone(), 1);
        labels.push(label);
    }
    labels
}
