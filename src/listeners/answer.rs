//! What the listeners need of an engine, so that tests can put a small one in its place.

use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use crate::config::Limits;
use crate::engine::{Asked, Snapshot, Verdict, Worker};

/// Octets of a query in, octets of its answer out.
pub trait Answer: 'static {
    /// The configuration in force.
    type Snapshot: 'static;

    /// Loads it; called once for each batch.
    fn snapshot(&self) -> impl Deref<Target = Arc<Self::Snapshot>>;

    /// Its bounds.
    fn limits(snapshot: &Self::Snapshot) -> Limits;

    /// Decides at once; appends a reply to `out` when the verdict is one.
    fn answer(
        self: &Rc<Self>,
        snapshot: &Arc<Self::Snapshot>,
        asked: &Asked,
        request: &[u8],
        out: &mut Vec<u8>,
    ) -> Verdict;

    /// Finishes what `answer` said to forward: appends a reply to `out`. Ends by itself in bounded
    /// time; the listeners never cut it short.
    fn resolve(
        self: &Rc<Self>,
        snapshot: &Arc<Self::Snapshot>,
        asked: &Asked,
        request: &[u8],
        out: &mut Vec<u8>,
    ) -> impl Future<Output = ()>;
}

impl Answer for Worker {
    type Snapshot = Snapshot;

    fn snapshot(&self) -> impl Deref<Target = Arc<Snapshot>> {
        self.snapshot()
    }

    fn limits(snapshot: &Snapshot) -> Limits {
        snapshot.limits
    }

    fn answer(
        self: &Rc<Self>,
        snapshot: &Arc<Snapshot>,
        asked: &Asked,
        request: &[u8],
        out: &mut Vec<u8>,
    ) -> Verdict {
        Worker::answer(self, snapshot, asked, request, out)
    }

    fn resolve(
        self: &Rc<Self>,
        snapshot: &Arc<Snapshot>,
        asked: &Asked,
        request: &[u8],
        out: &mut Vec<u8>,
    ) -> impl Future<Output = ()> {
        Worker::resolve(self, snapshot, asked, request, out)
    }
}
