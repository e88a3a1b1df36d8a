//! From a configuration to what workers read, and the proof that it may be put into force.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use tracing::warn;

use crate::config::Config;
use crate::dnssec::{AnchorError, Validator};
use crate::engine::{Expectation, Shared, Snapshot};
use crate::forward::{OwnAddresses, Rules, own_upstreams};
use crate::sys::{self, ScopedAddress};

/// Why a readable configuration must not be put into force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unfit {
    /// These upstreams are this daemon.
    OwnUpstreams(Vec<ScopedAddress>),
    /// The trust anchors cannot be used.
    Anchors(AnchorError),
    /// These `[[expect]]` do not hold.
    Unmet(Vec<Expectation>),
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnUpstreams(addresses) => write!(
                f,
                "forwarding loop: the upstream {} is this daemon itself; name another server",
                addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            ),
            Self::Anchors(error) => write!(f, "dnssec.trust-anchors: {error}"),
            Self::Unmet(unmet) => {
                let lines: Vec<_> = unmet
                    .iter()
                    .map(|unmet| format!("line {}: expect: {}", unmet.line, unmet.what))
                    .collect();
                f.write_str(&lines.join("\n"))
            }
        }
    }
}

/// Builds what workers read. `listen` is what is listened on; `old` is the configuration in force,
/// whose cache and upstream state go on where they still fit.
///
/// # Errors
/// An upstream that is this daemon, or a file of trust anchors that cannot be used.
pub fn build(
    config: &Config,
    listen: &[ScopedAddress],
    old: Option<(&Config, &Snapshot)>,
) -> Result<Snapshot, Unfit> {
    let local = sys::local_addresses().unwrap_or_else(|error| {
        warn!("cannot list this host's addresses, so some loops are found only later: {error}");
        Vec::new()
    });
    let own = OwnAddresses { listen: listen.to_vec(), local };
    let ourselves = own_upstreams(&config.forwards, &own);
    if !ourselves.is_empty() {
        return Err(Unfit::OwnUpstreams(ourselves));
    }
    let links = config.private_links.iter();
    let mut protected: Vec<_> =
        links.flat_map(|link| [&link.public_zone, &link.private_zone]).cloned().collect();
    // Zones of several entries are probed once.
    let mut seen = HashSet::new();
    protected.retain(|zone| seen.insert(zone.clone()));
    let previous = old.map(|(_, snapshot)| &*snapshot.rules);
    let rules = Rules::build(&config.forwards, &protected, own, previous);
    let mut snapshot = Snapshot::new(config, rules);
    let validator =
        Validator::new(&config.dnssec, &config.private_links).map_err(Unfit::Anchors)?;
    snapshot.validator = Arc::new(validator);
    // Answers of other upstreams, or for other rules, may be wrong now, and so may those under way.
    if let Some((old_config, old)) = old {
        snapshot.carry_over(old);
        let same_servers =
            old_config.forwards == config.forwards && snapshot.rules.has_servers_of(&old.rules);
        // What was let through before must not slip past what was switched on.
        let same_special = old_config.special == config.special;
        let same_answers = same_servers && same_special && snapshot.is_no_stricter_than(old);
        // A flight's answer is cut where it enters a private name, so only clients for which the same
        // names are private may join it, or go by its failure.
        if same_answers && snapshot.zones().has_names_of(old.zones()) {
            snapshot.flights = Arc::clone(&old.flights);
            snapshot.flights.set_limit(config.limits.in_flight);
            snapshot.failures = Arc::clone(&old.failures);
        }
        // Keys are proven by the anchors, out of what the servers say.
        if same_answers {
            snapshot.keys = Arc::clone(&old.keys);
            snapshot.keys.set_limit(config.limits.in_flight);
        }
        let size = |config: &Config| (config.cache.size_octets, config.cache.stale);
        if same_answers && size(old_config) == size(config) {
            snapshot.cache = Arc::clone(&old.cache);
        }
    }
    Ok(snapshot)
}

/// Reads the files again that name upstreams. Where they name others now, what is kept may be wrong,
/// and so may what is under way, which the old servers were asked for. No later query may join that,
/// and the cache keeps nothing of it.
pub(super) fn follow_files(shared: &Shared) {
    let snapshot = shared.snapshot.load();
    if snapshot.rules.refresh() {
        shared.snapshot.store(Arc::new(snapshot.with_nothing_kept()));
    }
}

/// Holds the configuration's own expectations against what it would answer.
///
/// # Errors
/// Those that do not hold.
pub fn prove(config: &Config, snapshot: &Snapshot) -> Result<(), Unfit> {
    let unmet = snapshot.unmet(&config.expects);
    if unmet.is_empty() { Ok(()) } else { Err(Unfit::Unmet(unmet)) }
}

/// The keys that a reload cannot change and that differ from what `running` was started with.
pub(super) fn needs_restart(running: &Config, new: &Config) -> Vec<&'static str> {
    let changes = [
        (running.listen.dns != new.listen.dns, "listen.dns"),
        (running.listen.admin != new.listen.admin, "listen.admin"),
        (running.listen.freebind != new.listen.freebind, "listen.freebind"),
        (running.log.format != new.log.format, "log.format"),
        (running.limits.workers != new.limits.workers, "limits.workers"),
        (running.process != new.process, "process.user"),
    ];
    changes.into_iter().filter(|(changed, _)| *changed).map(|(_, key)| key).collect()
}

#[cfg(test)]
mod tests {
    use arc_swap::ArcSwap;

    use super::*;
    use crate::config::testing::{forward_all, minimal};
    use crate::config::{AllDown, Dnssec, Endpoint, Forward, Probe, Unlisted, UpstreamSource};
    use crate::dnssec::testing::{AnchorFile, Zones};

    fn reloaded(old: &Config, new: &Config) -> (Snapshot, Snapshot) {
        let before = build(old, &[], None).expect("fit");
        let after = build(new, &[], Some((old, &before))).expect("fit");
        (before, after)
    }

    fn keeps_answers(old: &Config, new: &Config) -> bool {
        let (before, after) = reloaded(old, new);
        let is_joined = Arc::ptr_eq(&before.flights, &after.flights);
        assert_eq!(is_joined, Arc::ptr_eq(&before.failures, &after.failures));
        let is_kept = Arc::ptr_eq(&before.cache, &after.cache);
        let is_proven = Arc::ptr_eq(&before.keys, &after.keys);
        assert!(is_proven || !is_kept, "keys hold at least as long as answers");
        assert!(is_kept || !is_joined, "what is under way was asked by the same rules");
        is_kept
    }

    #[test]
    fn questions_under_way_are_joined_while_the_same_names_are_private() {
        let is_joined = |old: &Config, new: &Config| {
            let (before, after) = reloaded(old, new);
            assert!(Arc::ptr_eq(&before.cache, &after.cache));
            Arc::ptr_eq(&before.flights, &after.flights)
        };
        let with = minimal();
        let without = Config { private_links: Vec::new(), ..minimal() };
        let mut moved = minimal();
        moved.private_links[0].endpoints[0].addresses = vec!["10.9.9.9".parse().expect("one")];
        let mut open = minimal();
        open.private_links[0].unlisted = Unlisted::Forward;
        assert!(is_joined(&with, &with));
        assert!(is_joined(&with, &moved), "other addresses");
        assert!(!is_joined(&with, &open));
        assert!(!is_joined(&with, &without));
        assert!(!is_joined(&without, &with));
        // Whether a name is private while its endpoint is down.
        let mut public = minimal();
        public.private_links[0].all_down = AllDown::Public;
        assert!(is_joined(&public, &public));
        assert!(!is_joined(&with, &public));
        assert!(!is_joined(&public, &with));
        let mut failing = minimal();
        failing.private_links[0].all_down = AllDown::Servfail;
        assert!(is_joined(&with, &failing), "both answer for the name");
        // Which addresses decide whether it is down, and by which probes.
        let probed = |change: fn(&mut Endpoint)| {
            let mut config = public.clone();
            change(&mut config.private_links[0].endpoints[0]);
            config
        };
        let other = probed(|one| one.addresses = vec!["10.9.9.9".parse().expect("one")]);
        let tcp = probed(|one| one.probe = Some(Probe::Tcp { port: 443 }));
        assert!(!is_joined(&public, &other));
        assert!(!is_joined(&public, &tcp));
        assert!(is_joined(&tcp, &tcp));
        assert!(!is_joined(&tcp, &probed(|one| one.probe = Some(Probe::Tcp { port: 8_443 }))));
    }

    #[test]
    fn answers_are_kept_over_a_reload_unless_more_is_refused_than_before() {
        let rule = Forward { dnssec: Dnssec::Validate, ..forward_all() };
        let lax = Config { forwards: vec![rule], ..minimal() };
        let changed = |change: fn(&mut Config)| {
            let mut config = lax.clone();
            change(&mut config);
            config
        };
        let private = changed(|config| config.private_links[0].require_private = true);
        assert!(keeps_answers(&lax, &lax));
        assert!(!keeps_answers(&lax, &private));
        assert!(keeps_answers(&private, &private));
        assert!(keeps_answers(&private, &lax));
        for change in [
            (|config| config.forwards[0].require_private = true) as fn(&mut Config),
            |config| config.forwards[0].rebind_protection = Some(Vec::new()),
            |config| config.forwards[0].dnssec = Dnssec::Pass,
        ] {
            assert!(!keeps_answers(&lax, &changed(change)));
        }
        // A negative trust anchor that goes makes validation stricter.
        let anchored = changed(|config| {
            config.dnssec.negative_trust_anchors = vec!["corp.test".parse().expect("a name")];
        });
        assert!(keeps_answers(&lax, &anchored));
        assert!(!keeps_answers(&anchored, &lax));
    }

    #[test]
    fn keys_are_kept_while_the_servers_and_the_anchors_stay() {
        let rule = Forward { dnssec: Dnssec::Validate, ..forward_all() };
        let old = Config { forwards: vec![rule], ..minimal() };
        let file = AnchorFile::of_root(&Zones::new());
        let keeps_keys = |change: &dyn Fn(&mut Config)| {
            let mut new = old.clone();
            change(&mut new);
            let (before, after) = reloaded(&old, &new);
            Arc::ptr_eq(&before.keys, &after.keys)
        };
        assert!(keeps_keys(&|_| {}));
        assert!(keeps_keys(&|config| config.cache.size_octets *= 2));
        let never = || vec!["never.test".parse().expect("a name")];
        assert!(keeps_keys(&|config| config.dnssec.negative_trust_anchors = never()));
        assert!(!keeps_keys(&|config| config.dnssec.trust_anchors = Some(file.0.clone())));
        let other = || crate::config::testing::plain(([192, 0, 2, 99], 53).into());
        assert!(!keeps_keys(&|config| config.forwards[0].upstreams = vec![other()]));
    }

    #[test]
    fn a_reload_goes_on_with_what_no_configuration_changes() {
        let (before, after) = reloaded(&minimal(), &minimal());
        assert!(Arc::ptr_eq(&before.loops, &after.loops), "what carry_over takes");
    }

    #[test]
    fn other_servers_in_a_file_begin_with_nothing_kept_and_nothing_under_way() {
        let name = format!("plinkd-state-resolv-{}", std::process::id());
        let file = std::env::temp_dir().join(name);
        let names = |server: &str| {
            std::fs::write(&file, format!("nameserver {server}\n")).expect("a file");
        };
        let rule =
            Forward { upstreams: vec![UpstreamSource::ResolvConf(file.clone())], ..forward_all() };
        let config = Config { forwards: vec![rule], ..minimal() };
        names("192.0.2.1");
        let snapshot = build(&config, &[], None).expect("fit");
        let shared = Shared { snapshot: ArcSwap::from_pointee(snapshot) };
        let before = shared.snapshot.load_full();
        follow_files(&shared);
        assert!(Arc::ptr_eq(&before, &shared.snapshot.load()), "nothing has changed");

        names("192.0.2.2");
        follow_files(&shared);
        let after = shared.snapshot.load_full();
        // What the old servers say is still told to those who have asked them, and to nobody else.
        assert!(!Arc::ptr_eq(&before.cache, &after.cache));
        assert!(!Arc::ptr_eq(&before.flights, &after.flights));
        assert!(!Arc::ptr_eq(&before.failures, &after.failures));
        assert!(!Arc::ptr_eq(&before.keys, &after.keys));
        // The rest is the same.
        assert!(Arc::ptr_eq(&before.rules, &after.rules));
        assert!(Arc::ptr_eq(&before.loops, &after.loops));
        assert!(Arc::ptr_eq(&before.validator, &after.validator));
        std::fs::remove_file(&file).expect("ours");
    }

    #[test]
    fn trust_anchors_that_cannot_be_read_are_no_configuration() {
        let mut config = minimal();
        config.dnssec.trust_anchors = Some("/nonexistent/anchors".into());
        let why = build(&config, &[], None).err().expect("unfit").to_string();
        let expected = "dnssec.trust-anchors: /nonexistent/anchors: cannot be read: ";
        assert!(why.starts_with(expected), "{why}");
    }
}
