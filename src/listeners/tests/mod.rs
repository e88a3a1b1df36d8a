//! Real sockets on loopback in front of a small engine.

mod late;
mod tcp;
mod udp;

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::Instant;

use super::*;
use crate::config::Limits;
use crate::engine::{Asked, Outcome, Silence, Verdict};

/// Wide enough that no test meets a bound that it does not set.
pub(super) const LIMITS: Limits = Limits {
    upstream_in_flight: 100,
    workers: 1,
    in_flight: 1_000,
    tcp_connections: 100,
    tcp_connections_per_client: 100,
    tcp_pipelined: 100,
    tcp_idle: Duration::from_secs(60),
    tcp_message: Duration::from_secs(60),
};

/// Short enough for a test to wait for, long enough not to end before the test's own steps.
const SHORT: Duration = Duration::from_millis(150);
/// Nothing that a test waits for takes that long.
const PATIENCE: Duration = Duration::from_secs(10);

/// Clients outside `[access]`.
const REFUSED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);
const CLOSED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 67);
/// What [`Fake`] needs of a query at most.
const KEPT: usize = 1_000;

/// Does what the first octet says:
/// `e` echo, `d` drop, `b` an answer of 60,000 octets, `w` wait until the test releases it, then
/// echo, `l` wait, then an answer of 65,535 octets that begins with the query, `p` panic, `q` wait,
/// then panic.
struct Fake {
    limits: Arc<Limits>,
    waiting: RefCell<Vec<(Vec<u8>, oneshot::Sender<()>)>>,
    seen: RefCell<Vec<Asked>>,
    /// Nothing waits any more.
    is_open: Cell<bool>,
    /// Queries resolved, each time that one was.
    resolved: Cell<usize>,
}

impl Fake {
    fn new(limits: Limits) -> Self {
        Self {
            limits: Arc::new(limits),
            waiting: RefCell::default(),
            seen: RefCell::default(),
            is_open: Cell::default(),
            resolved: Cell::default(),
        }
    }

    /// Lets the query `request` go on.
    async fn release(&self, request: &[u8]) {
        self.until_waiting(request).await;
        let mut waiting = self.waiting.borrow_mut();
        let at = waiting.iter().position(|(query, _)| query == request).unwrap();
        waiting.remove(at).1.send(()).unwrap();
    }

    /// Lets `count` waiting queries go on at once, and all that follow without waiting.
    async fn open(&self, count: usize) {
        until(|| self.waiting.borrow().len() == count).await;
        self.is_open.set(true);
        for (_, release) in self.waiting.take() {
            release.send(()).unwrap();
        }
    }

    async fn until_waiting(&self, request: &[u8]) {
        until(|| self.waiting.borrow().iter().any(|(query, _)| query == request)).await;
    }
}

impl Answer for Fake {
    type Snapshot = Limits;

    fn snapshot(&self) -> impl Deref<Target = Arc<Limits>> {
        &self.limits
    }

    fn limits(snapshot: &Limits) -> Limits {
        *snapshot
    }

    fn admission(_: &Limits, client: IpAddr) -> Admission {
        match client {
            IpAddr::V4(client) if client == REFUSED => Admission::Refused,
            IpAddr::V4(client) if client == CLOSED => Admission::Closed,
            _ => Admission::Served,
        }
    }

    fn kept(request: &[u8]) -> Vec<u8> {
        request.get(..KEPT).unwrap_or(request).to_vec()
    }

    fn answer(
        self: &Rc<Self>,
        _: &Arc<Limits>,
        asked: &Asked,
        request: &[u8],
        out: &mut Vec<u8>,
    ) -> Verdict {
        self.seen.borrow_mut().push(*asked);
        match request.first() {
            Some(b'e') => out.extend_from_slice(request),
            Some(b'b') => out.resize(out.len() + 60_000, b'b'),
            Some(b'w' | b'q' | b'l') => {
                // What a careless engine leaves behind must not be sent.
                out.extend_from_slice(b"left over");
                return Verdict::Forward;
            }
            Some(b'p') => panic!("as asked"),
            _ => {
                out.extend_from_slice(b"left over");
                return Verdict::Drop(Silence::NotAQuery);
            }
        }
        Verdict::Reply(Outcome::Private)
    }

    async fn resolve(
        self: &Rc<Self>,
        _: &Arc<Limits>,
        _: &Asked,
        request: &[u8],
        out: &mut Vec<u8>,
    ) {
        if !self.is_open.get() {
            let (release, released) = oneshot::channel();
            self.waiting.borrow_mut().push((request.to_vec(), release));
            released.await.unwrap();
        }
        self.resolved.set(self.resolved.get() + 1);
        assert_ne!(request.first(), Some(&b'q'), "as asked");
        let begin = out.len();
        out.extend_from_slice(request);
        if request.first() == Some(&b'l') {
            out.resize(begin + 65_535, b'l');
        }
    }
}

/// A worker that serves on one address.
struct Server {
    address: SocketAddr,
    fake: Rc<Fake>,
    shared: Arc<Shared>,
    stopper: Stopper,
    giver: Giver,
    running: JoinHandle<io::Result<()>>,
}

impl Server {
    fn start(ip: &str, limits: Limits) -> Self {
        let address = SocketAddr::new(ip.parse().unwrap(), 0);
        let mut bound = bind(&[address.into()], 1, false).unwrap();
        let fake = Rc::new(Fake::new(limits));
        let shared = Arc::new(Shared::default());
        let (stopper, shutdown) = Stopper::new();
        let sockets = bound.workers.remove(0);
        let (giver, later) = Later::new();
        let served = serve(sockets, later, Rc::clone(&fake), Arc::clone(&shared), shutdown);
        let running = spawn_local(served);
        Self { address: bound.addresses[0], fake, shared, stopper, giver, running }
    }

    /// Ends the worker and waits for it.
    async fn stop_by(self, deadline: Instant) {
        self.stopper.stop(deadline);
        in_time(self.running).await.unwrap().unwrap();
    }
}

/// Runs a test where `serve` can run.
fn local<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test)
}

async fn in_time<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("this takes too long")
}

async fn until(mut holds: impl FnMut() -> bool) {
    in_time(async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}
