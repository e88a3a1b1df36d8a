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
    /// Of a network of somebody's own (RFC 1918, RFC 6598, RFC 4193).
    Private,
    /// This host.
    Loopback,
    /// Nobody's: for examples (RFC 5737, RFC 3849, RFC 9637).
    Documentation,
    /// This link only (RFC 3927, RFC 4291 §2.5.6).
    LinkLocal,
    /// Several hosts at once, broadcast included.
    Multicast,
    /// No address; hosts take it for themselves.
    Unspecified,
    /// All others.
    Public,
}

impl Class {
    /// The kind of `address` as it is written; see [`reached`] for what lies inside it.
    pub fn of(address: IpAddr) -> Self {
        let (documentation, private, link_local) = match address {
            IpAddr::V4(v4) => {
                // 100.64.0.0/10 is carrier-grade NAT (RFC 6598), which Azure networks may use.
                let [first, second, ..] = v4.octets();
                let shared = first == 100 && second & 0xc0 == 64;
                (v4.is_documentation(), v4.is_private() || shared, v4.is_link_local())
            }
            IpAddr::V6(v6) => {
                let [first, second, ..] = v6.segments();
                let documentation =
                    (first, second) == (0x2001, 0xdb8) || (first, second & 0xf000) == (0x3fff, 0);
                (documentation, v6.is_unique_local(), v6.is_unicast_link_local())
            }
        };
        match () {
            () if private => Self::Private,
            () if address.is_loopback() => Self::Loopback,
            () if documentation => Self::Documentation,
            () if link_local => Self::LinkLocal,
            () if address.is_multicast() || address == Ipv4Addr::BROADCAST => Self::Multicast,
            () if address.is_unspecified() => Self::Unspecified,
            () => Self::Public,
        }
    }
}

/// The address that traffic to `address` reaches in the end: the IPv4 address inside an IPv6 one of
/// a form that hosts, NAT64 or 6to4 routers take apart, else itself. `::ffff:0:0/96` (RFC 4291
/// §2.5.5.2), `64:ff9b::/96` (RFC 6052 §2.1) and `64:ff9b:1::/48` with the address in its last octets
/// (RFC 8215), `2002::/16` (RFC 3056 §2).
///
/// ```
/// use privatelinkd::addresses::reached;
/// assert_eq!(reached("64:ff9b::a01:203".parse().unwrap()).to_string(), "10.1.2.3");
/// ```
pub fn reached(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    embedded(v6).map_or(address, IpAddr::V4)
}

fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x64, 0xff9b, 1, _, _, _, high, low]
        | [0x2002, high, low, ..] => Some(join(high, low)),
        _ => None,
    }
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
            (&["20.1.2.3", "2603:1030::1", "64:ff9b::a01:203"], Class::Public),
        ] {
            for text in texts {
                assert_eq!(class(text), expected, "{text}");
            }
        }
    }

    #[test]
    fn what_lies_inside_an_address_is_found() {
        let reached = |text: &str| reached(text.parse().expect("an address")).to_string();
        for text in
            ["::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "64:ff9b:1::10.1.2.3", "2002:a01:203::9"]
        {
            assert_eq!(reached(text), "10.1.2.3", "{text}");
        }
        for text in ["10.1.2.3", "64:ff9b:2::1", "fd00::a01:203", "::1"] {
            assert_eq!(reached(text), text);
        }
    }
}
