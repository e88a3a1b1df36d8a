//! How an answer is had that is not kept, or not any more: once for all who ask for it, behind a stale
//! one where there is one, ahead of its end where it is popular.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::snapshot::Snapshot;
use super::{Worker, chase, splice};
use crate::cache::Hit;
use crate::forward::Failure;
use crate::metrics::Event;
use crate::wire::{Answer, Name, Query, Question, Rtype};

/// How long `. NS` may take: CoreDNS takes any reply to it for health and silence for death within
/// a second, so it is answered at once even while every upstream is dead.
const ROOT_NS_BUDGET: Duration = Duration::from_millis(250);

/// How long a client waits at most when there is a stale answer for it: RFC 8767 §5 has 1.8 s, as stub
/// resolvers ask again after two or more.
const STALE_AFTER: Duration = Duration::from_millis(1_800);

impl Worker {
    /// Asks for `question`, together with everybody who asks for it now.
    pub(super) async fn fetch_once(
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
    pub(super) fn refresh(self: &Rc<Self>, snapshot: &Arc<Snapshot>, request: &[u8]) {
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

    /// Fetches what we want to know ourselves: kept or new, and never past its time.
    pub(super) async fn fetch_for_us(
        &self,
        snapshot: &Snapshot,
        question: Question,
    ) -> Result<Arc<Answer>, Failure> {
        let now = Instant::now();
        if let Some(hit) = snapshot.cache.find(&question.borrowed(), now)
            && holds(snapshot, &question, &hit)
        {
            return Ok(Arc::new(hit.answer().to_answer()));
        }
        if let Some(failure) = snapshot.failures.recent(&question.borrowed(), now) {
            return Err(failure);
        }
        snapshot.flights.run(&question, self.ask_and_keep(snapshot, &question)).await
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
        let asked = self.ask_as_ruled(snapshot, rule, question, deadline).await;
        let leads = |answer: &Answer| {
            splice::leads_to_us(&snapshot.zones, question.qtype, &answer.borrowed())
        };
        let (answer, leads_to_us) = match asked {
            Ok(answer) => {
                let leads = leads(&answer);
                (Arc::new(answer), leads)
            }
            // A server that cannot resolve our private zone still shows the chain that leads there.
            Err(Failure::BadReply(answer)) if leads(&answer) => (answer, true),
            Err(failure) => return Err(failure),
        };
        self.admit(snapshot, rule, question, &answer.borrowed())?;
        Ok((answer, leads_to_us))
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
}

/// Whether a kept answer is one: what holds only while its chain leads to us must lead there.
fn holds(snapshot: &Snapshot, question: &Question, hit: &Hit) -> bool {
    !hit.needs_us || splice::leads_to_us(&snapshot.zones, question.qtype, &hit.answer())
}
