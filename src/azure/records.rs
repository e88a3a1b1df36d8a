//! Names with addresses: entries of lists, and record sets of private DNS zones.

use super::facts::{Alias, Facts, Origin, ResourceId, Said, addresses, fqdn};
use super::json::Node;
use super::log::{Log, shown};
use super::model::Record;

/// Lists of a record set: the spellings of the key, the key of an entry's address.
const ADDRESS_LISTS: [(&[&str], &str); 2] = [
    (&["aRecords", "ARecords", "arecords"], "ipv4Address"),
    (&["aaaaRecords", "AAAARecords", "AaaaRecords"], "ipv6Address"),
];
/// What other record sets hold: the key, and what it is called.
const OTHERS: [(&str, &str); 7] = [
    ("cnameRecord", "CNAME"),
    ("soaRecord", "SOA"),
    ("mxRecords", "MX"),
    ("ptrRecords", "PTR"),
    ("srvRecords", "SRV"),
    ("txtRecords", "TXT"),
    ("nsRecords", "NS"),
];

/// What tells an entry of PowerShell's `Records`: the key, and its type.
const ENTRIES: [(&str, &str); 8] = [
    ("ipv4Address", "A"),
    ("ipv6Address", "AAAA"),
    ("cname", "CNAME"),
    ("serialNumber", "SOA"),
    ("exchange", "MX"),
    ("ptrdname", "PTR"),
    ("target", "SRV"),
    ("value", "TXT"),
];

/// How to read an entry with `fqdn` and `ipAddresses`.
#[derive(Clone, Copy)]
pub(super) struct Listing<'z> {
    pub(super) origin: Origin,
    /// The private zone that it is in.
    pub(super) zone: Option<&'z str>,
}

impl Listing<'_> {
    /// Of `customDnsConfigs`.
    pub(super) const OWN: Self = Self { origin: Origin::Own, zone: None };
    /// Of a zone group's `recordSets`.
    pub(super) const ZONE: Self = Self { origin: Origin::Zone, zone: None };
}

/// An entry with `fqdn` (or `recordSetName`) and `ipAddresses`. All of its addresses, or nothing: a
/// part of them would be another answer.
pub(super) fn listing(node: &Node<'_>, how: &Listing<'_>, log: &mut Log) -> Option<Said> {
    let kind = node.text("recordType", log).unwrap_or("A");
    if !["A", "AAAA"].iter().any(|known| kind.eq_ignore_ascii_case(known)) {
        log.left_out(node.source(), other_type(kind));
        return None;
    }
    let name = node.get("fqdn").filter(|name| name.value().as_str() != Some(""));
    let fqdn = match (name, how.zone, node.text("recordSetName", log)) {
        (Some(name), ..) => fqdn(name.as_text(log)?, name.source(), log)?,
        (None, Some(zone), Some(label)) => fqdn(&format!("{label}.{zone}"), node.source(), log)?,
        (None, ..) => {
            log.left_out(
                node.source(),
                "addresses without a fqdn; a private link service of your own has none: write \
                 its name and zones by hand",
            );
            return None;
        }
    };
    let texts = node.list("ipAddresses", log);
    let read = texts.iter().map(|text| Some((text.as_text(log)?, text.source())));
    let read: Vec<_> = read.collect::<Option<_>>()?;
    let addresses = addresses(&fqdn, read.into_iter(), log)?;
    if addresses.is_empty() {
        log.left_out(node.source(), format!("{}: ipAddresses is empty", shown(&fqdn)));
        return None;
    }
    let source = node.source().clone();
    let record = Record { fqdn, addresses, group_id: None, member: None, source, also: Vec::new() };
    let of = record.source.clone();
    Some(Said { record, origin: how.origin, zone: how.zone.map(str::to_owned), of })
}

/// An entry of a zone group's `recordSets` on its own.
pub(super) fn listing_alone(node: &Node<'_>, facts: &mut Facts, log: &mut Log) {
    facts.records.extend(listing(node, &Listing::ZONE, log));
}

/// Whether an object is a record set.
pub(super) fn has_records(node: &Node<'_>) -> bool {
    ADDRESS_LISTS.iter().any(|(keys, _)| node.get_any(keys).is_some())
        || OTHERS.iter().any(|(key, _)| node.has(key))
        || node.own("records").is_some_and(|records| records.value().is_array())
}

/// `az network private-dns record-set … list`, of every type.
pub(super) fn record_set(node: &Node<'_>, facts: &mut Facts, log: &mut Log) {
    let kind = node.text("type", log).and_then(|text| text.rsplit('/').next());
    let kind = kind.map(str::to_uppercase);
    let other = OTHERS.iter().find(|(key, _)| node.has(key)).map(|(_, kind)| *kind);
    let plain = node.own("records");
    let other = other.or_else(|| plain.as_ref()?.items().find_map(|entry| entry_type(&entry)));
    let lists: Vec<_> =
        ADDRESS_LISTS.iter().filter_map(|(keys, key)| Some((node.get_any(keys)?, *key))).collect();
    let (kind, lists_none) = (kind.as_deref().or(other), lists.is_empty());
    match (kind, lists_none) {
        // Every zone has one, and nobody looks for an address there.
        (Some("SOA" | "NS"), _) => return,
        (Some("CNAME"), _) => return alias(node, facts, log),
        (Some(kind), true) if !matches!(kind, "A" | "AAAA") => {
            log.left_out(node.source(), other_type(kind));
            return;
        }
        _ => {}
    }
    let zone = zone_of(node, log);
    let Some(name) = owner(node, zone.as_deref(), log) else { return };
    if is_a_machines(node) {
        log.noted(
            node.source(),
            format!(
                "{}: a machine of a linked network registered itself here (isAutoRegistered), so \
                 it is no private endpoint's name; switch registration off in the zone's link",
                shown(&name)
            ),
        );
        return;
    }
    let entries: Vec<_> =
        lists.iter().flat_map(|(list, key)| list.items().map(move |entry| (entry, *key))).collect();
    let mut texts = Vec::with_capacity(entries.len());
    for (entry, key) in &entries {
        let Some(text) = entry.text(key, log) else {
            log.left_out(entry.source(), format!("{}: no {key} here", shown(&name)));
            return;
        };
        texts.push((text, entry.source()));
    }
    let plain: Vec<_> = plain.iter().flat_map(Node::items).collect();
    for entry in &plain {
        let inside = ["ipv4Address", "ipv6Address"].into_iter().find_map(|key| entry.own(key));
        let Some(text) = inside.as_ref().unwrap_or(entry).as_text(log) else { return };
        texts.push((text, entry.source()));
    }
    let Some(addresses) = addresses(&name, texts.into_iter(), log) else { return };
    if addresses.is_empty() {
        log.left_out(
            node.source(),
            format!(
                "{}: no address in the record set; delete it in Azure if no endpoint uses the name",
                shown(&name)
            ),
        );
        return;
    }
    let zone = zone.or_else(|| zone_behind(&name, node.value().get("name")?.as_str()?));
    facts.records.push(Said::in_zone(name, addresses, zone, node.source().clone()));
}

/// Whether a virtual machine wrote the record set: its network's link to the zone has registration
/// switched on. The public name may be another tenant's.
fn is_a_machines(node: &Node<'_>) -> bool {
    node.get("isAutoRegistered").is_some_and(|flag| flag.value().as_bool() == Some(true))
}

/// A CNAME record set.
fn alias(node: &Node<'_>, facts: &mut Facts, log: &mut Log) {
    // PowerShell's entries hold it in their own list.
    let record = node.get("cnameRecord").or_else(|| node.own("records")?.items().next());
    let Some(target) = record.as_ref().and_then(|record| record.own("cname")) else {
        log.left_out(node.source(), "a CNAME record set without its target (cnameRecord)");
        return;
    };
    let Some(text) = target.as_text(log) else { return };
    let zone = zone_of(node, log);
    let Some(name) = owner(node, zone.as_deref(), log) else { return };
    let Some(target) = fqdn(text, target.source(), log) else { return };
    let zone = zone.or_else(|| zone_behind(&name, node.value().get("name")?.as_str()?));
    facts.aliases.push(Alias::new(name, target, zone, node.source().clone()));
}

/// The private zone that a record set's id names, or PowerShell.
fn zone_of(node: &Node<'_>, log: &mut Log) -> Option<String> {
    let id = node.text("id", log).and_then(ResourceId::new);
    let zone = id.as_ref().and_then(|id| id.segment("privatednszones"));
    fqdn(zone.or_else(|| node.text("zoneName", log))?, node.source(), log)
}

/// The type of an entry of PowerShell's `Records`; Terraform's are texts.
fn entry_type(entry: &Node<'_>) -> Option<&'static str> {
    ENTRIES.iter().find(|(key, _)| entry.own(key).is_some()).map(|(_, kind)| *kind)
}

/// The record set's whole name.
fn owner(node: &Node<'_>, zone: Option<&str>, log: &mut Log) -> Option<String> {
    if let Some(name) = node.get("fqdn") {
        return fqdn(name.as_text(log)?, name.source(), log);
    }
    let name = node.text("name", log).unwrap_or("").trim_end_matches('.');
    match zone {
        Some(zone) if name == "@" => Some(zone.to_owned()),
        Some(zone) if !name.is_empty() => fqdn(&format!("{name}.{zone}"), node.source(), log),
        _ => {
            log.left_out(node.source(), "a record set with neither fqdn nor an id with its zone");
            None
        }
    }
}

/// The zone of a name, of which the relative part is known.
fn zone_behind(name: &str, relative: &str) -> Option<String> {
    let relative = relative.to_lowercase();
    if relative == "@" {
        return Some(name.to_owned());
    }
    Some(name.strip_prefix(&relative)?.strip_prefix('.')?.to_owned())
}

/// What is said of records without addresses.
pub(super) fn other_type(kind: &str) -> String {
    format!("{} record: only A and AAAA lead to an endpoint", shown(kind))
}
