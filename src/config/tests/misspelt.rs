//! Pairs that are spelled out with a slip in both zones.

use super::services::entry;
use super::{Said, W, check, read, rest};
use crate::catalog::{self, Role};

const KEY: &str = "private-link.public-zone";
const NAMES: &str = "names.one = ['10.1.0.5']";

fn spelled_out(public: &str, private: &str) -> String {
    entry(
        &format!("public-zone = '{public}'\nprivate-zone = '{private}'\nunlisted = 'forward'"),
        NAMES,
    )
}

/// What `check` says of the pair of this public zone and the usual private one.
fn said_of(public: &str) -> Vec<String> {
    let text = rest(&spelled_out(public, &format!("privatelink.{public}")), &[]).text;
    let diagnostics = read(&text).diagnostics;
    assert!(diagnostics.iter().all(|d| !d.is_error()), "{public}: {diagnostics:#?}");
    diagnostics.iter().map(ToString::to_string).collect()
}

#[test]
fn the_right_zone_and_service_are_named() {
    let case = |public: &str, said: Said| {
        rest(&spelled_out(public, &format!("privatelink.{public}")), said)
    };
    check([
        // As Microsoft's notes on the sensor have it.
        case(
            "cloud-defender.microsoft.com",
            &[(
                W,
                7,
                KEY,
                "did you mean \"cloud.defender.microsoft.com\"? Then write service = \
                 \"defender-for-containers\", without public-zone and private-zone",
            )],
        ),
        case(
            "blob.core.window.net",
            &[(W, 7, KEY, "it has \"blob.core.windows.net\" of storage-blob")],
        ),
        case(
            "vault.azur.cn",
            &[(W, 7, KEY, "write service = \"key-vault\" and cloud = \"china\"")],
        ),
        case("westeurope.azmks8.io", &[(W, 7, KEY, "it has \"westeurope.azmk8s.io\" of aks")]),
        // Only the public zone has the slip: one warning, and it names the slip.
        rest(
            &spelled_out(
                "cloud-defender.microsoft.com",
                "privatelink.cloud.defender.microsoft.com",
            ),
            &[(W, 7, KEY, "did you mean \"cloud.defender.microsoft.com\"?")],
        ),
    ]);
}

#[test]
fn slips_are_seen() {
    for (slip, right) in [
        ("clouddefender.microsoft.com", "cloud.defender.microsoft.com"),
        ("cloud.defender-microsoft.com", "cloud.defender.microsoft.com"),
        ("cloud_defender.microsoft.com", "cloud.defender.microsoft.com"),
        ("defender.cloud.microsoft.com", "cloud.defender.microsoft.com"),
        ("cloud.defender.mircosoft.com", "cloud.defender.microsoft.com"),
        ("cloud-defendr.microsoft.com", "cloud.defender.microsoft.com"),
        ("cloud.defenders.microsoft.com", "cloud.defender.microsoft.com"),
        ("clod.defender.microsoft.com", "cloud.defender.microsoft.com"),
        ("blob.core.windows.com", "blob.core.windows.net"),
        ("blobs.core.windows.net", "blob.core.windows.net"),
        ("blob-core.windows.net", "blob.core.windows.net"),
        ("core.blob.windows.net", "blob.core.windows.net"),
        ("vualt.azure.net", "vault.azure.net"),
        ("vaultcore.azure.com", "vaultcore.azure.net"),
        ("vaultcore.azuer.net", "vaultcore.azure.net"),
        ("vault-core.azure.net", "vaultcore.azure.net"),
        ("valt.azure.net", "vault.azure.net"),
        ("databse.windows.net", "database.windows.net"),
        ("azure.websites.net", "azurewebsites.net"),
        ("azureapi.net", "azure-api.net"),
        ("service-bus.windows.net", "servicebus.windows.net"),
        ("event-hubs.azure.net", "eventhubs.azure.net"),
        ("database.usgovcloudapi.com", "database.usgovcloudapi.net"),
        ("database.usgov.cloudapi.net", "database.usgovcloudapi.net"),
    ] {
        let said = said_of(slip);
        let [warning] = said.as_slice() else { panic!("{slip}: {said:?}") };
        assert!(warning.contains(&format!("did you mean \"{right}\"?")), "{slip}: {warning}");
    }
}

/// One letter too many, too few, or swapped, in every zone of the catalogue.
#[test]
fn one_slip_in_any_zone_of_the_catalogue_is_seen() {
    let known = |zone: &str| catalog::zones_at(zone).iter().any(|place| place.role == Role::Public);
    let mut seen = 0;
    for pair in catalog::services().iter().flat_map(|service| service.pairs) {
        let zone = pair.filled(Role::Public, |name| Some(catalog::example_value(name)));
        let zone = zone.expect("all variables have an example");
        // The longest label: a letter of a short one may make another word of Azure's.
        let label = zone.split('.').max_by_key(|label| label.len()).expect("a label");
        let (front, end) = label.split_at(label.len() / 2);
        let slips = [
            format!("{front}x{end}"),
            format!("{front}{}", &end[1..]),
            format!("{}x{end}", &front[..front.len() - 1]),
        ];
        for slip in slips.map(|slip| zone.replacen(label, &slip, 1)) {
            if pair.public.contains('{') || known(&slip) {
                continue;
            }
            let said = said_of(&slip);
            assert!(said.iter().any(|text| text.contains("did you mean")), "{slip}: {said:?}");
            seen += 1;
        }
    }
    assert!(seen > 400, "{seen}");
}

#[test]
fn zones_of_the_catalogue_and_other_real_zones_are_no_slips() {
    for service in catalog::services() {
        for pair in service.pairs {
            let [public, private] = [Role::Public, Role::Private].map(|role| {
                let zone = pair.filled(role, |name| Some(catalog::example_value(name)));
                zone.expect("all variables have an example")
            });
            let text = rest(&spelled_out(&public, &private), &[]).text;
            assert_eq!(read(&text).diagnostics, [], "{}", service.name);
        }
    }
    for real in [
        // Names of Microsoft's beside those with private endpoints, and zones of other clouds that
        // Azure's table does not have.
        "ami.cloud-dev.defender.microsoft.com",
        "cloud-dev.defender.microsoft.com",
        "api.cloud-stg.defender.microsoft.com",
        "cloud-stg.defender.microsoft.com",
        "api.defender.microsoft.com",
        "agents.chaos-prod.azure.com",
        "web.azuresynapse.net",
        "cloudapp.azure.com",
        "cloudapp.net",
        "trafficmanager.net",
        "azureedge.net",
        "azurefd.net",
        "azurecr.cn",
        "azure-api.cn",
        "azure-api.us",
        "search.azure.cn",
        "azconfig.azure.cn",
        "managedhsm.azure.cn",
        "managedhsm.usgovcloudapi.net",
        "cognitiveservices.azure.cn",
        "grafana.azure.us",
        "eventgrid.azure.cn",
        "azure-automation.de",
        "database.cloudapi.de",
        "blob.core.cloudapi.de",
        "vault.microsoftazure.de",
        "kusto.usgovcloudapi.net",
        "openai.azure.us",
        "eastus.batch.azure.us",
        "z6.web.core.windows.net",
        "dynamics.com",
        "sharepoint.com",
        "office.com",
        // Zones of a company's own.
        "corp.example",
        "db.corp.example",
        "vault.corp.example",
        "blob.corp.example",
        "files.contoso.com",
        "search.contoso.net",
        "sql.contoso.local",
        "ad.contoso.com",
        "a.example",
        "example",
        "net.example",
        "contoso.windows.net.example",
    ] {
        assert_eq!(said_of(real), Vec::<String>::new(), "{real}");
    }
}
