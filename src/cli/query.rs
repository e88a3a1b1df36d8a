//! `query`: a DNS client for hosts that have no dig.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::Serialize;

use super::{DEFAULT_CONFIG, parse_name, parse_rtype, reachable};
use crate::engine::{Shown, query_message};
use crate::wire::{Header, MAX_MESSAGE_OCTETS, Name, Rtype, flags};

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
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Print one JSON object on stdout.
    #[arg(long)]
    json: bool,
}

/// Tries over UDP; a datagram may get lost.
const UDP_TRIES: usize = 2;
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
    let mut transport = if args.tcp { "TCP" } else { "UDP" };
    let mut reply = if args.tcp {
        ask_tcp(server, &message, args.timeout)?
    } else {
        ask_udp(server, &message, args.timeout)?
    };
    if Header::read(&reply).is_some_and(|header| header.has(flags::TC)) && !args.tcp {
        transport = "TCP, after a truncated reply over UDP";
        reply = ask_tcp(server, &message, args.timeout)?;
    }
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

fn parse_server(text: &str) -> anyhow::Result<SocketAddr> {
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

fn ask_udp(server: SocketAddr, message: &[u8], timeout: Duration) -> anyhow::Result<Vec<u8>> {
    let any: IpAddr = if server.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    let socket = UdpSocket::bind((any, 0)).context("cannot open a UDP socket")?;
    socket.connect(server).with_context(|| format!("cannot reach {server}"))?;
    let mut buffer = vec![0; MAX_MESSAGE_OCTETS];
    for _ in 0..UDP_TRIES {
        socket.send(message).with_context(|| format!("cannot send to {server}"))?;
        let deadline = Instant::now() + timeout;
        while let Some(left) =
            deadline.checked_duration_since(Instant::now()).filter(|d| !d.is_zero())
        {
            socket.set_read_timeout(Some(left))?;
            match socket.recv(&mut buffer) {
                Ok(octets) if buffer.get(..2) == message.get(..2) && octets > 2 => {
                    buffer.truncate(octets);
                    return Ok(buffer);
                }
                // A late reply to somebody else's question.
                Ok(_) => {}
                Err(error) if is_timeout(&error) => break,
                Err(error) => {
                    return Err(error).with_context(|| format!("no reply from {server} over UDP"));
                }
            }
        }
    }
    bail!("no reply from {server} over UDP within {timeout:?}, asked {UDP_TRIES} times")
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

fn ask_tcp(server: SocketAddr, message: &[u8], timeout: Duration) -> anyhow::Result<Vec<u8>> {
    let ask = || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect_timeout(&server, timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
        stream.write_all(&[&length.to_be_bytes(), message].concat())?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut reply)?;
        Ok(reply)
    };
    ask().with_context(|| format!("no reply from {server} over TCP"))
}
