//! Connections to upstreams: our own over TCP and TLS ([`super::frames`]), hickory's over HTTP and
//! QUIC. Only this file and `bootstrap` know its types.
//!
//! hickory dials, frames, multiplexes and reports a dead connection; what it decodes is thrown
//! away, and the reply's own octets are read by [`crate::wire`]. The id is 0 over HTTP and QUIC
//! (RFC 8484 §4.1, RFC 9250 §4.2.1); HTTP requests are POST. Limits that come with it: HTTP's
//! authority has no port, and where it would be an IPv6 address it is the address's name in ip6.arpa.

use std::future::pending;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::net::NetError;
use hickory_resolver::net::h2::HttpsClientStream;
use hickory_resolver::net::h3::H3ClientStream;
use hickory_resolver::net::quic::QuicClientStream;
use hickory_resolver::net::runtime::{RuntimeProvider, TokioRuntimeProvider};
use hickory_resolver::net::xfer::{DnsExchange, DnsHandle, FirstAnswer};
use hickory_resolver::proto::op::{DnsRequest, DnsRequestOptions, Message};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::failure::{TryError, kind_of};
use super::frames::{Ended, Frames};
use super::race::first_of;
use super::server::{Upstream, count};
use super::trust::Refusal;
use crate::config::{Scheme, UpstreamHost};

/// hickory's own time limit for a query; ours, the budget, ends before.
const HICKORY_TIMEOUT: Duration = Duration::from_secs(60);
/// Characters of a reason: servers have a say in what it is.
const REASON_CHARS: usize = 200;

type Exchange = DnsExchange<TokioRuntimeProvider>;

/// One link's way to open connections.
#[derive(Clone)]
pub(super) struct Dialler {
    upstream: Arc<Upstream>,
    scheme: Scheme,
    /// Holds the tasks that drive the connections: they end with it.
    provider: TokioRuntimeProvider,
}

/// An open connection; dropping it closes it when the last query that waits on it has gone.
pub(super) struct Channel {
    carrier: Carrier,
    scheme: Scheme,
    pub(super) peer: SocketAddr,
}

/// What carries queries and replies.
enum Carrier {
    /// TCP or TLS.
    Frames(Frames),
    /// HTTP or QUIC.
    Exchange(Exchange),
}

/// What went wrong on a connection or on the way to one.
pub(super) struct Fault {
    pub(super) error: TryError,
    /// For people.
    pub(super) reason: String,
    /// Nothing will come over this connection any more.
    pub(super) is_dead: bool,
}

impl Fault {
    pub(super) fn dead(error: TryError, reason: impl Into<String>) -> Self {
        Self { error, reason: reason.into(), is_dead: true }
    }
}

impl Channel {
    /// Sends the query and gives the octets of the reply; that it belongs to this query is checked,
    /// nothing else.
    pub(super) async fn ask(&self, query: &[u8]) -> Result<Vec<u8>, Fault> {
        let exchange = match &self.carrier {
            Carrier::Frames(frames) => return frames.ask(query).await.map_err(Fault::from),
            Carrier::Exchange(exchange) => exchange,
        };
        let message = Message::from_vec(query).map_err(|error| Fault {
            error: TryError::Garbled,
            reason: presentable(&error.to_string()),
            is_dead: false,
        })?;
        let request = DnsRequest::new(message, DnsRequestOptions::default());
        match exchange.send(request).first_answer().await {
            Ok(response) => Ok(response.into_parts().1),
            Err(error) => Err(fault(&error, self.scheme)),
        }
    }
}

impl Channel {
    /// Waits for the end of the connection, whether a query waits on it or not, and says why. Holds
    /// nothing open. Over HTTP and QUIC only a query finds out.
    pub(super) fn ended(&self) -> impl Future<Output = Fault> + use<> {
        let ended = match &self.carrier {
            Carrier::Frames(frames) => Some(frames.ended()),
            Carrier::Exchange(_) => None,
        };
        async {
            match ended {
                Some(ended) => ended.await.into(),
                None => pending().await,
            }
        }
    }
}

impl From<Ended> for Fault {
    fn from(Ended { kind, reason }: Ended) -> Self {
        Self::dead(io_error(kind), presentable(&reason))
    }
}

impl Dialler {
    /// `scheme` is how connections to the server are made: TCP for plain ones.
    pub(super) fn new(upstream: Arc<Upstream>, scheme: Scheme) -> Self {
        Self { upstream, scheme, provider: TokioRuntimeProvider::new() }
    }

    /// Opens a connection, to `preferred` first if it is one of the server's addresses, and to no
    /// other one if it is `alone`. Has no time limit of its own.
    pub(super) async fn dial(
        self,
        preferred: Option<SocketAddr>,
        alone: bool,
    ) -> Result<Channel, Fault> {
        if let Some(address) = preferred.filter(|_| alone) {
            return self.dial_at(address).await;
        }
        let mut addresses = self.addresses().await?;
        // Stable: the others keep their order.
        addresses.sort_by_key(|address| Some(*address) != preferred);
        let dials = addresses.into_iter().map(|address| self.dial_at(address));
        first_of(dials).await.map_err(|mut faults| {
            let told = faults.iter().position(|fault| fault.error == TryError::Untrusted);
            match told {
                Some(place) => faults.swap_remove(place),
                None => faults.pop().unwrap_or_else(|| no_address("the host has no address")),
            }
        })
    }

    async fn addresses(&self) -> Result<Vec<SocketAddr>, Fault> {
        match &self.upstream.server().host {
            UpstreamHost::Address(address) => Ok(vec![*address]),
            UpstreamHost::Name { name, port } => {
                let addresses = self.upstream.bootstrap().addresses(name).await;
                let addresses = addresses.map_err(|reason| no_address(&reason))?;
                Ok(addresses.into_iter().map(|ip| SocketAddr::new(ip, *port)).collect())
            }
        }
    }

    async fn dial_at(&self, address: SocketAddr) -> Result<Channel, Fault> {
        count(&self.upstream.counters.tcp_dials);
        let carrier = match self.scheme {
            Scheme::Plain | Scheme::Tcp => match connect(address).await {
                Ok(stream) => Ok(Carrier::Frames(Frames::new(stream))),
                Err(error) => Err((NetError::from(error), None)),
            },
            Scheme::Tls | Scheme::Https | Scheme::Quic | Scheme::H3 => {
                let (name, config, refusal) = self.identity(address)?;
                let carrier = self.encrypted(address, name, config).await;
                carrier.map_err(|error| (error, Some(refusal)))
            }
        };
        match carrier {
            Ok(carrier) => Ok(Channel { carrier, scheme: self.scheme, peer: address }),
            Err((error, refusal)) => match refusal.as_ref().and_then(Refusal::take) {
                Some(reason) => Err(Fault::dead(TryError::Untrusted, presentable(&reason))),
                None => Err(fault(&error, self.scheme)),
            },
        }
    }

    async fn encrypted(
        &self,
        address: SocketAddr,
        name: ServerName<'static>,
        config: ClientConfig,
    ) -> Result<Carrier, NetError> {
        let provider = self.provider.clone();
        let path: Arc<str> = Arc::from(self.upstream.server().path.as_str());
        // Not connected: it follows a change of routes.
        let socket = || {
            let any: IpAddr = match address {
                SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            let binder = provider.quic_binder().ok_or(io::ErrorKind::Unsupported)?;
            binder.bind_quic((any, 0).into(), address)
        };
        let exchange = match self.scheme {
            Scheme::Plain | Scheme::Tcp | Scheme::Tls => {
                let stream = connect(address).await?;
                let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
                return Ok(Carrier::Frames(Frames::new(stream)));
            }
            Scheme::Https => {
                let mut builder = HttpsClientStream::builder(Arc::new(config), provider);
                builder.request_timeout(HICKORY_TIMEOUT);
                builder.exchange(address, in_http(&name), path).await
            }
            Scheme::Quic => {
                let builder = QuicClientStream::builder().crypto_config(config);
                let builder = builder.request_timeout(HICKORY_TIMEOUT);
                let socket = socket()?;
                builder.exchange(socket, address, Arc::from(name.to_str()), provider).await
            }
            Scheme::H3 => {
                let builder = H3ClientStream::builder().crypto_config(config);
                let builder = builder.request_timeout(HICKORY_TIMEOUT);
                let socket = socket()?;
                builder.exchange(socket, address, in_http(&name), path, provider).await
            }
        };
        exchange.map(Carrier::Exchange)
    }

    /// Whom we mean, and what makes sure of it.
    fn identity(
        &self,
        address: SocketAddr,
    ) -> Result<(ServerName<'static>, ClientConfig, Refusal), Fault> {
        let server = self.upstream.server();
        let text = match (&server.tls_name, &server.host) {
            (Some(name), _) => name.clone(),
            (None, UpstreamHost::Name { name, .. }) => name.to_string(),
            (None, UpstreamHost::Address(_)) => address.ip().to_string(),
        };
        let text = text.strip_suffix('.').unwrap_or(&text);
        let untrusted = |reason: String| Fault::dead(TryError::Untrusted, presentable(&reason));
        let name = ServerName::try_from(text)
            .map_err(|_| untrusted(format!("{text} is no name that a certificate can have")))?
            .to_owned();
        let alpn: Option<&[u8]> = match self.scheme {
            Scheme::Https => Some(b"h2"),
            Scheme::Quic => Some(b"doq"),
            Scheme::H3 => Some(b"h3"),
            // As hickory has it: servers need none, and some refuse what they do not know.
            Scheme::Plain | Scheme::Tcp | Scheme::Tls => None,
        };
        let config = self.upstream.authorities.client_config(&server.trust, name.clone(), alpn);
        let (config, refusal) = config.map_err(|why| match why.is_own_shortage {
            true => Fault::dead(TryError::OwnShortage, presentable(&why.reason)),
            false => untrusted(why.reason),
        })?;
        Ok((name, config, refusal))
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// What an error of a stream means: TLS calls octets that are none of its own invalid, and we call
/// replies so that no query asked for.
fn io_error(kind: io::ErrorKind) -> TryError {
    match kind {
        io::ErrorKind::InvalidData => TryError::Garbled,
        kind => TryError::of_kind(kind),
    }
}

/// hickory takes one text for TLS and for HTTP's authority, and an IPv6 address is written in two
/// ways there. What is told to TLS does not matter: `trust` knows whom we mean.
fn in_http(name: &ServerName<'_>) -> Arc<str> {
    match name.to_str().parse::<Ipv6Addr>() {
        Ok(address) => {
            let nibbles = address.octets().into_iter().rev().flat_map(|o| [o & 15, o >> 4]);
            let labels = nibbles.map(|nibble| format!("{nibble:x}."));
            Arc::from(labels.chain(["ip6.arpa".to_owned()]).collect::<String>())
        }
        Err(_) => Arc::from(name.to_str()),
    }
}

fn no_address(reason: &str) -> Fault {
    let error = TryError::Unreachable(io::ErrorKind::AddrNotAvailable);
    Fault::dead(error, presentable(reason))
}

/// Whose fault `error` is, and whether the connection is still good.
fn fault(error: &NetError, scheme: Scheme) -> Fault {
    let is_http = matches!(scheme, Scheme::Https | Scheme::H3);
    let (blame, is_dead) = match error {
        NetError::Io(error) => (io_error(kind_of(error)), true),
        NetError::Timeout => (TryError::Unreachable(io::ErrorKind::TimedOut), true),
        NetError::Proto(_) | NetError::QuicMessageIdNot0(_) | NetError::RequestTooLarge => {
            (TryError::Garbled, false)
        }
        // A status that is not success, or headers that make no sense: the connection is fine.
        NetError::Msg(_) | NetError::Decode(_) | NetError::ParseInt(_) if is_http => {
            (TryError::Garbled, false)
        }
        // The server will not do this one request.
        NetError::H2(reset) if reset.is_reset() && !error.is_connection_closed() => {
            (TryError::Garbled, false)
        }
        // The connection's task is gone, before or after it took the query, or the peer closed.
        _ => (TryError::Unreachable(io::ErrorKind::ConnectionReset), true),
    };
    Fault { error: blame, reason: presentable(&error.to_string()), is_dead }
}

/// One short line: parts of it may be the server's words.
fn presentable(reason: &str) -> String {
    reason.chars().filter(|c| !c.is_control()).take(REASON_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_has_a_name_in_http() {
        let shown = |text: &str| in_http(&ServerName::try_from(text).unwrap()).to_string();
        assert_eq!(shown("dns.example"), "dns.example");
        assert_eq!(shown("192.0.2.1"), "192.0.2.1");
        let reverse = "4.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.d.f.ip6.arpa";
        assert_eq!(shown("fd01::4"), reverse);
        assert!(ServerName::try_from(reverse).is_ok());
    }

    #[test]
    fn an_http_status_is_no_reason_to_dial() {
        let status = NetError::Msg("http unsuccessful code: 404 Not Found, message: ".to_owned());
        for (scheme, is_dead) in [(Scheme::Https, false), (Scheme::H3, false), (Scheme::Tls, true)]
        {
            let fault = fault(&status, scheme);
            assert_eq!((fault.is_dead, fault.reason.contains("404")), (is_dead, true));
        }
    }

    #[test]
    fn reasons_are_one_short_line() {
        let words = format!("http 500\r\n\u{1b}[31m{}", "x".repeat(70_000));
        let shown = presentable(&words);
        assert!(shown.starts_with("http 500[31mxx"), "{shown}");
        assert_eq!(shown.chars().count(), REASON_CHARS);
    }
}
