//! Special-use domain names (RFC 6761): which names never belong to the public DNS, and which of
//! them this configuration leaves to its upstreams all the same.
//!
//! Knows no message, no upstream and no private-link zone. Start reading at `table`; the reasons for
//! each choice stand in docs/design/special-names.md.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod table;

use crate::wire::{Name, NameMap, QName};
pub use table::{Contents, Scope, Zone, zones};

/// The special names of one configuration.
pub struct Special {
    zones: Vec<Zone>,
    /// At special zones, and at names inside them that go another way.
    ways: NameMap<Way>,
    /// Names inside special zones that a forwarded name lies below.
    above: NameMap<()>,
}

/// What happens to the names at and below a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// They are special, of the zone with this index.
    Special(usize, Scope),
    /// They are like all others.
    Forwarded,
}

/// A special name.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// Its zone.
    pub zone: &'a Zone,
    /// How many of its labels stand above the zone's apex.
    pub labels: usize,
    /// The zone's, unless the configuration says that the name is always answered here.
    pub scope: Scope,
}

/// Where special zones stand, so that the place of any name is found without a look at each.
#[derive(Default)]
struct Places {
    zones: NameMap<usize>,
    /// The zones and all names above them.
    at_or_above: NameMap<()>,
}

/// Where a name stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// It is a special zone, or special zones lie below it.
    AtOrAbove,
    /// Inside the zone with this index.
    Below(usize),
    /// Special zones lie neither above nor below it.
    Elsewhere,
}

impl Places {
    fn add(&mut self, index: usize, zone: &Name) {
        self.zones.insert(&QName::from(zone), index);
        let mut ancestor = Some(zone.clone());
        while let Some(name) = ancestor {
            self.at_or_above.insert(&QName::from(&name), ());
            ancestor = name.parent();
        }
    }

    fn of(&self, name: &Name) -> Place {
        let qname = QName::from(name);
        match self.zones.deepest(&qname) {
            _ if self.at_or_above.get(&qname).is_some() => Place::AtOrAbove,
            Some((_, index)) => Place::Below(*index),
            None => Place::Elsewhere,
        }
    }
}

impl Special {
    /// Builds the tables. Names at or below a zone of `forward` or `ruled` are like all others, those
    /// at or below a zone of `answer` are special wherever the upstreams are. The longest zone of all
    /// lists counts, and of equal ones that of `ruled`, then that of `forward`. The root in `ruled`
    /// counts for nothing: a rule for everything names no special zone.
    pub fn new<'a>(
        forward: &'a [Name],
        answer: &'a [Name],
        ruled: impl IntoIterator<Item = &'a Name>,
    ) -> Self {
        let mut special =
            Self { zones: zones(), ways: NameMap::default(), above: NameMap::default() };
        let mut places = Places::default();
        for (index, zone) in special.zones.iter().enumerate() {
            special.ways.insert(&QName::from(&zone.name), Way::Special(index, zone.scope));
            places.add(index, &zone.name);
        }
        // Rules may have very many zones; most have nothing to do with special ones.
        let concerns = |name: &Name| !matches!(places.of(name), Place::Elsewhere);
        let ruled = ruled.into_iter().filter(|name| !name.is_root() && concerns(name));
        let mut listed: Vec<(&Name, bool)> = Vec::new();
        listed.extend(answer.iter().map(|name| (name, false)));
        listed.extend(forward.iter().chain(ruled).map(|name| (name, true)));
        // Stable, so that of equal names the last one counts.
        listed.sort_by_key(|(name, _)| name.label_count());
        for (name, is_forwarded) in listed {
            special.list(name, places.of(name), is_forwarded);
        }
        special
    }

    fn list(&mut self, listed: &Name, place: Place, is_forwarded: bool) {
        let way = |index| match is_forwarded {
            true => Way::Forwarded,
            false => Way::Special(index, Scope::Nowhere),
        };
        match place {
            Place::Elsewhere => {}
            Place::AtOrAbove => {
                let zones = self.zones.iter().enumerate();
                for (index, zone) in zones.filter(|(_, zone)| zone.name.is_within(listed)) {
                    self.ways.insert(&QName::from(&zone.name), way(index));
                }
            }
            Place::Below(index) => {
                self.ways.insert(&QName::from(listed), way(index));
                let apex = self.zones.get(index).map_or(0, |zone| zone.name.label_count());
                let mut ancestor = listed.parent().filter(|_| is_forwarded);
                while let Some(name) = ancestor.filter(|name| name.label_count() >= apex) {
                    self.above.insert(&QName::from(&name), ());
                    ancestor = name.parent();
                }
            }
        }
    }

    /// Finds the special zone that `qname` stands in; `None` for names like all others.
    #[inline]
    pub fn find(&self, qname: &QName) -> Option<Found<'_>> {
        // Nearly all queries end here.
        if !may_be_special(qname) {
            return None;
        }
        self.find_in_table(qname)
    }

    #[cold]
    #[inline(never)]
    fn find_in_table(&self, qname: &QName) -> Option<Found<'_>> {
        let (_, way) = self.ways.deepest(qname)?;
        let Way::Special(index, scope) = *way else { return None };
        let zone = self.zones.get(index)?;
        let labels = qname.label_count().checked_sub(zone.name.label_count())?;
        Some(Found { zone, labels, scope })
    }

    /// Whether a name that is forwarded lies below the special name `qname`, so that NXDOMAIN for
    /// `qname` would deny that name too (RFC 8020).
    pub fn has_below(&self, qname: &QName) -> bool {
        self.above.get(qname).is_some()
    }
}

/// Whether some special zone has this top-level domain. A few instructions, for every query that no
/// table answers.
#[inline]
fn may_be_special(qname: &QName) -> bool {
    let last = qname.label_count().checked_sub(1).map_or(&[][..], |last| qname.label(last));
    matches!(last, b"arpa" | b"local" | b"localhost" | b"test" | b"invalid" | b"onion" | b"alt")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    fn names(texts: &[&str]) -> Vec<Name> {
        texts.iter().map(|text| name(text)).collect()
    }

    fn special(forward: &[&str], answer: &[&str], ruled: &[&str]) -> Special {
        Special::new(&names(forward), &names(answer), &names(ruled))
    }

    /// The zone, the labels above it and the scope.
    fn found(special: &Special, text: &str) -> Option<(String, usize, Scope)> {
        let qname = QName::from(&name(text));
        special.find(&qname).map(|found| (found.zone.name.to_string(), found.labels, found.scope))
    }

    #[test]
    fn every_zone_of_the_table_is_found_by_its_name_and_below() {
        let special = special(&[], &[], &["."]);
        for zone in zones() {
            for (above, text) in [(0, zone.name.to_string()), (2, format!("a.b.{}", zone.name))] {
                let expected = (zone.name.to_string(), above, zone.scope);
                assert_eq!(found(&special, &text), Some(expected), "{text}");
            }
        }
        for text in [
            ".",
            "arpa",
            "in-addr.arpa",
            "11.in-addr.arpa",
            "32.172.in-addr.arpa",
            "63.100.in-addr.arpa",
            "128.100.in-addr.arpa",
            "c.f.ip6.arpa",
            "2.0.0.0.ip6.arpa",
            "ipv4only.arpa",
            "eap.arpa",
            "example",
            "www.example.com",
            "localhost.example",
            "xlocal",
            "local.x",
        ] {
            assert_eq!(found(&special, text), None, "{text}");
        }
    }

    #[test]
    fn a_listed_zone_takes_its_part_and_the_longest_counts() {
        let special = special(
            &["local", "10.in-addr.arpa", "x.test"],
            &["private.local", "ip6.arpa"],
            &["5.10.in-addr.arpa", "d.f.ip6.arpa", "172.in-addr.arpa", "a.b.corp.test"],
        );
        let is_special = |text: &str| found(&special, text).is_some();
        for text in [
            "local",
            "a.local",
            "10.in-addr.arpa",
            "1.5.10.in-addr.arpa",
            "d.f.ip6.arpa",
            "x.test",
            "y.x.test",
            "16.172.in-addr.arpa",
            "1.31.172.in-addr.arpa",
            "a.b.corp.test",
        ] {
            assert!(!is_special(text), "{text}");
        }
        for text in ["test", "b.corp.test", "a.corp.test", "168.192.in-addr.arpa", "home.arpa"] {
            assert!(is_special(text), "{text}");
        }
        let nowhere = Scope::Nowhere;
        assert_eq!(found(&special, "a.private.local"), Some(("local".into(), 2, nowhere)));
        assert_eq!(found(&special, "8.e.f.ip6.arpa"), Some(("8.e.f.ip6.arpa".into(), 0, nowhere)));
        let below = |text: &str| special.has_below(&QName::from(&name(text)));
        for text in ["test", "corp.test", "b.corp.test", "10.in-addr.arpa"] {
            assert!(below(text), "{text}");
        }
        for text in ["a.b.corp.test", "x.test", "local", "d.f.ip6.arpa", "invalid"] {
            assert!(!below(text), "{text}");
        }
    }

    #[test]
    fn of_equal_zones_the_rules_counts_and_the_root_of_a_rule_for_nothing() {
        let is_special = |forward: &[&str], answer: &[&str], ruled: &[&str]| {
            found(&special(forward, answer, ruled), "a.local").is_some()
        };
        assert!(is_special(&[], &[], &["."]));
        assert!(!is_special(&["."], &[], &[]));
        assert!(!is_special(&[], &["local"], &["local"]));
        assert!(is_special(&["."], &["local"], &["."]));
        assert!(!is_special(&["local"], &["."], &[]));
    }
}
