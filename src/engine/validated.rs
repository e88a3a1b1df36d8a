//! Answers of rules with `dnssec = "validate"`: asked with signatures, held against trust anchors,
//! and given to the client as it asked.

use tokio::time::Instant;

use super::Worker;
use super::chase::Hops;
use super::complaints::Subject;
use super::snapshot::Snapshot;
use super::trial::Trial;
use crate::addresses::HostBlock;
use crate::config::Dnssec;
use crate::dnssec::Security;
use crate::forward::{Failure, Rule};
use crate::wire::{Answer, Question};

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
            let hops = Hops::ByTheirRules;
            let asked = self.ask_and_chase(snapshot, rule, client, question, deadline, hops);
            return asked.await.map(|(answer, _)| answer);
        }
        // Boxed: it is large, and rules that do not validate need not carry it.
        Box::pin(self.ask_validating(snapshot, rule, client, question, deadline)).await
    }

    /// Bogus answers are failures, AD is ours, and nobody gets signatures who did not ask for them.
    ///
    /// Who sets CD validates for itself: nothing is held back, and nothing vouched for.
    pub(super) async fn ask_validating(
        &self,
        snapshot: &Snapshot,
        rule: &Rule,
        client: HostBlock,
        question: &Question,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        if question.checking_disabled {
            let hops = Hops::ByTheirRules;
            let asked = self.ask_and_chase(snapshot, rule, client, question, deadline, hops);
            let (answer, _) = asked.await?;
            return Ok(answer.judged(false, u32::MAX));
        }
        // With CD, or an upstream that validates too would keep what it thinks bogus from us, and
        // from those whose negative trust anchors say that it is not (RFC 6840 §5.9).
        let signed = Question { dnssec_ok: true, checking_disabled: true, ..question.clone() };
        let trial = Trial { worker: self, snapshot, rule, client, question: &signed, deadline };
        let judged = trial.run().await;
        let (answer, security) =
            judged.inspect_err(|why| self.complain(snapshot, rule, question, why))?;
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
