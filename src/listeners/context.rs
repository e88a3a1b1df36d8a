//! What the tasks of one worker thread have in common.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;

use super::late_udp::Idle;
use super::outsiders::Outsiders;
use super::{Answer, Shared, Shutdown};
use crate::engine::{Asked, Transport};
use crate::sys::Batch;

pub(super) struct Context<A: Answer> {
    pub(super) worker: Rc<A>,
    pub(super) shared: Arc<Shared>,
    pub(super) shutdown: Shutdown,
    /// What a stop waits for: late UDP answers and TCP connections.
    pub(super) in_flight: InFlight,
    /// One for all sockets: it is filled and emptied without waiting in between.
    pub(super) batch: RefCell<Batch>,
    /// What waits for the next late UDP answer.
    pub(super) idle: Idle<A>,
    /// Connections of clients outside `[access]`.
    pub(super) outsiders: Outsiders,
    rotation: Cell<u32>,
}

impl<A: Answer> Context<A> {
    pub(super) fn new(worker: Rc<A>, shared: Arc<Shared>, shutdown: Shutdown) -> Self {
        Self {
            worker,
            shared,
            shutdown,
            in_flight: InFlight::default(),
            batch: RefCell::new(Batch::new()),
            idle: Idle::default(),
            outsiders: Outsiders::default(),
            rotation: Cell::new(0),
        }
    }

    /// A query of `peer`, with the next turn of addresses.
    pub(super) fn asked(&self, peer: IpAddr, transport: Transport, now: Instant) -> Asked {
        let rotation = self.rotation.get();
        self.rotation.set(rotation.wrapping_add(1));
        Asked { client: peer.to_canonical(), transport, now, rotation }
    }
}

/// Counts what is under way on this thread.
#[derive(Clone, Default)]
pub(super) struct InFlight(Rc<State>);

#[derive(Default)]
struct State {
    count: Cell<usize>,
    none_left: Notify,
}

/// One piece of work; dropped when it is done, however it ends.
pub(super) struct Work(Rc<State>);

impl InFlight {
    pub(super) fn begin(&self) -> Work {
        self.0.count.set(self.0.count.get() + 1);
        Work(Rc::clone(&self.0))
    }

    /// Waits until nothing is under way. For one waiter.
    pub(super) async fn drained(&self) {
        while self.0.count.get() > 0 {
            self.0.none_left.notified().await;
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let left = self.0.count.get().saturating_sub(1);
        self.0.count.set(left);
        if left == 0 {
            self.0.none_left.notify_one();
        }
    }
}
