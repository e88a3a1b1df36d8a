//! Upstreams: from a text to a server and how it is asked.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::{DNS_PORT, address, unmapped};
use crate::config::findings::Problem;
use crate::config::upstreams::{UpstreamServer, UpstreamSource};
use crate::wire::Name;

/// What to write for an upstream.
pub(in crate::config) const WANTED_UPSTREAM: &str = concat!(
    "write an address such as \"10.0.0.4\", \"10.0.0.4:53\" or \"[fd00::4]:53\", ",
    "or \"resolv.conf\""
);

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
