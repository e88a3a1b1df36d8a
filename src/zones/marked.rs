//! Addresses of which some are down.

use std::net::IpAddr;

use super::Addresses;
use crate::config::limits::MAX_ADDRESSES;

/// Which of a set's addresses a question is about.
#[derive(Clone, Copy)]
pub(super) enum Family {
    V4,
    V6,
    /// ANY, and the types that have no addresses.
    Either,
}

/// A set of which some are down. Apart from [`Addresses`], which every answer moves about.
#[derive(Clone, Copy, Debug)]
pub struct Marked<'a> {
    pub(super) addresses: Addresses<'a>,
    /// A bit for each IPv4 address that is down, from the lowest.
    down_v4: u64,
    /// For each IPv6 address.
    down_v6: u64,
}

impl<'a> Marked<'a> {
    /// None of them is down.
    pub(super) fn unmarked(addresses: Addresses<'a>) -> Self {
        Self { addresses, down_v4: 0, down_v6: 0 }
    }

    /// Those are down of which `is_down` says so.
    pub(super) fn by(addresses: Addresses<'a>, is_down: impl Fn(IpAddr) -> bool) -> Self {
        let down_v4 = marks(addresses.v4.iter().map(|ip| is_down(IpAddr::from(*ip))));
        let down_v6 = marks(addresses.v6.iter().map(|ip| is_down(IpAddr::from(*ip))));
        Self { addresses, down_v4, down_v6 }
    }

    pub(super) fn has(&self, family: Family) -> bool {
        let Addresses { v4, v6, .. } = self.addresses;
        match family {
            Family::V4 => !v4.is_empty(),
            Family::V6 => !v6.is_empty(),
            Family::Either => !v4.is_empty() || !v6.is_empty(),
        }
    }

    pub(super) fn any_up(&self, family: Family) -> bool {
        let v4 = (self.down_v4.count_ones() as usize) < self.addresses.v4.len();
        let v6 = (self.down_v6.count_ones() as usize) < self.addresses.v6.len();
        match family {
            Family::V4 => v4,
            Family::V6 => v6,
            Family::Either => v4 || v6,
        }
    }

    /// Calls `with` with those that are not down.
    pub fn with_rest<T>(&self, with: impl FnOnce(Addresses<'_>) -> T) -> T {
        let (mut v4, mut v6) = ([[0; 4]; MAX_ADDRESSES], [[0; 16]; MAX_ADDRESSES]);
        let v4 = rest(&mut v4, self.addresses.v4, self.down_v4);
        let v6 = rest(&mut v6, self.addresses.v6, self.down_v6);
        with(Addresses { v4, v6, ..self.addresses })
    }
}

/// A bit for each that is true; a list has no more entries than there are bits.
fn marks(all: impl Iterator<Item = bool>) -> u64 {
    const { assert!(MAX_ADDRESSES <= 64) };
    let bits = (0_u32..).zip(all).filter(|(_, marked)| *marked);
    bits.fold(0, |marks, (bit, _)| marks | 1_u64.checked_shl(bit).unwrap_or(0))
}

/// Those of `all` without a mark, copied to `places`.
fn rest<'a, T: Copy>(places: &'a mut [T], all: &[T], marks: u64) -> &'a [T] {
    let is_up = |bit: u32| marks.checked_shr(bit).unwrap_or(0) & 1 == 0;
    let up = (0_u32..).zip(all).filter(|(bit, _)| is_up(*bit)).map(|(_, one)| *one);
    let mut count = 0;
    for (place, one) in places.iter_mut().zip(up) {
        *place = one;
        count += 1;
    }
    places.get(..count).unwrap_or(&[])
}
