//! Who waits for which id on one socket.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use hashbrown::HashTable;
use rand::RngExt;

use crate::sys::INBOX_SLOTS;
use crate::wire::UDP_PAYLOAD_OCTETS;

/// Buffers that are kept for messages to come: as many as come in one receive.
const SPARE: usize = INBOX_SLOTS;
/// Messages that wait behind the first for one reader. All of them came between two turns of that
/// reader, so the genuine reply is among the first unless the path is flooded.
const BEHIND: usize = 8;
/// Octets up to which a buffer is kept: what we offer, and no reply to it is larger.
const SPARE_OCTETS: usize = UDP_PAYLOAD_OCTETS as usize;

/// What a socket brought to a waiter.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Delivery {
    /// A message with its id. Any host can have sent it.
    Message(Vec<u8>),
    /// An ICMP error came for the socket after the query had left. Any host can have sent it.
    IcmpError(io::ErrorKind),
    /// The kernel did not send the query.
    Unsent(io::ErrorKind),
}

struct Waiter {
    id: u16,
    waker: Option<Waker>,
    /// What came first and was not taken yet.
    delivery: Option<Delivery>,
    /// What came behind it, at most [`BEHIND`]: anybody can have sent the first.
    behind: Vec<Delivery>,
    icmp_error: IcmpError,
}

/// The ICMP error of a waiter. It hears of one: more would say nothing new.
#[derive(Clone, Copy)]
enum IcmpError {
    None,
    Came(io::ErrorKind),
    Taken,
}

impl Waiter {
    /// Whether another delivery finds room.
    fn has_room(&self) -> bool {
        self.delivery.is_none() || self.behind.len() < BEHIND
    }

    fn put(&mut self, delivery: Delivery) {
        match self.delivery {
            None => self.delivery = Some(delivery),
            Some(_) => self.behind.push(delivery),
        }
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Messages go first: one of them may be the reply.
    fn take(&mut self) -> Option<Delivery> {
        let next = (!self.behind.is_empty()).then(|| self.behind.remove(0));
        let delivery = std::mem::replace(&mut self.delivery, next);
        match (delivery, self.icmp_error) {
            (None, IcmpError::Came(kind)) => {
                self.icmp_error = IcmpError::Taken;
                Some(Delivery::IcmpError(kind))
            }
            (delivery, _) => delivery,
        }
    }

    /// An ICMP error takes no message's place.
    fn note_icmp_error(&mut self, kind: io::ErrorKind) {
        if let IcmpError::None = self.icmp_error {
            self.icmp_error = IcmpError::Came(kind);
            self.wake();
        }
    }
}

/// The ids in use on one socket. Ids are drawn from a CSPRNG and unique among those that wait.
pub(super) struct Waiters {
    table: RefCell<HashTable<Waiter>>,
    genuine: Cell<u64>,
    spare: Rc<SpareBuffers>,
}

/// Buffers of messages that were read, for the sockets of one pool.
#[derive(Default)]
pub(super) struct SpareBuffers(RefCell<Vec<Vec<u8>>>);

/// Ids are random already; the multiplication spreads them over the bits that the table looks at.
fn hash(id: u16) -> u64 {
    u64::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Waiters {
    /// Room for `usual` at first.
    pub(super) fn new(usual: usize, spare: Rc<SpareBuffers>) -> Self {
        let table = RefCell::new(HashTable::with_capacity(usual));
        Self { table, genuine: Cell::new(0), spare }
    }

    /// Draws an id that nobody waits for; `None` when `limit` wait.
    pub(super) fn enter(&self, limit: usize) -> Option<u16> {
        let mut table = self.table.borrow_mut();
        if table.len() >= limit {
            return None;
        }
        let mut random = rand::rng();
        // `limit` is far below 65,536, so this ends soon.
        loop {
            let id = random.random::<u16>();
            if table.find(hash(id), |waiter| waiter.id == id).is_none() {
                let waiter = Waiter {
                    id,
                    waker: None,
                    delivery: None,
                    behind: Vec::new(),
                    icmp_error: IcmpError::None,
                };
                table.insert_unique(hash(id), waiter, |waiter| hash(waiter.id));
                return Some(id);
            }
        }
    }

    /// Frees `id`.
    pub(super) fn leave(&self, id: u16) {
        let mut table = self.table.borrow_mut();
        if let Ok(entry) = table.find_entry(hash(id), |waiter| waiter.id == id) {
            entry.remove();
        }
    }

    /// Gives `message` to the query that waits for `id`; `false` when none does, or it has as many
    /// already as it may have.
    pub(super) fn deliver(&self, id: u16, message: &[u8]) -> bool {
        let mut table = self.table.borrow_mut();
        let Some(waiter) = table.find_mut(hash(id), |waiter| waiter.id == id) else { return false };
        if !waiter.has_room() {
            return false;
        }
        let mut buffer = self.spare.0.borrow_mut().pop().unwrap_or_default();
        buffer.extend_from_slice(message);
        waiter.put(Delivery::Message(buffer));
        true
    }

    /// Counts a message that the server itself has sent.
    pub(super) fn note_genuine(&self) {
        self.genuine.set(self.genuine.get() + 1);
    }

    /// Takes the buffer of a message that was read.
    pub(super) fn give_back(&self, mut buffer: Vec<u8>) {
        let mut spare = self.spare.0.borrow_mut();
        if spare.len() < SPARE && buffer.capacity() <= SPARE_OCTETS {
            buffer.clear();
            spare.push(buffer);
        }
    }

    /// Tells all waiters whose id `concerns` that an ICMP error came for the socket.
    pub(super) fn note_icmp_error(&self, kind: io::ErrorKind, concerns: impl Fn(u16) -> bool) {
        for waiter in self.table.borrow_mut().iter_mut().filter(|waiter| concerns(waiter.id)) {
            waiter.note_icmp_error(kind);
        }
    }

    /// Tells the waiter for `id` that the kernel did not send its query.
    pub(super) fn note_unsent(&self, id: u16, kind: io::ErrorKind) {
        let mut table = self.table.borrow_mut();
        let waiter = table.find_mut(hash(id), |waiter| waiter.id == id);
        if let Some(waiter) = waiter.filter(|waiter| waiter.has_room()) {
            waiter.put(Delivery::Unsent(kind));
        }
    }

    /// Returns what came for `id`. For an id that has left nothing will ever come.
    pub(super) fn poll(&self, id: u16, context: &mut Context<'_>) -> Poll<Delivery> {
        let mut table = self.table.borrow_mut();
        let Some(waiter) = table.find_mut(hash(id), |waiter| waiter.id == id) else {
            return Poll::Ready(Delivery::Unsent(io::ErrorKind::NotConnected));
        };
        if let Some(delivery) = waiter.take() {
            return Poll::Ready(delivery);
        }
        match &mut waiter.waker {
            Some(waker) => waker.clone_from(context.waker()),
            None => waiter.waker = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Messages of the server so far: tells a dead socket from a slow server. Forged ones do not
    /// count, or they would keep a dead socket in use.
    pub(super) fn genuine(&self) -> u64 {
        self.genuine.get()
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.table.borrow().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(waiters: &Waiters, id: u16) -> Poll<Delivery> {
        waiters.poll(id, &mut Context::from_waker(Waker::noop()))
    }

    fn waiters() -> Waiters {
        Waiters::new(0, Rc::default())
    }

    fn message(octets: &[u8]) -> Poll<Delivery> {
        Poll::Ready(Delivery::Message(octets.to_vec()))
    }

    fn refused() -> Poll<Delivery> {
        Poll::Ready(Delivery::IcmpError(io::ErrorKind::ConnectionRefused))
    }

    #[test]
    fn ids_are_unique_and_bounded() {
        let waiters = waiters();
        let mut ids: Vec<u16> = (0..2_000).map(|_| waiters.enter(2_000).unwrap()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 2_000);
        assert_eq!(waiters.enter(2_000), None);
        waiters.leave(ids[7]);
        assert!(waiters.enter(2_000).is_some());
    }

    #[test]
    fn messages_reach_their_id_in_order_up_to_a_bound() {
        let waiters = waiters();
        let id = waiters.enter(8).unwrap();
        assert!(poll(&waiters, id).is_pending());
        assert!(!waiters.deliver(id.wrapping_add(1), b"x"));
        for number in 0..=8 {
            assert!(waiters.deliver(id, &[number]), "{number}");
        }
        assert!(!waiters.deliver(id, b"one too many"));
        for number in 0..=8 {
            assert_eq!(poll(&waiters, id), message(&[number]));
        }
        assert!(poll(&waiters, id).is_pending());
        assert!(waiters.deliver(id, b"later"));
        waiters.leave(id);
        let gone = Delivery::Unsent(io::ErrorKind::NotConnected);
        assert_eq!(poll(&waiters, id), Poll::Ready(gone));
        assert_eq!(waiters.len(), 0);
    }

    #[test]
    fn an_icmp_error_comes_once_and_behind_the_messages() {
        let waiters = waiters();
        let id = waiters.enter(8).unwrap();
        for number in 0..=8 {
            // A flood of errors takes no message's room.
            waiters.note_icmp_error(io::ErrorKind::ConnectionRefused, |_| true);
            assert!(waiters.deliver(id, &[number]), "{number}");
        }
        for number in 0..=8 {
            assert_eq!(poll(&waiters, id), message(&[number]));
        }
        assert_eq!(poll(&waiters, id), refused());
        waiters.note_icmp_error(io::ErrorKind::ConnectionRefused, |_| true);
        assert!(poll(&waiters, id).is_pending());
    }

    #[test]
    fn what_came_before_the_kernel_refused_is_still_read() {
        let waiters = waiters();
        let id = waiters.enter(8).unwrap();
        waiters.deliver(id, b"forged");
        waiters.note_unsent(id, io::ErrorKind::NetworkUnreachable);
        assert_eq!(poll(&waiters, id), message(b"forged"));
        let unsent = Delivery::Unsent(io::ErrorKind::NetworkUnreachable);
        assert_eq!(poll(&waiters, id), Poll::Ready(unsent));
    }

    #[test]
    fn buffers_are_used_again_but_neither_many_nor_large_ones() {
        let waiters = waiters();
        for _ in 0..=SPARE {
            waiters.give_back(Vec::with_capacity(100));
        }
        assert_eq!(waiters.spare.0.borrow().len(), SPARE);
        waiters.spare.0.borrow_mut().clear();
        waiters.give_back(vec![0; SPARE_OCTETS + 1]);
        assert_eq!(waiters.spare.0.borrow().len(), 0);
        waiters.give_back(b"an earlier message".to_vec());
        let id = waiters.enter(8).unwrap();
        waiters.deliver(id, b"message");
        assert_eq!(poll(&waiters, id), message(b"message"));
        assert_eq!(waiters.spare.0.borrow().len(), 0);
    }

    #[test]
    fn an_icmp_error_reaches_all_whose_query_has_left() {
        let waiters = waiters();
        let [served, waiting, unsent] = [(); 3].map(|()| waiters.enter(8).unwrap());
        waiters.deliver(served, b"x");
        waiters.note_icmp_error(io::ErrorKind::ConnectionRefused, |id| id != unsent);
        assert_eq!(poll(&waiters, served), message(b"x"));
        assert_eq!(poll(&waiters, waiting), refused());
        assert!(poll(&waiters, unsent).is_pending());
    }
}
