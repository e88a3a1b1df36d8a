//! A hit allocates nothing: every kind of query that needs no upstream goes through a worker's
//! engine while the calling thread's allocations are counted.
//!
//! A binary of its own, since counting replaces the allocator of the whole binary.

#[path = "../benches/workload/kinds.rs"]
mod kinds;
#[path = "../benches/workload/messages.rs"]
mod messages;

use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use allocation_counter::measure;
use arc_swap::ArcSwap;
use privatelinkd::engine::{Shared, Snapshot, Worker};
use privatelinkd::forward::Forwarder;
use privatelinkd::metrics::Counters;

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
