//! Queries over a connection: TCP, TLS, HTTP/2, QUIC or HTTP/3.
//!
//! One connection at a time, shared by all queries of a worker. A task of its own dials it, so that
//! a slow path's handshake may take longer than one query has, and closes it when nobody used it
//! for a while (RFC 7766 §6.2.3). What a server that went away without a word swallows is asked
//! again over a new connection within the same query; what one that hung up swallows, at once.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{SetOnce, oneshot};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::backoff::Backoff;
use super::case::Case;
use super::dial::{Channel, Dialler, Fault};
use super::failure::TryError;
use super::query::{self, Opt};
use super::server::{Upstream, count};
use crate::config::Scheme;
use crate::wire::Question;

/// Queries that wait on one connection. Azure lets a VM have 200 pending; over HTTP/2 and QUIC the
/// server's own bound, 100 often, makes the others wait.
pub(super) const WAITING: usize = 512;
/// A dial's bound, from the search for a host's address to the end of the handshakes. A SYN leaves
/// at 0 and 1 s, and would leave at 3 s; three round trips of 800 ms fit.
const DIAL: Duration = Duration::from_millis(2_500);
/// How long a connection must be silent while a query waits on it before another one is dialled:
/// twice as long as replies take there, and no shorter or longer than these.
const SILENCE: RangeInclusive<Duration> = Duration::from_millis(500)..=Duration::from_secs(2);
/// How long an unused connection stays open. NATs forget a TCP flow after 4 minutes (Azure) and
/// more; servers close earlier as they like.
const IDLE: Duration = Duration::from_secs(60);

/// One worker's connection to one server.
pub(super) struct Stream {
    shared: Rc<Shared>,
}

struct Shared {
    upstream: Arc<Upstream>,
    scheme: Scheme,
    dialler: Dialler,
    /// What new queries take.
    current: RefCell<Option<Rc<Connection>>>,
    backoff: RefCell<Backoff>,
    /// The address that was last reached.
    preferred: Cell<Option<SocketAddr>>,
    /// How long replies take: the slowest of late, or the dial before there was one.
    reply_time: Cell<Duration>,
}

struct Connection {
    /// Set when the dial has ended.
    outcome: SetOnce<Result<Channel, TryError>>,
    last_used: Cell<Instant>,
    last_reply: Cell<Option<Instant>>,
    /// When the first query was sent that no reply has come after.
    unanswered: Cell<Option<Instant>>,
    waiting: Cell<usize>,
    /// Dials it, and closes it when it is idle.
    keeper: RefCell<Option<AbortHandle>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.get_mut() {
            keeper.abort();
        }
    }
}

impl Connection {
    fn is_open(&self) -> bool {
        matches!(self.outcome.get(), Some(Ok(_)))
    }
}

/// A query's place on a connection.
struct Seat {
    shared: Rc<Shared>,
    connection: Rc<Connection>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let waiting = &self.connection.waiting;
        waiting.set(waiting.get().saturating_sub(1));
    }
}

impl Seat {
    /// Waits for the dial, sends the query, and gives the octets of the reply.
    async fn ask(self, query: &Rc<[u8]>) -> Result<Vec<u8>, Fault> {
        let connection = Rc::clone(&self.connection);
        if let Err(error) = connection.outcome.wait().await {
            // The reason has been noted.
            return Err(Fault::dead(*error, String::new()));
        }
        let (sender, receiver) = oneshot::channel();
        spawn_local(self.exchange(Rc::clone(query), sender));
        // It sends something unless the runtime ends.
        let gone = TryError::Unreachable(io::ErrorKind::ConnectionReset);
        receiver.await.unwrap_or_else(|_| Err(Fault::dead(gone, String::new())))
    }

    /// In a task of its own: the reply to a query that was given up is a sign of life all the same.
    async fn exchange(self, query: Rc<[u8]>, mut sender: oneshot::Sender<Result<Vec<u8>, Fault>>) {
        let Self { shared, connection } = &self;
        let Some(Ok(channel)) = connection.outcome.get() else { return };
        count(&shared.upstream.counters.queries);
        count(&shared.upstream.counters.tcp_queries);
        let asked = Instant::now();
        connection.last_used.set(asked);
        connection.unanswered.set(connection.unanswered.get().or(Some(asked)));
        let given_up = async {
            sender.closed().await;
            sleep(shared.patience()).await;
        };
        let outcome = tokio::select! {
            biased;
            outcome = channel.ask(&query) => outcome,
            () = given_up => return,
        };
        if let Err(fault) = &outcome {
            shared.upstream.note_error(fault.reason.clone());
        }
        match &outcome {
            Err(fault) if fault.is_dead => shared.died(connection, fault),
            // Something came, if not what was asked for.
            Ok(_) | Err(_) => shared.replied(connection, asked),
        }
        let _given_up = sender.send(outcome);
    }
}

impl Stream {
    /// Opens nothing yet. `scheme` is what connections to the server are: TCP for plain ones.
    pub(super) fn new(upstream: Arc<Upstream>, scheme: Scheme) -> Self {
        let shared = Shared {
            dialler: Dialler::new(Arc::clone(&upstream), scheme),
            upstream,
            scheme,
            current: RefCell::default(),
            backoff: RefCell::default(),
            preferred: Cell::new(None),
            reply_time: Cell::new(Duration::ZERO),
        };
        Self { shared: Rc::new(shared) }
    }

    /// Sends the query and gives the octets of the reply: it belongs to the query, nothing else has
    /// been checked. Over encrypted transports, padding takes the place of the options of `opt`.
    pub(super) async fn exchange(
        &self,
        question: &Question,
        opt: Opt<'_>,
    ) -> Result<Vec<u8>, TryError> {
        let mut query = Vec::new();
        if self.shared.scheme.is_encrypted() {
            query::write_padded(&mut query, question, opt.is_some());
        } else {
            query::write_in(&mut query, 0, question, opt, None);
        }
        self.send(query.into()).await
    }

    /// As [`Self::exchange`] over TCP, the name in letters of `case`.
    pub(super) async fn exchange_in(
        &self,
        question: &Question,
        opt: Opt<'_>,
        case: Case,
    ) -> Result<Vec<u8>, TryError> {
        let mut query = Vec::new();
        query::write_in(&mut query, 0, question, opt, Some(case));
        self.send(query.into()).await
    }

    async fn send(&self, query: Rc<[u8]>) -> Result<Vec<u8>, TryError> {
        let seat = self.shared.seat()?;
        if !seat.connection.is_open() {
            return seat.ask(&query).await.map_err(|fault| fault.error);
        }
        // A connection that is used again may have died unseen; a fresh one may not.
        let connection = Rc::clone(&seat.connection);
        let mut first = pin!(seat.ask(&query));
        match self.shared.unless_silent(first.as_mut(), &connection).await {
            Some(Ok(message)) => Ok(message),
            Some(Err(fault)) if fault.is_dead => self.ask_anew(&query).await,
            Some(Err(fault)) => Err(fault.error),
            None => {
                self.shared.forget(&connection);
                let mut second = pin!(self.ask_anew(&query));
                // The first may have been slow, not dead.
                tokio::select! {
                    outcome = &mut first => match outcome {
                        Ok(message) => Ok(message),
                        Err(_) => second.await,
                    },
                    outcome = &mut second => match outcome {
                        Ok(message) => Ok(message),
                        Err(error) => first.await.map_err(|_| error),
                    },
                }
            }
        }
    }

    /// Over the connection that new queries take, whatever became of an earlier one.
    async fn ask_anew(&self, query: &Rc<[u8]>) -> Result<Vec<u8>, TryError> {
        self.shared.seat()?.ask(query).await.map_err(|fault| fault.error)
    }
}

impl Shared {
    /// A place on the current connection, which is dialled if there is none.
    fn seat(self: &Rc<Self>) -> Result<Seat, TryError> {
        let now = Instant::now();
        let mut current = self.current.borrow_mut();
        // A peer that went away without a word would swallow queries until the kernel gives up, a
        // quarter of an hour later.
        let is_silent = |connection: &mut Rc<Connection>| {
            let since = connection.unanswered.get();
            since.is_some_and(|since| now.duration_since(since) >= self.patience())
        };
        let _silent = current.take_if(is_silent);
        let connection = match &*current {
            Some(connection) => Rc::clone(connection),
            None => match self.backoff.borrow().blocks(now) {
                Some((error, reason)) => {
                    // Still the last error: why nobody dials.
                    self.upstream.note_error(reason.to_owned());
                    return Err(error);
                }
                None => Rc::clone(current.insert(self.open(now))),
            },
        };
        if connection.waiting.get() >= WAITING {
            return Err(TryError::Busy);
        }
        connection.waiting.set(connection.waiting.get() + 1);
        Ok(Seat { shared: Rc::clone(self), connection })
    }

    fn patience(&self) -> Duration {
        (2 * self.reply_time.get()).clamp(*SILENCE.start(), *SILENCE.end())
    }

    /// What `reply` brings; `None`: nothing came over the whole connection for as long as that may
    /// be.
    async fn unless_silent<F: Future>(
        &self,
        mut reply: Pin<&mut F>,
        connection: &Connection,
    ) -> Option<F::Output> {
        let asked = Instant::now();
        loop {
            let heard = connection.last_reply.get().map_or(asked, |last| last.max(asked));
            match timeout_at(heard + self.patience(), reply.as_mut()).await {
                Ok(outcome) => return Some(outcome),
                Err(_) if connection.last_reply.get().is_none_or(|last| last <= heard) => {
                    return None;
                }
                Err(_) => {}
            }
        }
    }

    fn open(self: &Rc<Self>, now: Instant) -> Rc<Connection> {
        let connection = Rc::new(Connection {
            outcome: SetOnce::new(),
            last_used: Cell::new(now),
            last_reply: Cell::new(None),
            unanswered: Cell::new(None),
            waiting: Cell::new(0),
            keeper: RefCell::default(),
        });
        let dial = self.dialler.clone().dial(self.preferred.get());
        let keeper = keep(Rc::downgrade(self), Rc::downgrade(&connection), dial);
        *connection.keeper.borrow_mut() = Some(spawn_local(keeper).abort_handle());
        connection
    }

    fn settle(&self, connection: &Rc<Connection>, outcome: Result<Channel, Fault>) {
        let now = Instant::now();
        let outcome = match outcome {
            Ok(channel) => {
                self.preferred.set(Some(channel.peer));
                if self.reply_time.get().is_zero() {
                    self.reply_time.set(now.duration_since(connection.last_used.get()));
                }
                connection.last_used.set(now);
                Ok(channel)
            }
            Err(Fault { error, reason, .. }) => {
                self.backoff.borrow_mut().failed(now, error, reason.clone());
                self.forget(connection);
                match error {
                    TryError::Untrusted => self.upstream.note_distrust(reason),
                    _ => self.upstream.note_error(reason),
                }
                Err(error)
            }
        };
        // A connection has one dial.
        let _is_first = connection.outcome.set(outcome);
    }

    fn replied(&self, connection: &Connection, asked: Instant) {
        let now = Instant::now();
        if connection.last_reply.get().is_none() {
            self.backoff.borrow_mut().succeeded();
        }
        connection.last_reply.set(Some(now));
        connection.last_used.set(now);
        connection.unanswered.set(None);
        let of_late = self.reply_time.get() * 7 / 8;
        self.reply_time.set(of_late.max(now.duration_since(asked)));
    }

    fn died(&self, connection: &Rc<Connection>, fault: &Fault) {
        // Who accepts and hangs up again is as good as one who does not accept.
        if self.forget(connection) && connection.last_reply.get().is_none() {
            let (error, reason) = (fault.error, fault.reason.clone());
            self.backoff.borrow_mut().failed(Instant::now(), error, reason);
        }
    }

    /// The next query dials. Those who wait on `connection` may still get their replies. Gives
    /// whether it was the one that new queries took.
    fn forget(&self, connection: &Rc<Connection>) -> bool {
        self.current.borrow_mut().take_if(|kept| Rc::ptr_eq(kept, connection)).is_some()
    }
}

/// Dials `connection` and closes it when it is idle. Ends with it.
async fn keep(
    shared: Weak<Shared>,
    connection: Weak<Connection>,
    dial: impl Future<Output = Result<Channel, Fault>>,
) {
    let outcome = timeout(DIAL, dial).await.unwrap_or_else(|_| {
        let error = TryError::Unreachable(io::ErrorKind::TimedOut);
        Err(Fault::dead(error, format!("no connection within {DIAL:?}")))
    });
    if let (Some(shared), Some(connection)) = (shared.upgrade(), connection.upgrade()) {
        shared.settle(&connection, outcome);
    }
    while let (Some(shared), Some(connection)) = (shared.upgrade(), connection.upgrade()) {
        let now = Instant::now();
        let mut idle_from = connection.last_used.get();
        if connection.waiting.get() != 0 {
            idle_from = now;
        }
        if now.duration_since(idle_from) >= IDLE {
            shared.forget(&connection);
            return;
        }
        drop((shared, connection));
        sleep_until(idle_from + IDLE).await;
    }
}
