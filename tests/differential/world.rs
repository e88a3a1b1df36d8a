//! The zones that both sides serve. The daemon gets them as TOML, the reference as hickory's types.

use std::fmt::Write;
use std::net::IpAddr;

use hickory_server::proto::rr::Name;

/// What a name that no endpoint lists gets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unlisted {
    Wildcard,
    Nxdomain,
    Forward,
}

pub(crate) struct Endpoint {
    /// For the clients of the site, not for all.
    pub(crate) of_site: bool,
    pub(crate) wildcard: Vec<IpAddr>,
    /// Relative to the zone.
    pub(crate) names: Vec<(&'static str, Vec<IpAddr>)>,
}

pub(crate) struct Zone {
    pub(crate) public: Name,
    pub(crate) private: Name,
    pub(crate) unlisted: Unlisted,
    pub(crate) ttl: u32,
    pub(crate) negative_ttl: u32,
    pub(crate) endpoints: Vec<Endpoint>,
}

/// Clients of this prefix are of the site.
pub(crate) const SITE: &str = "10.1.0.0/16";
pub(crate) const SITE_CLIENT: &str = "10.1.0.9";
pub(crate) const OTHER_CLIENT: &str = "10.9.0.9";
/// What is forwarded; everything else is REFUSED, unless it is special.
pub(crate) const FORWARDED: [&str; 4] = ["microsoft.com.", "net.", "test.", "c.7.10.in-addr.arpa."];
/// Special zones that belong to a site, and are answered here because the file says so.
pub(crate) const ANSWERED: [&str; 2] = ["10.in-addr.arpa.", "local."];
/// Enough addresses that they need TC without EDNS: 40 × 16 octets.
const MANY: u8 = 40;

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().expect("an address")).collect()
}

fn zone(public: &str, private: &str, unlisted: Unlisted, endpoints: Vec<Endpoint>) -> Zone {
    let name = |text: &str| Name::from_ascii(text).expect("a name");
    let (public, private) = (name(public), name(private));
    Zone { public, private, unlisted, ttl: 60, negative_ttl: 10, endpoints }
}

pub(crate) fn zones() -> Vec<Zone> {
    let many = (1..=MANY).map(|last| IpAddr::from([10, 1, 1, last])).collect();
    let hub = Endpoint {
        of_site: false,
        wildcard: ips(&["10.1.0.5", "fd00:1::5"]),
        names: vec![
            ("api", ips(&["10.1.0.5"])),
            ("data.westeurope", ips(&["10.1.0.6", "10.1.0.7"])),
            ("many", many),
        ],
    };
    let frankfurt = Endpoint {
        of_site: true,
        wildcard: ips(&["10.3.0.5"]),
        names: vec![("api", ips(&["10.3.0.5"])), ("own", ips(&["10.3.0.6"]))],
    };
    let vault = Endpoint {
        of_site: false,
        wildcard: Vec::new(),
        names: vec![
            ("a", ips(&["10.4.0.5", "fd00:4::5"])),
            ("six", ips(&["fd00:4::6"])),
            ("d.b.c", ips(&["10.4.0.7"])),
        ],
    };
    let storage = Endpoint {
        of_site: false,
        wildcard: Vec::new(),
        names: vec![("m", ips(&["10.5.0.5"])), ("a.d", ips(&["10.5.0.6"]))],
    };
    vec![
        zone(
            "cloud.defender.microsoft.com.",
            "privatelink.cloud.defender.microsoft.com.",
            Unlisted::Wildcard,
            vec![hub, frankfurt],
        ),
        Zone {
            ttl: 30,
            negative_ttl: 5,
            ..zone(
                "vault.azure.net.",
                "privatelink.vaultcore.azure.net.",
                Unlisted::Nxdomain,
                vec![vault],
            )
        },
        zone(
            "blob.core.windows.net.",
            "privatelink.blob.core.windows.net.",
            Unlisted::Forward,
            vec![storage],
        ),
    ]
}

/// The same for the daemon.
pub(crate) fn toml(zones: &[Zone]) -> String {
    let mut text = format!(
        "[listen]\ndns = ['127.0.0.1:5300']\n\
         [[site]]\nname = 'frankfurt'\nnetworks = ['{SITE}']\n\
         [[forward]]\nzones = {FORWARDED:?}\nupstreams = ['192.168.0.53']\n\
         [special]\nanswer = {ANSWERED:?}\n"
    );
    for zone in zones {
        let unlisted = match zone.unlisted {
            Unlisted::Wildcard => "wildcard",
            Unlisted::Nxdomain => "nxdomain",
            Unlisted::Forward => "forward",
        };
        let Zone { public, private, ttl, negative_ttl, .. } = zone;
        let (public, private) = (public.to_ascii(), private.to_ascii());
        write!(
            text,
            "[[private-link]]\npublic-zone = '{public}'\nprivate-zone = '{private}'\n\
             unlisted = '{unlisted}'\nttl = '{ttl}s'\nnegative-ttl = '{negative_ttl}s'\n"
        )
        .expect("a string");
        for (index, endpoint) in zone.endpoints.iter().enumerate() {
            text.push_str(&endpoint_toml(index, endpoint));
        }
    }
    text
}

fn endpoint_toml(index: usize, endpoint: &Endpoint) -> String {
    let list = |ips: &[IpAddr]| {
        let ips: Vec<_> = ips.iter().map(|ip| format!("'{ip}'")).collect();
        format!("[{}]", ips.join(", "))
    };
    let mut text = format!("[[private-link.endpoint]]\nname = 'e{index}'\n");
    if endpoint.of_site {
        text.push_str("sites = ['frankfurt']\n");
    }
    if !endpoint.wildcard.is_empty() {
        writeln!(text, "addresses = {}", list(&endpoint.wildcard)).expect("a string");
    }
    let names: Vec<_> =
        endpoint.names.iter().map(|(name, ips)| format!("'{name}' = {}", list(ips))).collect();
    writeln!(text, "names = {{ {} }}", names.join(", ")).expect("a string");
    text
}
