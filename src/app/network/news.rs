//! From bursts of news to single ones.
//!
//! A tunnel that comes up changes a link, some addresses and dozens of routes within milliseconds;
//! a router's routes change all day. Either is one reason to look, a few times a second at most.

use std::io;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::Cause;
use crate::sys::{NetworkChanges, NetworkWatch};

/// Silence that ends a burst. News are read once in this time, not one by one, so that a flood of
/// them costs little; what the kernel has no room for meanwhile, it says.
const QUIET: Duration = Duration::from_millis(100);
/// What a burst may take: who waits for an upstream should not wait for the last of its routes.
const LONGEST: Duration = Duration::from_millis(500);
/// Time after a burst in which nothing is heard: with [`QUIET`], two bursts a second at most.
const REST: Duration = Duration::from_millis(400);

/// Who hears news: the kernel's, or a test's.
pub(super) trait Watch {
    /// Waits for news; dropping the future loses none.
    async fn changed(&mut self) -> io::Result<NetworkChanges>;
    /// What has come meanwhile.
    fn pending(&mut self) -> io::Result<NetworkChanges>;
}

impl Watch for NetworkWatch {
    async fn changed(&mut self) -> io::Result<NetworkChanges> {
        Self::changed(self).await
    }

    fn pending(&mut self) -> io::Result<NetworkChanges> {
        Self::pending(self)
    }
}

/// Tells of each burst when it is over. Ends when nobody listens, or with what keeps it from
/// hearing.
pub(super) async fn follow(mut watch: impl Watch, tell: mpsc::Sender<Cause>) -> Option<io::Error> {
    loop {
        match burst(&mut watch).await {
            Ok(changes) => tell.send(Cause::Heard(changes)).await.ok()?,
            Err(error) => return Some(error),
        }
        sleep(REST).await;
    }
}

async fn burst(watch: &mut impl Watch) -> io::Result<NetworkChanges> {
    let mut changes = watch.changed().await?;
    let longest = Instant::now() + LONGEST;
    loop {
        sleep_until(longest.min(Instant::now() + QUIET)).await;
        let more = watch.pending()?;
        changes |= more;
        if more.is_empty() || Instant::now() >= longest {
            return Ok(changes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESSES: NetworkChanges =
        NetworkChanges { addresses: true, links: false, routes: false, rules: false, lost: false };
    const ROUTES: NetworkChanges =
        NetworkChanges { addresses: false, links: false, routes: true, rules: false, lost: false };

    /// News at fixed times after the start; silence behind them.
    struct Script {
        begun: Instant,
        /// In their order.
        rest: Vec<(Duration, NetworkChanges)>,
    }

    impl Script {
        fn new(mut news: Vec<(u64, NetworkChanges)>) -> Self {
            news.reverse();
            let rest = news.into_iter().map(|(ms, what)| (Duration::from_millis(ms), what));
            Self { begun: Instant::now(), rest: rest.collect() }
        }
    }

    impl Watch for Script {
        async fn changed(&mut self) -> io::Result<NetworkChanges> {
            match self.rest.last() {
                Some((at, _)) => sleep_until(self.begun + *at).await,
                None => std::future::pending().await,
            }
            self.pending()
        }

        fn pending(&mut self) -> io::Result<NetworkChanges> {
            let mut changes = NetworkChanges::default();
            while let Some((_, what)) = self.rest.pop_if(|(at, _)| *at <= self.begun.elapsed()) {
                changes |= what;
            }
            Ok(changes)
        }
    }

    /// When each burst was told, and what it was, until `end_ms`.
    async fn told(script: Script, end_ms: u64) -> Vec<(u64, NetworkChanges)> {
        let begun = script.begun;
        let (tell, mut hear) = mpsc::channel(1);
        let mut told = Vec::new();
        let listen = async {
            while let Some(Cause::Heard(changes)) = hear.recv().await {
                told.push((u64::try_from(begun.elapsed().as_millis()).unwrap(), changes));
            }
        };
        tokio::select! {
            _ = follow(script, tell) => panic!("it ended"),
            () = listen => panic!("it said something else"),
            () = sleep_until(begun + Duration::from_millis(end_ms)) => {}
        }
        told
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_told_once_and_after_it() {
        let mut burst: Vec<_> = (0..40).map(|n| (1_000 + 5 * n, ROUTES)).collect();
        burst.insert(0, (1_000, ADDRESSES));
        let told = told(Script::new(burst), 60_000).await;
        let expected = NetworkChanges { addresses: true, routes: true, ..Default::default() };
        assert!(matches!(told[..], [(1_295..=1_400, changes)] if changes == expected), "{told:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_change_is_told_after_a_tenth_of_a_second() {
        let told = told(Script::new(vec![(1_000, ADDRESSES)]), 60_000).await;
        assert!(matches!(told[..], [(1_100..=1_105, ADDRESSES)]), "{told:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_storm_is_told_a_few_times_a_second() {
        let storm = (0..10_000).map(|n| (n, ROUTES)).collect();
        let told = told(Script::new(storm), 10_000).await;
        assert!((5..=20).contains(&told.len()), "{}", told.len());
        assert!(told[0].0 <= 505, "the first news wait half a second at most: {told:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn separate_changes_are_two_a_second_at_most() {
        // Each is a burst of its own, as soon as it may be.
        let drizzle = (0..100).map(|n| (n * 150, ADDRESSES)).collect();
        let told = told(Script::new(drizzle), 15_000).await;
        assert!((15..=30).contains(&told.len()), "{}", told.len());
        assert!(told.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 500), "{told:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_during_the_rest_is_told_behind_it() {
        let told = told(Script::new(vec![(1_000, ADDRESSES), (1_110, ROUTES)]), 60_000).await;
        assert!(
            matches!(told[..], [(1_100..=1_105, ADDRESSES), (1_600..=1_610, ROUTES)]),
            "{told:?}"
        );
    }
}
