//! What resources say of private links to them: required members, and the state of connections.

use super::endpoints::{status, unfinished};
use super::facts::{Connection, Facts, Requirement, ResourceId};
use super::json::Node;
use super::log::Log;

/// `Microsoft.Security/privateLinks`.
pub(super) fn private_link(node: &Node<'_>, facts: &mut Facts, log: &mut Log) {
    if let Some(why) = unfinished(node, log) {
        log.noted(node.source(), why);
    }
    let public = node.text("publicNetworkAccess", log);
    if public.is_some_and(|access| access.eq_ignore_ascii_case("Enabled")) {
        log.noted(
            node.source(),
            "publicNetworkAccess is Enabled: clients that do not ask this daemon still reach the \
             public endpoint",
        );
    }
    let resource_type = node.text("type", log).map(str::to_lowercase);
    for resource in node.list("privateLinkResources", log) {
        requirement(&resource, resource_type.as_deref(), facts, log);
    }
    for connection in node.list("privateEndpointConnections", log) {
        self::connection(&connection, facts, log);
    }
}

/// `…/privateLinkResources`: which members a group must have.
pub(super) fn requirement(
    node: &Node<'_>,
    resource_type: Option<&str>,
    facts: &mut Facts,
    log: &mut Log,
) {
    let group_id = node.text("groupId", log).or_else(|| node.text("name", log));
    let Some(group_id) = group_id.map(str::to_owned) else {
        log.left_out(node.source(), "a private link resource without groupId");
        return;
    };
    let kind = node.text("type", log).map(str::to_lowercase);
    let kind = kind.and_then(|kind| kind.strip_suffix("/privatelinkresources").map(str::to_owned));
    facts.requirements.push(Requirement {
        resource_type: kind.or_else(|| resource_type.map(str::to_owned)),
        group_id,
        members: node.texts("requiredMembers", log).into_iter().map(str::to_owned).collect(),
        source: node.source().clone(),
    });
}

/// `…/privateEndpointConnections`: the resource's side of a connection.
pub(super) fn connection(node: &Node<'_>, facts: &mut Facts, log: &mut Log) {
    let endpoint = node.get("privateEndpoint");
    let endpoint = endpoint.and_then(|e| e.text("id", log)).and_then(ResourceId::new);
    let Some(endpoint) = endpoint else {
        log.left_out(node.source(), "a connection without the id of its private endpoint");
        return;
    };
    let unfit = status(node, log).and_then(Result::err).or_else(|| unfinished(node, log));
    facts.connections.push(Connection { endpoint, unfit, source: node.source().clone() });
}
