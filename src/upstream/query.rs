//! The query we send, and the first reading of what comes back.

use super::case::{Case, Repeats};
use super::failure::Flaw;
use crate::wire::{
    Answer, AnswerError, Full, HEADER_OCTETS, Header, MessageWriter, OPTION_HEAD_OCTETS,
    OPTION_PADDING, Question, Rcode, UDP_PAYLOAD_OCTETS, flags,
};

/// Padded queries are a multiple of this (RFC 8467 §4.1), octets.
const PADDING_BLOCK: usize = 128;
/// QTYPE and QCLASS, octets.
const QUESTION_TAIL_OCTETS: usize = 4;

/// Whether a query carries an OPT record, and a cookie in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Edns {
    WithCookie,
    With,
    Without,
}

impl Edns {
    /// Whether there is an OPT record.
    pub(super) fn has_opt(self) -> bool {
        self != Self::Without
    }

    /// What to send to a server that rejects this; `None` if nothing is left to leave out.
    pub(super) fn less(self) -> Option<Self> {
        match self {
            Self::WithCookie => Some(Self::With),
            Self::With => Some(Self::Without),
            Self::Without => None,
        }
    }
}

/// The options of a query's OPT record; `None` if it has no such record.
pub(super) type Opt<'a> = Option<&'a [u8]>;

/// What a message with a query's id is to us.
#[derive(Debug)]
pub(super) enum Reading {
    /// It answers the question, perhaps with a chain without an end ([`Answer::is_endless`]).
    Answer(Answer),
    /// It repeats the question and says that there is more.
    Truncated,
    /// The server rejects the query's EDNS (RFC 6891 §6.2.2, §7), or the cookie in it.
    NoEdns,
    /// The server wants its cookie (RFC 7873 §5.3).
    BadCookie,
    /// It repeats the question, but cannot be its answer.
    Unusable(Flaw),
    /// An error without a question: the id is all that ties it to the query.
    Bare(Rcode),
    /// A reply that repeats the question in letters of another case than the query's.
    OtherCase,
    /// A reply with another cookie than the query's, or without the one that its server always
    /// repeats.
    OtherCookie,
    /// A reply that repeats another question, or none.
    OtherQuestion,
    /// Not a reply to a query at all.
    NotAReply,
}

impl Reading {
    /// Whether the message repeats the query's question, which only the server itself has seen. A
    /// host that is not on the path has to guess it together with the id and the port.
    pub(super) fn is_genuine(&self) -> bool {
        match self {
            Self::Answer(_)
            | Self::Truncated
            | Self::NoEdns
            | Self::BadCookie
            | Self::Unusable(_) => true,
            Self::Bare(_)
            | Self::OtherCase
            | Self::OtherCookie
            | Self::OtherQuestion
            | Self::NotAReply => false,
        }
    }
}

/// Appends the query to `out`, its name in letters of `case`; `None`: lower case.
pub(super) fn write_in(
    out: &mut Vec<u8>,
    id: u16,
    question: &Question,
    opt: Opt<'_>,
    case: Option<Case>,
) {
    let name_at = out.len() + HEADER_OCTETS;
    write(out, id, question, opt);
    let octets = question.qname.as_wire().len();
    if let (Some(case), Some(name)) = (case, out.get_mut(name_at..name_at + octets)) {
        case.apply(name);
    }
}

/// As [`write`], so long that who sees only the length learns next to nothing of the name (RFC 8467
/// §4.1). Without EDNS there is no room for padding. The id is 0: the transport gives its own.
pub(super) fn write_padded(out: &mut Vec<u8>, question: &Question, has_opt: bool) {
    let octets = HEADER_OCTETS + question.qname.as_wire().len() + QUESTION_TAIL_OCTETS;
    let octets = octets + MessageWriter::opt_octets(None, &[]) + OPTION_HEAD_OCTETS;
    let padding = octets.next_multiple_of(PADDING_BLOCK) - octets;
    let mut option = [0; OPTION_HEAD_OCTETS + PADDING_BLOCK];
    let head = u32::from(OPTION_PADDING) << 16 | u32::try_from(padding).unwrap_or(0);
    let (front, _) = option.split_at_mut(OPTION_HEAD_OCTETS);
    front.copy_from_slice(&head.to_be_bytes());
    let option = option.get(..OPTION_HEAD_OCTETS + padding).unwrap_or(&[]);
    write(out, 0, question, has_opt.then_some(option));
}

/// Appends the query to `out`. None of the client's options go along: cookies and
/// client subnets are between a client and us (RFC 7873 §5, RFC 7871 §11.1).
fn write(out: &mut Vec<u8>, id: u16, question: &Question, opt: Opt<'_>) {
    // AD in a query asks for AD in the reply (RFC 6840 §5.7).
    let mut bits = flags::RD | flags::AD;
    if question.checking_disabled {
        bits |= flags::CD;
    }
    let limit = usize::from(UDP_PAYLOAD_OCTETS);
    let mut message = MessageWriter::begin(out, limit, id, bits);
    // A name has at most 255 octets: it always fits.
    let _written: Result<(), Full> = (|| {
        message.question(question)?;
        if let Some(options) = opt {
            message.opt(Rcode::NOERROR, question.dnssec_ok, None, options)?;
        }
        message.set_counts([1, 0, 0, u16::from(opt.is_some())]);
        Ok(())
    })();
}

/// As [`read`], of a query that had its name in letters of `case`; `message` gets lower case back.
pub(super) fn read_in(
    message: &mut [u8],
    question: &Question,
    edns: Edns,
    case: Option<Case>,
) -> Reading {
    let Some(case) = case else { return read(message, question, edns) };
    match case.take_off(message, question) {
        Repeats::InOtherCase if is_reply(message) && question.is_repeated_in(message) => {
            Reading::OtherCase
        }
        Repeats::Exactly | Repeats::InOtherCase | Repeats::Not => read(message, question, edns),
    }
}

fn is_reply(message: &[u8]) -> bool {
    Header::read(message).is_some_and(|header| header.has(flags::QR) && header.opcode() == 0)
}

/// Reads a message whose id has been checked. `edns` is what the query had.
pub(super) fn read(message: &[u8], question: &Question, edns: Edns) -> Reading {
    let Some(header) = Header::read(message) else { return Reading::NotAReply };
    if !header.has(flags::QR) || header.opcode() != 0 {
        return Reading::NotAReply;
    }
    // Before the records: they may be cut anywhere.
    if header.has(flags::TC) && question.is_repeated_in(message) {
        return Reading::Truncated;
    }
    let rcode = Rcode(header.flags & flags::RCODE);
    let rejected = edns.has_opt() && matches!(rcode, Rcode::FORMERR | Rcode::NOTIMP);
    // What a chain without an end is worth depends on our zones, which this floor does not know.
    match Answer::parse_endless(message, question) {
        Ok(answer) if rejected && !answer.borrowed().has_opt() => Reading::NoEdns,
        // We sent version 0, which everybody has: an OPT that confuses the server.
        Ok(answer) if edns.has_opt() && answer.rcode() == Rcode::BADVERS => Reading::NoEdns,
        Ok(answer) if answer.rcode() == Rcode::BADCOOKIE => Reading::BadCookie,
        Ok(answer) => Reading::Answer(answer),
        Err(AnswerError::NotAReply) => Reading::NotAReply,
        Err(AnswerError::Malformed) if question.is_repeated_in(message) => {
            Reading::Unusable(Flaw::Malformed)
        }
        Err(_) if is_bare(&header, rcode) => Reading::Bare(rcode),
        Err(AnswerError::Malformed | AnswerError::WrongQuestion | AnswerError::Endless) => {
            Reading::OtherQuestion
        }
    }
}

/// Whether a server that speaks EDNS rejects a query so, because of an option or of anything else.
pub(super) fn is_rejection(answer: &Answer) -> bool {
    matches!(answer.rcode(), Rcode::FORMERR | Rcode::NOTIMP)
}

/// Whether a header is an error that holds nothing else, as some servers send it (RFC 6891 §7).
fn is_bare(header: &Header, rcode: Rcode) -> bool {
    let is_error = !matches!(rcode, Rcode::NOERROR | Rcode::NXDOMAIN);
    is_error && [header.questions, header.answers, header.authorities] == [0; 3]
}

/// The answer that a [`Reading::Bare`] stands for, where the transport proves its sender.
pub(super) fn bare_answer(rcode: Rcode, question: &Question) -> Option<Answer> {
    let mut message = Vec::new();
    let limit = usize::from(UDP_PAYLOAD_OCTETS);
    let bits = flags::QR | (rcode.0 & flags::RCODE);
    let mut writer = MessageWriter::begin(&mut message, limit, 0, bits);
    writer.question(question).ok()?;
    writer.set_counts([1, 0, 0, 0]);
    Answer::parse(&message, question).ok()
}

/// Reads a message as [`read`] does. Returns whether only the server can have sent it, and the
/// answer, if it is one. For the fuzz target `reply`.
#[cfg(fuzzing)]
pub fn read_reply(message: &[u8], question: &Question, has_edns: bool) -> (bool, Option<Answer>) {
    let edns = if has_edns { Edns::With } else { Edns::Without };
    let reading = read(message, question, edns);
    let is_genuine = reading.is_genuine();
    let answer = match reading {
        Reading::Answer(answer) => Some(answer),
        Reading::Bare(rcode) => bare_answer(rcode, question),
        _ => None,
    };
    (is_genuine, answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Query, Rtype};

    fn question() -> Question {
        Question::plain("api.example".parse().unwrap(), Rtype::AAAA)
    }

    #[test]
    fn the_query_has_rd_ad_and_an_opt_with_our_size() {
        let mut out = vec![1, 2, 3];
        write(&mut out, 0xabcd, &question(), Some(&[]));
        let out = &out[3..];
        let expected: &[u8] = b"\xab\xcd\x01\x20\0\x01\0\0\0\0\0\x01\
            \x03api\x07example\0\0\x1c\0\x01\
            \0\0\x29\x04\xd0\0\0\0\0\0\0";
        assert_eq!(out, expected);
        assert!(Query::parse(out).is_ok());
    }

    #[test]
    fn cd_and_do_go_along() {
        let question = Question { dnssec_ok: true, checking_disabled: true, ..question() };
        let mut out = Vec::new();
        write(&mut out, 1, &question, Some(&[]));
        assert_eq!(&out[2..4], b"\x01\x30");
        assert_eq!(out[out.len() - 4..out.len() - 2], [0x80, 0]);
    }

    #[test]
    fn without_edns_nothing_follows_the_question() {
        let mut out = Vec::new();
        write(&mut out, 1, &question(), None);
        assert_eq!(out[10..12], [0, 0]);
        assert!(out.ends_with(b"\x07example\0\0\x1c\0\x01"));
    }

    #[test]
    fn padded_queries_are_multiples_of_128_octets() {
        for labels in 1..=120 {
            let question = Question::plain("a.".repeat(labels).parse().unwrap(), Rtype::A);
            let mut out = Vec::new();
            write_padded(&mut out, &question, true);
            let octets = out.len();
            assert_eq!(octets % 128, 0, "{labels} labels: {octets}");
            assert!(Query::parse(&out).is_ok());
            let bare = 12 + 2 * labels + 1 + 4 + 11 + 4;
            assert!(octets - bare < 128, "{labels} labels: {octets}, bare {bare}");
            let padding = u8::try_from(octets - bare).unwrap();
            assert_eq!(out[bare - 4..bare], [0, 12, 0, padding]);
            assert!(out[bare..].iter().all(|octet| *octet == 0));
            out.clear();
            write_padded(&mut out, &question, false);
            assert_eq!(out.len(), 12 + 2 * labels + 1 + 4);
        }
    }

    #[test]
    fn an_error_without_question_is_tied_to_the_query_by_its_id_alone() {
        for (rcode, is_bare) in [(0, false), (1, true), (2, true), (3, false), (4, true), (5, true)]
        {
            let message = [0, 1, 0x80, rcode, 0, 0, 0, 0, 0, 0, 0, 0];
            let reading = read(&message, &question(), Edns::With);
            assert_eq!(matches!(reading, Reading::Bare(_)), is_bare, "{reading:?}");
            assert!(!reading.is_genuine());
            let truncated = [0, 1, 0x82, rcode, 0, 0, 0, 0, 0, 0, 0, 0];
            assert!(!read(&truncated, &question(), Edns::With).is_genuine());
        }
        let answer = bare_answer(Rcode::REFUSED, &question()).unwrap();
        assert_eq!(answer.rcode(), Rcode::REFUSED);
    }

    #[test]
    fn what_does_not_repeat_the_question_is_anybodys() {
        let mut query = Vec::new();
        write(&mut query, 1, &question(), Some(&[]));
        let end = query.len() - 11;
        let mut reply = query[..end].to_vec();
        reply[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
        let reading = |message: &[u8]| read(message, &question(), Edns::With);
        assert!(matches!(reading(&reply), Reading::Answer(_)));
        // Each octet of the header's first words and of the question counts.
        for at in [2, 4, 5].into_iter().chain(12..end) {
            for turned in [0x01, 0x40, 0x80] {
                let mut other = reply.clone();
                other[at] ^= turned;
                let said = reading(&other);
                let is_rd_alone = (at, turned) == (2, 0x01);
                assert_eq!(said.is_genuine(), is_rd_alone, "{at} {turned:#x}: {said:?}");
            }
        }
        for cut in 0..end {
            let said = reading(&reply[..cut]);
            assert!(!said.is_genuine(), "{cut}: {said:?}");
        }
        assert!(matches!(reading(&query), Reading::NotAReply));
        // The case of the letters is only the client's concern.
        reply[13..16].make_ascii_uppercase();
        assert!(matches!(reading(&reply), Reading::Answer(_)));
    }

    #[test]
    fn a_whole_question_with_broken_records_is_the_servers() {
        let mut query = Vec::new();
        write(&mut query, 1, &question(), Some(&[]));
        let end = query.len() - 11;
        let mut reply = query[..end].to_vec();
        reply[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        let reading = |message: &[u8]| read(message, &question(), Edns::With);
        assert!(matches!(reading(&reply), Reading::Unusable(Flaw::Malformed)));
        reply[2] |= 0x02;
        assert!(matches!(reading(&reply), Reading::Truncated));
    }
}
