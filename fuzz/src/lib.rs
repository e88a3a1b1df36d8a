//! What several fuzz targets need: a running configuration, and questions out of messages.

use std::sync::LazyLock;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use privatelinkd::config::{self, Config};
use privatelinkd::engine::Snapshot;
use privatelinkd::forward::{OwnAddresses, Rules};
use privatelinkd::wire::{AnswerRef, HEADER_OCTETS, Question, Record, Rtype, read_name, u16_at};
use privatelinkd::zones::{Found, Zones};

const CONFIG: &str = r#"
[listen]
dns = ["127.0.0.1:5300"]

[access]
allow = ["loopback", "private"]

[[site]]
name = "frankfurt"
networks = ["10.1.0.0/16"]

[[private-link]]
service = "defender-for-containers"
[[private-link.endpoint]]
name = "weu"
addresses = ["10.1.0.5", "fd00::5"]
names = { "api" = ["10.1.0.5", "10.1.0.7"], "data.westeurope" = ["10.1.0.6"] }
[[private-link.endpoint]]
name = "frankfurt"
sites = ["frankfurt"]
addresses = ["10.1.0.15"]
names = { "api" = ["10.1.0.15"] }

[[private-link]]
public-zone = "v.net"
private-zone = "q.net"
unlisted = "nxdomain"
[[private-link.endpoint]]
name = "vault"
names = { "k" = ["10.1.0.8"] }

[[private-link]]
public-zone = "d.net"
private-zone = "p.d.net"
unlisted = "forward"
[[private-link.endpoint]]
name = "sql"
names = { "m" = ["10.1.0.9"] }

[[forward]]
zones = ["."]
upstreams = ["127.0.0.1:5353"]

# It is emptied for each input.
[cache]
size = "1MiB"
"#;

static CONFIGURED: LazyLock<Config> = LazyLock::new(|| {
    let report = config::read(CONFIG);
    report.config.unwrap_or_else(|| panic!("{:?}", report.diagnostics))
});
/// The zones of the configuration.
pub static ZONES: LazyLock<Zones> = LazyLock::new(|| Zones::new(&CONFIGURED.private_links));
/// The configuration in force.
pub static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(snapshot);

/// Puts the configuration into force, with an empty cache.
pub fn snapshot() -> Snapshot {
    let config = &*CONFIGURED;
    let rules = Rules::build(&config.forwards, &[], OwnAddresses::default(), None);
    Snapshot::new(config, rules)
}

/// The question that a message repeats.
pub fn question_of(message: &[u8]) -> Option<Question> {
    let (qname, end) = read_name(message, HEADER_OCTETS).ok()?;
    let mut question = Question::plain(qname.to_name(), Rtype(u16_at(message, end)?));
    question.qclass = u16_at(message, end + 2)?;
    Some(question)
}

/// Fails on a public address of a name that we protect, whichever upstream gave it to us.
pub fn check_address(answer: &AnswerRef<'_>, record: &Record<'_>) {
    let Ok((owner, _)) = read_name(answer.message(), record.owner_at) else { return };
    if ZONES.find(&owner).as_ref().is_some_and(Found::is_ours) {
        check_private(record);
    }
}

/// Fails on an address that the configuration does not hold.
pub fn check_private(record: &Record<'_>) {
    match record.rtype {
        Rtype::A => assert_eq!(record.rdata[..3], [10, 1, 0]),
        Rtype::AAAA => assert_eq!(record.rdata[..2], [0xfd, 0]),
        _ => {}
    }
}

/// A query for `question`, with EDNS if that sets DO.
pub fn query_for(question: &Question) -> Vec<u8> {
    let mut request = vec![0x47, 0x11, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    request.extend_from_slice(question.qname.as_wire());
    request.extend_from_slice(&question.qtype.0.to_be_bytes());
    request.extend_from_slice(&question.qclass.to_be_bytes());
    if question.dnssec_ok {
        request[11] = 1;
        request.extend_from_slice(&[0, 0, 41, 4, 0xd0, 0, 0, 0x80, 0, 0, 0]);
    }
    request
}

/// Takes a field with two octets of length before it; the rest of `input` where that is shorter.
pub fn field<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let octets = usize::from(u16_at(input, 0)?);
    let rest = &input[2..];
    let (field, rest) = rest.split_at(octets.min(rest.len()));
    *input = rest;
    Some(field)
}

/// What this thread has run for so far. It stands still while other threads run.
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has this clock");
    time.into()
}
