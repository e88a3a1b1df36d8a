//! The state of validation between questions, at its bounds.

use std::sync::Arc;

use super::super::keys::{
    GAVE_PROVEN, Keys, MAX_ANSWER_REPEATS, MAX_GAVE_PROVEN, MAX_KEY_REPEATS, MAX_REPEATING,
    MAX_SUSPECTS, MAX_UNPROVEN, MAX_UNPROVEN_OCTETS, REPEAT_EVERY, SUSPECT_FOR_ALL, SUSPECTED,
    Told, UNPROVEN,
};
use super::*;
use crate::dnssec::Brought;
use crate::wire::MAX_MESSAGE_OCTETS;

fn name(number: usize) -> Name {
    format!("n{number}.test").parse().expect("a name")
}

fn question(number: usize) -> Question {
    Question::plain(name(number), Rtype::TXT)
}

/// An answer with one record of this TTL and so many octets of data.
fn told(number: usize, ttl: u32, octets: usize, since: Instant) -> Told {
    let question = question(number);
    let mut message = Vec::new();
    let mut writer = MessageWriter::begin(&mut message, MAX_MESSAGE_OCTETS, 1, flags::QR);
    writer.raw(question.qname.as_wire()).expect("room");
    writer.raw(&[Rtype::TXT.0.to_be_bytes(), [0, 1]].concat()).expect("room");
    writer.raw(question.qname.as_wire()).expect("room");
    let text = [&[255][..], &[b'x'; 255]].concat();
    let data: Vec<u8> = text.iter().copied().cycle().take(octets / 256 * 256).collect();
    writer.fixed(Rtype::TXT, 1, ttl, data.len()).expect("room");
    writer.raw(&data).expect("room");
    writer.set_counts([1, 1, 0, 0]);
    let answer = Arc::new(Answer::parse(&message, &question).expect("an answer"));
    Told { brought: Brought { answer, since }, upstream: 7 }
}

#[test]
fn unproven_answers_serve_for_a_minute_at_most() {
    let (keys, at) = (Keys::new(1), Instant::now());
    let second = Duration::from_secs(1);
    let is_kept = |number: usize, now: Instant| keys.find(&question(number), None, now).is_some();
    keys.keep(&question(1), told(1, 3_600, 256, at));
    assert!(is_kept(1, at + UNPROVEN - second) && !is_kept(1, at + UNPROVEN));
    keys.keep(&question(2), told(2, 5, 256, at));
    assert!(is_kept(2, at + 4 * second) && !is_kept(2, at + 5 * second));
    // A repeat wants newer ones.
    let since = |since: Instant| keys.find(&question(1), Some(since), at).is_some();
    assert!(since(at) && !since(at + second));
    keys.note_unanswered(&question(3), 9, second, at);
    assert!(matches!(keys.find(&question(3), None, at), Some(Err(lost)) if lost.paths == 9));
    assert!(!is_kept(3, at + second));
    keys.forget_failures();
    assert!(!is_kept(3, at) && is_kept(1, at));
}

#[test]
fn unproven_answers_are_bounded_in_number_and_octets() {
    let (keys, at) = (Keys::new(1), Instant::now());
    let ms = |number: usize| at + Duration::from_millis(number as u64);
    for number in 0..=MAX_UNPROVEN {
        keys.keep(&question(number), told(number, 300, 256, ms(number)));
    }
    assert_eq!(keys.unproven().0, MAX_UNPROVEN);
    let is_kept = |number: usize| keys.find(&question(number), None, ms(MAX_UNPROVEN)).is_some();
    assert!(!is_kept(0) && is_kept(1) && is_kept(MAX_UNPROVEN));
    let large = 60_000;
    for number in 0..=MAX_UNPROVEN_OCTETS / large {
        keys.keep(&question(number), told(number, 300, large, ms(2 * MAX_UNPROVEN + number)));
        assert!(keys.unproven().1 <= MAX_UNPROVEN_OCTETS, "{:?}", keys.unproven());
    }
    assert!(keys.unproven().0 < MAX_UNPROVEN);
    // Once the same question counts once.
    let before = keys.unproven();
    let newest = MAX_UNPROVEN_OCTETS / large;
    keys.keep(&question(newest), told(newest, 300, large, ms(3 * MAX_UNPROVEN)));
    assert_eq!(keys.unproven(), before);
}

#[test]
fn a_zones_keys_are_asked_again_so_often() {
    let (keys, at) = (Keys::new(1), Instant::now());
    let ms = Duration::from_millis(1);
    let zone = name(1);
    let begun = at + ms;
    assert_eq!(keys.renew(&zone, at, begun), Some(begun));
    // Other questions had the same bad keys: they use the first one's repeat.
    for _ in 0..100 {
        assert_eq!(keys.renew(&zone, at, begun + ms), Some(begun));
    }
    // Those are bad too.
    let mut last = begun;
    for _ in 1..MAX_KEY_REPEATS {
        let now = last + ms;
        assert_eq!(keys.renew(&zone, last, now), Some(now));
        last = now;
    }
    assert_eq!(keys.renew(&zone, last, last + ms), None);
    assert_eq!(keys.renew(&zone, last, begun + REPEAT_EVERY - ms), None);
    let again = begun + REPEAT_EVERY;
    assert_eq!(keys.renew(&zone, last, again), Some(again));
    assert_eq!(keys.renew(&name(2), at, again), Some(again), "another zone");
}

#[test]
fn so_many_answers_of_a_zone_are_asked_again() {
    let (keys, at) = (Keys::new(1), Instant::now());
    let allowed = |zone: usize, at: Instant| {
        (0..MAX_ANSWER_REPEATS + 5).filter(|_| keys.may_ask_again(&name(zone), at)).count()
    };
    let most = MAX_ANSWER_REPEATS as usize;
    assert_eq!(allowed(1, at), most);
    assert_eq!(allowed(1, at + REPEAT_EVERY - Duration::from_millis(1)), 0);
    assert_eq!(allowed(2, at), most);
    assert_eq!(allowed(1, at + REPEAT_EVERY), most);
}

#[test]
fn no_more_zones_are_asked_again_than_are_counted() {
    let (keys, at) = (Keys::new(1), Instant::now());
    for number in 0..MAX_REPEATING {
        assert!(keys.may_ask_again(&name(number), at));
    }
    assert!(!keys.may_ask_again(&name(MAX_REPEATING), at));
    assert_eq!(keys.renew(&name(MAX_REPEATING), at, at), None);
    assert!(keys.renew(&name(0), at, at).is_some(), "one that is counted");
    assert!(keys.may_ask_again(&name(MAX_REPEATING), at + REPEAT_EVERY));
}

#[test]
fn suspects_are_asked_last_where_they_spoilt_answers() {
    let (keys, at) = (Keys::new(1), Instant::now());
    let zone = |text: &str| text.parse::<Name>().expect("a name");
    keys.suspect(&zone("a.b.signed.test"), 7, at);
    assert_eq!(keys.suspects(&zone("www.signed.test"), at), [7]);
    assert!(keys.suspects(&zone("www.other.test"), at).is_empty(), "another domain");
    assert!(keys.suspects(&zone("www.signed.test"), at + SUSPECTED).is_empty());
    for number in 2..SUSPECT_FOR_ALL {
        keys.suspect(&name(number), 7, at);
    }
    keys.suspect(&zone("x.signed.test"), 7, at);
    keys.suspect(&name(1), 8, at);
    assert!(keys.suspects(&zone("www.other.test"), at).is_empty(), "too few domains");
    keys.suspect(&name(SUSPECT_FOR_ALL), 7, at);
    assert_eq!(keys.suspects(&zone("www.other.test"), at), [7]);
    keys.suspect(&Name::root(), 8, at);
    assert_eq!(keys.suspects(&zone("www.other.test"), at).len(), 2);
}

#[test]
fn suspects_are_bounded() {
    let (keys, at) = (Keys::new(1), Instant::now());
    for number in 0..=MAX_SUSPECTS {
        keys.suspect(&name(number), number as u64, at);
    }
    let is_suspect = |number: usize, at: Instant| !keys.suspects(&name(number), at).is_empty();
    assert!(is_suspect(0, at) && is_suspect(MAX_SUSPECTS - 1, at) && !is_suspect(MAX_SUSPECTS, at));
    let later = at + SUSPECTED;
    keys.suspect(&name(MAX_SUSPECTS), 1, later);
    assert!(!is_suspect(0, later) && is_suspect(MAX_SUSPECTS, later));
}

#[test]
fn upstreams_that_gave_proven_keys_are_bounded_and_forgotten() {
    let (keys, at) = (Keys::new(1), Instant::now());
    let most = MAX_GAVE_PROVEN as u64;
    let gave_proven = |upstream: u64, at: Instant| keys.gave_proven(at).contains(&upstream);
    keys.note_gave_proven(0..=most, at);
    assert!(gave_proven(0, at) && gave_proven(most - 1, at));
    assert!(!gave_proven(most, at), "one too many");
    keys.suspect(&name(1), 0, at);
    assert!(!gave_proven(0, at), "it has spoilt something");
    let later = at + GAVE_PROVEN;
    assert!(!gave_proven(1, later));
    keys.note_gave_proven([0, most].into_iter(), later);
    assert!(gave_proven(0, later) && gave_proven(most, later));
}
