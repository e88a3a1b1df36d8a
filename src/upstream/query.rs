//! The query we send, and the first reading of what comes back.

use crate::wire::{
    Answer, AnswerError, Full, Header, MessageWriter, Question, Rcode, UDP_PAYLOAD_OCTETS, flags,
};

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
            message.opt(Rcode::NOERROR, question.dnssec_ok, None, &[])?;
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
