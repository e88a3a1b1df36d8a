//! The servers that one question may be sent to, and whose turn it is.
//!
//! A verdict is a reply that is no answer: SERVFAIL, REFUSED, NOTIMP, FORMERR, or one that cannot be
//! used. It waits for servers that may know better: for one that is up, until the question's
//! deadline; for one in doubt, [`MIN_TIMEOUT`]; for one that is down, not at all.

use std::sync::Arc;

use tokio::time::Instant;

use super::course::Course;
use super::policy::Standing;
use super::target::{Mark, Target, may_be_asked};
use crate::upstream::{InFlight, MIN_TIMEOUT, Upstream};

/// Tries beyond the first at each server. With 30 % of the datagrams lost each way, nine tries in
/// all leave 0.2 % of the questions without a reply.
pub(super) const REPEATS: u32 = 8;

/// A server in the race.
pub(super) struct Lane<'a> {
    /// Its place in the rule.
    at: usize,
    pub(super) target: &'a Arc<Target>,
    /// It replied or failed: asking again would bring the same.
    pub(super) said: bool,
    /// Among all that wait for it; none before it is asked.
    pub(super) seat: Option<InFlight<'a>>,
    /// Others have found it silent before this question was about to ask it.
    was_doubted: bool,
}

impl<'a> Lane<'a> {
    fn new(at: usize, target: &'a Arc<Target>) -> Self {
        let was_doubted = target.upstream().is_in_doubt();
        Self { at, target, said: false, seat: None, was_doubted }
    }

    fn is_down(&self) -> bool {
        self.target.upstream().is_down()
    }

    /// Whether it is in doubt, and not only because this question's own tries were silent: what
    /// takes a server longer than usual must not lose its answer.
    fn is_doubted(&self) -> bool {
        self.was_doubted && self.target.upstream().is_in_doubt()
    }
}

/// All servers in the race, in order.
pub(super) struct Lanes<'a> {
    mark: Mark,
    /// The server that is asked first: lane 0.
    first: Lane<'a>,
    /// The other lanes, once they are needed.
    others: Vec<Lane<'a>>,
    is_laid_out: bool,
    /// The lane whose turn is next.
    next: usize,
    /// Tries begun beyond the first at each server.
    repeats: u32,
    /// When the last verdict came.
    verdict: Option<Instant>,
}

impl<'a> Lanes<'a> {
    /// The server at the place `at` is asked first.
    pub(super) fn new(mark: Mark, at: usize, target: &'a Arc<Target>) -> Self {
        Self {
            mark,
            first: Lane::new(at, target),
            others: Vec::new(),
            is_laid_out: false,
            next: 1,
            repeats: 0,
            verdict: None,
        }
    }

    /// Puts those in order that are asked after the first.
    pub(super) fn lay_out(&mut self, course: &Course<'a>) {
        if self.is_laid_out {
            return;
        }
        self.is_laid_out = true;
        let targets = course.targets;
        let order = course.order.all(targets, self.mark, self.first.at, course.avoid);
        let lane = |at: usize| targets.get(at).map(|target| Lane::new(at, target));
        self.others = order.into_iter().skip(1).filter_map(lane).collect();
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        1 + self.others.len()
    }

    pub(super) fn get(&self, number: usize) -> Option<&Lane<'a>> {
        match number.checked_sub(1) {
            None => Some(&self.first),
            Some(other) => self.others.get(other),
        }
    }

    pub(super) fn get_mut(&mut self, number: usize) -> Option<&mut Lane<'a>> {
        match number.checked_sub(1) {
            None => Some(&mut self.first),
            Some(other) => self.others.get_mut(other),
        }
    }

    /// Tries begun beyond the first at each server, so far.
    pub(super) fn repeats(&self) -> u32 {
        self.repeats
    }

    /// A verdict came.
    pub(super) fn note_verdict(&mut self, now: Instant) {
        self.verdict = Some(now);
    }

    /// Whether there is a verdict.
    pub(super) fn has_verdict(&self) -> bool {
        self.verdict.is_some()
    }

    /// Those that have said nothing yet and are worth waiting for.
    fn awaited(&self) -> impl Iterator<Item = &Lane<'a>> {
        let has_verdict = self.has_verdict();
        let lanes = std::iter::once(&self.first).chain(&self.others);
        lanes.filter(move |lane| !(lane.said || has_verdict && lane.is_down()))
    }

    /// Until when what has come waits for servers that have said nothing; `None`: it waits for none.
    pub(super) fn waits_until(&self, deadline: Instant) -> Option<Instant> {
        let until = |lane: &Lane<'_>| match self.verdict {
            Some(verdict) if lane.is_doubted() => deadline.min(verdict + MIN_TIMEOUT),
            _ => deadline,
        };
        self.awaited().map(until).max()
    }

    /// Whether nothing is left to wait for. A try that has said something ends its server's others.
    pub(super) fn is_over(&self, now: Instant, deadline: Instant) -> bool {
        self.is_laid_out && self.waits_until(deadline).is_none_or(|until| until <= now)
    }

    /// Whether the lane whose turn is next was never asked, and is worth it.
    pub(super) fn has_unasked(&self) -> bool {
        self.get(self.next).is_some_and(|lane| {
            lane.seat.is_none() && !lane.said && !(self.has_verdict() && lane.is_down())
        })
    }

    /// Whether the next server is asked beside the others: a verdict waits no longer for several in
    /// doubt than for one.
    pub(super) fn is_hurried(&self) -> bool {
        self.has_verdict() && self.has_unasked() && self.awaited().all(Lane::is_doubted)
    }

    /// Whether somebody who has said nothing yet is up: those that are down are not asked again
    /// before.
    pub(super) fn is_any_up(&self) -> bool {
        self.awaited().any(|lane| !lane.is_down())
    }

    /// The lane whose turn it is; none when all were asked as often as may be.
    pub(super) fn turn(&mut self) -> Option<usize> {
        let is_any_up = self.is_any_up();
        for _ in 0..=self.others.len() {
            if self.next > self.others.len() {
                self.next = 0;
            }
            let number = self.next;
            self.next += 1;
            let lane = self.get(number)?;
            if lane.said || (self.has_verdict() && lane.is_down()) {
                continue;
            }
            if lane.seat.is_some() {
                if is_any_up && lane.is_down() {
                    continue;
                }
                if self.repeats == REPEATS {
                    return None;
                }
                self.repeats += 1;
            }
            return Some(number);
        }
        None
    }

    /// The server that is asked next for the first time.
    pub(super) fn next_unasked(&self, course: &Course<'a>) -> Option<&'a Upstream> {
        if self.is_laid_out {
            let next = self.get(self.next).filter(|_| self.has_unasked())?;
            return Some(next.target.upstream());
        }
        // Not in order yet: any other that may be asked, one that is up if there is one.
        let may_be_asked = may_be_asked(course.targets, self.mark);
        let others = course.targets.iter().enumerate();
        let others = others
            .filter(|(at, target)| *at != self.first.at && may_be_asked(target))
            .map(|(_, target)| &**target.upstream());
        others.min_by_key(|upstream| Standing::of(upstream, course.avoid))
    }
}
