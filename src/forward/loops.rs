//! The daemon never forwards to itself.
//!
//! At the start the addresses tell (`own`). At run time probes tell: a query for a name
//! that nobody has, drawn at random, is sent to each upstream, below each zone of its rule and each
//! private-link zone that the rule covers: upstreams mostly have a conditional forwarder to us for
//! the latter alone. When a client's query carries that name, that upstream sends our queries back,
//! over however many steps, and is skipped for names of that zone until a probe no longer returns.
//! In the meantime `Flights` keeps a loop from growing.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use rand::RngExt;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::forwarder::Forwarder;
use super::race::Attempt;
use super::rules::Rules;
use super::target::{Claim, Mark, Target};
use crate::wire::{Name, QName, Question, Rtype};

/// How a probe's first label begins; a leading underscore is no host's (RFC 8552 §1.1).
const LABEL: &[u8; 6] = b"_loop-";
/// Hexadecimal digits of the process's number, and of the probe's own.
const DIGITS: usize = 16;
/// How often a looping upstream is probed again, for each zone that loops.
const LOOPING_EVERY: Duration = Duration::from_secs(30);
/// How often at most an upstream is probed on suspicion, for each zone.
const SUSPECT_EVERY: Duration = Duration::from_secs(10);
/// Probes under way at once.
const PROBES_AT_ONCE: usize = 32;

/// Knows the probes of this process. Shared by all workers; lives as long as the process.
pub struct LoopGuard {
    /// The first octets of every probe's first label.
    prefix: [u8; LABEL.len() + DIGITS],
    born: Instant,
    /// Probes under way, by their own number. A number is good for one probe, so that who has seen
    /// one cannot mark an upstream later.
    under_way: Mutex<HashMap<u64, Option<IpAddr>>>,
}

impl Default for LoopGuard {
    fn default() -> Self {
        Self::new()
    }
}

impl LoopGuard {
    /// Draws the process's number.
    pub fn new() -> Self {
        let mut prefix = [0; LABEL.len() + DIGITS];
        let digits = format!("{:0DIGITS$x}", rand::rng().random::<u64>());
        for (to, from) in prefix.iter_mut().zip(LABEL.iter().chain(digits.as_bytes())) {
            *to = *from;
        }
        Self { prefix, born: Instant::now(), under_way: Mutex::default() }
    }

    /// Whether `qname` is a probe of this process. Never forward such a query.
    pub fn is_probe(&self, qname: &QName) -> bool {
        qname.label(0).starts_with(&self.prefix)
    }

    /// Takes note when `qname` is a probe of this process; gives whether it is. Ask before access
    /// rules are applied: the host that sends it back need not be allowed to ask.
    pub fn note_return(&self, qname: &QName, client: IpAddr) -> bool {
        let Some(digits) = qname.label(0).strip_prefix(&self.prefix) else { return false };
        let number = str::from_utf8(digits).ok().and_then(|d| u64::from_str_radix(d, 16).ok());
        if let Some(number) = number
            && let Some(seen) = self.lock().get_mut(&number)
        {
            seen.get_or_insert(client);
        }
        true
    }

    /// A name below `zone` that nobody has; `None` when the zone's own name leaves no room.
    fn probe_name(&self, zone: &Name) -> Option<(u64, Name)> {
        let number = rand::rng().random::<u64>();
        let mut wire = vec![u8::try_from(self.prefix.len() + DIGITS).ok()?];
        wire.extend_from_slice(&self.prefix);
        wire.extend_from_slice(format!("{number:0DIGITS$x}").as_bytes());
        wire.extend_from_slice(zone.as_wire());
        Some((number, Name::from_wire(&wire).ok()?))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Option<IpAddr>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// One probe's place in the guard; dropped, its number is worth nothing.
struct UnderWay<'a> {
    guard: &'a LoopGuard,
    number: u64,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.guard.lock().remove(&self.number);
    }
}

/// Probes every upstream of every rule in all the zones that are probed there: call it after the
/// start and after each reload.
pub async fn probe_all(forwarder: &Forwarder, rules: &Rules, guard: &LoopGuard) {
    probe_where(forwarder, rules, guard, |_, _| true).await;
}

/// Probes what was never probed, and again what loops (every 30 s) or is under suspicion because a
/// query's whole budget went by without a reply (at most every 10 s): call it every few seconds.
pub async fn probe_due(forwarder: &Forwarder, rules: &Rules, guard: &LoopGuard) {
    let now_ms = guard.now_ms();
    probe_where(forwarder, rules, guard, |target, mark| {
        let Some(probed_ms) = target.probed_ms(mark) else { return true };
        let every = if target.loops_for(mark) {
            LOOPING_EVERY
        } else if target.is_suspect(mark) {
            SUSPECT_EVERY
        } else {
            return false;
        };
        u128::from(now_ms.saturating_sub(probed_ms)) >= every.as_millis()
    })
    .await;
}

/// What is wanted is claimed at once, also what has to wait for its turn: however long that takes,
/// the next call does not queue it again.
async fn probe_where(
    forwarder: &Forwarder,
    rules: &Rules,
    guard: &LoopGuard,
    wanted: impl Fn(&Target, Mark) -> bool,
) {
    let now_ms = guard.now_ms();
    let mut due = Vec::new();
    for rule in rules.iter() {
        for target in rule.targets().iter() {
            for (mark, zone) in rule.probe_zones().iter() {
                if wanted(target, mark)
                    && let Some(claim) = target.claim(mark, now_ms)
                {
                    due.push(Probe { zone, timeout: rule.timeout(), claim });
                }
            }
        }
    }
    all(due.into_iter().map(|probe| probe.run(forwarder, guard))).await;
}

/// Runs all to their end on this task, [`PROBES_AT_ONCE`] at a time.
async fn all<F: Future<Output = ()>>(mut waiting: impl Iterator<Item = F>) {
    let mut running: Vec<Pin<Box<F>>> = Vec::with_capacity(PROBES_AT_ONCE);
    poll_fn(|context| {
        loop {
            running.retain_mut(|future| future.as_mut().poll(context).is_pending());
            let before = running.len();
            running.extend(waiting.by_ref().take(PROBES_AT_ONCE - before).map(Box::pin));
            if running.is_empty() {
                return Poll::Ready(());
            }
            if running.len() == before {
                return Poll::Pending;
            }
        }
    })
    .await;
}

/// One query that nobody else sends, for a name below `zone`.
struct Probe<'a> {
    zone: &'a Name,
    timeout: Duration,
    claim: Claim,
}

impl Probe<'_> {
    async fn run(self, forwarder: &Forwarder, guard: &LoopGuard) {
        let Some((number, name)) = guard.probe_name(self.zone) else { return };
        guard.lock().insert(number, None);
        let under_way = UnderWay { guard, number };
        let question = Question::plain(name, Rtype::TXT);
        let Claim { target, mark } = &self.claim;
        let attempt = forwarder.attempt(target.upstream(), &question);
        let outcome = timeout(self.timeout, attempt).await;
        let returned = guard.lock().get(&number).copied().flatten();
        drop(under_way);
        let (zone, address) = (self.zone, target.upstream().server());
        if let Some(client) = returned {
            if target.set_looping(*mark) {
                warn!(
                    "forwarding loop: upstream {address} sends our queries for zone {zone} back \
                     (seen from {client}), so it is not asked for names there; remove it from this \
                     rule, or the conditional forwarder for this zone that points here from that \
                     server"
                );
            }
        } else if matches!(outcome, Ok(Ok(_))) && target.clear_looping(*mark) {
            // Silence proves nothing and leaves the mark as it is; this was a reply.
            info!("forwarding loop gone: upstream {address} of zone {zone}");
        }
    }
}
