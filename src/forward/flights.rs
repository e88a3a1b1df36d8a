//! Identical questions in flight are one upstream query, and those who wait are bounded.
//!
//! Shared by all workers. The first who asks leads: it runs its own future; the others follow and
//! wait for what it finds. Besides the saving this is a defence: many identical queries in flight
//! at once would make forged replies likely to hit one (RFC 5452 §5), so there are only the few that
//! one race repeats (`upstream::udp` has the figure); and a query that a forwarding loop brings back
//! ends as a follower of itself.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::hash::BuildHasher;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use foldhash::quality::RandomState;
use hashbrown::HashTable;

use super::failure::Failure;
use crate::wire::Question;

/// The questions that wait for upstreams, with all who wait for each.
pub struct Flights<T> {
    /// Seeded: names come from clients, who must not choose where they collide.
    hasher: RandomState,
    board: Mutex<Board<T>>,
}

struct Board<T> {
    limit: usize,
    by_question: HashTable<Arc<Flight<T>>>,
    /// The same flights by age.
    by_age: BTreeMap<u64, Arc<Flight<T>>>,
    next_number: u64,
    /// Clients that wait, leaders included.
    waiting: usize,
}

struct Flight<T> {
    question: Question,
    hash: u64,
    /// Grows with every flight: the smallest is the oldest.
    number: u64,
    cabin: Mutex<Cabin<T>>,
}

struct Cabin<T> {
    outcome: Option<Result<T, Failure>>,
    /// Landed or evicted: the board knows it no more.
    is_off: bool,
    /// Whether somebody's future is at work.
    led: bool,
    /// Who waits.
    seats: Seats,
    /// Clients in it: the board counts them too.
    aboard: usize,
}

/// The wakers of those who wait; a seat that was left has none.
#[derive(Clone, Default)]
struct Seats {
    /// Nearly always the only one, so it stands here.
    first: Option<Waker>,
    is_first_given: bool,
    others: Vec<Option<Waker>>,
}

impl Seats {
    /// Notes `waker` on `seat`, a new one where there is none yet. Leaders sit too: eviction must
    /// wake them.
    fn sit(&mut self, seat: &mut Option<usize>, waker: &Waker) {
        match seat.and_then(|seat| self.at(seat)) {
            Some(Some(seated)) => return seated.clone_from(waker),
            Some(free) => return *free = Some(waker.clone()),
            None => {}
        }
        if self.is_first_given {
            self.others.push(Some(waker.clone()));
        } else {
            (self.first, self.is_first_given) = (Some(waker.clone()), true);
        }
        *seat = Some(self.others.len());
    }

    fn leave(&mut self, seat: Option<usize>) {
        if let Some(waker) = seat.and_then(|seat| self.at(seat)) {
            *waker = None;
        }
    }

    fn at(&mut self, seat: usize) -> Option<&mut Option<Waker>> {
        match seat.checked_sub(1) {
            None => Some(&mut self.first),
            Some(other) => self.others.get_mut(other),
        }
    }

    fn wake(self) {
        self.first.into_iter().chain(self.others.into_iter().flatten()).for_each(Waker::wake);
    }
}

/// A panic in between leaves no half-done state: each section only moves values.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Board<T> {
    fn remove(&mut self, flight: &Flight<T>) {
        self.by_age.remove(&flight.number);
        self.remove_question(flight);
    }

    fn remove_question(&mut self, flight: &Flight<T>) {
        let same = |other: &Arc<Flight<T>>| other.number == flight.number;
        if let Ok(entry) = self.by_question.find_entry(flight.hash, same) {
            entry.remove();
        }
    }
}

impl<T: Clone> Flights<T> {
    /// `limit` is `limits.in-flight`: how many clients may wait, leaders and followers together.
    /// A limit of zero is taken as one.
    pub fn new(limit: usize) -> Self {
        let board = Board {
            limit: limit.max(1),
            by_question: HashTable::new(),
            by_age: BTreeMap::new(),
            next_number: 0,
            waiting: 0,
        };
        Self { hasher: RandomState::default(), board: Mutex::new(board) }
    }

    /// Changes the limit, for a reload. Who waits already is left alone.
    pub fn set_limit(&self, limit: usize) {
        lock(&self.board).limit = limit.max(1);
    }

    /// How many clients wait now.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        lock(&self.board).waiting
    }

    /// Runs what `lead` gives unless the same question is in flight already; gives what the leader
    /// found.
    ///
    /// When one client more would wait than the limit allows, the oldest flight gives way: its
    /// leader's future is dropped, and all who wait in it get [`Failure::Overloaded`]. The newest
    /// question is the one whose client still listens. When a leader is dropped, one of its
    /// followers leads on with its own future, from the beginning.
    pub async fn run<F>(&self, question: &Question, lead: impl FnOnce() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut passenger = self.board(question);
        // Made where it stays: it is some kilobytes.
        let mut lead = pin!(lead());
        poll_fn(|context| passenger.poll(lead.as_mut(), context)).await
    }

    /// Takes a seat in the question's flight, a new one where there is none.
    fn board(&self, question: &Question) -> Passenger<'_, T> {
        let hash = self.hasher.hash_one(question);
        let mut evicted = Seats::default();
        let mut board = lock(&self.board);
        if board.waiting >= board.limit
            && let Some((_, oldest)) = board.by_age.pop_first()
        {
            board.remove_question(&oldest);
            let mut cabin = lock(&oldest.cabin);
            board.waiting -= cabin.aboard;
            cabin.is_off = true;
            cabin.outcome = Some(Err(Failure::Overloaded));
            evicted = std::mem::take(&mut cabin.seats);
        }
        board.waiting += 1;
        let known = board.by_question.find(hash, |flight| flight.question == *question);
        let flight = if let Some(flight) = known {
            lock(&flight.cabin).aboard += 1;
            Arc::clone(flight)
        } else {
            let number = board.next_number;
            board.next_number += 1;
            let seats = Seats::default();
            let cabin = Cabin { outcome: None, is_off: false, led: false, seats, aboard: 1 };
            let flight = Arc::new(Flight {
                question: question.clone(),
                hash,
                number,
                cabin: Mutex::new(cabin),
            });
            board.by_age.insert(number, Arc::clone(&flight));
            board.by_question.insert_unique(hash, Arc::clone(&flight), |flight| flight.hash);
            flight
        };
        drop(board);
        evicted.wake();
        Passenger { flights: self, flight, seat: None, leads: false }
    }
}

/// One client in a flight.
struct Passenger<'a, T> {
    flights: &'a Flights<T>,
    flight: Arc<Flight<T>>,
    seat: Option<usize>,
    leads: bool,
}

impl<T: Clone> Passenger<'_, T> {
    fn poll<F>(&mut self, lead: Pin<&mut F>, context: &mut Context<'_>) -> Poll<Result<T, Failure>>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        {
            let mut cabin = lock(&self.flight.cabin);
            if let Some(outcome) = &cabin.outcome {
                return Poll::Ready(outcome.clone());
            }
            if !cabin.led {
                cabin.led = true;
                self.leads = true;
            }
            cabin.seats.sit(&mut self.seat, context.waker());
        }
        if !self.leads {
            return Poll::Pending;
        }
        let Poll::Ready(outcome) = lead.poll(context) else { return Poll::Pending };
        self.land(&outcome);
        Poll::Ready(outcome)
    }

    /// Tells the followers, and takes the flight off the board: the next who asks leads anew.
    fn land(&mut self, outcome: &Result<T, Failure>) {
        let seats = {
            let mut board = lock(&self.flights.board);
            let mut cabin = lock(&self.flight.cabin);
            if cabin.is_off {
                return;
            }
            cabin.is_off = true;
            board.remove(&self.flight);
            board.waiting -= cabin.aboard;
            if cabin.aboard == 1 {
                // Nobody else: no copy is needed.
                return;
            }
            cabin.outcome = Some(outcome.clone());
            cabin.seats.leave(self.seat);
            std::mem::take(&mut cabin.seats)
        };
        seats.wake();
    }
}

impl<T> Drop for Passenger<'_, T> {
    fn drop(&mut self) {
        if lock(&self.flight.cabin).is_off {
            return;
        }
        // The board's lock comes first, everywhere; so look again.
        let mut board = lock(&self.flights.board);
        let mut cabin = lock(&self.flight.cabin);
        if cabin.is_off {
            return;
        }
        board.waiting -= 1;
        cabin.aboard -= 1;
        cabin.seats.leave(self.seat);
        if cabin.aboard == 0 {
            board.remove(&self.flight);
            return;
        }
        if self.leads {
            cabin.led = false;
            // All of them: one alone might be about to leave itself.
            let seats = cabin.seats.clone();
            drop((cabin, board));
            seats.wake();
        }
    }
}
