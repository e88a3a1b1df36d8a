//! The threads that answer.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use tokio::runtime;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::RunError;
use super::descriptors;
use crate::config::Config;
use crate::engine::{self, Snapshot, Worker};
use crate::forward::{Epoch, Forwarder};
use crate::listeners::{self, Bound, Giver, Later, Shutdown, Sockets, Stopper};
use crate::metrics::{Counters, Totals};
use crate::probes;

/// All worker threads, running.
pub(super) struct Workers {
    addresses: Vec<SocketAddr>,
    shared: Arc<engine::Shared>,
    listeners: Arc<listeners::Shared>,
    epoch: Arc<Epoch>,
    counters: Vec<Arc<Counters>>,
    threads: Vec<JoinHandle<()>>,
    /// One for each thread.
    givers: Vec<Giver>,
    stopper: Stopper,
    ended: mpsc::Receiver<()>,
}

/// What a thread takes with it.
struct Luggage {
    sockets: Sockets,
    later: Later,
    shared: Arc<engine::Shared>,
    listeners: Arc<listeners::Shared>,
    epoch: Arc<Epoch>,
    counters: Arc<Counters>,
    shutdown: Shutdown,
}

impl Workers {
    /// Starts a thread for each share of the open sockets.
    pub(super) fn start(bound: Bound, snapshot: Snapshot) -> Result<Self, RunError> {
        let shared = Arc::new(engine::Shared { snapshot: ArcSwap::from_pointee(snapshot) });
        let (stopper, shutdown) = Stopper::new();
        let (alive, ended) = mpsc::channel(1);
        let mut workers = Self {
            addresses: bound.addresses,
            shared,
            listeners: Arc::default(),
            epoch: Arc::default(),
            counters: Vec::new(),
            threads: Vec::new(),
            givers: Vec::new(),
            stopper,
            ended,
        };
        for (index, sockets) in bound.workers.into_iter().enumerate() {
            let (giver, later) = Later::new();
            workers.givers.push(giver);
            let luggage = Luggage {
                sockets,
                later,
                shared: Arc::clone(&workers.shared),
                listeners: Arc::clone(&workers.listeners),
                epoch: Arc::clone(&workers.epoch),
                counters: Arc::default(),
                shutdown: shutdown.clone(),
            };
            workers.counters.push(Arc::clone(&luggage.counters));
            workers.threads.push(spawn(index, luggage, alive.clone())?);
        }
        Ok(workers)
    }

    /// The addresses served.
    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves further addresses from now on.
    pub(super) fn add(&mut self, bound: Bound) {
        self.addresses.extend(bound.addresses);
        for (giver, sockets) in self.givers.iter().zip(bound.workers) {
            // One that has ended ends the process anyway.
            let _gone = giver.give(sockets);
        }
    }

    /// How many threads.
    pub(super) fn len(&self) -> usize {
        self.threads.len()
    }

    /// Raises the limit of open files to what `config` needs with these threads and addresses.
    pub(super) fn make_room(&self, config: &Config) {
        // Those that may still come count too.
        let addresses = self.addresses.len().max(config.listen.dns.len());
        let workers = self.threads.len();
        descriptors::make_room(config, workers, addresses, &self.listeners);
    }

    /// What the engines share.
    pub(super) fn shared(&self) -> &Arc<engine::Shared> {
        &self.shared
    }

    /// The network that their sockets towards upstreams belong to.
    pub(super) fn epoch(&self) -> &Arc<Epoch> {
        &self.epoch
    }

    /// Waits until a thread ends, which none does before [`Self::stop`].
    pub(super) async fn ended(&mut self) {
        self.ended.recv().await;
    }

    /// The sums of all counters, as `label=value` words.
    pub(super) fn totals(&self) -> String {
        let Self { counters, listeners, .. } = self;
        let connections = listeners.connections.open();
        let snapshot = self.shared.snapshot.load();
        let endpoints = snapshot.zones().tally();
        format!("{} tcp-open={connections} {} {endpoints}", Totals(counters), listeners.tally)
    }

    /// Whether a flood of TCP connections is over since the last call.
    pub(super) fn flood_has_ebbed(&self) -> bool {
        self.listeners.connections.has_ebbed()
    }

    /// A line about each upstream in force, once each.
    pub(super) fn upstreams(&self) -> Vec<String> {
        let snapshot = self.shared.snapshot.load();
        snapshot.rules.reports().iter().map(ToString::to_string).collect()
    }

    /// A line about each address of an endpoint that is probed.
    pub(super) fn endpoints(&self) -> Vec<String> {
        probes::reports(self.shared.snapshot.load().zones()).collect()
    }

    /// Ends all threads, at the latest at `deadline`; gives the totals.
    pub(super) fn stop(mut self, deadline: Instant) -> Result<String, RunError> {
        self.stopper.stop(deadline);
        for thread in std::mem::take(&mut self.threads) {
            thread.join().map_err(|_| RunError::WorkerEnded)?;
        }
        Ok(self.totals())
    }
}

fn spawn(index: usize, luggage: Luggage, alive: mpsc::Sender<()>) -> io::Result<JoinHandle<()>> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
        let _tells = Farewell(alive);
        let Luggage { sockets, later, shared, listeners, epoch, counters, shutdown } = luggage;
        let worker = Worker::new(shared, Forwarder::within(epoch), counters);
        let tasks = LocalSet::new();
        let served = listeners::serve(sockets, later, Rc::new(worker), listeners, shutdown);
        if let Err(error) = tasks.block_on(&runtime, served) {
            tracing::error!("worker {index} cannot serve its sockets: {error}");
        }
    })
}

/// Tells that a thread ended, by a panic too.
struct Farewell(mpsc::Sender<()>);

impl Drop for Farewell {
    fn drop(&mut self) {
        // Full means that somebody has told already.
        let _told = self.0.try_send(());
    }
}
