//! Which zones of which upstreams are searched for loops next.
//!
//! Nothing is queued for long: what is due stands in the state of each upstream ([`Target`]), and
//! every few seconds a look takes out of it what may leave until the next look. So the work that
//! waits is bounded, however many zones there are, and a reload has nothing to take back.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::loop_guard::LoopGuard;
use super::loop_pace::Pace;
use super::rules::Rules;
use super::target::{Claim, Mark, Target};
use crate::wire::Name;

/// How often a looping upstream is probed again, for each zone that loops.
const LOOPING_EVERY: Duration = Duration::from_secs(30);
/// How often at most an upstream is probed on suspicion, for each zone.
const SUSPECT_EVERY: Duration = Duration::from_secs(10);
/// From one look to the next.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// Zones that one look takes for one upstream: what leaves until the next look.
const SERVER_ROOM: usize = 32;
/// Zones that one look takes in all: more than leave until the next look, so that upstreams that may
/// be asked are among them.
pub(super) const ROOM: usize = 256;
/// Searches under way at once, at one upstream and in all. One that is silent takes the rule's
/// timeout, and must not keep others from being searched.
const AT_ONCE_EACH: usize = 16;
const AT_ONCE: usize = 128;

/// A search that has begun: `zone` at the server of `claim`.
pub(super) struct Search {
    pub(super) zone: Name,
    /// For each probe.
    pub(super) timeout: Duration,
    pub(super) claim: Claim,
}

/// A search that may begin.
struct Due {
    zone: Name,
    timeout: Duration,
    target: Arc<Target>,
    mark: Mark,
}

/// Why a zone is searched, the most urgent first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Reason {
    /// A client's query went unanswered.
    Suspect,
    /// It was never searched, and loops are likely here: it is everything, or a private-link zone, for
    /// which others have conditional forwarders to us.
    NewAndLikely,
    /// It was never searched.
    New,
    /// It loops; it may have ended.
    Looping,
}

/// Why `mark` is searched at `target` now, if it is.
fn reason(target: &Target, mark: Mark, is_likely: bool, now_ms: u64) -> Option<Reason> {
    let Some(probed_ms) = target.probed_ms(mark) else {
        let first = if is_likely { Reason::NewAndLikely } else { Reason::New };
        return Some(if target.is_suspect(mark) { Reason::Suspect } else { first });
    };
    let passed =
        |every: Duration| u128::from(now_ms.saturating_sub(probed_ms)) >= every.as_millis();
    if target.loops_for(mark) {
        passed(LOOPING_EVERY).then_some(Reason::Looping)
    } else {
        (target.is_suspect(mark) && passed(SUSPECT_EVERY)).then_some(Reason::Suspect)
    }
}

/// Takes what is due, the most urgent first, and at most [`ROOM`]. `from` is the rule that the look
/// begins with; it moves on when there is no room for all.
fn look(rules: &Rules, now_ms: u64, from: &mut usize) -> VecDeque<Due> {
    let mut due: [Vec<Due>; 4] = Default::default();
    let mut of_server: [HashMap<u64, usize>; 4] = Default::default();
    let count = rules.iter().count();
    let begin = *from % count.max(1);
    let indexed = || rules.iter().enumerate();
    let mut left_out = None;
    for (index, rule) in indexed().skip(begin).chain(indexed().take(begin)) {
        for target in rule.targets().iter() {
            for (mark, zone) in rule.probe_zones().iter() {
                let is_likely = rule.probe_zones().is_likely(mark);
                let Some(reason) = reason(target, mark, is_likely, now_ms) else { continue };
                let place = reason as usize;
                let (Some(due), Some(of_server)) = (due.get_mut(place), of_server.get_mut(place))
                else {
                    continue;
                };
                if due.len() == ROOM {
                    left_out.get_or_insert(index);
                    continue;
                }
                let server = of_server.entry(target.upstream().number()).or_default();
                if *server < SERVER_ROOM {
                    *server += 1;
                    let (zone, target) = (zone.clone(), Arc::clone(target));
                    due.push(Due { zone, timeout: rule.timeout(), target, mark });
                }
            }
        }
    }
    *from = left_out.unwrap_or(begin);
    due.into_iter().flatten().take(ROOM).collect()
}

/// Searches for ever in the rules that `current` gives at each look; `changed` is rung when they are
/// others. Probes leave at the pace of [`Pace`], which `begin` has to keep for all but the first one
/// of a search.
///
/// # Panics
/// Outside a tokio `LocalSet`.
pub(super) async fn search<F: Future<Output = ()> + 'static>(
    current: impl Fn() -> (Arc<Rules>, Arc<LoopGuard>),
    changed: &Notify,
    pace: &Pace,
    begin: impl Fn(Search, Arc<LoopGuard>) -> F,
) {
    let mut running: Running = Running::default();
    let mut from = 0;
    loop {
        let (rules, guard) = current();
        let next_look = Instant::now() + LOOK_EVERY;
        let mut due = look(&rules, guard.now_ms(), &mut from);
        loop {
            let now = Instant::now();
            let wait = match take_next(&mut due, &running, pace, now) {
                Ok(due) => {
                    let Due { zone, timeout, target, mark } = due;
                    // Another look may have taken it already.
                    if let Some(claim) = target.claim(mark, guard.now_ms()) {
                        let server = target.upstream().number();
                        let search = Search { zone, timeout, claim };
                        running.begin(server, begin(search, Arc::clone(&guard)));
                    }
                    continue;
                }
                Err(wait) => wait.unwrap_or(next_look).min(next_look),
            };
            tokio::select! {
                () = sleep_until(wait) => if wait == next_look { break },
                () = changed.notified() => break,
                Some(_) = running.tasks.join_next() => {}
            }
        }
    }
}

/// Takes the first one whose turn it is; else gives when that may be, if time alone decides.
fn take_next(
    due: &mut VecDeque<Due>,
    running: &Running,
    pace: &Pace,
    now: Instant,
) -> Result<Due, Option<Instant>> {
    if running.tasks.len() >= AT_ONCE {
        return Err(None);
    }
    let mut wait: Option<Instant> = None;
    let mut first = None;
    for (index, one) in due.iter().enumerate() {
        let server = one.target.upstream().number();
        if running.count(server) >= AT_ONCE_EACH {
            continue;
        }
        match pace.take(server, now) {
            Ok(()) => {
                first = Some(index);
                break;
            }
            Err(at) => wait = Some(wait.map_or(at, |wait| wait.min(at))),
        }
    }
    first.and_then(|first| due.remove(first)).ok_or(wait)
}

/// Searches under way.
#[derive(Default)]
struct Running {
    tasks: JoinSet<()>,
    /// One reference for each search, and one of our own, by server.
    of_server: HashMap<u64, Rc<()>>,
}

impl Running {
    fn count(&self, server: u64) -> usize {
        self.of_server.get(&server).map_or(0, |held| Rc::strong_count(held) - 1)
    }

    fn begin(&mut self, server: u64, search: impl Future<Output = ()> + 'static) {
        self.of_server.retain(|_, held| Rc::strong_count(held) > 1);
        let held = Rc::clone(self.of_server.entry(server).or_default());
        self.tasks.spawn_local(async move {
            let _until_done = held;
            search.await;
        });
    }
}

#[cfg(test)]
pub(super) async fn search_once<F: Future<Output = ()> + 'static>(
    (rules, guard): (&Rules, &Arc<LoopGuard>),
    pace: &Pace,
    begin: impl Fn(Search, Arc<LoopGuard>) -> F,
) {
    let mut tasks = JoinSet::new();
    for Due { zone, timeout, target, mark } in look(rules, guard.now_ms(), &mut 0) {
        if let Some(claim) = target.claim(mark, guard.now_ms()) {
            pace.turn(target.upstream().number()).await;
            tasks.spawn_local(begin(Search { zone, timeout, claim }, Arc::clone(guard)));
        }
    }
    tasks.join_all().await;
}
