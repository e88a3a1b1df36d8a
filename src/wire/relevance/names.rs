//! Names of a reply that are broken, lead nowhere safe, or are spelt in several ways.

use super::*;
use crate::wire::{Answer, flags};

/// Owner as it is spelt, type, TTL, RDATA.
type Line<'a> = (&'a [u8], Rtype, u32, &'a [u8]);

const A: &[u8] = &[192, 0, 2, 1];
const MX: Rtype = Rtype(15);
const NAPTR: Rtype = Rtype(35);
const KX: Rtype = Rtype(36);
/// Where the first record begins, and where its TTL stands if its owner is a pointer.
const FIRST_AT: u8 = 12 + 10 + 4;
const FIRST_TTL_AT: u8 = FIRST_AT + 2 + 4;
/// A pointer to `test`, the last label of the question.
const TO_TEST: [u8; 2] = [0xc0, 12 + 4];

fn question(qtype: Rtype) -> Question {
    Question::plain("www.test".parse().expect("a name"), qtype)
}

fn reply(qtype: Rtype, answers: &[Line<'_>], authorities: &[Line<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = MessageWriter::begin(&mut out, MAX_MESSAGE_OCTETS, 7, flags::QR);
    writer.question(&question(qtype)).expect("room");
    for (owner, rtype, ttl, rdata) in answers.iter().chain(authorities) {
        writer.raw(owner).expect("room");
        writer.fixed(*rtype, 1, *ttl, rdata.len()).expect("room");
        writer.raw(rdata).expect("room");
    }
    let count = |lines: &[Line<'_>]| u16::try_from(lines.len()).expect("few");
    writer.set_counts([1, count(answers), count(authorities), 0]);
    out
}

/// What is kept: owners and types.
fn kept(
    qtype: Rtype,
    answers: &[Line<'_>],
    authorities: &[Line<'_>],
) -> Result<String, AnswerError> {
    let answer = Answer::parse(&reply(qtype, answers, authorities), &question(qtype))?;
    let answer = answer.borrowed();
    let line = |record: Record<'_>| {
        let (owner, _) = read_name(answer.message(), record.owner_at).expect("a name");
        format!("{owner} {}", record.rtype)
    };
    Ok(answer.records().map(line).collect::<Vec<_>>().join(", "))
}

#[test]
fn a_broken_owner_in_the_authority_section_makes_the_reply_malformed() {
    let (www, root): (&[u8], &[u8]) = (&POINTER_TO_QUESTION, &[0]);
    let good: Line<'_> = (www, Rtype::A, 60, A);
    let link: Line<'_> = (www, Rtype::CNAME, 60, &[2, b'c', b'd', 0]);
    let zone: Line<'_> = (&TO_TEST, Rtype::NS, 60, root);
    let long = [&[63; 64].repeat(4)[..], root].concat();
    // A pointer forward, to itself, into the header, and in a circle; a name that is too long.
    let broken = |at: u8| -> [Vec<u8>; 5] {
        let circle = vec![1, b'x', 0xc0, at];
        [vec![0xc0, at + 20], vec![0xc0, at], vec![0xc0, 2], circle, long.clone()]
    };
    let after_answer = FIRST_AT + 16;
    for owner in broken(after_answer) {
        let ns: Line<'_> = (&owner, Rtype::NS, 60, root);
        for answer in [good, link] {
            let outcome = kept(Rtype::A, &[answer], &[ns]);
            assert_eq!(outcome, Err(AnswerError::Malformed), "{owner:?}");
        }
    }
    for owner in broken(after_answer + 13) {
        let ns: Line<'_> = (&owner, Rtype::NS, 60, root);
        let outcome = kept(Rtype::A, &[good], &[zone, ns]);
        assert_eq!(outcome, Err(AnswerError::Malformed), "{owner:?}");
    }
    let longest = [&[[63; 64], [63; 64], [63; 64]].concat()[..], &[61; 62], root].concat();
    let far: Line<'_> = (&longest, Rtype::NS, 60, &[2, b'n', b's', 0xc0, 12]);
    let found = kept(Rtype::A, &[good], &[zone, far, zone]).expect("an answer");
    assert_eq!(found.matches("NS").count(), 2, "{found}");
}

#[test]
fn a_name_does_not_lead_into_the_fixed_octets_of_a_record() {
    let www: &[u8] = &POINTER_TO_QUESTION;
    // Its TTL reads as the name `x` for as long as the record is new.
    let ttl = u32::from_be_bytes([1, b'x', 0, 0]);
    let mail: Line<'_> = (www, MX, ttl, &[0, 10, 0xc0, 12]);
    let into = |at: u8| [0, 20, 0xc0, at];
    assert_eq!(
        kept(MX, &[mail, (www, MX, 60, &[0, 20, 0])], &[]),
        Ok("www.test MX, www.test MX".into())
    );
    // The other fixed octets are roots, or make names out of numbers.
    for at in FIRST_TTL_AT - 4..FIRST_TTL_AT + 6 {
        let found = kept(MX, &[mail, (www, MX, 60, &into(at))], &[]);
        assert_eq!(found, Ok("www.test MX".into()), "{at}");
    }
    // As an owner, and behind a label.
    let to_ttl: &[u8] = &[0xc0, FIRST_TTL_AT];
    for owner in [to_ttl, &[1, b'y', 0xc0, FIRST_TTL_AT]] {
        let ns: Line<'_> = (owner, Rtype::NS, 60, &[0]);
        assert_eq!(kept(MX, &[mail], &[ns]), Err(AnswerError::Malformed), "{owner:?}");
    }
    // A label that begins in one field and ends behind the TTL of the next record.
    let text: Line<'_> = (www, Rtype::TXT, 60, &[2, b'a', 13]);
    let over = FIRST_AT + 12 + 2;
    let next: Line<'_> = (www, Rtype::TXT, ttl, &[3, 0, 0, 0]);
    let ns: Line<'_> = (&[0xc0, over], Rtype::NS, 60, &[0]);
    assert_eq!(kept(Rtype::TXT, &[text, next], &[ns]), Err(AnswerError::Malformed));
    // Names in owners and RDATA are what pointers are for.
    let link: Line<'_> = (www, Rtype::CNAME, 60, &[3, b'c', b'd', b'n', 0xc0, 16]);
    let end: Line<'_> = (&[0xc0, FIRST_AT + 12], Rtype::A, 60, A);
    let ns: Line<'_> = (&[2, b'n', b's', 0xc0, 16], Rtype::NS, 60, &[1, b'a', 0xc0, FIRST_AT + 12]);
    let again: Line<'_> = (&[0xc0, FIRST_AT + 12 + 6 + 16], Rtype::NS, 60, &[0]);
    let found = kept(Rtype::A, &[link, end], &[ns, again]);
    let expected = "www.test CNAME, cdn.test A, ns.test NS, ns.test NS";
    assert_eq!(found, Ok(expected.into()));
}

#[test]
fn spellings_of_one_owner_in_other_letters_are_one_owner() {
    let spelt: &[u8] = b"\x03WWW\x04test\0";
    let answers: [Line<'_>; 3] = [
        (&POINTER_TO_QUESTION, Rtype::A, 60, A),
        (spelt, Rtype::A, 60, A),
        (spelt, Rtype::RRSIG, 60, &[0, 1, 1]),
    ];
    assert_eq!(kept(Rtype::A, &answers, &[]), Ok("www.test A".into()));
    assert_eq!(kept(Rtype::A, &answers[..2], &[]), Ok("www.test A".into()));
    // The same for the names in RDATA (RFC 4034 §6.2, §6.3).
    let ns: Line<'_> = (&TO_TEST, Rtype::NS, 60, b"\x02ns\xc0\x10");
    let zone: Line<'_> = (b"\x04TEST\0", Rtype::NS, 60, b"\x02NS\x04Test\0");
    assert_eq!(kept(Rtype::A, &answers, &[ns, zone]), Ok("www.test A, test NS".into()));
    // Text is not a name.
    let text: Line<'_> = (&POINTER_TO_QUESTION, Rtype::TXT, 60, b"\x01a");
    let other: Line<'_> = (&POINTER_TO_QUESTION, Rtype::TXT, 60, b"\x01A");
    let expected = "www.test TXT, www.test TXT";
    assert_eq!(kept(Rtype::TXT, &[text, other], &[]), Ok(expected.into()));
}

#[test]
fn names_that_may_be_compressed_are_written_out_when_a_reply_is_rewritten() {
    // Order, preference, flags, services, expression; then the replacement.
    let before: &[u8] = b"\0\x01\0\x02\x01s\x07SIP+D2U\0";
    for (rtype, before) in [(NAPTR, before), (KX, &[0, 10])] {
        let rdata = |name: &[u8]| [before, name].concat();
        let compressed = rdata(b"\x03sip\xc0\x10");
        let record: Line<'_> = (&POINTER_TO_QUESTION, rtype, 60, &compressed);
        // An address of a stranger goes, so that the reply is rewritten.
        let stranger: Line<'_> = (b"\x01x\0", Rtype::A, 60, A);
        let message = reply(rtype, &[stranger, record, record], &[]);
        let answer = Answer::parse(&message, &question(rtype)).expect("an answer");
        let found: Vec<_> = answer.borrowed().records().map(|record| record.rdata).collect();
        assert_eq!(found, [&rdata(b"\x03sip\x04test\0")[..]], "{rtype}");
        // Broken names and strings are not data.
        for broken in [&[0xc0, 200][..], &[5], &[0, 0], &[]] {
            let broken = rdata(broken);
            let broken: Line<'_> = (&POINTER_TO_QUESTION, rtype, 60, &broken);
            assert_eq!(kept(rtype, &[broken], &[]), Err(AnswerError::Malformed), "{rtype}");
        }
    }
    for cut in 0..before.len() {
        let cut: Line<'_> = (&POINTER_TO_QUESTION, NAPTR, 60, &before[..cut]);
        assert_eq!(kept(NAPTR, &[cut], &[]), Err(AnswerError::Malformed));
    }
}
