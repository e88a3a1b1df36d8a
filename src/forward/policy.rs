//! Ordered failover inside one query's budget.
//!
//! Servers are asked in their order. The next one is asked as soon as the one before failed, or
//! when it has had its share of the budget; earlier tries are listened to until the end, and the
//! first good reply wins. There are two rounds: the second is for servers that have said nothing,
//! whose first datagram may be lost. So a silent first server costs a fraction of the budget, and
//! nothing once it is known to be silent, but for one query a second that looks whether it is back
//! (`Upstream::goes_last`).

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::failure::Failure;
use super::target::{Mark, Target};
use crate::upstream::{TryError, Upstream};
use crate::wire::{Answer, Question, Rcode};

/// Rounds over the list: one datagram may be lost.
const ROUNDS: u32 = 2;
/// A server's least share before the next is asked: a healthy one behind a VPN that has to recurse
/// takes this long often, and asking the next then doubles the traffic.
const MIN_STEP: Duration = Duration::from_millis(100);
/// A server's largest share, so that long budgets do not mean long silences.
const MAX_STEP: Duration = Duration::from_secs(1);

/// One try with one server; sockets in production, scripts in tests.
pub(super) trait Attempt {
    /// Asks `upstream` once, without a time limit.
    fn attempt(
        &self,
        upstream: &Arc<Upstream>,
        question: &Question,
    ) -> impl Future<Output = Result<Answer, TryError>>;
}

/// The share of a budget that a server has for itself.
pub(super) fn step(timeout: Duration, servers: usize) -> Duration {
    let tries = ROUNDS.saturating_mul(u32::try_from(servers).unwrap_or(u32::MAX)).max(1);
    (timeout / tries).clamp(MIN_STEP, MAX_STEP)
}

/// Asks the rule's servers, but for those that loop for `mark`, until one has a good answer or
/// `deadline` has come.
pub(super) async fn ordered<A: Attempt>(
    attempt: &A,
    targets: &[Arc<Target>],
    mark: Mark,
    deadline: Instant,
    question: &Question,
) -> Result<Answer, Failure> {
    let begun = Instant::now();
    let mut plan = Plan::new(targets, mark, begun)?;
    if deadline <= begun {
        return Err(Failure::TimedOut);
    }
    let begin = |target: &Arc<Target>| {
        let upstream = Arc::clone(target.upstream());
        async move { attempt.attempt(&upstream, question).await }
    };
    // Nearly always the only one: it lives in this frame.
    let (place, target) = plan.next().ok_or(Failure::NoUpstream)?;
    let first = pin!(begin(target));
    let mut race = Race {
        step: step(deadline - begun, plan.order.len()),
        deadline,
        begin,
        tries: vec![Running { place, target, begun, reply: Reply::First(first) }],
        plan,
        worst: None,
    };
    let mut timer = pin!(sleep_until(race.next_decision(target, begun)));
    poll_fn(|context| {
        loop {
            match race.poll_tries(context) {
                Poll::Ready(Some(answer)) => return Poll::Ready(Ok(answer)),
                // Another try may just have begun: its server need not hear us twice for this.
                Poll::Ready(None) if !race.tries.is_empty() && !race.plan.has_unasked() => continue,
                Poll::Ready(None) => {}
                Poll::Pending => {
                    if race.is_over() {
                        return Poll::Ready(Err(race.failure()));
                    }
                    if timer.as_mut().poll(context).is_pending() {
                        return Poll::Pending;
                    }
                    if timer.deadline() >= race.deadline {
                        return Poll::Ready(Err(race.out_of_time(mark)));
                    }
                }
            }
            // A try failed or had its share: the next one's turn.
            let next = race.launch(Instant::now());
            timer.as_mut().reset(next);
        }
    })
    .await
}

/// Whose turn it is.
struct Plan<'a> {
    order: Vec<Turn<'a>>,
    next: usize,
    round: u32,
}

struct Turn<'a> {
    target: &'a Arc<Target>,
    /// It replied or failed: asking again would bring the same.
    said: bool,
}

impl<'a> Plan<'a> {
    fn new(targets: &'a [Arc<Target>], mark: Mark, now: Instant) -> Result<Self, Failure> {
        if targets.is_empty() {
            return Err(Failure::NoUpstream);
        }
        let mut order: Vec<_> = targets
            .iter()
            .filter(|target| !target.loops_for(mark))
            .map(|target| Turn { target, said: false })
            .collect();
        if order.is_empty() {
            return Err(Failure::Looping);
        }
        // With one server there is nothing to reorder, and a canary would be wasted on the ask.
        if order.len() > 1 && order.iter().any(|turn| turn.target.upstream().is_silent()) {
            // Stable: equals keep the file's order.
            order.sort_by_cached_key(|turn| turn.target.upstream().goes_last(now));
        }
        Ok(Self { order, next: 0, round: 0 })
    }

    /// Whether a server has not been asked at all.
    fn has_unasked(&self) -> bool {
        self.round == 0 && self.order.len() > self.next
    }

    fn next(&mut self) -> Option<(usize, &'a Arc<Target>)> {
        while self.round < ROUNDS {
            let place = self.next;
            match self.order.get(place) {
                Some(turn) => {
                    self.next += 1;
                    if !turn.said {
                        return Some((place, turn.target));
                    }
                }
                None => {
                    self.round += 1;
                    self.next = 0;
                }
            }
        }
        None
    }
}

struct Race<'a, 'f, Begin, Try> {
    plan: Plan<'a>,
    step: Duration,
    deadline: Instant,
    begin: Begin,
    /// At most [`ROUNDS`] for each server.
    tries: Vec<Running<'a, 'f, Try>>,
    /// Named for what it is when nothing better comes.
    worst: Option<Failure>,
}

struct Running<'a, 'f, Try> {
    place: usize,
    target: &'a Arc<Target>,
    begun: Instant,
    reply: Reply<'f, Try>,
}

enum Reply<'f, Try> {
    First(Pin<&'f mut Try>),
    Later(Pin<Box<Try>>),
}

impl<Try: Future> Reply<'_, Try> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Try::Output> {
        match self {
            Self::First(reply) => reply.as_mut().poll(context),
            Self::Later(reply) => reply.as_mut().poll(context),
        }
    }
}

impl<'a, Begin, Try> Race<'a, '_, Begin, Try>
where
    Begin: Fn(&'a Arc<Target>) -> Try,
    Try: Future<Output = Result<Answer, TryError>>,
{
    /// Begins the next try, if there is one; gives the time of the next decision.
    fn launch(&mut self, now: Instant) -> Instant {
        let Some((place, target)) = self.plan.next() else { return self.deadline };
        let reply = Reply::Later(Box::pin((self.begin)(target)));
        self.tries.push(Running { place, target, begun: now, reply });
        self.next_decision(target, now)
    }

    /// When `target`, asked at `now`, has had its share.
    fn next_decision(&self, target: &Target, now: Instant) -> Instant {
        // A canary waits for no more than a healthy server needs.
        let canary = self.plan.has_unasked() && target.upstream().is_silent();
        self.deadline.min(now + if canary { MIN_STEP.min(self.step) } else { self.step })
    }

    /// `Ready(Some)`: a good answer; `Ready(None)`: a try failed; `Pending`: all wait.
    fn poll_tries(&mut self, context: &mut Context<'_>) -> Poll<Option<Answer>> {
        let mut failed = false;
        let mut index = 0;
        while let Some(running) = self.tries.get_mut(index) {
            let Poll::Ready(outcome) = running.reply.poll(context) else {
                index += 1;
                continue;
            };
            let place = self.tries.swap_remove(index).place;
            if let Some(turn) = self.plan.order.get_mut(place) {
                turn.said = true;
            }
            match outcome {
                Ok(answer) if is_final(answer.rcode()) => {
                    self.note_silent_losers();
                    return Poll::Ready(Some(answer));
                }
                Ok(answer) => self.note(Failure::BadReply(Arc::new(answer))),
                Err(TryError::Unreachable(kind)) => self.note(Failure::Unreachable(kind)),
                Err(TryError::Garbled) => self.note(Failure::Garbled),
                Err(TryError::Untrusted) => self.note(Failure::Untrusted),
                Err(TryError::Busy) => self.note(Failure::Overloaded),
            }
            failed = true;
        }
        if failed && !self.is_over() { Poll::Ready(None) } else { Poll::Pending }
    }

    /// Whether nothing is left to wait for. A try that has said something ends its server's other.
    fn is_over(&self) -> bool {
        self.plan.order.iter().all(|turn| turn.said)
    }

    /// Those who had their turn alone and said nothing while another answered.
    fn note_silent_losers(&self) {
        let now = Instant::now();
        for running in &self.tries {
            let said = self.plan.order.get(running.place).is_some_and(|turn| turn.said);
            if !said && now.duration_since(running.begun) >= self.step {
                running.target.upstream().note_silence();
            }
        }
    }

    /// Keeps the failure that tells most.
    fn note(&mut self, failure: Failure) {
        if self.worst.as_ref().is_none_or(|known| telling(&failure) >= telling(known)) {
            self.worst = Some(failure);
        }
    }

    fn failure(&mut self) -> Failure {
        self.worst.take().unwrap_or(Failure::TimedOut)
    }

    fn out_of_time(&mut self, mark: Mark) -> Failure {
        let now = Instant::now();
        for (place, turn) in self.plan.order.iter().enumerate().filter(|(_, turn)| !turn.said) {
            // What a short deadline left no time for proves nothing.
            let had_time = |running: &Running<'_, '_, Try>| {
                running.place == place && now.duration_since(running.begun) >= MIN_STEP
            };
            if !self.tries.iter().any(had_time) {
                continue;
            }
            turn.target.upstream().note_timeout();
            if self.worst.is_none() {
                turn.target.suspect(mark);
            }
        }
        match self.worst.take() {
            Some(failure @ Failure::BadReply(_)) => failure,
            // Some were unreachable, others silent: the silence is what took the time.
            _ => Failure::TimedOut,
        }
    }
}

/// Replies that end the search: the name exists or does not. YXDOMAIN is what a DNAME makes of a
/// name that grows too long (RFC 6672 §2.2): an answer too.
fn is_final(rcode: Rcode) -> bool {
    matches!(rcode, Rcode::NOERROR | Rcode::NXDOMAIN | Rcode::YXDOMAIN)
}

/// How much a failure tells whoever reads it.
fn telling(failure: &Failure) -> u8 {
    match failure {
        Failure::BadReply(answer) => {
            let explained = u8::from(!answer.ede_options().is_empty());
            let rcode = match answer.rcode() {
                Rcode::SERVFAIL => 4,
                Rcode::REFUSED => 2,
                _ => 0,
            };
            10 + rcode + explained
        }
        Failure::Untrusted => 4,
        Failure::Garbled => 3,
        Failure::Unreachable(_) => 2,
        _ => 1,
    }
}
