//! One connected UDP socket: queries leave together, replies come together.
//!
//! A task of its own drives it. Queries that are asked while the thread's other tasks have their
//! turn stand in a box; the first of them wakes the driver, which comes behind all tasks that can
//! go on, and sends the box in one call. No timer holds a query back.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::failure::{TryError, kind_of};
use super::server::{Upstream, count};
use super::waiters::{SpareBuffers, Waiters};
use crate::sys::{INBOX_SLOTS, Inbox, Outbox, Unsent, draw_port, free_port};
use crate::wire::u16_at;

/// Wait for a send buffer to drain: some 200 KB at any line rate take no longer.
const SEND_BUFFER_FULL: Duration = Duration::from_millis(1);
/// Receive calls before others get the thread.
const RECEIVES_A_TURN: usize = 2;

/// Receive calls that empty the queue of a port that was freed. Nothing more arrives there, and the
/// kernel's usual buffer holds fewer datagrams than this many calls take.
const RECEIVES_TO_EMPTY: usize = 64;

/// Queries that usually wait on one socket at once: as many as it takes.
const USUAL: usize = 8;
/// Empty outboxes that are kept for sockets to come: more than open in one turn of the thread.
const SPARE_OUTBOXES: usize = 16;

/// Memory that sockets of one pool hand on to the next ones.
#[derive(Default)]
pub(super) struct Spare {
    buffers: Rc<SpareBuffers>,
    outboxes: RefCell<Vec<Outbox>>,
}

/// Where a worker's sockets receive, one after the other: slots for the largest datagram, so that
/// replies over the size we offered are whole (Azure sends such).
pub type ReceiveBuffer = Rc<RefCell<Inbox>>;

/// An open socket; dropping it closes it, with all that waits.
pub(super) struct Socket {
    wire: Rc<Wire>,
    driver: AbortHandle,
    /// The address that its datagrams leave from, as the routes were when the port was drawn.
    source: Cell<Option<IpAddr>>,
    /// When the port was drawn.
    pub(super) born: Cell<Instant>,
    /// Queries from this port so far.
    pub(super) uses: Cell<u32>,
    /// Of the pool: sockets that are open.
    open: Rc<Cell<usize>>,
}

/// What a socket and its driver share.
struct Wire {
    io: AsyncFd<UdpSocket>,
    waiters: Waiters,
    outbox: RefCell<Outbox>,
    /// The driver, while it sleeps.
    driver: Cell<Option<Waker>>,
    retired: Cell<bool>,
    /// The last send met a full buffer.
    is_blocked: Cell<bool>,
    upstream: Arc<Upstream>,
    spare: Rc<Spare>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        let mut outbox = self.outbox.take();
        outbox.clear();
        let mut outboxes = self.spare.outboxes.borrow_mut();
        if outboxes.len() < SPARE_OUTBOXES {
            outboxes.push(outbox);
        }
    }
}

impl Socket {
    /// Opens one towards `upstream` and starts its driver. Counts itself in `open`.
    pub(super) fn open(
        upstream: &Arc<Upstream>,
        inbox: &ReceiveBuffer,
        open: &Rc<Cell<usize>>,
        spare: Rc<Spare>,
        now: Instant,
    ) -> Result<Self, TryError> {
        let peer = peer_of(upstream).map_err(|error| TryError::of(&error))?;
        let io = connect(peer).map_err(|error| TryError::of_connect(&error, peer))?;
        let outbox = spare.outboxes.borrow_mut().pop();
        let wire = Rc::new(Wire {
            io,
            waiters: Waiters::new(USUAL, Rc::clone(&spare.buffers)),
            outbox: RefCell::new(outbox.unwrap_or_default()),
            driver: Cell::default(),
            retired: Cell::new(false),
            is_blocked: Cell::new(false),
            upstream: Arc::clone(upstream),
            spare,
        });
        let driver = tokio::task::spawn_local(drive(Rc::clone(&wire), Rc::clone(inbox)));
        open.set(open.get() + 1);
        let (driver, uses) = (driver.abort_handle(), Cell::new(0));
        let (source, born) = (Cell::new(source_of(wire.io.get_ref())), Cell::new(now));
        Ok(Self { wire, driver, source, born, uses, open: Rc::clone(open) })
    }

    /// Whether [`Self::renew`] may give the socket another port: no query uses the old one, and
    /// nothing went wrong there.
    pub(super) fn is_renewable(&self) -> bool {
        self.waiters().len() == 0 && self.wire.outbox.borrow().is_empty() && !self.is_retired()
    }

    /// Gives the socket another port, for a quarter of what it costs to open another socket. Drops
    /// what came to the old port: it could be forged replies to queries that come.
    ///
    /// # Errors
    /// Those of opening a socket. The socket must not be used after an error.
    pub(super) fn renew(&self, inbox: &ReceiveBuffer, now: Instant) -> io::Result<()> {
        let socket = self.wire.io.get_ref();
        self.retire();
        // Its interface may have another number by now.
        let peer = peer_of(&self.wire.upstream)?;
        free_port(socket)?;
        self.wire.empty(inbox)?;
        draw_port(socket, peer)?;
        self.wire.retired.set(false);
        self.source.set(source_of(socket));
        self.born.set(now);
        self.uses.set(0);
        Ok(())
    }

    pub(super) fn waiters(&self) -> &Waiters {
        &self.wire.waiters
    }

    #[cfg(test)]
    pub(super) fn port(&self) -> u16 {
        self.wire.io.get_ref().local_addr().map_or(0, |address| address.port())
    }

    pub(super) fn source(&self) -> Option<IpAddr> {
        self.source.get()
    }

    /// Takes no new queries.
    pub(super) fn retire(&self) {
        self.wire.retired.set(true);
    }

    pub(super) fn is_retired(&self) -> bool {
        self.wire.retired.get()
    }

    /// Whether queries wait to be sent in one call, with room for one more.
    pub(super) fn is_filling(&self) -> bool {
        let outbox = self.wire.outbox.borrow();
        !outbox.is_empty() && !outbox.is_full()
    }

    /// Puts a query, which `write` appends, where it is sent in this turn of the thread. What goes
    /// wrong with it then, its id's waiter is told. Waits only while the kernel takes nothing.
    pub(super) async fn post(&self, write: impl FnOnce(&mut Vec<u8>)) {
        while self.wire.outbox.borrow().is_full() {
            // One alone tries again while the kernel takes nothing: the driver.
            if self.wire.is_blocked.get() || self.wire.send() == Rest::Waits {
                tokio::time::sleep(SEND_BUFFER_FULL).await;
            }
        }
        self.wire.outbox.borrow_mut().push(write);
        if let Some(driver) = self.wire.driver.take() {
            driver.wake();
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.driver.abort();
        self.open.set(self.open.get().saturating_sub(1));
    }
}

/// What the driver does next.
enum Turn<'a> {
    Send,
    Receive(AsyncFdReadyGuard<'a, UdpSocket>),
    End,
}

#[derive(PartialEq, Eq)]
enum Rest {
    None,
    /// The kernel's buffer is full.
    Waits,
}

async fn drive(wire: Rc<Wire>, inbox: ReceiveBuffer) {
    loop {
        match wire.turn().await {
            Turn::Send => {
                if wire.send() == Rest::Waits {
                    wire.receive_for(SEND_BUFFER_FULL, &inbox).await;
                }
            }
            Turn::Receive(ready) => {
                if !wire.receive(ready, &inbox) {
                    tokio::task::yield_now().await;
                }
            }
            Turn::End => return,
        }
    }
}

impl Wire {
    async fn turn(&self) -> Turn<'_> {
        let mut ready = pin!(self.io.ready(Interest::READABLE | Interest::ERROR));
        poll_fn(|context| {
            if !self.outbox.borrow().is_empty() {
                return Poll::Ready(Turn::Send);
            }
            self.driver.set(Some(context.waker().clone()));
            ready.as_mut().poll(context).map(|ready| ready.map_or(Turn::End, Turn::Receive))
        })
        .await
    }

    fn send(&self) -> Rest {
        let rest = self.send_what_goes();
        self.is_blocked.set(rest == Rest::Waits);
        rest
    }

    fn send_what_goes(&self) -> Rest {
        let mut outbox = self.outbox.borrow_mut();
        let mut failed_once = false;
        // A query brings two errors at most; then it is out.
        while !outbox.is_empty() {
            let Err(Unsent { sent, error }) = outbox.send(self.io.get_ref()) else { break };
            failed_once &= sent == 0;
            let kind = kind_of(&error);
            if kind == io::ErrorKind::WouldBlock {
                return Rest::Waits;
            }
            if !failed_once {
                // It may be the ICMP error of an earlier query, which the kernel reports once.
                failed_once = true;
                if kind == io::ErrorKind::ConnectionRefused {
                    self.note_icmp_error(&outbox, kind);
                }
                continue;
            }
            failed_once = false;
            // What this host lacks, another socket lacks too.
            if kind != io::ErrorKind::OutOfMemory {
                self.retired.set(true);
            }
            if let Some(id) = outbox.payloads().next().and_then(|query| u16_at(query, 0)) {
                match kind {
                    // The kernel itself never says this of a datagram.
                    io::ErrorKind::ConnectionRefused => {
                        self.waiters.note_icmp_error(kind, |other| other == id);
                    }
                    kind => self.waiters.note_unsent(id, kind),
                }
            }
            outbox.drop_first(1);
        }
        Rest::None
    }

    /// Hands what comes to those who wait, for as long as `time`.
    async fn receive_for(&self, time: Duration, inbox: &ReceiveBuffer) {
        let mut timer = pin!(tokio::time::sleep(time));
        loop {
            let ready = tokio::select! {
                biased;
                () = &mut timer => return,
                ready = self.io.ready(Interest::READABLE | Interest::ERROR) => ready,
            };
            // An error here is the runtime's end.
            let Ok(ready) = ready else { return };
            if !self.receive(ready, inbox) {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Hands what has come to those who wait. Gives whether that was all.
    fn receive(&self, mut ready: AsyncFdReadyGuard<'_, UdpSocket>, inbox: &ReceiveBuffer) -> bool {
        for _ in 0..RECEIVES_A_TURN {
            let mut inbox = inbox.borrow_mut();
            let received = inbox.receive(self.io.get_ref());
            match &received {
                Ok(_) => inbox.messages().for_each(|message| self.deliver(message)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // An ICMP error: reading it has cleared it.
                Err(error) => {
                    // A shortage of this host concerns no query.
                    let kind = kind_of(error);
                    if kind != io::ErrorKind::OutOfMemory {
                        self.note_icmp_error(&self.outbox.borrow(), kind);
                    }
                    continue;
                }
            }
            if received.is_ok_and(|count| count == INBOX_SLOTS) {
                continue;
            }
            // The queue was seen empty, so whatever comes is news.
            ready.clear_ready();
            return true;
        }
        false
    }

    /// Drops what has come. An error if that does not end.
    fn empty(&self, inbox: &ReceiveBuffer) -> io::Result<()> {
        let mut inbox = inbox.borrow_mut();
        for _ in 0..RECEIVES_TO_EMPTY {
            match inbox.receive(self.io.get_ref()) {
                Ok(_) => inbox.messages().for_each(|_| count(&self.upstream.counters.mismatches)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // An ICMP error of the old port: reading it has cleared it.
                Err(_) => {}
            }
        }
        Err(io::ErrorKind::Other.into())
    }

    fn deliver(&self, message: &[u8]) {
        if !u16_at(message, 0).is_some_and(|id| self.waiters.deliver(id, message)) {
            count(&self.upstream.counters.mismatches);
        }
    }

    /// Tells all waiters whose query has left of an ICMP error. Its sender knows the port, or has
    /// guessed it, so new queries take another one.
    fn note_icmp_error(&self, unsent: &Outbox, kind: io::ErrorKind) {
        self.retired.set(true);
        let mut ids: Vec<_> = unsent.payloads().filter_map(|query| u16_at(query, 0)).collect();
        ids.sort_unstable();
        self.waiters.note_icmp_error(kind, |id| ids.binary_search(&id).is_err());
    }
}

/// The address that datagrams of `socket` leave from.
fn source_of(socket: &UdpSocket) -> Option<IpAddr> {
    socket.local_addr().ok().map(|address| address.ip())
}

/// Where the upstream is, by the interfaces of now.
fn peer_of(upstream: &Upstream) -> io::Result<SocketAddr> {
    let address = upstream.server().address().ok_or(io::ErrorKind::AddrNotAvailable)?;
    address.socket().inspect_err(|error| upstream.note_error(error.to_string()))
}

/// Registered for reading alone: tokio's own socket would also be woken whenever a datagram it sent
/// leaves the send buffer, which is once a query. Errors are always reported. The kernel draws the
/// port when the socket is connected, as it would for a bind to port 0.
fn connect(peer: SocketAddr) -> io::Result<AsyncFd<UdpSocket>> {
    let kind = socket2::Type::DGRAM.nonblocking();
    let socket = socket2::Socket::new(socket2::Domain::for_address(peer), kind, None)?;
    socket.connect(&peer.into())?;
    #[allow(
        deprecated,
        reason = "the replacement is `unsafe`, for handles that may change; a `UdpSocket` owns its one"
    )]
    AsyncFd::with_interest(socket.into(), Interest::READABLE | Interest::ERROR)
}
