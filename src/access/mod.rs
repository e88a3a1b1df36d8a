//! Who asks: whether a client may, and which site it belongs to, from its address alone.
//!
//! Knows nothing of queries.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod prefix_map;

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::Config;
use prefix_map::PrefixMap;

/// A site, by its place in the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SiteId(pub usize);

/// What an address says about a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Client {
    /// Whether it may ask.
    pub allowed: bool,
    /// The site with the longest matching prefix.
    pub site: Option<SiteId>,
}

/// All clients, by prefix. Addresses that no prefix covers may not ask and have no site.
#[derive(Debug)]
pub struct Clients {
    v4: PrefixMap<Client>,
    v6: PrefixMap<Client>,
}

impl Clients {
    /// Merges `[access] allow` and the `[[site]]` networks into one look-up.
    pub fn new(config: &Config) -> Self {
        let allowed = config.access.allow.iter().map(|net| (*net, None));
        let sites = config.sites.iter().enumerate().flat_map(|(index, site)| {
            site.networks.iter().map(move |net| (*net, Some(SiteId(index))))
        });
        let mut prefixes: Vec<(IpNet, Option<SiteId>)> = allowed.chain(sites).collect();
        // Shorter prefixes first: a longer one then refines what the shorter ones said.
        prefixes.sort_by_key(|(net, _)| net.prefix_len());
        let mut clients = Self { v4: PrefixMap::default(), v6: PrefixMap::default() };
        for (net, site) in prefixes {
            let inherited = clients.client(net.network());
            let client = match site {
                None => Client { allowed: true, ..inherited },
                Some(site) => Client { site: Some(site), ..inherited },
            };
            let (map, bits) = match net {
                IpNet::V4(net) => (&mut clients.v4, v4_bits(net.network())),
                IpNet::V6(net) => (&mut clients.v6, net.network().to_bits()),
            };
            map.insert(bits, net.prefix_len(), client);
        }
        clients
    }

    /// Looks `address` up. IPv4-mapped addresses count as IPv4.
    pub fn client(&self, address: IpAddr) -> Client {
        match address.to_canonical() {
            IpAddr::V4(address) => self.v4.find(v4_bits(address)),
            IpAddr::V6(address) => self.v6.find(address.to_bits()),
        }
    }
}

/// The address in the upper 32 bits, so that both families walk from the top.
fn v4_bits(address: std::net::Ipv4Addr) -> u128 {
    u128::from(address.to_bits()) << 96
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Site};

    fn clients(allow: &[&str], sites: &[&[&str]]) -> Clients {
        let nets = |texts: &[&str]| texts.iter().map(|t| t.parse().expect("a prefix")).collect();
        let mut config = config::testing::minimal();
        config.access.allow = nets(allow);
        config.sites = sites
            .iter()
            .enumerate()
            .map(|(index, texts)| Site { name: format!("s{index}"), networks: nets(texts) })
            .collect();
        Clients::new(&config)
    }

    fn client(clients: &Clients, address: &str) -> (bool, Option<usize>) {
        let client = clients.client(address.parse().expect("an address"));
        (client.allowed, client.site.map(|site| site.0))
    }

    #[test]
    fn the_longest_prefix_wins_and_access_stands_apart() {
        let clients = clients(
            &["10.0.0.0/8", "fd00::/8"],
            &[&["10.1.0.0/16", "fd00:1::/48"], &["10.1.2.0/23", "192.168.0.0/16"]],
        );
        assert_eq!(client(&clients, "10.9.9.9"), (true, None));
        assert_eq!(client(&clients, "10.1.9.9"), (true, Some(0)));
        assert_eq!(client(&clients, "10.1.3.255"), (true, Some(1)));
        assert_eq!(client(&clients, "10.1.4.0"), (true, Some(0)));
        assert_eq!(client(&clients, "192.168.1.1"), (false, Some(1)));
        assert_eq!(client(&clients, "11.0.0.0"), (false, None));
        assert_eq!(client(&clients, "fd00:1::1"), (true, Some(0)));
        assert_eq!(client(&clients, "fd00:2::1"), (true, None));
        assert_eq!(client(&clients, "2a00::1"), (false, None));
    }

    #[test]
    fn an_allow_list_of_one_family_leaves_the_other_closed() {
        let clients = clients(&["10.0.0.0/8"], &[]);
        assert_eq!(client(&clients, "::1"), (false, None));
        assert_eq!(client(&clients, "::ffff:10.0.0.1"), (true, None));
    }

    #[test]
    fn zero_and_full_length_prefixes() {
        let clients = clients(&["0.0.0.0/0", "::1/128"], &[&["1.2.3.4/32"], &["::/0"]]);
        assert_eq!(client(&clients, "1.2.3.4"), (true, Some(0)));
        assert_eq!(client(&clients, "1.2.3.5"), (true, None));
        assert_eq!(client(&clients, "::1"), (true, Some(1)));
        assert_eq!(client(&clients, "::2"), (false, Some(1)));
    }

    #[test]
    fn agrees_with_a_plain_scan() {
        let networks: Vec<String> = (0..2_000_u32)
            .map(|i| {
                let mixed = i.wrapping_mul(2_654_435_761);
                let length = 9 + mixed % 24;
                let net =
                    ipnet::Ipv4Net::new_assert(mixed.into(), u8::try_from(length).expect("small"));
                net.trunc().to_string()
            })
            .collect();
        let texts: Vec<&str> = networks.iter().map(String::as_str).collect();
        let clients = clients(&["10.0.0.0/8"], &[&texts]);
        let nets: Vec<IpNet> = networks.iter().map(|t| t.parse().expect("a prefix")).collect();
        for i in 0..5_000_u32 {
            let address = IpAddr::V4(i.wrapping_mul(858_993_459).into());
            let expected = nets.iter().any(|net| net.contains(&address));
            assert_eq!(clients.client(address).site.is_some(), expected, "{address}");
        }
    }
}
