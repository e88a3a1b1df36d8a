//! What kinds of IP addresses there are: the one place that says which are public and which private.
//!
//! Knows no DNS, no client and no network of ours.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The kind of an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// For the networks of one site or company (RFC 1918, RFC 6598, RFC 4193).
    Private,
    /// This host.
    Loopback,
    /// For examples only (RFC 5737, RFC 3849, RFC 9637).
    Documentation,
    /// This link only (RFC 3927, RFC 4291 §2.5.6).
    LinkLocal,
    /// Several hosts at once, broadcast included.
    Multicast,
    /// No address; hosts take it for themselves.
    Unspecified,
    /// Not routed on the Internet, and not meant for private networks: "this network" (0.0.0.0/8, RFC 791
    /// §3.2), benchmarks (198.18.0.0/15, RFC 2544), class E (240.0.0.0/4, RFC 1112 §4), site-local
    /// (fec0::/10, RFC 3879). Some networks route them inside all the same.
    Reserved,
    /// All others.
    Public,
}

impl Class {
    /// Returns the kind of `address` as it is written; see [`reached`] for what lies inside it.
    pub fn of(address: IpAddr) -> Self {
        if address.is_unspecified() {
            Self::Unspecified
        } else if address.is_loopback() {
            Self::Loopback
        } else if address.is_multicast() || address == Ipv4Addr::BROADCAST {
            Self::Multicast
        } else {
            match address {
                IpAddr::V4(v4) => Self::of_v4_unicast(v4),
                IpAddr::V6(v6) => Self::of_v6_unicast(v6),
            }
        }
    }

    fn of_v4_unicast(address: Ipv4Addr) -> Self {
        match address.octets() {
            // 100.64.0.0/10 is carrier-grade NAT (RFC 6598), which Azure networks may use.
            [100, 64..=127, ..] => Self::Private,
            [0, ..] | [198, 18 | 19, ..] | [240..=255, ..] => Self::Reserved,
            _ if address.is_private() => Self::Private,
            _ if address.is_documentation() => Self::Documentation,
            _ if address.is_link_local() => Self::LinkLocal,
            _ => Self::Public,
        }
    }

    fn of_v6_unicast(address: Ipv6Addr) -> Self {
        match address.segments() {
            [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Self::Documentation,
            [0xfec0..=0xfeff, ..] => Self::Reserved,
            _ if address.is_unique_local() => Self::Private,
            _ if address.is_unicast_link_local() => Self::LinkLocal,
            _ => Self::Public,
        }
    }
}

/// The addresses that one host can choose for itself: an IPv4 address, or an IPv6 /64 (RFC 4291 §2.5.1).
///
/// A wider IPv6 block would put the clients of a whole site together, and a narrower one would let one
/// host be many. An IPv4-mapped address counts as the IPv4 address in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HostBlock(IpAddr);

impl HostBlock {
    /// Returns the block that `address` lies in.
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
            v4 => v4,
        })
    }
}

/// Returns the addresses that traffic to `address` may reach in the end.
///
/// Some IPv6 addresses hold an IPv4 address that hosts, NAT64 or tunnel routers take out:
///
/// - in the address's place: IPv4-mapped `::ffff:0:0/96` (RFC 4291 §2.5.5.2), IPv4-compatible `::/96`
///   (RFC 4291 §2.5.5.1), IPv4-translated `::ffff:0:0:0/96` (RFC 2765 §2.1), NAT64 `64:ff9b::/96` (RFC
///   6052 §2.1) and `64:ff9b:1::/48` with the address in its last octets (RFC 8215), 6to4 `2002::/16`
///   (RFC 3056 §2), and Teredo `2001::/32`, which holds the server and the client (RFC 4380 §4);
/// - beside the address, because its prefix is routed too: ISATAP (RFC 5214 §6.1).
///
/// ```
/// use privatelinkd::addresses::reached;
/// let nat64 = "64:ff9b::a01:203".parse().unwrap();
/// assert!(reached(nat64).eq(["10.1.2.3".parse::<std::net::IpAddr>().unwrap()]));
/// ```
pub fn reached(address: IpAddr) -> impl Iterator<Item = IpAddr> {
    let (itself, inside) = match address {
        IpAddr::V4(_) => (Some(address), [None; 2]),
        IpAddr::V6(v6) => match embedded(v6) {
            [None, None] => (Some(address), isatap(v6)),
            inside => (None, inside),
        },
    };
    itself.into_iter().chain(inside.into_iter().flatten().map(IpAddr::V4))
}

/// Whether traffic to `address` may reach an address of one of these kinds.
pub fn reaches(address: IpAddr, fits: impl Fn(Class) -> bool) -> bool {
    reached(address).any(|reached| fits(Class::of(reached)))
}

/// Azure's DNS server for the virtual network that asks it. Its address is public and the same
/// everywhere, but it is reached from inside a virtual network only, and knows that network's names.
const AZURE_DNS: IpAddr = IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16));

/// Whether a server with this address belongs to this host, this link, this site or this virtual
/// network. What is sent there stays inside, as far as we see.
pub fn is_of_site(address: IpAddr) -> bool {
    reached(address).all(|reached| {
        let is_inside =
            matches!(Class::of(reached), Class::Private | Class::LinkLocal | Class::Loopback);
        is_inside || reached == AZURE_DNS
    })
}

/// The IPv4 addresses that replace `address` on the way.
fn embedded(address: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    match address.segments() {
        // The unspecified address and the loopback address are themselves.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => [None; 2],
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x64, 0xff9b, 1, _, _, _, high, low]
        | [0x2002, high, low, ..] => [Some(v4(high, low)), None],
        // Teredo writes the client's address with all bits inverted.
        [0x2001, 0, high, low, _, _, client_high, client_low] => {
            [Some(v4(high, low)), Some(v4(!client_high, !client_low))]
        }
        _ => [None; 2],
    }
}

/// The IPv4 address in an ISATAP interface identifier, whatever the prefix.
fn isatap(address: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    match address.segments() {
        // The second form has the universal bit set: the IPv4 address is unique (RFC 5214 §6.1).
        [.., 0 | 0x200, 0x5efe, high, low] => [Some(v4(high, low)), None],
        _ => [None; 2],
    }
}

fn v4(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_end_where_they_should() {
        let class = |text: &str| Class::of(text.parse().expect("an address"));
        for (texts, expected) in [
            (&["10.0.0.0", "172.31.255.255", "100.127.255.255", "fdff::1"][..], Class::Private),
            (&["9.255.255.255", "172.32.0.0", "100.128.0.0", "fe00::"], Class::Public),
            (&["127.255.255.255", "::1"], Class::Loopback),
            (&["169.254.0.1", "febf::1"], Class::LinkLocal),
            (&["203.0.113.9", "2001:db8::1", "3fff:fff::1"], Class::Documentation),
            (&["224.0.0.1", "255.255.255.255", "ff02::1"], Class::Multicast),
            (&["0.0.0.0", "::"], Class::Unspecified),
            (&["0.1.2.3", "198.18.0.0", "198.19.255.255", "240.0.0.1"], Class::Reserved),
            (&["fec0::1", "feff:ffff::1"], Class::Reserved),
            (&["198.17.255.255", "198.20.0.0", "1.0.0.0"], Class::Public),
            (&["20.1.2.3", "2603:1030::1", "64:ff9b::a01:203"], Class::Public),
        ] {
            for text in texts {
                assert_eq!(class(text), expected, "{text}");
            }
        }
    }

    #[test]
    fn an_address_inside_another_is_found() {
        let reached = |text: &str| -> Vec<String> {
            let address = text.parse().expect("an address");
            super::reached(address).map(|reached| reached.to_string()).collect()
        };
        for text in [
            "::ffff:10.1.2.3",
            "::10.1.2.3",
            "::ffff:0:10.1.2.3",
            "64:ff9b::10.1.2.3",
            "64:ff9b:1::10.1.2.3",
            "2002:a01:203::9",
        ] {
            assert_eq!(reached(text), ["10.1.2.3"], "{text}");
        }
        // 10.1.2.3 inverted is f5fe:fdfc.
        assert_eq!(reached("2001:0:1401:203::f5fe:fdfc"), ["20.1.2.3", "10.1.2.3"]);
        for isatap in ["2603:1030::5efe:a01:203", "fe80::200:5efe:a01:203"] {
            assert_eq!(reached(isatap), [isatap, "10.1.2.3"]);
        }
        for text in ["10.1.2.3", "64:ff9b:2::1", "fd00::a01:203", "::", "::1", "2001:1::1"] {
            assert_eq!(reached(text), [text]);
        }
    }

    #[test]
    fn servers_of_the_site_are_told_from_others() {
        let is_of_site = |text: &str| is_of_site(text.parse().expect("an address"));
        for text in
            ["10.0.0.4", "fd00::4", "100.100.100.100", "127.0.0.53", "::1", "169.254.169.253"]
        {
            assert!(is_of_site(text), "{text}");
        }
        assert!(
            is_of_site("168.63.129.16") && is_of_site("64:ff9b::a00:4") && is_of_site("fe80::1")
        );
        for text in ["9.9.9.9", "168.63.129.17", "2620:fe::fe", "192.0.2.53", "198.18.0.1"] {
            assert!(!is_of_site(text), "{text}");
        }
        assert!(!is_of_site("2603:1030::5efe:a01:203"), "ISATAP: its own prefix is public");
    }

    #[test]
    fn one_address_of_the_kind_is_enough() {
        let is_private = |class| class == Class::Private;
        for (text, expected) in
            [("2603:1030::5efe:a01:203", true), ("2603:1030::5efe:1401:203", false)]
        {
            assert_eq!(reaches(text.parse().expect("an address"), is_private), expected, "{text}");
        }
    }
}
