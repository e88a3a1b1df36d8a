//! What is said of what was looked at.

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Names are answered wrongly or not at all, or will be.
    Problem,
    /// Works, and may not do so always, or not for everybody; or could not be looked at.
    Warning,
    /// As it should be.
    Fine,
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is, for scripts; the same for the same thing from release to release.
    pub check: &'static str,
    /// What was looked at, for people.
    pub about: String,
    /// What was found there, and what that means.
    pub found: String,
    /// What to do: a sentence, or lines to paste, each on its own.
    pub advice: Vec<String>,
}

impl Finding {
    pub(super) fn problem(
        check: &'static str,
        about: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Problem, check, about.into(), found.into())
    }

    pub(super) fn warning(
        check: &'static str,
        about: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Warning, check, about.into(), found.into())
    }

    pub(super) fn fine(
        check: &'static str,
        about: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Fine, check, about.into(), found.into())
    }

    fn new(severity: Severity, check: &'static str, about: String, found: String) -> Self {
        Self { severity, check, about, found, advice: Vec::new() }
    }

    /// With a line of what to do.
    pub(super) fn advise(mut self, line: impl Into<String>) -> Self {
        self.advice.push(line.into());
        self
    }

    /// With more of them.
    pub(super) fn advise_all(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.advice.extend(lines);
        self
    }
}
