//! What Azure's tools print for a private endpoint, in each shape, made from a few facts.

use std::net::IpAddr;

use serde_json::{Value, json};

/// A private endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) name: String,
    pub(crate) region: String,
    pub(crate) target: &'static str,
    pub(crate) group: &'static str,
    pub(crate) public_zone: String,
    pub(crate) private_zone: String,
    /// Names relative to the zones, none twice.
    pub(crate) names: Vec<(String, Vec<IpAddr>)>,
}

const NETWORK: &str = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Network";

/// Which way a tool prints: flattened, nested below `properties`, or flattened with keys of its own
/// spelling.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Style {
    Cli,
    Rest,
    /// `CustomDnsConfigs`.
    PowerShell,
    /// `custom_dns_configs`.
    Steampipe,
}

impl Style {
    pub(crate) const ALL: [Self; 4] = [Self::Cli, Self::Rest, Self::PowerShell, Self::Steampipe];

    fn key(self, key: &str) -> String {
        let mut letters = key.chars();
        match self {
            Self::Cli | Self::Rest => key.to_owned(),
            Self::PowerShell => {
                let first = letters.next().map(|first| first.to_ascii_uppercase());
                first.into_iter().chain(letters).collect()
            }
            Self::Steampipe => letters
                .flat_map(|c| {
                    let bar = c.is_ascii_uppercase().then_some('_');
                    bar.into_iter().chain([c.to_ascii_lowercase()])
                })
                .collect(),
        }
    }

    /// The same value with all keys spelled as this tool does.
    fn spell(self, value: Value) -> Value {
        match value {
            Value::Array(items) => items.into_iter().map(|item| self.spell(item)).collect(),
            Value::Object(members) => members
                .into_iter()
                .map(|(key, value)| (self.key(&key), self.spell(value)))
                .collect(),
            other => other,
        }
    }
}

fn object(style: Style, head: Value, properties: Value) -> Value {
    let mut head = head;
    let whole = head.as_object_mut().expect("an object");
    match (style, properties) {
        (Style::Rest, properties) => drop(whole.insert("properties".to_owned(), properties)),
        (_, Value::Object(properties)) => whole.extend(properties),
        (_, other) => panic!("{other} are no properties"),
    }
    style.spell(head)
}

fn is_v4(address: &&IpAddr) -> bool {
    address.is_ipv4()
}

impl Made {
    pub(crate) fn public(&self, name: &str) -> String {
        format!("{name}.{}", self.public_zone)
    }

    pub(crate) fn private(&self, name: &str) -> String {
        format!("{name}.{}", self.private_zone)
    }

    fn id(&self) -> String {
        format!("{NETWORK}/privateEndpoints/{}", self.name)
    }

    fn nic_id(&self) -> String {
        format!("{NETWORK}/networkInterfaces/{}.nic.0", self.name)
    }

    /// With its names in `customDnsConfigs`, or with none, as while a zone group exists.
    pub(crate) fn endpoint(&self, style: Style, with_names: bool) -> Value {
        let configs: Vec<Value> = self
            .names
            .iter()
            .filter(|_| with_names)
            .map(|(name, addresses)| json!({ "fqdn": self.public(name), "ipAddresses": addresses }))
            .collect();
        let connection = object(
            style,
            json!({ "name": "c" }),
            json!({
                "groupIds": [self.group],
                "privateLinkServiceId": format!("/subscriptions/s/resourceGroups/r/providers/{}/t", self.target),
                "privateLinkServiceConnectionState": { "status": "Approved" },
            }),
        );
        let head = json!({
            "id": self.id(), "name": self.name, "location": self.region,
            "type": "Microsoft.Network/privateEndpoints",
        });
        let properties = json!({
            "provisioningState": "Succeeded",
            "privateLinkServiceConnections": [connection],
            "manualPrivateLinkServiceConnections": [],
            "networkInterfaces": [{ "id": self.nic_id() }],
            "customDnsConfigs": configs,
        });
        object(style, head, properties)
    }

    pub(crate) fn group(&self, style: Style) -> Value {
        let sets: Vec<Value> = self
            .names
            .iter()
            .map(|(name, addresses)| {
                json!({
                    "recordType": "A", "recordSetName": name, "fqdn": self.private(name), "ttl": 10,
                    "provisioningState": "Succeeded", "ipAddresses": addresses,
                })
            })
            .collect();
        let config = object(
            style,
            json!({ "name": "z" }),
            json!({
                "privateDnsZoneId": format!("{NETWORK}/privateDnsZones/{}", self.private_zone),
                "recordSets": sets,
            }),
        );
        let head = json!({
            "id": format!("{}/privateDnsZoneGroups/default", self.id().to_uppercase()),
            "name": "default",
        });
        let properties =
            json!({ "provisioningState": "Succeeded", "privateDnsZoneConfigs": [config] });
        object(style, head, properties)
    }

    pub(crate) fn interface(&self, style: Style) -> Value {
        let mut configurations = Vec::new();
        for (name, addresses) in &self.names {
            for address in addresses {
                let properties = json!({
                    "privateIPAddress": address,
                    "privateLinkConnectionProperties": {
                        "groupId": self.group, "requiredMemberName": name.split('.').next(),
                        "fqdns": [self.public(name)],
                    },
                });
                configurations.push(object(style, json!({ "name": "i" }), properties));
            }
        }
        let head = json!({
            "id": self.nic_id(), "name": format!("{}.nic.0", self.name), "location": self.region,
            "type": "Microsoft.Network/networkInterfaces",
        });
        let properties = json!({
            "ipConfigurations": configurations, "privateEndpoint": { "id": self.id() },
        });
        object(style, head, properties)
    }

    pub(crate) fn record_sets(&self, style: Style) -> Vec<Value> {
        let mut sets = Vec::new();
        for (name, addresses) in &self.names {
            for (kind, list, key) in
                [("A", "aRecords", "ipv4Address"), ("AAAA", "aaaaRecords", "ipv6Address")]
            {
                let of_kind = addresses.iter().filter(|a| is_v4(a) == (kind == "A"));
                let records: Vec<Value> = of_kind.map(|a| json!({ key: a })).collect();
                if records.is_empty() {
                    continue;
                }
                let head = json!({
                    "id": format!("{NETWORK}/privateDnsZones/{}/{kind}/{name}", self.private_zone),
                    "name": name, "type": format!("Microsoft.Network/privateDnsZones/{kind}"),
                });
                let properties =
                    json!({ "fqdn": format!("{}.", self.private(name)), "ttl": 10, list: records });
                sets.push(object(style, head, properties));
            }
        }
        sets
    }

    /// As the CLI exports the zone, or as the portal does, without the final dot.
    pub(crate) fn zone_export(&self, of_portal: bool) -> String {
        let dot = if of_portal { "" } else { "." };
        let mut text = format!(
            "; Exported zone file from Azure DNS\n\n$TTL 10\n$ORIGIN {}{dot}\n\n@ 3600 IN SOA \
             azureprivatedns.net. azureprivatedns-host.microsoft.com. (\n 1 3600 300 2419200 10 )\n",
            self.private_zone
        );
        for (name, addresses) in &self.names {
            for address in addresses {
                let kind = if address.is_ipv4() { "A" } else { "AAAA" };
                text += &format!("{name} 10 IN {kind} {address}\n");
            }
        }
        text
    }
}
