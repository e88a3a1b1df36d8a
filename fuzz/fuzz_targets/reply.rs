//! Any octets from an upstream as the reply to a query: what counts as an answer repeats the
//! question, and a server cookie that is kept has the length of one.
//!
//! The input: one octet that chooses, two octets with the length of a message that holds the
//! question, that message, and the rest is the reply.
#![no_main]

use libfuzzer_sys::fuzz_target;
use privatelinkd::upstream::{read_cookie, read_reply};
use privatelinkd::wire::{Header, flags};
use privatelinkd_fuzz::{field, question_of};

/// Bits of the first octet: the query had EDNS; the question is the one that the reply repeats.
const HAS_EDNS: u8 = 1;
const OWN_QUESTION: u8 = 2;
/// The cookie of each query.
const CLIENT_COOKIE: [u8; 8] = *b"ourcooki";

fuzz_target!(|input: &[u8]| {
    let Some((&choice, mut reply)) = input.split_first() else { return };
    let Some(asked) = field(&mut reply) else { return };
    let asked = if choice & OWN_QUESTION == 0 { asked } else { reply };
    let Some(question) = question_of(asked) else { return };
    let has_edns = choice & HAS_EDNS != 0;

    let (is_genuine, answer) = read_reply(reply, &question, has_edns);
    if is_genuine {
        assert!(question.is_repeated_in(reply), "a stranger can have sent this");
        let header = Header::read(reply).expect("a header");
        assert!(header.has(flags::QR) && header.opcode() == 0);
    }
    if let Some(server) = read_cookie(reply, &question, CLIENT_COOKIE) {
        assert!(server.is_empty() || (8..=32).contains(&server.len()));
        assert!(reply.windows(8).any(|octets| octets == CLIENT_COOKIE));
        assert!(reply.windows(server.len().max(1)).any(|octets| octets.starts_with(&server)));
    }
    let Some(answer) = answer else { return };
    // An error without a question has an answer too: the question's own, without records.
    let read = answer.borrowed();
    assert!(question.is_repeated_in(read.message()));
    assert!(is_genuine || read.records().next().is_none());
    assert!(read.links().count() <= 16);
    if is_genuine && has_edns {
        let (again, _) = read_reply(reply, &question, false);
        assert!(again, "EDNS does not change who can have sent a reply");
    }
});
