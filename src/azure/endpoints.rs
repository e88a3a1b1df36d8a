//! Private endpoints, their network interfaces and their DNS zone groups.

use std::net::IpAddr;

use super::facts::{
    EndpointFact, Facts, GroupFact, InterfaceFact, Origin, ResourceId, Said, address, fqdn, region,
    said_by,
};
use super::json::Node;
use super::log::{Crowd, Log, shown};
use super::model::Record;
use super::nameless::EMPTY_ZONE;
use super::records::{Listing, listing};

/// `az network private-endpoint show`.
pub(super) fn endpoint(node: &Node<'_>, facts: &mut Facts, log: &mut Log) {
    let id = node.text("id", log).and_then(ResourceId::new);
    let name = node.text("name", log).map(str::to_owned);
    let name = name.or_else(|| id.as_ref().map(|id| id.name().to_owned())).unwrap_or_default();
    let mut fact = EndpointFact {
        id,
        name,
        region: node.text("location", log).and_then(region),
        target: None,
        group_ids: Vec::new(),
        interfaces: Vec::new(),
        addresses: Vec::new(),
        said: Vec::new(),
        lists_nothing: false,
        unfit: unfinished(node, log),
        state_known: false,
        source: node.source().clone(),
    };
    for key in ["privateLinkServiceConnections", "manualPrivateLinkServiceConnections"] {
        for connection in node.list(key, log) {
            service_connection(&connection, &mut fact, log);
        }
    }
    let configs = node.list("customDnsConfigs", log);
    fact.lists_nothing = configs.is_empty();
    for config in configs {
        fact.said.extend(listing(&config, &Listing::OWN, log));
    }
    fact.said = said_by(fact.said, node.source());
    for config in node.list("ipConfigurations", log) {
        fact.addresses.extend(private_address(&config, log));
    }
    for interface in node.list("networkInterfaces", log) {
        fact.interfaces.extend(interface.text("id", log).and_then(ResourceId::new));
        // `$expand` brings the whole of it.
        if !interface.list("ipConfigurations", log).is_empty() {
            self::interface(&interface, facts, log);
        }
    }
    // Terraform keeps the zone group in its endpoint.
    let configs = node.list("privateDnsZoneConfigs", log);
    if let (Some(id), false) = (&fact.id, configs.is_empty()) {
        facts.groups.push(group_of(&configs, Some(id.clone()), node, log));
    }
    facts.endpoints.push(fact);
}

fn service_connection(node: &Node<'_>, fact: &mut EndpointFact, log: &mut Log) {
    fact.group_ids.extend(node.texts("groupIds", log).into_iter().map(str::to_owned));
    if let Some(target) = node.text("privateLinkServiceId", log).and_then(ResourceId::new) {
        fact.target = fact.target.take().or(Some(target));
    }
    // Terraform's connections have an address.
    fact.addresses.extend(private_address(node, log));
    match status(node, log) {
        Some(Ok(())) => fact.state_known = true,
        Some(Err(why)) => {
            fact.state_known = true;
            fact.unfit = fact.unfit.take().or(Some(why));
        }
        None => {}
    }
}

/// Whether a connection carries traffic, or why not; nothing where the file does not say it.
pub(super) fn status(node: &Node<'_>, log: &mut Log) -> Option<Result<(), String>> {
    let state = node.get("privateLinkServiceConnectionState")?;
    let status = state.text("status", log).filter(|status| !status.is_empty())?;
    Some(verdict(status))
}

/// Whether a connection of this status carries traffic, or why not.
pub(super) fn verdict(status: &str) -> Result<(), String> {
    if status.eq_ignore_ascii_case("Approved") {
        return Ok(());
    }
    let todo = match status.to_lowercase().as_str() {
        "pending" => {
            "have the owner of the resource approve it (az network \
                      private-endpoint-connection approve)"
        }
        "rejected" => "the owner of the resource rejected it; ask them, or delete the endpoint",
        "disconnected" => "the resource removed it; create the endpoint anew",
        _ => "only an Approved one carries traffic",
    };
    Err(format!("its connection is {}, not Approved; {todo}", shown(status)))
}

/// Why something must not be used: its provisioning has not succeeded.
pub(super) fn unfinished(node: &Node<'_>, log: &mut Log) -> Option<String> {
    let state = node.text("provisioningState", log)?;
    if state.eq_ignore_ascii_case("Succeeded") {
        return None;
    }
    let state = shown(state);
    Some(format!("its provisioningState is {state}, not Succeeded; ask Azure again when it is"))
}

fn private_address(node: &Node<'_>, log: &mut Log) -> Option<IpAddr> {
    let text = node.get("privateIPAddress")?;
    address(text.as_text(log)?, text.source(), log)
}

/// `az network nic show`.
pub(super) fn interface(node: &Node<'_>, facts: &mut Facts, log: &mut Log) {
    let endpoint = node.get("privateEndpoint");
    let endpoint = endpoint.and_then(|e| e.text("id", log)).and_then(ResourceId::new);
    let id = node.text("id", log).and_then(ResourceId::new);
    let configurations = node.list("ipConfigurations", log);
    let of_endpoint = |node: &Node<'_>| node.has("privateLinkConnectionProperties");
    if endpoint.is_none() && !configurations.iter().any(of_endpoint) {
        log.counted(Crowd::Machine, node.source());
        return;
    }
    if let Some(why) = unfinished(node, log) {
        log.left_out(node.source(), why);
        return;
    }
    let name = node.text("name", log).map(str::to_owned);
    let name = name.or_else(|| id.as_ref().map(|id| id.name().to_owned())).unwrap_or_default();
    let mut fact = InterfaceFact {
        id,
        endpoint,
        // Azure calls it after its endpoint.
        name: name.split(".nic.").next().unwrap_or_default().to_owned(),
        region: node.text("location", log).and_then(region),
        addresses: Vec::new(),
        said: Vec::new(),
        source: node.source().clone(),
    };
    for configuration in &configurations {
        ip_configuration(configuration, &mut fact, log);
    }
    facts.interfaces.push(fact);
}

fn ip_configuration(node: &Node<'_>, fact: &mut InterfaceFact, log: &mut Log) {
    let Some(properties) = node.get("privateLinkConnectionProperties") else { return };
    let Some(address) = private_address(node, log) else {
        if !node.has("privateIPAddress") {
            log.left_out(node.source(), "no privateIPAddress");
        }
        return;
    };
    fact.addresses.push(address);
    let text = |key: &str, log: &mut Log| properties.text(key, log).map(str::to_owned);
    let (group_id, member) = (text("groupId", log), text("requiredMemberName", log));
    for name in properties.list("fqdns", log) {
        let Some(text) = name.as_text(log) else { continue };
        let Some(fqdn) = fqdn(text, name.source(), log) else { continue };
        let (group_id, member) = (group_id.clone(), member.clone());
        let (addresses, source) = (vec![address], name.source().clone());
        let record = Record { fqdn, addresses, group_id, member, source, also: Vec::new() };
        fact.said.push(Said { record, origin: Origin::Own, zone: None, of: fact.source.clone() });
    }
}

/// An entry of `ipConfigurations` that somebody cut out.
pub(super) fn ip_configuration_alone(node: &Node<'_>, facts: &mut Facts, log: &mut Log) {
    let mut fact = InterfaceFact {
        id: None,
        endpoint: None,
        name: String::new(),
        region: None,
        addresses: Vec::new(),
        said: Vec::new(),
        source: node.source().clone(),
    };
    ip_configuration(node, &mut fact, log);
    facts.records.append(&mut fact.said);
}

/// `az network private-endpoint dns-zone-group show`.
pub(super) fn group(node: &Node<'_>, facts: &mut Facts, log: &mut Log) {
    let id = node.text("id", log).and_then(ResourceId::new);
    let endpoint = id.and_then(|id| id.up_to("privateendpoints"));
    if let Some(why) = unfinished(node, log) {
        log.left_out(node.source(), why);
        return;
    }
    let configs = node.list("privateDnsZoneConfigs", log);
    if configs.is_empty() {
        log.left_out(node.source(), "a zone group without privateDnsZoneConfigs: no zone, no name");
    }
    let group = group_of(&configs, endpoint, node, log);
    facts.groups.push(group);
}

/// What the zones of a group, of which `node` is the object, say.
fn group_of(
    configs: &[Node<'_>],
    endpoint: Option<ResourceId>,
    node: &Node<'_>,
    log: &mut Log,
) -> GroupFact {
    let (mut said, mut empty) = (Vec::new(), Vec::new());
    for config in configs {
        if zone_config(config, &mut said, log) {
            empty.push(config.source().clone());
        }
    }
    let said = said_by(said, node.source());
    GroupFact { endpoint, said, empty, source: node.source().clone() }
}

/// An entry of `privateDnsZoneConfigs` that somebody cut out.
pub(super) fn zone_config_alone(node: &Node<'_>, facts: &mut Facts, log: &mut Log) {
    if zone_config(node, &mut facts.records, log) {
        log.left_out(node.source(), EMPTY_ZONE);
    }
}

/// Reads a zone of a group; whether it has no record.
fn zone_config(node: &Node<'_>, said: &mut Vec<Said>, log: &mut Log) -> bool {
    let zone = node.get("privateDnsZoneId");
    let zone = zone.and_then(|zone| {
        let id = ResourceId::new(zone.as_text(log)?)?;
        fqdn(id.name(), zone.source(), log)
    });
    let sets = node.list("recordSets", log);
    let how = Listing { zone: zone.as_deref(), ..Listing::ZONE };
    for set in &sets {
        if let Some(why) = unfinished(set, log) {
            log.left_out(set.source(), why);
            continue;
        }
        said.extend(listing(set, &how, log));
    }
    sets.is_empty()
}
