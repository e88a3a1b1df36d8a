//! `doctor`: what is wrong around the daemon, and what to do.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::anyhow;

use super::query::parse_server;
use super::{ConfigArg, complain};
use crate::doctor::{self, Finding, Request, Severity};
use crate::engine::printable;

/// Exit code when there was nothing to look at.
const COULD_NOT_LOOK: u8 = 2;
/// How far what is said of a finding is indented.
const INDENT: &str = "         ";

/// Look for what is wrong around the daemon: its host, its upstreams, and who asks it.
///
/// Says what was looked at, what was found, and what to do: the configuration and its
/// expectations; the clock; listen addresses (free, taken and by whom, no right to bind); upstreams
/// (unreachable over UDP or TCP, EDNS dropped or changed, answers cut, names invented, certificates);
/// resolv.conf and forwarding loops; private zones elsewhere that hide public names; DS records
/// above the zones. With --via, for the resolver that clients ask: a conditional forwarder that is
/// missing or falls back, a rebinding filter, validation, only the public zone forwarded, AAAA that
/// leaks. Takes up to 15 seconds. Exits 0 without problems (warnings are none), 1 with some, 2 when
/// it could not look.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  privatelinkd doctor
  privatelinkd doctor --via 10.0.0.10 --via 10.0.0.11
  privatelinkd doctor --config privatelinkd.toml --json | jq '.[] | select(.severity == \"problem\")'")]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// A resolver that clients ask and that forwards to this daemon: ip, ip:port or [ipv6]:port.
    /// May be given up to four times.
    #[arg(long, value_name = "RESOLVER", value_parser = parse_via)]
    via: Vec<SocketAddr>,
    /// Leave out what is fine.
    #[arg(long, short)]
    quiet: bool,
    /// Print one JSON array on stdout.
    #[arg(long)]
    json: bool,
}

/// More resolvers than this are looked at in two runs: each is asked four questions a zone.
const MAX_VIAS: usize = 4;

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.via.len() > MAX_VIAS {
        let error = anyhow!("--via: at most {MAX_VIAS} at a time");
        return Ok(super::fail(&error, COULD_NOT_LOOK, args.json));
    }
    let is_watched = std::io::stderr().is_terminal();
    let progress = |what: &str| {
        if is_watched {
            complain(&format!("{what} …"));
        }
    };
    let request = Request { config: &args.config.config, via: &args.via };
    let findings = match doctor::examine(&request, &progress) {
        Ok(findings) => findings,
        Err(error) => {
            let error = anyhow!("{error}; name another file with --config");
            return Ok(super::fail(&error, COULD_NOT_LOOK, args.json));
        }
    };
    let shown: Vec<_> = findings
        .iter()
        .filter(|finding| !args.quiet || finding.severity != Severity::Fine)
        .collect();
    if args.json {
        super::say_json(&shown)?;
    } else {
        super::say(&in_words(&shown, &Count::of(&findings)))?;
    }
    let has_problems = Count::of(&findings).problems > 0;
    Ok(if has_problems { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn parse_via(text: &str) -> Result<SocketAddr, String> {
    parse_server(text).map_err(|_| "write 10.0.0.10, 10.0.0.10:53 or [fd00::1]:53".to_owned())
}

/// How many there are of each kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Count {
    problems: usize,
    warnings: usize,
    fine: usize,
}

impl Count {
    fn of(findings: &[Finding]) -> Self {
        let count =
            |severity| findings.iter().filter(|finding| finding.severity == severity).count();
        Self {
            problems: count(Severity::Problem),
            warnings: count(Severity::Warning),
            fine: count(Severity::Fine),
        }
    }
}

fn in_words(findings: &[&Finding], count: &Count) -> String {
    let mut text = String::new();
    for Finding { severity, about, found, advice, .. } in findings {
        let mark = match severity {
            Severity::Problem => "PROBLEM",
            Severity::Warning => "warning",
            Severity::Fine => "fine   ",
        };
        text += &format!("{mark}  {}\n", printable(&format!("{about}: {found}")));
        for line in advice {
            text += &format!("{INDENT}-> {}\n", printable(line));
        }
    }
    let Count { problems, warnings, fine } = count;
    let plural = |number: &usize| if *number == 1 { "" } else { "s" };
    text += &format!(
        "{problems} problem{}, {warnings} warning{}, {fine} fine\n",
        plural(problems),
        plural(warnings)
    );
    text
}
