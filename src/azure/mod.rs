//! What Azure's own files say about private endpoints: their names, addresses and states.
//!
//! Owns every shape in which Azure's tools print them, and how they fit together: objects are
//! recognised by what they are, joined by resource id or address, and whatever is doubtful is said.
//! Refuses to know this installation: who asks, and what is configured already.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod agree;
mod aliases;
mod endpoints;
mod facts;
mod foreign;
mod fragment;
mod join;
mod json;
mod learn;
mod lists;
mod load;
mod log;
mod master;
mod members;
mod model;
mod nameless;
mod names;
mod records;
mod resources;
mod rows;
mod shapes;
mod terraform;
#[cfg(test)]
mod tests;

pub use fragment::{Extent, Fragment, SiteSpec, SitesError, fragment};
pub use load::{LoadError, MAX_FILE_OCTETS, decode, load};
pub use model::{
    Complaint, Endpoint, EndpointList, Inventory, LeftOut, Record, Severity, Source, ZonePair,
};
pub use names::{Hints, PRIVATE_LABEL, places};

use facts::Facts;
use json::Node;
use log::Log;
use serde_json::Value;

/// Reads files, each a name for messages and a text. The order of files makes no difference.
///
/// ```
/// let list = r#"[{ "fqdn": "acct.privatelink.blob.core.windows.net.", "name": "acct",
///     "type": "Microsoft.Network/privateDnsZones/A", "aRecords": [{ "ipv4Address": "10.0.0.5" }] }]"#;
/// let inventory = privatelinkd::azure::read(&[("a.json".to_owned(), list.to_owned())]);
/// assert!(inventory.complaints.is_empty());
/// assert_eq!(inventory.endpoints[0].records[0].addresses[0].to_string(), "10.0.0.5");
/// ```
pub fn read(files: &[(String, String)]) -> Inventory {
    let mut facts = Facts::default();
    let mut complaints = Vec::new();
    for (file, text) in files {
        let mut log = Log::new();
        let before = facts.count();
        read_file(file, text, &mut facts, &mut log);
        if facts.count() == before && log.is_empty() {
            let whole = Source { file: file.clone(), at: String::new() };
            log.noted(&whole, "nothing about names of private endpoints in it");
        }
        complaints.extend(log.into_complaints(file));
    }
    let mut log = Log::new();
    shapes::missing_pages(&facts, &mut log);
    let lists = lists::finish(&facts.lists, &facts.pages);
    let mut inventory = join::join(facts, &mut log);
    inventory.lists = lists;
    complaints.extend(log.into_complaints("all files together"));
    complaints.sort_unstable();
    complaints.dedup();
    inventory.complaints = complaints;
    inventory
}

fn read_file(file: &str, text: &str, facts: &mut Facts, log: &mut Log) {
    let whole = Source { file: file.to_owned(), at: String::new() };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match text.trim_start().chars().next() {
        None => log.refused(&whole, "empty; was az signed in, and did it print an error instead?"),
        Some('[' | '{') => match json::documents(text) {
            Ok(documents) => read_documents(file, &documents, facts, log),
            Err(why) => log.refused(&whole, why),
        },
        Some(_) if foreign::is_message(text) => log.refused(&whole, foreign::text(text)),
        Some(_) if master::is_master_file(text) => master::read(file, text, facts, log),
        Some(_) => log.refused(&whole, foreign::text(text)),
    }
}

fn read_documents(file: &str, documents: &[Value], facts: &mut Facts, log: &mut Log) {
    let of = documents.len();
    for (index, document) in documents.iter().enumerate() {
        let node = Node::document(document, file, index + 1, of);
        match foreign::list(&node).or_else(|| foreign::cut_by_depth(document)) {
            Some(why) => log.refused(node.source(), why),
            None => shapes::read(&node, facts, log),
        }
    }
}
