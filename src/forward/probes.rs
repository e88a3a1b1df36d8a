//! Probes: the question of a rule, sent to servers whose state is in doubt.
//!
//! A server that is down is probed for ever, less and less often but every two seconds at least, so
//! that it is back in use soon after the path is. One that was silent to clients lately is probed
//! at once, so that few of them have to find out. Under `fastest` all are probed now and then: the
//! same question to each compares them, which clients' questions do not. Any reply is health.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::forwarder::{Afresh, Forwarder};
use super::race::Attempt;
use super::rules::{Probed, Rules};
use crate::config::Scheme;
use crate::upstream::Upstream;
use crate::wire::Question;

/// From a probe to the next while a server is in doubt, and to the second when it is down.
pub(super) const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest wait: a server is back in use that soon after its path is.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// A connection takes more round trips than a reply.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(2);
/// How often servers under `fastest` are measured.
pub(super) const MEASURE_EVERY: Duration = Duration::from_secs(10);
/// What is looked for at least this often, because nobody rings for it: servers to be measured.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Probes under way at once; the others wait.
pub(super) const PROBES_AT_ONCE: usize = 32;

/// Probes for ever the upstreams of the rules that `rules` gives at each look. Ends never; dropped,
/// all its probes end.
///
/// # Panics
/// Outside a tokio `LocalSet`.
pub async fn probe_upstreams(forwarder: Rc<Forwarder>, rules: impl Fn() -> Arc<Rules>) {
    probe_with(Rc::new(Afresh(forwarder)), rules).await;
}

pub(super) async fn probe_with<A: Attempt + 'static>(
    attempt: Rc<A>,
    rules: impl Fn() -> Arc<Rules>,
) {
    let mut prober = Prober { attempt, plans: HashMap::new(), running: JoinSet::new() };
    loop {
        let rules = rules();
        let alarm = rules.alarm();
        if alarm.take_hurry() {
            prober.forget_plans();
        }
        let next = prober.begin_due(&rules.probed(), Instant::now());
        tokio::select! {
            Some(ended) = prober.running.join_next() => prober.note_end(ended.ok()),
            () = sleep_until(next) => {}
            () = alarm.rung() => {}
        }
    }
}

struct Prober<A> {
    attempt: Rc<A>,
    /// By the upstream's number.
    plans: HashMap<u64, Plan>,
    running: JoinSet<u64>,
}

/// When a server is probed next.
struct Plan {
    due: Instant,
    wait: Duration,
    is_running: bool,
}

impl<A: Attempt + 'static> Prober<A> {
    /// Whatever was planned begins anew, at once.
    fn forget_plans(&mut self) {
        self.running.abort_all();
        // They must not be taken for the end of those that follow.
        self.running.detach_all();
        self.plans.clear();
    }

    /// `None`: a probe that panicked, nobody knows whose; then nobody's is known to run.
    fn note_end(&mut self, ended: Option<u64>) {
        for (number, plan) in &mut self.plans {
            if ended.is_none_or(|ended| ended == *number) {
                plan.is_running = false;
            }
        }
    }

    /// Begins what is due, who waits longest first; gives the time of the next look.
    fn begin_due(&mut self, probed: &[Probed], now: Instant) -> Instant {
        self.plans.retain(|number, _| probed.iter().any(|one| one.upstream.number() == *number));
        let mut waiting = Vec::new();
        for one in probed {
            let entry = self.plans.entry(one.upstream.number());
            if is_wanted(&one.upstream, one.is_compared, now) {
                let new = || Plan { due: now, wait: FIRST_WAIT, is_running: false };
                let plan = entry.or_insert_with(new);
                if !one.upstream.is_down() {
                    plan.hasten(now);
                }
                if !plan.is_running {
                    waiting.push((plan.due, one));
                }
            } else if let Entry::Occupied(plan) = entry
                && !plan.get().is_running
                && plan.get().due <= now
            {
                // Not before: who comes into doubt again and again is probed no more often.
                plan.remove();
            }
        }
        waiting.sort_by_key(|(due, _)| *due);
        for (due, one) in waiting {
            if due > now {
                return due.min(now + LOOK_EVERY);
            }
            // The next end of one makes room, and is looked at.
            if self.running.len() >= PROBES_AT_ONCE {
                break;
            }
            self.begin(one, now);
        }
        now + LOOK_EVERY
    }

    fn begin(&mut self, one: &Probed, now: Instant) {
        let Some(plan) = self.plans.get_mut(&one.upstream.number()) else { return };
        let wait = plan.begin(one.upstream.is_down(), now);
        let (attempt, upstream) = (Rc::clone(&self.attempt), Arc::clone(&one.upstream));
        self.running.spawn_local(probe(attempt, upstream, one.question.clone(), wait));
    }
}

impl Plan {
    /// It is up: what was planned for one that is down is too late.
    fn hasten(&mut self, now: Instant) {
        self.wait = FIRST_WAIT;
        self.due = self.due.min(now + FIRST_WAIT);
    }

    /// Gives the time from this probe to the next.
    fn begin(&mut self, is_down: bool, now: Instant) -> Duration {
        // Spread, so that not all who lost a path return to it at once.
        let wait = self.wait.mul_f64(rand::rng().random_range(0.75..=1.0));
        self.due = now + wait;
        if is_down {
            self.wait = (self.wait * 2).min(LONGEST_WAIT);
        }
        self.is_running = true;
        wait
    }
}

fn is_wanted(upstream: &Upstream, is_compared: bool, now: Instant) -> bool {
    upstream.is_down()
        || upstream.is_in_doubt()
        || (is_compared && upstream.pace_age(now).is_none_or(|age| age >= MEASURE_EVERY))
}

/// One probe, heard until the next is due, or as long as a reply was measured to take.
async fn probe<A: Attempt>(
    attempt: Rc<A>,
    upstream: Arc<Upstream>,
    question: Question,
    wait: Duration,
) -> u64 {
    let begun = Instant::now();
    let measured = upstream.rtt().map_or(Duration::ZERO, |rtt| rtt.timeout());
    let is_datagram = upstream.server().scheme == Scheme::Plain;
    let dialled = if is_datagram { Duration::ZERO } else { CONNECTION_TIMEOUT };
    let limit = wait.max(measured).max(dialled);
    match timeout(limit, attempt.attempt(&upstream, &question)).await {
        Ok(Ok(_)) => upstream.note_probe(begun, Instant::now()),
        Ok(Err(error)) => upstream.note_failure(error, begun, Instant::now()),
        Err(_) => upstream.note_unanswered(begun, Instant::now()),
    }
    upstream.number()
}
