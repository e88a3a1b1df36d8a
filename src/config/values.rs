//! Single values: from a text to what it means, or to what should be written instead.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::findings::Problem;
use super::limits::{CACHE_SIZE_MAX, CACHE_SIZE_MIN, TimeRange};
use super::upstreams::{UpstreamServer, UpstreamSource};
use crate::addresses::Class;
use crate::wire::{Name, Rtype};

/// Port of plain DNS (RFC 1035 §4.2).
const DNS_PORT: u16 = 53;
/// The port to show where an admin address lacks one; the one of the shipped configuration.
const ADMIN_PORT: u16 = 9_153;
/// Longest text of a duration or size; "18446744073709551615ns" is the longest useful one.
const MAX_QUANTITY_OCTETS: usize = 22;
/// Longest name of a site or endpoint, characters: it stands in log lines and metric labels.
const MAX_LABEL_CHARS: usize = 64;

/// What to write for a duration of this range.
pub(super) fn wanted_duration(range: &TimeRange) -> String {
    format!("write a duration such as \"60s\", \"1500ms\" or \"5m\" ({range})")
}

pub(super) fn duration(text: &str, range: &TimeRange) -> Result<Duration, Problem> {
    let short = Some(text).filter(|text| text.len() <= MAX_QUANTITY_OCTETS);
    short
        .and_then(|text| humantime::parse_duration(text).ok())
        .filter(|value| range.contains(*value))
        .ok_or_else(|| Problem::new(wanted_duration(range)))
}

/// A TTL: a duration of whole seconds.
pub(super) fn ttl(text: &str, range: &TimeRange) -> Result<u32, Problem> {
    let value = duration(text, range)?;
    if value.subsec_nanos() != 0 {
        return Err(Problem::new("a TTL counts whole seconds; write one such as \"60s\""));
    }
    u32::try_from(value.as_secs()).map_err(|_| Problem::new(wanted_duration(range)))
}

/// What to write for the size of the cache.
pub(super) const WANTED_SIZE: &str =
    "write a size such as \"64MiB\" (\"1MiB\" to \"64GiB\"), or \"0\" to turn the cache off";

pub(super) fn cache_size(text: &str) -> Result<u64, Problem> {
    let short = Some(text).filter(|text| text.len() <= MAX_QUANTITY_OCTETS);
    short
        .and_then(|text| text.parse::<bytesize::ByteSize>().ok())
        .map(|size| size.as_u64())
        // "0.5" is rounded to nothing, but does not say it.
        .filter(|octets| *octets != 0 || !text.contains(|c| matches!(c, '1'..='9')))
        .filter(|octets| *octets == 0 || (CACHE_SIZE_MIN..=CACHE_SIZE_MAX).contains(octets))
        .ok_or_else(|| Problem::new(WANTED_SIZE))
}

/// What to write for the name of a site or endpoint.
pub(super) const WANTED_LABEL: &str =
    "write a name such as \"frankfurt\" (1 to 64 printable characters)";

/// The name of a site or endpoint.
pub(super) fn label(text: &str) -> Result<String, Problem> {
    let printable = !text.trim().is_empty() && !text.chars().any(char::is_control);
    if printable && text.chars().count() <= MAX_LABEL_CHARS {
        Ok(text.to_owned())
    } else {
        Err(Problem::new(WANTED_LABEL))
    }
}

/// What to write for an address.
pub(super) const WANTED_ADDRESS: &str = "write an IP address such as \"10.1.0.5\" or \"fd00::5\"";

pub(super) fn address(text: &str) -> Result<IpAddr, Problem> {
    match text.parse::<IpAddr>() {
        Ok(address) => unmapped(address).map_err(|plain| {
            Problem::new(format!("an IPv4 address in IPv6 form; write \"{plain}\""))
        }),
        Err(_) => {
            let problem = Problem::new(WANTED_ADDRESS);
            Err(match text.parse::<SocketAddr>() {
                Ok(socket) => problem.help(format!("no port belongs here: \"{}\"", socket.ip())),
                Err(_) => problem,
            })
        }
    }
}

/// Refuses `::ffff:10.1.0.5`, which no client and no record would ever equal.
fn unmapped(address: IpAddr) -> Result<IpAddr, Ipv4Addr> {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(Ok(address), Err),
        IpAddr::V4(_) => Ok(address),
    }
}

/// An address that a private endpoint can have.
pub(super) fn endpoint_address(text: &str) -> Result<IpAddr, Problem> {
    let address = address(text)?;
    let class = Class::of(address);
    let wrong = match class {
        // Loopback is a warning of the endpoint: a TLS proxy in the same container is real.
        Class::Private | Class::Loopback => return Ok(address),
        Class::Documentation => "an address of the ranges for documentation (RFC 5737, 3849, 9637)",
        Class::LinkLocal => "a link-local address",
        Class::Multicast => "a multicast or broadcast address",
        Class::Unspecified => "the unspecified address",
        Class::Public => "a public address",
    };
    Err(Problem::new(format!(
        "{wrong} cannot be a private endpoint; write its private address (10.0.0.0/8, \
         172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10 or fc00::/7)"
    )))
}

/// What to write for a network.
pub(super) const WANTED_NETWORK: &str =
    "write a network such as \"10.1.0.0/16\" or \"fd00:1::/48\", or one address";

pub(super) fn network(text: &str) -> Result<IpNet, Problem> {
    if !text.contains('/') {
        let wanted = |_| Problem::new(WANTED_NETWORK);
        let address = text.parse::<IpAddr>().map_err(wanted)?;
        return self::address(text).map(|_| IpNet::from(address));
    }
    let network: IpNet = text.parse().map_err(|_| Problem::new(WANTED_NETWORK))?;
    if unmapped(network.addr()).is_err() {
        return Err(Problem::new("an IPv4 network in IPv6 form; write the IPv4 network"));
    }
    if network.trunc() != network {
        let right = network.trunc();
        return Err(Problem::new(format!("address bits behind the prefix; write \"{right}\"")));
    }
    Ok(network)
}

/// What to write for a listener.
pub(super) const WANTED_LISTENER: &str =
    "write an address with a port, such as \"0.0.0.0:53\" or \"[::]:53\"";

pub(super) fn listener(text: &str) -> Result<SocketAddr, Problem> {
    socket(text, DNS_PORT, WANTED_LISTENER)
}

/// What to write for the admin address.
pub(super) const WANTED_ADMIN: &str =
    "write an address with a port, such as \"127.0.0.1:9153\"; leave the key out to turn it off";

pub(super) fn admin(text: &str) -> Result<SocketAddr, Problem> {
    socket(text, ADMIN_PORT, WANTED_ADMIN)
}

/// An address with a port; `port` is the one to show where it is missing.
fn socket(text: &str, port: u16, wanted: &str) -> Result<SocketAddr, Problem> {
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return unmapped(socket.ip()).map(|_| socket).map_err(|plain| {
            let port = socket.port();
            Problem::new(format!("an IPv4 address in IPv6 form; write \"{plain}:{port}\""))
        });
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    Err(match bare.parse::<IpAddr>() {
        Ok(address) => {
            let right = SocketAddr::new(address.to_canonical(), port);
            Problem::new(format!("the port is missing; write \"{right}\""))
        }
        Err(_) => Problem::new(wanted),
    })
}

/// What to write for an upstream.
pub(super) const WANTED_UPSTREAM: &str = concat!(
    "write an address such as \"10.0.0.4\", \"10.0.0.4:53\" or \"[fd00::4]:53\", ",
    "or \"resolv.conf\""
);

pub(super) fn upstream(text: &str) -> Result<UpstreamSource, Problem> {
    if text == "resolv.conf" {
        return Ok(UpstreamSource::ResolvConf(PathBuf::from("/etc/resolv.conf")));
    }
    if let Some(path) = text.strip_prefix("resolv.conf:") {
        if path.starts_with('/') && !path.contains('\0') {
            return Ok(UpstreamSource::ResolvConf(PathBuf::from(path)));
        }
        return Err(Problem::new("write the whole path, such as \"resolv.conf:/run/resolv.conf\""));
    }
    if let Some((scheme, _)) = text.split_once("://") {
        return Err(Problem::new(match scheme {
            "tls" | "https" | "quic" | "h3" | "sdns" => {
                "encrypted upstreams are not supported by this version; write an address such as \
                 \"10.0.0.4:53\""
            }
            "udp" | "tcp" => {
                "write the address alone, such as \"10.0.0.4:53\": UDP is asked first, TCP where \
                 an answer needs it"
            }
            _ => WANTED_UPSTREAM,
        }));
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return address(text).map(|_| plain(SocketAddr::new(ip, DNS_PORT)));
    }
    match text.parse::<SocketAddr>() {
        Ok(socket) if socket.port() == 0 => Err(Problem::new("port 0 cannot be asked; write 53")),
        Ok(socket) => match unmapped(socket.ip()) {
            Ok(_) => Ok(plain(socket)),
            Err(plain) => Err(Problem::new(format!(
                "an IPv4 address in IPv6 form; write \"{plain}:{}\"",
                socket.port()
            ))),
        },
        Err(_) => Err(not_an_upstream(text)),
    }
}

fn plain(address: SocketAddr) -> UpstreamSource {
    UpstreamSource::Server(UpstreamServer::plain(address))
}

/// What is wrong with a text that is no address at all.
fn not_an_upstream(text: &str) -> Problem {
    let problem = Problem::new(WANTED_UPSTREAM);
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some(address) = bare.and_then(|bare| bare.parse::<IpAddr>().ok()) {
        return problem.help(format!("without a port, write \"{address}\""));
    }
    let host = text.rsplit_once(':').map_or(text, |(host, _)| host);
    let letters = host.bytes().any(|octet| octet.is_ascii_alphabetic());
    if letters && !host.contains(':') && host.parse::<Name>().is_ok() {
        return Problem::new(
            "a host name would need another DNS server to be found; write its IP address",
        );
    }
    problem
}

/// What to write for a zone.
pub(super) const WANTED_ZONE: &str = "write a zone such as \"cloud.defender.microsoft.com\"";

/// A zone; the root is one.
pub(super) fn zone(text: &str) -> Result<Name, Problem> {
    if text.contains(['{', '}']) {
        return Err(Problem::new(
            "a placeholder is left over; write what stands for it, such as \"westeurope\" for \
             {regionName}",
        ));
    }
    if let Some(rest) = text.strip_prefix("*.") {
        return Err(Problem::new(format!(
            "write the zone without \"*.\": \"{rest}\" covers every name below it"
        )));
    }
    text.parse().map_err(|error| Problem::new(format!("{error}; {WANTED_ZONE}")))
}

/// What to write for the query of an expectation.
pub(super) const WANTED_QUERY: &str =
    "write a name and A or AAAA, such as \"api.cloud.defender.microsoft.com A\"";

/// A name and its type, A when left out.
pub(super) fn query(text: &str) -> Result<(Name, Rtype), Problem> {
    let mut words = text.split_whitespace();
    let (name, rtype) = (words.next(), words.next());
    let (Some(name), None) = (name, words.next()) else {
        return Err(Problem::new(WANTED_QUERY));
    };
    let rtype = match rtype.map(str::to_ascii_uppercase).as_deref() {
        None | Some("A") => Rtype::A,
        Some("AAAA") => Rtype::AAAA,
        Some(_) => return Err(Problem::new(WANTED_QUERY)),
    };
    match name.parse() {
        Ok(name) => Ok((name, rtype)),
        Err(error) => Err(Problem::new(format!("{error}; {WANTED_QUERY}"))),
    }
}
