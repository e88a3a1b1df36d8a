//! `[[private-link]]`: services, the two zones, and the mistakes that Microsoft's drafts spread.

use super::{Case, E, Said, W, check, rest, whole};

const ENDPOINT: &str = "[[private-link.endpoint]]\nname = 'hub'\n\
                        addresses = ['10.1.0.5']\nnames = { api = ['10.1.0.5'] }";

/// A private link of these lines (from line 7) and one endpoint.
fn link(text: &str, said: Said) -> Case {
    rest(&format!("[[private-link]]\n{text}\n{ENDPOINT}"), said)
}

#[test]
fn either_a_service_or_both_zones() {
    const SERVICE: &str = "private-link.service";
    const PUBLIC: &str = "private-link.public-zone";
    const PRIVATE: &str = "private-link.private-zone";
    check([
        link("", &[(E, 6, "private-link", "service = \"defender-for-containers\", or public")]),
        link("service = 'defender-for-containers'", &[]),
        link(
            "service = 'defender-for-container'",
            &[(E, 7, SERVICE, "did you mean \"defender-for-containers\"?")],
        ),
        link("service = 'blob'", &[(E, 7, SERVICE, "not in the catalogue")]),
        link("service = 7", &[(E, 7, SERVICE, "an integer cannot stand here")]),
        link(
            "service = 'defender-for-containers'\npublic-zone = 'cloud.defender.microsoft.com'",
            &[(E, 7, SERVICE, "not both")],
        ),
        link(
            "public-zone = 'a.example'",
            &[(E, 6, PRIVATE, "missing; write private-zone = \"privatelink.a.example\"")],
        ),
        link(
            "private-zone = 'privatelink.a.example'",
            &[(E, 6, PUBLIC, "missing; write public-zone = \"a.example\"")],
        ),
        link(
            "private-zone = 'other.example'",
            &[(E, 6, PUBLIC, "missing; write the zone that clients ask")],
        ),
        link(
            "private-zone = '*.x.example'",
            &[(E, 6, PUBLIC, "missing"), (E, 7, PRIVATE, "without \"*.\": \"x.example\"")],
        ),
        link(
            "public-zone = '.'\nprivate-zone = 'a..example'",
            &[(E, 7, PUBLIC, "the root is no zone here"), (E, 8, PRIVATE, "an empty label")],
        ),
        link(
            "public-zone = '{regionName}.a.example'\nprivate-zone = 'privatelink.a.example'",
            &[(E, 7, PUBLIC, "a placeholder is left over")],
        ),
        link(
            "public-zone = '*.a.example'\nprivate-zone = '*.privatelink.a.example'",
            &[
                (E, 7, PUBLIC, "\"a.example\" covers every name below it"),
                (E, 8, PRIVATE, "\"privatelink.a.example\" covers every name"),
            ],
        ),
        link(
            "public-zone = 'vault.example'\nprivate-zone = 'privatelink.vaultcore.example'",
            &[(W, 8, PRIVATE, "usual here: \"privatelink.vault.example\"")],
        ),
    ]);
}

#[test]
fn a_public_zone_as_private_zone_would_hijack_it() {
    const PUBLIC: &str = "private-link.public-zone";
    const PRIVATE: &str = "private-link.private-zone";
    const RIGHT: &str =
        "hijack every public name; write \"privatelink.cloud.defender.microsoft.com\"";
    let pair = |public: &str, private: &str, said: Said| {
        link(&format!("public-zone = '{public}'\nprivate-zone = '{private}'"), said)
    };
    check([
        pair("a.example", "A.Example.", &[(E, 8, PRIVATE, "write \"privatelink.a.example\"")]),
        pair("a.b.example", "b.example", &[(E, 8, PRIVATE, "a.b.example lies inside it")]),
        // The documented mistakes (DOMAIN: two in Microsoft's drafts).
        pair(
            "cloud.defender.microsoft.com",
            "cloud.defender.microsoft.com",
            &[(E, 8, PRIVATE, RIGHT)],
        ),
        link(
            "private-zone = 'cloud.defender.microsoft.com'",
            &[(E, 6, PUBLIC, "missing"), (E, 7, PRIVATE, RIGHT)],
        ),
        pair("cloud.defender.microsoft.com", "defender.microsoft.com", &[(E, 8, PRIVATE, RIGHT)]),
        pair(
            "*.defender.microsoft.com",
            "privatelink.cloud.defender.microsoft.com",
            &[(E, 7, PUBLIC, "write the zone without \"*.\"")],
        ),
        pair(
            "defender.microsoft.com",
            "privatelink.defender.microsoft.com",
            &[(E, 7, PUBLIC, "wider than the service")],
        ),
        pair("cloud.defender.microsoft.com", "privatelink.cloud.defender.microsoft.com", &[]),
    ]);
}

#[test]
fn a_zone_stands_once_but_in_the_same_pair() {
    let two = |second: &str, said: Said| {
        let first = "[[private-link]]\nservice = 'defender-for-containers'";
        rest(&format!("{first}\n{ENDPOINT}\n[[private-link]]\n{second}\n{ENDPOINT}"), said)
    };
    const TWICE: Said = &[(E, 13, "private-link[2].service", "this entry stands twice")];
    check([
        two("service = 'defender-for-containers'\n", TWICE),
        two(
            "public-zone = 'Cloud.Defender.Microsoft.com'\nprivate-zone = \
             'privatelink.cloud.defender.microsoft.com'",
            &[
                (E, 12, "private-link[2]", "cloud.defender.microsoft.com (line 6) has a wildcard"),
                (E, 18, "private-link[2].endpoint.names.api", "lists the name too (line 11)"),
            ],
        ),
        two(
            "public-zone = 'a.example'\nprivate-zone = \
             'privatelink.cloud.defender.microsoft.com'",
            &[
                (W, 14, "private-link[2].private-zone", "neither"),
                (E, 14, "private-link[2].private-zone", "twice in the file (first on line 7)"),
            ],
        ),
        two(
            "public-zone = 'privatelink.cloud.defender.microsoft.com'\nprivate-zone = \
             'privatelink.privatelink.cloud.defender.microsoft.com'",
            &[(E, 13, "private-link[2].public-zone", "twice in the file (first on line 7)")],
        ),
        two("public-zone = 'a.example'\nprivate-zone = 'privatelink.a.example'", &[]),
    ]);
}

#[test]
fn a_name_that_another_entrys_zone_takes_is_told() {
    let inner = "[[private-link]]\npublic-zone = 'b.a.example'\nprivate-zone = \
                 'privatelink.b.a.example'\n";
    check([link(
        &format!(
            "public-zone = 'a.example'\nprivate-zone = 'privatelink.a.example'\n\
             [[private-link.endpoint]]\nname = 'one'\naddresses = ['10.0.0.1']\n\
             [private-link.endpoint.names]\n'x.b' = ['10.0.0.1']\nb = ['10.0.0.1']\n\
             'x.c' = ['10.0.0.1']\n{inner}"
        ),
        &[
            (W, 13, "private-link[1].endpoint.names.\"x.b\"", "the zone b.a.example of another"),
            (W, 14, "private-link[1].endpoint.names.b", "never answered from here"),
        ],
    )]);
}

#[test]
fn ttls_are_whole_seconds_in_range() {
    let ttl = |text: &str, said: Said| {
        link(&format!("service = 'defender-for-containers'\n{text}"), said)
    };
    check([
        ttl("ttl = '0s'", &[(E, 8, "private-link.ttl", "1s to 1h")]),
        ttl("ttl = '1500ms'", &[(E, 8, "private-link.ttl", "whole seconds")]),
        ttl("ttl = 60", &[(E, 8, "private-link.ttl", "an integer cannot stand here")]),
        ttl("negative-ttl = '61m'", &[(E, 8, "private-link.negative-ttl", "1s to 1h")]),
        ttl("ttl = '1h'\nnegative-ttl = '1s'", &[]),
    ]);
}

#[test]
fn unlisted_fits_what_endpoints_hold() {
    let unlisted = |unlisted: &str, endpoint: &str, said: Said| {
        rest(
            &format!(
                "[[private-link]]\nservice = 'defender-for-containers'\n{unlisted}\n\
                 [[private-link.endpoint]]\nname = 'hub'\n{endpoint}"
            ),
            said,
        )
    };
    const NAMES: &str = "names.api = ['10.1.0.5']";
    const ADDRESSES: &str = "addresses = ['10.1.0.5']";
    const KEY: &str = "private-link.unlisted";
    let both = format!("{ADDRESSES}\n{NAMES}");
    check([
        unlisted("unlisted = 'wildcart'", &both, &[(E, 8, KEY, "did you mean \"wildcard\"?")]),
        unlisted("unlisted = 'wildcard'", NAMES, &[(E, 8, KEY, "but no endpoint has addresses")]),
        unlisted("", NAMES, &[(E, 6, KEY, "but no endpoint has addresses")]),
        unlisted("unlisted = 'nxdomain'", NAMES, &[]),
        unlisted("", ADDRESSES, &[(W, 6, "private-link", "api and data of defender-for-cont")]),
        unlisted(
            "unlisted = 'forward'",
            &both,
            &[(W, 11, "private-link.endpoint.addresses", "never used")],
        ),
        unlisted(
            "unlisted = 'nxdomain'",
            ADDRESSES,
            &[(
                E,
                11,
                "private-link.endpoint.addresses",
                "list names, or write unlisted = \"wildcard",
            )],
        ),
        whole(
            &format!(
                "[[private-link]]\nservice = 'defender-for-containers'\nunlisted = 'forward'\n\
                 [[private-link.endpoint]]\nname = 'hub'\n{NAMES}\n[listen]\ndns = ['[::1]:53']"
            ),
            &[(W, 3, KEY, "no forward rule covers cloud.defender.microsoft.com")],
        ),
    ]);
}
