//! The names that a question leads to in a reply, by CNAMEs and by DNAMEs.

use std::collections::HashSet;

use super::constants::{MAX_LINKS, Rtype};
use super::message::{Malformed, Record, Section, read_name};
use super::name::{MAX_NAME_OCTETS, Name, QName};
use super::question::Question;

/// The names that the question leads to, and the links between them.
pub(super) struct Chain {
    /// The question's name first.
    pub(super) names: Vec<QName>,
    /// What leads from each name to the next one: a name has one CNAME (RFC 2181 §10.1).
    pub(super) links: Vec<Lead>,
    /// A DNAME makes the last name longer than a name can be (RFC 6672 §2.2).
    pub(super) overflows: bool,
    /// The last name leads back to one before it, or to more links than we follow.
    pub(super) is_endless: bool,
}

/// What leads from one name to the next.
pub(super) enum Lead {
    /// The CNAME whose owner begins there.
    Cname { owner_at: usize },
    /// A DNAME without its CNAME, which has to be made (RFC 6672 §3.1).
    Dname {
        ttl: u32,
        /// Where the CNAME would lead.
        target: Box<QName>,
    },
}

impl Lead {
    /// Whether the CNAME has to be made.
    pub(super) fn is_made(&self) -> bool {
        matches!(self, Self::Dname { .. })
    }
}

/// What the owner of a record is to a chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Owner {
    /// The name of that number on the chain.
    On(usize),
    /// A name of so many labels above the name of that number, and above none before it.
    Above(usize, usize),
    Stranger,
}

impl Chain {
    /// The question's name alone.
    pub(super) fn of(question: &Question) -> Self {
        let names = vec![QName::from(&question.qname)];
        Self { names, links: Vec::new(), overflows: false, is_endless: false }
    }

    /// Follows the question through `records`, which are valid, up to a circle or [`MAX_LINKS`].
    /// Looks only at the first 17 CNAMEs and DNAMEs, so that a reply full of them does not cost one
    /// walk for each link.
    pub(super) fn follow<'r, 'm: 'r>(
        message: &[u8],
        question: &Question,
        records: impl Iterator<Item = &'r Record<'m>> + Clone,
    ) -> Result<Self, Malformed> {
        let of_type = |rtype: Rtype| {
            let in_answer = records.clone().filter(|record| record.section == Section::Answer);
            let first = in_answer.filter(move |record| record.rtype == rtype).take(MAX_LINKS + 1);
            let named = first.map(|record| Ok((read_name(message, record.owner_at)?.0, record)));
            named.collect::<Result<Vec<_>, Malformed>>()
        };
        let (cnames, dnames) = (of_type(Rtype::CNAME)?, of_type(Rtype::DNAME)?);
        let has_data = if dnames.is_empty() {
            HashSet::new()
        } else {
            owners_of_data(message, question, records.clone())?
        };
        let mut name = QName::from(&question.qname);
        let mut chain = Self::of(question);
        loop {
            let cname = cnames.iter().find(|(owner, _)| owner.as_wire() == name.as_wire());
            let (target, lead) = if let Some((_, cname)) = cname {
                let (target, _) = read_name(message, cname.rdata_at)?;
                (target, Lead::Cname { owner_at: cname.owner_at })
            } else {
                // A server that shows what was asked for has followed the chain so far itself.
                if has_data.contains(name.as_wire()) {
                    break;
                }
                let above = dnames.iter().filter(|(owner, _)| is_above(owner, &name));
                let Some((owner, dname)) = above.max_by_key(|(owner, _)| owner.label_count())
                else {
                    break;
                };
                let (to, _) = read_name(message, dname.rdata_at)?;
                let Some(target) = substitute(&name, owner, &to) else {
                    chain.overflows = true;
                    break;
                };
                (target.clone(), Lead::Dname { ttl: dname.ttl, target: Box::new(target) })
            };
            // CNAME asks for the link itself, not for where it leads.
            if question.qtype == Rtype::CNAME {
                chain.links.push(lead);
                break;
            }
            if chain.place(&target).is_some() || chain.links.len() == MAX_LINKS {
                chain.is_endless = true;
                break;
            }
            chain.links.push(lead);
            chain.names.push(target.clone());
            name = target;
        }
        // It may go on by a CNAME that was not looked at.
        if cnames.len() > MAX_LINKS && question.qtype != Rtype::CNAME && !chain.is_endless {
            let has_data = owners_of_data(message, question, records)?;
            chain.is_endless = !has_data.contains(name.as_wire());
        }
        Ok(chain)
    }

    fn place(&self, name: &QName) -> Option<usize> {
        self.names.iter().position(|known| known.as_wire() == name.as_wire())
    }

    pub(super) fn owner(&self, owner: &QName) -> Owner {
        if let Some(place) = self.place(owner) {
            return Owner::On(place);
        }
        let below = self.names.iter().position(|name| is_above(owner, name));
        below.map_or(Owner::Stranger, |place| Owner::Above(place, owner.label_count()))
    }
}

/// The names that have in the answer section what was asked for.
fn owners_of_data<'r, 'm: 'r>(
    message: &[u8],
    question: &Question,
    records: impl Iterator<Item = &'r Record<'m>>,
) -> Result<HashSet<Vec<u8>>, Malformed> {
    let mut owners = HashSet::new();
    let mut spelt: &[u8] = &[];
    for record in records.filter(|record| record.section == Section::Answer) {
        let is_asked = record.rtype == question.qtype || question.qtype == Rtype::ANY;
        if is_asked && record.owner_octets(message) != spelt {
            spelt = record.owner_octets(message);
            owners.insert(read_name(message, record.owner_at)?.0.as_wire().to_vec());
        }
    }
    Ok(owners)
}

/// Whether `owner` is a name above `name`, and not that name.
fn is_above(owner: &QName, name: &QName) -> bool {
    let deeper = name.label_count().checked_sub(owner.label_count());
    deeper.is_some_and(|index| index > 0 && name.suffix(index) == owner.as_wire())
}

/// `name` with its ancestor `owner` replaced by `target`; `None` where that is too long.
fn substitute(name: &QName, owner: &QName, target: &QName) -> Option<QName> {
    let front = name.as_wire().get(..name.as_wire().len() - owner.as_wire().len())?;
    let wire = [front, target.as_wire()].concat();
    if wire.len() > MAX_NAME_OCTETS {
        return None;
    }
    Name::from_wire(&wire).ok().map(|name| QName::from(&name))
}
