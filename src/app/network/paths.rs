//! From which of our addresses each upstream is reached.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The address that a new socket towards each upstream would have; none where there is no way. As
/// many as the configuration names upstreams.
#[derive(Default, Debug)]
pub(super) struct Paths(HashMap<SocketAddr, Option<IpAddr>>);

/// An upstream that is reached from elsewhere than before, and how many others are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Moved {
    peer: SocketAddr,
    before: Option<IpAddr>,
    now: Option<IpAddr>,
    others: usize,
}

impl Paths {
    /// Looks from where `peers` are reached now. Those that are new are only taken note of, those
    /// that are gone forgotten.
    pub(super) fn look(
        &mut self,
        mut peers: Vec<SocketAddr>,
        source: impl Fn(SocketAddr) -> Option<IpAddr>,
    ) -> Option<Moved> {
        peers.sort_unstable();
        peers.dedup();
        let before = std::mem::take(&mut self.0);
        let mut moved: Option<Moved> = None;
        for peer in peers {
            let now = source(peer);
            self.0.insert(peer, now);
            let Some(before) = before.get(&peer).copied().filter(|before| *before != now) else {
                continue;
            };
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

    fn peers() -> Vec<SocketAddr> {
        ["10.0.0.4:53", "10.0.0.5:53", "10.0.0.4:53"].map(|peer| peer.parse().unwrap()).to_vec()
    }

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
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
        let one = |peer: SocketAddr| address("10.8.0.2").filter(|_| peer == peers()[0]);
        let moved = paths.look(peers(), one).unwrap();
        assert_eq!(moved.to_string(), "there is no way to 10.0.0.5:53 now, from 10.8.0.2 before");
        let moved = paths.look(peers(), |_| address("10.8.0.2")).unwrap();
        assert_eq!(
            moved.to_string(),
            "10.0.0.5:53 is reached from 10.8.0.2 now, there was no way before"
        );
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
