//! What all workers share about one server: its address, its counters, its silence.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::bootstrap::Bootstrap;
use super::trust::Authorities;
use crate::config::UpstreamServer;

/// Tries in a row without a reply after which a server counts as silent: one or two can be loss.
const SILENT_AFTER_TRIES: u32 = 3;
/// How often one query is still spent on a silent server, to notice that it is back.
const CANARY_EVERY: Duration = Duration::from_secs(1);
/// How often the log says of one server that its certificate does not do.
const DISTRUST_SAID_EVERY: Duration = Duration::from_secs(60);

/// One server, shared by all workers and rules that name its address.
#[derive(Debug)]
pub struct Upstream {
    server: UpstreamServer,
    /// Knows where it is, if it is named by host.
    bootstrap: Arc<Bootstrap>,
    pub(super) authorities: Authorities,
    born: Instant,
    pub(super) counters: Counters,
    /// Tries since the last reply.
    unanswered: AtomicU32,
    /// When the next canary may go, milliseconds after `born`.
    next_canary_ms: AtomicU64,
    /// What last went wrong, and when.
    last_error: Mutex<Option<(Instant, String)>>,
    /// When the log last said that its certificate does not do.
    last_distrust: Mutex<Option<Instant>>,
}

/// Counts since the start, relaxed: for those who look on, nothing is decided by them.
#[derive(Default, Debug)]
pub(super) struct Counters {
    pub(super) queries: AtomicU64,
    pub(super) replies: AtomicU64,
    pub(super) timeouts: AtomicU64,
    pub(super) mismatches: AtomicU64,
    pub(super) unreachable: AtomicU64,
    pub(super) tcp_queries: AtomicU64,
    pub(super) tcp_dials: AtomicU64,
    pub(super) without_edns: AtomicU64,
}

/// A reading of an upstream's counters. Displays as `label=value` words.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Tally {
    /// Queries sent, over whatever transport.
    pub queries: u64,
    /// Replies to our questions, whatever their rcode.
    pub replies: u64,
    /// Tries that the budget ended without a reply.
    pub timeouts: u64,
    /// Datagrams with an id nobody waits for, and replies to other questions.
    pub mismatches: u64,
    /// Tries ended by an error of the network: ICMP port unreachable, no route, connection refused.
    pub unreachable: u64,
    /// Queries sent over connections: TCP, TLS, HTTP, QUIC.
    pub tcp_queries: u64,
    /// Connections begun.
    pub tcp_dials: u64,
    /// Queries repeated without EDNS.
    pub without_edns: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { queries, replies, timeouts, mismatches, unreachable, .. } = self;
        let Self { tcp_queries, tcp_dials, without_edns, .. } = self;
        write!(
            f,
            "queries={queries} replies={replies} timeouts={timeouts} mismatches={mismatches} \
             unreachable={unreachable} tcp-queries={tcp_queries} tcp-dials={tcp_dials} \
             without-edns={without_edns}"
        )
    }
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Upstream {
    /// A server nobody has asked yet, known by its address.
    pub fn new(server: UpstreamServer) -> Self {
        Self::with_bootstrap(server, Arc::new(Bootstrap::new(HashMap::new(), None)))
    }

    /// A server nobody has asked yet. `bootstrap` finds it, if it is named by host.
    pub fn with_bootstrap(server: UpstreamServer, bootstrap: Arc<Bootstrap>) -> Self {
        Self {
            server,
            bootstrap,
            authorities: Authorities::default(),
            born: Instant::now(),
            counters: Counters::default(),
            unanswered: AtomicU32::new(0),
            next_canary_ms: AtomicU64::new(0),
            last_error: Mutex::default(),
            last_distrust: Mutex::default(),
        }
    }

    /// What finds it, if it is named by host.
    pub fn bootstrap(&self) -> &Arc<Bootstrap> {
        &self.bootstrap
    }

    /// Where it is and how it is asked.
    pub fn server(&self) -> &UpstreamServer {
        &self.server
    }

    /// The counters now.
    pub fn tally(&self) -> Tally {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        Tally {
            queries: read(&counters.queries),
            replies: read(&counters.replies),
            timeouts: read(&counters.timeouts),
            mismatches: read(&counters.mismatches),
            unreachable: read(&counters.unreachable),
            tcp_queries: read(&counters.tcp_queries),
            tcp_dials: read(&counters.tcp_dials),
            without_edns: read(&counters.without_edns),
        }
    }

    /// A reply came: the server is there.
    pub fn note_reply(&self) {
        count(&self.counters.replies);
        // A store by every reply would bounce the line between cores.
        if self.unanswered.load(Ordering::Relaxed) != 0 {
            self.unanswered.store(0, Ordering::Relaxed);
        }
    }

    /// Keeps the reason of a failure for whoever looks.
    pub fn note_error(&self, reason: String) {
        let mut last = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some((Instant::now(), reason));
    }

    /// Its certificate does not do. That needs somebody's hand, so the log says it.
    pub(super) fn note_distrust(&self, reason: String) {
        let now = Instant::now();
        let mut last = self.last_distrust.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| now.duration_since(last) >= DISTRUST_SAID_EVERY) {
            *last = Some(now);
            warn!("upstream {} is not trusted: {reason}", self.server);
        }
        drop(last);
        self.note_error(reason);
    }

    /// What last went wrong, and when.
    pub fn last_error(&self) -> Option<(Instant, String)> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The budget of a query ended while this server was silent.
    pub fn note_timeout(&self) {
        count(&self.counters.timeouts);
        self.note_silence();
    }

    /// Another server won, after this one had had its turn alone and said nothing.
    pub fn note_silence(&self) {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the last tries all went unanswered.
    pub fn is_silent(&self) -> bool {
        self.unanswered.load(Ordering::Relaxed) >= SILENT_AFTER_TRIES
    }

    /// Whether others should be asked before this one: it is silent, and this query is not the one
    /// in a second that looks whether it is back.
    pub fn goes_last(&self, now: Instant) -> bool {
        if !self.is_silent() {
            return false;
        }
        let now_ms = millis(now.duration_since(self.born));
        let due_ms = self.next_canary_ms.load(Ordering::Relaxed);
        let next_ms = now_ms + millis(CANARY_EVERY);
        now_ms < due_ms
            || self
                .next_canary_ms
                .compare_exchange(due_ms, next_ms, Ordering::Relaxed, Ordering::Relaxed)
                .is_err()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_server_goes_last_but_for_one_query_a_second() {
        let upstream = Upstream::new(UpstreamServer::plain("192.0.2.1:53".parse().unwrap()));
        upstream.note_silence();
        upstream.note_silence();
        assert!(!upstream.goes_last(Instant::now()));
        upstream.note_silence();
        assert!(!upstream.goes_last(Instant::now()), "the first canary goes at once");
        assert!(upstream.goes_last(Instant::now()));
        tokio::time::advance(CANARY_EVERY).await;
        assert!(!upstream.goes_last(Instant::now()));
        assert!(upstream.goes_last(Instant::now()));
        upstream.note_reply();
        assert!(!upstream.goes_last(Instant::now()));
    }
}
