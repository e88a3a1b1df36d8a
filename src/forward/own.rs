//! Our own addresses, which are nobody's upstream: known at start and at every reload.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::{Forward, UpstreamSource};

/// Where this daemon can be reached.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct OwnAddresses {
    /// What we listen on.
    pub listen: Vec<SocketAddr>,
    /// The addresses of this host's interfaces.
    pub local: Vec<IpAddr>,
}

impl OwnAddresses {
    /// Whether a query sent to `address` would reach us.
    pub fn is_us(&self, address: SocketAddr) -> bool {
        let ip = match address.ip().to_canonical() {
            // The kernel takes "any" as a destination for loopback.
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let is_local = || ip.is_loopback() || self.local.iter().any(|l| l.to_canonical() == ip);
        self.listen.iter().filter(|listen| listen.port() == address.port()).any(|listen| {
            let listen = listen.ip().to_canonical();
            listen == ip
                || (listen.is_unspecified() && listen.is_ipv4() == ip.is_ipv4() && is_local())
        })
    }
}

/// The upstream addresses in the configuration that are this daemon itself: an error at the start.
pub fn own_upstreams(forwards: &[Forward], own: &OwnAddresses) -> Vec<SocketAddr> {
    let mut found: Vec<SocketAddr> = forwards
        .iter()
        .flat_map(|forward| &forward.upstreams)
        .filter_map(|source| match source {
            UpstreamSource::Server(server) => server.address(),
            UpstreamSource::ResolvConf(_) => None,
        })
        .filter(|address| own.is_us(*address))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}
