//! Every row of Azure's table of private zones, and every row of ours beside it, through the real
//! decision: a configuration that names the service answers a public name of the row with the
//! private name and the address.
//!
//! What is expected comes from the table's own text, by the rule that nearly all rows follow, and
//! else from a list here; never from what the catalogue makes of the table.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use privatelinkd::catalog::{self, Cloud, Service};
use privatelinkd::config::{self, Config};
use privatelinkd::engine::{Ask, Conclusion, Explanation, Snapshot};
use privatelinkd::{app, snippets, wire};

const TABLE: &str = include_str!("../src/catalog/data/azure-zones.tsv");
const ADDITIONS: &str = include_str!("../src/catalog/data/additions.tsv");
/// Fewer additions than this, and they were not read.
const MIN_ADDITIONS: usize = 15;
/// Fewer rows than this, and the table was not read.
const MIN_ROWS: usize = 180;
const ADDRESS: &str = "10.1.0.5";

struct Row {
    cloud: &'static str,
    resource_type: &'static str,
    subresource: &'static str,
    private: Vec<&'static str>,
    public: Vec<&'static str>,
    /// The service that an addition names.
    service: Option<&'static str>,
}

fn rows() -> Vec<Row> {
    let row = |line: &'static str| {
        let cells: Vec<&str> = line.split('\t').collect();
        let (service, cells) = match cells[..] {
            [a, b, c, d, e] => (None, [a, b, c, d, e]),
            [a, b, c, d, e, service, _, _] => (Some(service), [a, b, c, d, e]),
            _ => panic!("five columns, or eight: {line}"),
        };
        let [cloud, resource_type, subresource, private, public] = cells;
        let [private, public] =
            [private, public].map(|list| list.split(';').filter(|zone| !zone.is_empty()).collect());
        Row { cloud, resource_type, subresource, private, public, service }
    };
    let added = ADDITIONS.lines().filter(|line| !line.starts_with('#'));
    TABLE.lines().skip(1).chain(added).map(row).collect()
}

/// Public names, and the private ones that they must lead to.
type Leads = &'static [(&'static str, &'static str)];

/// Rows (cloud, resource type, subresource) that do not pair their two columns by the rule, with
/// public names and where these must lead.
#[rustfmt::skip]
const EXCEPTIONS: &[(&str, &str, &str, Leads)] = &[
    ("commercial", "Microsoft.MachineLearningServices/workspaces", "amlworkspace", &[
        ("w1.workspace.westeurope.api.azureml.ms", "w1.workspace.westeurope.privatelink.api.azureml.ms"),
        ("ml-w1.westeurope.notebooks.azure.net", "ml-w1.westeurope.privatelink.notebooks.azure.net"),
    ]),
    ("government", "Microsoft.MachineLearningServices/workspaces", "amlworkspace", &[
        ("w1.workspace.usgovvirginia.api.ml.azure.us", "w1.workspace.usgovvirginia.privatelink.api.ml.azure.us"),
        ("ml-w1.notebooks.usgovcloudapi.net", "ml-w1.privatelink.notebooks.usgovcloudapi.net"),
    ]),
    ("china", "Microsoft.MachineLearningServices/workspaces", "amlworkspace", &[
        ("w1.workspace.chinaeast2.api.ml.azure.cn", "w1.workspace.chinaeast2.privatelink.api.ml.azure.cn"),
        ("ml-w1.notebooks.chinacloudapi.cn", "ml-w1.privatelink.notebooks.chinacloudapi.cn"),
    ]),
    ("commercial", "Microsoft.Batch/batchAccounts", "batchAccount", &[
        ("acct.westeurope.batch.azure.com", "acct.westeurope.privatelink.batch.azure.com"),
    ]),
    ("commercial", "Microsoft.Batch/batchAccounts", "nodeManagement", &[
        ("id1.westeurope.service.batch.azure.com", "id1.westeurope.service.privatelink.batch.azure.com"),
    ]),
    ("government", "Microsoft.Batch/batchAccounts", "batchAccount", &[
        ("acct.usgovvirginia.batch.usgovcloudapi.net", "acct.usgovvirginia.privatelink.batch.usgovcloudapi.net"),
    ]),
    ("government", "Microsoft.Batch/batchAccounts", "nodeManagement", &[
        ("id1.usgovvirginia.service.batch.usgovcloudapi.net", "id1.usgovvirginia.service.privatelink.batch.usgovcloudapi.net"),
    ]),
    ("china", "Microsoft.Batch/batchAccounts", "batchAccount", &[
        ("acct.chinaeast2.batch.chinacloudapi.cn", "acct.chinaeast2.privatelink.batch.chinacloudapi.cn"),
    ]),
    ("china", "Microsoft.Batch/batchAccounts", "nodeManagement", &[
        ("id1.chinaeast2.service.batch.chinacloudapi.cn", "id1.chinaeast2.service.privatelink.batch.chinacloudapi.cn"),
    ]),
    ("commercial", "Microsoft.DesktopVirtualization/workspaces", "global", &[
        ("rdweb.wvd.microsoft.com", "rdweb.privatelink-global.wvd.microsoft.com"),
    ]),
    ("government", "Microsoft.DesktopVirtualization/workspaces", "global", &[
        ("rdweb.wvd.azure.us", "rdweb.privatelink-global.wvd.azure.us"),
    ]),
    ("china", "Microsoft.DesktopVirtualization/workspaces", "global", &[
        ("rdweb.wvd.azure.cn", "rdweb.privatelink-global.wvd.azure.cn"),
    ]),
    ("commercial", "Microsoft.ContainerService/managedClusters", "management", &[
        ("c1.westeurope.azmk8s.io", "c1.privatelink.westeurope.azmk8s.io"),
        ("c1.subzone.westeurope.azmk8s.io", "c1.subzone.privatelink.westeurope.azmk8s.io"),
    ]),
    ("commercial", "Microsoft.App/ManagedEnvironments", "managedEnvironments", &[
        ("app.env1.westeurope.azurecontainerapps.io", "app.env1.privatelink.westeurope.azurecontainerapps.io"),
    ]),
    ("commercial", "Microsoft.ContainerRegistry/registries", "registry", &[
        ("r1.azurecr.io", "r1.privatelink.azurecr.io"),
        ("r1.westeurope.data.azurecr.io", "r1.westeurope.data.privatelink.azurecr.io"),
    ]),
    ("government", "Microsoft.ContainerRegistry/registries", "registry", &[
        ("r1.azurecr.us", "r1.privatelink.azurecr.us"),
        ("r1.usgovvirginia.azurecr.us", "r1.usgovvirginia.privatelink.azurecr.us"),
    ]),
    ("commercial", "Microsoft.Cache/RedisEnterprise (Azure Cache for Redis Enterprise)", "redisEnterprise", &[
        ("c1.westeurope.redisenterprise.cache.azure.net", "c1.westeurope.privatelink.redisenterprise.cache.azure.net"),
    ]),
    ("commercial", "Microsoft.Cache/RedisEnterprise (Azure Managed Redis)", "redisEnterprise", &[
        ("c1.westeurope.redis.azure.net", "c1.westeurope.privatelink.redis.azure.net"),
    ]),
    ("commercial", "Microsoft.EventGrid/namespaces", "topicSpace", &[
        ("n1.westeurope-1.ts.eventgrid.azure.net", "n1.westeurope-1.privatelink.ts.eventgrid.azure.net"),
    ]),
    ("commercial", "Microsoft.HealthcareApis/workspaces", "healthcareworkspace", &[
        ("w1.workspace.azurehealthcareapis.com", "w1.workspace.privatelink.azurehealthcareapis.com"),
        ("w1-f.fhir.azurehealthcareapis.com", "w1-f.fhir.privatelink.azurehealthcareapis.com"),
        ("w1-d.dicom.azurehealthcareapis.com", "w1-d.privatelink.dicom.azurehealthcareapis.com"),
    ]),
    ("commercial", "Microsoft.Automation/automationAccounts", "Webhook;DSCAndHybridWorker", &[
        ("id1.jrds.we.azure-automation.net", "id1.jrds.we.privatelink.azure-automation.net"),
    ]),
    ("commercial", "Microsoft.RecoveryServices/vaults", "AzureSiteRecovery", &[
        ("id1-asr-pod01-srs1.we.siterecovery.windowsazure.com", "id1-asr-pod01-srs1.we.privatelink.siterecovery.windowsazure.com"),
    ]),
    ("government", "Microsoft.RecoveryServices/vaults", "AzureSiteRecovery", &[
        ("id1-asr-pod01-srs1.ugv.siterecovery.windowsazure.us", "id1-asr-pod01-srs1.ugv.privatelink.siterecovery.windowsazure.us"),
    ]),
    ("commercial", "Microsoft.Insights/privateLinkScopes", "azuremonitor", &[
        ("api.monitor.azure.com", "api.privatelink.monitor.azure.com"),
        ("w1.oms.opinsights.azure.com", "w1.privatelink.oms.opinsights.azure.com"),
        ("w1.ods.opinsights.azure.com", "w1.privatelink.ods.opinsights.azure.com"),
        ("w1.agentsvc.azure-automation.net", "w1.privatelink.agentsvc.azure-automation.net"),
        ("scadvisorcontentpl.blob.core.windows.net", "scadvisorcontentpl.privatelink.blob.core.windows.net"),
    ]),
    ("commercial", "Microsoft.KeyVault/vaults", "vault", &[
        ("v1.vault.azure.net", "v1.privatelink.vaultcore.azure.net"),
        ("v1.vaultcore.azure.net", "v1.privatelink.vaultcore.azure.net"),
    ]),
    ("government", "Microsoft.KeyVault/vaults", "vault", &[
        ("v1.vault.usgovcloudapi.net", "v1.privatelink.vaultcore.usgovcloudapi.net"),
        ("v1.vaultcore.usgovcloudapi.net", "v1.privatelink.vaultcore.usgovcloudapi.net"),
    ]),
    ("commercial", "Microsoft.ElasticSan/elasticSans", "volumegroup", &[
        ("es-1.z1.blob.storage.azure.net", "es-1.z1.privatelink.blob.core.windows.net"),
    ]),
    ("commercial", "Microsoft.Web/sites", "sites", &[
        ("s1.azurewebsites.net", "s1.privatelink.azurewebsites.net"),
        ("s1.scm.azurewebsites.net", "s1.scm.privatelink.azurewebsites.net"),
    ]),
    ("government", "Microsoft.Web/sites", "sites", &[
        ("s1.azurewebsites.us", "s1.privatelink.azurewebsites.us"),
        ("s1.scm.azurewebsites.us", "s1.scm.privatelink.azurewebsites.us"),
    ]),
    ("government", "Microsoft.Synapse/workspaces", "SqlOnDemand", &[
        ("w1-ondemand.sql.azuresynapse.usgovcloudapi.net", "w1-ondemand.privatelink.sql.azuresynapse.usgovcloudapi.net"),
    ]),
    ("government", "Microsoft.Devices/IotHubs", "iotHub", &[
        ("h1.azure-devices.us", "h1.privatelink.azure-devices.us"),
        ("ns1.servicebus.usgovcloudapi.net", "ns1.privatelink.servicebus.windows.us"),
    ]),
    ("government", "Microsoft.Purview", "portal", &[
        ("p1.purviewstudio.azure.us", "p1.privatelink.purviewstudio.azure.us"),
    ]),
    ("china", "Microsoft.SignalRService/SignalR", "signalR", &[
        ("s1.service.signalr.azure.cn", "s1.privatelink.signalr.azure.cn"),
    ]),
];

/// What the table's variables stand for in these tests.
fn value(variable: &str) -> &'static str {
    match variable {
        "regionName" | "region" => "westeurope",
        "regionCode" => "we",
        "dnsPrefix" => "a1b2c3",
        "partitionId" => "2",
        other => panic!("a variable that this test does not know: {other}"),
    }
}

fn filled(zone: &str) -> String {
    let label = |label: &str| {
        let variable = label.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        variable.map_or(label.to_owned(), |name| value(name).to_owned())
    };
    zone.split('.').map(label).collect::<Vec<_>>().join(".")
}

/// Public names of the row, and where they must lead.
fn samples(row: &Row) -> Vec<(String, String)> {
    let key = (row.cloud, row.resource_type, row.subresource);
    if row.service.is_some() {
        return added_samples(row);
    }
    if let Some((.., names)) = EXCEPTIONS.iter().find(|(a, b, c, _)| (*a, *b, *c) == key) {
        return names.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect();
    }
    assert_eq!(row.public.len(), row.private.len(), "no rule and no exception: {key:?}");
    let pair = |(public, private): (&&str, &&str)| {
        assert_eq!(**private, format!("privatelink.{public}"), "no rule, no exception: {key:?}");
        (format!("sample.{}", filled(public)), format!("sample.{}", filled(private)))
    };
    row.public.iter().zip(&row.private).map(pair).collect()
}

/// Names of an addition. Those of a zone with partitions have the partition's label in front.
fn added_samples(row: &Row) -> Vec<(String, String)> {
    let front = match row.public[..] {
        ["eventhubs.azure.net" | "servicebus.azure.net"] => "sample.z12",
        [zone] if zone.ends_with(".storage.azure.net") => "sample.z07",
        ["horizondb.azure.com"] => "c.id.westeurope",
        ["durabletask.io"] => "sample.westeurope",
        _ => "sample",
    };
    let pair = |(public, private): (&&str, &&str)| {
        assert_eq!(**private, format!("privatelink.{public}"), "no rule");
        (format!("{front}.{public}"), format!("{front}.{private}"))
    };
    row.public.iter().zip(&row.private).map(pair).collect()
}

/// The catalogue's services of a row.
fn services(row: &Row) -> Vec<&'static Service> {
    let cloud = Cloud::parse(row.cloud).expect("a cloud");
    let types = row.resource_type.split(" (").next().expect("a type");
    let of_row = |service: &&Service| {
        service.cloud == cloud
            && row.service.is_none_or(|name| name == service.name)
            && types.split(';').all(|text| service.resource_types.contains(&text))
            && row.subresource.split(';').all(|id| service.group_ids.contains(&id))
    };
    catalog::services().iter().filter(of_row).collect()
}

/// A configuration that names `service` and lists `name`; `None` if no zone of it has that.
fn config_of(service: &Service, name: &str) -> Option<Config> {
    let places = catalog::places(name);
    let place = places.iter().find(|place| std::ptr::eq(place.service, service))?;
    let listed = if service.has_one_private_zone() { &place.relative } else { name };
    let variables = service.variables().into_iter().map(|name| {
        let bound = place.variables.iter().find(|(known, _)| *known == name);
        format!("{name} = '{}'", bound.map_or(value(name), |(_, value)| value.as_str()))
    });
    let variables = variables.collect::<Vec<_>>().join(", ");
    let variables =
        if variables.is_empty() { variables } else { format!("variables = {{ {variables} }}\n") };
    let wildcard = if service.other_tenants { "" } else { "addresses = ['10.1.0.4']\n" };
    let text = format!(
        "[listen]\ndns = ['127.0.0.1:5300']\n\
         [[private-link]]\nservice = '{}'\ncloud = '{}'\n{variables}\
         [[private-link.endpoint]]\nname = 'hub'\n{wildcard}\
         names = {{ '{listed}' = ['{ADDRESS}'] }}\n\
         [[forward]]\nzones = ['.']\nupstreams = ['127.0.0.1:1']\n",
        service.name, service.cloud
    );
    let report = config::read(&text);
    assert_eq!(report.diagnostics, [], "{text}");
    report.config
}

fn explain(snapshot: &Snapshot, name: &str) -> Explanation {
    let ask = Ask {
        name: name.parse().expect("a name"),
        rtype: wire::Rtype::A,
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        dnssec: false,
    };
    snapshot.explain(&ask, false).expect("an explanation")
}

/// Owner, type and data of each record of an answer, final dots left out.
fn answer(explanation: &Explanation) -> Vec<String> {
    let records = explanation.reply.iter().flat_map(|reply| &reply.answer);
    let bare = |text: &str| text.trim_end_matches('.').to_owned();
    records.map(|r| format!("{} {} {}", bare(&r.name), r.r#type, bare(&r.data))).collect()
}

/// Whether a configuration of `service` leads `public` to `private`, and forwards what it does not
/// list; `None` when the service has no zone for it.
fn leads(service: &Service, public: &str, private: &str) -> Option<bool> {
    let config = config_of(service, public)?;
    let snapshot = app::build(&config, &config.listen.dns, None).expect("a snapshot");
    let expected = [format!("{public} CNAME {private}"), format!("{private} A {ADDRESS}")];
    let both = answer(&explain(&snapshot, public)) == expected;
    let alone = answer(&explain(&snapshot, private)) == expected[1..];
    let others = explain(&snapshot, &format!("xx{public}")).verdict;
    let unlisted = others == Conclusion::Forwarded || !service.other_tenants;
    Some(both && alone && unlisted)
}

#[test]
fn every_row_leads_its_names_to_the_right_private_ones() {
    let rows = rows();
    assert!(rows.len() >= MIN_ROWS + MIN_ADDITIONS, "{} rows", rows.len());
    let mut wrong = Vec::new();
    for row in &rows {
        let services = services(row);
        for (public, private) in samples(row) {
            // Of several services of a row, those that have the deepest zone must all be right.
            let places = catalog::places(&public);
            let of_row = |place: &&catalog::Place| services.contains(&place.service);
            let zone = places.iter().find(of_row).map(|place| &place.public_zone);
            let deepest = places.iter().filter(|place| Some(&place.public_zone) == zone);
            let right: Vec<_> = deepest
                .filter(of_row)
                .filter_map(|place| leads(place.service, &public, &private))
                .collect();
            if right.is_empty() || right.contains(&false) {
                let names: Vec<_> = services.iter().map(|service| service.name).collect();
                wrong.push(format!("{public} to {private}: {names:?} {right:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn exceptions_are_rows_and_every_service_is_some_row() {
    let rows = rows();
    let keys: BTreeSet<_> =
        rows.iter().map(|row| (row.cloud, row.resource_type, row.subresource)).collect();
    for (cloud, resource_type, subresource, _) in EXCEPTIONS {
        assert!(keys.contains(&(*cloud, *resource_type, *subresource)), "{resource_type}");
    }
    let of_rows: BTreeMap<_, _> = rows
        .iter()
        .flat_map(services)
        .map(|service| ((service.name, service.cloud), service))
        .collect();
    assert_eq!(of_rows.len(), catalog::services().len());
}

/// What the additions say is written here once more, by hand: a slip in the table fails this test.
#[test]
fn additions_lead_where_microsoft_says() {
    let added = |service: &str, public: &str, private: &str| {
        let service = catalog::find(service, Cloud::Commercial).expect("a service");
        assert_eq!(leads(service, public, private), Some(true), "{public} to {private}");
    };
    let hubs = "contoso.z12.privatelink.eventhubs.azure.net";
    added("event-hubs", "contoso.z12.eventhubs.azure.net", hubs);
    let old = "contoso.privatelink.servicebus.windows.net";
    added("event-hubs", "contoso.servicebus.windows.net", old);
    let bus = "contoso.z3.privatelink.servicebus.azure.net";
    added("service-bus", "contoso.z3.servicebus.azure.net", bus);
    added("relay", "contoso.servicebus.windows.net", old);
    added("notification-hubs", "contoso.servicebus.windows.net", old);
    let push = "contoso.privatelink.notificationhub.windows.net";
    added("notification-hubs", "contoso.notificationhub.windows.net", push);
    for kind in ["blob", "dfs", "file", "queue", "table", "web"] {
        let private = format!("acct.z22.privatelink.{kind}.storage.azure.net");
        let service = format!("storage-{kind}-dns-zone");
        added(&service, &format!("acct.z22.{kind}.storage.azure.net"), &private);
    }
    added("horizondb", "c.id.ro.horizondb.azure.com", "c.id.ro.privatelink.horizondb.azure.com");
    let tasks = "s1.northcentralus.privatelink.durabletask.io";
    added("durable-task", "s1.northcentralus.durabletask.io", tasks);
    let frontend = "pfe1.abc123.privatelink.alb.azure.com";
    added("app-gateway-containers", "pfe1.abc123.alb.azure.com", frontend);
    let agents = "pa.privatelink.agents.core.windows.net";
    added("chaos-studio", "pa.agents.core.windows.net", agents);
    // Relay has no partitioned names, and neither has another cloud.
    let relay = catalog::find("relay", Cloud::Commercial).expect("a service");
    assert_eq!(leads(relay, "contoso.z3.servicebus.azure.net", bus), None);
    let china = catalog::find("event-hubs", Cloud::China).expect("a service");
    assert_eq!(leads(china, "contoso.z12.eventhubs.azure.net", hubs), None);
}

/// A name below the private zone alone is answered with its address, without a CNAME.
#[test]
fn a_private_frontend_is_asked_for_by_its_private_name() {
    let agc = catalog::find("app-gateway-containers", Cloud::Commercial).expect("a service");
    let name = "pfe1.abc123.privatelink.alb.azure.com";
    let config = config_of(agc, name).expect("a configuration");
    let snapshot = app::build(&config, &config.listen.dns, None).expect("a snapshot");
    assert_eq!(answer(&explain(&snapshot, name)), [format!("{name} A {ADDRESS}")]);
    for others in ["hgduczcae6bad4g5.fz82.alb.azure.com", "pfe2.abc123.privatelink.alb.azure.com"] {
        assert_eq!(explain(&snapshot, others).verdict, Conclusion::Forwarded, "{others}");
    }
}

/// Configurations from before the partitioned names: their relative names mean the old zone still.
#[test]
fn relative_names_of_a_service_that_got_a_zone_keep_their_meaning() {
    let text = "[listen]\ndns = ['127.0.0.1:5300']\n\
                [[private-link]]\nservice = 'event-hubs'\n\
                [[private-link.endpoint]]\nname = 'hub'\n\
                names = { 'old' = ['10.1.0.5'], 'new.z12.eventhubs.azure.net' = ['10.1.0.5'], \
                'both.servicebus.windows.net' = ['10.1.0.5'] }\n\
                [[forward]]\nzones = ['.']\nupstreams = ['127.0.0.1:1']\n";
    let report = config::read(text);
    assert_eq!(report.diagnostics, []);
    let config = report.config.expect("no errors");
    let snapshot = app::build(&config, &config.listen.dns, None).expect("a snapshot");
    let leads = |public: &str, private: &str| {
        let expected = [format!("{public} CNAME {private}"), format!("{private} A {ADDRESS}")];
        assert_eq!(answer(&explain(&snapshot, public)), expected);
        assert_eq!(answer(&explain(&snapshot, private)), expected[1..]);
    };
    leads("old.servicebus.windows.net", "old.privatelink.servicebus.windows.net");
    leads("both.servicebus.windows.net", "both.privatelink.servicebus.windows.net");
    leads("new.z12.eventhubs.azure.net", "new.z12.privatelink.eventhubs.azure.net");
    for others in ["old.eventhubs.azure.net", "new.servicebus.windows.net"] {
        assert_eq!(explain(&snapshot, others).verdict, Conclusion::Forwarded, "{others}");
    }
}

/// Azure leads names of one public zone to two private ones: an entry for each has its own names.
#[test]
fn two_entries_lead_one_public_zone_to_two_private_ones() {
    let san = "service = 'elastic-san'";
    let account = "service = 'storage-blob-dns-zone'";
    let spelled_out = "public-zone = 'blob.storage.azure.net'\n\
                       private-zone = 'privatelink.blob.storage.azure.net'\nunlisted = 'forward'";
    let entry = |zones: &str, name: &str| {
        format!(
            "[[private-link]]\n{zones}\n[[private-link.endpoint]]\nname = 'hub'\n\
             names = {{ '{name}' = ['{ADDRESS}'] }}\n"
        )
    };
    for account in [account, spelled_out] {
        let (san, account) = (entry(san, "es-abc.z22"), entry(account, "acct.z22"));
        for both in [format!("{san}{account}"), format!("{account}{san}")] {
            let text = format!(
                "[listen]\ndns = ['127.0.0.1:5300']\n{both}\
                 [[forward]]\nzones = ['.']\nupstreams = ['127.0.0.1:1']\n"
            );
            let report = config::read(&text);
            assert_eq!(report.diagnostics, [], "{text}");
            two_private_zones_answer(&report.config.expect("no errors"));
        }
    }
}

fn two_private_zones_answer(config: &Config) {
    let snapshot = app::build(config, &config.listen.dns, None).expect("a snapshot");
    for (name, private_zone) in [
        ("es-abc.z22", "privatelink.blob.core.windows.net"),
        ("acct.z22", "privatelink.blob.storage.azure.net"),
    ] {
        let public = format!("{name}.blob.storage.azure.net");
        let private = format!("{name}.{private_zone}");
        let expected = [format!("{public} CNAME {private}"), format!("{private} A {ADDRESS}")];
        assert_eq!(answer(&explain(&snapshot, &public)), expected);
        assert_eq!(answer(&explain(&snapshot, &private)), expected[1..]);
    }
    for others in [
        "md-0fz4cs3dgc1b.z37.blob.storage.azure.net",
        "es-abc.z22.privatelink.blob.storage.azure.net",
        "acct.z22.privatelink.blob.core.windows.net",
        "es-abc.z22.blob.core.windows.net",
        "blob.storage.azure.net",
    ] {
        assert_eq!(explain(&snapshot, others).verdict, Conclusion::Forwarded, "{others}");
    }
    let zones = snippets::zones(config);
    let names: BTreeSet<String> = zones.iter().map(|zone| zone.name.to_string()).collect();
    assert_eq!(names.len(), zones.len(), "each zone once: {zones:?}");
    assert_eq!(
        names.iter().map(String::as_str).collect::<Vec<_>>(),
        [
            "blob.storage.azure.net",
            "privatelink.blob.core.windows.net",
            "privatelink.blob.storage.azure.net"
        ]
    );
}

#[test]
fn names_outside_what_the_rows_say() {
    // Not in Azure's table: clients in China ask below vault.azure.cn.
    let vault = catalog::find("key-vault", Cloud::China).expect("a service");
    assert_eq!(leads(vault, "v1.vault.azure.cn", "v1.privatelink.vaultcore.azure.cn"), Some(true));
    let openai = catalog::find("openai", Cloud::Commercial).expect("a service");
    let (public, private) = ("o1.openai.azure.com", "o1.privatelink.openai.azure.com");
    assert_eq!(leads(openai, public, private), Some(true));
    assert_eq!(leads(openai, "o1.cognitiveservices.azure.com", "-"), None);
}
