//! Queries over UDP: a small pool of connected sockets, each shared by many queries.
//!
//! What makes a reply hard to forge (RFC 5452 §9.2): the peer (the socket is connected), our port,
//! a 16-bit id from a CSPRNG, the question. Ports: we bind port 0. Linux then draws one at random,
//! uniformly from `ip_local_port_range` (28,232 ports unless widened, some 15 bits), which an
//! observer of earlier ports cannot continue; it respects `ip_local_reserved_ports` and never takes
//! a port that another service is about to bind. Drawing from 1024 up ourselves would add one bit
//! and lose both. Several sockets at a time and a short life of each make a port that leaked
//! worth little; identical questions are one query (`forward::flights`), so birthdays do not help.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::TryError;
use super::query::{self, Edns};
use super::server::{Upstream, count};
use super::waiters::Waiters;
use crate::wire::{Question, u16_at};

/// Sockets of one worker towards one server that take new queries: three more bits to guess.
const SOCKETS: usize = 8;
/// Queries after which a socket takes no new ones. Opening one costs some 15 µs: 0.03 µs a query.
const USES: u32 = 512;
/// Age at which a socket takes no new queries. A socket keeps the source address that the routes
/// gave it, so this is also how long a change of routes goes unnoticed.
const LIFE: Duration = Duration::from_secs(30);
/// Queries that wait on one socket: few enough that a free id is found at the first draw. With
/// [`OPEN`] sockets that makes some 20,000 a worker and server; Azure lets a VM have 200 pending.
const WAITING: usize = 1_024;
/// Open sockets of one pool, those included that only wait for their last replies. At this bound
/// sockets live on beyond [`USES`].
const OPEN: usize = 32;
/// How long a socket must be silent before giving up on a query closes it.
const SILENCE: Duration = Duration::from_millis(500);
/// Wait for a send buffer to drain: some 200 KB at any line rate take no longer.
const SEND_BUFFER_FULL: Duration = Duration::from_millis(1);
/// Datagrams read before others get the thread.
const DATAGRAMS_A_TURN: usize = 64;

/// Where a worker's sockets receive, one after the other: a buffer for the largest datagram, so
/// that replies over the size we offered are whole (Azure sends such).
pub type ReceiveBuffer = Rc<RefCell<Box<[u8]>>>;

/// One worker's sockets towards one server.
pub(super) struct Udp {
    upstream: Arc<Upstream>,
    buffer: ReceiveBuffer,
    /// A query takes a random place; a place gets its socket when first taken.
    places: RefCell<[Option<Rc<Socket>>; SOCKETS]>,
    open: Rc<Cell<usize>>,
    scratch: RefCell<Vec<u8>>,
}

struct Socket {
    io: Rc<AsyncFd<UdpSocket>>,
    waiters: Rc<Waiters>,
    reader: AbortHandle,
    born: Instant,
    uses: Cell<u32>,
    retired: Cell<bool>,
    /// Of the pool: sockets that are open.
    open: Rc<Cell<usize>>,
}

impl Socket {
    fn send(&self, query: &[u8]) -> Result<(), io::ErrorKind> {
        let io = self.io.get_ref();
        match io.send(query) {
            // The ICMP error that an earlier query met: that is for those who wait already. This
            // query has not been sent yet.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                self.waiters.fail_all(error.kind());
                io.send(query)
            }
            outcome => outcome,
        }
        .map(drop)
        .map_err(|error| error.kind())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.reader.abort();
        self.open.set(self.open.get().saturating_sub(1));
    }
}

/// A query's place among those that wait on a socket; dropping it frees the id.
struct Seat {
    socket: Rc<Socket>,
    id: u16,
    since: Instant,
    delivered_before: u64,
    answered: bool,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.socket.waiters.leave(self.id);
        // Nothing came to this socket for as long as this query waited: the route, the NAT entry
        // or the source address may be gone. The next query gets a new one.
        if !self.answered
            && self.socket.waiters.delivered() == self.delivered_before
            && self.since.elapsed() >= SILENCE
        {
            self.socket.retired.set(true);
        }
    }
}

impl Udp {
    pub(super) fn new(upstream: Arc<Upstream>, buffer: ReceiveBuffer) -> Self {
        Self {
            upstream,
            buffer,
            places: RefCell::default(),
            open: Rc::default(),
            scratch: RefCell::default(),
        }
    }

    /// Sends the query, waits for a message with its id, and gives that.
    pub(super) async fn exchange(
        &self,
        question: &Question,
        edns: Edns,
    ) -> Result<Box<[u8]>, TryError> {
        let mut seat = self.seat()?;
        loop {
            let sent = {
                let mut query = self.scratch.borrow_mut();
                query::write(&mut query, seat.id, question, edns)?;
                seat.socket.send(&query)
            };
            match sent {
                Ok(()) => break,
                Err(io::ErrorKind::WouldBlock) => tokio::time::sleep(SEND_BUFFER_FULL).await,
                Err(kind) => {
                    seat.socket.retired.set(true);
                    return Err(unreachable_because(kind));
                }
            }
        }
        count(&self.upstream.counters.queries);
        let delivery = poll_fn(|context| seat.socket.waiters.poll(seat.id, context)).await;
        seat.answered = true;
        delivery.map_err(unreachable_because)
    }

    /// An id on a random socket that has room.
    fn seat(&self) -> Result<Seat, TryError> {
        let first = rand::rng().random_range(0..SOCKETS);
        let mut places = self.places.borrow_mut();
        let (before, from) = places.split_at_mut(first);
        let now = Instant::now();
        for place in from.iter_mut().chain(before) {
            if place.as_ref().is_some_and(|socket| self.is_spent(socket, now)) {
                *place = None;
            }
            let socket = match place {
                Some(socket) => socket,
                None => place.insert(self.open(now)?),
            };
            if let Some(id) = socket.waiters.enter(WAITING) {
                socket.uses.set(socket.uses.get() + 1);
                return Ok(Seat {
                    socket: Rc::clone(socket),
                    id,
                    since: now,
                    delivered_before: socket.waiters.delivered(),
                    answered: false,
                });
            }
        }
        Err(TryError::Busy)
    }

    /// Whether `socket` should take no new queries.
    fn is_spent(&self, socket: &Socket, now: Instant) -> bool {
        let wanted = socket.retired.get()
            || socket.uses.get() >= USES
            || now.duration_since(socket.born) >= LIFE;
        // With nobody waiting it closes at once, which frees what it takes.
        wanted && (self.open.get() < OPEN || socket.waiters.len() == 0)
    }

    fn open(&self, now: Instant) -> Result<Rc<Socket>, TryError> {
        let io = connect(self.upstream.address()).map_err(|e| unreachable_because(e.kind()))?;
        let (io, waiters) = (Rc::new(io), Rc::new(Waiters::default()));
        let reader = tokio::task::spawn_local(read(
            Rc::clone(&io),
            Rc::clone(&waiters),
            Rc::clone(&self.buffer),
            Arc::clone(&self.upstream),
        ));
        self.open.set(self.open.get() + 1);
        Ok(Rc::new(Socket {
            io,
            waiters,
            reader: reader.abort_handle(),
            born: now,
            uses: Cell::new(0),
            retired: Cell::new(false),
            open: Rc::clone(&self.open),
        }))
    }
}

fn unreachable_because(kind: io::ErrorKind) -> TryError {
    TryError::Unreachable(kind)
}

/// Registered for reading alone: tokio's own socket would also be woken whenever a datagram it sent
/// leaves the send buffer, which is once a query. Errors are always reported.
fn connect(peer: SocketAddr) -> io::Result<AsyncFd<UdpSocket>> {
    let any: SocketAddr = match peer {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(peer)?;
    socket.set_nonblocking(true)?;
    #[allow(
        deprecated,
        reason = "the replacement is `unsafe`, for handles that may change; a `UdpSocket` owns its one"
    )]
    AsyncFd::with_interest(socket, Interest::READABLE | Interest::ERROR)
}

/// Hands what arrives to those who wait, until the socket is dropped.
async fn read(
    io: Rc<AsyncFd<UdpSocket>>,
    waiters: Rc<Waiters>,
    buffer: ReceiveBuffer,
    upstream: Arc<Upstream>,
) {
    while let Ok(mut ready) = io.ready(Interest::READABLE | Interest::ERROR).await {
        let mut drained = false;
        for _ in 0..DATAGRAMS_A_TURN {
            let mut buffer = buffer.borrow_mut();
            let octets = match ready.try_io(|io| io.get_ref().recv(&mut buffer)) {
                Ok(Ok(octets)) => octets,
                // A pending error of the socket: reading it has cleared it.
                Ok(Err(error)) => {
                    waiters.fail_all(error.kind());
                    continue;
                }
                Err(_would_block) => {
                    drained = true;
                    break;
                }
            };
            let message = buffer.get(..octets).unwrap_or(&[]);
            let delivered = u16_at(message, 0).is_some_and(|id| waiters.deliver(id, message));
            if !delivered {
                count(&upstream.counters.mismatches);
            }
        }
        if !drained {
            tokio::task::yield_now().await;
        }
    }
}
