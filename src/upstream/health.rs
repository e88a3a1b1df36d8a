//! Whether a server answers, and how fast: learnt from what it is asked.
//!
//! What every query reads are a few words that change seldom, so that cores share their cache line:
//! a measured time is taken in every ten milliseconds at most, and a count of silent tries is
//! written only when there are any. The rest stands behind a lock that changes of state take.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Tries in a row without a reply that put a server in doubt: one alone is loss.
pub(super) const DOUBT_TRIES: u32 = 2;
/// Tries in a row without a reply that make it count as down, if it was silent for long enough.
pub(super) const DOWN_TRIES: u32 = 4;
/// How long it must have been silent for that, in time-outs of a try: bursts of loss are shorter.
const DOWN_TIMEOUTS: u32 = 8;
/// The same in time, at least: at loss of 30 % each way some five tries.
const DOWN_SILENCE_MIN: Duration = Duration::from_millis(500);
/// At most: clients wait for a time-out each meanwhile.
const DOWN_SILENCE_MAX: Duration = Duration::from_secs(1);
/// How long after the last silent try replies to probes alone end the doubt. Clients who come every
/// few seconds meet it; and a far server whose late replies nobody waits for is trusted again.
pub(super) const DOUBT_LASTS: Duration = Duration::from_secs(10);

/// The least time-out of one try: what a resolver nearby takes for a name that it has to look up.
pub const MIN_TIMEOUT: Duration = Duration::from_millis(50);
/// The largest: longer than any path on earth, and two of them fit into the usual budget.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a measured time is taken in.
const SAMPLE_EVERY_MS: u64 = 10;

/// Wakes whoever probes servers.
#[derive(Default, Debug)]
pub struct Alarm {
    bell: Notify,
    /// A [`Haste`], the greatest since it was last taken; 0: none.
    haste: AtomicU8,
}

/// What is wanted of probes that were planned for later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Haste {
    /// They are due, as soon as the one before is through.
    Due = 1,
    /// They begin at once, and as often as if the server had just gone.
    Anew = 2,
}

impl Alarm {
    /// Somebody is in doubt or down.
    pub fn ring(&self) {
        self.bell.notify_one();
    }

    /// Who was silent may answer now.
    pub fn hurry(&self, haste: Haste) {
        self.haste.fetch_max(haste as u8, Ordering::Relaxed);
        self.ring();
    }

    /// Waits for [`Self::ring`].
    pub async fn rung(&self) {
        self.bell.notified().await;
    }

    /// The most that [`Self::hurry`] asked for since this was last called.
    pub fn take_haste(&self) -> Option<Haste> {
        match self.haste.swap(0, Ordering::Relaxed) {
            0 => None,
            haste if haste == Haste::Due as u8 => Some(Haste::Due),
            _ => Some(Haste::Anew),
        }
    }
}

/// Smoothed round-trip time and its variation, as RFC 6298 §2 has them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rtt {
    /// Smoothed.
    pub smoothed: Duration,
    /// Its mean deviation.
    pub variation: Duration,
}

impl Rtt {
    fn first(measured: Duration) -> Self {
        Self { smoothed: measured, variation: measured / 2 }
    }

    fn with(self, measured: Duration) -> Self {
        let deviation = self.smoothed.abs_diff(measured);
        Self {
            smoothed: (self.smoothed * 7 + measured) / 8,
            variation: (self.variation * 3 + deviation) / 4,
        }
    }

    /// How long a try is waited for before another is made.
    pub fn timeout(self) -> Duration {
        (self.smoothed + self.variation * 4).clamp(MIN_TIMEOUT, MAX_TIMEOUT)
    }

    /// In one word, microseconds each; never 0, which stands for "unknown".
    fn pack(self) -> u64 {
        let smoothed = u64::from(micros(self.smoothed).max(1));
        smoothed << 32 | u64::from(micros(self.variation))
    }

    fn unpack(word: u64) -> Option<Self> {
        let half = |bits: u64| Duration::from_micros(bits & u64::from(u32::MAX));
        (word != 0).then(|| Self { smoothed: half(word >> 32), variation: half(word) })
    }
}

/// What makes a server count as down that says nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Silence {
    pub(super) tries: u32,
    pub(super) time: Duration,
}

/// What is known about one server's state. Shared by all workers; on cache lines of its own.
#[repr(align(128))]
#[derive(Debug)]
pub(super) struct Health {
    born: Instant,
    down: AtomicBool,
    /// Tries in a row without a usable reply.
    unanswered: AtomicU32,
    /// When the first of these began, or when a probe was last answered; milliseconds after `born`.
    waiting_since_ms: AtomicU64,
    /// When the last of them was given up, or when it came up; milliseconds after `born`.
    silent_ms: AtomicU64,
    /// When it last replied to a client's query, at most [`SAMPLE_EVERY_MS`] too early; milliseconds
    /// after `born`. A try that began before that says nothing about the server when it stays silent.
    alive_ms: AtomicU64,
    /// Whether the last probe that had its time was answered.
    probe_heard: AtomicBool,
    /// An [`Rtt`] of clients' queries, packed.
    rtt: AtomicU64,
    sampled_ms: AtomicU64,
    /// Of probes alone: what servers have at hand, so that they can be compared. Microseconds.
    pace_us: AtomicU32,
    /// 0: never.
    paced_ms: AtomicU64,
    /// Grows when sockets opened before should be used no more.
    epoch: AtomicU32,
    story: Mutex<Story>,
    pub(super) alarm: Arc<Alarm>,
}

#[derive(Debug)]
struct Story {
    since: Instant,
    last_error: Option<(Instant, Cow<'static, str>)>,
}

impl Health {
    pub(super) fn new(alarm: Arc<Alarm>) -> Self {
        let born = Instant::now();
        Self {
            born,
            down: AtomicBool::new(false),
            unanswered: AtomicU32::new(0),
            waiting_since_ms: AtomicU64::new(0),
            silent_ms: AtomicU64::new(0),
            alive_ms: AtomicU64::new(0),
            probe_heard: AtomicBool::new(false),
            rtt: AtomicU64::new(0),
            sampled_ms: AtomicU64::new(0),
            pace_us: AtomicU32::new(0),
            paced_ms: AtomicU64::new(0),
            epoch: AtomicU32::new(0),
            story: Mutex::new(Story { since: born, last_error: None }),
            alarm,
        }
    }

    pub(super) fn is_down(&self) -> bool {
        self.down.load(Ordering::Relaxed)
    }

    pub(super) fn is_in_doubt(&self) -> bool {
        self.unanswered.load(Ordering::Relaxed) >= DOUBT_TRIES
    }

    /// Whether the last try was silent.
    pub(super) fn is_silent(&self) -> bool {
        self.unanswered.load(Ordering::Relaxed) > 0
    }

    pub(super) fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Relaxed)
    }

    pub(super) fn renew(&self) {
        self.epoch.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn rtt(&self) -> Option<Rtt> {
        Rtt::unpack(self.rtt.load(Ordering::Relaxed))
    }

    pub(super) fn pace(&self) -> Option<Duration> {
        match self.pace_us.load(Ordering::Relaxed) {
            0 => self.rtt().map(|rtt| rtt.smoothed),
            pace_us => Some(Duration::from_micros(pace_us.into())),
        }
    }

    /// Since the last probe that measured; `None`: there was none.
    pub(super) fn pace_age(&self, now: Instant) -> Option<Duration> {
        let paced_ms = self.paced_ms.load(Ordering::Relaxed);
        (paced_ms != 0).then(|| Duration::from_millis(self.ms(now).saturating_sub(paced_ms)))
    }

    /// A query of a client's was answered. `measured` is how long that took, where it tells
    /// something about the path.
    pub(super) fn answered(&self, measured: Option<Duration>, now: Instant) {
        self.heard(now);
        if let Some(measured) = measured {
            self.sample(measured, now);
        }
    }

    /// It said something to a client's query, whatever that was.
    pub(super) fn heard(&self, now: Instant) {
        // A store by every reply would bounce the line between cores.
        if self.unanswered.load(Ordering::Relaxed) != 0 {
            self.unanswered.store(0, Ordering::Relaxed);
        }
        let now_ms = self.ms(now);
        if now_ms >= self.alive_ms.load(Ordering::Relaxed).saturating_add(SAMPLE_EVERY_MS) {
            self.alive_ms.store(now_ms, Ordering::Relaxed);
        }
    }

    /// Whether it replied to a client's query or to a probe lately.
    pub(super) fn is_heard(&self, now: Instant) -> bool {
        let alive_ms = self.alive_ms.load(Ordering::Relaxed);
        let heard_ms = alive_ms.max(self.paced_ms.load(Ordering::Relaxed));
        let ago_ms = self.ms(now).saturating_sub(heard_ms);
        heard_ms > 0 && Duration::from_millis(ago_ms) <= DOWN_SILENCE_MAX
    }

    fn sample(&self, measured: Duration, now: Instant) {
        let (known, now_ms) = (self.rtt(), self.ms(now));
        let fresh =
            now_ms.saturating_sub(self.sampled_ms.load(Ordering::Relaxed)) < SAMPLE_EVERY_MS;
        if known.is_some() && fresh {
            return;
        }
        let rtt = known.map_or_else(|| Rtt::first(measured), |rtt| rtt.with(measured));
        self.rtt.store(rtt.pack(), Ordering::Relaxed);
        self.sampled_ms.store(now_ms, Ordering::Relaxed);
    }

    /// A probe was answered: the path is there. Queries of clients may be silent all the same, so
    /// doubt ends only when none was for [`DOUBT_LASTS`].
    pub(super) fn probe_answered(&self, measured: Duration, now: Instant) {
        let pace_us = self.pace_us.load(Ordering::Relaxed);
        let measured_us = micros(measured).max(1);
        // Probes are rare: each has much weight.
        let smoothed = if pace_us == 0 { measured_us } else { pace_us / 2 + measured_us / 2 };
        self.pace_us.store(smoothed.max(1), Ordering::Relaxed);
        let now_ms = self.ms(now).max(1);
        self.paced_ms.store(now_ms, Ordering::Relaxed);
        self.probe_heard.store(true, Ordering::Relaxed);
        match self.unanswered.load(Ordering::Relaxed) {
            0 => {}
            tries => {
                let quiet_ms = now_ms.saturating_sub(self.silent_ms.load(Ordering::Relaxed));
                let lasts = Duration::from_millis(quiet_ms) < DOUBT_LASTS;
                let left = if lasts { tries.min(DOUBT_TRIES) } else { 0 };
                self.unanswered.store(left, Ordering::Relaxed);
                self.waiting_since_ms.store(now_ms, Ordering::Relaxed);
                // Slower than known may be why it seemed silent. Faster says nothing: it has the
                // probe's answer at hand, and not those of clients.
                if self.rtt().is_some_and(|rtt| measured > rtt.smoothed) {
                    self.sample(measured, now);
                }
            }
        }
        if self.rtt().is_none() {
            self.sample(measured, now);
        }
    }

    /// The server replied, but the query is not answered yet: the rest is to come over TCP.
    pub(super) fn note_sign_of_life(&self, now: Instant) {
        self.alive_ms.store(self.ms(now) + 1, Ordering::Relaxed);
        self.answered(None, now);
    }

    /// A probe that began at `begun` was not answered in its time; else as [`Self::unanswered`].
    pub(super) fn probe_unanswered(&self, begun: Instant, now: Instant) -> Option<Silence> {
        self.probe_heard.store(false, Ordering::Relaxed);
        self.unanswered(begun, now)
    }

    /// A try that began at `begun` was not answered in its time. Gives the silence that makes it
    /// down now, where that changes its state.
    ///
    /// Clients choose the names that are asked, so silence about some of them is no evidence while
    /// the server replies to others: a reply after `begun` makes the silence that of the name.
    pub(super) fn unanswered(&self, begun: Instant, now: Instant) -> Option<Silence> {
        if self.alive_ms.load(Ordering::Relaxed) > self.ms(begun) {
            return None;
        }
        let tries = self.one_more(begun, now);
        let since_ms = self.waiting_since_ms.load(Ordering::Relaxed);
        let time = Duration::from_millis(self.ms(now).saturating_sub(since_ms));
        let timeout = self.rtt().map_or(MAX_TIMEOUT, Rtt::timeout);
        let enough = (timeout * DOWN_TIMEOUTS).clamp(DOWN_SILENCE_MIN, DOWN_SILENCE_MAX);
        // Doubt has begun a probe long before. While the last one was answered, only clients' names
        // are silent, and the next probe may be late because this machine is busy.
        let is_probe_heard = self.probe_heard.load(Ordering::Relaxed);
        let enough = if is_probe_heard { enough * 2 } else { enough };
        (tries >= DOWN_TRIES && time >= enough && !self.is_down())
            .then_some(Silence { tries, time })
    }

    /// A try that began at `begun` failed at once; `enough` such in a row are proof. Returns how
    /// many there were if that changes its state. A reply after `begun` outweighs the failure: the
    /// server is there.
    pub(super) fn failed(&self, enough: u32, begun: Instant, now: Instant) -> Option<u32> {
        if self.alive_ms.load(Ordering::Relaxed) > self.ms(begun) {
            return None;
        }
        let tries = self.one_more(now, now);
        (tries >= enough && !self.is_down()).then_some(tries)
    }

    fn one_more(&self, begun: Instant, now: Instant) -> u32 {
        self.silent_ms.store(self.ms(now), Ordering::Relaxed);
        let before = self.unanswered.fetch_add(1, Ordering::Relaxed);
        if before == 0 {
            let probed_ms = self.paced_ms.load(Ordering::Relaxed);
            self.waiting_since_ms.store(self.ms(begun).max(probed_ms), Ordering::Relaxed);
        }
        let tries = before.saturating_add(1);
        if tries == DOUBT_TRIES {
            self.alarm.ring();
        }
        tries
    }

    /// Gives for how long it was up; `None`: it was down already.
    pub(super) fn go_down(&self, why: String, now: Instant) -> Option<Duration> {
        let mut story = self.story();
        if self.down.swap(true, Ordering::Relaxed) {
            return None;
        }
        story.last_error = Some((now, why.into()));
        let was_up = now.saturating_duration_since(story.since);
        story.since = now;
        // Maybe it is the sockets: those opened before the path changed keep their source address.
        self.renew();
        self.alarm.ring();
        Some(was_up)
    }

    /// Gives for how long it was down; `None`: it was up already.
    pub(super) fn come_up(&self, now: Instant) -> Option<Duration> {
        let mut story = self.story();
        if !self.down.swap(false, Ordering::Relaxed) {
            return None;
        }
        let was_down = now.saturating_duration_since(story.since);
        story.since = now;
        // On trial, as if it had just been silent; and over another path, maybe.
        self.unanswered.store(DOUBT_TRIES, Ordering::Relaxed);
        self.silent_ms.store(self.ms(now), Ordering::Relaxed);
        self.waiting_since_ms.store(self.ms(now), Ordering::Relaxed);
        self.rtt.store(0, Ordering::Relaxed);
        self.pace_us.store(0, Ordering::Relaxed);
        self.paced_ms.store(0, Ordering::Relaxed);
        self.probe_heard.store(false, Ordering::Relaxed);
        self.renew();
        self.alarm.ring();
        Some(was_down)
    }

    pub(super) fn since(&self) -> Instant {
        self.story().since
    }

    pub(super) fn note_error(&self, reason: Cow<'static, str>, now: Instant) {
        self.story().last_error = Some((now, reason));
    }

    /// Keeps the reason unless something was kept since `begun`.
    pub(super) fn note_error_unless_since(
        &self,
        begun: Instant,
        now: Instant,
        reason: impl FnOnce() -> Cow<'static, str>,
    ) {
        let mut story = self.story();
        if story.last_error.as_ref().is_none_or(|(at, _)| *at < begun) {
            story.last_error = Some((now, reason()));
        }
    }

    pub(super) fn last_error(&self) -> Option<(Instant, Cow<'static, str>)> {
        self.story().last_error.clone()
    }

    /// A panic in between leaves no half-done state: each section only moves values.
    fn story(&self) -> MutexGuard<'_, Story> {
        self.story.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ms(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.born).as_millis()).unwrap_or(u64::MAX)
    }
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
