//! Whether an address answers its probes. Written by whoever probes, read by every answer.
//!
//! An address is up until probes have failed often enough in a row, and up again when they have
//! succeeded so. One that goes down again soon after it came up must prove itself for twice as long
//! each time: answers do not flap with it. While it proves itself it serves where nothing else is up.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::config::{Probes, Target};

/// An address that went down after fewer good probes than this has flapped: five minutes at the
/// default interval.
const CALM_PROBES: u32 = 60;
/// How often the proof is doubled at most: with `rise` 2, 32 good probes in a row, two and a half
/// minutes at the default interval.
const MAX_DOUBLINGS: u32 = 4;

/// Whether an address may stand in an answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum State {
    /// Not at all.
    Down = 0,
    /// It answers again, but has flapped: where nothing else is up.
    Proving = 1,
    /// Yes. So is what nobody probes.
    Up = 2,
}

/// Why a probe failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nobody listens there.
    Refused,
    /// The network on the way, or the host, says that it cannot be reached.
    Unreachable,
    /// Nothing came back in time.
    Timeout,
    /// Its certificate will not do, for this reason.
    Certificate(String),
    /// The handshake failed otherwise.
    Tls(String),
    /// This host could not even try, for this reason: it says nothing about the address.
    Ours(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::Timeout => f.write_str("no reply in time"),
            Self::Certificate(reason) => write!(f, "not trusted: {reason}"),
            Self::Tls(reason) => write!(f, "the TLS handshake failed: {reason}"),
            Self::Ours(reason) => write!(f, "could not be probed: {reason}"),
        }
    }
}

/// A change that answers follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// It is down.
    Fell,
    /// It is up again.
    Rose,
}

/// What all pulses have in common: how many are not up, and what was counted.
#[derive(Default, Debug)]
pub struct Pulses {
    /// Not up. Read with every private answer, written when one changes.
    down: Rare,
    probes: AtomicU64,
    failures: AtomicU64,
    falls: AtomicU64,
    rises: AtomicU64,
}

/// On lines of its own: what stands beside it is written with every probe.
#[derive(Default, Debug)]
#[repr(align(128))]
struct Rare(AtomicU32);

impl Pulses {
    /// Whether any address is not up.
    #[inline]
    pub(super) fn any_down(&self) -> bool {
        self.down.0.load(Ordering::Relaxed) > 0
    }
}

/// As `label=value` words, since the start.
impl fmt::Display for Pulses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let down = self.down.0.load(Ordering::Relaxed);
        let [probes, failures, falls, rises] =
            [&self.probes, &self.failures, &self.falls, &self.rises]
                .map(|count| count.load(Ordering::Relaxed));
        write!(
            f,
            "endpoint-probes={probes} endpoint-probes-failed={failures} endpoint-falls={falls} \
             endpoint-rises={rises} endpoint-addresses-down={down}"
        )
    }
}

/// What is known about one target. Outlives reloads that keep it.
#[derive(Debug)]
pub struct Pulse {
    /// Unique in this process.
    number: u64,
    target: Target,
    /// A [`State`].
    state: AtomicU8,
    all: Arc<Pulses>,
    course: Mutex<Course>,
}

/// How it came there; read by those who probe and by people.
#[derive(Debug)]
struct Course {
    since: Instant,
    /// Failures in a row while it is up.
    failed: u32,
    /// Successes in a row while it is down.
    passed: u32,
    /// Successes since it came up; more than [`CALM_PROBES`] are not counted.
    calm: u32,
    /// It has been down.
    has_fallen: bool,
    /// How often the proof was doubled.
    doublings: u32,
    last_fault: Option<(Fault, Instant)>,
    probes: u64,
    failures: u64,
}

impl Pulse {
    fn new(target: Target, all: Arc<Pulses>) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        Self {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            target,
            state: AtomicU8::new(State::Up as u8),
            all,
            course: Mutex::new(Course {
                since: Instant::now(),
                failed: 0,
                passed: 0,
                calm: 0,
                has_fallen: false,
                doublings: 0,
                last_fault: None,
                probes: 0,
                failures: 0,
            }),
        }
    }

    /// Unique in this process, and the same for as long as the target stays.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What is probed.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Whether the address may stand in an answer.
    pub fn state(&self) -> State {
        match self.state.load(Ordering::Relaxed) {
            0 => State::Down,
            1 => State::Proving,
            _ => State::Up,
        }
    }

    /// Takes note of a probe. Gives what that changes. Those that probe take turns.
    pub fn note(
        &self,
        outcome: Result<(), Fault>,
        settings: &Probes,
        now: Instant,
    ) -> Option<Change> {
        let mut course = self.course();
        if let Err(fault @ Fault::Ours(_)) = outcome {
            course.last_fault = Some((fault, now));
            return None;
        }
        course.probes += 1;
        self.all.probes.fetch_add(1, Ordering::Relaxed);
        let failed = outcome.is_err();
        if let Err(fault) = outcome {
            course.failures += 1;
            self.all.failures.fetch_add(1, Ordering::Relaxed);
            course.last_fault = Some((fault, now));
        }
        let before = self.state();
        let (state, change) = course.step(before, failed, settings);
        if change.is_some() {
            course.since = now;
        }
        self.state.store(state as u8, Ordering::Relaxed);
        let counted = match change? {
            Change::Fell => {
                self.all.down.0.fetch_add(1, Ordering::Relaxed);
                &self.all.falls
            }
            Change::Rose => {
                self.all.down.0.fetch_sub(1, Ordering::Relaxed);
                &self.all.rises
            }
        };
        counted.fetch_add(1, Ordering::Relaxed);
        change
    }

    /// Reads it for people.
    pub fn report(&self) -> PulseReport {
        let (course, now) = (self.course(), Instant::now());
        PulseReport {
            state: self.state(),
            since_seconds: now.saturating_duration_since(course.since).as_secs(),
            last_fault: course.last_fault.as_ref().map(|(fault, at)| {
                (fault.to_string(), now.saturating_duration_since(*at).as_secs())
            }),
            probes: course.probes,
            failures: course.failures,
        }
    }

    fn course(&self) -> MutexGuard<'_, Course> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A target that goes while it is down is none that is down any more.
impl Drop for Pulse {
    fn drop(&mut self) {
        if self.state() != State::Up {
            self.all.down.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Course {
    /// One probe further: where that leads from `before`.
    fn step(&mut self, before: State, failed: bool, settings: &Probes) -> (State, Option<Change>) {
        match (before, failed) {
            (State::Up, false) => {
                self.failed = 0;
                self.calm = self.calm.saturating_add(1).min(CALM_PROBES);
                (State::Up, None)
            }
            (State::Up, true) => {
                self.failed += 1;
                if self.failed < settings.fall {
                    return (State::Up, None);
                }
                let flaps = self.has_fallen && self.calm < CALM_PROBES;
                self.doublings = if flaps { (self.doublings + 1).min(MAX_DOUBLINGS) } else { 0 };
                (self.has_fallen, self.failed, self.passed) = (true, 0, 0);
                (State::Down, Some(Change::Fell))
            }
            (_, true) => {
                self.passed = 0;
                (State::Down, None)
            }
            (_, false) => {
                self.passed = self.passed.saturating_add(1);
                if self.passed >= settings.rise << self.doublings {
                    (self.calm, self.failed) = (0, 0);
                    return (State::Up, Some(Change::Rose));
                }
                let answers = self.passed >= settings.rise;
                (if answers { State::Proving } else { State::Down }, None)
            }
        }
    }
}

/// What is known about a target at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PulseReport {
    /// Whether it may stand in an answer.
    pub state: State,
    /// For how long it has been up, or not, seconds.
    pub since_seconds: u64,
    /// What last went wrong, and how long ago, seconds.
    pub last_fault: Option<(String, u64)>,
    /// Probes since the start.
    pub probes: u64,
    /// Those of them that failed.
    pub failures: u64,
}

impl fmt::Display for PulseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Up => "up",
            State::Proving => "proving",
            State::Down => "down",
        };
        let Self { since_seconds, probes, failures, .. } = self;
        write!(f, "state={state} since={since_seconds}s probes={probes} failed={failures}")?;
        match &self.last_fault {
            Some((fault, ago)) => write!(f, " last-failure=\"{fault}, {ago} s ago\""),
            None => Ok(()),
        }
    }
}

/// One pulse for each target, while tables are built.
#[derive(Default)]
pub(super) struct Register {
    all: Arc<Pulses>,
    /// Those of the tables before.
    old: HashMap<Target, Arc<Pulse>>,
    new: HashMap<Target, Arc<Pulse>>,
    order: Vec<Arc<Pulse>>,
}

impl Register {
    /// Goes on with `pulses` where their targets stay.
    pub(super) fn following(all: &Arc<Pulses>, pulses: &[Arc<Pulse>]) -> Self {
        let old = pulses.iter().map(|pulse| (pulse.target.clone(), Arc::clone(pulse))).collect();
        Self { all: Arc::clone(all), old, ..Self::default() }
    }

    /// The pulse of `target`, a new one if need be.
    pub(super) fn pulse(&mut self, target: &Target) -> Arc<Pulse> {
        if let Some(known) = self.new.get(target) {
            return Arc::clone(known);
        }
        let new = || Arc::new(Pulse::new(target.clone(), Arc::clone(&self.all)));
        let pulse = self.old.remove(target).unwrap_or_else(new);
        self.new.insert(target.clone(), Arc::clone(&pulse));
        self.order.push(Arc::clone(&pulse));
        pulse
    }

    /// What all of them have in common.
    pub(super) fn all(&self) -> &Arc<Pulses> {
        &self.all
    }

    /// Each once, in the file's order.
    pub(super) fn finish(self) -> Box<[Arc<Pulse>]> {
        self.order.into_boxed_slice()
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    impl Pulse {
        /// Takes it down, as probes that fail would, or up.
        pub(crate) fn set(&self, up: bool) {
            let settings = Probes { rise: 1, fall: 1, ..Probes::default() };
            let outcome = if up { Ok(()) } else { Err(Fault::Refused) };
            for _ in 0..64 {
                self.note(outcome.clone(), &settings, Instant::now());
            }
        }
    }
}
