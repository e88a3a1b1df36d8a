//! A map from domain names that finds the deepest one at or above a query's name.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::name::QName;

/// Values by name. A look-up hashes the query's ancestors, the longest first, but only at depths where
/// some name stands, so its cost does not grow with the number of names.
///
/// Flat, whatever the number of names: a slot holds the value, and enough of the hash that hardly
/// any octets but the right name's are fetched, and all octets lie in one piece. So a look-up reads
/// few places that are not at hand, and names come and go with a few calls to the allocator.
///
/// The hash is not keyed: what is inserted comes from the configuration, never from the network.
#[derive(Clone, Debug)]
pub struct NameMap<V> {
    table: HashTable<Slot<V>>,
    /// Names in wire form, root octet included, so that none is the beginning of another one, and
    /// they are compared without knowing where they end.
    octets: Vec<u8>,
    /// Bit `d` is set when a name with `d` labels stands in the table.
    depths: u128,
}

#[derive(Clone, Debug)]
struct Slot<V> {
    hash: u32,
    /// Where the name begins in `octets`. No file is so large that this would not do.
    at: u32,
    value: V,
}

impl<V> Default for NameMap<V> {
    fn default() -> Self {
        Self { table: HashTable::new(), octets: Vec::new(), depths: 0 }
    }
}

impl<V> NameMap<V> {
    /// Without names; the table has room for so many.
    pub fn with_capacity(names: usize) -> Self {
        Self { table: HashTable::with_capacity(names), ..Self::default() }
    }

    /// Puts `value` at `name`; gives back what stood there.
    pub fn insert(&mut self, name: &QName, value: V) -> Option<V> {
        let hash = hash(name, 0, name.label_count());
        let (known, octets) = (&self.octets, octets(name, 0, name.label_count()));
        let found = self.table.find_mut(spread(hash), |slot| slot.is(hash, octets, known));
        if let Some(slot) = found {
            return Some(std::mem::replace(&mut slot.value, value));
        }
        self.or_insert(name, value);
        None
    }

    /// The value at `name`, which is `value` if there was none.
    pub fn or_insert(&mut self, name: &QName, value: V) -> &mut V {
        self.depths |= 1 << name.label_count();
        let hash = hash(name, 0, name.label_count());
        let (known, octets) = (&mut self.octets, octets(name, 0, name.label_count()));
        let is_it = |slot: &Slot<V>| slot.is(hash, octets, known);
        match self.table.entry(spread(hash), is_it, |slot| spread(slot.hash)) {
            Entry::Occupied(slot) => &mut slot.into_mut().value,
            Entry::Vacant(free) => {
                let at = u32::try_from(known.len()).unwrap_or(u32::MAX);
                known.extend_from_slice(name.as_wire());
                &mut free.insert(Slot { hash, at, value }).into_mut().value
            }
        }
    }

    /// The value at exactly `name`.
    pub fn get(&self, name: &QName) -> Option<&V> {
        self.relative(name, name.label_count())
    }

    /// The value at the name that the first `labels` labels of `qname` are, without the others.
    pub fn relative(&self, qname: &QName, labels: usize) -> Option<&V> {
        if self.depths >> labels & 1 == 0 {
            return None;
        }
        self.find(qname, 0, labels)
    }

    /// The deepest name at or above `qname`: how many of `qname`'s labels stand above it (0: it is
    /// `qname` itself), and its value.
    pub fn deepest(&self, qname: &QName) -> Option<(usize, &V)> {
        let labels = qname.label_count();
        // No name with more labels than it has can be at or above it.
        let mut depths = self.depths & (u128::MAX >> (127 - labels.min(127)));
        while let Some(depth) = depths.checked_ilog2() {
            depths &= !(1 << depth);
            let above = labels - depth as usize;
            if let Some(value) = self.find(qname, above, labels) {
                return Some((above, value));
            }
        }
        None
    }

    /// The value at the name that the labels from `first` to before `last` are.
    fn find(&self, qname: &QName, first: usize, last: usize) -> Option<&V> {
        let (hash, octets) = (hash(qname, first, last), octets(qname, first, last));
        let is_it = |slot: &Slot<V>| slot.is(hash, octets, &self.octets);
        self.table.find(spread(hash), is_it).map(|slot| &slot.value)
    }

    /// How many names.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether no name stands here.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// All values, in no order.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.table.iter_mut().map(|slot| &mut slot.value)
    }

    /// Gives back memory that is not needed as long as nothing is inserted.
    pub fn shrink_to_fit(&mut self) {
        self.octets.shrink_to_fit();
    }
}

impl<V> Slot<V> {
    /// Whether the name has this hash and these octets, its root's left out.
    fn is(&self, hash: u32, octets: &[u8], known: &[u8]) -> bool {
        self.hash == hash && {
            let name = known.get(self.at as usize..).unwrap_or(&[]);
            name.starts_with(octets) && name.get(octets.len()) == Some(&0)
        }
    }
}

const ROOT_HASH: u64 = 0x243f_6a88_85a3_08d3;

/// The octets of the labels from `first` to before `last`.
fn octets(name: &QName, first: usize, last: usize) -> &[u8] {
    name.as_wire().get(name.label_offset(first)..name.label_offset(last)).unwrap_or(&[])
}

/// The hash of the name that the labels from `first` to before `last` are.
fn hash(name: &QName, first: usize, last: usize) -> u32 {
    let (begin, end) = (name.label_offset(first), name.label_offset(last));
    shorten(if begin == end { ROOT_HASH } else { name.fold(begin, end, ROOT_HASH, mix) })
}

/// The part of a hash that a slot keeps.
fn shorten(hash: u64) -> u32 {
    // Each half depends on every octet.
    #[allow(clippy::cast_possible_truncation, reason = "a shift by 32 leaves 32 bits")]
    let high = (hash >> 32) as u32;
    high
}

/// A kept hash as the table wants it: it takes the place from the lowest bits and a tag from the
/// highest.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

/// Folds eight octets into a hash.
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
    use crate::wire::Name;

    fn qname(text: &str) -> QName {
        QName::from(&text.parse::<Name>().expect("a valid name"))
    }

    fn map(names: &[&str]) -> NameMap<String> {
        let mut map = NameMap::default();
        for name in names {
            map.insert(&qname(name), (*name).to_owned());
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
        let name = qname("example");
        assert_eq!(map.insert(&name, "new".to_owned()).as_deref(), Some("example"));
        assert_eq!(map.get(&name).map(String::as_str), Some("new"));
        assert_eq!(map.len(), 1);
    }

    #[test]
    fn the_first_labels_of_a_name_are_a_name_too() {
        let map = map(&["api", "data.west", "west"]);
        let found = |text, labels| map.relative(&qname(text), labels).map(String::as_str);
        assert_eq!(found("api.example", 1), Some("api"));
        assert_eq!(found("data.west.example", 2), Some("data.west"));
        assert_eq!(found("data.west.example", 1), None);
        assert_eq!(found("west.data.example", 2), None);
        assert_eq!(found("west.example", 1), Some("west"));
        assert_eq!(found("api.example", 2), None);
    }

    #[test]
    fn many_names_are_all_found_and_no_others() {
        let name = |number: u32| qname(&format!("n{number}.x{}.example", number % 7));
        let mut map = NameMap::with_capacity(10);
        for number in 0..10_000 {
            assert_eq!(*map.or_insert(&name(number), number), number);
        }
        assert_eq!(*map.or_insert(&name(9), 0), 9);
        assert_eq!(map.len(), 10_000);
        for number in 0..10_000 {
            assert_eq!(map.get(&name(number)), Some(&number));
            assert_eq!(map.get(&name(number + 10_000)), None);
        }
    }
}
