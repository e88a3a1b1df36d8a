//! One thread's engine: decides, resolves misses, counts and logs.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::decide::{answer_late, leads_to_us};
use super::recorder::{Recorder, Step};
use super::refreshes::Refreshes;
use super::reply::{self, Age};
use super::snapshot::Snapshot;
use super::{Asked, Outcome, Silence, Transport, Verdict, chase, decide};
use crate::cache::Hit;
use crate::config::LogQueries;
use crate::forward::{Failure, Forwarder};
use crate::metrics::{Counters, Event};
use crate::wire::{Answer, Header, Name, Query, Question, Rcode, Rtype, flags};

/// How long `. NS` may take: CoreDNS takes any reply to it for health and silence for death within
/// a second, so it is answered at once even while every upstream is dead.
const ROOT_NS_BUDGET: Duration = Duration::from_millis(250);

/// How long a client waits at most when there is a stale answer for it: RFC 8767 §5 has 1.8 s, as stub
/// resolvers ask again after two or more.
const STALE_AFTER: Duration = Duration::from_millis(1_800);

/// What all workers share.
pub struct Shared {
    /// The configuration in force.
    pub snapshot: ArcSwap<Snapshot>,
}

/// Listens for one thing: that a kept answer should be fetched anew.
struct EndWatch(bool);

impl Recorder for EndWatch {
    #[inline]
    fn note(&mut self, _step: impl FnOnce() -> Step) {}

    fn note_end_is_near(&mut self) {
        self.0 = true;
    }
}

/// One thread's engine. Stays on its thread: it holds that thread's upstream sockets.
pub struct Worker {
    shared: Arc<Shared>,
    forwarder: Forwarder,
    counters: Arc<Counters>,
    refreshes: Refreshes,
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
            self.refresh(snapshot, request);
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
        let outcome = match self.fetch_once(snapshot, query.to_question()).await {
            Ok(answer) => answer_late(snapshot, asked, &query, (&answer.borrowed(), Age::NEW), out),
            Err(failure) => {
                answer_stale(snapshot, asked, &query, &failure, out).unwrap_or_else(|| {
                    reply::failure(&query, asked.transport, &failure, out);
                    Outcome::Failed
                })
            }
        };
        self.finish(snapshot, asked, request, outcome, out, begin);
    }

    /// Asks for `question`, together with everybody who asks for it now.
    async fn fetch_once(
        self: &Rc<Self>,
        snapshot: &Arc<Snapshot>,
        question: Question,
    ) -> Result<Arc<Answer>, Failure> {
        let lead = self.fetch(snapshot, &question);
        snapshot.flights.run(&question, lead).await
    }

    async fn fetch(
        self: &Rc<Self>,
        snapshot: &Arc<Snapshot>,
        question: &Question,
    ) -> Result<Arc<Answer>, Failure> {
        let now = Instant::now();
        let stale = match snapshot.cache.find_stale(&question.borrowed(), now) {
            // Another worker may have brought it between our look and this flight. Who waits gets it
            // with the TTLs that it came with: so not if it is older.
            Some(hit) if hit.age_seconds == 0 && holds(snapshot, question, &hit) => {
                return Ok(Arc::new(hit.answer().to_answer()));
            }
            kept => kept.is_some_and(|hit| hit.is_stale()),
        };
        if let Some(failure) = snapshot.failures.recent(&question.borrowed(), now) {
            return Err(failure);
        }
        if stale {
            return self.fetch_behind(snapshot, question.clone()).await;
        }
        self.ask_and_keep(snapshot, question).await
    }

    /// Fetches what there is a stale answer for: who waits gets that after a while, and this goes on
    /// for those who ask later (RFC 8767 §5).
    async fn fetch_behind(
        self: &Rc<Self>,
        snapshot: &Arc<Snapshot>,
        question: Question,
    ) -> Result<Arc<Answer>, Failure> {
        let Some(refresh) = self.refreshes.begin(&question.borrowed()) else {
            return Err(Failure::TimedOut);
        };
        // Where nobody is there to answer, waiting gains nothing.
        let rule = snapshot.rules.find(&(&question.qname).into());
        let patience =
            if rule.is_some_and(|rule| rule.is_down()) { Duration::ZERO } else { STALE_AFTER };
        let fetched = spawn_local({
            let (worker, snapshot) = (Rc::clone(self), Arc::clone(snapshot));
            async move {
                let _until_done = refresh;
                worker.ask_and_keep(&snapshot, &question).await
            }
        });
        match timeout(patience, fetched).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => Err(Failure::TimedOut),
        }
    }

    /// Fetches what `request` asks for while its kept answer still holds.
    fn refresh(self: &Rc<Self>, snapshot: &Arc<Snapshot>, request: &[u8]) {
        let Ok(query) = Query::parse(request) else { return };
        let Some(refresh) = self.refreshes.begin(&query.as_question()) else { return };
        let (worker, snapshot) = (Rc::clone(self), Arc::clone(snapshot));
        let question = query.to_question();
        spawn_local(async move {
            if worker.fetch_once(&snapshot, question).await.is_ok() {
                worker.counters.count(Event::Prefetched);
            } else {
                // Every hit would try again.
                sleep(snapshot.failure_ttl).await;
            }
            drop(refresh);
        });
    }

    /// Asks upstreams, and keeps what they say: an answer, or that there is none.
    async fn ask_and_keep(
        &self,
        snapshot: &Snapshot,
        question: &Question,
    ) -> Result<Arc<Answer>, Failure> {
        let asked = self.ask_upstreams(snapshot, question).await;
        let now = Instant::now();
        match &asked {
            Ok((answer, leads_to_us)) => {
                snapshot.failures.forget(&question.borrowed());
                snapshot.cache.insert(question, answer, *leads_to_us, now);
            }
            Err(failure) if failure.is_worth_remembering() => {
                let ttl = snapshot.failure_ttl;
                snapshot.failures.note(question, failure.clone(), ttl, now);
            }
            Err(_) => {}
        }
        asked.map(|(answer, _)| answer)
    }

    /// An answer, and whether its chain leads to us.
    async fn ask_upstreams(
        &self,
        snapshot: &Snapshot,
        question: &Question,
    ) -> Result<(Arc<Answer>, bool), Failure> {
        let Some(rule) = snapshot.rules.find(&(&question.qname).into()) else {
            return Err(Failure::NoUpstream);
        };
        let budget = if question.qname == Name::root() && question.qtype == Rtype::NS {
            rule.timeout().min(ROOT_NS_BUDGET)
        } else {
            rule.timeout()
        };
        let deadline = tokio::time::Instant::now() + budget;
        let chased = self.ask_and_chase(snapshot, question, deadline).await;
        let leads = |answer: &Answer| leads_to_us(snapshot, question.qtype, &answer.borrowed());
        match chased {
            Ok(answer) => {
                let leads = leads(&answer);
                Ok((Arc::new(answer), leads))
            }
            // A server that cannot resolve our private zone still shows the chain that leads there.
            Err(Failure::BadReply(answer)) if leads(&answer) => Ok((answer, true)),
            Err(failure) => Err(failure),
        }
    }

    /// Asks, and goes on asking while the answer ends in a CNAME that is not ours, all of it until
    /// `deadline`.
    async fn ask_and_chase(
        &self,
        snapshot: &Snapshot,
        question: &Question,
        deadline: tokio::time::Instant,
    ) -> Result<Answer, Failure> {
        let rule = snapshot.rules.find(&(&question.qname).into()).ok_or(Failure::NoUpstream)?;
        let mut whole = self.forwarder.ask(rule, question, deadline).await?;
        for _ in 0..chase::MAX_HOPS {
            let Some(qname) = chase::next(&snapshot.zones, question, &whole.borrowed()) else {
                break;
            };
            // Where nobody can be asked, the chain's beginning is all there is.
            let Some(rule) = snapshot.rules.find(&(&qname).into()) else { break };
            let next = Question { qname, ..question.clone() };
            let rest = match self.forwarder.ask(rule, &next, deadline).await {
                Ok(rest) => rest,
                // It may show a chain that goes on to us.
                Err(Failure::BadReply(rest)) => {
                    let joined = chase::join(question, &whole.borrowed(), &rest.borrowed());
                    return Err(
                        joined.map_or(Failure::Garbled, |all| Failure::BadReply(all.into()))
                    );
                }
                Err(failure) => return Err(failure),
            };
            let is_end = rest.borrowed().header().answers == 0;
            whole = chase::join(question, &whole.borrowed(), &rest.borrowed())
                .map_err(|_| Failure::Garbled)?;
            if is_end {
                break;
            }
        }
        Ok(whole)
    }

    /// A query of our own came back: an upstream asks us.
    fn catch(&self, snapshot: &Snapshot, asked: &Asked, request: &[u8]) {
        self.counters.count(Event::Loop);
        if let Ok(query) = Query::parse(request) {
            snapshot.loops.note_return(&query.qname, asked.client);
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
        if logged {
            log_query(asked, request, outcome, out.get(begin..).unwrap_or(&[]));
        }
    }
}

/// Whether a kept answer is one: what holds only while its chain leads to us must lead there.
fn holds(snapshot: &Snapshot, question: &Question, hit: &Hit) -> bool {
    !hit.needs_us || leads_to_us(snapshot, question.qtype, &hit.answer())
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
    if failure.is_verdict() {
        return None;
    }
    let hit = snapshot.cache.find_stale(&query.as_question(), Instant::now())?;
    let answer = hit.answer();
    if hit.needs_us && !leads_to_us(snapshot, query.qtype, &answer) {
        return None;
    }
    // Somebody may have brought a new one in the meantime.
    let age = if hit.is_stale() { Age::Stale } else { Age::Seconds(hit.age_seconds) };
    Some(answer_late(snapshot, asked, query, (&answer, age), out))
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
