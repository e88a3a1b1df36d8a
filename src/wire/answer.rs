//! An upstream's reply, checked once and put into the form that the cache keeps.

use super::constants::{HEADER_OCTETS, Rcode, Rtype, flags};
use super::message::{Header, Malformed, Record, Records, Section, read_name, read_question};
use super::name::QName;
use super::options::{EdnsOptions, OPTION_EDE};
use super::question::{AnswerError, Question};
use super::relevance::{LinkPlace, Relevant, Sifted, relevant};
use super::{u16_at, u32_at};

/// Octets of extended errors kept from one reply: a few codes with a sentence each.
const MAX_EDE_OCTETS: usize = 256;
/// Octets of the head: eight numbers of 16 bits.
const HEAD_OCTETS: usize = 16;
/// Where the message's size stands in the head.
const MESSAGE_OCTETS_AT: usize = 6;
/// Where the bits stand in the head.
const BITS_AT: usize = 14;
/// The reply had an OPT record.
const HAS_OPT: u16 = 1;
/// The reply's chain has no end.
const IS_ENDLESS: u16 = 2;
/// Where the rcode stands in the head.
const RCODE_AT: usize = 12;
/// Octets of a link's places in the table.
const LINK_OCTETS: usize = 4;

/// A well-formed reply without its additional section and without records that its question does
/// not lead to. The other octets are kept as they came, unless there were such records.
///
/// One run of octets, so that keeping it elsewhere is one copy: a head (how many TTLs, links, octets
/// of extended errors and of the message; where question and answer section end; rcode;
/// whether there was an OPT, and whether the chain has no end), the places of the TTLs, the places of the links, the extended errors, the
/// message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// With some octets of room behind: to give them back would be a call to the allocator.
    octets: Vec<u8>,
}

/// An [`Answer`] whose octets stand elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct AnswerRef<'a> {
    octets: &'a [u8],
    message: &'a [u8],
    header: Header,
    rcode: Rcode,
    question_end: usize,
    answers_end: usize,
    /// Where each record's TTL stands, two octets each.
    ttl_places: &'a [u8],
    /// Where the CNAMEs from the question on begin and the first signature of each (0: none), in
    /// chain order, two octets each.
    links: &'a [u8],
    /// Extended errors as EDNS options, ready to be written again.
    ede: &'a [u8],
    has_opt: bool,
}

/// Whether a reply may still be written again without what does not belong to it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rewriting {
    Allowed,
    /// The reply has been written again once.
    Done {
        /// The chain of the original reply had no end.
        was_endless: bool,
    },
}

/// A CNAME of an answer's chain.
#[derive(Clone, Debug)]
pub struct Link<'a> {
    /// The record.
    pub cname: Record<'a>,
    /// The first signature of it.
    pub signature: Option<Record<'a>>,
    /// Where it leads.
    pub target: QName,
}

impl Answer {
    /// Reads `message` as a reply to `question`. The message id is the caller's to check.
    ///
    /// Leaves out what answers nothing (`wire::relevance`) and what is no record at all
    /// (`wire::form`), and puts the answer section into the order of its chain (`wire::order`).
    ///
    /// # Errors
    ///
    /// When `message` is not an answer, or its chain has no end.
    pub fn parse(message: &[u8], question: &Question) -> Result<Self, AnswerError> {
        let answer = Self::parse_endless(message, question)?;
        if answer.is_endless() { Err(AnswerError::Endless) } else { Ok(answer) }
    }

    /// Reads as [`Self::parse`] does, but accepts a chain without an end, and keeps its links up to
    /// where it closes or gets too long. The caller must look at [`Self::is_endless`].
    ///
    /// # Errors
    ///
    /// When `message` is not an answer.
    pub fn parse_endless(message: &[u8], question: &Question) -> Result<Self, AnswerError> {
        Self::parse_once(message, question, Rewriting::Allowed)
    }

    fn parse_once(
        message: &[u8],
        question: &Question,
        rewriting: Rewriting,
    ) -> Result<Self, AnswerError> {
        let header = Header::read(message).ok_or(AnswerError::Malformed)?;
        if !header.has(flags::QR) || header.opcode() != 0 {
            return Err(AnswerError::NotAReply);
        }
        let mut rcode = header.flags & flags::RCODE;
        // Servers without EDNS may leave the question out of an error (RFC 6891 §7).
        if header.questions != 1 {
            return Err(AnswerError::WrongQuestion);
        }
        let question_end = check_question(message, question)?;
        // The client gets its question back in its own letter case, and the cache keeps lower case.
        // This comes before all else, because names of records may point to the question's name.
        let qname = HEADER_OCTETS..question_end - 4;
        if message.get(qname.clone()) != Some(question.qname.as_wire()) {
            let mut same = message.to_vec();
            same.splice(qname, question.qname.as_wire().iter().copied());
            return Self::parse_once(&same, question, rewriting);
        }
        let Sifted { relevant, is_endless } = relevant(message, &header, question, question_end)?;
        let links = match relevant {
            Relevant::Whole(links) => links,
            Relevant::Part(part) if rewriting == Rewriting::Allowed => {
                let done = Rewriting::Done { was_endless: is_endless };
                return Self::parse_once(&part, question, done);
            }
            // What we wrote ourselves is in order, or this would not end.
            Relevant::Part(_) => return Err(AnswerError::Malformed),
        };
        // As many records as the header says were just walked over.
        let kept_records = usize::from(header.answers) + usize::from(header.authorities);
        let tables_octets = HEAD_OCTETS + 2 * kept_records + LINK_OCTETS * links.len();
        let mut octets = Vec::with_capacity(tables_octets + message.len());
        octets.extend([0; HEAD_OCTETS]);
        let mut records = Records::new(message, &header, question_end);
        let mut end = question_end;
        let mut answers_end = question_end;
        let mut opt: Option<Record<'_>> = None;
        for record in records.by_ref() {
            let record = record?;
            if record.rtype == Rtype::OPT {
                // Outside the additional section, `relevant` drops it.
                if opt.is_some() {
                    return Err(AnswerError::Malformed);
                }
                opt = Some(record);
                continue;
            }
            match record.section {
                Section::Answer => answers_end = record.end(),
                Section::Authority => {}
                // Anybody may leave additional data out (RFC 2181 §9); kept, it could carry a
                // public address of a protected name past us.
                Section::Additional => continue,
            }
            end = record.end();
            octets.extend(number(record.ttl_at)?);
        }
        let ttls = (octets.len() - HEAD_OCTETS) / 2;
        for LinkPlace { cname, signature } in &links {
            octets.extend(number(*cname)?);
            octets.extend(number(signature.unwrap_or(0))?);
        }
        let ede_at = octets.len();
        if let Some(opt) = opt {
            rcode |= (u16::from(opt.ttl.to_be_bytes()[0])) << 4;
            read_ede(opt.rdata, &mut octets)?;
        }
        let ede = octets.len() - ede_at;
        let was_endless = rewriting == Rewriting::Done { was_endless: true };
        let bits = if opt.is_some() { HAS_OPT } else { 0 }
            | if is_endless || was_endless { IS_ENDLESS } else { 0 };
        let message_at = octets.len();
        octets.extend_from_slice(message.get(..end).ok_or(AnswerError::Malformed)?);
        let (tables, message) = octets.split_at_mut(message_at);
        let head = [
            number(ttls)?,
            number(links.len())?,
            number(ede)?,
            number(message.len())?,
            number(question_end)?,
            number(answers_end)?,
            rcode.to_be_bytes(),
            bits.to_be_bytes(),
        ];
        for (to, number) in tables.chunks_exact_mut(2).zip(head) {
            to.copy_from_slice(&number);
        }
        if let Some(additionals) = message.get_mut(10..HEADER_OCTETS) {
            additionals.fill(0);
        }
        for place in tables.get(HEAD_OCTETS..).unwrap_or(&[]).chunks_exact(2).take(ttls) {
            clamp_ttl(message, usize::from(u16_at(place, 0).unwrap_or(0)));
        }
        if header.authorities > 0 {
            clamp_soa_ttl(message, &Header { additionals: 0, ..header }, question_end);
        }
        Ok(Self { octets })
    }

    /// The same, borrowed.
    pub fn borrowed(&self) -> AnswerRef<'_> {
        // `parse` wrote them.
        AnswerRef::from_octets(&self.octets).unwrap_or_default()
    }

    /// The rcode, extended bits included.
    pub fn rcode(&self) -> Rcode {
        u16_at(&self.octets, RCODE_AT).map_or(Rcode::SERVFAIL, Rcode)
    }

    /// Whether the CNAMEs go in a circle, or are more than we follow. Then it holds the links up to
    /// there and no data, and is an answer only if one of them leads to a name of ours.
    pub fn is_endless(&self) -> bool {
        u16_at(&self.octets, BITS_AT).is_some_and(|bits| bits & IS_ENDLESS != 0)
    }

    /// Extended errors of the reply, as EDNS options ready to be written (RFC 8914).
    pub fn ede_options(&self) -> &[u8] {
        self.borrowed().ede_options()
    }

    /// The same with AD as told, and no TTL above `max_ttl_seconds`.
    pub fn judged(mut self, authentic: bool, max_ttl_seconds: u32) -> Self {
        let places: Vec<_> = self.borrowed().ttl_places().collect();
        for place in places {
            let ttl = u32_at(self.message(), place).unwrap_or(0).min(max_ttl_seconds);
            self.set_ttl(place, ttl);
        }
        let message_at = self.octets.len() - self.message().len();
        let Some(message) = self.octets.get_mut(message_at..) else { return self };
        if let Some(octets) = message.get_mut(2..4) {
            let word = u16_at(octets, 0).unwrap_or(0) & !flags::AD;
            let word = if authentic { word | flags::AD } else { word };
            octets.copy_from_slice(&word.to_be_bytes());
        }
        self
    }

    fn message(&self) -> &[u8] {
        self.borrowed().message()
    }

    /// Overwrites the TTL at `place` of the message.
    pub(super) fn set_ttl(&mut self, place: usize, ttl_seconds: u32) {
        let at = self.octets.len() - self.message().len() + place;
        if let Some(octets) = self.octets.get_mut(at..at + 4) {
            octets.copy_from_slice(&ttl_seconds.to_be_bytes());
        }
    }

    /// All of it, to be kept elsewhere: [`AnswerRef::from_octets`] reads it there.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }
}

impl<'a> AnswerRef<'a> {
    /// No message at all; reads as SERVFAIL.
    const NONE: Self = Self {
        octets: &[],
        message: &[],
        header: Header::EMPTY,
        rcode: Rcode::SERVFAIL,
        question_end: 0,
        answers_end: 0,
        ttl_places: &[],
        links: &[],
        ede: &[],
        has_opt: false,
    };

    /// What [`Answer::octets`] gave; octets behind it are left alone. `None` when it cannot be that.
    pub fn from_octets(octets: &'a [u8]) -> Option<Self> {
        let message_octets = usize::from(u16_at(octets, MESSAGE_OCTETS_AT)?);
        Self::from_front(octets).filter(|answer| answer.message.len() == message_octets)
    }

    /// As [`Self::from_octets`], or the front of it: all tables, and as much of the message as there
    /// is. What stands behind that cannot be read, and ends walks of the records.
    pub fn from_front(octets: &'a [u8]) -> Option<Self> {
        let (head, rest) = octets.split_at_checked(HEAD_OCTETS)?;
        let number = |index: usize| u16_at(head, index * 2).map(usize::from);
        let (ttl_places, rest) = rest.split_at_checked(number(0)? * 2)?;
        let (links, rest) = rest.split_at_checked(number(1)? * LINK_OCTETS)?;
        let (ede, rest) = rest.split_at_checked(number(2)?)?;
        let message = rest.get(..number(3)?).unwrap_or(rest);
        let end = octets.len() - rest.len() + message.len();
        Some(Self {
            octets: octets.get(..end)?,
            message,
            header: Header::read(message)?,
            rcode: Rcode(u16_at(head, RCODE_AT)?),
            question_end: number(4)?,
            answers_end: number(5)?,
            ttl_places,
            links,
            ede,
            has_opt: u16_at(head, BITS_AT)? & HAS_OPT != 0,
        })
    }

    /// Octets of the front that holds `message_octets` of the message, by the octets that an answer
    /// begins with.
    pub fn front_octets(head: [u8; HEAD_OCTETS], message_octets: usize) -> usize {
        let number = |index: usize| usize::from(u16_at(&head, index * 2).unwrap_or(0));
        let tables = HEAD_OCTETS + number(0) * 2 + number(1) * LINK_OCTETS + number(2);
        tables + number(3).min(message_octets)
    }

    /// An owned copy.
    pub fn to_answer(self) -> Answer {
        Answer { octets: self.octets.into() }
    }

    /// The message, without additional records. TTLs above 2^31 - 1 have become 0 (RFC 2181 §8),
    /// the SOA's TTL is at most its MINIMUM (RFC 2308 §5).
    pub fn message(&self) -> &'a [u8] {
        self.message
    }

    /// Whether all of the message is there, and not its front alone ([`Self::from_front`]).
    pub fn is_whole(&self) -> bool {
        u16_at(self.octets, MESSAGE_OCTETS_AT).map(usize::from) == Some(self.message.len())
    }

    /// The header as received, the additional count 0.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The rcode, extended bits included.
    pub fn rcode(&self) -> Rcode {
        self.rcode
    }

    /// The question section: the name in lower case, type, class.
    pub fn question(&self) -> &'a [u8] {
        self.message.get(HEADER_OCTETS..self.question_end).unwrap_or(&[])
    }

    /// Where the question section ends.
    pub fn question_end(&self) -> usize {
        self.question_end
    }

    /// Where the answer section ends.
    pub fn answers_end(&self) -> usize {
        self.answers_end
    }

    /// The CNAMEs that lead from the question on, in chain order; at most 16.
    pub fn links(self) -> impl Iterator<Item = Link<'a>> {
        // One that cannot be read ends them: no link may be left out.
        self.links.chunks_exact(LINK_OCTETS).map_while(move |places| {
            let cname = self.record_at(usize::from(u16_at(places, 0)?))?;
            let signature =
                u16_at(places, 2).filter(|at| *at > 0).and_then(|at| self.record_at(at.into()));
            let (target, _) = read_name(self.message, cname.rdata_at).ok()?;
            Some(Link { cname, signature, target })
        })
    }

    /// Whether a CNAME answers the question, or leads on from it.
    pub fn has_links(&self) -> bool {
        !self.links.is_empty()
    }

    /// The record of the answer section that begins at `at`.
    pub(super) fn record_at(&self, at: usize) -> Option<Record<'a>> {
        let one = Header { answers: 1, authorities: 0, additionals: 0, ..self.header };
        let within = at < self.answers_end;
        within.then(|| Records::new(self.message, &one, at).next())?.and_then(Result::ok)
    }

    /// Where the TTL of each record stands in the message.
    pub fn ttl_places(&self) -> impl Iterator<Item = usize> + use<'a> {
        self.ttl_places.chunks_exact(2).filter_map(|place| u16_at(place, 0).map(usize::from))
    }

    /// Extended errors of the reply, as EDNS options ready to be written (RFC 8914).
    pub fn ede_options(&self) -> &'a [u8] {
        self.ede
    }

    /// Whether the upstream spoke EDNS.
    pub fn has_opt(&self) -> bool {
        self.has_opt
    }

    /// The records, from the answer section on.
    pub fn records(&self) -> impl Iterator<Item = Record<'a>> + use<'a> {
        Records::new(self.message, &self.header, self.question_end).map_while(Result::ok)
    }

    /// The TTL of a negative answer's SOA, which is never above its MINIMUM (RFC 2308 §5), seconds.
    pub fn negative_ttl(&self) -> Option<u32> {
        let mut records = self.records();
        let soa = records.find(|r| r.section == Section::Authority && r.rtype == Rtype::SOA)?;
        Some(soa.ttl)
    }

    /// The smallest TTL of all records, seconds; `None` without records.
    pub fn min_ttl(&self) -> Option<u32> {
        self.ttl_places().filter_map(|place| u32_at(self.message, place)).min()
    }
}

impl Default for AnswerRef<'_> {
    fn default() -> Self {
        Self::NONE
    }
}

/// A number as the head and the tables hold it.
fn number(value: usize) -> Result<[u8; 2], AnswerError> {
    u16::try_from(value).map(u16::to_be_bytes).map_err(|_| AnswerError::Malformed)
}

/// Whether `message` repeats `question`; gives where it ends.
fn check_question(message: &[u8], question: &Question) -> Result<usize, AnswerError> {
    // Mostly it comes back as it was sent.
    let (sent, kind) = (question.qname.as_wire(), (question.qtype, question.qclass));
    let question_end = HEADER_OCTETS + sent.len() + 4;
    if message.get(HEADER_OCTETS..question_end - 4) == Some(sent)
        && u16_at(message, question_end - 4).map(Rtype).zip(u16_at(message, question_end - 2))
            == Some(kind)
    {
        return Ok(question_end);
    }
    let (qname, qtype, qclass, end) = read_question(message)?;
    if qname.as_wire() != sent || (qtype, qclass) != kind {
        return Err(AnswerError::WrongQuestion);
    }
    // A compressed question would shift all offsets when ours takes its place.
    if end != question_end {
        return Err(AnswerError::Malformed);
    }
    Ok(question_end)
}

/// A TTL with its top bit set counts as zero (RFC 2181 §8).
fn clamp_ttl(message: &mut [u8], place: usize) {
    if let Some(octets) = message.get_mut(place..place + 4)
        && octets.first().is_some_and(|first| first & 0x80 != 0)
    {
        octets.fill(0);
    }
}

/// A negative answer holds no longer than its SOA's MINIMUM, and its SOA's TTL says so to those who
/// ask us (RFC 2308 §5).
fn clamp_soa_ttl(message: &mut [u8], header: &Header, at: usize) {
    let soa = Records::new(message, header, at)
        .map_while(Result::ok)
        .find(|record| record.section == Section::Authority && record.rtype == Rtype::SOA)
        .map(|record| {
            // One without its MINIMUM says nothing about time: it is not kept.
            let minimum = record.rdata.len().checked_sub(4).and_then(|at| u32_at(record.rdata, at));
            (record.ttl_at, record.ttl, minimum.unwrap_or(0))
        });
    let Some((place, ttl, minimum)) = soa else { return };
    if minimum < ttl
        && let Some(octets) = message.get_mut(place..place + 4)
    {
        octets.copy_from_slice(&minimum.to_be_bytes());
    }
}

/// Appends the extended errors among `options` to `out`.
fn read_ede(options: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let most = out.len() + MAX_EDE_OCTETS;
    for option in EdnsOptions::new(options) {
        let option = option?;
        let is_ede = option.code == OPTION_EDE && option.data.len() >= 2;
        if is_ede && out.len() + option.octets.len() <= most {
            out.extend_from_slice(option.octets);
        }
    }
    Ok(())
}
