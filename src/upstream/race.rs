//! Several ways to the same end, tried as RFC 8305 §5 does it: the next one begins when the one
//! before failed or had its time, and the first success ends all.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long one way is alone: RFC 8305 §8 proposes 250 ms; a tunnel's round trip may be that long.
const ALONE: Duration = Duration::from_millis(300);

/// The first success of `attempts`, or all errors in the order in which they came.
pub(super) async fn first_of<T, E, F>(attempts: impl IntoIterator<Item = F>) -> Result<T, Vec<E>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut waiting = attempts.into_iter();
    let mut running: Vec<Pin<Box<F>>> = Vec::new();
    let mut errors = Vec::new();
    let mut timer = pin!(sleep(Duration::ZERO));
    poll_fn(|context| {
        loop {
            let mut is_next_due = running.is_empty();
            let mut index = 0;
            while let Some(attempt) = running.get_mut(index) {
                match attempt.as_mut().poll(context) {
                    Poll::Pending => index += 1,
                    Poll::Ready(Ok(success)) => return Poll::Ready(Ok(success)),
                    Poll::Ready(Err(error)) => {
                        drop(running.swap_remove(index));
                        errors.push(error);
                        is_next_due = true;
                    }
                }
            }
            if !is_next_due && timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            match waiting.next() {
                Some(attempt) => {
                    running.push(Box::pin(attempt));
                    timer.as_mut().reset(Instant::now() + ALONE);
                }
                None if running.is_empty() => return Poll::Ready(Err(std::mem::take(&mut errors))),
                None => return Poll::Pending,
            }
        }
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
}
