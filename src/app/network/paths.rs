//! From which of our addresses each upstream is reached.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

use crate::sys::{self, ScopedAddress};

/// The address that a new socket towards each upstream would have; none where there is no way. As
/// many as the configuration names upstreams.
#[derive(Default, Debug)]
pub(super) struct Paths(HashMap<ScopedAddress, Option<Source>>);

/// What a new socket towards an upstream would have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Source {
    pub(super) ip: IpAddr,
    /// The number of the upstream's interface: one that came back has another, and often the same
    /// address. 0 where the upstream has none.
    pub(super) scope: u32,
}

/// What a look at the way to an upstream brings.
#[derive(Clone, Copy, Debug)]
pub(super) enum Look {
    Way(Source),
    NoWay,
    /// This host has no descriptor, memory or port for a look.
    Unknown,
}

/// Looks what a new socket towards `peer` would have now.
pub(super) fn look(peer: &ScopedAddress) -> Look {
    let (Ok(address), Some(scope)) = (peer.socket(), peer.scope()) else { return Look::NoWay };
    match sys::source_towards(address) {
        Ok(ip) => Look::Way(Source { ip, scope }),
        Err(error) if sys::is_shortage(&error) || sys::is_port_shortage(&error, address) => {
            Look::Unknown
        }
        Err(_) => Look::NoWay,
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.ip)?;
        match self.scope {
            0 => Ok(()),
            scope => write!(f, "%{scope}"),
        }
    }
}

/// An upstream that is reached from elsewhere than before, and how many others are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Moved {
    peer: ScopedAddress,
    before: Option<Source>,
    now: Option<Source>,
    others: usize,
}

impl Paths {
    /// Looks from where `peers` are reached now. Those that are new are only taken note of, those
    /// that are gone forgotten. Those of which nothing is known now are as before.
    pub(super) fn look(
        &mut self,
        mut peers: Vec<ScopedAddress>,
        look: impl Fn(&ScopedAddress) -> Look,
    ) -> Option<Moved> {
        peers.sort_unstable();
        peers.dedup();
        let before = std::mem::take(&mut self.0);
        let mut moved: Option<Moved> = None;
        for peer in peers {
            let before = before.get(&peer).copied();
            let now = match (look(&peer), before) {
                (Look::Way(source), _) => Some(source),
                (Look::NoWay, _) => None,
                (Look::Unknown, Some(before)) => before,
                (Look::Unknown, None) => continue,
            };
            self.0.insert(peer.clone(), now);
            let Some(before) = before.filter(|before| *before != now) else { continue };
            match &mut moved {
                Some(moved) => moved.others += 1,
                None => moved = Some(Moved { peer, before, now, others: 0 }),
            }
        }
        moved
    }
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { peer, before, now, others } = self;
        match now {
            Some(now) => write!(f, "{peer} is reached from {now} now")?,
            None => write!(f, "there is no way to {peer} now")?,
        }
        match before {
            Some(before) => write!(f, ", from {before} before")?,
            None => f.write_str(", there was no way before")?,
        }
        match others {
            0 => Ok(()),
            others => write!(f, " (and {others} more)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers() -> Vec<ScopedAddress> {
        ["10.0.0.4:53", "10.0.0.5:53", "10.0.0.4:53"].map(|peer| peer.parse().unwrap()).to_vec()
    }

    fn address(text: &str) -> Look {
        Look::Way(Source { ip: text.parse().unwrap(), scope: 0 })
    }

    #[test]
    fn only_a_difference_counts() {
        let mut paths = Paths::default();
        assert_eq!(paths.look(peers(), |_| address("10.1.0.2")), None, "all are new");
        assert_eq!(paths.look(peers(), |_| address("10.1.0.2")), None);
        let moved = paths.look(peers(), |_| address("10.8.0.2")).unwrap();
        assert_eq!(
            moved.to_string(),
            "10.0.0.4:53 is reached from 10.8.0.2 now, from 10.1.0.2 before (and 1 more)"
        );
        let one = |peer: &ScopedAddress| match *peer == peers()[0] {
            true => address("10.8.0.2"),
            false => Look::NoWay,
        };
        let moved = paths.look(peers(), one).unwrap();
        assert_eq!(moved.to_string(), "there is no way to 10.0.0.5:53 now, from 10.8.0.2 before");
        let moved = paths.look(peers(), |_| address("10.8.0.2")).unwrap();
        assert_eq!(
            moved.to_string(),
            "10.0.0.5:53 is reached from 10.8.0.2 now, there was no way before"
        );
    }

    #[test]
    fn an_interface_that_came_back_is_another_way() {
        let peers = || vec!["[fe80::1%eth0]:53".parse().unwrap()];
        let over = |scope| Look::Way(Source { ip: "fe80::2".parse().unwrap(), scope });
        let mut paths = Paths::default();
        paths.look(peers(), |_| over(2));
        assert_eq!(
            paths.look(peers(), |_| over(7)).unwrap().to_string(),
            "[fe80::1%eth0]:53 is reached from fe80::2%7 now, from fe80::2%2 before"
        );
    }

    #[test]
    fn a_look_that_a_shortage_forbids_changes_nothing() {
        let mut paths = Paths::default();
        assert_eq!(paths.look(peers(), |_| Look::Unknown), None);
        assert_eq!(paths.look(peers(), |_| address("10.1.0.2")), None, "all are new");
        assert_eq!(paths.look(peers(), |_| Look::Unknown), None);
        let moved = paths.look(peers(), |_| address("10.8.0.2")).unwrap();
        assert!(moved.to_string().contains("from 10.1.0.2 before"), "{moved}");
    }

    #[test]
    fn upstreams_that_no_rule_names_are_forgotten() {
        let mut paths = Paths::default();
        paths.look(peers(), |_| address("10.1.0.2"));
        paths.look(Vec::new(), |_| address("10.1.0.2"));
        assert!(paths.0.is_empty());
        assert_eq!(paths.look(peers(), |_| address("10.8.0.2")), None);
    }
}
