//! Who is asked first, and who after that.

use std::time::Duration;

use tokio::time::{Instant, advance};

use super::script::Does::{Fails, Nothing, Says};
use super::script::Rig;
use crate::config::Policy;
use crate::forward::target::{Evidence, Mark};
use crate::upstream::TryError;

const ALL: [Policy; 3] = [Policy::Ordered, Policy::Fastest, Policy::Spread];

/// Tells that a probe took so long.
fn measure(rig: &Rig, place: usize, millis: u64) {
    let now = Instant::now();
    rig.upstream(place).note_probe(now, now + Duration::from_millis(millis));
}

/// The servers in the order in which one question asks them, all failing at once.
async fn order(rig: &Rig) -> Vec<u16> {
    let failing: &[_] = &[Fails(0, TryError::Busy)];
    rig.servers(&[failing, failing, failing]);
    rig.run().await.2.into_iter().map(|(_, server)| server).collect()
}

#[tokio::test(start_paused = true)]
async fn ordered_is_the_files_order() {
    let rig = Rig::ordered(3);
    for _ in 0..3 {
        assert_eq!(order(&rig).await, [1, 2, 3]);
    }
    measure(&rig, 3, 1);
    assert_eq!(order(&rig).await, [1, 2, 3], "however fast another is");
}

#[tokio::test(start_paused = true)]
async fn spread_takes_each_in_turn() {
    let rig = Rig::new(Policy::Spread, 3);
    let mut orders = Vec::new();
    for _ in 0..4 {
        orders.push(order(&rig).await);
    }
    assert_eq!(orders, [[1, 2, 3], [2, 3, 1], [3, 1, 2], [1, 2, 3]]);

    rig.answer_after(&[1, 1, 1]);
    let mut asked = [0; 3];
    for _ in 0..300 {
        asked[usize::from(rig.first().await) - 1] += 1;
    }
    assert_eq!(asked, [100; 3]);
    rig.take_down(2);
    let mut asked = [0; 3];
    for _ in 0..300 {
        asked[usize::from(rig.first().await) - 1] += 1;
    }
    assert_eq!(asked, [150, 0, 150], "those that are up share what is asked");
}

#[tokio::test(start_paused = true)]
async fn fastest_is_measured() {
    let rig = Rig::new(Policy::Fastest, 3);
    assert_eq!(order(&rig).await, [1, 2, 3], "nobody was measured");
    measure(&rig, 2, 30);
    assert_eq!(order(&rig).await, [2, 1, 3], "who was comes first");
    measure(&rig, 1, 40);
    measure(&rig, 3, 10);
    assert_eq!(order(&rig).await, [3, 2, 1]);
}

#[tokio::test(start_paused = true)]
async fn fastest_does_not_change_for_what_nobody_feels() {
    let rig = Rig::new(Policy::Fastest, 2);
    rig.answer_after(&[1, 1]);
    for (first, second) in [(20, 20), (20, 17), (21, 19), (1, 0)] {
        let rig = Rig::new(Policy::Fastest, 2);
        rig.answer_after(&[1, 1]);
        measure(&rig, 1, first);
        measure(&rig, 2, second);
        assert_eq!(rig.first().await, 1, "{first} and {second} ms");
    }
    measure(&rig, 1, 20);
    measure(&rig, 2, 15);
    assert_eq!(rig.first().await, 2);
    // The first becomes a little better: too little to go back.
    measure(&rig, 1, 10);
    assert_eq!(rig.upstream(1).pace(), Some(Duration::from_millis(15)));
    assert_eq!(rig.first().await, 2);
    for _ in 0..3 {
        measure(&rig, 1, 4);
    }
    assert_eq!(rig.first().await, 1);
}

#[tokio::test(start_paused = true)]
async fn fastest_takes_the_next_while_the_first_is_down_and_returns() {
    let rig = Rig::new(Policy::Fastest, 3);
    rig.answer_after(&[10, 20, 30]);
    for (place, millis) in [(1, 10), (2, 20), (3, 30)] {
        measure(&rig, place, millis);
    }
    assert_eq!(rig.first().await, 1);
    rig.take_down(1);
    assert_eq!(rig.first().await, 2);
    rig.upstream(1).note_reply();
    measure(&rig, 1, 10);
    assert_eq!(rig.first().await, 1);
}

#[tokio::test(start_paused = true)]
async fn those_that_are_down_come_last_whatever_the_policy() {
    for policy in ALL {
        let rig = Rig::new(policy, 3);
        measure(&rig, 1, 1);
        rig.take_down(1);
        for _ in 0..3 {
            let order = order(&rig).await;
            assert_eq!((order.len(), order[2]), (3, 1), "{policy:?}: {order:?}");
        }
        (2..=3).for_each(|place| rig.take_down(place));
        assert_eq!(order(&rig).await, [1, 2, 3], "{policy:?}: all are down");
    }
}

#[tokio::test(start_paused = true)]
async fn those_that_loop_are_not_asked_whatever_the_policy() {
    for policy in ALL {
        let rig = Rig::new(policy, 3);
        rig.target(2).set_looping(Mark::at(0), Evidence::Proven);
        for _ in 0..3 {
            let mut order = order(&rig).await;
            order.sort_unstable();
            assert_eq!(order, [1, 3], "{policy:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_costs_every_policy_a_time_out_at_most_and_soon_nothing() {
    for policy in ALL {
        let rig = Rig::new(policy, 2);
        rig.answer_after(&[10, 10]);
        for _ in 0..20 {
            rig.answered().await;
            advance(Duration::from_millis(20)).await;
        }
        rig.servers(&[&[Nothing], &[Says(10, 0)]]);
        let mut took = Vec::new();
        for _ in 0..100 {
            took.push(rig.answered().await);
            advance(Duration::from_millis(20)).await;
        }
        assert!(took.iter().all(|took| *took <= 60), "{policy:?}: {took:?}");
        assert!(rig.upstream(1).is_down(), "{policy:?}");
        assert!(took[50..].iter().all(|took| *took == 10), "{policy:?}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn those_that_are_busy_are_asked_after_the_others_and_before_those_that_are_down() {
    for policy in ALL {
        let rig = Rig::new(policy, 3);
        (1..=3).for_each(|place| measure(&rig, place, 10 * u64::try_from(place).unwrap()));
        rig.upstream(1).tell_busy(Duration::from_secs(30));
        rig.take_down(2);
        for _ in 0..4 {
            assert_eq!(order(&rig).await, [3, 1, 2], "{policy:?}");
        }
        rig.upstream(3).tell_busy(Duration::from_secs(60));
        let all_busy = order(&rig).await;
        assert_eq!(all_busy[2], 2, "{policy:?}: {all_busy:?}");
        advance(Duration::from_secs(30)).await;
        assert_eq!(order(&rig).await, [1, 3, 2], "{policy:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn those_to_avoid_come_after_the_others_that_are_up() {
    for policy in ALL {
        let rig = Rig::new(policy, 4);
        for place in 1..=4 {
            measure(&rig, place, place as u64 * 10);
        }
        let avoid = |places: &[usize]| {
            let numbers = places.iter().map(|place| rig.upstream(*place).number());
            *rig.avoid.borrow_mut() = numbers.collect();
        };
        rig.answer_after(&[1, 1, 1, 1]);
        avoid(&[1]);
        for _ in 0..8 {
            assert_ne!(rig.first().await, 1, "{policy:?}");
        }
        let failing: &[_] = &[Fails(0, TryError::Busy)];
        rig.servers(&[failing, failing, failing, failing]);
        let asked: Vec<_> = rig.run().await.2.into_iter().map(|(_, server)| server).collect();
        assert_eq!((asked.len(), asked[3]), (4, 1), "{policy:?}: {asked:?}");
        // With all avoided, all are asked.
        avoid(&[1, 2, 3, 4]);
        assert_eq!(rig.run().await.2.len(), 4, "{policy:?}");
        rig.answer_after(&[1, 1, 1, 1]);
        avoid(&[1, 2, 3]);
        rig.take_down(4);
        assert_ne!(rig.first().await, 4, "{policy:?}");
    }
}
