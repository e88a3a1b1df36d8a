//! Interfaces of link-local addresses (RFC 4007): where one must stand, and where none may.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};

use crate::config::findings::Problem;
use crate::sys::{Interface, ScopedAddress};

/// Stands for an interface in what we propose.
const SOME_INTERFACE: &str = "eth0";

/// Refuses a link-local IPv6 address without its interface, to which there is no way, and an
/// interface on any other address. `text` is what the user typed for `address`.
pub(super) fn with_interface(address: ScopedAddress, text: &str) -> Result<ScopedAddress, Problem> {
    let IpAddr::V6(ip) = address.ip() else { return Ok(address) };
    match address.interface() {
        None if ip.is_unicast_link_local() => Err(Problem::new(format!(
            "a link-local address needs its network interface; write such as \"{}\" (`ip link` \
             lists them)",
            with(text)
        ))),
        // A group's address is refused for what it is.
        Some(_) if !ip.is_unicast_link_local() && !ip.is_multicast() => Err(Problem::new(format!(
            "only a link-local address (fe80::/10) has an interface; write \"{}\"",
            without(text)
        ))),
        _ => Ok(address),
    }
}

/// Says what is wrong where something stands behind the `%` of an IPv6 address that is no interface.
pub(super) fn wrong_interface(text: &str) -> Option<Problem> {
    let (front, behind) = text.split_once('%')?;
    let address = front.rsplit('[').next()?;
    let interface = behind.split(']').next()?;
    let is_wrong = address.parse::<Ipv6Addr>().is_ok() && Interface::parse(interface).is_none();
    is_wrong.then(|| {
        Problem::new(format!(
            "no network interface behind \"%\"; write its name or its number, such as \
             \"{address}%{SOME_INTERFACE}\""
        ))
    })
}

/// Takes the percent-encoding of RFC 6874 out of the host of a URL: `[fe80::1%25eth0]`.
///
/// # Errors
/// Digits alone behind `%25` may be a number in either way of writing.
pub(super) fn decoded(host: &str) -> Result<Cow<'_, str>, Problem> {
    let Some((front, behind)) = host.split_once("%25") else { return Ok(Cow::Borrowed(host)) };
    let interface = behind.split(']').next().unwrap_or_default();
    if interface.is_empty() {
        return Ok(Cow::Borrowed(host));
    }
    if interface.bytes().all(|octet| octet.is_ascii_digit()) {
        return Err(Problem::new(format!(
            "the interface 25{interface}, or {interface} as URLs write it; write its name, such as \
             \"{front}%{SOME_INTERFACE}]\""
        )));
    }
    Ok(Cow::Owned(format!("{front}%{behind}")))
}

fn with(text: &str) -> String {
    let (address, behind) = text.split_at(text.find(']').unwrap_or(text.len()));
    format!("{address}%{SOME_INTERFACE}{behind}")
}

fn without(text: &str) -> String {
    let (address, behind) = text.split_at(text.find('%').unwrap_or(text.len()));
    let behind = behind.find(']').and_then(|end| behind.get(end..)).unwrap_or_default();
    format!("{address}{behind}")
}
