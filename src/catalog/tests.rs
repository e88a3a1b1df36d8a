use std::collections::{BTreeSet, HashSet};

use super::table::{
    ADDITIONS, ALIASES, NAMES, PAIRS, PREFIX, Row, ZONES, additions, lines, plain_pairs, rows,
};
use super::*;
use crate::wire::Name;

fn commercial(name: &str) -> &'static Service {
    find(name, Cloud::Commercial).unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn services_are_sorted_and_each_stands_once() {
    assert!(services().is_sorted_by(|a, b| (a.name, a.cloud) < (b.name, b.cloud)));
    assert!(services().len() > 150, "{}", services().len());
    for service in services() {
        assert_eq!(find(service.name, service.cloud), Some(service));
        assert!(!service.pairs.is_empty(), "{}", service.name);
        assert!(!service.resource_types.is_empty() && !service.group_ids.is_empty());
    }
}

#[test]
fn names_are_short_words() {
    for service in services() {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(service.name.chars().all(fits), "{}", service.name);
        assert!(service.name.len() <= 29, "{}", service.name);
    }
}

#[test]
fn every_line_of_every_table_is_read() {
    let lines_of_azure = ZONES.lines().count() - 1;
    assert_eq!(rows().count(), lines_of_azure);
    let named: HashSet<_> = lines(NAMES)
        .map(|line| {
            let cells: Vec<_> = line.split('\t').collect();
            let service = Cloud::ALL.into_iter().find_map(|cloud| find(cells[0], cloud));
            assert!(service.is_some(), "{line}");
            (cells[1], cells[2])
        })
        .collect();
    let rows: HashSet<_> = rows().map(|row| (row.resource_type, row.subresource)).collect();
    assert_eq!(named, rows, "rows without a name, or names without a row");
    for line in lines(PAIRS) {
        let cells: Vec<_> = line.split('\t').collect();
        let cloud = Cloud::parse(cells[1]).unwrap_or_else(|| panic!("{line}"));
        let service = find(cells[0], cloud).unwrap_or_else(|| panic!("{line}"));
        let known = match cells[2..] {
            [public, private] => service.pairs.contains(&Pair { public, private }),
            [public, private, source] => {
                let evidence = Evidence { public, basis: Basis::Inferred, source };
                service.pairs.contains(&Pair { public, private })
                    && service.evidence.contains(&evidence)
            }
            [public] => service.also_public.contains(&public),
            _ => false,
        };
        assert!(known, "{line}");
    }
}

#[test]
fn every_addition_is_new_and_says_how_it_is_known() {
    assert_eq!(additions().count(), lines(ADDITIONS).count());
    for row in additions() {
        let of = row.added.expect("an addition").service;
        let service = find(of, row.cloud).unwrap_or_else(|| panic!("{of}"));
        let (public, private) = (row.public, row.private);
        let has = match private {
            "" => service.also_public.contains(&public),
            private => service.pairs.contains(&Pair { public, private }),
        };
        assert!(has, "{of} {public}");
        assert!(service.resource_types.contains(&row.resource_type), "{of}");
        let evidence: Vec<_> = service.evidence.iter().filter(|e| e.public == public).collect();
        assert_eq!(evidence.len(), 1, "{of} {public}");
        assert!(evidence[0].source.len() > 20, "{of} {public}");
        let in_table = |other: &Row| {
            other.cloud == row.cloud
                && other.resource_type == row.resource_type
                && other.public.split(';').any(|zone| zone == public)
                && other.private.split(';').any(|zone| private.is_empty() || zone == private)
        };
        assert!(!rows().any(|other| in_table(&other)), "the table has {public} now: drop the row");
    }
    let zones = services()
        .iter()
        .flat_map(|s| s.pairs.iter().map(|p| p.public).chain(s.also_public.iter().copied()));
    let zones: HashSet<_> = zones.collect();
    assert!(services().iter().flat_map(|s| s.evidence).all(|e| zones.contains(e.public)));
}

#[test]
fn relative_names_keep_their_zone_where_azure_adds_another() {
    let relative_to = |name: &str| commercial(name).relative_to;
    assert_eq!(relative_to("event-hubs"), Some("privatelink.servicebus.windows.net"));
    assert_eq!(relative_to("service-bus"), Some("privatelink.servicebus.windows.net"));
    assert_eq!(relative_to("key-vault"), Some("privatelink.vaultcore.azure.net"));
    assert_eq!(relative_to("horizondb"), Some("privatelink.horizondb.azure.com"));
    for whole in ["monitor", "notification-hubs", "health-data-services", "iot-hub"] {
        assert_eq!(relative_to(whole), None, "{whole}");
    }
    for service in services() {
        let first = service.pairs[0].private;
        assert!(service.relative_to.is_none_or(|zone| zone == first), "{}", service.name);
        assert!(!service.has_one_private_zone() || service.relative_to == Some(first));
    }
}

#[test]
fn every_alias_is_a_services_and_no_name() {
    let all: BTreeSet<_> = services().iter().map(|service| service.name).collect();
    for line in lines(ALIASES) {
        let (name, words) = line.split_once('\t').unwrap_or_else(|| panic!("{line}"));
        let of = services().iter().filter(|service| service.name == name);
        let words: Vec<_> = words.split(',').collect();
        assert!(of.clone().count() > 0 && of.clone().all(|s| s.aliases == words), "{line}");
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        for word in words {
            assert!(!word.is_empty() && word.chars().all(fits) && !all.contains(word), "{line}");
        }
    }
    assert_eq!(commercial("container-registry").aliases, ["acr"]);
}

/// Whether `zone` is one of `zones` or lies in one, where a variable is as good as a label.
fn is_covered<'a>(zone: &str, mut zones: impl Iterator<Item = &'a str>) -> bool {
    zones.any(|above| zone == above || zone.ends_with(&format!(".{above}")))
}

#[test]
fn the_zones_of_every_row_are_covered_by_its_services() {
    for row in rows() {
        let of_row: Vec<_> = services()
            .iter()
            .filter(|service| {
                let types = row.resource_type.split(" (").next().unwrap_or("").split(';');
                service.cloud == row.cloud
                    && types.into_iter().any(|text| service.resource_types.contains(&text))
                    && row.subresource.split(';').any(|id| service.group_ids.contains(&id))
            })
            .collect();
        let pairs = || of_row.iter().flat_map(|service| service.pairs);
        for private in row.private.split(';') {
            assert!(is_covered(private, pairs().map(|pair| pair.private)), "{private}");
        }
        for public in row.public.split(';') {
            let also = of_row.iter().flat_map(|service| service.also_public).copied();
            // Where the table names a zone above the pair to forward, the pair lies below it.
            let below = pairs().any(|pair| pair.public.ends_with(&format!(".{public}")));
            let known = pairs().map(|pair| pair.public).chain(also);
            assert!(below || is_covered(public, known), "{public}");
        }
        for pair in plain_pairs(&row) {
            assert!(pairs().any(|known| *known == pair), "{pair:?}");
        }
    }
}

#[test]
fn zones_are_names_and_no_zone_is_both_public_and_private() {
    let example = |pair: &Pair, role| pair.filled(role, |name| Some(example_value(name)));
    let zone = |text: Option<String>| text.and_then(|t| t.parse::<Name>().ok()).expect("a zone");
    let pairs = || services().iter().flat_map(|service| service.pairs);
    let public: HashSet<Name> = pairs().map(|pair| zone(example(pair, Role::Public))).collect();
    for pair in pairs() {
        assert!(!public.contains(&zone(example(pair, Role::Private))), "{pair:?}");
        let variables =
            |text: &'static str| text.split('.').filter_map(variable).collect::<BTreeSet<_>>();
        assert_eq!(variables(pair.public), variables(pair.private), "{pair:?}");
        let first = pair.private.split('.').next().expect("a label");
        assert!(first.starts_with(PREFIX.trim_end_matches('.')), "{pair:?}");
    }
}

#[test]
fn names_lead_to_their_services() {
    let shown = |name: &str| {
        let shown = |p: &Place| {
            let (name, cloud, relative) = (p.service.name, p.service.cloud, &p.relative);
            format!("{name} {cloud} {:?} {relative} {}", p.role, p.private_zone)
        };
        places(name).iter().map(shown).collect::<Vec<_>>()
    };
    assert_eq!(
        shown("C1.hcp.WestEurope.azmk8s.io."),
        ["aks commercial Public c1.hcp privatelink.westeurope.azmk8s.io"]
    );
    assert_eq!(
        shown("c1.sub.privatelink.westeurope.azmk8s.io"),
        ["aks commercial Private c1.sub privatelink.westeurope.azmk8s.io"]
    );
    assert_eq!(
        shown("v1.vault.azure.cn"),
        ["key-vault china Public v1 privatelink.vaultcore.azure.cn"]
    );
    // The private zone lies in the public one, and is the deeper of the two; other services' zones
    // above follow.
    assert_eq!(
        shown("w1.privatelink.sql.azuresynapse.net"),
        [
            "synapse-sql commercial Private w1 privatelink.sql.azuresynapse.net",
            "synapse-web commercial Public w1.privatelink.sql privatelink.azuresynapse.net",
        ]
    );
    // Not an instance with the prefix `privatelink`.
    assert_eq!(
        shown("db1.privatelink.database.windows.net"),
        ["sql commercial Private db1 privatelink.database.windows.net"]
    );
    assert_eq!(
        shown("mi1.a1b2.database.windows.net"),
        [
            "sql-managed-instance commercial Public mi1 privatelink.a1b2.database.windows.net",
            "sql commercial Public mi1.a1b2 privatelink.database.windows.net",
        ]
    );
    assert!(places("mi1.a1b2.database.windows.net")[0].variables == [("dnsPrefix", "a1b2".into())]);
    let blob: Vec<_> = places("a.blob.core.windows.net").iter().map(|p| p.service.name).collect();
    assert!(
        ["storage-blob", "monitor", "managed-disks", "backup"].iter().all(|s| blob.contains(s))
    );
    assert!(blob.is_sorted(), "{blob:?}");
    for nowhere in ["blob.core.windows.net", "xblob.core.windows.net", "example.com", "", ".", ".."]
    {
        assert_eq!(shown(nowhere), [""; 0], "{nowhere}");
    }
}

#[test]
fn zones_are_known_at_their_own_names() {
    let names =
        |zone: &str| zones_at(zone).iter().map(|p| (p.service.name, p.role)).collect::<Vec<_>>();
    assert_eq!(names("vault.azure.net"), [("key-vault", Role::Public)]);
    assert_eq!(
        names("privatelink.northeurope.kusto.windows.net"),
        [("data-explorer", Role::Private)]
    );
    assert_eq!(names("x.vault.azure.net"), []);
    assert_eq!(names("kusto.windows.net"), []);
    let below = public_zone_below("Kusto.windows.net.").map(|(service, _)| service.name);
    assert_eq!(below, Some("data-explorer"));
    assert!(public_zone_below("vault.azure.net").is_none());
    assert!(public_zone_below("ault.azure.net").is_none());
}

#[test]
fn defender_is_one_tenants_own_and_other_clouds_lack_it() {
    let defender = commercial("defender-for-containers");
    assert_eq!(defender.members, ["api", "data"]);
    assert!(!defender.other_tenants);
    assert_eq!(defender.resource_types, ["Microsoft.Security/privateLinks"]);
    let others = services().iter().filter(|service| !service.other_tenants);
    assert_eq!(others.count(), 1);
    for cloud in [Cloud::Government, Cloud::China] {
        let reason = not_offered("defender-for-containers", cloud).expect("a reason");
        assert!(reason.contains("Defender for Cloud has no private endpoints"), "{reason}");
    }
    assert!(not_offered("grafana", Cloud::China).expect("a reason").contains("21Vianet"));
    assert_eq!(not_offered("grafana", Cloud::Commercial), None);
    assert_eq!(not_offered("no-such-service", Cloud::China), None);
}

#[test]
fn services_of_several_rows_and_zones() {
    let vault = commercial("key-vault");
    assert_eq!(vault.pairs.len(), 2);
    assert!(vault.has_one_private_zone());
    let monitor = commercial("monitor");
    assert_eq!(monitor.pairs.len(), 5);
    assert!(!monitor.has_one_private_zone());
    assert_eq!(monitor.also_public, ["services.visualstudio.com", "applicationinsights.azure.com"]);
    assert_eq!(commercial("event-grid").group_ids, ["topic", "domain", "partnernamespace"]);
    assert_eq!(commercial("backup").variables(), ["regionCode"]);
    let zones = |name: &str, cloud| {
        let pairs = find(name, cloud).unwrap_or_else(|| panic!("no {name}")).pairs;
        pairs.iter().map(|pair| pair.public).collect::<Vec<_>>()
    };
    const OLD: &str = "servicebus.windows.net";
    assert_eq!(zones("relay", Cloud::Commercial), [OLD]);
    assert_eq!(zones("event-hubs", Cloud::Commercial), [OLD, "eventhubs.azure.net"]);
    assert_eq!(zones("service-bus", Cloud::Commercial), [OLD, "servicebus.azure.net"]);
    for cloud in [Cloud::Government, Cloud::China] {
        assert_eq!(zones("event-hubs", cloud), zones("relay", cloud));
        assert_eq!(zones("event-hubs", cloud), zones("service-bus", cloud));
    }
    assert_eq!(
        commercial("machine-learning").also_public,
        [
            "instances.azureml.ms",
            "aznbcontent.net",
            "inference.ml.azure.com",
            "instances.ml.azure.ms"
        ]
    );
}

#[test]
fn a_type_is_the_services_in_every_cloud_and_case() {
    let has = |name, cloud, kind| find(name, cloud).expect("a service").has_resource_type(kind);
    // The table names the provider alone.
    assert!(has("hdinsight", Cloud::China, "Microsoft.HDInsight/clusters"));
    assert!(has("hdinsight", Cloud::Commercial, "microsoft.hdinsight/CLUSTERS"));
    // The table has it in the commercial cloud's rows only.
    assert!(has("event-grid", Cloud::Government, "Microsoft.EventGrid/partnerNamespaces"));
    assert!(!has("event-grid", Cloud::Government, "Microsoft.EventGrid/others"));
    assert!(!has("hdinsight", Cloud::China, "Microsoft.HDInsightOther/clusters"));
    assert!(!has("sql", Cloud::Commercial, ""));
}
