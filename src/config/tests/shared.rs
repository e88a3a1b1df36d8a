//! Zones that entries of `[[private-link]]` share, and zones inside others.

use super::services::{entry, links};
use super::{E, Said, W, check, read, rest};

#[test]
fn entries_share_zones_as_long_as_they_agree() {
    const UNLISTED: &str = "private-link[2].unlisted";
    let two = |first: [&str; 2], second: [&str; 2], said: Said| {
        rest(&(entry(first[0], first[1]) + &entry(second[0], second[1])), said)
    };
    let hubs = ["service = 'event-hubs'", "names.one = ['10.1.0.5']"];
    let wild = "addresses = ['10.1.0.4']";
    check([
        two(hubs, ["service = 'service-bus'", "names.two = ['10.1.0.6']"], &[]),
        two(hubs, ["service = 'event-hubs'", "names.two = ['10.1.0.6']"], &[]),
        // Only the private zone is shared.
        two(
            ["service = 'elastic-san'", "names.one = ['10.1.0.5']"],
            ["service = 'storage-blob'", "names.two = ['10.1.0.6']"],
            &[],
        ),
        // Only the public one.
        two(
            ["service = 'virtual-desktop-global'", "names.rdweb = ['10.1.0.5']"],
            ["service = 'virtual-desktop'", "names.feed = ['10.1.0.6']"],
            &[],
        ),
        two(
            hubs,
            ["service = 'relay'", "names.ONE = ['10.1.0.5']"],
            &[(
                E,
                15,
                "private-link[2].endpoint.names.ONE",
                "lists the name too (line 10); put both endpoints into one entry",
            )],
        ),
        // A whole name and a relative one, in a zone of different pairs.
        two(
            ["service = 'elastic-san'", "names.one = ['10.1.0.5']"],
            ["service = 'monitor'", "names.'one.blob.core.windows.net' = ['10.1.0.6']"],
            &[(
                E,
                15,
                "private-link[2].endpoint.names.\"one.blob.core.windows.net\"",
                "lists the name too (line 10)",
            )],
        ),
        two(
            hubs,
            ["service = 'relay'\nunlisted = 'nxdomain'", "names.two = ['10.1.0.5']"],
            &[
                (
                    E,
                    13,
                    UNLISTED,
                    "\"nxdomain\" here, but \"forward\" in another entry with the zone \
                     servicebus.windows.net (line 6)",
                ),
                (W, 13, UNLISTED, "other tenants have names in servicebus.windows.net (relay)"),
            ],
        ),
        two(
            ["service = 'relay'\nunlisted = 'wildcard'", wild],
            ["service = 'event-hubs'\nunlisted = 'wildcard'", wild],
            &[
                (W, 8, "private-link[1].unlisted", "other tenants"),
                (E, 14, UNLISTED, "has a wildcard too"),
                (W, 14, UNLISTED, "other tenants"),
            ],
        ),
        two(
            hubs,
            [
                "public-zone = 'servicebus.windows.net'\nunlisted = 'forward'\n\
                 private-zone = 'privatelink.servicebus.windows.net'",
                "names.two = ['10.1.0.6']",
            ],
            &[],
        ),
        two(
            ["service = 'elastic-san'", "names.one = ['10.1.0.5']"],
            [
                "public-zone = 'blob.core.windows.net'\nunlisted = 'forward'\n\
                 private-zone = 'privatelink.blob.core.windows.net'",
                "names.two = ['10.1.0.6']",
            ],
            &[],
        ),
        // A pair that may be a slip shares nothing.
        two(
            ["service = 'elastic-san'", "names.one = ['10.1.0.5']"],
            [
                "public-zone = 'a.example'\nunlisted = 'forward'\n\
                 private-zone = 'privatelink.blob.core.windows.net'",
                "names.two = ['10.1.0.6']",
            ],
            &[
                (W, 14, "private-link[2].private-zone", "neither"),
                (E, 14, "private-link[2].private-zone", "twice in the file (first on line 7)"),
            ],
        ),
    ]);
    let (shown, all) = links(&[
        entry("service = 'event-hubs'", "names.one = ['10.1.0.5']"),
        entry("service = 'relay'", "names.two = ['10.1.0.6']"),
    ]);
    let zones = "servicebus.windows.net privatelink.servicebus.windows.net";
    assert_eq!(shown, [format!("{zones} hub/one"), format!("{zones} hub/two")]);
    assert_eq!([all[0].entry, all[1].entry], [0, 1]);
}

#[test]
fn zones_inside_others_are_told_of_where_they_take_a_name() {
    let instance = entry(
        "service = 'sql-managed-instance'\nvariables = { dnsPrefix = 'a1' }",
        "names.mi = ['10.1.0.5']",
    );
    let case = |name: &str, said: Said| {
        rest(&(entry("service = 'sql'", &format!("names.{name} = ['10.1.0.6']")) + &instance), said)
    };
    check([
        case("server", &[]),
        case(
            "'x.a1'",
            &[(
                W,
                10,
                "private-link[1].endpoint.names.\"x.a1\"",
                "never answered from here: the zone a1.database.windows.net of another entry",
            )],
        ),
    ]);
    // Without such an entry the name would lead where Azure does not lead it.
    check([
        rest(
            &entry("service = 'sql'", "names.'mi.a1' = ['10.1.0.6']"),
            &[(
                W,
                10,
                "private-link.endpoint.names.\"mi.a1\"",
                "in the zone a1.database.windows.net, which leads to privatelink.a1.database",
            )],
        ),
        rest(
            &entry(
                "service = 'monitor'",
                "names.'a.we.prometheus.monitor.azure.com' = ['10.1.0.6']",
            ),
            &[(
                W,
                10,
                "private-link.endpoint.names.\"a.we.prometheus.monitor.azure.com\"",
                "an entry with service = \"prometheus\"",
            )],
        ),
        rest(&entry("service = 'app-service'", "names.'site.scm' = ['10.1.0.6']"), &[]),
    ]);
    // An entry's own zones inside each other are no others'.
    check([rest(
        &entry(
            "service = 'monitor'\ncloud = 'government'",
            "[private-link.endpoint.names]\n'x.adx.monitor.azure.us' = ['10.1.0.5']\n\
             'x.monitor.azure.us' = ['10.1.0.6']",
        ),
        &[],
    )]);
}

const SAN: &str = "names.'es-abc.z22' = ['10.1.0.61']";
const ACCOUNT: &str = "names.'acct.z22' = ['10.1.0.60']";
const SPELLED_OUT: &str = "public-zone = 'blob.storage.azure.net'\nunlisted = 'forward'\n\
                           private-zone = 'privatelink.blob.storage.azure.net'";

/// Azure leads names of blob.storage.azure.net to two private zones, by what they are.
#[test]
fn one_public_zone_leads_to_two_private_ones() {
    let san = |endpoint: &str| entry("service = 'elastic-san'", endpoint);
    for account in ["service = 'storage-blob-dns-zone'", SPELLED_OUT] {
        let both = [san(SAN), entry(account, ACCOUNT)];
        let report = read(&rest(&both.concat(), &[]).text);
        assert_eq!(report.diagnostics, [], "{account}");
        assert_eq!(
            links(&both).0,
            [
                "blob.storage.azure.net privatelink.blob.core.windows.net hub/es-abc.z22",
                "blob.storage.azure.net privatelink.blob.storage.azure.net hub/acct.z22",
            ]
        );
    }
    const TWICE: &str = "private-link[2].endpoint.names.\"es-abc.z22\"";
    check([
        rest(
            &(san(SAN) + &entry("service = 'storage-blob-dns-zone'", SAN)),
            &[(
                E,
                15,
                TWICE,
                "lists the name too (line 10); Azure leads a name to one private zone only, so \
                 keep it in one of the entries",
            )],
        ),
        rest(
            &(san(SAN)
                + &entry("service = 'storage-blob-dns-zone'\nunlisted = 'nxdomain'", ACCOUNT)),
            &[
                (E, 13, "private-link[2].unlisted", "\"forward\" in another entry"),
                (W, 13, "private-link[2].unlisted", "other tenants have names"),
            ],
        ),
        // A zone is public or private, and not both.
        rest(
            &(san(SAN)
                + &entry(
                    "public-zone = 'privatelink.blob.core.windows.net'\nunlisted = 'forward'\n\
                     private-zone = 'privatelink.privatelink.blob.core.windows.net'",
                    ACCOUNT,
                )),
            &[(E, 12, "private-link[2].public-zone", "twice in the file (first on line 7)")],
        ),
    ]);
}

/// What zones of the catalogue do not have yet is the usual private zone of a public one.
#[test]
fn the_usual_private_zone_stands_beside_the_one_that_is_known() {
    let vault = entry("service = 'key-vault'", "names.one = ['10.1.0.5']");
    let usual = entry(
        "public-zone = 'vault.azure.net'\nunlisted = 'forward'\n\
         private-zone = 'privatelink.vault.azure.net'",
        "names.two = ['10.1.0.6']",
    );
    check([rest(&(vault.clone() + &usual), &[]), rest(&(usual + &vault), &[])]);
}
