//! What an object is: told by its `type` and its members, not by where it stands.

use std::collections::BTreeSet;

use serde_json::Value;

use super::facts::{Facts, ListFact, Pages, Reach};
use super::json::{Node, kind};
use super::log::{Crowd, Log, shown};
use super::{endpoints, foreign, lists, records, resources, rows, terraform};

/// What an object of Azure's is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Endpoint,
    Interface,
    /// `ipConfigurations[]` of one, alone.
    IpConfiguration,
    Group,
    /// `privateDnsZoneConfigs[]` of one, alone.
    ZoneConfig,
    /// An entry of `recordSets`, alone; one without a name.
    Listing,
    RecordSet,
    PrivateLink,
    Requirement,
    Connection,
}

/// Types by the end of Azure's `type`, lower case.
const TYPES: &[(&str, Kind)] = &[
    ("microsoft.network/privateendpoints", Kind::Endpoint),
    ("/privateendpoints/privatednszonegroups", Kind::Group),
    ("microsoft.network/networkinterfaces", Kind::Interface),
    ("microsoft.security/privatelinks", Kind::PrivateLink),
    ("/privatelinkresources", Kind::Requirement),
    ("/privateendpointconnections", Kind::Connection),
];

/// Members that only one kind has, the most telling first.
const MEMBERS: &[(&str, Kind)] = &[
    ("privateLinkServiceConnections", Kind::Endpoint),
    ("manualPrivateLinkServiceConnections", Kind::Endpoint),
    ("customDnsConfigs", Kind::Endpoint),
    ("privateDnsZoneConfigs", Kind::Group),
    ("privateLinkConnectionProperties", Kind::IpConfiguration),
    ("ipConfigurations", Kind::Interface),
    ("recordSets", Kind::ZoneConfig),
    ("requiredMembers", Kind::Requirement),
    ("requiredZoneNames", Kind::Requirement),
    ("privateLinkResources", Kind::PrivateLink),
    ("privateLinkServiceConnectionState", Kind::Connection),
    ("ipAddresses", Kind::Listing),
];

/// Members of an object that is nothing but an envelope of Resource Graph's rows.
const GRAPH: &[&str] =
    &["count", "total_records", "totalRecords", "skip_token", "$skipToken", "resultTruncated"];

/// Reads a value and all that is in it.
pub(super) fn read(node: &Node<'_>, facts: &mut Facts, log: &mut Log) {
    match node.value() {
        Value::Array(_) => list(node, lists::reach_of_plain(node), facts, log),
        Value::Object(_) => object(node, facts, log),
        _ => log.counted(Crowd::Value, node.source()),
    }
}

/// Reads the items of a list, and remembers a list of private endpoints or interfaces.
fn list(node: &Node<'_>, reach: Reach, facts: &mut Facts, log: &mut Log) {
    if node.items().next().is_none() {
        log.noted(
            node.source(),
            "an empty list: Azure has nothing there; look at subscription and resource group",
        );
    }
    let (mut endpoints, mut interfaces) = (0, 0);
    for item in node.items() {
        let before = (facts.endpoints.len(), facts.interfaces.len(), facts.lists.len());
        read(&item, facts, log);
        // A row, or what Terraform manages, is a choice of Azure's endpoints.
        let is_chosen = rows::is_row(&item) || terraform::is_resource(&item);
        // Lists inside the item count for themselves.
        if !is_chosen && facts.lists.len() == before.2 {
            endpoints += usize::from(facts.endpoints.len() > before.0);
            interfaces += usize::from(facts.interfaces.len() > before.1);
        }
    }
    let of_interfaces = endpoints == 0;
    let count = if of_interfaces { interfaces } else { endpoints };
    if count > 0 {
        let source = node.source().clone();
        facts.lists.push(ListFact { source, count, of_interfaces, reach });
    }
}

fn object(node: &Node<'_>, facts: &mut Facts, log: &mut Log) {
    if let Some(why) = foreign::object(node) {
        return log.refused(node.source(), why);
    }
    if terraform::is_document(node) {
        return terraform::document(node, facts, log);
    }
    if terraform::is_outputs(node) {
        return terraform::outputs(node).iter().for_each(|value| read(value, facts, log));
    }
    if terraform::is_resource(node) {
        return terraform::resource(node, facts, log);
    }
    if rows::is_row(node) {
        return rows::row(node, facts, log);
    }
    if let Some(rows) = list_of_rows(node, facts, log) {
        return list(&rows, lists::reach_inside(node), facts, log);
    }
    match kind_of(node, log) {
        Ok(Some(Kind::Endpoint)) => endpoints::endpoint(node, facts, log),
        Ok(Some(Kind::Interface)) => endpoints::interface(node, facts, log),
        Ok(Some(Kind::IpConfiguration)) => endpoints::ip_configuration_alone(node, facts, log),
        Ok(Some(Kind::Group)) => endpoints::group(node, facts, log),
        Ok(Some(Kind::ZoneConfig)) => endpoints::zone_config_alone(node, facts, log),
        Ok(Some(Kind::Listing)) => records::listing_alone(node, facts, log),
        Ok(Some(Kind::RecordSet)) => records::record_set(node, facts, log),
        Ok(Some(Kind::PrivateLink)) => resources::private_link(node, facts, log),
        Ok(Some(Kind::Requirement)) => resources::requirement(node, None, facts, log),
        Ok(Some(Kind::Connection)) => resources::connection(node, facts, log),
        Ok(None) => envelope(node, facts, log),
        Err(why) => log.left_out(node.source(), why),
    }
}

/// The list inside `value` (REST), `rows` (steampipe) or `data` (Resource Graph); pages that lack are
/// complained about.
fn list_of_rows<'a>(node: &Node<'a>, facts: &mut Facts, log: &mut Log) -> Option<Node<'a>> {
    let list = |key: &str| {
        let value = node.own(key)?;
        value.value().is_array().then_some(value)
    };
    if let Some(rows) = list("value") {
        if let Some(next) = node.get("nextLink") {
            log.noted(
                next.source(),
                "the list goes on there; give that page too, or ask with az … list, which follows",
            );
        }
        return Some(rows);
    }
    if let Some(rows) = list("rows").filter(|_| node.has("columns") || node.has("metadata")) {
        return Some(rows);
    }
    let rows = list("data").filter(|_| GRAPH.iter().any(|key| node.has(key)))?;
    let total = node.get_any(&["total_records", "totalRecords"]);
    let goes_on = node
        .get_any(&["skip_token", "$skipToken"])
        .is_some_and(|token| token.value().as_str() != Some(""));
    match total.and_then(|total| total.value().as_u64()) {
        Some(total) => {
            let source = node.source().clone();
            let new = || Pages { rows: BTreeSet::new(), most: 0, source: source.clone() };
            let pages = facts.pages.entry(total).or_insert_with(new);
            let ids: BTreeSet<String> = rows.items().map(|row| row_id(&row)).collect();
            let all = rows.items().count();
            pages.rows.extend(ids);
            pages.most = pages.most.max(all);
            pages.source = pages.source.clone().min(source);
        }
        None if goes_on => log.left_out(
            node.source(),
            "cut off: there is a skip_token, so more rows; ask again with --first 1000 and \
             --skip-token, and give all pages",
        ),
        None => {}
    }
    Some(rows)
}

/// Complains about rows of Resource Graph that no file has.
pub(super) fn missing_pages(facts: &Facts, log: &mut Log) {
    for (total, Pages { rows, most, source }) in &facts.pages {
        let read = rows.len().max(*most);
        if (read as u64) < *total {
            log.left_out(
                source,
                format!(
                    "cut off: {read} of {total} rows; ask again with --first 1000 and \
                     --skip-token, and give all pages"
                ),
            );
        }
    }
}

/// What tells a row from others: its id, or where it stands.
fn row_id(row: &Node<'_>) -> String {
    let id = row.own("id").and_then(|id| id.value().as_str());
    id.map_or_else(|| row.source().to_string(), str::to_lowercase)
}

/// The kind, nothing for an envelope of other objects, or why the object is left out.
fn kind_of(node: &Node<'_>, log: &mut Log) -> Result<Option<Kind>, String> {
    let Some(kind) = node.own("type").or_else(|| node.own("resourceType")) else {
        return Ok(by_members(node));
    };
    let Some(text) = kind.value().as_str() else {
        return Err(format!("its type is {}, where a text belongs", self::kind(kind.value())));
    };
    let lower = text.to_lowercase();
    let known = TYPES
        .iter()
        .find(|(end, _)| if end.starts_with('/') { lower.ends_with(end) } else { lower == *end });
    if let Some((_, kind)) = known {
        return Ok(Some(*kind));
    }
    if let Some(rest) = lower.strip_prefix("microsoft.network/privatednszones") {
        return match rest {
            "" => Err("a zone without its records; ask az network private-dns record-set list \
                       -g GROUP -z ZONE"
                .to_owned()),
            "/virtualnetworklinks" => {
                fallback(node, log);
                Ok(None)
            }
            _ => Ok(Some(Kind::RecordSet)),
        };
    }
    if lower.ends_with("/managedprivateendpoints") {
        log.noted(
            node.source(),
            "a managed private endpoint, which stands in Microsoft's network and has no address in \
             yours",
        );
        return Ok(None);
    }
    if lower.starts_with("microsoft.network/dnszones") {
        return Err("of a public DNS zone; private addresses are in privateDnsZones".to_owned());
    }
    match by_members(node) {
        Some(kind) if !lower.contains('/') => Ok(Some(kind)),
        _ => Err(format!("a {}, which holds no private endpoint", shown(text))),
    }
}

/// A link of a zone to a network; one that falls back tells what becomes of names not listed.
fn fallback(node: &Node<'_>, log: &mut Log) {
    let policy = node.get("resolutionPolicy").and_then(|policy| policy.value().as_str());
    if policy.is_some_and(|policy| policy.eq_ignore_ascii_case("NxDomainRedirect")) {
        log.noted(
            node.source(),
            "Azure asks the public name where this zone lacks it (NxDomainRedirect); unlisted = \
             \"forward\" does the same",
        );
    }
}

fn by_members(node: &Node<'_>) -> Option<Kind> {
    if records::has_records(node) {
        return Some(Kind::RecordSet);
    }
    MEMBERS.iter().find(|(member, _)| node.has(member)).map(|(_, kind)| *kind)
}

/// An object of no kind: somebody's own way to put several together, or something else.
fn envelope(node: &Node<'_>, facts: &mut Facts, log: &mut Log) {
    let is_link = node.own("type").is_some();
    let own = node.own("id").is_some() || is_link;
    let inside = |node: &Node<'_>| node.value().is_array() || node.value().is_object();
    if own || !node.members().any(|member| inside(&member)) {
        if !is_link {
            log.counted(Crowd::Unknown, node.source());
        }
        return;
    }
    node.members().filter(inside).for_each(|member| read(&member, facts, log));
}
