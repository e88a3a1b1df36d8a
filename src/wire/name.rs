//! Domain names in wire form: owned canonical ones, and the one of a query with its label offsets.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Longest name in wire form, root octet included (RFC 1035 §2.3.4).
pub const MAX_NAME_OCTETS: usize = 255;
/// Longest label, length octet not included (RFC 1035 §2.3.4).
pub const MAX_LABEL_OCTETS: usize = 63;
/// Most labels a name can have: 127 of one octet each, and the root.
const MAX_LABELS: usize = 127;

/// Octets of a [`QName`]'s memory.
const QNAME_OCTETS: usize = MAX_NAME_OCTETS.next_multiple_of(8) + 8;

/// Why octets or a text are not a domain name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NameError {
    /// A label between two dots has no octets.
    #[error("an empty label (two dots in a row, or a leading dot)")]
    EmptyLabel,
    /// A label is longer than 63 octets.
    #[error("a label longer than 63 octets")]
    LabelTooLong,
    /// The whole name is longer than 255 octets.
    #[error("a name longer than 255 octets")]
    TooLong,
    /// A character that a name in a file or on a command line may not have.
    #[error("a character that is not printable ASCII (write other octets as \\DDD)")]
    BadCharacter,
    /// A backslash with nothing valid behind it.
    #[error("a backslash without a character or three digits up to 255 behind it")]
    BadEscape,
    /// The wire form ends early, points forward, or has an unknown label type.
    #[error("a broken wire form")]
    BadWire,
}

/// A domain name: uncompressed wire form, lower case, root octet included. Clones share it.
///
/// ```
/// use privatelinkd::wire::Name;
/// let name: Name = "API.Example".parse().unwrap();
/// assert_eq!(name.as_wire(), b"\x03api\x07example\x00");
/// assert_eq!(name.to_string(), "api.example");
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<[u8]>);

impl Name {
    /// The root.
    pub fn root() -> Self {
        Self(Arc::new([0]))
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        *self.0 == [0]
    }

    /// From uncompressed wire form, nothing behind the root octet.
    pub fn from_wire(wire: &[u8]) -> Result<Self, NameError> {
        let mut at = 0;
        loop {
            let octets = usize::from(*wire.get(at).ok_or(NameError::BadWire)?);
            at += 1;
            match octets {
                0 => break,
                1..=MAX_LABEL_OCTETS => at += octets,
                _ => return Err(NameError::BadWire),
            }
        }
        if at != wire.len() {
            return Err(NameError::BadWire);
        }
        if at > MAX_NAME_OCTETS {
            return Err(NameError::TooLong);
        }
        Ok(Self(wire.to_ascii_lowercase().into()))
    }

    /// The wire form, root octet included.
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }

    /// The labels from the left, without the root.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        Labels { rest: &self.0 }
    }

    /// How many labels, without the root.
    pub fn label_count(&self) -> usize {
        self.labels().count()
    }

    /// Whether this name is `zone` or a name below it.
    pub fn is_within(&self, zone: &Name) -> bool {
        let (ours, theirs) = (self.label_count(), zone.label_count());
        ours >= theirs && {
            let mut labels = Labels { rest: &self.0 };
            labels.by_ref().take(ours - theirs).for_each(drop);
            labels.rest == &*zone.0
        }
    }

    /// This name, a label shorter from the left; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        let mut labels = Labels { rest: &self.0 };
        labels.next()?;
        Some(Self(labels.rest.into()))
    }

    /// `self` in front of `zone`: `data.westeurope` and `example` give `data.westeurope.example`.
    pub fn under(&self, zone: &Name) -> Result<Self, NameError> {
        let (_root, labels) = self.0.split_last().ok_or(NameError::BadWire)?;
        let wire = [labels, &zone.0].concat();
        if wire.len() > MAX_NAME_OCTETS {
            return Err(NameError::TooLong);
        }
        Ok(Self(wire.into()))
    }
}

/// Walks labels; `rest` is what follows, root octet included.
struct Labels<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (octets, rest) = self.rest.split_first()?;
        if *octets == 0 {
            return None;
        }
        let (label, rest) = rest.split_at_checked(usize::from(*octets))?;
        self.rest = rest;
        Some(label)
    }
}

impl FromStr for Name {
    type Err = NameError;

    /// Reads presentation form (RFC 1035 §5.1): a final dot is optional, `.` is the root.
    fn from_str(text: &str) -> Result<Self, NameError> {
        if text == "." {
            return Ok(Self::root());
        }
        if text.is_empty() {
            return Err(NameError::EmptyLabel);
        }
        let mut wire = Vec::with_capacity(text.len() + 2);
        let mut label = Vec::with_capacity(MAX_LABEL_OCTETS);
        let mut octets = text.bytes();
        let mut after_dot = false;
        while let Some(octet) = octets.next() {
            after_dot = octet == b'.';
            match octet {
                b'.' => end_label(&mut wire, &mut label)?,
                b'\\' => label.push(read_escape(&mut octets)?),
                0x21..=0x7e => label.push(octet.to_ascii_lowercase()),
                _ => return Err(NameError::BadCharacter),
            }
        }
        if !after_dot {
            end_label(&mut wire, &mut label)?;
        }
        wire.push(0);
        if wire.len() > MAX_NAME_OCTETS {
            return Err(NameError::TooLong);
        }
        Ok(Self(wire.into()))
    }
}

fn end_label(wire: &mut Vec<u8>, label: &mut Vec<u8>) -> Result<(), NameError> {
    if label.is_empty() {
        return Err(NameError::EmptyLabel);
    }
    if label.len() > MAX_LABEL_OCTETS {
        return Err(NameError::LabelTooLong);
    }
    wire.push(u8::try_from(label.len()).map_err(|_| NameError::LabelTooLong)?);
    wire.append(label);
    Ok(())
}

/// What follows a backslash: three digits, or a character that stands for itself.
fn read_escape(octets: &mut impl Iterator<Item = u8>) -> Result<u8, NameError> {
    let first = octets.next().ok_or(NameError::BadEscape)?;
    if !first.is_ascii_digit() {
        return Ok(first.to_ascii_lowercase());
    }
    let mut value = u16::from(first - b'0');
    for _ in 0..2 {
        let digit = octets.next().filter(u8::is_ascii_digit).ok_or(NameError::BadEscape)?;
        value = value * 10 + u16::from(digit - b'0');
    }
    u8::try_from(value).map(|octet| octet.to_ascii_lowercase()).map_err(|_| NameError::BadEscape)
}

/// Writes labels in presentation form, without the final dot but for the root.
fn write_labels<'a>(
    f: &mut fmt::Formatter<'_>,
    labels: impl Iterator<Item = &'a [u8]>,
) -> fmt::Result {
    let mut empty = true;
    for label in labels {
        if !empty {
            f.write_str(".")?;
        }
        empty = false;
        for octet in label {
            match octet {
                b'.' | b'\\' | b'"' | b';' | b'@' | b'$' | b'(' | b')' => {
                    write!(f, "\\{}", char::from(*octet))?;
                }
                0x21..=0x7e => write!(f, "{}", char::from(*octet))?,
                _ => write!(f, "\\{octet:03}")?,
            }
        }
    }
    if empty { f.write_str(".") } else { Ok(()) }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_labels(f, self.labels())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Up to eight octets, zeros behind them.
fn filled_up(octets: &[u8]) -> [u8; 8] {
    let mut all = [0; 8];
    for (to, octet) in all.iter_mut().zip(octets) {
        *to = *octet;
    }
    all
}

/// ASCII letters of eight octets in lower case. Length octets are below 64 and so no letters.
fn to_lower(octets: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    // Without the top bit nothing carries into the next octet.
    let low = octets & (0x7f * EACH);
    let from_a = low + (0x80 - u64::from(b'A')) * EACH;
    let behind_z = low + (0x80 - u64::from(b'Z') - 1) * EACH;
    let letters = from_a & !behind_z & !octets & (0x80 * EACH);
    octets | letters >> 2
}

/// A name read from a message: lower case, uncompressed, on the stack, with its label offsets.
#[derive(Clone)]
pub struct QName {
    /// Longer than any name, so that eight octets can be read from any place in it.
    octets: [u8; QNAME_OCTETS],
    len: u8,
    /// Where each label's length octet stands in `octets`, the root's left out.
    offsets: [u8; MAX_LABELS],
    labels: u8,
}

impl QName {
    /// No octets at all, not even the root's.
    pub(super) const EMPTY: Self =
        Self { octets: [0; QNAME_OCTETS], len: 0, offsets: [0; MAX_LABELS], labels: 0 };

    /// Notes that a label begins `ahead` octets behind what was pushed.
    pub(super) fn note_label(&mut self, ahead: usize) -> Result<(), NameError> {
        let at = usize::from(self.len) + ahead;
        // The shortest label and the root have to fit behind it.
        if at + 3 > MAX_NAME_OCTETS {
            return Err(NameError::TooLong);
        }
        let offset = self.offsets.get_mut(usize::from(self.labels)).ok_or(NameError::TooLong)?;
        *offset = u8::try_from(at).map_err(|_| NameError::TooLong)?;
        self.labels += 1;
        Ok(())
    }

    /// Appends labels as found in a message, with their length octets. Each was noted before.
    pub(super) fn push_labels(&mut self, labels: &[u8]) -> Result<(), NameError> {
        let at = usize::from(self.len);
        let end = at + labels.len();
        // One octet is kept for the root.
        if end >= MAX_NAME_OCTETS {
            return Err(NameError::TooLong);
        }
        let mut rest = self.octets.get_mut(at..).ok_or(NameError::TooLong)?;
        let mut chunks = labels.chunks(8);
        // Whole words, the last one filled up with zeros: there is room for that.
        while let (Some(chunk), Some((word, behind))) =
            (chunks.next(), rest.split_first_chunk_mut())
        {
            let octets = chunk.first_chunk().copied().unwrap_or_else(|| filled_up(chunk));
            *word = to_lower(u64::from_le_bytes(octets)).to_le_bytes();
            rest = behind;
        }
        self.len = u8::try_from(end).map_err(|_| NameError::TooLong)?;
        Ok(())
    }

    pub(super) fn push_root(&mut self) -> Result<(), NameError> {
        *self.octets.get_mut(usize::from(self.len)).ok_or(NameError::TooLong)? = 0;
        self.len = self.len.checked_add(1).ok_or(NameError::TooLong)?;
        Ok(())
    }

    /// The wire form, lower case, root octet included.
    pub fn as_wire(&self) -> &[u8] {
        self.octets.get(..usize::from(self.len)).unwrap_or(&[])
    }

    /// How many labels, without the root.
    pub fn label_count(&self) -> usize {
        usize::from(self.labels)
    }

    /// Where label `index` (0 = leftmost; `label_count()` = the root) begins in the wire form.
    pub fn label_offset(&self, index: usize) -> usize {
        let known = self.offsets.get(..self.label_count()).unwrap_or(&[]);
        known
            .get(index)
            .map_or_else(|| usize::from(self.len.saturating_sub(1)), |o| usize::from(*o))
    }

    /// Label `index` without its length octet; empty past the last.
    pub fn label(&self, index: usize) -> &[u8] {
        if index >= self.label_count() {
            return &[];
        }
        self.octets.get(self.label_offset(index) + 1..self.label_offset(index + 1)).unwrap_or(&[])
    }

    /// Folds the octets from `begin` to `end`, of which there is at least one, into a hash, eight at
    /// a time.
    pub(super) fn fold(
        &self,
        begin: usize,
        end: usize,
        hash: u64,
        mix: fn(u64, u64) -> u64,
    ) -> u64 {
        let word = |at: usize| {
            let word = self.octets.get(at..).and_then(<[u8]>::first_chunk);
            word.map_or(0, |word| u64::from_le_bytes(*word))
        };
        let (mut at, mut hash) = (begin, hash);
        while end - at > 8 {
            hash = mix(hash, word(at));
            at += 8;
        }
        // What stands behind the label is not its own.
        mix(hash, word(at) & u64::MAX >> (64 - 8 * (end - at)))
    }

    /// The wire form from label `index` on: the name's ancestor with `index` labels cut.
    pub fn suffix(&self, index: usize) -> &[u8] {
        self.as_wire().get(self.label_offset(index)..).unwrap_or(&[])
    }

    /// An owned copy.
    pub fn to_name(&self) -> Name {
        Name(self.as_wire().into())
    }
}

impl From<&Name> for QName {
    fn from(name: &Name) -> Self {
        let mut qname = Self::EMPTY;
        let mut at = 0;
        for label in name.labels() {
            // A `Name` is never longer than what fits.
            let _fits = qname.note_label(at);
            at += 1 + label.len();
        }
        let _fits = qname.push_labels(name.as_wire().get(..at).unwrap_or(&[]));
        let _fits = qname.push_root();
        qname
    }
}

impl fmt::Display for QName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_labels(f, Labels { rest: self.as_wire() })
    }
}

impl fmt::Debug for QName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a valid name")
    }

    #[test]
    fn presentation_form_round_trips() {
        for text in ["api.example", "a\\.b.example", "\\000\\255.x", "."] {
            assert_eq!(name(text).to_string(), text);
        }
        assert_eq!(name("API.Example.").to_string(), "api.example");
    }

    #[test]
    fn bad_texts_say_what_is_wrong() {
        let cases = [
            ("", NameError::EmptyLabel),
            ("a..b", NameError::EmptyLabel),
            (".a", NameError::EmptyLabel),
            ("a b", NameError::BadCharacter),
            ("ü.example", NameError::BadCharacter),
            ("a\\25", NameError::BadEscape),
            ("a\\256", NameError::BadEscape),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Name>(), Err(error), "{text}");
        }
        assert_eq!("a".repeat(64).parse::<Name>(), Err(NameError::LabelTooLong));
        assert_eq!("a.".repeat(128).parse::<Name>(), Err(NameError::TooLong));
        assert_eq!("a.".repeat(127).parse::<Name>().map(|n| n.as_wire().len()), Ok(255));
    }

    #[test]
    fn within_compares_whole_labels() {
        assert!(name("a.example").is_within(&name("example")));
        assert!(name("example").is_within(&name("example")));
        assert!(name("example").is_within(&Name::root()));
        assert!(!name("aexample").is_within(&name("example")));
        assert!(!name("example").is_within(&name("a.example")));
    }

    #[test]
    fn a_qname_knows_its_labels() {
        let qname = QName::from(&name("data.west.example"));
        assert_eq!(qname.label_count(), 3);
        assert_eq!(qname.label(1), b"west");
        assert_eq!(qname.suffix(2), b"\x07example\x00");
        assert_eq!(qname.suffix(3), b"\x00");
        assert_eq!(qname.to_name(), name("data.west.example"));
    }

    #[test]
    fn lower_case_is_asciis_alone() {
        for octet in 0..=255_u8 {
            let octets = [octet, 0, b'Z', octet, 0xff, octet, b'@', octet];
            let lower = to_lower(u64::from_le_bytes(octets)).to_le_bytes();
            assert_eq!(lower, octets.map(|octet| octet.to_ascii_lowercase()));
        }
    }

    #[test]
    fn under_joins_and_stops_at_255_octets() {
        assert_eq!(name("a.b").under(&name("c")), Ok(name("a.b.c")));
        let long: Name = "a.".repeat(126).parse().expect("253 octets");
        assert_eq!(long.under(&name("bc")), Err(NameError::TooLong));
        assert!(long.under(&name("b")).is_ok());
    }
}
