//! What the configuration answers.

use super::*;

/// Above `data.westeurope`, in the public zone.
const WESTEUROPE: &str = "westeurope.cloud.defender.microsoft.com";

#[test]
fn what_is_served_as_azure_has_it_is_the_same() {
    let report = drifted(&config(|_| {}), &inventory(vec![hub()]));
    assert_eq!(lines(&report), Vec::<String>::new());
    assert!(report.same);
    assert_eq!(report.compared.names, 2);
    assert_eq!(report.compared.clients, ["no site"]);
    assert!(report.not_compared.is_empty(), "{:?}", report.not_compared);
    // Private names say the same, and are no other names.
    let private = azure("hub-pe", &[(API_Q, &["10.1.0.5"]), (DATA_Q, &["10.1.0.6"])]);
    let report = drifted(&config(|_| {}), &inventory(vec![hub(), private]));
    assert!(report.same, "{:?}", lines(&report));
    assert_eq!(report.compared.names, 2);
}

#[test]
fn a_name_without_a_private_answer_is_missing() {
    let storage = azure("st-pe", &[("st1.blob.core.windows.net", &["10.1.0.9"])]);
    let report = drifted(&config(|_| {}), &inventory(vec![hub(), storage.clone()]));
    let names = "st1.blob.core.windows.net st1.privatelink.blob.core.windows.net";
    let missing = |how: &str| format!("missing {names} | every client | st-pe=[10.1.0.9] | {how}");
    assert_eq!(lines(&report), [missing("forwarded")]);
    let found = &report.findings[0];
    assert_eq!(found.configured.as_deref(), Some("no private-link zone"));
    assert_eq!(found.azure[0].source.to_string(), "pe.json: [0]");
    assert_eq!((report.counts.missing, report.same), (1, false));
    // A private name alone says which public one is meant.
    let private = azure("st-pe", &[("st1.privatelink.blob.core.windows.net", &["10.1.0.9"])]);
    let report = drifted(&config(|_| {}), &inventory(vec![hub(), private]));
    assert_eq!(lines(&report), [missing("forwarded")]);
    // Without a rule it is refused, which is no better.
    let report = drifted(&minimal(), &inventory(vec![hub(), storage]));
    assert_eq!(lines(&report), [missing("REFUSED")]);
}

/// Azure has the name, the configuration only one below it: a client does not get Azure's address,
/// whether the daemon answers NODATA or an upstream is asked.
#[test]
fn a_name_above_a_listed_one_is_missing() {
    let above = azure("hub-pe", &[(DATA, &["10.1.0.6"]), (WESTEUROPE, &["10.1.0.7"])]);
    for (unlisted, how, why) in [
        (Unlisted::Nxdomain, "NODATA", "the name is answered without an address"),
        (Unlisted::Forward, "forwarded", "the name is not answered here, but forwarded"),
    ] {
        let config = config(|config| {
            let hub = endpoint("hub", &[], &[], &[("data.westeurope", &["10.1.0.6"])]);
            config.private_links = vec![PrivateLink { unlisted, ..defender(vec![hub]) }];
        });
        let report = drifted(&config, &inventory(vec![above.clone()]));
        let expected = format!(
            "missing {WESTEUROPE} westeurope.privatelink.cloud.defender.microsoft.com | every \
             client | hub-pe=[10.1.0.7] | {how}"
        );
        assert_eq!(lines(&report), [expected]);
        assert_eq!(report.findings[0].why, why);
    }
}

#[test]
fn a_name_that_our_own_zone_denies_or_forwards_is_missing() {
    let more = azure(
        "hub-pe",
        &[(API, &["10.1.0.5"]), ("new.cloud.defender.microsoft.com", &["10.1.0.7"])],
    );
    let with = |unlisted| {
        let config = config(|config| {
            config.private_links = vec![PrivateLink {
                unlisted,
                ..defender(vec![endpoint("hub", &[], &[], &[("api", &["10.1.0.5"])])])
            }];
        });
        drifted(&config, &inventory(vec![more.clone()]))
    };
    let names = "new.cloud.defender.microsoft.com new.privatelink.cloud.defender.microsoft.com";
    for (unlisted, how) in [(Unlisted::Nxdomain, "NXDOMAIN"), (Unlisted::Forward, "forwarded")] {
        let expected = format!("missing {names} | every client | hub-pe=[10.1.0.7] | {how}");
        let report = with(unlisted);
        assert_eq!(lines(&report), [expected]);
        let place = report.findings[0].configured.as_deref();
        assert_eq!(place, Some("zone privatelink.cloud.defender.microsoft.com"));
    }
}

#[test]
fn an_address_of_another_name_is_different() {
    // The wildcard has it, which is the api's.
    let config = config(|config| {
        config.private_links =
            vec![defender(vec![endpoint("hub", &[], &["10.1.0.5"], &[("api", &["10.1.0.5"])])])];
    });
    let report = drifted(&config, &inventory(vec![hub()]));
    let names = format!("{DATA} {DATA_Q}");
    let expected = format!("different {names} | every client | hub-pe=[10.1.0.6] | [10.1.0.5]");
    assert_eq!(lines(&report), [expected]);
    let found = &report.findings[0];
    assert_eq!(found.configured.as_deref(), Some("wildcard of endpoint hub"));
    assert_eq!(found.why, format!("10.1.0.5 is of endpoint hub-pe for {API}"));
}

#[test]
fn a_part_of_an_endpoints_addresses_is_different_and_a_choice_of_endpoints_is_not() {
    let both = azure("hub-pe", &[(API, &["10.1.0.5", "fd00::5"]), (DATA, &["10.1.0.6"])]);
    let report = drifted(&config(|_| {}), &inventory(vec![both.clone()]));
    let part = "hub-pe=[10.1.0.5, fd00::5] | [10.1.0.5]";
    assert_eq!(lines(&report), [format!("different {API} {API_Q} | every client | {part}")]);
    // AAAA counts like A.
    let whole = config(|config| {
        config.private_links = vec![defender(vec![endpoint(
            "hub",
            &[],
            &[],
            &[("api", &["fd00::5", "10.1.0.5"]), ("data.westeurope", &["10.1.0.6"])],
        )])];
    });
    assert!(drifted(&whole, &inventory(vec![both])).same);
    let second = azure("neu-pe", &[(API, &["10.2.0.5"])]);
    assert!(drifted(&config(|_| {}), &inventory(vec![hub(), second])).same);
}

#[test]
fn each_class_of_clients_is_asked_for() {
    let config = config(|config| {
        config.sites = vec![
            site("frankfurt", "10.1.0.0/16"),
            site("oslo", "10.2.0.0/16"),
            // Nobody there may ask.
            site("lab", "192.0.2.0/24"),
        ];
        config.private_links = vec![defender(vec![
            endpoint("hub", &[], &[], &[("api", &["10.1.0.5"])]),
            endpoint("weu", &[0], &[], &[("api", &["10.3.0.5"])]),
            endpoint("neu", &[1], &[], &[("api", &["10.4.0.5"])]),
        ])];
    });
    let of = |name: &str, address: &str| azure(name, &[(API, &[address])]);
    let good = vec![of("hub-pe", "10.1.0.5"), of("neu-pe", "10.4.0.5"), of("weu-pe", "10.3.0.5")];
    let report = drifted(&config, &inventory(good));
    assert!(report.same, "{:?}", lines(&report));
    assert_eq!(report.compared.clients, ["no site", "site frankfurt", "site oslo"]);
    assert_eq!(report.not_compared, ["site lab: [access] allow lets none of its clients ask"]);
    // One was made anew.
    let anew = vec![of("hub-pe", "10.1.0.5"), of("neu-pe", "10.4.0.9"), of("weu-pe", "10.3.0.5")];
    let report = drifted(&config, &inventory(anew));
    let azure = "hub-pe=[10.1.0.5] neu-pe=[10.4.0.9] weu-pe=[10.3.0.5]";
    let expected = format!("stale {API} {API_Q} | site oslo | {azure} | [10.4.0.5]");
    assert_eq!(lines(&report), [expected]);
    assert_eq!(report.findings[0].configured.as_deref(), Some("endpoint neu"));
}

#[test]
fn an_endpoint_made_anew_leaves_a_stale_address() {
    let anew = azure("hub-pe", &[(API, &["10.1.0.15"]), (DATA, &["10.1.0.6"])]);
    let report = drifted(&config(|_| {}), &inventory(vec![anew]));
    let expected = [
        // The wildcard has it too.
        "stale *.cloud.defender.microsoft.com *.privatelink.cloud.defender.microsoft.com | \
         every client |  | [10.1.0.5]"
            .to_owned(),
        format!("stale {API} {API_Q} | every client | hub-pe=[10.1.0.15] | [10.1.0.5]"),
    ];
    assert_eq!(lines(&report), expected);
    assert_eq!(report.findings[1].why, "no approved endpoint of the files has 10.1.0.5");
    assert_eq!(report.counts.stale, 2);
}

#[test]
fn a_stale_second_choice_is_found_before_it_serves() {
    let config = config(|config| {
        config.private_links = vec![defender(vec![
            endpoint("hub", &[], &[], &[("api", &["10.1.0.5"])]),
            endpoint("spare", &[], &[], &[("api", &["10.9.0.5"])]),
        ])];
    });
    let report = drifted(&config, &inventory(vec![azure("hub-pe", &[(API, &["10.1.0.5"])])]));
    let expected = format!("stale {API} {API_Q} | nobody now | hub-pe=[10.1.0.5] | [10.9.0.5]");
    assert_eq!(lines(&report), [expected]);
    assert_eq!(report.findings[0].configured.as_deref(), Some("endpoint spare"));
}

#[test]
fn an_endpoint_that_is_not_approved_and_still_served_is_stale() {
    let rejected = left_out(azure("hub-pe", &[(API, &["10.1.0.5"])]));
    let data = azure("data-pe", &[(DATA, &["10.1.0.6"])]);
    let inventory = Inventory {
        endpoints: vec![data],
        left_out: vec![rejected.clone()],
        ..Inventory::default()
    };
    let report = drifted(&config(|_| {}), &inventory);
    assert_eq!(report.counts.stale, 2, "{:?}", lines(&report));
    let api = format!("stale {API} {API_Q} | every client |  | [10.1.0.5]");
    assert_eq!(lines(&report)[1], api);
    let why = "endpoint hub-pe: its connection is Rejected, not Approved";
    assert_eq!(report.findings[1].why, why);
    // The wildcard's.
    assert_eq!(report.findings[0].why, format!("10.1.0.5 is of {why}"));
    // Where nothing of it is served, nothing parts.
    let unserved = left_out(azure("other-pe", &[("st1.blob.core.windows.net", &["10.1.0.9"])]));
    let inventory =
        Inventory { endpoints: vec![hub()], left_out: vec![unserved], ..Inventory::default() };
    assert!(drifted(&config(|_| {}), &inventory).same);
}

#[test]
fn a_listed_name_that_azure_lacks_is_extra_where_the_files_know_the_zone() {
    let report =
        drifted(&config(|_| {}), &inventory(vec![azure("hub-pe", &[(API, &["10.1.0.5"])])]));
    let expected = format!("extra {DATA} {DATA_Q} | every client |  | [10.1.0.6]");
    assert_eq!(lines(&report), [expected]);
    let why = "no endpoint of the files has the name, and none has 10.1.0.6";
    assert_eq!(report.findings[0].why, why);
    assert_eq!(report.compared.names, 2);
}

#[test]
fn files_without_a_name_of_a_zone_prove_nothing_of_it() {
    let other = azure("st-pe", &[("st1.blob.core.windows.net", &["10.1.0.9"])]);
    let report = drifted(&config(|_| {}), &inventory(vec![other]));
    assert_eq!((report.counts.extra, report.counts.stale), (0, 0));
    let zones = "zone cloud.defender.microsoft.com -> privatelink.cloud.defender.microsoft.com";
    assert!(report.not_compared[0].starts_with(zones), "{:?}", report.not_compared);
    // Nor does an endpoint whose names nobody tells.
    let mute = LeftOut { is_unfit: false, ..left_out(azure("hub", &[])) };
    let inventory = Inventory {
        endpoints: vec![azure("hub-pe", &[(API, &["10.1.0.5"])])],
        left_out: vec![mute],
        ..Inventory::default()
    };
    let report = drifted(&config(|_| {}), &inventory);
    assert!(report.same, "{:?}", lines(&report));
    assert!(report.not_compared[0].starts_with(DATA_Q), "{:?}", report.not_compared);
}

#[test]
fn names_that_an_endpoint_without_names_may_have_are_not_called_extra() {
    let of_kind = |resource_type: Option<&str>, is_unfit| {
        let resource_type = resource_type.map(str::to_owned);
        let endpoint = Endpoint { resource_type, ..azure("spl-pe", &[]) };
        LeftOut { endpoint, why: "no file has its names".to_owned(), is_unfit }
    };
    let files = |name: &str, ip: &str, left_out| Inventory {
        endpoints: vec![azure("hub-pe", &[(name, &[ip])])],
        left_out: vec![left_out],
        ..Inventory::default()
    };
    let defender = Some("microsoft.security/PRIVATELINKS");
    for kind in [defender, None, Some("Microsoft.New/things")] {
        let report = drifted(&config(|_| {}), &files(API, "10.1.0.5", of_kind(kind, false)));
        assert!(report.same, "{kind:?}: {:?}", lines(&report));
        let expected = format!("{DATA_Q}: the files do not tell; endpoint spl-pe: no file has");
        assert!(report.not_compared[0].starts_with(&expected), "{:?}", report.not_compared);
        // Nor is a wildcard stale whose address may be that endpoint's.
        let report = drifted(&config(|_| {}), &files(DATA, "10.1.0.6", of_kind(kind, false)));
        assert!(report.same, "{kind:?}: {:?}", lines(&report));
    }
    // One of another service has no such names, and what carries no traffic must not be served.
    let unfit = of_kind(defender, true);
    for left_out in [of_kind(Some("Microsoft.KeyVault/vaults"), false), unfit] {
        let report = drifted(&config(|_| {}), &files(API, "10.1.0.5", left_out));
        assert_eq!(report.counts.extra, 1, "{:?}", report.not_compared);
    }
}

#[test]
fn a_name_that_the_files_disagree_about_is_not_called_extra() {
    for doubtful in [DATA, DATA_Q] {
        let files = Inventory {
            endpoints: vec![azure("hub-pe", &[(API, &["10.1.0.5"])])],
            doubtful: vec![doubtful.to_owned()],
            ..Inventory::default()
        };
        let report = drifted(&config(|_| {}), &files);
        assert!(report.same, "{:?}", lines(&report));
        assert!(report.not_compared[0].contains("different things"), "{:?}", report.not_compared);
    }
}

#[test]
fn a_wildcard_of_azures_zone_stands_for_listed_names() {
    let wildcard = "*.privatelink.cloud.defender.microsoft.com";
    let files = inventory(vec![azure("zone", &[(wildcard, &["10.1.0.5"])])]);
    let report = drifted(&config(|_| {}), &files);
    // api and our wildcard are right; data has an address that no record has.
    let expected = format!("stale {DATA} {DATA_Q} | every client | zone=[10.1.0.5] | [10.1.0.6]");
    assert_eq!(lines(&report), [expected]);
}

#[test]
fn zones_that_the_catalogue_lacks_come_from_the_files() {
    let own = azure("pls-pe", &[("app.service.example", &["10.1.0.20"])]);
    let pair = ZonePair {
        public_zone: "service.example".to_owned(),
        private_zone: "privatelink.service.example".to_owned(),
    };
    let files =
        Inventory { endpoints: vec![hub(), own], pairs: vec![pair], ..Inventory::default() };
    let report = drifted(&config(|_| {}), &files);
    let names = "app.service.example app.privatelink.service.example";
    let expected = format!("missing {names} | every client | pls-pe=[10.1.0.20] | forwarded");
    assert_eq!(lines(&report), [expected]);
}

#[test]
fn what_is_no_name_is_said_and_compared_with_nothing() {
    let broken = azure("odd-pe", &[("a..b", &["10.1.0.20"])]);
    let report = drifted(&config(|_| {}), &inventory(vec![hub(), broken]));
    assert!(report.same);
    assert_eq!(report.not_compared, ["pe.json: [0]: \"a..b\" is no domain name"]);
}

/// Azure leads one public zone to two private ones, and another public zone to one of these.
#[test]
fn names_of_a_shared_zone_are_those_of_the_entry_that_lists_them() {
    let link = |entry, public: &str, private: &str, name: &str, address: &str| PrivateLink {
        entry,
        unlisted: Unlisted::Forward,
        public_zone: public.parse().expect("a zone"),
        private_zone: private.parse().expect("a zone"),
        ..defender(vec![endpoint("pe", &[], &[], &[(name, &[address])])])
    };
    const ZONED: &str = "blob.storage.azure.net";
    const BLOB: &str = "privatelink.blob.core.windows.net";
    let config = config(|config| {
        config.private_links = vec![
            link(0, ZONED, BLOB, "es-abc.z22", "10.1.0.61"),
            link(1, ZONED, "privatelink.blob.storage.azure.net", "acct.z22", "10.1.0.60"),
            link(2, "blob.core.windows.net", BLOB, "st1", "10.1.0.62"),
        ];
    });
    let azure = || {
        [
            azure("san", &[("es-abc.z22.blob.storage.azure.net", &["10.1.0.61"])]),
            azure("st", &[("acct.z22.blob.storage.azure.net", &["10.1.0.60"])]),
            azure("st", &[("acct.z22.privatelink.blob.storage.azure.net", &["10.1.0.60"])]),
            azure("old", &[("st1.privatelink.blob.core.windows.net", &["10.1.0.62"])]),
        ]
    };
    let report = drifted(&config, &inventory(azure().to_vec()));
    assert_eq!(lines(&report), Vec::<String>::new());
    assert!(report.not_compared.is_empty(), "{:?}", report.not_compared);
    // What no entry lists is told apart by its resource.
    let new = |kind: &str, group: &str, name: &str| Endpoint {
        resource_type: Some(kind.to_owned()),
        group_ids: vec![group.to_owned()],
        ..self::azure("new", &[(name, &["10.1.0.70"])])
    };
    let missing = |endpoint: Endpoint| {
        let report = drifted(&config, &inventory([azure().to_vec(), vec![endpoint]].concat()));
        report.findings.iter().flat_map(|finding| finding.names.clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        missing(new("Microsoft.Storage/storageAccounts", "blob", "b.z1.blob.storage.azure.net")),
        ["b.z1.blob.storage.azure.net", "b.z1.privatelink.blob.storage.azure.net"]
    );
    assert_eq!(
        missing(new(
            "Microsoft.ElasticSan/elasticSans",
            "volumegroup",
            "e.z1.blob.storage.azure.net"
        )),
        ["e.z1.blob.storage.azure.net", "e.z1.privatelink.blob.core.windows.net"]
    );
}
