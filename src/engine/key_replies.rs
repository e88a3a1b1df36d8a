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

    /// Ends a round that failed. `answered` is the upstream of the first answer.
    pub(super) fn fail_round(&mut self, answered: Option<u64>) {
        self.answered = answered;
        for (about, Reply { upstream, is_signed }) in self.round.drain() {
            *self.signs.entry(upstream).or_default() |= is_signed;
            self.last.insert(about.clone(), upstream);
            self.failed.insert((about, upstream));
        }
    }

    /// Returns the upstreams that are asked last for `question` about keys. The first round avoids
    /// the suspects. A repeat avoids the upstream of the last reply too; of a question that was not
    /// asked before, that of the answer.
    pub(super) fn avoided(&self, question: &Question, leaves: impl Fn(&[u64]) -> bool) -> Vec<u64> {
        let last = self.last.get(&(question.qname.clone(), question.qtype));
        self.avoided_after(last.copied().or(self.answered), leaves)
    }

    /// Returns the upstreams that are asked last for what the upstream `last` has answered.
    /// `leaves` tells whether another upstream is there beside the avoided ones.
    ///
    /// An upstream that signs nothing is the worse choice: it never helps a signed zone, but the
    /// other one may have given one bad reply among good ones.
    pub(super) fn avoided_after(
        &self,
        last: Option<u64>,
        leaves: impl Fn(&[u64]) -> bool,
    ) -> Vec<u64> {
        let bare = self.signs.iter().filter(|(_, signs)| !**signs).map(|(upstream, _)| *upstream);
        let worse: Vec<_> = self.suspects.iter().copied().chain(bare).collect();
        let with_last = |avoided: &[u64]| avoided.iter().copied().chain(last).collect::<Vec<_>>();
        let all = with_last(&worse);
        if leaves(&all) {
            all
        } else if leaves(&worse) {
            worse
        } else {
            with_last(&self.suspects)
        }
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

fn is_signed(answer: &Answer) -> bool {
    answer.borrowed().records().any(|record| record.rtype == Rtype::RRSIG)
}
