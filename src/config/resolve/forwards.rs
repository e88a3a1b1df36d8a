//! Forward rules: zones once, no loop into ourselves, no option that does nothing.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use crate::config::findings::{Findings, Path, Problem, Span};
use crate::config::limits;
use crate::config::model::{Dnssec, Forward, Policy};
use crate::config::spec::{DnssecSpec, ForwardSpec};
use crate::config::table::{At, Field, List};
use crate::config::upstreams::{Scheme, Trust, UpstreamHost, UpstreamServer, UpstreamSource};
use crate::sys::ScopedAddress;
use crate::wire::{Name, Rtype};

pub(super) fn check(
    specs: &[ForwardSpec],
    listen: &List<ScopedAddress>,
    findings: &mut Findings<'_>,
) {
    let mut owners: HashMap<&Name, Span> = HashMap::new();
    let top = Path::Root.key("forward");
    let names_are_found = names_are_found(specs);
    for (index, spec) in specs.iter().enumerate() {
        let path = top.item(index, specs.len());
        for at in &spec.zones.items {
            if let Some(first) = owners.insert(&at.value, at.span) {
                let line = findings.line(first);
                let problem = format!("another forward rule has this zone (line {line})");
                findings.error(path.key("zones"), at.span, Problem::new(problem));
            }
        }
        for at in &spec.upstreams.items {
            let UpstreamSource::Server(server) = &at.value else { continue };
            let problem = match &server.host {
                UpstreamHost::Address(address) => {
                    wrong_address(server.scheme, address, listen, findings)
                }
                UpstreamHost::Name { name, port } => {
                    (!names_are_found).then(|| never_found(server, name, *port))
                }
            };
            if let Some(problem) = problem {
                findings.error(path.key("upstreams"), at.span, problem);
            }
        }
        trust(spec, path, findings);
        guards(spec, path, findings);
    }
}

/// Whether some upstream can be asked for the addresses of those that have only a name.
fn names_are_found(specs: &[ForwardSpec]) -> bool {
    let finds = |source: &UpstreamSource| match source {
        UpstreamSource::ResolvConf(_) => true,
        UpstreamSource::Server(server) => {
            !server.scheme.is_encrypted() && server.address().is_some()
        }
    };
    // What a wrong entry would have been is not known.
    specs.iter().any(|spec| {
        spec.upstreams.incomplete || spec.upstreams.items.iter().any(|at| finds(&at.value))
    })
}

fn never_found(server: &UpstreamServer, name: &Name, port: u16) -> Problem {
    let scheme = server.scheme;
    let port = if port == scheme.default_port() { String::new() } else { format!(":{port}") };
    let tls_name = match &server.tls_name {
        Some(name) => format!("#{name}"),
        None if scheme.is_encrypted() => format!("#{name}"),
        None => String::new(),
    };
    let (scheme, path) = (scheme.as_str(), &server.path);
    Problem::new(
        "no upstream can be asked where this name is; add one with an address and without \
         encryption, such as \"10.0.0.4\", to any rule",
    )
    .help(format!("or write its address: \"{scheme}://ADDRESS{port}{path}{tls_name}\""))
}

/// `ca-file` and `pins` are about certificates.
fn trust(spec: &ForwardSpec, path: Path<'_>, findings: &mut Findings<'_>) {
    let encrypted = |at: &At<UpstreamSource>| match &at.value {
        UpstreamSource::Server(server) => server.scheme.is_encrypted(),
        UpstreamSource::ResolvConf(_) => false,
    };
    if spec.upstreams.incomplete || spec.upstreams.items.iter().any(encrypted) {
        return;
    }
    let given = [("ca-file", spec.ca_file.good().map(|at| at.span)), ("pins", spec.pins.span)];
    for (key, span) in given {
        let Some(span) = span else { continue };
        let problem = "no effect: none of this rule's upstreams is encrypted (tls://, https://, \
                       quic:// or h3://)";
        findings.warn(path.key(key), span, Problem::bare(problem));
    }
}

/// What answers may hold: `require-private` and its inverse.
fn guards(spec: &ForwardSpec, path: Path<'_>, findings: &mut Findings<'_>) {
    let private = spec.require_private.good().filter(|at| at.value);
    let rebind = spec.rebind_protection.good().filter(|at| at.value);
    if let (Some(private), Some(rebind)) = (private, rebind) {
        let line = findings.line(private.span);
        let problem = format!(
            "require-private (line {line}) refuses public addresses and this private ones, so \
             that none is left; keep one of the two"
        );
        findings.error(path.key("rebind-protection"), rebind.span, Problem::bare(problem));
    }
    let everything = spec.zones.items.iter().any(|at| at.value.label_count() == 0);
    if let Some(at) = private.filter(|_| everything) {
        let problem = "this rule is for \".\", where addresses are public: nearly every name would \
                       be refused; give the zones with private names a rule of their own";
        findings.warn(path.key("require-private"), at.span, Problem::bare(problem));
    }
    let Some(span) = spec.rebind_allow.span else { return };
    let key = path.key("rebind-allow");
    if rebind.is_none() && !matches!(spec.rebind_protection, Field::Wrong) {
        let problem = "no effect without rebind-protection = true";
        findings.warn(key, span, Problem::bare(problem));
    }
    for at in spec.rebind_allow.items.iter().filter(|at| at.value.label_count() == 0) {
        let problem = "every name is below it: nothing would be refused";
        findings.warn(key, at.span, Problem::new(problem));
    }
}

/// `[dnssec]` is for rules that validate.
pub(super) fn warn_of_unused_dnssec(
    specs: &[ForwardSpec],
    dnssec: Option<&DnssecSpec>,
    findings: &mut Findings<'_>,
) {
    let Some(spec) = dnssec else { return };
    let validates = |spec: &ForwardSpec| match &spec.dnssec {
        Field::Good(at) => at.value == Dnssec::Validate,
        Field::Missing => false,
        // What it was meant to be is not known.
        Field::Wrong => true,
    };
    if !specs.iter().any(validates) {
        let problem = "no effect: no forward rule has dnssec = \"validate\"";
        findings.warn(Path::Root.key("dnssec"), spec.span, Problem::bare(problem));
    }
}

fn wrong_address(
    scheme: Scheme,
    upstream: &ScopedAddress,
    listen: &List<ScopedAddress>,
    findings: &Findings<'_>,
) -> Option<Problem> {
    // We speak plain DNS alone: another scheme meets none of our listeners.
    let ours = listen.items.iter().find(|at| reaches(upstream, &at.value));
    if let Some(ours) = ours.filter(|_| !scheme.is_encrypted()) {
        let line = findings.line(ours.span);
        let problem = format!("a forwarding loop: this is our own listen address (line {line})");
        return Some(Problem::new(problem).help("write the address of another DNS server"));
    }
    let ip = upstream.ip();
    let no_server = ip.is_unspecified() || ip.is_multicast() || ip == Ipv4Addr::BROADCAST;
    no_server.then(|| Problem::new("no server has this address; write the address of one"))
}

/// Whether a query to `upstream` arrives at the listener `ours`. What other addresses this machine
/// has is not known here.
fn reaches(upstream: &ScopedAddress, ours: &ScopedAddress) -> bool {
    let local = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
    upstream.port() == ours.port()
        && ((upstream.ip() == ours.ip() && upstream.interface() == ours.interface())
            || (upstream.is_ipv4() == ours.is_ipv4()
                && local(upstream.ip())
                && ours.ip().is_unspecified())
            // Asking 0.0.0.0 is asking this machine.
            || (upstream.ip().is_unspecified() && ours.ip().is_loopback()))
}

pub(super) fn resolve(spec: ForwardSpec) -> Forward {
    let trust =
        Trust { ca_file: spec.ca_file.good().map(|at| at.value.clone()), pins: spec.pins.values() };
    let mut upstreams = spec.upstreams.values();
    for source in &mut upstreams {
        if let UpstreamSource::Server(server) = source
            && server.scheme.is_encrypted()
        {
            server.trust = trust.clone();
        }
    }
    let rebind_allow = spec.rebind_allow.values();
    Forward {
        zones: spec.zones.values(),
        upstreams,
        policy: spec.policy.or(Policy::Ordered),
        timeout: spec.timeout.or(limits::TIMEOUT.default),
        probe: spec.probe.or((Name::root(), Rtype::NS)),
        require_private: spec.require_private.or(false),
        rebind_protection: spec.rebind_protection.or(false).then_some(rebind_allow),
        dnssec: spec.dnssec.or(Dnssec::Pass),
    }
}
