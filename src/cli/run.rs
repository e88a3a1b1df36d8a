//! `run`: the daemon.

use std::process::ExitCode;

use super::ConfigArg;
use crate::app::{self, Running};
use crate::config::Config;

/// Run the daemon in the foreground.
///
/// SIGHUP reloads the configuration (a bad one changes nothing), SIGUSR1 logs totals, SIGTERM
/// finishes what is under way and ends.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:
  privatelinkd run --config config/quickstart.toml")]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArg,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    app::run(&args.config.config, announce)?;
    Ok(ExitCode::SUCCESS)
}

/// Says where it listens, and how to see that it works.
fn announce(running: &Running<'_>) {
    for address in running.addresses {
        println!("listening on {address} (UDP and TCP)");
    }
    if let Some(address) = running.admin {
        println!("listening on {address} (admin, HTTP)");
    }
    let first = running.addresses.first();
    let (Some(address), Some(name)) = (first, sample_name(running.config)) else { return };
    let (ip, port) = (super::reachable(address.ip()), address.port());
    println!("try:");
    println!("  dig @{ip} -p {port} {name}");
    println!("  privatelinkd query {name} @{}", std::net::SocketAddr::new(ip, port));
}

/// A name that the configuration answers.
fn sample_name(config: &Config) -> Option<String> {
    let link = config.private_links.first()?;
    let listed = link.endpoints.iter().flat_map(|endpoint| &endpoint.names).next();
    let label = listed.map_or_else(|| "api".to_owned(), |(name, _)| name.to_string());
    Some(format!("{label}.{}", link.public_zone))
}
