//! One worker's connections to one server, and the queries that wait for them.
//!
//! One connection carries all queries until the server shows that it takes only so many on each
//! ([`super::quota`]). Then there are as many connections as the queries need, [`BUSY`] at most. A
//! task of its own dials a connection, so that a slow path's handshake may take longer than one
//! query has, and closes it when it is idle.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{spawn_local, yield_now};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::backoff::Backoff;
use super::bootstrap::ADDRESSES;
use super::connection::Connection;
use super::dial::Dialler;
use super::failure::{HEARD, Meaning, TryError};
use super::queue::{self, Queue};
use super::quota::Quota;
use super::server::{Upstream, count};
use super::transport::{Channel, Fault, Reply};
use crate::config::Scheme;

/// Queries that wait for one server's connections or on them. Azure lets a VM have 200 pending;
/// over HTTP/2 and QUIC the server's own bound, 100 often, makes the others wait.
const WAITING: usize = 512;
/// Connections that carry queries or are dialled. Two workers with so many have one for each of the
/// 200 queries that Azure lets a VM have pending, so a server that takes one query on each answers
/// all in two round trips. A server with room for fewer refuses some, and then gets no more.
const BUSY: usize = 100;
/// Further open connections: silent ones that still have queries, and ones that have just answered
/// their last query.
const BESIDE: usize = 4;
/// Sockets of all of them. A closed TCP connection frees its socket when its task runs next; QUIC
/// keeps the socket until the connection has drained. The dial that finds out which address answers tries them all.
pub(super) const SOCKETS: usize = 2 * (BUSY + BESIDE) + ADDRESSES - 1;
/// A dial's bound, from the search for a host's address to the end of the handshakes. A SYN leaves
/// at 0 and 1 s, and would leave at 3 s; three round trips of 800 ms fit.
const DIAL: Duration = Duration::from_millis(2_500);
/// How long a connection must be silent while a query waits on it before another one is dialled:
/// twice as long as replies take there, and no shorter or longer than these.
const SILENCE: RangeInclusive<Duration> = Duration::from_millis(500)..=Duration::from_secs(2);
/// How long an unused connection stays open. NATs forget a TCP flow after 4 minutes (Azure) and
/// more; servers close earlier as they like.
const IDLE: Duration = Duration::from_secs(60);

/// A query's place among those that wait for the server.
pub(super) type Place = queue::Place<Result<Seat, TryError>>;

/// One worker's connections to one server.
pub(super) struct Connections {
    upstream: Arc<Upstream>,
    dialler: Dialler,
    /// Those that new queries take, the oldest first.
    all: RefCell<Vec<Rc<Connection>>>,
    /// Connections that are open or dialled, also those that take no new queries.
    open: Rc<Cell<usize>>,
    queue: Rc<Queue<Result<Seat, TryError>>>,
    quota: Quota,
    /// How many connections the server takes, [`BUSY`] at most.
    most: Cell<usize>,
    backoff: RefCell<Backoff>,
    /// The address that was last reached.
    preferred: Cell<Option<SocketAddr>>,
    /// Whether a reply has come since something went wrong: only then are several connections
    /// dialled at a time.
    is_proven: Cell<bool>,
    last_reply: Cell<Option<Instant>>,
    /// How long replies take: a maximum that decays. Before the first reply, the time of the dial.
    reply_time: Cell<Duration>,
}

/// A query's place on a connection.
pub(super) struct Seat {
    connections: Rc<Connections>,
    pub(super) connection: Rc<Connection>,
    is_used: bool,
}

/// Why a query got no reply over a connection.
pub(super) enum Lost {
    /// The connection ended or takes no more queries. Another one may carry it.
    GoesOn,
    /// Another connection would not help.
    Failed(TryError),
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Connection { waiting, queries, changed, .. } = &*self.connection;
        waiting.set(waiting.get().saturating_sub(1));
        if !self.is_used {
            queries.set(queries.get().saturating_sub(1));
        }
        let is_spent = self.connection.is_spent(self.connections.quota.limit());
        if is_spent || self.connections.queue.len() != 0 {
            changed.notify_one();
        }
    }
}

impl Seat {
    fn take(connections: &Rc<Connections>, connection: Rc<Connection>) -> Self {
        connection.waiting.set(connection.waiting.get() + 1);
        connection.queries.set(connection.queries.get().saturating_add(1));
        Self { connections: Rc::clone(connections), connection, is_used: false }
    }

    /// Sends the query, and gives the octets of the reply.
    pub(super) async fn ask(self, query: &Rc<[u8]>) -> Result<Reply, Lost> {
        let (sender, receiver) = oneshot::channel();
        spawn_local(self.exchange(Rc::clone(query), sender));
        // It sends something unless the runtime ends.
        let gone = TryError::Unreachable(io::ErrorKind::ConnectionReset);
        receiver.await.unwrap_or(Err(Lost::Failed(gone)))
    }

    /// In a task of its own: the reply to a query that was given up is a sign of life all the same.
    async fn exchange(mut self, query: Rc<[u8]>, mut sender: oneshot::Sender<Result<Reply, Lost>>) {
        self.is_used = true;
        let Self { connections, connection, .. } = &self;
        let Some(channel) = connection.channel.get() else { return };
        count(&connections.upstream.counters.queries);
        count(&connections.upstream.counters.tcp_queries);
        let asked = Instant::now();
        connection.note_query(asked);
        let given_up = async {
            sender.closed().await;
            // It waits for a late reply, unless too many queries have a seat.
            if connection.waiting.get() <= WAITING {
                sleep(connections.patience()).await;
            }
        };
        let outcome = tokio::select! {
            biased;
            outcome = channel.ask(&query) => outcome,
            () = given_up => return,
        };
        let outcome = outcome.map_err(|fault| connections.lost(connection, &fault, asked));
        if outcome.is_ok() {
            connections.replied(connection, asked);
        }
        drop(self);
        let _given_up = sender.send(outcome);
    }
}

impl Connections {
    /// Opens nothing yet. `scheme` is what connections to the server are: TCP for plain ones.
    pub(super) fn new(upstream: Arc<Upstream>, scheme: Scheme) -> Self {
        Self {
            dialler: Dialler::new(Arc::clone(&upstream), scheme),
            upstream,
            all: RefCell::default(),
            open: Rc::default(),
            queue: Rc::new(Queue::new(WAITING)),
            quota: Quota::default(),
            most: Cell::new(BUSY),
            backoff: RefCell::default(),
            preferred: Cell::new(None),
            is_proven: Cell::new(false),
            last_reply: Cell::new(None),
            reply_time: Cell::new(Duration::ZERO),
        }
    }

    /// A place for a query; `None`: too many wait.
    pub(super) fn enter(&self) -> Option<Place> {
        self.queue.enter()
    }

    /// Waits for a seat on an open connection. Fails at once while the backoff lasts.
    pub(super) async fn seat(self: &Rc<Self>, place: &Place) -> Result<Seat, TryError> {
        let turn = place.wait();
        self.serve();
        // The queue outlives all places in it.
        let gone = TryError::Unreachable(io::ErrorKind::ConnectionReset);
        turn.await.unwrap_or(Err(gone))
    }

    pub(super) fn patience(&self) -> Duration {
        (2 * self.reply_time.get()).clamp(*SILENCE.start(), *SILENCE.end())
    }

    /// It was silent for too long: the next query dials. Those who wait on it may still get their
    /// replies.
    pub(super) fn note_silence(&self, connection: &Rc<Connection>) {
        if self.forget(connection) {
            self.is_proven.set(false);
        }
    }

    /// Hands out seats, and dials where too few are left, until the queue is empty or must wait.
    fn serve(self: &Rc<Self>) {
        while self.queue.len() != 0 && self.serve_next() {}
    }

    /// Gives whether anything has changed.
    fn serve_next(self: &Rc<Self>) -> bool {
        let now = Instant::now();
        let with_room = {
            // A peer that went away without a word would swallow queries until the kernel gives up,
            // a quarter of an hour later.
            let patience = self.patience();
            let mut all = self.all.borrow_mut();
            let before = all.len();
            all.retain(|connection| !connection.is_silent(now, patience));
            if all.len() < before {
                self.is_proven.set(false);
            }
            let limit = self.quota.limit();
            all.iter().find(|connection| connection.has_room(limit)).map(Rc::clone)
        };
        if let Some(connection) = with_room {
            let seat = Seat::take(self, connection);
            if let Some(turn) = self.queue.pop() {
                let _given_up = turn.send(Ok(seat));
            }
            return true;
        }
        if !self.wants_dial() {
            return false;
        }
        let blocked = match self.backoff.borrow().blocks(now) {
            Some((error, reason)) => Some((error, Some(reason.to_owned()))),
            None if self.has_place() => None,
            None => Some((TryError::Busy, None)),
        };
        let Some((error, reason)) = blocked else {
            let connection = self.dial(now);
            self.all.borrow_mut().push(connection);
            return true;
        };
        if !self.has_hope() {
            if let Some(reason) = reason {
                // Still the last error: why nobody dials.
                self.upstream.note_error(reason);
            }
            self.fail_all(error);
        }
        false
    }

    /// Whether the queries that wait need one more connection than there are.
    fn wants_dial(&self) -> bool {
        let (all, limit) = (self.all.borrow(), self.quota.limit());
        let dialled = all.iter().filter(|connection| connection.is_dialling()).count();
        let busy = all.iter().filter(|connection| !connection.is_spent(limit)).count();
        if dialled == 0 {
            return busy < self.most.get();
        }
        let is_enough = limit.is_none_or(|limit| {
            let each = usize::try_from(limit).unwrap_or(usize::MAX);
            dialled.saturating_mul(each) >= self.queue.len()
        });
        !is_enough && busy < self.most.get() && self.is_proven.get()
    }

    /// Whether one more connection may be open; closes one that has carried its last query for it.
    fn has_place(&self) -> bool {
        if self.open.get() >= BUSY + BESIDE {
            let limit = self.quota.limit();
            let mut all = self.all.borrow_mut();
            if let Some(at) = all.iter().position(|connection| connection.is_spent(limit)) {
                all.remove(at);
            }
        }
        self.open.get() < BUSY + BESIDE
    }

    /// Whether a connection may still take what waits, or end and make room.
    fn has_hope(&self) -> bool {
        let limit = self.quota.limit();
        self.all.borrow().iter().any(|connection| !connection.is_spent(limit))
    }

    fn fail_all(&self, error: TryError) {
        while let Some(turn) = self.queue.pop() {
            let _given_up = turn.send(Err(error));
        }
    }

    fn dial(self: &Rc<Self>, now: Instant) -> Rc<Connection> {
        let connection = Rc::new(Connection::new(&self.open, now));
        // One dial at a time finds out which addresses answer.
        let is_first = self.all.borrow().is_empty();
        let (preferred, alone) = (self.preferred.get(), !is_first && self.is_proven.get());
        let dial = self.dialler.clone().dial(preferred, alone);
        let keeper = keep(Rc::downgrade(self), Rc::downgrade(&connection), dial);
        *connection.keeper.borrow_mut() = Some(spawn_local(keeper).abort_handle());
        connection
    }

    /// The dial has ended.
    fn settle(self: &Rc<Self>, connection: &Rc<Connection>, outcome: Result<Channel, Fault>) {
        let now = Instant::now();
        match outcome {
            Ok(channel) => {
                self.preferred.set(Some(channel.peer));
                if self.reply_time.get().is_zero() {
                    self.reply_time.set(now.duration_since(connection.dialled));
                }
                connection.last_used.set(now);
                // A connection has one dial.
                let _is_first = connection.channel.set(channel);
            }
            Err(Fault { error, reason, .. }) => {
                self.forget(connection);
                self.note_failure(now, error, reason.clone());
                match error {
                    TryError::Untrusted => self.upstream.note_distrust(reason),
                    _ => self.upstream.note_error(reason),
                }
            }
        }
        self.serve();
    }

    /// Nobody dials for a while. Connections that were dialled together fail together: the first
    /// one's failure counts.
    fn note_failure(&self, now: Instant, error: TryError, reason: String) {
        self.is_proven.set(false);
        let mut backoff = self.backoff.borrow_mut();
        if backoff.blocks(now).is_none() {
            backoff.failed(now, error, reason);
        }
    }

    fn replied(&self, connection: &Connection, asked: Instant) {
        let now = Instant::now();
        if connection.note_reply(now) {
            self.backoff.borrow_mut().succeeded();
            self.most.set((self.most.get() + 1).min(BUSY));
        }
        self.is_proven.set(true);
        self.last_reply.set(Some(now));
        let of_late = self.reply_time.get() * 7 / 8;
        self.reply_time.set(of_late.max(now.duration_since(asked)));
    }

    /// A query that was sent at `asked` has got no reply over `connection`.
    fn lost(self: &Rc<Self>, connection: &Rc<Connection>, fault: &Fault, asked: Instant) -> Lost {
        self.upstream.note_fault(fault);
        // A connection that works on no query at all is of no more use than one that has ended. A
        // server that refuses one query may work on the others.
        let is_useless = fault.error == TryError::Unprocessed
            && !connection.has_replied()
            && connection.waiting.get() <= 1;
        if fault.is_dead || is_useless {
            return match self.ended(connection, fault) {
                Meaning::Failing => Lost::Failed(fault.error),
                // Another connection would add to what it has to do.
                _ if fault.error == TryError::ServerBusy => Lost::Failed(fault.error),
                _ => Lost::GoesOn,
            };
        }
        if fault.error == TryError::Unprocessed {
            // It takes no more queries for now.
            self.forget(connection);
            return Lost::GoesOn;
        }
        // Something came, if not what was asked for.
        self.replied(connection, asked);
        Lost::Failed(fault.error)
    }

    /// Nothing comes over `connection` any more. Gives what that says of the server.
    fn ended(self: &Rc<Self>, connection: &Rc<Connection>, fault: &Fault) -> Meaning {
        if let Some(meaning) = connection.meaning() {
            return meaning;
        }
        let now = Instant::now();
        let last = self.last_reply.get();
        let is_heard = last.is_some_and(|last| now.duration_since(last) < HEARD);
        let meaning = connection.end(fault.error, is_heard);
        let was_current = self.forget(connection);
        match meaning {
            Meaning::ClosesIdle => {}
            Meaning::TakesQueries(queries) => self.quota.note_end(queries),
            Meaning::TakesNoMoreConnections => {
                self.most.set(self.all.borrow().len().clamp(1, BUSY));
            }
            Meaning::Failing if was_current => {
                self.note_failure(now, fault.error, fault.reason.clone());
            }
            Meaning::Failing => {}
        }
        self.serve();
        meaning
    }

    /// New queries do not take it. Gives whether they did.
    fn forget(&self, connection: &Rc<Connection>) -> bool {
        let mut all = self.all.borrow_mut();
        let at = all.iter().position(|kept| Rc::ptr_eq(kept, connection));
        at.map(|at| all.remove(at)).is_some()
    }
}

/// Dials `connection`, hears of its end, and closes it when it is idle. Ends with it.
async fn keep(
    connections: Weak<Connections>,
    connection: Weak<Connection>,
    dial: impl Future<Output = Result<Channel, Fault>>,
) {
    let outcome = timeout(DIAL, dial).await.unwrap_or_else(|_| {
        let error = TryError::Unreachable(io::ErrorKind::TimedOut);
        Err(Fault::dead(error, &format!("no connection within {DIAL:?}")))
    });
    if let (Some(connections), Some(connection)) = (connections.upgrade(), connection.upgrade()) {
        connections.settle(&connection, outcome);
    }
    loop {
        let (Some(shared), Some(kept)) = (connections.upgrade(), connection.upgrade()) else {
            return;
        };
        // It was not opened, and whoever holds it only looks at it.
        let Some(channel) = kept.channel.get() else { return };
        // A seat may be free again, or the connection silent for too long.
        shared.serve();
        let (now, limit) = (Instant::now(), shared.quota.limit());
        let is_used = kept.waiting.get() != 0;
        let idle_from = if is_used { now } else { kept.last_used.get() };
        let mut until = if is_used { now + shared.patience() } else { idle_from + IDLE };
        if kept.is_spent(limit) {
            let stays = idle_from + shared.quota.stays();
            if stays <= now {
                shared.quota.note_open(kept.queries.get());
                continue;
            }
            until = until.min(stays);
        }
        if until <= now {
            shared.forget(&kept);
            return;
        }
        let (ended, changed) = (channel.ended(), Rc::clone(&kept.changed));
        drop((shared, kept));
        tokio::select! {
            fault = ended => {
                // Replies that came before the end count: their queries hear of them first.
                yield_now().await;
                if let (Some(shared), Some(kept)) = (connections.upgrade(), connection.upgrade()) {
                    shared.ended(&kept, &fault);
                }
                return;
            }
            () = changed.notified() => {}
            () = sleep_until(until) => {}
        }
    }
}
