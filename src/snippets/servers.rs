//! Where askers reach the daemon, as far as its configuration and its host tell.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use crate::addresses::Class;
use crate::sys::ScopedAddress;

/// DNS's port (RFC 1035 §4.2).
pub const PORT: u16 = 53;

/// Addresses that were found, and what to know of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// At least one.
    pub servers: Vec<SocketAddr>,
    /// What may not be as it was meant.
    pub warnings: Vec<String>,
}

/// No address that may be taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoServer {
    /// The daemon listens on all addresses, and the host has none that others can ask.
    #[error(
        "[listen] dns means every address of this host, and it has none but its loopback; write \
         --server with the address at which privatelinkd is reached"
    )]
    None,
    /// The daemon listens on link-local addresses alone.
    #[error(
        "[listen] dns has link-local addresses alone, which have no meaning on another host; listen \
         on one that is routed, or write --server with it"
    )]
    OneLink,
    /// The daemon listens on all addresses, and the host has several.
    #[error(
        "[listen] dns means every address of this host, which has {}; write --server with the one \
         that askers reach, for example --server {}",
        list(.0), .0.first().map(ToString::to_string).unwrap_or_default()
    )]
    Several(Vec<IpAddr>),
}

/// Whether `address` means another host on each link: IPv6, where an interface belongs to it. People
/// use 169.254.0.0/16 as routed addresses.
pub fn is_of_one_link(address: IpAddr) -> bool {
    address.is_ipv6() && Class::of(address) == Class::LinkLocal
}

fn list(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// From `[listen] dns` and the host's own addresses.
///
/// # Errors
/// None, or one of several would have to be guessed.
pub fn servers(listen: &[ScopedAddress], local: &[IpAddr]) -> Result<Found, NoServer> {
    let found = |servers, warnings| Ok(Found { servers, warnings });
    // Askers on another link cannot use these.
    let listen = listen.iter().filter(|address| !is_of_one_link(address.ip()));
    let listen: Vec<_> =
        listen.map(|address| SocketAddr::new(address.ip(), address.port())).collect();
    if listen.is_empty() {
        return Err(NoServer::OneLink);
    }
    let (everywhere, named): (Vec<SocketAddr>, Vec<SocketAddr>) =
        listen.into_iter().partition(|address| address.ip().is_unspecified());
    let (loopback, outside): (Vec<SocketAddr>, Vec<SocketAddr>) =
        named.into_iter().partition(|address| address.ip().is_loopback());
    if !outside.is_empty() {
        return found(outside, Vec::new());
    }
    if everywhere.is_empty() {
        let warning = "[listen] dns has loopback addresses alone, so only this host itself can \
                       ask privatelinkd; listen on another one, or write --server, for others";
        return found(loopback, vec![warning.to_owned()]);
    }
    let of_this_host: BTreeSet<SocketAddr> = everywhere
        .iter()
        .flat_map(|wildcard| {
            let same_family = |ip: &&IpAddr| ip.is_ipv4() == wildcard.is_ipv4();
            local.iter().filter(same_family).map(|ip| SocketAddr::new(*ip, wildcard.port()))
        })
        .filter(|address| !matches!(Class::of(address.ip()), Class::Loopback | Class::LinkLocal))
        .collect();
    let all = || of_this_host.iter().map(SocketAddr::ip).collect::<BTreeSet<_>>();
    let (v4, v6): (Vec<SocketAddr>, Vec<SocketAddr>) =
        of_this_host.iter().partition(|address| address.is_ipv4());
    match (v4.as_slice(), v6.as_slice()) {
        ([], []) => Err(NoServer::None),
        ([only], []) | ([], [only]) => found(vec![*only], vec![taken(*only, "")]),
        // Hosts have IPv6 addresses that come and go; the IPv4 one is what people mean.
        ([only], _) => {
            found(vec![*only], vec![taken(*only, ", and its IPv6 addresses are left out")])
        }
        _ => Err(NoServer::Several(all().into_iter().collect())),
    }
}

fn taken(address: SocketAddr, but: &str) -> String {
    format!(
        "{} is this host's address{but}; write --server where askers reach privatelinkd at another",
        address.ip()
    )
}
