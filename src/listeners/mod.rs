//! Clients' sockets: UDP in batches, TCP as RFC 7766 wants it.
//!
//! Owns how messages arrive and leave, and every bound on that: connections, buffers, time. Refuses
//! to know what a message says: it hands octets to an [`Answer`] and sends what comes back.
//!
//! Each worker thread calls [`serve`] with its own sockets; all share one [`Shared`].
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod accept;
mod answer;
mod clocks;
mod connection;
mod connections;
mod context;
mod frames;
mod late;
mod late_udp;
mod outsiders;
mod shutdown;
mod tally;
#[cfg(test)]
mod tests;
mod udp;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout_at;

pub use answer::{Admission, Answer};
pub use connections::Connections;
use context::Context;
#[cfg(fuzzing)]
pub use frames::read_frames;
pub use outsiders::AT_ONCE as REFUSED_AT_ONCE;
pub use shutdown::{Shutdown, Stopper};
pub use tally::Tally;

use crate::config::limits::MAX_LISTENERS;
pub use crate::sys::BindError;
use crate::sys::{self, ScopedAddress};

/// All sockets of all workers, open.
#[derive(Debug)]
pub struct Bound {
    /// The addresses bound, in the order given; port 0 replaced by the port chosen.
    pub addresses: Vec<SocketAddr>,
    /// Addresses that no interface has yet, or whose interface is not there yet.
    pub missing: Vec<ScopedAddress>,
    /// One for each worker.
    pub workers: Vec<Sockets>,
}

/// Sockets that come to a worker while it serves others.
#[derive(Debug)]
pub struct Later(mpsc::Receiver<Sockets>);

/// Gives a worker more sockets to serve.
#[derive(Debug)]
pub struct Giver(mpsc::Sender<Sockets>);

impl Later {
    /// A pair. As many may wait as there are addresses.
    #[must_use]
    pub fn new() -> (Giver, Self) {
        let (sender, receiver) = mpsc::channel(MAX_LISTENERS);
        (Giver(sender), Self(receiver))
    }
}

impl Giver {
    /// Hands the sockets over. Returns whether the worker will serve them: not one that has ended.
    pub fn give(&self, sockets: Sockets) -> bool {
        self.0.try_send(sockets).is_ok()
    }
}

/// One worker's sockets. May move to its thread; [`serve`] takes it there.
#[derive(Default, Debug)]
pub struct Sockets {
    udp: Vec<sys::UdpSocket>,
    tcp: Vec<std::net::TcpListener>,
}

/// What the workers share.
#[derive(Default, Debug)]
pub struct Shared {
    /// The open connections, and who holds how many.
    pub connections: Connections,
    /// What happened.
    pub tally: Tally,
}

/// Opens UDP and TCP on every address that can be had, for `workers` threads. `freebind` takes
/// addresses that no interface has.
///
/// # Errors
/// The first address that cannot be had now or later, with what to do about it.
pub fn bind(
    addresses: &[ScopedAddress],
    workers: usize,
    freebind: bool,
) -> Result<Bound, BindError> {
    let sys::Opened { listeners, missing } = sys::bind(addresses, workers, freebind)?;
    Ok(Bound { missing, ..shared_out(listeners, workers) })
}

/// Opens UDP and TCP on `address`, one of `all` that was missing before.
///
/// # Errors
/// Why it cannot be had now.
pub fn bind_late(
    address: &ScopedAddress,
    all: &[ScopedAddress],
    workers: usize,
    freebind: bool,
) -> Result<Bound, BindError> {
    Ok(shared_out(vec![sys::bind_late(address, all, workers, freebind)?], workers))
}

/// Gives each worker its sockets of each address.
fn shared_out(listeners: Vec<sys::Listeners>, workers: usize) -> Bound {
    let mut sockets: Vec<Sockets> = Vec::new();
    sockets.resize_with(workers.max(1), Sockets::default);
    let mut addresses = Vec::new();
    for listeners in listeners {
        addresses.push(listeners.address);
        let pairs = listeners.udp.into_iter().zip(listeners.tcp);
        for (worker, (udp, tcp)) in sockets.iter_mut().zip(pairs) {
            worker.udp.push(udp);
            worker.tcp.push(tcp);
        }
    }
    Bound { addresses, missing: Vec::new(), workers: sockets }
}

/// Serves one worker's sockets, and those that come `later`, until `shutdown` begins, then lets what
/// is under way finish, at most until the deadline that `shutdown` brings. What is not finished then
/// ends with the thread's `LocalSet`.
///
/// Must run inside a [`tokio::task::LocalSet`] on a current-thread runtime with I/O and time.
///
/// # Errors
/// A socket that the runtime does not take; nothing was served then.
pub async fn serve<A: Answer>(
    sockets: Sockets,
    mut later: Later,
    worker: Rc<A>,
    shared: Arc<Shared>,
    mut shutdown: Shutdown,
) -> io::Result<()> {
    let context = Rc::new(Context::new(worker, shared, shutdown.clone()));
    let mut tasks = JoinSet::new();
    sockets.serve(&context, &mut tasks)?;
    let deadline = loop {
        tokio::select! {
            deadline = shutdown.begun() => break deadline,
            Some(sockets) = later.0.recv() => {
                if let Err(error) = sockets.serve(&context, &mut tasks) {
                    tracing::error!("an address that came later cannot be served: {error}");
                }
            }
        }
    };
    // Between two batches and between two connections: that is where the tasks can be cut.
    tasks.shutdown().await;
    if timeout_at(deadline, context.in_flight.drained()).await.is_err() {
        tracing::warn!("stopped before every answer was sent");
    }
    Ok(())
}

impl Sockets {
    /// Begins to serve each of them.
    fn serve<A: Answer>(self, context: &Rc<Context<A>>, tasks: &mut JoinSet<()>) -> io::Result<()> {
        for socket in self.udp {
            let socket = Rc::new(late_udp::Socket::new(socket)?);
            let context = Rc::clone(context);
            let start = move || udp::serve(Rc::clone(&socket), Rc::clone(&context));
            tasks.spawn_local(keep_running("UDP", start));
        }
        for listener in self.tcp {
            let listener = Rc::new(TcpListener::from_std(listener)?);
            let context = Rc::clone(context);
            let start = move || accept::serve(Rc::clone(&listener), Rc::clone(&context));
            tasks.spawn_local(keep_running("TCP", start));
        }
        Ok(())
    }
}

/// Runs a listening task for ever. One that panics loses the batch in its hands; without this it
/// would also silence its socket, and with it a share of all clients.
async fn keep_running<F>(what: &str, start: impl Fn() -> F)
where
    F: Future<Output = ()> + 'static,
{
    loop {
        // A set of one, because dropping it ends the task.
        let mut task = JoinSet::new();
        task.spawn_local(start());
        match task.join_next().await {
            Some(Err(error)) if error.is_panic() => {
                tracing::error!("a {what} listener failed, which is a bug; it goes on");
            }
            // Only a runtime that ends makes them return.
            _ => return,
        }
    }
}
