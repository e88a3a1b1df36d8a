//! One probe of one address.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::config::{Probe, Target};
use crate::upstream::{certificate_fault, trusting_system};
use crate::zones::Fault;

/// Probes `target` once, for `limit` at most.
pub async fn probe_once(target: &Target, limit: Duration) -> Result<(), Fault> {
    timeout(limit, Dial.attempt(target)).await.unwrap_or(Err(Fault::Timeout))
}

/// One probe, without a time limit. Tests have others.
pub(super) trait Attempt {
    fn attempt(&self, target: &Target) -> impl Future<Output = Result<(), Fault>>;
}

/// Through the network.
pub(super) struct Dial;

impl Attempt for Dial {
    async fn attempt(&self, target: &Target) -> Result<(), Fault> {
        let stream = connect(target.socket()).await?;
        // Closed with a reset: a connection a second to thousands of addresses would leave as many
        // behind for a minute each (TIME-WAIT). Where it cannot be had, they are left.
        let _kept = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        match &target.probe {
            Probe::Tcp { .. } | Probe::Tls { name: None, .. } => Ok(()),
            Probe::Tls { name: Some(name), .. } => shake_hands(stream, name).await,
        }
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, Fault> {
    let mut connecting = pin!(TcpStream::connect(address));
    // What comes at once is said by this host; anybody else is heard through the reactor.
    let at_once = poll_fn(|context| Poll::Ready(connecting.as_mut().poll(context))).await;
    let (connected, was_sent) = match at_once {
        Poll::Ready(connected) => (connected, false),
        Poll::Pending => (connecting.await, true),
    };
    connected.map_err(|error| unreached(&error, was_sent))
}

/// Why there is no connection. What this host says without having asked anybody is no word about the
/// address: no route (that of a family that this host does not have, or of a link that is down), no
/// socket left, a firewall of its own. A gateway without a route says the same, but only when
/// something `was_sent`.
pub(super) fn unreached(error: &io::Error, was_sent: bool) -> Fault {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Fault::Refused,
        io::ErrorKind::HostUnreachable => Fault::Unreachable,
        io::ErrorKind::NetworkUnreachable if was_sent => Fault::Unreachable,
        io::ErrorKind::TimedOut => Fault::Timeout,
        _ => Fault::Ours(error.to_string()),
    }
}

async fn shake_hands(stream: TcpStream, name: &str) -> Result<(), Fault> {
    let fault = || Fault::Certificate(format!("{name:?} is no name that a certificate can hold"));
    let server = ServerName::try_from(name.to_owned()).map_err(|_| fault())?;
    let config = trusting().map_err(Fault::Ours)?;
    let mut stream = TlsConnector::from(config)
        .connect(server, stream)
        .await
        .map_err(|error| untrusted(&error))?;
    // It is told that this was all; the reset of the close comes behind it.
    let _gone = stream.shutdown().await;
    Ok(())
}

/// No session is kept, so each probe sees the certificate.
fn trusting() -> Result<Arc<ClientConfig>, String> {
    trusting_system().map(Arc::new)
}

fn untrusted(error: &io::Error) -> Fault {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(inner) => match certificate_fault(inner) {
            Some(reason) => Fault::Certificate(reason),
            None => Fault::Tls(inner.to_string()),
        },
        None => Fault::Tls(error.to_string()),
    }
}
