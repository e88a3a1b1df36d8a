//! A ring of 64-bit words that one writer fills and many read without a lock.
//!
//! Places are counted from the ring's birth and never come again, so a place below the tail is one
//! that was overwritten, or is about to be. A reader copies first and then looks whether the tail
//! has passed the place; if so, what it copied is worth nothing. Readers write nothing that others
//! read.
//!
//! All words are atomics, so that a torn copy is a wrong value and no undefined behaviour; the
//! fences are those of a sequence lock (H.-J. Boehm, "Can seqlocks get along with programming
//! language memory models?", 2012).

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// A fixed run of words.
pub(super) struct Ring {
    words: Box<[AtomicU64]>,
    /// The oldest place that is still whole. Only the writer moves it, up.
    tail: AtomicU64,
}

impl Ring {
    /// Zeroed words that take no memory before they are written; `None` when the system does not
    /// give so many.
    pub(super) fn new(words: usize) -> Option<Self> {
        let words = bytemuck::allocation::try_zeroed_slice_box(words).ok()?;
        Some(Self { words, tail: AtomicU64::new(0) })
    }

    /// How many words there are.
    pub(super) fn capacity(&self) -> u64 {
        self.words.len() as u64
    }

    /// The oldest place that is still whole.
    pub(super) fn tail(&self) -> u64 {
        self.tail.load(Ordering::Relaxed)
    }

    /// The words from `place` on; whether they are worth anything is for [`Self::holds`] to say.
    pub(super) fn words<const COUNT: usize>(&self, place: u64) -> [u64; COUNT] {
        let (first, second) = self.slice(place, COUNT);
        let mut words = [0; COUNT];
        for (to, word) in words.iter_mut().zip(first.iter().chain(second)) {
            *to = word.load(Ordering::Relaxed);
        }
        words
    }

    /// Makes `to` a copy of `count` words from `place` on; whether they are worth anything is for
    /// [`Self::holds`] to say.
    pub(super) fn copy(&self, place: u64, count: usize, to: &mut Vec<u64>) {
        let (first, second) = self.slice(place, count);
        // Not cleared before: words that are overwritten need no zeros.
        to.resize(first.len() + second.len(), 0);
        let (to_first, to_second) = to.split_at_mut(first.len());
        copy(first, to_first);
        copy(second, to_second);
    }

    /// Whether what was read from `place` on is what was written there.
    pub(super) fn holds(&self, place: u64) -> bool {
        // Pairs with the fence in `write`: who has read a word that was written after that fence
        // sees the tail that was stored before it.
        fence(Ordering::Acquire);
        place >= self.tail()
    }

    /// Gives up all places below `tail`. The writer's alone.
    pub(super) fn free(&self, tail: u64) {
        self.tail.store(tail, Ordering::Relaxed);
    }

    /// Writes `words` at `place`, which must be free. The writer's alone.
    pub(super) fn write(&self, place: u64, words: &[u64]) {
        // The tail was moved before, by this writer or by one whose lock it took over.
        fence(Ordering::Release);
        let (first, second) = self.slice(place, words.len());
        for (to, word) in first.iter().chain(second).zip(words) {
            to.store(*word, Ordering::Relaxed);
        }
    }

    /// The words from `place` on, in two parts where they go around the end.
    fn slice(&self, place: u64, count: usize) -> (&[AtomicU64], &[AtomicU64]) {
        let count = count.min(self.words.len());
        // A word count is a `usize`, so the rest of a division by it is one too.
        let at = usize::try_from(place % self.capacity().max(1)).unwrap_or(0);
        let first = self.words.get(at..).unwrap_or(&[]);
        let first = first.get(..count).unwrap_or(first);
        let second = self.words.get(..count - first.len()).unwrap_or(&[]);
        (first, second)
    }
}

/// Copies as many words as `to` has. The compiler joins no atomic loads, so blocks of a fixed size
/// save it the counting: 2.5 instructions a word instead of up to 5.
fn copy(from: &[AtomicU64], to: &mut [u64]) {
    const BLOCK_WORDS: usize = 8;
    let (blocks, rest) = from.as_chunks::<BLOCK_WORDS>();
    let (to_blocks, to_rest) = to.as_chunks_mut::<BLOCK_WORDS>();
    for (to, block) in to_blocks.iter_mut().zip(blocks) {
        for (to, word) in to.iter_mut().zip(block) {
            *to = word.load(Ordering::Relaxed);
        }
    }
    for (to, word) in to_rest.iter_mut().zip(rest) {
        *to = word.load(Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_count_is_copied_from_any_place() {
        const WORDS: u64 = 40;
        let ring = Ring::new(40).unwrap();
        let written: Vec<_> = (0..WORDS).map(|word| word * 3 + 1).collect();
        ring.write(0, &written);
        let mut copied = Vec::new();
        for place in 0..WORDS {
            for count in 0..=40 {
                ring.copy(place, count, &mut copied);
                let around = written.iter().cycle().skip(usize::try_from(place).unwrap());
                let expected: Vec<_> = around.take(count).copied().collect();
                assert_eq!(copied, expected, "{count} from {place}");
            }
        }
    }
}
