//! Records that a reply holds twice (RFC 2181 §5: a set has each record once).

use std::hash::{BuildHasher, Hasher};

use foldhash::quality::RandomState;

use super::message::{Header, Record, Records, compressed_names, read_name};

/// What is known of one record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Print {
    /// Of section, owner, type and RDATA.
    hash: u64,
    /// The caller's number for the record.
    index: usize,
    owner_at: usize,
}

/// Collects records of one message, and finds those that it has seen before. The cost grows with
/// the octets of the message, as the hash has a key that no sender knows.
pub(super) struct Duplicates<'m> {
    message: &'m [u8],
    state: RandomState,
    prints: Vec<Print>,
    /// The last owner as it was spelt, and its hash.
    owner: (&'m [u8], u64),
}

impl<'m> Duplicates<'m> {
    pub(super) fn new(message: &'m [u8]) -> Self {
        Self { message, state: RandomState::default(), prints: Vec::new(), owner: (&[], 0) }
    }

    /// Notes a record under the caller's number. The numbers must grow.
    pub(super) fn note(&mut self, index: usize, record: &Record<'_>) {
        let spelt = record.owner_octets(self.message);
        if self.owner.0 != spelt {
            let mut hasher = self.state.build_hasher();
            each_part_of_owner(self.message, record, |octets| hasher.write(octets));
            self.owner = (spelt, hasher.finish());
        }
        let mut hasher = self.state.build_hasher();
        hasher.write_u64(self.owner.1);
        hasher.write_u32(u32::from(record.rtype.0) << 2 | record.section as u32);
        each_part_of_rdata(self.message, record, |octets| hasher.write(octets));
        self.prints.push(Print { hash: hasher.finish(), index, owner_at: record.owner_at });
    }

    /// The numbers of the records that another one stands for.
    pub(super) fn find(mut self) -> Vec<usize> {
        let mut found = Vec::new();
        if self.prints.len() < 2 {
            return found;
        }
        self.prints.sort_unstable();
        for alike in self.prints.chunk_by(|a, b| a.hash == b.hash) {
            let Some((first, others)) = alike.split_first() else { continue };
            if others.is_empty() {
                continue;
            }
            let first = self.written_out(first);
            found.extend(others.iter().filter(|p| self.written_out(p) == first).map(|p| p.index));
        }
        found
    }

    /// A record's owner, type and RDATA, in the form in which equal ones have equal octets.
    fn written_out(&self, print: &Print) -> Option<Vec<u8>> {
        let one = Header { answers: 1, authorities: 0, additionals: 0, ..Header::EMPTY };
        let record = Records::new(self.message, &one, print.owner_at).next()?.ok()?;
        let mut out = Vec::new();
        each_part_of_owner(self.message, &record, |octets| out.extend_from_slice(octets));
        out.extend(record.rtype.0.to_be_bytes());
        each_part_of_rdata(self.message, &record, |octets| out.extend_from_slice(octets));
        Some(out)
    }
}

fn each_part_of_owner(message: &[u8], record: &Record<'_>, mut visit: impl FnMut(&[u8])) {
    if let Ok((owner, _)) = read_name(message, record.owner_at) {
        visit(owner.as_wire());
    }
}

/// Gives `visit` the RDATA in parts, its names uncompressed and in lower case.
fn each_part_of_rdata(message: &[u8], record: &Record<'_>, mut visit: impl FnMut(&[u8])) {
    let Some((fixed, names)) = compressed_names(record.rtype) else { return visit(record.rdata) };
    visit(record.rdata.get(..fixed).unwrap_or(&[]));
    let mut at = record.rdata_at + fixed;
    for _ in 0..names {
        let Ok((name, end)) = read_name(message, at) else { return };
        visit(name.as_wire());
        at = end;
    }
    visit(message.get(at..record.end()).unwrap_or(&[]));
}
