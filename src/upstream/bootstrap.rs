//! Where the upstreams are that the configuration names by host.
//!
//! Plain upstreams of the same configuration are asked ([`super::lookup`]). IPv4 and IPv6 are two
//! questions, and each answer counts for itself: it is used as soon as it is there, for its own TTL,
//! and longer while no server answers. Behind a tunnel that is down, an address of yesterday is
//! better than none. A dial sees all of this through [`super::search`].

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_local;
use tokio::time::Instant;

use super::lookup::{self, Family, Found, Miss};
use super::race::first_of;
use crate::config::UpstreamServer;
use crate::wire::Name;

/// Addresses of one family of a host that are remembered, and those of one host that are dialled:
/// more are only more ways to the same end.
pub(super) const ADDRESSES: usize = 4;
/// Servers that are asked for one host, for the same reason.
const SERVERS: usize = 6;
/// Shortest time for which an answer is used: names with a TTL of 0 exist.
const SHORTEST: Duration = Duration::from_secs(30);
/// Longest one: a host that moved is found again within the hour, whatever its TTL was.
const LONGEST: Duration = Duration::from_secs(3_600);
/// How long a family is not asked for after no server answered, while the host has any address.
const UNANSWERED: Duration = Duration::from_secs(10);

/// The addresses of all upstreams that one configuration names by host. Shared by all workers.
#[derive(Debug)]
pub struct Bootstrap {
    hosts: Mutex<HashMap<Name, Host>>,
    /// Tells those who search that a look-up has brought something, or has ended.
    news: watch::Sender<()>,
    asker: Asker,
}

#[derive(Clone, Default, Debug)]
pub(super) struct Host {
    servers: Vec<UpstreamServer>,
    four: Known,
    six: Known,
    /// Why the last look-up left a family without an address.
    pub(super) miss: Option<Miss>,
}

/// What is known of one family of a host's addresses.
#[derive(Clone, Default, Debug)]
pub(super) struct Known {
    pub(super) addresses: Vec<IpAddr>,
    /// When they are looked for again; none: with the next dial.
    until: Option<Instant>,
    /// The look-up under way.
    pub(super) asked: Option<Asked>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Asked {
    ticket: u64,
    pub(super) since: Instant,
}

impl Known {
    /// Whether no look-up is wanted: there are addresses, or it is known that there are none.
    pub(super) fn is_current(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    fn is_asked_by(&self, ticket: u64) -> bool {
        self.asked.is_some_and(|asked| asked.ticket == ticket)
    }

    fn settle(&mut self, addresses: Vec<IpAddr>, ttl: Duration, now: Instant) {
        self.addresses = addresses;
        self.addresses.truncate(ADDRESSES);
        self.until = Some(now + ttl.clamp(SHORTEST, LONGEST));
        self.asked = None;
    }
}

impl Host {
    pub(super) fn of(&self, family: Family) -> &Known {
        match family {
            Family::Four => &self.four,
            Family::Six => &self.six,
        }
    }

    fn of_mut(&mut self, family: Family) -> &mut Known {
        match family {
            Family::Four => &mut self.four,
            Family::Six => &mut self.six,
        }
    }

    fn asked_by(&self, ticket: u64) -> Vec<Family> {
        let families = Family::BOTH.into_iter();
        families.filter(|family| self.of(*family).is_asked_by(ticket)).collect()
    }

    /// Without what is under way.
    fn at_rest(mut self) -> Self {
        for family in Family::BOTH {
            if self.of_mut(family).asked.take().is_some() {
                self.miss = None;
            }
        }
        self
    }
}

impl Bootstrap {
    /// For these hosts, each with the servers to ask in their order; those that are encrypted or
    /// named by host themselves are not asked. What `previous` knew goes on.
    pub fn new(servers: HashMap<Name, Vec<UpstreamServer>>, previous: Option<&Self>) -> Self {
        let mut known = previous.map_or_else(HashMap::new, |previous| previous.lock().clone());
        let hosts = servers.into_iter().map(|(name, servers)| {
            // What is under way brings its result to `previous`.
            let known = known.remove(&name).unwrap_or_default().at_rest();
            (name, Host { servers: able(servers), ..known })
        });
        Self {
            hosts: Mutex::new(hosts.collect()),
            news: watch::Sender::new(()),
            asker: previous.map_or_else(Asker::hickory, |previous| previous.asker.clone()),
        }
    }

    /// Whether it asks exactly these.
    pub fn asks(&self, servers: &HashMap<Name, Vec<UpstreamServer>>) -> bool {
        let hosts = self.lock();
        hosts.len() == servers.len()
            && servers.iter().all(|(name, servers)| {
                hosts.get(name).is_some_and(|host| host.servers == able(servers.clone()))
            })
    }

    /// From now on asks others: a resolv.conf has changed.
    pub fn ask_others(&self, servers: HashMap<Name, Vec<UpstreamServer>>) {
        let next = Self::new(servers, Some(self));
        let next = next.hosts.into_inner().unwrap_or_else(PoisonError::into_inner);
        *self.lock() = next;
        self.tell();
    }

    /// Every host is looked for again by the next dial, because other servers may be reached over
    /// another network, and may give other addresses. Look-ups under way belong to the old one.
    pub fn doubt(&self) {
        for host in self.lock().values_mut() {
            host.miss = None;
            for family in Family::BOTH {
                let known = host.of_mut(family);
                (known.until, known.asked) = (None, None);
            }
        }
        self.tell();
    }

    /// Begins to ask for the families of `name` that are not current. The receiver hears when
    /// something has come of it.
    ///
    /// # Panics
    /// Outside a tokio `LocalSet`.
    pub(super) fn look_for(self: &Arc<Self>, name: &Name) -> watch::Receiver<()> {
        let news = self.news.subscribe();
        self.ask_for(name);
        news
    }

    /// Asks again for a host whose look-up belonged to another network or to other servers. Returns
    /// whether a look-up is under way now.
    ///
    /// # Panics
    /// Outside a tokio `LocalSet`.
    pub(super) fn look_again(self: &Arc<Self>, name: &Name) -> bool {
        if self.host(name).miss.is_some() {
            return false;
        }
        self.ask_for(name);
        let host = self.host(name);
        Family::BOTH.into_iter().any(|family| host.of(family).asked.is_some())
    }

    /// What is known of `name` now.
    pub(super) fn host(&self, name: &Name) -> Host {
        self.lock().get(name).cloned().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, Host>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, name: &Name, change: impl FnOnce(&mut Host) -> T) -> Option<T> {
        self.lock().get_mut(name).map(change)
    }

    fn tell(&self) {
        self.news.send_replace(());
    }

    /// Begins to ask for each family of `name` that is not current, unless it is asked for already.
    fn ask_for(self: &Arc<Self>, name: &Name) {
        static TICKETS: AtomicU64 = AtomicU64::new(0);
        let ticket = TICKETS.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let servers = self.change(name, |host| {
            for family in Family::BOTH {
                let is_askable = !host.servers.is_empty();
                let known = host.of_mut(family);
                if is_askable && known.asked.is_none() && !known.is_current(now) {
                    known.asked = Some(Asked { ticket, since: now });
                }
            }
            (!host.asked_by(ticket).is_empty()).then(|| host.servers.clone())
        });
        if let Some(servers) = servers.flatten() {
            let lookup = LookUp {
                bootstrap: Arc::clone(self),
                name: name.clone(),
                ticket,
                miss: Miss::Failed("the look-up has been given up".to_owned()),
            };
            // It goes on when the dial has what it needs, and brings the rest to the next one.
            spawn_local(lookup.run(servers));
        }
    }
}

/// One look-up of a host, for the families that have its ticket.
struct LookUp {
    bootstrap: Arc<Bootstrap>,
    name: Name,
    ticket: u64,
    /// What the families that stay without an answer are left with.
    miss: Miss,
}

impl LookUp {
    async fn run(mut self, servers: Vec<UpstreamServer>) {
        let outcome = first_of(servers.iter().map(|server| self.ask_at(server))).await;
        if let Err(misses) = outcome {
            self.miss = worst(misses);
        }
    }

    /// Asks one server for the families that no other server has answered yet.
    ///
    /// # Errors
    /// Why a family is still without an answer.
    async fn ask_at(&self, server: &UpstreamServer) -> Result<(), Miss> {
        let missing = self.missing();
        let ask = async |family| match missing.contains(&family) {
            true => self.ask_for(family, server).await.err(),
            false => None,
        };
        let (four, six) = tokio::join!(ask(Family::Four), ask(Family::Six));
        for (family, miss) in [(Family::Four, &four), (Family::Six, &six)] {
            if let Some(Miss::Denied { ttl, .. }) = miss {
                self.denied(family, *ttl);
            }
        }
        if self.missing().is_empty() { Ok(()) } else { Err(worst(four.into_iter().chain(six))) }
    }

    async fn ask_for(&self, family: Family, server: &UpstreamServer) -> Result<(), Miss> {
        let Found { addresses, ttl } = self.bootstrap.asker.ask(&self.name, family, server).await?;
        self.settle(family, |_| Some((addresses, ttl)));
        Ok(())
    }

    /// A server says that the host has no address of `family`. That counts if the host has one of
    /// the other family: else the server may know only inner names, and another one is asked.
    fn denied(&self, family: Family, ttl: Duration) {
        let now = Instant::now();
        self.settle(family, |host| {
            let other = host.of(family.other());
            (other.is_current(now) && !other.addresses.is_empty()).then(|| (Vec::new(), ttl))
        });
    }

    fn settle(
        &self,
        family: Family,
        answer: impl FnOnce(&Host) -> Option<(Vec<IpAddr>, Duration)>,
    ) {
        self.bootstrap.change(&self.name, |host| {
            if host.of(family).is_asked_by(self.ticket)
                && let Some((addresses, ttl)) = answer(host)
            {
                host.of_mut(family).settle(addresses, ttl, Instant::now());
                host.miss = None;
            }
        });
        self.bootstrap.tell();
    }

    fn missing(&self) -> Vec<Family> {
        self.bootstrap.change(&self.name, |host| host.asked_by(self.ticket)).unwrap_or_default()
    }
}

/// Also when its task is dropped, because a thread's runtime ends.
impl Drop for LookUp {
    fn drop(&mut self) {
        let now = Instant::now();
        self.bootstrap.change(&self.name, |host| {
            let is_known = Family::BOTH.iter().any(|family| !host.of(*family).addresses.is_empty());
            // What this host lacks it may have again with the next dial.
            let is_remembered =
                is_known && matches!(self.miss, Miss::Failed(_) | Miss::Denied { .. });
            for family in host.asked_by(self.ticket) {
                let known = host.of_mut(family);
                known.asked = None;
                known.until = is_remembered.then(|| now + UNANSWERED);
                host.miss = Some(self.miss.clone());
            }
        });
        self.bootstrap.tell();
    }
}

/// The miss to speak of: our own shortage, because it says nothing about any server, else the first.
fn worst(misses: impl IntoIterator<Item = Miss>) -> Miss {
    let mut misses = misses.into_iter();
    let first = misses.next().unwrap_or_else(|| Miss::Failed("no answer".to_owned()));
    match &first {
        Miss::OwnShortage(_) => first,
        _ => misses.find(|miss| matches!(miss, Miss::OwnShortage(_))).unwrap_or(first),
    }
}

/// Those that can be asked for a host: no other host has to be known for it.
fn able(servers: Vec<UpstreamServer>) -> Vec<UpstreamServer> {
    let is_able =
        |server: &UpstreamServer| !server.scheme.is_encrypted() && server.address().is_some();
    servers.into_iter().filter(is_able).take(SERVERS).collect()
}

type Answer<'a> = Pin<Box<dyn Future<Output = Result<Found, Miss>> + 'a>>;
type Ask = dyn for<'a> Fn(&'a Name, Family, &'a UpstreamServer) -> Answer<'a> + Send + Sync;

/// Asks one server for one family.
#[derive(Clone)]
struct Asker(Arc<Ask>);

impl Asker {
    fn hickory() -> Self {
        Self(Arc::new(|name, family, server| Box::pin(lookup::ask(name, family, server))))
    }

    async fn ask(
        &self,
        name: &Name,
        family: Family,
        server: &UpstreamServer,
    ) -> Result<Found, Miss> {
        (self.0)(name, family, server).await
    }
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asker")
    }
}

#[cfg(test)]
pub(super) mod tests;
