//! Commands and arguments, and what a person reads.
//!
//! The only floor that prints. Answers go to stdout, errors to stderr; `--json` for scripts.

mod check;
mod doctor;
mod drift;
mod explain;
mod import;
mod man;
mod query;
mod run;
mod services;
mod snippet;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::engine::printable;
use crate::wire::{Name, Rtype};

/// Where the package puts the configuration.
const DEFAULT_CONFIG: &str = "/etc/privatelinkd/privatelinkd.toml";

/// Answers Azure Private Link names from its own configuration and forwards everything else.
#[derive(Parser, Debug)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Examples:
  privatelinkd check privatelinkd.toml
  privatelinkd run --config privatelinkd.toml
  privatelinkd explain api.cloud.defender.microsoft.com --client 10.1.2.3
  privatelinkd query api.cloud.defender.microsoft.com @127.0.0.1:53
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

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
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
            say(&String::from_utf8_lossy(&script)).map(|()| ExitCode::SUCCESS).map_err(Into::into)
        }
        Command::Man => {
            man::page().and_then(|page| say(&page)).map(|()| ExitCode::SUCCESS).map_err(Into::into)
        }
    };
    outcome.unwrap_or_else(|error| {
        complain_of(&error);
        ExitCode::FAILURE
    })
}

/// Says why a command could not do its work.
fn complain_of(error: &anyhow::Error) {
    // Broken pipes are how `| head` ends a program.
    if error.downcast_ref::<std::io::Error>().map(std::io::Error::kind)
        != Some(std::io::ErrorKind::BrokenPipe)
    {
        complain(&format!("privatelinkd: {error:#}"));
    }
}

/// The address under which a listening address can be asked from this host.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// Writes to stdout; `println!` would panic where it is closed.
fn say(text: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Writes a line, or several, to stderr; where that is closed, nobody listens. Nothing in it acts on
/// a terminal: names of files, and what systems and servers say, may hold anything.
fn complain(text: &str) {
    let lines: Vec<String> = text.split('\n').map(printable).collect();
    let _closed = writeln!(std::io::stderr(), "{}", lines.join("\n"));
}

/// Writes `value` to stdout as JSON.
fn say_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    Ok(say(&(serde_json::to_string_pretty(value)? + "\n"))?)
}

/// A domain name on the command line.
fn parse_name(text: &str) -> Result<Name, String> {
    text.parse().map_err(|error| format!("this is no domain name: {error}"))
}

/// A record type on the command line.
fn parse_rtype(text: &str) -> Result<Rtype, String> {
    Rtype::parse(text)
        .ok_or_else(|| "write a record type such as A, AAAA, HTTPS, or TYPE64".to_owned())
}
