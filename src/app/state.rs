//! From a configuration to what workers read, and the proof that it may be put into force.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use tracing::warn;

use crate::cache::Cache;
use crate::config::Config;
use crate::engine::{Expectation, Snapshot};
use crate::forward::{LoopGuard, OwnAddresses, Rules, own_upstreams};
use crate::sys;

/// Why a readable configuration must not be put into force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unfit {
    /// These upstreams are this daemon.
    OwnUpstreams(Vec<SocketAddr>),
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
/// An upstream that is this daemon.
pub fn build(
    config: &Config,
    listen: &[SocketAddr],
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
    let protected: Vec<_> =
        links.flat_map(|link| [&link.public_zone, &link.private_zone]).cloned().collect();
    let previous = old.map(|(_, snapshot)| &*snapshot.rules);
    let rules = Rules::build(&config.forwards, &protected, own, previous);
    // Answers of other upstreams, or for other rules, may be wrong now; they go with the old cache.
    let kept = old.filter(|(old, snapshot)| {
        old.forwards == config.forwards
            && old.cache == config.cache
            && rules.has_servers_of(&snapshot.rules)
    });
    let cache = kept.map_or_else(
        || Arc::new(Cache::new(config.cache.size_octets)),
        |(_, snapshot)| Arc::clone(&snapshot.cache),
    );
    let loops = old.map_or_else(|| Arc::new(LoopGuard::new()), |(_, old)| Arc::clone(&old.loops));
    Ok(Snapshot::new(config, Arc::new(rules), cache, loops))
}

/// Holds the configuration's own expectations against what it would answer.
///
/// # Errors
/// Those that do not hold.
pub fn prove(config: &Config, snapshot: &Snapshot) -> Result<(), Unfit> {
    let unmet = snapshot.unmet(&config.expects);
    if unmet.is_empty() { Ok(()) } else { Err(Unfit::Unmet(unmet)) }
}

/// The keys that a reload cannot change.
pub(super) fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let changes = [
        (old.listen.dns != new.listen.dns, "listen.dns"),
        (old.listen.admin != new.listen.admin, "listen.admin"),
        (old.log.format != new.log.format, "log.format"),
        (old.limits.workers != new.limits.workers, "limits.workers"),
        (old.limits.in_flight != new.limits.in_flight, "limits.in-flight"),
    ];
    changes.into_iter().filter(|(changed, _)| *changed).map(|(_, key)| key).collect()
}
