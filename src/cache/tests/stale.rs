//! Answers past their time (RFC 8767), refreshed before it, and the clock they age by.

use super::*;

const STALE: Duration = Duration::from_secs(3_600);

/// A cache with an answer of TTL 300, and when it came.
fn with_one() -> (Cache, Question, Instant) {
    let cache = Cache::new(1 << 20, STALE);
    let (question, now) = (question("a.example", Rtype::A), Instant::now());
    cache.insert(&question, &reply(&question, 0, &[A]), false, now);
    (cache, question, now)
}

#[test]
fn an_answer_past_its_time_is_found_by_who_asks_for_stale_ones_and_says_how_old() {
    let (cache, question, start) = with_one();
    let stale = |ms| {
        let hit = cache.find_stale(&question.borrowed(), start + Duration::from_millis(ms))?;
        Some((hit.is_stale(), hit.left_seconds, hit.expired_seconds(), hit.age_seconds))
    };
    assert_eq!(stale(299_999), Some((false, 1, 0, 299)));
    assert_eq!(stale(300_000), Some((true, 0, 0, 300)));
    assert_eq!(stale(301_000), Some((true, 0, 1, 301)));
    assert_eq!(stale(3_899_999), Some((true, 0, 3_599, 3_899)));
    assert_eq!(stale(3_900_000), None);
    let fresh = |ms| cache.find(&question.borrowed(), start + Duration::from_millis(ms));
    assert!(fresh(299_999).is_some());
    assert!(fresh(300_000).is_none());
}

#[test]
fn without_a_window_nothing_is_stale() {
    let cache = Cache::new(1 << 20, Duration::ZERO);
    let (question, now) = (question("a.example", Rtype::A), Instant::now());
    cache.insert(&question, &reply(&question, 0, &[A]), false, now);
    let at = |seconds| cache.find_stale(&question.borrowed(), now + Duration::from_secs(seconds));
    assert!(at(299).is_some());
    assert!(at(300).is_none());
}

#[test]
fn a_negative_answer_is_stale_for_as_long_and_a_chain_to_us_says_what_it_is() {
    let (cache, now) = (Cache::new(1 << 20, STALE), Instant::now());
    keep_nxdomain(&cache, "gone.example", 30, now);
    let gone = question("gone.example", Rtype::A);
    let hit = cache.find_stale(&gone.borrowed(), now + Duration::from_secs(3_629));
    assert_eq!(hit.map(|hit| hit.answer().rcode()), Some(Rcode::NXDOMAIN));
    assert!(cache.find_stale(&gone.borrowed(), now + Duration::from_secs(3_630)).is_none());

    let cname = (Section::Answer, Rtype::CNAME, 60, &[1, b'b', 0][..]);
    let ours = question("ours.example", Rtype::A);
    cache.insert(&ours, &reply(&ours, Rcode::SERVFAIL.0, &[cname]), true, now);
    let hit = cache.find_stale(&ours.borrowed(), now + Duration::from_secs(61));
    assert!(hit.is_some_and(|hit| hit.needs_us && hit.is_stale()));
}

#[test]
fn a_failure_leaves_the_stale_answer_and_a_new_one_takes_its_place() {
    let (cache, question, start) = with_one();
    let later = start + Duration::from_secs(400);
    let failed = reply(&question, Rcode::SERVFAIL.0, &[A]);
    assert_eq!(cache.insert(&question, &failed, false, later), None);
    let expired = |cache: &Cache| {
        cache.find_stale(&question.borrowed(), later).map(|hit| hit.expired_seconds())
    };
    assert_eq!(expired(&cache), Some(100));
    cache.insert(&question, &reply(&question, 0, &[A]), false, later);
    assert_eq!(expired(&cache), Some(0));
    assert!(cache.find(&question.borrowed(), later).is_some());
    assert_eq!(cache.len(), 1);
}

#[test]
fn all_that_memory_has_room_for_stays_to_serve_as_stale() {
    let cache = Cache::new(4 << 20, Duration::from_secs(86_400));
    let now = Instant::now();
    let name = |index: usize| format!("name-{index}.example");
    keep_addresses(&cache, (0..5_000).map(name), now);
    // A day's other names, after the first ones' time.
    let later = now + Duration::from_secs(80_000);
    keep_addresses(&cache, (5_000..10_000).map(name), later);
    let at = now + Duration::from_secs(86_000);
    let stale = |index: &usize| {
        cache.find_stale(&question(&name(*index), Rtype::A).borrowed(), at).is_some()
    };
    let kept = (0..10_000).filter(stale).count();
    // The index loses some where a bucket is full.
    assert!(kept > 9_900, "{kept}");
}

#[test]
fn a_name_used_before_wants_a_refresh_in_its_last_tenth() {
    let (cache, question, start) = with_one();
    let wants = |cache: &Cache, seconds| {
        let hit = cache.find(&question.borrowed(), start + Duration::from_secs(seconds));
        hit.expect("it holds").wants_refresh()
    };
    // Its first use, though near its end.
    assert!(!wants(&cache, 290));
    assert!(wants(&cache, 290));
    assert!(wants(&cache, 270));
    assert!(!wants(&cache, 269));
    // One that came back after its time was wanted before, so its first use counts.
    let again = start + Duration::from_secs(301);
    cache.insert(&question, &reply(&question, 0, &[A]), false, again);
    assert!(wants(&cache, 301 + 290));
    // A refresh starts anew.
    let again = start + Duration::from_secs(600);
    cache.insert(&question, &reply(&question, 0, &[A]), false, again);
    assert!(!wants(&cache, 601));
}

#[test]
fn a_ttl_of_less_than_ten_seconds_wants_no_refresh() {
    for (ttl, wanted) in [(9, false), (10, true)] {
        let cache = Cache::new(1 << 20, STALE);
        let (question, now) = (question("a.example", Rtype::A), Instant::now());
        let a = (Section::Answer, Rtype::A, ttl, &[10, 0, 0, 1][..]);
        cache.insert(&question, &reply(&question, 0, &[a]), false, now);
        let last = now + Duration::from_secs(u64::from(ttl) - 1);
        assert!(cache.find(&question.borrowed(), last).is_some());
        let hit = cache.find(&question.borrowed(), last).expect("it holds");
        assert_eq!(hit.wants_refresh(), wanted, "TTL {ttl}");
    }
}

#[test]
fn what_slept_has_aged() {
    let (cache, question, start) = with_one();
    cache.advance(Duration::from_secs(100));
    let age = |cache: &Cache, seconds| {
        let now = start + Duration::from_secs(seconds);
        cache.find(&question.borrowed(), now).map(|hit| hit.age_seconds)
    };
    assert_eq!(age(&cache, 0), Some(100));
    cache.advance(Duration::from_secs(100));
    assert_eq!(age(&cache, 99), Some(299));
    assert_eq!(age(&cache, 100), None);
    let now = start + Duration::from_secs(100);
    assert!(cache.find_stale(&question.borrowed(), now).is_some());
    // What comes after it is new.
    cache.insert(&question, &reply(&question, 0, &[A]), false, now);
    assert_eq!(age(&cache, 100), Some(0));
    // However long: everything is over, nothing breaks.
    cache.advance(Duration::MAX);
    cache.advance(Duration::MAX);
    assert!(cache.find_stale(&question.borrowed(), now).is_none());
}

#[test]
fn a_newer_answer_that_cannot_be_kept_removes_the_older_one() {
    let question = question("a.example", Rtype::A);
    let zero = (Section::Answer, Rtype::A, 0, &[10, 0, 0, 2][..]);
    for newer in [reply(&question, 0, &[zero]), reply(&question, Rcode::NXDOMAIN.0, &[])] {
        let (cache, now) = (Cache::new(1 << 20, Duration::from_secs(900)), Instant::now());
        let other = Question { dnssec_ok: true, ..question.clone() };
        for question in [&question, &other] {
            assert!(cache.insert(question, &reply(question, 0, &[A]), false, now).is_some());
        }
        // An entry that has not expired stays.
        assert_eq!(cache.insert(&question, &newer, false, now), None);
        assert_eq!(cache.len(), 2);
        let now = now + Duration::from_secs(400);
        let failure = reply(&question, Rcode::SERVFAIL.0, &[]);
        assert_eq!(cache.insert(&question, &failure, false, now), None);
        assert!(cache.find_stale(&question.borrowed(), now).is_some());
        assert_eq!(cache.insert(&question, &newer, false, now), None);
        assert!(cache.find_stale(&question.borrowed(), now).is_none());
        assert_eq!(cache.len(), 1);
        assert!(cache.find_stale(&other.borrowed(), now).is_some());
        // The place can be used again.
        assert!(cache.insert(&question, &reply(&question, 0, &[A]), false, now).is_some());
        assert_eq!(cache.len(), 2);
    }
}
