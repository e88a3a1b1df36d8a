//! `run`: the daemon.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use super::{ConfigArg, reachable};
use crate::app::{self, Running};
use crate::config::Config;

/// Run the daemon in the foreground.
///
/// SIGHUP reloads the configuration (a bad one changes nothing), SIGUSR1 logs totals, SIGTERM
/// finishes what is under way and ends. Exits 0 after SIGTERM, 1 when it cannot start.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  privatelinkd run config/quickstart.toml
  privatelinkd run --config config/quickstart.toml")]
pub(super) struct Args {
    /// The configuration file, as --config names it.
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArg,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    app::run(args.file.as_ref().unwrap_or(&args.config.config), announce)?;
    Ok(ExitCode::SUCCESS)
}

/// Says where it listens, and how to see that it works.
fn announce(running: &Running<'_>) {
    // A daemon whose stdout is closed goes on without these lines.
    let _closed = super::say(&announcement(running));
}

fn announcement(running: &Running<'_>) -> String {
    let mut text: String = running
        .addresses
        .iter()
        .map(|address| format!("listening on {address} (UDP and TCP)\n"))
        .collect();
    if let Some(address) = running.admin {
        text += &format!("listening on {address} (admin, HTTP)\n");
    }
    if let (Some(address), Some(name)) = (running.addresses.first(), sample_name(running.config)) {
        let (ip, port) = (reachable(address.ip()), address.port());
        let server = SocketAddr::new(ip, port);
        // As it was called: under `cargo run` it stands in no PATH.
        let program = std::env::args().next().unwrap_or_else(|| "privatelinkd".to_owned());
        text +=
            &format!("try:\n  dig @{ip} -p {port} {name}\n  {program} query {name} @{server}\n");
    }
    text
}

/// A name that the configuration answers.
fn sample_name(config: &Config) -> Option<String> {
    let listed = config.private_links.iter().find_map(|link| {
        let mut names = link.endpoints.iter().flat_map(|endpoint| endpoint.names.iter());
        Some(format!("{}.{}", names.next()?.0, link.public_zone))
    });
    listed.or_else(|| Some(format!("api.{}", config.private_links.first()?.public_zone)))
}
