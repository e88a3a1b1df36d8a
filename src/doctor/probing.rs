//! What probes of the private endpoints find from this host, whether the daemon runs or not.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;

use tokio::runtime;
use tokio::sync::Semaphore;
use tokio::task::{LocalSet, spawn_local};

use super::asking::PATIENCE;
use super::health::State;
use crate::config::{Config, Target};
use crate::probes;

/// Addresses that are probed; the daemon probes more, as it has more time.
pub(super) const MAX_TARGETS: usize = 256;
/// Probes under way at once: two rounds, each of two tries, take 8 s when no address replies.
const AT_ONCE: usize = 128;
/// A single lost datagram is no word about an address.
const TRIES: usize = 2;

/// Probes under way.
pub(super) struct Probing {
    targets: Vec<Target>,
    found: Receiver<(usize, State)>,
}

impl Probing {
    /// Begins to probe what `config` wants probed, each once, on a thread of its own.
    pub(super) fn begin(config: &Config) -> Self {
        let targets = targets(config);
        let (told, found) = channel();
        let (limit, asked) = (config.probes.timeout.min(PATIENCE), targets.clone());
        let probe = move || {
            let Ok(runtime) = runtime::Builder::new_current_thread().enable_all().build() else {
                return;
            };
            let room = Arc::new(Semaphore::new(AT_ONCE));
            LocalSet::new().block_on(&runtime, async {
                let each = asked.into_iter().enumerate().map(|(place, target)| {
                    let (room, told) = (Arc::clone(&room), told.clone());
                    spawn_local(async move {
                        let Ok(_room) = room.acquire().await else { return };
                        let mut outcome = probes::probe_once(&target, limit).await;
                        for _ in 1..TRIES {
                            if outcome.is_ok() {
                                break;
                            }
                            outcome = probes::probe_once(&target, limit).await;
                        }
                        let _nobody = told.send((place, State::from(outcome)));
                    })
                });
                for task in each.collect::<Vec<_>>() {
                    let _ended = task.await;
                }
            });
        };
        // Without a thread nothing is found out, and that is said.
        let _refused = thread::Builder::new().spawn(probe);
        Self { targets, found }
    }

    /// Waits for the probes until `end`. Returns each target with what was found; one that was not
    /// probed to its end has no state.
    pub(super) fn finish(self, end: Instant) -> Vec<(Target, Option<State>)> {
        let mut all: Vec<_> = self.targets.into_iter().map(|target| (target, None)).collect();
        for _ in 0..all.len() {
            let left = end.saturating_duration_since(Instant::now());
            let Ok((place, state)) = self.found.recv_timeout(left) else { break };
            if let Some((_, known)) = all.get_mut(place) {
                *known = Some(state);
            }
        }
        all
    }
}

/// What is to be probed, each once, in the file's order, the first [`MAX_TARGETS`].
fn targets(config: &Config) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    for link in &config.private_links {
        for target in link.endpoints.iter().flat_map(|endpoint| endpoint.targets(link)) {
            if targets.len() < MAX_TARGETS && !targets.contains(&target) {
                targets.push(target);
            }
        }
    }
    targets
}
