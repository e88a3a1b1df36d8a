//! Random case of the letters of a query's name (draft-vixie-dnsext-dns0x20-00).
//!
//! A reply over UDP must repeat the letter case of the query, which a host off the path has to
//! guess. Some servers, and some boxes on the path, fold the case. The worker never accepts a
//! datagram in another case as the reply. It sends the query over TCP, and if that brings no quick
//! answer also over UDP in lower case, with another id and port. Then a forger has to hit both
//! queries, so a forged reply with folded case gains nothing.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::wire::{HEADER_OCTETS, Header, Question, Records, Section};

/// Queries in a row that show that a server folds case: each met a datagram in another case, got
/// its answer otherwise, and saw no reply in its own case. A forger would have to hit each of them.
const IN_A_ROW: u32 = 4;
/// How long queries to such a server then have lower case. Afterwards a query tries again.
const LASTS: Duration = Duration::from_secs(600);

/// Octets that are handled at once.
const WORD: usize = size_of::<u64>();

/// Which letters of one query's name are upper case: bit n says it of the octets n, n + 64 and so on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Case(u64);

/// How a message repeats a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Repeats {
    Exactly,
    InOtherCase,
    Not,
}

impl Case {
    /// Draws one from a CSPRNG.
    pub(super) fn draw() -> Self {
        Self(rand::random())
    }

    /// Puts the letters of `name`, in wire form and lower case, into this case.
    pub(super) fn apply(self, name: &mut [u8]) {
        let (words, rest) = name.as_chunks_mut();
        let whole = words.len() * WORD;
        for (at, word) in words.iter_mut().enumerate() {
            *word = self.word(at * WORD, *word);
        }
        for (at, octet) in rest.iter_mut().enumerate() {
            *octet = self.letter(whole + at, *octet);
        }
    }

    fn letter(self, at: usize, lower: u8) -> u8 {
        let is_upper = lower.is_ascii_lowercase() && self.0 >> (at % 64) & 1 == 1;
        lower ^ (u8::from(is_upper) << 5)
    }

    /// The same as [`Self::letter`] for eight octets from `at` on, a multiple of eight, at once.
    fn word(self, at: usize, lower: [u8; WORD]) -> [u8; WORD] {
        const ONES: u64 = 0x0101_0101_0101_0101;
        const HIGH: u64 = 0x8080_8080_8080_8080;
        let octets = u64::from_le_bytes(lower);
        let low_bits = octets & !HIGH;
        // The high bit of each octet says: it is `a` or above, it is above `z`.
        let from_a = low_bits + ONES * u64::from(0x80 - b'a');
        let above_z = low_bits + ONES * u64::from(0x7f - b'z');
        let letters = from_a & !above_z & !octets & HIGH;
        // Bit n of this case goes to octet n, where adding 0x7f moves it to the high bit.
        let drawn = ((self.0 >> (at % 64) & 0xff) * ONES) & 0x8040_2010_0804_0201;
        let upper = ((drawn + !HIGH) | drawn) & letters;
        (octets ^ upper >> 2).to_le_bytes()
    }

    /// Whether `name` is the name `lower` as it was sent in this case.
    fn is_kept_in(self, name: &[u8], lower: &[u8]) -> bool {
        let (words, rest) = name.as_chunks();
        let (lower_words, lower_rest) = lower.as_chunks();
        let whole = words.len() * WORD;
        let mut pairs = words.iter().zip(lower_words).enumerate();
        let mut last = rest.iter().zip(lower_rest).enumerate();
        name.len() == lower.len()
            && pairs.all(|(at, (word, lower))| *word == self.word(at * WORD, *lower))
            && last.all(|(at, (octet, lower))| *octet == self.letter(whole + at, *lower))
    }

    /// How `name` repeats the name `lower` that was sent in this case.
    pub(super) fn compare(self, name: &[u8], lower: &[u8]) -> Repeats {
        if self.is_kept_in(name, lower) {
            Repeats::Exactly
        } else if name.eq_ignore_ascii_case(lower) {
            Repeats::InOtherCase
        } else {
            Repeats::Not
        }
    }

    /// Tells how `message` repeats `question`. If it does so exactly, its question gets lower case
    /// back, and so do owners of its answers that spell the name out.
    pub(super) fn take_off(self, message: &mut [u8], question: &Question) -> Repeats {
        let lower = question.qname.as_wire();
        let end = HEADER_OCTETS + lower.len();
        let Some(name) = message.get_mut(HEADER_OCTETS..end) else { return Repeats::Not };
        let repeats = self.compare(name, lower);
        if repeats == Repeats::Exactly {
            name.copy_from_slice(lower);
            take_off_owners(message, end + 4, lower);
        }
        repeats
    }
}

/// Puts owners in the answer section into lower case if they equal `lower` in any letter case. Does
/// nothing for pointers to the question, which nearly all servers write.
fn take_off_owners(message: &mut [u8], records_at: usize, lower: &[u8]) {
    if message.get(records_at).is_none_or(|octet| octet & 0xc0 == 0xc0) {
        return;
    }
    let Some(header) = Header::read(message) else { return };
    let owners: Vec<_> = Records::new(message, &header, records_at)
        .map_while(Result::ok)
        .take_while(|record| record.section == Section::Answer)
        .map(|record| record.owner_at)
        .collect();
    for at in owners {
        let owner = message.get_mut(at..at + lower.len());
        if let Some(owner) = owner.filter(|owner| owner.eq_ignore_ascii_case(lower)) {
            owner.copy_from_slice(lower);
        }
    }
}

/// Whether one server, or a box on the way to it, folds the case of names.
#[derive(Debug)]
pub(super) struct Folding {
    born: Instant,
    in_a_row: AtomicU32,
    /// Milliseconds after `born`; 0: it was never seen.
    until_ms: AtomicU64,
}

impl Folding {
    pub(super) fn new() -> Self {
        Self { born: Instant::now(), in_a_row: AtomicU32::new(0), until_ms: AtomicU64::new(0) }
    }

    /// Whether it is known to fold at `now`.
    pub(super) fn is_known(&self, now: Instant) -> bool {
        let until_ms = self.until_ms.load(Ordering::Relaxed);
        until_ms != 0 && self.ms(now) < until_ms
    }

    /// A reply over UDP repeated its query's own case.
    pub(super) fn note_kept(&self) {
        // A store by every reply would bounce the line between cores.
        if self.in_a_row.load(Ordering::Relaxed) != 0 {
            self.in_a_row.store(0, Ordering::Relaxed);
        }
    }

    /// Notes that a query met a datagram in another case and got its answer otherwise. `is_proof`:
    /// the answer came over TCP in another case too. Returns whether folding is known now and was
    /// not.
    pub(super) fn note_folded(&self, is_proof: bool, now: Instant) -> bool {
        let in_a_row = self.in_a_row.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if !is_proof && in_a_row < IN_A_ROW {
            return false;
        }
        self.in_a_row.store(0, Ordering::Relaxed);
        let was_known = self.is_known(now);
        self.until_ms.store(self.ms(now + LASTS).max(1), Ordering::Relaxed);
        !was_known
    }

    fn ms(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.born).as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_alone_change_and_the_exact_case_is_told_from_others() {
        let lower = b"\x05a-1@z\x07example\x00";
        let mut sent = *lower;
        Case(u64::MAX).apply(&mut sent);
        assert_eq!(&sent, b"\x05A-1@Z\x07EXAMPLE\x00");
        let case = Case(0b10_0100_0010);
        let mut sent = *lower;
        case.apply(&mut sent);
        assert_eq!(&sent, b"\x05A-1@z\x07exAmple\x00");
        assert_eq!(case.compare(&sent, lower), Repeats::Exactly);
        for at in [1, 5, 7, 13] {
            let mut other = sent;
            other[at] ^= 0x20;
            assert_eq!(case.compare(&other, lower), Repeats::InOtherCase, "{at}");
        }
        let mut other = sent;
        other[4] ^= 0x20;
        assert_eq!(case.compare(&other, lower), Repeats::Not);
        assert_eq!(case.compare(&sent[1..], lower), Repeats::Not);
    }

    #[test]
    fn each_of_64_octets_has_a_bit_of_its_own() {
        let lower = [b'a'; 128];
        for bit in 0..64 {
            let mut sent = lower;
            Case(1 << bit).apply(&mut sent);
            let upper: Vec<_> = (0..128).filter(|at| sent[*at] == b'A').collect();
            assert_eq!(upper, [bit, bit + 64]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_datagram_never_shows_that_a_server_folds() {
        let (folding, now) = (Folding::new(), Instant::now());
        for _ in 0..100 {
            for _ in 1..IN_A_ROW {
                assert!(!folding.note_folded(false, now));
            }
            folding.note_kept();
            assert!(!folding.is_known(now));
        }
        for _ in 1..IN_A_ROW {
            assert!(!folding.note_folded(false, now));
        }
        assert!(folding.note_folded(false, now));
        assert!(folding.is_known(now + LASTS - Duration::from_millis(1)));
        assert!(!folding.is_known(now + LASTS), "it is looked at again");
        assert!(folding.note_folded(true, now + LASTS), "TCP proves it");
    }

    #[test]
    fn eight_octets_at_once_are_as_one_by_one() {
        // A fixed sequence with no pattern (a multiplicative generator).
        let mut state = 1_u64;
        for round in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            let case = Case(state.rotate_left(round % 64));
            let lower = (state >> 3 ^ state << 29).to_le_bytes();
            for at in [0, 8, 56, 64, 248] {
                let singly: Vec<_> = lower
                    .iter()
                    .enumerate()
                    .map(|(i, octet)| case.letter(at + i, *octet))
                    .collect();
                assert_eq!(case.word(at, lower).as_slice(), singly, "{lower:?} {case:?} {at}");
            }
        }
        let all = Case(u64::MAX);
        for octet in 0..=u8::MAX {
            assert_eq!(all.word(0, [octet; WORD]), [all.letter(0, octet); WORD], "{octet}");
        }
    }
}
