//! The query we send, and the first reading of what comes back.

use crate::wire::{
    Answer, AnswerError, Full, HEADER_OCTETS, Header, MessageWriter, Question, Rcode,
    UDP_PAYLOAD_OCTETS, flags,
};

/// Option code of padding (RFC 7830 §3).
const OPTION_PADDING: u16 = 12;
/// Padded queries are a multiple of this (RFC 8467 §4.1), octets.
const PADDING_BLOCK: usize = 128;
/// Code and length of an option, octets.
const OPTION_HEAD_OCTETS: usize = 4;
/// QTYPE and QCLASS, octets.
const QUESTION_TAIL_OCTETS: usize = 4;

/// Whether a query carries an OPT record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Edns {
    With,
    Without,
}

/// What a reply is to us.
#[derive(Debug)]
pub(super) enum Reading {
    /// It answers the question.
    Answer(Answer),
    /// The rest is to be had over TCP; or the question is not ours, which TCP makes sure of.
    AskTcp { mismatch: bool },
    /// The server does not speak EDNS (RFC 6891 §6.2.2, §7).
    NoEdns,
    /// Not a DNS reply.
    Garbled,
}

/// Appends the query to `out`. None of the client's options go along: cookies and
/// client subnets are between a client and us (RFC 7873 §5, RFC 7871 §11.1).
pub(super) fn write(out: &mut Vec<u8>, id: u16, question: &Question, edns: Edns) {
    write_with(out, id, question, edns, &[]);
}

/// As [`write`], so long that who sees only the length learns next to nothing of the name (RFC 8467
/// §4.1). Without EDNS there is no room for padding. The id is 0: the transport gives its own.
pub(super) fn write_padded(out: &mut Vec<u8>, question: &Question, edns: Edns) {
    let octets = HEADER_OCTETS + question.qname.as_wire().len() + QUESTION_TAIL_OCTETS;
    let octets = octets + MessageWriter::opt_octets(None, &[]) + OPTION_HEAD_OCTETS;
    let padding = octets.next_multiple_of(PADDING_BLOCK) - octets;
    let mut option = [0; OPTION_HEAD_OCTETS + PADDING_BLOCK];
    let head = u32::from(OPTION_PADDING) << 16 | u32::try_from(padding).unwrap_or(0);
    let (front, _) = option.split_at_mut(OPTION_HEAD_OCTETS);
    front.copy_from_slice(&head.to_be_bytes());
    let option = option.get(..OPTION_HEAD_OCTETS + padding).unwrap_or(&[]);
    write_with(out, 0, question, edns, option);
}

fn write_with(out: &mut Vec<u8>, id: u16, question: &Question, edns: Edns, options: &[u8]) {
    // AD in a query asks for AD in the reply (RFC 6840 §5.7).
    let mut bits = flags::RD | flags::AD;
    if question.checking_disabled {
        bits |= flags::CD;
    }
    let limit = usize::from(UDP_PAYLOAD_OCTETS);
    let mut message = MessageWriter::begin(out, limit, id, bits);
    // A name has at most 255 octets: it always fits.
    let _written: Result<(), Full> = (|| {
        message.raw(question.qname.as_wire())?;
        message.raw(&question.qtype.0.to_be_bytes())?;
        message.raw(&question.qclass.to_be_bytes())?;
        if edns == Edns::With {
            message.opt(Rcode::NOERROR, question.dnssec_ok, None, options)?;
        }
        message.set_counts([1, 0, 0, u16::from(edns == Edns::With)]);
        Ok(())
    })();
}

/// Reads a message whose id has been checked. `edns` is what the query had.
pub(super) fn read(message: &[u8], question: &Question, edns: Edns) -> Reading {
    let Some(header) = Header::read(message) else { return Reading::Garbled };
    if !header.has(flags::QR) || header.opcode() != 0 {
        return Reading::Garbled;
    }
    // Before the records: they may be cut anywhere.
    if header.has(flags::TC) {
        return Reading::AskTcp { mismatch: false };
    }
    let rcode = Rcode(header.flags & flags::RCODE);
    let rejected = edns == Edns::With && matches!(rcode, Rcode::FORMERR | Rcode::NOTIMP);
    match Answer::parse(message, question) {
        Ok(answer) if rejected && !answer.borrowed().has_opt() => Reading::NoEdns,
        // We sent version 0, which everybody has: an OPT that confuses the server.
        Ok(answer) if edns == Edns::With && answer.rcode() == Rcode::BADVERS => Reading::NoEdns,
        Ok(answer) => Reading::Answer(answer),
        // An error without question: the id is all that ties it to us, and all we take from it is
        // to ask again.
        Err(_) if rejected && header.questions == 0 => Reading::NoEdns,
        Err(AnswerError::WrongQuestion) => Reading::AskTcp { mismatch: true },
        Err(AnswerError::Malformed | AnswerError::NotAReply | AnswerError::Endless) => {
            Reading::Garbled
        }
    }
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
        write(&mut out, 0xabcd, &question(), Edns::With);
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
        write(&mut out, 1, &question, Edns::With);
        assert_eq!(&out[2..4], b"\x01\x30");
        assert_eq!(out[out.len() - 4..out.len() - 2], [0x80, 0]);
    }

    #[test]
    fn without_edns_nothing_follows_the_question() {
        let mut out = Vec::new();
        write(&mut out, 1, &question(), Edns::Without);
        assert_eq!(out[10..12], [0, 0]);
        assert!(out.ends_with(b"\x07example\0\0\x1c\0\x01"));
    }

    #[test]
    fn padded_queries_are_multiples_of_128_octets() {
        for labels in 1..=120 {
            let question = Question::plain("a.".repeat(labels).parse().unwrap(), Rtype::A);
            let mut out = Vec::new();
            write_padded(&mut out, &question, Edns::With);
            let octets = out.len();
            assert_eq!(octets % 128, 0, "{labels} labels: {octets}");
            assert!(Query::parse(&out).is_ok());
            let bare = 12 + 2 * labels + 1 + 4 + 11 + 4;
            assert!(octets - bare < 128, "{labels} labels: {octets}, bare {bare}");
            let padding = u8::try_from(octets - bare).unwrap();
            assert_eq!(out[bare - 4..bare], [0, 12, 0, padding]);
            assert!(out[bare..].iter().all(|octet| *octet == 0));
            out.clear();
            write_padded(&mut out, &question, Edns::Without);
            assert_eq!(out.len(), 12 + 2 * labels + 1 + 4);
        }
    }

    #[test]
    fn formerr_without_question_means_no_edns_only_where_edns_was_sent() {
        let message = b"\0\x01\x80\x01\0\0\0\0\0\0\0\0";
        assert!(matches!(read(message, &question(), Edns::With), Reading::NoEdns));
        assert!(matches!(
            read(message, &question(), Edns::Without),
            Reading::AskTcp { mismatch: true }
        ));
    }

    #[test]
    fn a_query_is_not_a_reply() {
        let mut out = Vec::new();
        write(&mut out, 1, &question(), Edns::With);
        assert!(matches!(read(&out, &question(), Edns::With), Reading::Garbled));
        assert!(matches!(read(&[0; 11], &question(), Edns::With), Reading::Garbled));
    }
}
