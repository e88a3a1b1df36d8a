//! Queries as clients send them, and what upstreams say, as octets. The one place that knows how an
//! answer gets into the cache.

use std::time::Instant;

use privatelinkd::engine::Snapshot;
use privatelinkd::wire::{Answer, Name, Query, Rtype, UDP_PAYLOAD_OCTETS, flags};

/// TTL of everything that upstreams say here, seconds: nothing expires while one measures.
const TTL_SECONDS: u32 = 3_600;
/// A pointer to the question's name, which every record here belongs to.
const QNAME: [u8; 2] = [0xc0, 12];

/// A query for `name` as a stub resolver sends it: RD, no EDNS.
pub(crate) fn query(name: &str, rtype: Rtype) -> Vec<u8> {
    let name: Name = name.parse().expect("a name");
    let mut octets = vec![0x12, 0x34];
    octets.extend(flags::RD.to_be_bytes());
    octets.extend([0, 1, 0, 0, 0, 0, 0, 0]);
    octets.extend(name.as_wire());
    octets.extend(rtype.0.to_be_bytes());
    octets.extend([0, 1]);
    octets
}

/// The same with an OPT record (RFC 6891 §6.1.2) of this version, as resolvers send it.
pub(crate) fn with_edns(mut query: Vec<u8>, version: u8) -> Vec<u8> {
    query[11] += 1;
    query.extend([0, 0, 41]);
    query.extend(UDP_PAYLOAD_OCTETS.to_be_bytes());
    query.extend([0, version, 0, 0, 0, 0]);
    query
}

/// What an upstream says: rcode, and a section's records by type and data.
pub(crate) struct Said<'a> {
    pub(crate) rcode: u8,
    pub(crate) answers: &'a [(Rtype, Vec<u8>)],
    pub(crate) authorities: &'a [(Rtype, Vec<u8>)],
}

/// Puts what an upstream says to `query` into the cache.
pub(crate) fn keep(snapshot: &Snapshot, query: &[u8], said: &Said<'_>, leads_to_us: bool) {
    let parsed = Query::parse(query).expect("a query");
    let reply = reply(&query[..parsed.question_end()], said);
    let question = parsed.to_question();
    let answer = Answer::parse(&reply, &question).expect("a reply");
    let kept = snapshot.cache.insert(&question, &answer, leads_to_us, Instant::now());
    assert!(kept.is_some(), "not kept: {}", query.escape_ascii());
}

fn reply(header_and_question: &[u8], said: &Said<'_>) -> Vec<u8> {
    let mut octets = header_and_question.to_vec();
    let word = flags::QR | flags::RD | flags::RA | u16::from(said.rcode);
    octets[2..4].copy_from_slice(&word.to_be_bytes());
    let counts = [1, said.answers.len(), said.authorities.len(), 0];
    for (count, at) in counts.into_iter().zip([4, 6, 8, 10]) {
        let count = u16::try_from(count).expect("few");
        octets[at..at + 2].copy_from_slice(&count.to_be_bytes());
    }
    for (rtype, data) in said.answers.iter().chain(said.authorities) {
        octets.extend(QNAME);
        octets.extend(rtype.0.to_be_bytes());
        octets.extend([0, 1]);
        octets.extend(TTL_SECONDS.to_be_bytes());
        octets.extend(u16::try_from(data.len()).expect("short").to_be_bytes());
        octets.extend(data);
    }
    octets
}

/// The data of a SOA whose MINIMUM is the TTL.
pub(crate) fn soa() -> Vec<u8> {
    let mut data = b"\x02ns\x07example\x00\x05admin\x07example\x00".to_vec();
    for seconds in [1, 3_600, 300, 604_800, TTL_SECONDS] {
        data.extend(seconds.to_be_bytes());
    }
    data
}

/// The data of a CNAME.
pub(crate) fn target(name: &str) -> Vec<u8> {
    name.parse::<Name>().expect("a name").as_wire().to_vec()
}
