//! Answers of rules with `dnssec = "validate"`: asked with signatures, held against trust anchors,
//! and given to the client as it asked.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::Worker;
use super::complaints::Subject;
use super::snapshot::Snapshot;
use super::splice;
use crate::addresses::HostBlock;
use crate::config::Dnssec;
use crate::dnssec::{Security, Source};
use crate::forward::{Failure, Rule};
use crate::wire::{Answer, AnswerRef, QName, Question};

impl Worker {
    /// Asks as `rule` wants it for `question`, validating or not.
    pub(super) async fn ask_as_ruled(
        &self,
        snapshot: &Snapshot,
        rule: &Rule,
        client: HostBlock,
        question: &Question,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        if rule.dnssec() == Dnssec::Pass {
            return self.ask_and_chase(snapshot, rule, client, question, deadline).await;
        }
        // Boxed: it is large, and who does not validate shall not carry it; and it fetches keys, which
        // comes back here. It ends there, as keys are asked with CD.
        Box::pin(self.ask_validating(snapshot, rule, client, question, deadline)).await
    }

    /// Bogus answers are failures, AD is ours, and nobody gets signatures who did not ask for them.
    ///
    /// Who sets CD validates for itself: nothing is held back, and nothing vouched for.
    async fn ask_validating(
        &self,
        snapshot: &Snapshot,
        rule: &Rule,
        client: HostBlock,
        question: &Question,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        if question.checking_disabled {
            let answer = self.ask_and_chase(snapshot, rule, client, question, deadline).await?;
            return Ok(answer.judged(false, u32::MAX));
        }
        // With CD, or an upstream that validates too would keep what it thinks bogus from us, and
        // from those whose negative trust anchors say that it is not (RFC 6840 §5.9).
        let signed = Question { dnssec_ok: true, checking_disabled: true, ..question.clone() };
        let answer = match self.ask_and_chase(snapshot, rule, client, &signed, deadline).await {
            Ok(answer) => answer,
            Err(failure) => {
                if let Failure::BadReply(shown) = &failure {
                    self.validate_way_to_us(
                        snapshot,
                        rule,
                        client,
                        &signed,
                        &shown.borrowed(),
                        deadline,
                    )
                    .await?;
                }
                return Err(failure);
            }
        };
        let security =
            self.security(snapshot, rule, client, &signed, &answer.borrowed(), deadline).await?;
        let answer = if question.dnssec_ok {
            answer
        } else {
            answer.borrowed().without_dnssec(question).map_err(|_| Failure::Garbled)?
        };
        Ok(match security {
            Security::Secure { ttl_seconds } => answer.judged(true, ttl_seconds),
            Security::Insecure => answer.judged(false, u32::MAX),
        })
    }

    /// A chain that leads to us counts whatever the upstream says of its end: so its links must hold.
    async fn validate_way_to_us(
        &self,
        snapshot: &Snapshot,
        rule: &Rule,
        client: HostBlock,
        question: &Question,
        answer: &AnswerRef<'_>,
        deadline: Instant,
    ) -> Result<(), Failure> {
        if splice::leads_to_us(&snapshot.zones, question.qtype, answer) {
            self.security(snapshot, rule, client, question, answer, deadline).await?;
        }
        Ok(())
    }

    async fn security(
        &self,
        snapshot: &Snapshot,
        rule: &Rule,
        client: HostBlock,
        question: &Question,
        answer: &AnswerRef<'_>,
        deadline: Instant,
    ) -> Result<Security, Failure> {
        let links = splice::links_to_us(&snapshot.zones, question.qtype, answer);
        let keys = Keys { worker: self, snapshot, rule, client, deadline };
        let validation = snapshot.validator.validate(question, answer, links, &keys);
        let security = timeout_at(deadline, validation).await.map_err(|_| Failure::TimedOut)?;
        security.inspect_err(|why| self.complain(snapshot, rule, question, why))
    }

    /// Counts and tells of what is refused; an outage is not.
    fn complain(&self, snapshot: &Snapshot, rule: &Rule, question: &Question, why: &Failure) {
        let Failure::Bogus(bogus) = why else { return };
        self.count_refusal(why);
        let zone = rule.zone_of(&question.qname);
        if let Some(zone) = zone
            && let Some(untold) = snapshot.complaints.note(Subject::Signature, zone)
        {
            let Question { qname, qtype, .. } = question;
            tracing::warn!(
                "zone {zone}: the answer for {qname} {qtype} is refused: {}; {untold} more since the \
                 last line about this zone",
                bogus.text
            );
        }
    }
}

/// Brings keys as any other answer is brought, for one question under `rule`.
struct Keys<'a> {
    worker: &'a Worker,
    snapshot: &'a Snapshot,
    rule: &'a Rule,
    /// The client that waits for them.
    client: HostBlock,
    deadline: Instant,
}

impl Source for Keys<'_> {
    fn validates(&self, name: &QName) -> bool {
        self.snapshot.rules.find(name).is_some_and(|rule| rule.dnssec() == Dnssec::Validate)
    }

    async fn ask(&self, question: Question) -> Option<Arc<Answer>> {
        let Self { worker, snapshot, rule, client, deadline } = self;
        if snapshot.rules.find(&(&question.qname).into()).is_some() {
            return worker.fetch_for_us(snapshot, *client, question).await.ok();
        }
        // Nobody else is there for the zones above the rule's own.
        worker.forwarder.ask(rule, *client, &question, *deadline).await.ok().map(Arc::new)
    }
}
