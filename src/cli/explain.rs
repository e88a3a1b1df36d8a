//! `explain`: why a name is answered as it is.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};

use super::question::{Typed, parse_rtype};
use super::{ConfigArg, TypedWrongly, complain};
use crate::admin::{self, ClientError};
use crate::app;
use crate::engine::{
    Ask, Conclusion, DownAddress, Explanation, SpecialReason, Step, UpstreamState,
};
use crate::sys::ScopedAddress;
use crate::upstream::{Cookies, UpstreamReport};
use crate::wire::Rtype;
use crate::zones::Preference;

/// Explain what a name is answered with, and why: site, zone, endpoint, chain, TTL, upstream.
///
/// Decided by the same code that answers queries, from the configuration file, or with --live by
/// the running daemon, which also knows kept answers and the state of upstreams. No DNS query
/// is sent either way. Exits 0 with an explanation, 1 without one, and 2 when the question cannot be
/// understood.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  privatelinkd explain api.cloud.defender.microsoft.com
  privatelinkd explain https://api.cloud.defender.microsoft.com/path
  privatelinkd explain api.cloud.defender.microsoft.com AAAA --client 10.1.2.3 --json
  privatelinkd explain www.example.com --live
  privatelinkd explain www.example.com --live --admin 127.0.0.1:9153")]
pub(super) struct Args {
    /// The name asked and its TYPE (A without one), in any order. Of a URL the host is taken, and
    /// of an address its reverse name.
    #[arg(value_name = "NAME|TYPE", required = true)]
    words: Vec<String>,
    /// The type asked.
    #[arg(short = 't', long = "type", value_name = "TYPE", value_parser = parse_rtype)]
    rtype: Option<Rtype>,
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
    admin: Option<ScopedAddress>,
    #[command(flatten)]
    config: ConfigArg,
    /// Print one JSON object on stdout.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let ask = question(args)?;
    let explanation = if args.live { live(args, &ask)? } else { offline(args, &ask)? };
    if args.json {
        super::say_json(&explanation)?;
    } else {
        super::say(&in_words(&explanation))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn question(args: &Args) -> Result<Ask, TypedWrongly> {
    let Typed { name, rtype, server, notes } = Typed::read(&args.words, args.rtype, false)?;
    if let Some(server) = server {
        return Err(TypedWrongly(format!(
            "@{server}: explain asks no server; `privatelinkd query` does, and --live asks the \
             running daemon"
        )));
    }
    let name = name.ok_or_else(|| TypedWrongly("write the name to explain".to_owned()))?;
    for note in notes {
        complain(&format!("privatelinkd: {note}"));
    }
    let rtype = rtype.unwrap_or(Rtype::A);
    Ok(Ask { name, rtype, client: args.client, dnssec: args.dnssec })
}

fn offline(args: &Args, ask: &Ask) -> anyhow::Result<Explanation> {
    let path = &args.config.config;
    let config = crate::config::load(path)?.config;
    match app::build(&config, &config.listen.dns, None) {
        Ok(snapshot) => snapshot.explain(ask, false).context("a reply of ours"),
        Err(unfit) => bail!("{}: {unfit}", path.display()),
    }
}

/// What the running daemon says.
fn live(args: &Args, ask: &Ask) -> anyhow::Result<Explanation> {
    let address = daemon(args)?;
    admin::explain(address, ask).map_err(|error| {
        let ClientError::Unreachable { .. } = error else { return error.into() };
        let from = match args.admin {
            Some(_) => "--admin".to_owned(),
            None => format!("[listen] admin of {}", args.config.config.display()),
        };
        anyhow!(
            "{:#}\n    help: see that it runs (systemctl status privatelinkd) and says \"listening on \
             {address} (admin, HTTP)\" at its start; the address is that of {from}, and a change of \
             it needs a restart. Without --live the configuration file is explained",
            anyhow::Error::from(error)
        )
    })
}

/// Where the running daemon can be asked.
fn daemon(args: &Args) -> anyhow::Result<SocketAddr> {
    let path = &args.config.config;
    let address = match &args.admin {
        Some(address) => address.clone(),
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
    Ok(address.reachable())
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
        Step::NamesBelow { name } => format!(
            "below     private names lie below {name}: if an upstream says NXDOMAIN for it, the \
             client gets NODATA"
        ),
        Step::Special { zone, source, because, outside } => {
            let outside = outside.as_deref().unwrap_or("");
            let because = match because {
                SpecialReason::Nowhere => "never forwarded".to_owned(),
                SpecialReason::Outside => format!(
                    "not forwarded, because upstream {outside} is not known to be inside this site"
                ),
                SpecialReason::Inside => {
                    return format!(
                        "special   {zone} belongs to one site ({source}); forwarded, because all \
                         upstreams of the rule are inside; [special] answer = [\"{zone}\"] answers \
                         it here"
                    );
                }
            };
            format!(
                "special   {zone} has no place in the public DNS ({source}): {because}; a \
                 [[forward]] rule for this zone, or [special] forward = [\"{zone}\"], forwards it"
            )
        }
        Step::Endpoint { endpoint, because, wildcard, addresses } => {
            let because = match because {
                Preference::OwnSite => "of the client's own site",
                Preference::EverySite => "for every site",
                Preference::OtherSite => "of another site: the client's own has none",
                Preference::NextUp => "as those that come before it are down",
                Preference::FamilyDown => {
                    "as if all were up: no address of the type asked is, but others are"
                }
                Preference::AllDown => "as if all were up: none is",
            };
            let how = if *wildcard { "by its wildcard" } else { "which lists the name" };
            let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            format!("endpoint  {endpoint}, {because}, {how}: {}", addresses.join(", "))
        }
        Step::Down { addresses } => {
            let addresses: Vec<_> = addresses.iter().map(down_in_words).collect();
            format!("down      {}", addresses.join("\n          "))
        }
        Step::Cut { at } => format!("chain     leads to {at}, which is ours, and is cut there"),
        Step::Cache { hit, age_seconds, left_seconds, expired_seconds } => {
            let kept = match (hit, live) {
                (true, _) => format!(
                    "kept answer, {} s old, holds for {} s more",
                    age_seconds.unwrap_or(0),
                    left_seconds.unwrap_or(0)
                ),
                (false, true) => match expired_seconds {
                    Some(since) => format!(
                        "no kept answer that holds; one that ended {since} s ago, for when no \
                         upstream answers"
                    ),
                    None => "no kept answer".to_owned(),
                },
                (false, false) => "unknown from the file; --live asks the daemon".to_owned(),
            };
            format!("cache     {kept}")
        }
        Step::Rule { zones, upstreams, timeout_ms } => {
            let upstreams: Vec<_> =
                upstreams.iter().map(|upstream| upstream_in_words(upstream, live)).collect();
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

fn down_in_words(down: &DownAddress) -> String {
    let DownAddress { address, endpoint, probe, since_seconds, proving, last_failure } = down;
    let why = last_failure.as_deref().unwrap_or("no reason known");
    let now = if *proving { "; answers again, and must go on doing so for a while" } else { "" };
    format!("{address} of {endpoint}, for {since_seconds} s: {probe} {why}{now}")
}

fn upstream_in_words(upstream: &UpstreamState, live: bool) -> String {
    let UpstreamState { report, looping } = upstream;
    let UpstreamReport { address, down, since_seconds, rtt_us, cookies, .. } = report;
    let UpstreamReport { in_flight, last_error, busy_seconds, .. } = report;
    if *looping {
        return format!(
            "{address} (looping: it sends our queries back, and is not asked if another can be)"
        );
    }
    if !live {
        return address.clone();
    }
    let error = last_error.as_ref().map(|error| (error.text.as_str(), error.age_seconds));
    if *down {
        let why = error.map_or(String::new(), |(text, _)| format!(", {text}"));
        return format!("{address} (down for {since_seconds} s{why}; others are asked before it)");
    }
    let rtt = rtt_us.map_or_else(
        || "not measured yet".to_owned(),
        |rtt_us| format!("a reply takes {}.{} ms", rtt_us / 1_000, rtt_us % 1_000 / 100),
    );
    let error = error.map_or(String::new(), |(text, age)| format!(", {age} s ago: {text}"));
    if *busy_seconds > 0 {
        return format!(
            "{address} (busy by its own words for {busy_seconds} s more{error}; others are asked \
             before it)"
        );
    }
    let cookies = match cookies {
        Cookies::No => String::new(),
        Cookies::Yes | Cookies::Off => format!("cookies: {cookies}, "),
    };
    format!("{address} (up, {rtt}, {cookies}{in_flight} in flight{error})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{LastError, Tally};

    #[test]
    fn what_is_down_is_a_line_each() {
        let down = |last: u8, proving| DownAddress {
            address: std::net::Ipv4Addr::new(10, 1, 0, last).into(),
            endpoint: "hub".to_owned(),
            probe: "tcp:443".to_owned(),
            since_seconds: 42,
            proving,
            last_failure: Some("connection refused".to_owned()),
        };
        let step = Step::Down { addresses: vec![down(5, false), down(6, true)] };
        assert_eq!(
            step_in_words(&step, true),
            "down      10.1.0.5 of hub, for 42 s: tcp:443 connection refused\n          \
             10.1.0.6 of hub, for 42 s: tcp:443 connection refused; answers again, and must go on \
             doing so for a while"
        );
    }

    #[test]
    fn an_upstream_says_how_it_is() {
        let report = UpstreamReport {
            address: "192.0.2.1:53".to_owned(),
            down: false,
            since_seconds: 42,
            rtt_us: Some(21_480),
            rtt_variation_us: Some(3_000),
            cookies: Cookies::No,
            busy_seconds: 0,
            in_flight: 3,
            last_error: None,
            counts: Tally::default(),
        };
        let failed = Some(LastError { text: "replied SERVFAIL".to_owned(), age_seconds: 7 });
        let words = |report: &UpstreamReport, looping, live| {
            upstream_in_words(&UpstreamState { report: report.clone(), looping }, live)
        };
        assert_eq!(words(&report, false, false), "192.0.2.1:53");
        let up = "192.0.2.1:53 (up, a reply takes 21.4 ms, 3 in flight)";
        assert_eq!(words(&report, false, true), up);
        let proven = UpstreamReport { cookies: Cookies::Yes, ..report.clone() };
        let up = "192.0.2.1:53 (up, a reply takes 21.4 ms, cookies: yes, 3 in flight)";
        assert_eq!(words(&proven, false, true), up);
        let new = UpstreamReport { rtt_us: None, last_error: failed, ..report };
        let up = "192.0.2.1:53 (up, not measured yet, 3 in flight, 7 s ago: replied SERVFAIL)";
        assert_eq!(words(&new, false, true), up);
        let down = UpstreamReport { down: true, ..new };
        let text = "192.0.2.1:53 (down for 42 s, replied SERVFAIL; others are asked before it)";
        assert_eq!(words(&down, false, true), text);
        assert!(words(&down, true, true).contains("(looping"));
    }
}
