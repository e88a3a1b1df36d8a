//! Which upstreams a repeat asks last, and which ones spoilt the rounds before.

use std::sync::Arc;

use super::super::key_replies::KeyReplies;
use super::super::keys::Told;
use super::*;
use crate::dnssec::Brought;
use crate::wire::MAX_MESSAGE_OCTETS;

const GOOD: u64 = 1;
const STRIPS: u64 = 2;
const OTHER: u64 = 3;

fn about(zone: &str) -> Question {
    Question::plain(zone.parse().expect("a name"), Rtype::DNSKEY)
}

/// An answer with one record of this type.
fn answer(rtype: Rtype) -> Answer {
    let question = Question::plain(Name::root(), rtype);
    let mut message = Vec::new();
    let mut writer = MessageWriter::begin(&mut message, MAX_MESSAGE_OCTETS, 1, flags::QR);
    writer.raw(&[&[0][..], &rtype.0.to_be_bytes(), &[0, 1, 0]].concat()).expect("room");
    // As long as the data of an RRSIG is at least.
    let data = [0; 20];
    writer.fixed(rtype, 1, 300, data.len()).expect("room");
    writer.raw(&data).expect("room");
    writer.set_counts([1, 1, 0, 0]);
    Answer::parse(&message, &question).expect("an answer")
}

fn signed() -> Answer {
    answer(Rtype::RRSIG)
}

fn bare() -> Answer {
    answer(Rtype::DNSKEY)
}

fn note(replies: &mut KeyReplies, zone: &str, upstream: u64, answer: Answer) {
    let brought = Brought { answer: Arc::new(answer), since: Instant::now() };
    replies.note(&about(zone), &Told { brought, upstream });
}

/// Ends a round that failed.
fn fail(replies: &mut KeyReplies, answered: u64) {
    replies.fail_round(Some(answered), vec![]);
}

/// The upstreams that a rule with these asks last, in order.
fn avoided(replies: &KeyReplies, zone: &str, rule: &[u64]) -> Vec<u64> {
    let leaves = |avoided: &[u64]| rule.iter().any(|upstream| !avoided.contains(upstream));
    let mut avoided = replies.avoided(&about(zone), leaves);
    avoided.sort_unstable();
    avoided.dedup();
    avoided
}

#[test]
fn a_repeat_avoids_the_upstream_of_the_last_reply() {
    let mut replies = KeyReplies::new(vec![]);
    replies.note_answer(&signed(), GOOD);
    note(&mut replies, "a.test", GOOD, signed());
    assert!(avoided(&replies, "a.test", &[GOOD, OTHER]).is_empty(), "the first round");
    fail(&mut replies, OTHER);
    assert_eq!(avoided(&replies, "a.test", &[GOOD, OTHER]), [GOOD]);
    assert_eq!(avoided(&replies, "b.test", &[GOOD, OTHER]), [OTHER], "not asked yet");
    note(&mut replies, "a.test", OTHER, signed());
    fail(&mut replies, OTHER);
    assert_eq!(avoided(&replies, "a.test", &[GOOD, OTHER]), [OTHER]);
}

#[test]
fn an_upstream_that_signs_nothing_is_worse_than_the_last_one() {
    let mut replies = KeyReplies::new(vec![]);
    note(&mut replies, "a.test", STRIPS, bare());
    note(&mut replies, "b.test", STRIPS, bare());
    fail(&mut replies, STRIPS);
    note(&mut replies, "a.test", GOOD, signed());
    note(&mut replies, "b.test", GOOD, bare());
    fail(&mut replies, STRIPS);
    for zone in ["a.test", "b.test", "c.test"] {
        assert_eq!(avoided(&replies, zone, &[STRIPS, GOOD]), [STRIPS], "{zone}");
    }
    assert_eq!(avoided(&replies, "a.test", &[STRIPS, GOOD, OTHER]), [GOOD, STRIPS]);
    // Where all are such, another than the last one.
    let mut replies = KeyReplies::new(vec![]);
    for upstream in [GOOD, STRIPS] {
        note(&mut replies, "a.test", upstream, bare());
        fail(&mut replies, GOOD);
    }
    assert_eq!(avoided(&replies, "a.test", &[STRIPS, GOOD]), [STRIPS]);
    // A signed answer tells them apart.
    replies.note_answer(&signed(), GOOD);
    replies.note_answer(&bare(), STRIPS);
    assert_eq!(avoided(&replies, "b.test", &[STRIPS, GOOD]), [STRIPS]);
}

#[test]
fn an_upstream_that_never_gave_proven_keys_is_worse_than_the_last_one() {
    let mut replies = KeyReplies::new(vec![]);
    note(&mut replies, "a.test", OTHER, signed());
    replies.fail_round(Some(OTHER), vec![GOOD]);
    assert_eq!(avoided(&replies, "a.test", &[OTHER, GOOD]), [OTHER]);
    note(&mut replies, "a.test", GOOD, signed());
    replies.fail_round(Some(OTHER), vec![GOOD]);
    assert_eq!(avoided(&replies, "a.test", &[OTHER, GOOD]), [OTHER]);
    // The answer may be asked for at any of them.
    assert_eq!(replies.avoided_for_answer(GOOD, |_| true), [GOOD]);
    // One that has given nothing yet may be better than both.
    assert_eq!(avoided(&replies, "a.test", &[OTHER, GOOD, 4]), [GOOD, OTHER]);
}

#[test]
fn suspects_are_avoided_from_the_first_round_on() {
    let mut replies = KeyReplies::new(vec![STRIPS]);
    assert_eq!(avoided(&replies, "a.test", &[STRIPS, GOOD]), [STRIPS]);
    note(&mut replies, "a.test", GOOD, signed());
    fail(&mut replies, GOOD);
    assert_eq!(avoided(&replies, "a.test", &[STRIPS, GOOD]), [STRIPS]);
    assert_eq!(avoided(&replies, "a.test", &[STRIPS, GOOD, OTHER]), [GOOD, STRIPS]);
}

#[test]
fn spoilers_had_a_part_in_the_failed_rounds_alone() {
    let spoilers = |replies: &KeyReplies, answered: [Option<u64>; 2]| {
        let mut spoilers: Vec<_> = replies.spoilers(answered).into_iter().collect();
        spoilers.sort_unstable();
        spoilers
    };
    let mut replies = KeyReplies::new(vec![]);
    note(&mut replies, "a.test", GOOD, signed());
    fail(&mut replies, GOOD);
    note(&mut replies, "a.test", STRIPS, bare());
    note(&mut replies, "b.test", OTHER, signed());
    fail(&mut replies, GOOD);
    note(&mut replies, "a.test", GOOD, signed());
    assert_eq!(spoilers(&replies, [None, Some(GOOD)]), [STRIPS], "b.test was not asked again");
    assert_eq!(spoilers(&replies, [Some(OTHER), Some(GOOD)]), [STRIPS, OTHER], "an answer");
    assert_eq!(spoilers(&replies, [Some(OTHER), None]), [STRIPS], "keys alone");
    note(&mut replies, "b.test", STRIPS, signed());
    assert_eq!(spoilers(&replies, [None, Some(GOOD)]), [OTHER], "it has a part in the good one");
}
