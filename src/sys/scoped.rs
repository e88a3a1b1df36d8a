//! An address with a port and, if it is link-local, the interface that it is meant on (RFC 4007).

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::str::FromStr;

use super::addresses::scope_id;

/// Longest name of an interface, octets (`IFNAMSIZ` without its NUL).
const MAX_INTERFACE_OCTETS: usize = 15;

/// A network interface, as people write it behind `%`.
///
/// A name becomes a number when a socket is opened, because interfaces come and go, and one that comes
/// back has another number.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Interface {
    /// Its number, never 0.
    Number(u32),
    /// Its name.
    Name(Box<str>),
}

impl Interface {
    /// Reads what stands behind `%`: digits are a number. Returns `None` for what the kernel takes for
    /// no name, and for characters that have a meaning in our own texts.
    pub fn parse(text: &str) -> Option<Self> {
        if text.bytes().all(|octet| octet.is_ascii_digit()) {
            return text.parse().ok().filter(|number| *number != 0).map(Self::Number);
        }
        let fits = |octet: u8| octet.is_ascii_graphic() && !b"/:%[]#;\"'\\".contains(&octet);
        let is_name = text.len() <= MAX_INTERFACE_OCTETS
            && !matches!(text, "." | "..")
            && text.bytes().all(fits);
        is_name.then(|| Self::Name(text.into()))
    }

    /// Returns its number now; `None` if this host has no interface of this name.
    pub fn number(&self) -> Option<u32> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Name(name) => scope_id(name),
        }
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// An address and a port, as `10.0.0.4:53`, `[fd00::4]:53` or `[fe80::1%eth0]:53`.
///
/// ```
/// use privatelinkd::sys::ScopedAddress;
/// let address: ScopedAddress = "[fe80::1%eth0]:53".parse().unwrap();
/// assert_eq!((address.port(), address.to_string().as_str()), (53, "[fe80::1%eth0]:53"));
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ScopedAddress {
    ip: IpAddr,
    port: u16,
    interface: Option<Interface>,
}

impl ScopedAddress {
    /// Puts an address together; only IPv6 has an `interface`.
    pub fn new(ip: IpAddr, port: u16, interface: Option<Interface>) -> Self {
        Self { ip, port, interface: interface.filter(|_| ip.is_ipv6()) }
    }

    /// The address alone.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The interface, where one is written.
    pub fn interface(&self) -> Option<&Interface> {
        self.interface.as_ref()
    }

    /// Whether it is an IPv4 address.
    pub fn is_ipv4(&self) -> bool {
        self.ip.is_ipv4()
    }

    /// The number of the interface now, 0 if none is written; `None` if this host has no such interface.
    pub fn scope(&self) -> Option<u32> {
        self.interface.as_ref().map_or(Some(0), Interface::number)
    }

    /// Whether this host has the interface now, or none is written.
    pub fn has_interface(&self) -> bool {
        match &self.interface {
            Some(Interface::Number(number)) => {
                // nix takes the C library's null for success, with an empty name.
                nix::net::if_::if_indextoname(*number).is_ok_and(|name| !name.is_empty())
            }
            Some(Interface::Name(name)) => scope_id(name).is_some(),
            None => true,
        }
    }

    /// The address as the kernel takes it, by the interfaces that this host has now.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrNotAvailable`]: this host has no interface of that name.
    pub fn socket(&self) -> io::Result<SocketAddr> {
        let IpAddr::V6(ip) = self.ip else { return Ok(SocketAddr::new(self.ip, self.port)) };
        let scope = self.scope().ok_or_else(|| {
            let interface = self.interface.as_ref().map(ToString::to_string).unwrap_or_default();
            io::Error::new(
                io::ErrorKind::AddrNotAvailable,
                format!("this host has no network interface {interface} now"),
            )
        })?;
        Ok(SocketAddrV6::new(ip, self.port, 0, scope).into())
    }

    /// The address under which a listener there is asked from this host: loopback for "any". Without
    /// its interface if this host has none of that name now; then nothing listens there.
    pub fn reachable(&self) -> SocketAddr {
        let ip = match self.ip {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => return self.socket().unwrap_or_else(|_| SocketAddr::new(ip, self.port)),
        };
        SocketAddr::new(ip, self.port)
    }

    /// The same host at another port.
    #[must_use]
    pub fn at_port(&self, port: u16) -> Self {
        Self { port, ..self.clone() }
    }

    /// The host alone, IPv6 in brackets, as it stands in a URL.
    pub fn host(&self) -> impl fmt::Display {
        let interface = self.interface.as_ref().map(|interface| format!("%{interface}"));
        let interface = interface.unwrap_or_default();
        match self.ip {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}{interface}]"),
        }
    }
}

impl fmt::Display for ScopedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host(), self.port)
    }
}

impl From<SocketAddr> for ScopedAddress {
    fn from(address: SocketAddr) -> Self {
        let interface = match address {
            SocketAddr::V6(v6) if v6.scope_id() != 0 => Some(Interface::Number(v6.scope_id())),
            _ => None,
        };
        Self { ip: address.ip(), port: address.port(), interface }
    }
}

/// A text that is no address with a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not an address with a port")]
pub struct NotAnAddress;

impl FromStr for ScopedAddress {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        if let Some((inside, port)) = text.strip_prefix('[').and_then(|rest| rest.split_once("]:"))
            && let Some((ip, interface)) = split_host(inside)
        {
            // As the standard library reads it: digits alone.
            let port: SocketAddr = format!("0.0.0.0:{port}").parse().map_err(|_| NotAnAddress)?;
            return Ok(Self { ip: ip.into(), port: port.port(), interface: Some(interface) });
        }
        // The standard library takes `%0` for no interface.
        if text.contains('%') {
            return Err(NotAnAddress);
        }
        text.parse().map(|address: SocketAddr| address.into()).map_err(|_| NotAnAddress)
    }
}

/// Splits `fe80::1%eth0`. Returns `None` for anything else, a plain address included.
pub fn split_host(text: &str) -> Option<(Ipv6Addr, Interface)> {
    let (address, interface) = text.split_once('%')?;
    Some((address.parse().ok()?, Interface::parse(interface)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        for text in [
            "10.0.0.4:53",
            "[fd00::4]:53",
            "[fe80::1%2]:53",
            "[fe80::1%eth0.100]:5353",
            "[fe80::1%br-12ab@x]:853",
        ] {
            assert_eq!(text.parse::<ScopedAddress>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "10.0.0.4",
            "10.0.0.4%eth0:53",
            "[10.0.0.4%eth0]:53",
            "fe80::1%eth0",
            "[fe80::1%eth0]",
            "[fe80::1%eth0]:",
            "[fe80::1%eth0]:+5",
            "[fe80::1%eth0]:65536",
            "[fe80::1%]:53",
            "[fe80::1%0]:53",
            "[fe80::1%4294967296]:53",
            "[fe80::1%a/b]:53",
            "[fe80::1%..]:53",
            "[fe80::1%eth0%eth1]:53",
            "[fe80::1%sixteen-octets-x]:53",
            "[fe80::1%eth 0]:53",
            "[fe80::1%\u{e4}]:53",
        ] {
            assert_eq!(text.parse::<ScopedAddress>(), Err(NotAnAddress), "{text}");
        }
    }

    #[test]
    fn a_name_becomes_a_number_when_it_is_used() {
        let lo = scope_id("lo").unwrap();
        let expected: SocketAddr = format!("[fe80::1%{lo}]:53").parse().unwrap();
        let by_name: ScopedAddress = "[fe80::1%lo]:53".parse().unwrap();
        assert_eq!(by_name.socket().unwrap(), expected);
        let by_number = ScopedAddress::from(expected);
        assert_eq!(by_number.socket().unwrap(), expected);
        assert_eq!(by_number.to_string(), format!("[fe80::1%{lo}]:53"));
        let gone: ScopedAddress = "[fe80::1%none0]:53".parse().unwrap();
        let error = gone.socket().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
        assert_eq!(error.to_string(), "this host has no network interface none0 now");
        assert_eq!(gone.at_port(5_300).to_string(), "[fe80::1%none0]:5300");
        assert_eq!(gone.host().to_string(), "[fe80::1%none0]");
        assert!(by_name.has_interface() && by_number.has_interface() && !gone.has_interface());
        for (text, has) in [("[fe80::1%4294967295]:53", false), ("10.0.0.4:53", true)] {
            assert_eq!(text.parse::<ScopedAddress>().unwrap().has_interface(), has, "{text}");
        }
    }
}
