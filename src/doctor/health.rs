//! What it means for clients which addresses of private endpoints answer their probes.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::finding::Finding;
use crate::config::{AllDown, Endpoint, PrivateLink, Target, Unlisted};
use crate::wire::Name;
use crate::zones::Fault;

/// Addresses and names that a finding lists; the others are counted.
const MOST_SHOWN: usize = 4;

/// What probes found at an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// It answers.
    Up,
    /// It does not, for this reason.
    Down(String),
    /// This host could not try, for this reason. The daemon leaves such an address as it was.
    Untried(String),
}

impl From<Result<(), Fault>> for State {
    fn from(outcome: Result<(), Fault>) -> Self {
        match outcome {
            Ok(()) => Self::Up,
            Err(Fault::Ours(why)) => Self::Untried(why),
            Err(fault) => Self::Down(fault.to_string()),
        }
    }
}

/// What was found at all addresses.
pub(super) struct Health(HashMap<Target, Option<State>>);

impl Health {
    pub(super) fn new(found: Vec<(Target, Option<State>)>) -> Self {
        Self(found.into_iter().collect())
    }

    /// Findings about all entries in which something is probed, in the file's order.
    pub(super) fn findings(&self, links: &[PrivateLink]) -> Vec<Finding> {
        // The zones of one entry of the file have the same endpoints: one finding is enough.
        let entries = links.chunk_by(|one, other| one.entry == other.entry);
        let mut findings: Vec<Finding> = entries.flat_map(|entry| self.of_entry(entry)).collect();
        findings.extend(self.left_out());
        if findings.is_empty() && !self.0.is_empty() {
            let found = format!("all {} that are probed answer from this host", self.0.len());
            findings.push(Finding::fine("endpoint-probes", "addresses of endpoints", found));
        }
        findings
    }

    /// What was not probed because there are too many, or the time was over.
    fn left_out(&self) -> Option<Finding> {
        let left_out = self.0.values().filter(|state| state.is_none()).count();
        (left_out > 0).then(|| {
            let found = format!("{left_out} of {} were not probed in time", self.0.len());
            Finding::warning("endpoint-unprobed", "addresses of endpoints", found)
                .advise("killall -USR1 privatelinkd: the daemon logs a line for each address")
        })
    }

    fn of_entry(&self, links: &[PrivateLink]) -> Vec<Finding> {
        let mut zones = links.iter().map(|link| link.public_zone.to_string());
        let first = zones.next().unwrap_or_default();
        let about = match zones.count() {
            0 => format!("endpoints of {first}"),
            1 => format!("endpoints of {first} and of 1 more zone"),
            more => format!("endpoints of {first} and of {more} more zones"),
        };
        let (mut down, mut untried) = (BTreeMap::new(), BTreeMap::new());
        for link in links {
            for endpoint in &link.endpoints {
                for target in endpoint.targets(link) {
                    let place = format!("{} of {}", target.socket(), endpoint.name);
                    match self.0.get(&target) {
                        Some(Some(State::Down(why))) => {
                            let words = format!("{place} ({}: {why})", target.probe);
                            down.insert(target.address, words);
                        }
                        Some(Some(State::Untried(why))) => {
                            untried.insert(target.address, format!("{place} ({why})"));
                        }
                        _ => {}
                    }
                }
            }
        }
        let mut findings = Vec::new();
        if !down.is_empty() {
            findings.push(self.down(links, &about, &down));
        }
        if !untried.is_empty() {
            let found = format!(
                "this host cannot try {}: the daemon takes them for up, whatever they are",
                listed(untried.values())
            );
            findings.push(
                Finding::warning("endpoint-unprobed", about, found)
                    .advise("give this host a route there, or take probe out of the endpoint"),
            );
        }
        findings
    }

    fn down(&self, links: &[PrivateLink], about: &str, down: &BTreeMap<IpAddr, String>) -> Finding {
        let silent = format!("this host reaches no service at {}", listed(down.values()));
        let lost: Vec<String> = links.iter().flat_map(|link| self.lost(link)).collect();
        let first = down.keys().next().map_or_else(String::new, ToString::to_string);
        let finding = if lost.is_empty() {
            let found = format!(
                "{silent}; every name has another address, and clients get that one as soon as the \
                 daemon's probes fail too"
            );
            Finding::warning("endpoint-some-down", about, found)
        } else {
            let all_down = links.first().map_or(AllDown::ServeAll, |link| link.all_down);
            let what = match all_down {
                AllDown::ServeAll => "clients get the addresses all the same",
                AllDown::Servfail => "clients get SERVFAIL",
                AllDown::Public => "clients get the public address, around the private link",
            };
            let found = format!(
                "{silent}; that leaves no address for {}: {what} (all-down = \"{}\")",
                listed(lost.iter()),
                all_down.as_str()
            );
            Finding::problem("endpoint-all-down", about, found)
        };
        finding
            .advise(format!(
                "is the tunnel or route up, and does a firewall let this host through? ip route \
                 get {first}"
            ))
            .advise(
                "is the endpoint still there and Approved? az network private-endpoint list, then \
                 privatelinkd drift",
            )
            .advise("if clients reach it and only this host does not: probe = \"none\"")
    }

    /// Names of which every address is down, at all endpoints, public and in the file's order.
    fn lost(&self, link: &PrivateLink) -> Vec<String> {
        // Each name with whether any address of it may be up.
        let mut order: Vec<&Name> = Vec::new();
        let mut names: HashMap<&Name, bool> = HashMap::new();
        let mut wildcard: Option<bool> = None;
        for endpoint in &link.endpoints {
            let down = self.down_of(endpoint, link);
            let is_up = |addresses: &[IpAddr]| addresses.iter().any(|ip| !down.contains(ip));
            for (name, addresses) in endpoint.names.iter() {
                let known = names.entry(name).or_insert_with(|| {
                    order.push(name);
                    false
                });
                *known |= is_up(addresses);
            }
            if link.unlisted == Unlisted::Wildcard && !endpoint.addresses.is_empty() {
                wildcard = Some(wildcard.unwrap_or(false) || is_up(&endpoint.addresses));
            }
        }
        let lost = order.into_iter().filter(|name| names.get(*name) == Some(&false));
        let lost = lost.filter_map(|name| name.under(&link.public_zone).ok());
        let wildcard = (wildcard == Some(false)).then(|| format!("*.{}", link.public_zone));
        lost.map(|name| name.to_string()).chain(wildcard).collect()
    }

    /// Addresses of the endpoint that are down. What is not probed counts as up, as it does for the
    /// daemon.
    fn down_of(&self, endpoint: &Endpoint, link: &PrivateLink) -> Vec<IpAddr> {
        let targets = endpoint.targets(link).into_iter();
        let is_down = |target: &Target| matches!(self.0.get(target), Some(Some(State::Down(_))));
        targets.filter(is_down).map(|target| target.address).collect()
    }
}

/// The first of these, and how many more there are.
fn listed<'a>(all: impl ExactSizeIterator<Item = &'a String>) -> String {
    let more = all.len().saturating_sub(MOST_SHOWN);
    let mut shown: Vec<String> = all.take(MOST_SHOWN).cloned().collect();
    if more > 0 {
        shown.push(format!("{more} more"));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests;
