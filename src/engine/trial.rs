//! Judges one answer with the validator. After a bad verdict it asks for the answer and the keys
//! again, and judges once more.
//!
//! docs/design/validation.md lists the steps and their bounds.

use std::cell::RefCell;
use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::chase::Hops;
use super::key_replies::KeyReplies;
use super::keys::Told;
use super::snapshot::Snapshot;
use super::{Worker, splice};
use crate::addresses::HostBlock;
use crate::config::Dnssec;
use crate::dnssec::{Brought, Fault, Judged, Security, Session, Source};
use crate::forward::{Failure, Rule};
use crate::wire::{Answer, AnswerRef, Name, QName, Question};

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
            Err(failure) => {
                // A chain that leads to us counts whatever the upstream says of its end: so its
                // links must hold.
                let (zones, qtype) = (&self.snapshot.zones, self.question.qtype);
                let shown = failure.shown();
                let to_us = shown.filter(|a| splice::leads_to_us(zones, qtype, &a.borrowed()));
                if let Some(shown) = to_us {
                    self.judge((**shown).clone(), None).await?;
                }
                return Err(failure);
            }
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
        let session = Session::new(Arc::clone(&self.snapshot.keys.known));
        let mut replies = KeyReplies::new(self.suspects());
        if let Some(upstream) = upstream {
            replies.note_answer(&answer, upstream);
        }
        let replies = RefCell::new(replies);
        let mut rounds = Rounds { trial: self, session, replies, answered: upstream };
        match rounds.judge(&answer).await {
            Ok(judged) => Ok(judged.with(answer)),
            Err(failure @ (Failure::Bogus(_) | Failure::Unvalidated(_))) => {
                self.appeal(answer, failure, rounds).await
            }
            Err(failure) => Err(failure),
        }
    }

    /// Asks again past memory, another upstream first, and judges again. The first verdict stands
    /// unless a later round ends with one.
    async fn appeal(
        &self,
        answer: Answer,
        mut failure: Failure,
        mut rounds: Rounds<'_>,
    ) -> Result<(Answer, Security), Failure> {
        let mut faults = rounds.session.at_fault();
        let zone = faults.first().map_or_else(Name::root, |fault| fault.zone.clone());
        let upstream = rounds.answered;
        let second = self.ask_again(&zone, &failure, &rounds).await;
        let mut is_due = second.is_some();
        let other = second.as_ref().map(|(_, from)| *from);
        let second = second.map(|(answer, from)| (answer, [upstream, Some(from)]));
        // Proven keys are seldom wrong: a zone has changed them in a hurry.
        if rounds.session.took_proven_keys_only()
            && let Some((answer, answered)) = &second
        {
            is_due = false;
            match rounds.judge(answer).await {
                Ok(judged) => {
                    self.note_spoilers(&zone, *answered, &rounds);
                    return Ok(judged.with(answer.clone()));
                }
                Err(Failure::TimedOut) => return Err(failure),
                Err(why) => failure = why,
            }
            faults = rounds.session.at_fault();
        }
        // The second answer may be the worse one.
        let answers: Vec<_> = second.into_iter().chain([(answer, [other, upstream])]).collect();
        for repeat in [Repeat::First, Repeat::Second] {
            is_due |= self.renew(&faults, repeat, &mut rounds.session);
            if !std::mem::take(&mut is_due) {
                continue;
            }
            faults.clear();
            for (answer, answered) in &answers {
                match rounds.judge(answer).await {
                    Ok(judged) => {
                        self.note_spoilers(&zone, *answered, &rounds);
                        return Ok(judged.with(answer.clone()));
                    }
                    Err(why @ Failure::Bogus(_)) => failure = why,
                    Err(_) => return Err(failure),
                }
                merge(&mut faults, rounds.session.at_fault());
            }
        }
        Err(failure)
    }

    /// Asks for a bogus answer once more, if there were not too many repeats in `zone`.
    async fn ask_again(
        &self,
        zone: &Name,
        failure: &Failure,
        rounds: &Rounds<'_>,
    ) -> Option<(Answer, u64)> {
        let upstream = rounds.answered?;
        let is_bogus = matches!(failure, Failure::Bogus(_));
        if !is_bogus || !self.snapshot.keys.may_ask_again(zone, now()) {
            return None;
        }
        let leaves = |avoided: &[u64]| leaves_another(self.rule, avoided);
        let avoid = rounds.replies.borrow().avoided_for_answer(upstream, leaves);
        let (answer, from) = self.ask(&avoid).await.ok()?;
        rounds.replies.borrow_mut().note_answer(&answer, from);
        Some((answer, from))
    }

    /// Makes the next rounds ask for keys again. Returns whether they may ask for any, or use what
    /// others have asked for again.
    ///
    /// The first repeat leaves proven keys alone if others were used: one of those is more likely
    /// to be bad. The second one asks for the same keys again only where there is a choice of
    /// upstreams, because the first repeat may have met the worse one.
    fn renew(&self, faults: &[Fault], repeat: Repeat, session: &mut Session) -> bool {
        let is_any_unproven = faults.iter().any(|fault| !fault.is_proven);
        let targets = self.rule.targets();
        let has_choice = targets.iter().filter(|target| !target.upstream().is_down()).count() > 1;
        let mut is_any_renewed = false;
        for Fault { zone, since, is_proven } in faults {
            let is_left = match repeat {
                Repeat::First => is_any_unproven && *is_proven,
                Repeat::Second => !has_choice && session.has_renewed(zone),
            };
            if is_left {
                continue;
            }
            match self.snapshot.keys.renew(zone, *since, now()) {
                Some(since) => {
                    session.renew(zone.clone(), since);
                    is_any_renewed = true;
                }
                None => session.accept(zone.clone()),
            }
        }
        is_any_renewed
    }

    /// Notes the upstreams that had a part in the rounds that failed, and none in the last one.
    fn note_spoilers(&self, zone: &Name, answered: [Option<u64>; 2], rounds: &Rounds<'_>) {
        for upstream in rounds.replies.borrow().spoilers(answered) {
            self.snapshot.keys.suspect(zone, upstream, now());
        }
    }
}

/// Which repeat of a question about keys it is, in one trial.
#[derive(Clone, Copy)]
enum Repeat {
    First,
    Second,
}

/// The rounds of one trial.
struct Rounds<'a> {
    trial: &'a Trial<'a>,
    session: Session,
    replies: RefCell<KeyReplies>,
    /// The upstream of the first answer.
    answered: Option<u64>,
}

impl Rounds<'_> {
    async fn judge(&mut self, answer: &Answer) -> Result<Judged, Failure> {
        let Trial { snapshot, question, deadline, .. } = self.trial;
        let answer: AnswerRef<'_> = answer.borrowed();
        let links = splice::links_to_us(&snapshot.zones, question.qtype, &answer);
        let source = KeySource { trial: self.trial, replies: &self.replies };
        let session = &mut self.session;
        let validation = snapshot.validator.validate(question, &answer, links, &source, session);
        let judged = timeout_at(*deadline, validation).await;
        let verdict = judged.unwrap_or(Err(Failure::TimedOut));
        let keys = &snapshot.keys;
        match verdict.as_ref().map(|judged| judged.security) {
            Ok(Security::Secure { .. }) => {
                keys.note_gave_proven(self.replies.borrow().signers(), now());
            }
            Ok(Security::Insecure) => {}
            Err(_) => {
                let gave_proven = keys.gave_proven(now());
                self.replies.borrow_mut().fail_round(self.answered, gave_proven);
            }
        }
        verdict
    }
}

/// Adds the zones of another round to `faults`: each zone once, with its oldest keys.
fn merge(faults: &mut Vec<Fault>, more: Vec<Fault>) {
    for fault in more {
        match faults.iter_mut().find(|known| known.zone == fault.zone) {
            Some(known) => {
                known.since = known.since.min(fault.since);
                known.is_proven &= fault.is_proven;
            }
            None => faults.push(fault),
        }
    }
}

/// Returns whether `rule` has an upstream that is up and not among the avoided ones.
fn leaves_another(rule: &Rule, avoided: &[u64]) -> bool {
    rule.targets().iter().any(|target| {
        let upstream = target.upstream();
        !upstream.is_down() && !avoided.contains(&upstream.number())
    })
}

/// Brings answers about keys: kept, or new.
struct KeySource<'a> {
    trial: &'a Trial<'a>,
    /// The replies so far. This adds to them.
    replies: &'a RefCell<KeyReplies>,
}

impl Source for KeySource<'_> {
    fn validates(&self, name: &QName) -> bool {
        let rule = self.trial.snapshot.rules.find(name);
        rule.is_some_and(|rule| rule.dnssec() == Dnssec::Validate)
    }

    async fn ask(&self, question: Question, since: Option<std::time::Instant>) -> Option<Brought> {
        let told = self.bring(&question, since).await?;
        self.replies.borrow_mut().note(&question, &told);
        Some(told.brought)
    }
}

impl KeySource<'_> {
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
        let leaves = |avoided: &[u64]| leaves_another(rule, avoided);
        let avoid = self.replies.borrow().avoided(question, leaves);
        let asked = worker.forwarder.ask_others_first(rule, *client, question, deadline, &avoid);
        let (answer, upstream) = asked.await?;
        let answer = Arc::new(answer.capped(question.qtype, snapshot.ttl_limits));
        Ok(Told { brought: Brought { answer, since: now() }, upstream })
    }
}

fn now() -> std::time::Instant {
    std::time::Instant::now()
}
