//! Rows of tables: a name and its addresses, as `--query`, Resource Graph's `project` and steampipe's
//! `select` cut them out.
//!
//! What a row lacks is not guessed: without its endpoint it stands alone, and without the connection's
//! state that is said.

use super::endpoints::{status, unfinished, verdict};
use super::facts::{EndpointFact, Facts, Origin, ResourceId, Said, addresses, fqdn, region};
use super::json::Node;
use super::log::{Crowd, Log, shown};
use super::model::{Record, Source};

/// Columns of names.
const NAMES: [&str; 2] = ["fqdn", "fqdns"];
/// Columns of addresses.
const ADDRESSES: [&str; 5] =
    ["ipAddresses", "ipAddress", "privateIPAddresses", "privateIPAddress", "ip"];
/// Columns of the connection's state; others call other things so, hence [`STATES`].
const STATUS: [&str; 5] =
    ["status", "connectionStatus", "connectionState", "privateLinkServiceConnectionState", "state"];
/// The states of a connection.
const STATES: [&str; 4] = ["Approved", "Pending", "Rejected", "Disconnected"];
/// Columns of the endpoint's id and of its name.
const IDS: [&str; 3] = ["privateEndpointId", "id", "resourceId"];
const ENDPOINTS: [&str; 3] = ["privateEndpointName", "privateEndpoint", "name"];

/// Whether an object is a row. A zone group's record has both columns too, and says its type.
pub(super) fn is_row(node: &Node<'_>) -> bool {
    let has = |columns: &[&str]| columns.iter().any(|column| node.own(column).is_some());
    has(&NAMES) && has(&ADDRESSES) && !has(&["recordSetName", "recordType"])
}

/// Reads a row.
pub(super) fn row(node: &Node<'_>, facts: &mut Facts, log: &mut Log) {
    let state = state(node, log).or_else(|| unfinished(node, log).map(Err));
    let identity = identity(node);
    let of = match &identity {
        // Several rows of one endpoint are one list of it.
        Some((_, name)) => {
            Source { file: node.source().file.clone(), at: format!("the rows of {}", shown(name)) }
        }
        None => node.source().clone(),
    };
    let Some(said) = said(node, &of, log) else { return };
    if let Some((id, name)) = identity {
        let text = |column: &str| node.own(column).and_then(|value| value.value().as_str());
        facts.endpoints.push(EndpointFact {
            id,
            name,
            region: text("location").or_else(|| text("region")).and_then(region),
            target: text("privateLinkServiceId").and_then(ResourceId::new),
            group_ids: column(node, &["groupIds", "groupId"], log)
                .into_iter()
                .flatten()
                .map(|(group, _)| group.to_owned())
                .collect(),
            interfaces: Vec::new(),
            addresses: Vec::new(),
            said,
            lists_nothing: false,
            state_known: state.is_some(),
            unfit: state.and_then(Result::err),
            source: node.source().clone(),
        });
        return;
    }
    match state {
        Some(Err(why)) => {
            let name = said.first().map_or("", |said| said.record.fqdn.as_str());
            log.left_out(node.source(), format!("{}: {why}", shown(name)));
        }
        Some(Ok(())) => facts.records.extend(said),
        None => {
            log.counted(Crowd::Row, node.source());
            facts.records.extend(said);
        }
    }
}

/// The row's names, each with all of its addresses.
fn said(node: &Node<'_>, of: &Source, log: &mut Log) -> Option<Vec<Said>> {
    let (names, texts) = (column(node, &NAMES, log)?, column(node, &ADDRESSES, log)?);
    if names.len() > 1 && texts.len() > 1 {
        let text = "several names beside several addresses: the row does not say which has which";
        log.left_out(node.source(), text);
        return None;
    }
    let mut said = Vec::new();
    for (name, source) in names {
        let Some(fqdn) = fqdn(name, &source, log) else { continue };
        let read = texts.iter().map(|(text, source)| (*text, source));
        let addresses = addresses(&fqdn, read, log)?;
        if addresses.is_empty() {
            log.left_out(node.source(), format!("{}: no address beside it", shown(&fqdn)));
            return None;
        }
        let source = node.source().clone();
        let (group_id, member, also) = (None, None, Vec::new());
        let record = Record { fqdn, addresses, group_id, member, source, also };
        said.push(Said { record, origin: Origin::Own, zone: None, of: of.clone() });
    }
    (!said.is_empty()).then_some(said)
}

/// The texts of the first of these columns: one, a list, or several in one text.
fn column<'a>(node: &Node<'a>, columns: &[&str], log: &mut Log) -> Option<Vec<(&'a str, Source)>> {
    let value = columns.iter().find_map(|column| node.own(column))?;
    let cells = if value.value().is_array() { value.items().collect() } else { vec![value] };
    let mut texts = Vec::new();
    for cell in cells {
        let parts = cell.as_text(log)?.split([',', ';', ' ', '\n', '[', ']', '"']);
        texts.extend(parts.filter(|p| !p.is_empty()).map(|part| (part, cell.source().clone())));
    }
    Some(texts)
}

/// The state of the connection, where the row has it.
fn state(node: &Node<'_>, log: &mut Log) -> Option<Result<(), String>> {
    status(node, log).or_else(|| {
        let texts = STATUS.iter().filter_map(|column| node.own(column)?.value().as_str());
        let mut states = texts.filter(|t| STATES.iter().any(|s| s.eq_ignore_ascii_case(t)));
        states.next().map(verdict)
    })
}

/// The id and the name of the row's endpoint.
fn identity(node: &Node<'_>) -> Option<(Option<ResourceId>, String)> {
    let text = |column: &&str| node.own(column)?.value().as_str().filter(|text| !text.is_empty());
    let id = IDS.iter().find_map(text).and_then(ResourceId::new);
    let id = id.and_then(|id| id.up_to("privateendpoints"));
    // Azure calls an interface after its endpoint.
    let name = ENDPOINTS.iter().find_map(text).and_then(|name| name.split(".nic.").next());
    match (id, name) {
        (Some(id), name) => {
            let name = name.map_or_else(|| id.name().to_owned(), str::to_owned);
            Some((Some(id), name))
        }
        (None, Some(name)) => Some((None, name.to_owned())),
        (None, None) => None,
    }
}
