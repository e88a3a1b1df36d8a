//! The `nameserver` lines of a resolv.conf, as the C library reads them.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::Path;

use crate::sys::{self, FileError};

/// Servers that the C library takes from one file; the rest is ignored (resolv.conf(5), MAXNS).
const MAX_SERVERS: usize = 3;
/// Largest file, octets; real ones have a few hundred.
const MAX_FILE_OCTETS: u64 = 65_536;
/// Where servers of a resolv.conf listen.
const DNS_PORT: u16 = 53;

/// The servers of the file at `path`, in its order.
///
/// # Errors
/// It cannot be read, is not a regular file, or is too large.
pub fn read(path: &Path) -> Result<Vec<SocketAddr>, FileError> {
    let octets = sys::read_file(path, MAX_FILE_OCTETS)?;
    Ok(parse(&String::from_utf8_lossy(&octets)))
}

fn parse(text: &str) -> Vec<SocketAddr> {
    text.lines().filter_map(nameserver).take(MAX_SERVERS).collect()
}

/// The keyword must begin the line; what follows the address is a comment.
fn nameserver(line: &str) -> Option<SocketAddr> {
    let rest = line.strip_prefix("nameserver")?;
    if !rest.starts_with([' ', '\t']) {
        return None;
    }
    let word = rest.split_ascii_whitespace().next()?;
    let word = word.split(['#', ';']).next()?;
    if let Ok(address) = word.parse::<IpAddr>() {
        return Some(SocketAddr::new(address, DNS_PORT));
    }
    let (address, scope) = word.split_once('%')?;
    let address: Ipv6Addr = address.parse().ok()?;
    let scope = sys::scope_id(scope)?;
    Some(SocketAddrV6::new(address, DNS_PORT, 0, scope).into())
}

/// Returns the servers that the text of a resolv.conf names. For the fuzz target `resolv_conf`.
#[cfg(fuzzing)]
pub fn parse_resolv_conf(text: &str) -> Vec<SocketAddr> {
    parse(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_c_library_reads() {
        let text = "# made by somebody\nsearch example\n  nameserver 192.0.2.9\n\
            nameserver\t10.0.0.4 # first\nnameservers 192.0.2.8\nnameserver fd00::1\n\
            options edns0\nnameserver nonsense\nnameserver fe80::1%1;x\nnameserver 192.0.2.7\n";
        let expected = ["10.0.0.4:53", "[fd00::1]:53", "[fe80::1%1]:53"];
        let expected: Vec<SocketAddr> = expected.iter().map(|a| a.parse().unwrap()).collect();
        assert_eq!(parse(text), expected);
    }

    #[test]
    fn a_scope_may_be_an_interface_name() {
        let expected = nix::net::if_::if_nametoindex("lo").unwrap();
        let Some(SocketAddr::V6(address)) = nameserver("nameserver fe80::1%lo") else {
            panic!("not read");
        };
        assert_eq!(address.scope_id(), expected);
        assert_eq!(nameserver("nameserver fe80::1%no-such-interface"), None);
    }
}
