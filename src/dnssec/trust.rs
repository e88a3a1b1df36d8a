//! Where a part's validation begins: at the trust anchor above its name, or further down at the
//! zones whose keys were proven before.

use std::sync::Arc;
use std::time::Instant;

use hickory_proto::dnssec::TrustAnchors;
use hickory_proto::rr::{LowerName, RecordType};
use hickory_resolver::net::dnssec::DnssecDnsHandle;

use super::Source;
use super::anchors::{Anchor, Anchors};
use super::clerk::{Clerk, Desk};
use super::known::{Clocks, Known, Proven};
use super::parts::{Part, from_hickory, to_hickory};
use super::reason::{bogus, lacking};
use super::wildcard::NSEC3_INSECURE_ITERATIONS;
use crate::forward::Failure;
use crate::wire::{Ede, Name, QName};

/// With more iterations an NSEC3 is bogus, so that no zone makes us hash that often.
const NSEC3_BOGUS_ITERATIONS: u16 = 150;
/// Verdicts kept within one question, so that the keys of a zone are looked at once. More than all
/// RRsets that the messages of one question may hold.
const VERDICTS: usize = 512;

/// Proven zones that one validator of hickory's trusts. Each of a zone's keys is compared with all
/// that are trusted. No real name lies below more signed zones.
pub(super) const MAX_TRUSTED: usize = 16;

/// A proven zone, and when it was proven.
type Mark = (Name, Instant);

/// hickory's validators of one round, by the zones that each trusts.
pub(super) struct Trust<'a> {
    anchors: &'a Anchors,
    handles: Vec<(Vec<Mark>, DnssecDnsHandle<Desk>)>,
}

/// Where validation of a name begins.
pub(super) enum Start {
    /// No trust anchor is above it, or its zone is known to be unsigned.
    Nowhere,
    /// At zones that are trusted, none of them above `top`, which is the anchor's.
    At { handle: DnssecDnsHandle<Desk>, top: Name },
}

impl<'a> Trust<'a> {
    pub(super) fn new(anchors: &'a Anchors) -> Self {
        Self { anchors, handles: Vec::new() }
    }

    /// Finds where validation of `part` begins, and gives the proven keys on the way to `clerk`.
    pub(super) async fn above<S: Source>(
        &mut self,
        part: &Part,
        clerk: &mut Clerk<'_, S>,
    ) -> Result<Start, Failure> {
        let Some(name) = from_hickory(&part.name) else { return Ok(Start::Nowhere) };
        let anchor = match self.anchors {
            Anchors::BuiltIn(_) => None,
            Anchors::File { .. } => match self.anchors.above(&QName::from(&name)) {
                None => return Ok(Start::Nowhere),
                anchor => anchor,
            },
        };
        let top = anchor.map_or_else(Name::root, |anchor| anchor.zone.clone());
        let from = if is_from_above(part) { name.parent() } else { Some(name) };
        let mut path = find(from.as_ref(), &top, clerk);
        let base = match (self.anchors, anchor) {
            (Anchors::BuiltIn(root), _) => Arc::clone(root),
            (_, Some(anchor)) if path.first().is_none_or(|known| known.zone != top) => {
                let base = begin_at(anchor, clerk).await?;
                path = find(from.as_ref(), &top, clerk);
                base
            }
            _ => Arc::new(TrustAnchors::empty()),
        };
        if path.last().is_some_and(|known| matches!(known.proven, Proven::Unsigned)) {
            return Ok(Start::Nowhere);
        }
        let path = nearest(path);
        clerk.take_keys(&path);
        let marks: Vec<_> = path.iter().map(|known| (known.zone.clone(), known.learned)).collect();
        let mut trusted = base;
        if let Some((_, handle)) = self.handles.iter().find(|(of, _)| *of == marks) {
            return Ok(Start::At { handle: handle.clone(), top });
        }
        for known in &path {
            let Proven::Keys(keys) = &known.proven else { continue };
            let Some(zone) = to_hickory(&known.zone) else { continue };
            let zone = LowerName::from(&zone);
            for key in keys.keys() {
                Arc::make_mut(&mut trusted).insert_with_name(key.public_key(), zone.clone());
            }
        }
        let handle = DnssecDnsHandle::with_trust_anchor(clerk.desk(), trusted)
            .nsec3_iteration_limits(Some(NSEC3_INSECURE_ITERATIONS), Some(NSEC3_BOGUS_ITERATIONS))
            .validation_cache_size(VERDICTS);
        self.handles.push((marks, handle.clone()));
        Ok(Start::At { handle, top })
    }
}

/// Returns the highest zone of `path`, which is the anchor's if that is proven, and the deepest ones,
/// [`MAX_TRUSTED`] in all. The keys of those between are asked for if a signature needs them.
pub(super) fn nearest(mut path: Vec<Known>) -> Vec<Known> {
    if let Some(excess) = path.len().checked_sub(MAX_TRUSTED) {
        path.drain(1..=excess);
    }
    path
}

/// Returns whether the zone above signs a part, if a zone begins at its name. A zone's own keys
/// prove neither themselves nor its parent's records about it.
fn is_from_above(part: &Part) -> bool {
    match part.asked {
        RecordType::DNSKEY | RecordType::DS => true,
        RecordType::NSEC => {
            let mut signers =
                part.signatures(part.asked).map(|s| &s.input().signer_name).peekable();
            signers.peek().is_some() && signers.all(|signer| *signer != part.name)
        }
        _ => false,
    }
}

fn find<S: Source>(from: Option<&Name>, top: &Name, clerk: &mut Clerk<'_, S>) -> Vec<Known> {
    from.map_or_else(Vec::new, |name| clerk.session().path(name, top))
}

/// Fetches the keys of the anchor's zone, and keeps them if the anchor vouches for them.
async fn begin_at<S: Source>(
    anchor: &Anchor,
    clerk: &mut Clerk<'_, S>,
) -> Result<Arc<TrustAnchors>, Failure> {
    let zone = &anchor.zone;
    let Some(keys) = clerk.bring(zone.clone(), RecordType::DNSKEY).await else {
        let unasked = || {
            let text = format!("the keys of trust anchor zone {zone} cannot be asked for");
            bogus(Ede::DnssecIndeterminate, text)
        };
        return Err(clerk.missing().map_or_else(unasked, lacking));
    };
    let (trusted, ttl_seconds) = anchor.trusted(&keys).ok_or_else(|| {
        let ede = if keys.is_positive() { Ede::DnssecBogus } else { Ede::DnskeyMissing };
        bogus(ede, format!("no key of zone {zone} is one of its trust anchors"))
    })?;
    if let Some(keys) = keys.bare_keys() {
        let age_seconds = clerk.age_seconds(zone, RecordType::DNSKEY);
        let ttl_seconds = ttl_seconds.saturating_sub(age_seconds);
        let proven = Proven::Keys(Arc::new(keys));
        clerk.session().known().learn(zone.clone(), proven, ttl_seconds, Clocks::read());
    }
    Ok(Arc::new(trusted))
}
