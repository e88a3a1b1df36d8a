//! Commands and arguments, and what a person reads.
//!
//! The only floor that prints. Answers go to stdout, errors to stderr. `--json` prints JSON for scripts,
//! also when the command fails.

mod check;
mod doctor;
mod drift;
mod explain;
mod import;
mod man;
mod query;
mod question;
mod run;
mod server;
mod services;
mod snippet;

use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::engine::printable;

/// Where the package puts the configuration.
const DEFAULT_CONFIG: &str = "/etc/privatelinkd/privatelinkd.toml";

/// Answers Azure Private Link names from its own configuration and forwards everything else.
///
/// Exits 0 when a command has done its work, 1 when it could not or found a fault, and 2 when it was
/// typed wrongly; import, drift and doctor say in their own help when else they exit 2. With --json, a
/// command that fails prints {"error": "…"} on stdout, and the same in words on stderr.
#[derive(Parser, Debug)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Examples:
  privatelinkd check privatelinkd.toml
  privatelinkd run privatelinkd.toml
  privatelinkd explain api.cloud.defender.microsoft.com --client 10.1.2.3
  privatelinkd query @127.0.0.1 api.cloud.defender.microsoft.com
  privatelinkd snippet unbound --server 10.0.0.4")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Run(run::Args),
    Check(check::Args),
    Explain(explain::Args),
    Query(query::Args),
    Doctor(doctor::Args),
    Services(services::Args),
    Import(import::Args),
    Drift(drift::Args),
    Snippet(snippet::Args),
    /// Print a shell completion script.
    #[command(after_help = "Example:
  privatelinkd completions bash > /usr/share/bash-completion/completions/privatelinkd")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page (roff).
    #[command(after_help = "Example:
  privatelinkd man | man -l -")]
    Man,
}

/// Which configuration file.
#[derive(clap::Args, Debug)]
struct ConfigArg {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
}

/// Exit code of a command that was typed wrongly, as clap has it.
const TYPED_WRONGLY: u8 = 2;

/// What `--json` prints when a command fails: an object with this one key.
#[derive(serde::Serialize)]
struct Failure<'a> {
    error: &'a str,
}

/// An argument that cannot be understood; clap finds the others.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct TypedWrongly(String);

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let typed: Vec<OsString> = std::env::args_os().collect();
    let json = asks_for_json(&typed);
    let command = match Cli::try_parse_from(&typed) {
        Ok(cli) => cli.command,
        Err(error) => return refuse(&error, json),
    };
    run_command(command).unwrap_or_else(|error| {
        let is_typed_wrongly = error.is::<TypedWrongly>();
        fail(&error, if is_typed_wrongly { TYPED_WRONGLY } else { 1 }, json)
    })
}

fn run_command(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Query(args) => query::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Services(args) => services::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Drift(args) => drift::run(&args),
        Command::Snippet(args) => snippet::run(&args),
        Command::Completions { shell } => {
            let mut command = Cli::command();
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, "privatelinkd", &mut script);
            say(&String::from_utf8_lossy(&script))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Man => {
            say(&man::page()?)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Whether `--json` stands among the arguments; known even when clap refuses them.
fn asks_for_json(typed: &[OsString]) -> bool {
    typed.iter().take_while(|word| *word != "--").any(|word| word == "--json")
}

/// Shows what clap says: help and the version on stdout, and what is typed wrongly on stderr.
fn refuse(error: &clap::Error, json: bool) -> ExitCode {
    // A closed stdout or stderr changes nothing.
    let _closed = error.print();
    if json && error.use_stderr() {
        let text = error.to_string();
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        // The usage and the hints that follow are for people.
        say_failure(text.split("\n\n").next().unwrap_or(text));
    }
    if error.use_stderr() { ExitCode::from(TYPED_WRONGLY) } else { ExitCode::SUCCESS }
}

/// Says why a command could not do its work: in words on stderr and, with `--json`, as
/// `{"error": "…"}` on stdout too. Returns `code`.
fn fail(error: &anyhow::Error, code: u8, json: bool) -> ExitCode {
    let text = format!("{error:#}");
    complain(&format!("privatelinkd: {text}"));
    if json {
        say_failure(&text);
    }
    ExitCode::from(code)
}

/// The failure as JSON on stdout. The message on stderr does not depend on it.
fn say_failure(error: &str) {
    let _unwritable = say_json(&Failure { error });
}

/// Writes to stdout; `println!` would panic where it is closed. A reader that has gone, as `| head`
/// goes, is no error: the exit code stays that of the command's work.
fn say(text: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Writes a line, or several, to stderr, if that is open. Nothing in it acts on a terminal: names of
/// files, and what systems and servers say, may hold anything.
fn complain(text: &str) {
    let lines: Vec<String> = text.split('\n').map(printable).collect();
    let _closed = writeln!(std::io::stderr(), "{}", lines.join("\n"));
}

/// Writes `value` to stdout as JSON.
fn say_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    Ok(say(&(serde_json::to_string_pretty(value)? + "\n"))?)
}
