//! The daemon never forwards to itself.
//!
//! At the start the daemon compares addresses (`own`). At run time the daemon sends probes: queries
//! for a random name that does not exist. Each upstream gets one below each zone of its rule, and
//! below each private-link zone that the rule covers, because upstreams mostly have a conditional
//! forwarder to us for the latter alone. A reload probes only what is new: a zone at a server that had
//! not been probed with it. If a client's query has that name, that upstream may send
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

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::{info, warn};

use super::forwarder::Forwarder;
use super::loop_guard::{Echo, LoopGuard};
use super::loop_pace::Pace;
#[cfg(test)]
use super::loop_search::search_once;
use super::loop_search::{Search, search};
use super::race::Attempt;
use super::rules::Rules;
use super::target::{Claim, Evidence};
use crate::upstream::TryError;
use crate::wire::{Answer, Question, Rcode, Rtype, Section};

/// Searches for loops for ever, in the rules that `current` gives. Ring `changed` when they are others;
/// without that it is seen a few seconds later.
///
/// Each upstream gets at most ten probes a second, and all together get at most 50 (`loop_pace`). What
/// is due is searched in this order (`loop_search`): zones in which a client's query went unanswered,
/// private-link zones and everything (`"."`), other zones that are new at an upstream, zones that
/// loop. So an upstream of 5,000 zones has had all its probes after 500 seconds, and a loop that a client
/// runs into is found a few seconds later all the same.
///
/// # Panics
/// Outside a tokio `LocalSet`.
pub async fn probe_for_loops(
    forwarder: Rc<Forwarder>,
    current: impl Fn() -> (Arc<Rules>, Arc<LoopGuard>),
    changed: Rc<Notify>,
) {
    let pace = Rc::new(Pace::default());
    search(current, &changed, &pace, |search, guard| {
        let (forwarder, pace) = (Rc::clone(&forwarder), Rc::clone(&pace));
        async move { settle(&search, &forwarder, &guard, &pace).await }
    })
    .await;
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

/// Sends up to three probes, the first one at once, and marks the upstream by what they bring.
async fn settle(search: &Search, forwarder: &Forwarder, guard: &LoopGuard, pace: &Pace) {
    let server = search.claim.target.upstream().number();
    let Some(first) = search.probe(forwarder, guard, Over::Usual).await else { return };
    if first.returned.is_none() {
        return search.note_none(&first);
    }
    pace.turn(server).await;
    let second = search.probe(forwarder, guard, Over::UntilReturn).await;
    let Some(second) = second else { return };
    let Some(client) = second.returned else { return search.note_none(&second) };
    pace.turn(server).await;
    let Some(third) = search.probe(forwarder, guard, Over::Connection).await else { return };
    match third.reply {
        Reply::Ours => search.note_loop(client, Evidence::Proven),
        Reply::Foreign => search.note_none(&third),
        Reply::Nothing => search.note_loop(client, Evidence::Returned),
    }
}

impl Search {
    /// A query for a random name, so that only this daemon sends it. `None` if it cannot be sent now.
    async fn probe(&self, forwarder: &Forwarder, guard: &LoopGuard, over: Over) -> Option<Outcome> {
        let under_way = guard.begin(&self.zone, self.timeout)?;
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
        let (zone, address) = (&self.zone, target.upstream().server());
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
            let (zone, address) = (&self.zone, target.upstream().server());
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

/// Searches what is due now, and returns at the end of that.
#[cfg(test)]
pub(super) async fn probe_due(forwarder: &Rc<Forwarder>, rules: &Rules, guard: &Arc<LoopGuard>) {
    let pace = Rc::new(Pace::default());
    search_once((rules, guard), &pace, |search, guard| {
        let (forwarder, pace) = (Rc::clone(forwarder), Rc::clone(&pace));
        async move { settle(&search, &forwarder, &guard, &pace).await }
    })
    .await;
}
