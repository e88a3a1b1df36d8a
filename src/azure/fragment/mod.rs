//! From an inventory to a piece of configuration: which entries there are, and what they list.
//!
//! The same inventory gives the same octets. What cannot be said without a guess is left out, and
//! complained about.

mod conflicts;
mod place;
mod sites;
#[cfg(test)]
mod tests;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::log::Log;
use super::model::{Complaint, Inventory, Source};
use crate::catalog::{self, Service};

pub use sites::{SiteSpec, SitesError};

/// A piece of configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fragment {
    /// TOML; empty when no name is left.
    pub text: String,
    /// What was left out on the way.
    pub complaints: Vec<Complaint>,
}

/// How much of a configuration to write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// Sites and private-link entries.
    Fragment,
    /// With a listener and a forward rule: a file that runs as it is.
    Whole,
}

/// Writes an inventory as configuration.
pub fn fragment(
    inventory: &Inventory,
    sites: &[SiteSpec],
    extent: Extent,
) -> Result<Fragment, SitesError> {
    let sites = sites::assign(inventory, sites)?;
    let mut log = Log::new();
    let listed = place::all(inventory, &mut log);
    let listed = conflicts::unshadowed(listed, &mut log);
    let listed = conflicts::settle(inventory, &sites, listed, &mut log);
    let entries = entries(listed);
    let text = match entries.is_empty() {
        true => String::new(),
        false => write::all(inventory, &sites, &entries, extent),
    };
    let mut complaints = log.into_complaints("all files together");
    complaints.sort_unstable();
    Ok(Fragment { text, complaints })
}

/// Which `[[private-link]]` a name belongs to.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Entry {
    Service { service: &'static Service, variables: BTreeMap<&'static str, String> },
    Zones { public_zone: String, private_zone: String },
}

impl Entry {
    /// A name as the entry's `names` want it: relative, unless it has several private zones.
    fn name_key(&self, relative: &str, public_zone: &str) -> String {
        match self {
            Self::Service { service, .. } if !service.has_one_private_zone() => {
                format!("{relative}.{public_zone}")
            }
            _ => relative.to_owned(),
        }
    }

    /// The port to probe its endpoints at, where all have one.
    fn port(&self) -> Option<u16> {
        match self {
            Self::Service { service, .. } => catalog::port(service.name),
            Self::Zones { .. } => None,
        }
    }

    /// What sorts entries, and tells them apart.
    fn key(&self) -> (bool, String) {
        match self {
            Self::Service { service, variables } => {
                (false, format!("{} {} {variables:?}", service.name, service.cloud))
            }
            Self::Zones { public_zone, private_zone } => {
                (true, format!("{public_zone} {private_zone}"))
            }
        }
    }
}

/// A name of one endpoint, placed.
#[derive(Clone, Debug)]
struct Listed {
    /// The endpoint's place in the inventory.
    endpoint: usize,
    entry: Entry,
    public_zone: String,
    private_zone: String,
    /// What stands in front of either zone; `*` for all names.
    relative: String,
    addresses: Vec<IpAddr>,
    sources: Vec<Source>,
}

impl Listed {
    fn private_name(&self) -> String {
        format!("{}.{}", self.relative, self.private_zone)
    }
}

/// A `[[private-link]]` with what it lists.
struct Planned {
    entry: Entry,
    unlisted: Unlisted,
    /// By the endpoint's place in the inventory.
    endpoints: BTreeMap<usize, Vec<Listed>>,
}

/// What becomes of names that no endpoint lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unlisted {
    Wildcard,
    Nxdomain,
    Forward,
}

/// The entries, sorted. Entries with a zone in common treat unlisted names alike.
fn entries(listed: Vec<Listed>) -> Vec<Planned> {
    let mut entries: BTreeMap<(bool, String), Planned> = BTreeMap::new();
    let mut forwarded: BTreeSet<String> = BTreeSet::new();
    for name in listed {
        let is_others = match &name.entry {
            Entry::Service { service, .. } => service.other_tenants,
            Entry::Zones { .. } => true,
        };
        if is_others {
            forwarded.extend([name.public_zone.clone(), name.private_zone.clone()]);
        }
        let entry = entries.entry(name.entry.key()).or_insert_with(|| Planned {
            entry: name.entry.clone(),
            unlisted: Unlisted::Nxdomain,
            endpoints: BTreeMap::new(),
        });
        entry.endpoints.entry(name.endpoint).or_default().push(name);
    }
    for planned in entries.values_mut() {
        let all = || planned.endpoints.values().flatten();
        let is_forwarded = |name: &Listed| {
            [&name.public_zone, &name.private_zone].iter().any(|zone| forwarded.contains(*zone))
        };
        planned.unlisted = match () {
            () if all().any(|name| name.relative == "*") => Unlisted::Wildcard,
            () if all().any(is_forwarded) => Unlisted::Forward,
            () => Unlisted::Nxdomain,
        };
        let names = planned.endpoints.values_mut();
        names.for_each(|names| names.sort_by_cached_key(Listed::private_name));
    }
    entries.into_values().collect()
}
