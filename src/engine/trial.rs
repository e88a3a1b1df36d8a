//! Judges one answer with the validator. After a bad verdict it asks for the answer and the keys
//! again, and judges once more.
//!
//! docs/design/validation.md lists the steps and their bounds.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::chase::Hops;
use super::keys::Told;
use super::snapshot::Snapshot;
use super::{Worker, splice};
use crate::addresses::HostBlock;
use crate::config::Dnssec;
use crate::dnssec::{Brought, Judged, Security, Session, Source};
use crate::forward::{Failure, Rule};
use crate::wire::{Answer, AnswerRef, Name, QName, Question, Rtype};

/// Which upstream answered which question, by number.
type Sources = HashMap<(Name, Rtype), u64>;

/// One client's question under a rule that validates.
pub(super) struct Trial<'a> {
    pub(super) worker: &'a Worker,
    pub(super) snapshot: &'a Snapshot,
    pub(super) rule: &'a Rule,
    /// The client that waits.
    pub(super) client: HostBlock,
    /// With DO and CD.
    pub(super) question: &'a Question,
    pub(super) deadline: Instant,
}

impl Trial<'_> {
    /// Asks, and returns the answer with its worth.
    pub(super) async fn run(&self) -> Result<(Answer, Security), Failure> {
        let suspects = self.suspects();
        let (answer, upstream) = match self.ask(&suspects).await {
            Ok(told) => told,
            Err(Failure::BadReply(shown)) => {
                // A chain that leads to us counts whatever the upstream says of its end: so its
                // links must hold.
                let zones = &self.snapshot.zones;
                if splice::leads_to_us(zones, self.question.qtype, &shown.borrowed()) {
                    self.judge((*shown).clone(), None).await?;
                }
                return Err(Failure::BadReply(shown));
            }
            Err(failure) => return Err(failure),
        };
        self.judge(answer, Some(upstream)).await
    }

    async fn ask(&self, avoid: &[u64]) -> Result<(Answer, u64), Failure> {
        let Self { worker, snapshot, rule, client, question, deadline } = self;
        let hops = Hops::JudgedByCaller { avoid };
        worker.ask_and_chase(snapshot, rule, *client, question, *deadline, hops).await
    }

    fn suspects(&self) -> Vec<u64> {
        self.snapshot.keys.suspects(&self.question.qname, now())
    }

    /// Judges the `answer` of an `upstream`; `None`: it cannot be asked for again.
    async fn judge(
        &self,
        answer: Answer,
        upstream: Option<u64>,
    ) -> Result<(Answer, Security), Failure> {
        let keys = &self.snapshot.keys;
        let mut session = Session::new(Arc::clone(&keys.known));
        let mut sources = Sources::new();
        let upstreams = self.suspects();
        let avoid = Avoided { sources: Sources::new(), answered: None, upstreams };
        let first = self.round(&answer, &avoid, &mut session, &mut sources).await;
        let failure = match first {
            Ok(judged) => return Ok(judged.with(answer)),
            Err(failure) => failure,
        };
        let is_bogus = matches!(failure, Failure::Bogus(_));
        if !is_bogus && !matches!(failure, Failure::Unvalidated(_)) {
            return Err(failure);
        }
        self.appeal(Verdict { answer, upstream, sources, failure, is_bogus }, session).await
    }

    /// Asks again past memory, another upstream first, and judges again. The first verdict stands
    /// unless the second round ends with one.
    async fn appeal(
        &self,
        verdict: Verdict,
        mut session: Session,
    ) -> Result<(Answer, Security), Failure> {
        let Verdict { answer, upstream, sources, mut failure, is_bogus } = verdict;
        let keys = &self.snapshot.keys;
        let avoid = Avoided { sources, answered: upstream, upstreams: self.suspects() };
        let at_fault = session.at_fault();
        let zone = at_fault.first().map_or_else(Name::root, |(zone, _)| zone.clone());
        let mut second = None;
        if upstream.is_some() && is_bogus && keys.may_ask_again(&zone, now()) {
            let not = avoid.upstreams.iter().copied().chain(upstream).collect::<Vec<_>>();
            second = self.ask(&not).await.ok();
        }
        // Proven keys are seldom wrong: a zone has changed them in a hurry.
        let mut is_judged = second.is_none();
        let mut after = Sources::new();
        if let Some((other, from)) = second.take_if(|_| session.took_proven_keys_only()) {
            is_judged = true;
            match self.round(&other, &avoid, &mut session, &mut after).await {
                Ok(judged) => {
                    self.compare(&zone, [upstream, Some(from)], [&avoid.sources, &after]);
                    return Ok(judged.with(other));
                }
                Err(Failure::TimedOut) => return Err(failure),
                Err(why) => failure = why,
            }
            second = Some((other, from));
        }
        for (zone, had_since) in at_fault {
            if let Some(since) = keys.renew(&zone, had_since, now()) {
                session.renew(zone, since);
                is_judged = false;
            }
        }
        if is_judged {
            return Err(failure);
        }
        // The second answer may be the worse one.
        let other = second.as_ref().map(|(_, from)| *from);
        let second = second.map(|(answer, from)| (answer, [upstream, Some(from)]));
        for (answer, answered) in second.into_iter().chain([(answer, [other, upstream])]) {
            after.clear();
            match self.round(&answer, &avoid, &mut session, &mut after).await {
                Ok(judged) => {
                    self.compare(&zone, answered, [&avoid.sources, &after]);
                    return Ok(judged.with(answer));
                }
                Err(why @ Failure::Bogus(_)) => failure = why,
                Err(_) => return Err(failure),
            }
        }
        Err(failure)
    }

    async fn round(
        &self,
        answer: &Answer,
        avoid: &Avoided,
        session: &mut Session,
        sources: &mut Sources,
    ) -> Result<Judged, Failure> {
        let Self { snapshot, question, deadline, .. } = self;
        let answer: AnswerRef<'_> = answer.borrowed();
        let links = splice::links_to_us(&snapshot.zones, question.qtype, &answer);
        let source = KeySource { trial: self, avoid, sources: RefCell::new(sources) };
        let validation = snapshot.validator.validate(question, &answer, links, &source, session);
        timeout_at(*deadline, validation).await.map_err(|_| Failure::TimedOut)?
    }

    /// Compares a first round that failed with a second one that did not: the upstreams of the
    /// answer and those of the keys, each before and after. An upstream that had a part in the
    /// first alone is asked last for a while.
    fn compare(&self, zone: &Name, answered: [Option<u64>; 2], asked: [&Sources; 2]) {
        let ([first, second], [before, after]) = (answered, asked);
        let is_good = |upstream: u64| {
            Some(upstream) == second || after.values().any(|other| *other == upstream)
        };
        // Where the answer was not asked again, the keys alone were at fault.
        let answered = first.filter(|_| second.is_some());
        let asked_again = before.iter().filter(|(question, _)| after.contains_key(*question));
        let bad = answered.into_iter().chain(asked_again.map(|(_, upstream)| *upstream));
        for upstream in bad.filter(|upstream| !is_good(*upstream)) {
            self.snapshot.keys.suspect(zone, upstream, now());
        }
    }
}

/// A first verdict, with its answer and the upstreams that had a part in it.
struct Verdict {
    answer: Answer,
    upstream: Option<u64>,
    sources: Sources,
    failure: Failure,
    is_bogus: bool,
}

/// Upstreams that are asked last.
struct Avoided {
    /// For a question that they have answered.
    sources: Sources,
    /// For a question of which that is not known: the upstream of the answer.
    answered: Option<u64>,
    /// For every question.
    upstreams: Vec<u64>,
}

/// Brings answers about keys: kept, or new.
struct KeySource<'a, 'b> {
    trial: &'a Trial<'a>,
    avoid: &'a Avoided,
    /// The upstreams that gave them.
    sources: RefCell<&'b mut Sources>,
}

impl Source for KeySource<'_, '_> {
    fn validates(&self, name: &QName) -> bool {
        let rule = self.trial.snapshot.rules.find(name);
        rule.is_some_and(|rule| rule.dnssec() == Dnssec::Validate)
    }

    async fn ask(&self, question: Question, since: Option<std::time::Instant>) -> Option<Brought> {
        let told = self.bring(&question, since).await?;
        self.sources.borrow_mut().insert((question.qname, question.qtype), told.upstream);
        Some(told.brought)
    }
}

impl KeySource<'_, '_> {
    async fn bring(&self, question: &Question, since: Option<std::time::Instant>) -> Option<Told> {
        let Trial { worker, snapshot, rule, client, deadline, .. } = self.trial;
        let keys = &snapshot.keys;
        let Some(covering) = snapshot.rule_for(question) else {
            if snapshot.rules.find(&(&question.qname).into()).is_some() {
                // A special name, which no upstream may be asked for.
                return None;
            }
            // Only the rule's own servers are there for the zones above its own. Another rule would ask
            // other servers, so the two share no unproven answer.
            return self.ask_upstreams(rule, question, *deadline).await.ok();
        };
        match keys.find(question, since, now()) {
            Some(Ok(told)) => return Some(told),
            Some(Err(unanswered)) if unanswered.paths == worker.paths(covering) => return None,
            _ => {}
        }
        let lead = || async {
            // It may have come since we looked.
            if let Some(Ok(told)) = keys.find(question, since, now()) {
                return Ok(told);
            }
            let paths = worker.paths(covering);
            let deadline = Instant::now() + covering.timeout();
            let told = self.ask_upstreams(covering, question, deadline).await;
            match &told {
                Ok(told) => keys.keep(question, told.clone()),
                Err(failure) if failure.is_worth_remembering() => {
                    keys.note_unanswered(question, paths, snapshot.failure_ttl, now());
                }
                Err(_) => {}
            }
            told
        };
        keys.flights.run(*client, question, lead).await.ok()
    }

    async fn ask_upstreams(
        &self,
        rule: &Rule,
        question: &Question,
        deadline: Instant,
    ) -> Result<Told, Failure> {
        let Trial { worker, snapshot, client, .. } = self.trial;
        let Avoided { sources, answered, upstreams } = self.avoid;
        let before = sources.get(&(question.qname.clone(), question.qtype)).or(answered.as_ref());
        let avoid: Vec<_> = upstreams.iter().chain(before).copied().collect();
        let asked = worker.forwarder.ask_others_first(rule, *client, question, deadline, &avoid);
        let (answer, upstream) = asked.await?;
        let answer = Arc::new(answer.capped(question.qtype, snapshot.ttl_limits));
        Ok(Told { brought: Brought { answer, since: now() }, upstream })
    }
}

fn now() -> std::time::Instant {
    std::time::Instant::now()
}
