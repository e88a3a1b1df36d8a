//! The host's own addresses, and which of them it speaks from.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// An address of one of this host's interfaces.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LocalAddress {
    /// The address, canonical.
    pub ip: IpAddr,
    /// The number of the interface for a link-local IPv6 address, which another interface may have too;
    /// else 0.
    pub scope: u32,
}

impl From<IpAddr> for LocalAddress {
    fn from(ip: IpAddr) -> Self {
        Self { ip, scope: 0 }
    }
}

/// Every address of every interface, so that a start can see that an upstream would be ourselves. One
/// look: addresses that come later are not in it.
pub fn local_addresses() -> io::Result<Vec<LocalAddress>> {
    let mut addresses = Vec::new();
    for interface in nix::ifaddrs::getifaddrs()? {
        let Some(address) = interface.address else { continue };
        if let Some(v4) = address.as_sockaddr_in() {
            addresses.push(IpAddr::V4(v4.ip()).into());
        } else if let Some(v6) = address.as_sockaddr_in6() {
            let scope = if v6.ip().is_unicast_link_local() { v6.scope_id() } else { 0 };
            addresses.push(LocalAddress { ip: IpAddr::V6(v6.ip()).to_canonical(), scope });
        }
    }
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

/// The address of this host that a new socket towards `peer` would have, as routes are now. Sends
/// nothing.
///
/// # Errors
/// The kernel's: no route, no address to speak from, or no socket to be had.
pub fn source_towards(peer: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match peer {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(peer)?;
    Ok(socket.local_addr()?.ip())
}

/// The number of a network interface, from its number or name: the scope of a link-local address
/// (RFC 4007 §11). `None` if no interface has this name.
pub fn scope_id(text: &str) -> Option<u32> {
    match text.parse() {
        Ok(number) => Some(number),
        Err(_) => nix::net::if_::if_nametoindex(text).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_address_is_ours() {
        let addresses = local_addresses().unwrap();
        let loopback = LocalAddress::from(IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert!(addresses.contains(&loopback), "{addresses:?}");
    }

    #[test]
    fn loopback_is_reached_from_loopback() {
        for host in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
            assert_eq!(source_towards((host, 53).into()).unwrap(), host);
        }
    }
}
