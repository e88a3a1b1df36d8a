//! A question, as upstreams and the cache know it, and why a message does not answer one.

use std::hash::{Hash, Hasher};

use super::constants::{CLASS_IN, HEADER_OCTETS, Rtype};
use super::message::{Malformed, Section};
use super::name::Name;
use super::u16_at;

/// What is asked of an upstream, and the key under which its answer is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// The name, lower case.
    pub qname: Name,
    /// The type.
    pub qtype: Rtype,
    /// The class.
    pub qclass: u16,
    /// The DO bit: signatures are wanted (RFC 3225).
    pub dnssec_ok: bool,
    /// The CD bit: do not validate (RFC 4035 §3.2.2).
    pub checking_disabled: bool,
}

impl Question {
    /// A question of class IN without DO and CD.
    pub fn plain(qname: Name, qtype: Rtype) -> Self {
        Self { qname, qtype, qclass: CLASS_IN, dnssec_ok: false, checking_disabled: false }
    }

    /// Whether `message` has one question and that is this one, uncompressed, in letters of either
    /// case. What follows is not looked at.
    pub fn is_repeated_in(&self, message: &[u8]) -> bool {
        let sent = self.qname.as_wire();
        let end = HEADER_OCTETS + sent.len();
        u16_at(message, 4) == Some(1)
            && message.get(HEADER_OCTETS..end).is_some_and(|name| name.eq_ignore_ascii_case(sent))
            && u16_at(message, end) == Some(self.qtype.0)
            && u16_at(message, end + 2) == Some(self.qclass)
    }

    /// Whether a reply to this question leaves records of that type and section out: the records of
    /// DNSSEC where the client did not set DO, unless they are what it asked for (RFC 4035 §3.2.1).
    pub(super) fn leaves_out(&self, rtype: Rtype, section: Section) -> bool {
        let is_dnssec =
            matches!(rtype, Rtype::DS | Rtype::RRSIG | Rtype::NSEC | Rtype::DNSKEY | Rtype::NSEC3);
        is_dnssec
            && !self.dnssec_ok
            && rtype != self.qtype
            && !(self.qtype == Rtype::ANY && section == Section::Answer)
    }

    /// The same, borrowed.
    pub fn borrowed(&self) -> QuestionRef<'_> {
        QuestionRef {
            qname: self.qname.as_wire(),
            qtype: self.qtype,
            qclass: self.qclass,
            dnssec_ok: self.dnssec_ok,
            checking_disabled: self.checking_disabled,
        }
    }
}

impl Hash for Question {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.borrowed().hash(state);
    }
}

/// A [`Question`] that borrows its name, so that a look-up needs no allocation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuestionRef<'a> {
    /// The name in wire form, lower case.
    pub qname: &'a [u8],
    /// The type.
    pub qtype: Rtype,
    /// The class.
    pub qclass: u16,
    /// The DO bit.
    pub dnssec_ok: bool,
    /// The CD bit.
    pub checking_disabled: bool,
}

impl Hash for QuestionRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.qname.hash(state);
        state.write_u64(
            u64::from(self.qtype.0) << 32
                | u64::from(self.qclass) << 16
                | u64::from(self.dnssec_ok) << 1
                | u64::from(self.checking_disabled),
        );
    }
}

/// Why a message does not answer a question.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AnswerError {
    /// Its CNAMEs go in circles, or are more than anybody follows.
    #[error("a CNAME chain without an end")]
    Endless,
    /// Its form is broken.
    #[error("malformed reply")]
    Malformed,
    /// It is a query, or has another opcode.
    #[error("not a reply to a query")]
    NotAReply,
    /// It answers something else: a spoof, or a broken server.
    #[error("the reply repeats another question")]
    WrongQuestion,
}

impl From<Malformed> for AnswerError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}
