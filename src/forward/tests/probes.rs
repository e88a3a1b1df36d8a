//! Servers that go and come back, on paused time.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{LocalSet, spawn_local};
use tokio::time::sleep;

use super::rules::{address, forward};
use super::script::Does::{Fails, Nothing, Says};
use super::script::{Rig, rcode};
use crate::config::{Forward, Policy};
use crate::forward::probes::{FIRST_WAIT, LONGEST_WAIT, MEASURE_EVERY, PROBES_AT_ONCE, probe_with};
use crate::forward::race::Attempt;
use crate::forward::target::{Evidence, Mark};
use crate::forward::{OwnAddresses, Rules};
use crate::upstream::{TryError, Upstream};
use crate::wire::{Answer, Question};

/// Runs `test` while the rig's servers are probed.
async fn probed<T>(rig: &Rig, test: impl Future<Output = T>) -> T {
    let (script, rules) = (Rc::clone(&rig.script), Arc::clone(&rig.rules));
    let tasks = LocalSet::new();
    let prober = tasks.spawn_local(probe_with(script, move || Arc::clone(&rules)));
    let outcome = tasks.run_until(test).await;
    assert!(!prober.is_finished(), "probes go on for ever");
    outcome
}

fn gaps(times: &[u64]) -> Vec<u64> {
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[tokio::test(start_paused = true)]
async fn who_is_up_is_not_probed() {
    let rig = Rig::ordered(2);
    rig.answer_after(&[5, 5]);
    probed(&rig, async {
        for _ in 0..600 {
            rig.answered().await;
            sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    assert_eq!((rig.probes(1), rig.probes(2)), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn who_is_down_is_probed_for_ever_and_ever_less_often() {
    let rig = Rig::ordered(2);
    rig.take_down(1);
    probed(&rig, sleep(Duration::from_secs(3_600))).await;
    let gaps = gaps(&rig.probes(1));
    let (first, longest) = (FIRST_WAIT.as_millis(), LONGEST_WAIT.as_millis());
    for (gap, full) in gaps.iter().zip([first, first * 2, first * 4]) {
        let gap = u128::from(*gap);
        assert!((full * 3 / 4..=full + 1).contains(&gap), "{gap} ms instead of {full}");
    }
    assert!(gaps[3..].iter().all(|gap| u128::from(*gap) <= longest + 1), "{gaps:?}");
    assert!(gaps[3..].iter().all(|gap| u128::from(*gap) >= longest * 3 / 4), "{gaps:?}");
    assert!(gaps.len() > 1_800, "{}", gaps.len());
    assert!(gaps[3..].iter().any(|gap| u128::from(*gap) < longest * 9 / 10), "they are spread");
    assert!(rig.probes(2).is_empty());
}

#[tokio::test(start_paused = true)]
async fn any_reply_to_a_probe_is_health() {
    for code in [0, 2, 3, 5] {
        let rig = Rig::ordered(1);
        rig.take_down(1);
        rig.server(1, move |_| Says(5, code));
        probed(&rig, sleep(Duration::from_millis(100))).await;
        assert!(!rig.upstream(1).is_down(), "rcode {code}");
    }
    let rig = Rig::ordered(1);
    rig.take_down(1);
    rig.server(1, |_| Fails(5, TryError::Garbled));
    probed(&rig, sleep(Duration::from_secs(10))).await;
    assert!(rig.upstream(1).is_down(), "garbage is none");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_probes_too_is_down_until_it_takes_them() {
    let rig = Rig::ordered(2);
    rig.answer_after(&[5, 5]);
    rig.server(1, |_| Fails(5, TryError::Declined(404)));
    probed(&rig, async {
        for _ in 0..2 {
            assert!(!rig.upstream(1).is_down());
            assert_eq!(rig.first().await, 1);
        }
        sleep(Duration::from_millis(20)).await;
        assert!(rig.upstream(1).is_down());
        assert_eq!(rig.first().await, 2, "others are asked before it");
        let tally = rig.upstream(1).tally();
        assert_eq!((tally.declined, tally.timeouts), (3, 0));
        rig.server(1, |_| Says(5, 0));
        sleep(Duration::from_secs(3)).await;
        assert!(!rig.upstream(1).is_down());
        assert_eq!(rig.first().await, 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_clients_names_alone_stays_up() {
    let rig = Rig::ordered(2);
    rig.answer_after(&[5, 5]);
    rig.server(1, |heard| match heard.is_probe {
        true => Says(5, 0),
        false => Fails(5, TryError::Declined(403)),
    });
    probed(&rig, async {
        for _ in 0..1_000 {
            assert_eq!(rig.first().await, 1);
            assert!(!rig.upstream(1).is_down());
        }
    })
    .await;
    let probes = rig.probes(1);
    assert!((1..=60).contains(&probes.len()), "{} in 10 s", probes.len());
}

#[tokio::test(start_paused = true)]
async fn a_path_that_is_back_is_used_within_three_seconds() {
    // Returns at different times between two probes.
    for back_ms in (60_000..62_000).step_by(70) {
        let rig = Rig::ordered(2);
        rig.answer_after(&[20, 20]);
        rig.server(1, move |heard| if heard.at_ms < back_ms { Nothing } else { Says(800, 0) });
        rig.take_down(1);
        probed(&rig, async {
            sleep(Duration::from_millis(back_ms + 3_000)).await;
            assert!(!rig.upstream(1).is_down(), "back at {back_ms}");
            assert_eq!(rig.first().await, 1);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_seldom_finds_out_that_a_server_has_gone() {
    let rig = Rig::ordered(2);
    rig.answer_after(&[20, 20]);
    probed(&rig, async {
        rig.answered().await;
        rig.server(1, |_| Nothing);
        // A question every two seconds: two of them raise doubt, probes do the rest.
        let mut took = Vec::new();
        for _ in 0..10 {
            took.push(rig.answered().await);
            sleep(Duration::from_secs(2)).await;
        }
        assert!(took[..2].iter().all(|took| *took <= 120), "{took:?}");
        assert!(took[2..].iter().all(|took| *took == 20), "{took:?}");
    })
    .await;
}

/// The bar of a black hole: after five seconds nobody waits longer than for a healthy server, and
/// no question is lost at any time.
#[tokio::test(start_paused = true)]
async fn a_black_hole_costs_nobody_anything_after_five_seconds() {
    for policy in [Policy::Ordered, Policy::Fastest, Policy::Spread] {
        for (hole_is_known, pause_ms) in [(true, 10), (true, 500), (false, 10), (false, 500)] {
            let rig = Rig::new(policy, 2);
            rig.answer_after(&[20, 20]);
            probed(&rig, async {
                if hole_is_known {
                    rig.answered().await;
                    rig.answered().await;
                }
                rig.server(1, |_| Nothing);
                let begun_ms = rig.now_ms();
                while rig.now_ms() < begun_ms + 30_000 {
                    let at_ms = rig.now_ms() - begun_ms;
                    let took = rig.answered().await;
                    let bar = if at_ms < 5_000 { 1_000 } else { 20 };
                    assert!(took <= bar, "{policy:?}: {took} ms, {at_ms} ms after the fault");
                    sleep(Duration::from_millis(pause_ms)).await;
                }
            })
            .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn flapping_loses_nothing_and_costs_a_time_out_at_most() {
    let rig = Rig::ordered(2);
    rig.answer_after(&[20, 20]);
    rig.server(1, |heard| if heard.at_ms / 3_000 % 2 == 0 { Says(20, 0) } else { Nothing });
    probed(&rig, async {
        let (mut late, mut asked) = (0, 0);
        while rig.now_ms() < 60_000 {
            let took = rig.answered().await;
            assert!(took <= 120, "{took} ms at {}", rig.now_ms());
            late += u32::from(took > 20);
            asked += 1;
            sleep(Duration::from_millis(10)).await;
        }
        assert!(late * 10 < asked, "{late} of {asked} waited for the one that flaps");
        // It was in use in between.
        assert!(rig.upstream(1).tally().replies > 200, "{:?}", rig.upstream(1).tally());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn one_that_answers_probes_alone_holds_nobody_up() {
    let rig = Rig::ordered(2);
    rig.answer_after(&[20, 20]);
    probed(&rig, async {
        rig.answered().await;
        rig.server(1, |heard| if heard.is_probe { Says(20, 0) } else { Nothing });
        for _ in 0..200 {
            let took = rig.answered().await;
            assert!(took <= 120, "{took} ms");
            sleep(Duration::from_millis(20)).await;
        }
        assert!(!rig.upstream(1).is_down());
        let gaps = gaps(&rig.probes(1));
        assert!(gaps.iter().all(|gap| u128::from(*gap) >= FIRST_WAIT.as_millis() * 3 / 4));
        rig.answer_after(&[20, 20]);
        assert_eq!(rig.answered().await, 20);
        assert!(!rig.upstream(1).is_in_doubt());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn clients_who_come_seldom_do_not_wait_for_it_either() {
    let rig = Rig::ordered(2);
    rig.answer_after(&[200, 20]);
    probed(&rig, async {
        rig.answered().await;
        rig.server(1, |heard| if heard.is_probe { Says(20, 0) } else { Nothing });
        let mut took = Vec::new();
        for _ in 0..10 {
            took.push(rig.answered().await);
            sleep(Duration::from_secs(2)).await;
        }
        // The silence of two raises doubt, which lasts; then two have to find out again.
        let waited = took.iter().filter(|took| **took > 70).count();
        assert!(waited <= 4, "{took:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_changed_path_is_probed_at_once_and_from_the_beginning() {
    let rig = Rig::ordered(1);
    rig.take_down(1);
    probed(&rig, async {
        sleep(Duration::from_secs(60)).await;
        let before = rig.probes(1).len();
        rig.rules.probe_anew();
        sleep(Duration::from_millis(1)).await;
        assert_eq!(rig.probes(1).len(), before + 1);
        sleep(FIRST_WAIT).await;
        assert_eq!(rig.probes(1).len(), before + 2, "as often as in the beginning");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn news_without_end_keep_no_far_server_down() {
    // As often as news are heard at most, and with gaps in which the first probes would end.
    for every_ms in [500, 600, 700] {
        for news in [Rules::probe_now, Rules::probe_anew] {
            let rig = Rig::ordered(1);
            rig.server(1, |_| Says(800, 0));
            rig.take_down(1);
            probed(&rig, async {
                for _ in 0..8 {
                    news(&rig.rules);
                    sleep(Duration::from_millis(every_ms)).await;
                }
                assert!(!rig.upstream(1).is_down(), "news every {every_ms} ms");
            })
            .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn news_make_probes_due_but_no_second_one_at_a_time() {
    let rig = Rig::ordered(1);
    rig.take_down(1);
    let unreachable = TryError::Unreachable(std::io::ErrorKind::NetworkUnreachable);
    rig.server(1, move |_| Fails(0, unreachable));
    probed(&rig, async {
        sleep(Duration::from_secs(60)).await;
        let before = rig.probes(1).len();
        rig.server(1, |_| Nothing);
        rig.rules.probe_now();
        sleep(Duration::from_millis(1)).await;
        assert_eq!(rig.probes(1).len(), before + 1, "the last one was through");
        let longest_ms = u64::try_from(LONGEST_WAIT.as_millis()).unwrap();
        for _ in 0..100 {
            rig.rules.probe_now();
            sleep(Duration::from_millis(500)).await;
        }
        let gaps = gaps(&rig.probes(1)[before..]);
        assert!(gaps.iter().all(|gap| *gap >= longest_ms * 3 / 4), "{gaps:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn changes_without_end_cost_few_probes() {
    let rig = Rig::ordered(1);
    rig.take_down(1);
    probed(&rig, async {
        for _ in 0..200 {
            rig.rules.probe_anew();
            sleep(Duration::from_millis(500)).await;
        }
    })
    .await;
    let probes = rig.probes(1).len();
    assert!((200..=402).contains(&probes), "two for each change at most: {probes}");
}

#[tokio::test(start_paused = true)]
async fn fastest_measures_all_now_and_then_and_finds_one_that_became_faster() {
    let rig = Rig::new(Policy::Fastest, 2);
    rig.answer_after(&[20, 60]);
    probed(&rig, async {
        for _ in 0..100 {
            sleep(Duration::from_millis(500)).await;
            assert_eq!(rig.first().await, 1);
        }
        for place in 1..=2 {
            let gaps = gaps(&rig.probes(place));
            let every = u64::try_from(MEASURE_EVERY.as_millis()).unwrap();
            assert!(gaps.iter().all(|gap| (every..every + 1_500).contains(gap)), "{gaps:?}");
            assert!(gaps.len() >= 3);
        }
        rig.answer_after(&[20, 4]);
        sleep(MEASURE_EVERY * 4).await;
        assert_eq!(rig.first().await, 2);
        let mut changes = 0;
        let mut before = 2;
        // Both become alike: it stays where it is.
        rig.answer_after(&[5, 5]);
        for _ in 0..100 {
            sleep(Duration::from_millis(500)).await;
            let first = rig.first().await;
            changes += u32::from(first != before);
            before = first;
        }
        assert_eq!(changes, 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_would_come_back_to_us_is_not_probed() {
    let rig = Rig::ordered(1);
    let everything = Forward {
        timeout: Duration::from_secs(2),
        ..forward(&["."], vec![address("192.0.2.1:1")])
    };
    let rules = Rules::build(&[everything], &[], OwnAddresses::default(), Some(&rig.rules));
    let rig = Rig { rules: Arc::new(rules), script: rig.script, avoid: rig.avoid };
    rig.take_down(1);
    rig.target(1).set_looping(Mark::at(0), Evidence::Proven);
    probed(&rig, sleep(Duration::from_secs(10))).await;
    assert!(rig.probes(1).is_empty());
    rig.target(1).clear_looping(Mark::at(0));
    probed(&rig, sleep(Duration::from_secs(10))).await;
    assert!(!rig.probes(1).is_empty());
}

/// Counts how many wait at once; nobody is ever answered.
struct Crowd(std::cell::Cell<(usize, usize)>);

struct Leaves<'a>(&'a Crowd);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        let (now, most) = self.0.0.get();
        self.0.0.set((now - 1, most));
    }
}

impl Attempt for Crowd {
    async fn attempt(&self, _: &Arc<Upstream>, _: &Question) -> Result<Answer, TryError> {
        let (now, most) = self.0.get();
        self.0.set((now + 1, most.max(now + 1)));
        let _leaves = Leaves(self);
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_probes_run_at_once_than_may() {
    let sources = (1..=60).map(|port| address(&format!("192.0.2.1:{port}"))).collect();
    let rules = Rules::build(&[forward(&["."], sources)], &[], OwnAddresses::default(), None);
    let rules = Arc::new(rules);
    for target in rules.iter().next().unwrap().targets().iter() {
        let now = tokio::time::Instant::now();
        let refused = TryError::Unreachable(std::io::ErrorKind::ConnectionRefused);
        (0..2).for_each(|_| target.upstream().note_failure(refused, now, now));
    }
    let crowd = Rc::new(Crowd(std::cell::Cell::default()));
    let (probing, seen) = (Rc::clone(&crowd), Arc::clone(&rules));
    let test = async {
        spawn_local(probe_with(probing, move || Arc::clone(&seen)));
        sleep(Duration::from_secs(20)).await;
    };
    LocalSet::new().run_until(test).await;
    assert_eq!(crowd.0.get().1, PROBES_AT_ONCE);
    let all = rules.iter().next().unwrap().targets();
    assert!(all.iter().all(|target| target.upstream().tally().timeouts > 2), "all had their turn");
}

#[tokio::test(start_paused = true)]
async fn all_down_and_back_again() {
    let rig = Rig::ordered(2);
    rig.answer_after(&[20, 20]);
    probed(&rig, async {
        rig.answered().await;
        let gone = |place| {
            rig.server(place, |heard| if heard.at_ms < 20_000 { Nothing } else { Says(20, 0) })
        };
        gone(1);
        gone(2);
        while rig.now_ms() < 17_000 {
            let (outcome, took, _) = rig.run().await;
            assert!(outcome.is_err());
            assert_eq!(took, 2_000);
        }
        assert!(rig.upstream(1).is_down() && rig.upstream(2).is_down());
        sleep(Duration::from_millis(19_000 - rig.now_ms())).await;
        // Who asks a second before the path is back is answered when it is.
        let (outcome, took, _) = rig.run().await;
        assert_eq!(rcode(&outcome).0, 0);
        assert!((1_000..1_600).contains(&took), "{took}");
        sleep(Duration::from_millis(23_000 - rig.now_ms())).await;
        assert!(!rig.upstream(1).is_down() && !rig.upstream(2).is_down());
        assert_eq!(rig.first().await, 1);
    })
    .await;
}
