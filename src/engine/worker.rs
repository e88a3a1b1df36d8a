//! One thread's engine: decides, resolves misses, counts and logs.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::{ArcSwap, Guard};

use super::decide::answer_late;
use super::fetch::holds;
use super::recorder::{Recorder, Step};
use super::refreshes::Refreshes;
use super::reply::{self, Age};
use super::snapshot::Snapshot;
use super::{Asked, Outcome, Silence, Transport, Verdict, decide, query_lines};
use crate::addresses::HostBlock;
use crate::config::LogQueries;
use crate::forward::{Failure, Forwarder};
use crate::metrics::{Counters, Event};
use crate::wire::{Header, Query, Rcode, flags};

/// What all workers share.
pub struct Shared {
    /// The configuration in force.
    pub snapshot: ArcSwap<Snapshot>,
}

/// Listens for one thing: that a kept answer should be fetched anew.
struct EndWatch(bool);

impl Recorder for EndWatch {
    #[inline]
    fn note_some(&mut self, _step: impl FnOnce() -> Option<Step>) {}

    fn note_end_is_near(&mut self) {
        self.0 = true;
    }
}

/// One thread's engine. Stays on its thread: it holds that thread's upstream sockets.
pub struct Worker {
    shared: Arc<Shared>,
    pub(super) forwarder: Forwarder,
    pub(super) counters: Arc<Counters>,
    pub(super) refreshes: Refreshes,
}

impl Worker {
    /// An engine for this thread.
    pub fn new(shared: Arc<Shared>, forwarder: Forwarder, counters: Arc<Counters>) -> Self {
        Self { shared, forwarder, counters, refreshes: Refreshes::default() }
    }

    /// The configuration in force; loaded once a batch.
    pub fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.shared.snapshot.load()
    }

    /// Decides at once, and appends the reply, if there is one, to `out`. Counts and logs, and has
    /// what needs it fetched anew.
    pub fn answer(
        self: &Rc<Self>,
        snapshot: &Arc<Snapshot>,
        asked: &Asked,
        request: &[u8],
        out: &mut Vec<u8>,
    ) -> Verdict {
        let begin = out.len();
        let mut watch = EndWatch(false);
        let verdict = decide(snapshot, asked, request, out, &mut watch);
        self.counters.count(match asked.transport {
            Transport::Udp => Event::Udp,
            Transport::Tcp => Event::Tcp,
        });
        match verdict {
            Verdict::Reply(Outcome::Loop) => self.catch(snapshot, asked, request),
            Verdict::Reply(outcome) => self.finish(snapshot, asked, request, outcome, out, begin),
            Verdict::Drop(Silence::Access) => self.counters.count(Event::DroppedAccess),
            Verdict::Drop(Silence::NotAQuery) => self.counters.count(Event::DroppedNotAQuery),
            Verdict::Forward => {}
        }
        if watch.0 {
            self.refresh(snapshot, HostBlock::of(asked.client), request);
        }
        verdict
    }

    /// Finishes what [`Self::answer`] said to forward: appends a reply to `out`, always, and inside
    /// the rule's budget.
    pub async fn resolve(
        self: &Rc<Self>,
        snapshot: &Arc<Snapshot>,
        asked: &Asked,
        request: &[u8],
        out: &mut Vec<u8>,
    ) {
        let begin = out.len();
        // It was parsed once before, so this never fails.
        let Ok(query) = Query::parse(request) else { return };
        let rule = snapshot.rules.find(&query.qname);
        let client = HostBlock::of(asked.client);
        let outcome = match self.fetch(snapshot, rule, client, &query.to_question()).await {
            Ok((answer, age)) => {
                answer_late(snapshot, asked, &query, (&answer.borrowed(), age), out)
            }
            Err(failure) => {
                answer_stale(snapshot, asked, &query, &failure, out).unwrap_or_else(|| {
                    reply::failure(&query, asked.transport, &failure, out);
                    Outcome::Failed
                })
            }
        };
        self.finish(snapshot, asked, request, outcome, out, begin);
    }

    /// A query of our own came back: an upstream asks us.
    fn catch(&self, snapshot: &Snapshot, asked: &Asked, request: &[u8]) {
        self.counters.count(Event::Loop);
        if let Ok(query) = Query::parse(request) {
            snapshot.loops.note_return(&query.qname, asked.client, asked.now);
        }
    }

    /// Counts and logs a reply that stands in `out` from `begin` on.
    fn finish(
        &self,
        snapshot: &Snapshot,
        asked: &Asked,
        request: &[u8],
        outcome: Outcome,
        out: &[u8],
        begin: usize,
    ) {
        self.counters.count(match outcome {
            Outcome::Private => Event::Private,
            Outcome::Special => Event::Special,
            Outcome::Cached => Event::Cached,
            Outcome::Stale => Event::Stale,
            Outcome::Forwarded => Event::Forwarded,
            Outcome::Refused => Event::Refused,
            Outcome::Fault => Event::Fault,
            Outcome::Failed => Event::Failed,
            Outcome::Loop => Event::Loop,
        });
        let logged = match snapshot.log_queries {
            LogQueries::None => false,
            LogQueries::Private => outcome == Outcome::Private,
            LogQueries::Refused => matches!(outcome, Outcome::Refused | Outcome::Fault),
            LogQueries::All => true,
        };
        if logged && query_lines::take(outcome) {
            log_query(asked, request, outcome, out.get(begin..).unwrap_or(&[]));
        }
    }
}

/// Writes what is kept past its time, where there is something, and where the failure is no verdict
/// on it (RFC 8767 §4).
fn answer_stale(
    snapshot: &Snapshot,
    asked: &Asked,
    query: &Query<'_>,
    failure: &Failure,
    out: &mut Vec<u8>,
) -> Option<Outcome> {
    if !failure.may_serve_stale() {
        return None;
    }
    let hit = snapshot.cache.find_stale(&query.as_question(), Instant::now())?;
    if !holds(snapshot, query.qtype, &hit) {
        return None;
    }
    // Somebody may have brought a new one in the meantime.
    let age = if hit.is_stale() { Age::Stale } else { Age::Seconds(hit.age_seconds) };
    Some(answer_late(snapshot, asked, query, (&hit.answer(), age), out))
}

/// One line about a query and its reply. Names are written with escapes, so no octet of a client
/// reaches a terminal raw.
fn log_query(asked: &Asked, request: &[u8], outcome: Outcome, reply: &[u8]) {
    let rcode = Header::read(reply).map_or(0, |header| header.flags & flags::RCODE);
    let (qname, qtype) = match Query::parse(request) {
        Ok(query) => (query.qname.to_string(), query.qtype.to_string()),
        Err(_) => ("-".to_owned(), "-".to_owned()),
    };
    let rcode = Rcode(rcode).to_string();
    let Asked { client, transport, .. } = asked;
    tracing::info!(target: "query", %client, ?transport, qname, qtype, ?outcome, rcode);
}
