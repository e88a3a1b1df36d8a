//! `run`: the daemon.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::ConfigArg;
use crate::app::{self, RunError, Running};
use crate::config::Config;
use crate::sys::ScopedAddress;

/// How long a few lines may take while the daemon runs, or ends. A reader that works takes
/// microseconds.
const WRITE_LIMIT: Duration = Duration::from_secs(1);

/// Run the daemon in the foreground.
///
/// SIGHUP reloads the configuration (a bad one changes nothing), SIGUSR1 logs totals, SIGUSR2 does
/// nothing, SIGTERM finishes what is under way and ends. Exits 0 after SIGTERM, 1 when it cannot start.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  privatelinkd run config/quickstart.toml
  privatelinkd run --config config/quickstart.toml
  privatelinkd run --user nobody config/quickstart.toml")]
pub(super) struct Args {
    /// The configuration file, as --config names it.
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
    /// The user, by name or number, that the daemon becomes once its sockets are bound; instead of
    /// [process] user.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    #[command(flatten)]
    config: ConfigArg,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let path = args.file.as_ref().unwrap_or(&args.config.config);
    match app::run(path, args.user.as_deref(), announce) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error @ RunError::Load(_)) => Err(error.into()),
        // The log runs, so its reader may have stopped, and must not keep the process from its end.
        Err(error) => {
            let text = format!("privatelinkd: {:#}", anyhow::Error::from(error));
            wait_briefly(move || super::complain(&text));
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Says where it listens, and how to see that it works. A daemon whose stdout is closed, or is not
/// read, goes on without these lines.
fn announce(running: &Running<'_>) {
    let text = announcement(running);
    wait_briefly(move || {
        let _closed = super::say(&text);
    });
}

/// Calls `write` in a thread of its own, and leaves it behind if it takes longer than
/// [`WRITE_LIMIT`].
fn wait_briefly(write: impl FnOnce() + Send + 'static) {
    let (done, is_done) = mpsc::channel();
    let thread = thread::Builder::new().name("output".to_owned()).spawn(move || {
        write();
        let _too_late = done.send(());
    });
    if thread.is_ok() {
        let _in_time = is_done.recv_timeout(WRITE_LIMIT);
    }
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
        let server = ScopedAddress::from(ScopedAddress::from(*address).reachable());
        let (host, port) = (server.host().to_string(), server.port());
        let ip = host.trim_matches(['[', ']']);
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
