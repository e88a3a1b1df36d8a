//! Forward rules: which servers answer for a name.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tracing::{info, warn};

use super::named_files::NamedFiles;
use super::own::OwnAddresses;
use super::policy::Order;
use super::target::{ProbeZones, Target, may_be_asked};
use crate::addresses;
use crate::config::{Dnssec, Forward, UpstreamHost, UpstreamServer, UpstreamSource};
use crate::sys::LocalAddress;
use crate::upstream::{Alarm, Bootstrap, Haste, Upstream, UpstreamReport};
use crate::wire::{Name, NameMap, QName, Question};

/// All forward rules of one configuration. Shared by all workers.
pub struct Rules {
    /// Indices into `rules`.
    by_zone: NameMap<usize>,
    rules: Vec<Arc<Rule>>,
    own: ArcSwap<OwnAddresses>,
    files: NamedFiles,
    /// Each server once, whatever rules name it.
    upstreams: Mutex<HashMap<UpstreamServer, Arc<Upstream>>>,
    /// Rung when one of them should be probed; the same for all rules of a process.
    alarm: Arc<Alarm>,
    /// Finds those that are named by host.
    bootstrap: Arc<Bootstrap>,
}

/// One `[[forward]]`.
#[derive(Debug)]
pub struct Rule {
    zones: Vec<Name>,
    probe_zones: ProbeZones,
    timeout: Duration,
    order: Order,
    /// What a server of doubtful state is asked.
    probe: Question,
    /// Questions that may wait for one server.
    in_flight: AtomicU32,
    require_private: bool,
    rebind_protection: Option<Vec<Name>>,
    dnssec: Dnssec,
    sources: Vec<UpstreamSource>,
    targets: ArcSwap<Vec<Arc<Target>>>,
}

/// A server and how its state is found out.
pub(super) struct Probed {
    pub(super) upstream: Arc<Upstream>,
    /// Of the first rule that names the server.
    pub(super) question: Question,
    /// Whether its time is compared with that of others.
    pub(super) is_compared: bool,
}

impl Rule {
    /// The zones it covers.
    pub fn zones(&self) -> &[Name] {
        &self.zones
    }

    /// The one of them that covers `qname`.
    pub fn zone_of(&self, qname: &Name) -> Option<&Name> {
        let covering = self.zones.iter().filter(|zone| qname.is_within(zone));
        covering.max_by_key(|zone| zone.label_count())
    }

    /// The zones whose loops are looked for.
    pub(super) fn probe_zones(&self) -> &ProbeZones {
        &self.probe_zones
    }

    /// The whole budget of one query.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) fn order(&self) -> &Order {
        &self.order
    }

    /// How many questions may wait for one server.
    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Another number whenever one of its servers has gone or come back.
    pub fn changes(&self) -> u64 {
        let epochs = |target: &Arc<Target>| u64::from(target.upstream().epoch());
        self.targets.load().iter().map(epochs).fold(0, u64::wrapping_add)
    }

    /// Whether none of its servers is there, as far as we know.
    pub fn is_down(&self) -> bool {
        self.targets.load().iter().all(|target| target.upstream().is_down())
    }

    /// Whether answers with a public address are refused.
    pub fn require_private(&self) -> bool {
        self.require_private
    }

    /// The names at or below which private addresses may be answered; `None`: everywhere.
    pub fn rebind_protection(&self) -> Option<&[Name]> {
        self.rebind_protection.as_deref()
    }

    /// Whether answers are validated.
    pub fn dnssec(&self) -> Dnssec {
        self.dnssec
    }

    /// Whether some server of the rule is not known to be inside this site. A rule without servers
    /// asks none outside.
    pub fn leads_outside(&self) -> bool {
        self.targets.load().iter().any(|target| is_outside(target))
    }

    /// Returns the first such server, as the file writes it.
    pub fn outside(&self) -> Option<String> {
        let targets = self.targets.load();
        let outside = targets.iter().find(|target| is_outside(target));
        outside.map(|target| target.upstream().server().to_string())
    }

    /// The servers now, in their order, each address once.
    pub fn targets(&self) -> Arc<Vec<Arc<Target>>> {
        self.targets.load_full()
    }
}

impl Rules {
    /// Builds the rules and reads the resolv.conf files they name. `protected` are the private-link
    /// zones, public and private: servers that forward those to us are looked for below every rule
    /// that covers one. Our `own` addresses are left out, with a warning. What `previous` knew of
    /// servers, of loops (by zone) and of files that cannot be read now goes on.
    pub fn build(
        forwards: &[Forward],
        protected: &[Name],
        own: OwnAddresses,
        previous: Option<&Self>,
    ) -> Self {
        let mut rules = Self {
            by_zone: NameMap::default(),
            rules: Vec::with_capacity(forwards.len()),
            own: ArcSwap::from_pointee(own),
            files: NamedFiles::default(),
            upstreams: Mutex::default(),
            alarm: previous.map(|previous| Arc::clone(&previous.alarm)).unwrap_or_default(),
            bootstrap: Arc::new(Bootstrap::new(HashMap::new(), None)),
        };
        for (index, forward) in forwards.iter().enumerate() {
            for zone in &forward.zones {
                rules.by_zone.insert(&QName::from(zone), index);
            }
        }
        let sources = || forwards.iter().flat_map(|forward| &forward.upstreams);
        if let Some(previous) = previous {
            rules.files.remember(&previous.files, sources());
        }
        rules.files.read(sources());
        let servers: Vec<_> = forwards.iter().map(|rule| rules.servers(&rule.upstreams)).collect();
        rules.bootstrap = rules.bootstrap(&servers, previous);
        for ((index, forward), servers) in forwards.iter().enumerate().zip(servers) {
            let is_covered = |zone: &&Name| {
                rules.by_zone.deepest(&QName::from(*zone)).is_some_and(|(_, at)| *at == index)
            };
            let probe_zones = ProbeZones::new(&forward.zones, protected.iter().filter(is_covered));
            let targets = servers
                .into_iter()
                .map(|server| rules.target(server, &probe_zones, previous))
                .collect();
            rules.rules.push(Arc::new(Rule {
                zones: forward.zones.clone(),
                probe_zones,
                timeout: forward.timeout,
                order: Order::new(forward.policy),
                probe: Question::plain(forward.probe.0.clone(), forward.probe.1),
                in_flight: AtomicU32::new(u32::MAX),
                require_private: forward.require_private,
                rebind_protection: forward.rebind_protection.clone(),
                dnssec: forward.dnssec,
                sources: forward.upstreams.clone(),
                targets: ArcSwap::from_pointee(targets),
            }));
        }
        rules
    }

    /// Sets `limits.upstream-in-flight`: how many questions may wait for one server, those of all
    /// workers together. Without it, any number.
    pub fn bound_in_flight(&self, limit: usize) {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        self.rules.iter().for_each(|rule| rule.in_flight.store(limit, Ordering::Relaxed));
    }

    /// Probes every server that is down or in doubt as soon as its last probe is through: call it
    /// when paths may have changed, however often.
    pub fn probe_now(&self) {
        self.alarm.hurry(Haste::Due);
    }

    /// Probes them at once, and as often as if they had just gone: call it when paths have changed.
    pub fn probe_anew(&self) {
        self.alarm.hurry(Haste::Anew);
    }

    /// Has the hosts of upstreams looked for again by the next dial, though what is known of them
    /// serves until then: call it when paths have changed.
    pub fn doubt_hosts(&self) {
        self.bootstrap.doubt();
    }

    /// The state of every server now, once each, by address.
    pub fn reports(&self) -> Vec<UpstreamReport> {
        let mut reports: Vec<_> = self.upstreams().values().map(|up| up.report()).collect();
        reports.sort_unstable_by(|one, other| one.address.cmp(&other.address));
        reports
    }

    pub(crate) fn alarm(&self) -> &Alarm {
        &self.alarm
    }

    /// All servers, once each, and what they are probed with; those left out that would send the
    /// probe back to us.
    pub(super) fn probed(&self) -> Vec<Probed> {
        let mut probed: Vec<Probed> = Vec::new();
        for rule in &self.rules {
            let mark = rule.probe_zones.covering(&QName::from(&rule.probe.qname));
            let targets = rule.targets();
            let may_be_asked = may_be_asked(&targets, mark);
            for target in targets.iter().filter(|target| may_be_asked(target)) {
                let upstream = target.upstream();
                let is_compared = rule.order.compares();
                match probed.iter_mut().find(|one| Arc::ptr_eq(&one.upstream, upstream)) {
                    Some(known) => known.is_compared |= is_compared,
                    None => probed.push(Probed {
                        upstream: Arc::clone(upstream),
                        question: rule.probe.clone(),
                        is_compared,
                    }),
                }
            }
        }
        probed
    }

    /// The rule whose zone is the longest at or above `qname`.
    pub fn find(&self, qname: &QName) -> Option<&Arc<Rule>> {
        self.by_zone.deepest(qname).and_then(|(_, index)| self.rules.get(*index))
    }

    /// All rules, in the file's order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.rules.iter()
    }

    /// Reads the resolv.conf files again and puts what changed into force; call it every few
    /// seconds. Contents are compared, not times: the files are tiny, and times have steps. A file
    /// that is gone or names no server changes nothing: programs that write it are not always
    /// atomic. Queries under way keep the servers they began with.
    ///
    /// Gives whether any rule has other servers now: answers of the old ones may be wrong then.
    pub fn refresh(&self) -> bool {
        let changed = self.files.read(self.rules.iter().flat_map(|rule| &rule.sources));
        if changed.is_empty() {
            return false;
        }
        self.retarget(|source| match source {
            UpstreamSource::ResolvConf(path) => changed.contains(path),
            UpstreamSource::Server(_) => false,
        })
    }

    /// Takes note of the addresses that this host has now: an upstream that has become us is left
    /// out, one that no longer is comes back. Gives whether any rule has other servers now; they
    /// are those of the same configuration, so answers stay good.
    pub fn set_local(&self, local: Vec<LocalAddress>) -> bool {
        let before = self.own.load_full();
        let now = Arc::new(OwnAddresses { listen: before.listen.clone(), local });
        self.own.store(Arc::clone(&now));
        // Every rule is looked at: whether a link-local address was ours before cannot be said any
        // more, because its interface may have come since.
        *before != *now && self.retarget(|_| true)
    }

    /// Names the servers anew of every rule with a source that `concerns` it; gives whether any
    /// has others now.
    fn retarget(&self, concerns: impl Fn(&UpstreamSource) -> bool) -> bool {
        let mut any = false;
        for rule in self.rules.iter().filter(|rule| rule.sources.iter().any(&concerns)) {
            let before = rule.targets();
            let targets: Vec<_> = self
                .servers(&rule.sources)
                .into_iter()
                .map(|server| {
                    let kept = before.iter().find(|target| *target.upstream().server() == server);
                    kept.cloned().unwrap_or_else(|| self.target(server, &rule.probe_zones, None))
                })
                .collect();
            let shown = servers_of(&targets);
            if shown == servers_of(&before) {
                continue;
            }
            any = true;
            let shown: Vec<_> = shown.iter().map(ToString::to_string).collect();
            info!("zone {}: upstreams are now {}", rule.shown_zone(), shown.join(", "));
            rule.targets.store(Arc::new(targets));
        }
        if any {
            let servers: Vec<_> =
                self.rules.iter().map(|rule| servers_of(&rule.targets())).collect();
            self.bootstrap.ask_others(self.hosts(&servers));
        }
        self.prune();
        any
    }

    /// The one before where it asks the same servers; a new one does not change what is in force.
    fn bootstrap(
        &self,
        servers: &[Vec<UpstreamServer>],
        previous: Option<&Self>,
    ) -> Arc<Bootstrap> {
        let hosts = self.hosts(servers);
        match previous.map(|previous| &previous.bootstrap) {
            Some(previous) if previous.asks(&hosts) => Arc::clone(previous),
            previous => Arc::new(Bootstrap::new(hosts, previous.map(|previous| &**previous))),
        }
    }

    /// Of all upstreams that are named by host, whom to ask for their addresses: the servers of the
    /// rule that covers the name, then those of the others. `servers` are those of each rule.
    fn hosts(&self, servers: &[Vec<UpstreamServer>]) -> HashMap<Name, Vec<UpstreamServer>> {
        let mut hosts = HashMap::new();
        for server in servers.iter().flatten() {
            let UpstreamHost::Name { name, .. } = &server.host else { continue };
            let covering = self.by_zone.deepest(&QName::from(name));
            let covering = covering.and_then(|(_, index)| servers.get(*index));
            let mut asked: Vec<UpstreamServer> = Vec::new();
            for server in covering.into_iter().chain(servers).flatten() {
                if !asked.contains(server) {
                    asked.push(server.clone());
                }
            }
            hosts.insert(name.clone(), asked);
        }
        hosts
    }

    /// Whether each rule has the same servers in the same order as the rule at its place in
    /// `other`.
    pub fn has_servers_of(&self, other: &Self) -> bool {
        let servers = |rules: &Self| -> Vec<_> {
            rules.iter().map(|rule| servers_of(&rule.targets())).collect()
        };
        servers(self) == servers(other)
    }

    /// The servers of `sources` in order, each once, without ourselves.
    fn servers(&self, sources: &[UpstreamSource]) -> Vec<UpstreamServer> {
        let own = self.own.load();
        let mut servers = Vec::new();
        for source in sources {
            for server in self.listed(source) {
                if server.address().is_some_and(|address| own.is_us(address)) {
                    let from = match source {
                        UpstreamSource::Server(_) => "the configuration",
                        UpstreamSource::ResolvConf(path) => path.to_str().unwrap_or("resolv.conf"),
                    };
                    warn!("upstream {server} (from {from}) is this daemon itself: left out");
                } else if !servers.contains(&server) {
                    servers.push(server);
                }
            }
        }
        servers
    }

    /// What `source` names, ourselves included.
    fn listed(&self, source: &UpstreamSource) -> Vec<UpstreamServer> {
        match source {
            UpstreamSource::Server(server) => vec![server.clone()],
            UpstreamSource::ResolvConf(path) => {
                self.files.servers(path).into_iter().map(UpstreamServer::plain_at).collect()
            }
        }
    }

    /// A new part for `server`; the server itself may be known from other rules or before.
    fn target(
        &self,
        server: UpstreamServer,
        probe_zones: &ProbeZones,
        previous: Option<&Self>,
    ) -> Arc<Target> {
        let before = previous.and_then(|previous| {
            let known = previous.upstreams().get(&server).cloned();
            known.filter(|known| {
                server.address().is_some() || Arc::ptr_eq(known.bootstrap(), &self.bootstrap)
            })
        });
        let upstream = {
            let mut known = self.upstreams();
            let new = || {
                let new = Upstream::with_alarm(server.clone(), Arc::clone(&self.alarm));
                Arc::new(new.found_by(Arc::clone(&self.bootstrap)))
            };
            let new = || before.unwrap_or_else(new);
            Arc::clone(known.entry(server.clone()).or_insert_with(new))
        };
        let target = Target::new(upstream, probe_zones);
        for (mark, zone) in previous.iter().flat_map(|_| probe_zones.iter()) {
            let before = previous.and_then(|previous| previous.target_of(zone, &server));
            if let Some((rule, before)) = before {
                let is_same = Arc::ptr_eq(before.upstream(), target.upstream());
                target.adopt(mark, before.known_of(&rule.probe_zones, zone), is_same);
            }
        }
        Arc::new(target)
    }

    /// The part of `server` in the rule that covers `zone`.
    fn target_of(&self, zone: &Name, server: &UpstreamServer) -> Option<(&Rule, Arc<Target>)> {
        let rule = self.find(&QName::from(zone))?;
        let targets = rule.targets();
        let target = targets.iter().find(|target| target.upstream().server() == server)?;
        Some((rule, Arc::clone(target)))
    }

    fn upstreams(&self) -> MutexGuard<'_, HashMap<UpstreamServer, Arc<Upstream>>> {
        self.upstreams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets servers that no rule names any more.
    fn prune(&self) {
        let used: Vec<_> = self.rules.iter().flat_map(|rule| rule.targets().to_vec()).collect();
        let mut known = self.upstreams();
        known.retain(|server, _| used.iter().any(|target| target.upstream().server() == server));
    }
}

impl Rule {
    /// One zone that stands for the rule in log lines.
    fn shown_zone(&self) -> String {
        self.zones.first().map_or_else(|| "?".to_owned(), ToString::to_string)
    }
}

/// Where a name leads can change with each look-up, so a server without an address is outside.
fn is_outside(target: &Target) -> bool {
    let address = target.upstream().server().address();
    !address.is_some_and(|address| addresses::is_of_site(address.ip()))
}

fn servers_of(targets: &[Arc<Target>]) -> Vec<UpstreamServer> {
    targets.iter().map(|target| target.upstream().server().clone()).collect()
}
