//! Tells a shortage of this host (of descriptors, memory or ports) from a failure of a server.

use std::io;
use std::net::SocketAddr;

use super::addresses::source_towards;

/// Whether this host has run out of descriptors or memory.
pub fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS))
}

/// Whether this host has no free port for a socket towards `peer`. `error` comes from the bind or
/// connect that draws the port (ip(7), `ip_local_port_range`).
pub fn is_port_shortage(error: &io::Error, peer: SocketAddr) -> bool {
    match error.raw_os_error() {
        // Of a bind, and of the connect of a UDP socket.
        Some(libc::EADDRINUSE | libc::EAGAIN) => true,
        // Of the connect of a TCP socket. Over IPv6 it can also mean that this host has no address
        // that reaches the peer.
        Some(libc::EADDRNOTAVAIL) => match source_towards(peer) {
            Ok(_) => true,
            Err(error) => error.kind() == io::ErrorKind::AddrInUse,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_of_ours_is_told_from_a_servers_failure() {
        for errno in [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS] {
            assert!(is_shortage(&io::Error::from_raw_os_error(errno)), "{errno}");
        }
        for errno in [libc::ECONNREFUSED, libc::EHOSTUNREACH, libc::ETIMEDOUT, libc::EACCES] {
            assert!(!is_shortage(&io::Error::from_raw_os_error(errno)), "{errno}");
        }
        assert!(!is_shortage(&io::ErrorKind::OutOfMemory.into()), "not the kernel's word");
    }

    #[test]
    fn a_shortage_of_ports_is_told_from_a_host_without_an_address() {
        let is_short = |errno, peer: &str| {
            is_port_shortage(&io::Error::from_raw_os_error(errno), peer.parse().unwrap())
        };
        for errno in [libc::EADDRINUSE, libc::EAGAIN, libc::EADDRNOTAVAIL] {
            assert!(is_short(errno, "127.0.0.1:53"), "{errno}");
        }
        // The kernel lets no usual socket connect to this one.
        assert!(!is_short(libc::EADDRNOTAVAIL, "255.255.255.255:53"));
        assert!(!is_short(libc::ECONNREFUSED, "127.0.0.1:53"));
        let missing = io::Error::new(io::ErrorKind::AddrNotAvailable, "no interface of that name");
        assert!(!is_port_shortage(&missing, "127.0.0.1:53".parse().unwrap()), "not the kernel's");
    }
}
