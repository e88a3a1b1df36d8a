//! The same queries over tables of any size: what must not make an answer dearer.
//!
//! A query is drawn, not looked up: its name or client is counted out in place, so that a million
//! different ones take no more memory, and no more of the processor's caches, than one.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use privatelinkd::app;
use privatelinkd::config;
use privatelinkd::engine::{Asked, Outcome, Snapshot, Transport, Verdict};
use privatelinkd::wire::Rtype;

use super::messages::{Said, keep, query};

/// Hexadecimal digits of a drawn label: enough for 16 million names.
const DIGITS: usize = 6;
/// Room for more entries than are ever put in, so that none is pushed out.
const CACHE_SIZE: &str = "2GiB";
/// The client of all queries but those that draw it.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 2, 0, 9));
/// A client that may not ask.
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9));

/// How large each table is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Size {
    /// Names that the first zone lists.
    pub(crate) names: u32,
    /// Pairs of private-link zones.
    pub(crate) zones: u32,
    /// Networks of sites, /24 each; at most 65,536.
    pub(crate) prefixes: u32,
    /// Answers in the cache.
    pub(crate) entries: u32,
}

/// Where the others stand while one of them grows.
pub(crate) const SMALL: Size = Size { names: 1, zones: 1, prefixes: 10, entries: 1_000 };

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ask {
    /// A listed name's A.
    Listed,
    /// A listed name's AAAA, of which there is none.
    ListedAaaa,
    /// Some name below one of the zones that list nothing, or the first.
    Wildcard,
    /// A name in the cache.
    Cached,
    /// A name that is nowhere.
    Miss,
    /// A wildcard name, by clients of all networks.
    Clients,
    /// A listed name, by a client that may not ask.
    Refused,
}

impl Ask {
    /// Whether `verdict` is what such a query gets: else something else is measured.
    pub(crate) fn is_met_by(self, verdict: Verdict) -> bool {
        match self {
            Self::Listed | Self::ListedAaaa | Self::Wildcard | Self::Clients => {
                verdict == Verdict::Reply(Outcome::Private)
            }
            Self::Refused => verdict == Verdict::Reply(Outcome::Refused),
            Self::Cached => verdict == Verdict::Reply(Outcome::Cached),
            Self::Miss => verdict == Verdict::Forward,
        }
    }
}

/// Tables of this size.
pub(crate) fn snapshot(size: Size) -> Snapshot {
    let report = config::read(&toml(size));
    let config = report.config.unwrap_or_else(|| panic!("{:?}", report.diagnostics));
    let snapshot = app::build(&config, &config.listen.dns, None).expect("no upstream is us");
    for index in 0..size.entries {
        let answers = [(Rtype::A, vec![198, 51, 100, 7])];
        let said = Said { rcode: 0, answers: &answers, authorities: &[] };
        keep(&snapshot, &query(&cached(index), Rtype::A), &said, false);
    }
    assert_eq!(snapshot.cache.len(), size.entries as usize, "not all are kept");
    snapshot
}

/// The configuration of such tables.
pub(crate) fn toml(size: Size) -> String {
    let mut text = format!(
        "[listen]\ndns = ['127.0.0.1:0']\n[cache]\nsize = '{CACHE_SIZE}'\n\
         [[forward]]\nzones = ['.']\nupstreams = ['192.168.0.53']\n"
    );
    let networks: Vec<_> =
        (0..size.prefixes).map(|index| format!("'{}/24'", network(index))).collect();
    for (site, networks) in networks.chunks(10).enumerate() {
        let networks = networks.join(", ");
        writeln!(text, "[[site]]\nname = 's{site}'\nnetworks = [{networks}]").expect("a string");
    }
    for zone in 0..size.zones {
        let public = format!("z{zone:0DIGITS$x}.windows.net");
        writeln!(
            text,
            "[[private-link]]\npublic-zone = '{public}'\nprivate-zone = 'privatelink.{public}'\n\
             [[private-link.endpoint]]\nname = 'hub'\naddresses = ['10.1.0.5']"
        )
        .expect("a string");
        if zone == 0 {
            text.push_str("[private-link.endpoint.names]\n");
            for name in 0..size.names {
                writeln!(text, "n{name:0DIGITS$x} = ['10.1.0.6']").expect("a string");
            }
        }
    }
    text
}

fn cached(index: u32) -> String {
    format!("c{index:0DIGITS$x}.cached.example")
}

fn network(index: u32) -> Ipv4Addr {
    let [_, _, second, third] = index.to_be_bytes();
    Ipv4Addr::new(10, second, third, 0)
}

/// Queries of one kind, drawn evenly from a number of different ones.
pub(crate) struct Draw {
    request: Vec<u8>,
    /// Where the digits that change stand.
    at: usize,
    /// How many different names or clients.
    count: u32,
    /// Two of them stand this far apart, so that few are spread as widely as all.
    stride: u32,
    client: IpAddr,
    draws_client: bool,
    now: Instant,
    state: u64,
}

impl Draw {
    /// What `ask` asks, drawn from tables of this size: from all that there is, or from as few as
    /// `only` says.
    pub(crate) fn new(ask: Ask, size: Size, only: Option<u32>) -> Self {
        let zone = "z000000.windows.net";
        let (name, rtype, of) = match ask {
            Ask::Listed | Ask::Refused => (format!("n000000.{zone}"), Rtype::A, size.names),
            Ask::ListedAaaa => (format!("n000000.{zone}"), Rtype::AAAA, size.names),
            Ask::Wildcard => (format!("any.{zone}"), Rtype::A, size.zones),
            Ask::Clients => (format!("any.{zone}"), Rtype::A, size.prefixes),
            Ask::Cached => (cached(0), Rtype::A, size.entries),
            Ask::Miss => ("m000000.elsewhere.example".to_owned(), Rtype::A, 1 << (4 * DIGITS)),
        };
        // The digits stand behind header, length and letter; of a wildcard name, one label later.
        let at = 12 + 2 + if ask == Ask::Wildcard { "any.".len() } else { 0 };
        let count = only.unwrap_or(of).min(of);
        Self {
            request: query(&name, rtype),
            at,
            count,
            stride: of / count,
            client: if ask == Ask::Refused { STRANGER } else { CLIENT },
            draws_client: ask == Ask::Clients,
            now: Instant::now(),
            state: 1,
        }
    }

    /// The next query, and who asks it.
    pub(crate) fn next(&mut self) -> (&[u8], Asked) {
        // Knuth's MMIX constants; the upper bits are the good ones.
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let [high, _] = halves(self.state);
        let [index, _] = halves(u64::from(high) * u64::from(self.count));
        let index = index * self.stride;
        let mut client = self.client;
        if self.draws_client {
            client = IpAddr::V4(network(index));
        } else {
            let digits = self.request[self.at..].iter_mut().take(DIGITS).rev();
            for (place, digit) in digits.enumerate() {
                *digit = b"0123456789abcdef"[(index >> (4 * place) & 15) as usize];
            }
        }
        let asked = Asked { client, transport: Transport::Udp, now: self.now, rotation: 1 };
        (&self.request, asked)
    }
}

/// The upper and the lower half.
fn halves(number: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = number.to_be_bytes();
    [u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])]
}
