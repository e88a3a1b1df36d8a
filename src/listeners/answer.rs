//! What the listeners need of an engine, so that tests can put a small one in its place.

use std::net::IpAddr;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use crate::config::{Limits, Refused};
use crate::engine::{Asked, Snapshot, Verdict, Worker};
use crate::wire::Query;

/// Queries up to this many octets are kept as they came while they wait. Nearly all are shorter
/// (RFC 1035 §4.2.1), and to read them twice would cost more than it saves.
const KEPT_WHOLE_OCTETS: usize = 512;

/// What a client's connection gets, by the client's address alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// A place, and answers.
    Served,
    /// One answer, which refuses, and no place.
    Refused,
    /// Nothing.
    Closed,
}

/// Octets of a query in, octets of its answer out.
pub trait Answer: 'static {
    /// The configuration in force.
    type Snapshot: 'static;

    /// Loads it; called once for each batch.
    fn snapshot(&self) -> impl Deref<Target = Arc<Self::Snapshot>>;

    /// Its bounds.
    fn limits(snapshot: &Self::Snapshot) -> Limits;

    /// What a connection from `client` gets.
    fn admission(snapshot: &Self::Snapshot, client: IpAddr) -> Admission;

    /// The part of `request` that [`Self::resolve`] needs: it is kept while the query waits.
    fn kept(request: &[u8]) -> Vec<u8>;

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

    fn admission(snapshot: &Snapshot, client: IpAddr) -> Admission {
        match snapshot.refused {
            _ if snapshot.may_ask(client) => Admission::Served,
            Refused::Answer => Admission::Refused,
            Refused::Drop => Admission::Closed,
        }
    }

    fn kept(request: &[u8]) -> Vec<u8> {
        if request.len() <= KEPT_WHOLE_OCTETS {
            return request.to_vec();
        }
        Query::without_options(request)
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
