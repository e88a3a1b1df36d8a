//! What goes into the fragment, at the bounds.

use std::fmt::Write as _;

use super::*;
use crate::azure::read;
use crate::config::{self, limits::MAX_ADDRESSES};

fn of(files: &[(&str, String)]) -> Fragment {
    let files: Vec<_> =
        files.iter().map(|(name, text)| ((*name).to_owned(), text.clone())).collect();
    fragment(&read(&files), &[], Extent::Whole).expect("no sites")
}

fn endpoint(name: &str, region: &str, group: &str, names: &[(&str, usize)]) -> String {
    let configs: Vec<_> = names
        .iter()
        .map(|(fqdn, count)| {
            let addresses: Vec<_> = (1..=*count).map(|last| format!("10.0.0.{last}")).collect();
            serde_json::json!({ "fqdn": fqdn, "ipAddresses": addresses })
        })
        .collect();
    let endpoint = serde_json::json!({
        "name": name, "location": region, "customDnsConfigs": configs,
        "privateLinkServiceConnections": [{ "groupIds": [group],
            "privateLinkServiceConnectionState": { "status": "Approved" } }],
    });
    endpoint.to_string()
}

#[test]
fn as_many_addresses_as_the_configuration_takes() {
    for (count, taken) in [(MAX_ADDRESSES, true), (MAX_ADDRESSES + 1, false)] {
        let text = endpoint("pe", "westeurope", "vault", &[("kv.vault.azure.net", count)]);
        let fragment = of(&[("f", text)]);
        assert_eq!(fragment.complaints.is_empty(), taken, "{:?}", fragment.complaints);
        assert_eq!(config::read(&fragment.text).config.is_some(), taken, "{}", fragment.text);
    }
}

#[test]
fn names_of_endpoints_are_cut_and_none_is_twice() {
    let mut text = String::new();
    let long = "n".repeat(64);
    for (number, name) in [
        &long,
        &(long.clone() + "a"),
        &(long.clone() + "b"),
        "",
        " \u{7} ",
        "pe",
        "pe-2",
        "pe",
        "pe",
    ]
    .iter()
    .enumerate()
    {
        let fqdn = format!("kv{number}.vault.azure.net");
        let region = format!("region{number}");
        let _infallible = writeln!(text, "{}", endpoint(name, &region, "vault", &[(&fqdn, 1)]));
    }
    let fragment = of(&[("f", text)]);
    let report = config::read(&fragment.text);
    let config =
        report.config.unwrap_or_else(|| panic!("{:?}\n{}", report.diagnostics, fragment.text));
    let mut names: Vec<_> =
        config.private_links[0].endpoints.iter().map(|endpoint| endpoint.name.clone()).collect();
    names.sort_unstable();
    let cut = |end: &str| format!("{}{end}", "n".repeat(64 - end.len()));
    let mut expected =
        [cut(""), cut("-2"), cut("-3"), "endpoint".into(), "-".into(), "pe".into(), "pe-2".into()]
            .to_vec();
    expected.extend(["pe-3".to_owned(), "pe-2-2".to_owned()]);
    expected.sort_unstable();
    assert_eq!(names, expected);
}

#[test]
fn entries_with_a_zone_in_common_treat_unlisted_names_alike() {
    let monitor = endpoint(
        "ampls",
        "westeurope",
        "azuremonitor",
        &[("api.monitor.azure.com", 1), ("a.blob.core.windows.net", 2)],
    );
    let blob = endpoint("pe", "westeurope", "blob", &[("b.blob.core.windows.net", 3)]);
    let text = of(&[("f", monitor), ("g", blob)]).text;
    assert_eq!(text.matches("unlisted = \"forward\"").count(), 2, "{text}");
    assert!(text.contains("service = \"monitor\"") && text.contains("service = \"storage-blob\""));
    assert!(text.contains("\"a.blob.core.windows.net\" = ") && text.contains("\"b\" = "), "{text}");
}

#[test]
fn a_name_in_two_services_zones_stands_in_one_entry() {
    let name = "a.blob.core.windows.net";
    let monitor = endpoint("ampls", "westeurope", "azuremonitor", &[(name, 1)]);
    let blob = endpoint("pe", "westeurope", "blob", &[(name, 1)]);
    let fragment = of(&[("f", monitor), ("g", blob)]);
    assert!(fragment.complaints.is_empty(), "{:?}", fragment.complaints);
    assert_eq!(fragment.text.matches("[[private-link]]").count(), 1, "{}", fragment.text);
    let report = config::read(&fragment.text);
    assert!(report.diagnostics.is_empty(), "{:?}\n{}", report.diagnostics, fragment.text);
}

#[test]
fn nothing_comes_of_nothing() {
    assert_eq!(of(&[]).text, "");
    assert_eq!(of(&[("f", endpoint("pe", "r", "g", &[("www.example.com", 1)]))]).text, "");
}

#[test]
fn zones_are_no_names_in_themselves() {
    for zone in ["blob.core.windows.net", "example.com"] {
        let (good, private) = (format!("a.{zone}"), format!("privatelink.{zone}"));
        let good_private = format!("a.{private}");
        for bad in [
            private.clone(),
            format!("privatelink.{private}"),
            format!("a.privatelink.{private}"),
            format!("a.{zone}.{private}"),
            format!("a.{private}.{private}"),
            format!("a.vault.azure.net.{private}"),
        ] {
            let names = [(good.as_str(), 1), (good_private.as_str(), 1), (bad.as_str(), 2)];
            let fragment = of(&[("f", endpoint("pe", "r", "g", &names))]);
            let report = config::read(&fragment.text);
            assert!(report.diagnostics.is_empty(), "{:?}\n{}", report.diagnostics, fragment.text);
            assert!(fragment.text.contains("\"a\" = "), "{}", fragment.text);
            let said = fragment.complaints.iter().filter(|c| c.text.starts_with(&bad)).count();
            assert_eq!(said, 1, "{bad}: {:?}", fragment.complaints);
        }
    }
}

#[test]
fn an_asterisk_inside_a_name_is_no_wildcard() {
    for bad in ["c.hcp.westeu*rope.azmk8s.io", "c.hcp.*.azmk8s.io", "a*.vault.azure.net", "*a.b.c"]
    {
        let fragment = of(&[("f", endpoint("pe", "r", "g", &[("kv.vault.azure.net", 1)]))]);
        let with_bad = endpoint("pe", "r", "g", &[("kv.vault.azure.net", 1), (bad, 1)]);
        let inventory = read(&[("f".to_owned(), with_bad)]);
        assert_eq!(super::fragment(&inventory, &[], Extent::Whole), Ok(fragment));
        let said = inventory.complaints.iter().filter(|c| c.text.contains(bad)).count();
        assert_eq!(said, 1, "{bad}: {:?}", inventory.complaints);
    }
}
