//! What it proves that the files lack something.

use super::*;

/// Storage and key vault, as Azure has them: no name of Defender's zone.
fn others() -> Vec<Endpoint> {
    vec![
        azure("kv-pe", &[("kv1.vault.azure.net", &["10.1.0.8"])]),
        azure("st-pe", &[("st1.blob.core.windows.net", &["10.1.0.9"])]),
    ]
}

fn list(is_complete: bool) -> EndpointList {
    EndpointList { source: source(""), count: 2, of_interfaces: false, is_complete }
}

/// Files with such a list of these endpoints.
fn listed(endpoints: Vec<Endpoint>, is_complete: bool) -> Inventory {
    Inventory { endpoints, lists: vec![list(is_complete)], ..Inventory::default() }
}

/// A configuration that lists names and has no wildcard, and serves what `others()` has.
fn named() -> Config {
    config(|config| {
        let link = |public: &str, private: &str, name: &str, ip: &str| PrivateLink {
            service: None,
            public_zone: public.parse().expect("a name"),
            private_zone: private.parse().expect("a name"),
            unlisted: Unlisted::Forward,
            ..defender(vec![endpoint("own", &[], &[], &[(name, &[ip])])])
        };
        config.private_links = vec![
            defender(vec![endpoint("hub", &[], &[], &[("api", &["10.1.0.5"])])]),
            link("vault.azure.net", "privatelink.vaultcore.azure.net", "kv1", "10.1.0.8"),
            link("blob.core.windows.net", "privatelink.blob.core.windows.net", "st1", "10.1.0.9"),
        ];
    })
}

#[test]
fn a_zone_without_an_endpoint_in_a_complete_list_is_stale() {
    let report = drifted(&named(), &listed(others(), true));
    assert_eq!(lines(&report), [format!("stale {API} {API_Q} | every client |  | [10.1.0.5]")]);
    let why = "pe.json is a list of 2 private endpoints, none of which has a name in this zone; \
               no approved endpoint has 10.1.0.5";
    assert_eq!(report.findings[0].why, why);
    assert_eq!(report.findings[0].configured.as_deref(), Some("endpoint hub"));
    assert!(report.relies_on_lists && report.not_compared.is_empty(), "{report:?}");
    assert_eq!(report.compared.names, 3);
    // Another endpoint may have its address now.
    let mut endpoints = others();
    endpoints.push(azure("new-pe", &[("kv2.vault.azure.net", &["10.1.0.5"])]));
    let report = drifted(&named(), &listed(endpoints, true));
    assert_eq!((report.counts.stale, report.counts.missing), (1, 1), "{:?}", lines(&report));
    let found = report.findings.iter().find(|found| found.kind == Kind::Stale).expect("one");
    assert!(
        found.why.ends_with("zone; 10.1.0.5 is of endpoint new-pe for kv2.vault.azure.net"),
        "{}",
        found.why
    );
}

#[test]
fn files_without_a_complete_list_prove_nothing_of_other_zones() {
    let single = inventory(others());
    for (files, coverage, why) in [
        (single, Coverage::Whole, "no file is a list of private endpoints"),
        (listed(others(), false), Coverage::Whole, "pe.json is one page of a longer list"),
        (listed(others(), true), Coverage::Part, "the files are said to hold only a part"),
    ] {
        let report = drifted_with(&named(), &files, coverage);
        assert!(report.same && !report.relies_on_lists, "{why}: {:?}", lines(&report));
        let [note] = &report.not_compared[..] else { panic!("{:?}", report.not_compared) };
        assert!(note.starts_with("zone cloud.defender") && note.ends_with(why), "{note}");
    }
}

#[test]
fn a_wildcard_whose_endpoint_is_gone_is_stale() {
    let config = config(|config| {
        config.private_links = vec![defender(vec![endpoint("hub", &[], &["10.1.0.5"], &[])])];
    });
    let report = drifted(&config, &listed(others(), true));
    let names = "*.cloud.defender.microsoft.com *.privatelink.cloud.defender.microsoft.com";
    let stale = format!("stale {names} | every client |  | [10.1.0.5]");
    assert!(lines(&report).contains(&stale), "{:?}", lines(&report));
    assert_eq!(report.counts.stale, 1);
    // Its address is an endpoint's: the list has no name, but the wildcard leads somewhere.
    let owned = vec![azure("odd-pe", &[("kv1.vault.azure.net", &["10.1.0.5"])])];
    let report = drifted(&config, &listed(owned, true));
    assert_eq!(report.counts.stale, 0, "{:?}", lines(&report));
}

#[test]
fn zones_that_people_made_up_are_in_no_list_of_azures() {
    let config = config(|config| {
        config.private_links = vec![PrivateLink {
            service: None,
            public_zone: "corp.example".parse().expect("a name"),
            private_zone: "privatelink.corp.example".parse().expect("a name"),
            ..defender(vec![endpoint("own", &[], &["10.1.0.5"], &[("app", &["10.1.0.5"])])])
        }];
    });
    let report = drifted(&config, &listed(others(), true));
    assert_eq!(report.counts.stale, 0, "{:?}", lines(&report));
    assert!(report.not_compared[0].contains("no zone of Azure's"), "{:?}", report.not_compared);
}

/// An endpoint without names, and whether it carries no traffic.
fn mute(name: &str, resource_type: &str, is_unfit: bool) -> LeftOut {
    let resource_type = Some(resource_type.to_owned());
    LeftOut { is_unfit, ..left_out(Endpoint { resource_type, ..azure(name, &[]) }) }
}

#[test]
fn an_endpoint_whose_names_no_file_tells_may_have_the_name() {
    let files = |left_out| Inventory { left_out: vec![left_out], ..listed(others(), true) };
    let defender = "Microsoft.Security/privateLinks";
    let report = drifted(&named(), &files(mute("spl-pe", defender, false)));
    assert!(report.same, "{:?}", lines(&report));
    assert!(report.not_compared[0].starts_with(API_Q), "{:?}", report.not_compared);
    // Those of other services, of services that people publish themselves, and those that carry no
    // traffic have no such names.
    for left_out in [
        mute("kv-pe2", "Microsoft.KeyVault/vaults", false),
        mute("pls-pe", "microsoft.network/privateLinkServices", false),
        mute("agw-pe", "Microsoft.Network/applicationGateways", false),
        mute("spl-pe", defender, true),
    ] {
        let report = drifted(&named(), &files(left_out.clone()));
        assert_eq!(report.counts.stale, 1, "{left_out:?}: {:?}", report.not_compared);
    }
}

#[test]
fn an_endpoint_of_the_same_name_that_carries_no_traffic_is_why_a_name_is_stale() {
    let rejected = || vec![mute("hub", "Microsoft.Security/privateLinks", true)];
    // In a zone of which the files have no name, and in one of which they have another.
    let data = azure("data-pe", &[(DATA, &["10.1.0.6"])]);
    for endpoints in [others(), [others(), vec![data]].concat()] {
        let files = Inventory { left_out: rejected(), ..listed(endpoints, true) };
        let report = drifted(&named(), &files);
        let stale = report.findings.iter().find(|found| found.kind == Kind::Stale).expect("one");
        assert_eq!(stale.names, [API, API_Q]);
        let why = "endpoint hub: its connection is Rejected, not Approved; no approved endpoint \
                   has 10.1.0.5";
        assert_eq!(stale.why, why);
    }
}

#[test]
fn what_a_part_of_azure_lacks_is_not_called_extra_or_stale() {
    let part =
        |config: &Config, endpoints| drifted_with(config, &listed(endpoints, true), Coverage::Part);
    // The wildcard and one listed name are elsewhere.
    let report = part(&config(|_| {}), vec![azure("hub-pe", &[(API, &["10.1.0.5"])])]);
    assert!(report.same, "{:?}", lines(&report));
    assert_eq!(report.compared.names, 1);
    let expected = "zone cloud.defender.microsoft.com -> privatelink.cloud.defender.microsoft.com: \
                    1 listed name that the files lack, as they are said to hold only a part";
    assert_eq!(report.not_compared, [expected]);
    // What the files do have counts: another address, and an endpoint that carries no traffic.
    let report = part(&config(|_| {}), vec![azure("hub-pe", &[(API, &["10.1.0.15"])])]);
    assert_eq!(
        lines(&report),
        [format!("stale {API} {API_Q} | every client | hub-pe=[10.1.0.15] | [10.1.0.5]")]
    );
    // A second endpoint for the same name may be in the other part.
    let both = config(|config| {
        config.sites = vec![site("oslo", "10.2.0.0/16")];
        config.private_links = vec![defender(vec![
            endpoint("hub", &[], &[], &[("api", &["10.1.0.5"])]),
            endpoint("neu", &[0], &[], &[("api", &["10.2.0.5"])]),
        ])];
    });
    let hub = || vec![azure("hub-pe", &[(API, &["10.1.0.5"])])];
    assert!(part(&both, hub()).same, "{:?}", lines(&part(&both, hub())));
    assert_eq!(drifted(&both, &listed(hub(), true)).counts.stale, 1);
}
