//! Identical questions in flight are one upstream query, and those who wait are bounded.
//!
//! Shared by all workers. The first who asks leads: it runs its own future; the others follow and
//! wait for what it finds. Besides the saving this is a defence: many identical queries in flight
//! at once would make forged replies likely to hit one (RFC 5452 §5), so there are only the few that
//! one race repeats (docs/design/off-path.md); and a query that a forwarding loop brings back ends
//! as a follower of itself.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::hash::BuildHasher;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use foldhash::quality::RandomState;
use hashbrown::HashTable;

use super::failure::Failure;
use crate::addresses::HostBlock;
use crate::upstream::{Holder, Seat, Shares};
use crate::wire::Question;

/// The questions that wait for upstreams, with all who wait for each.
pub struct Flights<T> {
    /// Seeded: names come from clients, who must not choose where they collide.
    hasher: RandomState,
    limit: AtomicUsize,
    /// Clients that wait, leaders included.
    shares: Shares,
    board: Mutex<Board<T>>,
}

/// The flights under way, by question.
struct Board<T>(HashTable<Arc<Flight<T>>>);

struct Flight<T> {
    question: Question,
    hash: u64,
    cabin: Mutex<Cabin<T>>,
}

struct Cabin<T> {
    outcome: Option<Result<T, Failure>>,
    /// Landed: the board knows it no more.
    is_off: bool,
    /// Whether somebody's future is at work.
    led: bool,
    /// Who waits.
    seats: Seats,
    /// Clients in it.
    aboard: usize,
}

/// The wakers of those who wait, by seat: the lowest has waited longest.
#[derive(Default)]
struct Seats {
    /// Of seat 0. Nearly always the only one, so it stands here.
    first: Option<Waker>,
    /// Holds no more than wait now, however long the flight goes on.
    others: BTreeMap<u64, Waker>,
    /// The next seat that was never taken.
    next: u64,
}

impl Seats {
    /// Notes `waker` on `seat`, a new one where there is none yet. Leaders sit too: they may have
    /// followed before.
    fn sit(&mut self, seat: &mut Option<u64>, waker: &Waker) {
        let seat = *seat.get_or_insert_with(|| {
            self.next += 1;
            self.next - 1
        });
        if seat == 0 {
            match &mut self.first {
                Some(seated) => seated.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
        } else {
            let seated = self.others.entry(seat);
            seated.and_modify(|seated| seated.clone_from(waker)).or_insert_with(|| waker.clone());
        }
    }

    fn leave(&mut self, seat: Option<u64>) {
        match seat {
            Some(0) => self.first = None,
            Some(other) => drop(self.others.remove(&other)),
            None => {}
        }
    }

    /// The one that has waited longest.
    fn longest(&self) -> Option<Waker> {
        let other = || self.others.first_key_value().map(|(_, waker)| waker.clone());
        self.first.clone().or_else(other)
    }

    fn wake(self) {
        self.first.into_iter().chain(self.others.into_values()).for_each(Waker::wake);
    }
}

/// A panic in between leaves no half-done state: each section only moves values.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Board<T> {
    fn remove(&mut self, flight: &Flight<T>) {
        let same = |other: &Arc<Flight<T>>| std::ptr::eq(&**other, flight);
        if let Ok(entry) = self.0.find_entry(flight.hash, same) {
            entry.remove();
        }
    }
}

impl<T: Clone> Flights<T> {
    /// `limit` is `limits.in-flight`: how many clients may wait, leaders and followers together.
    /// A limit of zero is taken as one.
    pub fn new(limit: usize) -> Self {
        Self {
            hasher: RandomState::default(),
            limit: AtomicUsize::new(limit.max(1)),
            shares: Shares::default(),
            board: Mutex::new(Board(HashTable::new())),
        }
    }

    /// Changes the limit, for a reload. Who waits already is left alone.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit.max(1), Ordering::Relaxed);
    }

    /// How many clients wait now.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.shares.taken()
    }

    /// Runs what `lead` gives unless the same question is in flight already; gives what the leader
    /// found.
    ///
    /// Each who waits holds a seat out of the share of its client. When the seats run short, the
    /// largest holder loses its oldest one (see [`Shares`]), and who waited there gets
    /// [`Failure::Overloaded`]. When a leader goes, one of its followers leads on with its own
    /// future, from the beginning.
    pub async fn run<F>(
        &self,
        client: HostBlock,
        question: &Question,
        lead: impl FnOnce() -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut passenger = self.board(client, question);
        // Made where it stays: it is some kilobytes.
        let mut lead = pin!(lead());
        poll_fn(|context| passenger.poll(lead.as_mut(), context)).await
    }

    /// Takes a seat in the question's flight, a new one where there is none.
    fn board(&self, client: HostBlock, question: &Question) -> Passenger<'_, T> {
        let limit = self.limit.load(Ordering::Relaxed);
        let place = self.shares.enter(limit, Holder::client(client));
        let hash = self.hasher.hash_one(question);
        let mut board = lock(&self.board);
        let known = board.0.find(hash, |flight| flight.question == *question);
        let flight = if let Some(flight) = known {
            lock(&flight.cabin).aboard += 1;
            Arc::clone(flight)
        } else {
            let seats = Seats::default();
            let cabin = Cabin { outcome: None, is_off: false, led: false, seats, aboard: 1 };
            let question = question.clone();
            let flight = Arc::new(Flight { question, hash, cabin: Mutex::new(cabin) });
            board.0.insert_unique(hash, Arc::clone(&flight), |flight| flight.hash);
            flight
        };
        Passenger { flights: self, flight, place, seat: None, leads: false }
    }
}

/// One client in a flight.
struct Passenger<'a, T> {
    flights: &'a Flights<T>,
    flight: Arc<Flight<T>>,
    /// Among all that wait.
    place: Seat<'a>,
    /// In its flight.
    seat: Option<u64>,
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
            // One that goes anyway begins no query.
            if !self.leads && self.place.poll_lost(context) {
                return Poll::Ready(Err(Failure::Overloaded));
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
        if let Poll::Ready(outcome) = lead.poll(context) {
            // A seat that was lost was out of this client's share alone: the followers have theirs.
            if !matches!(outcome, Err(Failure::Overloaded)) {
                self.land(&outcome);
            }
            return Poll::Ready(outcome);
        }
        if self.place.poll_lost(context) {
            return Poll::Ready(Err(Failure::Overloaded));
        }
        Poll::Pending
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
        cabin.aboard -= 1;
        cabin.seats.leave(self.seat);
        if cabin.aboard == 0 {
            board.remove(&self.flight);
            return;
        }
        if self.leads {
            cabin.led = false;
        }
        // The one that was woken to lead may leave before it does: then the next one is woken.
        let next = if cabin.led { None } else { cabin.seats.longest() };
        drop((cabin, board));
        next.into_iter().for_each(Waker::wake);
    }
}
