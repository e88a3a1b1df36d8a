//! A new port for an open socket.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};

use socket2::SockRef;

/// Frees the port of a socket that was connected and never bound. Nothing more arrives, but
/// datagrams that came before stay readable. connect(2) describes this use of `AF_UNSPEC`.
///
/// # Errors
/// The kernel's.
#[allow(clippy::cast_possible_truncation, reason = "both are small constants of the C library")]
pub fn free_port(socket: &UdpSocket) -> io::Result<()> {
    let nowhere = libc::sockaddr {
        sa_family: libc::AF_UNSPEC as libc::sa_family_t,
        sa_data: Default::default(),
    };
    let length = size_of::<libc::sockaddr>() as libc::socklen_t;
    // SAFETY: `nowhere` is a whole address of `length` octets that outlives the call. The descriptor
    // is borrowed, so it is open.
    let done = unsafe { libc::connect(socket.as_fd().as_raw_fd(), &raw const nowhere, length) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Connects a socket of which [`free_port`] freed the port. The kernel draws a port at random, and
/// takes the source address that the routes give now.
///
/// # Errors
/// The kernel's; `AddrInUse` or `WouldBlock` if no port is free.
pub fn draw_port(socket: &UdpSocket, peer: SocketAddr) -> io::Result<()> {
    SockRef::from(socket).connect(&peer.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_gets_another_port_and_hears_nothing_on_the_old_one() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let peer = server.local_addr().unwrap();
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
        socket.connect(&peer.into()).unwrap();
        socket.set_nonblocking(true).unwrap();
        let socket = UdpSocket::from(socket);
        let mut ports = vec![socket.local_addr().unwrap()];
        server.send_to(b"early", ports[0]).unwrap();
        for _ in 0..20 {
            free_port(&socket).unwrap();
            draw_port(&socket, peer).unwrap();
            ports.push(socket.local_addr().unwrap());
        }
        server.send_to(b"late", ports[0]).unwrap();
        server.send_to(b"new", *ports.last().unwrap()).unwrap();
        let mut octets = [0; 16];
        let mut read = || socket.recv(&mut octets).map(|length| octets[..length].to_vec()).ok();
        assert_eq!(
            (read(), read(), read()),
            (Some(b"early".to_vec()), Some(b"new".to_vec()), None)
        );
        ports.sort_unstable();
        ports.dedup();
        // Each port is one of thousands, so a few may repeat.
        assert!(ports.len() > 15, "{ports:?}");
    }
}
