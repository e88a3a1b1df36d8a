//! Fetches answers that are not in the cache, or have expired there: once for all clients that wait
//! for the same answer, in the background while a stale answer serves, and before a popular answer
//! expires.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::chase::{self, Hops};
use super::reply::Age;
use super::snapshot::Snapshot;
use super::{Worker, splice};
use crate::addresses::HostBlock;
use crate::cache::Hit;
use crate::config::Dnssec;
use crate::forward::{Failure, Rule};
use crate::metrics::Event;
use crate::wire::{Answer, AnswerRef, Query, Question, Rtype};

/// How long `. NS` may take: CoreDNS takes any reply to it for health and silence for death within
/// a second, so it is answered at once even while every upstream is dead.
const ROOT_NS_BUDGET: Duration = Duration::from_millis(250);

/// How long a client waits at most when there is a stale answer for it: RFC 8767 §5 has 1.8 s, as stub
/// resolvers ask again after two or more.
const STALE_AFTER: Duration = Duration::from_millis(1_800);

/// How long a popular name is left alone whose new answer could not be kept.
const LEFT_ALONE: Duration = Duration::from_secs(30);

/// A failure, and what it was a failure of.
#[derive(Clone)]
pub struct Remembered {
    failure: Failure,
    /// The paths to the upstreams that were asked: see [`Worker::paths`].
    paths: u64,
    noted: Instant,
}

#[cfg(test)]
impl Remembered {
    /// What an upstream's reply in it takes.
    pub(super) fn octets(&self) -> usize {
        match &self.failure {
            Failure::BadReply(answer) => answer.octets().len(),
            _ => 0,
        }
    }
}

impl Worker {
    /// Finds the answer to `question`, which `rule` covers, for `client`, which waits for it, and
    /// what time has made of it. After a failure, what is kept past its time may serve.
    pub(super) async fn fetch(
        self: &Rc<Self>,
        snapshot: &Arc<Snapshot>,
        rule: Option<&Arc<Rule>>,
        client: HostBlock,
        question: &Question,
    ) -> Result<(Arc<Answer>, Age), Failure> {
        let now = Instant::now();
        let kept = snapshot.cache.find_stale(&question.borrowed(), now);
        let is_stale = match kept.filter(|hit| holds(snapshot, question.qtype, hit)) {
            // Somebody has brought it since the decision.
            Some(hit) if !hit.is_stale() => {
                let answer = Arc::new(hit.answer().to_answer());
                return Ok((answer, Age::Seconds(hit.age_seconds)));
            }
            kept => kept.is_some(),
        };
        if let Some(failure) = self.remembered(snapshot, rule, question, now) {
            self.count_refusal(&failure);
            return Err(failure);
        }
        let fetched = if is_stale {
            self.fetch_behind(snapshot, rule, client, question).await
        } else {
            self.fetch_once(snapshot, rule, client, question).await
        };
        fetched.map(|answer| (answer, Age::NEW))
    }

    /// Fetches what there is a stale answer for: who waits gets that after a while, and this goes on
    /// for those who ask later (RFC 8767 §5).
    async fn fetch_behind(
        self: &Rc<Self>,
        snapshot: &Arc<Snapshot>,
        rule: Option<&Arc<Rule>>,
        client: HostBlock,
        question: &Question,
    ) -> Result<Arc<Answer>, Failure> {
        // Where nobody is there to answer, waiting gains nothing.
        let is_down = rule.is_some_and(|rule| rule.is_down());
        let begun = self.refreshes.begin(&question.borrowed()).map(|refresh| {
            let (worker, snapshot) = (Rc::clone(self), Arc::clone(snapshot));
            let question = question.clone();
            spawn_local(async move {
                let _until_done = refresh;
                let rule = snapshot.rules.find(&(&question.qname).into());
                worker.fetch_once(&snapshot, rule, client, &question).await
            })
        });
        if is_down {
            return Err(Failure::TimedOut);
        }
        let fetched = match begun {
            Some(task) => timeout(STALE_AFTER, task).await.map(|ended| {
                // Only a panic ends it early.
                ended.unwrap_or(Err(Failure::TimedOut))
            }),
            // Somebody has begun, or too many have: then it ends with those who wait.
            None => timeout(STALE_AFTER, self.fetch_once(snapshot, rule, client, question)).await,
        };
        fetched.unwrap_or_else(|_| {
            // Remember the timeout, so that the next client gets the stale answer at once.
            let paths = rule.map_or(0, |rule| self.paths(rule));
            self.remember(snapshot, question, Failure::TimedOut, paths);
            Err(Failure::TimedOut)
        })
    }

    /// Fetches what `request` asks for while its kept answer still holds.
    pub(super) fn refresh(
        self: &Rc<Self>,
        snapshot: &Arc<Snapshot>,
        client: HostBlock,
        request: &[u8],
    ) {
        let Ok(query) = Query::parse(request) else { return };
        let Some(refresh) = self.refreshes.begin(&query.as_question()) else { return };
        let (worker, snapshot) = (Rc::clone(self), Arc::clone(snapshot));
        let question = query.to_question();
        spawn_local(async move {
            let rule = snapshot.rules.find(&(&question.qname).into());
            let fetched = worker.fetch_once(&snapshot, rule, client, &question).await;
            let kept = snapshot.cache.find(&question.borrowed(), Instant::now());
            let is_renewed = kept.is_some_and(|hit| !hit.wants_refresh());
            let pause = match fetched {
                Ok(_) if is_renewed => return worker.counters.count(Event::Prefetched),
                Ok(_) => LEFT_ALONE,
                Err(_) => snapshot.failure_ttl,
            };
            // Every hit would try again. What a reload has replaced does not wait along.
            drop(snapshot);
            sleep(pause).await;
            drop(refresh);
        });
    }

    /// Asks for `question`, together with everybody who asks for it now.
    pub(super) async fn fetch_once(
        &self,
        snapshot: &Snapshot,
        rule: Option<&Arc<Rule>>,
        client: HostBlock,
        question: &Question,
    ) -> Result<Arc<Answer>, Failure> {
        let ask = || self.ask_and_keep(snapshot, rule, client, question);
        // `pin!` makes a future where it stays: awaited directly, its kilobytes are copied twice.
        pin!(snapshot.flights.run(client, question, ask)).await
    }

    /// Asks upstreams, and keeps what they say: an answer, or that there is none.
    async fn ask_and_keep(
        &self,
        snapshot: &Snapshot,
        rule: Option<&Arc<Rule>>,
        client: HostBlock,
        question: &Question,
    ) -> Result<Arc<Answer>, Failure> {
        let Some(rule) = rule else {
            return Err(Failure::NoUpstream);
        };
        let is_root_ns = question.qname.is_root() && question.qtype == Rtype::NS;
        let budget = if is_root_ns { ROOT_NS_BUDGET } else { Duration::MAX }.min(rule.timeout());
        let paths = self.paths(rule);
        match pin!(self.ask_upstreams(snapshot, rule, client, question, budget)).await {
            Ok((answer, leads_to_us)) => {
                snapshot.failures.forget(&question.borrowed());
                snapshot.cache.insert(question, &answer, leads_to_us, Instant::now());
                Ok(answer)
            }
            Err(failure) => {
                // A question with less time than the rule allows says nothing about the others.
                if budget == rule.timeout() {
                    self.remember(snapshot, question, failure.clone(), paths);
                }
                Err(failure)
            }
        }
    }

    /// Changes when upstreams of `rule` come back or go, and with the network: what failed before may
    /// be had now.
    pub(super) fn paths(&self, rule: &Rule) -> u64 {
        self.forwarder.network().wrapping_add(rule.changes())
    }

    fn remember(&self, snapshot: &Snapshot, question: &Question, failure: Failure, paths: u64) {
        if !failure.is_worth_remembering() {
            return;
        }
        let failure = match failure {
            // Its records would stand beside the cache's own memory.
            Failure::BadReply(answer) => {
                let bare = answer.borrowed().without_records(question);
                bare.map_or(Failure::Garbled, |bare| Failure::BadReply(Arc::new(bare)))
            }
            Failure::Endless(_) => chase::ENDLESS,
            failure => failure,
        };
        let noted = Instant::now();
        let remembered = Remembered { failure, paths, noted };
        snapshot.failures.note(question, remembered, snapshot.failure_ttl, noted);
    }

    /// Returns the remembered failure of `question`, unless it was found over other paths, or keys
    /// of a zone above it have been proven since a verdict. Refusals go by the answer, not by the
    /// path.
    fn remembered(
        &self,
        snapshot: &Snapshot,
        rule: Option<&Arc<Rule>>,
        question: &Question,
        now: Instant,
    ) -> Option<Failure> {
        let Remembered { failure, paths, noted } =
            snapshot.failures.recent(&question.borrowed(), now)?;
        if matches!(failure, Failure::Bogus(_) | Failure::Unvalidated(_))
            && snapshot.keys.known.has_learned_since(&question.qname, noted)
        {
            return None;
        }
        (!failure.may_serve_stale() || paths == self.paths(rule?)).then_some(failure)
    }

    /// An answer, and whether its chain leads to us: then it is the way alone.
    async fn ask_upstreams(
        &self,
        snapshot: &Snapshot,
        rule: &Rule,
        client: HostBlock,
        question: &Question,
        budget: Duration,
    ) -> Result<(Arc<Answer>, bool), Failure> {
        let deadline = tokio::time::Instant::now() + budget;
        let asked = pin!(self.ask_as_ruled(snapshot, rule, client, question, deadline)).await;
        // What an upstream says of its end is thrown away now: under another configuration it
        // would be an answer that nobody has looked at.
        let way = |answer: &AnswerRef<'_>| {
            let links = splice::links_to_us(&snapshot.zones, question.qtype, answer)?;
            Some(answer.way(question, links).map_err(|_| Failure::Garbled))
        };
        match asked {
            Ok(answer) => {
                let answer = answer.capped(question.qtype, snapshot.ttl_limits);
                let borrowed = answer.borrowed();
                if let Some(way) = way(&borrowed) {
                    return Ok((Arc::new(way?), true));
                }
                self.admit(snapshot, rule, question, &borrowed)?;
                Ok((Arc::new(answer), false))
            }
            // A server that cannot resolve our private zone still shows the chain that leads there.
            // So does one whose chain goes in a circle behind our name.
            Err(failure) => {
                let shown = failure.shown().and_then(|answer| way(&answer.borrowed()));
                let way = shown.ok_or(failure)??.capped(question.qtype, snapshot.ttl_limits);
                Ok((Arc::new(way), true))
            }
        }
    }

    /// Asks, and goes on asking while the answer ends in a CNAME that is not ours, all of it until
    /// `deadline`. A chain without an end within our limit is a failure. Returns the number of the
    /// upstream that answered first, too.
    pub(super) async fn ask_and_chase(
        &self,
        snapshot: &Snapshot,
        rule: &Rule,
        client: HostBlock,
        question: &Question,
        deadline: tokio::time::Instant,
        hops: Hops<'_>,
    ) -> Result<(Answer, u64), Failure> {
        let asked = self.forwarder.ask_others_first(rule, client, question, deadline, hops.avoid());
        let (mut whole, upstream) = pin!(asked).await?;
        for _ in 0..=chase::MAX_HOPS {
            let Some(qname) = chase::next(&snapshot.zones, question, &whole.borrowed()) else {
                return Ok((whole, upstream));
            };
            let next = Question { qname, ..question.clone() };
            // Where no upstream can be asked, the chain's beginning is all there is.
            let Some(rule) = snapshot.rule_for(&next) else { return Ok((whole, upstream)) };
            // In a box, since nearly no question comes here.
            let asked = Box::pin(self.ask_hop(snapshot, rule, client, next, deadline, hops)).await;
            let (rest, is_end) = match asked {
                Ok(rest) => rest,
                // It may show a chain that goes on to us.
                Err(Failure::BadReply(rest)) => {
                    let joined = chase::join(question, &whole.borrowed(), &rest.borrowed())?;
                    return Err(Failure::BadReply(joined.into()));
                }
                Err(Failure::Endless(rest)) => {
                    let joined = chase::join(question, &whole.borrowed(), &rest.borrowed())?;
                    return Err(Failure::Endless(joined.into()));
                }
                Err(failure) => return Err(failure),
            };
            whole = chase::join(question, &whole.borrowed(), &rest.borrowed())?;
            if is_end {
                return Ok((whole, upstream));
            }
        }
        Err(chase::ENDLESS)
    }

    /// Asks for the name that a chain leads to, as the name's own `rule` wants it. Returns the
    /// answer, and whether there is nothing more to ask behind it.
    async fn ask_hop(
        &self,
        snapshot: &Snapshot,
        rule: &Rule,
        client: HostBlock,
        mut next: Question,
        deadline: tokio::time::Instant,
        hops: Hops<'_>,
    ) -> Result<(Answer, bool), Failure> {
        let validates = rule.dnssec() == Dnssec::Validate;
        let (rest, is_end) = match hops {
            Hops::ByTheirRules if validates && !next.checking_disabled => {
                // All that is behind this name is judged too, so the rest comes with its end.
                let judged = self.ask_validating(snapshot, rule, client, &next, deadline);
                (judged.await?, true)
            }
            _ => {
                if matches!(hops, Hops::JudgedByCaller { .. }) {
                    // An upstream that validates in our place must go on doing so.
                    next.checking_disabled = validates;
                }
                let asked =
                    self.forwarder.ask_others_first(rule, client, &next, deadline, hops.avoid());
                let (rest, _) = asked.await?;
                let is_end = rest.borrowed().header().answers == 0;
                // If the rule validates, its upstream's AD does not count.
                (if validates { rest.judged(false, u32::MAX) } else { rest }, is_end)
            }
        };
        // Its own rule may be stricter than the first one's.
        self.admit(snapshot, rule, &next, &rest.borrowed())?;
        Ok((rest, is_end))
    }
}

/// Whether a kept answer is one: what holds only while its chain leads to us must lead there.
pub(super) fn holds(snapshot: &Snapshot, qtype: Rtype, hit: &Hit) -> bool {
    !hit.needs_us || splice::leads_to_us(&snapshot.zones, qtype, &hit.answer())
}
