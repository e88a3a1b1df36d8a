//! How tries and replies change a server's state.

use std::io;

use super::*;
use crate::upstream::failure::Flaw;
use crate::upstream::health::DOWN_TRIES;

fn upstream() -> Upstream {
    Upstream::new(UpstreamServer::plain("192.0.2.1:53".parse().unwrap()))
}

#[tokio::test(start_paused = true)]
async fn who_cannot_be_reached_is_down_at_the_second_try() {
    let (upstream, now) = (upstream(), Instant::now());
    let refused = TryError::Unreachable(io::ErrorKind::ConnectionRefused);
    upstream.note_failure(refused, now, now);
    assert!(!upstream.is_down());
    upstream.note_failure(refused, now, now);
    assert!(upstream.is_down());
    let error = upstream.report().last_error.unwrap().text;
    assert_eq!(error, "unreachable: connection refused (2 tries in a row)");
    upstream.note_reply();
    assert!(!upstream.is_down());
}

#[tokio::test(start_paused = true)]
async fn a_reply_after_the_beginning_of_a_failed_try_outweighs_it() {
    let (upstream, begun) = (upstream(), Instant::now());
    let refused = TryError::Unreachable(io::ErrorKind::ConnectionRefused);
    tokio::time::advance(Duration::from_millis(50)).await;
    upstream.note_answer(Rcode::NOERROR, begun, Instant::now());
    (0..9).for_each(|_| upstream.note_failure(refused, begun, Instant::now()));
    assert!(!upstream.is_down() && !upstream.is_in_doubt());
    let later = Instant::now() + Duration::from_millis(1);
    (0..2).for_each(|_| upstream.note_failure(refused, later, later));
    assert!(upstream.is_down());
}

#[tokio::test(start_paused = true)]
async fn garbage_takes_as_many_tries_as_silence() {
    let (upstream, now) = (upstream(), Instant::now());
    for _ in 1..DOWN_TRIES {
        upstream.note_failure(TryError::Garbled, now, now);
        assert!(!upstream.is_down());
    }
    upstream.note_failure(TryError::Garbled, now, now);
    assert!(upstream.is_down());
    assert_eq!(upstream.tally().garbled, u64::from(DOWN_TRIES));
}

#[tokio::test(start_paused = true)]
async fn replies_that_are_unusable_are_the_names_failure() {
    let (upstream, now) = (upstream(), Instant::now());
    let flaws = [Flaw::Endless, Flaw::Malformed, Flaw::OtherQuestion, Flaw::RestMissing];
    for _ in 0..DOWN_TRIES {
        for flaw in flaws {
            // A server that was silent has spoken.
            upstream.note_unanswered(now, now);
            upstream.note_failure(TryError::Unusable(flaw), now, now);
            assert!(!upstream.is_down() && !upstream.is_in_doubt(), "{flaw}");
        }
        // What others may have sent does neither harm nor good.
        upstream.note_failure(TryError::Mismatched, now, now);
        assert!(!upstream.is_in_doubt());
    }
    upstream.note_unanswered(now, now);
    upstream.note_unanswered(now, now);
    upstream.note_failure(TryError::Mismatched, now, now);
    assert!(upstream.is_in_doubt());
    assert_eq!(upstream.tally().unusable, 16);
}

#[tokio::test(start_paused = true)]
async fn a_try_that_heard_its_server_is_not_silent() {
    let upstream = upstream();
    for _ in 0..10 {
        let begun = Instant::now();
        tokio::time::advance(Duration::from_millis(20)).await;
        upstream.note_sign_of_life();
        tokio::time::advance(Duration::from_secs(2)).await;
        upstream.note_unanswered(begun, Instant::now());
    }
    assert!(!upstream.is_in_doubt());
    assert_eq!(upstream.tally().timeouts, 10);
    // Those that begin later are.
    let begun = Instant::now();
    tokio::time::advance(Duration::from_secs(2)).await;
    (0..4).for_each(|_| upstream.note_unanswered(begun, Instant::now()));
    assert!(upstream.is_down());
}

#[tokio::test(start_paused = true)]
async fn a_report_tells_what_happened() {
    let (upstream, begun) = (upstream(), Instant::now());
    let late = begun + Duration::from_millis(20);
    upstream.note_answer(Rcode::NOERROR, begun, late);
    upstream.note_answer(Rcode::SERVFAIL, begun, late);
    upstream.note_answer(Rcode::REFUSED, begun, late);
    upstream.note_failure(TryError::Busy, begun, late);
    tokio::time::advance(Duration::from_secs(7)).await;
    let report = upstream.report();
    assert_eq!((report.down, report.since_seconds), (false, 7));
    assert_eq!((report.rtt_us, report.rtt_variation_us), (Some(20_000), Some(10_000)));
    let counts = report.counts;
    assert_eq!((counts.servfail, counts.refused, counts.busy), (1, 1, 1));
    assert_eq!(report.last_error.unwrap().text, "replied REFUSED");
}

#[tokio::test(start_paused = true)]
async fn what_the_try_itself_says_is_kept() {
    let (upstream, begun) = (upstream(), Instant::now());
    upstream.note_error("the certificate has expired".to_owned());
    upstream.note_failure(TryError::Untrusted, begun, begun);
    upstream.note_failure(TryError::Untrusted, begun, begun);
    let error = upstream.last_error().unwrap().1;
    assert_eq!(error, "the certificate has expired (2 tries in a row)");
}
