//! `snippet`: what to paste on the asking side.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::{ConfigArg, complain};
use crate::app;
use crate::config::{Config, PrivateLink, Unlisted};
use crate::engine::{Ask, Conclusion, Snapshot};
use crate::snippets::{self, Check, Found, Material, Target, Zone};
use crate::sys::{self, ScopedAddress, split_host};
use crate::wire::{Name, Rtype};

/// Print what another resolver needs to ask this daemon for its zones.
///
/// Made from the configuration: all public and private zones, the daemon's address, and commands
/// that show that it works, with the answers that the daemon gives. Goes to stdout in the target's
/// own syntax, explained in its comments; warnings go to stderr, too.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  privatelinkd snippet windows --server 10.0.0.4 > forwarders.ps1
  privatelinkd snippet bind --server 10.0.0.4 --server 10.0.1.4
  privatelinkd snippet unbound --server 10.0.0.4:5300 --client 10.1.2.3
  privatelinkd snippet coredns-custom --server 10.0.0.4 > privatelinkd.yaml
  privatelinkd snippet systemd-resolved --config config/quickstart.toml --json | jq -r .text")]
pub(super) struct Args {
    /// Who asks.
    #[arg(value_parser = target_parser())]
    target: Target,
    #[command(flatten)]
    config: ConfigArg,
    /// Where the asking side reaches the daemon; several times for several daemons. Without it:
    /// [listen] dns, and where that is every address, this host's only one.
    #[arg(long = "server", value_name = "IP[:PORT]", value_parser = parse_server)]
    servers: Vec<SocketAddr>,
    /// The asking resolver's own address: where sites differ, the expected answers are its site's.
    #[arg(long, value_name = "IP")]
    client: Option<IpAddr>,
    /// Print one JSON object on stdout: target, text, warnings.
    #[arg(long)]
    json: bool,
}

/// Listed names of a zone that are looked at for one that can be shown.
const NAMES_TRIED: usize = 100;
/// A name below a wildcard: the first member of Defender's endpoint, and nothing special elsewhere.
const WILDCARD_LABEL: &str = "api";

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let path = &args.config.config;
    let config = crate::config::load(path)?.config;
    let Found { servers, mut warnings } = if args.servers.is_empty() {
        let local = sys::local_addresses().context("this host's addresses cannot be read")?;
        let local: Vec<IpAddr> = local.iter().map(|local| local.ip).collect();
        snippets::servers(&config.listen.dns, &local).with_context(|| path.display().to_string())?
    } else {
        given(&args.servers, &config)
    };
    let snapshot = match app::build(&config, &config.listen.dns, None) {
        Ok(snapshot) => snapshot,
        Err(unfit) => bail!("{}: {unfit}", path.display()),
    };
    let client = args.client.unwrap_or_else(|| somebody(&config));
    let by_site = config.private_links.iter().any(has_sites);
    if by_site && args.client.is_none() {
        warnings.push(format!(
            "the endpoints have sites, and the expected answers are those of {client}; write \
             --client with the asking resolver's address, whose site it is that counts"
        ));
    }
    if !config.access.allow.iter().any(|net| net.contains(&client.to_canonical())) {
        warnings.push(format!("{client} is not in [access] allow: privatelinkd refuses it"));
    }
    let zones = snippets::zones(&config);
    warnings.extend(zones.iter().filter_map(|zone| unanswered(zone, &config)));
    let material = Material {
        servers,
        zones,
        checks: checks(&config, &snapshot, client)?,
        client: (by_site || args.client.is_some()).then_some(client),
        forwards_all: config.forwards.iter().any(|rule| rule.zones.contains(&Name::root())),
        slowest: config.forwards.iter().map(|rule| rule.timeout).max().unwrap_or_default(),
        warnings,
    };
    let snippet = snippets::write(args.target, &material)?;
    if args.json {
        super::say_json(&snippet)?;
    } else {
        snippet.warnings.iter().for_each(|warning| complain(&format!("warning: {warning}")));
        super::say(&snippet.text)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn target_parser() -> impl TypedValueParser<Value = Target> {
    PossibleValuesParser::new(Target::ALL.map(Target::name)).try_map(|name| name.parse::<Target>())
}

fn parse_server(text: &str) -> Result<SocketAddr, String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if split_host(bare).is_some_and(|(ip, _)| snippets::is_of_one_link(ip.into())) {
        return Err(of_one_link());
    }
    if let Ok(ip) = bare.parse::<IpAddr>() {
        if snippets::is_of_one_link(ip) {
            return Err(of_one_link());
        }
        return Ok(SocketAddr::new(ip.to_canonical(), snippets::PORT));
    }
    match text.parse::<ScopedAddress>() {
        Ok(address) if snippets::is_of_one_link(address.ip()) => Err(of_one_link()),
        Ok(address) => Ok(SocketAddr::new(address.ip().to_canonical(), address.port())),
        Err(_) => Err("write an address as 10.0.0.4, 10.0.0.4:5300 or [fd00::4]:5300".to_owned()),
    }
}

fn of_one_link() -> String {
    "an address of one link has no meaning on another host; write one that is routed".to_owned()
}

fn given(servers: &[SocketAddr], config: &Config) -> Found {
    let listens = |port: u16| config.listen.dns.iter().any(|address| address.port() == port);
    let warnings = servers.iter().filter(|server| !listens(server.port())).map(|server| {
        let mut ports: Vec<u16> = config.listen.dns.iter().map(ScopedAddress::port).collect();
        ports.sort_unstable();
        ports.dedup();
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        format!(
            "--server {server} is another port than [listen] dns has ({}): right only where \
             something between translates",
            ports.join(", ")
        )
    });
    let (mut unique, warnings) = (Vec::new(), warnings.collect());
    for server in servers {
        if !unique.contains(server) {
            unique.push(*server);
        }
    }
    Found { servers: unique, warnings }
}

/// Names of a zone that holds nothing of ours need an upstream.
fn unanswered(zone: &Zone, config: &Config) -> Option<String> {
    let mut covering = config.forwards.iter().flat_map(|rule| &rule.zones);
    let answered = zone.ours || covering.any(|covering| zone.name.is_within(covering));
    (!answered).then(|| {
        format!(
            "no [[forward]] covers {}, whose names lead into private zones: privatelinkd refuses \
             them",
            zone.name
        )
    })
}

/// A client that may ask: this host, or the first address of an allowed network.
fn somebody(config: &Config) -> IpAddr {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let allow = &config.access.allow;
    if allow.iter().any(|net| net.contains(&loopback)) {
        return loopback;
    }
    allow.first().and_then(|net| net.hosts().next()).unwrap_or(loopback)
}

fn has_sites(link: &PrivateLink) -> bool {
    link.endpoints.iter().any(|endpoint| !endpoint.sites.is_empty())
}

/// The first zone in full, one question for each other.
fn checks(
    config: &Config,
    snapshot: &Snapshot,
    client: IpAddr,
) -> Result<Vec<Check>, crate::engine::Undecodable> {
    let mut checks = Vec::new();
    for link in &config.private_links {
        for label in labels(link) {
            let public = label.under(&link.public_zone);
            let private = label.under(&link.private_zone);
            let (Ok(public), Ok(private)) = (public, private) else { continue };
            let types = [Rtype::A, Rtype::AAAA];
            let [v4, v6] = types.map(|rtype| check(snapshot, client, &public, rtype));
            let (Some(v4), Some(v6)) = (v4?, v6?) else { continue };
            let (with, without) = if v4.addresses.is_empty() { (v6, v4) } else { (v4, v6) };
            if with.addresses.is_empty() {
                continue;
            }
            let rtype = with.rtype;
            let first = checks.is_empty();
            // Entries may share their zones, and then a wildcard.
            if !checks.contains(&with) {
                checks.push(with);
            }
            if first {
                checks.extend(check(snapshot, client, &private, rtype)?);
                checks.push(without);
            }
            break;
        }
    }
    Ok(checks)
}

/// Names of a zone that may be shown, relative to it.
fn labels(link: &PrivateLink) -> Vec<Name> {
    let listed = link.endpoints.iter().flat_map(|endpoint| endpoint.names.iter());
    let mut labels: Vec<Name> = listed
        .map(|(name, _)| name)
        .take(NAMES_TRIED)
        .filter(|name| snippets::is_plain(name))
        .cloned()
        .collect();
    if link.unlisted == Unlisted::Wildcard {
        labels.extend(WILDCARD_LABEL.parse::<Name>());
    }
    labels
}

/// None where the answer is not of our own making.
fn check(
    snapshot: &Snapshot,
    client: IpAddr,
    name: &Name,
    rtype: Rtype,
) -> Result<Option<Check>, crate::engine::Undecodable> {
    let ask = Ask { name: name.clone(), rtype, client, dnssec: false };
    let explanation = snapshot.explain(&ask, false)?;
    let Some(reply) = explanation.reply.filter(|_| explanation.verdict == Conclusion::Private)
    else {
        return Ok(None);
    };
    let of = |rtype: Rtype| {
        let wanted = rtype.to_string();
        reply.answer.iter().filter(move |record| record.r#type == wanted).map(|r| r.data.as_str())
    };
    let chain = of(Rtype::CNAME).filter_map(|target| target.parse().ok()).collect();
    let mut addresses: Vec<IpAddr> = of(rtype).filter_map(|ip| ip.parse().ok()).collect();
    addresses.sort_unstable();
    Ok(Some(Check { name: name.clone(), rtype, chain, addresses }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Names;
    use crate::config::testing::{defender, endpoint};

    #[test]
    fn servers_are_read_with_and_without_a_port() {
        for (text, address) in [
            ("10.0.0.4", "10.0.0.4:53"),
            ("10.0.0.4:5300", "10.0.0.4:5300"),
            ("fd00::4", "[fd00::4]:53"),
            ("[fd00::4]", "[fd00::4]:53"),
            ("[fd00::4]:5300", "[fd00::4]:5300"),
            ("::ffff:10.0.0.4", "10.0.0.4:53"),
            ("[::ffff:10.0.0.4]:5300", "10.0.0.4:5300"),
        ] {
            assert_eq!(parse_server(text), Ok(address.parse().expect("an address")), "{text}");
        }
        for text in
            ["", "dns.example", "10.0.0.4:", "10.0.0.4:65536", "[fe80::1%2]:53", "fe80::1%2"]
        {
            assert!(parse_server(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_so_many_listed_names_are_looked_at() {
        for (odd, found) in [(NAMES_TRIED - 1, 1), (NAMES_TRIED, 0)] {
            let mut hub = endpoint("hub", &[], &[], &[]);
            let mut names = Names::default();
            for number in 0..odd {
                let name = format!("a\\.{number}").parse().expect("a name");
                names.push(name, ["10.1.0.5".parse().expect("an address")]);
            }
            names.push("plain".parse().expect("a name"), ["10.1.0.5".parse().expect("an address")]);
            hub.names = names;
            let mut link = defender(vec![hub]);
            link.unlisted = Unlisted::Nxdomain;
            assert_eq!(labels(&link).len(), found, "{odd}");
            link.unlisted = Unlisted::Wildcard;
            assert_eq!(labels(&link).len(), found + 1, "{odd}");
        }
    }
}
