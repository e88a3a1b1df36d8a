//! Which records of a reply answer its question. The others are nobody's business, and could carry
//! a public address of a protected name past us (RFC 2181 §5.4.1; RFC 5452 §6).

use super::constants::{MAX_MESSAGE_OCTETS, Rtype};
use super::effort::Meter;
use super::message::{Header, Malformed, Record, Records, Section, read_name};
use super::name::QName;
use super::question::{AnswerError, Question};
use super::rewrite::copy_record;
use super::u16_at;
use super::writer::{Full, MessageWriter};

/// CNAMEs that one answer may hold; resolvers give up between 8 and 17. What stands behind a longer
/// chain cannot be vouched for.
const MAX_LINKS: usize = 16;

/// A compression pointer to the octet behind the header (RFC 1035 §4.1.4).
const POINTER_TO_QUESTION: u16 = 0xc00c;

/// What of a reply answers its question.
pub(super) enum Relevant {
    /// All of it, as nearly always; the CNAMEs from the question on, in chain order.
    Whole(Vec<LinkPlace>),
    /// Not all: the reply without its strangers and its additional records but OPT, names
    /// uncompressed but for the question's.
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
) -> Result<Relevant, AnswerError> {
    let reply = Reply { message, header, question_end };
    if reply.is_plain()? {
        return Ok(Relevant::Whole(Vec::new()));
    }
    let chain = reply.chain(question)?;
    let mut belongs = Vec::with_capacity(16);
    // Records of one owner stand together, and mostly spell it in the same octets.
    let (mut spelt, mut owner): (&[u8], _) = (&[], Owner::Stranger);
    let mut meter = Meter::new(message);
    for record in reply.records() {
        let record = record?;
        meter.note(&record)?;
        if record.section == Section::Answer && record.owner_octets(message) != spelt {
            spelt = record.owner_octets(message);
            owner = chain.owner(&read_name(message, record.owner_at).map_err(Malformed::from)?.0);
        }
        belongs.push(chain.has(owner, &record));
    }
    if belongs.contains(&false) {
        return Ok(Relevant::Part(reply.only(&belongs)?));
    }
    Ok(Relevant::Whole(reply.places(&chain)?))
}

struct Reply<'a> {
    message: &'a [u8],
    header: &'a Header,
    question_end: usize,
}

/// The names that the question leads to.
struct Chain {
    /// The question's name first.
    names: Vec<QName>,
    /// Where the CNAMEs between them begin: a name has one (RFC 2181 §10.1).
    links: Vec<usize>,
}

/// What the owner of a record is to a chain.
#[derive(Clone, Copy)]
enum Owner {
    OnChain,
    /// A name above one of the chain.
    Above,
    Stranger,
}

impl<'a> Reply<'a> {
    fn records(&self) -> Records<'a> {
        Records::new(self.message, self.header, self.question_end)
    }

    /// Whether all is relevant at first sight, as mostly: answers without a CNAME whose owners are
    /// pointers to the question, which is compared already.
    fn is_plain(&self) -> Result<bool, Malformed> {
        let mut meter = Meter::new(self.message);
        for record in self.records() {
            let record = record?;
            meter.note(&record)?;
            let is_plain = match record.section {
                Section::Answer => {
                    record.rtype != Rtype::CNAME
                        && u16_at(self.message, record.owner_at) == Some(POINTER_TO_QUESTION)
                }
                Section::Authority => tells_of_zones(record.rtype),
                Section::Additional => true,
            };
            if !is_plain {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn chain(&self, question: &Question) -> Result<Chain, AnswerError> {
        let cnames = self.cnames()?;
        let mut name = QName::from(&question.qname);
        let mut chain = Chain { names: vec![name.clone()], links: Vec::new() };
        while let Some(link) = link(&cnames, &name) {
            chain.links.push(link.owner_at);
            let (target, end) = read_name(self.message, link.rdata_at).map_err(Malformed::from)?;
            // Octets behind the RDATA are another record's, or gone once the answer is kept.
            if end > link.end() {
                return Err(AnswerError::Malformed);
            }
            // CNAME asks for the link itself, not for where it leads.
            if question.qtype == Rtype::CNAME {
                break;
            }
            if chain.knows(&target) || chain.links.len() > MAX_LINKS {
                return Err(AnswerError::Endless);
            }
            chain.names.push(target.clone());
            name = target;
        }
        Ok(chain)
    }

    /// The first CNAMEs of the answer section with their owners, so that a reply full of them is not
    /// walked, and no name read, for every link.
    fn cnames(&self) -> Result<Vec<(QName, Record<'a>)>, Malformed> {
        let mut cnames = Vec::new();
        for record in self.records() {
            let record = record?;
            if record.section != Section::Answer || cnames.len() > MAX_LINKS {
                break;
            }
            if record.rtype == Rtype::CNAME {
                cnames.push((read_name(self.message, record.owner_at)?.0, record));
            }
        }
        Ok(cnames)
    }

    /// Servers put signatures behind each RRset, or all of them last.
    fn places(&self, chain: &Chain) -> Result<Vec<LinkPlace>, Malformed> {
        let place = |cname: &usize| LinkPlace { cname: *cname, signature: None };
        let mut places: Vec<_> = chain.links.iter().map(place).collect();
        if places.is_empty() {
            return Ok(places);
        }
        for record in self.records() {
            let record = record?;
            if record.section != Section::Answer {
                break;
            }
            if record.rtype == Rtype::RRSIG && u16_at(record.rdata, 0) == Some(Rtype::CNAME.0) {
                let (owner, _) = read_name(self.message, record.owner_at)?;
                let signed = |name: &QName| name.as_wire() == owner.as_wire();
                let link = chain.names.iter().position(signed);
                if let Some(place) = link.and_then(|link| places.get_mut(link)) {
                    place.signature.get_or_insert(record.owner_at);
                }
            }
        }
        Ok(places)
    }

    /// The reply with those records alone of which `belongs` is true.
    fn only(&self, belongs: &[bool]) -> Result<Vec<u8>, Malformed> {
        let mut out = Vec::with_capacity(self.message.len());
        let Header { id, flags, .. } = *self.header;
        let mut writer = MessageWriter::begin(&mut out, MAX_MESSAGE_OCTETS, id, flags);
        let question = self.message.get(super::HEADER_OCTETS..self.question_end);
        writer.raw(question.ok_or(Malformed)?).map_err(|Full| Malformed)?;
        let (qname, _) = read_name(self.message, super::HEADER_OCTETS)?;
        let mut counts = [1, 0, 0, 0];
        for (record, belongs) in self.records().zip(belongs) {
            let record = record?;
            let is_opt = record.rtype == Rtype::OPT;
            if !belongs || (record.section == Section::Additional && !is_opt) {
                continue;
            }
            copy_record(&mut writer, qname.as_wire(), self.message, &record)?;
            let [_, answers, authorities, additionals] = &mut counts;
            *match record.section {
                Section::Answer => answers,
                Section::Authority => authorities,
                Section::Additional => additionals,
            } += 1;
        }
        writer.set_counts(counts);
        Ok(out)
    }
}

/// The first of `cnames` that `owner` has.
fn link<'a>(cnames: &[(QName, Record<'a>)], owner: &QName) -> Option<Record<'a>> {
    let found = cnames.iter().find(|(name, _)| name.as_wire() == owner.as_wire());
    found.map(|(_, record)| *record)
}

impl Chain {
    fn knows(&self, name: &QName) -> bool {
        self.names.iter().any(|known| known.as_wire() == name.as_wire())
    }

    fn owner(&self, owner: &QName) -> Owner {
        let above = |name: &QName| {
            let deeper = name.label_count().checked_sub(owner.label_count());
            deeper.is_some_and(|index| name.suffix(index) == owner.as_wire())
        };
        if self.knows(owner) {
            Owner::OnChain
        } else if self.names.iter().any(above) {
            Owner::Above
        } else {
            Owner::Stranger
        }
    }

    /// Whether a record answers the question: data of a name on the chain; a DNAME above one, with
    /// its signature; in the authority section what tells of zones, and proofs. `owner` is its
    /// owner in the answer section.
    fn has(&self, owner: Owner, record: &Record<'_>) -> bool {
        match (record.section, owner) {
            (Section::Authority, _) => tells_of_zones(record.rtype),
            // Left out by everybody who keeps an answer.
            (Section::Additional, _) => true,
            (Section::Answer, Owner::OnChain) => {
                record.rtype != Rtype::CNAME || self.links.contains(&record.owner_at)
            }
            (Section::Answer, Owner::Above) => {
                matches!(record.rtype, Rtype::DNAME | Rtype::RRSIG)
            }
            (Section::Answer, Owner::Stranger) => false,
        }
    }
}

/// NS SOA DS RRSIG NSEC NSEC3 (RFC 1034 §4.3.2, RFC 4035 §3.1, RFC 5155 §7.2). OPT is no record of
/// any section; who reads it says so.
fn tells_of_zones(rtype: Rtype) -> bool {
    matches!(rtype.0, 2 | 6 | 43 | 46 | 47 | 50) || rtype == Rtype::OPT
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Answer, Name, flags};

    type Line<'a> = (&'a str, Rtype, &'a [u8]);

    fn wire(name: &str) -> Vec<u8> {
        name.parse::<Name>().expect("a name").as_wire().to_vec()
    }

    fn question(qtype: Rtype) -> Question {
        Question::plain("www.test".parse().expect("a name"), qtype)
    }

    fn reply(qtype: Rtype, answers: &[Line<'_>], authorities: &[Line<'_>]) -> Vec<u8> {
        let question = question(qtype);
        let mut out = Vec::new();
        let mut writer = MessageWriter::begin(&mut out, MAX_MESSAGE_OCTETS, 7, flags::QR);
        writer.raw(question.qname.as_wire()).expect("room");
        writer.raw(&[qtype.0.to_be_bytes(), [0, 1]].concat()).expect("room");
        for (owner, rtype, rdata) in answers.iter().chain(authorities) {
            writer.raw(&wire(owner)).expect("room");
            writer.fixed(*rtype, 1, 60, rdata.len()).expect("room");
            writer.raw(rdata).expect("room");
        }
        let count = |lines: &[Line<'_>]| u16::try_from(lines.len()).expect("few");
        writer.set_counts([1, count(answers), count(authorities), 0]);
        out
    }

    fn kept(qtype: Rtype, answers: &[Line<'_>], authorities: &[Line<'_>]) -> Vec<String> {
        let message = reply(qtype, answers, authorities);
        let answer = Answer::parse(&message, &question(qtype)).expect("a reply");
        let line = |record: Record<'_>| {
            let (owner, _) =
                read_name(answer.borrowed().message(), record.owner_at).expect("a name");
            format!("{owner} {}", record.rtype)
        };
        answer.borrowed().records().map(line).collect()
    }

    #[test]
    fn what_the_question_does_not_lead_to_is_dropped() {
        let (cdn, ours) = (wire("cdn.test"), wire("ours.private"));
        let a: &[u8] = &[203, 0, 113, 9];
        let answers = [
            ("cdn.test", Rtype::A, a),
            ("www.test", Rtype::CNAME, &*cdn),
            ("www.test", Rtype::CNAME, &*ours),
            ("ours.private", Rtype::A, a),
            ("test", Rtype::DNAME, &*cdn),
            ("test", Rtype::A, a),
        ];
        let expected = ["cdn.test A", "www.test CNAME", "test DNAME"];
        assert_eq!(kept(Rtype::A, &answers, &[("ours.private", Rtype::A, a)]), expected);
    }

    #[test]
    fn who_asks_for_a_cname_gets_no_address_of_its_target() {
        let target = wire("ours.private");
        let a: &[u8] = &[203, 0, 113, 9];
        let answers = [("www.test", Rtype::CNAME, &*target), ("ours.private", Rtype::A, a)];
        assert_eq!(kept(Rtype::CNAME, &answers, &[]), ["www.test CNAME"]);
        assert_eq!(kept(Rtype::A, &answers, &[]), ["www.test CNAME", "ours.private A"]);
    }

    #[test]
    fn a_link_knows_its_signature_wherever_it_stands() {
        let question = Question::plain("www.test".parse().expect("a name"), Rtype::A);
        let (b, c) = (wire("b.test"), wire("c.test"));
        let of = |covered: u8, tag: u8| vec![0, covered, tag];
        let (first, second, other) = (of(5, 1), of(5, 2), of(1, 3));
        let lines: [Line<'_>; 5] = [
            ("www.test", Rtype::CNAME, &b),
            ("b.test", Rtype::CNAME, &c),
            ("b.test", Rtype::RRSIG, &other),
            ("b.test", Rtype::RRSIG, &second),
            ("www.test", Rtype::RRSIG, &first),
        ];
        let mut out = Vec::new();
        let mut writer = MessageWriter::begin(&mut out, MAX_MESSAGE_OCTETS, 7, flags::QR);
        writer.raw(&wire("www.test")).expect("room");
        writer.raw(&[0, 1, 0, 1]).expect("room");
        for (owner, rtype, rdata) in lines {
            writer.raw(&wire(owner)).expect("room");
            writer.fixed(rtype, 1, 60, rdata.len()).expect("room");
            writer.raw(rdata).expect("room");
        }
        writer.set_counts([1, 5, 0, 0]);
        let answer = Answer::parse(&out, &question).expect("a reply");
        let tags =
            answer.borrowed().links().map(|link| link.signature.map(|record| record.rdata[2]));
        assert_eq!(tags.collect::<Vec<_>>(), [Some(1), Some(2)]);
    }

    #[test]
    fn a_chain_without_an_end_is_no_answer() {
        let parse = |chain: &[(String, String)]| {
            let question = Question::plain("n0.test".parse().expect("a name"), Rtype::A);
            let mut out = Vec::new();
            let mut writer = MessageWriter::begin(&mut out, MAX_MESSAGE_OCTETS, 7, flags::QR);
            writer.raw(question.qname.as_wire()).expect("room");
            writer.raw(&[0, 1, 0, 1]).expect("room");
            for (owner, target) in chain {
                let target = wire(target);
                writer.raw(&wire(owner)).expect("room");
                writer.fixed(Rtype::CNAME, 1, 60, target.len()).expect("room");
                writer.raw(&target).expect("room");
            }
            writer.set_counts([1, u16::try_from(chain.len()).expect("few"), 0, 0]);
            Answer::parse(&out, &question).map(|answer| answer.borrowed().links().count())
        };
        let link = |from: usize, to: usize| (format!("n{from}.test"), format!("n{to}.test"));
        let straight = |links: usize| (0..links).map(|n| link(n, n + 1)).collect::<Vec<_>>();
        assert_eq!(parse(&straight(16)), Ok(16));
        assert_eq!(parse(&straight(17)), Err(AnswerError::Endless));
        assert_eq!(parse(&[link(0, 1), link(1, 0)]), Err(AnswerError::Endless));
        assert_eq!(parse(&[link(0, 0)]), Err(AnswerError::Endless));
        let backwards: Vec<_> = straight(16).into_iter().rev().collect();
        assert_eq!(parse(&backwards), Ok(16));
    }
}
