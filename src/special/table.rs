//! The special zones, each with its RFC. Only here does anybody decide which names are special.

use crate::wire::Name;

/// A zone whose names do not belong to the public DNS.
#[derive(Clone, Debug)]
pub struct Zone {
    /// Its name.
    pub name: Name,
    /// What it holds.
    pub contents: Contents,
    /// Where its names mean something.
    pub scope: Scope,
    /// The section that says so.
    pub source: &'static str,
}

/// What a special zone holds beside the SOA and the NS of its apex (RFC 6303 §3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Contents {
    /// Nothing: names below the apex do not exist.
    Nothing,
    /// Every name exists and has no records.
    EmptyNames,
    /// Every name, the apex too, has the loopback addresses.
    Loopback,
    /// `1.0.0` below the apex has the name `localhost`.
    LoopbackV4,
    /// The apex has the name `localhost`.
    LoopbackV6,
}

/// Where the names of a special zone mean something.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Scope {
    /// At one site: the site's own DNS servers may have them, the public DNS has not.
    Site,
    /// On this host, or outside the DNS: no server has them.
    Nowhere,
}

/// Top-level domains, and what stands below `arpa`.
const NAMED: [(&str, Contents, Scope, &str); 22] = [
    ("localhost", Contents::Loopback, Scope::Nowhere, "RFC 6761 §6.3"),
    ("invalid", Contents::Nothing, Scope::Nowhere, "RFC 6761 §6.4"),
    ("onion", Contents::Nothing, Scope::Nowhere, "RFC 7686 §2"),
    ("alt", Contents::Nothing, Scope::Nowhere, "RFC 9476"),
    ("resolver.arpa", Contents::EmptyNames, Scope::Nowhere, "RFC 9462 §6.4"),
    ("0.in-addr.arpa", Contents::Nothing, Scope::Nowhere, "RFC 6303 §4.2"),
    ("127.in-addr.arpa", Contents::LoopbackV4, Scope::Nowhere, "RFC 6303 §4.2"),
    ("2.0.192.in-addr.arpa", Contents::Nothing, Scope::Nowhere, "RFC 6303 §4.2"),
    ("100.51.198.in-addr.arpa", Contents::Nothing, Scope::Nowhere, "RFC 6303 §4.2"),
    ("113.0.203.in-addr.arpa", Contents::Nothing, Scope::Nowhere, "RFC 6303 §4.2"),
    ("255.255.255.255.in-addr.arpa", Contents::Nothing, Scope::Nowhere, "RFC 6303 §4.2"),
    ("8.b.d.0.1.0.0.2.ip6.arpa", Contents::Nothing, Scope::Nowhere, "RFC 6303 §4.6"),
    ("local", Contents::Nothing, Scope::Site, "RFC 6762 §22.1"),
    ("test", Contents::Nothing, Scope::Site, "RFC 6761 §6.2"),
    ("home.arpa", Contents::Nothing, Scope::Site, "RFC 8375 §4"),
    ("service.arpa", Contents::Nothing, Scope::Site, "RFC 9665"),
    ("10.in-addr.arpa", Contents::Nothing, Scope::Site, "RFC 6303 §4.1"),
    ("168.192.in-addr.arpa", Contents::Nothing, Scope::Site, "RFC 6303 §4.1"),
    ("254.169.in-addr.arpa", Contents::Nothing, Scope::Site, "RFC 6303 §4.2"),
    ("d.f.ip6.arpa", Contents::Nothing, Scope::Site, "RFC 6303 §4.4"),
    // 172.16.0.0/12, 100.64.0.0/10 and fe80::/10 are several zones each: see below.
    ("8.e.f.ip6.arpa", Contents::Nothing, Scope::Site, "RFC 6303 §4.5"),
    ("9.e.f.ip6.arpa", Contents::Nothing, Scope::Site, "RFC 6303 §4.5"),
];

/// Returns all special zones, in no order. None lies in another.
pub fn zones() -> Vec<Zone> {
    let mut zones: Vec<Zone> = NAMED
        .into_iter()
        .filter_map(|(name, contents, scope, source)| zone(name, contents, scope, source))
        .collect();
    let mut site = |name: String, source| {
        zones.extend(zone(&name, Contents::Nothing, Scope::Site, source));
    };
    (16..=31).for_each(|octet| site(format!("{octet}.172.in-addr.arpa"), "RFC 6303 §4.1"));
    (64..=127).for_each(|octet| site(format!("{octet}.100.in-addr.arpa"), "RFC 7793"));
    ["a", "b"].iter().for_each(|digit| site(format!("{digit}.e.f.ip6.arpa"), "RFC 6303 §4.5"));
    let mut address = |last: u8, contents| {
        let name = format!("{last}.{}ip6.arpa", "0.".repeat(31));
        zones.extend(zone(&name, contents, Scope::Nowhere, "RFC 6303 §4.3"));
    };
    address(0, Contents::Nothing);
    address(1, Contents::LoopbackV6);
    zones
}

fn zone(name: &str, contents: Contents, scope: Scope, source: &'static str) -> Option<Zone> {
    // A test sees to it that all of these are names.
    Some(Zone { name: name.parse().ok()?, contents, scope, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_zone_has_a_name_and_none_lies_in_another() {
        let zones = zones();
        assert_eq!(zones.len(), NAMED.len() + 16 + 64 + 2 + 2);
        for zone in &zones {
            let inside = zones.iter().filter(|other| zone.name.is_within(&other.name)).count();
            assert_eq!(inside, 1, "{}", zone.name);
        }
        let longest = zones.iter().map(|zone| zone.name.label_count()).max();
        assert_eq!(longest, Some(34), "the addresses :: and ::1");
    }
}
