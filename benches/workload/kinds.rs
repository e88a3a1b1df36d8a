//! Every kind of query that is answered, or passed on, without waiting for anybody: one of each,
//! with what it gets, so that what is measured is what it is called.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use privatelinkd::app;
use privatelinkd::config;
use privatelinkd::engine::{Asked, Snapshot, Transport, Verdict};
use privatelinkd::wire::{Header, Rcode, Rtype, flags};

use super::messages::{Said, keep, query, soa, target, with_edns};

const CONFIG: &str = r#"
[listen]
dns = ["127.0.0.1:5300"]

[access]
allow = ["loopback", "private"]

[[site]]
name = "frankfurt"
networks = ["10.1.0.0/16"]

[[private-link]]
service = "defender-for-containers"
[[private-link.endpoint]]
name = "hub"
addresses = ["10.1.0.5"]
names = { "api" = ["10.1.0.5"], "data.westeurope" = ["10.1.0.6"], "many" = [MANY] }
[[private-link.endpoint]]
name = "frankfurt"
sites = ["frankfurt"]
addresses = ["10.3.0.5"]
names = { "api" = ["10.3.0.5"] }

[[private-link]]
public-zone = "vault.azure.net"
private-zone = "privatelink.vaultcore.azure.net"
unlisted = "nxdomain"
[[private-link.endpoint]]
name = "vault"
names = { "ours" = ["10.4.0.5"], "deep.below.here" = ["10.4.0.7"] }

[[private-link]]
public-zone = "blob.core.windows.net"
private-zone = "privatelink.blob.core.windows.net"
unlisted = "forward"
[[private-link.endpoint]]
name = "storage"
names = { "mine" = ["10.5.0.5"] }

[[forward]]
zones = ["example", "microsoft.com", "windows.net", "azure.net"]
upstreams = ["192.168.0.53"]
"#;
/// Enough IPv4 addresses that they need TC without EDNS: 40 × 16 octets.
const MANY: u8 = 40;
/// Enough TXT records of 256 octets that they fit no datagram of ours.
const LARGE: u8 = 16;

/// One kind of query.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) request: Vec<u8>,
    pub(crate) client: IpAddr,
    pub(crate) transport: Transport,
    /// What it gets, as [`said`] puts it.
    pub(crate) gets: &'static str,
}

impl Kind {
    /// Who asks it, at `now`.
    pub(crate) fn asked(&self, now: Instant) -> Asked {
        Asked { client: self.client, transport: self.transport, now, rotation: 1 }
    }
}

/// What there is to answer from: three private zones, and upstreams' answers in the cache.
pub(crate) fn snapshot() -> Snapshot {
    let many: Vec<String> = (1..=MANY).map(|last| format!("'10.1.1.{last}'")).collect();
    let report = config::read(&CONFIG.replace("MANY", &many.join(", ")));
    let config = report.config.unwrap_or_else(|| panic!("{:?}", report.diagnostics));
    let snapshot = app::build(&config, &config.listen.dns, None).expect("no upstream is us");
    let address = |last| (Rtype::A, vec![198, 51, 100, last]);
    let kept = |name: &str, rtype, rcode: Rcode, answers: &[_], authorities: &[_], ours| {
        let rcode = u8::try_from(rcode.0).expect("four bits");
        keep(&snapshot, &query(name, rtype), &Said { rcode, answers, authorities }, ours);
    };
    let soa = [(Rtype::SOA, soa())];
    kept("www.example", Rtype::A, Rcode::NOERROR, &[address(7)], &[], false);
    kept("www.example", Rtype::AAAA, Rcode::NOERROR, &[], &soa, false);
    kept("gone.example", Rtype::A, Rcode::NXDOMAIN, &[], &soa, false);
    let chain = [(Rtype::CNAME, target("api.privatelink.cloud.defender.microsoft.com"))];
    kept("shop.example", Rtype::A, Rcode::NOERROR, &chain, &[], true);
    // Each another text: a record that comes twice is kept once.
    let text = |last: u8| [&[255][..], &[b'x'; 254], &[last]].concat();
    let large: Vec<_> = (0..LARGE).map(|last| (Rtype::TXT, text(last))).collect();
    kept("large.example", Rtype::TXT, Rcode::NOERROR, &large, &[], false);
    snapshot
}

/// All kinds, over UDP from a private address where nothing else is said.
#[rustfmt::skip]
pub(crate) fn kinds() -> Vec<Kind> {
    let (a, aaaa, https) = (Rtype::A, Rtype::AAAA, Rtype(65));
    let kind = |name, request, gets| Kind {
        name, request, gets,
        client: Ipv4Addr::new(10, 2, 0, 9).into(),
        transport: Transport::Udp,
    };
    let asking = |name, qname, rtype, gets| kind(name, query(qname, rtype), gets);
    let mut kinds = vec![
        asking("private, wildcard", "x.cloud.defender.microsoft.com", a, "Private NOERROR 2 0"),
        asking("private, listed", "data.westeurope.cloud.defender.microsoft.com", a, "Private NOERROR 2 0"),
        asking("private, private zone", "api.privatelink.cloud.defender.microsoft.com", a, "Private NOERROR 1 0"),
        asking("private, AAAA", "api.cloud.defender.microsoft.com", aaaa, "Private NOERROR 1 1"),
        asking("private, HTTPS", "api.cloud.defender.microsoft.com", https, "Private NOERROR 1 1"),
        asking("private, CNAME", "api.cloud.defender.microsoft.com", Rtype::CNAME, "Private NOERROR 1 0"),
        asking("private, ANY", "api.cloud.defender.microsoft.com", Rtype::ANY, "Private NOERROR 1 0"),
        asking("private, empty non-terminal", "below.here.vault.azure.net", a, "Private NOERROR 1 1"),
        asking("private, NXDOMAIN", "else.vault.azure.net", a, "Private NXDOMAIN 1 1"),
        asking("private, SOA at the apex", "privatelink.vaultcore.azure.net", Rtype::SOA, "Private NOERROR 1 0"),
        asking("private, NODATA at the apex", "privatelink.vaultcore.azure.net", a, "Private NOERROR 0 1"),
        asking("private, 40 addresses, truncated", "many.cloud.defender.microsoft.com", a, "Private NOERROR 0 0 tc"),
        asking("cached", "www.example", a, "Cached NOERROR 1 0"),
        asking("cached, NODATA", "www.example", aaaa, "Cached NOERROR 0 1"),
        asking("cached, NXDOMAIN", "gone.example", a, "Cached NXDOMAIN 0 1"),
        asking("cached, chain cut at our zone", "shop.example", a, "Private NOERROR 2 0"),
        asking("cached, large, truncated", "large.example", Rtype::TXT, "Cached NOERROR 0 0 tc"),
        asking("refused, zone transfer", "x.cloud.defender.microsoft.com", Rtype::AXFR, "Refused REFUSED 0 0"),
        asking("refused, no rule", "www.elsewhere", a, "Refused REFUSED 0 0"),
        asking("miss", "new.example", a, "Forward"),
        asking("miss, another tenant's name", "other.blob.core.windows.net", a, "Forward"),
    ];
    let wildcard = query("x.cloud.defender.microsoft.com", a);
    let cached = query("www.example", a);
    let changed = |at: usize, octet: u8| {
        let mut request = wildcard.clone();
        request[at] = octet;
        request
    };
    kinds.extend([
        kind("private, wildcard, EDNS", with_edns(wildcard.clone(), 0), "Private NOERROR 2 0"),
        kind("cached, EDNS", with_edns(cached, 0), "Cached NOERROR 1 0"),
        kind("fault, two questions", changed(5, 2), "Fault FORMERR 0 0"),
        kind("fault, cut short", wildcard[..wildcard.len() - 1].to_vec(), "Fault FORMERR 0 0"),
        kind("fault, opcode", changed(2, 0x28), "Fault NOTIMP 0 0"),
        kind("fault, EDNS version", with_edns(wildcard.clone(), 1), "Fault NOERROR 0 0"),
        kind("dropped, a response", changed(2, 0x80), "Drop"),
    ]);
    let site = Ipv4Addr::new(10, 1, 0, 9).into();
    let stranger = Ipv4Addr::new(192, 0, 2, 9).into();
    kinds.extend([
        Kind { client: site, ..asking("private, listed, of a site", "api.cloud.defender.microsoft.com", a, "Private NOERROR 2 0") },
        Kind { client: stranger, ..kind("refused, client", wildcard.clone(), "Refused REFUSED 0 0") },
        Kind { client: stranger, ..kind("refused, client, EDNS", with_edns(wildcard, 0), "Refused REFUSED 0 0") },
        Kind { transport: Transport::Tcp, ..asking("private, 40 addresses, TCP", "many.cloud.defender.microsoft.com", a, "Private NOERROR 41 0") },
        Kind { transport: Transport::Tcp, ..asking("cached, large, TCP", "large.example", Rtype::TXT, "Cached NOERROR 16 0") },
    ]);
    kinds
}

/// What was said: outcome, rcode (BADVERS shows its lower four bits), records in answer and
/// authority, and whether it was truncated.
pub(crate) fn said(verdict: Verdict, reply: &[u8]) -> String {
    let outcome = match verdict {
        Verdict::Reply(outcome) => outcome,
        Verdict::Drop(_) => return "Drop".to_owned(),
        Verdict::Forward => return "Forward".to_owned(),
    };
    let header = Header::read(reply).expect("a header");
    let Header { answers, authorities, .. } = header;
    let truncated = if header.has(flags::TC) { " tc" } else { "" };
    let rcode = Rcode(header.flags & flags::RCODE);
    format!("{outcome:?} {rcode} {answers} {authorities}{truncated}")
}
