//! States on paused time.

use super::*;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn times_are_smoothed_as_rfc_6298_has_it() {
    let rtt = Rtt::first(ms(100));
    assert_eq!((rtt.smoothed, rtt.variation), (ms(100), ms(50)));
    assert_eq!(rtt.timeout(), ms(300));
    let rtt = rtt.with(ms(180));
    assert_eq!((rtt.smoothed, rtt.variation), (ms(110), Duration::from_micros(57_500)));
    assert_eq!(Rtt::unpack(rtt.pack()), Some(rtt));
    assert_eq!(Rtt::first(Duration::ZERO).timeout(), MIN_TIMEOUT);
    assert_eq!(Rtt::first(ms(900)).timeout(), MAX_TIMEOUT);
    assert_eq!(Rtt::unpack(0), None);
}

#[tokio::test(start_paused = true)]
async fn many_replies_at_once_are_one_sample() {
    let health = Health::new(Arc::default());
    let begun = Instant::now();
    health.answered(Some(ms(20)), begun);
    for _ in 0..100 {
        health.answered(Some(ms(100)), begun + ms(9));
    }
    assert_eq!(health.rtt(), Some(Rtt::first(ms(20))));
    health.answered(Some(ms(100)), begun + ms(10));
    assert_eq!(health.rtt(), Some(Rtt::first(ms(20)).with(ms(100))));
}

#[tokio::test(start_paused = true)]
async fn silence_takes_tries_and_time() {
    let begun = Instant::now();
    let measured = |millis| {
        let health = Health::new(Arc::default());
        health.answered(Some(ms(millis)), begun);
        health
    };
    let health = measured(10);
    for _ in 0..100 {
        assert_eq!(health.unanswered(begun, begun + ms(499)), None, "loss comes in bursts");
    }
    assert!(health.is_in_doubt() && !health.is_down());
    let silence = health.unanswered(begun, begun + ms(500));
    assert_eq!(silence, Some(Silence { tries: 101, time: ms(500) }));

    let few = measured(10);
    for _ in 1..DOWN_TRIES {
        assert_eq!(few.unanswered(begun, begun + ms(60_000)), None, "a few tries in an hour");
    }
    let far = measured(800);
    for _ in 0..100 {
        assert_eq!(far.unanswered(begun, begun + ms(999)), None);
    }
    assert!(far.unanswered(begun, begun + ms(1_000)).is_some());
}

#[tokio::test(start_paused = true)]
async fn probes_that_are_answered_keep_up_who_is_silent_otherwise() {
    let health = Health::new(Arc::default());
    let mut now = Instant::now();
    for _ in 0..40 {
        for _ in 0..10 {
            now += ms(25);
            assert_eq!(health.unanswered(now - ms(25), now), None);
        }
        health.probe_answered(ms(5), now);
        assert!(health.is_in_doubt());
    }
    health.probe_answered(ms(5), now + DOUBT_LASTS - ms(1));
    assert!(health.is_in_doubt());
    health.probe_answered(ms(5), now + DOUBT_LASTS);
    assert!(!health.is_in_doubt(), "nothing was silent for long");
}

#[tokio::test(start_paused = true)]
async fn silence_about_some_names_is_no_silence_while_others_are_answered() {
    let health = Health::new(Arc::default());
    let mut now = Instant::now();
    health.answered(Some(ms(5)), now);
    for _ in 0..200 {
        now += ms(20);
        // Thousands of names that get no reply, asked up to a second ago.
        for age in (0..1_000).step_by(10) {
            assert_eq!(health.unanswered(now - ms(age), now), None);
        }
        health.answered(Some(ms(5)), now);
    }
    assert!(!health.is_down() && !health.is_in_doubt() && health.is_heard(now));
    // When all are silent, it takes as long as it always does.
    let mut went_down = None;
    for after in (10..=600).step_by(10) {
        let silence = health.unanswered(now + ms(after - 10), now + ms(after));
        went_down = went_down.or(silence.map(|_| after));
    }
    assert!(went_down.is_some_and(|after| (500..=520).contains(&after)), "{went_down:?}");
}

#[tokio::test(start_paused = true)]
async fn a_try_of_before_the_last_probe_counts_from_the_probe() {
    let health = Health::new(Arc::default());
    let begun = Instant::now();
    health.probe_answered(ms(5), begun + ms(900));
    for _ in 0..100 {
        assert_eq!(health.unanswered(begun, begun + ms(1_000)), None, "it was heard just now");
    }
}

#[tokio::test(start_paused = true)]
async fn clients_names_take_twice_the_time_while_the_last_probe_was_answered() {
    let (health, begun) = (Health::new(Arc::default()), Instant::now());
    health.answered(Some(ms(5)), begun);
    health.probe_answered(ms(5), begun);
    for after in (10..1_000).step_by(10) {
        assert_eq!(health.unanswered(begun, begun + ms(after)), None, "{after}");
    }
    let silence = health.probe_unanswered(begun + ms(800), begun + ms(999));
    assert!(silence.is_some(), "now the probe is silent too");
}

#[tokio::test(start_paused = true)]
async fn the_probe_that_doubt_calls_for_does_not_end_it() {
    let health = Health::new(Arc::default());
    let now = Instant::now();
    health.answered(Some(ms(20)), now);
    health.unanswered(now, now + ms(50));
    health.probe_answered(ms(5), now + ms(60));
    health.unanswered(now + ms(2_000), now + ms(2_050));
    assert!(health.is_in_doubt(), "a probe in between is no reply to a client");
    health.probe_answered(ms(5), now + ms(2_060));
    health.probe_answered(ms(5), now + ms(2_310));
    assert!(health.is_in_doubt());
    health.answered(Some(ms(20)), now + ms(3_000));
    assert!(!health.is_in_doubt());
}

#[tokio::test(start_paused = true)]
async fn probes_make_the_time_of_clients_longer_but_not_shorter() {
    let health = Health::new(Arc::default());
    let now = Instant::now();
    health.answered(Some(ms(200)), now);
    (0..2).for_each(|_| assert_eq!(health.unanswered(now, now + ms(600)), None));
    health.probe_answered(ms(5), now + ms(610));
    assert_eq!(health.rtt(), Some(Rtt::first(ms(200))));
    health.probe_answered(ms(400), now + ms(1_010));
    assert_eq!(health.rtt(), Some(Rtt::first(ms(200)).with(ms(400))));
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_is_on_trial_and_measured_anew() {
    let health = Health::new(Arc::default());
    let now = Instant::now();
    health.answered(Some(ms(20)), now);
    let epoch = health.epoch();
    assert_eq!(health.go_down("gone".to_owned(), now + ms(7)), Some(ms(7)));
    assert_eq!(health.go_down("gone".to_owned(), now + ms(8)), None, "said once");
    assert_eq!(health.come_up(now + ms(42_007)), Some(ms(42_000)));
    assert_eq!(health.come_up(now + ms(42_008)), None);
    assert_eq!((health.rtt(), health.is_in_doubt()), (None, true));
    health.probe_answered(ms(5), now + ms(42_007));
    assert!(health.is_in_doubt(), "the probe that found it is not what ends it");
    assert_eq!(health.epoch(), epoch + 2, "sockets of before are used no more");
    health.answered(Some(ms(300)), now + ms(43_000));
    let known = Rtt::first(ms(5)).with(ms(300));
    assert_eq!((health.rtt(), health.is_in_doubt()), (Some(known), false));
}
