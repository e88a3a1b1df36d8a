//! One question's tries, inside its budget.
//!
//! A try is waited for as long as its server's measured times say; then the next one begins, and
//! the earlier ones are still listened to: the first good reply wins, however late. A try that
//! fails gives way to the next server at once. When every server was asked, those that have said
//! nothing are asked again, further and further apart: datagrams get lost.
//!
//! The first try is nearly always the only one. It lives in the frame of [`ask`], and nothing is
//! allocated for the others before they are needed.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::alarms::{Alarm, Alarms};
use super::course::Course;
use super::failure::Failure;
use super::lanes::Lanes;
use super::target::{Mark, Target};
use crate::upstream::{Flaw, MAX_TIMEOUT, MIN_TIMEOUT, TryError, Upstream};
use crate::wire::{Answer, Question};

/// By how much the wait grows with each of them, so that nine fit into two seconds beside a server
/// nearby: 50 ms become 50, 70, 98, ... 527.
const GROWTH: (u32, u32) = (7, 5);
/// Between repeats while all servers are down: often enough to meet a return, and no flood.
const DOWN_REPEAT: Duration = Duration::from_millis(250);
/// How often a verdict that waits for a server looks whether that has gone down.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A server that had less time than this before the deadline is not suspected.
const HAD_TIME: Duration = Duration::from_millis(100);

/// One try with one server; sockets in production, scripts in tests.
pub(super) trait Attempt {
    /// Asks `upstream` once, without a time limit.
    fn attempt(
        &self,
        upstream: &Arc<Upstream>,
        question: &Question,
    ) -> impl Future<Output = Result<Answer, TryError>>;
}

/// Asks servers until one has a good answer or the deadline has come. Returns the number of the
/// upstream that gave it, too.
pub(super) async fn ask<'a, A: Attempt>(
    attempt: &'a A,
    alarms: &Alarms,
    course: Course<'a>,
) -> Result<(Answer, u64), Failure> {
    let Course { targets, question, begun, deadline, .. } = course;
    if targets.is_empty() {
        return Err(Failure::NoUpstream);
    }
    // Whose zone it is costs a look-up, and nearly never matters.
    let loops = targets.iter().any(|target| target.is_looping());
    let mark = if loops { course.mark() } else { Mark::NONE };
    let first = course.order.first(targets, mark, course.avoid).ok_or(Failure::Looping)?;
    let target = targets.get(first).ok_or(Failure::NoUpstream)?;
    if deadline <= begun {
        return Err(Failure::TimedOut);
    }
    let begin = |target: &'a Arc<Target>| attempt.attempt(target.upstream(), question);
    let mut first_try = pin!(begin(target));
    let mut race = Race::new(course, mark, first, target, begin);
    let alarm = alarms.at(race.decision);
    poll_fn(|context| race.poll(first_try.as_mut(), &alarm, context)).await
}

/// A try other than the first.
struct Running<Try> {
    /// The number of its lane.
    lane: usize,
    begun: Instant,
    overdue: bool,
    reply: Pin<Box<Try>>,
}

struct Race<'a, Begin, Try> {
    course: Course<'a>,
    begin: Begin,
    lanes: Lanes<'a>,
    runs_first: bool,
    first_overdue: bool,
    /// When the next try begins.
    decision: Instant,
    /// At most one for each server and `lanes::REPEATS`.
    tries: Vec<Running<Try>>,
    /// Named for what it is when nothing better comes.
    worst: Option<Failure>,
}

/// What polling the tries brought.
enum News {
    /// And the number of the upstream.
    Won(Answer, u64),
    Failed,
    None,
}

impl<'a, Begin, Try> Race<'a, Begin, Try>
where
    Begin: Fn(&'a Arc<Target>) -> Try,
    Try: Future<Output = Result<Answer, TryError>>,
{
    fn new(
        course: Course<'a>,
        mark: Mark,
        at: usize,
        target: &'a Arc<Target>,
        begin: Begin,
    ) -> Self {
        let mut lanes = Lanes::new(mark, at, target);
        let seat = course.enter(target.upstream(), course.begun);
        let is_asked = seat.is_some();
        if let Some(first) = lanes.get_mut(0) {
            (first.seat, first.said) = (seat, !is_asked);
        }
        let decision = course.begun;
        let mut race = Self {
            begin,
            lanes,
            runs_first: is_asked,
            first_overdue: false,
            decision,
            tries: Vec::new(),
            worst: (!is_asked).then_some(Failure::Overloaded),
            course,
        };
        race.decision = race.decision_after(target, decision);
        race
    }

    fn poll(
        &mut self,
        mut first: Pin<&mut Try>,
        alarm: &Alarm<'_>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(Answer, u64), Failure>> {
        loop {
            let is_idle = !self.is_running();
            let news = if is_idle { News::Failed } else { self.poll_tries(&mut first, context) };
            let news = if let News::None = news { self.poll_seats(context) } else { news };
            match news {
                News::Won(answer, upstream) => return Poll::Ready(Ok((answer, upstream))),
                News::Failed => {
                    let now = Instant::now();
                    self.lanes.lay_out(&self.course);
                    if self.lanes.is_over(now, self.course.deadline) {
                        return Poll::Ready(Err(self.over(now)));
                    }
                    // Another try may just have begun: its server need not hear us twice for this.
                    if self.is_running() && !self.lanes.has_unasked() {
                        alarm.set(self.next_look(now));
                        continue;
                    }
                }
                News::None => {
                    if alarm.poll(context).is_pending() {
                        return Poll::Pending;
                    }
                    let now = Instant::now();
                    self.note_overdue(now);
                    if now >= self.course.deadline {
                        return Poll::Ready(Err(self.out_of_time(now)));
                    }
                    self.lanes.lay_out(&self.course);
                    if self.lanes.is_over(now, self.course.deadline) {
                        return Poll::Ready(Err(self.over(now)));
                    }
                    if now < self.decision {
                        alarm.set(self.next_look(now));
                        continue;
                    }
                }
            }
            let now = Instant::now();
            self.decision = self.launch(now);
            if !self.is_running() {
                return Poll::Ready(Err(self.failure()));
            }
            alarm.set(self.next_look(now));
        }
    }

    /// When the next try begins, or a verdict may have waited long enough.
    fn next_look(&self, now: Instant) -> Instant {
        if !self.lanes.has_verdict() {
            return self.decision;
        }
        let until = self.lanes.waits_until(self.course.deadline).unwrap_or(now);
        // What it waits for may go down meanwhile.
        self.decision.min(until).min(now + LOOK_EVERY)
    }

    fn is_running(&self) -> bool {
        self.runs_first || !self.tries.is_empty()
    }

    /// Begins the next try, if there is one; gives the time of the next decision.
    fn launch(&mut self, now: Instant) -> Instant {
        while let Some(number) = self.lanes.turn() {
            let Some(lane) = self.lanes.get_mut(number) else { break };
            let target = lane.target;
            if lane.seat.is_none() {
                let seat = self.course.enter(target.upstream(), now);
                let is_asked = seat.is_some();
                (lane.seat, lane.said) = (seat, !is_asked);
                if !is_asked {
                    self.note(Failure::Overloaded);
                    continue;
                }
            }
            let reply = Box::pin((self.begin)(target));
            self.tries.push(Running { lane: number, begun: now, overdue: false, reply });
            if !self.lanes.is_hurried() {
                return self.decision_after(target, now);
            }
        }
        self.course.deadline
    }

    /// When `target`, asked at `now`, has had its time.
    fn decision_after(&self, target: &Target, now: Instant) -> Instant {
        let upstream = target.upstream();
        let left = self.course.deadline.saturating_duration_since(now);
        let wait = match self.lanes.next_unasked(&self.course) {
            // The others must have their time too.
            Some(next) => self.lone_wait(upstream, next).min((left / 2).max(MIN_TIMEOUT)),
            None if !self.lanes.is_any_up() => {
                let lanes = u32::try_from(self.lanes.count()).unwrap_or(u32::MAX);
                (DOWN_REPEAT / lanes).max(MIN_TIMEOUT)
            }
            None if upstream.is_down() => MIN_TIMEOUT,
            None => {
                let (more, than) = GROWTH;
                let grown = |wait: Duration, _| wait * more / than;
                (0..self.lanes.repeats())
                    .fold(self.course.timeout(upstream), grown)
                    .min(MAX_TIMEOUT)
            }
        };
        self.course.deadline.min(now + wait)
    }

    /// How long `upstream` is waited for before `next` is asked, which was not yet.
    fn lone_wait(&self, upstream: &Upstream, next: &Upstream) -> Duration {
        // Nobody waits for one in doubt while another is well, nor for any while all are down.
        let hurry = upstream.is_down() || (upstream.is_in_doubt() && !next.is_down());
        if hurry { MIN_TIMEOUT } else { self.course.timeout(upstream) }
    }

    fn poll_tries(&mut self, first: &mut Pin<&mut Try>, context: &mut Context<'_>) -> News {
        let mut failed = false;
        if self.runs_first
            && let Poll::Ready(outcome) = first.as_mut().poll(context)
        {
            self.runs_first = false;
            match self.hear(0, self.course.begun, outcome) {
                Some((answer, upstream)) => return News::Won(answer, upstream),
                None => failed = true,
            }
        }
        let mut index = 0;
        while let Some(running) = self.tries.get_mut(index) {
            let Poll::Ready(outcome) = running.reply.as_mut().poll(context) else {
                index += 1;
                continue;
            };
            let Running { lane, begun, .. } = self.tries.swap_remove(index);
            match self.hear(lane, begun, outcome) {
                Some((answer, upstream)) => return News::Won(answer, upstream),
                None => failed = true,
            }
        }
        if failed { News::Failed } else { News::None }
    }

    /// Gives up the servers at which other questions have taken this one's seat.
    fn poll_seats(&mut self, context: &Context<'_>) -> News {
        let mut any = false;
        for number in 0..self.lanes.count() {
            let Some(lane) = self.lanes.get_mut(number) else { break };
            let is_lost = lane.seat.as_ref().is_some_and(|seat| seat.poll_lost(context));
            if !is_lost {
                continue;
            }
            (lane.seat, lane.said, any) = (None, true, true);
            self.runs_first &= number != 0;
            self.tries.retain(|running| running.lane != number);
            self.note(Failure::Overloaded);
        }
        if any { News::Failed } else { News::None }
    }

    /// Takes note of what came of a try; gives an answer that ends the race.
    fn hear(
        &mut self,
        number: usize,
        begun: Instant,
        outcome: Result<Answer, TryError>,
    ) -> Option<(Answer, u64)> {
        let now = Instant::now();
        let runs_another = match number {
            0 => self.runs_first || self.tries.iter().any(|running| running.lane == 0),
            other => self.tries.iter().any(|running| running.lane == other),
        };
        let lane = self.lanes.get_mut(number)?;
        // What is too busy for a repeat may still answer the first try, and datagrams that anybody
        // can have sent for one try say nothing of another.
        let is_of_this_try =
            matches!(outcome, Err(TryError::Busy | TryError::Mismatched | TryError::OwnShortage));
        lane.said = lane.said || !runs_another || !is_of_this_try;
        if lane.said
            && let Some(seat) = lane.seat.take()
        {
            let is_reply = |error: &TryError| error.is_sign_of_life();
            seat.end(outcome.as_ref().err().is_none_or(is_reply));
        }
        let upstream = lane.target.upstream();
        let failure = match outcome {
            // The next server may know better; if none does, the engine looks whether the chain
            // leads to a name of ours.
            Ok(answer) if answer.is_endless() => {
                upstream.note_failure(TryError::Unusable(Flaw::Endless), begun, now);
                Failure::Endless(Arc::new(answer))
            }
            Ok(answer) => {
                upstream.note_answer(answer.rcode(), begun, now);
                if answer.rcode().is_answer() {
                    let upstream = upstream.number();
                    if !self.tries.is_empty() || number != 0 {
                        self.note_overdue(now);
                    }
                    return Some((answer, upstream));
                }
                Failure::BadReply(Arc::new(answer))
            }
            Err(error) => {
                upstream.note_failure(error, begun, now);
                match error {
                    TryError::Unreachable(kind) => Failure::Unreachable(kind),
                    TryError::Unprocessed => Failure::Unreachable(io::ErrorKind::ConnectionAborted),
                    TryError::Untrusted => Failure::Untrusted,
                    TryError::Garbled | TryError::Mismatched => Failure::Garbled,
                    TryError::Unusable(flaw) => Failure::Unusable(flaw),
                    TryError::Declined(status) => Failure::Declined(status),
                    TryError::ServerFailed(how) => Failure::ServerFailed(how),
                    TryError::ServerBusy => Failure::ServersBusy,
                    TryError::Busy => Failure::Overloaded,
                    TryError::OwnShortage => Failure::OwnShortage,
                }
            }
        };
        if failure.is_from_server() {
            self.lanes.note_verdict(now);
        }
        self.note(failure);
        None
    }

    /// Counts each try that should have brought something by now, once.
    fn note_overdue(&mut self, now: Instant) {
        let Self { course, lanes, tries, runs_first, first_overdue, .. } = self;
        let is_overdue = |number: usize, begun: Instant| {
            let Some(lane) = lanes.get(number) else { return false };
            let upstream = lane.target.upstream();
            let waited = now.saturating_duration_since(begun);
            let overdue = !lane.said && waited >= course.silence(upstream);
            if overdue {
                upstream.note_unanswered(begun, now);
            }
            overdue
        };
        if *runs_first && !*first_overdue {
            *first_overdue = is_overdue(0, course.begun);
        }
        for running in tries.iter_mut().filter(|running| !running.overdue) {
            running.overdue = is_overdue(running.lane, running.begun);
        }
    }

    /// Keeps the failure that tells most.
    fn note(&mut self, failure: Failure) {
        if self.worst.as_ref().is_none_or(|known| failure.telling() >= known.telling()) {
            self.worst = Some(failure);
        }
    }

    fn failure(&mut self) -> Failure {
        self.worst.take().unwrap_or(Failure::TimedOut)
    }

    /// Nothing that is still to come could be better than what is in hand.
    fn over(&mut self, now: Instant) -> Failure {
        self.note_overdue(now);
        self.failure()
    }

    /// The budget is spent: who was silent all the time may be part of a loop.
    fn out_of_time(&mut self, now: Instant) -> Failure {
        if self.worst.is_none() {
            let mark = self.course.mark();
            let had_time = |begun: Instant| now.saturating_duration_since(begun) >= HAD_TIME;
            if self.runs_first && had_time(self.course.begun) {
                self.suspect(0, mark);
            }
            for running in self.tries.iter().filter(|running| had_time(running.begun)) {
                self.suspect(running.lane, mark);
            }
        }
        match self.worst.take() {
            Some(failure) if failure.is_from_server() => failure,
            // Some were unreachable, others silent: the silence is what took the time.
            _ => Failure::TimedOut,
        }
    }

    fn suspect(&self, number: usize, mark: Mark) {
        if let Some(lane) = self.lanes.get(number).filter(|lane| !lane.said) {
            lane.target.suspect(mark);
        }
    }
}
