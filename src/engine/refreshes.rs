//! Questions that a thread fetches behind its clients' backs: each once at a time, and not too many.

use std::cell::RefCell;
use std::hash::BuildHasher;
use std::rc::Rc;

use crate::wire::QuestionRef;

/// Under way at once on one thread: a full second of a busy resolver's popular names, and some 4 MiB.
pub(super) const MOST: usize = 1_024;

/// What is under way.
#[derive(Clone, Default)]
pub(super) struct Refreshes(Rc<UnderWay>);

#[derive(Default)]
struct UnderWay {
    hasher: foldhash::quality::RandomState,
    /// Hashes of the questions. Two questions of one hash: the second waits for its turn.
    hashes: RefCell<hashbrown::HashTable<u64>>,
}

/// One of them; dropped when it is over, however it ends.
pub(super) struct Refresh {
    refreshes: Refreshes,
    hash: u64,
}

impl Refreshes {
    /// The right to fetch `question`; `None` while somebody has it, or [`MOST`] are under way.
    pub(super) fn begin(&self, question: &QuestionRef<'_>) -> Option<Refresh> {
        let hash = self.0.hasher.hash_one(question);
        let mut hashes = self.0.hashes.borrow_mut();
        if hashes.len() >= MOST || hashes.find(hash, |known| *known == hash).is_some() {
            return None;
        }
        hashes.insert_unique(hash, hash, |hash| *hash);
        Some(Refresh { refreshes: self.clone(), hash })
    }
}

impl Drop for Refresh {
    fn drop(&mut self) {
        let mut hashes = self.refreshes.0.hashes.borrow_mut();
        if let Ok(entry) = hashes.find_entry(self.hash, |known| *known == self.hash) {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Question, Rtype};

    fn question(number: usize) -> Question {
        Question::plain(format!("n{number}.example").parse().unwrap(), Rtype::A)
    }

    #[test]
    fn a_question_is_fetched_once_at_a_time() {
        let refreshes = Refreshes::default();
        let first = refreshes.begin(&question(1).borrowed());
        assert!(first.is_some());
        assert!(refreshes.begin(&question(1).borrowed()).is_none());
        assert!(refreshes.begin(&question(2).borrowed()).is_some());
        drop(first);
        assert!(refreshes.begin(&question(1).borrowed()).is_some());
    }

    #[test]
    fn they_are_bounded() {
        let refreshes = Refreshes::default();
        let mut all: Vec<_> = (0..MOST)
            .map(|number| refreshes.begin(&question(number).borrowed()).unwrap())
            .collect();
        assert!(refreshes.begin(&question(MOST).borrowed()).is_none());
        all.pop();
        assert!(refreshes.begin(&question(MOST).borrowed()).is_some());
    }
}
