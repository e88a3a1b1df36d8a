//! `query`: a DNS client for hosts that have no dig.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use serde::Serialize;

use super::question::{self, Typed, parse_rtype};
pub(super) use super::server::parse_server;
use super::server::{PORT, Server};
use super::{DEFAULT_CONFIG, TypedWrongly, complain};
use crate::engine::{Shown, query_message};
use crate::upstream::{OnceError, Over, Patience, ask, ask_tcp};
use crate::wire::{Name, Rtype};

/// Ask a DNS server: this daemon, or any other.
///
/// Asks over UDP with EDNS, and over TCP when the reply is truncated. The words come in any order, as
/// dig takes them. Exits 0 when a reply came, whatever it says, 1 when none did, and 2 when the
/// question or the server cannot be understood.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  privatelinkd query api.cloud.defender.microsoft.com
  privatelinkd query api.cloud.defender.microsoft.com AAAA @127.0.0.1:5300
  privatelinkd query @10.0.0.4 api.cloud.defender.microsoft.com
  privatelinkd query -t AAAA api.cloud.defender.microsoft.com @dns.example -p 5300
  privatelinkd query -x 10.1.0.5 @fe80::1%eth0
  privatelinkd query https://api.cloud.defender.microsoft.com/
  privatelinkd query example.com DNSKEY @10.0.0.4 --dnssec --tcp --json")]
pub(super) struct Args {
    /// The name, its TYPE (A without one) and the @SERVER, in any order. Of a URL the host is
    /// taken, and of an address its reverse name. SERVER is an address (10.0.0.4, ::1, fe80::1%eth0),
    /// one with a port (10.0.0.4:5300, [::1]:5300), or a host's name, which this host's resolver
    /// looks up. Without @SERVER: the packaged configuration's first address, or 127.0.0.1.
    #[arg(value_name = "NAME|TYPE|@SERVER", required_unless_present = "reverse")]
    words: Vec<String>,
    /// The type to ask for.
    #[arg(short = 't', long = "type", value_name = "TYPE", value_parser = parse_rtype)]
    rtype: Option<Rtype>,
    /// Ask for the name of this address (PTR) instead of a NAME.
    #[arg(short = 'x', long, value_name = "IP")]
    reverse: Option<IpAddr>,
    /// The server's port, if @SERVER has none.
    #[arg(short, long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Ask over TCP at once.
    #[arg(long)]
    tcp: bool,
    /// Set the DO bit: signatures are wanted.
    #[arg(long)]
    dnssec: bool,
    /// How long to wait for a reply, for each of two tries.
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = parse_patience)]
    timeout: Duration,
    /// Print one JSON object on stdout; when no reply comes, {"error": "…"}.
    #[arg(long)]
    json: bool,
}

/// Tries over UDP; a datagram may get lost.
const UDP_TRIES: usize = 2;
/// Longest wait for one try: no server takes as long.
const MOST_PATIENCE: Duration = Duration::from_secs(60);
/// What to look at when the server that was named does not reply.
const ADVICE: &str = "does a DNS server run there, and does no firewall drop the queries?";
/// The same when none was named.
const NO_SERVER: &str = "without @SERVER the question goes to the first address of the packaged \
                         configuration, or to 127.0.0.1: does the daemon run there?";
/// Addresses of one server that are tried, one after the other.
const MAX_ADDRESSES: usize = 4;

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

/// A reply and its way.
struct Answer {
    reply: Vec<u8>,
    server: SocketAddr,
    over: Over,
    took: Duration,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let typed = Typed::read(&args.words, args.rtype, args.reverse.is_some())?;
    let servers = servers(args, typed.server.as_deref())?;
    let (name, rtype) = question(args, &typed)?;
    for note in &typed.notes {
        complain(&format!("privatelinkd: {note}"));
    }
    let Answer { reply, server, over, took } =
        exchange(args, &servers, &name, rtype).map_err(|failures| {
            anyhow!("{failures}; {}", if typed.server.is_some() { ADVICE } else { NO_SERVER })
        })?;
    let transport = match over {
        Over::Udp => "UDP",
        Over::Tcp => "TCP",
        Over::TcpAfterUdp => "TCP, after a truncated reply over UDP",
    };
    let (milliseconds, octets) = (took.as_secs_f64() * 1_000.0, reply.len());
    let shown = Shown::read(&reply).with_context(|| format!("the reply of {server}"))?;
    if args.json {
        let report = Report { server, transport, milliseconds, octets, reply: &shown };
        super::say_json(&report)?;
    } else {
        super::say(&format!(
            "{}; {octets} octets from {server} over {transport} in {milliseconds:.1} ms\n",
            shown.lines("")
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn question(args: &Args, typed: &Typed) -> Result<(Name, Rtype), TypedWrongly> {
    if let Some(address) = args.reverse {
        let name = question::reverse(address).map_err(TypedWrongly)?;
        return Ok((name, typed.rtype.unwrap_or(Rtype::PTR)));
    }
    let no_name = || TypedWrongly("the name is missing; write the name to ask for".to_owned());
    let name = typed.name.clone().ok_or_else(no_name)?;
    Ok((name, typed.rtype.unwrap_or(Rtype::A)))
}

/// Where to ask: the addresses of `server`, or the packaged daemon of this host.
fn servers(args: &Args, server: Option<&str>) -> anyhow::Result<Vec<SocketAddr>> {
    let Some(server) = server else {
        let mut packaged = default_server();
        packaged.set_port(args.port.unwrap_or(packaged.port()));
        return Ok(vec![packaged]);
    };
    let tries = u32::try_from(UDP_TRIES).unwrap_or(1);
    Server::parse(server, args.port)?.addresses(args.timeout.saturating_mul(tries))
}

/// Asks one address after the other, until one replies.
fn exchange(
    args: &Args,
    servers: &[SocketAddr],
    name: &Name,
    rtype: Rtype,
) -> Result<Answer, String> {
    let message = query_message(rand::random::<u16>(), name, rtype, args.dnssec);
    let patience = Patience { each: args.timeout, udp_tries: UDP_TRIES };
    let ask_one = |server| -> Result<(Vec<u8>, Over), OnceError> {
        if args.tcp {
            return Ok((ask_tcp(server, &message, patience)?, Over::Tcp));
        }
        // Every reply is shown.
        ask(server, &message, patience, |_| true)
    };
    let mut failures = Vec::new();
    for server in servers.iter().take(MAX_ADDRESSES).copied() {
        let begin = Instant::now();
        match ask_one(server) {
            Ok((reply, over)) => return Ok(Answer { reply, server, over, took: begin.elapsed() }),
            Err(error) => failures.push(error.to_string()),
        }
    }
    Err(failures.join("; "))
}

fn parse_patience(text: &str) -> Result<Duration, String> {
    let patience = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let fits = !patience.is_zero() && patience <= MOST_PATIENCE;
    fits.then_some(patience).ok_or_else(|| format!("write more than 0s, up to {MOST_PATIENCE:?}"))
}

/// The packaged daemon of this host, when there is one.
fn default_server() -> SocketAddr {
    let packaged = crate::config::load(DEFAULT_CONFIG.as_ref()).ok();
    let first = packaged.and_then(|loaded| loaded.config.listen.dns.first().cloned());
    first.map_or_else(|| SocketAddr::from(([127, 0, 0, 1], PORT)), |first| first.reachable())
}
