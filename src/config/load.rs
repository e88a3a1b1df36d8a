//! From a file to a configuration, or to everything that is wrong with it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path as FilePath, PathBuf};

use toml::de::DeTable;

use super::diagnostic::Diagnostic;
use super::findings::{Findings, Path, Problem, Span};
use super::model::Config;
use super::{resolve, spec};

/// Largest file, octets: a million listed names are about 40 MiB, and more is not a configuration.
pub const MAX_FILE_OCTETS: u64 = 64 << 20;

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
    /// It is larger than [`MAX_FILE_OCTETS`].
    #[error(
        "{}: larger than {} MiB, which no configuration is",
        path.display(),
        MAX_FILE_OCTETS >> 20
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is not UTF-8, which TOML must be.
    #[error("{}:{line}: not UTF-8 text; save the file as UTF-8", path.display())]
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
    let report = read(&read_text(path)?);
    match report.config {
        Some(config) => Ok(Loaded { config, warnings: report.diagnostics }),
        None => Err(LoadError::Invalid { path: path.to_owned(), diagnostics: report.diagnostics }),
    }
}

fn read_text(path: &FilePath) -> Result<String, LoadError> {
    let unreadable = |why| LoadError::Unreadable { path: path.to_owned(), why };
    let file = File::open(path).map_err(unreadable)?;
    let mut octets = Vec::new();
    // Counted while reading: a device or pipe has no length beforehand.
    file.take(MAX_FILE_OCTETS + 1).read_to_end(&mut octets).map_err(unreadable)?;
    if octets.len() as u64 > MAX_FILE_OCTETS {
        return Err(LoadError::TooLarge { path: path.to_owned() });
    }
    String::from_utf8(octets).map_err(|error| {
        let (good, octets) = (error.utf8_error().valid_up_to(), error.as_bytes());
        let line = 1 + octets.iter().take(good).filter(|octet| **octet == b'\n').count();
        LoadError::NotUtf8 { path: path.to_owned(), line }
    })
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
    let mut findings = Findings::new(source);
    let (root, faults) = DeTable::parse_recoverable(source);
    for fault in &faults {
        let span = fault.span().map_or(Span::FILE, Span::from);
        let message = fault.message().replace('\n', " ");
        findings.error(Path::Root, span, Problem::new(message));
    }
    let broken = findings.has_errors();
    let spec = spec::read(root.get_ref(), &mut findings);
    // What comes now takes the memory that the tree took.
    drop(root);
    // Half of a broken file does not fit together; saying so would only hide the fault.
    let config = (!broken).then(|| resolve::resolve(spec, &mut findings));
    let config = config.filter(|_| !findings.has_errors());
    Report { config, diagnostics: findings.into_diagnostics() }
}
