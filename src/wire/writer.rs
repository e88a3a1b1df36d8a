//! Writing messages behind what a buffer already holds, inside a size limit.

use super::constants::{
    DNSSEC_OK, Ede, HEADER_OCTETS, OPT_OCTETS, Rcode, Rtype, UDP_PAYLOAD_OCTETS,
};
use super::message::Malformed;
use super::options::OPTION_EDE;
use super::question::Question;

/// Type, class, TTL and RDLENGTH of a record (RFC 1035 §4.1.3).
const FIXED_OCTETS: usize = 10;

/// What was to be written goes over the message's size limit; nothing of it was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

/// Appends one message to a buffer. Compression pointers count from where the message begins, so a
/// stream's buffer can hold several. With capacity at hand it does not allocate.
pub struct MessageWriter<'a> {
    out: &'a mut Vec<u8>,
    base: usize,
    limit: usize,
}

impl<'a> MessageWriter<'a> {
    /// Begins a message of at most `limit` octets with header words `id` and `flags`, counts zero.
    /// `limit` below a header's size is taken as a header's size.
    pub fn begin(out: &'a mut Vec<u8>, limit: usize, id: u16, flags: u16) -> Self {
        let base = out.len();
        let [[i, j], [f, g]] = [id.to_be_bytes(), flags.to_be_bytes()];
        let header: [u8; HEADER_OCTETS] = [i, j, f, g, 0, 0, 0, 0, 0, 0, 0, 0];
        out.extend_from_slice(&header);
        Self { out, base, limit: limit.max(HEADER_OCTETS) }
    }

    /// Octets written so far, header included.
    #[allow(clippy::len_without_is_empty, reason = "a message begins with its header")]
    pub fn len(&self) -> usize {
        self.out.len() - self.base
    }

    /// Octets that still fit.
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.len())
    }

    /// Keeps `octets` free at the end, for an OPT; give them back with [`Self::release`].
    pub fn reserve(&mut self, octets: usize) -> Result<(), Full> {
        if octets > self.room() {
            return Err(Full);
        }
        self.limit -= octets;
        Ok(())
    }

    /// Gives back what [`Self::reserve`] kept.
    pub fn release(&mut self, octets: usize) {
        self.limit += octets;
    }

    /// Appends octets as they are.
    pub fn raw(&mut self, octets: &[u8]) -> Result<(), Full> {
        if octets.len() > self.room() {
            return Err(Full);
        }
        self.out.extend_from_slice(octets);
        Ok(())
    }

    /// Appends the one entry of a question section.
    pub fn question(&mut self, question: &Question) -> Result<(), Full> {
        self.raw(question.qname.as_wire())?;
        self.raw(&question.qtype.0.to_be_bytes())?;
        self.raw(&question.qclass.to_be_bytes())
    }

    /// Appends the fixed part of a record behind its owner name.
    pub fn fixed(&mut self, rtype: Rtype, class: u16, ttl: u32, rdata: usize) -> Result<(), Full> {
        self.raw(&fixed(rtype, class, ttl, rdata)?)
    }

    /// Appends the RDATA that `write` adds to the buffer, and puts its length into the fixed part of
    /// the record, which was appended last. What goes over the limit is malformed.
    pub(super) fn rdata(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let at = self.len();
        write(self.out)?;
        if self.len() > self.limit {
            return Err(Malformed);
        }
        let octets = u16::try_from(self.len().saturating_sub(at)).map_err(|_| Malformed)?;
        self.set_u16(at.saturating_sub(2), octets);
        Ok(())
    }

    /// Appends a record up to its RDATA, whose owner is a compression pointer.
    pub fn record(
        &mut self,
        owner: [u8; 2],
        rtype: Rtype,
        class: u16,
        ttl: u32,
        rdata: usize,
    ) -> Result<(), Full> {
        // One copy of a known size instead of two.
        let mut octets = [0; 2 + FIXED_OCTETS];
        let (first, rest) = octets.split_at_mut(2);
        first.copy_from_slice(&owner);
        rest.copy_from_slice(&fixed(rtype, class, ttl, rdata)?);
        self.raw(&octets)
    }

    /// Cuts back to `len` octets.
    pub fn truncate(&mut self, len: usize) {
        self.out.truncate(self.base + len.max(HEADER_OCTETS));
    }

    /// Overwrites the 16-bit word at `at`, counted from the message's first octet. Places outside
    /// the message are left alone.
    pub fn set_u16(&mut self, at: usize, value: u16) {
        if let Some(place) = self.out.get_mut(self.base + at..self.base + at + 2) {
            place.copy_from_slice(&value.to_be_bytes());
        }
    }

    /// Overwrites the 32-bit word at `at`, counted from the message's first octet. Places outside
    /// the message are left alone.
    pub fn set_u32(&mut self, at: usize, value: u32) {
        if let Some(place) = self.out.get_mut(self.base + at..self.base + at + 4) {
            place.copy_from_slice(&value.to_be_bytes());
        }
    }

    /// Sets the four section counts.
    pub fn set_counts(&mut self, counts: [u16; 4]) {
        let mut octets = [0; 8];
        for (to, count) in octets.chunks_exact_mut(2).zip(counts) {
            to.copy_from_slice(&count.to_be_bytes());
        }
        if let Some(place) = self.out.get_mut(self.base + 4..self.base + HEADER_OCTETS) {
            place.copy_from_slice(&octets);
        }
    }

    /// Octets that [`Self::opt`] takes for the same arguments.
    pub fn opt_octets(ede: Option<(Ede, &str)>, options: &[u8]) -> usize {
        OPT_OCTETS + ede.map_or(0, |(_, text)| 6 + text.len()) + options.len()
    }

    /// Appends an OPT record (RFC 6891 §6.1.2): our UDP size, the extended bits of `rcode`, the DO
    /// bit, an extended error with its text (RFC 8914 §2), and ready-made options.
    pub fn opt(
        &mut self,
        rcode: Rcode,
        dnssec_ok: bool,
        ede: Option<(Ede, &str)>,
        options: &[u8],
    ) -> Result<(), Full> {
        let octets = Self::opt_octets(ede, options);
        if octets > self.room() {
            return Err(Full);
        }
        let extended = u32::from(rcode.0 >> 4) << 24;
        let dnssec_ok = if dnssec_ok { DNSSEC_OK } else { 0 };
        self.raw(&[0])?;
        self.fixed(Rtype::OPT, UDP_PAYLOAD_OCTETS, extended | dnssec_ok, octets - OPT_OCTETS)?;
        if let Some((code, text)) = ede {
            let octets = u16::try_from(2 + text.len()).map_err(|_| Full)?;
            self.raw(&OPTION_EDE.to_be_bytes())?;
            self.raw(&octets.to_be_bytes())?;
            self.raw(&(code as u16).to_be_bytes())?;
            self.raw(text.as_bytes())?;
        }
        self.raw(options)
    }
}

/// The fixed part of a record.
fn fixed(rtype: Rtype, class: u16, ttl: u32, rdata: usize) -> Result<[u8; FIXED_OCTETS], Full> {
    let rdata = u16::try_from(rdata).map_err(|_| Full)?;
    let [[t, u], [c, d], [r, s]] = [rtype.0, class, rdata].map(u16::to_be_bytes);
    let [w, x, y, z] = ttl.to_be_bytes();
    Ok([t, u, c, d, w, x, y, z, r, s])
}
