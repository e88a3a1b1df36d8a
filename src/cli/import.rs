//! `import`: configuration from what Azure's tools print.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::ValueEnum;
use serde::Serialize;

use super::complain;
use crate::azure::{self, Complaint, Extent, Inventory, Severity, SiteSpec};
use crate::engine::printable;

/// Nothing can be written: a file is unreadable, --sites match nothing, or no name is usable.
const EXIT_NOTHING: u8 = 2;

/// Write configuration from what Azure's tools print.
///
/// Takes, in any mix: private endpoints (show, list), their DNS zone groups and network interfaces,
/// private-DNS record sets (list), private-DNS zone exports, Resource Graph rows, and Defender's
/// private link resources; flattened as az prints them or nested as REST does. A piece of
/// configuration goes to stdout, each line with the place that it comes from; what is left out, and
/// why, goes to stderr.
///
/// Exits 0 when everything was taken (notes may be worth a look), 1 when something was left out or
/// refused, 2 when nothing could be written.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  az network private-endpoint list -o json > pe.json
  az network nic list -o json > nic.json
  privatelinkd import azure pe.json nic.json > endpoints.toml
  az network private-endpoint list -o json | privatelinkd import azure --whole - > privatelinkd.toml
  privatelinkd import azure pe.json --sites westeurope=10.1.0.0/16 --sites pe-us=10.2.0.0/16

docs/AZURE.md says which az command prints what, and what is refused.")]
pub(super) struct Args {
    /// Whose files these are.
    #[arg(value_name = "FROM")]
    from: From,
    /// The files; - for standard input.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Clients of these networks ask first the endpoint of this name, or those of this Azure region;
    /// may be given several times.
    #[arg(long, value_name = "KEY=NETWORK[,NETWORK…]")]
    sites: Vec<SiteSpec>,
    /// Write a complete minimal configuration, with a listener and a forward rule.
    #[arg(long, conflicts_with = "json")]
    whole: bool,
    /// Print what was read, and all complaints, as one JSON object instead.
    #[arg(long)]
    json: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum From {
    /// Azure's CLI, REST API, Resource Graph and zone exports.
    Azure,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'r> {
    #[serde(flatten)]
    inventory: &'r Inventory,
    /// The configuration, as it is printed without --json.
    fragment: &'r str,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let From::Azure = args.from;
    let nothing = |error: anyhow::Error| Ok(super::fail(&error, EXIT_NOTHING, args.json));
    if args.files.iter().filter(|file| file.as_os_str() == "-").count() > 1 {
        return nothing(anyhow!("standard input can be read once; give - once"));
    }
    let (mut files, mut unreadable) = (Vec::new(), Vec::new());
    for file in &args.files {
        match azure::load(file) {
            Ok(file) => files.push(file),
            Err(error) => unreadable.push(error.to_string()),
        }
    }
    if !unreadable.is_empty() {
        return nothing(anyhow!(unreadable.join("\n")));
    }
    let mut inventory = azure::read(&files);
    let extent = if args.whole { Extent::Whole } else { Extent::Fragment };
    let written = azure::fragment(&inventory, &args.sites, extent);
    let (text, more) = match written {
        Ok(fragment) => (fragment.text, fragment.complaints),
        Err(error) => {
            inventory.complaints.iter().for_each(tell);
            return nothing(error.into());
        }
    };
    inventory.complaints.extend(more);
    inventory.complaints.sort_unstable();
    let taken = inventory.complaints.iter().all(|c| c.severity == Severity::Noted);
    // Endpoints of private link services have no names that could be written.
    let is_all = taken && !inventory.nameless.is_empty();
    if args.json {
        super::say_json(&Report { inventory: &inventory, fragment: &text })?;
    } else {
        inventory.complaints.iter().for_each(tell);
        if text.is_empty() && !is_all {
            complain("privatelinkd: no usable name in these files; nothing is written");
        }
        super::say(&text)?;
    }
    match (text.is_empty(), taken) {
        (true, _) if !is_all => Ok(ExitCode::from(EXIT_NOTHING)),
        (_, true) => Ok(ExitCode::SUCCESS),
        (_, false) => Ok(ExitCode::FAILURE),
    }
}

fn tell(complaint: &Complaint) {
    complain(&printable(&complaint.to_string()));
}
