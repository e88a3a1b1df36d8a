//! Merged questions and their bound.

use std::cell::Cell;
use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::addresses::HostBlock;
use crate::forward::{Failure, Flights};
use crate::wire::{Question, Rtype};

fn question(number: usize) -> Question {
    Question::plain(format!("n{number}.example").parse().unwrap(), Rtype::A)
}

fn client(host: u8) -> HostBlock {
    HostBlock::of([192, 0, 2, host].into())
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// A leader that waits for a number.
async fn wait(receiver: oneshot::Receiver<u32>) -> Result<u32, Failure> {
    receiver.await.map_err(|_| Failure::TimedOut)
}

#[test]
fn followers_get_what_the_leader_found() {
    let flights = Flights::new(10);
    let asked = question(1);
    let (sender, receiver) = oneshot::channel();
    let mut leader = pin!(flights.run(client(1), &asked, || wait(receiver)));
    let mut follower =
        pin!(flights.run(client(1), &asked, || async { panic!("a follower leads") }));
    assert!(poll(leader.as_mut()).is_pending());
    assert!(poll(follower.as_mut()).is_pending());
    assert_eq!(flights.waiting(), 2);
    sender.send(7).unwrap();
    assert_eq!(poll(leader), Poll::Ready(Ok(7)));
    assert_eq!(poll(follower), Poll::Ready(Ok(7)));
    assert_eq!(flights.waiting(), 0);
}

#[test]
fn different_questions_fly_apart() {
    let flights = Flights::new(10);
    let (one, mut two) = (question(1), question(1));
    two.dnssec_ok = true;
    let mut first = pin!(flights.run(client(1), &one, pending::<Result<u32, _>>));
    let mut second = pin!(flights.run(client(1), &two, || async { Ok(2) }));
    assert!(poll(first.as_mut()).is_pending());
    assert_eq!(poll(second.as_mut()), Poll::Ready(Ok(2)));
    assert_eq!(flights.waiting(), 1);
}

#[test]
fn a_landed_flight_is_gone() {
    let flights = Flights::new(10);
    let asked = question(1);
    assert_eq!(poll(pin!(flights.run(client(1), &asked, || async { Ok(1) }))), Poll::Ready(Ok(1)));
    assert_eq!(poll(pin!(flights.run(client(1), &asked, || async { Ok(2) }))), Poll::Ready(Ok(2)));
}

#[test]
fn a_follower_takes_over_from_a_dropped_leader() {
    let flights = Flights::new(10);
    let asked = question(1);
    let mut leader = Box::pin(flights.run(client(1), &asked, pending));
    let mut follower = pin!(flights.run(client(1), &asked, || async { Ok(5) }));
    assert!(poll(leader.as_mut()).is_pending());
    assert!(poll(follower.as_mut()).is_pending());
    drop(leader);
    assert_eq!(flights.waiting(), 1);
    assert_eq!(poll(follower.as_mut()), Poll::Ready(Ok(5)));
    assert_eq!(flights.waiting(), 0);
}

#[test]
fn the_oldest_question_gives_way_exactly_at_the_bound() {
    const LIMIT: usize = 4;
    let flights = Flights::new(LIMIT);
    let cancelled = Cell::new(false);
    struct Mark<'a>(&'a Cell<bool>);
    impl Drop for Mark<'_> {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    let (old, newer, newest) = (question(1), question(2), question(3));
    // The oldest flight has two aboard, the next one two more: the bound is reached, not exceeded.
    let mark = Mark(&cancelled);
    let mut leader = Box::pin(flights.run(client(1), &old, || async move {
        let _mark = mark;
        pending::<Result<u32, Failure>>().await
    }));
    let mut follower = Box::pin(flights.run(client(1), &old, || async { Ok(5) }));
    let mut others: Vec<_> =
        (0..2).map(|_| Box::pin(flights.run(client(1), &newer, pending))).collect();
    assert!(poll(leader.as_mut()).is_pending());
    assert!(poll(follower.as_mut()).is_pending());
    for other in &mut others {
        assert!(poll(other.as_mut()).is_pending());
    }
    assert_eq!(flights.waiting(), LIMIT);
    assert!(poll(leader.as_mut()).is_pending());

    let mut last = Box::pin(flights.run(client(1), &newest, pending));
    assert!(poll(last.as_mut()).is_pending());
    assert_eq!(flights.waiting(), LIMIT);
    assert_eq!(poll(leader.as_mut()), Poll::Ready(Err(Failure::Overloaded)));
    drop(leader);
    assert!(cancelled.get());
    assert_eq!(poll(follower.as_mut()), Poll::Ready(Ok(5)), "the follower leads on");
    for other in &mut others {
        assert!(poll(other.as_mut()).is_pending());
    }
    drop((others, last, follower));
    assert_eq!(flights.waiting(), 0);
}

#[test]
fn followers_count_for_their_own_client() {
    const LIMIT: usize = 8;
    let flights = Flights::new(LIMIT);
    let (shared, own) = (question(1), question(2));
    let mut leader = pin!(flights.run(client(1), &shared, pending::<Result<u32, _>>));
    assert!(poll(leader.as_mut()).is_pending());
    // One client follows the other one's question as often as there are seats.
    let mut followers: Vec<_> = (1..LIMIT)
        .map(|_| Box::pin(flights.run(client(2), &shared, || async { panic!("it leads") })))
        .collect();
    for follower in &mut followers {
        assert!(poll(follower.as_mut()).is_pending());
    }
    let mut newest = pin!(flights.run(client(1), &own, pending));
    assert!(poll(newest.as_mut()).is_pending());
    assert!(poll(leader.as_mut()).is_pending(), "its client holds little");
    let lost = |follower: &mut _| poll(Pin::new(follower)) == Poll::Ready(Err(Failure::Overloaded));
    assert!(lost(&mut followers[0]), "the oldest of the largest holder");
    assert!(followers[1..].iter_mut().all(|follower| poll(follower.as_mut()).is_pending()));
    assert_eq!(flights.waiting(), LIMIT);
}

#[test]
fn a_leader_that_loses_its_share_leaves_the_lead_to_its_followers() {
    let flights = Flights::new(10);
    let asked = question(1);
    let lost = Cell::new(false);
    let lose = || {
        poll_fn(|_| if lost.get() { Poll::Ready(Err(Failure::Overloaded)) } else { Poll::Pending })
    };
    let mut leader = Box::pin(flights.run(client(1), &asked, lose));
    let mut leaving = Box::pin(flights.run(client(2), &asked, || async { Ok(2) }));
    let mut follower = Box::pin(flights.run(client(3), &asked, || async { Ok(3) }));
    assert!(poll(leader.as_mut()).is_pending());
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    assert!(leaving.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert!(follower.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    lost.set(true);
    assert_eq!(poll(leader.as_mut()), Poll::Ready(Err(Failure::Overloaded)));
    drop(leader);
    assert!(!woken.0.load(Ordering::Relaxed), "the one before it is to lead");
    drop(leaving);
    assert!(woken.0.load(Ordering::Relaxed));
    assert_eq!(poll(follower.as_mut()), Poll::Ready(Ok(3)));
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn the_count_holds_under_random_use() {
    let flights = Flights::new(16);
    let questions: Vec<_> = (0..8).map(question).collect();
    let mut aloft = Vec::new();
    // A fixed sequence with no pattern (a multiplicative generator).
    let mut state = 12_345_u64;
    for _ in 0..20_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
        let draw = usize::try_from(state >> 40).unwrap();
        if draw % 3 == 0 && !aloft.is_empty() {
            drop(aloft.swap_remove(draw / 3 % aloft.len()));
        } else {
            let ready = draw % 5 == 0;
            let lead = async move { if ready { Ok(1_u32) } else { pending().await } };
            let mut future = Box::pin(flights.run(client(1), &questions[draw / 7 % 8], || lead));
            // The first poll boards, and may evict those that stand before it in the list.
            if poll(future.as_mut()).is_pending() {
                aloft.push(future);
            }
        }
        aloft.retain_mut(|future| poll(future.as_mut()).is_pending());
        assert_eq!(flights.waiting(), aloft.len());
        assert!(flights.waiting() <= 16);
    }
    drop(aloft);
    assert_eq!(flights.waiting(), 0);
}

#[test]
fn threads_share_flights() {
    let flights = Arc::new(Flights::new(1_000));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let flights = Arc::clone(&flights);
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
                runtime.unwrap().block_on(async {
                    for number in 0..500 {
                        let lead = async {
                            tokio::time::sleep(Duration::from_micros(50)).await;
                            Ok(number)
                        };
                        let asked = question(number % 3);
                        let found = flights.run(client(1), &asked, || lead).await.unwrap();
                        assert_eq!(found % 3, number % 3);
                    }
                });
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(flights.waiting(), 0);
}
