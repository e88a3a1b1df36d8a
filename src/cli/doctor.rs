//! `doctor`: what is wrong around the daemon, and what to do.

use std::io::IsTerminal;
use std::net::{Ipv6Addr, SocketAddr};
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
/// expectations; the clock; listen addresses (free, taken and by whom, no right to bind); addresses
/// of endpoints that do not answer their probes from this host; upstreams (unreachable over UDP or
/// TCP, EDNS dropped or changed, answers cut, names invented, certificates); resolv.conf and
/// forwarding loops; private zones elsewhere that hide public names; DS records above the zones.
/// With --via, for the resolver that clients ask: the site that its queries count as; a conditional
/// forwarder that is missing or falls back, a rebinding filter, validation, only the public zone
/// forwarded, AAAA that leaks. Takes up to 15 seconds. Exits 0 without problems (warnings are none),
/// 1 with some, 2 when it could not look.
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
    /// Print one JSON array on stdout; an object with error where nothing could be looked at.
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
    parse_server(text).map_err(|error| {
        match text.parse::<Ipv6Addr>().is_ok() || text.contains('%') {
            // It says what is wrong with the interface.
            true => error.to_string(),
            false => "write 10.0.0.10, 10.0.0.10:53, [fd00::1]:53 or fe80::1%eth0".to_owned(),
        }
    })
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
    // Zones often have the same fault: what to do then stands once, behind the last of them.
    for alike in findings.chunk_by(|one, other| is_same_remedy(one, other)) {
        for Finding { severity, about, found, .. } in alike {
            let mark = match severity {
                Severity::Problem => "PROBLEM",
                Severity::Warning => "warning",
                Severity::Fine => "fine   ",
            };
            text += &format!("{mark}  {}\n", printable(&format!("{about}: {found}")));
        }
        let advice = alike.first().map_or(&[][..], |finding| &finding.advice);
        if alike.len() > 1 && !advice.is_empty() {
            text += &format!("{INDENT}for each of these {}:\n", alike.len());
        }
        text += &advice.iter().map(|line| remedy(line)).collect::<String>();
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

fn is_same_remedy(one: &Finding, other: &Finding) -> bool {
    one.severity == other.severity && one.check == other.check && one.advice == other.advice
}

/// A line of what to do. Further lines of the same text stand below it.
fn remedy(text: &str) -> String {
    let mut lines = text.lines();
    let first = printable(lines.next().unwrap_or_default());
    let others = lines.map(|line| format!("{INDENT}   {}\n", printable(line.trim_start())));
    format!("{INDENT}-> {first}\n{}", others.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(check: &'static str, about: &str, advice: &[&str]) -> Finding {
        Finding {
            severity: Severity::Problem,
            check,
            about: about.to_owned(),
            found: "is wrong".to_owned(),
            advice: advice.iter().map(|line| (*line).to_owned()).collect(),
        }
    }

    fn words(findings: &[Finding]) -> String {
        in_words(&findings.iter().collect::<Vec<_>>(), &Count::of(findings))
    }

    #[test]
    fn a_remedy_of_several_lines_keeps_them_and_nothing_acts_on_a_terminal() {
        let text = words(&[finding("x", "a", &["line 3: error: wrong\n    help: write b", "c"])]);
        let expected = "PROBLEM  a: is wrong\n         -> line 3: error: wrong\n            help: \
                        write b\n         -> c\n1 problem, 0 warnings, 0 fine\n";
        assert_eq!(text, expected);
        // What others say is in one line, whatever they say.
        let text = words(&[finding("x", "a\nPROBLEM  b\u{1b}[2J", &["do\u{1b}[2J\n\u{7}this"])]);
        assert!(text.starts_with("PROBLEM  a?PROBLEM  b?[2J: is wrong\n         -> do?[2J\n"));
        assert!(text.contains("\n            ?this\n"), "{text}");
    }

    #[test]
    fn a_remedy_that_several_findings_share_stands_once() {
        let shared = |about| finding("x", about, &["do this", "do that"]);
        let text = words(&[shared("a"), shared("b"), finding("x", "c", &["else"])]);
        let expected = "PROBLEM  a: is wrong\nPROBLEM  b: is wrong\n         for each of these 2:\n\
                        \x20        -> do this\n         -> do that\nPROBLEM  c: is wrong\n\
                        \x20        -> else\n3 problems, 0 warnings, 0 fine\n";
        assert_eq!(text, expected);
        // Findings without a remedy have nothing to share.
        let text = words(&[finding("x", "a", &[]), finding("x", "b", &[])]);
        assert!(!text.contains("for each"), "{text}");
    }
}
