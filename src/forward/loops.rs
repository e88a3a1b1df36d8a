//! The daemon never forwards to itself.
//!
//! At the start the daemon compares addresses (`own`). At run time the daemon sends probes: queries
//! for a random name that does not exist. Each upstream gets one below each zone of its rule, and
//! below each private-link zone that the rule covers, because upstreams mostly have a conditional
//! forwarder to us for the latter alone. If a client's query has that name, that upstream may send
//! our queries back, over any number of steps. Until then `Flights` keeps a loop from growing.
//!
//! All servers on a probe's way see its name: the upstream, the servers that it asks, and hosts
//! that read the traffic. Each of them can send the name to us, from its own address or, over UDP,
//! from a forged one. So a return alone must not take an upstream away from its clients:
//!
//! - A return counts while its probe waits (`loop_guard`), and from a client in `[access]` only:
//!   a host that may not ask us cannot be part of a loop, because we refuse its queries.
//! - One return brings no more than a second probe under another name. Without a second return
//!   there is no loop.
//! - After two returns a third probe goes over a connection, over TCP where the upstream is a plain
//!   one. We answer a probe that comes back with a secret. In a loop our answer is what the
//!   upstream tells us, so its reply holds the secret. A host that only knows the name can learn
//!   the secret, but cannot put it into the upstream's connection to us. So the secret is proof,
//!   and a reply without it refutes what the returns seemed to say.
//! - Where the connection brings neither (TCP is blocked, or the upstream reports an error), two
//!   returns are all there is. They are enough to prefer other upstreams, and never enough to take
//!   away the last one of a zone (`target::may_be_asked`).
//!
//! An upstream that loops is skipped for names of that zone until its probes no longer return.
//! Probes set CD, because a validating upstream would throw our unsigned answer away.

use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::timeout;
use tracing::{info, warn};

use super::forwarder::Forwarder;
use super::loop_guard::{Echo, LoopGuard};
use super::race::Attempt;
use super::rules::Rules;
use super::target::{Claim, Evidence, Mark, Target};
use crate::upstream::TryError;
use crate::wire::{Answer, Name, Question, Rcode, Rtype, Section};

/// How often a looping upstream is probed again, for each zone that loops.
const LOOPING_EVERY: Duration = Duration::from_secs(30);
/// How often at most an upstream is probed on suspicion, for each zone.
const SUSPECT_EVERY: Duration = Duration::from_secs(10);
/// Probes under way at once.
const PROBES_AT_ONCE: usize = 32;

/// Probes every upstream of every rule in all the zones that are probed there: call it after the
/// start and after each reload.
pub async fn probe_all(forwarder: &Forwarder, rules: &Rules, guard: &LoopGuard) {
    probe_where(forwarder, rules, guard, |_, _| true).await;
}

/// Probes what was never probed, and again what loops (every 30 s) or is under suspicion because a
/// query's whole budget went by without a reply (at most every 10 s): call it every few seconds.
pub async fn probe_due(forwarder: &Forwarder, rules: &Rules, guard: &LoopGuard) {
    let now_ms = now_ms(guard);
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
    let now_ms = now_ms(guard);
    let mut due = Vec::new();
    for rule in rules.iter() {
        for target in rule.targets().iter() {
            for (mark, zone) in rule.probe_zones().iter() {
                if wanted(target, mark)
                    && let Some(claim) = target.claim(mark, now_ms)
                {
                    due.push(Suspicion { zone, timeout: rule.timeout(), claim });
                }
            }
        }
    }
    all(due.into_iter().map(|suspicion| suspicion.settle(forwarder, guard))).await;
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

fn now_ms(guard: &LoopGuard) -> u64 {
    u64::try_from(guard.born.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// An upstream that may send queries for `zone` back.
struct Suspicion<'a> {
    zone: &'a Name,
    /// For each probe.
    timeout: Duration,
    claim: Claim,
}

/// What one probe brought.
struct Outcome {
    /// The client that brought the probe back.
    returned: Option<IpAddr>,
    /// The upstream replied, whatever its rcode.
    is_reply: bool,
    reply: Reply,
}

/// What an upstream's reply to a probe says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reply {
    /// Our own answer.
    Ours,
    /// Another server's answer.
    Foreign,
    /// Neither: an error, or silence.
    Nothing,
}

/// How a probe goes to its upstream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Over {
    /// As clients' queries do; its reply is waited for.
    Usual,
    /// The same, but its return settles it.
    UntilReturn,
    /// Over a connection made for this probe: TCP if the upstream is a plain one.
    Connection,
}

impl Suspicion<'_> {
    /// Sends up to three probes, and marks the upstream by what they bring.
    async fn settle(self, forwarder: &Forwarder, guard: &LoopGuard) {
        let Some(first) = self.probe(forwarder, guard, Over::Usual).await else { return };
        if first.returned.is_none() {
            return self.note_none(&first);
        }
        let second = self.probe(forwarder, guard, Over::UntilReturn).await;
        let Some(second) = second else { return };
        let Some(client) = second.returned else { return self.note_none(&second) };
        let Some(third) = self.probe(forwarder, guard, Over::Connection).await else { return };
        match third.reply {
            Reply::Ours => self.note_loop(client, Evidence::Proven),
            Reply::Foreign => self.note_none(&third),
            Reply::Nothing => self.note_loop(client, Evidence::Returned),
        }
    }

    /// A query for a random name, so that only this daemon sends it. `None` if it cannot be sent now.
    async fn probe(&self, forwarder: &Forwarder, guard: &LoopGuard, over: Over) -> Option<Outcome> {
        let under_way = guard.begin(self.zone, self.timeout)?;
        let question = Question {
            checking_disabled: true,
            ..Question::plain(under_way.name.clone(), Rtype::TXT)
        };
        let upstream = self.claim.target.upstream();
        let attempt = async {
            match over {
                Over::Usual => Some(forwarder.attempt(upstream, &question).await),
                Over::UntilReturn => tokio::select! {
                    outcome = forwarder.attempt(upstream, &question) => Some(outcome),
                    () = under_way.returned() => None,
                },
                Over::Connection => Some(forwarder.attempt_connected(upstream, &question).await),
            }
        };
        let outcome = timeout(self.timeout, attempt).await.ok().flatten();
        Some(Outcome {
            returned: under_way.client(),
            is_reply: matches!(outcome, Some(Ok(_))),
            reply: outcome.map_or(Reply::Nothing, |outcome| read(&outcome, &under_way.echo)),
        })
    }

    fn note_loop(&self, client: IpAddr, evidence: Evidence) {
        let Claim { target, mark } = &self.claim;
        if !target.set_looping(*mark, evidence) {
            return;
        }
        let (zone, address) = (self.zone, target.upstream().server());
        match evidence {
            Evidence::Proven => warn!(
                "forwarding loop: upstream {address} sends our queries for zone {zone} back \
                 (seen from {client}), so it is not asked for names there; remove it from this \
                 rule, or the conditional forwarder for this zone that points here from that \
                 server"
            ),
            Evidence::Returned => warn!(
                "forwarding loop: upstream {address} seems to send our queries for zone {zone} \
                 back (seen from {client}), but its connection did not confirm that; it is asked \
                 for names there only while no other upstream is left; look for a conditional \
                 forwarder for this zone that points here from that server"
            ),
        }
    }

    /// Silence proves nothing and leaves the mark as it is; a reply removes the mark.
    fn note_none(&self, outcome: &Outcome) {
        let Claim { target, mark } = &self.claim;
        if outcome.is_reply && target.clear_looping(*mark) {
            let (zone, address) = (self.zone, target.upstream().server());
            info!("forwarding loop gone: upstream {address} of zone {zone}");
        }
    }
}

/// Reads what the upstream's reply says of a probe that we answer with `echo`.
fn read(outcome: &Result<Answer, TryError>, echo: &Echo) -> Reply {
    let Ok(answer) = outcome else { return Reply::Nothing };
    let answer = answer.borrowed();
    let is_ours = answer.records().any(|record| {
        record.section == Section::Answer && record.rtype == Rtype::TXT && record.rdata == echo
    });
    match answer.rcode() {
        Rcode::NOERROR if is_ours => Reply::Ours,
        Rcode::NOERROR | Rcode::NXDOMAIN => Reply::Foreign,
        _ => Reply::Nothing,
    }
}
