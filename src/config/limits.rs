//! Every bounded value of the configuration: ONE constant with default, range and reason. The
//! parser, docs/CONFIG.md and the man page read these.

use std::fmt;
use std::time::Duration;

/// A time with its range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimeRange {
    /// When the key is left out.
    pub default: Duration,
    /// Shortest allowed.
    pub min: Duration,
    /// Longest allowed.
    pub max: Duration,
}

/// A count with its range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CountRange {
    /// When the key is left out; `None`: one for each processor that we may use.
    pub default: Option<usize>,
    /// Smallest allowed.
    pub min: usize,
    /// Largest allowed.
    pub max: usize,
}

/// What a limit bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bound {
    /// A number of things.
    Count(CountRange),
    /// A duration.
    Time(TimeRange),
}

/// A row of `[limits]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// The key in `[limits]`.
    pub key: &'static str,
    /// Default and range.
    pub bound: Bound,
    /// What it bounds, and why the default is what it is.
    pub reason: &'static str,
}

const fn count(default: Option<usize>, min: usize, max: usize) -> CountRange {
    CountRange { default, min, max }
}

const fn millis(default: u64, min: u64, max: u64) -> TimeRange {
    TimeRange {
        default: Duration::from_millis(default),
        min: Duration::from_millis(min),
        max: Duration::from_millis(max),
    }
}

/// TTL of CNAME and address records: one that Azure itself uses; above an hour a moved endpoint
/// would be missed for too long.
pub const TTL: TimeRange = millis(60_000, 1_000, 3_600_000);
/// TTL and MINIMUM of negative answers: Azure's own private zones say 10 s.
pub const NEGATIVE_TTL: TimeRange = millis(10_000, 1_000, 3_600_000);
/// Budget of one forwarded query: Windows DNS asks its next forwarder after about 5.5 s, and stub
/// resolvers give up after 5 s.
pub const TIMEOUT: TimeRange = millis(2_000, 100, 30_000);
/// How long expired answers may serve: RFC 8767 §5 suggests one to three days; a week outlives any
/// outage that somebody works on.
pub const STALE: TimeRange = TimeRange {
    default: Duration::from_secs(86_400),
    min: Duration::ZERO,
    max: Duration::from_secs(7 * 86_400),
};
/// Longest TTL of an upstream's answer: after a day a wrong one is gone, as with Unbound and Windows.
/// Below a second nothing would be kept.
pub const MAX_TTL: TimeRange = millis(86_400_000, 1_000, 86_400_000);
/// Highest TTL of an upstream's negative answer. RFC 2308 §5 suggests one to three hours; with one
/// hour, clients see a new name within the hour.
pub const MAX_NEGATIVE_TTL: TimeRange = millis(3_600_000, 1_000, 3_600_000);
/// How long a failure is remembered: RFC 9520 §3.2 wants a second at least; above five a tunnel that
/// is back would go unnoticed.
pub const FAILURE_TTL: TimeRange = millis(1_000, 1_000, 5_000);
/// Above this timeout, Windows DNS servers turn to their next forwarder before we answer.
pub const TIMEOUT_WARN: Duration = Duration::from_secs(4);

/// From one probe of an endpoint's address to the next, at most: with `fall` 3 a quarter of a
/// minute to move away, within the TTL that answers have anyhow. A second is the least that firewalls
/// take for health checks; above an hour nothing is followed.
pub const PROBE_INTERVAL: TimeRange = millis(5_000, 1_000, 3_600_000);
/// What a probe may take: a SYN that is lost is sent again after a second, so two have their chance.
/// Half the interval at most, which `check` sees to.
pub const PROBE_TIMEOUT: TimeRange = millis(2_000, 100, 60_000);
/// Probes in a row that must succeed: one may be luck.
pub const PROBE_RISE: CountRange = count(Some(2), 1, 100);
/// Probes in a row that must fail: one may be loss, two a restart.
pub const PROBE_FALL: CountRange = count(Some(3), 1, 100);
/// Most addresses that are probed: at the default interval about 1,000 connections a second, which is
/// what one thread and a stateful firewall on the way take without notice.
pub const MAX_PROBE_TARGETS: usize = 4_096;

/// Octets of the cache when `size` is left out: about 200,000 answers.
pub const CACHE_SIZE_DEFAULT: u64 = 64 << 20;
/// Smallest cache, octets: below it the bookkeeping costs more than the cache saves.
pub const CACHE_SIZE_MIN: u64 = 1 << 20;
/// Largest cache, octets: more is a slip of the unit.
pub const CACHE_SIZE_MAX: u64 = 64 << 30;

/// Most addresses of one list: 64 AAAA records of 28 octets, a chain and an SOA stay far below
/// the 65,535 octets of a message, and no client tries more.
pub const MAX_ADDRESSES: usize = 64;

/// Most entries of `listen.dns`: each is two sockets in every worker.
pub const MAX_LISTENERS: usize = 64;
/// Most upstreams of one rule: within its timeout no more than a few can be asked.
pub const MAX_UPSTREAMS: usize = 64;

/// Most pins of one rule: each of its servers has one in use and one to come.
pub const MAX_PINS: usize = 2 * MAX_UPSTREAMS;

/// Most zones of one list in `[special]`: some 110 are special, and each may have a few parts.
pub const MAX_SPECIAL_ZONES: usize = 1_000;

/// Threads that answer.
pub(super) const WORKERS: CountRange = count(None, 1, 256);
/// Clients that wait for upstreams.
pub(super) const IN_FLIGHT: CountRange = count(Some(10_000), 1, 1_000_000);
/// Queries that wait for one upstream.
pub(super) const UPSTREAM_IN_FLIGHT: CountRange = count(Some(2_000), 1, 100_000);
/// TCP connections in all.
pub(super) const TCP_CONNECTIONS: CountRange = count(Some(1_000), 1, 65_535);
/// TCP connections of one client address.
pub(super) const TCP_CONNECTIONS_PER_CLIENT: CountRange = count(Some(100), 1, 65_535);
/// Queries of one connection that wait.
pub(super) const TCP_PIPELINED: CountRange = count(Some(128), 1, 65_535);
/// Idle connections close after this.
pub(super) const TCP_IDLE: TimeRange = millis(10_000, 1_000, 300_000);
/// One message, first octet to last.
pub(super) const TCP_MESSAGE: TimeRange = millis(5_000, 100, 60_000);

const TABLE: &[Limit] = &[
    Limit {
        key: "workers",
        bound: Bound::Count(WORKERS),
        reason: "threads that answer, each with its own sockets; one for each processor, as more \
                 only take turns",
    },
    Limit {
        key: "in-flight",
        bound: Bound::Count(IN_FLIGHT),
        reason: "clients that wait for upstreams; with every upstream dead this is 5,000 queries \
                 a second; shared between clients",
    },
    Limit {
        key: "upstream-in-flight",
        bound: Bound::Count(UPSTREAM_IN_FLIGHT),
        reason: "queries that wait for one upstream; one that answers within 20 ms serves 100,000 \
                 a second with it, and a silent one cannot take all of in-flight; shared between \
                 clients",
    },
    Limit {
        key: "tcp-connections",
        bound: Bound::Count(TCP_CONNECTIONS),
        reason: "TCP connections in all; over it the one that has been idle longest is closed; \
                 see \"Open files\" below",
    },
    Limit {
        key: "tcp-connections-per-client",
        bound: Bound::Count(TCP_CONNECTIONS_PER_CLIENT),
        reason: "TCP connections of one client, which is an IPv4 address or an IPv6 /64 network; \
                 ten clients fill the whole, and no resolver opens so many",
    },
    Limit {
        key: "tcp-pipelined",
        bound: Bound::Count(TCP_PIPELINED),
        reason: "queries of one connection that wait for an answer; over it we stop reading",
    },
    Limit {
        key: "tcp-idle",
        bound: Bound::Time(TCP_IDLE),
        reason: "a connection without queries is closed after this (RFC 7766 §6.2.3: a few \
                 seconds)",
    },
    Limit {
        key: "tcp-message",
        bound: Bound::Time(TCP_MESSAGE),
        reason: "from a message's first octet to its last, and for a client to take an answer; \
                 slower ones hold a connection for nothing",
    },
];

/// The rows of `[limits]`, in the order of the documentation.
pub fn table() -> &'static [Limit] {
    TABLE
}

impl CountRange {
    /// The default on this machine.
    pub fn default_here(&self) -> usize {
        self.default.unwrap_or_else(|| {
            let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            cores.clamp(self.min, self.max)
        })
    }

    /// Whether `value` is allowed.
    pub fn contains(&self, value: usize) -> bool {
        (self.min..=self.max).contains(&value)
    }
}

impl TimeRange {
    /// Whether `value` is allowed.
    pub fn contains(&self, value: Duration) -> bool {
        (self.min..=self.max).contains(&value)
    }
}

impl fmt::Display for CountRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.min, self.max)
    }
}

impl fmt::Display for TimeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (min, max) = (self.min, self.max);
        write!(f, "{} to {}", humantime::format_duration(min), humantime::format_duration(max))
    }
}

impl Bound {
    /// The default as it is written in the file; `one per processor` for `workers`.
    pub fn default_text(&self) -> String {
        match self {
            Self::Count(CountRange { default: Some(default), .. }) => default.to_string(),
            Self::Count(CountRange { default: None, .. }) => "one per processor".to_owned(),
            Self::Time(range) => format!("\"{}\"", humantime::format_duration(range.default)),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(range) => fmt::Display::fmt(range, f),
            Self::Time(range) => fmt::Display::fmt(range, f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_lies_in_its_range() {
        assert_eq!(table().len(), 8);
        for limit in table() {
            match limit.bound {
                Bound::Count(range) => {
                    assert!(range.contains(range.default_here()), "{}", limit.key)
                }
                Bound::Time(range) => assert!(range.contains(range.default), "{}", limit.key),
            }
            assert!(limit.reason.len() > 20, "{}", limit.key);
        }
        for range in [
            TTL,
            NEGATIVE_TTL,
            TIMEOUT,
            STALE,
            MAX_TTL,
            MAX_NEGATIVE_TTL,
            FAILURE_TTL,
            PROBE_INTERVAL,
            PROBE_TIMEOUT,
        ] {
            assert!(range.contains(range.default));
        }
        for range in [PROBE_RISE, PROBE_FALL] {
            assert!(range.contains(range.default_here()));
        }
        assert!((CACHE_SIZE_MIN..=CACHE_SIZE_MAX).contains(&CACHE_SIZE_DEFAULT));
    }

    #[test]
    fn ranges_read_like_the_file() {
        assert_eq!(TTL.to_string(), "1s to 1h");
        assert_eq!(TIMEOUT.to_string(), "100ms to 30s");
        assert_eq!(Bound::Time(TCP_IDLE).default_text(), "\"10s\"");
    }
}
