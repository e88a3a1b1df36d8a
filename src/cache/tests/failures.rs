//! What failed lately (RFC 9520).

use super::*;

fn numbered(index: usize) -> Question {
    question(&format!("name-{index}.example"), Rtype::A)
}

const TTL: Duration = Duration::from_secs(2);

#[test]
fn a_failure_counts_for_its_time_and_no_longer() {
    let (failures, now) = (Failures::new(), Instant::now());
    let question = numbered(0);
    assert_eq!(failures.recent(&question.borrowed(), now), None);
    failures.note(&question, "silence", TTL, now);
    let at = |ms| failures.recent(&question.borrowed(), now + Duration::from_millis(ms));
    assert_eq!(at(0), Some("silence"));
    assert_eq!(at(1_999), Some("silence"));
    assert_eq!(failures.len(), 1);
    assert_eq!(at(2_000), None);
    // Who finds it over forgets it.
    assert!(failures.is_empty());
    assert_eq!(at(0), None);
}

#[test]
fn its_time_is_between_a_second_and_five_minutes() {
    let (failures, now) = (Failures::new(), Instant::now());
    let question = numbered(0);
    for (ttl, last_ms) in [(Duration::ZERO, 999), (Duration::MAX, 299_999)] {
        failures.note(&question, (), ttl, now);
        let at = |ms| failures.recent(&question.borrowed(), now + Duration::from_millis(ms));
        assert_eq!(at(last_ms), Some(()));
        assert_eq!(at(last_ms + 1), None);
    }
}

#[test]
fn the_last_word_counts_and_an_answer_ends_it() {
    let (failures, now) = (Failures::new(), Instant::now());
    let (question, other) = (numbered(0), numbered(1));
    failures.note(&question, 1, TTL, now);
    failures.note(&question, 2, TTL, now + Duration::from_secs(1));
    failures.note(&other, 3, TTL, now);
    assert_eq!(failures.len(), 2);
    let recent = |question: &Question, ms| {
        failures.recent(&question.borrowed(), now + Duration::from_millis(ms))
    };
    assert_eq!(recent(&question, 2_999), Some(2));
    failures.forget(&question.borrowed());
    assert_eq!((recent(&question, 0), recent(&other, 0)), (None, Some(3)));
    failures.clear();
    assert_eq!((recent(&other, 0), failures.len()), (None, 0));
    failures.note(&other, 4, TTL, now);
    assert_eq!(recent(&other, 0), Some(4));
}

#[test]
fn the_question_is_all_of_it() {
    let (failures, now) = (Failures::new(), Instant::now());
    let question = numbered(0);
    failures.note(&question, (), TTL, now);
    let same = question.borrowed();
    let others = [
        QuestionRef { qtype: Rtype::AAAA, ..same },
        QuestionRef { qclass: 3, ..same },
        QuestionRef { dnssec_ok: true, ..same },
        QuestionRef { checking_disabled: true, ..same },
    ];
    assert!(others.iter().all(|other| failures.recent(other, now).is_none()));
    assert!(failures.recent(&same, now).is_some());
}

#[test]
fn the_oldest_goes_at_the_bound() {
    let (failures, now) = (Failures::new(), Instant::now());
    let known = |index| failures.recent(&numbered(index).borrowed(), now);
    for index in 0..4_096 {
        failures.note(&numbered(index), index, TTL, now);
    }
    assert_eq!(failures.len(), 4_096);
    assert_eq!(known(0), Some(0));
    // Noted again, it is the youngest.
    failures.note(&numbered(0), 0, TTL, now);
    failures.note(&numbered(4_096), 4_096, TTL, now);
    assert_eq!((known(0), known(1), known(2)), (Some(0), None, Some(2)));
    for index in 5_000..20_000 {
        failures.note(&numbered(index), index, TTL, now);
        assert!(failures.len() <= 4_096);
    }
    assert!((20_000 - 4_096..20_000).all(|index| known(index) == Some(index)));
    assert!((0..20_000 - 4_096).all(|index| known(index).is_none()));
}

/// Against a plain map, with so few questions that none is pushed out.
#[test]
fn what_is_known_is_what_was_noted_last() {
    let (failures, now) = (Failures::new(), Instant::now());
    let mut model = std::collections::HashMap::new();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for step in 0..if cfg!(miri) { 200 } else { 20_000 } {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let index = usize::try_from(state >> 58).expect("small");
        let question = numbered(index);
        match state >> 32 & 3 {
            0 => {
                failures.note(&question, step, TTL, now);
                model.insert(index, step);
            }
            1 => {
                failures.forget(&question.borrowed());
                model.remove(&index);
            }
            _ => {
                assert_eq!(failures.recent(&question.borrowed(), now), model.get(&index).copied());
            }
        }
        assert_eq!(failures.len(), model.len());
    }
}
