//! The network that sockets towards upstreams were opened in.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Notify;

/// Counts the networks that this process has seen: sockets opened in an earlier one take no new
/// queries. A socket keeps the source address that it got when it was opened, also when routes lead
/// elsewhere now or the address is gone. Shared by all workers.
#[derive(Default, Debug)]
pub struct Epoch {
    number: AtomicU64,
    /// Who waits for the next one; each worker its own, so that they share no lock on a query's way.
    followers: Mutex<Vec<Weak<Notify>>>,
}

impl Epoch {
    /// The first one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Which one this is.
    pub fn number(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }

    /// Begins the next one: the network is another one now. From any thread.
    pub fn advance(&self) {
        // Who is woken sees the new number: its lock stands between the two.
        self.number.fetch_add(1, Ordering::Relaxed);
        let mut followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner);
        followers.retain(|follower| {
            follower.upgrade().inspect(|follower| follower.notify_waiters()).is_some()
        });
    }

    /// A bell that rings whenever the next epoch begins, for as long as somebody holds it.
    pub(super) fn follow(&self) -> Arc<Notify> {
        let follower = Arc::new(Notify::new());
        let mut followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner);
        followers.retain(|follower| follower.strong_count() > 0);
        followers.push(Arc::downgrade(&follower));
        follower
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_next_epoch_rings_every_bell_once() {
        let epoch = Epoch::new();
        let bells = [epoch.follow(), epoch.follow()];
        let heard = bells.each_ref().map(|bell| bell.notified());
        epoch.advance();
        assert_eq!(epoch.number(), 1);
        for heard in heard {
            heard.await;
        }
        let later = tokio::time::timeout(std::time::Duration::ZERO, bells[0].notified()).await;
        assert!(later.is_err(), "it rang before anybody listened");
    }

    #[test]
    fn who_is_gone_is_forgotten() {
        let epoch = Epoch::new();
        for _ in 0..100 {
            drop(epoch.follow());
        }
        let kept = epoch.follow();
        assert_eq!(epoch.followers.lock().unwrap().len(), 1);
        drop(kept);
        epoch.advance();
        assert!(epoch.followers.lock().unwrap().is_empty());
    }
}
