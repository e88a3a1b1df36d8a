//! One question about the addresses of a host to one server, through hickory's resolver.
//!
//! hickory takes a new socket with a random port for each datagram. We have it send names in random
//! case. Where the reply has another case, hickory asks again over TCP.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hickory_resolver::Resolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::{
    DnsUdpSocket, RuntimeProvider, TokioRuntimeProvider, TokioTime,
};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name as HickoryName, RecordType};

use super::failure::{kind_of, kind_of_connect};
use crate::addresses::Class;
use crate::config::{Scheme, UpstreamServer};
use crate::wire::Name;

/// hickory's time limit for one try, in which it sends up to three datagrams, 333 ms apart at least.
const HICKORY_TRY: Duration = Duration::from_secs(2);
/// Tries after the first one: four seconds in all. What comes later is asked for again.
const HICKORY_RETRIES: usize = 1;

/// A family of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Family {
    /// IPv4, the records of type A.
    Four,
    /// IPv6, the records of type AAAA.
    Six,
}

impl Family {
    pub(super) const BOTH: [Self; 2] = [Self::Four, Self::Six];

    pub(super) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::Four } else { Self::Six }
    }

    pub(super) fn other(self) -> Self {
        match self {
            Self::Four => Self::Six,
            Self::Six => Self::Four,
        }
    }

    fn record_type(self) -> RecordType {
        match self {
            Self::Four => RecordType::A,
            Self::Six => RecordType::AAAA,
        }
    }
}

/// Addresses of one family, at least one, and for how long they may be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Found {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) ttl: Duration,
}

/// Why a server gave no address of one family.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Miss {
    /// The server says that there is none (NXDOMAIN or NODATA), which may be used for so long.
    Denied {
        /// Zero where the server does not say it.
        ttl: Duration,
        /// For people.
        reason: String,
    },
    /// The server did not say it. The text is for people.
    Failed(String),
    /// This host had no descriptor or memory left to ask. The text is for people.
    OwnShortage(String),
}

/// Asks `server` for the addresses of `name`. Takes 4 s at most, twice that if the server changes the case
/// of names.
///
/// # Errors
/// Why there is none.
pub(super) async fn ask(
    name: &Name,
    family: Family,
    server: &UpstreamServer,
) -> Result<Found, Miss> {
    let says = |error: &dyn std::fmt::Display| format!("{server}: {error}");
    let failed = |error: &dyn std::fmt::Display| Miss::Failed(says(error));
    let address = server.address().ok_or_else(|| failed(&"no address"))?;
    let address = address.socket().map_err(|error| failed(&error))?;
    let mut name = HickoryName::from_ascii(name.to_string()).map_err(|error| failed(&error))?;
    name.set_fqdn(true);
    let sockets = Sockets::towards(address);
    let mut outcome = resolve(&name, family, server.scheme, &sockets, true).await;
    // Replies came and none would do: the server may change the case, and have no TCP.
    if matches!(&outcome, Err(error) if !is_from_server(error)) && sockets.notes.heard() {
        outcome = resolve(&name, family, server.scheme, &sockets, false).await;
    }
    match outcome {
        Ok(found) if !found.addresses.is_empty() => Ok(found),
        Ok(found) => Err(Miss::Denied { ttl: found.ttl, reason: says(&"no usable address") }),
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => Err(Miss::Denied {
            ttl: Duration::from_secs(none.negative_ttl.unwrap_or(0).into()),
            reason: says(&format_args!(
                "{} and no {} record",
                none.response_code,
                family.record_type()
            )),
        }),
        Err(_) if sockets.notes.is_short.load(Ordering::Relaxed) => Err(Miss::OwnShortage(says(
            &"no file descriptor, memory or port is left here to ask it",
        ))),
        Err(error) => Err(failed(&error)),
    }
}

/// Whether the server itself has answered so.
fn is_from_server(error: &NetError) -> bool {
    matches!(error, NetError::Dns(_))
}

/// One resolver for one lookup: connections of a longer-lived one would belong to one worker.
async fn resolve(
    name: &HickoryName,
    family: Family,
    scheme: Scheme,
    sockets: &Sockets,
    case_randomization: bool,
) -> Result<Found, NetError> {
    let mut connections = match scheme {
        Scheme::Tcp => vec![ConnectionConfig::tcp()],
        _ => vec![ConnectionConfig::udp(), ConnectionConfig::tcp()],
    };
    connections.iter_mut().for_each(|connection| connection.port = sockets.server.port());
    // A server that knows only inner names may deny outer ones: the next is asked.
    let servers = vec![NameServerConfig::new(sockets.server.ip(), false, connections)];
    let mut options = ResolverOpts::default();
    options.cache_size = 0;
    options.timeout = HICKORY_TRY;
    options.attempts = HICKORY_RETRIES;
    options.use_hosts_file = ResolveHosts::Never;
    options.case_randomization = case_randomization;
    let config = ResolverConfig::from_name_servers(servers);
    let resolver = Resolver::builder_with_config(config, sockets.clone());
    let resolver = resolver.with_options(options).build()?;
    let found = resolver.lookup(name.clone(), family.record_type()).await?;
    let addresses = found.answers().iter().filter_map(|record| record.data.ip_addr());
    let addresses =
        addresses.filter(|address| Family::of(*address) == family && is_usable(*address));
    let ttl = found.answers().iter().map(|record| record.ttl).min().unwrap_or(0);
    Ok(Found { addresses: addresses.collect(), ttl: Duration::from_secs(ttl.into()) })
}

/// Whether a connection to `address` can lead to the host: an IPv6 link-local address from a record
/// has no interface.
fn is_usable(address: IpAddr) -> bool {
    match Class::of(address) {
        Class::Unspecified | Class::Multicast => false,
        Class::LinkLocal => address.is_ipv4(),
        _ => true,
    }
}

/// hickory's way to sockets: tokio's, but always towards `server`, because hickory's own addresses of
/// servers have no place for an interface. Takes note of what hickory's errors lose.
#[derive(Clone)]
struct Sockets {
    server: SocketAddr,
    inner: TokioRuntimeProvider,
    notes: Arc<Notes>,
}

#[derive(Default)]
struct Notes {
    /// A datagram came.
    is_heard: AtomicBool,
    /// A socket failed because this host lacks a descriptor, memory or a port.
    is_short: AtomicBool,
}

impl Notes {
    fn heard(&self) -> bool {
        self.is_heard.load(Ordering::Relaxed)
    }

    /// Takes note of what a socket call brought; `kind` says whether its error is a shortage.
    fn note<T>(
        &self,
        outcome: io::Result<T>,
        kind: impl FnOnce(&io::Error) -> io::ErrorKind,
    ) -> io::Result<T> {
        if let Err(error) = &outcome
            && kind(error) == io::ErrorKind::OutOfMemory
        {
            self.is_short.store(true, Ordering::Relaxed);
        }
        outcome
    }
}

impl Sockets {
    fn towards(server: SocketAddr) -> Self {
        Self { server, inner: TokioRuntimeProvider::new(), notes: Arc::default() }
    }
}

type Opening<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

impl RuntimeProvider for Sockets {
    type Handle = <TokioRuntimeProvider as RuntimeProvider>::Handle;
    type Timer = <TokioRuntimeProvider as RuntimeProvider>::Timer;
    type Udp = Datagrams;
    type Tcp = <TokioRuntimeProvider as RuntimeProvider>::Tcp;

    fn create_handle(&self) -> Self::Handle {
        self.inner.create_handle()
    }

    fn connect_tcp(
        &self,
        _: SocketAddr,
        local: Option<SocketAddr>,
        wait_for: Option<Duration>,
    ) -> Opening<Self::Tcp> {
        let stream = self.inner.connect_tcp(self.server, local, wait_for);
        let (server, notes) = (self.server, Arc::clone(&self.notes));
        Box::pin(async move { notes.note(stream.await, |error| kind_of_connect(error, server)) })
    }

    fn bind_udp(&self, local: SocketAddr, _: SocketAddr) -> Opening<Self::Udp> {
        let socket = self.inner.bind_udp(local, self.server);
        let (server, notes) = (self.server, Arc::clone(&self.notes));
        Box::pin(async move {
            // hickory draws a port itself first, which may be taken, and asks the kernel for one last.
            let kind = |error: &io::Error| match local.port() {
                0 => kind_of_connect(error, server),
                _ => kind_of(error),
            };
            let socket = notes.note(socket.await, kind)?;
            Ok(Datagrams { socket, server, notes })
        })
    }
}

/// A socket that sends to one server.
struct Datagrams {
    socket: <TokioRuntimeProvider as RuntimeProvider>::Udp,
    server: SocketAddr,
    notes: Arc<Notes>,
}

impl DnsUdpSocket for Datagrams {
    type Time = TokioTime;

    fn poll_recv_from(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let received = DnsUdpSocket::poll_recv_from(&self.socket, context, buffer);
        if matches!(&received, Poll::Ready(Ok((_, from))) if is_from(*from, self.server)) {
            self.notes.is_heard.store(true, Ordering::Relaxed);
        }
        received
    }

    fn poll_send_to(
        &self,
        context: &mut Context<'_>,
        octets: &[u8],
        _: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        let sent = DnsUdpSocket::poll_send_to(&self.socket, context, octets, self.server);
        sent.map(|sent| self.notes.note(sent, kind_of))
    }
}

fn is_from(peer: SocketAddr, server: SocketAddr) -> bool {
    (peer.ip(), peer.port()) == (server.ip(), server.port())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use tokio::net::UdpSocket;
    use tokio::task::spawn_local;

    use super::*;
    use crate::upstream::tests::{local, reply, tcp_and_udp, udp_server};

    fn name() -> Name {
        "resolver.dns.example".parse().unwrap()
    }

    /// The octets of the name in a query.
    fn name_in(query: &[u8]) -> Vec<u8> {
        query[12..12 + 22].to_vec()
    }

    async fn ask_for(family: Family, address: SocketAddr) -> Result<Found, Miss> {
        ask(&name(), family, &UpstreamServer::plain(address)).await
    }

    #[tokio::test]
    async fn addresses_come_with_their_ttl() {
        local(async {
            let server = udp_server(|query| vec![reply(query, 0, 2)]).await;
            let addresses = ["10.0.0.0", "10.0.0.1"].map(|text| text.parse().unwrap()).to_vec();
            let found = Found { addresses, ttl: Duration::from_secs(60) };
            assert_eq!(ask_for(Family::Four, server).await, Ok(found));
            // The records are of type A, so there is none of the other type.
            let miss = ask_for(Family::Six, server).await.unwrap_err();
            assert!(matches!(miss, Miss::Denied { .. }), "{miss:?}");
        })
        .await;
    }

    #[tokio::test]
    async fn what_a_server_says_tells_none_from_a_failure() {
        for (rcode, is_denied) in [(0, true), (3, true), (2, false), (5, false)] {
            local(async move {
                let server = udp_server(move |query| vec![reply(query, rcode, 0)]).await;
                let miss = ask_for(Family::Six, server).await.unwrap_err();
                assert_eq!(matches!(miss, Miss::Denied { .. }), is_denied, "{miss:?}");
                let (Miss::Denied { reason, .. } | Miss::Failed(reason)) = miss else {
                    panic!("no shortage")
                };
                assert!(reason.starts_with(&server.to_string()), "{reason}");
            })
            .await;
        }
    }

    #[tokio::test]
    async fn names_leave_in_random_case_and_ports_vary() {
        local(async {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let server = socket.local_addr().unwrap();
            let seen = Rc::new(RefCell::new((Vec::new(), Vec::new())));
            let into = Rc::clone(&seen);
            spawn_local(async move {
                let mut buffer = [0; 512];
                loop {
                    let (octets, peer) = socket.recv_from(&mut buffer).await.unwrap();
                    into.borrow_mut().0.push(name_in(&buffer[..octets]));
                    into.borrow_mut().1.push(peer.port());
                    socket.send_to(&reply(&buffer[..octets], 0, 1), peer).await.unwrap();
                }
            });
            for _ in 0..20 {
                ask_for(Family::Four, server).await.unwrap();
            }
            let (names, ports) = &mut *seen.borrow_mut();
            for all in [names.len(), ports.len()] {
                assert!(all >= 20, "{all}");
            }
            names.sort_unstable();
            names.dedup();
            ports.sort_unstable();
            ports.dedup();
            // Of 2^18 cases, and of 64,512 ports.
            assert!(names.len() >= 18, "{} cases", names.len());
            assert!(ports.len() >= 18, "{} ports", ports.len());
        })
        .await;
    }

    #[tokio::test]
    async fn a_server_that_changes_the_case_is_asked_over_tcp_or_without() {
        let folded = |query: &[u8]| {
            let mut reply = reply(query, 0, 1);
            reply[12..12 + 22].make_ascii_lowercase();
            reply
        };
        local(async move {
            let server = udp_server(move |query| vec![folded(query)]).await;
            assert_eq!(ask_for(Family::Four, server).await.unwrap().addresses.len(), 1);

            let (listener, socket) = tcp_and_udp().await;
            let server = listener.local_addr().unwrap();
            spawn_local(async move {
                let mut buffer = [0; 512];
                loop {
                    let (octets, peer) = socket.recv_from(&mut buffer).await.unwrap();
                    socket.send_to(&folded(&buffer[..octets]), peer).await.unwrap();
                }
            });
            spawn_local(async move {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let query = crate::upstream::tests::read_query(&mut stream).await.unwrap();
                    let reply = reply(&query, 0, 3);
                    crate::upstream::tests::write_reply(&mut stream, &reply).await.unwrap();
                }
            });
            assert_eq!(ask_for(Family::Four, server).await.unwrap().addresses.len(), 3);
        })
        .await;
    }

    #[test]
    fn addresses_that_lead_to_no_host_are_left_out() {
        for (text, fits) in [
            ("10.0.0.4", true),
            ("169.254.0.4", true),
            ("fd00::4", true),
            ("127.0.0.1", true),
            ("fe80::4", false),
            ("ff02::fb", false),
            ("224.0.0.1", false),
            ("0.0.0.0", false),
            ("::", false),
        ] {
            assert_eq!(is_usable(text.parse().unwrap()), fits, "{text}");
        }
    }

    #[test]
    fn only_what_this_host_lacks_is_a_shortage() {
        let server = SocketAddr::from(([127, 0, 0, 1], 53));
        for (errno, is_short) in
            [(libc::EMFILE, true), (libc::EADDRINUSE, true), (libc::ENETUNREACH, false)]
        {
            let notes = Notes::default();
            let outcome: io::Result<()> = Err(io::Error::from_raw_os_error(errno));
            assert!(notes.note(outcome, |error| kind_of_connect(error, server)).is_err());
            assert_eq!(notes.is_short.load(Ordering::Relaxed), is_short);
        }
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_no_shortage() {
        let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let _holder = std::net::UdpSocket::bind(taken).unwrap();
        let sockets = Sockets::towards(taken);
        assert!(sockets.bind_udp(taken, taken).await.is_err());
        assert!(!sockets.notes.is_short.load(Ordering::Relaxed));
    }
}
