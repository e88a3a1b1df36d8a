//! What is said where an endpoint or a zone has no names: what to ask Azure, or why Azure has none.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::facts::{Origin, ResourceId, Said};
use super::log::{Log, shown};
use super::model::Source;

/// Most addresses of an endpoint that a complaint repeats.
const MAX_ADDRESSES_SHOWN: usize = 3;

/// What is said of a zone without records where no other place has a name of its endpoint.
pub(super) const EMPTY_ZONE: &str = "recordSets is empty: Azure has written no record; ask again, or \
                                     give the network interface (az network nic show)";

/// What to ask where an endpoint lists no names.
pub(super) fn empty_hint(
    name: &str,
    id: Option<&ResourceId>,
    interface: Option<&ResourceId>,
) -> String {
    let group = id.and_then(|id| id.segment("resourcegroups")).unwrap_or("GROUP");
    let (name, group) = (shown(name), shown(group));
    let nic = interface.map_or("NIC-ID".to_owned(), |id| shown(id.name()));
    format!(
        "customDnsConfigs is empty, as it is while a DNS zone group exists, and no other file has \
         its names; give the output of az network private-endpoint dns-zone-group list -g {group} \
         --endpoint-name {name}, or of az network nic show -g {group} -n {nic}"
    )
}

/// Says that zones of a group are empty. Azure writes all records of a group at once, and a zone for
/// which the endpoint has no member stays empty for ever: App Service's `scm.privatelink…`. So this is
/// a fault only where nothing else has a name. The endpoint's own word is complete; a zone's is not.
pub(super) fn complain_of_empty_zones(empty: &[Source], said: &[Said], log: &mut Log) {
    for source in empty {
        if said.is_empty() {
            log.left_out(source, EMPTY_ZONE);
        } else if said.iter().any(|said| said.origin == Origin::Own) {
            log.noted(source, "recordSets is empty; the endpoint's own names are taken");
        } else {
            log.noted(
                source,
                "recordSets is empty, as it stays where the endpoint has no member for the zone (App \
                 Service's scm zone); the names of the group's other zones are taken; to be sure, \
                 give the network interface too (az network nic list)",
            );
        }
    }
}

/// What to do with an endpoint of a private link service: Azure has no names for it.
pub(super) fn own_service_hint(service: &str, addresses: &BTreeSet<IpAddr>) -> String {
    let mut listed: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    if listed.len() > MAX_ADDRESSES_SHOWN {
        listed.truncate(MAX_ADDRESSES_SHOWN);
        listed.push("…".to_owned());
    }
    let address = if listed.is_empty() {
        "the address of its network interface".to_owned()
    } else {
        listed.join(", ")
    };
    format!(
        "it leads to the private link service {}, and Azure has no names for such an endpoint; ask \
         the service's owner for them, and list them with {address} in a [[private-link]] with \
         public-zone and private-zone, or in a zone of your own DNS",
        shown(service.trim_end_matches(".azure.privatelinkservice"))
    )
}
