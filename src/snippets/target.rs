//! What snippets are written for, and what sets the targets apart.

use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// What Windows waits for a forwarder, as our snippet sets it; nobody there waits longer than two
/// of these.
pub(super) const WINDOWS_PATIENCE: Duration = Duration::from_secs(2);
/// Conditional forwarders that Windows tries for one query.
const WINDOWS_SERVERS: usize = 2;
/// `nameserver` lines that glibc and musl read (MAXNS in both).
const RESOLV_CONF_SERVERS: usize = 3;
/// Upstreams that CoreDNS' forward plugin accepts.
const COREDNS_SERVERS: usize = 15;

/// What a snippet is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// Windows DNS Server: conditional forwarders, as PowerShell.
    Windows,
    /// BIND 9: forward zones, as a file to include.
    Bind,
    /// Unbound: forward zones, as a file to include.
    Unbound,
    /// dnsmasq: servers by domain, as a file to include.
    Dnsmasq,
    /// systemd-resolved: routing domains, as a drop-in.
    SystemdResolved,
    /// CoreDNS: server blocks of a Corefile.
    Coredns,
    /// CoreDNS as AKS runs it: the ConfigMap `coredns-custom`.
    CorednsCustom,
    /// A host's or container's resolv.conf.
    ResolvConf,
}

impl Target {
    /// All, in the order of the documentation.
    pub const ALL: [Self; 8] = [
        Self::Windows,
        Self::Bind,
        Self::Unbound,
        Self::Dnsmasq,
        Self::SystemdResolved,
        Self::Coredns,
        Self::CorednsCustom,
        Self::ResolvConf,
    ];

    /// What the command line says.
    pub fn name(self) -> &'static str {
        match self {
            Self::Windows => "windows",
            Self::Bind => "bind",
            Self::Unbound => "unbound",
            Self::Dnsmasq => "dnsmasq",
            Self::SystemdResolved => "systemd-resolved",
            Self::Coredns => "coredns",
            Self::CorednsCustom => "coredns-custom",
            Self::ResolvConf => "resolv-conf",
        }
    }

    pub(super) fn in_words(self) -> &'static str {
        match self {
            Self::Windows => "Windows DNS Server",
            Self::Bind => "BIND 9",
            Self::Unbound => "Unbound",
            Self::Dnsmasq => "dnsmasq",
            Self::SystemdResolved => "systemd-resolved",
            Self::Coredns => "CoreDNS",
            Self::CorednsCustom => "CoreDNS in AKS",
            Self::ResolvConf => "A host with this resolv.conf",
        }
    }

    /// What a comment line begins with.
    pub(super) fn comment(self) -> &'static str {
        if self == Self::Bind { "//" } else { "#" }
    }

    pub(super) fn takes_port(self) -> bool {
        !matches!(self, Self::Windows | Self::ResolvConf)
    }

    /// Whether it may run beside the daemon. Windows never does, and a pod's loopback is its own.
    pub(super) fn shares_our_host(self) -> bool {
        !matches!(self, Self::Windows | Self::CorednsCustom)
    }

    /// Whether it listens on port 53 of every loopback address by itself.
    pub(super) fn takes_port_53(self) -> bool {
        matches!(self, Self::Bind | Self::Unbound | Self::Dnsmasq | Self::Coredns)
    }

    pub(super) fn most_servers(self) -> Option<usize> {
        match self {
            Self::Windows => Some(WINDOWS_SERVERS),
            Self::ResolvConf => Some(RESOLV_CONF_SERVERS),
            Self::Coredns | Self::CorednsCustom => Some(COREDNS_SERVERS),
            Self::Bind | Self::Unbound | Self::Dnsmasq | Self::SystemdResolved => None,
        }
    }

    /// Whether it asks for names outside the zones, too.
    pub(super) fn gets_other_names(self) -> bool {
        matches!(self, Self::SystemdResolved | Self::ResolvConf)
    }

    /// How long it waits for an answer, where the snippet fixes that.
    pub(super) fn patience(self) -> Option<Duration> {
        (self == Self::Windows).then_some(WINDOWS_PATIENCE)
    }
}

/// No target has this name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there is no snippet for this; write one of: {}", names())]
pub struct NoTarget;

fn names() -> String {
    Target::ALL.map(Target::name).join(", ")
}

impl FromStr for Target {
    type Err = NoTarget;

    fn from_str(text: &str) -> Result<Self, NoTarget> {
        Self::ALL.into_iter().find(|target| target.name() == text).ok_or(NoTarget)
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
