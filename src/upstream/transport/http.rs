//! What DNS over HTTP (RFC 8484) is in each version: the request, and what statuses, headers and
//! bodies of responses mean.
//!
//! Redirects are not followed, because the configuration names the server that is trusted. No
//! cookies, no credentials, no compression.

use std::net::Ipv6Addr;
use std::time::{Duration, SystemTime};

use http::header::{self, HeaderMap, HeaderName};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use rustls::pki_types::ServerName;

use super::fault::{Fault, Reply};
use crate::upstream::failure::{Breakdown, TryError};

/// The media type of queries and replies (RFC 8484 §6).
const DNS_MESSAGE: &str = "application/dns-message";
/// HTTPS's port, which an authority leaves out (RFC 9110 §4.2.2).
const HTTPS_PORT: u16 = 443;
/// Octets of the largest DNS message (RFC 8484 §6).
const MAX_BODY_OCTETS: usize = 65_535;
/// Octets of a response's header list, names and values, with 32 for each (RFC 9113 §6.5.2).
/// Services send some 500; cookies and policies of websites take a few thousand.
pub(super) const MAX_HEADER_OCTETS: u32 = 16 << 10;
/// Informational responses before the response that counts. HTTP has few kinds of them.
pub(super) const MOST_INFORMATIONAL: u32 = 8;
/// The longest `Retry-After` that counts: other clients of the server may have caused it.
const LONGEST_REST: Duration = Duration::from_secs(60);
/// Characters of a header's value that a reason repeats.
const VALUE_CHARS: usize = 60;

/// What all requests to one server share.
#[derive(Debug)]
pub(super) struct Requests {
    uri: Uri,
}

impl Requests {
    /// For the server that the certificate calls `name`.
    pub(super) fn new(name: &ServerName<'_>, port: u16, path: &str) -> Result<Self, Fault> {
        let unusable = |what: &str| {
            Fault::dead(TryError::Garbled, &format!("{what} cannot stand in an HTTP request"))
        };
        let authority = authority(name, port);
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTPS);
        parts.authority =
            Some(Authority::try_from(authority.as_str()).map_err(|_| unusable(&authority))?);
        parts.path_and_query =
            Some(PathAndQuery::try_from(path).map_err(|_| unusable(&format!("path {path}")))?);
        let uri = Uri::from_parts(parts).map_err(|_| unusable(&authority))?;
        Ok(Self { uri })
    }

    /// The head of a request that has a query of `octets` as its body.
    pub(super) fn post(&self, octets: usize) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(DNS_MESSAGE));
        headers.insert(header::ACCEPT, HeaderValue::from_static(DNS_MESSAGE));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(octets));
        request
    }

    /// Reads the head of the response that arrives at `now`.
    pub(super) fn read(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        now: SystemTime,
    ) -> Result<Body, Fault> {
        if status != StatusCode::OK {
            return Err(self.refusal(status, headers, now));
        }
        let garbled = |reason: String| Err(Fault::of_query(TryError::Garbled, &reason));
        if let Some(value) = headers.get(header::CONTENT_TYPE)
            && !is_dns_message(value)
        {
            let found = shown(value);
            return garbled(format!("the reply's content type is {found}, not {DNS_MESSAGE}"));
        }
        let declared = match headers.get(header::CONTENT_LENGTH).map(|value| (number(value), value))
        {
            None => None,
            Some((Some(octets), _)) if octets <= MAX_BODY_OCTETS as u64 => Some(octets),
            Some((Some(octets), _)) => return garbled(too_large(&format!("{octets} octets"))),
            Some((None, value)) => {
                return garbled(format!("the reply's Content-Length is {}", shown(value)));
            }
        };
        Ok(Body { declared, octets: Vec::new(), age_seconds: age_seconds(headers) })
    }

    /// What a status other than 200 means.
    fn refusal(&self, status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Fault {
        let code = status.as_u16();
        let words = match status.canonical_reason() {
            Some(words) => format!("HTTP {code} {words}"),
            None => format!("HTTP {code}"),
        };
        match code {
            429 | 503 => {
                let rest = headers.get(header::RETRY_AFTER).and_then(|value| rest(value, now));
                let words = match rest {
                    Some(rest) => format!("{words}, try again after {} s", rest.as_secs()),
                    None => words,
                };
                Fault { rest, ..Fault::of_query(TryError::ServerBusy, &words) }
            }
            300..400 => {
                let towards = location(headers);
                let words = format!("{words} to {towards}; redirects are not followed");
                Fault::of_query(TryError::Declined(code), &words)
            }
            404 | 405 | 410 => {
                let words = format!("{words} for path {}", self.uri.path());
                Fault::of_query(TryError::Declined(code), &words)
            }
            400..500 => Fault::of_query(TryError::Declined(code), &words),
            500..600 => Fault::of_query(TryError::ServerFailed(Breakdown::Status(code)), &words),
            _ => Fault::of_query(TryError::Garbled, &format!("{words} and no DNS message")),
        }
    }
}

/// A response's body while it comes.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Body {
    /// What `Content-Length` says.
    declared: Option<u64>,
    octets: Vec<u8>,
    age_seconds: u32,
}

impl Body {
    /// The next octets of it.
    pub(super) fn push(&mut self, octets: &[u8]) -> Result<(), Fault> {
        let so_far = self.octets.len().saturating_add(octets.len());
        let most = self.declared.and_then(|octets| usize::try_from(octets).ok());
        let reason = if so_far > MAX_BODY_OCTETS {
            too_large("that")
        } else if let Some(most) = most.filter(|most| so_far > *most) {
            format!("the reply's Content-Length is {most}, and its body is longer")
        } else {
            self.octets.extend_from_slice(octets);
            return Ok(());
        };
        Err(Fault::of_query(TryError::Garbled, &reason))
    }

    /// All of it has come.
    pub(super) fn finish(self) -> Result<Reply, Fault> {
        let octets = self.octets.len();
        let reason = match self.declared {
            Some(declared) if declared != octets as u64 => {
                format!("the reply's Content-Length is {declared}, and its body has {octets}")
            }
            _ if octets == 0 => "the reply's body is empty".to_owned(),
            _ => return Ok(Reply { octets: self.octets, age_seconds: self.age_seconds }),
        };
        Err(Fault::of_query(TryError::Garbled, &reason))
    }
}

/// The server as HTTP names it: with its port, unless that is HTTPS's own.
fn authority(name: &ServerName<'_>, port: u16) -> String {
    let text = name.to_str();
    let host = match text.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => text.into_owned(),
    };
    if port == HTTPS_PORT { host } else { format!("{host}:{port}") }
}

fn too_large(what: &str) -> String {
    format!("the reply is larger than {MAX_BODY_OCTETS} octets: {what}")
}

/// Whether a content type is DNS's, whatever its letters and parameters (RFC 9110 §8.3.1).
fn is_dns_message(value: &HeaderValue) -> bool {
    let essence = value.as_bytes().split(|octet| *octet == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(DNS_MESSAGE.as_bytes())
}

/// How long the reply has been in caches, seconds: the first value, if it is a number (RFC 9111
/// §5.1). A larger number than TTLs can have is as good as the largest.
fn age_seconds(headers: &HeaderMap) -> u32 {
    let first = headers.get(HeaderName::from_static("age")).and_then(|value| {
        let first = value.as_bytes().split(|octet| *octet == b',').next()?;
        digits(first)
    });
    first.map_or(0, |seconds| u32::try_from(seconds).unwrap_or(u32::MAX))
}

/// For how long the server wants to be left alone: seconds, or a date (RFC 9110 §10.2.3). A time
/// that has passed says nothing.
fn rest(value: &HeaderValue, now: SystemTime) -> Option<Duration> {
    let rest = match number(value) {
        Some(seconds) => Duration::from_secs(seconds),
        None => {
            let date = httpdate::parse_http_date(value.to_str().ok()?.trim()).ok()?;
            // What is below a second is rounded up: the date has none.
            let rest = date.duration_since(now).ok()?;
            Duration::from_secs(rest.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX))
        }
    };
    Some(rest.min(LONGEST_REST)).filter(|rest| !rest.is_zero())
}

/// The host of a redirect.
fn location(headers: &HeaderMap) -> String {
    let Some(value) = headers.get(header::LOCATION) else { return "nowhere".to_owned() };
    match value.to_str().ok().and_then(|text| text.parse::<Uri>().ok()) {
        Some(uri) => match uri.host() {
            Some(host) => host.chars().take(VALUE_CHARS).collect(),
            None => "another path of its own".to_owned(),
        },
        None => "a place that is no URL".to_owned(),
    }
}

fn number(value: &HeaderValue) -> Option<u64> {
    digits(value.as_bytes())
}

/// A decimal number; one that is too large for `u64` is the largest.
fn digits(octets: &[u8]) -> Option<u64> {
    let octets = octets.trim_ascii();
    let is_number = !octets.is_empty() && octets.iter().all(u8::is_ascii_digit);
    is_number.then(|| {
        octets.iter().fold(0_u64, |number, digit| {
            number.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
        })
    })
}

/// A header's value for people.
fn shown(value: &HeaderValue) -> String {
    let text = String::from_utf8_lossy(value.as_bytes());
    format!("\"{}\"", text.chars().take(VALUE_CHARS).collect::<String>())
}

#[cfg(test)]
mod tests;
