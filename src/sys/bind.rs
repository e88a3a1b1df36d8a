//! Opening the sockets that listen: for each address a UDP socket and a TCP listener a worker.
//!
//! `SO_REUSEPORT` lets the workers share a port, and would let any process of the same user share
//! it in silence, each getting a part of the queries. So every address is first *claimed*: bound
//! without the option, which fails if anybody is there. The claim then gets the option and is held
//! until the workers' sockets stand beside it, so that there is no gap, not even for port 0.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;

use socket2::{Domain, Protocol, Socket, Type};

use super::udp::UdpSocket;

/// Octets of queue asked for incoming datagrams: some 5,000 small queries, so a burst outlives a
/// worker's pause. The kernel gives at most `net.core.rmem_max`.
const RECEIVE_QUEUE_OCTETS: usize = 4 << 20;
/// Octets asked for outgoing datagrams: a full batch of the largest replies, many times over.
const SEND_QUEUE_OCTETS: usize = 1 << 20;
/// Connections that may wait for `accept`; the kernel gives at most `net.core.somaxconn`.
const BACKLOG: i32 = 1_024;
/// Random ports tried until one is free for UDP and TCP; each try fails about as often as ports are
/// taken, so this many fail only when the range is used up.
const PORT_TRIES: usize = 16;

/// How a socket carries messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Transport {
    Udp,
    Tcp,
}

/// The open sockets of one address.
#[derive(Debug)]
pub struct Listeners {
    /// The address bound; port 0 replaced by the one chosen, the same for both transports.
    pub address: SocketAddr,
    /// One a worker.
    pub udp: Vec<UdpSocket>,
    /// One a worker, non-blocking.
    pub tcp: Vec<TcpListener>,
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({transport}): {refusal}")]
pub struct BindError {
    /// As configured.
    pub address: SocketAddr,
    /// The socket that failed.
    pub transport: Transport,
    /// Why, and what to do.
    pub refusal: Refusal,
}

/// Why the kernel said no.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Somebody is there.
    #[error(
        "port {0} is taken by another program; `ss -lntup 'sport = :{0}'` names it (for 0.0.0.0 \
         and [::], one that listens on any single address is in the way: give the addresses one \
         by one, or stop it)"
    )]
    InUse(u16),
    /// A port that needs a privilege.
    #[error(
        "port {0} needs the capability CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=, \
         containers: --cap-add NET_BIND_SERVICE); or use a port above 1023"
    )]
    Denied(u16),
    /// Not an address of this host.
    #[error(
        "no interface has this address; use one that `ip address` shows, or 0.0.0.0 or [::]; if \
         it comes up later, start after network-online.target"
    )]
    NoSuchAddress,
    /// The kernel has no such protocol.
    #[error("this host does not speak this address family; leave the address out")]
    NoFamily,
    /// Anything else.
    #[error("{0}")]
    Other(io::Error),
}

/// Opens the sockets of `addresses` for `workers` threads (at least one), in the order given.
///
/// # Errors
/// The first address that cannot be had. Nothing stays open then.
pub fn bind(addresses: &[SocketAddr], workers: usize) -> Result<Vec<Listeners>, BindError> {
    let claims =
        addresses
            .iter()
            .map(|address| {
                if covered(address, addresses) { Ok(None) } else { Claim::new(*address).map(Some) }
            })
            .collect::<Result<Vec<_>, _>>()?;
    let opened = addresses.iter().zip(&claims).map(|(address, claim)| {
        open(claim.as_ref().map_or(*address, |claim| claim.address), workers.max(1))
    });
    opened.collect()
}

/// Opens a TCP listener for one thread, with room for `backlog` connections that wait for `accept`.
/// Port 0 is replaced by the one chosen.
///
/// # Errors
/// Why the address cannot be had.
pub fn bind_tcp(address: SocketAddr, backlog: i32) -> Result<TcpListener, BindError> {
    let open = || {
        let socket = socket(address, Transport::Tcp)?;
        // Only connections that still end (TIME_WAIT) are passed over by this, not listeners.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(backlog)?;
        Ok(TcpListener::from(socket))
    };
    open().map_err(|error| refused(address, Transport::Tcp, error))
}

/// A wildcard of ours on the same port claims `address` too, and would be in its way.
fn covered(address: &SocketAddr, all: &[SocketAddr]) -> bool {
    all.iter().any(|other| {
        other != address
            && other.port() == address.port()
            && other.port() != 0
            && other.is_ipv4() == address.is_ipv4()
            && other.ip().is_unspecified()
    })
}

/// Proof that nobody else listens on `address`, for as long as it lives.
struct Claim {
    address: SocketAddr,
    _sockets: [Socket; 2],
}

impl Claim {
    fn new(address: SocketAddr) -> Result<Self, BindError> {
        let mut tries = PORT_TRIES;
        loop {
            let claimed = Self::once(address);
            tries -= 1;
            match claimed {
                // A random port, free for UDP, that TCP has not: another may do.
                Err(BindError {
                    transport: Transport::Tcp, refusal: Refusal::InUse(_), ..
                }) if address.port() == 0 && tries > 0 => {}
                other => return other,
            }
        }
    }

    fn once(address: SocketAddr) -> Result<Self, BindError> {
        let udp = claim_udp(address).map_err(|error| refused(address, Transport::Udp, error))?;
        let (udp, chosen) = udp;
        let tcp = claim_tcp(chosen).map_err(|error| refused(chosen, Transport::Tcp, error))?;
        Ok(Self { address: chosen, _sockets: [udp, tcp] })
    }
}

fn claim_udp(address: SocketAddr) -> io::Result<(Socket, SocketAddr)> {
    let socket = socket(address, Transport::Udp)?;
    socket.bind(&address.into())?;
    let bound = socket.local_addr()?.as_socket();
    let chosen = SocketAddr::new(address.ip(), bound.map_or(address.port(), |bound| bound.port()));
    socket.set_reuse_port(true)?;
    Ok((socket, with_scope_of(chosen, address)))
}

fn claim_tcp(address: SocketAddr) -> io::Result<Socket> {
    let socket = socket(address, Transport::Tcp)?;
    // Only connections that still end (TIME_WAIT) are passed over by this, not listeners.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.set_reuse_port(true)?;
    Ok(socket)
}

fn open(address: SocketAddr, workers: usize) -> Result<Listeners, BindError> {
    let (mut udp, mut tcp) = (Vec::new(), Vec::new());
    for _ in 0..workers {
        udp.push(open_udp(address).map_err(|error| refused(address, Transport::Udp, error))?);
        tcp.push(open_tcp(address).map_err(|error| refused(address, Transport::Tcp, error))?);
    }
    Ok(Listeners { address, udp, tcp })
}

fn open_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket(address, Transport::Udp)?;
    socket.set_reuse_port(true)?;
    // A smaller queue than asked for still works.
    let _ = socket.set_recv_buffer_size(RECEIVE_QUEUE_OCTETS);
    let _ = socket.set_send_buffer_size(SEND_QUEUE_OCTETS);
    // OMIT: no DF, and forged ICMP "too big" messages do not make us send fragments (RFC 9715
    // §3.1).
    let (level, discover, omit, packet_info) = if address.is_ipv4() {
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_OMIT, libc::IP_PKTINFO)
    } else {
        let packet_info = libc::IPV6_RECVPKTINFO;
        (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_OMIT, packet_info)
    };
    set_option(&socket, level, discover, omit)?;
    if address.ip().is_unspecified() {
        set_option(&socket, level, packet_info, 1)?;
    }
    socket.bind(&address.into())?;
    Ok(UdpSocket::new(socket.into()))
}

fn open_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address, Transport::Tcp)?;
    socket.set_reuse_port(true)?;
    // A restart must not wait for the last run's connections to end.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Non-blocking, closed on exec; an IPv6 socket is for IPv6 alone, so that `0.0.0.0` and `[::]` can
/// stand side by side and no IPv4-mapped client appears.
fn socket(address: SocketAddr, transport: Transport) -> io::Result<Socket> {
    let (kind, protocol) = match transport {
        Transport::Udp => (Type::DGRAM, Protocol::UDP),
        Transport::Tcp => (Type::STREAM, Protocol::TCP),
    };
    let socket = Socket::new(Domain::for_address(address), kind.nonblocking(), Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// `chosen` with the scope that a link-local `address` was given.
fn with_scope_of(mut chosen: SocketAddr, address: SocketAddr) -> SocketAddr {
    if let (SocketAddr::V6(chosen), SocketAddr::V6(given)) = (&mut chosen, address) {
        chosen.set_scope_id(given.scope_id());
    }
    chosen
}

fn set_option(socket: &Socket, level: i32, option: i32, value: i32) -> io::Result<()> {
    #[allow(clippy::cast_possible_truncation, reason = "4")]
    const OCTETS: libc::socklen_t = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the descriptor is open, and `value` outlives the call, which reads `OCTETS` of it.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), OCTETS)
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn refused(address: SocketAddr, transport: Transport, error: io::Error) -> BindError {
    let refusal = match error.raw_os_error() {
        Some(libc::EADDRINUSE) => Refusal::InUse(address.port()),
        Some(libc::EACCES | libc::EPERM) => Refusal::Denied(address.port()),
        Some(libc::EADDRNOTAVAIL) => Refusal::NoSuchAddress,
        Some(libc::EAFNOSUPPORT) => Refusal::NoFamily,
        _ => Refusal::Other(error),
    };
    BindError { address, transport, refusal }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(ip: &str) -> SocketAddr {
        SocketAddr::new(ip.parse().unwrap(), 0)
    }

    #[test]
    fn port_zero_gives_one_port_to_all_workers_and_both_transports() {
        let bound = bind(&[any("127.0.0.1"), any("::1")], 3).unwrap();
        assert_eq!(bound.len(), 2);
        for listeners in &bound {
            assert_ne!(listeners.address.port(), 0);
            assert_eq!((listeners.udp.len(), listeners.tcp.len()), (3, 3));
            let udp = listeners.udp.iter().map(|socket| socket.local_addr().unwrap());
            let tcp = listeners.tcp.iter().map(|socket| socket.local_addr().unwrap());
            for address in udp.chain(tcp) {
                assert_eq!(address, listeners.address);
            }
        }
    }

    #[test]
    fn a_port_of_another_program_is_named() {
        let theirs = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = theirs.local_addr().unwrap();
        let error = bind(&[address], 1).unwrap_err();
        assert_eq!(error.transport, Transport::Udp);
        assert!(error.to_string().contains(&format!("port {} is taken", address.port())));

        let theirs = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = bind(&[theirs.local_addr().unwrap()], 1).unwrap_err();
        assert_eq!(error.transport, Transport::Tcp, "{error}");
        assert!(matches!(error.refusal, Refusal::InUse(_)));
    }

    #[test]
    fn a_second_of_us_does_not_share_in_silence() {
        let first = bind(&[any("127.0.0.1")], 2).unwrap();
        let error = bind(&[first[0].address], 2).unwrap_err();
        assert!(matches!(error.refusal, Refusal::InUse(_)), "{error}");
        // The TCP half alone is enough to notice.
        let Listeners { address, udp, tcp } = first.into_iter().next().unwrap();
        drop(udp);
        let error = bind(&[address], 2).unwrap_err();
        assert_eq!(error.transport, Transport::Tcp);
        drop(tcp);
        bind(&[address], 2).unwrap();
    }

    #[test]
    fn a_wildcard_and_one_of_its_addresses_stand_side_by_side() {
        let port = bind(&[any("127.0.0.1")], 1).unwrap()[0].address.port();
        let both = [
            SocketAddr::new("127.0.0.1".parse().unwrap(), port),
            SocketAddr::new("0.0.0.0".parse().unwrap(), port),
            SocketAddr::new("::".parse().unwrap(), port),
        ];
        let bound = bind(&both, 2).unwrap();
        assert_eq!(bound.iter().map(|one| one.address).collect::<Vec<_>>(), both);
    }

    #[test]
    fn a_restart_does_not_wait_for_old_connections() {
        use std::io::Read;
        let first = bind(&[any("127.0.0.1")], 1).unwrap().remove(0);
        let mut client = std::net::TcpStream::connect(first.address).unwrap();
        let server = loop {
            match first.tcp[0].accept() {
                Ok((server, _)) => break server,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
        };
        // We close first, so TIME_WAIT stays on our side.
        drop(server);
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        drop(client);
        let address = first.address;
        drop(first);
        bind(&[address], 1).unwrap();
    }

    #[test]
    fn an_address_of_another_host_is_explained() {
        let error = bind(&["192.0.2.200:0".parse().unwrap()], 1).unwrap_err();
        assert!(matches!(error.refusal, Refusal::NoSuchAddress), "{error}");
        assert!(
            error.to_string().starts_with("cannot listen on 192.0.2.200:0 (UDP): no interface")
        );
    }

    #[test]
    fn refusals_say_what_to_do() {
        let address = "127.0.0.1:53".parse().unwrap();
        let denied = refused(address, Transport::Udp, io::Error::from_raw_os_error(libc::EACCES));
        assert!(denied.to_string().contains("CAP_NET_BIND_SERVICE"), "{denied}");
        assert!(denied.to_string().contains("above 1023"), "{denied}");
        let family =
            refused(address, Transport::Tcp, io::Error::from_raw_os_error(libc::EAFNOSUPPORT));
        assert!(matches!(family.refusal, Refusal::NoFamily));
    }
}
