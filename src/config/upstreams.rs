//! Which servers a forward rule asks, and how they are reached.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::sys::ScopedAddress;
use crate::wire::Name;

/// Where upstreams come from.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum UpstreamSource {
    /// One server.
    Server(UpstreamServer),
    /// The `nameserver` lines of this file, plain DNS, read again when it changes.
    ResolvConf(PathBuf),
}

/// One server and how it is asked: all that tells one upstream from another.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct UpstreamServer {
    /// How it is asked.
    pub scheme: Scheme,
    /// Where.
    pub host: UpstreamHost,
    /// Whom its certificate must name, where that is not the host: what stands behind `#`.
    pub tls_name: Option<String>,
    /// Of the URI, for the two HTTP schemes; begins with `/`. Empty for the others.
    pub path: String,
    /// What proves who it is; the default for the unencrypted schemes.
    pub trust: Trust,
}

/// How an upstream is asked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scheme {
    /// UDP, and TCP where an answer needs it.
    Plain,
    /// TCP alone (RFC 7766).
    Tcp,
    /// DNS over TLS (RFC 7858).
    Tls,
    /// DNS over HTTPS (RFC 8484) with HTTP/2.
    Https,
    /// DNS over QUIC (RFC 9250).
    Quic,
    /// DNS over HTTPS with HTTP/3 (RFC 9114).
    H3,
}

impl Scheme {
    /// Whether nobody on the way can read it, and the server proves who it is.
    pub fn is_encrypted(self) -> bool {
        !matches!(self, Self::Plain | Self::Tcp)
    }

    /// The port where none is given.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Plain | Self::Tcp => 53,
            Self::Tls | Self::Quic => 853,
            Self::Https | Self::H3 => 443,
        }
    }

    /// As it stands before `://`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Https => "https",
            Self::Quic => "quic",
            Self::H3 => "h3",
        }
    }
}

/// Where an upstream is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum UpstreamHost {
    /// There.
    Address(ScopedAddress),
    /// Where the plain upstreams of the configuration say that this name is.
    Name {
        /// The host's name.
        name: Name,
        /// The port.
        port: u16,
    },
}

/// What proves that an encrypted upstream is the one that is meant.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
pub struct Trust {
    /// PEM file of the authorities to trust in place of the usual ones.
    pub ca_file: Option<PathBuf>,
    /// SHA-256 of the SubjectPublicKeyInfo of certificates, one of which the server must show
    /// (RFC 7858 §4.2); none: any that the authorities signed.
    pub pins: Vec<[u8; 32]>,
}

impl UpstreamServer {
    /// Plain DNS at `address`.
    pub fn plain(address: SocketAddr) -> Self {
        Self::plain_at(address.into())
    }

    /// The same, where the address may have an interface.
    pub fn plain_at(address: ScopedAddress) -> Self {
        Self {
            scheme: Scheme::Plain,
            host: UpstreamHost::Address(address),
            tls_name: None,
            path: String::new(),
            trust: Trust::default(),
        }
    }

    /// Where it is, when that is known without asking anybody.
    pub fn address(&self) -> Option<&ScopedAddress> {
        match &self.host {
            UpstreamHost::Address(address) => Some(address),
            UpstreamHost::Name { .. } => None,
        }
    }

    fn port(&self) -> u16 {
        match &self.host {
            UpstreamHost::Address(address) => address.port(),
            UpstreamHost::Name { port, .. } => *port,
        }
    }
}

/// As it is written in the file, with the port where it is not the scheme's own; plain ones as
/// address and port.
impl fmt::Display for UpstreamServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Scheme::Plain, UpstreamHost::Address(address)) = (self.scheme, &self.host) {
            return write!(f, "{address}");
        }
        write!(f, "{}://", self.scheme.as_str())?;
        match &self.host {
            UpstreamHost::Address(address) => write!(f, "{}", address.host())?,
            UpstreamHost::Name { name, .. } => {
                let name = name.to_string();
                write!(f, "{}", name.strip_suffix('.').unwrap_or(&name))?;
            }
        }
        if self.port() != self.scheme.default_port() {
            write!(f, ":{}", self.port())?;
        }
        f.write_str(&self.path)?;
        match &self.tls_name {
            Some(name) => write!(f, "#{name}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_read_like_the_file() {
        let plain = UpstreamServer::plain("10.0.0.4:53".parse().unwrap());
        assert_eq!(plain.to_string(), "10.0.0.4:53");
        let tls = UpstreamServer {
            scheme: Scheme::Tls,
            host: UpstreamHost::Address("[fd00::4]:853".parse().unwrap()),
            tls_name: Some("dns.example".to_owned()),
            ..plain.clone()
        };
        assert_eq!(tls.to_string(), "tls://[fd00::4]#dns.example");
        let link_local = UpstreamHost::Address("[fe80::4%eth0]:853".parse().unwrap());
        let tls = UpstreamServer { host: link_local, ..tls };
        assert_eq!(tls.to_string(), "tls://[fe80::4%eth0]#dns.example");
        let plain_at = UpstreamServer::plain_at("[fe80::4%2]:53".parse().unwrap());
        assert_eq!(plain_at.to_string(), "[fe80::4%2]:53");
        let https = UpstreamServer {
            scheme: Scheme::Https,
            host: UpstreamHost::Name { name: "dns.example".parse().unwrap(), port: 8443 },
            path: "/dns-query".to_owned(),
            ..plain
        };
        assert_eq!(https.to_string(), "https://dns.example:8443/dns-query");
    }
}
