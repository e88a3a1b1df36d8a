//! Our own addresses, which are nobody's upstream: known at start and at every reload.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::{Forward, UpstreamSource};
use crate::sys::{LocalAddress, ScopedAddress};

/// Where this daemon can be reached.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct OwnAddresses {
    /// What we listen on.
    pub listen: Vec<ScopedAddress>,
    /// The addresses of this host's interfaces.
    pub local: Vec<LocalAddress>,
}

impl OwnAddresses {
    /// Whether a query sent to `address` would reach us, by the interfaces that this host has now.
    pub fn is_us(&self, address: &ScopedAddress) -> bool {
        let ip = match address.ip().to_canonical() {
            // The kernel takes "any" as a destination for loopback.
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        // Nothing is reached over an interface that is not there.
        let Some(scope) = address.scope() else { return false };
        let is_local = || {
            let is_here = |local: &LocalAddress| local.ip == ip && local.scope == scope;
            ip.is_loopback() || self.local.iter().any(is_here)
        };
        self.listen.iter().filter(|listen| listen.port() == address.port()).any(|listen| {
            let at = listen.ip().to_canonical();
            (at == ip && listen.scope() == Some(scope))
                || (at.is_unspecified() && at.is_ipv4() == ip.is_ipv4() && is_local())
        })
    }
}

/// The upstream addresses in the configuration that are this daemon itself: an error at the start.
pub fn own_upstreams(forwards: &[Forward], own: &OwnAddresses) -> Vec<ScopedAddress> {
    let mut found: Vec<ScopedAddress> = forwards
        .iter()
        .flat_map(|forward| &forward.upstreams)
        .filter_map(|source| match source {
            UpstreamSource::Server(server) => server.address().cloned(),
            UpstreamSource::ResolvConf(_) => None,
        })
        .filter(|address| own.is_us(address))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}
