//! The configuration from outside: a text in, a meaning or all its errors out.

mod documents;
mod endpoints;
mod files;
mod forwarding;
mod good;
mod hostile;
mod misspelt;
mod probes;
mod sections;
mod services;
mod shared;
mod special;
mod tenants;
mod upstreams;
mod zones;

use super::{Diagnostic, Report, read};

/// What listens and forwards in a case that is about something else.
const LISTEN: &str = "[listen]\ndns = [\"127.0.0.1:53\"]\n";
const FORWARD: &str = "[[forward]]\nzones = [\".\"]\nupstreams = [\"10.0.0.4\"]\n";

/// One text and what must be said of it, and nothing else: severity, line, key, and a part of the
/// message or help.
struct Case {
    text: String,
    said: &'static [(Sev, usize, &'static str, &'static str)],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sev {
    E,
    W,
}

use Sev::{E, W};

type Said = &'static [(Sev, usize, &'static str, &'static str)];

/// A case about a whole file.
fn whole(text: &str, said: Said) -> Case {
    Case { text: text.to_owned(), said }
}

/// A case whose text stands behind a good `[listen]` (lines 1, 2) and `[[forward]]` (3 to 5): its
/// own first line is 6.
fn rest(text: &str, said: Said) -> Case {
    Case { text: format!("{LISTEN}{FORWARD}{text}"), said }
}

fn check(cases: impl IntoIterator<Item = Case>) {
    let mut wrong = Vec::new();
    for Case { text, said } in cases {
        let Report { config, diagnostics } = read(&text);
        let errors = said.iter().any(|(severity, ..)| *severity == E);
        let matching = diagnostics.len() == said.len()
            && diagnostics.iter().zip(said).all(|(found, said)| fits(found, said));
        if !matching || config.is_some() == errors {
            let found: Vec<_> = diagnostics.iter().map(ToString::to_string).collect();
            wrong.push(format!("{text}\nexpected {said:#?}\nfound:\n{}\n", found.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n\n{}", wrong.len(), wrong.join("----\n"));
}

fn fits(found: &Diagnostic, said: &(Sev, usize, &str, &str)) -> bool {
    let (severity, line, key, part) = *said;
    let text = format!("{}\n{}", found.message, found.help.as_deref().unwrap_or_default());
    found.is_error() == (severity == E)
        && found.line == line
        && found.key == key
        && text.contains(part)
}

/// The configuration of a text without errors.
fn config(text: &str) -> super::Config {
    let report = read(text);
    report.config.unwrap_or_else(|| panic!("errors in\n{text}\n{:#?}", report.diagnostics))
}
