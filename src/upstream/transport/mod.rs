//! A connection that exchanges one query for one reply at a time, many beside each other: TCP and
//! TLS ([`super::frames`]), HTTP/2, HTTP/3 and QUIC.
//!
//! Owns how each protocol carries a query and what its errors mean. Decodes no DNS: a reply is its
//! octets, at most 65,535, and [`crate::wire`] alone reads them. Knows no health, no retries and no
//! time limits: [`super::stream`] has these.

mod fault;
mod http;
mod http2;
mod http3;
#[cfg(fuzzing)]
mod in_memory;
mod meter;
mod metered_quic;
mod quic;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

pub(super) use fault::{Fault, Reply};
#[cfg(fuzzing)]
pub use in_memory::{Sent, ask_over_http2, ask_over_http3, ask_over_quic};

use super::frames::{Ended, Frames};
use crate::config::Scheme;

/// An open connection; dropping it closes it when the last query that waits on it has gone.
pub(super) struct Channel {
    carrier: Carrier,
    pub(super) peer: SocketAddr,
}

/// What carries queries and replies.
enum Carrier {
    /// TCP or TLS.
    Frames(Frames),
    Http2(http2::Http2),
    Http3(http3::Http3),
    Quic(quic::Quic),
}

/// How an encrypted connection begins.
pub(super) struct Identity<'a> {
    /// Whom the certificate must name.
    pub(super) name: ServerName<'static>,
    pub(super) config: ClientConfig,
    /// Of the URL, where the scheme has one.
    pub(super) path: &'a str,
}

impl Channel {
    /// Opens a connection without encryption.
    pub(super) async fn open(address: SocketAddr) -> Result<Self, Fault> {
        let stream = connect(address).await?;
        Ok(Self { carrier: Carrier::Frames(Frames::new(stream)), peer: address })
    }

    /// Opens an encrypted connection. `scheme` is not a plain one.
    pub(super) async fn open_encrypted(
        scheme: Scheme,
        address: SocketAddr,
        Identity { name, config, path }: Identity<'_>,
    ) -> Result<Self, Fault> {
        let requests = || http::Requests::new(&name, address.port(), path);
        let carrier = match scheme {
            Scheme::Quic => Carrier::Quic(quic::Quic::open(address, &name, config).await?),
            Scheme::H3 => {
                let requests = requests()?;
                Carrier::Http3(http3::Http3::open(address, &name, config, requests).await?)
            }
            Scheme::Https => {
                let requests = requests()?;
                let stream = connect(address).await?;
                let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
                Carrier::Http2(http2::Http2::open(stream, requests).await?)
            }
            Scheme::Plain | Scheme::Tcp | Scheme::Tls => {
                let stream = connect(address).await?;
                let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
                Carrier::Frames(Frames::new(stream))
            }
        };
        Ok(Self { carrier, peer: address })
    }

    /// Sends the query and returns the octets of the reply. That the reply belongs to this query is
    /// checked, nothing else.
    pub(super) async fn ask(&self, query: &[u8]) -> Result<Reply, Fault> {
        match &self.carrier {
            Carrier::Frames(frames) => Ok(Reply::new(frames.ask(query).await?)),
            Carrier::Http2(connection) => connection.ask(query).await,
            Carrier::Http3(connection) => connection.ask(query).await,
            Carrier::Quic(connection) => connection.ask(query).await,
        }
    }

    /// Waits for the end of the connection, whether a query waits on it or not, and says why. Holds
    /// nothing open.
    pub(super) fn ended(&self) -> Pin<Box<dyn Future<Output = Fault>>> {
        match &self.carrier {
            Carrier::Frames(frames) => {
                let ended = frames.ended();
                Box::pin(async { ended.await.into() })
            }
            Carrier::Http2(connection) => Box::pin(connection.ended()),
            Carrier::Http3(connection) => Box::pin(connection.ended()),
            Carrier::Quic(connection) => Box::pin(connection.ended()),
        }
    }
}

impl From<Ended> for Fault {
    fn from(Ended { kind, reason }: Ended) -> Self {
        Self::of_kind(kind, &reason)
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, Fault> {
    let stream = TcpStream::connect(address).await;
    let stream = stream.map_err(|error| Fault::of_connect(&error, address))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
