//! Time of one `decide` in user space: each kind of query, and what large tables do to it.
//!
//!     cargo bench --bench decide
//!     cargo bench --bench decide -- names    # one group of them
//!
//! Over large tables every query is asked twice: drawn from all that there is, and from a few that
//! lie as far apart. Both do the same work (`instructions` counts it), so what the first takes
//! above the second is what the processor's caches take.

#[path = "workload/growth.rs"]
mod growth;
#[path = "workload/kinds.rs"]
mod kinds;
#[path = "workload/messages.rs"]
mod messages;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};
use privatelinkd::engine::{Silent, Snapshot, decide};

use growth::{Ask, Draw, SMALL, Size};

/// Octets of the replies' buffer; workers keep one as large.
const BUFFER_OCTETS: usize = 65_535;
/// Different queries of a hot set: they and what they touch fit into the first cache.
const HOT: u32 = 16;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(50)
        .configure_from_args();
    kinds_of_queries(&mut criterion);
    drawing(&mut criterion);
    let name_asks =
        [Ask::Listed, Ask::ListedAaaa, Ask::Wildcard, Ask::Cached, Ask::Miss, Ask::Refused];
    let other_asks = [Ask::Wildcard, Ask::Listed, Ask::Cached, Ask::Miss, Ask::Refused];
    let names = |names| Size { names, ..SMALL };
    grow(&mut criterion, "names", &[1, 1_000, 100_000], names, &name_asks);
    let zones = |zones| Size { zones, ..SMALL };
    grow(&mut criterion, "zones", &[1, 1_000], zones, &other_asks);
    let prefixes = |prefixes| Size { prefixes, ..SMALL };
    let prefix_asks = [Ask::Clients, Ask::Refused];
    grow(&mut criterion, "prefixes", &[10, 10_000], prefixes, &prefix_asks);
    let entries = |entries| Size { entries, ..SMALL };
    let entry_asks = [Ask::Cached, Ask::Miss, Ask::Listed];
    grow(&mut criterion, "entries", &[1_000, 1_000_000], entries, &entry_asks);
    criterion.final_summary();
}

/// One query of each kind, again and again.
fn kinds_of_queries(criterion: &mut Criterion) {
    let snapshot = kinds::snapshot();
    let mut out = Vec::with_capacity(BUFFER_OCTETS);
    let mut group = criterion.benchmark_group("kind");
    for kind in kinds::kinds() {
        let asked = kind.asked(Instant::now());
        out.clear();
        let verdict = decide(&snapshot, &asked, &kind.request, &mut out, &mut Silent);
        assert_eq!(kinds::said(verdict, &out), kind.gets, "{}", kind.name);
        group.bench_function(kind.name, |bencher| {
            bencher.iter(|| {
                out.clear();
                let request = black_box(&*kind.request);
                black_box(decide(&snapshot, black_box(&asked), request, &mut out, &mut Silent))
            });
        });
    }
    group.finish();
}

/// What drawing a query costs: it is part of all figures below.
fn drawing(criterion: &mut Criterion) {
    let mut draw = Draw::new(Ask::Listed, Size { names: 100_000, ..SMALL }, None);
    criterion.bench_function("drawing a query, nothing else", |bencher| {
        bencher.iter(|| {
            black_box(draw.next());
        });
    });
}

/// The same queries over tables of each size.
fn grow(
    criterion: &mut Criterion,
    what: &str,
    counts: &[u32],
    size: impl Fn(u32) -> Size,
    asks: &[Ask],
) {
    let mut out = Vec::with_capacity(BUFFER_OCTETS);
    let mut group = criterion.benchmark_group(what);
    for &count in counts {
        let size = size(count);
        let mut snapshot = None;
        for &ask in asks {
            for (drawn, only) in [("few", Some(HOT)), ("all", None)] {
                let id = BenchmarkId::new(format!("{ask:?}, of {drawn}"), count);
                group.bench_function(id, |bencher| {
                    // Large ones are built only when their turn comes, if ever.
                    let snapshot = snapshot.get_or_insert_with(|| growth::snapshot(size));
                    let mut draw = Draw::new(ask, size, only);
                    bencher.iter(|| one(snapshot, ask, &mut draw, &mut out));
                });
            }
        }
    }
    group.finish();
}

fn one(snapshot: &Snapshot, ask: Ask, draw: &mut Draw, out: &mut Vec<u8>) {
    out.clear();
    let (request, asked) = draw.next();
    let verdict = decide(snapshot, &asked, request, out, &mut Silent);
    assert!(ask.is_met_by(black_box(verdict)), "{ask:?}: {verdict:?}");
}
