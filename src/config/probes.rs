//! Probes of endpoints: what is tried at each address, and what follows when all are down.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::limits;
use super::model::{Endpoint, PrivateLink};
use crate::wire::Name;

/// What is tried at an address to see whether it is up.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Probe {
    /// A TCP connection can be made.
    Tcp {
        /// The port.
        port: u16,
    },
    /// A TLS handshake ends well: the certificate is one that the system trusts, for the name.
    Tls {
        /// The port.
        port: u16,
        /// Whom the certificate must name, without a final dot; `None` in an [`Endpoint`]: the first
        /// public name that it lists with the address.
        name: Option<String>,
    },
}

/// What a name gets when every address of it is down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AllDown {
    /// The answer that it has when all are up.
    ServeAll,
    /// SERVFAIL.
    Servfail,
    /// What the upstream says: the name is nobody's here until an address is up.
    Public,
}

/// `[probes]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Probes {
    /// The longest time from one probe of an address to the next.
    pub interval: Duration,
    /// What a probe may take, half of `interval` at most.
    pub timeout: Duration,
    /// So many in a row must succeed before an address that is down is up.
    pub rise: u32,
    /// So many in a row must fail before it is down.
    pub fall: u32,
}

/// What is probed: each once, however many zones and endpoints have it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Target {
    /// Where.
    pub address: IpAddr,
    /// How; a TLS one has its name.
    pub probe: Probe,
}

impl Probes {
    /// What a probe may take where the file does not say it: the default, or half the interval.
    pub(super) fn default_timeout(interval: Duration) -> Duration {
        limits::PROBE_TIMEOUT.default.min(interval / 2)
    }
}

impl Default for Probes {
    fn default() -> Self {
        let count =
            |range: &limits::CountRange| u32::try_from(range.default_here()).unwrap_or(u32::MAX);
        Self {
            interval: limits::PROBE_INTERVAL.default,
            timeout: limits::PROBE_TIMEOUT.default,
            rise: count(&limits::PROBE_RISE),
            fall: count(&limits::PROBE_FALL),
        }
    }
}

impl Endpoint {
    /// What is to be probed for this endpoint of `link`, each once, in the order of addresses. Empty
    /// without a probe.
    pub fn targets(&self, link: &PrivateLink) -> Vec<Target> {
        let Some(probe) = &self.probe else { return Vec::new() };
        // The first public name of each address, should its certificate have to hold one.
        let needs_name = matches!(probe, Probe::Tls { name: None, .. });
        let listed = self
            .names
            .iter()
            .flat_map(|(name, ips)| ips.iter().map(move |ip| (*ip, needs_name.then_some(name))));
        let mut addresses: Vec<_> =
            listed.chain(self.addresses.iter().map(|ip| (*ip, None))).collect();
        // Stable, and names come before the wildcard: the first name of the file stays first.
        addresses.sort_by_key(|(ip, _)| *ip);
        addresses.dedup_by_key(|(ip, _)| *ip);
        let public = |name: &Name| name.under(&link.public_zone).ok();
        let of = |(address, name): (IpAddr, Option<&Name>)| {
            let probe = match (probe, name.and_then(public)) {
                (Probe::Tls { port, name: None }, Some(name)) => {
                    Probe::Tls { port: *port, name: Some(name.to_string()) }
                }
                // `check` wants a name; where another zone of the same service has it, a connection
                // is all that can be asked for.
                (Probe::Tls { port, name: None }, None) => Probe::Tcp { port: *port },
                _ => probe.clone(),
            };
            Target { address, probe }
        };
        addresses.into_iter().map(of).collect()
    }
}

impl Target {
    /// Where a probe connects to.
    pub fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.probe.port())
    }
}

impl Probe {
    /// Where at the address.
    pub fn port(&self) -> u16 {
        match self {
            Self::Tcp { port } | Self::Tls { port, .. } => *port,
        }
    }
}

/// As in the file.
impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { port } => write!(f, "tcp:{port}"),
            Self::Tls { port, name: None } => write!(f, "tls:{port}"),
            Self::Tls { port, name: Some(name) } => write!(f, "tls:{port}#{name}"),
        }
    }
}

impl AllDown {
    /// As in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ServeAll => "serve-all",
            Self::Servfail => "servfail",
            Self::Public => "public",
        }
    }
}
