//! Which upstreams gave the replies about keys in the rounds of one trial. From that follows which
//! upstreams a repeat asks last, and which ones spoilt the rounds that failed.

use std::collections::{HashMap, HashSet};

use super::keys::Told;
use crate::wire::{Answer, Name, Question, Rtype};

/// A question about keys: name and type.
type About = (Name, Rtype);

/// The replies about keys of one trial. The clerk asks each question once in a round.
pub(super) struct KeyReplies {
    /// Upstreams that are asked last for the domain, by number.
    suspects: Vec<u64>,
    /// The upstream of the first answer, once a round has failed.
    answered: Option<u64>,
    /// Of the round under way.
    round: HashMap<About, Reply>,
    /// The upstream of each question's last reply in a round that failed.
    last: HashMap<About, u64>,
    /// All pairs of a question and an upstream in rounds that failed.
    failed: HashSet<(About, u64)>,
    /// The upstreams in rounds that failed, and whether any of their replies, or the answer, held a
    /// signature.
    signs: HashMap<u64, bool>,
    /// Upstreams that gave proven keys before the last round that failed.
    gave_proven: Vec<u64>,
}

struct Reply {
    upstream: u64,
    is_signed: bool,
}

impl KeyReplies {
    pub(super) fn new(suspects: Vec<u64>) -> Self {
        Self {
            suspects,
            answered: None,
            round: HashMap::new(),
            last: HashMap::new(),
            failed: HashSet::new(),
            signs: HashMap::new(),
            gave_proven: Vec::new(),
        }
    }

    pub(super) fn note(&mut self, question: &Question, told: &Told) {
        let is_signed = is_signed(&told.brought.answer);
        let about = (question.qname.clone(), question.qtype);
        self.round.insert(about, Reply { upstream: told.upstream, is_signed });
    }

    /// Notes an answer that is judged. Without a signature, it may be of an unsigned zone.
    pub(super) fn note_answer(&mut self, answer: &Answer, upstream: u64) {
        if is_signed(answer) {
            self.signs.insert(upstream, true);
        }
    }

    /// Ends a round that failed. `answered` is the upstream of the first answer, and `gave_proven`
    /// are the upstreams that have given proven keys.
    pub(super) fn fail_round(&mut self, answered: Option<u64>, gave_proven: Vec<u64>) {
        (self.answered, self.gave_proven) = (answered, gave_proven);
        for (about, Reply { upstream, is_signed }) in self.round.drain() {
            *self.signs.entry(upstream).or_default() |= is_signed;
            self.last.insert(about.clone(), upstream);
            self.failed.insert((about, upstream));
        }
    }

    /// The upstreams of the signed replies in the round under way.
    pub(super) fn signers(&self) -> impl Iterator<Item = u64> {
        self.round.values().filter(|reply| reply.is_signed).map(|reply| reply.upstream)
    }

    /// Returns the upstreams that are asked last for `question` about keys. `leaves` tells whether
    /// another upstream is there beside the avoided ones.
    ///
    /// The first round avoids the suspects. A repeat avoids the upstream of the last reply too; of a
    /// question that was not asked before, that of the answer. Some upstreams are a worse choice
    /// than that one, which may have given one bad reply among good ones: suspects, those that
    /// signed nothing in the rounds that failed, and those in such rounds that never gave proven
    /// keys, if others did.
    pub(super) fn avoided(&self, question: &Question, leaves: impl Fn(&[u64]) -> bool) -> Vec<u64> {
        let last = self.last.get(&(question.qname.clone(), question.qtype));
        let last = last.copied().or(self.answered);
        if !self.gave_proven.is_empty() {
            let failed = self.failed.iter().map(|(_, upstream)| *upstream);
            let unproven = failed.filter(|upstream| !self.gave_proven.contains(upstream));
            let worse = self.unsigned().chain(unproven).collect();
            if let Some(avoided) = with_last(worse, last, &leaves) {
                return avoided;
            }
        }
        self.avoided_after(last, leaves)
    }

    /// Returns the upstreams that are asked last for the answer that the upstream `last` gave.
    pub(super) fn avoided_for_answer(
        &self,
        last: u64,
        leaves: impl Fn(&[u64]) -> bool,
    ) -> Vec<u64> {
        self.avoided_after(Some(last), leaves)
    }

    fn avoided_after(&self, last: Option<u64>, leaves: impl Fn(&[u64]) -> bool) -> Vec<u64> {
        let avoided = with_last(self.unsigned().collect(), last, leaves);
        avoided.unwrap_or_else(|| self.suspects.iter().copied().chain(last).collect())
    }

    /// The suspects, and the upstreams that signed nothing.
    fn unsigned(&self) -> impl Iterator<Item = u64> {
        let bare = self.signs.iter().filter(|(_, signs)| !**signs).map(|(upstream, _)| *upstream);
        self.suspects.iter().copied().chain(bare)
    }

    /// Compares the rounds that failed with the one under way, which did not fail. Returns the
    /// upstreams that had a part in those alone, by the same questions. `answered` are the
    /// upstreams of the other answer and of the good one.
    pub(super) fn spoilers(&self, answered: [Option<u64>; 2]) -> HashSet<u64> {
        let [other, good] = answered;
        let is_good = |upstream: u64| {
            Some(upstream) == good || self.round.values().any(|reply| reply.upstream == upstream)
        };
        let asked_again = self.failed.iter().filter(|(about, _)| self.round.contains_key(about));
        // Where the answer was not asked again, the keys alone were at fault.
        let bad = other.filter(|_| good.is_some()).into_iter();
        let bad = bad.chain(asked_again.map(|(_, upstream)| *upstream));
        bad.filter(|upstream| !is_good(*upstream)).collect()
    }
}

/// Returns `worse` and the upstream `last`, or only `worse` if there is no other; `None` if all are
/// among those.
fn with_last(
    worse: Vec<u64>,
    last: Option<u64>,
    leaves: impl Fn(&[u64]) -> bool,
) -> Option<Vec<u64>> {
    let all = worse.iter().copied().chain(last).collect();
    [all, worse].into_iter().find(|avoided| leaves(avoided))
}

fn is_signed(answer: &Answer) -> bool {
    answer.borrowed().records().any(|record| record.rtype == Rtype::RRSIG)
}
