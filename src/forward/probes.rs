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
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::forwarder::{Afresh, Forwarder};
use super::race::Attempt;
use super::rules::{Probed, Rules};
use crate::config::Scheme;
use crate::upstream::{Haste, Upstream};
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
        if let Some(haste) = alarm.take_haste() {
            prober.hasten(haste, Instant::now());
        }
        let next = prober.begin_due(&rules.probed(), Instant::now());
        tokio::select! {
            Some(ended) = prober.running.join_next_with_id() => {
                prober.note_end(ended.map_or_else(|error| error.id(), |(id, ())| id));
            }
            () = sleep_until(next) => {}
            () = alarm.rung() => {}
        }
    }
}

struct Prober<A> {
    attempt: Rc<A>,
    /// By the upstream's number.
    plans: HashMap<u64, Plan>,
    running: JoinSet<()>,
}

/// When a server is probed next.
struct Plan {
    due: Instant,
    /// From the next probe to the one after it.
    wait: Duration,
    /// For how long the next probe is heard at least. Grows like `wait`, but nothing shortens it
    /// while the server is down: what a far one needs is more than comes between two changes of a
    /// network that changes all the time.
    heard: Duration,
    /// The last probe, and until when the next one waits for its end.
    last: Option<(Id, Instant)>,
}

impl<A: Attempt + 'static> Prober<A> {
    /// What is under way is listened to all the same: it may have gone the right way already.
    fn hasten(&mut self, haste: Haste, now: Instant) {
        for plan in self.plans.values_mut() {
            // Not later than it is: who has waited for room keeps its turn.
            plan.due = plan.due.min(now);
            if haste == Haste::Anew {
                plan.wait = FIRST_WAIT;
                plan.last = None;
            }
        }
    }

    fn note_end(&mut self, ended: Id) {
        for plan in self.plans.values_mut() {
            plan.last = plan.last.filter(|(id, _)| *id != ended);
        }
    }

    /// Begins what is due, who waits longest first; gives the time of the next look.
    fn begin_due(&mut self, probed: &[Probed], now: Instant) -> Instant {
        self.plans.retain(|number, _| probed.iter().any(|one| one.upstream.number() == *number));
        let mut waiting = Vec::new();
        for one in probed {
            let entry = self.plans.entry(one.upstream.number());
            if is_wanted(&one.upstream, one.is_compared, now) {
                let new = || Plan { due: now, wait: FIRST_WAIT, heard: FIRST_WAIT, last: None };
                let plan = entry.or_insert_with(new);
                if !one.upstream.is_down() {
                    plan.hasten(now);
                }
                waiting.push((plan.begins(), one));
            } else if let Entry::Occupied(plan) = entry
                && plan.get().last.is_none()
                && plan.get().due <= now
            {
                // Not before: who comes into doubt again and again is probed no more often.
                plan.remove();
            }
        }
        waiting.sort_by_key(|(due, _)| *due);
        let mut next = now + LOOK_EVERY;
        for (due, one) in waiting {
            if due > now {
                return due.min(next);
            }
            // The next end of one makes room, and is looked at.
            if self.running.len() >= PROBES_AT_ONCE {
                break;
            }
            next = next.min(self.begin(one, now).unwrap_or(next));
        }
        next
    }

    /// Gives when the next one begins.
    fn begin(&mut self, one: &Probed, now: Instant) -> Option<Instant> {
        let plan = self.plans.get_mut(&one.upstream.number())?;
        let (wait, heard) = plan.begin(one.upstream.is_down(), now);
        let least = least_time(&one.upstream);
        let (attempt, upstream) = (Rc::clone(&self.attempt), Arc::clone(&one.upstream));
        let probe = probe(attempt, upstream, one.question.clone(), heard.max(least));
        plan.last = Some((self.running.spawn_local(probe).id(), now + wait.max(least)));
        Some(plan.begins())
    }
}

impl Plan {
    /// It is up: what was planned for one that is down is too late.
    fn hasten(&mut self, now: Instant) {
        (self.wait, self.heard) = (FIRST_WAIT, FIRST_WAIT);
        self.due = self.due.min(now + FIRST_WAIT);
    }

    fn begins(&self) -> Instant {
        self.last.map_or(self.due, |(_, until)| self.due.max(until))
    }

    /// Gives the time from this probe to the next, and for how long it is heard.
    fn begin(&mut self, is_down: bool, now: Instant) -> (Duration, Duration) {
        // Spread, so that not all who lost a path return to it at once.
        let spread = rand::rng().random_range(0.75..=1.0);
        let (wait, heard) = (self.wait.mul_f64(spread), self.heard.mul_f64(spread));
        self.due = now + wait;
        if is_down {
            let longer = |time: Duration| (time * 2).min(LONGEST_WAIT);
            (self.wait, self.heard) = (longer(self.wait), longer(self.heard));
        }
        (wait, heard)
    }
}

fn is_wanted(upstream: &Upstream, is_compared: bool, now: Instant) -> bool {
    upstream.is_down()
        || upstream.is_in_doubt()
        || upstream.is_declining()
        || (is_compared && upstream.pace_age(now).is_none_or(|age| age >= MEASURE_EVERY))
}

/// What a probe of `upstream` takes, as far as is known.
fn least_time(upstream: &Upstream) -> Duration {
    let measured = upstream.rtt().map_or(Duration::ZERO, |rtt| rtt.timeout());
    let is_datagram = upstream.server().scheme == Scheme::Plain;
    measured.max(if is_datagram { Duration::ZERO } else { CONNECTION_TIMEOUT })
}

/// One probe, heard for as long as `limit`.
async fn probe<A: Attempt>(
    attempt: Rc<A>,
    upstream: Arc<Upstream>,
    question: Question,
    limit: Duration,
) {
    let begun = Instant::now();
    match timeout(limit, attempt.attempt(&upstream, &question)).await {
        Ok(Ok(_)) => upstream.note_probe(begun, Instant::now()),
        // Any reply is health.
        Ok(Err(error)) if error.is_sign_of_life() => upstream.note_probe(begun, Instant::now()),
        Ok(Err(error)) => upstream.note_probe_failure(error, begun, Instant::now()),
        Err(_) => upstream.note_probe_unanswered(begun, Instant::now()),
    }
}
