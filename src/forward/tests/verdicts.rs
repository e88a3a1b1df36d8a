//! How long a reply that is no answer waits for servers that may know better, on paused time.

use std::io;
use std::time::Duration;

use tokio::time::advance;

use super::script::Does::{Fails, Nothing, Says};
use super::script::{Does, Rig, rcode};
use crate::config::Policy;
use crate::forward::Failure;
use crate::forward::target::{Evidence, Mark};
use crate::upstream::tests::question;
use crate::upstream::{Flaw, TryError};
use crate::wire::Rcode;

const ALL: [Policy; 3] = [Policy::Ordered, Policy::Fastest, Policy::Spread];
const REFUSED: TryError = TryError::Unreachable(io::ErrorKind::ConnectionRefused);
/// After 5 ms: FORMERR, SERVFAIL, NOTIMP, REFUSED, and a reply that cannot be used.
const VERDICTS: [Does; 5] =
    [Says(5, 1), Says(5, 2), Says(5, 4), Says(5, 5), Fails(5, TryError::Unusable(Flaw::Malformed))];

fn is_verdict(failure: &Failure) -> bool {
    matches!(failure, Failure::BadReply(_) | Failure::Unusable(_))
}

/// Asks once for what must end with a verdict; gives when it came, and who was asked when.
async fn verdict(rig: &Rig) -> (u64, Vec<(u64, u16)>) {
    let (outcome, at, asked) = rig.run().await;
    let failure = outcome.expect_err("no answer");
    assert!(is_verdict(&failure), "{failure:?}");
    (at, asked)
}

/// Two silent tries of other questions.
fn put_in_doubt(rig: &Rig, place: usize) {
    let upstream = rig.upstream(place);
    let now = tokio::time::Instant::now();
    upstream.note_unanswered(now, now);
    upstream.note_unanswered(now, now);
    assert!(upstream.is_in_doubt() && !upstream.is_down());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_down_delays_no_verdict() {
    for policy in ALL {
        for says in VERDICTS {
            for down in 1..=2 {
                let rig = Rig::new(policy, 2);
                rig.servers(&[&[says], &[says]]);
                rig.server(down, |_| Nothing);
                rig.take_down(down);
                let live = u16::try_from(3 - down).unwrap();
                assert_eq!(verdict(&rig).await, (5, vec![(0, live)]), "{policy:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_server_that_is_up_has_its_word_first() {
    let rig = Rig::ordered(3);
    rig.servers(&[&[Says(5, 2)], &[Nothing], &[Says(300, 0)]]);
    rig.take_down(2);
    let (outcome, at, asked) = rig.run().await;
    assert_eq!((rcode(&outcome), at), (Rcode::NOERROR, 305));
    assert_eq!(asked[..2], [(0, 1), (5, 3)]);
    assert!(asked.iter().all(|(_, server)| *server != 2), "it is down: {asked:?}");
    // The only server that is up is slow: the race asks the other one and does not wait for it.
    let rig = Rig::ordered(2);
    rig.servers(&[&[Nothing], &[Says(700, 2)]]);
    rig.take_down(1);
    let (at, asked) = verdict(&rig).await;
    assert_eq!(at, 700);
    assert!(asked.iter().any(|(_, server)| *server == 1), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_in_doubt_delays_a_verdict_by_50_ms() {
    for policy in ALL {
        let rig = Rig::new(policy, 2);
        rig.servers(&[&[Says(5, 2)], &[Nothing]]);
        put_in_doubt(&rig, 2);
        let (at, asked) = verdict(&rig).await;
        // Under `spread` and `fastest` the silent one may come first.
        assert!(at <= 105, "{policy:?} {at}: {asked:?}");
        assert!(policy != Policy::Ordered || (at, &asked[..]) == (55, &[(0, 1), (5, 2)]));
    }
    let rig = Rig::ordered(2);
    rig.servers(&[&[Says(5, 2)], &[Says(40, 0)]]);
    put_in_doubt(&rig, 2);
    assert_eq!(rig.answered().await, 45, "it is waited for");
}

#[tokio::test(start_paused = true)]
async fn several_in_doubt_are_asked_beside_each_other() {
    let rig = Rig::ordered(5);
    rig.servers(&[&[Says(5, 5)], &[Nothing], &[Nothing], &[Says(49, 0)], &[Nothing]]);
    for place in 2..=5 {
        put_in_doubt(&rig, place);
    }
    rig.take_down(5);
    let (outcome, at, asked) = rig.run().await;
    assert_eq!((rcode(&outcome), at), (Rcode::NOERROR, 54));
    assert_eq!(asked, [(0, 1), (5, 2), (5, 3), (5, 4)]);
    rig.server(4, |_| Nothing);
    put_in_doubt(&rig, 4);
    assert_eq!(verdict(&rig).await, (55, vec![(0, 1), (5, 2), (5, 3), (5, 4)]));
}

#[tokio::test(start_paused = true)]
async fn a_slow_server_is_not_in_doubt_because_of_this_question_alone() {
    let rig = Rig::ordered(2);
    rig.answer_after(&[20, 20]);
    for _ in 0..20 {
        rig.answered().await;
        rig.upstream(2).note_answer(
            Rcode::NOERROR,
            tokio::time::Instant::now() - Duration::from_millis(20),
            tokio::time::Instant::now(),
        );
        advance(Duration::from_secs(1)).await;
    }
    // It looks the name up: longer than two tries of 50 ms, and no other query has had a reply.
    rig.servers(&[&[Says(5, 2)], &[Says(420, 0)]]);
    assert_eq!(rig.answered().await, 425);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_dies_delays_verdicts_until_that_is_known() {
    let rig = Rig::ordered(2);
    rig.answer_after(&[20, 20]);
    rig.answered().await;
    rig.upstream(2).note_answer(
        Rcode::NOERROR,
        tokio::time::Instant::now() - Duration::from_millis(20),
        tokio::time::Instant::now(),
    );
    advance(Duration::from_secs(3)).await;
    rig.servers(&[&[Says(5, 2)], &[Nothing]]);
    let (first, _) = verdict(&rig).await;
    assert!((400..=1_200).contains(&first), "{first} ms: it goes down meanwhile");
    assert!(rig.upstream(2).is_down());
    assert_eq!(verdict(&rig).await, (5, vec![(0, 1)]));
    // A probe brings it back, on trial.
    rig.upstream(2).note_reply();
    assert!(!rig.upstream(2).is_down());
    assert_eq!(verdict(&rig).await, (55, vec![(0, 1), (5, 2)]));
    rig.server(2, |_| Says(10, 0));
    assert_eq!(rig.answered().await, 15);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_verdict_still_waits_for_a_server_that_is_down() {
    for fails in [
        REFUSED,
        TryError::Untrusted,
        TryError::Garbled,
        TryError::Unprocessed,
        TryError::Busy,
        TryError::OwnShortage,
        TryError::Mismatched,
    ] {
        let rig = Rig::ordered(2);
        rig.servers(&[&[Fails(5, fails)], &[Says(600, 0)]]);
        rig.take_down(2);
        assert_eq!(rig.answered().await, 605, "{fails:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn servers_that_fail_at_once_or_have_no_seat_delay_nothing() {
    for fails in [REFUSED, TryError::Busy, TryError::OwnShortage, TryError::Unprocessed] {
        let rig = Rig::ordered(3);
        rig.servers(&[&[Fails(0, fails)], &[Says(5, 2)], &[Nothing]]);
        rig.take_down(3);
        assert_eq!(verdict(&rig).await, (5, vec![(0, 1), (0, 2)]), "{fails:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn servers_that_loop_are_not_waited_for() {
    for is_proven in [Evidence::Returned, Evidence::Proven] {
        let rig = Rig::ordered(3);
        rig.servers(&[&[Says(1, 0)], &[Says(5, 5)], &[Nothing]]);
        rig.target(1).set_looping(Mark::at(0), is_proven);
        rig.take_down(3);
        assert_eq!(verdict(&rig).await, (5, vec![(0, 2)]));
    }
}

#[tokio::test(start_paused = true)]
async fn of_servers_that_were_all_down_the_first_word_counts() {
    let rig = Rig::ordered(2);
    rig.servers(&[&[Says(5, 2)], &[Nothing]]);
    (1..=2).for_each(|place| rig.take_down(place));
    assert_eq!(verdict(&rig).await, (5, vec![(0, 1)]));
    assert!(!rig.upstream(1).is_down(), "it has replied");
    // Both servers stay silent: the race repeats the query to both.
    let rig = Rig::ordered(2);
    (1..=2).for_each(|place| rig.take_down(place));
    let (outcome, at, asked) = rig.run().await;
    assert_eq!((outcome, at), (Err(Failure::TimedOut), 2_000));
    assert!((1..=2).all(|place| asked.iter().any(|(_, server)| *server == place)), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_budget_of_250_ms_bounds_a_verdict_too() {
    let budget = Duration::from_millis(250);
    let rig = Rig::ordered(2);
    rig.servers(&[&[Says(5, 2)], &[Nothing]]);
    let (outcome, at, _) = rig.run_within(budget, &question()).await;
    assert!(outcome.is_err_and(|failure| is_verdict(&failure)) && at == 250, "{at}");
    rig.take_down(2);
    let (outcome, at, _) = rig.run_within(budget, &question()).await;
    assert!(outcome.is_err_and(|failure| is_verdict(&failure)) && at == 5, "{at}");
}
