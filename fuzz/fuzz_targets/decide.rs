//! A client's octets against a running configuration, beside an upstream's reply in the cache.
//!
//! The input: two octets with the reply's length, the reply, and the rest is the query.
#![no_main]

use std::net::IpAddr;
use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use privatelinkd::engine::{Asked, Outcome, Steps, Transport, Verdict, decide};
use privatelinkd::wire::{
    Answer, AnswerError, HEADER_OCTETS, Query, Question, Rtype, Section, UDP_PAYLOAD_OCTETS, flags,
    u16_at,
};
use privatelinkd::zones::Found;
use privatelinkd_fuzz::{SNAPSHOT, ZONES, check_address, field, query_for, question_of};

/// The smallest reply that every client takes (RFC 1035 §4.2.1), octets.
const LEAST_UDP_OCTETS: u16 = 512;
/// One of the site, two of none, one who may not ask; the query's id chooses.
const CLIENTS: [[u8; 4]; 4] = [[127, 0, 0, 1], [10, 1, 0, 9], [10, 9, 0, 9], [203, 0, 113, 9]];

fuzz_target!(|input: &[u8]| {
    let mut request = input;
    let Some(reply) = field(&mut request) else { return };
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
    let question = question_of(reply)?;
    let answer = Answer::parse(reply, &question).ok()?;
    // As if its chain led to us: `decide` must see for itself.
    SNAPSHOT.cache.insert(&question, &answer, true, now)?;
    Some(query_for(&question))
}

fn client(request: &[u8]) -> IpAddr {
    CLIENTS[usize::from(request.get(1).copied().unwrap_or(0)) % CLIENTS.len()].into()
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
