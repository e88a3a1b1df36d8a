//! What one dial sees of a host's addresses: those that are known, then those that come while it is
//! under way (RFC 8305 §3 to §5).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::bootstrap::{ADDRESSES, Bootstrap, Host, Known};
use super::lookup::{Family, Miss};
use crate::wire::Name;

/// How long a dial waits for addresses of the preferred family when it has others: RFC 8305 §8
/// proposes this resolution delay.
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);
/// How long an expired address waits to be renewed before a dial takes it as it is: one round trip
/// on a slow path.
const RENEWAL: Duration = Duration::from_millis(500);

/// One dial's way to the addresses of a host.
pub(super) struct Search {
    bootstrap: Arc<Bootstrap>,
    name: Name,
    preferred: Option<IpAddr>,
    news: watch::Receiver<()>,
    taken: Vec<IpAddr>,
    /// When there was first an address to take.
    first_seen: Option<Instant>,
}

#[derive(PartialEq, Eq, Debug)]
enum Step {
    Take(IpAddr),
    /// Something may come, or may be taken from then on.
    Wait(Option<Instant>),
    End,
}

impl Search {
    /// Looks for the addresses of `name`, those of the family of `preferred` first, IPv4 if there is
    /// none.
    ///
    /// # Panics
    /// Outside a tokio `LocalSet`.
    pub(super) fn new(bootstrap: Arc<Bootstrap>, name: Name, preferred: Option<IpAddr>) -> Self {
        let news = bootstrap.look_for(&name);
        Self { bootstrap, name, preferred, news, taken: Vec::new(), first_seen: None }
    }

    /// Returns the next address to dial; `None` if there is no other and none can come. Dropping the
    /// future loses none.
    pub(super) async fn next(&mut self) -> Option<IpAddr> {
        loop {
            self.news.borrow_and_update();
            let until = match self.step(&self.bootstrap.host(&self.name), Instant::now()) {
                Step::Take(address) => {
                    self.taken.push(address);
                    return Some(address);
                }
                Step::Wait(until) => until,
                Step::End if self.taken.is_empty() && self.bootstrap.look_again(&self.name) => {
                    continue;
                }
                Step::End => return None,
            };
            let time = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = time => {}
                // `bootstrap` holds the sender.
                _ = self.news.changed() => {}
            }
        }
    }

    /// Why there is no address.
    pub(super) fn miss(&self) -> Miss {
        self.bootstrap.host(&self.name).miss.unwrap_or_else(|| {
            Miss::Failed("no plain upstream is there to ask for the host's address".to_owned())
        })
    }

    fn step(&mut self, host: &Host, now: Instant) -> Step {
        let families = self.families();
        let waits = families.iter().any(|family| host.of(*family).asked.is_some());
        let renewed_by =
            families.iter().filter_map(|family| renewed_by(host.of(*family), now)).min();
        let later = if waits { Step::Wait(renewed_by) } else { Step::End };
        let [first, second] = families.map(|family| ready(host.of(family), now));
        let mut all = in_turn(first, second);
        // Stable: the others keep their order.
        all.sort_by_key(|address| Some(*address) != self.preferred);
        // A family that is still asked for has one place left when its addresses come.
        let places = if waits { ADDRESSES - 1 } else { ADDRESSES };
        if self.taken.len() >= places {
            return later;
        }
        let Some(next) = all.into_iter().find(|address| !self.taken.contains(address)) else {
            return later;
        };
        let first_seen = *self.first_seen.get_or_insert(now);
        let [preferred, _] = families.map(|family| host.of(family));
        if self.taken.is_empty() && preferred.asked.is_some() && ready(preferred, now).is_empty() {
            let delay = first_seen + RESOLUTION_DELAY;
            if now < delay {
                return Step::Wait(Some(renewed_by.map_or(delay, |renewed| renewed.min(delay))));
            }
        }
        Step::Take(next)
    }

    /// The preferred family and the other one.
    fn families(&self) -> [Family; 2] {
        let first = self.preferred.map_or(Family::Four, Family::of);
        [first, first.other()]
    }
}

/// The addresses that may be dialled: those that are current, and those whose renewal takes too long.
fn ready(known: &Known, now: Instant) -> &[IpAddr] {
    if renewed_by(known, now).is_some() { &[] } else { &known.addresses }
}

/// Until when expired addresses wait to be renewed.
fn renewed_by(known: &Known, now: Instant) -> Option<Instant> {
    let asked = known.asked.filter(|_| !known.addresses.is_empty() && !known.is_current(now))?;
    Some(asked.since + RENEWAL).filter(|by| now < *by)
}

/// Both families in turn, because one of the two may lead nowhere here.
fn in_turn(first: &[IpAddr], second: &[IpAddr]) -> Vec<IpAddr> {
    let longer = first.len().max(second.len());
    let pairs = (0..longer).flat_map(|at| [first.get(at), second.get(at)]);
    pairs.flatten().copied().collect()
}
