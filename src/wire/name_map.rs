//! A map from domain names that finds the deepest one at or above a query's name.

use hashbrown::HashTable;

use super::name::{Name, QName};

/// Values by name. A look-up walks the query's labels from the root down and touches the table only
/// at depths where some name stands, so its cost does not grow with the number of names.
///
/// The hash is not keyed: what is inserted comes from the configuration, never from the network.
#[derive(Clone)]
pub struct NameMap<V> {
    table: HashTable<(Name, V)>,
    /// Bit `d` is set when a name with `d` labels stands in the table.
    depths: u128,
}

impl<V> Default for NameMap<V> {
    fn default() -> Self {
        Self { table: HashTable::new(), depths: 0 }
    }
}

impl<V> NameMap<V> {
    /// Puts `value` at `name`; gives back what stood there.
    pub fn insert(&mut self, name: Name, value: V) -> Option<V> {
        let hash = hash_name(&name);
        self.depths |= 1 << name.label_count();
        if let Some((_, old)) = self.table.find_mut(hash, |(other, _)| *other == name) {
            return Some(std::mem::replace(old, value));
        }
        self.table.insert_unique(hash, (name, value), |(name, _)| hash_name(name));
        None
    }

    /// The value at exactly `name`.
    pub fn get(&self, name: &Name) -> Option<&V> {
        self.table.find(hash_name(name), |(other, _)| other == name).map(|(_, value)| value)
    }

    /// The deepest name at or above `qname`: how many of `qname`'s labels stand above it (0: it is
    /// `qname` itself), and its value.
    pub fn deepest(&self, qname: &QName) -> Option<(usize, &V)> {
        let labels = qname.label_count();
        let mut hash = ROOT_HASH;
        let mut best = None;
        let mut depths = self.depths;
        let mut at = qname.label_offset(labels);
        // Stops where no deeper name stands, so a name of 127 labels costs no more than it must.
        for above in (0..=labels).rev() {
            if above < labels {
                let end = std::mem::replace(&mut at, qname.label_offset(above));
                hash = qname.fold(at, end, hash, mix);
            }
            if depths & 1 == 1 {
                let suffix = qname.as_wire().get(at..).unwrap_or(&[]);
                if let Some((_, value)) =
                    self.table.find(hash, |(name, _)| name.as_wire() == suffix)
                {
                    best = Some((above, value));
                }
            }
            depths >>= 1;
            if depths == 0 {
                break;
            }
        }
        best
    }

    /// How many names.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether no name stands here.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// All names with their values, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &V)> {
        self.table.iter().map(|(name, value)| (name, value))
    }
}

const ROOT_HASH: u64 = 0x243f_6a88_85a3_08d3;

fn hash_name(name: &Name) -> u64 {
    let qname = QName::from(name);
    let mut end = qname.label_offset(qname.label_count());
    (0..qname.label_count()).rev().fold(ROOT_HASH, |hash, index| {
        let begin = qname.label_offset(index);
        qname.fold(begin, std::mem::replace(&mut end, begin), hash, mix)
    })
}

/// Folds eight octets into a hash. A label's length octet comes first, so labels that differ in
/// trailing zeros alone differ here too.
fn mix(hash: u64, word: u64) -> u64 {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let product = u128::from(hash ^ word) * u128::from(MULTIPLIER);
    // The high and the low half, so that no bit of the input is lost.
    #[allow(clippy::cast_possible_truncation, reason = "both halves are taken")]
    let folded = (product >> 64) as u64 ^ product as u64;
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qname(text: &str) -> QName {
        QName::from(&text.parse::<Name>().expect("a valid name"))
    }

    fn map(names: &[&str]) -> NameMap<String> {
        let mut map = NameMap::default();
        for name in names {
            map.insert(name.parse().expect("a valid name"), (*name).to_owned());
        }
        map
    }

    #[test]
    fn the_deepest_name_wins() {
        let map = map(&["example", "west.example", "api.west.example"]);
        let found = |text| map.deepest(&qname(text)).map(|(above, value)| (above, value.as_str()));
        assert_eq!(found("api.west.example"), Some((0, "api.west.example")));
        assert_eq!(found("x.api.west.example"), Some((1, "api.west.example")));
        assert_eq!(found("x.west.example"), Some((1, "west.example")));
        assert_eq!(found("a.b.c.example"), Some((3, "example")));
        assert_eq!(found("other"), None);
        assert_eq!(found("xexample"), None);
    }

    #[test]
    fn the_root_is_a_name_too() {
        let map = map(&[".", "com"]);
        assert_eq!(map.deepest(&qname("example.org")).map(|(above, _)| above), Some(2));
        assert_eq!(map.deepest(&qname(".")).map(|(above, _)| above), Some(0));
        assert_eq!(map.deepest(&qname("example.com")).map(|(above, _)| above), Some(1));
    }

    #[test]
    fn names_of_127_labels_are_found() {
        let deep = "a.".repeat(127);
        let map = map(&[&deep]);
        assert_eq!(map.deepest(&qname(&deep)).map(|(above, _)| above), Some(0));
        assert!(map.deepest(&qname(&"a.".repeat(126))).is_none());
    }

    #[test]
    fn a_second_insert_gives_back_the_first() {
        let mut map = map(&["example"]);
        let name: Name = "example".parse().expect("a valid name");
        assert_eq!(map.insert(name.clone(), "new".to_owned()).as_deref(), Some("example"));
        assert_eq!(map.get(&name).map(String::as_str), Some("new"));
        assert_eq!(map.len(), 1);
    }
}
