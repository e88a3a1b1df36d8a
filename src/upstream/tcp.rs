//! Queries over TCP, on hickory-resolver's connections.
//!
//! The one file that knows hickory's types. hickory dials, frames, multiplexes by id and reports a
//! dead connection; what it decodes is thrown away, and the reply's own octets are read by
//! [`crate::wire`]. One limit comes with it: a reply that hickory cannot decode is dropped there, so
//! such a try ends with the budget.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::tcp::TcpClientStream;
use hickory_resolver::net::xfer::{DnsExchange, DnsHandle, FirstAnswer};
use hickory_resolver::proto::op::{DnsRequest, DnsRequestOptions, Message};
use hickory_resolver::{ConnectionProvider, PoolContext, TlsConfig};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::TryError;
use super::query::{self, Edns};
use super::server::{Upstream, count};
use crate::wire::Question;

/// Queries that wait on one connection. Over hickory's own bound it would call the connection
/// failed, so ours is the smaller one.
const WAITING: usize = 512;
/// hickory's bound; it counts cancelled queries until its next turn.
const HICKORY_WAITING: usize = 4 * WAITING;
/// hickory's own time limit for dialling and for a query; ours, the budget, ends before.
const HICKORY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a connection must be silent before giving up on a query closes it.
const SILENCE: Duration = Duration::from_millis(500);
/// A reused connection may have died unseen; a fresh one may not.
const ATTEMPTS: usize = 2;

/// One worker's connection to one server.
pub(super) struct Tcp {
    upstream: Arc<Upstream>,
    /// Holds the tasks that drive the connections: they end with it.
    provider: TokioRuntimeProvider,
    current: RefCell<Option<Rc<Connection>>>,
}

#[derive(Default)]
struct Connection {
    /// Set by the first query that dials; others wait for it.
    exchange: OnceCell<DnsExchange<TokioRuntimeProvider>>,
    waiting: Cell<usize>,
    replies: Cell<u64>,
}

/// A query's place on a connection.
struct Seat<'a> {
    tcp: &'a Tcp,
    connection: Rc<Connection>,
    since: Instant,
    replies_before: u64,
    done: bool,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection.waiting.set(connection.waiting.get().saturating_sub(1));
        // A peer that went away without a word would swallow queries until the kernel gives up,
        // a quarter of an hour later.
        if !self.done
            && connection.replies.get() == self.replies_before
            && self.since.elapsed() >= SILENCE
        {
            self.tcp.forget(connection);
        }
    }
}

impl Tcp {
    pub(super) fn new(upstream: Arc<Upstream>) -> Self {
        Self { upstream, provider: TokioRuntimeProvider::new(), current: RefCell::default() }
    }

    /// Sends the query and gives the octets of the reply; its id has been checked, nothing else.
    pub(super) async fn exchange(
        &self,
        question: &Question,
        edns: Edns,
    ) -> Result<Vec<u8>, TryError> {
        let mut octets = Vec::new();
        query::write(&mut octets, 0, question, edns);
        let request = Message::from_vec(&octets).map_err(|_| TryError::Garbled)?;
        let mut failure = TryError::Garbled;
        for _ in 0..ATTEMPTS {
            let mut seat = self.seat()?;
            let reused = seat.connection.exchange.initialized();
            let exchange = match self.dialled(&seat.connection).await {
                Ok(exchange) => exchange,
                Err(error) => {
                    seat.done = true;
                    self.forget(&seat.connection);
                    return Err(blame(&error));
                }
            };
            count(&self.upstream.counters.queries);
            count(&self.upstream.counters.tcp_queries);
            let request = DnsRequest::new(request.clone(), DnsRequestOptions::default());
            let outcome = exchange.send(request).first_answer().await;
            seat.done = true;
            match outcome {
                Ok(response) => {
                    let connection = &seat.connection;
                    connection.replies.set(connection.replies.get() + 1);
                    return Ok(response.into_parts().1);
                }
                Err(error) => {
                    self.forget(&seat.connection);
                    failure = blame(&error);
                    if !reused {
                        break;
                    }
                }
            }
        }
        Err(failure)
    }

    fn seat(&self) -> Result<Seat<'_>, TryError> {
        let mut current = self.current.borrow_mut();
        let connection = Rc::clone(current.get_or_insert_default());
        if connection.waiting.get() >= WAITING {
            return Err(TryError::Busy);
        }
        connection.waiting.set(connection.waiting.get() + 1);
        let replies_before = connection.replies.get();
        Ok(Seat { tcp: self, connection, since: Instant::now(), replies_before, done: false })
    }

    async fn dialled<'a>(
        &self,
        connection: &'a Connection,
    ) -> Result<&'a DnsExchange<TokioRuntimeProvider>, NetError> {
        let dial = || {
            count(&self.upstream.counters.tcp_dials);
            dial(self.provider.clone(), self.upstream.server().address())
        };
        connection.exchange.get_or_try_init(dial).await
    }

    /// The next query dials. Those who wait on `connection` may still get their replies.
    fn forget(&self, connection: &Rc<Connection>) {
        let mut current = self.current.borrow_mut();
        if current.as_ref().is_some_and(|kept| Rc::ptr_eq(kept, connection)) {
            *current = None;
        }
    }
}

async fn dial(
    provider: TokioRuntimeProvider,
    address: Option<SocketAddr>,
) -> Result<DnsExchange<TokioRuntimeProvider>, NetError> {
    let Some(address) = address else {
        return Err(io::Error::from(io::ErrorKind::AddrNotAvailable).into());
    };
    // A link-local address means nothing without its interface, which `new_connection` has no
    // argument for.
    if let SocketAddr::V6(scoped) = address
        && scoped.scope_id() != 0
    {
        let (timeout, waiting) = (HICKORY_TIMEOUT, Some(HICKORY_WAITING));
        return TcpClientStream::exchange(address, None, timeout, waiting, provider).await;
    }
    let mut options = ResolverOpts::default();
    options.timeout = HICKORY_TIMEOUT;
    options.max_active_requests = HICKORY_WAITING;
    let context = PoolContext::new(options, TlsConfig::new()?);
    let mut config = ConnectionConfig::tcp();
    config.port = address.port();
    provider.new_connection(address.ip(), &config, &context)?.await
}

fn blame(error: &NetError) -> TryError {
    match error {
        NetError::Io(error) => TryError::Unreachable(error.kind()),
        NetError::Timeout => TryError::Unreachable(io::ErrorKind::TimedOut),
        // The connection's task is gone, before or after it took the query.
        NetError::Busy | NetError::Message(_) => {
            TryError::Unreachable(io::ErrorKind::ConnectionReset)
        }
        _ => TryError::Garbled,
    }
}
