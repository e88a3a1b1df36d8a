//! What single objects of the files say, before it is joined.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::log::{Log, shown};
use super::model::{Record, Source};
use crate::addresses::Class;
use crate::catalog;
use crate::wire::Name;

/// Everything that was read.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) endpoints: Vec<EndpointFact>,
    pub(super) interfaces: Vec<InterfaceFact>,
    pub(super) groups: Vec<GroupFact>,
    /// Records that no endpoint's object holds: record sets, zone files, lists of names.
    pub(super) records: Vec<Said>,
    pub(super) aliases: Vec<Alias>,
    pub(super) requirements: Vec<Requirement>,
    pub(super) connections: Vec<Connection>,
    /// Rows of Resource Graph by how many there are in all.
    pub(super) pages: BTreeMap<u64, Pages>,
    /// Lists that private endpoints or their interfaces stand in.
    pub(super) lists: Vec<ListFact>,
}

impl Facts {
    /// How much there is, to see whether a file brought anything.
    pub(super) fn count(&self) -> usize {
        let alone = self.records.len() + self.requirements.len() + self.connections.len();
        let of_zones = self.groups.len() + self.aliases.len();
        self.endpoints.len() + self.interfaces.len() + of_zones + alone
    }
}

/// Answers of Resource Graph to what seems to be one question.
#[derive(Debug)]
pub(super) struct Pages {
    /// What tells rows apart: a page that is given twice is not two.
    pub(super) rows: BTreeSet<String>,
    /// Rows of the longest page; a question may ask for one resource several times.
    pub(super) most: usize,
    pub(super) source: Source,
}

/// A list that holds private endpoints, or their network interfaces.
#[derive(Clone, Debug)]
pub(super) struct ListFact {
    pub(super) source: Source,
    /// How many of its items are private endpoints; where none is, interfaces of such.
    pub(super) count: usize,
    pub(super) of_interfaces: bool,
    pub(super) reach: Reach,
}

/// How much of Azure's answer a list has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reach {
    /// All of it.
    Whole,
    /// One page of several.
    Part,
    /// One page of so many rows in all: the other files may have the others.
    OfTotal(u64),
}

/// Who says that a name has an address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Origin {
    /// The endpoint or its network interface.
    Own,
    /// A record in a DNS zone: written once, and maybe stale.
    Zone,
}

/// A name and its addresses, and who says so.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) record: Record,
    pub(super) origin: Origin,
    /// The private zone that holds it, where the file says so.
    pub(super) zone: Option<String>,
    /// The object that says it: all that it says of a name counts together.
    pub(super) of: Source,
}

/// A CNAME record set of a private zone.
#[derive(Clone, Debug)]
pub(super) struct Alias {
    /// Its own name; it has no address of its own.
    pub(super) said: Said,
    /// Lower case, without a final dot.
    pub(super) target: String,
}

impl Alias {
    /// An alias in `zone`.
    pub(super) fn new(fqdn: String, target: String, zone: Option<String>, source: Source) -> Self {
        Self { said: Said::in_zone(fqdn, Vec::new(), zone, source), target }
    }
}

impl Said {
    /// A record set of a zone.
    pub(super) fn in_zone(
        fqdn: String,
        addresses: Vec<IpAddr>,
        zone: Option<String>,
        source: Source,
    ) -> Self {
        let of = source.clone();
        let (group_id, member, also) = (None, None, Vec::new());
        let record = Record { fqdn, addresses, group_id, member, source, also };
        Self { record, origin: Origin::Zone, zone, of }
    }
}

/// Marks what an object says as its own.
pub(super) fn said_by(mut said: Vec<Said>, of: &Source) -> Vec<Said> {
    said.iter_mut().for_each(|said| said.of = of.clone());
    said
}

/// `Microsoft.Network/privateEndpoints`.
#[derive(Clone, Debug)]
pub(super) struct EndpointFact {
    pub(super) id: Option<ResourceId>,
    pub(super) name: String,
    pub(super) region: Option<String>,
    pub(super) target: Option<ResourceId>,
    pub(super) group_ids: Vec<String>,
    pub(super) interfaces: Vec<ResourceId>,
    /// Addresses it has, whatever their names.
    pub(super) addresses: Vec<IpAddr>,
    pub(super) said: Vec<Said>,
    /// Its own list of names is empty or not there; not merely unusable.
    pub(super) lists_nothing: bool,
    /// Why it must not be used.
    pub(super) unfit: Option<String>,
    pub(super) state_known: bool,
    pub(super) source: Source,
}

/// `Microsoft.Network/networkInterfaces` of a private endpoint.
#[derive(Clone, Debug)]
pub(super) struct InterfaceFact {
    pub(super) id: Option<ResourceId>,
    pub(super) endpoint: Option<ResourceId>,
    pub(super) name: String,
    pub(super) region: Option<String>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) said: Vec<Said>,
    pub(super) source: Source,
}

/// `…/privateDnsZoneGroups`.
#[derive(Clone, Debug)]
pub(super) struct GroupFact {
    pub(super) endpoint: Option<ResourceId>,
    pub(super) said: Vec<Said>,
    /// Its zones without a record.
    pub(super) empty: Vec<Source>,
    pub(super) source: Source,
}

/// What members a group of a resource must have.
#[derive(Clone, Debug)]
pub(super) struct Requirement {
    pub(super) resource_type: Option<String>,
    pub(super) group_id: String,
    pub(super) members: Vec<String>,
    pub(super) source: Source,
}

/// What a resource says of a connection to it.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) endpoint: ResourceId,
    /// Why the endpoint must not be used.
    pub(super) unfit: Option<String>,
    pub(super) source: Source,
}

/// Azure's id of a resource; compared without case, as Azure does.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct ResourceId(String);

impl ResourceId {
    pub(super) fn new(text: &str) -> Option<Self> {
        let text = text.trim().trim_end_matches('/');
        (!text.is_empty()).then(|| Self(text.to_lowercase()))
    }

    /// The last segment.
    pub(super) fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or("")
    }

    /// Whether it is a private link service (a customer's own service), by its id or its alias.
    pub(super) fn is_private_link_service(&self) -> bool {
        self.segment("privatelinkservices").is_some()
            || self.0.ends_with(".azure.privatelinkservice")
    }

    /// The segment behind this one.
    pub(super) fn segment(&self, key: &str) -> Option<&str> {
        self.0.split('/').skip_while(|segment| *segment != key).nth(1)
    }

    /// The id up to the name behind this segment: the endpoint of one of its zone groups.
    pub(super) fn up_to(&self, key: &str) -> Option<Self> {
        let start = self.0.find(&format!("/{key}/"))? + key.len() + 2;
        let rest = self.0.get(start..)?;
        let end = rest.find('/').map_or(self.0.len(), |length| start + length);
        self.0.get(..end).map(|id| Self(id.to_owned()))
    }

    /// The provider and type behind the last `providers`, spelled as the catalogue has it:
    /// `Microsoft.Storage/storageAccounts`.
    pub(super) fn resource_type(&self) -> Option<String> {
        let (_, rest) = self.0.rsplit_once("/providers/")?;
        let mut segments = rest.split('/');
        let kind = format!("{}/{}", segments.next()?, segments.next()?);
        let mut known = catalog::services().iter().flat_map(|service| service.resource_types);
        let spelled = known.find(|known| known.eq_ignore_ascii_case(&kind));
        Some(spelled.map_or(kind, |spelled| (*spelled).to_owned()))
    }
}

impl std::fmt::Display for ResourceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name of the files: lower case, without a final dot.
pub(super) fn fqdn(text: &str, source: &Source, log: &mut Log) -> Option<String> {
    match text.trim().parse::<Name>() {
        Ok(name) if name.label_count() > 1 => {
            let name = name.to_string();
            // A wildcard is a whole label, and the first one (RFC 4592 §2.1.1).
            let plain = name.strip_prefix("*.").unwrap_or(&name);
            if plain.contains(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c)) {
                let text = "has a character that no name of Azure's has; a placeholder?";
                log.left_out(source, format!("\"{}\" {text}", shown(&name)));
                return None;
            }
            Some(name)
        }
        Ok(_) => {
            log.left_out(source, format!("\"{}\" is no full domain name", shown(text)));
            None
        }
        Err(error) => {
            log.left_out(source, format!("\"{}\" is no domain name: {error}", shown(text)));
            None
        }
    }
}

/// An address that a private endpoint can have; another one is complained about.
pub(super) fn address(text: &str, source: &Source, log: &mut Log) -> Option<IpAddr> {
    let Ok(address) = text.trim().parse::<IpAddr>() else {
        log.left_out(source, format!("\"{}\" is no IP address", shown(text)));
        return None;
    };
    let kind = match Class::of(address) {
        Class::Private => return Some(address),
        Class::Loopback => "a loopback",
        Class::Documentation => "a documentation",
        Class::LinkLocal => "a link-local",
        Class::Multicast => "a multicast",
        Class::Unspecified => "the unspecified",
        Class::Reserved => "a reserved",
        Class::Public => "a public",
    };
    log.left_out(
        source,
        format!(
            "{address} is {kind} address, which no private endpoint has (10.0.0.0/8, \
             172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10, fc00::/7); look where it comes from"
        ),
    );
    None
}

/// All addresses of a name, or nothing where one is unusable: what goes with it is said too.
pub(super) fn addresses<'t>(
    name: &str,
    texts: impl Iterator<Item = (&'t str, &'t Source)>,
    log: &mut Log,
) -> Option<Vec<IpAddr>> {
    let (mut addresses, mut bad) = (Vec::new(), None);
    for (text, source) in texts {
        match address(text, source, log) {
            Some(address) => addresses.push(address),
            None => bad = bad.or(Some(source)),
        }
    }
    let Some(source) = bad else { return Some(addresses) };
    if let Some(first) = addresses.first() {
        let others = match addresses.len() - 1 {
            0 => first.to_string(),
            more => format!("{first} and {more} more"),
        };
        let why = "a part of a name's addresses would be another answer";
        log.left_out(source, format!("{}: with it goes {others}, as {why}", shown(name)));
    }
    None
}

/// `West Europe` as Azure's ids have it.
pub(super) fn region(text: &str) -> Option<String> {
    let region: String = text.to_lowercase().split_whitespace().collect();
    (!region.is_empty()).then_some(region)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_taken_apart_without_case() {
        let id = "/subscriptions/S/resourceGroups/RG/providers/Microsoft.Network/privateEndpoints/\
                  PE/privateDnsZoneGroups/default/";
        let id = ResourceId::new(id).expect("an id");
        assert_eq!(id.name(), "default");
        assert_eq!(id.segment("resourcegroups"), Some("rg"));
        let endpoint = id.up_to("privateendpoints").expect("an endpoint");
        assert_eq!(endpoint.name(), "pe");
        assert_eq!(endpoint.up_to("privateendpoints"), Some(endpoint.clone()));
        let kind = endpoint.resource_type();
        assert_eq!(kind.as_deref(), Some("microsoft.network/privateendpoints"));
        let vault = ResourceId::new("/x/PROVIDERS/microsoft.keyvault/VAULTS/kv");
        let kind = vault.and_then(|id| id.resource_type());
        assert_eq!(kind.as_deref(), Some("Microsoft.KeyVault/vaults"));
        assert_eq!(ResourceId::new(" / "), None);
        assert_eq!(ResourceId::new("x").and_then(|id| id.resource_type()), None);
    }

    #[test]
    fn only_private_addresses_are_an_endpoints() {
        let source = Source { file: "f".to_owned(), at: String::new() };
        let mut log = Log::new();
        for good in ["10.0.0.4", "172.31.0.1", "192.168.0.1", "100.64.0.1", "fd00::1"] {
            assert!(address(good, &source, &mut log).is_some(), "{good}");
        }
        assert!(Log::new().into_complaints("f").is_empty());
        let bad = ["20.1.2.3", "127.0.0.1", "0.0.0.0", "::ffff:10.0.0.4", "10.0.0.4/32", "", "x"];
        for bad in bad {
            assert_eq!(address(bad, &source, &mut log), None, "{bad}");
        }
        assert_eq!(log.into_complaints("f").len(), bad.len());
    }
}
