//! One question's tries, against scripted servers on paused time.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::{LocalSet, spawn_local};
use tokio::time::{advance, sleep};

use super::script::Does::{Explains, Fails, Nothing, Says};
use super::script::{BUDGET, Does, Rig, dice, rcode};
use crate::config::Policy;
use crate::forward::Failure;
use crate::forward::target::{Evidence, Mark};
use crate::upstream::tests::question;
use crate::upstream::{Breakdown, Flaw, TryError};
use crate::wire::{Question, Rcode, Rtype};

/// Runs one query of servers that nobody has measured.
async fn run(servers: &[&[Does]]) -> (Result<Rcode, Failure>, u64, Vec<(u64, u16)>) {
    let rig = Rig::ordered(servers.len());
    rig.servers(servers);
    let (outcome, at, asked) = rig.run().await;
    (outcome.map(|answer| answer.rcode()), at, asked)
}

#[tokio::test(start_paused = true)]
async fn the_first_server_alone_is_asked_while_it_answers() {
    for code in [0, 3, 6] {
        let (outcome, at, asked) = run(&[&[Says(20, code)], &[Nothing], &[Nothing]]).await;
        assert_eq!((outcome, at, asked), (Ok(Rcode(code)), 20, vec![(0, 1)]));
    }
}

#[tokio::test(start_paused = true)]
async fn bad_replies_and_errors_move_on_at_once() {
    let refused = TryError::Unreachable(io::ErrorKind::ConnectionRefused);
    for bad in [
        Says(5, 2),
        Says(5, 5),
        Says(5, 4),
        Says(5, 1),
        Fails(5, refused),
        Fails(5, TryError::Garbled),
        Fails(5, TryError::Untrusted),
        Fails(5, TryError::Busy),
        Fails(5, TryError::ServerBusy),
        Fails(5, TryError::Declined(403)),
        Fails(5, TryError::ServerFailed(Breakdown::Status(500))),
        Fails(5, TryError::Unprocessed),
    ] {
        let (outcome, at, asked) = run(&[&[bad], &[Says(5, 3)]]).await;
        assert_eq!((outcome, at), (Ok(Rcode::NXDOMAIN), 10));
        assert_eq!(asked, [(0, 1), (5, 2)]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_first_server_costs_its_share_until_it_was_measured() {
    let (outcome, at, asked) = run(&[&[Nothing], &[Says(30, 0)]]).await;
    assert_eq!((outcome, at, asked), (Ok(Rcode::NOERROR), 530, vec![(0, 1), (500, 2)]));

    let rig = Rig::ordered(2);
    rig.answer_after(&[20, 30]);
    for _ in 0..20 {
        assert_eq!(rig.answered().await, 20);
        advance(Duration::from_secs(1)).await;
    }
    rig.servers(&[&[Nothing], &[Says(30, 0)]]);
    let (_, at, asked) = rig.run().await;
    assert_eq!(
        (at, asked),
        (80, vec![(0, 1), (50, 2)]),
        "the least time-out and the second's time"
    );
}

#[tokio::test(start_paused = true)]
async fn a_slow_first_server_is_still_listened_to() {
    let (outcome, at, asked) = run(&[&[Says(700, 0)], &[Nothing]]).await;
    assert_eq!((outcome, at, asked), (Ok(Rcode::NOERROR), 700, vec![(0, 1), (500, 2)]));
}

#[tokio::test(start_paused = true)]
async fn lost_datagrams_are_repeated_further_and_further_apart() {
    let (outcome, at, asked) = run(&[&[Nothing, Says(10, 0)]]).await;
    assert_eq!((outcome, at), (Ok(Rcode::NOERROR), 1_010));
    assert_eq!(asked, [(0, 1), (1_000, 1)], "nobody has measured it");

    let rig = Rig::ordered(1);
    rig.answer_after(&[5]);
    for _ in 0..20 {
        rig.answered().await;
        advance(Duration::from_secs(1)).await;
    }
    rig.servers(&[&[Nothing]]);
    // Short of the silence that makes it count as down.
    let (outcome, _, asked) = rig.run_within(Duration::from_millis(499), &question()).await;
    assert_eq!(outcome, Err(Failure::TimedOut));
    let at: Vec<_> = asked.iter().map(|(at, _)| *at).collect();
    assert_eq!(at, [0, 50, 120, 218, 356]);
}

/// The figure that docs/design/off-path.md reckons with.
#[tokio::test(start_paused = true)]
async fn nine_identical_queries_at_most_are_open_towards_a_server() {
    for servers in 1..=4 {
        let rig = Rig::ordered(servers);
        let (_, _, asked) = rig.run_within(Duration::from_secs(60), &question()).await;
        let asked_of = |place| asked.iter().filter(|(_, server)| *server == place).count();
        let most = (1..=u16::try_from(servers).unwrap()).map(asked_of).max().unwrap();
        assert!(most <= 9 && (servers > 1 || most == 9), "{servers} servers: {asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_reply_of_an_earlier_try_wins() {
    let rig = Rig::ordered(1);
    rig.answer_after(&[5]);
    rig.answered().await;
    rig.servers(&[&[Says(400, 3), Nothing]]);
    let (outcome, at, asked) = rig.run().await;
    assert_eq!((rcode(&outcome), at), (Rcode::NXDOMAIN, 400));
    assert!(asked.len() > 1, "{asked:?}");
    assert!(!rig.upstream(1).is_in_doubt(), "it did answer");
}

#[tokio::test(start_paused = true)]
async fn the_budget_is_never_exceeded() {
    let rig = Rig::ordered(3);
    let (outcome, at, asked) = rig.run().await;
    assert_eq!((outcome, at), (Err(Failure::TimedOut), 2_000));
    let ports: Vec<_> = asked.iter().map(|(_, port)| *port).collect();
    assert_eq!(ports, [1, 2, 3, 1, 2]);
    for place in 1..=3 {
        assert!(rig.upstream(place).tally().timeouts > 0);
        assert!(rig.target(place).is_suspect(Mark::at(0)));
    }
}

#[tokio::test(start_paused = true)]
async fn when_all_have_failed_nobody_waits() {
    let refused = Fails(1, TryError::Unreachable(io::ErrorKind::ConnectionRefused));
    let (outcome, at, asked) = run(&[&[refused], &[refused]]).await;
    assert_eq!(outcome, Err(Failure::Unreachable(io::ErrorKind::ConnectionRefused)));
    assert_eq!((at, asked), (2, vec![(0, 1), (1, 2)]));
    let (outcome, at, _) = run(&[&[Fails(1, TryError::Untrusted)]]).await;
    assert_eq!((outcome, at), (Err(Failure::Untrusted), 1));
}

#[tokio::test(start_paused = true)]
async fn what_a_server_says_by_http_is_the_result() {
    for (error, failure) in [
        (TryError::ServerBusy, Failure::ServersBusy),
        (TryError::Declined(404), Failure::Declined(404)),
        (
            TryError::ServerFailed(Breakdown::Status(502)),
            Failure::ServerFailed(Breakdown::Status(502)),
        ),
    ] {
        let (outcome, at, asked) = run(&[&[Fails(1, error)]]).await;
        assert_eq!((outcome, at, asked), (Err(failure), 1, vec![(0, 1)]));
    }
    // Another server's silence takes the time; what was said tells more.
    let (outcome, at, _) = run(&[&[Fails(1, TryError::Declined(404))], &[Nothing]]).await;
    assert_eq!((outcome, at), (Err(Failure::Declined(404)), 2_000));
    let (outcome, _, _) = run(&[&[Fails(1, TryError::Declined(404))], &[Says(1, 2)]]).await;
    assert!(matches!(outcome, Err(Failure::BadReply(_))), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn the_most_telling_bad_reply_is_the_result() {
    let cases: [(&[Does], &[Does], u16); 3] = [
        (&[Says(1, 2)], &[Says(1, 5)], 2),
        (&[Says(1, 5)], &[Says(1, 2)], 2),
        (&[Says(1, 5)], &[Fails(1, TryError::Garbled)], 5),
    ];
    for (first, second, expected) in cases {
        let (outcome, at, _) = run(&[first, second]).await;
        let Err(Failure::BadReply(answer)) = outcome else { panic!("{outcome:?}") };
        assert_eq!((answer.rcode().0, at), (expected, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_servfail_that_explains_itself_is_kept() {
    for servers in [[Explains(1), Says(1, 2)], [Says(1, 2), Explains(1)]] {
        let (outcome, _, _) = run(&[&servers[..1], &servers[1..]]).await;
        let Err(Failure::BadReply(answer)) = outcome else { panic!("{outcome:?}") };
        assert!(answer.ede_options().ends_with(b"bogus"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_bad_reply_beside_silence_is_given_at_the_end_of_the_budget() {
    let rig = Rig::ordered(2);
    rig.servers(&[&[Says(1, 2)], &[Nothing]]);
    let (outcome, at, asked) = rig.run().await;
    assert!(matches!(outcome, Err(Failure::BadReply(_))));
    // The first has spoken; only the silent one is asked again.
    assert_eq!((at, asked), (2_000, vec![(0, 1), (1, 2), (501, 2), (1_201, 2)]));
    assert_eq!(rig.upstream(1).tally().timeouts, 0);
    assert_eq!(rig.upstream(1).tally().servfail, 1);
    assert!(!rig.target(2).is_suspect(Mark::at(0)));
}

#[tokio::test(start_paused = true)]
async fn a_failure_does_not_repeat_the_query_of_a_try_that_has_just_begun() {
    let garbled = Fails(510, TryError::Garbled);
    let (outcome, at, asked) = run(&[&[garbled], &[Says(300, 0)]]).await;
    assert_eq!((outcome, at, asked), (Ok(Rcode::NOERROR), 800, vec![(0, 1), (500, 2)]));
}

#[tokio::test(start_paused = true)]
async fn a_repeat_that_finds_no_room_leaves_the_first_try_its_chance() {
    let (outcome, at, asked) = run(&[&[Says(1_500, 0), Fails(0, TryError::Busy)]]).await;
    assert_eq!((outcome, at, asked), (Ok(Rcode::NOERROR), 1_500, vec![(0, 1), (1_000, 1)]));
}

#[tokio::test(start_paused = true)]
async fn a_try_that_others_disturb_leaves_the_first_one_its_chance() {
    let (outcome, at, asked) = run(&[&[Says(1_500, 0), Fails(0, TryError::Mismatched)]]).await;
    assert_eq!((outcome, at, asked), (Ok(Rcode::NOERROR), 1_500, vec![(0, 1), (1_000, 1)]));
}

#[tokio::test(start_paused = true)]
async fn a_server_whose_replies_are_unusable_is_used_for_other_names() {
    let unusable = TryError::Unusable(Flaw::Endless);
    let rig = Rig::ordered(2);
    rig.servers(&[&[Fails(20, unusable)], &[Fails(20, unusable)]]);
    for _ in 0..10 {
        let (outcome, _, asked) = rig.run().await;
        assert_eq!(outcome, Err(Failure::Unusable(Flaw::Endless)));
        assert_eq!(asked.len(), 2, "the next server may know better");
        for place in 1..=2 {
            assert!(!rig.upstream(place).is_down() && !rig.upstream(place).is_in_doubt());
        }
    }
    assert_eq!(rig.upstream(1).tally().unusable, 10);
    rig.answer_after(&[20, 20]);
    let (outcome, at, _) = rig.run().await;
    assert_eq!((outcome.map(|answer| answer.rcode()), at), (Ok(Rcode::NOERROR), 20));
}

#[tokio::test(start_paused = true)]
async fn silence_makes_a_server_come_last_and_a_reply_brings_it_back() {
    let rig = Rig::ordered(2);
    rig.answer_after(&[20, 20]);
    rig.answered().await;
    rig.servers(&[&[Nothing], &[Says(20, 0)]]);
    let mut took = Vec::new();
    for _ in 0..40 {
        took.push(rig.answered().await);
        sleep(Duration::from_millis(50)).await;
    }
    let learnt = took.iter().position(|took| *took == 20).expect("it goes down");
    assert!(learnt <= 10, "{took:?}");
    assert!(took[learnt..].iter().all(|took| *took == 20), "{took:?}");
    assert!(took.iter().all(|took| *took <= 120), "{took:?}");
    let reason = rig.upstream(1).last_error().unwrap().1;
    assert!(reason.starts_with("no reply to "), "{reason}");

    // A reply of whatever kind is proof: here a probe's.
    rig.answer_after(&[7, 20]);
    rig.upstream(1).note_reply();
    assert_eq!((rig.first().await, rig.answered().await), (1, 7));
}

#[tokio::test(start_paused = true)]
async fn when_all_are_down_all_are_asked_soon() {
    let rig = Rig::ordered(3);
    (1..=3).for_each(|place| rig.take_down(place));
    rig.servers(&[&[Nothing], &[Nothing], &[Says(5, 0)]]);
    let (outcome, at, asked) = rig.run().await;
    assert_eq!((rcode(&outcome), at), (Rcode::NOERROR, 105));
    assert_eq!(asked, [(0, 1), (50, 2), (100, 3)]);
    assert!(!rig.upstream(3).is_down());
    assert_eq!(rig.first().await, 3, "the one that is back goes first");

    // A path that comes back while a client waits is found by a repeat.
    let alone = Rig::ordered(1);
    alone.take_down(1);
    alone.server(1, |heard| if heard.at_ms < 900 { Nothing } else { Says(5, 0) });
    assert_eq!(alone.answered().await, 1_005);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_down_is_no_reason_to_wait_for_a_repeat_to_one_that_is_up() {
    let rig = Rig::ordered(2);
    rig.answer_after(&[5, 5]);
    rig.answered().await;
    rig.take_down(2);
    rig.servers(&[&[Nothing, Says(5, 0)], &[Nothing]]);
    let (outcome, at, asked) = rig.run().await;
    assert_eq!((rcode(&outcome), at), (Rcode::NOERROR, 105));
    assert_eq!(asked, [(0, 1), (50, 2), (100, 1)]);
}

#[tokio::test(start_paused = true)]
async fn loss_of_a_third_each_way_is_made_good() {
    for servers in 1..=2 {
        let rig = Rig::ordered(servers);
        for place in 1..=servers {
            let lost = (dice(30), dice(30));
            rig.server(place, move |_| if lost.0() || lost.1() { Nothing } else { Says(10, 0) });
        }
        let (mut failed, mut waited) = (0, 0);
        for _ in 0..2_000 {
            let (outcome, took, asked) = rig.run().await;
            failed += u32::from(outcome.is_err());
            waited += took;
            assert!(asked.len() <= 10, "{asked:?}");
            advance(Duration::from_millis(20)).await;
        }
        assert!(failed < 12, "{failed} of 2,000 with {servers} servers");
        assert!(waited < 2_000 * 200, "{waited} ms with {servers} servers");
    }
}

#[tokio::test(start_paused = true)]
async fn a_far_server_is_asked_once_when_its_time_is_known() {
    for servers in 1..=2 {
        let rig = Rig::ordered(servers);
        rig.answer_after(&[20, 20][..servers]);
        for _ in 0..50 {
            assert_eq!(rig.run().await.2.len(), 1);
            advance(Duration::from_millis(20)).await;
        }
        // The path changes for all.
        rig.answer_after(&[800, 800][..servers]);
        let mut tries = Vec::new();
        for _ in 0..20 {
            let (outcome, took, asked) = rig.run().await;
            assert_eq!((rcode(&outcome), took), (Rcode::NOERROR, 800));
            tries.push(asked.len());
        }
        assert!(tries[2..].iter().all(|tries| *tries == 1), "{tries:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_questions_wait_for_a_server_than_may() {
    let test = async {
        let rig = Rc::new(Rig::ordered(2));
        rig.rules.bound_in_flight(3);
        rig.answer_after(&[300, 10]);
        let asks: Vec<_> = (0..5)
            .map(|_| {
                let rig = Rc::clone(&rig);
                spawn_local(async move { rig.answered().await })
            })
            .collect();
        let mut took = Vec::new();
        for ask in asks {
            took.push(ask.await.unwrap());
        }
        assert_eq!(took, [10, 10, 300, 300, 300], "who loses its seat asks the next at once");
        assert_eq!(rig.upstream(1).tally().busy, 2);
        assert_eq!(rig.upstream(1).report().in_flight, 0);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(start_paused = true)]
async fn without_room_anywhere_a_question_fails_at_once() {
    let rig = Rig::ordered(2);
    rig.rules.bound_in_flight(0);
    let (outcome, at, asked) = rig.run().await;
    assert_eq!((outcome, at, asked), (Err(Failure::Overloaded), 0, vec![]));
    assert_eq!((rig.upstream(1).tally().busy, rig.upstream(2).tally().busy), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn looping_servers_are_skipped_for_the_zone_that_loops() {
    let rig = Rig::ordered(2);
    rig.servers(&[&[Says(1, 0)], &[Says(1, 3)]]);
    let question = |name: &str| Question::plain(name.parse().unwrap(), Rtype::A);
    let narrow = question("www.private.example");
    assert!(rig.target(1).set_looping(Mark::at(1), Evidence::Proven));
    let (outcome, _, asked) = rig.run_within(BUDGET, &narrow).await;
    assert_eq!((rcode(&outcome), asked), (Rcode::NXDOMAIN, vec![(0, 2)]));
    assert!(rig.target(2).set_looping(Mark::at(1), Evidence::Proven));
    let (outcome, at, asked) = rig.run_within(BUDGET, &narrow).await;
    assert_eq!((outcome, at, asked), (Err(Failure::Looping), 0, vec![]));
    for other in ["www.example", "elsewhere"] {
        let (outcome, _, asked) = rig.run_within(BUDGET, &question(other)).await;
        assert_eq!((rcode(&outcome), asked), (Rcode::NOERROR, vec![(0, 1)]));
    }
    let nobody = Rig::new(Policy::Spread, 0);
    assert_eq!(nobody.run().await.0, Err(Failure::NoUpstream));
}

#[tokio::test(start_paused = true)]
async fn a_reply_in_hand_wins_over_a_deadline() {
    let rig = Rig::ordered(2);
    rig.servers(&[&[Says(5, 2)], &[Nothing]]);
    let (outcome, at, _) = rig.run_within(Duration::from_millis(250), &question()).await;
    let Err(Failure::BadReply(answer)) = outcome else { panic!("{outcome:?}") };
    assert_eq!((answer.rcode(), at), (Rcode::SERVFAIL, 250));
}

/// What a health check that must be answered soon asks each second, over a path that takes longer.
#[tokio::test(start_paused = true)]
async fn questions_of_little_time_put_no_unmeasured_server_in_doubt() {
    for servers in 1..=3 {
        let rig = Rig::ordered(servers);
        rig.answer_after(&[300, 300, 300][..servers]);
        for _ in 0..20 {
            let (outcome, at, _) = rig.run_within(Duration::from_millis(250), &question()).await;
            assert_eq!((outcome, at), (Err(Failure::TimedOut), 250));
            advance(Duration::from_secs(1)).await;
        }
        let silent = (1..=servers).any(|place| rig.upstream(place).tally().timeouts > 0);
        assert!(!silent, "{servers} servers");
        // A time that was measured is one that a reply can be late against.
        rig.answer_after(&[20, 20, 20][..servers]);
        rig.answered().await;
        rig.server(1, |_| Nothing);
        let (outcome, ..) = rig.run_within(Duration::from_millis(250), &question()).await;
        assert_eq!(outcome.is_ok(), servers > 1);
        assert!(rig.upstream(1).tally().timeouts > 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_blames_only_who_had_time() {
    let rig = Rig::ordered(3);
    let narrow = Question::plain("private.example".parse().unwrap(), Rtype::A);
    let (outcome, at, log) = rig.run_within(Duration::from_millis(150), &narrow).await;
    assert_eq!((outcome, at), (Err(Failure::TimedOut), 150));
    assert_eq!(log, [(0, 1), (75, 2), (125, 3)], "half of what is left, and no less than 50 ms");
    let suspects = |mark| (1..=3).map(|place| rig.target(place).is_suspect(mark)).collect();
    let (narrow_suspects, wide): (Vec<_>, Vec<_>) = (suspects(Mark::at(1)), suspects(Mark::at(0)));
    assert_eq!((narrow_suspects, wide), (vec![true, false, false], vec![false; 3]));

    let (outcome, at, log) = rig.run_within(Duration::ZERO, &narrow).await;
    assert_eq!((outcome, at, log), (Err(Failure::TimedOut), 0, vec![]));
}
