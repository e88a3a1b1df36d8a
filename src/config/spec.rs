//! What the user typed: each value understood on its own, with its place. Whether the values fit
//! together is decided in `resolve`.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use ipnet::IpNet;
use toml::de::{DeTable, DeValue};

use super::findings::{Findings, Path, Problem, Span};
use super::limits;
use super::model::{Limits, Log, LogFormat, LogLevel, LogQueries, Names, Refused, Unlisted};
use super::table::{At, Field, List, Listed, Table, read_items};
use super::upstreams::UpstreamSource;
use super::values;
use crate::wire::{Name, Rtype};

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
    ("forward", FORWARD),
    ("cache", CACHE),
    ("expect", EXPECT),
    ("log", LOG),
    ("limits", LIMITS),
];
const TOP: &[&str] =
    &["listen", "access", "site", "private-link", "forward", "cache", "expect", "log", "limits"];
const LISTEN: &[&str] = &["dns", "admin"];
const ACCESS: &[&str] = &["allow", "refused"];
const SITE: &[&str] = &["name", "networks"];
const PRIVATE_LINK: &[&str] =
    &["service", "public-zone", "private-zone", "unlisted", "ttl", "negative-ttl", "endpoint"];
const ENDPOINT: &[&str] = &["name", "sites", "addresses", "names"];
const FORWARD: &[&str] = &["zones", "upstreams", "timeout"];
const CACHE: &[&str] = &["size"];
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

/// The whole file.
pub(super) struct Spec {
    pub(super) listen: List<SocketAddr>,
    pub(super) admin: Field<SocketAddr>,
    pub(super) access: AccessSpec,
    pub(super) sites: Vec<SiteSpec>,
    pub(super) private_links: Vec<PrivateLinkSpec>,
    pub(super) forwards: Vec<ForwardSpec>,
    pub(super) cache_octets: u64,
    pub(super) expects: Vec<ExpectSpec>,
    pub(super) log: Log,
    pub(super) limits: Limits,
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

pub(super) struct PrivateLinkSpec {
    pub(super) service: Field<String>,
    pub(super) public_zone: Field<Name>,
    pub(super) private_zone: Field<Name>,
    pub(super) unlisted: Field<Unlisted>,
    pub(super) ttl_seconds: u32,
    pub(super) negative_ttl_seconds: u32,
    pub(super) endpoints: Vec<EndpointSpec>,
    /// `endpoint` is there and not an empty list; a wrong one counts.
    pub(super) endpoints_given: bool,
    pub(super) span: Span,
}

pub(super) struct EndpointSpec {
    pub(super) name: Field<String>,
    pub(super) sites: List<String>,
    pub(super) addresses: List<IpAddr>,
    pub(super) names: NamesSpec,
    /// `names` is there and not an empty table; a wrong one counts.
    pub(super) names_given: bool,
    pub(super) span: Span,
}

/// `names`: very many in large files, so neither texts nor addresses are allocated one by one.
#[derive(Default)]
pub(super) struct NamesSpec {
    /// In the file's order.
    pub(super) entries: Vec<NameSpec>,
    texts: String,
    addresses: Vec<At<IpAddr>>,
}

/// An entry of `names`.
pub(super) struct NameSpec {
    pub(super) name: Name,
    pub(super) span: Span,
    text: Range<usize>,
    addresses: Range<usize>,
}

impl NamesSpec {
    /// The name as typed, for messages.
    pub(super) fn text(&self, entry: &NameSpec) -> &str {
        self.texts.get(entry.text.clone()).unwrap_or("")
    }

    /// What is listed for the name.
    pub(super) fn addresses(&self, entry: &NameSpec) -> &[At<IpAddr>] {
        self.addresses.get(entry.addresses.clone()).unwrap_or(&[])
    }

    pub(super) fn values(self) -> Names {
        let mut names = Names::with_capacity(self.entries.len());
        for NameSpec { name, addresses, .. } in self.entries {
            let addresses = self.addresses.get(addresses).unwrap_or(&[]);
            names.push(name, addresses.iter().map(|at| at.value));
        }
        names
    }
}

pub(super) struct ForwardSpec {
    pub(super) zones: List<Name>,
    pub(super) upstreams: List<UpstreamSource>,
    pub(super) timeout: Field<Duration>,
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
    let (listen, admin) = listen.unwrap_or_else(|| (List::missing(), Field::Missing));
    let access = top.table("access", findings, read_access);
    let limits = top.table("limits", findings, read_limits);
    Spec {
        listen,
        admin,
        access: access.unwrap_or(AccessSpec { allow: List::missing(), refused: Refused::Answer }),
        sites: top.tables("site", "site", findings, read_site),
        private_links: top.tables("private-link", "private-link", findings, read_private_link),
        forwards: top.tables("forward", "forward", findings, read_forward),
        cache_octets: top
            .table("cache", findings, read_cache)
            .unwrap_or(limits::CACHE_SIZE_DEFAULT),
        expects: top.tables("expect", "expect", findings, read_expect),
        log: top.table("log", findings, read_log).unwrap_or(Log {
            format: LogFormat::Text,
            level: LogLevel::Info,
            queries: LogQueries::None,
        }),
        limits: limits.unwrap_or_else(default_limits),
    }
}

fn read_listen(
    table: &Table<'_>,
    findings: &mut Findings<'_>,
) -> (List<SocketAddr>, Field<SocketAddr>) {
    table.only(LISTEN, findings);
    let at_most = limits::MAX_LISTENERS;
    let listed = Listed { wanted: values::WANTED_LISTENER, at_least_one: true, at_most };
    let dns = table.list("dns", &listed, findings, values::listener);
    if dns.is_missing() {
        table.missing("dns", "write dns = [\"0.0.0.0:53\", \"[::]:53\"]", findings);
    }
    (dns, table.text("admin", values::WANTED_ADMIN, findings, values::admin))
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

fn read_private_link(table: &Table<'_>, findings: &mut Findings<'_>) -> PrivateLinkSpec {
    table.only(PRIVATE_LINK, findings);
    let service =
        table.text("service", "write a service's name", findings, |text| Ok(text.to_owned()));
    let zone = |key, findings: &mut Findings<'_>| {
        table.text(key, values::WANTED_ZONE, findings, |text| {
            values::zone(text).and_then(|name| match name.label_count() {
                0 => {
                    Err(Problem::new(format!("the root is no zone here; {}", values::WANTED_ZONE)))
                }
                _ => Ok(name),
            })
        })
    };
    let (public_zone, private_zone) =
        (zone("public-zone", findings), zone("private-zone", findings));
    let choices = [
        ("wildcard", Unlisted::Wildcard),
        ("nxdomain", Unlisted::Nxdomain),
        ("forward", Unlisted::Forward),
    ];
    let unlisted = table.choice("unlisted", &choices, findings);
    let ttl = |key, range: &limits::TimeRange, findings: &mut Findings<'_>| {
        let wanted = values::wanted_duration(range);
        let field = table.text(key, &wanted, findings, |text| values::ttl(text, range));
        field.or(u32::try_from(range.default.as_secs()).unwrap_or(u32::MAX))
    };
    let ttl_seconds = ttl("ttl", &limits::TTL, findings);
    let negative_ttl_seconds = ttl("negative-ttl", &limits::NEGATIVE_TTL, findings);
    let endpoints = table.tables("endpoint", "private-link.endpoint", findings, read_endpoint);
    PrivateLinkSpec {
        service,
        public_zone,
        private_zone,
        unlisted,
        ttl_seconds,
        negative_ttl_seconds,
        endpoints,
        endpoints_given: table
            .entries
            .get("endpoint")
            .is_some_and(|value| value.get_ref().as_array().is_none_or(|all| !all.is_empty())),
        span: table.span,
    }
}

fn endpoint_addresses(at_least_one: bool) -> Listed<'static> {
    Listed { wanted: values::WANTED_ADDRESS, at_least_one, at_most: limits::MAX_ADDRESSES }
}

fn read_endpoint(table: &Table<'_>, findings: &mut Findings<'_>) -> EndpointSpec {
    table.only(ENDPOINT, findings);
    let name = table.text("name", values::WANTED_LABEL, findings, values::label);
    if name.is_missing() {
        table.missing("name", values::WANTED_LABEL, findings);
    }
    let wanted = "write the names of sites, such as \"frankfurt\"; leave sites out for everybody";
    let listed = Listed { wanted, at_least_one: true, at_most: MANY };
    let sites = table.list("sites", &listed, findings, values::label);
    let listed = endpoint_addresses(true);
    let addresses = table.list("addresses", &listed, findings, values::endpoint_address);
    EndpointSpec {
        name,
        sites,
        addresses,
        names: read_names(table, findings),
        names_given: names_given(table),
        span: table.span,
    }
}

fn names_given(table: &Table<'_>) -> bool {
    let names = table.entries.get("names").map(|value| value.get_ref());
    names.is_some_and(|names| names.as_table().is_none_or(|table| !table.is_empty()))
}

fn read_names(table: &Table<'_>, findings: &mut Findings<'_>) -> NamesSpec {
    let mut names = NamesSpec::default();
    let Some(value) = table.entries.get("names") else { return names };
    let path = table.path.key("names");
    let DeValue::Table(entries) = value.get_ref() else {
        let wanted = "write a table of names and addresses: { \"api\" = [\"10.1.0.5\"] }";
        findings.error(path, value.span().into(), Problem::new(wanted));
        return names;
    };
    names.entries.reserve_exact(entries.len());
    names.addresses.reserve_exact(entries.len());
    let listed = endpoint_addresses(true);
    for (key, value) in entries {
        let (text, span): (&str, Span) = (key.get_ref(), key.span().into());
        let path = path.key(text);
        if let DeValue::Table(inner) = value.get_ref() {
            let next: &str = inner.keys().next().map_or("…", |key| key.get_ref());
            let problem = "a name with a dot needs quotes around all of it";
            let help = format!("write \"{text}.{next}\" = [\"10.1.0.5\"]");
            findings.error(path, span, Problem::bare(problem).help(help));
            continue;
        }
        let (addresses, texts) = (names.addresses.len(), names.texts.len());
        let mut read = |at| names.addresses.push(at);
        read_items(value, path, &listed, findings, values::endpoint_address, &mut read);
        match relative_name(text) {
            Ok(name) => {
                names.texts.push_str(text);
                let text = texts..names.texts.len();
                let addresses = addresses..names.addresses.len();
                names.entries.push(NameSpec { name, span, text, addresses });
            }
            Err(problem) => findings.error(path, span, problem),
        }
    }
    // The table is in alphabetical order; messages speak of the first and the second in the file.
    names.entries.sort_unstable_by_key(|entry| entry.span.start);
    names
}

/// A name relative to its zone.
fn relative_name(text: &str) -> Result<Name, Problem> {
    const WANTED: &str =
        "write a name relative to the zone, such as \"api\" or \"data.westeurope\"";
    if text.split('.').any(|label| label == "*") {
        return Err(Problem::bare(
            "a wildcard is not a name here; write its addresses into the endpoint's addresses",
        ));
    }
    if text.contains(['{', '}']) {
        return Err(Problem::bare(format!("a placeholder is left over; {WANTED}")));
    }
    match text.parse::<Name>() {
        Ok(name) if name.label_count() == 0 => Err(Problem::bare(WANTED)),
        Ok(name) => Ok(name),
        Err(error) => Err(Problem::bare(format!("{error}; {WANTED}"))),
    }
}

fn read_forward(table: &Table<'_>, findings: &mut Findings<'_>) -> ForwardSpec {
    table.only(FORWARD, findings);
    let wanted = "write a zone such as \"corp.example\", or \".\" for everything";
    let listed = Listed { wanted, at_least_one: true, at_most: MANY };
    let zones = table.list("zones", &listed, findings, values::zone);
    if zones.is_missing() {
        table.missing("zones", "write zones = [\".\"] for everything", findings);
    }
    let at_most = limits::MAX_UPSTREAMS;
    let listed = Listed { wanted: values::WANTED_UPSTREAM, at_least_one: true, at_most };
    let upstreams = table.list("upstreams", &listed, findings, values::upstream);
    if upstreams.is_missing() {
        table.missing("upstreams", "write upstreams = [\"10.0.0.4\"]", findings);
    }
    let range = &limits::TIMEOUT;
    let timeout = table.text("timeout", &values::wanted_duration(range), findings, |text| {
        values::duration(text, range)
    });
    if let Some(at) = timeout.good().filter(|at| at.value > limits::TIMEOUT_WARN) {
        let problem = Problem::new(
            "a Windows DNS server that asks here gives up after about 5.5 s; stay below 4s",
        );
        findings.warn(table.path.key("timeout"), at.span, problem);
    }
    ForwardSpec { zones, upstreams, timeout }
}

fn read_cache(table: &Table<'_>, findings: &mut Findings<'_>) -> u64 {
    table.only(CACHE, findings);
    let size = table.text("size", values::WANTED_SIZE, findings, values::cache_size);
    size.or(limits::CACHE_SIZE_DEFAULT)
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
