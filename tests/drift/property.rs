//! Random endpoints, in the shapes in which Azure's tools print them: what `import` makes of them has
//! no drift, and any address that changes afterwards shows.

use std::net::IpAddr;

use privatelinkd::azure::{Extent, SiteSpec, fragment, read};
use privatelinkd::drift::{Coverage, Kind, Live, Report, compare};
use privatelinkd::upstream::Patience;
use privatelinkd::{app, config};
use serde_json::{Value, json};

use super::world::endpoint;

/// Rounds; each has other endpoints.
const ROUNDS: u64 = 150;
/// A zone as clients know it and as Azure keeps its records, and the endpoints with names there; any
/// label may stand in front.
struct Zone {
    public: &'static str,
    private: &'static str,
    target: &'static str,
    group: &'static str,
}

const ZONES: [Zone; 5] = [
    Zone {
        public: "blob.core.windows.net",
        private: "privatelink.blob.core.windows.net",
        target: "Microsoft.Storage/storageAccounts",
        group: "blob",
    },
    Zone {
        public: "vault.azure.net",
        private: "privatelink.vaultcore.azure.net",
        target: "Microsoft.KeyVault/vaults",
        group: "vault",
    },
    Zone {
        public: "database.windows.net",
        private: "privatelink.database.windows.net",
        target: "Microsoft.Sql/servers",
        group: "sqlServer",
    },
    Zone {
        public: "azurewebsites.net",
        private: "privatelink.azurewebsites.net",
        target: "Microsoft.Web/sites",
        group: "sites",
    },
    // One of the zones that a service has together.
    Zone {
        public: "oms.opinsights.azure.com",
        private: "privatelink.oms.opinsights.azure.com",
        target: "Microsoft.Insights/privateLinkScopes",
        group: "azuremonitor",
    },
];
const REGIONS: [&str; 2] = ["westeurope", "eastus"];

/// Numbers that look random, the same in every run (Knuth's MMIX constants).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).expect("small")
    }
}

/// One endpoint: its zone, its region, and its names with one address each.
struct Drawn {
    zone: usize,
    region: usize,
    names: Vec<(String, String)>,
    /// Its DNS zone group holds the names, and `customDnsConfigs` is empty.
    grouped: bool,
}

/// Different endpoints; now and then two regions have one name.
fn draw(dice: &mut Dice) -> Vec<Drawn> {
    let count = 1 + dice.index(5);
    let mut drawn: Vec<Drawn> = Vec::new();
    for index in 0..count {
        let (zone, region) = (dice.index(ZONES.len()), dice.index(REGIONS.len()));
        let names = 1 + dice.index(3);
        let label = |dice: &mut Dice, name: usize| match dice.below(4) {
            // Both regions may have it, each at its own address.
            0 if name == 0 => format!("shared{zone}"),
            1 => format!("sub.x{index}n{name}"),
            _ => format!("x{index}n{name}"),
        };
        let mut names: Vec<_> = (0..names)
            .map(|name| (label(dice, name), format!("10.{region}.{index}.{}", 4 + name)))
            .collect();
        let taken = |drawn: &Drawn, label: &str| {
            (drawn.zone, drawn.region) == (zone, region)
                && drawn.names.iter().any(|(name, _)| name == label)
        };
        names.retain(|(label, _)| !drawn.iter().any(|other| taken(other, label)));
        if !names.is_empty() {
            drawn.push(Drawn { zone, region, names, grouped: dice.below(2) == 0 });
        }
    }
    drawn
}

/// The files: endpoints, and zone groups of those that have one.
fn files(drawn: &[Drawn]) -> Vec<(String, String)> {
    let mut endpoints = Vec::new();
    let mut groups = Vec::new();
    for (index, Drawn { zone, region, names, grouped }) in drawn.iter().enumerate() {
        let Zone { public, private, target, group: group_id } = ZONES[*zone];
        let full: Vec<_> =
            names.iter().map(|(label, ip)| (format!("{label}.{public}"), ip)).collect();
        let own: Vec<_> = full.iter().map(|(fqdn, ip)| (fqdn.as_str(), [ip.as_str()])).collect();
        let own: Vec<_> = own.iter().map(|(fqdn, ips)| (*fqdn, &ips[..])).collect();
        let name = format!("pe{index}");
        let mut all = endpoint(&name, "Approved", if *grouped { &[] } else { &own });
        all["location"] = REGIONS[*region].into();
        let connection = &mut all["privateLinkServiceConnections"][0];
        connection["groupIds"] = json!([group_id]);
        connection["privateLinkServiceId"] = format!("/s/providers/{target}/t").into();
        if *grouped {
            groups.push(group(&all["id"], private, names));
        }
        endpoints.push(all);
    }
    let text = |values: &[Value]| serde_json::to_string(values).expect("JSON");
    let mut files = vec![("pe.json".to_owned(), text(&endpoints))];
    if !groups.is_empty() {
        files.push(("groups.json".to_owned(), text(&groups)));
    }
    files
}

fn group(endpoint: &Value, private: &str, names: &[(String, String)]) -> Value {
    let id = endpoint.as_str().expect("an id");
    let sets = names.iter().map(|(label, ip)| {
        json!({
            "recordType": "A", "recordSetName": label, "fqdn": format!("{label}.{private}"),
            "ttl": 10, "provisioningState": "Succeeded", "ipAddresses": [ip],
        })
    });
    json!({
        "id": format!("{id}/privateDnsZoneGroups/default"),
        "name": "default",
        "type": "Microsoft.Network/privateEndpoints/privateDnsZoneGroups",
        "provisioningState": "Succeeded",
        "privateDnsZoneConfigs": [{
            "name": "zone",
            "privateDnsZoneId": format!("/subscriptions/s/resourceGroups/r/providers/Microsoft.Network/privateDnsZones/{private}"),
            "recordSets": sets.collect::<Vec<_>>(),
        }],
    })
}

/// What `import azure --whole --sites …` writes of the files.
fn imported(drawn: &[Drawn]) -> config::Config {
    let regions = REGIONS.iter().enumerate();
    let regions = regions.filter(|(index, _)| drawn.iter().any(|one| one.region == *index));
    let sites: Vec<SiteSpec> = regions
        .map(|(index, region)| {
            format!("{region}=10.{}.0.0/16", 100 + index).parse().expect("a site")
        })
        .collect();
    let inventory = read(&files(drawn));
    let written = fragment(&inventory, &sites, Extent::Whole).expect("sites fit");
    let report = config::read(&written.text);
    report.config.unwrap_or_else(|| {
        let complaints = (&inventory.complaints, &written.complaints);
        panic!("{:?}\n{complaints:#?}\n{}", report.diagnostics, written.text)
    })
}

fn drift(config: &config::Config, drawn: &[Drawn]) -> Report {
    drift_with(config, drawn, Coverage::Whole)
}

fn partial(config: &config::Config, drawn: &[Drawn]) -> Report {
    drift_with(config, drawn, Coverage::Part)
}

fn drift_with(config: &config::Config, drawn: &[Drawn], coverage: Coverage) -> Report {
    let patience = Patience { each: std::time::Duration::from_secs(1), udp_tries: 1 };
    let live = Live { servers: &[], patience, progress: &|_, _| {} };
    let snapshot = app::build(config, &config.listen.dns, None).expect("it fits");
    compare(&read(&files(drawn)), coverage, Some((config, &snapshot)), &live)
}

#[test]
fn what_is_imported_has_no_drift_and_any_change_shows() {
    let mut dice = Dice(5);
    for round in 0..ROUNDS {
        let mut drawn = draw(&mut dice);
        let config = imported(&drawn);
        let report = drift(&config, &drawn);
        assert!(report.same, "round {round}: {:#?}", report.findings);
        let all: usize = drawn.iter().map(|one| one.names.len()).sum();
        assert!(report.compared.names > 0 && report.compared.names <= all, "round {round}");

        let index = dice.index(drawn.len());
        let changed = &mut drawn[index];
        let at = dice.index(changed.names.len());
        let (label, ip) = &mut changed.names[at];
        let old: IpAddr = ip.parse().expect("an address");
        *ip = "10.200.0.1".to_owned();
        let name = format!("{label}.{}", ZONES[changed.zone].public);
        let report = drift(&config, &drawn);
        let found = report.findings.iter().find(|found| found.names.contains(&name));
        let found = found.unwrap_or_else(|| panic!("round {round}: {name}: {report:#?}"));
        assert_eq!((found.kind, &found.answered.addresses), (Kind::Stale, &vec![old]), "{found:?}");
        assert_eq!(report.findings.len(), 1, "round {round}: {report:#?}");
    }
}

#[test]
fn any_endpoint_that_is_gone_from_a_complete_list_is_found() {
    let mut dice = Dice(7);
    let mut alone = 0;
    for round in 0..ROUNDS {
        let mut drawn = draw(&mut dice);
        if drawn.len() < 2 {
            continue;
        }
        let config = imported(&drawn);
        let gone = drawn.remove(dice.index(drawn.len()));
        let report = drift(&config, &drawn);
        let is_found = |label: &String| {
            let name = format!("{label}.{}", ZONES[gone.zone].public);
            report.findings.iter().any(|found| found.names.contains(&name))
        };
        let missed: Vec<_> = gone.names.iter().filter(|(name, _)| !is_found(name)).collect();
        assert!(!report.same && missed.is_empty(), "round {round}: {missed:?}: {report:#?}");
        // Nothing else is found fault with.
        assert_eq!(report.findings.len(), gone.names.len(), "round {round}: {report:#?}");
        alone += usize::from(drawn.iter().all(|other| other.zone != gone.zone));
        // The same files prove nothing where they are said to hold only a part of Azure.
        let report = partial(&config, &drawn);
        assert!(report.same, "round {round}: {report:#?}");
    }
    assert!(alone > 20, "{alone} were the last ones of their zones");
}
