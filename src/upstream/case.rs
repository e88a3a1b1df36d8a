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
        for (at, octet) in name.iter_mut().enumerate() {
            *octet = self.letter(at, *octet);
        }
    }

    fn letter(self, at: usize, lower: u8) -> u8 {
        let is_upper = lower.is_ascii_lowercase() && self.0 >> (at % 64) & 1 == 1;
        lower ^ (u8::from(is_upper) << 5)
    }

    /// How `name` repeats the name `lower` that was sent in this case.
    pub(super) fn compare(self, name: &[u8], lower: &[u8]) -> Repeats {
        let sent = lower.iter().enumerate().map(|(at, octet)| self.letter(at, *octet));
        if name.len() == lower.len() && name.iter().copied().eq(sent) {
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
}
