//! One thread's engine: decides, resolves misses, counts and logs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};

use super::decide::answer_now;
use super::recorder::Silent;
use super::snapshot::Snapshot;
use super::{Asked, Outcome, Silence, Transport, Verdict, chase, decide, reply, splice};
use crate::config::LogQueries;
use crate::forward::{Failure, Forwarder};
use crate::metrics::{Counters, Event};
use crate::wire::{Answer, Header, Name, Query, Question, Rcode, Rtype, flags};

/// How long `. NS` may take: CoreDNS takes any reply to it for health and silence for death within
/// a second, so it is answered at once even while every upstream is dead.
const ROOT_NS_BUDGET: Duration = Duration::from_millis(250);

/// What all workers share.
pub struct Shared {
    /// The configuration in force.
    pub snapshot: ArcSwap<Snapshot>,
}

/// One thread's engine. Stays on its thread: it holds that thread's upstream sockets.
pub struct Worker {
    shared: Arc<Shared>,
    pub(super) forwarder: Forwarder,
    pub(super) counters: Arc<Counters>,
}

impl Worker {
    /// An engine for this thread.
    pub fn new(shared: Arc<Shared>, forwarder: Forwarder, counters: Arc<Counters>) -> Self {
        Self { shared, forwarder, counters }
    }

    /// The configuration in force; loaded once a batch.
    pub fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.shared.snapshot.load()
    }

    /// Decides at once, and appends the reply, if there is one, to `out`. Counts and logs.
    pub fn answer(
        &self,
        snapshot: &Snapshot,
        asked: &Asked,
        request: &[u8],
        out: &mut Vec<u8>,
    ) -> Verdict {
        let begin = out.len();
        let verdict = decide(snapshot, asked, request, out, &mut Silent);
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
        verdict
    }

    /// Finishes what [`Self::answer`] said to forward: appends a reply to `out`, always, and inside
    /// the rule's budget.
    pub async fn resolve(
        &self,
        snapshot: &Snapshot,
        asked: &Asked,
        request: &[u8],
        out: &mut Vec<u8>,
    ) {
        let begin = out.len();
        // It was parsed once before, so this never fails.
        let Ok(query) = Query::parse(request) else { return };
        let outcome = match self.fetch_once(snapshot, query.to_question()).await {
            Ok(answer) => answer_now(snapshot, asked, &query, &answer.borrowed(), out),
            Err(failure) => {
                reply::failure(&query, asked.transport, &failure, out);
                Outcome::Failed
            }
        };
        self.finish(snapshot, asked, request, outcome, out, begin);
    }

    /// Asks for `question`, together with everybody who asks for it now.
    pub(super) async fn fetch_once(
        &self,
        snapshot: &Snapshot,
        question: Question,
    ) -> Result<Arc<Answer>, Failure> {
        let lead = self.fetch(snapshot, question.clone());
        snapshot.flights.run(&question, lead).await
    }

    async fn fetch(&self, snapshot: &Snapshot, question: Question) -> Result<Arc<Answer>, Failure> {
        // Another worker may have brought it between our look and this flight. Who waits gets it
        // with the TTLs that it came with: so not if it is older.
        let hit = snapshot.cache.find(&question.borrowed(), Instant::now());
        if let Some(hit) = hit.filter(|hit| hit.age_seconds == 0) {
            let answer = hit.answer();
            if !hit.needs_us || splice::leads_to_us(&snapshot.zones, question.qtype, &answer) {
                return Ok(Arc::new(answer.to_answer()));
            }
        }
        let Some(rule) = snapshot.rules.find(&(&question.qname).into()) else {
            return Err(Failure::NoUpstream);
        };
        let budget = if question.qname == Name::root() && question.qtype == Rtype::NS {
            rule.timeout().min(ROOT_NS_BUDGET)
        } else {
            rule.timeout()
        };
        let deadline = tokio::time::Instant::now() + budget;
        let chased = self.ask_as_ruled(snapshot, rule, &question, deadline).await;
        let leads = |answer: &Answer| {
            splice::leads_to_us(&snapshot.zones, question.qtype, &answer.borrowed())
        };
        let (answer, leads_to_us) = match chased {
            Ok(answer) => {
                let leads = leads(&answer);
                (Arc::new(answer), leads)
            }
            // A server that cannot resolve our private zone still shows the chain that leads there.
            Err(Failure::BadReply(answer)) if leads(&answer) => (answer, true),
            Err(failure) => return Err(failure),
        };
        self.admit(snapshot, rule, &question, &answer.borrowed())?;
        snapshot.cache.insert(&question, &answer, leads_to_us, Instant::now());
        Ok(answer)
    }

    /// Asks, and goes on asking while the answer ends in a CNAME that is not ours, all of it until
    /// `deadline`.
    pub(super) async fn ask_and_chase(
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
