//! Longest-prefix match over 128 bits: a trie of four bits a step, leaves pushed down, so that a
//! look-up is a few dependent loads whatever the number of prefixes.

/// Bits that one step takes. Four keeps a node at 64 octets (a cache line); eight would be faster
/// by a load or two but cost a kibibyte a node, tens of mebibytes for 10,000 IPv6 prefixes.
const STRIDE: u32 = 4;
const FANOUT: usize = 1 << STRIDE;
/// Set in a slot that names a node; clear in one that names a value.
const NODE: u32 = 1 << 31;

/// Values by prefix; addresses that no prefix covers have `V::default()`.
#[derive(Debug)]
pub(super) struct PrefixMap<V> {
    nodes: Vec<[u32; FANOUT]>,
    values: Vec<V>,
}

impl<V: Copy + Default> Default for PrefixMap<V> {
    fn default() -> Self {
        Self { nodes: vec![[0; FANOUT]], values: vec![V::default()] }
    }
}

impl<V: Copy + Default> PrefixMap<V> {
    /// Sets the value of all addresses in `bits`/`length`. Prefixes must come in order of their
    /// length: a shorter one would overwrite those inside it.
    pub(super) fn insert(&mut self, bits: u128, length: u8, value: V) {
        let slot = u32::try_from(self.values.len()).unwrap_or(0);
        self.values.push(value);
        let mut node = 0;
        let mut depth = 0;
        let mut left = u32::from(length);
        while left > STRIDE {
            node = self.descend(node, step(bits, depth));
            depth += STRIDE;
            left -= STRIDE;
        }
        // The last step may cover several slots.
        let span = 1_usize << (STRIDE - left);
        let first = step(bits, depth) & !(span - 1);
        if let Some(slots) = self.nodes.get_mut(node).and_then(|n| n.get_mut(first..first + span)) {
            slots.fill(slot);
        }
    }

    /// The node under `node`'s slot, made from the slot's value when it is not there yet.
    fn descend(&mut self, node: usize, index: usize) -> usize {
        let fresh = self.nodes.len();
        let Some(slot) = self.nodes.get_mut(node).and_then(|n| n.get_mut(index)) else { return 0 };
        if *slot & NODE != 0 {
            return (*slot & !NODE) as usize;
        }
        let inherited = std::mem::replace(slot, NODE | u32::try_from(fresh).unwrap_or(0));
        self.nodes.push([inherited; FANOUT]);
        fresh
    }

    /// The value of the longest prefix that covers `bits`.
    pub(super) fn find(&self, bits: u128) -> V {
        let mut slot = NODE;
        let mut depth = 0;
        while slot & NODE != 0 {
            let node = self.nodes.get((slot & !NODE) as usize);
            slot = node.and_then(|n| n.get(step(bits, depth))).copied().unwrap_or(0);
            depth += STRIDE;
        }
        self.values.get(slot as usize).copied().unwrap_or_default()
    }
}

/// The four bits behind the first `depth`.
fn step(bits: u128, depth: u32) -> usize {
    usize::try_from(bits.checked_shl(depth).unwrap_or(0) >> (128 - STRIDE)).unwrap_or(0)
}
