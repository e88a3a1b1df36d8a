//! `drift`: whether Azure still has what is answered.

mod table;

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use serde::Serialize;

use super::query::parse_server;
use super::{DEFAULT_CONFIG, complain};
use crate::azure::{self, Complaint, Inventory, Severity};
use crate::config::Config;
use crate::drift::{Coverage, Live, Report, compare};
use crate::engine::{Snapshot, printable};
use crate::upstream::Patience;
use crate::{app, config};

/// Compare what is answered with what Azure's files say.
///
/// Reads the files that `import azure` reads, and holds every name in them, public and private,
/// against what the configuration makes the daemon answer to clients of no site and of each site.
/// With --live it asks servers too; with --live and no --config, only those. Exits 0 when nothing
/// differs, 1 when something does, 2 when it cannot be compared.
///
/// The kinds: missing (Azure has the name, and no private address is answered), different (an
/// address that Azure has for something else, or not all of them), stale (an address that no
/// approved endpoint has; or a listed name in a zone of which the files have no endpoint, although
/// they have complete lists of endpoints), extra (a listed name that the files do not have, in a
/// zone of which they have others), public (a server answers with a public address), unanswered (a
/// server gives no answer).
///
/// What the files lack counts as gone, so give the lists of every subscription that the
/// configuration serves, or say --partial. A list is what az network private-endpoint list or az
/// network nic list prints, or all pages of an answer of Resource Graph. The output of a single show
/// says nothing of other endpoints, nor does a list that is cut off.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  az network private-endpoint list > pe.json
  privatelinkd drift --config privatelinkd.toml pe.json
  privatelinkd drift --json pe.json zone-groups.json | jq '.counts'
  privatelinkd drift --partial pe-of-one-subscription.json
  privatelinkd drift pe.json --live @168.63.129.16
  privatelinkd drift --config privatelinkd.toml pe.json --live @127.0.0.1 --live @10.0.0.4")]
pub(super) struct Args {
    /// Azure's files, all of them at once; - for standard input.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The configuration file; without this and without --live, the packaged one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Ask this server for each public name (ip, ip:port or [ipv6]:port); may be repeated.
    #[arg(long, value_name = "@SERVER")]
    live: Vec<String>,
    /// The files hold only a part of what the configuration serves, such as one subscription of
    /// several: what they lack does not count as gone.
    #[arg(long)]
    partial: bool,
    /// Print one JSON object on stdout; one with error where nothing could be compared.
    #[arg(long)]
    json: bool,
}

/// How long a server is waited for: what a resolver would give it, twice.
const PATIENCE: Patience = Patience { each: Duration::from_secs(2), udp_tries: 2 };
/// Whoever waits longer than this is told how far it is.
const SOON: Duration = Duration::from_secs(1);
/// It could not be compared.
const CANNOT: u8 = 2;

/// All of it, as JSON.
#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    report: &'a Report,
    /// Of the files.
    complaints: &'a [Complaint],
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let outcome = report(args);
    Ok(outcome.unwrap_or_else(|error| super::fail(&error, CANNOT, args.json)))
}

fn report(args: &Args) -> anyhow::Result<ExitCode> {
    let servers: Vec<SocketAddr> = args
        .live
        .iter()
        .map(|text| parse_server(text.strip_prefix('@').unwrap_or(text)))
        .collect::<Result<_, _>>()?;
    let inventory = read(&args.files)?;
    let loaded = configuration(args)?;
    let configured = loaded.as_ref().map(|(config, snapshot)| (config, snapshot));
    let begin = Instant::now();
    let watched = std::io::stderr().is_terminal();
    let progress = |done: usize, all: usize| {
        if watched && begin.elapsed() > SOON {
            draw(&format!("\r{done} of {all} asked"));
        }
    };
    let live = Live { servers: &servers, patience: PATIENCE, progress: &progress };
    let coverage = if args.partial { Coverage::Part } else { Coverage::Whole };
    let report = compare(&inventory, coverage, configured, &live);
    if watched {
        draw("\r\x1b[K");
    }
    if args.json {
        super::say_json(&Whole { report: &report, complaints: &inventory.complaints })?;
    } else {
        super::say(&table::table(&report, &inventory.complaints))?;
    }
    Ok(if report.same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the files say; their faults go to stderr.
fn read(files: &[PathBuf]) -> anyhow::Result<Inventory> {
    let texts: Vec<_> = files.iter().map(|file| azure::load(file)).collect::<Result<_, _>>()?;
    let inventory = azure::read(&texts);
    for complaint in &inventory.complaints {
        complain(&printable(&complaint.to_string()));
    }
    if inventory.complaints.iter().any(|complaint| complaint.severity == Severity::Refused) {
        bail!(
            "nothing was compared: without the refused files, what they have would count as gone"
        );
    }
    let left_out = inventory.left_out.iter().map(|left_out| &left_out.endpoint);
    if inventory.endpoints.iter().chain(left_out).all(|endpoint| endpoint.records.is_empty()) {
        bail!(
            "nothing was compared: the files have no name of a private endpoint; was az asked for \
             the right subscription?"
        );
    }
    Ok(inventory)
}

/// The configuration that is asked for, if one is.
fn configuration(args: &Args) -> anyhow::Result<Option<(Config, Snapshot)>> {
    if args.config.is_none() && !args.live.is_empty() {
        return Ok(None);
    }
    let path = args.config.clone().unwrap_or_else(|| DEFAULT_CONFIG.into());
    let config = config::load(&path)?.config;
    match app::build(&config, &config.listen.dns, None) {
        Ok(snapshot) => Ok(Some((config, snapshot))),
        Err(unfit) => bail!("{}: {unfit}", path.display()),
    }
}

/// Writes to a terminal on stderr as it is.
fn draw(text: &str) {
    let _closed = std::io::stderr().write_all(text.as_bytes());
}
