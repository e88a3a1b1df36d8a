//! The addresses of all names of a zone in one piece of memory: for each name one set of addresses
//! from each endpoint that has it.

use std::net::IpAddr;

/// What everything is counted in: an IPv4 address; an IPv6 one is four.
type Unit = [u8; 4];

/// The addresses that one endpoint gives to one name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Addresses<'a> {
    /// Index of the endpoint.
    pub(super) endpoint: usize,
    /// IPv4, in the file's order.
    pub v4: &'a [[u8; 4]],
    /// IPv6, in the file's order.
    pub v6: &'a [[u8; 16]],
    /// Whether they are the wildcard's.
    pub is_wildcard: bool,
}

impl Addresses<'_> {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> {
        let v4 = self.v4.iter().copied().map(IpAddr::from);
        v4.chain(self.v6.iter().copied().map(IpAddr::from))
    }
}

/// The sets of one name, in the file's order of endpoints.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidates<'a> {
    /// How many sets `units` begins with.
    left: u32,
    units: &'a [Unit],
    pub(super) is_wildcard: bool,
}

impl<'a> Candidates<'a> {
    /// Those that begin at `at`.
    pub(super) fn at(units: &'a [Unit], at: u32, is_wildcard: bool) -> Self {
        let rest = units.get(at as usize..).and_then(<[Unit]>::split_first);
        let (left, units) =
            rest.map_or((0, &[][..]), |(left, units)| (u32::from_ne_bytes(*left), units));
        Self { left, units, is_wildcard }
    }
}

impl<'a> Iterator for Candidates<'a> {
    type Item = Addresses<'a>;

    fn next(&mut self) -> Option<Addresses<'a>> {
        self.left = self.left.checked_sub(1)?;
        let ([endpoint, [v4_low, v4_high, v6_low, v6_high]], rest) =
            self.units.split_first_chunk()?;
        let v4 = usize::from(u16::from_ne_bytes([*v4_low, *v4_high]));
        let v6 = usize::from(u16::from_ne_bytes([*v6_low, *v6_high]));
        let (v4, rest) = rest.split_at_checked(v4)?;
        let (v6, rest) = rest.split_at_checked(4 * v6)?;
        self.units = rest;
        Some(Addresses {
            endpoint: u32::from_ne_bytes(*endpoint) as usize,
            v4,
            v6: v6.as_flattened().as_chunks().0,
            is_wildcard: self.is_wildcard,
        })
    }
}

/// Writes what [`Candidates`] reads.
pub(super) struct Sets(Vec<Unit>);

impl Sets {
    /// With room for so many names of one IPv4 address.
    pub(super) fn with_capacity(names: usize) -> Self {
        Self(Vec::with_capacity(4 * names + 1))
    }

    /// Appends one name's sets, each the endpoint's index and its addresses. Gives where they
    /// begin.
    pub(super) fn push<'a>(&mut self, sets: impl Iterator<Item = (usize, &'a [IpAddr])>) -> u32 {
        let units = &mut self.0;
        let begin = units.len();
        units.push([0; 4]);
        let mut count = 0_u32;
        for (endpoint, ips) in sets {
            count += 1;
            let v4 = ips.iter().filter(|ip| ip.is_ipv4()).count();
            let counts = [v4, ips.len() - v4];
            // A list has far fewer entries than 16 bits count, and a file fewer endpoints than 32.
            let [[a, b], [c, d]] =
                counts.map(|count| u16::try_from(count).unwrap_or(u16::MAX).to_ne_bytes());
            units.push(u32::try_from(endpoint).unwrap_or(u32::MAX).to_ne_bytes());
            units.push([a, b, c, d]);
            for ip in ips {
                if let IpAddr::V4(ip) = ip {
                    units.push(ip.octets());
                }
            }
            for ip in ips {
                if let IpAddr::V6(ip) = ip {
                    units.extend_from_slice(ip.octets().as_chunks().0);
                }
            }
        }
        if let Some(unit) = units.get_mut(begin) {
            *unit = count.to_ne_bytes();
        }
        u32::try_from(begin).unwrap_or(u32::MAX)
    }

    /// All of them.
    pub(super) fn finish(self) -> Box<[Unit]> {
        self.0.into_boxed_slice()
    }
}
