//! A client's octets against a running configuration, beside an upstream's reply in the cache.
//!
//! The input: two octets with the reply's length, the reply, and the rest is the query.
#![no_main]

use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use privatelinkd::config::{self, Config};
use privatelinkd::engine::{Asked, Outcome, Snapshot, Steps, Transport, Verdict, decide};
use privatelinkd::forward::{OwnAddresses, Rules};
use privatelinkd::wire::{
    Answer, AnswerError, AnswerRef, HEADER_OCTETS, Query, Question, Record, Rtype, Section,
    UDP_PAYLOAD_OCTETS, flags, read_name, u16_at,
};
use privatelinkd::zones::{Found, Zones};

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
name = "weu"
addresses = ["10.1.0.5", "fd00::5"]
names = { "api" = ["10.1.0.5", "10.1.0.7"], "data.westeurope" = ["10.1.0.6"] }
[[private-link.endpoint]]
name = "frankfurt"
sites = ["frankfurt"]
addresses = ["10.1.0.15"]
names = { "api" = ["10.1.0.15"] }

[[private-link]]
public-zone = "v.net"
private-zone = "q.net"
unlisted = "nxdomain"
[[private-link.endpoint]]
name = "vault"
names = { "k" = ["10.1.0.8"] }

[[private-link]]
public-zone = "d.net"
private-zone = "p.d.net"
unlisted = "forward"
[[private-link.endpoint]]
name = "sql"
names = { "m" = ["10.1.0.9"] }

[[forward]]
zones = ["."]
upstreams = ["127.0.0.1:5353"]

# It is emptied for each input.
[cache]
size = "1MiB"
"#;
/// The smallest reply that every client takes (RFC 1035 §4.2.1), octets.
const LEAST_UDP_OCTETS: u16 = 512;
/// One of the site, two of none, one who may not ask; the query's id chooses.
const CLIENTS: [[u8; 4]; 4] = [[127, 0, 0, 1], [10, 1, 0, 9], [10, 9, 0, 9], [203, 0, 113, 9]];

static CONFIGURED: LazyLock<Config> = LazyLock::new(|| {
    let report = config::read(CONFIG);
    report.config.unwrap_or_else(|| panic!("{:?}", report.diagnostics))
});
static ZONES: LazyLock<Zones> = LazyLock::new(|| Zones::new(&CONFIGURED.private_links));
static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| {
    let config = &*CONFIGURED;
    let rules = Rules::build(&config.forwards, &[], OwnAddresses::default(), None);
    Snapshot::new(config, rules)
});

fuzz_target!(|input: &[u8]| {
    let Some(octets) = u16_at(input, 0).map(usize::from) else { return };
    let rest = &input[2..];
    let (reply, request) = rest.split_at(octets.min(rest.len()));
    let now = Instant::now();
    SNAPSHOT.cache.clear();
    let kept = keep(reply, now);
    for transport in [Transport::Udp, Transport::Tcp] {
        check(request, transport, now);
        if let Some(request) = &kept {
            check(request, transport, now);
        }
    }
});

/// Puts the reply into the cache; gives a query for it.
fn keep(reply: &[u8], now: Instant) -> Option<Vec<u8>> {
    let (qname, end) = read_name(reply, HEADER_OCTETS).ok()?;
    let mut question = Question::plain(qname.to_name(), Rtype(u16_at(reply, end)?));
    question.qclass = u16_at(reply, end + 2)?;
    let answer = Answer::parse(reply, &question).ok()?;
    // As if its chain led to us: `decide` must see for itself.
    SNAPSHOT.cache.insert(&question, &answer, true, now)?;
    let mut request = vec![0x47, 0x11, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    request.extend_from_slice(qname.as_wire());
    request.extend_from_slice(&reply[end..end + 4]);
    Some(request)
}

fn client(request: &[u8]) -> IpAddr {
    CLIENTS[usize::from(request.get(1).copied().unwrap_or(0)) % CLIENTS.len()].into()
}

/// No public address of a name that we protect, whoever gave it to us.
fn check_address(answer: &AnswerRef<'_>, record: &Record<'_>) {
    let Ok((owner, _)) = read_name(answer.message(), record.owner_at) else { return };
    if ZONES.find(&owner).as_ref().is_some_and(Found::is_ours) {
        match record.rtype {
            Rtype::A => assert_eq!(record.rdata[..3], [10, 1, 0], "{owner}"),
            Rtype::AAAA => assert_eq!(record.rdata[..2], [0xfd, 0], "{owner}"),
            _ => {}
        }
    }
}

fn check(request: &[u8], transport: Transport, now: Instant) {
    let asked = Asked { client: client(request), transport, now, rotation: 1 };
    // What stands in the buffer already is somebody else's reply.
    let mut out = b"before".to_vec();
    let mut steps = Steps::default();
    let verdict = decide(&SNAPSHOT, &asked, request, &mut out, &mut steps);
    assert!(out.starts_with(b"before"));
    let out = &out[b"before".len()..];
    let Verdict::Reply(outcome) = verdict else {
        assert!(out.is_empty(), "silence has no octets");
        return;
    };

    assert!(out.len() >= HEADER_OCTETS);
    assert_eq!(out[..2], request[..2], "the id");
    let word = u16_at(out, 2).expect("a header");
    assert!(word & flags::QR != 0);
    let Ok(query) = Query::parse(request) else {
        assert_eq!(outcome, Outcome::Fault);
        assert!(out.len() <= request.len(), "nothing is answered larger than it was asked");
        return;
    };
    assert_eq!(word & flags::RD, query.header.flags & flags::RD);
    assert!(word & flags::RA != 0, "glibc takes a reply without RA for a lame server's");
    assert_eq!(out[HEADER_OCTETS..query.question_end()], *query.question(), "the echo");
    if transport == Transport::Udp {
        let least = LEAST_UDP_OCTETS;
        let room = query.edns.map_or(least, |edns| edns.udp_payload.max(least));
        assert!(out.len() <= usize::from(room).min(usize::from(UDP_PAYLOAD_OCTETS)));
    }

    // A client can read it, and from our own zones nothing but our own addresses comes.
    let mut question = Question::plain(query.qname.to_name(), query.qtype);
    question.qclass = query.qclass;
    let answer = match Answer::parse(out, &question) {
        // Ours may be a link longer than what we take from others.
        Err(AnswerError::Endless) if outcome == Outcome::Private => return,
        answer => answer.expect("a reply that can be read"),
    };
    let answer = answer.borrowed();
    assert_eq!(answer.has_opt(), query.edns.is_some(), "OPT answers OPT");
    answer.records().for_each(|record| check_address(&answer, &record));
    if outcome == Outcome::Private {
        let asks_us = ZONES.find(&query.qname).as_ref().is_some_and(Found::is_ours);
        assert_eq!(word & flags::AA != 0, asks_us, "a stub zone's resolver wants it");
        assert!(word & flags::AD == 0, "nobody signed this");
        for record in answer.records().filter(|record| record.section == Section::Answer) {
            match record.rtype {
                Rtype::A => assert_eq!(record.rdata[..3], [10, 1, 0]),
                Rtype::AAAA => assert_eq!(record.rdata[..2], [0xfd, 0]),
                Rtype::RRSIG => assert!(!asks_us, "nobody signed ours"),
                rtype => assert!(matches!(rtype, Rtype::CNAME | Rtype::SOA), "{rtype:?}"),
            }
        }
    }
}
