//! A server as people type it: an address with or without port and scope, or a host's name.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{anyhow, bail};

use super::TypedWrongly;
use crate::sys;

/// DNS's port (RFC 1035 §4.2).
pub(super) const PORT: u16 = 53;
/// Longest name of a host, characters (RFC 1035 §2.3.4).
const MAX_HOST_OCTETS: usize = 253;
/// What to write.
const WANTED: &str =
    "write a server as @10.0.0.4, @127.0.0.1:5300, @[::1]:5300, @fe80::1%eth0 or @dns.example";

/// Where a question goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Server {
    /// An address.
    Address(SocketAddr),
    /// A host, whose addresses this host's own resolver knows.
    Host {
        /// Its name.
        name: String,
        /// Where it listens.
        port: u16,
    },
}

impl Server {
    /// Reads `text`, which has no `@` in front. `port` is that of an option.
    pub(super) fn parse(text: &str, port: Option<u16>) -> Result<Self, TypedWrongly> {
        let wrong = |why: &str| TypedWrongly(format!("@{text}: {why}"));
        if text.contains("://") {
            return Err(wrong(
                "a URL; questions go over UDP, or over TCP with --tcp: write the address alone",
            ));
        }
        let (host, own_port) = split_port(text).ok_or_else(|| wrong(WANTED))?;
        let port = match (own_port, port) {
            (Some(own), Some(other)) if own != other => {
                return Err(wrong("a port here and another with -p; write one"));
            }
            (own, other) => own.or(other).unwrap_or(PORT),
        };
        if let Some((address, scope)) = host.split_once('%') {
            let address: Ipv6Addr = address.parse().map_err(|_| wrong(WANTED))?;
            let scope = sys::scope_id(scope).ok_or_else(|| {
                wrong(&format!("this host has no network interface {scope}; `ip link` lists them"))
            })?;
            return Ok(Self::Address(SocketAddrV6::new(address, port, 0, scope).into()));
        }
        match host.parse::<IpAddr>() {
            Ok(IpAddr::V6(v6)) if v6.is_unicast_link_local() => Err(wrong(
                "a link-local address needs its network interface: write it as @fe80::1%eth0",
            )),
            Ok(ip) => Ok(Self::Address(SocketAddr::new(ip, port))),
            Err(_) if is_host(host) => Ok(Self::Host { name: host.to_owned(), port }),
            Err(_) => Err(wrong(WANTED)),
        }
    }

    /// Its addresses, best first. This host's resolver gets as long as `patience`.
    pub(super) fn addresses(self, patience: Duration) -> anyhow::Result<Vec<SocketAddr>> {
        let (name, port) = match self {
            Self::Address(address) => return Ok(vec![address]),
            Self::Host { name, port } => (name, port),
        };
        let host = name.clone();
        let looked_up = within(patience, move || {
            (host.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>)
        });
        let advice = "write the server's address instead, such as @10.0.0.4";
        let addresses = match looked_up {
            Some(Ok(addresses)) => addresses,
            Some(Err(error)) => {
                bail!("@{name}: this host's resolver knows no address for it ({error}); {advice}")
            }
            None => {
                bail!("@{name}: this host's resolver gave no address within {patience:?}; {advice}")
            }
        };
        if addresses.is_empty() {
            bail!("@{name}: it has no address; {advice}");
        }
        Ok(addresses)
    }
}

/// The host and the port, where there is one; nothing where they do not fit together.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0);
    if let Some(rest) = text.strip_prefix('[') {
        let (address, behind) = rest.split_once(']')?;
        // Brackets belong to IPv6.
        if !address.contains(':') {
            return None;
        }
        return match behind.strip_prefix(':') {
            Some(number) => Some((address, Some(port(number)?))),
            None => behind.is_empty().then_some((address, None)),
        };
    }
    match text.split_once(':') {
        None => Some((text, None)),
        Some((_, more)) if more.contains(':') => Some((text, None)),
        Some((host, number)) => Some((host, Some(port(number)?))),
    }
}

/// Whether this can be a host's name. A name of numbers alone is an address with a mistake in it,
/// which the system's resolver would complete in its own way.
fn is_host(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let last = text.trim_end_matches('.').rsplit('.').next().unwrap_or("");
    text.len() <= MAX_HOST_OCTETS
        && text.chars().all(fits)
        && last.chars().any(|c| !c.is_ascii_digit())
}

/// What `work` gives, if it does so in time. It goes on behind, until the process ends.
fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::Builder::new().name("lookup".to_owned()).spawn(move || {
        let _late = sender.send(work());
    });
    thread.ok().and_then(|_| receiver.recv_timeout(limit).ok())
}

/// The address of a server that must be one.
pub(super) fn parse_server(text: &str) -> anyhow::Result<SocketAddr> {
    match Server::parse(text, None)? {
        Server::Address(address) => Ok(address),
        Server::Host { name, .. } => Err(anyhow!(
            "@{name}: write the server's address, such as @10.0.0.4, @127.0.0.1:5300 or @[::1]:5300"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_port_and_scope() {
        let lo = sys::scope_id("lo").expect("a loopback interface");
        for (text, address) in [
            ("10.0.0.4", "10.0.0.4:53".to_owned()),
            ("10.0.0.4:5300", "10.0.0.4:5300".to_owned()),
            ("::1", "[::1]:53".to_owned()),
            ("[::1]", "[::1]:53".to_owned()),
            ("[::1]:5300", "[::1]:5300".to_owned()),
            ("fe80::1%lo", format!("[fe80::1%{lo}]:53")),
            ("[fe80::1%lo]", format!("[fe80::1%{lo}]:53")),
            ("[fe80::1%lo]:5300", format!("[fe80::1%{lo}]:5300")),
            ("fe80::1%7", "[fe80::1%7]:53".to_owned()),
            ("[fe80::1%7]:5300", "[fe80::1%7]:5300".to_owned()),
        ] {
            let wanted = Server::Address(address.parse().expect("an address"));
            assert_eq!(Server::parse(text, None).expect("a server"), wanted, "{text}");
        }
        let with_port = Server::parse("::1", Some(5_300)).expect("a server");
        assert_eq!(with_port, Server::Address("[::1]:5300".parse().expect("an address")));
    }

    #[test]
    fn hosts_are_read_with_and_without_port() {
        for (text, host, port) in
            [("dns.example", "dns.example", 53), ("localhost:5300", "localhost", 5_300)]
        {
            let wanted = Server::Host { name: host.to_owned(), port };
            assert_eq!(Server::parse(text, None).expect("a server"), wanted, "{text}");
        }
    }

    #[test]
    fn what_is_no_server_says_what_to_write() {
        for (text, wanted) in [
            ("", "write a server as @10.0.0.4"),
            ("10.0.0", "write a server as"),
            ("10.0.0.256", "write a server as"),
            ("10.0.0.4:", "write a server as"),
            ("10.0.0.4:65536", "write a server as"),
            ("10.0.0.4:0", "write a server as"),
            ("10.0.0.4#53", "write a server as"),
            ("[10.0.0.4]:53", "write a server as"),
            ("[::1", "write a server as"),
            ("[::1]x", "write a server as"),
            ("10.0.0.4%lo", "write a server as"),
            ("fe80::1%none0", "this host has no network interface none0"),
            ("fe80::1", "needs its network interface"),
            ("tls://10.0.0.4", "a URL; questions go over UDP"),
            ("a b", "write a server as"),
        ] {
            let error = Server::parse(text, None).expect_err("no server").to_string();
            assert!(error.starts_with(&format!("@{text}: ")) && error.contains(wanted), "{error}");
        }
        let error = Server::parse("10.0.0.4:53", Some(54)).expect_err("two ports").to_string();
        assert!(error.contains("another with -p"), "{error}");
    }

    #[test]
    fn a_lookup_that_hangs_is_left_behind() {
        assert_eq!(within(Duration::from_secs(20), || 7), Some(7));
        let (never, waits) = mpsc::channel::<()>();
        assert_eq!(within(Duration::from_millis(10), move || waits.recv().is_ok()), None);
        drop(never);
    }
}
