//! An upstream's state as people and programs read it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::cookie::Cookies;

/// A reading of an upstream's counters, since the start. Displays as `label=value` words.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Tally {
    /// Queries sent, over whatever transport.
    pub queries: u64,
    /// Replies to our questions, whatever their rcode.
    pub replies: u64,
    /// Tries, probes included, without a reply in the time that was measured for one.
    pub timeouts: u64,
    /// Tries ended by an error of the network: no route, connection refused, or an ICMP error that
    /// TCP confirmed.
    pub unreachable: u64,
    /// Replies with SERVFAIL, and HTTP statuses that mean the same.
    pub servfail: u64,
    /// Replies with REFUSED.
    pub refused: u64,
    /// Tries over a connection that brought no DNS reply.
    pub garbled: u64,
    /// Tries that brought a reply of the server's own which cannot be an answer: its CNAMEs go in
    /// circles, its records are malformed, or the rest of it does not come over TCP.
    pub unusable: u64,
    /// Tries ended because the server does not prove who it is.
    pub untrusted: u64,
    /// Tries that the server refused with an HTTP status: redirects, and errors of the request.
    #[serde(default)]
    pub declined: u64,
    /// Tries for which the server was too busy, by its own words: an HTTP status, or the same of
    /// HTTP/2, QUIC or HTTP/3.
    #[serde(default)]
    pub server_busy: u64,
    /// Questions not sent because too many waited.
    pub busy: u64,
    /// Tries that ended because this host had no descriptor or memory left for a socket.
    #[serde(default)]
    pub own_shortage: u64,
    /// Datagrams that were dropped because they answer no query under way: no query waits for their
    /// id, they repeat another question, or they are no replies. Anybody can send such.
    pub mismatches: u64,
    /// ICMP errors that came for queries over UDP. Any host can send them.
    #[serde(default)]
    pub icmp_errors: u64,
    /// Queries that met a datagram with their question in letters of another case.
    #[serde(default)]
    pub other_case: u64,
    /// Queries that met a datagram without the cookie that it must have.
    #[serde(default)]
    pub other_cookie: u64,
    /// Replies that asked for the server's cookie (BADCOOKIE).
    #[serde(default)]
    pub bad_cookie: u64,
    /// Queries sent over connections: TCP, TLS, HTTP, QUIC.
    pub tcp_queries: u64,
    /// Connections begun.
    pub tcp_dials: u64,
    /// Queries repeated without EDNS.
    pub without_edns: u64,
}

/// What is known about an upstream at one moment. Displays as address and `label=value` words.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct UpstreamReport {
    /// Where it is and how it is asked, as in the configuration.
    pub address: String,
    /// It does not answer: others are asked before it.
    pub down: bool,
    /// For how long it has been up or down, seconds.
    pub since_seconds: u64,
    /// Smoothed time of a reply, microseconds; none was measured since it is up.
    pub rtt_us: Option<u64>,
    /// Mean deviation of that, microseconds.
    pub rtt_variation_us: Option<u64>,
    /// Whether queries over UDP have cookies.
    #[serde(default)]
    pub cookies: Cookies,
    /// For how long it wants to be left alone, seconds: others are asked before it. 0: it does not.
    #[serde(default)]
    pub busy_seconds: u64,
    /// Questions that wait for it.
    pub in_flight: u32,
    /// What last went wrong.
    pub last_error: Option<LastError>,
    /// Counts since the start, failures by kind among them.
    pub counts: Tally,
}

/// What last went wrong with an upstream.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LastError {
    /// The reason.
    pub text: String,
    /// How long ago, seconds.
    pub age_seconds: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { queries, replies, timeouts, unreachable, servfail, refused, .. } = self;
        let Self { garbled, unusable, untrusted, declined, server_busy, .. } = self;
        let Self { busy, own_shortage, mismatches, .. } = self;
        let Self { icmp_errors, other_case, other_cookie, bad_cookie, .. } = self;
        let Self { tcp_queries, tcp_dials, without_edns, .. } = self;
        write!(
            f,
            "queries={queries} replies={replies} timeouts={timeouts} unreachable={unreachable} \
             servfail={servfail} refused={refused} garbled={garbled} unusable={unusable} \
             untrusted={untrusted} declined={declined} server-busy={server_busy} busy={busy} \
             own-shortage={own_shortage} \
             mismatches={mismatches} icmp-errors={icmp_errors} other-case={other_case} \
             other-cookie={other_cookie} bad-cookie={bad_cookie} \
             tcp-queries={tcp_queries} tcp-dials={tcp_dials} without-edns={without_edns}"
        )
    }
}

impl fmt::Display for UpstreamReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.down { "down" } else { "up" };
        write!(f, "{} state={state} since={}s rtt=", self.address, self.since_seconds)?;
        match self.rtt_us {
            Some(rtt_us) => write!(f, "{}", Millis(rtt_us))?,
            None => f.write_str("-")?,
        }
        write!(f, " cookies={} in-flight={} {}", self.cookies, self.in_flight, self.counts)
    }
}

/// Microseconds as people read them.
struct Millis(u64);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}ms", self.0 / 1_000, self.0 % 1_000 / 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_one_line() {
        let report = UpstreamReport {
            address: "10.0.0.4:53".to_owned(),
            down: false,
            since_seconds: 42,
            rtt_us: Some(21_480),
            rtt_variation_us: Some(3_000),
            cookies: Cookies::Yes,
            busy_seconds: 0,
            in_flight: 3,
            last_error: None,
            counts: Tally { servfail: 7, ..Tally::default() },
        };
        let line = report.to_string();
        let front = "10.0.0.4:53 state=up since=42s rtt=21.4ms cookies=yes in-flight=3 queries=";
        assert!(line.starts_with(front), "{line}");
        assert!(line.contains(" servfail=7 "), "{line}");
        let unknown = UpstreamReport { rtt_us: None, down: true, ..report };
        assert!(unknown.to_string().contains(" state=down since=42s rtt=- "), "{unknown}");
    }
}
