//! What is done with an upstream's answer before anybody sees it: the guard's refusals are counted
//! and logged.

use super::Worker;
use super::complaints::Subject;
use super::guard::Refusal;
use super::snapshot::Snapshot;
use super::splice;
use crate::config::Dnssec;
use crate::forward::{Failure, Rule, Unwanted};
use crate::metrics::Event;
use crate::wire::{AnswerRef, Question};

impl Snapshot {
    /// Whether the guard lets `answer` through, which came by the rule for its question. One whose
    /// chain leads to us is cut there.
    pub(super) fn guard_check(
        &self,
        rule: &Rule,
        question: &Question,
        answer: &AnswerRef<'_>,
    ) -> Result<(), Refusal> {
        if splice::leads_to_us(&self.zones, question.qtype, answer) {
            return Ok(());
        }
        self.guard.check(rule, &question.qname, answer)
    }

    /// Whether what `old` let through would be let through by this one too, so that its answers, kept
    /// or under way, may be used on. Forward rules are the caller's to compare.
    pub fn is_no_stricter_than(&self, old: &Self) -> bool {
        let validates = self.rules.iter().any(|rule| rule.dnssec() == Dnssec::Validate);
        old.guard.is_as_strict_as(&self.guard)
            && (!validates || old.validator.is_as_strict_as(&self.validator))
    }
}

impl Worker {
    /// Refuses an answer that holds an address which must not go out; counts that, and says so.
    pub(super) fn admit(
        &self,
        snapshot: &Snapshot,
        rule: &Rule,
        question: &Question,
        answer: &AnswerRef<'_>,
    ) -> Result<(), Failure> {
        let Err(refusal) = snapshot.guard_check(rule, question, answer) else { return Ok(()) };
        let Refusal { zone, unwanted } = refusal;
        let failure = Failure::Filtered(unwanted);
        self.count_refusal(&failure);
        if let Some(untold) = snapshot.complaints.note(Subject::Address, &zone) {
            let Question { qname, qtype, .. } = question;
            tracing::warn!(
                "zone {zone}: the answer for {qname} {qtype} is refused: {unwanted}; {untold} more \
                 since the last line about this zone"
            );
        }
        Err(failure)
    }

    /// Counts `failure` where it is an answer that was refused: each time that somebody is told.
    pub(super) fn count_refusal(&self, failure: &Failure) {
        self.counters.count(match failure {
            Failure::Filtered(Unwanted::Public(_)) => Event::FilteredPublic,
            Failure::Filtered(Unwanted::Private(_)) => Event::FilteredPrivate,
            Failure::Bogus(_) => Event::Bogus,
            _ => return,
        });
    }
}
