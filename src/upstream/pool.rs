//! One worker's UDP sockets towards one server: many, each for few queries and a short time.
//!
//! A query takes a random place in the pool, so that the next queries do not share its port. If a
//! host off the path finds a port, it can attack only the few queries of that port, within
//! [`LIFE`]. docs/design/off-path.md has the odds and the cost.
//!
//! Ports: the kernel draws one at random, uniformly from `ip_local_port_range` (28,232 ports unless
//! widened, some 15 bits), which an observer of earlier ports cannot continue. It respects
//! `ip_local_reserved_ports` and never takes a port that another service is about to bind. Drawing
//! from 1024 up ourselves would add one bit and lose both.
//!
//! All queries of one system call take the same place, up to 64 queries under load. They leave
//! within the same tens of microseconds. A host off the path learns nothing from that: a forged
//! reply must hit the id and port of one question, and the kernel drew the port like any other.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio::time::Instant;

use super::failure::TryError;
use super::server::Upstream;
use super::socket::{ReceiveBuffer, Socket, Spare};

/// Places of one pool: five bits that stand between a port that was learnt and the next query.
const PLACES: usize = 32;
/// Queries after which a port takes no new ones but those of the same call. Another port for a socket
/// costs 1 µs, opening and closing a socket some 5 µs. Unbound and BIND open one for each query.
const USES: u32 = 4;
/// Age at which a socket takes no new queries: less time than a scan of all ports takes. A socket
/// also keeps the source address that the routes gave it. If the kernel reports no change of the
/// network (`forward::Epoch`), queries use an outdated source address for this long at most.
const LIFE: Duration = Duration::from_secs(2);
/// Queries that wait on one socket: few enough that a free id is found at the first draw. With
/// [`OPEN`] sockets that makes 17,000 a worker and server at least; Azure lets a VM have 200 pending.
const WAITING: usize = 512;
/// Open sockets of one pool, those included that only wait for their last replies: enough for a
/// thousand questions that came one by one. At this bound sockets live on beyond [`USES`].
pub(super) const OPEN: usize = 256;
/// Sockets without a query that are kept for another port: more than are replaced in one turn of the
/// thread.
const IDLE: usize = 32;
/// How long a socket must be silent before giving up on a query closes it.
const SILENCE: Duration = Duration::from_millis(500);

/// One worker's sockets towards one server.
pub(super) struct Pool {
    upstream: Arc<Upstream>,
    buffer: ReceiveBuffer,
    /// A place gets its socket when a query first takes it.
    places: RefCell<[Option<Rc<Socket>>; PLACES]>,
    /// The place that the last query took: those that are sent with it take the same.
    last: Cell<usize>,
    open: Rc<Cell<usize>>,
    idle: Rc<Idle>,
    spare: Rc<Spare>,
}

/// Open sockets that no place has, and no query uses.
#[derive(Default)]
struct Idle(RefCell<Vec<Rc<Socket>>>);

impl Idle {
    /// Keeps `socket`, if there is room and another port will do.
    fn keep(&self, socket: &Rc<Socket>) {
        let mut sockets = self.0.borrow_mut();
        if sockets.len() < IDLE && socket.is_renewable() {
            sockets.push(Rc::clone(socket));
        }
    }

    fn take(&self) -> Option<Rc<Socket>> {
        self.0.borrow_mut().pop()
    }

    fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }
}

/// A query's place among those that wait on a socket; dropping it frees the id.
pub(super) struct Seat {
    pub(super) socket: Rc<Socket>,
    pub(super) id: u16,
    pub(super) since: Instant,
    genuine_before: u64,
    /// Whether the server has replied.
    pub(super) is_answered: bool,
    idle: Rc<Idle>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.socket.waiters().leave(self.id);
        // Nothing came to this socket for as long as this query waited: the route, the NAT entry
        // or the source address may be gone. The next query gets a new socket.
        if !self.is_answered
            && self.socket.waiters().genuine() == self.genuine_before
            && self.since.elapsed() >= SILENCE
        {
            self.socket.retire();
        }
        // No place has it any more, and this was the last query.
        if Rc::strong_count(&self.socket) == 1 {
            self.idle.keep(&self.socket);
        }
    }
}

impl Pool {
    pub(super) fn new(upstream: Arc<Upstream>, buffer: ReceiveBuffer) -> Self {
        Self {
            upstream,
            buffer,
            places: RefCell::default(),
            last: Cell::new(0),
            open: Rc::default(),
            idle: Rc::default(),
            spare: Rc::default(),
        }
    }

    /// Draws an id on a random socket that has room. While queries wait to leave together on the
    /// last socket, draws the id there: one system call each would cost more than the rest of a
    /// query.
    ///
    /// # Errors
    /// [`TryError::Busy`] if no socket has room, [`TryError::OwnShortage`] if in addition this process
    /// may open none.
    pub(super) fn seat(&self) -> Result<Seat, TryError> {
        let now = Instant::now();
        let mut places = self.places.borrow_mut();
        let is_filling = |place: &usize| {
            places.get(*place).and_then(Option::as_ref).is_some_and(|socket| socket.is_filling())
        };
        let first = Some(self.last.get()).filter(is_filling);
        let first = first.unwrap_or_else(|| rand::rng().random_range(0..PLACES));
        let (before, from) = places.split_at_mut(first);
        let mut may_open = true;
        for (index, place) in (first..PLACES).chain(0..first).zip(from.iter_mut().chain(before)) {
            if may_open && !place.as_ref().is_some_and(|socket| socket.is_filling()) {
                may_open = self.fill(place, now)?;
            }
            let Some(socket) = place else { continue };
            if let Some(id) = socket.waiters().enter(WAITING) {
                self.last.set(index);
                socket.uses.set(socket.uses.get() + 1);
                return Ok(Seat {
                    socket: Rc::clone(socket),
                    id,
                    since: now,
                    genuine_before: socket.waiters().genuine(),
                    is_answered: false,
                    idle: Rc::clone(&self.idle),
                });
            }
        }
        Err(if may_open { TryError::Busy } else { TryError::OwnShortage })
    }

    /// Puts a socket with a new port into the place if it has none that should take new queries.
    /// Returns `false` if this host has no port or descriptor for another socket. Then a socket that
    /// queries still use goes on, and the server is not to blame.
    fn fill(&self, place: &mut Option<Rc<Socket>>, now: Instant) -> Result<bool, TryError> {
        if place.as_ref().is_some_and(|socket| !self.is_spent(socket, now)) {
            return Ok(true);
        }
        // Taken out first: a socket that has freed its port and found no other is of no use.
        let spent = place.take_if(|socket| socket.is_renewable());
        match self.socket_with_new_port(spent, now) {
            Ok(socket) => *place = Some(socket),
            Err(TryError::OwnShortage) => return Ok(false),
            Err(failure) => return Err(failure),
        }
        Ok(true)
    }

    /// Gives `spent` or an idle socket another port, or else opens a socket.
    fn socket_with_new_port(
        &self,
        spent: Option<Rc<Socket>>,
        now: Instant,
    ) -> Result<Rc<Socket>, TryError> {
        if let Some(socket) = spent.or_else(|| self.idle.take())
            && socket.renew(&self.buffer, now).is_ok()
        {
            return Ok(socket);
        }
        Socket::open(&self.upstream, &self.buffer, &self.open, Rc::clone(&self.spare), now)
            .map(Rc::new)
    }

    /// Whether `socket` should take no new queries.
    fn is_spent(&self, socket: &Socket, now: Instant) -> bool {
        let is_wanted = socket.is_retired()
            || socket.uses.get() >= USES
            || now.duration_since(socket.born.get()) >= LIFE;
        // With no waiter it gets another port, or closes soon, which frees what it takes.
        let has_room = self.open.get() < OPEN || !self.idle.is_empty();
        is_wanted && (has_room || socket.waiters().len() == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::UpstreamServer;
    use crate::upstream::Link;
    use crate::upstream::tests::local;

    /// Of a server that takes queries and says nothing.
    fn pool(server: &std::net::UdpSocket) -> Pool {
        let server = UpstreamServer::plain(server.local_addr().unwrap());
        Pool::new(Arc::new(Upstream::new(server)), Link::receive_buffer())
    }

    fn silent() -> std::net::UdpSocket {
        std::net::UdpSocket::bind("127.0.0.1:0").unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_socket_serves_few_queries_and_not_for_long() {
        local(async {
            let (server, uses) = (silent(), usize::try_from(USES).unwrap());
            let pool = pool(&server);
            let mut seats: Vec<_> = (0..600).map(|_| pool.seat().unwrap()).collect();
            let sockets = |seats: &[Seat]| {
                let mut sockets: Vec<_> =
                    seats.iter().map(|seat| Rc::as_ptr(&seat.socket)).collect();
                sockets.sort_unstable();
                sockets
            };
            let taken = sockets(&seats);
            let most = taken.chunk_by(|one, next| one == next).map(<[_]>::len).max();
            assert_eq!(most, Some(uses));
            tokio::time::advance(LIFE - Duration::from_millis(1)).await;
            let young = pool.seat().unwrap();
            tokio::time::advance(Duration::from_millis(1)).await;
            seats.push(young);
            let before = seats.len();
            seats.extend((0..100).map(|_| pool.seat().unwrap()));
            let later = sockets(&seats[before..]);
            assert!(later.iter().all(|socket| !taken.contains(socket)), "an old one was taken");
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn sockets_and_those_who_wait_on_them_are_bounded() {
        local(async {
            let server = silent();
            let pool = pool(&server);
            let mut seats = Vec::new();
            let error = loop {
                match pool.seat() {
                    Ok(seat) => seats.push(seat),
                    Err(error) => break error,
                }
                assert!(pool.open.get() <= OPEN);
            };
            assert_eq!((error, pool.open.get()), (TryError::Busy, OPEN));
            let spent = (OPEN - PLACES) * usize::try_from(USES).unwrap();
            assert_eq!(seats.len(), spent + PLACES * WAITING);
            // Some of the used-up sockets are kept for another port, the others close with their
            // last waiter.
            drop(seats);
            assert_eq!(pool.open.get(), PLACES + IDLE);
            let _seats: Vec<_> = (0..10_000).map(|_| pool.seat().unwrap()).collect();
            assert_eq!(pool.open.get(), OPEN);
        })
        .await;
    }

    #[tokio::test]
    async fn what_leaves_together_has_one_port_and_the_next_another() {
        local(async {
            let server = silent();
            let pool = pool(&server);
            let mut ports = Vec::new();
            for _ in 0..20 {
                let mut together = Vec::new();
                for _ in 0..30 {
                    let seat = pool.seat().unwrap();
                    seat.socket.post(|out| out.extend(seat.id.to_be_bytes())).await;
                    together.push(seat);
                }
                let first = Rc::clone(&together[0].socket);
                assert!(together.iter().all(|seat| Rc::ptr_eq(&seat.socket, &first)));
                // The port has served no earlier query, whatever became of the socket.
                assert_eq!(first.uses.get(), 30);
                ports.push(first.port());
                // The driver's turn.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            // Each port is one of thousands, so one or two may repeat.
            ports.sort_unstable();
            ports.dedup();
            assert!(ports.len() > 15, "{ports:?}");
            assert!(pool.open.get() <= PLACES, "sockets got other ports");
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn another_port_begins_without_what_came_to_the_old_one() {
        local(async {
            let server = silent();
            let pool = pool(&server);
            let mut seats: Vec<_> = (0..USES).map(|_| pool.seat().unwrap()).collect();
            let old = Rc::clone(&seats[0].socket);
            let to = std::net::SocketAddr::from(([127, 0, 0, 1], old.port()));
            // Forged replies with every id.
            for id in 0..100_u16 {
                server.send_to(&id.to_be_bytes(), to).unwrap();
            }
            seats.clear();
            old.renew(&pool.buffer, Instant::now()).unwrap();
            assert_eq!((old.uses.get(), old.is_retired()), (0, false));
            assert_eq!(pool.upstream.tally().mismatches, 100, "they were dropped and counted");
            // A datagram to the new port still arrives.
            let id = old.waiters().enter(1).unwrap();
            let to = std::net::SocketAddr::from(([127, 0, 0, 1], old.port()));
            server.send_to(&id.to_be_bytes(), to).unwrap();
            let heard = std::future::poll_fn(|context| old.waiters().poll(id, context)).await;
            assert_eq!(heard, super::super::waiters::Delivery::Message(id.to_be_bytes().into()));
        })
        .await;
    }

    #[tokio::test]
    async fn a_socket_in_use_or_with_an_error_keeps_its_port() {
        local(async {
            let server = silent();
            let pool = pool(&server);
            let seat = pool.seat().unwrap();
            let socket = Rc::clone(&seat.socket);
            assert!(!socket.is_renewable(), "a query waits there");
            drop(seat);
            assert!(socket.is_renewable());
            socket.retire();
            assert!(!socket.is_renewable());
        })
        .await;
    }
}
