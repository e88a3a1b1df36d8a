//! Random endpoints, printed in random shapes, mixed into files: what comes out of `import` answers
//! with the same addresses, passes `check` without a word, and does not depend on the files' order.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use privatelinkd::app;
use privatelinkd::azure::{self, Extent, Inventory, Severity};
use privatelinkd::config;
use privatelinkd::engine::{Ask, Snapshot};
use privatelinkd::wire::Rtype;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::shapes::{Made, Style};

/// Worlds that are tried; each has up to [`MAX_ENDPOINTS`].
const WORLDS: u64 = 100;
const MAX_ENDPOINTS: u32 = 8;

/// Target, group, public and private zone; `{}` stands for a region.
const SERVICES: [(&str, &str, &str, &str); 13] = [
    (
        "Microsoft.Storage/storageAccounts",
        "blob",
        "blob.core.windows.net",
        "privatelink.blob.core.windows.net",
    ),
    (
        "Microsoft.Storage/storageAccounts",
        "file",
        "file.core.windows.net",
        "privatelink.file.core.windows.net",
    ),
    ("Microsoft.KeyVault/vaults", "vault", "vault.azure.net", "privatelink.vaultcore.azure.net"),
    (
        "Microsoft.Sql/servers",
        "sqlServer",
        "database.windows.net",
        "privatelink.database.windows.net",
    ),
    ("Microsoft.Web/sites", "sites", "azurewebsites.net", "privatelink.azurewebsites.net"),
    ("Microsoft.ContainerRegistry/registries", "registry", "azurecr.io", "privatelink.azurecr.io"),
    (
        "Microsoft.Security/privateLinks",
        "containers",
        "cloud.defender.microsoft.com",
        "privatelink.cloud.defender.microsoft.com",
    ),
    (
        "Microsoft.ContainerService/managedClusters",
        "management",
        "{}.azmk8s.io",
        "privatelink.{}.azmk8s.io",
    ),
    (
        "Microsoft.Storage/storageAccounts",
        "blob",
        "blob.core.usgovcloudapi.net",
        "privatelink.blob.core.usgovcloudapi.net",
    ),
    ("Contoso.Own/things", "thing", "things.contoso.example", "privatelink.things.contoso.example"),
    // A whole domain, a zone in it that the catalogue lacks, and a second private zone.
    (
        "Microsoft.Authorization/resourceManagementPrivateLinks",
        "ResourceManagement",
        "azure.com",
        "privatelink.azure.com",
    ),
    ("Contoso.Own/ledgers", "ledger", "ledger.azure.com", "privatelink.ledger.azure.com"),
    ("Contoso.Own/stores", "store", "file.storage.azure.net", "privatelink.file.storage.azure.net"),
];

/// A file's name and its text.
type File = (String, String);

fn world(random: &mut StdRng) -> Vec<Made> {
    let count = random.random_range(1..=MAX_ENDPOINTS);
    (0..count)
        .map(|number| {
            let (target, group, public_zone, private_zone) =
                *SERVICES.choose(random).expect("services");
            let region = *["westeurope", "eastus", "usgovvirginia"].choose(random).expect("some");
            // Names and addresses are one endpoint's alone; Defender's are its members'.
            let labels = match group {
                "containers" => vec![format!("api-{number}"), format!("data-{number}.{region}")],
                // A second label would be the prefix of a managed instance.
                "sqlServer" => vec![format!("n{number}")],
                _ => (0..random.random_range(1..4_u32))
                    .map(|name| {
                        format!("n{number}-{name}")
                            + ["", ".Data", ".a.b"].choose(random).expect("some")
                    })
                    .collect(),
            };
            let mut names = Vec::new();
            for (place, label) in (0_u32..).zip(labels) {
                let mut addresses: Vec<IpAddr> = Vec::new();
                for last in 0..random.random_range(1..3_u32) {
                    let octets = number << 16 | place << 8 | last;
                    addresses.push(Ipv4Addr::from_bits(10 << 24 | octets).into());
                    if random.random_bool(0.2) {
                        let v6 = Ipv6Addr::from_bits(0xfd00 << 112 | u128::from(octets));
                        addresses.push(v6.into());
                    }
                }
                names.push((label, addresses));
            }
            let odd = ["", " \"q\"", "\\", "]\n[", "é", "#"].choose(random).expect("some");
            Made {
                name: format!("pe{number}{odd}"),
                region: region.to_owned(),
                target,
                group,
                public_zone: public_zone.replace("{}", region),
                private_zone: private_zone.replace("{}", region),
                names,
            }
        })
        .collect()
}

/// The endpoints in shapes that hold all of their names, each in one at least.
fn files(world: &[Made], random: &mut StdRng) -> Vec<File> {
    let (mut objects, mut exports): (Vec<Value>, Vec<String>) = (Vec::new(), Vec::new());
    for made in world {
        for _ in 0..random.random_range(1..4) {
            let style = *Style::ALL.choose(random).expect("some");
            // Names that the catalogue lacks show their zones in the private form alone.
            let private_only = made.target.starts_with("Contoso");
            match random.random_range(if private_only { 3..7 } else { 0..7 }) {
                0 => objects.push(made.endpoint(style, true)),
                1 => objects.push(made.interface(style)),
                2 => objects.extend([made.endpoint(style, false), made.interface(style)]),
                3 => objects.extend([made.endpoint(style, false), made.group(style)]),
                4 => objects.extend(made.record_sets(style)),
                5 => objects.extend([
                    made.endpoint(style, false),
                    made.interface(style),
                    made.group(style),
                ]),
                _ => exports.push(made.zone_export(random.random_bool(0.5))),
            }
        }
    }
    objects.shuffle(random);
    let mut files: Vec<File> = Vec::new();
    while !objects.is_empty() {
        let some: Vec<Value> = objects.drain(..random.random_range(1..=objects.len())).collect();
        let text = match random.random_range(0..5) {
            0 => json!(some).to_string(),
            1 => json!({ "value": some }).to_string(),
            2 => json!({ "count": some.len(), "total_records": some.len(), "data": some, "skip_token": null })
                .to_string(),
            3 => some.iter().map(Value::to_string).collect::<Vec<_>>().join("\n"),
            _ => format!("\u{feff}{:#}", json!([some])),
        };
        files.push((format!("{}.json", files.len()), text));
    }
    for text in exports {
        files.push((format!("{}.zone", files.len()), text));
    }
    files
}

fn snapshot(toml: &str) -> Snapshot {
    let report = config::read(&format!(
        "{toml}\n[listen]\ndns = [\"127.0.0.1:5300\"]\n[[forward]]\nzones = [\".\"]\n\
         upstreams = [\"127.0.0.1:1\"]\n"
    ));
    assert!(report.diagnostics.is_empty(), "{:#?}\n{toml}", report.diagnostics);
    let config = report.config.expect("no errors");
    app::build(&config, &config.listen.dns, None).unwrap_or_else(|unfit| panic!("{unfit}\n{toml}"))
}

/// The addresses that a name is answered with.
pub(crate) fn answer(snapshot: &Snapshot, name: &str, rtype: Rtype) -> BTreeSet<IpAddr> {
    let ask = Ask {
        name: name.parse().expect("a name"),
        rtype,
        client: Ipv4Addr::LOCALHOST.into(),
        dnssec: false,
    };
    let explanation = snapshot.explain(&ask, false).expect("an explanation");
    let explanation = serde_json::to_value(&explanation).expect("JSON");
    let records = explanation["reply"]["answer"].as_array().cloned().unwrap_or_default();
    let data = records.iter().filter_map(|record| record["data"].as_str());
    data.filter_map(|data| data.parse().ok()).collect()
}

/// How often each name stands in the inventory, by the form that it stands there in.
fn counts(inventory: &Inventory) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for record in inventory.endpoints.iter().flat_map(|endpoint| &endpoint.records) {
        *counts.entry(record.fqdn.as_str()).or_default() += 1;
    }
    counts
}

/// No written name has Azure's label in front of its zone.
pub(crate) fn assert_no_label_in_front(toml: &str) {
    for line in toml.lines().filter(|line| line.starts_with('"')) {
        let name = line.split('"').nth(1).expect("a name");
        assert!(name.split('.').all(|label| label != "privatelink"), "{line}\n{toml}");
    }
}

#[test]
fn random_endpoints_come_back_as_they_were() {
    for seed in 0..WORLDS {
        let random = &mut StdRng::seed_from_u64(seed);
        let world = world(random);
        let mut files = files(&world, random);
        let inventory = azure::read(&files);
        let severe = inventory.complaints.iter().find(|c| c.severity != Severity::Noted);
        assert!(severe.is_none(), "seed {seed}: {}", severe.expect("one"));
        let fragment = azure::fragment(&inventory, &[], Extent::Fragment).expect("no sites");
        assert!(fragment.complaints.is_empty(), "seed {seed}: {:?}", fragment.complaints);
        let known: BTreeMap<&str, usize> = counts(&inventory);
        let names: usize = world.iter().map(|made| made.names.len()).sum();
        assert_eq!(known.len(), names, "seed {seed}: {known:?}");
        assert!(known.values().all(|count| *count == 1), "seed {seed}: {known:?}");
        assert_no_label_in_front(&fragment.text);
        let snapshot = snapshot(&fragment.text);
        for made in &world {
            for (label, addresses) in &made.names {
                for name in [made.public(label), made.private(label)] {
                    for (rtype, is_v4) in [(Rtype::A, true), (Rtype::AAAA, false)] {
                        let wanted: BTreeSet<IpAddr> =
                            addresses.iter().filter(|a| a.is_ipv4() == is_v4).copied().collect();
                        let got = answer(&snapshot, &name, rtype);
                        assert_eq!(got, wanted, "seed {seed}: {name}\n{}", fragment.text);
                    }
                }
            }
        }
        files.shuffle(random);
        let again = azure::fragment(&azure::read(&files), &[], Extent::Fragment);
        assert_eq!(again.expect("no sites").text, fragment.text, "seed {seed}");
    }
}
