//! What the user typed: each value understood on its own, with its place. Whether the values fit
//! together is decided in `resolve`.

mod forward;
mod pasted;
mod private_link;
mod probes;
mod special;

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use toml::de::DeTable;

use super::findings::{Findings, Path, Problem, Span};
use super::limits;
use super::model::{CacheConfig, Limits, Log, LogFormat, LogLevel, LogQueries, Process, Refused};
use super::table::{Field, List, Listed, Table};
use super::values;
use crate::sys::ScopedAddress;
use crate::wire::{Name, Rtype};
pub(super) use forward::ForwardSpec;
pub(super) use private_link::{EndpointSpec, NameSpec, PrivateLinkSpec, VariableSpec};
pub(super) use probes::ProbesSpec;
pub(super) use special::SpecialSpec;

/// Entries of a list that has no tighter limit: the file's size bounds it, and all work is linear.
const MANY: usize = usize::MAX;

/// Every accepted key, by table; `""` is the top of the file.
pub(super) const KEYS: &[(&str, &[&str])] = &[
    ("", TOP),
    ("listen", LISTEN),
    ("access", ACCESS),
    ("site", SITE),
    ("private-link", PRIVATE_LINK),
    ("private-link.endpoint", ENDPOINT),
    ("probes", PROBES),
    ("forward", FORWARD),
    ("cache", CACHE),
    ("dnssec", DNSSEC),
    ("special", SPECIAL),
    ("expect", EXPECT),
    ("log", LOG),
    ("limits", LIMITS),
    ("process", PROCESS),
];
const TOP: &[&str] = &[
    "listen",
    "access",
    "site",
    "private-link",
    "probes",
    "forward",
    "cache",
    "dnssec",
    "special",
    "expect",
    "log",
    "limits",
    "process",
];
const LISTEN: &[&str] = &["dns", "admin", "freebind"];
const ACCESS: &[&str] = &["allow", "refused"];
const SITE: &[&str] = &["name", "networks"];
const PRIVATE_LINK: &[&str] = &[
    "service",
    "cloud",
    "variables",
    "public-zone",
    "private-zone",
    "unlisted",
    "ttl",
    "negative-ttl",
    "require-private",
    "all-down",
    "endpoint",
];
const ENDPOINT: &[&str] = &["name", "sites", "addresses", "names", "probe"];
const PROBES: &[&str] = &["interval", "timeout", "rise", "fall"];
const FORWARD: &[&str] = &[
    "zones",
    "upstreams",
    "policy",
    "timeout",
    "probe",
    "require-private",
    "rebind-protection",
    "rebind-allow",
    "dnssec",
    "ca-file",
    "pins",
];
const CACHE: &[&str] =
    &["size", "stale", "max-ttl", "max-negative-ttl", "prefetch", "failure-ttl", "file"];
const DNSSEC: &[&str] = &["trust-anchors", "negative-trust-anchors"];
const SPECIAL: &[&str] = &["forward", "answer"];
const EXPECT: &[&str] = &["client", "query", "answer"];
const LOG: &[&str] = &["format", "level", "queries"];
const LIMITS: &[&str] = &[
    "workers",
    "in-flight",
    "upstream-in-flight",
    "tcp-connections",
    "tcp-connections-per-client",
    "tcp-pipelined",
    "tcp-idle",
    "tcp-message",
];

const PROCESS: &[&str] = &["user"];

/// The whole file.
pub(super) struct Spec {
    pub(super) listen: List<ScopedAddress>,
    pub(super) admin: Field<ScopedAddress>,
    pub(super) freebind: Field<bool>,
    pub(super) access: AccessSpec,
    pub(super) sites: Vec<SiteSpec>,
    pub(super) private_links: Vec<PrivateLinkSpec>,
    pub(super) probes: Option<ProbesSpec>,
    pub(super) forwards: Vec<ForwardSpec>,
    pub(super) cache: CacheConfig,
    pub(super) dnssec: Option<DnssecSpec>,
    pub(super) special: Option<SpecialSpec>,
    pub(super) expects: Vec<ExpectSpec>,
    pub(super) log: Log,
    pub(super) limits: Limits,
    pub(super) process: Process,
}

/// An entry of `access.allow`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Allowed {
    Loopback,
    Private,
    Network(IpNet),
}

pub(super) struct AccessSpec {
    pub(super) allow: List<Allowed>,
    pub(super) refused: Refused,
}

pub(super) struct SiteSpec {
    pub(super) name: Field<String>,
    pub(super) networks: List<IpNet>,
}

pub(super) struct DnssecSpec {
    pub(super) trust_anchors: Field<PathBuf>,
    pub(super) negative_trust_anchors: List<Name>,
    pub(super) span: Span,
}

pub(super) struct ExpectSpec {
    pub(super) client: Field<IpAddr>,
    pub(super) query: Field<(Name, Rtype)>,
    pub(super) answer: List<IpAddr>,
    pub(super) span: Span,
}

/// Reads the whole tree.
pub(super) fn read(root: &DeTable<'_>, findings: &mut Findings<'_>) -> Spec {
    let top = Table { entries: root, path: Path::Root, span: Span::FILE };
    top.only(TOP, findings);
    let listen = top.table("listen", findings, read_listen);
    if !root.contains_key("listen") {
        top.missing("listen", "write [listen] and dns = [\"0.0.0.0:53\", \"[::]:53\"]", findings);
    }
    let (listen, admin, freebind) =
        listen.unwrap_or_else(|| (List::missing(), Field::Missing, Field::Missing));
    let access = top.table("access", findings, read_access);
    let limits = top.table("limits", findings, read_limits);
    let mut private_links =
        top.tables("private-link", "private-link", findings, private_link::read);
    pasted::check(&mut private_links, findings);
    Spec {
        listen,
        admin,
        freebind,
        access: access.unwrap_or(AccessSpec { allow: List::missing(), refused: Refused::Answer }),
        sites: top.tables("site", "site", findings, read_site),
        private_links,
        probes: top.table("probes", findings, probes::read),
        forwards: top.tables("forward", "forward", findings, forward::read),
        cache: top.table("cache", findings, read_cache).unwrap_or_else(default_cache),
        dnssec: top.table("dnssec", findings, read_dnssec),
        special: top.table("special", findings, special::read),
        expects: top.tables("expect", "expect", findings, read_expect),
        log: top.table("log", findings, read_log).unwrap_or(Log {
            format: LogFormat::Text,
            level: LogLevel::Info,
            queries: LogQueries::None,
        }),
        limits: limits.unwrap_or_else(default_limits),
        process: top.table("process", findings, read_process).unwrap_or_default(),
    }
}

fn read_listen(
    table: &Table<'_>,
    findings: &mut Findings<'_>,
) -> (List<ScopedAddress>, Field<ScopedAddress>, Field<bool>) {
    table.only(LISTEN, findings);
    let at_most = limits::MAX_LISTENERS;
    let listed = Listed { wanted: values::WANTED_LISTENER, at_least_one: true, at_most };
    let dns = table.list("dns", &listed, findings, values::listener);
    if dns.is_missing() {
        table.missing("dns", "write dns = [\"0.0.0.0:53\", \"[::]:53\"]", findings);
    }
    let admin = table.text("admin", values::WANTED_ADMIN, findings, values::admin);
    (dns, admin, table.flag("freebind", findings))
}

fn read_access(table: &Table<'_>, findings: &mut Findings<'_>) -> AccessSpec {
    table.only(ACCESS, findings);
    let wanted = "write \"loopback\", \"private\" or a network such as \"10.1.0.0/16\"";
    let listed = Listed { wanted, at_least_one: true, at_most: MANY };
    let allow = table.list("allow", &listed, findings, |text| match text {
        "loopback" => Ok(Allowed::Loopback),
        "private" => Ok(Allowed::Private),
        _ if text.contains(['.', ':', '/']) => values::network(text).map(Allowed::Network),
        _ => {
            let help = super::suggest::did_you_mean(text, ["loopback", "private"]);
            let problem = Problem::new(wanted);
            Err(help.into_iter().fold(problem, Problem::help))
        }
    });
    let choices = [("answer", Refused::Answer), ("drop", Refused::Drop)];
    let refused = table.choice("refused", &choices, findings);
    AccessSpec { allow, refused: refused.or(Refused::Answer) }
}

fn read_site(table: &Table<'_>, findings: &mut Findings<'_>) -> SiteSpec {
    table.only(SITE, findings);
    let name = table.text("name", values::WANTED_LABEL, findings, values::label);
    if name.is_missing() {
        table.missing("name", values::WANTED_LABEL, findings);
    }
    let listed = Listed { wanted: values::WANTED_NETWORK, at_least_one: true, at_most: MANY };
    let networks = table.list("networks", &listed, findings, values::network);
    if networks.is_missing() {
        table.missing("networks", "write networks = [\"10.1.0.0/16\"]", findings);
    }
    SiteSpec { name, networks }
}

fn endpoint_addresses(at_least_one: bool) -> Listed<'static> {
    Listed { wanted: values::WANTED_ADDRESS, at_least_one, at_most: limits::MAX_ADDRESSES }
}

fn default_cache() -> CacheConfig {
    CacheConfig {
        size_octets: limits::CACHE_SIZE_DEFAULT,
        stale: limits::STALE.default,
        max_ttl: limits::MAX_TTL.default,
        max_negative_ttl: limits::MAX_NEGATIVE_TTL.default,
        prefetch: true,
        failure_ttl: limits::FAILURE_TTL.default,
        file: None,
    }
}

fn read_cache(table: &Table<'_>, findings: &mut Findings<'_>) -> CacheConfig {
    table.only(CACHE, findings);
    let size = table.text("size", values::WANTED_SIZE, findings, values::cache_size);
    let mut time = |key, range: &limits::TimeRange, wanted: &str| {
        let field = table.text(key, wanted, findings, |text| {
            values::duration(text, range).map_err(|_| Problem::new(wanted))
        });
        field.or(range.default)
    };
    let wanted =
        format!("write a duration such as \"24h\" ({}); \"0s\" turns it off", limits::STALE);
    let stale = time("stale", &limits::STALE, &wanted);
    let wanted = format!("write a duration such as \"12h\" ({})", limits::MAX_TTL);
    let max_ttl = time("max-ttl", &limits::MAX_TTL, &wanted);
    let wanted = format!("write a duration such as \"5m\" ({})", limits::MAX_NEGATIVE_TTL);
    let max_negative_ttl = time("max-negative-ttl", &limits::MAX_NEGATIVE_TTL, &wanted);
    let wanted = format!("write a duration such as \"2s\" ({})", limits::FAILURE_TTL);
    let failure_ttl = time("failure-ttl", &limits::FAILURE_TTL, &wanted);
    let prefetch = table.flag("prefetch", findings).or(true);
    let wanted = "write the whole path, such as \"/var/lib/privatelinkd/cache\"; leave the key out \
                  for systemd's state directory";
    let file = table.text("file", wanted, findings, |text| values::file(text, wanted));
    if let (Some(_), Some(at)) = (size.good().filter(|size| size.value == 0), file.good()) {
        let problem = Problem::new("the cache is off (size = \"0\"): nothing is kept there");
        findings.warn(table.path.key("file"), at.span, problem);
    }
    CacheConfig {
        size_octets: size.or(limits::CACHE_SIZE_DEFAULT),
        stale,
        max_ttl,
        max_negative_ttl,
        prefetch,
        failure_ttl,
        file: file.good().map(|at| at.value.clone()),
    }
}

fn read_dnssec(table: &Table<'_>, findings: &mut Findings<'_>) -> DnssecSpec {
    table.only(DNSSEC, findings);
    let wanted = "write the whole path of a zone file, such as \"/etc/privatelinkd/root.key\"; leave \
                  the key out for the root's own keys, which are built in";
    let trust_anchors =
        table.text("trust-anchors", wanted, findings, |text| values::file(text, wanted));
    let wanted = "write a zone such as \"corp.example\"";
    let listed = Listed { wanted, at_least_one: false, at_most: MANY };
    let key = "negative-trust-anchors";
    let negative_trust_anchors = table.list(key, &listed, findings, values::zone);
    for at in &negative_trust_anchors.items {
        if at.value.label_count() == 0 {
            let problem = Problem::new("every name is below it: nothing would be validated");
            findings.warn(table.path.key(key), at.span, problem);
        }
    }
    DnssecSpec { trust_anchors, negative_trust_anchors, span: table.span }
}

fn read_expect(table: &Table<'_>, findings: &mut Findings<'_>) -> ExpectSpec {
    table.only(EXPECT, findings);
    let client = table.text("client", values::WANTED_ADDRESS, findings, values::address);
    if client.is_missing() {
        table.missing("client", "write client = \"10.1.2.3\"", findings);
    }
    let query = table.text("query", values::WANTED_QUERY, findings, values::query);
    if query.is_missing() {
        table.missing("query", values::WANTED_QUERY, findings);
    }
    // An empty answer is an expectation too: no address may come back.
    let listed = endpoint_addresses(false);
    let answer = table.list("answer", &listed, findings, values::address);
    if answer.is_missing() {
        table.missing("answer", "write answer = [\"10.1.0.5\"]", findings);
    }
    ExpectSpec { client, query, answer, span: table.span }
}

fn read_process(table: &Table<'_>, findings: &mut Findings<'_>) -> Process {
    table.only(PROCESS, findings);
    let user = table.text("user", values::WANTED_USER, findings, values::user);
    Process { user: user.good().map(|at| at.value.clone()) }
}

fn read_log(table: &Table<'_>, findings: &mut Findings<'_>) -> Log {
    table.only(LOG, findings);
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let levels = [
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ];
    let queries = [
        ("none", LogQueries::None),
        ("private", LogQueries::Private),
        ("refused", LogQueries::Refused),
        ("all", LogQueries::All),
    ];
    Log {
        format: table.choice("format", &formats, findings).or(LogFormat::Text),
        level: table.choice("level", &levels, findings).or(LogLevel::Info),
        queries: table.choice("queries", &queries, findings).or(LogQueries::None),
    }
}

fn default_limits() -> Limits {
    Limits {
        workers: limits::WORKERS.default_here(),
        in_flight: limits::IN_FLIGHT.default_here(),
        upstream_in_flight: limits::UPSTREAM_IN_FLIGHT.default_here(),
        tcp_connections: limits::TCP_CONNECTIONS.default_here(),
        tcp_connections_per_client: limits::TCP_CONNECTIONS_PER_CLIENT.default_here(),
        tcp_pipelined: limits::TCP_PIPELINED.default_here(),
        tcp_idle: limits::TCP_IDLE.default,
        tcp_message: limits::TCP_MESSAGE.default,
    }
}

fn read_limits(table: &Table<'_>, findings: &mut Findings<'_>) -> Limits {
    table.only(LIMITS, findings);
    let mut count = |key, range: &limits::CountRange| {
        table.count(key, range, findings).or(range.default_here())
    };
    let workers = count("workers", &limits::WORKERS);
    let in_flight = count("in-flight", &limits::IN_FLIGHT);
    let upstream_in_flight = count("upstream-in-flight", &limits::UPSTREAM_IN_FLIGHT);
    let tcp_connections = count("tcp-connections", &limits::TCP_CONNECTIONS);
    let tcp_connections_per_client =
        count("tcp-connections-per-client", &limits::TCP_CONNECTIONS_PER_CLIENT);
    let tcp_pipelined = count("tcp-pipelined", &limits::TCP_PIPELINED);
    let mut time = |key, range: &limits::TimeRange| {
        let wanted = values::wanted_duration(range);
        let field = table.text(key, &wanted, findings, |text| values::duration(text, range));
        field.or(range.default)
    };
    Limits {
        workers,
        in_flight,
        upstream_in_flight,
        tcp_connections,
        tcp_connections_per_client,
        tcp_pipelined,
        tcp_idle: time("tcp-idle", &limits::TCP_IDLE),
        tcp_message: time("tcp-message", &limits::TCP_MESSAGE),
    }
}
