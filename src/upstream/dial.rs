//! The way to an open connection: where the server is, whom we mean, and which of its addresses is
//! reached first.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;

use super::failure::TryError;
use super::lookup::Miss;
use super::race::first_of_coming;
use super::search::Search;
use super::server::{Upstream, count};
use super::transport::{Channel, Fault, Identity};
use super::trust::Refusal;
use crate::config::{Scheme, UpstreamHost};

/// One link's way to open connections.
#[derive(Clone)]
pub(super) struct Dialler {
    upstream: Arc<Upstream>,
    scheme: Scheme,
}

impl Dialler {
    /// `scheme` is how connections to the server are made: TCP for plain ones.
    pub(super) fn new(upstream: Arc<Upstream>, scheme: Scheme) -> Self {
        Self { upstream, scheme }
    }

    /// Opens a connection, to `preferred` first if it is one of the server's addresses, and to no
    /// other one if it is `alone`. Has no time limit of its own.
    pub(super) async fn dial(
        self,
        preferred: Option<SocketAddr>,
        alone: bool,
    ) -> Result<Channel, Fault> {
        let (name, port) = match &self.upstream.server().host {
            // Its interface may have another number than when `preferred` was dialled.
            UpstreamHost::Address(address) => return self.dial_at(address.socket()?).await,
            UpstreamHost::Name { name, port } => (name, *port),
        };
        if let Some(address) = preferred.filter(|_| alone) {
            return self.dial_at(address).await;
        }
        let preferred = preferred.map(|address| address.ip());
        let bootstrap = Arc::clone(self.upstream.bootstrap());
        let mut search = Search::new(bootstrap, name.clone(), preferred);
        let dials = first_of_coming(async || {
            let address = SocketAddr::new(search.next().await?, port);
            Some(self.dial_at(address))
        });
        dials.await.map_err(|mut faults| {
            let told = faults.iter().position(|fault| fault.error == TryError::Untrusted);
            match told {
                Some(place) => faults.swap_remove(place),
                None => faults.pop().unwrap_or_else(|| no_address(search.miss())),
            }
        })
    }

    async fn dial_at(&self, address: SocketAddr) -> Result<Channel, Fault> {
        count(&self.upstream.counters.tcp_dials);
        if !self.scheme.is_encrypted() {
            return Channel::open(address).await;
        }
        let (identity, refusal) = self.identity(address)?;
        let channel = Channel::open_encrypted(self.scheme, address, identity).await;
        channel.map_err(|fault| match refusal.take() {
            Some(reason) => Fault::dead(TryError::Untrusted, &reason),
            None => fault,
        })
    }

    /// Whom we mean, and what makes sure of it.
    fn identity(&self, address: SocketAddr) -> Result<(Identity<'_>, Refusal), Fault> {
        let server = self.upstream.server();
        let text = match (&server.tls_name, &server.host) {
            (Some(name), _) => name.clone(),
            (None, UpstreamHost::Name { name, .. }) => name.to_string(),
            (None, UpstreamHost::Address(_)) => address.ip().to_string(),
        };
        let text = text.strip_suffix('.').unwrap_or(&text);
        let untrusted = |reason: &str| Fault::dead(TryError::Untrusted, reason);
        let name = ServerName::try_from(text)
            .map_err(|_| untrusted(&format!("{text} is no name that a certificate can have")))?
            .to_owned();
        let alpn: Option<&[u8]> = match self.scheme {
            Scheme::Https => Some(b"h2"),
            Scheme::Quic => Some(b"doq"),
            Scheme::H3 => Some(b"h3"),
            // Servers need none, and some refuse what they do not know.
            Scheme::Plain | Scheme::Tcp | Scheme::Tls => None,
        };
        let config = self.upstream.authorities.client_config(&server.trust, name.clone(), alpn);
        let (config, refusal) = config.map_err(|why| match why.is_own_shortage {
            true => Fault::dead(TryError::OwnShortage, &why.reason),
            false => untrusted(&why.reason),
        })?;
        Ok((Identity { name, config, path: &server.path }, refusal))
    }
}

fn no_address(miss: Miss) -> Fault {
    let (error, why) = match miss {
        Miss::Denied { reason, .. } | Miss::Failed(reason) => {
            (TryError::Unreachable(ErrorKind::AddrNotAvailable), reason)
        }
        Miss::OwnShortage(reason) => (TryError::OwnShortage, reason),
    };
    Fault::dead(error, &format!("the host has no known address: {why}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_host_without_an_address_is_a_failure_unless_we_could_not_ask() {
        let denied = Miss::Denied { ttl: Duration::ZERO, reason: "NXDOMAIN".to_owned() };
        for (miss, expected) in [
            (denied, TryError::Unreachable(ErrorKind::AddrNotAvailable)),
            (
                Miss::Failed("SERVFAIL".to_owned()),
                TryError::Unreachable(ErrorKind::AddrNotAvailable),
            ),
            (Miss::OwnShortage("no descriptor".to_owned()), TryError::OwnShortage),
        ] {
            let fault = no_address(miss);
            assert_eq!(fault.error, expected);
            assert!(fault.reason.starts_with("the host has no known address: "));
        }
    }
}
