//! The records that make the first links of an answer's chain, and those that prove them: what goes
//! to a client with DO when the chain leads to one of our names.

use super::answer::{AnswerRef, Link};
use super::constants::{MAX_LINKS, Rtype};
use super::message::{Record, Section, read_name};
use super::name::QName;

/// Where the number of labels stands in the RDATA of a signature (RFC 4034 §3.1).
const LABELS_AT: usize = 3;
/// Where the signer's name stands in it.
const SIGNER_AT: usize = 18;

impl<'a> AnswerRef<'a> {
    /// Returns the first `links` CNAMEs of the chain with all their signatures, in order. In front of
    /// an unsigned CNAME stands the DNAME that made it, with its signatures (RFC 6672 §5.3.1).
    pub fn link_records(self, links: usize) -> impl Iterator<Item = Record<'a>> {
        let mut begin = self.question_end();
        self.links().take(links).flat_map(move |link| {
            let dnames = self.dnames_of(begin, &link);
            begin = link.cname.end();
            dnames.chain(std::iter::once(link.cname)).chain(self.signatures_of(&link))
        })
    }

    /// Returns the denials in the authority section, with their signatures, that belong to the first
    /// `links` CNAMEs. A CNAME made from a wildcard needs one (RFC 4035 §3.1.3.3, §5.3.4): it is
    /// signed with fewer labels than its owner has, and the same zone proves the denial.
    pub fn denials(self, links: usize) -> impl Iterator<Item = Record<'a>> {
        let mut zones = [None; MAX_LINKS];
        let found = self.links().take(links).filter_map(|link| self.zone_of_wildcard(&link));
        zones.iter_mut().zip(found).for_each(|(zone, signer_at)| *zone = Some(signer_at));
        let is_proof = move |record: &Record<'_>| {
            let is_denial = matches!(record.rtype, Rtype::NSEC | Rtype::NSEC3)
                || record.covers(Rtype::NSEC)
                || record.covers(Rtype::NSEC3);
            let is_in = |zone: &usize| self.is_within(record.owner_at, *zone);
            is_denial && zones.iter().flatten().any(is_in)
        };
        let authorities = self.records().skip_while(|record| record.section == Section::Answer);
        authorities.filter(is_proof)
    }

    /// The DNAMEs with their signatures between `begin` and `link`, if the link's CNAME is unsigned.
    fn dnames_of(
        self,
        begin: usize,
        link: &Link<'a>,
    ) -> impl Iterator<Item = Record<'a>> + use<'a> {
        let (is_made, end) = (link.signature.is_none(), link.cname.owner_at);
        let between = self.answers_from(begin).take_while(move |record| record.owner_at < end);
        between.filter(move |record| {
            is_made && (record.rtype == Rtype::DNAME || record.covers(Rtype::DNAME))
        })
    }

    /// The signatures of the link's CNAME. They stand directly behind it (`wire::order`).
    fn signatures_of(self, link: &Link<'a>) -> impl Iterator<Item = Record<'a>> + use<'a> {
        let owner_at = link.cname.owner_at;
        self.answers_from(link.cname.end()).take_while(move |record| {
            record.covers(Rtype::CNAME) && self.is_same_name(record.owner_at, owner_at)
        })
    }

    /// The records of the answer section from `at` on, where one begins.
    fn answers_from(self, at: usize) -> impl Iterator<Item = Record<'a>> {
        std::iter::successors(self.record_at(at), move |record| self.record_at(record.end()))
    }

    /// Where the signer's name stands, if a wildcard made the link's CNAME.
    fn zone_of_wildcard(self, link: &Link<'a>) -> Option<usize> {
        let signature = link.signature?;
        let labels = usize::from(*signature.rdata.get(LABELS_AT)?);
        let owner = self.name_at(link.cname.owner_at)?;
        // The number does not count the asterisk of the wildcard itself.
        let own = owner.label_count() - usize::from(owner.as_wire().starts_with(b"\x01*"));
        (labels < own).then_some(signature.rdata_at + SIGNER_AT)
    }

    /// Whether the name at `at` stands at or below the one at `zone_at`.
    fn is_within(self, at: usize, zone_at: usize) -> bool {
        let (Some(name), Some(zone)) = (self.name_at(at), self.name_at(zone_at)) else {
            return false;
        };
        let above = name.label_count().checked_sub(zone.label_count());
        above.is_some_and(|above| name.suffix(above) == zone.as_wire())
    }

    fn is_same_name(self, one_at: usize, other_at: usize) -> bool {
        let (one, other) = (self.name_at(one_at), self.name_at(other_at));
        one.zip(other).is_some_and(|(one, other)| one.as_wire() == other.as_wire())
    }

    fn name_at(self, at: usize) -> Option<QName> {
        read_name(self.message(), at).ok().map(|(name, _)| name)
    }
}
