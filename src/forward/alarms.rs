//! When those who wait for upstreams look again: one timer for all of a thread, and one ear for the
//! next epoch.
//!
//! A timer of tokio's own for each of them takes its turns in a wheel behind a lock, and a system
//! call that wakes this very thread where it is the earliest; nearly all are answered long before.
//! So the times stand in a table, and one task, the ringer, sleeps until the earliest that it
//! knows. That may have been the time of somebody who is gone: then it looks in vain, once.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, sleep_until};

/// One thread's alarms.
#[derive(Default)]
pub(super) struct Alarms {
    times: Rc<Times>,
    ringer: Cell<Option<AbortHandle>>,
}

/// What the ringer shares with those who wait.
#[derive(Default)]
struct Times(RefCell<Table>);

#[derive(Default)]
struct Table {
    /// As many as ever waited at once, which `limits.in-flight` bounds.
    places: Vec<Place>,
    free: Vec<usize>,
    /// No place's time is earlier; `None`: none has one.
    earliest: Option<Instant>,
    /// The ringer, while it sleeps and need not know of an earlier time.
    ringer: Option<Waker>,
}

#[derive(Default)]
struct Place {
    due: Option<Instant>,
    has_rung: bool,
    waker: Option<Waker>,
}

impl Alarms {
    /// Has a ringer on this thread, which must be in a `LocalSet`; it listens to `next_epoch` too.
    pub(super) fn keep_ringing(&self, next_epoch: &Arc<Notify>) {
        let known = self.ringer.take().filter(|ringer| !ringer.is_finished());
        let new = || spawn_local(self.ring(Arc::clone(next_epoch))).abort_handle();
        self.ringer.set(known.or_else(|| Some(new())));
    }

    /// Wakes in time whoever waits, for ever.
    pub(super) fn ring(&self, next_epoch: Arc<Notify>) -> impl Future<Output = ()> + use<> {
        let times = Rc::clone(&self.times);
        // It listens from here on, not from when it is polled first.
        let mut heard = Box::pin(Arc::clone(&next_epoch).notified_owned());
        async move {
            loop {
                tokio::select! {
                    biased;
                    () = &mut heard => {
                        // First, so that none is missed meanwhile.
                        heard.set(Arc::clone(&next_epoch).notified_owned());
                        times.wake(None);
                    }
                    () = times.due() => times.wake(Some(Instant::now())),
                    () = times.earlier() => {}
                }
            }
        }
    }

    /// One without a time: whoever polls it is woken when the next epoch begins.
    pub(super) fn unset(&self) -> Alarm<'_> {
        let mut table = self.times.0.borrow_mut();
        let place = table.free.pop().unwrap_or_else(|| {
            table.places.push(Place::default());
            table.places.len() - 1
        });
        Alarm { times: &self.times, place }
    }

    /// One that rings at `due`.
    pub(super) fn at(&self, due: Instant) -> Alarm<'_> {
        let alarm = self.unset();
        alarm.set(due);
        alarm
    }
}

impl Drop for Alarms {
    fn drop(&mut self) {
        if let Some(ringer) = self.ringer.take() {
            ringer.abort();
        }
    }
}

impl Times {
    /// Ends at the earliest time that was set when this was first polled.
    async fn due(&self) {
        let earliest = self.0.borrow().earliest;
        match earliest {
            Some(due) => sleep_until(due).await,
            None => pending().await,
        }
    }

    /// Wakes those whose time has come by `now`, or all, who then look for themselves.
    fn wake(&self, now: Option<Instant>) {
        let mut woken = Vec::new();
        let mut table = self.0.borrow_mut();
        let Table { places, earliest, .. } = &mut *table;
        *earliest = None;
        for place in places {
            let is_over = place.due.zip(now).is_some_and(|(due, now)| due <= now);
            if is_over {
                (place.due, place.has_rung) = (None, true);
            }
            if is_over || now.is_none() {
                woken.extend(place.waker.take());
            }
            *earliest = earliest.iter().copied().chain(place.due).min();
        }
        // Who is woken may come back here.
        drop(table);
        woken.into_iter().for_each(Waker::wake);
    }

    /// Ends when a time is set that is earlier than all that were when this was first polled.
    async fn earlier(&self) {
        let mut has_slept = false;
        poll_fn(|context| {
            let ringer = &mut self.0.borrow_mut().ringer;
            if has_slept && ringer.is_none() {
                return Poll::Ready(());
            }
            (*ringer, has_slept) = (Some(context.waker().clone()), true);
            Poll::Pending
        })
        .await;
    }
}

/// A place among the alarms; dropping it frees it.
pub(super) struct Alarm<'a> {
    times: &'a Times,
    place: usize,
}

impl Alarm<'_> {
    /// Rings at `due` and at no time before.
    pub(super) fn set(&self, due: Instant) {
        let mut table = self.times.0.borrow_mut();
        if let Some(place) = table.places.get_mut(self.place) {
            (place.due, place.has_rung) = (Some(due), false);
        }
        if table.earliest.is_none_or(|earliest| due < earliest) {
            table.earliest = Some(due);
            let ringer = table.ringer.take();
            drop(table);
            ringer.into_iter().for_each(Waker::wake);
        }
    }

    /// Whether it has rung.
    pub(super) fn poll(&self, context: &Context<'_>) -> Poll<()> {
        let mut table = self.times.0.borrow_mut();
        let Some(place) = table.places.get_mut(self.place) else { return Poll::Pending };
        if place.has_rung {
            return Poll::Ready(());
        }
        match &mut place.waker {
            Some(waker) => waker.clone_from(context.waker()),
            None => place.waker = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        let mut table = self.times.0.borrow_mut();
        let place = table.places.get_mut(self.place).map(std::mem::take);
        table.free.push(self.place);
        drop((table, place));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::task::{LocalSet, yield_now};
    use tokio::time::sleep;

    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Waits for `alarm`; gives after how many milliseconds it rang.
    async fn rung(alarm: &Alarm<'_>) -> u128 {
        let begun = Instant::now();
        poll_fn(|context| alarm.poll(context)).await;
        begun.elapsed().as_millis()
    }

    async fn beside_ringer<T>(alarms: &Alarms, test: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            outcome = test => outcome,
            () = alarms.ring(Arc::default()) => unreachable!(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_rings_at_its_time_whatever_was_set_first() {
        let (alarms, now) = (Alarms::default(), Instant::now());
        let (late, early) = (alarms.at(now + ms(50)), alarms.at(now + ms(20)));
        // Set while the ringer sleeps already.
        let earliest = async {
            sleep(ms(5)).await;
            rung(&alarms.at(now + ms(10))).await
        };
        let all = async { tokio::join!(rung(&late), rung(&early), earliest) };
        assert_eq!(beside_ringer(&alarms, all).await, (50, 20, 5));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_set_anew_rings_anew_and_not_before() {
        let (alarms, now) = (Alarms::default(), Instant::now());
        let alarm = alarms.at(now + ms(10));
        let test = async {
            alarm.set(now + ms(20));
            let first = rung(&alarm).await;
            assert_eq!(rung(&alarm).await, 0, "it has rung");
            alarm.set(Instant::now() + ms(30));
            (first, rung(&alarm).await)
        };
        assert_eq!(beside_ringer(&alarms, test).await, (20, 30));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_gone_takes_nothing_and_stops_nobody() {
        let (alarms, now) = (Alarms::default(), Instant::now());
        for _ in 0..100 {
            drop((alarms.at(now + ms(1)), alarms.unset()));
        }
        let alarm = alarms.at(now + ms(5));
        assert_eq!(beside_ringer(&alarms, rung(&alarm)).await, 5);
        let table = alarms.times.0.borrow();
        assert_eq!((table.places.len(), table.free.len()), (2, 1));
        assert_eq!(table.earliest, None);
    }

    #[tokio::test]
    async fn the_next_epoch_wakes_and_rings_nothing() {
        let test = async {
            let (alarms, bell) = (Alarms::default(), Arc::new(Notify::new()));
            alarms.keep_ringing(&bell);
            alarms.keep_ringing(&bell);
            // The ringer was not polled yet: it listens all the same.
            bell.notify_waiters();
            let (alarm, polls) = (alarms.unset(), Cell::new(0));
            let waits = poll_fn(|context| {
                polls.set(polls.get() + 1);
                assert!(alarm.poll(context).is_pending());
                if polls.get() > 2 { Poll::Ready(()) } else { Poll::Pending }
            });
            let rings = async {
                // By the first bell already, and once for each.
                while polls.get() < 2 {
                    yield_now().await;
                }
                bell.notify_waiters();
            };
            tokio::join!(waits, rings);
        };
        LocalSet::new().run_until(test).await;
    }
}
