//! The listener and its connections: how many, how long, how large.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::{debug, error, warn};

use super::routes;
use crate::engine::Shared;
use crate::sys::{self, BindError, ScopedAddress};

/// Connections at once; a few people and scrapers ask here. For one more, the server closes the
/// oldest one with an incomplete request, or else the oldest of all: a new request never waits.
pub const MAX_CONNECTIONS: usize = 64;
/// Connections that wait in the kernel. Over it the kernel drops a client's SYN, and the client
/// waits a second for the next: so several times [`MAX_CONNECTIONS`], for a burst.
const BACKLOG: i32 = 512;
/// From a connection's begin to the end of its request's head.
const HEAD_TIME: Duration = Duration::from_secs(2);
/// From a connection's begin to its end; each carries one request.
const WHOLE_TIME: Duration = Duration::from_secs(10);
/// Octets of a request's head, which is also the least that hyper can be told. The longest name is
/// 1,020 characters with every octet escaped, three times that when the escapes are encoded.
const MAX_HEAD_OCTETS: usize = 8 << 10;
/// Header lines; a browser sends some twenty.
const MAX_HEADERS: usize = 64;
/// After a failed `accept`: mostly descriptors are short, and trying at once would only burn time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The open listener.
#[derive(Debug)]
pub struct Bound {
    /// Where it listens; port 0 replaced by the port chosen.
    pub address: SocketAddr,
    listener: std::net::TcpListener,
}

/// Opens the listener. `freebind` takes an address that no interface has.
///
/// # Errors
/// Why the address cannot be had, and what to do about it.
pub fn bind(address: &ScopedAddress, freebind: bool) -> Result<Bound, BindError> {
    let listener = sys::bind_tcp(address, BACKLOG, freebind)?;
    // Only a socket that is none fails here.
    let address = listener.local_addr().unwrap_or_else(|_| address.reachable());
    Ok(Bound { address, listener })
}

/// Serves until it is dropped, and then ends all connections.
///
/// # Errors
/// A listener that the runtime does not take; nothing was served then.
pub async fn serve(bound: Bound, shared: Arc<Shared>) -> io::Result<()> {
    let listener = TcpListener::from_std(bound.listener)?;
    let router = routes::router(shared);
    let mut connections = Connections::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let whole = Arc::default();
                let served = connection(stream, router.clone(), Arc::clone(&whole));
                connections.begin(served, whole);
            }
            Err(error) => {
                warn!("listen.admin cannot accept a connection: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Those that are served now; dropped, all end.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    /// In the order in which they came; at most [`MAX_CONNECTIONS`].
    open: VecDeque<Open>,
}

struct Open {
    task: AbortHandle,
    /// The head of its request has come.
    is_whole: Arc<AtomicBool>,
}

impl Connections {
    fn begin(
        &mut self,
        served: impl Future<Output = ()> + Send + 'static,
        is_whole: Arc<AtomicBool>,
    ) {
        while let Some(ended) = self.tasks.try_join_next() {
            if ended.is_err_and(|error| error.is_panic()) {
                error!("an admin request failed, which is a bug; the others go on");
            }
        }
        self.open.retain(|open| !open.task.is_finished());
        if self.open.len() >= MAX_CONNECTIONS {
            let is_half = |open: &Open| !open.is_whole.load(Ordering::Relaxed);
            let oldest = self.open.iter().position(is_half).unwrap_or(0);
            if let Some(displaced) = self.open.remove(oldest) {
                displaced.task.abort();
            }
        }
        let task = self.tasks.spawn(served);
        self.open.push_back(Open { task, is_whole });
    }
}

/// Serves requests by the router, and says when one has come.
struct Heard {
    router: TowerToHyperService<Router>,
    is_whole: Arc<AtomicBool>,
}

impl Service<Request<Incoming>> for Heard {
    type Response = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Response;
    type Error = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Error;
    type Future = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Future;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.is_whole.store(true, Ordering::Relaxed);
        self.router.call(request)
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    router: Router,
    is_whole: Arc<AtomicBool>,
) {
    let service = Heard { router: TowerToHyperService::new(router), is_whole };
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD_OCTETS)
        .max_headers(MAX_HEADERS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(WHOLE_TIME, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!("admin connection: {error}"),
        Err(_) => debug!("admin connection: it took longer than {WHOLE_TIME:?}"),
    }
}

/// Serves one connection, as [`serve`] does for each. For the fuzz target `admin`.
#[cfg(fuzzing)]
pub async fn serve_connection(stream: tokio::io::DuplexStream, shared: Arc<Shared>) {
    connection(stream, routes::router(shared), Arc::default()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn over_the_bound_the_oldest_half_request_gives_way_and_then_the_oldest() {
        let mut connections = Connections::default();
        let mut flags = Vec::new();
        let mut begin = |connections: &mut Connections| {
            let is_whole: Arc<AtomicBool> = Arc::default();
            flags.push(Arc::clone(&is_whole));
            connections.begin(std::future::pending(), is_whole);
            flags.len()
        };
        for _ in 0..MAX_CONNECTIONS {
            begin(&mut connections);
        }
        let holds = |connections: &Connections, flag: &Arc<AtomicBool>| {
            connections.open.iter().any(|open| Arc::ptr_eq(&open.is_whole, flag))
        };
        let oldest = Arc::clone(&connections.open[0].is_whole);
        let second = Arc::clone(&connections.open[1].is_whole);
        oldest.store(true, Ordering::Relaxed);
        begin(&mut connections);
        assert!(holds(&connections, &oldest) && !holds(&connections, &second));
        connections.open.iter().for_each(|open| open.is_whole.store(true, Ordering::Relaxed));
        begin(&mut connections);
        assert!(!holds(&connections, &oldest));
        assert_eq!(connections.open.len(), MAX_CONNECTIONS);
        // Those that have ended are no longer counted.
        connections.open.iter().for_each(|open| open.task.abort());
        while connections.tasks.join_next().await.is_some() {}
        begin(&mut connections);
        assert_eq!(connections.open.len(), 1);
    }
}
