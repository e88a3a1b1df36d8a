//! A hit allocates nothing: every kind of query that needs no upstream goes through a worker's
//! engine while the calling thread's allocations are counted.
//!
//! A binary of its own, since counting replaces the allocator of the whole binary.

#[path = "../benches/workload/kinds.rs"]
mod kinds;
#[path = "../benches/workload/messages.rs"]
mod messages;

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use allocation_counter::measure;
use arc_swap::ArcSwap;
use privatelinkd::app;
use privatelinkd::config::{self, Probes};
use privatelinkd::engine::{Shared, Snapshot, Transport, Worker};
use privatelinkd::forward::Forwarder;
use privatelinkd::metrics::Counters;
use privatelinkd::wire::Rtype;
use privatelinkd::zones::{Fault, State};

use kinds::{Kind, kinds, said};

/// Rounds of each kind that are counted. What happens once in so many look-ups, such as a table
/// that grows, would show too.
const ROUNDS: usize = 1_000;
/// Octets of the replies' buffer; workers keep one as large.
const BUFFER_OCTETS: usize = 65_535;

fn worker(snapshot: Snapshot) -> Rc<Worker> {
    let shared = Shared { snapshot: ArcSwap::from_pointee(snapshot) };
    Rc::new(Worker::new(Arc::new(shared), Forwarder::new(), Arc::new(Counters::default())))
}

/// How many allocations `ROUNDS` of `kind` cost, and how many octets.
fn allocations(worker: &Rc<Worker>, kind: &Kind, out: &mut Vec<u8>) -> (u64, u64) {
    let asked = kind.asked(Instant::now());
    let info = measure(|| {
        for _ in 0..ROUNDS {
            let snapshot = worker.snapshot();
            out.clear();
            black_box(worker.answer(&snapshot, &asked, black_box(&kind.request), out));
        }
    });
    (info.count_total, info.bytes_total)
}

#[test]
fn no_kind_of_hit_allocates() {
    let worker = worker(kinds::snapshot());
    let mut out = Vec::with_capacity(BUFFER_OCTETS);
    let mut faults = Vec::new();
    for kind in kinds() {
        // The first one may set up what belongs to the thread.
        out.clear();
        let verdict =
            worker.answer(&worker.snapshot(), &kind.asked(Instant::now()), &kind.request, &mut out);
        assert_eq!(said(verdict, &out), kind.gets, "{}", kind.name);
        let (count, octets) = allocations(&worker, &kind, &mut out);
        if count > 0 {
            let name = kind.name;
            faults.push(format!("{name}: {count} allocations, {octets} octets"));
        }
    }
    assert!(faults.is_empty(), "in {ROUNDS} queries each:\n{}", faults.join("\n"));
}

/// Its upstream is outside, and so no name of a site goes there.
const OUTSIDE: &str = r#"
[listen]
dns = ["127.0.0.1:5300"]
[[forward]]
zones = [".", "7.10.in-addr.arpa"]
upstreams = ["192.168.0.53", "9.9.9.9"]
"#;

#[test]
fn no_special_name_allocates() {
    let report = config::read(OUTSIDE);
    let config = report.config.unwrap_or_else(|| panic!("{:?}", report.diagnostics));
    let snapshot = app::build(&config, &config.listen.dns, None).expect("no upstream is us");
    let worker = worker(snapshot);
    let mut out = Vec::with_capacity(BUFFER_OCTETS);
    for (name, rtype, gets) in [
        ("a.localhost", Rtype::A, "Special NOERROR 1 0"),
        ("x.invalid", Rtype::A, "Special NXDOMAIN 0 1"),
        ("1.0.0.127.in-addr.arpa", Rtype::PTR, "Special NOERROR 1 0"),
        ("1.0.0.10.in-addr.arpa", Rtype::PTR, "Special NXDOMAIN 0 1"),
        ("10.in-addr.arpa", Rtype::PTR, "Special NOERROR 0 1"),
        ("1.7.10.in-addr.arpa", Rtype::PTR, "Forward"),
    ] {
        let (request, client) = (messages::query(name, rtype), Ipv4Addr::LOCALHOST.into());
        let kind = Kind { name, request, client, transport: Transport::Udp, gets };
        out.clear();
        let asked = kind.asked(Instant::now());
        let verdict = worker.answer(&worker.snapshot(), &asked, &kind.request, &mut out);
        assert_eq!(said(verdict, &out), gets, "{name}");
        assert_eq!(allocations(&worker, &kind, &mut out), (0, 0), "{name}");
    }
}

/// Two endpoints in each of two zones, of which the second forwards when all is down.
const PROBED: &str = r#"
[listen]
dns = ["127.0.0.1:5300"]
[[private-link]]
public-zone = "vault.azure.net"
private-zone = "privatelink.vaultcore.azure.net"
all-down = "servfail"
[[private-link.endpoint]]
name = "hub"
addresses = ["10.1.0.5", "10.1.0.6", "10.1.0.7", "fd00::5"]
probe = "tcp:443"
[[private-link.endpoint]]
name = "spare"
addresses = ["10.2.0.5", "10.2.0.6"]
probe = "tcp:443"
[[private-link]]
public-zone = "blob.core.windows.net"
private-zone = "privatelink.blob.core.windows.net"
all-down = "public"
[[private-link.endpoint]]
name = "blob"
addresses = ["10.1.0.5", "10.1.0.6"]
probe = "tcp:443"
[[forward]]
zones = ["."]
upstreams = ["192.168.0.53"]
"#;

#[test]
fn no_answer_allocates_while_endpoints_are_down() {
    let report = config::read(PROBED);
    let config = report.config.unwrap_or_else(|| panic!("{:?}", report.diagnostics));
    let snapshot = app::build(&config, &config.listen.dns, None).expect("no upstream is us");
    let zones = Arc::clone(snapshot.zones());
    let worker = worker(snapshot);
    let mut out = Vec::with_capacity(BUFFER_OCTETS);
    let (vault, blob) = ("x.vault.azure.net", "x.blob.core.windows.net");
    // How many addresses are down, in the file's order, and what each question gets then.
    for (down, name, rtype, gets) in [
        (1, vault, Rtype::A, "Private NOERROR 3 0"),
        (1, blob, Rtype::A, "Private NOERROR 2 0"),
        (3, vault, Rtype::A, "Private NOERROR 3 0"),
        (3, vault, Rtype::AAAA, "Private NOERROR 2 0"),
        (5, vault, Rtype::A, "Private NOERROR 2 0"),
        (6, vault, Rtype::A, "Private SERVFAIL 0 0"),
        (6, blob, Rtype::A, "Forward"),
    ] {
        let settings = Probes { fall: 1, rise: 1, ..Probes::default() };
        for pulse in &zones.pulses()[..down] {
            if pulse.state() == State::Up {
                pulse.note(Err(Fault::Timeout), &settings, tokio::time::Instant::now());
            }
        }
        let request = messages::query(name, rtype);
        let client = Ipv4Addr::new(10, 2, 0, 9).into();
        let name = "while something is down";
        let kind = Kind { name, request, client, transport: Transport::Udp, gets };
        out.clear();
        let snapshot = worker.snapshot();
        let verdict =
            worker.answer(&snapshot, &kind.asked(Instant::now()), &kind.request, &mut out);
        assert_eq!(said(verdict, &out), gets, "{down} are down");
        assert_eq!(allocations(&worker, &kind, &mut out), (0, 0), "{down} are down: {gets}");
    }
}

/// A zone that forwards what is not listed, and a name two labels below it.
const FORWARDING: &str = r#"
[listen]
dns = ["127.0.0.1:5300"]
[[private-link]]
service = "storage-blob"
[[private-link.endpoint]]
name = "storage"
names = { "a.d" = ["10.1.0.5"] }
[[forward]]
zones = ["."]
upstreams = ["192.168.0.53"]
"#;

#[test]
fn a_denial_that_becomes_nodata_does_not_allocate() {
    let report = config::read(FORWARDING);
    let config = report.config.unwrap_or_else(|| panic!("{:?}", report.diagnostics));
    let snapshot = app::build(&config, &config.listen.dns, None).expect("no upstream is us");
    let (chain, end) = ("chain.example", "d.blob.core.windows.net");
    let soa = [(Rtype::SOA, messages::soa())];
    for (name, answers) in [
        (end, vec![]),
        ("windows.net", vec![]),
        (chain, vec![(Rtype::CNAME, messages::target(end))]),
    ] {
        let request = messages::query(name, Rtype::A);
        let said = messages::Said { rcode: 3, answers: &answers, authorities: &soa };
        messages::keep(&snapshot, &request, &said, false);
    }
    let worker = worker(snapshot);
    let mut out = Vec::with_capacity(BUFFER_OCTETS);
    for (name, gets) in [
        (end, "Cached NOERROR 0 1"),
        ("windows.net", "Cached NOERROR 0 1"),
        (chain, "Cached NOERROR 1 1"),
    ] {
        let request = messages::query(name, Rtype::A);
        let client = Ipv4Addr::new(10, 2, 0, 9).into();
        let kind = Kind { name, request, client, transport: Transport::Udp, gets };
        out.clear();
        let verdict =
            worker.answer(&worker.snapshot(), &kind.asked(Instant::now()), &kind.request, &mut out);
        assert_eq!(said(verdict, &out), gets, "{name}");
        assert_eq!(allocations(&worker, &kind, &mut out), (0, 0), "{name}");
    }
}

#[test]
fn an_allocation_would_be_counted() {
    let worker = worker(kinds::snapshot());
    let kind = &kinds()[0];
    assert_eq!(measure(|| drop(black_box(Box::new(1_u64)))).count_total, 1);
    // Each reply into a buffer of its own: what a hit would cost that allocates once.
    let asked = kind.asked(Instant::now());
    let info = measure(|| {
        for _ in 0..ROUNDS {
            let mut out = Vec::new();
            black_box(worker.answer(&worker.snapshot(), &asked, &kind.request, &mut out));
        }
    });
    assert!(info.count_total >= ROUNDS as u64, "{} allocations", info.count_total);
    // And by the measure of the other test: a buffer that has to grow.
    let (count, octets) = allocations(&worker, kind, &mut Vec::new());
    assert!((count, octets) > (0, 0), "a growing buffer was not seen");
}
