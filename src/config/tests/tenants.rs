//! `unlisted` that takes other tenants' names away.

use super::services::entry;
use super::{Said, W, check, read, rest, whole};
use crate::catalog::{self, Role, Service};

const KEY: &str = "private-link.unlisted";
const ADDRESSES: &str = "addresses = ['10.1.0.5']";

/// An entry of the service, with variables and a listed name of each kind that it takes.
fn of(service: &Service, unlisted: &str) -> String {
    let values = service.variables().into_iter();
    let values = values.map(|name| format!("{name} = '{}'", catalog::example_value(name)));
    let values = values.collect::<Vec<_>>().join(", ");
    let pair = &service.pairs[0];
    let zone = pair.filled(Role::Public, |name| Some(catalog::example_value(name)));
    let name = match service.relative_to {
        Some(_) => "contoso".to_owned(),
        None => format!("contoso.{}", zone.expect("all variables have an example")),
    };
    let endpoint = match unlisted {
        "wildcard" => ADDRESSES.to_owned(),
        _ => format!("names.'{name}' = ['10.1.0.5']"),
    };
    entry(
        &format!(
            "service = '{}'\ncloud = '{}'\nvariables = {{ {values} }}\nunlisted = '{unlisted}'",
            service.name, service.cloud
        ),
        &endpoint,
    )
}

#[test]
fn every_service_with_names_of_other_tenants_forwards_or_is_warned_of() {
    let with_others = |service: &&Service| service.other_tenants;
    assert!(catalog::services().iter().filter(with_others).count() > 150);
    for service in catalog::services().iter().filter(with_others) {
        for (unlisted, breaks) in [
            ("nxdomain", "NXDOMAIN for all of them"),
            ("wildcard", "the endpoint's address for all"),
        ] {
            let text = rest(&of(service, unlisted), &[]).text;
            let report = read(&text);
            let [warning] = report.diagnostics.as_slice() else {
                panic!("{text}\n{:#?}", report.diagnostics);
            };
            assert!(!warning.is_error(), "{text}\n{warning}");
            assert_eq!((warning.line, &*warning.key), (10, KEY), "{text}");
            assert_eq!(warning.found.as_deref(), Some(&*format!("'{unlisted}'")), "{text}");
            assert!(warning.message.contains(breaks), "{warning}");
            assert!(warning.message.contains("write unlisted = \"forward\""), "{warning}");
            assert!(warning.message.contains(service.name), "{warning}");
        }
        let text = rest(&of(service, "forward"), &[]).text;
        assert_eq!(read(&text).diagnostics, [], "{text}");
    }
}

#[test]
fn zones_of_one_tenant_and_unknown_zones_are_not() {
    let case = |text: &str, endpoint: &str, said: Said| rest(&entry(text, endpoint), said);
    const NAMES: &str = "names.api = ['10.1.0.5']\nnames.data = ['10.1.0.6']";
    const BOTH: &str = "addresses = ['10.1.0.5']\nnames.api = ['10.1.0.5']";
    const DEFENDER: &str = "public-zone = 'cloud.defender.microsoft.com'\n\
                            private-zone = 'privatelink.cloud.defender.microsoft.com'";
    check([
        case("service = 'defender-for-containers'", BOTH, &[]),
        case("service = 'defender-for-containers'\nunlisted = 'wildcard'", BOTH, &[]),
        case("service = 'defender-for-containers'\nunlisted = 'nxdomain'", NAMES, &[]),
        case(DEFENDER, BOTH, &[]),
        case(
            "public-zone = 'db.corp.example'\nprivate-zone = 'privatelink.db.corp.example'",
            ADDRESSES,
            &[],
        ),
    ]);
}

#[test]
fn pairs_that_are_spelled_out_are_known_too() {
    let blob = |unlisted: &str, endpoint: &str, said: Said| {
        let text = "public-zone = 'blob.core.windows.net'\nprivate-zone = \
                    'privatelink.blob.core.windows.net'";
        rest(&entry(&format!("{text}{unlisted}"), endpoint), said)
    };
    const NAMES: &str = "names.acct = ['10.1.0.5']";
    check([
        blob("\nunlisted = 'forward'", NAMES, &[]),
        blob(
            "\nunlisted = 'nxdomain'",
            NAMES,
            &[(W, 9, KEY, "other tenants have names in blob.core.windows.net")],
        ),
        blob("\nunlisted = 'wildcard'", ADDRESSES, &[(W, 9, KEY, "write unlisted = \"forward\"")]),
        // The default of zones that are spelled out.
        blob("", ADDRESSES, &[(W, 6, KEY, "\"wildcard\" when it is left out: other tenants")]),
        // The first pair is named, with how many there are.
        rest(
            &entry(
                "service = 'monitor'\nunlisted = 'nxdomain'",
                "names.'a.monitor.azure.com' = ['10.1.0.5']",
            ),
            &[(W, 8, KEY, "in monitor.azure.com and 4 more zones of monitor")],
        ),
        // Where nothing is forwarded, no client can reach these names anyway.
        whole(
            &format!(
                "{}[listen]\ndns = ['[::1]:53']",
                entry("service = 'sql'\nunlisted = 'nxdomain'", "names.s = ['10.1.0.5']")
            ),
            &[],
        ),
    ]);
}
