//! `[[private-link.endpoint]]`: addresses, names, sites, and what several endpoints say together.

use super::{Case, E, Said, W, check, rest};

/// A private link (lines 6 and 7) with these lines behind it, from line 8.
fn after_link(text: &str, said: Said) -> Case {
    rest(&format!("[[private-link]]\nservice = 'defender-for-containers'\n{text}"), said)
}

/// One endpoint named `hub` (lines 8 and 9) with `api` listed (10), and these lines, from 11.
fn hub(text: &str, said: Said) -> Case {
    let hub = "[[private-link.endpoint]]\nname = 'hub'\nnames.api = ['10.1.0.5']";
    after_link(&format!("{hub}\n{text}"), said)
}

#[test]
fn a_zone_has_endpoints_and_each_has_addresses_or_names() {
    const EMPTY: Said = &[(E, 8, "private-link.endpoint", "neither addresses nor names")];
    let one =
        |text: &str, said: Said| after_link(&format!("[[private-link.endpoint]]\n{text}"), said);
    check([
        after_link("", &[(E, 6, "private-link.endpoint", "missing; write at least one")]),
        after_link("endpoint = []", &[(E, 6, "private-link.endpoint", "missing; write at least")]),
        after_link(
            "endpoint = 5",
            &[(E, 8, "private-link.endpoint", "two brackets: [[private-link.endpoint]]")],
        ),
        one("name = 'hub'", EMPTY),
        one("name = 'hub'\nnames = {}", EMPTY),
        one(
            "addresses = ['10.1.0.5']\nnames.api = ['10.1.0.5']",
            &[(E, 8, "private-link.endpoint.name", "missing; write a name")],
        ),
        one(
            "name = 'hub'\naddresses = ['10.1.0.5']\nnames = ['api']",
            &[(E, 11, "private-link.endpoint.names", "write a table of names and addresses")],
        ),
        hub(
            "addresses = ['10.1.0.5']\n[[private-link.endpoint]]\nname = 'hub'\n\
             names.api = ['10.1.0.5']",
            &[(E, 13, "private-link.endpoint[2].name", "has this name (line 9); choose")],
        ),
    ]);
}

#[test]
fn addresses_are_private() {
    const ONE: &str = "private-link.endpoint.addresses";
    let address = |text: &str, said: Said| hub(&format!("addresses = ['{text}']"), said);
    check([
        address("8.8.8.8", &[(E, 11, ONE, "a public address cannot be a private endpoint")]),
        address("2606:4700::1111", &[(E, 11, ONE, "a public address")]),
        address("192.0.2.1", &[(E, 11, ONE, "ranges for documentation")]),
        address("2001:db8::1", &[(E, 11, ONE, "ranges for documentation")]),
        address("3fff::1", &[(E, 11, ONE, "ranges for documentation")]),
        address("0.0.0.0", &[(E, 11, ONE, "the unspecified address")]),
        address("::", &[(E, 11, ONE, "the unspecified address")]),
        address("239.1.1.1", &[(E, 11, ONE, "a multicast or broadcast address")]),
        address("ff02::1", &[(E, 11, ONE, "a multicast or broadcast address")]),
        address("255.255.255.255", &[(E, 11, ONE, "a multicast or broadcast address")]),
        address("169.254.1.1", &[(E, 11, ONE, "a link-local address")]),
        address("fe80::1", &[(E, 11, ONE, "a link-local address")]),
        address("fe80::1%eth0", &[(E, 11, ONE, "a link-local address")]),
        address("::ffff:10.1.0.5", &[(E, 11, ONE, "write \"10.1.0.5\"")]),
        address("10.1.0.5:443", &[(E, 11, ONE, "no port belongs here: \"10.1.0.5\"")]),
        address("10.1.0.5/32", &[(E, 11, ONE, "write an IP address")]),
        address("127.0.0.1", &[(W, 11, ONE, "a loopback address sends every client to itself")]),
        address("100.64.0.5", &[]),
        address("100.128.0.5", &[(E, 11, ONE, "a public address")]),
        address("fd00::5", &[]),
        hub("addresses = []", &[(E, 11, ONE, "the list is empty")]),
        hub(
            "addresses = ['10.1.0.5', 'fd00::5',\n 'FD00:0::5']",
            &[(E, 12, "private-link.endpoint.addresses[3]", "stands twice")],
        ),
        hub(
            "addresses = ['10.1.0.5']\nnames.data = ['9.9.9.9', 5]",
            &[
                (E, 12, "private-link.endpoint.names.data[1]", "a public address"),
                (E, 12, "private-link.endpoint.names.data[2]", "an integer cannot stand here"),
            ],
        ),
    ]);
    let many = |count: usize| {
        let all: Vec<_> = (1..=count).map(|host| format!("'10.1.0.{host}'")).collect();
        format!("addresses = [{}]", all.join(", "))
    };
    check([
        hub(&many(64), &[]),
        hub(&many(65), &[(E, 11, ONE, "65 entries; at most 64 are allowed")]),
    ]);
}

#[test]
fn names_are_relative_and_no_patterns() {
    let name = |name: &str, said: Said| {
        hub(&format!("addresses = ['10.1.0.5']\nnames.{name} = ['10.1.0.6']"), said)
    };
    check([
        name("data", &[]),
        name("\"data.westeurope\"", &[]),
        name("\"_x.data\"", &[]),
        name(
            "data.westeurope",
            &[(
                E,
                12,
                "private-link.endpoint.names.data",
                "write \"data.westeurope\" = [\"10.1.0.5\"]",
            )],
        ),
        name("\"*\"", &[(E, 12, "private-link.endpoint.names.\"*\"", "a wildcard is not a name")]),
        name(
            "\"*.data\"",
            &[(E, 12, "private-link.endpoint.names.\"*.data\"", "a wildcard is not a name")],
        ),
        name(
            "\"data.{regionName}\"",
            &[(E, 12, "private-link.endpoint.names.\"data.{regionName}\"", "placeholder")],
        ),
        name("\"data.\"", &[(E, 12, "private-link.endpoint.names.\"data.\"", "write \"data\"")]),
        name(
            "\"data.Cloud.defender.microsoft.com\"",
            &[(
                E,
                12,
                "private-link.endpoint.names.\"data.Cloud.defender.microsoft.com\"",
                "relative to the zone; write \"data\"",
            )],
        ),
        name(
            "\"data.privatelink.cloud.defender.microsoft.com\"",
            &[(
                E,
                12,
                "private-link.endpoint.names.\"data.privatelink.cloud.defender.microsoft.com\"",
                "relative to the zone; write \"data\"",
            )],
        ),
        name(
            "\"data.privatelink\"",
            &[(E, 12, "private-link.endpoint.names.\"data.privatelink\"", "write \"data\"")],
        ),
        name(
            "\"cloud.defender.microsoft.com\"",
            &[(
                E,
                12,
                "private-link.endpoint.names.\"cloud.defender.microsoft.com\"",
                "this is the zone itself",
            )],
        ),
        name("\"\"", &[(E, 12, "private-link.endpoint.names.\"\"", "an empty label")]),
        name("\".\"", &[(E, 12, "private-link.endpoint.names.\".\"", "write a name such as")]),
        name("\"a b\"", &[(E, 12, "private-link.endpoint.names.\"a b\"", "printable ASCII")]),
        name("API", &[(E, 12, "private-link.endpoint.names.API", "the same name stands on line")]),
    ]);
}

#[test]
fn a_name_fits_into_255_octets_with_its_zone() {
    // The private zone takes 42 octets with the root's: 213 are left for labels.
    let fits =
        format!("{}.{}.{}.{}", "a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(20));
    let long = format!("{fits}d");
    let entry = |name: &str| format!("addresses = ['10.1.0.5']\nnames.\"{name}\" = ['10.1.0.6']");
    check([hub(&entry(&fits), &[])]);
    let report = super::read(&hub(&entry(&long), &[]).text);
    let [error] = report.diagnostics.as_slice() else { panic!("{:?}", report.diagnostics) };
    assert!(error.is_error() && error.line == 12, "{error}");
    assert!(error.message.contains("longer than 255 octets"), "{error}");
}

#[test]
fn sites_are_known() {
    let sites = |sites: &str, said: Said| {
        hub(
            &format!(
                "addresses = ['10.1.0.5']\nsites = {sites}\n[[site]]\nname = 'frankfurt'\n\
                 networks = ['10.1.0.0/16']\n[[site]]\nname = 'oslo'\nnetworks = ['10.2.0.0/16']"
            ),
            said,
        )
    };
    const FIRST: &str = "private-link.endpoint.sites";
    check([
        sites("['frankfurt', 'oslo']", &[]),
        sites(
            "['frankfurt', 'Osl']",
            &[
                (E, 12, FIRST, "did you mean \"oslo\"?"),
                (W, 17, "site[2].name", "no endpoint names this site"),
            ],
        ),
        sites(
            "['oslo', 'oslo']",
            &[
                (E, 12, "private-link.endpoint.sites[2]", "stands twice"),
                (W, 14, "site[1].name", "no endpoint names this site"),
            ],
        ),
        hub("sites = ['x']\naddresses = ['10.0.0.5']", &[(E, 11, FIRST, "there is no [[site]]")]),
        hub("sites = []\naddresses = ['10.0.0.5']", &[(E, 11, FIRST, "the list is empty")]),
    ]);
}

/// Two sites (8 to 13) and these endpoints, from line 14.
fn two_sites(text: &str, said: Said) -> Case {
    let sites = "[[site]]\nname = 'x'\nnetworks = ['10.1.0.0/16']\n\
                 [[site]]\nname = 'y'\nnetworks = ['10.2.0.0/16']";
    rest(&format!("{sites}\n[[private-link]]\nservice = 'defender-for-containers'\n{text}"), said)
}

#[test]
fn one_client_gets_one_list_for_one_name() {
    let one = "[[private-link.endpoint]]\nname = 'one'\naddresses = ['10.1.0.1']\n";
    let two = "[[private-link.endpoint]]\nname = 'two'\naddresses = ['10.1.0.2']\n";
    let pair = |first: &str, second: &str, said: Said| {
        two_sites(&format!("{one}{first}\n{two}{second}"), said)
    };
    const KEY: &str = "private-link.endpoint[2].names.api";
    check([
        // Different sites distinguish them; the order of addresses does not.
        pair(
            "sites = ['x']\nnames.api = ['10.1.0.1']",
            "sites = ['y']\nnames.api = ['10.1.0.2']",
            &[],
        ),
        pair(
            "sites = ['x', 'y']\nnames.api = ['10.1.0.1', '10.1.0.2']",
            "names.api = ['10.1.0.2', '10.1.0.1']",
            &[],
        ),
        pair(
            "sites = ['x', 'y']\nnames.api = ['10.1.0.1', '10.1.0.2']",
            "sites = ['y']\nnames.api = ['10.1.0.2', '10.1.0.1']",
            &[(W, 21, "private-link.endpoint[2].addresses", "not used")],
        ),
        pair(
            "sites = ['x', 'y']\nnames.api = ['10.1.0.1']",
            "sites = ['y']\nnames.Api = ['10.1.0.2']",
            &[
                (W, 21, "private-link.endpoint[2].addresses", "not used"),
                (E, 23, "private-link.endpoint[2].names.Api", "address lists for site \"y\""),
            ],
        ),
        two_sites(
            &format!("{one}names.api = ['10.1.0.1']\n{two}names.api = ['10.1.0.2']"),
            &[
                (W, 7, "site[1].name", "no endpoint"),
                (W, 10, "site[2].name", "no endpoint"),
                (W, 20, "private-link.endpoint[2].addresses", "endpoint (line 16) before these"),
                (E, 21, KEY, "for everybody (the other: line 17)"),
            ],
        ),
    ]);
}

#[test]
fn a_listed_name_that_beats_another_sites_wildcard_is_told() {
    let pair = |second: &str, said: Said| {
        two_sites(
            &format!(
                "[[private-link.endpoint]]\nname = 'one'\nsites = ['x']\naddresses = ['10.1.0.1']\n\
                 names = {{ api = ['10.1.0.1'], data = ['10.1.0.2'] }}\n\
                 [[private-link.endpoint]]\nname = 'two'\nsites = ['y']\naddresses = ['10.2.0.1']\n\
                 {second}"
            ),
            said,
        )
    };
    const KEY: &str = "private-link.endpoint[2]";
    check([
        pair("names = { api = ['10.2.0.1'], data = ['10.2.0.2'] }", &[]),
        pair(
            "names = { api = ['10.2.0.1'] }",
            &[(W, 19, KEY, "clients of site \"y\" get \"data\" from another endpoint (line 18)")],
        ),
        pair("", &[(W, 19, KEY, "get \"api\" and one more name from another endpoint")]),
    ]);
}
