//! Reading messages: the header, names with compression, records.

use super::constants::{HEADER_OCTETS, Rtype, flags};
use super::name::{MAX_NAME_OCTETS, NameError, QName};
use super::{u16_at, u32_at};

/// Compression pointers followed in one name. Pointers must go backwards, so a name of 127 labels
/// needs no more than 126; honest servers need one or two.
pub(super) const MAX_POINTERS: usize = 126;

/// A message that breaks RFC 1035's form.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("malformed message")]
pub struct Malformed;

impl From<NameError> for Malformed {
    fn from(_: NameError) -> Self {
        Self
    }
}

/// The fixed header (RFC 1035 §4.1.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Chosen by who asks, echoed by who answers.
    pub id: u16,
    /// The second word: see [`flags`].
    pub flags: u16,
    /// Entries in the question section.
    pub questions: u16,
    /// Records in the answer section.
    pub answers: u16,
    /// Records in the authority section.
    pub authorities: u16,
    /// Records in the additional section.
    pub additionals: u16,
}

impl Header {
    pub(super) const EMPTY: Self =
        Self { id: 0, flags: 0, questions: 0, answers: 0, authorities: 0, additionals: 0 };

    /// Reads the first 12 octets; `None` when there are fewer.
    pub fn read(message: &[u8]) -> Option<Self> {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = *message.first_chunk::<HEADER_OCTETS>()?;
        let pairs = [[a, b], [c, d], [e, f], [g, h], [i, j], [k, l]];
        let [id, flags, questions, answers, authorities, additionals] =
            pairs.map(u16::from_be_bytes);
        Some(Self { id, flags, questions, answers, authorities, additionals })
    }

    /// Whether any of `bits` is set.
    pub fn has(&self, bits: u16) -> bool {
        self.flags & bits != 0
    }

    /// The opcode, 0 for QUERY.
    pub fn opcode(&self) -> u16 {
        (self.flags & flags::OPCODE) >> 11
    }
}

/// Reads the name at `at`, following compression pointers backwards only (RFC 1035 §4.1.4).
/// Gives the name and where the octets behind it begin.
pub fn read_name(message: &[u8], at: usize) -> Result<(QName, usize), NameError> {
    let mut name = QName::EMPTY;
    let end = read_name_into(message, at, &mut name)?;
    Ok((name, end))
}

/// The same into an empty `name`, where moving 400 octets about would count.
pub(super) fn read_name_into(
    message: &[u8],
    at: usize,
    name: &mut QName,
) -> Result<usize, NameError> {
    let mut at = at;
    let mut end = None;
    // A pointer must land before the place it stands in; this falls with every jump.
    let mut barrier = at;
    for _ in 0..=MAX_POINTERS {
        let begin = at;
        let last = loop {
            match *message.get(at).ok_or(NameError::BadWire)? {
                octet @ 1..=63 => {
                    name.note_label(at - begin)?;
                    at += 1 + usize::from(octet);
                }
                octet @ (0 | 0xc0..) => break octet,
                // Extended label types are gone (RFC 6891 §5).
                _ => return Err(NameError::BadWire),
            }
        };
        name.push_labels(message.get(begin..at).ok_or(NameError::BadWire)?)?;
        if last == 0 {
            name.push_root()?;
            return Ok(end.unwrap_or(at + 1));
        }
        let target = usize::from(u16_at(message, at).ok_or(NameError::BadWire)? & 0x3fff);
        end.get_or_insert(at + 2);
        // The header is no name, and is another one in what is sent on.
        if target >= barrier || target < HEADER_OCTETS {
            return Err(NameError::BadWire);
        }
        barrier = target;
        at = target;
    }
    Err(NameError::BadWire)
}

/// Gives `visit` the labels of the name at `at`, with their length octets and in their own case.
/// Gives where the octets behind the name begin. Knows the same names as [`read_name`], and costs a
/// fraction of it.
pub(super) fn each_label<'m>(
    message: &'m [u8],
    at: usize,
    mut visit: impl FnMut(&'m [u8]),
) -> Result<usize, Malformed> {
    let (mut at, mut end, mut barrier) = (at, None, at);
    let (mut octets, mut pointers) = (1, 0);
    loop {
        match *message.get(at).ok_or(Malformed)? {
            0 => return Ok(end.unwrap_or(at + 1)),
            octet @ 1..=63 => {
                let behind = at + 1 + usize::from(octet);
                octets += behind - at;
                if octets > MAX_NAME_OCTETS {
                    return Err(Malformed);
                }
                visit(message.get(at..behind).ok_or(Malformed)?);
                at = behind;
            }
            0xc0.. => {
                let target = usize::from(u16_at(message, at).ok_or(Malformed)? & 0x3fff);
                end.get_or_insert(at + 2);
                pointers += 1;
                if target >= barrier || target < HEADER_OCTETS || pointers > MAX_POINTERS {
                    return Err(Malformed);
                }
                (barrier, at) = (target, target);
            }
            _ => return Err(Malformed),
        }
    }
}

/// Where the octets behind the name at `at` begin; pointers are not followed.
pub fn skip_name(message: &[u8], at: usize) -> Result<usize, NameError> {
    let mut at = at;
    loop {
        match *message.get(at).ok_or(NameError::BadWire)? {
            0 => return Ok(at + 1),
            octet @ 1..=63 => at += 1 + usize::from(octet),
            0xc0.. => return Ok(at + 2),
            _ => return Err(NameError::BadWire),
        }
    }
}

/// The section a record stands in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Section {
    /// Answer.
    Answer,
    /// Authority.
    Authority,
    /// Additional.
    Additional,
}

/// One record, by its places in the message.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The section it stands in.
    pub section: Section,
    /// Where its owner name begins.
    pub owner_at: usize,
    /// Its type.
    pub rtype: Rtype,
    /// Its class (for OPT: the UDP payload size, RFC 6891 §6.1.2).
    pub class: u16,
    /// Seconds; for OPT the extended flags.
    pub ttl: u32,
    /// Where the four TTL octets begin.
    pub ttl_at: usize,
    /// Where the RDATA begins.
    pub rdata_at: usize,
    /// The RDATA as it stands, possibly with compressed names.
    pub rdata: &'a [u8],
}

impl Record<'_> {
    /// The owner's octets in `message` as they stand there, compressed or not.
    pub(super) fn owner_octets<'m>(&self, message: &'m [u8]) -> &'m [u8] {
        message.get(self.owner_at..self.owner_end()).unwrap_or(&[])
    }

    /// Where the octets behind the owner begin.
    pub(super) fn owner_end(&self) -> usize {
        // Type and class stand between it and the TTL.
        self.ttl_at.saturating_sub(4)
    }

    /// Whether this is a signature over records of that type.
    pub fn covers(&self, rtype: Rtype) -> bool {
        self.rtype == Rtype::RRSIG && u16_at(self.rdata, 0) == Some(rtype.0)
    }

    /// Where the octets behind this record begin.
    pub fn end(&self) -> usize {
        self.rdata_at + self.rdata.len()
    }
}

/// Walks the records of a message, section by section. Ends after the first error.
pub struct Records<'a> {
    message: &'a [u8],
    at: usize,
    left: [u16; 3],
}

impl<'a> Records<'a> {
    /// `at` is where the answer section begins.
    pub fn new(message: &'a [u8], header: &Header, at: usize) -> Self {
        Self { message, at, left: [header.answers, header.authorities, header.additionals] }
    }

    /// Where the walk stands: behind the last record given.
    pub fn position(&self) -> usize {
        self.at
    }

    fn read(&mut self, section: Section) -> Result<Record<'a>, Malformed> {
        let owner_at = self.at;
        let fixed = skip_name(self.message, owner_at)?;
        let word = |at| u16_at(self.message, at).ok_or(Malformed);
        let rtype = Rtype(word(fixed)?);
        let class = word(fixed + 2)?;
        let ttl = u32_at(self.message, fixed + 4).ok_or(Malformed)?;
        let octets = usize::from(word(fixed + 8)?);
        let rdata_at = fixed + 10;
        let rdata = self.message.get(rdata_at..rdata_at + octets).ok_or(Malformed)?;
        self.at = rdata_at + octets;
        Ok(Record { section, owner_at, rtype, class, ttl, ttl_at: fixed + 4, rdata_at, rdata })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let sections = [Section::Answer, Section::Authority, Section::Additional];
        let (left, section) = self.left.iter_mut().zip(sections).find(|(left, _)| **left > 0)?;
        *left -= 1;
        let record = self.read(section);
        if record.is_err() {
            self.left = [0; 3];
        }
        Some(record)
    }
}

/// Returns where the RDATA of `record` has names that may be compressed: the number of octets before
/// them, and the number of names, which follow each other. `None` for other types. The types with
/// such names are those of RFC 1035, those that RFC 3597 §4 lists, and KX (RFC 2230).
pub fn compressed_names(record: &Record<'_>) -> Option<(usize, usize)> {
    match record.rtype.0 {
        // NS MD MF CNAME MB MG MR PTR, NXT, DNAME
        2..=5 | 7..=9 | 12 | 30 | 39 => Some((0, 1)),
        // SOA MINFO RP
        6 | 14 | 17 => Some((0, 2)),
        // MX AFSDB RT KX
        15 | 18 | 21 | 36 => Some((2, 1)),
        // PX
        26 => Some((2, 2)),
        // SRV
        33 => Some((6, 1)),
        // SIG: the signer's name behind 18 octets
        24 => Some((18, 1)),
        // NAPTR: order, preference, and three character-strings (RFC 3403 §4.1)
        35 => Some((behind_strings(record.rdata, 4, 3), 1)),
        _ => None,
    }
}

/// Where the octets begin behind so many character-strings from `at` on. Where they do not fit into
/// the RDATA, that is its end or behind it.
fn behind_strings(rdata: &[u8], at: usize, strings: usize) -> usize {
    let behind =
        |at: usize| rdata.get(at).map_or(rdata.len(), |octets| at + 1 + usize::from(*octets));
    (0..strings).fold(at, |at, _| behind(at))
}

/// Appends the RDATA of `record` with its names uncompressed, so that it can stand in another
/// message. What holds no compressed name is copied as it is.
pub fn canonical_rdata(
    message: &[u8],
    record: &Record<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    let Some((fixed, names)) = compressed_names(record) else {
        out.extend_from_slice(record.rdata);
        return Ok(());
    };
    out.extend_from_slice(record.rdata.get(..fixed).ok_or(Malformed)?);
    let mut at = record.rdata_at + fixed;
    for _ in 0..names {
        at = copy_name(message, at, out)?;
        if at > record.end() {
            return Err(Malformed);
        }
    }
    out.extend_from_slice(message.get(at..record.end()).ok_or(Malformed)?);
    Ok(())
}

/// Appends the name at `at` uncompressed, in its own case. Gives where the octets behind it begin.
/// Knows the same names as [`read_name`].
fn copy_name(message: &[u8], at: usize, out: &mut Vec<u8>) -> Result<usize, Malformed> {
    let most = out.len() + MAX_NAME_OCTETS;
    let (mut at, mut end) = (at, None);
    let mut barrier = at;
    for _ in 0..=MAX_POINTERS {
        let begin = at;
        let last = loop {
            match *message.get(at).ok_or(Malformed)? {
                octet @ 1..=63 => at += 1 + usize::from(octet),
                octet @ (0 | 0xc0..) => break octet,
                _ => return Err(Malformed),
            }
        };
        let labels = message.get(begin..at).ok_or(Malformed)?;
        // One octet is kept for the root.
        if out.len() + labels.len() >= most {
            return Err(Malformed);
        }
        out.extend_from_slice(labels);
        if last == 0 {
            out.push(0);
            return Ok(end.unwrap_or(at + 1));
        }
        let target = usize::from(u16_at(message, at).ok_or(Malformed)? & 0x3fff);
        end.get_or_insert(at + 2);
        if target >= barrier || target < HEADER_OCTETS {
            return Err(Malformed);
        }
        (barrier, at) = (target, target);
    }
    Err(Malformed)
}

/// Reads the question section's single entry: its name, type, class and where it ends.
pub(super) fn read_question(message: &[u8]) -> Result<(QName, Rtype, u16, usize), Malformed> {
    let (qname, end) = read_name(message, HEADER_OCTETS)?;
    let qtype = u16_at(message, end).ok_or(Malformed)?;
    let qclass = u16_at(message, end + 2).ok_or(Malformed)?;
    Ok((qname, Rtype(qtype), qclass, end + 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_go_backwards_only() {
        let read = |octets: &[u8], at: usize| {
            let message = [&[0; HEADER_OCTETS], octets].concat();
            let (name, end) = read_name(&message, HEADER_OCTETS + at)?;
            Ok::<_, NameError>((name.as_wire().to_vec(), end - HEADER_OCTETS))
        };
        let looped = [0xc0, 12];
        assert!(read(&looped, 0).is_err());
        let forward = [0xc0, 14, 0];
        assert!(read(&forward, 0).is_err());
        // "b" first, then "a" and a pointer to it.
        let good = [1, b'B', 0, 1, b'a', 0xc0, 12, 9];
        assert_eq!(read(&good, 3), Ok((b"\x01a\x01b\x00".to_vec(), 7)));
        // A label, then a pointer back to that same label.
        let spiral = [1, b'a', 0xc0, 12];
        assert!(read(&spiral, 0).is_err());
        // Zeros of the header would make a root.
        let header = [1, b'a', 0xc0, 10];
        assert!(read(&header, 0).is_err());
    }

    #[test]
    fn a_copied_name_is_the_one_that_is_read() {
        // Every two octets behind a few names, so that all kinds of pointers and labels are met.
        let front = b"\0\0\0\0\0\0\0\0\0\0\0\0\x01a\x02bc\0\xc0\x0c\x01d\xc0\x0e";
        let mut known = 0;
        for pair in 0..=u16::MAX {
            let message = [&front[..], &[2, b'x', b'y'], &pair.to_be_bytes(), &[0]].concat();
            let mut copied = Vec::new();
            let end = copy_name(&message, front.len(), &mut copied);
            let read = read_name(&message, front.len());
            assert_eq!(end.ok(), read.as_ref().ok().map(|(_, end)| *end), "{pair:#x}");
            let mut labels = Vec::new();
            let end = each_label(&message, front.len(), |label| labels.extend_from_slice(label));
            assert_eq!(end.ok(), read.as_ref().ok().map(|(_, end)| *end), "{pair:#x}");
            if end.is_ok() {
                assert_eq!([&labels[..], &[0]].concat(), copied, "{pair:#x}");
            }
            if let Ok((name, _)) = read {
                assert_eq!(copied.to_ascii_lowercase(), name.as_wire(), "{pair:#x}");
                known += 1;
            }
        }
        assert!(known > 300, "{known}");
        let long = [&[0; HEADER_OCTETS][..], &[[1, b'a']; 128].concat(), &[0]].concat();
        assert!(copy_name(&long, HEADER_OCTETS, &mut Vec::new()).is_err());
        assert!(each_label(&long, HEADER_OCTETS, |_| {}).is_err());
        assert_eq!(each_label(&long, HEADER_OCTETS + 2, |_| {}), Ok(long.len()));
        assert_eq!(copy_name(&long, HEADER_OCTETS + 2, &mut vec![9; 99]), Ok(long.len()));
    }

    #[test]
    fn unknown_label_types_and_short_names_are_refused() {
        for bad in [&[0x40, 0][..], &[0x80, 0], &[3, b'a'], &[], &[0xc0]] {
            assert!(read_name(bad, 0).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_over_255_octets_are_refused() {
        let mut wire = [[1, b'a']; 127].concat();
        wire.push(0);
        assert_eq!(wire.len(), 255);
        assert!(read_name(&wire, 0).is_ok());
        let mut wire = [[1, b'a']; 128].concat();
        wire.push(0);
        assert!(read_name(&wire, 0).is_err());
    }
}
