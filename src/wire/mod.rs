//! DNS messages as octets: parsing what the network sent, writing what goes back.
//!
//! Owns the wire format (RFC 1035, RFC 6891) and nothing else: no policy, no I/O, no clock.
//! Every octet that enters here is hostile; no function panics or allocates without bound.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod answer;
mod chain;
mod constants;
mod duplicates;
mod effort;
mod form;
mod links;
mod message;
mod name;
mod name_map;
mod options;
mod order;
mod pointers;
mod query;
mod question;
mod relevance;
mod rewrite;
mod tsig;
mod writer;

pub use answer::{Answer, AnswerRef, Link};
pub use constants::{
    CLASS_IN, CLASSIC_UDP_OCTETS, DNSSEC_OK, Ede, HEADER_OCTETS, MAX_LINKS, MAX_MESSAGE_OCTETS,
    OPT_OCTETS, POINTER_TO_QUESTION, Rcode, Rtype, UDP_PAYLOAD_OCTETS, flags,
};
pub use message::{
    Header, Malformed, Record, Records, Section, canonical_rdata, compressed_names, read_name,
    skip_name,
};
pub use name::{MAX_LABEL_OCTETS, MAX_NAME_OCTETS, Name, NameError, QName};
pub use name_map::NameMap;
pub use options::{OPTION_COOKIE, OPTION_EDE, OPTION_HEAD_OCTETS, OPTION_PADDING, cookie_of};
pub use query::{Edns, Fault, Query};
pub use question::{AnswerError, Question, QuestionRef};
pub use rewrite::{RecordCopier, TtlLimits};
pub use tsig::Tsig;
pub use writer::{Full, MessageWriter};

/// The two octets at `at`, big-endian; `None` past the end.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(pair.try_into().ok()?))
}

/// The four octets at `at`, big-endian; `None` past the end.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let quad = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(quad.try_into().ok()?))
}
