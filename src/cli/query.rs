//! `query`: a DNS client for hosts that have no dig.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;

use super::{DEFAULT_CONFIG, parse_name, parse_rtype, reachable};
use crate::engine::{Shown, query_message};
use crate::upstream::{Over, Patience, ask, ask_tcp};
use crate::wire::{Name, Rtype};

/// Ask a DNS server: this daemon, or any other.
///
/// Asks over UDP with EDNS, and over TCP when the reply is truncated. Exits 0 when a reply came,
/// whatever it says, and 1 when none did.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  privatelinkd query api.cloud.defender.microsoft.com
  privatelinkd query api.cloud.defender.microsoft.com AAAA @127.0.0.1:5300
  privatelinkd query example.com DNSKEY @10.0.0.4 --dnssec --tcp --json")]
pub(super) struct Args {
    /// The name to ask for.
    #[arg(value_parser = parse_name)]
    name: Name,
    /// TYPE (A where there is none) and @SERVER, in any order. SERVER is ip, ip:port or
    /// [ipv6]:port; where there is none, the packaged configuration's first address, or 127.0.0.1.
    #[arg(value_name = "TYPE|@SERVER", num_args = 0..=2)]
    rest: Vec<String>,
    /// Ask over TCP at once.
    #[arg(long)]
    tcp: bool,
    /// Set the DO bit: signatures are wanted.
    #[arg(long)]
    dnssec: bool,
    /// How long to wait for a reply, for each of two tries.
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = parse_patience)]
    timeout: Duration,
    /// Print one JSON object on stdout.
    #[arg(long)]
    json: bool,
}

/// Tries over UDP; a datagram may get lost.
const UDP_TRIES: usize = 2;
/// Longest wait for one try: no server takes as long.
const MOST_PATIENCE: Duration = Duration::from_secs(60);
/// DNS's port (RFC 1035 §4.2).
const PORT: u16 = 53;

/// The reply as JSON.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report<'a> {
    server: SocketAddr,
    transport: &'static str,
    milliseconds: f64,
    octets: usize,
    #[serde(flatten)]
    reply: &'a Shown,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut rtype = Rtype::A;
    let mut server = None;
    for word in &args.rest {
        match word.strip_prefix('@') {
            Some(address) => server = Some(parse_server(address)?),
            None => {
                rtype = parse_rtype(word).map_err(|error| anyhow::anyhow!("{word}: {error}"))?;
            }
        }
    }
    let server = server.unwrap_or_else(default_server);
    let id = rand::random::<u16>();
    let message = query_message(id, &args.name, rtype, args.dnssec);
    let begin = Instant::now();
    let patience = Patience { each: args.timeout, udp_tries: UDP_TRIES };
    let (reply, over) = if args.tcp {
        (ask_tcp(server, &message, patience)?, Over::Tcp)
    } else {
        // Whatever is said is shown.
        ask(server, &message, patience, |_| true)?
    };
    let transport = match over {
        Over::Udp => "UDP",
        Over::Tcp => "TCP",
        Over::TcpAfterUdp => "TCP, after a truncated reply over UDP",
    };
    let milliseconds = begin.elapsed().as_secs_f64() * 1_000.0;
    let shown = Shown::read(&reply)?;
    if args.json {
        let octets = reply.len();
        let report = Report { server, transport, milliseconds, octets, reply: &shown };
        super::say_json(&report)?;
    } else {
        let octets = reply.len();
        super::say(&format!(
            "{}; {octets} octets from {server} over {transport} in {milliseconds:.1} ms\n",
            shown.lines("")
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn parse_patience(text: &str) -> Result<Duration, String> {
    let patience = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let fits = !patience.is_zero() && patience <= MOST_PATIENCE;
    fits.then_some(patience).ok_or_else(|| format!("write more than 0s, up to {MOST_PATIENCE:?}"))
}

pub(super) fn parse_server(text: &str) -> anyhow::Result<SocketAddr> {
    if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, PORT));
    }
    text.parse().with_context(|| {
        format!("@{text}: write a server as @10.0.0.4, @127.0.0.1:5300 or @[::1]:5300")
    })
}

/// The packaged daemon of this host, when there is one.
fn default_server() -> SocketAddr {
    let packaged = crate::config::load(DEFAULT_CONFIG.as_ref()).ok();
    let first = packaged.and_then(|loaded| loaded.config.listen.dns.first().copied());
    let first = first.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], PORT)));
    SocketAddr::new(reachable(first.ip()), first.port())
}
