//! A worker with an upstream of the test's own on loopback.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::net::UdpSocket;
use tokio::runtime;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::Instant;

use super::*;
use crate::config::Forward;
use crate::config::testing::{forward_all, plain};
use crate::dnssec::Validator;
use crate::forward::Forwarder;
use crate::metrics::{Counters, Event};
use crate::upstream::MAX_TIMEOUT;
use crate::wire::{Query, Rcode};

/// Answers queries: the reply's octets, its id aside; `None` for silence.
pub(super) type Answering = Rc<dyn Fn(&Query<'_>) -> Option<Vec<u8>>>;

/// The questions that an upstream heard.
type Heard = Rc<RefCell<Vec<(Name, Rtype)>>>;

/// A worker whose rule asks an upstream that answers by `answering`.
pub(super) struct World {
    pub(super) worker: Rc<Worker>,
    pub(super) counters: Arc<Counters>,
    /// Questions that each upstream heard.
    heard: Vec<Heard>,
}

impl World {
    /// What a client is told; over TCP, so that nothing is cut off.
    pub(super) async fn ask(&self, request: &[u8]) -> Vec<u8> {
        let asked = Asked { transport: Transport::Tcp, ..asked("10.0.0.1") };
        let snapshot = Arc::clone(&self.worker.snapshot());
        let mut out = Vec::new();
        if self.worker.answer(&snapshot, &asked, request, &mut out) == Verdict::Forward {
            self.worker.resolve(&snapshot, &asked, request, &mut out).await;
        }
        out
    }

    pub(super) fn counted(&self, event: Event) -> u64 {
        self.counters.total(event)
    }

    /// How often the upstreams were asked for this type.
    pub(super) fn heard(&self, qtype: Rtype) -> usize {
        (0..self.heard.len()).map(|upstream| self.heard_by(upstream, qtype)).sum()
    }

    /// How often one of them was, by its place in the rule.
    pub(super) fn heard_by(&self, upstream: usize, qtype: Rtype) -> usize {
        self.heard[upstream].borrow().iter().filter(|(_, heard)| *heard == qtype).count()
    }
}

/// Runs `test` with a worker of a configuration that `change` made.
pub(super) fn in_world<F: Future<Output = ()>>(
    answering: Answering,
    change: impl FnOnce(&mut Config, &mut Forward),
    test: impl FnOnce(World) -> F,
) {
    in_world_of(vec![answering], change, test);
}

/// The same with several upstreams.
pub(super) fn in_world_of<F: Future<Output = ()>>(
    all_answering: Vec<Answering>,
    change: impl FnOnce(&mut Config, &mut Forward),
    test: impl FnOnce(World) -> F,
) {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, async {
        let mut sockets = Vec::new();
        for _ in &all_answering {
            sockets.push(UdpSocket::bind("127.0.0.1:0").await.expect("a socket"));
        }
        let mut config = minimal();
        let mut rule = forward_all();
        let address = |socket: &UdpSocket| plain(socket.local_addr().expect("an address"));
        rule.upstreams = sockets.iter().map(address).collect();
        change(&mut config, &mut rule);
        config.forwards.insert(0, rule);
        let mut snapshot = snapshot(&config);
        expect_slow_answers(&snapshot);
        let validator = Validator::new(&config.dnssec, &config.private_links);
        snapshot.validator = Arc::new(validator.expect("trust anchors"));
        let shared = Shared { snapshot: ArcSwap::from_pointee(snapshot) };
        let (counters, mut heard) = (Arc::<Counters>::default(), Vec::new());
        let worker =
            Rc::new(Worker::new(Arc::new(shared), Forwarder::new(), Arc::clone(&counters)));
        for (socket, answering) in sockets.into_iter().zip(all_answering) {
            let hears = Heard::default();
            heard.push(Rc::clone(&hears));
            spawn_local(serve(socket, answering, hears));
        }
        test(World { worker, counters, heard }).await;
    });
}

async fn serve(socket: UdpSocket, answering: Answering, hears: Heard) {
    let mut octets = [0; 4_096];
    while let Ok((len, from)) = socket.recv_from(&mut octets).await {
        let query = Query::parse(&octets[..len]).expect("we send queries");
        hears.borrow_mut().push((query.qname.to_name(), query.qtype));
        let Some(mut reply) = answering(&query) else { continue };
        reply[..2].copy_from_slice(&octets[..2]);
        // The question as it was sent, in the case of its letters.
        let name_end = 12 + query.qname.as_wire().len();
        if reply.len() >= name_end {
            reply[12..name_end].copy_from_slice(&octets[12..name_end]);
        }
        socket.send_to(&reply, from).await.expect("sent");
    }
}

/// Makes upstreams known as slow: tests count what they are asked, and a machine with other things to
/// do must not look like a lost packet.
fn expect_slow_answers(snapshot: &Snapshot) {
    let now = Instant::now();
    let begun = now.checked_sub(MAX_TIMEOUT).expect("a machine that has run that long");
    for rule in snapshot.rules.iter() {
        for target in rule.targets().iter() {
            target.upstream().note_answer(Rcode::NOERROR, begun, now);
        }
    }
}
