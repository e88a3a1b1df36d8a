//! The `nameserver` lines of a resolv.conf, as the C library reads them.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use crate::sys::{self, FileError, Interface, ScopedAddress, split_host};

/// Servers that the C library takes from one file; the rest is ignored (resolv.conf(5), MAXNS).
const MAX_SERVERS: usize = 3;
/// Largest file, octets; real ones have a few hundred.
const MAX_FILE_OCTETS: u64 = 65_536;
/// Where servers of a resolv.conf listen.
const DNS_PORT: u16 = 53;

/// What a file says.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ResolvConf {
    /// Its servers, in its order.
    pub servers: Vec<ScopedAddress>,
    /// Link-local addresses without an interface. No query can be sent there, so they are left out.
    pub without_interface: Vec<IpAddr>,
}

/// Reads the file at `path`.
///
/// # Errors
/// It cannot be read, is not a regular file, or is too large.
pub fn read(path: &Path) -> Result<ResolvConf, FileError> {
    let octets = sys::read_file(path, MAX_FILE_OCTETS)?;
    Ok(parse(&String::from_utf8_lossy(&octets)))
}

fn parse(text: &str) -> ResolvConf {
    let mut said = ResolvConf::default();
    for server in text.lines().filter_map(nameserver) {
        if said.servers.len() + said.without_interface.len() >= MAX_SERVERS {
            break;
        }
        match server.ip() {
            IpAddr::V6(ip) if ip.is_unicast_link_local() && server.interface().is_none() => {
                said.without_interface.push(ip.into());
            }
            _ => said.servers.push(server),
        }
    }
    said
}

/// The keyword must begin the line; what follows the address is a comment.
fn nameserver(line: &str) -> Option<ScopedAddress> {
    let rest = line.strip_prefix("nameserver")?;
    if !rest.starts_with([' ', '\t']) {
        return None;
    }
    let word = rest.split_ascii_whitespace().next()?;
    let word = word.split(['#', ';']).next()?;
    if let Ok(address) = word.parse::<IpAddr>() {
        return Some(SocketAddr::new(address, DNS_PORT).into());
    }
    let (address, interface) = split_host(word)?;
    match interface {
        // The C library knows no names of interfaces there, and numbers mean nothing.
        Interface::Name(_) if !address.is_unicast_link_local() => None,
        Interface::Number(_) if !address.is_unicast_link_local() => {
            Some(ScopedAddress::new(address.into(), DNS_PORT, None))
        }
        // It may come and go: while it is not there, the server cannot be reached.
        interface => Some(ScopedAddress::new(address.into(), DNS_PORT, Some(interface))),
    }
}

/// Returns the servers that the text of a resolv.conf names. For the fuzz target `resolv_conf`.
#[cfg(fuzzing)]
pub fn parse_resolv_conf(text: &str) -> Vec<ScopedAddress> {
    parse(text).servers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<ScopedAddress> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn reads_what_the_c_library_reads() {
        let text = "# made by somebody\nsearch example\n  nameserver 192.0.2.9\n\
            nameserver\t10.0.0.4 # first\nnameservers 192.0.2.8\nnameserver fd00::1\n\
            options edns0\nnameserver nonsense\nnameserver fe80::1%1;x\nnameserver 192.0.2.7\n";
        let expected = addresses(&["10.0.0.4:53", "[fd00::1]:53", "[fe80::1%1]:53"]);
        assert_eq!(parse(text).servers, expected);
    }

    #[test]
    fn a_link_local_server_has_an_interface() {
        for (line, expected) in [
            ("nameserver fe80::1%lo", &["[fe80::1%lo]:53"][..]),
            ("nameserver fe80::1%no-such-nic", &["[fe80::1%no-such-nic]:53"]),
            ("nameserver fe80::1%2", &["[fe80::1%2]:53"]),
            ("nameserver fd00::1%2", &["[fd00::1]:53"]),
            ("nameserver fd00::1%eth0", &[]),
            ("nameserver fe80::1%", &[]),
            ("nameserver fe80::1%0", &[]),
            ("nameserver 10.0.0.4%eth0", &[]),
        ] {
            let servers = addresses(expected);
            assert_eq!(parse(line), ResolvConf { servers, ..Default::default() }, "{line}");
        }
        let said = parse("nameserver fe80::1\nnameserver 10.0.0.4\n");
        let without_interface = vec!["fe80::1".parse().unwrap()];
        let servers = addresses(&["10.0.0.4:53"]);
        assert_eq!(said, ResolvConf { servers, without_interface });
    }
}
