//! Whether the machine slept.

use std::io;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::Cause;

/// How often it is looked at: for so long after a wake the cache may give what is too old.
const EVERY: Duration = Duration::from_secs(1);
/// A sleep that counts. Neither a TTL nor a tunnel notices less.
const SLEEP: Duration = Duration::from_secs(2);

/// Tells of each sleep after it. `asleep` reads the time slept since the machine was started. Ends
/// when nobody listens, or with what keeps it from reading the clock.
pub(super) async fn follow(
    asleep: impl Fn() -> io::Result<Duration>,
    tell: mpsc::Sender<Cause>,
) -> Option<io::Error> {
    let mut before = match asleep() {
        Ok(before) => before,
        Err(error) => return Some(error),
    };
    // Timers stand still while the machine sleeps, so the first tick comes soon after the wake.
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match asleep() {
            Ok(now) => {
                if let Some(slept) = slept(&mut before, now) {
                    tell.send(Cause::Woke(slept)).await.ok()?;
                }
            }
            Err(error) => return Some(error),
        }
    }
}

/// How long the machine slept between two readings; `None`: not worth a word. Readings may show
/// too little, never too much, so what was shown before holds; short sleeps add up.
fn slept(before: &mut Duration, now: Duration) -> Option<Duration> {
    let slept = now.checked_sub(*before).filter(|slept| *slept >= SLEEP)?;
    *before = now;
    Some(slept)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use tokio::time::Instant;

    use super::*;

    #[test]
    fn only_a_sleep_counts() {
        let seconds = Duration::from_secs_f64;
        let mut before = seconds(50.0);
        for (now, expected) in [
            (50.0, None),
            (51.9, None),
            // Two naps are a sleep.
            (52.0, Some(2.0)),
            // The reading was held up; the next one is no sleep.
            (40.0, None),
            (52.1, None),
            (3_652.0, Some(3_600.0)),
            (3_652.0, None),
        ] {
            assert_eq!(slept(&mut before, seconds(now)), expected.map(seconds), "{now}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wake_is_told_within_a_second() {
        let asleep = Rc::new(Cell::new(Duration::from_secs(7)));
        let reading = Rc::clone(&asleep);
        let (tell, mut hear) = mpsc::channel(1);
        let check = async {
            tokio::time::sleep(Duration::from_millis(5_500)).await;
            asleep.set(Duration::from_secs(37));
            let woke = Instant::now();
            assert_eq!(hear.recv().await, Some(Cause::Woke(Duration::from_secs(30))));
            assert!(woke.elapsed() <= EVERY, "{:?}", woke.elapsed());
            let more = tokio::time::timeout(Duration::from_secs(60), hear.recv()).await;
            assert!(more.is_err(), "one sleep was told twice");
        };
        tokio::select! {
            _ = follow(move || Ok(reading.get()), tell) => panic!("it ended"),
            () = check => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_cannot_be_read_ends_it() {
        let (tell, _hear) = mpsc::channel(1);
        let error = follow(|| Err(io::ErrorKind::Unsupported.into()), tell).await;
        assert_eq!(error.map(|error| error.kind()), Some(io::ErrorKind::Unsupported));
    }
}
