//! `explain`: why a name is answered as it is.

use std::net::IpAddr;
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde::Serialize;

use super::show::Shown;
use super::{ConfigArg, parse_name, parse_rtype};
use crate::app;
use crate::engine::{Outcome, Step, Steps, Verdict};
use crate::wire::{Name, Rtype};
use crate::zones::Preference;

/// Explain what a name is answered with, and why: site, zone, endpoint, chain, TTL, upstream.
///
/// Decided from the configuration file by the same code that answers queries; nothing is sent.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  privatelinkd explain api.cloud.defender.microsoft.com
  privatelinkd explain api.cloud.defender.microsoft.com AAAA --client 10.1.2.3 --json")]
pub(super) struct Args {
    /// The name asked.
    #[arg(value_parser = parse_name)]
    name: Name,
    /// The type asked.
    #[arg(value_name = "TYPE", default_value = "A", value_parser = parse_rtype)]
    rtype: Rtype,
    /// The address that asks.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    client: IpAddr,
    #[command(flatten)]
    config: ConfigArg,
    /// Print one JSON object on stdout.
    #[arg(long)]
    json: bool,
}

/// The explanation as JSON.
#[derive(Serialize)]
struct Explanation<'a> {
    name: String,
    r#type: String,
    client: IpAddr,
    verdict: &'static str,
    steps: &'a [Step],
    reply: Option<&'a Shown>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let path = &args.config.config;
    let config = crate::config::load(path)?.config;
    let snapshot = match app::build(&config, &config.listen.dns, None) {
        Ok(snapshot) => snapshot,
        Err(unfit) => bail!("{}: {unfit}", path.display()),
    };
    let mut steps = Steps::default();
    let (verdict, reply) = snapshot.try_query(args.client, &args.name, args.rtype, &mut steps);
    let reply = match verdict {
        Verdict::Reply(_) => Some(Shown::read(&reply).context("a reply of ours")?),
        _ => None,
    };
    if args.json {
        let explanation = Explanation {
            name: args.name.to_string(),
            r#type: args.rtype.to_string(),
            client: args.client,
            verdict: verdict_in_a_word(verdict),
            steps: &steps.0,
            reply: reply.as_ref(),
        };
        println!("{}", serde_json::to_string_pretty(&explanation)?);
        return Ok(ExitCode::SUCCESS);
    }
    println!("{} {}, asked by {}\n", args.name, args.rtype, args.client);
    for step in &steps.0 {
        println!("{}", in_words(step));
    }
    match reply {
        Some(reply) => print!("answer    {}", reply.lines("          ").trim_start()),
        None => println!("answer    {}", without_reply(verdict)),
    }
    Ok(ExitCode::SUCCESS)
}

fn verdict_in_a_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Reply(Outcome::Private) => "private",
        Verdict::Reply(Outcome::Refused) => "refused",
        Verdict::Reply(_) => "answered",
        Verdict::Drop(_) => "dropped",
        Verdict::Forward => "forwarded",
    }
}

fn without_reply(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Forward => {
            "what the upstream says; a CNAME in it that leads to a served private name is cut \
             there and ends in our address"
        }
        _ => "none: the query is dropped",
    }
}

fn in_words(step: &Step) -> String {
    match step {
        Step::Client { address, allowed, site } => {
            let may = if *allowed { "may ask" } else { "is not in [access] allow" };
            let site =
                site.as_deref().map_or_else(|| "no site".to_owned(), |s| format!("site {s}"));
            format!("client    {address} {may}; {site}")
        }
        Step::Zone { public_zone, private_zone, place } => {
            format!("zone      {public_zone} -> {private_zone}; the name is {place}")
        }
        Step::Endpoint { endpoint, because, wildcard, addresses } => {
            let because = match because {
                Preference::OwnSite => "of the client's own site",
                Preference::EverySite => "for every site",
                Preference::OtherSite => "of another site: the client's own has none",
            };
            let how = if *wildcard { "by its wildcard" } else { "which lists the name" };
            let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            format!("endpoint  {endpoint}, {because}, {how}: {}", addresses.join(", "))
        }
        Step::Cut { at } => format!("chain     leads to {at}, which is ours, and is cut there"),
        Step::Cache { hit: true, age_seconds } => {
            format!("cache     has it, {} s old", age_seconds.unwrap_or(0))
        }
        Step::Cache { hit: false, .. } => "zone      no private-link zone has this name".to_owned(),
        Step::Rule { zones, upstreams, timeout_ms } => format!(
            "forward   rule for {}: {}, within {timeout_ms} ms",
            zones.join(", "),
            if upstreams.is_empty() { "no upstream".to_owned() } else { upstreams.join(", then ") }
        ),
        Step::Refused { because } => format!("refused   {because}"),
    }
}
