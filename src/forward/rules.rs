//! Forward rules: which servers answer for a name.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tracing::{info, warn};

use super::loops::OwnAddresses;
use super::resolv_conf;
use crate::config::{Forward, UpstreamSource};
use crate::upstream::Upstream;
use crate::wire::{Name, NameMap, QName};

/// All forward rules of one configuration. Shared by all workers.
pub struct Rules {
    by_zone: NameMap<Arc<Rule>>,
    rules: Vec<Arc<Rule>>,
    own: OwnAddresses,
    /// What each resolv.conf named when it last named anything.
    files: Mutex<HashMap<PathBuf, Vec<SocketAddr>>>,
    /// Each server once, whatever rules name it.
    upstreams: Mutex<HashMap<SocketAddr, Arc<Upstream>>>,
}

/// One `[[forward]]`.
#[derive(Debug)]
pub struct Rule {
    zones: Vec<Name>,
    timeout: Duration,
    sources: Vec<UpstreamSource>,
    targets: ArcSwap<Vec<Arc<Target>>>,
}

/// A server in its part in one rule. Loops are a matter of both: a server may send back what it
/// has a forwarder for, and answer all the rest.
#[derive(Debug)]
pub struct Target {
    upstream: Arc<Upstream>,
    pub(super) looping: AtomicBool,
    /// A query's whole budget went by without a word from the rule's servers: maybe a loop.
    pub(super) suspect: AtomicBool,
    /// When it was last probed, milliseconds on the guard's clock; 0: never.
    pub(super) probed_ms: AtomicU64,
}

impl Target {
    pub(super) fn new(upstream: Arc<Upstream>) -> Self {
        Self {
            upstream,
            looping: AtomicBool::new(false),
            suspect: AtomicBool::new(false),
            probed_ms: AtomicU64::new(0),
        }
    }

    /// The server.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// Whether it was seen to send this rule's queries back to us. It is skipped while it does.
    pub fn is_looping(&self) -> bool {
        self.looping.load(Ordering::Relaxed)
    }
}

impl Rule {
    /// The zones it covers.
    pub fn zones(&self) -> &[Name] {
        &self.zones
    }

    /// The whole budget of one query.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The servers now, in their order, each address once.
    pub fn targets(&self) -> Arc<Vec<Arc<Target>>> {
        self.targets.load_full()
    }
}

impl Rules {
    /// Builds the rules and reads the resolv.conf files they name. Our `own` addresses are left
    /// out, with a warning. Counters and loop marks of `previous` go on.
    pub fn build(forwards: &[Forward], own: OwnAddresses, previous: Option<&Self>) -> Self {
        let mut rules = Self {
            by_zone: NameMap::default(),
            rules: Vec::with_capacity(forwards.len()),
            own,
            files: Mutex::default(),
            upstreams: Mutex::default(),
        };
        rules.read_files(forwards.iter().flat_map(|forward| &forward.upstreams));
        for forward in forwards {
            let addresses = rules.addresses(&forward.upstreams);
            let zone = forward.zones.first();
            let same_rule = previous
                .and_then(|previous| zone.and_then(|zone| previous.by_zone.get(zone)))
                .map(|rule| rule.targets());
            let targets = addresses
                .into_iter()
                .map(|address| {
                    same_rule
                        .iter()
                        .flat_map(|targets| targets.iter())
                        .find(|target| target.upstream.address() == address)
                        .cloned()
                        .inspect(|target| rules.adopt(target))
                        .unwrap_or_else(|| rules.target(address, previous))
                })
                .collect();
            let rule = Arc::new(Rule {
                zones: forward.zones.clone(),
                timeout: forward.timeout,
                sources: forward.upstreams.clone(),
                targets: ArcSwap::from_pointee(targets),
            });
            for zone in &rule.zones {
                rules.by_zone.insert(zone.clone(), Arc::clone(&rule));
            }
            rules.rules.push(rule);
        }
        rules
    }

    /// The rule whose zone is the longest at or above `qname`.
    pub fn find(&self, qname: &QName) -> Option<&Arc<Rule>> {
        self.by_zone.deepest(qname).map(|(_, rule)| rule)
    }

    /// All rules, in the file's order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.rules.iter()
    }

    /// Every server once, by address, for counters.
    pub fn upstreams(&self) -> Vec<Arc<Upstream>> {
        let upstreams = self.upstreams.lock().unwrap_or_else(PoisonError::into_inner);
        let mut upstreams: Vec<_> = upstreams.values().cloned().collect();
        upstreams.sort_by_key(|upstream| upstream.address());
        upstreams
    }

    /// Reads the resolv.conf files again and puts what changed into force; call it every few
    /// seconds. Contents are compared, not times: the files are tiny, and times have steps. A file
    /// that is gone or names no server changes nothing: programs that write it are not always
    /// atomic. Queries under way keep the servers they began with.
    pub fn refresh(&self) {
        let changed = self.read_files(self.rules.iter().flat_map(|rule| &rule.sources));
        if changed.is_empty() {
            return;
        }
        let names_changed = |source: &UpstreamSource| match source {
            UpstreamSource::ResolvConf(path) => changed.contains(path),
            UpstreamSource::Address(_) => false,
        };
        for rule in self.rules.iter().filter(|rule| rule.sources.iter().any(names_changed)) {
            let before = rule.targets();
            let targets: Vec<_> = self
                .addresses(&rule.sources)
                .into_iter()
                .map(|address| {
                    let kept = before.iter().find(|target| target.upstream.address() == address);
                    kept.cloned().unwrap_or_else(|| self.target(address, None))
                })
                .collect();
            let shown: Vec<_> = targets.iter().map(|target| target.upstream.address()).collect();
            info!("zone {}: upstreams are now {shown:?}", rule.shown_zone());
            rule.targets.store(Arc::new(targets));
        }
        self.prune();
    }

    /// Reads all files of `sources` and gives those whose servers changed.
    fn read_files<'a>(&self, sources: impl Iterator<Item = &'a UpstreamSource>) -> Vec<PathBuf> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen: Vec<&Path> = Vec::new();
        let mut changed = Vec::new();
        for source in sources {
            let UpstreamSource::ResolvConf(path) = source else { continue };
            if seen.contains(&path.as_path()) {
                continue;
            }
            seen.push(path);
            let known = files.get(path);
            match resolv_conf::read(path) {
                Ok(servers) if known == Some(&servers) => {}
                Ok(servers) if servers.is_empty() => {
                    if known.is_none() {
                        warn!("{}: no nameserver line that can be read", path.display());
                        files.insert(path.clone(), servers);
                    }
                }
                Ok(servers) => {
                    files.insert(path.clone(), servers);
                    changed.push(path.clone());
                }
                Err(error) => {
                    if known.is_none() {
                        warn!("{}: {error}; read again when it is there", path.display());
                        files.insert(path.clone(), Vec::new());
                    }
                }
            }
        }
        changed
    }

    /// The addresses of `sources` in order, each once, without our own.
    fn addresses(&self, sources: &[UpstreamSource]) -> Vec<SocketAddr> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let mut addresses = Vec::new();
        for source in sources {
            let (from, listed) = match source {
                UpstreamSource::Address(address) => ("the configuration", Some(vec![*address])),
                UpstreamSource::ResolvConf(path) => {
                    (path.to_str().unwrap_or("resolv.conf"), files.get(path).cloned())
                }
            };
            for address in listed.into_iter().flatten() {
                if self.own.is_us(address) {
                    warn!("upstream {address} (from {from}) is this daemon itself: left out");
                } else if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
        }
        addresses
    }

    /// A new part for `address`; the server itself may be known from other rules or before.
    fn target(&self, address: SocketAddr, previous: Option<&Self>) -> Arc<Target> {
        let before = previous.and_then(|previous| {
            let known = previous.upstreams.lock().unwrap_or_else(PoisonError::into_inner);
            known.get(&address).cloned()
        });
        let mut known = self.upstreams.lock().unwrap_or_else(PoisonError::into_inner);
        let upstream = known
            .entry(address)
            .or_insert_with(|| before.unwrap_or_else(|| Arc::new(Upstream::new(address))));
        Arc::new(Target::new(Arc::clone(upstream)))
    }

    /// Takes over a part from before, and with it its server.
    fn adopt(&self, target: &Target) {
        let mut known = self.upstreams.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(target.upstream.address(), Arc::clone(&target.upstream));
    }

    /// Forgets servers that no rule names any more.
    fn prune(&self) {
        let used: Vec<_> = self.rules.iter().flat_map(|rule| rule.targets().to_vec()).collect();
        let mut known = self.upstreams.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|address, _| used.iter().any(|t| t.upstream.address() == *address));
    }
}

impl Rule {
    /// One zone that stands for the rule in log lines.
    pub(super) fn shown_zone(&self) -> String {
        self.zones.first().map_or_else(|| "?".to_owned(), ToString::to_string)
    }
}
