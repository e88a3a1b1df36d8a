//! Queries over UDP: a small pool of connected sockets, each shared by many queries.
//!
//! What makes a reply hard to forge (RFC 5452 §9.2): the peer (the socket is connected), our port,
//! a 16-bit id from a CSPRNG, the question. Ports: we bind port 0. Linux then draws one at random,
//! uniformly from `ip_local_port_range` (28,232 ports unless widened, some 15 bits), which an
//! observer of earlier ports cannot continue; it respects `ip_local_reserved_ports` and never takes
//! a port that another service is about to bind. Drawing from 1024 up ourselves would add one bit
//! and lose both. Several sockets at a time and a short life of each make a port that leaked
//! worth little.
//!
//! Identical questions are one race (`forward::flights`), so clients cannot have as many queries
//! opened as birthdays need. While a server is silent its race repeats the query, each time with an
//! id and a port of its own, and listens for all: nine are open in the end (`forward::race`; twice
//! that for a moment, when the network changes), and one forged reply in 200 million hits, not one in
//! 1,850 million. A million a second through a whole silence of two seconds have a chance of 1 %.
//! Giving up the earlier ones would lose the late replies of a path that has become slow.
//!
//! What came with a query's id but does not repeat its question is dropped and counted, and the
//! query listens on: a forger who guesses gains nothing by it. When the try's time is over, or after
//! too many such datagrams, the query goes over TCP, which a host off the path cannot forge.
//!
//! An ICMP error is a hint, for a host off the path can send one to every port in turn. The query
//! goes over TCP and still listens. Only if the server cannot be reached over TCP either, and says
//! nothing for as long as its replies take, has the try failed. A host off the path cannot forge the
//! end of a TCP handshake: it does not see the sequence number.
//!
//! The socket is drawn anew for whatever is sent in one call, not for each query of it. So queries
//! of the same tens of microseconds, up to 64 under load, share a port. Nobody off the path learns
//! from that: a forged reply has to hit one question's id and port, the port was drawn like any
//! other, and who sees one of those queries on the wire sees the rest too.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio::time::{Instant, timeout_at};

use super::failure::TryError;
use super::query::{self, Edns, Reading};
use super::server::{Upstream, count};
use super::socket::{ReceiveBuffer, Socket};
use super::waiters::Delivery;
use crate::wire::{Question, Rcode};

/// Sockets of one worker towards one server that take new queries: three more bits to guess.
const SOCKETS: usize = 8;
/// Queries after which a socket takes no new ones. Opening one costs some 15 µs: 0.03 µs a query.
const USES: u32 = 512;
/// Age at which a socket takes no new queries. A socket keeps the source address that the routes
/// gave it: where nobody tells of a change (`forward::Epoch`), this is how long it goes unnoticed.
const LIFE: Duration = Duration::from_secs(30);
/// Queries that wait on one socket: few enough that a free id is found at the first draw. With
/// [`OPEN`] sockets that makes some 20,000 a worker and server; Azure lets a VM have 200 pending.
const WAITING: usize = 1_024;
/// Open sockets of one pool, those included that only wait for their last replies. At this bound
/// sockets live on beyond [`USES`].
pub const OPEN: usize = 32;
/// Datagrams with its id that a query drops before it goes over TCP: the bound of its work. The
/// genuine reply is not waited for any longer then, because a forger who knows id and port may be
/// about to find the question's letters too. BIND and PowerDNS take the first one as the sign of an
/// attack. They have a socket for each query. Here others share the socket, and a datagram with this
/// id is mostly a late reply to an earlier query or a broken server's.
const MISMATCHES: u32 = 8;
/// How long a query that met such datagrams listens before it goes over TCP, at a server that
/// has no measured time yet: longer than a resolver nearby takes for a name that it has to look up.
const UNMEASURED: Duration = Duration::from_millis(250);
/// How long a socket must be silent before giving up on a query closes it.
const SILENCE: Duration = Duration::from_millis(500);

/// One worker's sockets towards one server.
pub(super) struct Udp {
    upstream: Arc<Upstream>,
    buffer: ReceiveBuffer,
    /// A query takes a random place; a place gets its socket when first taken.
    places: RefCell<[Option<Rc<Socket>>; SOCKETS]>,
    /// The place that the last query took: those that are sent with it take the same.
    last: Cell<usize>,
    open: Rc<Cell<usize>>,
}

/// A query's place among those that wait on a socket; dropping it frees the id.
struct Seat {
    socket: Rc<Socket>,
    id: u16,
    since: Instant,
    genuine_before: u64,
    answered: bool,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.socket.waiters().leave(self.id);
        // Nothing came to this socket for as long as this query waited: the route, the NAT entry
        // or the source address may be gone. The next query gets a new one.
        if !self.answered
            && self.socket.waiters().genuine() == self.genuine_before
            && self.since.elapsed() >= SILENCE
        {
            self.socket.retire();
        }
    }
}

/// A query that has left; dropping it ends the waiting for its reply.
pub(super) struct Asked<'a> {
    seat: Seat,
    upstream: &'a Upstream,
    question: &'a Question,
    edns: Edns,
    /// Datagrams with its id that were dropped.
    mismatches: u32,
    /// Whether an ICMP error came for it.
    is_doubted: bool,
}

/// What came for a query.
pub(super) enum Heard {
    /// A message that the server itself has sent.
    Reply(Reading),
    /// An error without a question that can mean that the server does not speak EDNS.
    MaybeNoEdns,
    /// The try's time is over, and only datagrams came that anybody can have sent.
    Mismatches,
    /// More such datagrams came than one query listens to.
    TooManyMismatches,
    /// An ICMP error came, which anybody can have sent.
    IcmpError,
}

/// One thing that came for a query.
enum Next {
    Message(Reading),
    IcmpError,
}

impl Asked<'_> {
    /// Waits for a message of the server's own. Drops and counts all others, and gives up when
    /// there are too many of them, or when the try's time is over and there was one: without one,
    /// the time is the caller's to watch.
    pub(super) async fn hear(&mut self) -> Result<Heard, TryError> {
        loop {
            if self.mismatches >= MISMATCHES {
                return Ok(Heard::TooManyMismatches);
            }
            let next = match self.mismatches {
                0 => self.next().await,
                _ => {
                    let wait = self.upstream.rtt().map_or(UNMEASURED, |rtt| rtt.timeout());
                    match Box::pin(timeout_at(self.seat.since + wait, self.next())).await {
                        Ok(next) => next,
                        Err(_) => return Ok(Heard::Mismatches),
                    }
                }
            };
            if let Some(heard) = self.sort(next?) {
                return Ok(heard);
            }
        }
    }

    /// Waits for a message of the server's own, however long it takes; `None`: too many others came.
    pub(super) async fn hear_on(&mut self) -> Result<Option<Reading>, TryError> {
        while self.mismatches < MISMATCHES {
            let next = self.next().await?;
            if let Some(Heard::Reply(reading)) = self.sort(next) {
                return Ok(Some(reading));
            }
        }
        Ok(None)
    }

    /// As [`Self::hear_on`], until the time is over that the server's replies take. A server that
    /// has never replied gets no time.
    ///
    /// # Errors
    /// `late` when no reply came in that time.
    pub(super) async fn hear_in_time(&mut self, late: TryError) -> Result<Reading, TryError> {
        let wait = match self.upstream.rtt() {
            Some(rtt) => rtt.timeout(),
            None if self.upstream.tally().replies > 0 => UNMEASURED,
            None => Duration::ZERO,
        };
        let until = self.seat.since + wait;
        match timeout_at(until, self.hear_on()).await {
            Ok(heard) => heard?.ok_or(TryError::Mismatched),
            Err(_) => Err(late),
        }
    }

    /// Whether an ICMP error came for the query.
    pub(super) fn is_doubted(&self) -> bool {
        self.is_doubted
    }

    /// The next thing that came for the query, read.
    async fn next(&self) -> Result<Next, TryError> {
        let waiters = self.seat.socket.waiters();
        match poll_fn(|context| waiters.poll(self.seat.id, context)).await {
            Delivery::Message(message) => {
                let reading = query::read(&message, self.question, self.edns);
                waiters.give_back(message);
                Ok(Next::Message(reading))
            }
            Delivery::IcmpError(_) => Ok(Next::IcmpError),
            Delivery::Unsent(kind) => Err(TryError::of_kind(kind)),
        }
    }

    /// `None` for a message that is dropped.
    fn sort(&mut self, next: Next) -> Option<Heard> {
        let Next::Message(reading) = next else {
            self.is_doubted = true;
            count(&self.upstream.counters.icmp_errors);
            return Some(Heard::IcmpError);
        };
        if reading.is_genuine() {
            self.seat.answered = true;
            self.seat.socket.waiters().note_genuine();
            return Some(Heard::Reply(reading));
        }
        self.mismatches += 1;
        match reading {
            Reading::Bare(Rcode::FORMERR | Rcode::NOTIMP)
                if self.edns == Edns::With && self.mismatches == 1 =>
            {
                Some(Heard::MaybeNoEdns)
            }
            _ => {
                count(&self.upstream.counters.mismatches);
                None
            }
        }
    }
}

impl Udp {
    pub(super) fn new(upstream: Arc<Upstream>, buffer: ReceiveBuffer) -> Self {
        Self {
            upstream,
            buffer,
            places: RefCell::default(),
            last: Cell::new(0),
            open: Rc::default(),
        }
    }

    /// Sends the query.
    pub(super) async fn ask<'a>(
        &'a self,
        question: &'a Question,
        edns: Edns,
    ) -> Result<Asked<'a>, TryError> {
        let seat = self.seat()?;
        seat.socket.post(|out| query::write(out, seat.id, question, edns)).await;
        count(&self.upstream.counters.queries);
        Ok(Asked {
            seat,
            upstream: &self.upstream,
            question,
            edns,
            mismatches: 0,
            is_doubted: false,
        })
    }

    /// An id on a random socket that has room; on the last one while queries wait there to be sent
    /// together: a system call each would cost more than all the rest of a query.
    fn seat(&self) -> Result<Seat, TryError> {
        let mut places = self.places.borrow_mut();
        let is_filling = |place: &usize| {
            places.get(*place).and_then(Option::as_ref).is_some_and(|socket| socket.is_filling())
        };
        let first = Some(self.last.get()).filter(is_filling);
        let first = first.unwrap_or_else(|| rand::rng().random_range(0..SOCKETS));
        let (before, from) = places.split_at_mut(first);
        let now = Instant::now();
        let mut refusal = TryError::Busy;
        for (index, place) in (first..SOCKETS).chain(0..first).zip(from.iter_mut().chain(before)) {
            let spent = place.take_if(|socket| self.is_spent(socket, now));
            let socket = match (place, spent) {
                (Some(socket), _) => socket,
                (place, spent) => match (self.open(now), spent) {
                    (Ok(socket), _) => place.insert(socket),
                    // A socket that should rest is better than none.
                    (Err(TryError::OwnShortage), Some(spent)) => place.insert(spent),
                    (Err(TryError::OwnShortage), None) => {
                        refusal = TryError::OwnShortage;
                        continue;
                    }
                    (Err(error), _) => return Err(error),
                },
            };
            if let Some(id) = socket.waiters().enter(WAITING) {
                self.last.set(index);
                socket.uses.set(socket.uses.get() + 1);
                return Ok(Seat {
                    socket: Rc::clone(socket),
                    id,
                    since: now,
                    genuine_before: socket.waiters().genuine(),
                    answered: false,
                });
            }
        }
        Err(refusal)
    }

    /// Whether `socket` should take no new queries.
    fn is_spent(&self, socket: &Socket, now: Instant) -> bool {
        let wanted = socket.is_retired()
            || socket.uses.get() >= USES
            || now.duration_since(socket.born) >= LIFE;
        // With nobody waiting it closes at once, which frees what it takes.
        wanted && (self.open.get() < OPEN || socket.waiters().len() == 0)
    }

    fn open(&self, now: Instant) -> Result<Rc<Socket>, TryError> {
        let socket = Socket::open(&self.upstream, &self.buffer, &self.open, now);
        socket.map(Rc::new).map_err(|error| TryError::of(&error))
        socket.map(Rc::new).map_err(|error| TryError::Unreachable(error.kind()))
    }
}
