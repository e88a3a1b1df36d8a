//! From what the user typed to what it means: everything that concerns more than one value.

mod endpoints;
mod forwards;
mod listed;
mod misspelt;
mod names;
mod pairs;
mod probes;
mod shared;
mod tenants;
mod zones;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::findings::{Findings, Path, Problem, Span};
use super::model::{Access, Config, DnssecConfig, Expect, Listen, Site};
use super::spec::{AccessSpec, Allowed, DnssecSpec, ExpectSpec, SiteSpec, Spec, SpecialSpec};
use crate::sys::ScopedAddress;
use crate::wire::Rtype;

/// RFC 1122 §3.2.1.3 and RFC 4291 §2.5.3.
const LOOPBACK: [IpNet; 2] = [v4(127, 0, 0, 0, 8), v6(Ipv6Addr::LOCALHOST, 128)];
/// RFC 1918, RFC 4193, and link-local (RFC 3927, RFC 4291 §2.5.6).
const PRIVATE: [IpNet; 6] = [
    v4(10, 0, 0, 0, 8),
    v4(172, 16, 0, 0, 12),
    v4(192, 168, 0, 0, 16),
    v4(169, 254, 0, 0, 16),
    v6(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),
    v6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
];

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix))
}

const fn v6(address: Ipv6Addr, prefix: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(address, prefix))
}

/// The meaning of `spec`; worth nothing when `findings` has errors afterwards.
pub(super) fn resolve(spec: Spec, findings: &mut Findings<'_>) -> Config {
    unused_sites(&spec, findings);
    let access = access(&spec.access, findings);
    let site_index = SiteIndex::new(&spec.sites, findings);
    site_networks(&spec, &access, findings);
    if spec.private_links.is_empty() && spec.forwards.is_empty() {
        let problem = "nothing to answer; write at least one [[private-link]] or [[forward]]";
        findings.error(Path::Root, Span::FILE, Problem::bare(problem));
    }
    forwards::check(&spec.forwards, &spec.listen, findings);
    forwards::warn_of_unused_dnssec(&spec.forwards, spec.dnssec.as_ref(), findings);
    if let Some(special) = &spec.special {
        special.check(&spec.forwards, findings);
    }
    listeners(&spec, findings);
    admin(&spec, findings);
    freebind(&spec, findings);
    let private_links = zones::resolve(
        spec.private_links,
        &spec.forwards,
        spec.probes.as_ref(),
        &site_index,
        findings,
    );
    Config {
        listen: Listen {
            dns: spec.listen.values(),
            admin: spec.admin.good().map(|at| at.value.clone()),
            freebind: spec.freebind.or(false),
        },
        access,
        sites: spec.sites.into_iter().filter_map(site).collect(),
        private_links,
        probes: probes::resolve(spec.probes),
        forwards: spec.forwards.into_iter().map(forwards::resolve).collect(),
        cache: spec.cache,
        dnssec: spec.dnssec.map(dnssec).unwrap_or_default(),
        special: spec.special.map(SpecialSpec::resolve).unwrap_or_default(),
        expects: expects(spec.expects, findings),
        log: spec.log,
        limits: spec.limits,
        process: spec.process,
    }
}

fn listeners(spec: &Spec, findings: &mut Findings<'_>) {
    let (listen, of) = (Path::Root.key("listen"), spec.listen.items.len());
    for (index, at) in spec.listen.items.iter().enumerate() {
        if at.value.ip().is_multicast() {
            let problem = Problem::new("a multicast address cannot be listened on");
            findings.error(listen.key("dns").item(index, of), at.span, problem);
        } else if at.value.port() == 0 {
            let problem = Problem::new("the system will choose a port; this is for tests only");
            findings.warn(listen.key("dns").item(index, of), at.span, problem);
        }
    }
}

/// `freebind` is for addresses that may be absent.
fn freebind(spec: &Spec, findings: &mut Findings<'_>) {
    let Some(at) = spec.freebind.good().filter(|at| at.value) else { return };
    let mut all = spec.listen.items.iter().chain(spec.admin.good());
    if !spec.listen.incomplete && all.all(|at| at.value.ip().is_unspecified()) {
        let problem = "no effect: 0.0.0.0 and [::] are never absent";
        let listen = Path::Root.key("listen");
        findings.warn(listen.key("freebind"), at.span, Problem::bare(problem));
    }
}

fn admin(spec: &Spec, findings: &mut Findings<'_>) {
    let Some(admin) = spec.admin.good() else { return };
    let (listen, address) = (Path::Root.key("listen"), &admin.value);
    let path = listen.key("admin");
    // DNS listens on TCP too. An IPv6 socket takes no IPv4, so the families do not meet.
    let meets = |dns: &ScopedAddress| {
        let (ours, theirs) = (address.ip(), dns.ip());
        let either_any = ours.is_unspecified() || theirs.is_unspecified();
        address.port() != 0
            && dns.port() == address.port()
            && ((ours == theirs && address.interface() == dns.interface())
                || (either_any && ours.is_ipv4() == theirs.is_ipv4()))
    };
    if address.ip().is_multicast() {
        let problem = Problem::new("a multicast address cannot be listened on");
        findings.error(path, admin.span, problem);
        return;
    }
    if let Some(dns) = spec.listen.items.iter().find(|at| meets(&at.value)) {
        let line = findings.line(dns.span);
        let problem = format!("listen.dns takes this port over TCP (line {line}); use another");
        findings.error(path, admin.span, Problem::new(problem));
    }
    if address.port() == 0 {
        let problem = Problem::new("the system will choose a port; this is for tests only");
        findings.warn(path, admin.span, problem);
    }
    if !address.ip().is_loopback() {
        let problem = "not a loopback address: whoever reaches it sees how names resolve, and \
                       nothing asks who they are; use 127.0.0.1, or a firewall";
        findings.warn(path, admin.span, Problem::new(problem));
    }
}

fn access(spec: &AccessSpec, findings: &mut Findings<'_>) -> Access {
    let given = spec.allow.span;
    let mut allow = Vec::new();
    for at in &spec.allow.items {
        match at.value {
            Allowed::Loopback => allow.extend(LOOPBACK),
            Allowed::Private => allow.extend(PRIVATE),
            Allowed::Network(network) => allow.push(network),
        }
    }
    let Some(span) = given else {
        allow.extend(LOOPBACK.into_iter().chain(PRIVATE));
        return Access { allow, refused: spec.refused };
    };
    let access = Path::Root.key("access");
    let path = access.key("allow");
    let any_v4 = allow.iter().any(|network| matches!(network, IpNet::V4(_)));
    let any_v6 = allow.iter().any(|network| matches!(network, IpNet::V6(_)));
    if any_v4 != any_v6 && !spec.allow.incomplete {
        let shut = if any_v4 { "IPv6" } else { "IPv4" };
        let problem = format!("no {shut} client may ask; both families are closed by default");
        findings.warn(path, span, Problem::new(problem));
    }
    if let Some(open) = spec
        .allow
        .items
        .iter()
        .find(|at| matches!(at.value, Allowed::Network(network) if network.prefix_len() == 0))
    {
        let problem = "everybody may ask; an open resolver is misused to flood others";
        findings.warn(path, open.span, Problem::new(problem));
    }
    Access { allow, refused: spec.refused }
}

/// Where a site's name stands in [`Config::sites`].
pub(super) struct SiteIndex {
    by_name: HashMap<String, usize>,
    /// All names in alphabetical order, for messages.
    sorted: Vec<String>,
    /// Some site has no usable name, so an unknown one may be meant to be it.
    incomplete: bool,
}

impl SiteIndex {
    fn new(sites: &[SiteSpec], findings: &mut Findings<'_>) -> Self {
        let mut index = Self { by_name: HashMap::new(), sorted: Vec::new(), incomplete: false };
        let mut lines: HashMap<&str, usize> = HashMap::new();
        let top = Path::Root.key("site");
        for (number, site) in sites.iter().enumerate() {
            let Some(name) = site.name.good() else {
                index.incomplete = true;
                continue;
            };
            let line = findings.line(name.span);
            if let Some(first) = lines.insert(&name.value, line) {
                let path = top.item(number, sites.len());
                let problem = format!("another site has this name (line {first}); choose another");
                findings.error(path.key("name"), name.span, Problem::new(problem));
            }
            index.by_name.insert(name.value.clone(), number);
        }
        index.sorted = index.by_name.keys().cloned().collect();
        index.sorted.sort_unstable();
        index
    }
}

/// How much of a network may ask.
enum Cover {
    Whole,
    Partly,
    Nothing,
}

/// `access.allow` as networks of which none touches another, in the order of their addresses.
struct Allow(Vec<IpNet>);

impl Allow {
    fn new(allow: &[IpNet]) -> Self {
        let mut networks = IpNet::aggregate(&allow.to_vec());
        networks.sort_unstable_by_key(|network| network.network());
        Self(networks)
    }

    fn covers(&self, network: &IpNet) -> Cover {
        let (before, behind) =
            self.0.split_at(self.0.partition_point(|other| other.network() <= network.network()));
        if before.last().is_some_and(|other| other.contains(network)) {
            return Cover::Whole;
        }
        // One that begins at the same address, but is smaller, is the last of `before`.
        let inside = |other: &IpNet| network.contains(other);
        if before.last().is_some_and(inside) || behind.first().is_some_and(inside) {
            return Cover::Partly;
        }
        Cover::Nothing
    }
}

fn site_networks(spec: &Spec, access: &Access, findings: &mut Findings<'_>) {
    let sites = &spec.sites;
    let allowed = Allow::new(&access.allow);
    let mut owners: HashMap<IpNet, Span> = HashMap::new();
    let top = Path::Root.key("site");
    for (number, site) in sites.iter().enumerate() {
        let path = top.item(number, sites.len());
        for at in &site.networks.items {
            if let Some(first) = owners.insert(at.value, at.span) {
                let line = findings.line(first);
                let problem = format!("another site has this network (line {line})");
                findings.error(path.key("networks"), at.span, Problem::new(problem));
            }
            // What a wrong entry would have allowed is not known.
            if spec.access.allow.incomplete {
                continue;
            }
            let problem = match allowed.covers(&at.value) {
                Cover::Whole => continue,
                Cover::Partly => "partly outside access.allow: some of these clients are refused",
                Cover::Nothing => "outside access.allow: these clients are refused",
            };
            findings.warn(path.key("networks"), at.span, Problem::new(problem));
        }
    }
}

fn unused_sites(spec: &Spec, findings: &mut Findings<'_>) {
    let endpoints = || spec.private_links.iter().flat_map(|link| &link.endpoints);
    let used: HashSet<&str> =
        endpoints().flat_map(|e| &e.sites.items).map(|at| at.value.as_str()).collect();
    let top = Path::Root.key("site");
    for (number, site) in spec.sites.iter().enumerate() {
        let Some(name) = site.name.good() else { continue };
        if !used.contains(name.value.as_str()) {
            let path = top.item(number, spec.sites.len());
            let problem = Problem::new("no endpoint names this site in its sites");
            findings.warn(path.key("name"), name.span, problem);
        }
    }
}

fn site(spec: SiteSpec) -> Option<Site> {
    let name = spec.name.good()?.value.clone();
    Some(Site { name, networks: spec.networks.values() })
}

fn dnssec(spec: DnssecSpec) -> DnssecConfig {
    DnssecConfig {
        trust_anchors: spec.trust_anchors.good().map(|at| at.value.clone()),
        negative_trust_anchors: spec.negative_trust_anchors.values(),
    }
}

fn expects(specs: Vec<ExpectSpec>, findings: &mut Findings<'_>) -> Vec<Expect> {
    let (top, of) = (Path::Root.key("expect"), specs.len());
    let mut expects = Vec::with_capacity(of);
    for (index, spec) in specs.into_iter().enumerate() {
        let path = top.item(index, of);
        let (Some(client), Some(query)) = (spec.client.good(), spec.query.good()) else { continue };
        let (qname, qtype) = query.value.clone();
        for at in &spec.answer.items {
            let fitting = match at.value {
                IpAddr::V4(_) => Rtype::A,
                IpAddr::V6(_) => Rtype::AAAA,
            };
            if fitting != qtype {
                let problem = format!("a question of type {qtype} is never answered with this");
                let help = format!("write the question as \"{qname} {fitting}\"");
                findings.error(path.key("answer"), at.span, Problem::new(problem).help(help));
            }
        }
        let line = findings.line(spec.span);
        expects.push(Expect {
            client: client.value,
            qname,
            qtype,
            answer: spec.answer.values(),
            line,
        });
    }
    expects
}
