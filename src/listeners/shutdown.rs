//! The order to stop, and until when what is under way may take.

use tokio::sync::watch;
use tokio::time::Instant;

/// Gives the order.
#[derive(Debug)]
pub struct Stopper(watch::Sender<Option<Instant>>);

/// Hears it. Clones hear the same one, on any thread.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<Option<Instant>>);

impl Stopper {
    /// A pair.
    #[must_use]
    pub fn new() -> (Self, Shutdown) {
        let (sender, receiver) = watch::channel(None);
        (Self(sender), Shutdown(receiver))
    }

    /// Take no new work; finish by `deadline`.
    pub fn stop(&self, deadline: Instant) {
        self.0.send_replace(Some(deadline));
    }
}

impl Shutdown {
    /// Waits for the order; returns the deadline. A [`Stopper`] that is gone means now. Safe to
    /// drop and call again.
    pub async fn begun(&mut self) -> Instant {
        match self.0.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(deadline)) => *deadline,
            _ => Instant::now(),
        }
    }
}
