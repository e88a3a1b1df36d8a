//! When each address is probed.
//!
//! From one probe of an address to the next it takes `interval` at most, up to a fifth less by
//! chance, and less by what the last of `fall` failures may take: so an address that is gone is found
//! out within `fall` intervals. First probes are spread over one interval.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rand::RngExt;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::warn;

use super::attempt::{Attempt, Dial};
use super::news;
use crate::config::Probes;
use crate::zones::{Fault, Pulse, Zones};

/// Probes under way at once; the others wait. Each is a socket, of which a process has 1,024 by
/// default. With the defaults, some 240 silent addresses are probed in time, and any number that
/// says something.
pub(super) const PROBES_AT_ONCE: usize = 128;
/// How often it is looked whether another configuration is in force.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After news of another network all addresses are probed within this time.
const AGAIN_WITHIN: Duration = Duration::from_secs(1);
/// At most one line in this time says that probes cannot be made.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Tells the prober that the network is another one: what fails now may have been sent into the old
/// one, and whoever was out of reach may be within.
#[derive(Default)]
pub struct Anew {
    told: Notify,
    /// Kept beside the bell, which rings once for many.
    is_due: Cell<bool>,
}

impl Anew {
    /// It is.
    pub fn begin(&self) {
        self.is_due.set(true);
        self.told.notify_one();
    }
}

/// Probes for ever what the zones that `current` gives want probed. Ends never; dropped, all its
/// probes end.
///
/// # Panics
/// Outside a tokio `LocalSet`.
pub async fn probe_endpoints(anew: Rc<Anew>, current: impl Fn() -> (Arc<Zones>, Probes)) {
    probe_with(Rc::new(Dial), anew, current).await;
}

pub(super) async fn probe_with<A: Attempt + 'static>(
    attempt: Rc<A>,
    anew: Rc<Anew>,
    current: impl Fn() -> (Arc<Zones>, Probes),
) {
    let mut prober = Prober {
        attempt,
        zones: Weak::new(),
        settings: Probes::default(),
        plans: HashMap::new(),
        queue: BinaryHeap::new(),
        running: JoinSet::new(),
        said: None,
    };
    loop {
        let (zones, settings) = current();
        let now = Instant::now();
        prober.follow(&zones, settings, now);
        if anew.is_due.take() {
            prober.begin_anew(now);
        }
        let next = prober.begin_due(now);
        tokio::select! {
            Some(ended) = prober.running.join_next() => {
                match ended {
                    Ok((number, outcome)) => {
                        prober.note_end(&zones, number, outcome, Instant::now());
                    }
                    Err(error) => prober.note_broken(error.id()),
                }
            }
            () = sleep_until(next) => {}
            () = anew.told.notified() => {}
        }
    }
}

struct Prober<A> {
    attempt: Rc<A>,
    /// Those whose addresses stand in `plans`.
    zones: Weak<Zones>,
    settings: Probes,
    /// By the pulse's number.
    plans: HashMap<u64, Plan>,
    /// When whose turn is; what a plan does not say itself any more is passed over.
    queue: BinaryHeap<Reverse<(Instant, u64)>>,
    running: JoinSet<(u64, Result<(), Fault>)>,
    /// When it was last said that probes cannot be made.
    said: Option<Instant>,
}

struct Plan {
    pulse: Arc<Pulse>,
    due: Instant,
    running: Option<AbortHandle>,
    /// What is under way was sent into another network.
    is_void: bool,
}

impl<A: Attempt + 'static> Prober<A> {
    /// Takes over what `zones` want probed; what they do not is let go.
    fn follow(&mut self, zones: &Arc<Zones>, settings: Probes, now: Instant) {
        if Weak::as_ptr(&self.zones) == Arc::as_ptr(zones) && self.settings == settings {
            return;
        }
        self.settings = settings;
        self.zones = Arc::downgrade(zones);
        let mut plans = HashMap::with_capacity(zones.pulses().len());
        for pulse in zones.pulses() {
            let plan = self.plans.remove(&pulse.number()).unwrap_or_else(|| Plan {
                pulse: Arc::clone(pulse),
                due: now + self.wait().mul_f64(rand::rng().random_range(0.0..=1.0)),
                running: None,
                is_void: false,
            });
            plans.insert(pulse.number(), plan);
        }
        for gone in std::mem::replace(&mut self.plans, plans).into_values() {
            if let Some(running) = gone.running {
                running.abort();
            }
        }
        // Nobody waits longer than the new settings say.
        let latest = now + settings.interval;
        self.queue.clear();
        for (number, plan) in &mut self.plans {
            plan.due = plan.due.min(latest);
            self.queue.push(Reverse((plan.due, *number)));
        }
    }

    /// All are due soon, and failures of what is under way are not counted.
    fn begin_anew(&mut self, now: Instant) {
        // Only what stands in it counts: a network that changes all the time fills no memory.
        self.queue.clear();
        for (number, plan) in &mut self.plans {
            plan.is_void = plan.running.is_some();
            plan.due =
                plan.due.min(now + AGAIN_WITHIN.mul_f64(rand::rng().random_range(0.0..=1.0)));
            self.queue.push(Reverse((plan.due, *number)));
        }
    }

    /// Begins what is due, who waits longest first; gives the time of the next look.
    fn begin_due(&mut self, now: Instant) -> Instant {
        // The next end of one makes room, and is looked at.
        while self.running.len() < PROBES_AT_ONCE {
            let Some(Reverse((due, number))) = self.queue.peek().copied() else { break };
            if due > now {
                return due.min(now + LOOK_EVERY);
            }
            self.queue.pop();
            self.begin(number, due, now);
        }
        now + LOOK_EVERY
    }

    fn begin(&mut self, number: u64, due: Instant, now: Instant) {
        let (next, limit) = (now + self.wait(), self.settings.timeout);
        let Some(plan) = self.plans.get_mut(&number) else { return };
        if plan.due != due || plan.running.is_some() {
            return;
        }
        let (attempt, pulse) = (Rc::clone(&self.attempt), Arc::clone(&plan.pulse));
        plan.due = next;
        plan.running = Some(self.running.spawn_local(async move {
            let outcome = timeout(limit, attempt.attempt(pulse.target())).await;
            (number, outcome.unwrap_or(Err(Fault::Timeout)))
        }));
    }

    fn note_end(&mut self, zones: &Zones, number: u64, outcome: Result<(), Fault>, now: Instant) {
        let Some(plan) = self.plans.get_mut(&number) else { return };
        plan.running = None;
        self.queue.push(Reverse((plan.due, number)));
        if std::mem::take(&mut plan.is_void) && outcome.is_err() {
            return;
        }
        let pulse = Arc::clone(&plan.pulse);
        if let Err(fault @ Fault::Ours(_)) = &outcome {
            self.complain(&pulse, fault, now);
        }
        let lasted_seconds = pulse.report().since_seconds;
        if let Some(change) = pulse.note(outcome, &self.settings, now) {
            news::tell(zones, &pulse, change, lasted_seconds, self.settings.fall);
        }
    }

    /// A probe that panicked; those that were let go are in no plan any more.
    fn note_broken(&mut self, task: Id) {
        let is_it = |plan: &Plan| plan.running.as_ref().is_some_and(|running| running.id() == task);
        if let Some((number, plan)) = self.plans.iter_mut().find(|(_, plan)| is_it(plan)) {
            plan.running = None;
            self.queue.push(Reverse((plan.due, *number)));
        }
    }

    fn complain(&mut self, pulse: &Pulse, fault: &Fault, now: Instant) {
        if self.said.is_none_or(|said| now.duration_since(said) >= SAY_EVERY) {
            self.said = Some(now);
            let address = pulse.target().socket();
            warn!(
                "endpoint address {address} {fault}; that says nothing about it, so it stays as it \
                 was, and so do others of which this is true (said once a minute)"
            );
        }
    }

    /// From one probe to the next.
    fn wait(&self) -> Duration {
        let Probes { interval, timeout, fall, .. } = self.settings;
        let longest = interval.saturating_sub(timeout / fall.max(1));
        longest.mul_f64(rand::rng().random_range(0.8..=1.0))
    }
}
