//! Forward rules: zones once, no loop into ourselves.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::config::findings::{Findings, Path, Problem, Span};
use crate::config::limits;
use crate::config::model::{Dnssec, Forward, Policy};
use crate::config::spec::ForwardSpec;
use crate::config::table::List;
use crate::config::upstreams::UpstreamSource;
use crate::wire::{Name, Rtype};

pub(super) fn check(specs: &[ForwardSpec], listen: &List<SocketAddr>, findings: &mut Findings<'_>) {
    let mut owners: HashMap<&Name, Span> = HashMap::new();
    let top = Path::Root.key("forward");
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
            let Some(upstream) = server.address() else { continue };
            if let Some(problem) = wrong_upstream(upstream, listen, findings) {
                findings.error(path.key("upstreams"), at.span, problem);
            }
        }
    }
}

fn wrong_upstream(
    upstream: SocketAddr,
    listen: &List<SocketAddr>,
    findings: &Findings<'_>,
) -> Option<Problem> {
    let ours = listen.items.iter().find(|at| reaches(upstream, at.value));
    if let Some(ours) = ours {
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
fn reaches(upstream: SocketAddr, ours: SocketAddr) -> bool {
    let local = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
    upstream.port() == ours.port()
        && (upstream.ip() == ours.ip()
            || (upstream.is_ipv4() == ours.is_ipv4()
                && local(upstream.ip())
                && ours.ip().is_unspecified())
            // Asking 0.0.0.0 is asking this machine.
            || (upstream.ip().is_unspecified() && ours.ip().is_loopback()))
}

pub(super) fn resolve(spec: ForwardSpec) -> Forward {
    Forward {
        zones: spec.zones.values(),
        upstreams: spec.upstreams.values(),
        policy: Policy::Ordered,
        timeout: spec.timeout.or(limits::TIMEOUT.default),
        probe: (Name::root(), Rtype::NS),
        require_private: false,
        rebind_protection: None,
        dnssec: Dnssec::Pass,
    }
}
