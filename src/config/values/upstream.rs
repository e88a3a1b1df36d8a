//! Upstreams: from a text to a server and how it is asked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use super::interface::decoded;
use super::{DNS_PORT, address, unmapped, with_interface, wrong_interface};
use crate::config::findings::Problem;
use crate::config::suggest::did_you_mean;
use crate::config::upstreams::{Scheme, Trust, UpstreamHost, UpstreamServer, UpstreamSource};
use crate::sys::{ScopedAddress, split_host};
use crate::wire::Name;

/// The path of DNS over HTTPS where none is written: the one in RFC 8484 §4.1.1's examples, and of
/// every large service.
const DEFAULT_PATH: &str = "/dns-query";
/// Longest path, octets: it goes out with every request, and no service has one near it.
const MAX_PATH_OCTETS: usize = 512;

/// What to write for an upstream.
pub(in crate::config) const WANTED_UPSTREAM: &str = concat!(
    "write an address such as \"10.0.0.4\", \"10.0.0.4:53\" or \"[fd00::4]:53\", ",
    "\"resolv.conf\", or a server with its scheme: udp://, tcp://, tls://, https://, quic:// or h3://"
);

const SCHEMES: [Scheme; 6] =
    [Scheme::Plain, Scheme::Tcp, Scheme::Tls, Scheme::Https, Scheme::Quic, Scheme::H3];

/// What others call our schemes.
const OTHER_NAMES: [(&str, Scheme); 8] = [
    ("dns", Scheme::Plain),
    ("dot", Scheme::Tls),
    ("tcp-tls", Scheme::Tls),
    ("doh", Scheme::Https),
    ("http", Scheme::Https),
    ("doq", Scheme::Quic),
    ("doh3", Scheme::H3),
    ("http3", Scheme::H3),
];

pub(in crate::config) fn upstream(text: &str) -> Result<UpstreamSource, Problem> {
    if text == "resolv.conf" {
        return Ok(UpstreamSource::ResolvConf(PathBuf::from("/etc/resolv.conf")));
    }
    if let Some(path) = text.strip_prefix("resolv.conf:") {
        if path.starts_with('/') && !path.contains('\0') {
            return Ok(UpstreamSource::ResolvConf(PathBuf::from(path)));
        }
        return Err(Problem::new("write the whole path, such as \"resolv.conf:/run/resolv.conf\""));
    }
    if let Some((word, rest)) = text.split_once("://") {
        let scheme = scheme(word, rest)?;
        return server(scheme, rest).map(UpstreamSource::Server);
    }
    bare(text).map(|address| UpstreamSource::Server(UpstreamServer::plain_at(address)))
}

fn scheme(word: &str, rest: &str) -> Result<Scheme, Problem> {
    if let Some(scheme) = SCHEMES.iter().find(|scheme| scheme.as_str() == word) {
        return Ok(*scheme);
    }
    let lower = word.to_ascii_lowercase();
    if lower == "sdns" {
        return Err(Problem::new(
            "DNS stamps are not read; write what the stamp says, such as \
             \"https://dns.example/dns-query\" or \"tls://10.0.0.4#dns.example\"",
        ));
    }
    let problem = Problem::new(WANTED_UPSTREAM);
    let same = |scheme: &&Scheme| scheme.as_str() == lower;
    let other = OTHER_NAMES.iter().find(|(name, _)| *name == lower).map(|(_, scheme)| scheme);
    if let Some(scheme) = SCHEMES.iter().find(same).or(other) {
        return Err(problem.help(format!("write \"{}://{rest}\"", scheme.as_str())));
    }
    let help = did_you_mean(word, SCHEMES.iter().map(|scheme| scheme.as_str()));
    Err(help.into_iter().fold(problem, Problem::help))
}

/// What stands behind `scheme://`: `HOST[:PORT][/PATH][#NAME]`.
fn server(scheme: Scheme, rest: &str) -> Result<UpstreamServer, Problem> {
    let (place, tls_name) = match rest.split_once('#') {
        Some((place, name)) => (place, Some(name)),
        None => (rest, None),
    };
    let (authority, path) = place.split_at(place.find('/').unwrap_or(place.len()));
    let host = host(scheme, authority)?;
    let path = match scheme {
        Scheme::Https | Scheme::H3 => http_path(path)?,
        _ if path.is_empty() => String::new(),
        _ => {
            let scheme = scheme.as_str();
            return Err(Problem::new(format!(
                "no path belongs here; write \"{scheme}://{authority}\""
            )));
        }
    };
    let tls_name = tls_name.map(|name| tls_name_of(scheme, name, authority)).transpose()?;
    Ok(UpstreamServer { scheme, host, tls_name, path, trust: Trust::default() })
}

/// Whom the certificate must name.
fn tls_name_of(scheme: Scheme, name: &str, authority: &str) -> Result<String, Problem> {
    if !scheme.is_encrypted() {
        return Err(Problem::new(format!(
            "{}:// proves no name; leave out \"#{name}\"",
            scheme.as_str()
        ))
        .help(format!("if the server speaks DNS over TLS, write \"tls://{authority}#{name}\"")));
    }
    if name.is_empty() {
        return Err(Problem::new(
            "no name behind \"#\"; write the name in the server's certificate, or leave \"#\" out",
        ));
    }
    if name.parse::<IpAddr>().is_ok() {
        return Err(Problem::new(
            "an address behind \"#\"; write the name in the server's certificate, or leave it out \
             where the certificate holds the address that is asked",
        ));
    }
    if name.contains('/') {
        return Err(Problem::new(format!(
            "the path stands before \"#\"; write \"{}://{authority}/…#{}\"",
            scheme.as_str(),
            name.split('/').next().unwrap_or_default()
        )));
    }
    match host_name(name) {
        // As in SNI: without the final dot (RFC 6066 §3).
        Some(name) => Ok(without_dot(&name)),
        None => Err(Problem::new(
            "no host name behind \"#\"; write the name in the server's certificate, such as \
             \"dns.example\"",
        )),
    }
}

fn http_path(path: &str) -> Result<String, Problem> {
    if path.is_empty() {
        return Ok(DEFAULT_PATH.to_owned());
    }
    if let Some(template) = path.strip_suffix("{?dns}") {
        return Err(Problem::new(format!("write the path without \"{{?dns}}\": \"{template}\"")));
    }
    // Of RFC 3986 §3.3; queries go out by POST, or bring their own "?dns=".
    let of_path =
        |octet: u8| octet.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@%".contains(&octet);
    if path.len() <= MAX_PATH_OCTETS && path.bytes().all(of_path) {
        Ok(path.to_owned())
    } else {
        Err(Problem::new(format!(
            "no usable path; write one such as \"{DEFAULT_PATH}\", of letters, digits and \
             -._~!$&'()*+,;=:@% (up to {MAX_PATH_OCTETS} characters, no \"?\")"
        )))
    }
}

fn host(scheme: Scheme, text: &str) -> Result<UpstreamHost, Problem> {
    let port = scheme.default_port();
    if text.is_empty() {
        let scheme = scheme.as_str();
        return Err(Problem::new(format!(
            "no server behind \"{scheme}://\"; write one such as \"{scheme}://10.0.0.4\""
        )));
    }
    let text = &*decoded(text)?;
    if let Some(address) = socket(text, port) {
        return usable(address, port, text).map(UpstreamHost::Address);
    }
    if text.parse::<Ipv6Addr>().is_ok() || split_host(text).is_some() {
        let scheme = scheme.as_str();
        return Err(Problem::new(format!(
            "an IPv6 address stands in brackets here; write \"{scheme}://[{text}]\""
        )));
    }
    if let Some(problem) = wrong_interface(text) {
        return Err(problem);
    }
    // What stands in front of a port that is none; without one, the colon is part of the fault.
    let is_host = |host: &str| socket(host, port).is_some() || host_name(host).is_some();
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if is_host(name) => (name, a_port(port)?),
        _ => (text, port),
    };
    let Some(name) = host_name(name) else {
        let scheme = scheme.as_str();
        let problem = Problem::new(format!(
            "no server's address or name; write such as \"{scheme}://10.0.0.4\" or \
             \"{scheme}://[fd00::4]\""
        ));
        return Err(match text.split_once('@').map(|(ip, port)| (ip.parse(), port.parse())) {
            Some((Ok(ip), Ok(port))) => {
                let right = SocketAddr::new(ip, port);
                problem.help(format!("a port stands behind \":\"; write \"{scheme}://{right}\""))
            }
            _ => problem,
        });
    };
    match scheme {
        Scheme::Plain => Err(needs_address()),
        _ => Ok(UpstreamHost::Name { name, port }),
    }
}

/// An address with or without a port, IPv6 in brackets.
fn socket(text: &str, port: u16) -> Option<ScopedAddress> {
    if let Ok(socket) = text.parse::<ScopedAddress>() {
        return Some(socket);
    }
    if text.starts_with('[') {
        return format!("{text}:{port}").parse().ok();
    }
    let ip: Ipv4Addr = text.parse().ok()?;
    Some(SocketAddr::new(ip.into(), port).into())
}

/// An address that can be asked; `default` is the scheme's own port, `text` what the user typed.
fn usable(address: ScopedAddress, default: u16, text: &str) -> Result<ScopedAddress, Problem> {
    if address.port() == 0 {
        return Err(Problem::new(format!("port 0 cannot be asked; write {default}")));
    }
    unmapped(address.ip()).map_err(|plain| {
        let port = address.port();
        Problem::new(format!("an IPv4 address in IPv6 form; write \"{plain}:{port}\""))
    })?;
    with_interface(address, text)
}

fn a_port(text: &str) -> Result<u16, Problem> {
    text.parse::<u16>()
        .ok()
        .filter(|port| *port != 0 && text.bytes().all(|octet| octet.is_ascii_digit()))
        .ok_or_else(|| Problem::new("no port behind \":\"; write a number from 1 to 65535"))
}

/// The name of a host that certificates can name: letters, digits, hyphens and underscores, not
/// ending in a number, which would look like an address.
fn host_name(text: &str) -> Option<Name> {
    let allowed = |label: &str| {
        label.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(&octet))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let labels = text.strip_suffix('.').unwrap_or(text);
    let last = labels.rsplit('.').next()?;
    let number = last.bytes().all(|octet| octet.is_ascii_digit())
        || last
            .to_ascii_lowercase()
            .strip_prefix("0x")
            .is_some_and(|hex| hex.bytes().all(|octet| octet.is_ascii_hexdigit()));
    if number || !labels.split('.').all(allowed) {
        return None;
    }
    text.parse().ok()
}

/// As TLS and HTTP write a name.
fn without_dot(name: &Name) -> String {
    let text = name.to_string();
    text.strip_suffix('.').map(str::to_owned).unwrap_or(text)
}

/// An address for plain DNS, without a scheme.
fn bare(text: &str) -> Result<ScopedAddress, Problem> {
    if text.parse::<IpAddr>().is_ok() {
        return with_interface(ScopedAddress::new(address(text)?, DNS_PORT, None), text);
    }
    if let Some((ip, interface)) = split_host(text) {
        return usable(ScopedAddress::new(ip.into(), DNS_PORT, Some(interface)), DNS_PORT, text);
    }
    match text.parse::<ScopedAddress>() {
        Ok(socket) => usable(socket, DNS_PORT, text),
        Err(_) => Err(not_an_upstream(text)),
    }
}

fn needs_address() -> Problem {
    Problem::new("a host name would need another DNS server to be found; write its IP address")
}

/// What is wrong with a text that is no address at all.
fn not_an_upstream(text: &str) -> Problem {
    let problem = Problem::new(WANTED_UPSTREAM);
    let inside = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_host = |inside: &&str| inside.parse::<IpAddr>().is_ok() || split_host(inside).is_some();
    if let Some(address) = inside.filter(is_host) {
        return problem.help(format!("without a port, write \"{address}\""));
    }
    if let Some(problem) = wrong_interface(text) {
        return problem;
    }
    if let Some(help) = as_others_write(text) {
        return problem.help(help);
    }
    let host = text.rsplit_once(':').map_or(text, |(host, _)| host);
    if host_name(host).is_some() {
        return needs_address().help(format!(
            "an encrypted upstream may have a name: \"tls://{host}\", if it speaks DNS over TLS"
        ));
    }
    problem
}

/// What to write for `ADDRESS#NAME`, `ADDRESS#PORT` and `ADDRESS@PORT`, as other programs have them.
fn as_others_write(text: &str) -> Option<String> {
    let (place, name) = match text.split_once('#') {
        Some((place, name)) => (place, Some(name)),
        None => (text, None),
    };
    let socket = match place.split_once('@') {
        Some((ip, port)) => Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?)),
        None => place.parse().ok(),
    };
    let ip = socket.map_or_else(|| place.parse(), |socket| Ok(socket.ip())).ok()?;
    let port = name.map_or(socket.map(|socket| socket.port()), |name| name.parse().ok());
    if let Some(port) = port {
        let address = SocketAddr::new(ip, port);
        return Some(format!("a port stands behind \":\"; write \"{address}\""));
    }
    let port = socket.map(|socket| socket.port()).filter(|port| *port != DNS_PORT);
    let server = UpstreamServer {
        scheme: Scheme::Tls,
        tls_name: Some(without_dot(&host_name(name?)?)),
        ..UpstreamServer::plain(SocketAddr::new(ip, port.unwrap_or(Scheme::Tls.default_port())))
    };
    Some(format!("a name is for encrypted upstreams; write \"{server}\""))
}
