//! A configuration in force: everything a decision reads, built whole and swapped whole.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::complaints::Complaints;
use super::fetch::Remembered;
use super::guard::Guard;
use super::keys::Keys;
use crate::access::Clients;
use crate::cache::{Cache, Failures};
use crate::config::{Config, Limits, LogQueries, Probes, Refused};
use crate::dnssec::Validator;
use crate::forward::{Flights, LoopGuard, Rules};
use crate::special::Special;
use crate::wire::{Answer, TtlLimits};
use crate::zones::Zones;

/// What the daemon knows, from one configuration.
pub struct Snapshot {
    pub(super) clients: Arc<Clients>,
    /// What clients outside `[access]` get.
    pub refused: Refused,
    /// Site names, for people.
    pub(super) sites: Arc<[String]>,
    pub(super) zones: Arc<Zones>,
    /// Names that have no place in the public DNS.
    pub(super) special: Arc<Special>,
    /// What upstreams' answers must not hold.
    pub(super) guard: Arc<Guard>,
    pub(super) complaints: Arc<Complaints>,
    /// How endpoints are probed.
    pub probes: Probes,
    /// Forward rules.
    pub rules: Arc<Rules>,
    /// Holds answers against trust anchors, where a rule validates.
    pub validator: Arc<Validator>,
    /// Kept answers; outlives the snapshot while the servers stay.
    pub cache: Arc<Cache>,
    /// Questions under way: those of one set of rules only, so that nobody of a new one joins them.
    pub flights: Arc<Flights<Arc<Answer>>>,
    /// Questions whose resolution failed lately; those of one set of rules only.
    pub failures: Arc<Failures<Remembered>>,
    /// The state of validation; that of one set of servers and trust anchors only.
    pub keys: Arc<Keys>,
    /// For how long failures are remembered.
    pub(super) failure_ttl: Duration,
    /// The highest TTLs of an upstream's answer.
    pub(super) ttl_limits: TtlLimits,
    /// Whether kept answers are fetched anew before their end.
    pub(super) prefetch: bool,
    /// Knows our own probes when they come back; outlives the snapshot.
    pub loops: Arc<LoopGuard>,
    /// Bounds.
    pub limits: Limits,
    /// Which queries are logged.
    pub log_queries: LogQueries,
}

impl Snapshot {
    /// Builds the tables, with nothing kept and nothing under way. A reload that may go on with
    /// what was puts that into the public fields, and calls [`Self::carry_over`].
    pub fn new(config: &Config, rules: Rules) -> Self {
        rules.bound_in_flight(config.limits.upstream_in_flight);
        Self {
            clients: Arc::new(Clients::new(config)),
            refused: config.access.refused,
            sites: config.sites.iter().map(|site| site.name.clone()).collect(),
            zones: Arc::new(Zones::new(&config.private_links)),
            special: Arc::new(Special::new(
                &config.special.forward,
                &config.special.answer,
                config.forwards.iter().flat_map(|rule| &rule.zones),
            )),
            guard: Arc::new(Guard::new(&config.private_links)),
            complaints: Arc::default(),
            probes: config.probes,
            rules: Arc::new(rules),
            validator: Arc::new(Validator::built_in(&config.dnssec, &config.private_links)),
            cache: Arc::new(Cache::new(config.cache.size_octets, config.cache.stale)),
            flights: Arc::new(Flights::new(config.limits.in_flight)),
            failures: Arc::new(Failures::new()),
            keys: Arc::new(Keys::new(config.limits.in_flight)),
            failure_ttl: config.cache.failure_ttl,
            ttl_limits: TtlLimits {
                positive_seconds: seconds(config.cache.max_ttl),
                negative_seconds: seconds(config.cache.max_negative_ttl),
            },
            prefetch: config.cache.prefetch,
            loops: Arc::new(LoopGuard::new()),
            limits: config.limits,
            log_queries: config.log.queries,
        }
    }

    /// Takes over what counts whatever the configuration: which probes are ours, and which refusals
    /// were told of lately, so that reloads in a row do not fill the log.
    pub fn carry_over(&mut self, old: &Self) {
        self.loops = Arc::clone(&old.loops);
        self.complaints = Arc::clone(&old.complaints);
    }

    /// Whether `[access]` lets this client ask.
    pub fn may_ask(&self, client: IpAddr) -> bool {
        self.clients.client(client).allowed
    }

    /// Private-link zones, with what probes have found out about their endpoints.
    pub fn zones(&self) -> &Arc<Zones> {
        &self.zones
    }

    /// Goes on with what probes have found out under `old`. Not part of [`Self::carry_over`], as
    /// expectations are about what the file says, whoever is down at the moment: before this,
    /// everything is up.
    pub fn go_on_from(&mut self, old: &Self) {
        // Tables that somebody shares already keep what they say.
        if let Some(zones) = Arc::get_mut(&mut self.zones) {
            zones.go_on_from(&old.zones);
        }
    }

    /// The same configuration with nothing kept and nothing under way: for when its rules have come
    /// to ask other servers. What the old ones still say goes where it was asked for.
    #[must_use]
    pub fn with_nothing_kept(&self) -> Self {
        Self {
            clients: Arc::clone(&self.clients),
            sites: Arc::clone(&self.sites),
            zones: Arc::clone(&self.zones),
            special: Arc::clone(&self.special),
            guard: Arc::clone(&self.guard),
            complaints: Arc::clone(&self.complaints),
            rules: Arc::clone(&self.rules),
            validator: Arc::clone(&self.validator),
            cache: Arc::new(self.cache.another()),
            flights: Arc::new(Flights::new(self.limits.in_flight)),
            failures: Arc::new(Failures::new()),
            keys: Arc::new(Keys::new(self.limits.in_flight)),
            loops: Arc::clone(&self.loops),
            ..*self
        }
    }
}

/// Whole seconds, as TTLs count them.
fn seconds(span: Duration) -> u32 {
    u32::try_from(span.as_secs()).unwrap_or(u32::MAX)
}
