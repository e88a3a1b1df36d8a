//! Which records of a reply answer its question. The others are dropped, because they could carry a
//! public address of a protected name past us (RFC 2181 §5.4.1; RFC 5452 §6).

use super::chain::{Chain, Lead, Owner};
use super::constants::{MAX_MESSAGE_OCTETS, POINTER_TO_QUESTION, Rcode, Rtype, flags};
use super::duplicates::Duplicates;
use super::effort::Meter;
use super::form::is_sound;
use super::message::{Header, Malformed, Record, Records, Section, read_name};
use super::order::{Key, Watch};
use super::pointers::Fields;
use super::question::{AnswerError, Question};
use super::rewrite::RecordCopier;
use super::u16_at;
use super::writer::{Full, MessageWriter};

/// What of a reply answers its question, and what was found on the way.
pub(super) struct Sifted {
    pub(super) relevant: Relevant,
    /// The chain has no end: see [`Chain::is_endless`].
    pub(super) is_endless: bool,
}

/// What of a reply answers its question.
pub(super) enum Relevant {
    /// All of it, as nearly always; the CNAMEs from the question on, in chain order.
    Whole(Vec<LinkPlace>),
    /// Some of it, or all in another order: the reply as we write it, without irrelevant, invalid
    /// and duplicate records, and without additional ones except OPT. Its only pointers are owners,
    /// and lead to the question's name or to an owner that is written out.
    Part(Vec<u8>),
}

/// Where a CNAME of the chain begins, and where the first signature of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LinkPlace {
    pub(super) cname: usize,
    pub(super) signature: Option<usize>,
}

/// Tells what of `message` answers `question`.
pub(super) fn relevant(
    message: &[u8],
    header: &Header,
    question: &Question,
    question_end: usize,
) -> Result<Sifted, AnswerError> {
    let ended = |relevant| Sifted { relevant, is_endless: false };
    let fields = Fields::new(message, header, question_end);
    let reply = Reply { message, header, question, question_end, fields };
    match reply.first_sight()? {
        FirstSight::Plain => return Ok(ended(Relevant::Whole(Vec::new()))),
        FirstSight::Doubled(doubled) => {
            return Ok(ended(Relevant::Part(reply.without(&doubled)?)));
        }
        FirstSight::Mixed => {}
    }
    let (records, sound) = reply.read()?;
    let marked = records.iter().zip(&sound);
    let in_sound = marked.filter(|(_, sound)| **sound).map(|(record, _)| record);
    let chain = Chain::follow(message, question, in_sound)?;
    let sorted = reply.sort(&chain, &records, &sound)?;
    let is_new_rcode = chain.overflows && header.flags & flags::RCODE != Rcode::YXDOMAIN.0;
    let relevant = match sorted.links {
        Some(links) if sorted.is_whole && !is_new_rcode => Relevant::Whole(links),
        _ => Relevant::Part(reply.write(&chain, &records, sorted.kept)?),
    };
    Ok(Sifted { relevant, is_endless: chain.is_endless })
}

/// What a reply looks like before its names are read.
enum FirstSight {
    /// All of it is relevant and in order, as mostly: answers of one type whose owners are pointers
    /// to the question, which is compared already, and signatures behind them.
    Plain,
    /// The same, but for these duplicates.
    Doubled(Vec<usize>),
    /// It must be sorted out.
    Mixed,
}

struct Reply<'a> {
    message: &'a [u8],
    header: &'a Header,
    question: &'a Question,
    question_end: usize,
    fields: Fields<'a>,
}

/// Records by what becomes of them.
struct Sorted {
    /// Those that answer the question, by number, with their place in the answer section.
    kept: Vec<(usize, Option<Key>)>,
    /// Every record is kept, and in order.
    is_whole: bool,
    /// Where the links stand; `None` where one has to be made.
    links: Option<Vec<LinkPlace>>,
}

impl<'a> Reply<'a> {
    fn records(&self) -> Records<'a> {
        Records::new(self.message, self.header, self.question_end)
    }

    fn is_sound(&self, record: &Record<'_>) -> bool {
        record.section == Section::Additional
            || is_sound(&self.fields, record, self.question.qclass)
    }

    /// Fails if the record's owner is broken. `spelt` is how the last owner that was checked is
    /// spelt: where the octets are the same, so is the name.
    fn check_owner(&self, spelt: &mut &'a [u8], record: &Record<'_>) -> Result<(), Malformed> {
        let owner = record.owner_octets(self.message);
        if owner != *spelt && owner != POINTER_TO_QUESTION {
            self.fields.name_end(record.owner_at)?;
        }
        *spelt = owner;
        Ok(())
    }

    fn first_sight(&self) -> Result<FirstSight, Malformed> {
        let mut meter = Meter::new(self.message);
        let mut duplicates = Duplicates::new(self.message);
        let may_have_duplicates = self.header.answers > 1 || self.header.authorities > 1;
        let question = u16::from_be_bytes(POINTER_TO_QUESTION);
        let mut last: Option<Rtype> = None;
        let mut spelt: &[u8] = &[];
        for (index, record) in self.records().enumerate() {
            let record = record?;
            meter.note(&record)?;
            let is_plain = match record.section {
                Section::Answer => {
                    let is_next = last
                        .replace(record.rtype)
                        .is_none_or(|last| record.rtype == last || record.rtype == Rtype::RRSIG);
                    is_next
                        && record.rtype != Rtype::CNAME
                        && u16_at(self.message, record.owner_at) == Some(question)
                }
                Section::Authority => {
                    self.check_owner(&mut spelt, &record)?;
                    tells_of_zones(record.rtype)
                }
                Section::Additional => break,
            };
            let is_kept = is_plain
                && self.is_sound(&record)
                && !self.question.leaves_out(record.rtype, record.section);
            if !is_kept {
                return Ok(FirstSight::Mixed);
            }
            if may_have_duplicates {
                duplicates.note(index, &record);
            }
        }
        let found = duplicates.find();
        Ok(if found.is_empty() { FirstSight::Plain } else { FirstSight::Doubled(found) })
    }

    /// The reply without its duplicates and additional records, where nothing else is wrong with it.
    fn without(&self, doubled: &[usize]) -> Result<Vec<u8>, AnswerError> {
        let records: Vec<_> = self.records().collect::<Result<_, _>>()?;
        let chain = Chain::of(self.question);
        let kept = records.iter().enumerate().map(|(index, record)| {
            let in_answer = record.section == Section::Answer;
            (index, in_answer.then(|| Key::of_made_cname(0)))
        });
        let kept = kept.filter(|(index, _)| doubled.binary_search(index).is_err()).collect();
        Ok(self.write(&chain, &records, kept)?)
    }

    /// All records, and which of them are sound. Fails if an owner is broken.
    fn read(&self) -> Result<(Vec<Record<'a>>, Vec<bool>), Malformed> {
        let mut meter = Meter::new(self.message);
        let (mut records, mut sound) = (Vec::with_capacity(16), Vec::with_capacity(16));
        let mut spelt: &[u8] = &[];
        for record in self.records() {
            let record = record?;
            meter.note(&record)?;
            if record.section != Section::Additional {
                self.check_owner(&mut spelt, &record)?;
            }
            sound.push(self.is_sound(&record));
            records.push(record);
        }
        Ok((records, sound))
    }

    /// Sorts out what answers the question.
    fn sort(
        &self,
        chain: &Chain,
        records: &[Record<'a>],
        sound: &[bool],
    ) -> Result<Sorted, AnswerError> {
        let mut kept = Vec::with_capacity(records.len());
        let mut duplicates = Duplicates::new(self.message);
        let mut watch = Watch::default();
        let mut links = link_places(chain);
        // Records of one owner stand together, and mostly spell it in the same octets.
        let (mut spelt, mut owner): (&[u8], _) = (&[], Owner::Stranger);
        for (index, (record, sound)) in records.iter().zip(sound).enumerate() {
            if record.section == Section::Answer && record.owner_octets(self.message) != spelt {
                spelt = record.owner_octets(self.message);
                let (name, _) =
                    read_name(self.message, record.owner_at).map_err(Malformed::from)?;
                owner = chain.owner(&name);
            }
            if !sound || !self.is_answer(chain, owner, record) {
                continue;
            }
            if record.section == Section::Additional {
                kept.push((index, None));
                continue;
            }
            duplicates.note(index, record);
            let in_answer = record.section == Section::Answer;
            let key = in_answer.then(|| Key::new(owner, record, self.question.qtype, chain));
            key.into_iter().for_each(|key| watch.note(key));
            kept.push((index, key));
            if let (Owner::On(place), true) = (owner, in_answer && record.covers(Rtype::CNAME))
                && let Some(link) = links.as_mut().and_then(|links| links.get_mut(place))
            {
                link.signature.get_or_insert(record.owner_at);
            }
        }
        let found = duplicates.find();
        kept.retain(|(index, _)| found.binary_search(index).is_err());
        let is_whole = kept.len() == records.len() && watch.is_in_order();
        self.is_some_answer(chain, records, sound, &kept)?;
        Ok(Sorted { kept, is_whole, links })
    }

    /// Fails if only invalid records made the reply an answer.
    fn is_some_answer(
        &self,
        chain: &Chain,
        records: &[Record<'a>],
        sound: &[bool],
        kept: &[(usize, Option<Key>)],
    ) -> Result<(), AnswerError> {
        let is_noerror = self.header.flags & flags::RCODE == Rcode::NOERROR.0;
        let mut unsound = records.iter().zip(sound).filter(|(_, sound)| !**sound);
        let lost = unsound.any(|(record, _)| record.section == Section::Answer);
        let has_answers = kept.iter().any(|(_, key)| key.is_some()) || !chain.links.is_empty();
        if lost && is_noerror && !has_answers { Err(AnswerError::Malformed) } else { Ok(()) }
    }

    /// Whether a valid record belongs to the answer: data of a name on the chain, a DNAME above
    /// such a name with its signature, or a zone's record or proof in the authority section.
    /// `owner` is the record's owner in the answer section.
    fn is_answer(&self, chain: &Chain, owner: Owner, record: &Record<'_>) -> bool {
        if record.section == Section::Additional {
            // Every caller that keeps the answer drops this section.
            return true;
        }
        if self.question.leaves_out(record.rtype, record.section) {
            return false;
        }
        match (record.section, owner) {
            (Section::Authority, _) => tells_of_zones(record.rtype),
            (_, Owner::On(place)) => match chain.links.get(place) {
                // Beside a CNAME stand its signatures and its NSEC alone (RFC 2181 §10.1, RFC 4035
                // §2.5), below a DNAME nothing (RFC 6672 §2.4).
                Some(Lead::Cname { owner_at }) => match record.rtype {
                    Rtype::CNAME => record.owner_at == *owner_at,
                    Rtype::NSEC => true,
                    _ => record.covers(Rtype::CNAME) || record.covers(Rtype::NSEC),
                },
                Some(Lead::Dname { .. }) => false,
                // Where a chain has no end, its last name has nothing but the CNAME that leads on.
                None => record.rtype != Rtype::CNAME && !chain.is_endless,
            },
            (_, Owner::Above(..)) => matches!(record.rtype, Rtype::DNAME | Rtype::RRSIG),
            (_, Owner::Stranger) => false,
        }
    }

    /// The reply with the kept records alone, along the chain, and with the CNAMEs that DNAMEs make.
    fn write(
        &self,
        chain: &Chain,
        records: &[Record<'a>],
        mut kept: Vec<(usize, Option<Key>)>,
    ) -> Result<Vec<u8>, Malformed> {
        // Answers have keys, what follows them has none; made CNAMEs have numbers past the records.
        let made = chain.links.iter().enumerate().filter(|(_, lead)| lead.is_made());
        let first_behind = kept.partition_point(|(_, key)| key.is_some());
        let made: Vec<_> =
            made.map(|(i, _)| (records.len() + i, Some(Key::of_made_cname(i)))).collect();
        kept.splice(first_behind..first_behind, made);
        kept.sort_by_key(|(_, key)| (key.is_none(), *key));
        let mut out = Vec::with_capacity(self.message.len());
        let Header { id, flags: bits, .. } = *self.header;
        let bits = match chain.overflows {
            true => bits & !flags::RCODE | Rcode::YXDOMAIN.0,
            false => bits,
        };
        let mut writer = MessageWriter::begin(&mut out, MAX_MESSAGE_OCTETS, id, bits);
        let question = self.message.get(super::HEADER_OCTETS..self.question_end);
        writer.raw(question.ok_or(Malformed)?).map_err(|Full| Malformed)?;
        let mut copier = RecordCopier::new(self.question.qname.as_wire());
        let mut counts = [1, 0, 0, 0];
        let [_, answers, authorities, additionals] = &mut counts;
        for (index, _) in kept {
            let Some(record) = records.get(index) else {
                let place = index - records.len();
                let (link, owner) = (chain.links.get(place), chain.names.get(place));
                if let (Some(Lead::Dname { ttl, target }), Some(owner)) = (link, owner) {
                    copier.cname(&mut writer, (owner, target), *ttl, self.question.qclass)?;
                    *answers += 1;
                }
                continue;
            };
            match record.section {
                Section::Answer => *answers += 1,
                Section::Authority => *authorities += 1,
                Section::Additional if record.rtype == Rtype::OPT => *additionals += 1,
                Section::Additional => continue,
            }
            copier.copy_from_reply(&mut writer, self.message, record)?;
        }
        writer.set_counts(counts);
        Ok(out)
    }
}

/// Where the CNAMEs of the chain begin; `None` where one has to be made.
fn link_places(chain: &Chain) -> Option<Vec<LinkPlace>> {
    let place = |lead: &Lead| match lead {
        Lead::Cname { owner_at } => Some(LinkPlace { cname: *owner_at, signature: None }),
        Lead::Dname { .. } => None,
    };
    chain.links.iter().map(place).collect()
}

/// NS SOA DS RRSIG NSEC NSEC3 (RFC 1034 §4.3.2, RFC 4035 §3.1, RFC 5155 §7.2).
fn tells_of_zones(rtype: Rtype) -> bool {
    matches!(rtype.0, 2 | 6 | 43 | 46 | 47 | 50)
}

#[cfg(test)]
mod names;
#[cfg(test)]
mod tests;
