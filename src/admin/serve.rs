//! The listener and its connections: how many, how long, how large.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, error, warn};

use super::routes;
use crate::engine::Shared;
use crate::sys::{self, BindError};

/// Connections at once. People and a scraper or two ask here; more wait in the kernel's queue until
/// one of these ends, at the latest after [`WHOLE_TIME`].
const MAX_CONNECTIONS: usize = 16;
/// Connections that wait in the kernel.
const BACKLOG: i32 = 64;
/// From a connection's begin to the end of its request's head.
const HEAD_TIME: Duration = Duration::from_secs(5);
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

/// Opens the listener.
///
/// # Errors
/// Why the address cannot be had, and what to do about it.
pub fn bind(address: SocketAddr) -> Result<Bound, BindError> {
    let listener = sys::bind_tcp(address, BACKLOG)?;
    // Only a socket that is none fails here.
    let address = listener.local_addr().unwrap_or(address);
    Ok(Bound { address, listener })
}

/// Serves until it is dropped, and then ends all connections.
///
/// # Errors
/// A listener that the runtime does not take; nothing was served then.
pub async fn serve(bound: Bound, shared: Arc<Shared>) -> io::Result<()> {
    let listener = TcpListener::from_std(bound.listener)?;
    let router = routes::router(shared, bound.address);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    // The semaphore is never closed.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        while let Some(ended) = connections.try_join_next() {
            if ended.is_err_and(|error| error.is_panic()) {
                error!("an admin request failed, which is a bug; the others go on");
            }
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(connection(stream, router.clone(), place));
            }
            Err(error) => {
                warn!("listen.admin cannot accept a connection: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    Ok(())
}

async fn connection(stream: TcpStream, router: Router, _place: OwnedSemaphorePermit) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD_OCTETS)
        .max_headers(MAX_HEADERS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match timeout(WHOLE_TIME, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!("admin connection: {error}"),
        Err(_) => debug!("admin connection: it took longer than {WHOLE_TIME:?}"),
    }
}
