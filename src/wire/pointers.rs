//! Where compression pointers may lead: to a name inside one field of the message, which is the
//! question's name, the owner of a record, or its RDATA.
//!
//! A pointer to the fixed octets of a record would make a name out of its TTL. TTLs change while
//! an answer is in the cache, so the name would change after all checks of it.

use std::cell::OnceCell;

use super::constants::HEADER_OCTETS;
use super::message::{Header, MAX_POINTERS, Malformed, Records};
use super::name::MAX_NAME_OCTETS;
use super::u16_at;

/// Octets that a pointer can name: it has 14 bits (RFC 1035 §4.1.4).
const POINTABLE_OCTETS: usize = 1 << 14;

/// The fields of one message, which checks names against them.
pub(super) struct Fields<'m> {
    message: &'m [u8],
    header: &'m Header,
    question_end: usize,
    /// For each octet that a pointer can name, where the owner or the RDATA with that octet ends; 0
    /// for the fixed octets of a record. Made for the first pointer behind the question, since most
    /// replies have none.
    ends: OnceCell<Vec<u16>>,
}

impl<'m> Fields<'m> {
    /// Of `message`, which repeats the question uncompressed up to `question_end`.
    pub(super) fn new(message: &'m [u8], header: &'m Header, question_end: usize) -> Self {
        Self { message, header, question_end, ends: OnceCell::new() }
    }

    /// Checks the name at `at`, and returns where the octets behind it begin. It accepts the names
    /// that `read_name` accepts, unless one of their pointers leads out of a field.
    pub(super) fn name_end(&self, at: usize) -> Result<usize, Malformed> {
        let (mut at, mut end, mut barrier) = (at, None, at);
        let (mut octets, mut pointers) = (1, 0);
        // The part at `at` itself stands in the field that the caller reads.
        let mut field_end = usize::MAX;
        loop {
            match *self.message.get(at).ok_or(Malformed)? {
                0 if at < field_end => return Ok(end.unwrap_or(at + 1)),
                octet @ 1..=63 => {
                    octets += 1 + usize::from(octet);
                    if octets > MAX_NAME_OCTETS {
                        return Err(Malformed);
                    }
                    at += 1 + usize::from(octet);
                }
                0xc0.. if at.saturating_add(1) < field_end => {
                    let target = usize::from(u16_at(self.message, at).ok_or(Malformed)? & 0x3fff);
                    let end = *end.get_or_insert(at + 2);
                    pointers += 1;
                    if target >= barrier || target < HEADER_OCTETS || pointers > MAX_POINTERS {
                        return Err(Malformed);
                    }
                    if target == HEADER_OCTETS {
                        // The question's whole name, which is known to be one.
                        let labels = self.name_end_of_question() - HEADER_OCTETS - 1;
                        return if octets + labels > MAX_NAME_OCTETS {
                            Err(Malformed)
                        } else {
                            Ok(end)
                        };
                    }
                    field_end = self.field_end(target);
                    (barrier, at) = (target, target);
                }
                _ => return Err(Malformed),
            }
        }
    }

    fn name_end_of_question(&self) -> usize {
        // Type and class stand behind it.
        self.question_end - 4
    }

    /// Where the field ends that the octet at `at` stands in; not behind `at` if it stands in none.
    fn field_end(&self, at: usize) -> usize {
        if at < self.question_end {
            return self.name_end_of_question();
        }
        let ends = self.ends.get_or_init(|| self.find_ends());
        ends.get(at).map_or(0, |end| usize::from(*end))
    }

    #[cold]
    fn find_ends(&self) -> Vec<u16> {
        let mut ends = vec![0; self.message.len().min(POINTABLE_OCTETS)];
        let mut note = |begin: usize, end: usize| {
            let last = end.min(ends.len());
            // No message has more octets than 16 bits count.
            if let (Some(field), Ok(end)) = (ends.get_mut(begin..last), u16::try_from(end)) {
                field.fill(end);
            }
        };
        let records = Records::new(self.message, self.header, self.question_end);
        let records = records.map_while(Result::ok);
        for record in records.take_while(|record| record.owner_at < POINTABLE_OCTETS) {
            note(record.owner_at, record.owner_end());
            note(record.rdata_at, record.end());
        }
        ends
    }
}
