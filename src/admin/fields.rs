//! What is asked, as the query part of a URL: one reading and one writing, so that the two sides
//! cannot differ.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::engine::Ask;
use crate::wire::Rtype;

/// The fields of `/explain?…`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    name: String,
    r#type: Option<String>,
    client: Option<String>,
    #[serde(default)]
    dnssec: bool,
}

/// A query part that asks for nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum FieldError {
    #[error("{0}; write explain?name=NAME, and if you like &type=TYPE&client=IP&dnssec=true")]
    Fields(#[from] serde_urlencoded::de::Error),
    #[error("name: {found:?} is no domain name: {why}")]
    Name { found: String, why: String },
    #[error("type: {0:?}: write a record type such as A, AAAA, HTTPS, or TYPE64")]
    Rtype(String),
    #[error("client: {0:?}: write an IP address such as 10.1.2.3 or fd00::1")]
    Client(String),
}

/// Reads a URL's query part: type A and client 127.0.0.1 where it does not say.
pub(super) fn read(query: &str) -> Result<Ask, FieldError> {
    let Fields { name, r#type, client, dnssec } = serde_urlencoded::from_str(query)?;
    let name = name.parse().map_err(|why: crate::wire::NameError| FieldError::Name {
        why: why.to_string(),
        found: name,
    })?;
    let rtype = match r#type {
        Some(text) => Rtype::parse(&text).ok_or(FieldError::Rtype(text))?,
        None => Rtype::A,
    };
    let client = match client {
        Some(text) => text.parse().map_err(|_| FieldError::Client(text))?,
        None => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    Ok(Ask { name, rtype, client, dnssec })
}

/// Writes a URL's query part.
pub(super) fn write(ask: &Ask) -> Result<String, serde_urlencoded::ser::Error> {
    serde_urlencoded::to_string(Fields {
        name: ask.name.to_string(),
        r#type: Some(ask.rtype.to_string()),
        client: Some(ask.client.to_string()),
        dnssec: ask.dnssec,
    })
}

/// Reads a URL's query part, as [`read`] does. For the fuzz target `admin`.
#[cfg(fuzzing)]
pub fn read_fields(query: &str) -> Option<Ask> {
    read(query).ok()
}

/// Writes a URL's query part, as [`write`] does. For the fuzz target `admin`.
#[cfg(fuzzing)]
pub fn write_fields(ask: &Ask) -> Option<String> {
    write(ask).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(query: &str) -> String {
        read(query).expect_err("it is wrong").to_string()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let longest = ["\\255".repeat(63), "\\255".repeat(63), "\\000".repeat(63)].join(".");
        for name in [".", "api.example", "a\\.b&c#d%e+f=g.\\000", &longest] {
            let ask = Ask {
                name: name.parse().expect("a name"),
                rtype: Rtype(65_280),
                client: "fd00::1".parse().expect("an address"),
                dnssec: true,
            };
            assert_eq!(read(&write(&ask).expect("written")).expect("read"), ask);
        }
    }

    #[test]
    fn only_the_name_is_needed() {
        let ask = read("name=api.example").expect("read");
        assert_eq!((ask.rtype, ask.dnssec), (Rtype::A, false));
        assert_eq!(ask.client, IpAddr::V4(Ipv4Addr::LOCALHOST));
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(error("").contains("missing field `name`"));
        assert!(error("name=a&name=b").contains("duplicate field `name`"));
        assert!(error("name=a&site=b").contains("unknown field `site`"));
        assert!(error("name=a..b").starts_with("name: \"a..b\" is no domain name"));
        assert!(error("name=a&type=NOPE").starts_with("type: \"NOPE\""));
        assert!(error("name=a&client=10.1.2").starts_with("client: \"10.1.2\""));
        assert!(error("name=%00%ff").starts_with("name: "));
        assert!(error("name=a&dnssec=maybe").contains("dnssec=true"));
    }
}
