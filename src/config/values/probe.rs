//! Probes of endpoints: from a text to what is tried.

use std::net::IpAddr;

use crate::config::findings::Problem;
use crate::config::probes::Probe;
use crate::wire::Name;

/// What to write for an endpoint's probe.
pub(in crate::config) const WANTED_ENDPOINT_PROBE: &str =
    "write \"tcp:443\", \"tls:443\", \"tls:443#name.in.the.certificate\", or \"none\"";

/// How an endpoint is probed; `None`: not at all.
pub(in crate::config) fn endpoint_probe(text: &str) -> Result<Option<Probe>, Problem> {
    if text == "none" {
        return Ok(None);
    }
    let wanted = || Problem::new(WANTED_ENDPOINT_PROBE);
    let (place, name) = match text.split_once('#') {
        Some((place, name)) => (place, Some(name)),
        None => (text, None),
    };
    let Some((kind, port)) = place.split_once(':') else {
        let kind = place.to_ascii_lowercase();
        let usual = matches!(kind.as_str(), "tcp" | "tls").then(|| format!("{kind}:443"));
        let usual = usual.or_else(|| (kind == "https").then(|| "tls:443".to_owned()));
        return Err(match usual {
            Some(usual) => wanted().help(format!("the port is missing; write \"{usual}\"")),
            None => wanted(),
        });
    };
    let port = number(port).ok_or_else(|| {
        Problem::new(format!("no port from 1 to 65535; write such as \"{kind}:443\""))
    })?;
    match (kind, name) {
        ("tcp", None) => Ok(Some(Probe::Tcp { port })),
        ("tcp", Some(name)) => {
            let problem = Problem::new("a TCP connection proves no name");
            Err(problem.help(format!("write \"tls:{port}#{name}\", or \"tcp:{port}\"")))
        }
        ("tls", None) => Ok(Some(Probe::Tls { port, name: None })),
        ("tls", Some(name)) => {
            Ok(Some(Probe::Tls { port, name: Some(certificate_name(name, port)?) }))
        }
        _ => Err(wanted()),
    }
}

/// Digits alone: a sign is none of them.
fn number(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|octet| octet.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

fn certificate_name(text: &str, port: u16) -> Result<String, Problem> {
    let wanted = format!("write the name in the certificate, such as \"tls:{port}#api.example\"");
    if text.parse::<IpAddr>().is_ok() {
        return Err(Problem::new(format!("an address behind \"#\"; {wanted}")));
    }
    let letters = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_');
    let name = text.parse::<Name>().ok();
    match name.filter(|name| name.label_count() > 0 && text.bytes().all(letters)) {
        // As in SNI: without the final dot (RFC 6066 §3).
        Some(name) => Ok(name.to_string()),
        None => Err(Problem::new(format!("no host name behind \"#\"; {wanted}"))),
    }
}
