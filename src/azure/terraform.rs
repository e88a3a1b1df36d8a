//! Terraform's state: what `terraform show -json` prints, and `terraform.tfstate`.
//!
//! The attributes of a resource are members as Azure's objects have them in other words, which
//! [`super::json`] knows. A plan is refused: it says what may become.

use super::endpoints::{self, verdict};
use super::facts::{Connection, Facts, ResourceId};
use super::json::Node;
use super::log::{Crowd, Log};
use super::records;

/// How the types of the provider for Azure begin.
const PROVIDER: &str = "azurerm_";

/// Whether an object is a state or a plan.
pub(super) fn is_document(node: &Node<'_>) -> bool {
    let has = |key: &str| node.value().get(key).is_some();
    has("terraform_version") || has("format_version")
}

/// Whether an object is what `terraform output -json` prints.
pub(super) fn is_outputs(node: &Node<'_>) -> bool {
    let is_output = |member: Node<'_>| {
        ["sensitive", "value"].iter().all(|key| member.value().get(key).is_some())
    };
    node.members().next().is_some() && node.members().all(is_output)
}

/// The values of outputs that may be objects of Azure's, or lists of such.
pub(super) fn outputs<'a>(node: &Node<'a>) -> Vec<Node<'a>> {
    let may_be = |value: &Node<'_>| {
        value.value().is_object() || value.items().next().is_some_and(|i| i.value().is_object())
    };
    node.members().filter_map(|member| member.own("value")).filter(may_be).collect()
}

/// Reads a state.
pub(super) fn document(node: &Node<'_>, facts: &mut Facts, log: &mut Log) {
    let has = |key: &str| node.value().get(key).is_some();
    if ["planned_values", "resource_changes"].iter().any(|key| has(key)) {
        log.refused(
            node.source(),
            "a Terraform plan, which says what Terraform would change; run terraform show -json > \
             state.json, without the file of a plan",
        );
        return;
    }
    let before = facts.count();
    match node.own("values").and_then(|values| values.own("root_module")) {
        Some(root) => module(&root, facts, log),
        None => module(node, facts, log),
    }
    let text = if facts.count() == before {
        "Terraform's state has no private endpoint; look at the workspace"
    } else {
        "Terraform's state shows Azure as of Terraform's last refresh; run terraform apply \
         -refresh-only before terraform show -json"
    };
    log.noted(node.source(), text);
}

/// Resources of a module and of those in it; nesting is bounded as the file's is.
fn module(node: &Node<'_>, facts: &mut Facts, log: &mut Log) {
    for resource in node.list("resources", log) {
        self::resource(&resource, facts, log);
    }
    for child in node.list("child_modules", log) {
        module(&child, facts, log);
    }
}

/// Whether an object is a resource of a state, alone.
pub(super) fn is_resource(node: &Node<'_>) -> bool {
    let kind = node.own("type").and_then(|kind| kind.value().as_str());
    let has = |key: &str| node.value().get(key).is_some();
    kind.is_some_and(|kind| kind.starts_with(PROVIDER)) && (has("values") || has("instances"))
}

/// Reads a resource: its `values` (show), or the `attributes` of its `instances` (state).
pub(super) fn resource(node: &Node<'_>, facts: &mut Facts, log: &mut Log) {
    let mut all: Vec<Node<'_>> = node.own("values").into_iter().collect();
    all.extend(node.list("instances", log).iter().filter_map(|one| one.own("attributes")));
    let kind = node.own("type").and_then(|kind| kind.value().as_str()).unwrap_or("");
    for attributes in all {
        match kind.strip_prefix(PROVIDER) {
            Some("private_endpoint") => endpoints::endpoint(&attributes, facts, log),
            Some("private_endpoint_connection") => connection(&attributes, facts, log),
            Some("private_dns_a_record" | "private_dns_aaaa_record") => {
                records::record_set(&attributes, facts, log);
            }
            _ => log.counted(Crowd::Resource, node.source()),
        }
    }
}

/// The data source that asks for the state of an endpoint's connection.
fn connection(node: &Node<'_>, facts: &mut Facts, log: &mut Log) {
    let Some(endpoint) = node.text("id", log).and_then(ResourceId::new) else { return };
    for connection in node.list("privateLinkServiceConnections", log) {
        let status = connection.text("status", log).filter(|status| !status.is_empty());
        let Some(unfit) = status.map(|status| verdict(status).err()) else { continue };
        let (endpoint, source) = (endpoint.clone(), connection.source().clone());
        facts.connections.push(Connection { endpoint, unfit, source });
    }
}
