//! Seats for those who wait, shared fairly between clients: the one rule behind `limits.in-flight`
//! and `limits.upstream-in-flight`.
//!
//! A seat is never refused. Below half of the limit no question loses its seat. Above it, a client
//! that holds more than half of all seats loses its oldest one to each new question of another
//! client. When all seats are taken, the client that holds most loses its oldest one, even to a
//! question of its own.
//! So a flood from one client displaces its own old questions, and a busy client without
//! competitors may use every seat.
//!
//! A client is a [`HostBlock`]. A host that forges many source addresses is many clients: then the
//! rule is the same as "the oldest question gives way".
//!
//! Seats for names of silent zones (`super::silence`) have an account of their own for each client,
//! and count [`SILENT_WEIGHT`] times. So one user of a resolver who asks for such names costs the
//! other users of that resolver little, and many clients who ask for such names lose their seats
//! before other clients do.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use foldhash::quality::RandomState;
use slab::Slab;

use crate::addresses::HostBlock;

/// How many ordinary seats one seat for a name of a silent zone counts for: such names get an
/// eighth of the seats at most while more than half are taken.
const SILENT_WEIGHT: usize = 4;

/// The account that a seat is counted in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Holder {
    /// The client that asks.
    pub client: HostBlock,
    /// Whether the name lies in a zone of which the server answers nothing.
    pub is_silent: bool,
}

impl Holder {
    /// The account of the client's ordinary questions.
    pub fn client(client: HostBlock) -> Self {
        Self { client, is_silent: false }
    }

    fn weight(self) -> usize {
        if self.is_silent { SILENT_WEIGHT } else { 1 }
    }
}

/// Seats that are taken now, by holder. Enter and leave cost O(1) while less than half of the seats
/// are taken, and O(log n) above.
#[derive(Default, Debug)]
pub struct Shares(Mutex<Board>);

#[derive(Default, Debug)]
struct Board {
    /// Seeded: clients must not choose where they collide. Holders without a seat have no entry.
    accounts: HashMap<Holder, Account, RandomState>,
    /// All seats. Those of one account are a list, from the oldest to the newest.
    seats: Slab<Taken>,
    /// Exists from the first seat above half of the limit on, until less than a quarter is taken:
    /// no question loses its seat below half, so the order does not matter there.
    ranking: Option<Ranking>,
    /// Half of the limit that the last question came with.
    half: usize,
    /// Grows with every account and every seat.
    next_number: u64,
}

/// The accounts by weight. Among equal ones, the oldest account comes last.
type Ranking = BTreeMap<(usize, Reverse<u64>), Holder>;

#[derive(Clone, Copy, Debug)]
struct Account {
    number: u64,
    seats: usize,
    oldest: usize,
    newest: usize,
}

impl Account {
    fn rank(self, holder: Holder) -> (usize, Reverse<u64>) {
        (self.seats.saturating_mul(holder.weight()), Reverse(self.number))
    }
}

/// A seat that is taken.
#[derive(Debug)]
struct Taken {
    /// Tells the seat from a later one at the same index.
    number: u64,
    /// The task that waits there.
    waker: Option<Waker>,
    /// The neighbours in the account's list.
    older: Option<usize>,
    newer: Option<usize>,
}

/// A seat; dropping it gives it back.
#[derive(Debug)]
pub struct Seat<'a> {
    shares: &'a Shares,
    holder: Holder,
    place: Place,
}

/// Where a seat stands in [`Board::seats`].
#[derive(Clone, Copy, Debug)]
struct Place {
    index: usize,
    number: u64,
}

/// A panic in between leaves no half-done state: each section only moves values.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shares {
    /// Takes a seat for `holder`. If the rule says so, another seat is lost to it, and the task
    /// that waits there wakes.
    pub fn enter(&self, limit: usize, holder: Holder) -> Seat<'_> {
        let (place, lost) = {
            let mut board = lock(&self.0);
            let lost = if board.must_give_way(limit, holder) { board.take_oldest() } else { None };
            (board.sit(holder), lost)
        };
        lost.into_iter().for_each(Waker::wake);
        Seat { shares: self, holder, place }
    }

    /// Returns how many seats are taken.
    pub fn taken(&self) -> usize {
        lock(&self.0).seats.len()
    }
}

impl Board {
    /// Returns whether a new seat for `holder` costs another one.
    fn must_give_way(&mut self, limit: usize, holder: Holder) -> bool {
        self.half = limit / 2;
        let taken = self.seats.len();
        if taken < self.half {
            return false;
        }
        let ranking = self.ranking.get_or_insert_with(|| {
            self.accounts.iter().map(|(holder, account)| (account.rank(*holder), *holder)).collect()
        });
        let Some(((weight, _), largest)) = ranking.last_key_value() else { return false };
        // No client needs many seats for a zone that is silent, with or without competitors.
        let has_competitor = largest.is_silent || largest.client != holder.client;
        taken >= limit || (*weight > self.half && has_competitor)
    }

    /// Takes the oldest seat from the largest holder. Returns the task that waits there.
    fn take_oldest(&mut self) -> Option<Waker> {
        let holder = *self.ranking.as_ref()?.last_key_value()?.1;
        let index = self.accounts.get(&holder)?.oldest;
        let number = self.seats.get(index)?.number;
        self.leave(holder, Place { index, number })
    }

    fn sit(&mut self, holder: Holder) -> Place {
        // One number for the account, if it is new, and one for the seat.
        let (account_number, number) = (self.next_number, self.next_number + 1);
        self.next_number += 2;
        let index = self.seats.insert(Taken { number, waker: None, older: None, newer: None });
        match self.accounts.entry(holder) {
            Entry::Vacant(vacant) => {
                let account =
                    Account { number: account_number, seats: 1, oldest: index, newest: index };
                vacant.insert(account);
                rank(&mut self.ranking, holder, None, Some(account));
            }
            Entry::Occupied(mut occupied) => {
                let account = occupied.get_mut();
                let before = *account;
                account.seats += 1;
                account.newest = index;
                link(&mut self.seats, Some(before.newest), Some(index));
                rank(&mut self.ranking, holder, Some(before), Some(*account));
            }
        }
        Place { index, number }
    }

    /// Returns the seat at `place`, unless it is lost.
    fn taken(&mut self, place: Place) -> Option<&mut Taken> {
        self.seats.get_mut(place.index).filter(|taken| taken.number == place.number)
    }

    /// Frees a seat, unless it is lost already. Returns the task that waits there.
    fn leave(&mut self, holder: Holder, place: Place) -> Option<Waker> {
        self.taken(place)?;
        let taken = self.seats.try_remove(place.index)?;
        let Entry::Occupied(mut occupied) = self.accounts.entry(holder) else { return None };
        let account = occupied.get_mut();
        let before = *account;
        account.seats -= 1;
        link(&mut self.seats, taken.older, taken.newer);
        match (taken.older, taken.newer) {
            (None, Some(newer)) => account.oldest = newer,
            (Some(older), None) => account.newest = older,
            (None, None) | (Some(_), Some(_)) => {}
        }
        let after = (account.seats > 0).then_some(*account);
        if after.is_none() {
            occupied.remove();
        }
        if self.seats.len() < self.half / 2 {
            self.ranking = None;
        }
        rank(&mut self.ranking, holder, Some(before), after);
        taken.waker
    }
}

/// Makes two seats neighbours in the list of their account. `None` is the list's end.
fn link(seats: &mut Slab<Taken>, older: Option<usize>, newer: Option<usize>) {
    if let Some(taken) = older.and_then(|index| seats.get_mut(index)) {
        taken.newer = newer;
    }
    if let Some(taken) = newer.and_then(|index| seats.get_mut(index)) {
        taken.older = older;
    }
}

/// Moves an account in the ranking, if there is one. `None` is an account without a seat.
fn rank(
    ranking: &mut Option<Ranking>,
    holder: Holder,
    before: Option<Account>,
    after: Option<Account>,
) {
    let Some(ranking) = ranking else { return };
    if let Some(account) = before {
        ranking.remove(&account.rank(holder));
    }
    if let Some(account) = after {
        ranking.insert(account.rank(holder), holder);
    }
}

impl Seat<'_> {
    /// Returns whether the seat is lost to another question. If not, the task of `context` wakes
    /// when that happens.
    pub fn poll_lost(&self, context: &Context<'_>) -> bool {
        let mut board = lock(&self.shares.0);
        let Some(taken) = board.taken(self.place) else { return true };
        match &mut taken.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        false
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        lock(&self.shares.0).leave(self.holder, self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 16;

    fn holder(host: u8) -> Holder {
        Holder::client(HostBlock::of([192, 0, 2, host].into()))
    }

    fn silent(host: u8) -> Holder {
        Holder { is_silent: true, ..holder(host) }
    }

    fn lost(seats: &[Seat<'_>]) -> Vec<bool> {
        let context = Context::from_waker(Waker::noop());
        seats.iter().map(|seat| seat.poll_lost(&context)).collect()
    }

    fn enter(shares: &Shares, holder: Holder, count: usize) -> Vec<Seat<'_>> {
        (0..count).map(|_| shares.enter(LIMIT, holder)).collect()
    }

    fn count_lost(seats: &[Seat<'_>]) -> usize {
        lost(seats).into_iter().filter(|lost| *lost).count()
    }

    #[test]
    fn below_half_full_no_question_loses_its_seat() {
        let shares = Shares::default();
        let mine = enter(&shares, holder(1), LIMIT / 2 - 1);
        let others = enter(&shares, holder(2), 1);
        assert_eq!((count_lost(&mine), count_lost(&others)), (0, 0));
    }

    #[test]
    fn a_client_without_competitors_uses_every_seat_and_then_loses_its_oldest() {
        let shares = Shares::default();
        let mine = enter(&shares, holder(1), LIMIT);
        assert_eq!((count_lost(&mine), shares.taken()), (0, LIMIT));
        let newest = enter(&shares, holder(1), 2);
        let lost = lost(&mine);
        assert!(lost[0] && lost[1] && !lost[2..].contains(&true), "{lost:?}");
        assert_eq!((count_lost(&newest), shares.taken()), (0, LIMIT));
    }

    #[test]
    fn above_half_full_the_largest_holder_loses_its_oldest_to_others() {
        let shares = Shares::default();
        let first = enter(&shares, holder(2), 1);
        let flood = enter(&shares, holder(1), LIMIT / 2 + 2);
        assert_eq!(count_lost(&flood), 0, "its own questions displace none before the limit");
        let others = enter(&shares, holder(3), 3);
        let lost = lost(&flood);
        assert!(lost[0] && lost[1], "it held more than half: {lost:?}");
        assert!(!lost[2..].contains(&true), "with half of the seats left it keeps them: {lost:?}");
        assert_eq!((count_lost(&first), count_lost(&others)), (0, 0));
    }

    #[test]
    fn a_flood_into_full_seats_displaces_itself_alone() {
        let shares = Shares::default();
        let small: Vec<_> = (2..6).flat_map(|host| enter(&shares, holder(host), 2)).collect();
        let mut flood = Vec::new();
        for _ in 0..1_000 {
            flood.extend(enter(&shares, holder(1), 1));
            assert!(shares.taken() <= LIMIT);
        }
        assert_eq!(count_lost(&small), 0);
        assert_eq!(flood.len() - count_lost(&flood), LIMIT - small.len());
        let newest = &flood[flood.len() - LIMIT + small.len()..];
        assert_eq!(count_lost(newest), 0, "the oldest go first");
    }

    #[test]
    fn equal_holders_lose_in_the_order_of_their_coming() {
        let shares = Shares::default();
        let seats: Vec<_> = (1..=16).map(|host| shares.enter(LIMIT, holder(host))).collect();
        let _newest = enter(&shares, holder(100), 1);
        let _next = enter(&shares, holder(101), 1);
        let lost = lost(&seats);
        assert!(lost[0] && lost[1] && !lost[2..].contains(&true), "{lost:?}");
    }

    #[test]
    fn silent_zones_get_an_eighth_above_half_full() {
        let shares = Shares::default();
        let ordinary = enter(&shares, holder(1), LIMIT / 2);
        let tarpit = enter(&shares, silent(1), 20);
        assert_eq!(count_lost(&ordinary), 0, "the client's other names keep their seats");
        assert_eq!(tarpit.len() - count_lost(&tarpit), LIMIT / 8 + 1);
        // Many clients with one such name each lose before a client with a few ordinary ones.
        let shares = Shares::default();
        let ordinary = enter(&shares, holder(1), 3);
        let many: Vec<_> = (2..100).map(|host| shares.enter(LIMIT, silent(host))).collect();
        assert_eq!(count_lost(&ordinary), 0);
        assert_eq!(many.len() - count_lost(&many), LIMIT - ordinary.len());
    }

    #[test]
    fn nothing_is_left_of_those_who_left() {
        let shares = Shares::default();
        // A fixed sequence with no pattern (a multiplicative generator).
        let (mut state, mut seats) = (12_345_u64, Vec::new());
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            let [draw, host, ..] = state.to_be_bytes();
            if draw % 3 == 0 && !seats.is_empty() {
                seats.swap_remove(usize::from(draw) % seats.len());
            } else {
                seats.push(shares.enter(LIMIT, holder(host % 5)));
            }
            seats.retain(|seat: &Seat<'_>| count_lost(std::slice::from_ref(seat)) == 0);
            assert_eq!(shares.taken(), seats.len());
            assert!(seats.len() <= LIMIT);
        }
        drop(seats);
        let board = lock(&shares.0);
        let left = (board.accounts.len(), board.seats.len(), board.ranking.is_some());
        assert_eq!(left, (0, 0, false));
    }

    #[test]
    fn the_ranking_begins_with_half_of_the_seats_and_ends_below_a_quarter() {
        let shares = Shares::default();
        let is_ranked = |shares: &Shares| lock(&shares.0).ranking.is_some();
        let mut seats = enter(&shares, holder(1), LIMIT / 2);
        assert!(!is_ranked(&shares));
        seats.extend(enter(&shares, holder(2), 1));
        assert!(is_ranked(&shares));
        let ranks: Vec<_> =
            lock(&shares.0).ranking.iter().flatten().map(|(rank, _)| rank.0).collect();
        assert_eq!(ranks, [1, LIMIT / 2]);
        seats.truncate(LIMIT / 4);
        assert!(is_ranked(&shares));
        seats.truncate(LIMIT / 4 - 1);
        assert!(!is_ranked(&shares));
    }

    #[test]
    fn a_lost_seat_does_not_free_the_one_that_took_its_place() {
        let shares = Shares::default();
        let mut flood = enter(&shares, holder(1), LIMIT);
        // This one takes the place of the oldest.
        let newest = enter(&shares, holder(1), 1);
        drop(flood.remove(0));
        assert_eq!((shares.taken(), count_lost(&newest)), (LIMIT, 0));
    }
}
