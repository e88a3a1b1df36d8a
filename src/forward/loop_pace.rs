//! How fast loop probes leave.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// From one probe to the next at one server: ten a second are no load for any server, and stay below
/// the limits that servers have for each client. 168.63.129.16 takes 1,000 queries a second.
pub(super) const EACH_SERVER_EVERY: Duration = Duration::from_millis(100);
/// From one probe to the next, whatever the servers: 50 a second are lost in the traffic of any site
/// that has so many servers.
pub(super) const EVERY: Duration = Duration::from_millis(20);

/// Spreads probes. For the tasks of one thread.
#[derive(Default)]
pub(super) struct Pace(RefCell<Turns>);

#[derive(Default)]
struct Turns {
    /// When the next probe may leave.
    next: Option<Instant>,
    /// The same for each server, by its number. Only times to come.
    servers: HashMap<u64, Instant>,
    /// How many second and third probes wait, by server. A new search has to let them pass: they
    /// decide whether an upstream loops.
    waiting: HashMap<u64, usize>,
}

impl Turns {
    /// The earliest time for `server`; `None`: now.
    fn next(&self, server: u64, now: Instant) -> Option<Instant> {
        let own = self.servers.get(&server).copied();
        own.max(self.next).filter(|next| *next > now)
    }

    fn take(&mut self, server: u64, now: Instant) -> Result<(), Instant> {
        if let Some(next) = self.next(server, now) {
            return Err(next);
        }
        // Five entries at most: what left within the last 100 ms.
        self.servers.retain(|_, next| *next > now);
        self.servers.insert(server, now + EACH_SERVER_EVERY);
        self.next = Some(now + EVERY);
        Ok(())
    }
}

impl Pace {
    /// Takes a turn of `server` for the first probe of a search, or returns when to try again.
    pub(super) fn take(&self, server: u64, now: Instant) -> Result<(), Instant> {
        let mut turns = self.0.borrow_mut();
        let gives_way = turns.waiting.contains_key(&server)
            || turns.waiting.keys().any(|waiting| turns.next(*waiting, now).is_none());
        if gives_way { Err(now + EVERY) } else { turns.take(server, now) }
    }

    /// Waits for a turn of `server` for a further probe of a search.
    pub(super) async fn turn(&self, server: u64) {
        let _waits = Waits::new(self, server);
        loop {
            let taken = self.0.borrow_mut().take(server, Instant::now());
            match taken {
                Ok(()) => return,
                Err(next) => sleep_until(next).await,
            }
        }
    }
}

/// One that waits; dropped, it no longer does.
struct Waits<'a> {
    pace: &'a Pace,
    server: u64,
}

impl<'a> Waits<'a> {
    fn new(pace: &'a Pace, server: u64) -> Self {
        *pace.0.borrow_mut().waiting.entry(server).or_default() += 1;
        Self { pace, server }
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let mut turns = self.pace.0.borrow_mut();
        let left = turns.waiting.get(&self.server).map_or(0, |waiting| waiting.saturating_sub(1));
        if left == 0 {
            turns.waiting.remove(&self.server);
        } else {
            turns.waiting.insert(self.server, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use tokio::task::{LocalSet, spawn_local, yield_now};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_gets_ten_a_second_and_all_together_fifty() {
        let pace = Pace::default();
        let begun = Instant::now();
        let mut sent: Vec<(Duration, u64)> = Vec::new();
        while begun.elapsed() < Duration::from_secs(3) {
            for server in 0..9 {
                if pace.take(server, Instant::now()).is_ok() {
                    sent.push((begun.elapsed(), server));
                }
            }
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert_eq!(sent.len(), 150);
        for pair in sent.windows(2) {
            assert!(pair[1].0 - pair[0].0 >= EVERY, "{pair:?}");
        }
        for server in 0..9 {
            let times: Vec<_> =
                sent.iter().filter(|one| one.1 == server).map(|one| one.0).collect();
            assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= EACH_SERVER_EVERY));
        }
        assert!(pace.0.borrow().servers.len() <= 6, "what is over is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_search_lets_further_probes_pass() {
        let check = async {
            let pace = Rc::new(Pace::default());
            assert_eq!(pace.take(1, Instant::now()), Ok(()));
            let further = Rc::clone(&pace);
            let task = spawn_local(async move { further.turn(1).await });
            yield_now().await;
            tokio::time::advance(EACH_SERVER_EVERY).await;
            // Its time has come, but the task has not run yet.
            assert!(pace.take(1, Instant::now()).is_err());
            assert!(pace.take(2, Instant::now()).is_err());
            task.await.expect("it ends");
            assert!(pace.0.borrow().waiting.is_empty());
            tokio::time::advance(EVERY).await;
            assert_eq!(pace.take(2, Instant::now()), Ok(()));
        };
        LocalSet::new().run_until(check).await;
    }
}
