//! Files as shells write them: bounded, UTF-8 or UTF-16, with a byte order mark or without.

use std::io;
use std::path::Path;

use crate::sys::{self, FileError, FileKind};

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
    /// It is a directory.
    #[error("{file}: a directory; name the files in it, such as {file}/*.json")]
    Directory {
        /// The directory.
        file: String,
    },
    /// It is a device or a socket, which may never end.
    #[error("{file}: {kind}; name a file or a FIFO, or - for standard input")]
    Special {
        /// The path.
        file: String,
        /// What it leads to.
        kind: FileKind,
    },
    /// It is compressed.
    #[error("{file}: a {kind} file; unpack it, and give what is in it")]
    Packed {
        /// The file.
        file: String,
        /// How it is compressed.
        kind: &'static str,
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

/// Reads a file, a FIFO (a shell's `<(az …)`), or standard input for `-`: its name and its text, as
/// [`super::read`] wants them. Waits for the end of a FIFO and of standard input.
pub fn load(path: &Path) -> Result<(String, String), LoadError> {
    let file = path.display().to_string();
    let octets = if path.as_os_str() == "-" {
        sys::read_up_to(io::stdin().lock(), MAX_FILE_OCTETS)
    } else {
        sys::read_input(path, MAX_FILE_OCTETS)
    };
    match octets {
        Err(FileError::NotRegular(FileKind::Directory)) => {
            Err(LoadError::Directory { file: file.trim_end_matches('/').to_owned() })
        }
        Err(FileError::NotRegular(kind)) => Err(LoadError::Special { file, kind }),
        Err(FileError::Unreadable(why)) => Err(LoadError::Unreadable { file, why }),
        Err(FileError::TooLarge { .. }) => Err(LoadError::TooLarge { file }),
        Ok(octets) => match (packed(&octets), decode(octets)) {
            (Some(kind), _) => Err(LoadError::Packed { file, kind }),
            (None, Some(text)) => Ok((file, text)),
            (None, None) => Err(LoadError::NotText { file }),
        },
    }
}

/// What a file is compressed with, by its first octets: gzip (RFC 1952 §2.3.1), ZIP's local file
/// header, bzip2, xz, Zstandard (RFC 8878 §3.1.1).
fn packed(octets: &[u8]) -> Option<&'static str> {
    const KINDS: [(&[u8], &str); 5] = [
        (b"\x1f\x8b", "gzip"),
        (b"PK\x03\x04", "ZIP"),
        (b"BZh", "bzip2"),
        (b"\xfd7zXZ\0", "xz"),
        (b"\x28\xb5\x2f\xfd", "Zstandard"),
    ];
    KINDS.iter().find(|(magic, _)| octets.starts_with(magic)).map(|(_, kind)| *kind)
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
    fn compressed_files_are_told_by_their_first_octets() {
        for (octets, kind) in [
            (&b"\x1f\x8b\x08"[..], Some("gzip")),
            (b"PK\x03\x04", Some("ZIP")),
            (b"\x28\xb5\x2f\xfd", Some("Zstandard")),
            (b"PK", None),
            (b"[]", None),
            (b"", None),
        ] {
            assert_eq!(packed(octets), kind, "{octets:?}");
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
    fn devices_are_refused() {
        let error = load(Path::new("/dev/zero")).expect_err("endless").to_string();
        assert_eq!(
            error,
            "/dev/zero: a character device; name a file or a FIFO, or - for standard input"
        );
    }
}
