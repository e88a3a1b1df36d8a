//! The configuration file, as `check` sees it.

use std::path::Path;

use super::finding::Finding;
use crate::app::Unfit;
use crate::config::{Diagnostic, LoadError};
use crate::engine::MAX_UNMET;

/// Errors that are repeated; `check` has all of them.
const SHOWN: usize = 5;

fn about(path: &Path) -> String {
    format!("configuration {}", path.display())
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn check(path: &Path) -> String {
    format!("privatelinkd check {}", path.display())
}

/// A file that is no configuration. `None`: it cannot even be read.
pub(super) fn unusable(path: &Path, error: &LoadError) -> Option<Finding> {
    let finding = |found: String| Finding::problem("config-errors", about(path), found);
    match error {
        LoadError::Unreadable { .. } => None,
        LoadError::Invalid { diagnostics, .. } => {
            let errors: Vec<_> = diagnostics.iter().filter(|one| one.is_error()).collect();
            let found =
                format!("{}; the daemon does not start with it", count(errors.len(), "error"));
            let shown = errors.iter().take(SHOWN).map(|error| error.to_string());
            Some(finding(found).advise_all(shown).advise(check(path)))
        }
        other => Some(finding(other.to_string()).advise(check(path))),
    }
}

/// A file that is one.
pub(super) fn usable(path: &Path, warnings: &[Diagnostic]) -> Finding {
    if warnings.is_empty() {
        return Finding::fine("config", about(path), "no errors and no warnings");
    }
    let found = format!("no errors, {}", count(warnings.len(), "warning"));
    let shown = warnings.iter().take(SHOWN).map(ToString::to_string);
    Finding::warning("config-warnings", about(path), found).advise_all(shown).advise(check(path))
}

/// What keeps a readable file from being put into force.
pub(super) fn unfit(path: &Path, why: &Unfit) -> Finding {
    match why {
        Unfit::Unmet(unmet) => {
            let more = if unmet.len() == MAX_UNMET { " or more" } else { "" };
            let found = format!(
                "{}{more} of [[expect]] not met; the daemon does not start with it",
                count(unmet.len(), "expectation")
            );
            let shown = unmet.iter().take(SHOWN);
            let shown = shown.map(|unmet| format!("line {}: {}", unmet.line, unmet.what));
            Finding::problem("config-expect", about(path), found)
                .advise_all(shown)
                .advise(check(path))
        }
        Unfit::OwnUpstreams(_) => Finding::problem("loop", about(path), why.to_string())
            .advise("write servers of others into upstreams"),
        Unfit::Anchors(_) => {
            Finding::problem("config-anchors", about(path), why.to_string()).advise(check(path))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::doctor::Severity;

    fn invalid(text: &str) -> LoadError {
        LoadError::Invalid { path: "x.toml".into(), diagnostics: config::read(text).diagnostics }
    }

    #[test]
    fn the_first_errors_are_shown_and_all_are_counted() {
        let text = "[listen]\ndns = ['127.0.0.1:0']\n".to_owned() + &"[[site]]\n".repeat(9);
        let finding = unusable("x.toml".as_ref(), &invalid(&text)).unwrap();
        assert_eq!(finding.severity, Severity::Problem);
        assert_eq!(finding.advice.len(), SHOWN + 1);
        assert_eq!(finding.advice[SHOWN], "privatelinkd check x.toml");
        assert!(!finding.found.starts_with("5 errors"), "{}", finding.found);
    }

    #[test]
    fn the_two_documented_mistakes_are_errors_of_the_file() {
        for zones in [
            "public-zone = 'cloud.defender.microsoft.com'\nprivate-zone = \
             'cloud.defender.microsoft.com'",
            "public-zone = '*.defender.microsoft.com'\nprivate-zone = \
             'privatelink.cloud.defender.microsoft.com'",
        ] {
            let text = format!(
                "[listen]\ndns = ['127.0.0.1:0']\n[[private-link]]\n{zones}\n\
                 [[private-link.endpoint]]\nname = 'hub'\naddresses = ['10.1.0.5']\n"
            );
            let finding = unusable("x.toml".as_ref(), &invalid(&text)).unwrap();
            let words = finding.advice.join("\n");
            assert!(words.contains("defender.microsoft.com"), "{words}");
        }
    }

    #[test]
    fn warnings_are_no_problem() {
        assert_eq!(usable("x.toml".as_ref(), &[]).severity, Severity::Fine);
        let text = "[listen]\ndns = ['127.0.0.1:0']\n[[site]]\nname = 'a'\nnetworks = \
                    ['10.1.0.0/16']\n[[forward]]\nzones = ['.']\nupstreams = ['10.0.0.4']\n";
        let report = config::read(text);
        assert!(report.config.is_some());
        let finding = usable("x.toml".as_ref(), &report.diagnostics);
        assert_eq!(finding.severity, Severity::Warning);
        assert!(finding.advice[1].contains("no endpoint names this site"), "{finding:?}");
    }
}
