//! `check`: everything that is wrong with a file, at once.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use super::{DEFAULT_CONFIG, TypedWrongly, complain};
use crate::app::{self, Unfit};
use crate::config::{self, Config, Diagnostic, LoadError};
use crate::engine::printable;

/// Check configuration files: syntax, meaning, loops, and their own [[expect]]ations.
///
/// All errors of a file come at once, each with its line. Exits 0 when every file can be used, 1
/// when one cannot, and 2 when the command is typed wrongly; warnings do not change that.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  privatelinkd check privatelinkd.toml
  privatelinkd check --config privatelinkd.toml
  sed s/10.1.0.5/10.1.0.9/ privatelinkd.toml | privatelinkd check -
  privatelinkd check --json privatelinkd.toml | jq '.[].errors'")]
pub(super) struct Args {
    /// The files; - for standard input. Without any, the packaged one:
    /// /etc/privatelinkd/privatelinkd.toml.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A file, as the other commands name it.
    #[arg(long, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// Print one JSON array on stdout.
    #[arg(long)]
    json: bool,
}

/// What was found in one file.
#[derive(Serialize, Default)]
struct Findings {
    file: PathBuf,
    usable: bool,
    /// Errors and warnings with their places.
    diagnostics: Vec<Diagnostic>,
    /// Errors of the file as a whole, and expectations that do not hold.
    errors: Vec<String>,
    #[serde(skip)]
    summary: String,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let packaged = PathBuf::from(DEFAULT_CONFIG);
    let mut files: Vec<&PathBuf> = args.files.iter().chain(&args.config).collect();
    if files.is_empty() {
        files.push(&packaged);
    }
    if files.iter().filter(|file| is_stdin(file)).count() > 1 {
        let why = "standard input can be read once; give - once";
        return Err(TypedWrongly(why.to_owned()).into());
    }
    let all: Vec<Findings> = files.into_iter().map(|file| check(file)).collect();
    if args.json {
        super::say_json(&all)?;
    } else {
        all.iter().try_for_each(print)?;
    }
    let usable = all.iter().all(|findings| findings.usable);
    Ok(if usable { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == "-"
}

fn check(file: &Path) -> Findings {
    let file = file.to_owned();
    let loaded = if is_stdin(&file) { config::load_stdin() } else { config::load(&file) };
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(LoadError::Invalid { diagnostics, .. }) => {
            return Findings { file, diagnostics, ..Findings::default() };
        }
        Err(error) => {
            return Findings { file, errors: vec![error.to_string()], ..Findings::default() };
        }
    };
    let config = &loaded.config;
    let proof = app::build(config, &config.listen.dns, None)
        .and_then(|snapshot| app::prove(config, &snapshot));
    let errors = match proof {
        Ok(()) => Vec::new(),
        Err(Unfit::Unmet(unmet)) => unmet
            .iter()
            .map(|unmet| {
                format!("{}:{}: error: expect: {}", file.display(), unmet.line, unmet.what)
            })
            .collect(),
        Err(unfit) => vec![format!("{}: error: {unfit}", file.display())],
    };
    let usable = errors.is_empty();
    let summary = summary(config);
    Findings { file, usable, diagnostics: loaded.warnings, errors, summary }
}

fn summary(config: &Config) -> String {
    let links = || config.private_links.iter();
    // What several pairs of an entry share counts once.
    let endpoints: HashSet<_> =
        links().flat_map(|link| link.endpoints.iter().map(|e| (link.entry, &e.name))).collect();
    let private: HashMap<_, _> =
        links().map(|link| ((link.entry, &link.private_zone), link)).collect();
    let names: usize = private
        .values()
        .flat_map(|link| &link.endpoints)
        .map(|endpoint| endpoint.names.len())
        .sum();
    let count = |number: usize, what: &str| {
        format!("{number} {what}{}", if number == 1 { "" } else { "s" })
    };
    [
        count(config.private_links.len(), "private-link zone"),
        count(endpoints.len(), "endpoint"),
        count(names, "listed name"),
        count(config.sites.len(), "site"),
        count(config.forwards.len(), "forward rule"),
        count(config.expects.len(), "expectation"),
    ]
    .join(", ")
}

fn print(findings: &Findings) -> std::io::Result<()> {
    for diagnostic in &findings.diagnostics {
        complain(&diagnostic.in_file(&findings.file).to_string());
    }
    for error in &findings.errors {
        complain(error);
    }
    let file = findings.file.display();
    if findings.usable {
        let line = printable(&format!("{file}: OK ({})", findings.summary));
        return super::say(&(line + "\n"));
    }
    let errors = findings.diagnostics.iter().filter(|d| d.is_error()).count();
    let errors = errors + findings.errors.len();
    complain(&format!("{file}: not usable, {errors} error{}", if errors == 1 { "" } else { "s" }));
    Ok(())
}
