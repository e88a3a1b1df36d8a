//! Several ways to the same end, tried as RFC 8305 §5 does it: the next one begins when the one
//! before failed or had its time, and the first success ends all.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long one way is alone: RFC 8305 §8 proposes 250 ms; a tunnel's round trip may be that long.
const ALONE: Duration = Duration::from_millis(300);

/// Returns the first success of `attempts`, or all errors in the order in which they came.
pub(super) async fn first_of<T, E, F>(attempts: impl IntoIterator<Item = F>) -> Result<T, Vec<E>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut attempts = attempts.into_iter();
    first_of_coming(async || attempts.next()).await
}

/// Does the same with attempts that become known one after the other. `next` waits for one, and
/// returns `None` if no other can come. Its future is dropped and made again while attempts run.
/// When every attempt so far has failed, a late one gets the rest of the last one's time.
pub(super) async fn first_of_coming<T, E, F>(
    mut next: impl AsyncFnMut() -> Option<F>,
) -> Result<T, Vec<E>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut running: Vec<Pin<Box<F>>> = Vec::new();
    let mut errors = Vec::new();
    let mut timer = pin!(sleep(ALONE));
    let (mut is_next_due, mut is_last) = (true, false);
    while !(is_last && running.is_empty()) {
        let have_failed = running.is_empty() && !errors.is_empty();
        tokio::select! {
            biased;
            outcome = first_to_end(&mut running) => match outcome {
                Ok(success) => return Ok(success),
                Err(error) => {
                    errors.push(error);
                    is_next_due = true;
                }
            },
            attempt = next(), if is_next_due && !is_last => match attempt {
                Some(attempt) => {
                    running.push(Box::pin(attempt));
                    timer.as_mut().reset(Instant::now() + ALONE);
                    is_next_due = false;
                }
                None => is_last = true,
            },
            () = &mut timer, if have_failed || !is_next_due => {
                is_last |= have_failed;
                is_next_due = true;
            }
        }
    }
    Err(errors)
}

/// Waits until one of `running` ends, and takes it out; for ever if there is none.
async fn first_to_end<F: Future>(running: &mut Vec<Pin<Box<F>>>) -> F::Output {
    poll_fn(|context| {
        let mut index = 0;
        while let Some(attempt) = running.get_mut(index) {
            if let Poll::Ready(outcome) = attempt.as_mut().poll(context) {
                drop(running.swap_remove(index));
                return Poll::Ready(outcome);
            }
            index += 1;
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ends after so many milliseconds, well or not.
    async fn attempt(ms: u64, outcome: Result<u8, u8>) -> Result<u8, u8> {
        sleep(Duration::from_millis(ms)).await;
        outcome
    }

    async fn race(attempts: &[(u64, Result<u8, u8>)]) -> (u128, Result<u8, Vec<u8>>) {
        let begun = Instant::now();
        let outcome = first_of(attempts.iter().map(|(ms, outcome)| attempt(*ms, *outcome))).await;
        (begun.elapsed().as_millis(), outcome)
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_begins_when_one_failed_or_had_its_time() {
        assert_eq!(race(&[]).await, (0, Err(vec![])));
        assert_eq!(race(&[(40, Ok(1)), (0, Ok(2))]).await, (40, Ok(1)));
        assert_eq!(race(&[(40, Err(1)), (10, Ok(2))]).await, (50, Ok(2)));
        assert_eq!(race(&[(40, Err(1)), (10, Err(2))]).await, (50, Err(vec![1, 2])));
        // Silent ones cost their time alone, and may still win.
        assert_eq!(race(&[(9_000, Ok(1)), (10, Ok(2))]).await, (310, Ok(2)));
        assert_eq!(race(&[(9_000, Ok(1)), (9_000, Ok(2)), (10, Ok(3))]).await, (610, Ok(3)));
        assert_eq!(race(&[(400, Ok(1)), (700, Err(2))]).await, (400, Ok(1)));
        assert_eq!(race(&[(700, Ok(1)), (10, Err(2))]).await, (700, Ok(1)));
    }

    /// An attempt that becomes known after so many milliseconds.
    type Coming = (u64, (u64, Result<u8, u8>));

    /// Races attempts that become known one after the other; no other comes `then_ms` later.
    async fn race_of_coming(coming: &[Coming], then_ms: u64) -> (u128, Result<u8, Vec<u8>>) {
        let begun = Instant::now();
        let mut left = coming.iter();
        let mut known = None;
        let outcome = first_of_coming(async || {
            let (at, (ms, outcome)) = *match known {
                Some(known) => known,
                None => match left.next() {
                    Some(next) => known.insert(next),
                    None => {
                        sleep(Duration::from_millis(then_ms)).await;
                        return None;
                    }
                },
            };
            tokio::time::sleep_until(begun + Duration::from_millis(at)).await;
            known = None;
            Some(attempt(ms, outcome))
        });
        let outcome = outcome.await;
        (begun.elapsed().as_millis(), outcome)
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_that_come_late_still_take_part() {
        let silent = (9_000, Ok(1));
        assert_eq!(race_of_coming(&[(20, (10, Ok(1)))], 0).await, (30, Ok(1)));
        // It waits for its turn, or comes after it.
        assert_eq!(race_of_coming(&[(0, silent), (50, (10, Ok(2)))], 0).await, (310, Ok(2)));
        assert_eq!(race_of_coming(&[(0, silent), (500, (10, Ok(2)))], 0).await, (510, Ok(2)));
        // A failure makes it due at once.
        assert_eq!(race_of_coming(&[(0, (30, Err(1))), (50, (10, Ok(2)))], 0).await, (60, Ok(2)));
        // The wait for more holds up neither a success nor, for long, the failure of all.
        assert_eq!(race_of_coming(&[(0, (700, Ok(1)))], 9_000).await, (700, Ok(1)));
        assert_eq!(race_of_coming(&[(0, (30, Err(1)))], 9_000).await, (300, Err(vec![1])));
        assert_eq!(race_of_coming(&[(0, (700, Err(1)))], 9_000).await, (700, Err(vec![1])));
        assert_eq!(race_of_coming(&[], 9_000).await, (9_000, Err(vec![])));
    }
}
