//! The signature of one message (RFC 8945), of which we share no key with any client.

use super::constants::Rtype;
use super::message::{Header, Malformed, Record, Records, Section, read_name};
use super::name::QName;
use super::writer::{Full, MessageWriter};
use super::{u16_at, u32_at};

/// Class ANY, which each TSIG has (RFC 8945 §4.2).
const CLASS_ANY: u16 = 255;
/// The error of a TSIG whose key is not known (RFC 8945 §3).
const BADKEY: u16 = 17;
/// Octets of the time and the fudge (RFC 8945 §4.2).
const TIME_AND_FUDGE_OCTETS: usize = 8;

/// A TSIG record of a query, as far as a refusal needs it.
pub struct Tsig<'a> {
    key: QName,
    algorithm: QName,
    time_and_fudge: &'a [u8],
    original_id: u16,
}

impl<'a> Tsig<'a> {
    /// Reads the record of `message` that begins at `at`. Fails where it breaks the form of RFC 8945
    /// §4.2.
    pub fn read(message: &'a [u8], at: usize) -> Result<Self, Malformed> {
        let one = Header { answers: 0, authorities: 0, additionals: 1, ..Header::EMPTY };
        let record = Records::new(message, &one, at).next().ok_or(Malformed)??;
        Self::of(message, &record)
    }

    /// As [`Self::read`], of a record at hand.
    pub(super) fn of(message: &'a [u8], record: &Record<'a>) -> Result<Self, Malformed> {
        let fits = record.rtype == Rtype::TSIG
            && record.section == Section::Additional
            && (record.class, record.ttl) == (CLASS_ANY, 0);
        if !fits {
            return Err(Malformed);
        }
        let (key, _) = read_name(message, record.owner_at)?;
        let (algorithm, at) = read_name(message, record.rdata_at)?;
        let time_and_fudge = message.get(at..at + TIME_AND_FUDGE_OCTETS).ok_or(Malformed)?;
        let mac_at = at + TIME_AND_FUDGE_OCTETS + 2;
        let id_at = mac_at + usize::from(u16_at(message, mac_at - 2).ok_or(Malformed)?);
        let original_id = u16_at(message, id_at).ok_or(Malformed)?;
        let other_octets = u32_at(message, id_at + 2).ok_or(Malformed)? & 0xffff;
        // What is longer than its record reads another one's octets.
        let end = u32::try_from(id_at + 6).map_err(|_| Malformed)? + other_octets;
        let is_whole = usize::try_from(end) == Ok(record.end());
        is_whole.then_some(Self { key, algorithm, time_and_fudge, original_id }).ok_or(Malformed)
    }

    /// Appends the TSIG of a reply that says that the key is not known. It has no signature (RFC 8945
    /// §5.3.2).
    pub fn write_bad_key(&self, writer: &mut MessageWriter<'_>) -> Result<(), Full> {
        let algorithm = self.algorithm.as_wire();
        writer.raw(self.key.as_wire())?;
        let octets = algorithm.len() + TIME_AND_FUDGE_OCTETS + 8;
        writer.fixed(Rtype::TSIG, CLASS_ANY, 0, octets)?;
        writer.raw(algorithm)?;
        writer.raw(self.time_and_fudge)?;
        // No MAC, the id, the error, nothing else.
        for word in [0, self.original_id, BADKEY, 0] {
            writer.raw(&word.to_be_bytes())?;
        }
        Ok(())
    }
}
