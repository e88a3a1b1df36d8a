//! Files as shells write them: bounded, UTF-8 or UTF-16, with a byte order mark or without.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Largest file, octets: 20,000 private endpoints as `az` prints them are about 60 MB.
pub const MAX_FILE_OCTETS: u64 = 64 << 20;

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// It cannot be opened or read.
    #[error("{file}: cannot be read: {why}")]
    Unreadable {
        /// The file.
        file: String,
        /// What the system says.
        why: io::Error,
    },
    /// It is larger than [`MAX_FILE_OCTETS`].
    #[error(
        "{file}: larger than {} MiB; split it, or let az print less with --query",
        MAX_FILE_OCTETS >> 20
    )]
    TooLarge {
        /// The file.
        file: String,
    },
    /// It is neither UTF-8 nor UTF-16 with a byte order mark.
    #[error(
        "{file}: neither UTF-8 nor UTF-16 text; in PowerShell write … | Out-File -Encoding utf8 FILE"
    )]
    NotText {
        /// The file.
        file: String,
    },
}

/// Reads a file, or standard input for `-`: its name and its text, as [`super::read`] wants them.
pub fn load(path: &Path) -> Result<(String, String), LoadError> {
    let file = path.display().to_string();
    let read = || {
        if path.as_os_str() == "-" { octets(io::stdin().lock()) } else { octets(File::open(path)?) }
    };
    match read() {
        Err(why) => Err(LoadError::Unreadable { file, why }),
        Ok(None) => Err(LoadError::TooLarge { file }),
        Ok(Some(octets)) => match decode(octets) {
            Some(text) => Ok((file, text)),
            None => Err(LoadError::NotText { file }),
        },
    }
}

/// All octets, unless there are too many. Counted while reading: a pipe has no length beforehand.
fn octets(from: impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut octets = Vec::new();
    from.take(MAX_FILE_OCTETS + 1).read_to_end(&mut octets)?;
    Ok((octets.len() as u64 <= MAX_FILE_OCTETS).then_some(octets))
}

/// The text of octets: UTF-8, or UTF-16 of either order, which `>` of Windows PowerShell writes.
pub fn decode(octets: Vec<u8>) -> Option<String> {
    let order: fn([u8; 2]) -> u16 = match octets.as_slice() {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        [0xef, 0xbb, 0xbf, text @ ..] => return String::from_utf8(text.to_vec()).ok(),
        _ => return String::from_utf8(octets).ok(),
    };
    let (units, rest) = octets.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let units: Vec<u16> = units.iter().skip(1).map(|unit| order(*unit)).collect();
    String::from_utf16(&units).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_every_shell_are_read() {
        let text = "[{\"name\": \"é€😀\"}]";
        let units: Vec<u16> = std::iter::once(0xfeff).chain(text.encode_utf16()).collect();
        let little = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let big = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
        let marked = [&[0xef, 0xbb, 0xbf], text.as_bytes()].concat();
        for octets in [little, big, marked, text.as_bytes().to_vec()] {
            assert_eq!(decode(octets).as_deref(), Some(text));
        }
    }

    #[test]
    fn what_is_no_text_is_refused() {
        for octets in
            [&[0x80][..], &[0xff, 0xfe, 0x41], &[0xff, 0xfe, 0x00, 0xd8], b"\xef\xbb\xbf\xff"]
        {
            assert_eq!(decode(octets.to_vec()), None, "{octets:?}");
        }
    }

    #[test]
    fn size_is_bounded() {
        let of = |size: u64| octets(io::repeat(b' ').take(size)).expect("octets");
        assert_eq!(of(MAX_FILE_OCTETS).map(|octets| octets.len() as u64), Some(MAX_FILE_OCTETS));
        assert_eq!(of(MAX_FILE_OCTETS + 1), None);
    }
}
