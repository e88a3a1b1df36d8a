//! Opening the sockets that listen: for each address a UDP socket and a TCP listener a worker.
//!
//! `SO_REUSEPORT` lets the workers share a port, and would let any process of the same user share
//! it in silence, each getting a part of the queries. So every address is first *claimed*: bound
//! without the option, which fails if anybody is there. The claim then gets the option and is held
//! until the workers' sockets stand beside it, so that there is no gap, not even for port 0.
//!
//! An address that no interface has yet (of VRRP, of a tunnel), or whose interface is not there yet,
//! is missing and no error, as long as another one can be had: [`bind_late`] tries it again. With
//! `freebind` the kernel gives a socket any address, and queries come as soon as an interface has it;
//! but a link-local address must have its interface.

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;

use socket2::{Domain, Protocol, Socket, Type};

use super::scoped::ScopedAddress;
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

/// The first port that everybody may bind, unless the system says otherwise.
const UNPRIVILEGED: u16 = 1_024;
/// Where it says so.
const UNPRIVILEGED_FILE: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";

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
    pub address: ScopedAddress,
    /// The socket that failed.
    pub transport: Transport,
    /// Why, and what to do.
    pub refusal: Refusal,
}

impl BindError {
    /// Whether the address may be had as soon as an interface has it, or its interface comes.
    pub fn is_absent(&self) -> bool {
        matches!(self.refusal, Refusal::NoSuchAddress | Refusal::NoInterface)
    }
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
         the address comes later, set freebind = true in [listen], or list a second address that \
         this host has: then the daemon starts and waits for this one"
    )]
    NoSuchAddress,
    /// No interface of this host has this name or number.
    #[error(
        "this host has no such network interface; `ip link` lists them; if the interface comes \
         later, list a second address that this host has: then the daemon starts and waits for \
         this one"
    )]
    NoInterface,
    /// The kernel has no such protocol.
    #[error("this host does not speak this address family; leave the address out")]
    NoFamily,
    /// Anything else.
    #[error("{0}")]
    Other(io::Error),
}

/// What [`bind`] opened, and what it could not open yet.
#[derive(Debug)]
pub struct Opened {
    /// In the order given; at least one.
    pub listeners: Vec<Listeners>,
    /// Addresses that no interface has, or whose interface is not there.
    pub missing: Vec<ScopedAddress>,
}

/// Opens the sockets of `addresses` for `workers` threads (at least one). `freebind` takes addresses
/// that no interface has, but none whose interface is not there.
///
/// # Errors
/// The first address that cannot be had, now or later, or the first one if all of them are missing.
/// Nothing stays open then.
pub fn bind(
    addresses: &[ScopedAddress],
    workers: usize,
    freebind: bool,
) -> Result<Opened, BindError> {
    let mut absent = None;
    let mut claims = Vec::with_capacity(addresses.len());
    let mut opened = Opened { listeners: Vec::new(), missing: Vec::new() };
    for address in addresses {
        match Claim::new(address, addresses, freebind) {
            Ok(claim) => claims.push((address, claim)),
            Err(error) if error.is_absent() => {
                opened.missing.push(address.clone());
                absent.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    for (address, claim) in &claims {
        match claim.open(address, workers, freebind) {
            Ok(listeners) => opened.listeners.push(listeners),
            Err(error) if error.is_absent() => {
                opened.missing.push((*address).clone());
                absent.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    match absent {
        Some(error) if opened.listeners.is_empty() => Err(error),
        _ => Ok(opened),
    }
}

/// Opens the sockets of `address`, one of `all`, which may be had by now. The others may be open.
/// `freebind` as in [`bind`].
///
/// # Errors
/// Why the address cannot be had.
pub fn bind_late(
    address: &ScopedAddress,
    all: &[ScopedAddress],
    workers: usize,
    freebind: bool,
) -> Result<Listeners, BindError> {
    Claim::new(address, all, freebind)?.open(address, workers, freebind)
}

/// Returns the first port that a process without CAP_NET_BIND_SERVICE may listen on (ip(7)).
pub fn first_unprivileged_port() -> u16 {
    let text = std::fs::read_to_string(UNPRIVILEGED_FILE).unwrap_or_default();
    text.trim().parse().unwrap_or(UNPRIVILEGED)
}

/// Opens a TCP listener for one thread, with room for `backlog` connections that wait for `accept`.
/// Port 0 is replaced by the one chosen.
///
/// # Errors
/// Why the address cannot be had.
pub fn bind_tcp(
    address: &ScopedAddress,
    backlog: i32,
    freebind: bool,
) -> Result<TcpListener, BindError> {
    let at = resolved(address, Transport::Tcp)?;
    let open = || {
        let socket = socket(at, Transport::Tcp, freebind)?;
        // Only connections that still end (TIME_WAIT) are passed over by this, not listeners.
        socket.set_reuse_address(true)?;
        socket.bind(&at.into())?;
        socket.listen(backlog)?;
        Ok(TcpListener::from(socket))
    };
    open().map_err(|error| refused(address, Transport::Tcp, error))
}

/// `address` by the interfaces of now.
fn resolved(address: &ScopedAddress, transport: Transport) -> Result<SocketAddr, BindError> {
    address.socket().map_err(|_| BindError {
        address: address.clone(),
        transport,
        refusal: Refusal::NoInterface,
    })
}

/// A wildcard of ours on the same port claims `address` too, and would be in its way.
fn covered(address: SocketAddr, all: &[ScopedAddress]) -> bool {
    all.iter().any(|other| {
        other.ip() != address.ip()
            && other.port() == address.port()
            && other.port() != 0
            && other.is_ipv4() == address.is_ipv4()
            && other.ip().is_unspecified()
    })
}

/// Proof that nobody else listens on `address`, for as long as it lives.
struct Claim {
    address: SocketAddr,
    /// None where a wildcard of ours claims the address too.
    _sockets: Option<[Socket; 2]>,
}

impl Claim {
    /// Claims `address`, one of `all`.
    fn new(
        address: &ScopedAddress,
        all: &[ScopedAddress],
        freebind: bool,
    ) -> Result<Self, BindError> {
        let at = resolved(address, Transport::Udp)?;
        if covered(at, all) {
            return Ok(Self { address: at, _sockets: None });
        }
        let mut tries = PORT_TRIES;
        loop {
            let claimed = Self::once(address, at, freebind);
            tries -= 1;
            match claimed {
                // A random port, free for UDP, that TCP has not: another may do.
                Err(BindError {
                    transport: Transport::Tcp, refusal: Refusal::InUse(_), ..
                }) if at.port() == 0 && tries > 0 => {}
                other => return other,
            }
        }
    }

    /// `at` is `address` by the interfaces of now.
    fn once(address: &ScopedAddress, at: SocketAddr, freebind: bool) -> Result<Self, BindError> {
        let udp = claim_udp(at, freebind);
        let (udp, chosen) = udp.map_err(|error| refused(address, Transport::Udp, error))?;
        let tcp = claim_tcp(chosen, freebind);
        let at_chosen = || address.at_port(chosen.port());
        let tcp = tcp.map_err(|error| refused(&at_chosen(), Transport::Tcp, error))?;
        Ok(Self { address: chosen, _sockets: Some([udp, tcp]) })
    }

    /// Opens the sockets of so many workers (at least one); `address` is what was claimed.
    fn open(
        &self,
        address: &ScopedAddress,
        workers: usize,
        freebind: bool,
    ) -> Result<Listeners, BindError> {
        let address = &address.at_port(self.address.port());
        let (mut udp, mut tcp) = (Vec::new(), Vec::new());
        for _ in 0..workers.max(1) {
            let opened = open_udp(self.address, freebind);
            udp.push(opened.map_err(|error| refused(address, Transport::Udp, error))?);
            let opened = open_tcp(self.address, freebind);
            tcp.push(opened.map_err(|error| refused(address, Transport::Tcp, error))?);
        }
        Ok(Listeners { address: self.address, udp, tcp })
    }
}

fn claim_udp(address: SocketAddr, freebind: bool) -> io::Result<(Socket, SocketAddr)> {
    let socket = socket(address, Transport::Udp, freebind)?;
    socket.bind(&address.into())?;
    let bound = socket.local_addr()?.as_socket();
    let chosen = SocketAddr::new(address.ip(), bound.map_or(address.port(), |bound| bound.port()));
    socket.set_reuse_port(true)?;
    Ok((socket, with_scope_of(chosen, address)))
}

fn claim_tcp(address: SocketAddr, freebind: bool) -> io::Result<Socket> {
    let socket = socket(address, Transport::Tcp, freebind)?;
    // Only connections that still end (TIME_WAIT) are passed over by this, not listeners.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.set_reuse_port(true)?;
    Ok(socket)
}

fn open_udp(address: SocketAddr, freebind: bool) -> io::Result<UdpSocket> {
    let socket = socket(address, Transport::Udp, freebind)?;
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

fn open_tcp(address: SocketAddr, freebind: bool) -> io::Result<TcpListener> {
    let socket = socket(address, Transport::Tcp, freebind)?;
    socket.set_reuse_port(true)?;
    // A restart must not wait for the last run's connections to end.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Non-blocking, closed on exec; an IPv6 socket is for IPv6 alone, so that `0.0.0.0` and `[::]` can
/// stand side by side and no IPv4-mapped client appears.
fn socket(address: SocketAddr, transport: Transport, freebind: bool) -> io::Result<Socket> {
    let (kind, protocol) = match transport {
        Transport::Udp => (Type::DGRAM, Protocol::UDP),
        Transport::Tcp => (Type::STREAM, Protocol::TCP),
    };
    let socket = Socket::new(Domain::for_address(address), kind.nonblocking(), Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if freebind {
        let (level, option) = if address.is_ipv4() {
            (libc::IPPROTO_IP, libc::IP_FREEBIND)
        } else {
            (libc::IPPROTO_IPV6, libc::IPV6_FREEBIND)
        };
        set_option(&socket, level, option, 1)?;
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

fn refused(address: &ScopedAddress, transport: Transport, error: io::Error) -> BindError {
    let refusal = match error.raw_os_error() {
        Some(libc::EADDRINUSE) => Refusal::InUse(address.port()),
        Some(libc::EACCES | libc::EPERM) => Refusal::Denied(address.port()),
        Some(libc::EADDRNOTAVAIL) => Refusal::NoSuchAddress,
        Some(libc::ENODEV) => Refusal::NoInterface,
        Some(libc::EAFNOSUPPORT) => Refusal::NoFamily,
        _ => Refusal::Other(error),
    };
    BindError { address: address.clone(), transport, refusal }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        })
    }
}
