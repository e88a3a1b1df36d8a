//! `[[private-link]]` by service: clouds, variables, several zones.

use super::{Case, E, Said, W, check, config, rest, whole};
use crate::catalog::Cloud;
use crate::config::{PrivateLink, Unlisted};

const SERVICE: &str = "private-link.service";
const NAMES: &str = "names.contoso = ['10.1.0.5']";

/// An entry of these lines (from line 7) and one endpoint of this line.
pub(super) fn entry(text: &str, endpoint: &str) -> String {
    format!("[[private-link]]\n{text}\n[[private-link.endpoint]]\nname = 'hub'\n{endpoint}\n")
}

fn named(text: &str, said: Said) -> Case {
    rest(&entry(text, NAMES), said)
}

#[test]
fn a_service_is_known_in_its_clouds() {
    check([
        named("service = 'storage-blob'", &[]),
        named("service = 'storage-blob'\ncloud = 'china'", &[]),
        named("service = 'blob'", &[(E, 7, SERVICE, "did you mean \"storage-blob\"?")]),
        named("service = 'ACR'", &[(E, 7, SERVICE, "did you mean \"container-registry\"?")]),
        named("service = 'keyvault'", &[(E, 7, SERVICE, "did you mean \"key-vault\"?")]),
        named("service = 'zz'", &[(E, 7, SERVICE, "`privatelinkd services` lists")]),
        named(
            "service = 'defender-for-containers'\ncloud = 'china'",
            &[(E, 7, SERVICE, "Defender for Cloud has no private endpoints in Azure China")],
        ),
        named(
            "service = 'defender-for-containers'\ncloud = 'government'",
            &[(E, 7, SERVICE, "has no private endpoints in Azure Government; if it has zones")],
        ),
        named(
            "service = 'grafana'\ncloud = 'china'",
            &[(E, 7, SERVICE, "Azure's table of private zones has no row of it in Azure China")],
        ),
        named(
            "service = 'grafana'\ncloud = 'chyna'",
            &[(E, 8, "private-link.cloud", "did you mean \"china\"?")],
        ),
        named(
            "public-zone = 'a.example'\nprivate-zone = 'privatelink.a.example'\ncloud = \
             'china'\nvariables = { x = 'y' }\nunlisted = 'forward'",
            &[
                (W, 9, "private-link.cloud", "not used: it belongs to service"),
                (W, 10, "private-link.variables", "not used: it belongs to service"),
            ],
        ),
    ]);
}

#[test]
fn variables_are_asked_for_with_what_to_write() {
    const KEY: &str = "private-link.variables";
    const REGION: &str = "private-link.variables.regionName";
    let aks = |variables: &str, said: Said| named(&format!("service = 'aks'\n{variables}"), said);
    const MISSING: &str = "the zones of aks hold {regionName}: write variables = { regionName = \
                           \"westeurope\" }";
    check([
        aks("variables = { regionName = 'westeurope' }", &[]),
        aks("", &[(E, 6, KEY, MISSING)]),
        aks("variables = {}", &[(E, 8, KEY, MISSING)]),
        aks(
            "variables = { region = 'westeurope' }",
            &[
                (E, 8, KEY, MISSING),
                (E, 8, "private-link.variables.region", "no variable of aks; write \"regionName\""),
            ],
        ),
        aks(
            "variables = { regionName = 'westeurope', zone = 'x' }",
            &[(E, 8, "private-link.variables.zone", "no variable of aks")],
        ),
        aks("variables = { regionName = 'west.europe' }", &[(E, 8, REGION, "write one label")]),
        aks("variables = { regionName = '' }", &[(E, 8, REGION, "write one label")]),
        aks("variables = { regionName = '{regionName}' }", &[(E, 8, REGION, "write one label")]),
        aks("variables = { regionName = 5 }", &[(E, 8, REGION, "an integer cannot stand here")]),
        aks("variables = 'westeurope'", &[(E, 8, KEY, "write a table of names and values")]),
        named(
            "service = 'key-vault'\nvariables = { regionName = 'westeurope' }",
            &[(E, 8, REGION, "the zones of key-vault have no variables")],
        ),
        named("service = 'backup'", &[(E, 6, KEY, "{ regionCode = \"we\" }")]),
    ]);
    // Which zones there are is not known, but the name's fault is not that.
    let of_octets = |octets: usize| {
        let value = "a".repeat(octets);
        let text = format!("service = 'aks'\nvariables = {{ regionName = '{value}' }}");
        super::read(&rest(&entry(&text, NAMES), &[]).text)
    };
    assert_eq!(of_octets(63).diagnostics, []);
    let report = of_octets(64);
    assert!(report.diagnostics.iter().all(|d| d.message.contains("write one label")));
    assert_eq!(report.diagnostics.len(), 1);
}

#[test]
fn other_tenants_names_are_forwarded_unless_said_otherwise() {
    const ADDRESSES: &str = "private-link.endpoint.addresses";
    let both = format!("addresses = ['10.1.0.5']\n{NAMES}");
    let blob = |text: &str, endpoint: &str, said: Said| {
        rest(&entry(&format!("service = 'storage-blob'\n{text}"), endpoint), said)
    };
    check([
        blob("", "addresses = ['10.1.0.5']", &[(E, 11, ADDRESSES, "list yours under names")]),
        blob("", &both, &[(W, 11, ADDRESSES, "other tenants have names in these zones too")]),
        blob("require-private = true", NAMES, &[]),
        whole(
            &format!(
                "{}[listen]\ndns = ['[::1]:53']",
                entry("service = 'key-vault'", "names.v = ['10.1.0.5']")
            ),
            &[(W, 1, "private-link.unlisted", "no forward rule covers vault.azure.net")],
        ),
    ]);
}

#[test]
fn names_are_whole_where_there_are_several_private_zones() {
    let monitor = |name: &str, said: Said| {
        rest(&entry("service = 'monitor'", &format!("names.\"{name}\" = ['10.1.0.5']")), said)
    };
    check([
        monitor("api.monitor.azure.com", &[]),
        monitor("API.privatelink.monitor.azure.com.", &[]),
        monitor(
            "api",
            &[(E, 10, "private-link.endpoint.names.api", "such as \"api.monitor.azure.com\"")],
        ),
        monitor(
            "monitor.azure.com",
            &[(
                E,
                10,
                "private-link.endpoint.names.\"monitor.azure.com\"",
                "this is the zone itself",
            )],
        ),
        monitor(
            "a.services.visualstudio.com",
            &[(
                E,
                10,
                "private-link.endpoint.names.\"a.services.visualstudio.com\"",
                "in no zone of monitor",
            )],
        ),
        rest(
            &entry(
                "service = 'monitor'",
                "[private-link.endpoint.names]\n'a.monitor.azure.com' = ['10.1.0.5']\n\
                 'a.privatelink.monitor.azure.com' = ['10.1.0.5']",
            ),
            &[(
                E,
                12,
                "private-link.endpoint.names.\"a.privatelink.monitor.azure.com\"",
                "the same name stands on line 11",
            )],
        ),
        // Names of one private zone are relative, whatever the number of public ones.
        rest(
            &entry("service = 'key-vault'", "names.\"v.vault.azure.net\" = ['10.1.0.5']"),
            &[(
                E,
                10,
                "private-link.endpoint.names.\"v.vault.azure.net\"",
                "names are relative to the zone; write \"v\"",
            )],
        ),
    ]);
    let long =
        format!("{}.{}.{}.{}", "a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(43));
    let text =
        entry("service = 'monitor'", &format!("names.\"{long}.monitor.azure.com\" = ['10.1.0.5']"));
    let report = super::read(&rest(&text, &[]).text);
    let [error] = report.diagnostics.as_slice() else { panic!("{:?}", report.diagnostics) };
    assert!(error.message.contains("longer than 255 octets"), "{error}");
}

/// Event Hubs and Service Bus got a second private zone in 2026, and older files have relative names.
#[test]
fn a_service_with_a_later_zone_takes_relative_and_whole_names() {
    let hubs = |name: &str, said: Said| {
        rest(&entry("service = 'event-hubs'", &format!("names.\"{name}\" = ['10.1.0.5']")), said)
    };
    let (shown, _) = links(&[entry(
        "service = 'event-hubs'",
        "[private-link.endpoint.names]\none = ['10.1.0.5']\n\
         'two.servicebus.windows.net' = ['10.1.0.5']\n\
         'two.z1.eventhubs.azure.net' = ['10.1.0.5']\n\
         'six.z2.privatelink.eventhubs.azure.net.' = ['10.1.0.5']",
    )]);
    assert_eq!(
        shown,
        [
            "servicebus.windows.net privatelink.servicebus.windows.net hub/one hub/two",
            "eventhubs.azure.net privatelink.eventhubs.azure.net hub/two.z1 hub/six.z2",
        ]
    );
    // A file from before has the one pair that it had.
    let (shown, _) = links(&[entry("service = 'service-bus'", "names.one = ['10.1.0.5']")]);
    assert_eq!(shown, ["servicebus.windows.net privatelink.servicebus.windows.net hub/one"]);
    check([
        hubs(
            "one.privatelink",
            &[(
                E,
                10,
                "private-link.endpoint.names.\"one.privatelink\"",
                "names are relative to the zone; write \"one\"",
            )],
        ),
        hubs(
            "one.",
            &[(
                E,
                10,
                "private-link.endpoint.names.\"one.\"",
                "write \"one\", without the final dot",
            )],
        ),
        hubs(
            "eventhubs.azure.net",
            &[(
                E,
                10,
                "private-link.endpoint.names.\"eventhubs.azure.net\"",
                "this is the zone itself",
            )],
        ),
        // Azure's old zone has names of one label, so that this one is probably meant for the other.
        hubs(
            "one.z12",
            &[(
                W,
                10,
                "private-link.endpoint.names.\"one.z12\"",
                "taken for \"one.z12.servicebus.windows.net\", the zone that relative names belong \
                 to; if you mean another zone of the service, write the whole name: \
                 \"one.z12.eventhubs.azure.net\"",
            )],
        ),
        rest(
            &entry(
                "service = 'event-hubs'",
                "[private-link.endpoint.names]\none = ['10.1.0.5']\n\
                 'one.privatelink.servicebus.windows.net' = ['10.1.0.5']",
            ),
            &[(
                E,
                12,
                "private-link.endpoint.names.\"one.privatelink.servicebus.windows.net\"",
                "the same name stands on line 11",
            )],
        ),
        // Another cloud has one private zone, so that names are relative as before.
        rest(&entry("service = 'event-hubs'\ncloud = 'china'", "names.'a.b' = ['10.1.0.5']"), &[]),
    ]);
    let long =
        format!("{}.{}.{}.{}", "a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(40));
    let report = super::read(&hubs(&long, &[]).text);
    let [error] = report.diagnostics.as_slice() else { panic!("{:?}", report.diagnostics) };
    assert!(error.message.contains("longer than 255 octets"), "{error}");
}

/// The links of these entries: public zone, private zone, names.
pub(super) fn links(entries: &[String]) -> (Vec<String>, Vec<PrivateLink>) {
    let links = config(&rest(&entries.concat(), &[]).text).private_links;
    let shown = links.iter().map(|link| {
        let names = link.endpoints.iter().flat_map(|endpoint| {
            let name = endpoint.name.clone();
            endpoint.names.iter().map(move |(listed, _)| format!(" {name}/{listed}"))
        });
        format!("{} {}{}", link.public_zone, link.private_zone, names.collect::<String>())
    });
    (shown.collect(), links.clone())
}

#[test]
fn an_entry_means_all_pairs_of_its_service() {
    let (shown, all) = links(&[entry("service = 'key-vault'", "names.v = ['10.1.0.5']")]);
    assert_eq!(
        shown,
        [
            "vault.azure.net privatelink.vaultcore.azure.net hub/v",
            "vaultcore.azure.net privatelink.vaultcore.azure.net hub/v",
        ]
    );
    assert!(all.iter().all(|link| link.unlisted == Unlisted::Forward && link.entry == 0));
    let (shown, all) = links(&[entry(
        "service = 'sql-managed-instance'\ncloud = 'government'\nvariables = { dnsPrefix = 'A1' }",
        "names.mi = ['10.1.0.5']",
    )]);
    let expected = "a1.database.usgovcloudapi.net privatelink.a1.database.usgovcloudapi.net hub/mi";
    assert_eq!(shown, [expected]);
    assert_eq!(all[0].cloud, Cloud::Government);
    assert_eq!(all[0].service.as_deref(), Some("sql-managed-instance"));
}

#[test]
fn pairs_get_what_endpoints_have_in_them() {
    let monitor = |unlisted: &str, addresses: &str| {
        let second = "[[private-link.endpoint]]\nname = 'two'\n\
                      names.'s.privatelink.blob.core.windows.net' = ['10.1.0.6']\n";
        let text = format!("service = 'monitor'\n{unlisted}");
        let first = format!("{addresses}\nnames.'api.monitor.azure.com' = ['10.1.0.5']");
        links(&[entry(&text, &first) + second])
    };
    const API: &str = "monitor.azure.com privatelink.monitor.azure.com hub/api";
    const BLOB: &str = "blob.core.windows.net privatelink.blob.core.windows.net two/s";
    let (shown, _) = monitor("", "");
    assert_eq!(shown, [API, BLOB]);
    // What must be private stays guarded where nothing is listed.
    assert_eq!(monitor("require-private = true", "").0.len(), 5);
    let (shown, all) = monitor("unlisted = 'nxdomain'", "");
    assert_eq!(shown.len(), 5);
    assert!(shown.contains(&API.to_owned()) && shown.contains(&BLOB.to_owned()));
    assert!(all[1].endpoints.is_empty());
    let (shown, all) = monitor("unlisted = 'wildcard'", "addresses = ['10.1.0.4']");
    assert_eq!(shown.len(), 5);
    assert!(all.iter().all(|link| link.endpoints[0].addresses.len() == 1), "{all:?}");
}

/// An idle pair that was left out would leave its names to the zone around it.
#[test]
fn a_pair_without_endpoints_stays_where_another_entry_has_the_zone_around_it() {
    let wide = |unlisted: &str| {
        entry(
            &format!("service = 'automation'\nunlisted = '{unlisted}'"),
            "addresses = ['10.1.0.5']\nnames.a = ['10.1.0.5']",
        )
    };
    let scope = entry("service = 'monitor'", "names.'api.monitor.azure.com' = ['10.1.0.6']");
    const AGENT: &str = "agentsvc.azure-automation.net";
    for order in [[wide("wildcard"), scope.clone()], [scope.clone(), wide("forward")]] {
        let (_, links) = links(&order);
        let zones: Vec<_> = links.iter().map(|link| link.public_zone.to_string()).collect();
        assert_eq!(links.len(), 3, "{zones:?}");
        let agent = links.iter().find(|link| link.public_zone.to_string() == AGENT);
        let agent = agent.expect("its names are not the wildcard's");
        assert_eq!((agent.unlisted, agent.endpoints.len()), (Unlisted::Forward, 0));
    }
    assert_eq!(links(&[scope]).1.len(), 1, "nobody else is around");
}

#[test]
fn the_deepest_zone_of_an_entry_has_the_name() {
    let (shown, _) = links(&[entry(
        "service = 'monitor'\ncloud = 'government'",
        "names.'x.adx.monitor.azure.us' = ['10.1.0.5']",
    )]);
    assert_eq!(shown, ["adx.monitor.azure.us privatelink.adx.monitor.azure.us hub/x"]);
}

#[test]
fn known_zones_are_protected_as_a_whole() {
    const PUBLIC: &str = "private-link.public-zone";
    const PRIVATE: &str = "private-link.private-zone";
    let pair = |public: &str, private: &str, said: Said| {
        named(
            &format!("public-zone = '{public}'\nprivate-zone = '{private}'\nunlisted = 'forward'"),
            said,
        )
    };
    check([
        pair("vault.azure.net", "privatelink.vaultcore.azure.net", &[]),
        pair("westeurope.azmk8s.io", "privatelink.westeurope.azmk8s.io", &[]),
        // Wide, but known for themselves.
        pair("azure.com", "privatelink.azure.com", &[]),
        pair("azuresynapse.net", "privatelink.azuresynapse.net", &[]),
        pair("azure.net", "privatelink.azure.net", &[(E, 7, PUBLIC, "wider than the service")]),
        pair(
            "azmk8s.io",
            "privatelink.azmk8s.io",
            &[(E, 7, PUBLIC, "write \"westeurope.azmk8s.io\"")],
        ),
        pair(
            "vault.azure.net",
            "vault.azure.net",
            &[(E, 8, PRIVATE, "write \"privatelink.vaultcore.azure.net\"")],
        ),
        pair("a.example", "core.windows.net", &[(E, 8, PRIVATE, "lies inside it")]),
        pair("vault.azure.net", "privatelink.vault.azure.net", &[]),
        pair("vault.azure.net", "x.vaultcore.azure.net", &[(W, 8, PRIVATE, "neither")]),
    ]);
}
