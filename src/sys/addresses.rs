//! The host's own addresses, and which of them it speaks from.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Every address of every interface, canonical and without scope, so that a start can see that an
/// upstream would be ourselves. One look: addresses that come later are not in it.
pub fn local_addresses() -> io::Result<Vec<IpAddr>> {
    let mut addresses = Vec::new();
    for interface in nix::ifaddrs::getifaddrs()? {
        let Some(address) = interface.address else { continue };
        if let Some(v4) = address.as_sockaddr_in() {
            addresses.push(IpAddr::V4(v4.ip()));
        } else if let Some(v6) = address.as_sockaddr_in6() {
            addresses.push(IpAddr::V6(v6.ip()).to_canonical());
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
        assert!(addresses.contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)), "{addresses:?}");
    }
    #[test]
    fn loopback_is_reached_from_loopback() {
        for host in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
            assert_eq!(source_towards((host, 53).into()).unwrap(), host);
        }
    }
}
