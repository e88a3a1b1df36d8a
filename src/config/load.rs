//! From a file to a configuration, or to everything that is wrong with it.

use std::io;
use std::path::{Path as FilePath, PathBuf};

use toml::de::DeTable;

use super::diagnostic::Diagnostic;
use super::findings::Findings;
use super::model::Config;
use super::{resolve, spec, syntax};
use crate::sys::{self, FileError, FileKind};

/// Largest file, octets: a million listed names are about 40 MiB, and more is not a configuration.
pub const MAX_FILE_OCTETS: u64 = 64 << 20;

/// Octets at the start that show whether a text is UTF-16.
const UTF16_SEEN: usize = 64;

/// What a text says as a configuration.
#[derive(Clone, Debug)]
pub struct Report {
    /// The meaning; none if there is any error.
    pub config: Option<Config>,
    /// Errors and warnings in the file's order.
    pub diagnostics: Vec<Diagnostic>,
}

/// A usable file.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Its meaning.
    pub config: Config,
    /// What probably does not say what was meant, in the file's order.
    pub warnings: Vec<Diagnostic>,
}

/// Why a file is not usable; all but [`Self::Invalid`] are about the file as a whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// It cannot be opened or read.
    #[error("{}: cannot be read: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        why: io::Error,
    },
    /// It is not a regular file, so reading it could wait for ever.
    #[error(
        "{}: this is {kind}; a configuration must be a regular file or a symbolic link to one; write \
         the text into a file first (`check -` reads standard input)",
        path.display()
    )]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it leads to.
        kind: FileKind,
    },
    /// It is larger than [`MAX_FILE_OCTETS`].
    #[error(
        "{}: the file is larger than the limit of {} MiB; is it a configuration?",
        path.display(),
        MAX_FILE_OCTETS >> 20
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is UTF-16, which some programs of Windows write.
    #[error(
        "{}: the file is UTF-16 text, but a configuration must be UTF-8; save the file as UTF-8 in \
         the editor, write it with Out-File -Encoding utf8 in PowerShell, or convert it: iconv -f \
         UTF-16 -t UTF-8",
        path.display()
    )]
    Utf16 {
        /// The file.
        path: PathBuf,
    },
    /// It is not UTF-8, which TOML must be.
    #[error(
        "{}:{line}: the line has an octet that is not UTF-8 text; save the file as UTF-8 (an editor \
         with an older character set, such as Windows-1252, writes é and “ as other octets)",
        path.display()
    )]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The line of the first wrong octet, from 1.
        line: usize,
    },
    /// It has errors. Displays all of them, and the warnings, one below the other.
    #[error("{}", listed(path, diagnostics))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Errors and warnings in the file's order.
        diagnostics: Vec<Diagnostic>,
    },
}

fn listed(path: &FilePath, diagnostics: &[Diagnostic]) -> String {
    let lines: Vec<_> = diagnostics.iter().map(|d| d.in_file(path).to_string()).collect();
    lines.join("\n")
}

/// Reads a configuration file.
pub fn load(path: &FilePath) -> Result<Loaded, LoadError> {
    load_from(sys::read_file(path, MAX_FILE_OCTETS), path)
}

/// Reads a configuration from standard input, which messages call `-`.
pub fn load_stdin() -> Result<Loaded, LoadError> {
    load_from(sys::read_up_to(io::stdin().lock(), MAX_FILE_OCTETS), FilePath::new("-"))
}

fn load_from(octets: Result<Vec<u8>, FileError>, path: &FilePath) -> Result<Loaded, LoadError> {
    let octets = octets.map_err(|error| {
        let path = path.to_owned();
        match error {
            FileError::Unreadable(why) => LoadError::Unreadable { path, why },
            FileError::NotRegular(kind) => LoadError::NotAFile { path, kind },
            FileError::TooLarge { .. } => LoadError::TooLarge { path },
        }
    })?;
    let report = read(&text_of(octets, path)?);
    match report.config {
        Some(config) => Ok(Loaded { config, warnings: report.diagnostics }),
        None => Err(LoadError::Invalid { path: path.to_owned(), diagnostics: report.diagnostics }),
    }
}

fn text_of(octets: Vec<u8>, path: &FilePath) -> Result<String, LoadError> {
    if is_utf16(&octets) {
        return Err(LoadError::Utf16 { path: path.to_owned() });
    }
    String::from_utf8(octets).map_err(|error| {
        let (good, octets) = (error.utf8_error().valid_up_to(), error.as_bytes());
        let line = 1 + octets.iter().take(good).filter(|octet| **octet == b'\n').count();
        LoadError::NotUtf8 { path: path.to_owned(), line }
    })
}

/// Whether this is UTF-16: its byte order mark says so, or without one the NUL on the same side of
/// most characters at its start.
fn is_utf16(octets: &[u8]) -> bool {
    let marks: [&[u8]; 3] = [&[0xff, 0xfe], &[0xfe, 0xff], &[0, 0, 0xfe, 0xff]];
    let start = octets.get(..UTF16_SEEN.min(octets.len())).unwrap_or(&[]);
    let (pairs, _) = start.as_chunks::<2>();
    let half = |side: fn(&[u8; 2]) -> bool| {
        let ascii = pairs.iter().filter(|pair| side(pair)).count();
        ascii > 0 && ascii * 4 >= pairs.len() * 3
    };
    marks.iter().any(|mark| octets.starts_with(mark))
        || half(|[low, high]| *low != 0 && *high == 0)
        || half(|[high, low]| *low != 0 && *high == 0)
}

/// Reads a configuration from its text.
///
/// ```
/// let report = privatelinkd::config::read("[listen]\ndns = ['127.0.0.1']\n");
/// assert!(report.config.is_none());
/// let error = report.diagnostics[1].to_string();
/// assert!(error.contains("line 2: error: listen.dns: found '127.0.0.1'; the port is missing"));
/// ```
pub fn read(source: &str) -> Report {
    let text = syntax::with_line_breaks(source);
    let mut findings = Findings::new(&text);
    syntax::check_line_breaks(source, &mut findings);
    let (root, faults) = DeTable::parse_recoverable(&text);
    if !faults.is_empty() {
        drop(root);
        if let Some(readable) = syntax::readable(&text, faults, &mut findings) {
            // Half of a broken file does not fit together, so what fits is not looked at.
            let (root, _) = DeTable::parse_recoverable(&readable);
            spec::read(root.get_ref(), &mut findings);
        }
        return Report { config: None, diagnostics: findings.into_diagnostics() };
    }
    let is_broken = findings.has_errors();
    let spec = spec::read(root.get_ref(), &mut findings);
    // What comes now takes the memory that the tree took.
    drop(root);
    let config = (!is_broken).then(|| resolve::resolve(spec, &mut findings));
    let config = config.filter(|_| !findings.has_errors());
    Report { config, diagnostics: findings.into_diagnostics() }
}
