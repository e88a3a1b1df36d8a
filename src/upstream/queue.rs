//! Queries that wait for a connection, the oldest first.
//!
//! A query keeps its number when its connection ends and it waits again. So queries that were asked
//! first are answered first, and repeats of the same question wait behind them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use tokio::sync::oneshot;

/// What waits for one server's connections. `T` is handed to a query whose turn it is.
pub(super) struct Queue<T> {
    waiting: RefCell<BTreeMap<u64, oneshot::Sender<T>>>,
    /// Queries that have a place, whether they wait or are on a connection.
    places: Cell<usize>,
    most: usize,
    next: Cell<u64>,
}

/// A query's place; dropping it gives it back.
pub(super) struct Place<T> {
    queue: Rc<Queue<T>>,
    number: u64,
}

impl<T> Queue<T> {
    /// Has at most `most` places.
    pub(super) fn new(most: usize) -> Self {
        let (waiting, places, next) = (RefCell::default(), Cell::new(0), Cell::new(0));
        Self { waiting, places, most, next }
    }

    /// Gives a place behind all others; `None`: all are taken.
    pub(super) fn enter(self: &Rc<Self>) -> Option<Place<T>> {
        if self.places.get() >= self.most {
            return None;
        }
        self.places.set(self.places.get() + 1);
        let number = self.next.get();
        self.next.set(number + 1);
        Some(Place { queue: Rc::clone(self), number })
    }

    /// Queries that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// Takes the oldest query that waits.
    pub(super) fn pop(&self) -> Option<oneshot::Sender<T>> {
        self.waiting.borrow_mut().pop_first().map(|(_, sender)| sender)
    }
}

impl<T> Place<T> {
    /// Waits, and gives what the query gets when it is its turn.
    pub(super) fn wait(&self) -> oneshot::Receiver<T> {
        let (sender, receiver) = oneshot::channel();
        self.queue.waiting.borrow_mut().insert(self.number, sender);
        receiver
    }
}

impl<T> Drop for Place<T> {
    fn drop(&mut self) {
        self.queue.waiting.borrow_mut().remove(&self.number);
        self.queue.places.set(self.queue.places.get().saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_first_also_when_it_comes_back() {
        let queue = Rc::new(Queue::new(3));
        let [first, second, third] = [(); 3].map(|()| queue.enter().unwrap());
        let mut waits = [second.wait(), third.wait()];
        queue.pop().unwrap().send(2).unwrap();
        assert_eq!(waits[0].try_recv(), Ok(2));
        let mut back = first.wait();
        queue.pop().unwrap().send(1).unwrap();
        assert_eq!((back.try_recv(), queue.len()), (Ok(1), 1));
    }

    #[test]
    fn places_are_bounded_and_given_back() {
        let queue = Rc::new(Queue::<u8>::new(2));
        let places = [queue.enter().unwrap(), queue.enter().unwrap()];
        assert!(queue.enter().is_none());
        let _waits = places.each_ref().map(Place::wait);
        assert_eq!(queue.len(), 2);
        drop(places);
        assert_eq!((queue.len(), queue.pop().is_some()), (0, false));
        assert!(queue.enter().is_some());
    }
}
