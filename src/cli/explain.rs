//! `explain`: why a name is answered as it is.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use anyhow::{Context, bail};

use super::{ConfigArg, parse_name, parse_rtype, reachable};
use crate::engine::{Ask, Conclusion, Explanation, Step, UpstreamState};
use crate::wire::{Name, Rtype};
use crate::zones::Preference;
use crate::{admin, app};

/// Explain what a name is answered with, and why: site, zone, endpoint, chain, TTL, upstream.
///
/// Decided by the same code that answers queries, from the configuration file, or with --live by
/// the running daemon, which also knows kept answers and silent or looping upstreams. No DNS query
/// is sent either way.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  privatelinkd explain api.cloud.defender.microsoft.com
  privatelinkd explain api.cloud.defender.microsoft.com AAAA --client 10.1.2.3 --json
  privatelinkd explain www.example.com --live
  privatelinkd explain www.example.com --live --admin 127.0.0.1:9153")]
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
    /// The client wants signatures (DO), as validating resolvers do; such answers are kept apart.
    #[arg(long)]
    dnssec: bool,
    /// Ask the running daemon, at the address that the configuration has as [listen] admin.
    #[arg(long)]
    live: bool,
    /// The running daemon's [listen] admin address; no configuration file is read then.
    #[arg(long, value_name = "ADDR", requires = "live")]
    admin: Option<SocketAddr>,
    #[command(flatten)]
    config: ConfigArg,
    /// Print one JSON object on stdout.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let ask = Ask {
        name: args.name.clone(),
        rtype: args.rtype,
        client: args.client,
        dnssec: args.dnssec,
    };
    let explanation =
        if args.live { admin::explain(daemon(args)?, &ask)? } else { offline(args, &ask)? };
    if args.json {
        super::say_json(&explanation)?;
    } else {
        super::say(&in_words(&explanation))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn offline(args: &Args, ask: &Ask) -> anyhow::Result<Explanation> {
    let path = &args.config.config;
    let config = crate::config::load(path)?.config;
    match app::build(&config, &config.listen.dns, None) {
        Ok(snapshot) => snapshot.explain(ask, false).context("a reply of ours"),
        Err(unfit) => bail!("{}: {unfit}", path.display()),
    }
}

/// Where the running daemon can be asked.
fn daemon(args: &Args) -> anyhow::Result<SocketAddr> {
    let path = &args.config.config;
    let address = match args.admin {
        Some(address) => address,
        None => {
            let loaded = crate::config::load(path).context(
                "the daemon's address cannot be read from its configuration; --admin ADDR does \
                 without",
            )?;
            loaded.config.listen.admin.with_context(|| {
                format!(
                    "{}: [listen] has no admin address, so a daemon with this file cannot be \
                     asked; write admin = \"127.0.0.1:9153\" and restart it",
                    path.display()
                )
            })?
        }
    };
    Ok(SocketAddr::new(reachable(address.ip()), address.port()))
}

fn in_words(explanation: &Explanation) -> String {
    let Explanation { name, r#type, client, live, verdict, steps, reply } = explanation;
    let from = if *live { "the running daemon" } else { "the configuration file" };
    let mut text = format!("{name} {type}, asked by {client}; from {from}\n\n");
    for step in steps {
        text += &step_in_words(step, *live);
        text.push('\n');
    }
    text += "answer    ";
    text += &match (reply, verdict) {
        (Some(reply), _) => reply.lines("          ").trim_start().to_owned(),
        (None, Conclusion::Forwarded) => {
            "what the upstream says; a CNAME in it that leads to a served private name is cut \
             there and ends in our address\n"
                .to_owned()
        }
        (None, _) => "none: the query is dropped\n".to_owned(),
    };
    text
}

fn step_in_words(step: &Step, live: bool) -> String {
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
        Step::NoZone => "zone      no private-link zone has this name".to_owned(),
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
        Step::Cache { hit, age_seconds, left_seconds } => {
            let kept = match (hit, live) {
                (true, _) => format!(
                    "kept answer, {} s old, holds for {} s more",
                    age_seconds.unwrap_or(0),
                    left_seconds.unwrap_or(0)
                ),
                (false, true) => "no kept answer".to_owned(),
                (false, false) => "unknown from the file; --live asks the daemon".to_owned(),
            };
            format!("cache     {kept}")
        }
        Step::Rule { zones, upstreams, timeout_ms } => {
            let upstreams: Vec<_> = upstreams.iter().map(upstream_in_words).collect();
            let upstreams =
                if upstreams.is_empty() { "no upstream".to_owned() } else { upstreams.join(", ") };
            let zones = zones.join(", ");
            format!("forward   rule for {zones}: {upstreams}; within {timeout_ms} ms")
        }
        Step::Checks { require_private, rebind_protection, dnssec } => {
            let require_private = require_private.as_ref().map(|zone| {
                format!("a public address is refused (require-private of zone {zone})")
            });
            let rebind = rebind_protection
                .then(|| "a private address is refused (rebind-protection)".to_owned());
            let dnssec = dnssec.then(|| "signatures are validated (dnssec)".to_owned());
            let checks: Vec<_> = [require_private, rebind, dnssec].into_iter().flatten().collect();
            format!("checks    {}", checks.join("; "))
        }
        Step::Refused { because } => format!("refused   {because}"),
    }
}

fn upstream_in_words(upstream: &UpstreamState) -> String {
    let UpstreamState { address, silent, looping } = upstream;
    match (looping, silent) {
        (true, _) => format!("{address} (looping: it sends our queries back, and is not asked)"),
        (false, true) => format!("{address} (silent: others are asked before it)"),
        (false, false) => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_and_a_looping_upstream_say_so() {
        let upstream = |silent, looping| UpstreamState {
            address: "192.0.2.1:53".parse().expect("an address"),
            silent,
            looping,
        };
        assert_eq!(upstream_in_words(&upstream(false, false)), "192.0.2.1:53");
        assert!(upstream_in_words(&upstream(true, false)).contains("(silent"));
        assert!(upstream_in_words(&upstream(true, true)).contains("(looping"));
    }
}
