//! Who waits for which id on one socket.

use std::cell::{Cell, RefCell};
use std::io;
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
pub(super) type Delivery = Result<Vec<u8>, io::ErrorKind>;

struct Waiter {
    id: u16,
    waker: Option<Waker>,
    /// What came first and was not taken yet.
    delivery: Option<Delivery>,
    /// What came behind it, at most [`BEHIND`]: anybody can have sent the first.
    behind: Vec<Delivery>,
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
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn take(&mut self) -> Option<Delivery> {
        let next = (!self.behind.is_empty()).then(|| self.behind.remove(0));
        std::mem::replace(&mut self.delivery, next)
    }

    /// What came before the failure is still worth reading.
    fn fail(&mut self, kind: io::ErrorKind) {
        if self.has_room() {
            self.put(Err(kind));
        }
    }
}

/// The ids in use on one socket. Ids are drawn from a CSPRNG and unique among those that wait.
#[derive(Default)]
pub(super) struct Waiters {
    table: RefCell<HashTable<Waiter>>,
    genuine: Cell<u64>,
    /// Of messages that were read.
    spare: RefCell<Vec<Vec<u8>>>,
}

/// Ids are random already; the multiplication spreads them over the bits that the table looks at.
fn hash(id: u16) -> u64 {
    u64::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Waiters {
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
                let waiter = Waiter { id, waker: None, delivery: None, behind: Vec::new() };
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
        let mut buffer = self.spare.borrow_mut().pop().unwrap_or_default();
        buffer.extend_from_slice(message);
        waiter.put(Ok(buffer));
        true
    }

    /// Counts a message that the server itself has sent.
    pub(super) fn note_genuine(&self) {
        self.genuine.set(self.genuine.get() + 1);
    }

    /// Takes the buffer of a message that was read.
    pub(super) fn give_back(&self, mut buffer: Vec<u8>) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE && buffer.capacity() <= SPARE_OCTETS {
            buffer.clear();
            spare.push(buffer);
        }
    }

    /// Tells everybody that still waits, and whose id `concerns`, that the socket failed.
    pub(super) fn fail_all(&self, kind: io::ErrorKind, concerns: impl Fn(u16) -> bool) {
        for waiter in self.table.borrow_mut().iter_mut().filter(|waiter| concerns(waiter.id)) {
            waiter.fail(kind);
        }
    }

    /// Tells who waits for `id` that its query cannot be sent.
    pub(super) fn fail(&self, id: u16, kind: io::ErrorKind) {
        let mut table = self.table.borrow_mut();
        if let Some(waiter) = table.find_mut(hash(id), |waiter| waiter.id == id) {
            waiter.fail(kind);
        }
    }

    /// What came for `id`. An id that has left fails: nothing will ever come.
    pub(super) fn poll(&self, id: u16, context: &mut Context<'_>) -> Poll<Delivery> {
        let mut table = self.table.borrow_mut();
        let Some(waiter) = table.find_mut(hash(id), |waiter| waiter.id == id) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected));
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

    #[test]
    fn ids_are_unique_and_bounded() {
        let waiters = Waiters::default();
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
        let waiters = Waiters::default();
        let id = waiters.enter(8).unwrap();
        assert!(poll(&waiters, id).is_pending());
        assert!(!waiters.deliver(id.wrapping_add(1), b"x"));
        for number in 0..=8 {
            assert!(waiters.deliver(id, &[number]), "{number}");
        }
        assert!(!waiters.deliver(id, b"one too many"));
        for number in 0..=8 {
            assert_eq!(poll(&waiters, id), Poll::Ready(Ok(vec![number])));
        }
        assert!(poll(&waiters, id).is_pending());
        assert!(waiters.deliver(id, b"later"));
        waiters.leave(id);
        assert_eq!(poll(&waiters, id), Poll::Ready(Err(io::ErrorKind::NotConnected)));
        assert_eq!(waiters.len(), 0);
    }

    #[test]
    fn a_failure_stands_behind_what_came_before_it() {
        let waiters = Waiters::default();
        let id = waiters.enter(8).unwrap();
        waiters.deliver(id, b"forged");
        waiters.fail(id, io::ErrorKind::ConnectionRefused);
        assert_eq!(poll(&waiters, id), Poll::Ready(Ok(b"forged".to_vec())));
        assert_eq!(poll(&waiters, id), Poll::Ready(Err(io::ErrorKind::ConnectionRefused)));
    }

    #[test]
    fn buffers_are_used_again_but_neither_many_nor_large_ones() {
        let waiters = Waiters::default();
        for _ in 0..=SPARE {
            waiters.give_back(Vec::with_capacity(100));
        }
        assert_eq!(waiters.spare.borrow().len(), SPARE);
        waiters.spare.borrow_mut().clear();
        waiters.give_back(vec![0; SPARE_OCTETS + 1]);
        assert_eq!(waiters.spare.borrow().len(), 0);
        waiters.give_back(b"an earlier message".to_vec());
        let id = waiters.enter(8).unwrap();
        waiters.deliver(id, b"message");
        assert_eq!(poll(&waiters, id), Poll::Ready(Ok(b"message".to_vec())));
        assert_eq!(waiters.spare.borrow().len(), 0);
    }

    #[test]
    fn a_failure_reaches_all_who_wait() {
        let waiters = Waiters::default();
        let [served, waiting, unsent, single] = [(); 4].map(|()| waiters.enter(8).unwrap());
        waiters.deliver(served, b"x");
        waiters.fail_all(io::ErrorKind::ConnectionRefused, |id| id != unsent && id != single);
        assert!(matches!(poll(&waiters, served), Poll::Ready(Ok(_))));
        let refused = Poll::Ready(Err(io::ErrorKind::ConnectionRefused));
        assert_eq!(poll(&waiters, waiting), refused);
        waiters.fail(single, io::ErrorKind::ConnectionRefused);
        assert_eq!(poll(&waiters, single), refused);
        assert!(poll(&waiters, unsent).is_pending());
    }
}
