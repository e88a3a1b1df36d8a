//! Where the two differ on purpose. Each entry says who is right, and by which section.

use hickory_server::proto::op::{Header, LowerQuery, Message, OpCode};
use hickory_server::proto::serialize::binary::{BinDecodable, BinDecoder};

use super::{Heard, Packet, Reply};

const FORMERR: u16 = 1;
const NOTIMP: u16 = 4;

pub(crate) struct Explained {
    pub(crate) name: &'static str,
    /// The section that says who is right.
    pub(crate) source: &'static str,
    /// Whether this is the difference between ours and theirs.
    pub(crate) applies: fn(&Packet, &Heard, &Heard) -> bool,
}

pub(crate) const EXPLAINED: &[Explained] = &[
    Explained {
        name: "NOTIMP is a header: what stands behind it is the unknown opcode's own business",
        source: "RFC 2136 §2 gives the sections other meanings; RFC 8906 §3.1.4 asks for the rcode",
        applies: |packet, ours, theirs| {
            opcode(packet) != 0 && both(NOTIMP, ours, theirs) && is_header(ours)
        },
    },
    Explained {
        name: "FORMERR to no question, or to several, is a header; hickory repeats them all",
        source: "RFC 9619 §4 wants FORMERR and no more; the smaller reply reflects less",
        applies: |packet, ours, theirs| {
            u16::from_be_bytes([packet.octets[4], packet.octets[5]]) != 1
                && both(FORMERR, ours, theirs)
                && is_header(ours)
        },
    },
    Explained {
        name: "an EDNS version above 0 beside no question, or several: FORMERR comes first",
        source: "RFC 9619 §4: such a message is FORMERR; RFC 6891 §6.1.3 speaks of valid ones",
        applies: |packet, ours, theirs| {
            u16::from_be_bytes([packet.octets[4], packet.octets[5]]) != 1
                && ours.rcode() == Some(FORMERR)
                && theirs.rcode() == Some(16)
                && is_header(ours)
        },
    },
    Explained {
        name: "a question whose name points into the header; hickory's reply asks another one",
        source: "RFC 1035 §4.1.4: a pointer is to a prior occurrence of a name, and none is prior",
        applies: |packet, ours, _| has_pointer_in_question(packet) && is_header(ours),
    },
    Explained {
        name: "octets behind the last record",
        source: "RFC 1035 §4.1: a message is its header and the sections that it counts",
        applies: |packet, ours, theirs| {
            has_trailing_octets(&packet.octets)
                && is_formerr_header(ours)
                && theirs.rcode() != Some(FORMERR)
        },
    },
    Explained {
        name: "QTYPE OPT",
        source: "RFC 6891 §6.1.1: OPT carries no DNS data, so there is nothing that one could ask",
        applies: |packet, ours, _| {
            question(packet).is_some_and(|query| u16::from(query.query_type()) == 41)
                && is_formerr_header(ours)
        },
    },
    Explained {
        name: "a broken OPT, a second one, or one in a wrong section: hickory leaves the OPT out",
        source: "RFC 6891 §7: to a problem with the OPT itself, FORMERR with an OPT is a MUST",
        applies: |_, ours, theirs| {
            both(FORMERR, ours, theirs) && is_options_fault(ours) && is_header(theirs)
        },
    },
    Explained {
        name: "an OPT of another owner than the root; hickory does not look",
        source: "RFC 6891 §6.1.2: NAME must be 0, the root",
        applies: |_, ours, theirs| {
            is_options_fault(ours) && theirs.reply().is_none_or(|reply| reply.edns.is_some())
        },
    },
    Explained {
        name: "RDATA of records that mean nothing in a query is not read; hickory insists on it",
        source: "RFC 3597 §3: what one need not understand is octets; RFC 1035 forbids none of it",
        applies: |packet, ours, theirs| {
            Message::from_vec(&packet.octets).is_err()
                && is_formerr_header(theirs)
                && ours.rcode() != Some(FORMERR)
        },
    },
    Explained {
        name: "a truncated reply holds the question and the OPT; hickory keeps a part of an RRset",
        source: "RFC 2181 §9: a partial RRset helps nobody; RFC 6891 §7 wants the OPT even so",
        applies: |_, ours, theirs| match (ours.reply(), theirs.reply()) {
            (Some(ours), Some(theirs)) => {
                is_bare_truncation(ours)
                    && theirs.has("aa")
                    && ours.questions == theirs.questions
                    && ours.edns.is_some() >= theirs.edns.is_some()
            }
            _ => false,
        },
    },
    Explained {
        name: "names that are compressed leave room; hickory compresses less and truncates",
        source: "RFC 1035 §4.1.4: a pointer may stand for any prior occurrence",
        applies: |_, ours, theirs| match (ours.reply(), theirs.reply()) {
            (Some(ours), Some(theirs)) => {
                !ours.has("tc")
                    && theirs.has("tc")
                    && ours.rcode == theirs.rcode
                    && ours.answers.starts_with(&theirs.answers)
                    && ours.authorities.starts_with(&theirs.authorities)
            }
            _ => false,
        },
    },
];

fn opcode(packet: &Packet) -> u8 {
    packet.octets[2] >> 3 & 15
}

fn both(rcode: u16, ours: &Heard, theirs: &Heard) -> bool {
    ours.rcode() == Some(rcode) && theirs.rcode() == Some(rcode)
}

/// Nothing but the header.
fn is_header(heard: &Heard) -> bool {
    heard.reply().is_some_and(|reply| {
        reply.questions.is_empty() && reply.edns.is_none() && has_no_records(reply)
    })
}

fn is_formerr_header(heard: &Heard) -> bool {
    heard.rcode() == Some(FORMERR) && is_header(heard)
}

/// FORMERR with question and OPT.
fn is_options_fault(heard: &Heard) -> bool {
    heard.reply().is_some_and(|reply| {
        reply.rcode == FORMERR
            && reply.questions.len() == 1
            && reply.edns.is_some()
            && has_no_records(reply)
    })
}

fn is_bare_truncation(reply: &Reply) -> bool {
    reply.has("tc") && reply.has("aa") && reply.questions.len() == 1 && has_no_records(reply)
}

fn has_no_records(reply: &Reply) -> bool {
    reply.answers.is_empty() && reply.authorities.is_empty() && reply.additionals == 0
}

fn question(packet: &Packet) -> Option<LowerQuery> {
    let mut decoder = BinDecoder::new(&packet.octets);
    Header::read(&mut decoder).ok()?;
    LowerQuery::read(&mut decoder).ok()
}

fn has_pointer_in_question(packet: &Packet) -> bool {
    let mut at = 12;
    while let Some(octets) = packet.octets.get(at) {
        match octets {
            0 => return false,
            1..=63 => at += 1 + usize::from(*octets),
            _ => return *octets >= 0xc0,
        }
    }
    false
}

fn has_trailing_octets(octets: &[u8]) -> bool {
    let mut decoder = BinDecoder::new(octets);
    let Ok(header) = Header::read(&mut decoder) else { return false };
    let counts = header.counts;
    let questions = (0..counts.queries).all(|_| LowerQuery::read(&mut decoder).is_ok());
    let sections =
        [(counts.answers, false), (counts.authorities, false), (counts.additionals, true)];
    let records = questions
        && sections.into_iter().all(|(count, last)| {
            Message::read_records(&mut decoder, count.into(), last, OpCode::Query).is_ok()
        });
    records && decoder.index() < octets.len()
}
