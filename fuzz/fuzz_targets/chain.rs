//! Two replies of upstreams, the second behind the first: their CNAMEs become one chain of at most
//! 16 links. No reply of up to 64 KiB may cost more than a bound.
//!
//! The bound is in units of a fixed large reply (see [`YARDSTICK`]), which is read in the same build
//! on the same machine, so that neither sanitizers nor slow machines count. The clock is that of the
//! thread, which stands still while others run; a dear input is measured again before it counts.
//!
//! The input: for each of the two replies one octet with how many of its last octets are repeated and
//! two with how often; two octets with the first reply's length, the first reply; the rest is the
//! second reply.
#![no_main]

use std::hint::black_box;
use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use privatelinkd::engine::chase_once;
use privatelinkd::wire::{
    Answer, AnswerRef, HEADER_OCTETS, MAX_MESSAGE_OCTETS, Question, Rtype, read_name,
};
use privatelinkd_fuzz::{ZONES, cpu_time, field, question_of};

/// CNAMEs that one answer may hold.
const MAX_LINKS: usize = 16;
/// The largest honest reply: a CNAME and 4,090 addresses of its target, 65,500 octets. Reading it
/// takes 0.15 ms in a release build.
static YARDSTICK: LazyLock<Duration> = LazyLock::new(|| {
    let (message, question) = honest_reply();
    assert!(Answer::parse(&message, &question).is_ok());
    least_time(25, || drop(black_box(Answer::parse(&message, &question))))
});
/// Reading a reply, or joining two, may take so many yardsticks. 1 ms in a release build is 6.7 of
/// them. The address sanitizer makes names a third dearer than the yardstick's records: the dearest
/// reply known takes 0.8 ms in a release build, 4.7 yardsticks, and 5.9 under the sanitizer.
const MOST_YARDSTICKS: u32 = 9;
/// Shorter messages cannot be dear: they are not measured.
const LEAST_MEASURED_OCTETS: usize = 4_096;
/// Measurements of an input before it counts as too dear.
const MEASUREMENTS: u32 = 12;

fuzz_target!(|input: &[u8]| {
    let Some((&[one, a, b, two, c, d], mut rest)) = input.split_first_chunk() else { return };
    let Some(first) = field(&mut rest) else { return };
    let first = lengthened(first, one, u16::from_be_bytes([a, b]));
    let rest = lengthened(rest, two, u16::from_be_bytes([c, d]));
    let Some(question) = question_of(&first) else { return };
    let Some(first) = parsed(&first, &question) else { return };
    // The second reply says what its question is; the chain says what it should be.
    let Some(whole) = joined(&first, &question, &rest) else { return };
    // A chain of chains: the joined answer may be the first of the next one.
    let _ = joined(&whole, &question, &rest);
});

/// `first` with the reply behind it, if `first` leads on, and if both can become one answer.
fn joined(first: &Answer, question: &Question, reply: &[u8]) -> Option<Answer> {
    let (first, mut second) = (first.borrowed(), None);
    let whole = chase_once(&ZONES, question, &first, |next| {
        second = parsed(&renamed(reply, next)?, next);
        second.clone()
    });
    let second = second?;
    let octets = first.message().len() + second.borrowed().message().len();
    check_cost(octets, || drop(chase_once(&ZONES, question, &first, |_| Some(second.clone()))));
    let whole = whole?.ok()?;
    check(&whole.borrowed(), question);
    Some(whole)
}

/// Reads a reply, and holds it against the bound of what that may cost.
fn parsed(message: &[u8], question: &Question) -> Option<Answer> {
    check_cost(message.len(), || drop(black_box(Answer::parse(message, question))));
    let answer = Answer::parse(message, question).ok()?;
    check(&answer.borrowed(), question);
    Some(answer)
}

/// Fails if `run`, which reads so many octets, always costs more than the bound.
fn check_cost(octets: usize, run: impl Fn()) {
    if !(LEAST_MEASURED_OCTETS..=MAX_MESSAGE_OCTETS).contains(&octets) {
        return;
    }
    let bound = *YARDSTICK * MOST_YARDSTICKS;
    let is_cheap = (0..MEASUREMENTS).any(|_| least_time(1, &run) <= bound);
    let least = || least_time(MEASUREMENTS, &run);
    assert!(is_cheap, "{octets} octets take {:?}, the yardstick {:?}", least(), *YARDSTICK);
}

/// The least time of `count` runs.
fn least_time(count: u32, run: impl Fn()) -> Duration {
    let timed = |_| {
        let begin = cpu_time();
        run();
        cpu_time() - begin
    };
    (0..count).map(timed).min().unwrap_or_default()
}

/// An answer's chain is whole, and reading the answer again changes nothing.
fn check(answer: &AnswerRef<'_>, question: &Question) {
    assert!(answer.message().len() <= MAX_MESSAGE_OCTETS);
    assert!(answer.links().count() <= MAX_LINKS);
    let mut owner = question.qname.clone();
    for link in answer.links() {
        let (name, _) = read_name(answer.message(), link.cname.owner_at).expect("a link's owner");
        assert_eq!(name.to_name(), owner);
        owner = link.target.to_name();
    }
    let again = Answer::parse(answer.message(), question).expect("what was kept can be read");
    assert_eq!(again.borrowed().message(), answer.message());
    assert!(again.borrowed().ttl_places().eq(answer.ttl_places()));
}

/// `message` with its last octets, as many as `repeated` says, up to `times` times behind it, and as
/// many more records in the answer section; so a small input makes a large message.
fn lengthened(message: &[u8], repeated: u8, times: u16) -> Vec<u8> {
    let mut long = message.to_vec();
    let Some(begin) = message.len().checked_sub(usize::from(repeated)) else { return long };
    if repeated == 0 || begin < HEADER_OCTETS {
        return long;
    }
    let piece = &message[begin..];
    let most = (MAX_MESSAGE_OCTETS - message.len()) / piece.len();
    let times = most.min(usize::from(times));
    long.extend(piece.repeat(times));
    let answers = u16::from_be_bytes([long[6], long[7]]);
    let answers = answers.saturating_add(u16::try_from(times).expect("at most 65,535"));
    long[6..8].copy_from_slice(&answers.to_be_bytes());
    long
}

/// `message` with `question` before its records.
fn renamed(message: &[u8], question: &Question) -> Option<Vec<u8>> {
    let (header, rest) = message.split_at_checked(HEADER_OCTETS)?;
    let (qtype, qclass) = (question.qtype.0.to_be_bytes(), question.qclass.to_be_bytes());
    Some([header, question.qname.as_wire(), &qtype, &qclass, rest].concat())
}

fn honest_reply() -> (Vec<u8>, Question) {
    const TARGET: &[u8] = b"\x03end\x07western\x06europe\x08cloudapp\x05azure\x03com\0";
    let question = Question::plain("www.test".parse().expect("a name"), Rtype::A);
    let mut message = vec![0, 7, 0x81, 0x80, 0, 1, 0x0f, 0xfb, 0, 0, 0, 0];
    message.extend_from_slice(question.qname.as_wire());
    message.extend_from_slice(&[0, 1, 0, 1]);
    message.extend_from_slice(&[0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0]);
    message.push(u8::try_from(TARGET.len()).expect("short"));
    let target_at = u8::try_from(message.len()).expect("near");
    message.extend_from_slice(TARGET);
    let address = [0xc0, target_at, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1];
    message.extend(address.repeat(4_090));
    (message, question)
}
