//! A server in its part in one rule, and for which zones it sends our queries back.
//!
//! A server that has a conditional forwarder to us loops for that zone and answers all the rest. So
//! marks are kept for each pair of a probed zone and a server, as bits of one word for each server.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::warn;

use crate::upstream::Upstream;
use crate::wire::{Name, NameMap, QName};

/// Zones of one rule that are probed: a bit each in one atomic word. If a rule has more zones,
/// the others are served but not searched for loops.
pub(super) const PROBED_ZONES: usize = u64::BITS as usize;

/// Zones whose loops are looked for at a rule's servers: the rule's own, and those of ours that it
/// covers. At most [`PROBED_ZONES`], the rule's own first.
pub(super) struct ProbeZones {
    zones: Vec<Name>,
    marks: NameMap<Mark>,
    /// Those where loops are likely, by [`Mark`].
    likely: u64,
}

/// One probed zone of a rule: a bit, or none for a name that no probed zone covers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mark(u64);

impl Mark {
    /// Of a name below no probed zone: never set.
    pub(super) const NONE: Self = Self(0);

    /// The bit at `place`; [`Self::NONE`] where there is no such bit.
    pub(super) fn at(place: usize) -> Self {
        let bit = u32::try_from(place).ok().and_then(|place| 1_u64.checked_shl(place));
        bit.map_or(Self::NONE, Self)
    }

    fn place(self) -> usize {
        self.0.trailing_zeros() as usize
    }
}

impl ProbeZones {
    pub(super) fn new<'a>(own: &'a [Name], covered: impl Iterator<Item = &'a Name>) -> Self {
        let (mut zones, mut marks, mut left_out) = (Vec::new(), NameMap::default(), 0);
        let mut likely = 0;
        let own = own.iter().map(|zone| (zone, zone.is_root()));
        for (zone, is_likely) in own.chain(covered.map(|zone| (zone, true))) {
            if let Some(Mark(mark)) = marks.get(&QName::from(zone)) {
                likely |= if is_likely { *mark } else { 0 };
                continue;
            }
            if zones.len() == PROBED_ZONES {
                left_out += 1;
                continue;
            }
            let mark = Mark::at(zones.len());
            marks.insert(&QName::from(zone), mark);
            likely |= if is_likely { mark.0 } else { 0 };
            zones.push(zone.clone());
        }
        if let (Some(first), 1..) = (zones.first(), left_out) {
            warn!(
                "forward rule of zone {first}: forwarding loops are looked for in {PROBED_ZONES} \
                 zones, not in the {left_out} others"
            );
        }
        Self { zones, marks, likely }
    }

    /// Whether others mostly forward this zone to us, if they forward anything: the root, and
    /// private-link zones.
    pub(super) fn is_likely(&self, mark: Mark) -> bool {
        self.likely & mark.0 != 0
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Mark, &Name)> {
        self.zones.iter().enumerate().map(|(place, zone)| (Mark::at(place), zone))
    }

    /// The mark of the deepest probed zone at or above `qname`.
    pub(super) fn covering(&self, qname: &QName) -> Mark {
        self.marks.deepest(qname).map_or(Mark::NONE, |(_, mark)| *mark)
    }

    /// The mark of exactly `zone`.
    fn of(&self, zone: &Name) -> Mark {
        self.marks.get(&QName::from(zone)).copied().unwrap_or(Mark::NONE)
    }
}

impl fmt::Debug for ProbeZones {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.zones).finish()
    }
}

/// What says that a server sends our queries back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Evidence {
    /// Two probes came back to us. Any host that saw them could have sent them.
    Returned,
    /// The server's own connection brought the answer that we gave to the probe.
    Proven,
}

/// What is known of one zone at one server.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Known {
    /// What says that it loops; `None`: it does not, as far as we know.
    loops: Option<Evidence>,
    /// When the last probe that has ended began.
    probed_ms: Option<u64>,
    is_suspect: bool,
}

/// Returns which of a rule's servers may be asked for names of `mark`: those that do not loop. If
/// all loop, returns those whose loops are not proven, so that a zone never loses its last server
/// without proof.
pub(super) fn may_be_asked(
    targets: &[Arc<Target>],
    mark: Mark,
) -> impl Fn(&Target) -> bool + Copy + use<> {
    let is_any_well = targets.iter().any(|target| !target.loops_for(mark));
    move |target| {
        if is_any_well { !target.loops_for(mark) } else { !target.loops_for_certain(mark) }
    }
}

/// A server in its part in one rule.
#[derive(Debug)]
pub struct Target {
    upstream: Arc<Upstream>,
    /// The zones whose probes it sends back, by [`Mark`].
    looping: AtomicU64,
    /// Those of them for which that is proven.
    proven: AtomicU64,
    /// The zones for which a query's whole budget went by without a word: maybe a loop.
    suspect: AtomicU64,
    /// The zones with a probe under way.
    probing: AtomicU64,
    /// When each zone's last probe began, milliseconds on the guard's clock; 0: never.
    probed_ms: Box<[AtomicU64]>,
}

impl Target {
    /// Of a rule with these probed zones; nothing is known of it yet.
    pub(super) fn new(upstream: Arc<Upstream>, zones: &ProbeZones) -> Self {
        Self {
            upstream,
            looping: AtomicU64::new(0),
            proven: AtomicU64::new(0),
            suspect: AtomicU64::new(0),
            probing: AtomicU64::new(0),
            probed_ms: zones.zones.iter().map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// The server.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// Whether it was seen to send queries of this rule back to us, for any zone. See
    /// [`may_be_asked`] for what that means.
    pub fn is_looping(&self) -> bool {
        self.looping.load(Ordering::Relaxed) != 0
    }

    pub(super) fn loops_for(&self, mark: Mark) -> bool {
        self.looping.load(Ordering::Relaxed) & mark.0 != 0
    }

    fn loops_for_certain(&self, mark: Mark) -> bool {
        self.proven.load(Ordering::Relaxed) & mark.0 != 0
    }

    /// What is known of `zone`, one of `zones`, here.
    pub(super) fn known_of(&self, zones: &ProbeZones, zone: &Name) -> Known {
        let mark = zones.of(zone);
        let evidence =
            if self.loops_for_certain(mark) { Evidence::Proven } else { Evidence::Returned };
        // What a probe that is under way brings is noted here alone, so it has to be sent again.
        let is_probing = self.probing.load(Ordering::Relaxed) & mark.0 != 0;
        Known {
            loops: self.loops_for(mark).then_some(evidence),
            probed_ms: self.probed_ms(mark).filter(|_| !is_probing),
            is_suspect: self.is_suspect(mark),
        }
    }

    /// Goes on with what a target of the same server knew of the zone. `is_same` says that probes
    /// would go to the same address: else they are sent again.
    pub(super) fn adopt(&self, mark: Mark, known: Known, is_same: bool) {
        if let Some(evidence) = known.loops {
            self.set_looping(mark, evidence);
        }
        if known.is_suspect {
            self.suspect(mark);
        }
        if let (true, Some(ms), Some(place)) =
            (is_same, known.probed_ms, self.probed_ms.get(mark.place()))
        {
            place.store(ms, Ordering::Relaxed);
        }
    }

    /// Marks the zone; proof is kept while the zone is marked. Returns whether that is news.
    pub(super) fn set_looping(&self, mark: Mark, evidence: Evidence) -> bool {
        let proven = if evidence == Evidence::Proven { mark.0 } else { 0 };
        let was_proven = self.proven.fetch_or(proven, Ordering::Relaxed);
        let was_looping = self.looping.fetch_or(mark.0, Ordering::Relaxed);
        was_looping & mark.0 == 0 || proven & !was_proven != 0
    }

    /// Returns whether that is news.
    pub(super) fn clear_looping(&self, mark: Mark) -> bool {
        self.proven.fetch_and(!mark.0, Ordering::Relaxed);
        self.looping.fetch_and(!mark.0, Ordering::Relaxed) & mark.0 != 0
    }

    pub(super) fn suspect(&self, mark: Mark) {
        self.suspect.fetch_or(mark.0, Ordering::Relaxed);
    }

    pub(super) fn is_suspect(&self, mark: Mark) -> bool {
        self.suspect.load(Ordering::Relaxed) & mark.0 != 0
    }

    /// When the zone's last probe began; `None`: it was never probed.
    pub(super) fn probed_ms(&self, mark: Mark) -> Option<u64> {
        let probed_ms = self.probed_ms.get(mark.place())?.load(Ordering::Relaxed);
        (probed_ms != 0).then_some(probed_ms)
    }

    /// Begins a probe of the zone at `now_ms`, unless one is under way: until the claim is dropped
    /// there is no other.
    pub(super) fn claim(self: &Arc<Self>, mark: Mark, now_ms: u64) -> Option<Claim> {
        let probed_ms = self.probed_ms.get(mark.place())?;
        if self.probing.fetch_or(mark.0, Ordering::Relaxed) & mark.0 != 0 {
            return None;
        }
        probed_ms.store(now_ms.max(1), Ordering::Relaxed);
        self.suspect.fetch_and(!mark.0, Ordering::Relaxed);
        Some(Claim { target: Arc::clone(self), mark })
    }
}

/// The right to probe one zone at one server.
pub(super) struct Claim {
    pub(super) target: Arc<Target>,
    pub(super) mark: Mark,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.target.probing.fetch_and(!self.mark.0, Ordering::Relaxed);
    }
}
