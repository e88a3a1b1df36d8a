//! Single values: from a text to what it means, or to what should be written instead.

mod interface;
mod probe;
mod upstream;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::BASE64;
use ipnet::IpNet;

use super::findings::Problem;
use super::limits::{CACHE_SIZE_MAX, CACHE_SIZE_MIN, TimeRange};
use crate::addresses::Class;
use crate::sys::{ScopedAddress, split_host};
use crate::wire::{MAX_LABEL_OCTETS, Name, Rtype};
use interface::{with_interface, wrong_interface};
pub(super) use probe::{WANTED_ENDPOINT_PROBE, endpoint_probe};
pub(super) use upstream::{WANTED_UPSTREAM, upstream};

/// Port of plain DNS (RFC 1035 §4.2).
const DNS_PORT: u16 = 53;
/// The port to show where an admin address lacks one; the one of the shipped configuration.
const ADMIN_PORT: u16 = 9_153;
/// Longest text of a duration or size; "18446744073709551615ns" is the longest useful one.
const MAX_QUANTITY_OCTETS: usize = 22;
/// Longest name of a site or endpoint, characters: it stands in log lines and metric labels.
const MAX_LABEL_CHARS: usize = 64;
/// Octets of a user's name: Linux allows 32 (useradd(8)), directories more.
const MAX_USER_OCTETS: usize = 256;

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

/// What to write for a user.
pub(super) const WANTED_USER: &str = "write a user's name such as \"privatelinkd\", or its number";

/// Reads a user. Only the start checks whether the host has that user.
pub(super) fn user(text: &str) -> Result<String, Problem> {
    // A colon or a NUL can stand in no line of passwd(5).
    let is_possible = !text.is_empty()
        && text.len() <= MAX_USER_OCTETS
        && !text.contains(|c: char| c == ':' || c.is_whitespace() || c.is_control());
    if is_possible { Ok(text.to_owned()) } else { Err(Problem::new(WANTED_USER)) }
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
    // With its interface it is no better.
    let address = match split_host(text) {
        Some((link_local, _)) if link_local.is_unicast_link_local() => link_local.into(),
        _ => address(text)?,
    };
    let class = Class::of(address);
    let wrong = match class {
        // Loopback is a warning of the endpoint: a TLS proxy in the same container is real.
        Class::Private | Class::Loopback => return Ok(address),
        Class::Documentation => "an address of the ranges for documentation (RFC 5737, 3849, 9637)",
        Class::LinkLocal => "a link-local address",
        Class::Multicast => "a multicast or broadcast address",
        Class::Unspecified => "the unspecified address",
        Class::Reserved => "a reserved address (0.0.0.0/8, 198.18.0.0/15, 240.0.0.0/4, fec0::/10)",
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
    if let Some((address, _)) = text.split_once('%')
        && address.parse::<Ipv6Addr>().is_ok()
    {
        return Err(Problem::new(format!(
            "clients are told apart by their addresses alone; write it without its interface: \
             \"{address}\""
        )));
    }
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

pub(super) fn listener(text: &str) -> Result<ScopedAddress, Problem> {
    socket(text, DNS_PORT, WANTED_LISTENER)
}

/// What to write for the admin address.
pub(super) const WANTED_ADMIN: &str =
    "write an address with a port, such as \"127.0.0.1:9153\"; leave the key out to turn it off";

pub(super) fn admin(text: &str) -> Result<ScopedAddress, Problem> {
    socket(text, ADMIN_PORT, WANTED_ADMIN)
}

/// An address with a port; `port` is the one to show where it is missing.
fn socket(text: &str, port: u16, wanted: &str) -> Result<ScopedAddress, Problem> {
    if let Ok(socket) = text.parse::<ScopedAddress>() {
        unmapped(socket.ip()).map_err(|plain| {
            let port = socket.port();
            Problem::new(format!("an IPv4 address in IPv6 form; write \"{plain}:{port}\""))
        })?;
        return with_interface(socket, text);
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Some((ip, interface)) = split_host(bare) {
        let right = ScopedAddress::new(ip.into(), port, Some(interface));
        return Err(Problem::new(format!("the port is missing; write \"{right}\"")));
    }
    if let Some(problem) = wrong_interface(text) {
        return Err(problem);
    }
    let Ok(address) = bare.parse::<IpAddr>() else { return Err(Problem::new(wanted)) };
    let right = SocketAddr::new(address.to_canonical(), port);
    with_interface(right.into(), &right.to_string())?;
    Err(Problem::new(format!("the port is missing; write \"{right}\"")))
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

/// What to write for a variable of a service's zones.
pub(super) const WANTED_VARIABLE: &str = "write one label, such as \"westeurope\"";

/// What stands for a variable in a zone: one label.
pub(super) fn variable(text: &str) -> Result<String, Problem> {
    let is_label = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let fits = !text.is_empty() && text.len() <= MAX_LABEL_OCTETS && text.chars().all(is_label);
    fits.then(|| text.to_ascii_lowercase()).ok_or_else(|| Problem::new(WANTED_VARIABLE))
}

/// What to write for a file.
pub(super) const WANTED_FILE: &str = "write the whole path, such as \"/etc/privatelinkd/ca.pem\"";

/// A file by its whole path: what a daemon's working directory is, nobody knows.
pub(super) fn file(text: &str, wanted: &str) -> Result<PathBuf, Problem> {
    let names_a_file = text.starts_with('/') && !text.contains('\0');
    if !names_a_file {
        return Err(Problem::new(wanted));
    }
    match Path::new(text).file_name() {
        Some(_) if !text.ends_with('/') => Ok(PathBuf::from(text)),
        _ => Err(Problem::new(format!("this is a directory; {wanted}"))),
    }
}

/// What to write for a pin.
pub(super) const WANTED_PIN: &str = "write \"sha256/\" and the SHA-256 of the public key in base64 \
                                     (44 characters; docs/CONFIG.md says how to make one)";

/// The SHA-256 of a SubjectPublicKeyInfo: `sha256/` and base64.
pub(super) fn pin(text: &str) -> Result<[u8; 32], Problem> {
    let octets = |text: &str| <[u8; 32]>::try_from(BASE64.decode(text.as_bytes()).ok()?).ok();
    if let Some(pin) = text.strip_prefix("sha256/").and_then(octets) {
        return Ok(pin);
    }
    // As curl, kdig and HPKP write it, or nothing in front of it.
    let fronts = ["sha256//", "pin-sha256=", "sha256:", "SHA256/", ""];
    let inside = |front: &&str| Some(text.strip_prefix(*front)?.trim_matches('"'));
    let meant = fronts.iter().filter_map(inside).find(|rest| octets(rest).is_some());
    let problem = Problem::new(WANTED_PIN);
    Err(match meant {
        Some(meant) => problem.help(format!("write \"sha256/{meant}\"")),
        None => problem,
    })
}

/// What to write for the question of a rule's probe.
pub(super) const WANTED_PROBE: &str =
    "write a name and a type of records, such as \". NS\" or \"corp.example SOA\"";

/// A name and a type that a server can have records of.
pub(super) fn probe(text: &str) -> Result<(Name, Rtype), Problem> {
    let mut words = text.split_whitespace();
    let (Some(name), Some(rtype), None) = (words.next(), words.next(), words.next()) else {
        return Err(Problem::new(WANTED_PROBE));
    };
    // OPT, and the types that stand for a transaction, a transfer or several types (RFC 6895 §3.1).
    let of_records = |rtype: &Rtype| !matches!(rtype.0, 0 | 41 | 128..=255);
    let Some(rtype) = Rtype::parse(rtype).filter(of_records) else {
        return Err(Problem::new(format!("no type that can be asked for; {WANTED_PROBE}")));
    };
    match name.parse() {
        Ok(name) => Ok((name, rtype)),
        Err(error) => Err(Problem::new(format!("{error}; {WANTED_PROBE}"))),
    }
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
