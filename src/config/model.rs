//! What the configuration means: checked, resolved, without spellings.

use std::net::IpAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::probes::{AllDown, Probe, Probes};
use super::upstreams::UpstreamSource;
use crate::catalog::Cloud;
use crate::sys::ScopedAddress;
use crate::wire::{Name, Rtype};

/// A whole configuration that passed every check.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: Listen,
    /// Who may ask.
    pub access: Access,
    /// Clients by network.
    pub sites: Vec<Site>,
    /// Private-link zones.
    pub private_links: Vec<PrivateLink>,
    /// How endpoints are probed.
    pub probes: Probes,
    /// Forward rules.
    pub forwards: Vec<Forward>,
    /// The cache.
    pub cache: CacheConfig,
    /// Validation.
    pub dnssec: DnssecConfig,
    /// Special-use names.
    pub special: SpecialConfig,
    /// Answers that must hold before a start or reload.
    pub expects: Vec<Expect>,
    /// Logging.
    pub log: Log,
    /// Bounds.
    pub limits: Limits,
    /// The process itself.
    pub process: Process,
}

/// `[listen]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listen {
    /// UDP and TCP on each; at least one.
    pub dns: Vec<ScopedAddress>,
    /// HTTP for those who run the daemon; none: not served.
    pub admin: Option<ScopedAddress>,
    /// Whether addresses are bound that no interface has.
    pub freebind: bool,
}

/// `[process]`.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Process {
    /// The name or number of the user that the daemon becomes after the start; none: it stays as it is.
    pub user: Option<String>,
}

/// `[access]`.
#[derive(Clone, Debug)]
pub struct Access {
    /// Clients that may ask, `loopback` and `private` resolved to prefixes.
    pub allow: Vec<IpNet>,
    /// What the others get.
    pub refused: Refused,
}

/// What a client outside `allow` gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// REFUSED with EDE 18.
    Answer,
    /// Silence.
    Drop,
}

/// `[[site]]`.
#[derive(Clone, Debug)]
pub struct Site {
    /// Unique.
    pub name: String,
    /// No network stands in two sites.
    pub networks: Vec<IpNet>,
}

/// One public zone and its private zone, of a `[[private-link]]` that may stand for several pairs.
#[derive(Clone, Debug)]
pub struct PrivateLink {
    /// Which entry of the file it comes from, from 0.
    pub entry: usize,
    /// The catalogue's name, when the zones came from there.
    pub service: Option<String>,
    /// The cloud whose service it is then.
    pub cloud: Cloud,
    /// The zone that clients ask, P.
    pub public_zone: Name,
    /// The zone that holds the addresses, Q.
    pub private_zone: Name,
    /// What a name that no endpoint lists gets.
    pub unlisted: Unlisted,
    /// Of CNAME and address records, seconds.
    pub ttl_seconds: u32,
    /// TTL and MINIMUM of the SOA in negative answers, seconds.
    pub negative_ttl_seconds: u32,
    /// A public address in an upstream's answer for a name of these zones is refused.
    pub require_private: bool,
    /// What a name gets while every address of it is down.
    pub all_down: AllDown,
    /// Those with anything in these zones, in the file's order; at least one, unless the entry has
    /// several pairs and no wildcard.
    pub endpoints: Vec<Endpoint>,
}

/// What a name below the zone gets when no endpoint lists it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Unlisted {
    /// The endpoint's own `addresses`.
    Wildcard,
    /// NXDOMAIN.
    Nxdomain,
    /// The upstream's answer.
    Forward,
}

impl Unlisted {
    /// As the configuration writes it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Wildcard => "wildcard",
            Self::Nxdomain => "nxdomain",
            Self::Forward => "forward",
        }
    }
}

/// `[[private-link.endpoint]]`.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Unique within its zone.
    pub name: String,
    /// Indices into [`Config::sites`]; empty: everybody's.
    pub sites: Vec<usize>,
    /// The wildcard's addresses; may be empty when `names` is not.
    pub addresses: Vec<IpAddr>,
    /// Relative to the zone.
    pub names: Names,
    /// What is tried at each address; `None`: nothing, and all count as up.
    pub probe: Option<Probe>,
}

impl Endpoint {
    /// The same one, listing nothing.
    pub(super) fn without_names(&self) -> Self {
        let Self { name, sites, addresses, names: _, probe } = self;
        Self {
            name: name.clone(),
            sites: sites.clone(),
            addresses: addresses.clone(),
            names: Names::default(),
            probe: probe.clone(),
        }
    }
}

/// Names with their addresses, at least one each; all addresses lie in one piece, as there may be
/// very many.
#[derive(Clone, Default, Debug)]
pub struct Names {
    names: Vec<(Name, Range<usize>)>,
    addresses: Vec<IpAddr>,
}

impl Names {
    /// Without names; there is room for so many.
    pub fn with_capacity(names: usize) -> Self {
        Self { names: Vec::with_capacity(names), addresses: Vec::with_capacity(names) }
    }

    /// Appends a name.
    pub fn push(&mut self, name: Name, addresses: impl IntoIterator<Item = IpAddr>) {
        let begin = self.addresses.len();
        self.addresses.extend(addresses);
        self.names.push((name, begin..self.addresses.len()));
    }

    /// In the file's order.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &[IpAddr])> {
        let addresses = |range: &Range<usize>| self.addresses.get(range.clone()).unwrap_or(&[]);
        self.names.iter().map(move |(name, range)| (name, addresses(range)))
    }

    /// How many names.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// `[[forward]]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forward {
    /// The zones this rule covers; each stands in one rule only.
    pub zones: Vec<Name>,
    /// In the order in which they are asked; at least one.
    pub upstreams: Vec<UpstreamSource>,
    /// Which of them is asked first.
    pub policy: Policy,
    /// The whole budget of one query.
    pub timeout: Duration,
    /// What a silent upstream is asked to see whether it is back.
    pub probe: (Name, Rtype),
    /// An answer with a public address is refused.
    pub require_private: bool,
    /// An answer with a private address is refused, but for names at or below these; `None`: no
    /// answer is, for that.
    pub rebind_protection: Option<Vec<Name>>,
    /// Whether answers are validated here.
    pub dnssec: Dnssec,
}

/// Which upstream of a rule is asked first. Those that are down come last in each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policy {
    /// The first in the file.
    Ordered,
    /// The one with the shortest measured time.
    Fastest,
    /// Each in turn.
    Spread,
}

/// What is made of DNSSEC in an upstream's answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dnssec {
    /// Signatures and AD go through as they came.
    Pass,
    /// Answers are validated (RFC 4035 §5); bogus ones are SERVFAIL with the reason.
    Validate,
}

/// `[cache]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CacheConfig {
    /// Hard bound on what entries take, octets; 0 turns the cache off.
    pub size_octets: u64,
    /// For how long an answer past its time may still serve while no upstream gives a new one
    /// (RFC 8767); zero: never.
    pub stale: Duration,
    /// Longest TTL of upstreams' records, as clients see them and as they are kept.
    pub max_ttl: Duration,
    /// The same for the authority section of a negative answer, whose SOA limits its lifetime.
    pub max_negative_ttl: Duration,
    /// Whether what is asked for again shortly before its end is fetched anew.
    pub prefetch: bool,
    /// For how long a failure is remembered (RFC 9520).
    pub failure_ttl: Duration,
    /// Where answers are kept over a restart; `None`: in the directory that systemd gives for
    /// state, if it gives one.
    pub file: Option<PathBuf>,
}

/// `[dnssec]`: for the rules that validate.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct DnssecConfig {
    /// DS or DNSKEY records to trust, in a zone file; `None`: those of the root, built in.
    pub trust_anchors: Option<PathBuf>,
    /// Zones below which nothing is validated, beside all private-link zones.
    pub negative_trust_anchors: Vec<Name>,
}

/// `[special]`.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SpecialConfig {
    /// Names at or below these are forwarded like all others.
    pub forward: Vec<Name>,
    /// Special names at or below these are answered here wherever the upstreams are.
    pub answer: Vec<Name>,
}

/// `[[expect]]`.
#[derive(Clone, Debug)]
pub struct Expect {
    /// Who asks.
    pub client: IpAddr,
    /// The name asked.
    pub qname: Name,
    /// The type asked.
    pub qtype: Rtype,
    /// The addresses that must come back, in any order.
    pub answer: Vec<IpAddr>,
    /// The line of the file it stands in, for messages.
    pub line: usize,
}

/// `[log]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Log {
    /// The lines' form.
    pub format: LogFormat,
    /// The least severe level that is written.
    pub level: LogLevel,
    /// Which queries get a line.
    pub queries: LogQueries,
}

/// The form of log lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Severity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Which queries get a log line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogQueries {
    /// None.
    None,
    /// Those answered from a private-link zone.
    Private,
    /// Those refused or malformed.
    Refused,
    /// Every one.
    All,
}

/// `[limits]`: every queue, table and connection count. Defaults, ranges and reasons stand in
/// `config::limits`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Threads that answer, each with its own sockets.
    pub workers: usize,
    /// Clients that wait for upstreams, all together; over it the oldest question gives way.
    pub in_flight: usize,
    /// Queries that wait for one upstream, of all workers together; over it the next upstream is
    /// asked at once.
    pub upstream_in_flight: usize,
    /// TCP connections in all.
    pub tcp_connections: usize,
    /// TCP connections of one client address.
    pub tcp_connections_per_client: usize,
    /// Queries of one connection that wait for an answer; over it we stop reading.
    pub tcp_pipelined: usize,
    /// A connection without queries is closed after this.
    pub tcp_idle: Duration,
    /// From the first octet of a message to its last; and for a client to take an answer.
    pub tcp_message: Duration,
}
