//! What it costs to read the names of a message.
//!
//! A name of two octets can stand for 126 pointers or 127 labels, so that 64 KiB can hold thousands
//! of names that take a microsecond each, every time that they are read. So `wire::relevance` counts
//! the steps of a reply's names before it reads them, and refuses a reply with too many.

use super::constants::{HEADER_OCTETS, MAX_MESSAGE_OCTETS, UDP_PAYLOAD_OCTETS};
use super::message::{Malformed, Record, Section, compressed_names};
use super::u16_at;

/// Steps that reading each kept name of a message once may take: labels and pointers, and one more
/// for each name. As many as the largest message has octets. That is twice what 4,000 addresses
/// need whose owner is the end of a chain of CNAMEs.
pub(super) const MAX_STEPS: usize = MAX_MESSAGE_OCTETS;

/// Octets of a message that cannot take more steps whatever it holds: what we offer over UDP, so
/// that nearly no reply is counted. The costliest record has three names in 16 octets, and a name
/// takes at most [`MAX_NAME_STEPS`].
const CANNOT_EXCEED_OCTETS: usize = UDP_PAYLOAD_OCTETS as usize;

/// Steps of the longest name: 127 labels, 126 pointers and the name itself. Readers go no further.
const MAX_NAME_STEPS: usize = 254;

/// Counts the steps of a message's records while they are walked, each record before its names are
/// read.
pub(super) struct Meter<'m> {
    message: &'m [u8],
    /// Steps that are left; `None` for a message that cannot take too many.
    left: Option<usize>,
    /// The last owner as it was spelt, and its steps.
    owner: (&'m [u8], usize),
}

impl<'m> Meter<'m> {
    pub(super) fn new(message: &'m [u8]) -> Self {
        let left = (message.len() > CANNOT_EXCEED_OCTETS).then_some(MAX_STEPS);
        Self { message, left, owner: (&[], 0) }
    }

    /// Counts `record`; an error when there are too many steps. Nothing is counted of the additional
    /// section, which is not kept.
    #[inline]
    pub(super) fn note(&mut self, record: &Record<'_>) -> Result<(), Malformed> {
        match self.left {
            Some(left) if record.section != Section::Additional => self.spend(record, left),
            _ => Ok(()),
        }
    }

    fn spend(&mut self, record: &Record<'_>, left: usize) -> Result<(), Malformed> {
        let owner = record.owner_octets(self.message);
        if self.owner.0 != owner {
            self.owner = (owner, walk(self.message, record.owner_at, left)?.0);
        }
        let steps = self.owner.1 + rdata_steps(self.message, record, left);
        self.left = Some(left.checked_sub(steps).ok_or(Malformed)?);
        Ok(())
    }
}

/// The steps of the names in a record's RDATA; just more than `most` where there are more than that.
/// A broken name counts as the longest one: its record is dropped, but others may lead through it.
fn rdata_steps(message: &[u8], record: &Record<'_>, most: usize) -> usize {
    let Some((fixed, names)) = compressed_names(record) else { return 0 };
    let (mut steps, mut at) = (0, record.rdata_at + fixed);
    for _ in 0..names {
        if at >= record.end() || steps > most {
            break;
        }
        let most_here = (most - steps).min(MAX_NAME_STEPS);
        let Ok((name, end)) = walk(message, at, most_here) else { return steps + MAX_NAME_STEPS };
        (steps, at) = (steps + name, end);
    }
    steps
}

/// The steps of the name at `at`, and where the octets behind it begin.
fn walk(message: &[u8], at: usize, most: usize) -> Result<(usize, usize), Malformed> {
    let (mut at, mut end, mut steps) = (at, None, 1);
    while steps <= most {
        match *message.get(at).ok_or(Malformed)? {
            0 => return Ok((steps, end.unwrap_or(at + 1))),
            octet @ 1..=63 => at += 1 + usize::from(octet),
            0xc0.. => {
                end.get_or_insert(at + 2);
                let target = usize::from(u16_at(message, at).ok_or(Malformed)? & 0x3fff);
                // Backwards only, or this would not end.
                if target >= at || target < HEADER_OCTETS {
                    return Err(Malformed);
                }
                at = target;
            }
            _ => return Err(Malformed),
        }
        steps += 1;
    }
    Ok((steps, end.unwrap_or(at)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{
        Answer, AnswerError, Header, MessageWriter, Question, Records, Rtype, flags,
    };

    fn question() -> Question {
        Question::plain("www.test".parse().expect("a name"), Rtype::A)
    }

    /// A reply with `records` of owner, type and RDATA in the section of that number.
    fn reply(section: usize, records: &[(&[u8], Rtype, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = MessageWriter::begin(&mut out, MAX_MESSAGE_OCTETS, 7, flags::QR);
        writer.question(&question()).expect("room");
        let mut counts = [1, 0, 0, 0];
        for (owner, rtype, rdata) in records {
            writer.raw(owner).expect("room");
            writer.fixed(*rtype, 1, 60, rdata.len()).expect("room");
            writer.raw(rdata).expect("room");
            counts[section] += 1;
        }
        writer.set_counts(counts);
        out
    }

    /// The steps of all names that an answer keeps of `message`; `None` for more than may be.
    fn count(message: &[u8]) -> Option<usize> {
        let header = Header::read(message).expect("a header");
        let mut meter = Meter::new(message);
        for record in Records::new(message, &header, 12 + 10 + 4) {
            meter.note(&record.expect("well-formed")).ok()?;
        }
        Some(MAX_STEPS - meter.left.expect("a large message"))
    }

    /// Octets of RDATA that hold 100 names, each a pointer to the one before it, and where the last
    /// of them stands if the first octet stands at `at`.
    fn ladder(at: usize) -> (Vec<u8>, [u8; 2]) {
        let pointer = |to: usize| (0xc000 | u16::try_from(to).expect("near")).to_be_bytes();
        let mut octets = vec![1, b'x', 0];
        let mut last = at;
        for _ in 0..100 {
            let here = at + octets.len();
            octets.extend(pointer(last));
            last = here;
        }
        (octets, pointer(last))
    }

    /// A reply that is full of names of a hundred pointers each.
    fn bomb(section: usize, in_rdata: bool) -> Vec<u8> {
        // Behind header, question, and a record's root owner with its fixed octets.
        let (rungs, name) = ladder(12 + 14 + 11);
        let first: (&[u8], Rtype, &[u8]) = (&[0], Rtype::TXT, &rungs);
        let other: (&[u8], Rtype, &[u8]) = match in_rdata {
            true => (&[0], Rtype::NS, &name),
            false => (&name, Rtype::NS, &[0]),
        };
        reply(section, &[&[first][..], &[other; 4_600]].concat())
    }

    #[test]
    fn names_of_many_pointers_are_refused_wherever_they_are_kept() {
        for section in [1, 2] {
            for in_rdata in [false, true] {
                let message = bomb(section, in_rdata);
                assert!((60_000..MAX_MESSAGE_OCTETS).contains(&message.len()));
                assert_eq!(count(&message), None);
                let outcome = Answer::parse(&message, &question());
                assert_eq!(outcome, Err(AnswerError::Malformed), "{section} {in_rdata}");
            }
        }
        // The additional section is not kept, and its names are not read.
        assert!(Answer::parse(&bomb(3, true), &question()).is_ok());
    }

    #[test]
    fn names_that_lead_to_a_broken_one_are_counted() {
        let (mut rungs, name) = ladder(12 + 14 + 11);
        // No label has this length.
        rungs[0] = 0x41;
        let first: (&[u8], Rtype, &[u8]) = (&[0], Rtype::TXT, &rungs);
        let others = [(&[0][..], Rtype::NS, &name[..]); 4_600];
        let message = reply(1, &[&[first][..], &others].concat());
        assert_eq!(count(&message), None);
        assert_eq!(Answer::parse(&message, &question()), Err(AnswerError::Malformed));
    }

    #[test]
    fn long_names_of_one_pointer_are_refused_too() {
        let long = [[1, b'a']; 127].concat();
        let long = [&long[..], &[0]].concat();
        let first: (&[u8], Rtype, &[u8]) = (&[0], Rtype::TXT, &long);
        let other: (&[u8], Rtype, &[u8]) = (&[0xc0, 12 + 14 + 11], Rtype::NS, &[0]);
        let message = reply(2, &[&[first][..], &[other; 4_600]].concat());
        assert_eq!(count(&message), None);
        assert_eq!(Answer::parse(&message, &question()), Err(AnswerError::Malformed));
    }

    #[test]
    fn the_largest_honest_answers_are_far_below_the_bound() {
        const MX: Rtype = Rtype(15);
        let target: &[u8] = b"\x03end\x07western\x06europe\x08cloudapp\x05azure\x03com\0";
        let link: (&[u8], Rtype, &[u8]) = (&[0xc0, 12], Rtype::CNAME, target);
        let end_at = u8::try_from(12 + 14 + 12).expect("near");
        let owner = [0xc0, end_at];
        let addresses: Vec<_> = (0..4_090_u32).map(u32::to_be_bytes).collect();
        let lines = addresses.iter().map(|address| (&owner[..], Rtype::A, &address[..]));
        let message = reply(1, &std::iter::once(link).chain(lines).collect::<Vec<_>>());
        assert!(message.len() > 65_000);
        let steps = count(&message).expect("allowed");
        assert_eq!(steps, (1 + 1 + 2) + (1 + 6) + 4_090 * (1 + 1 + 6));
        let answer = Answer::parse(&message, &question()).expect("an answer");
        assert_eq!(answer.borrowed().records().count(), 4_091);
        // Mail servers: two names a record, each spelt out but for its zone.
        let data = |n: u16| [&n.to_be_bytes()[..], b"\x04mx00\x04mail\xc0\x10"].concat();
        let data: Vec<_> = (0..2_500).map(data).collect();
        let mail: Vec<_> = data.iter().map(|data| (&[0xc0, 12][..], MX, &data[..])).collect();
        let question = Question::plain("www.test".parse().expect("a name"), MX);
        let mut message = reply(1, &mail);
        message[23] = 15;
        assert!(count(&message).is_some());
        assert!(Answer::parse(&message, &question).is_ok());
    }

    #[test]
    fn small_messages_cannot_take_so_many_steps() {
        let (name, record) = (MAX_NAME_STEPS, 2 + 10 + 2 + 2);
        let records = (CANNOT_EXCEED_OCTETS - HEADER_OCTETS) / record;
        assert!(records * 3 * name <= MAX_STEPS);
    }
}
