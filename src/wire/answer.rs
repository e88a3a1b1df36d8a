//! An upstream's reply, checked once and put into the form that the cache keeps.

use super::constants::{HEADER_OCTETS, Rcode, Rtype, flags};
use super::message::{Header, Malformed, Record, Records, Section, read_name, read_question};
use super::name::QName;
use super::question::{AnswerError, Question};
use super::relevance::{LinkPlace, Relevant, relevant};
use super::writer::OPTION_EDE;
use super::{u16_at, u32_at};

/// Octets of extended errors kept from one reply: a few codes with a sentence each.
const MAX_EDE_OCTETS: usize = 256;

/// A well-formed reply without its additional section and without records that its question does
/// not lead to. The other octets are kept as they came, unless there were such records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    message: Box<[u8]>,
    header: Header,
    rcode: Rcode,
    question_end: usize,
    answers_end: usize,
    /// The CNAMEs from the question on, in chain order.
    links: Box<[LinkPlace]>,
    /// Where each record's TTL stands.
    ttl_places: Box<[u16]>,
    /// Extended errors as EDNS options, ready to be written again.
    ede: Box<[u8]>,
    has_opt: bool,
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
    pub fn parse(message: &[u8], question: &Question) -> Result<Self, AnswerError> {
        let mut header = Header::read(message).ok_or(AnswerError::Malformed)?;
        if !header.has(flags::QR) || header.opcode() != 0 {
            return Err(AnswerError::NotAReply);
        }
        let mut rcode = header.flags & flags::RCODE;
        // Servers without EDNS may leave the question out of an error (RFC 6891 §7).
        if header.questions != 1 {
            return Err(AnswerError::WrongQuestion);
        }
        let question_end = check_question(message, question)?;
        let links = match relevant(message, &header, question, question_end)? {
            Relevant::Whole(links) => links,
            Relevant::Part(part) => return Self::parse(&part, question),
        };
        let mut records = Records::new(message, &header, question_end);
        let mut end = question_end;
        let mut answers_end = question_end;
        let mut opt: Option<Record<'_>> = None;
        let mut ttl_places = Vec::new();
        for record in records.by_ref() {
            let record = record?;
            if record.rtype == Rtype::OPT {
                if opt.is_some() || record.section != Section::Additional {
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
            ttl_places.push(u16::try_from(record.ttl_at).map_err(|_| AnswerError::Malformed)?);
        }
        header.additionals = 0;
        let mut ede = Vec::new();
        if let Some(opt) = opt {
            rcode |= (u16::from(opt.ttl.to_be_bytes()[0])) << 4;
            read_ede(opt.rdata, &mut ede)?;
        }
        let mut message: Box<[u8]> = message.get(..end).ok_or(AnswerError::Malformed)?.into();
        for place in &ttl_places {
            clamp_ttl(&mut message, usize::from(*place));
        }
        clamp_soa_ttl(&mut message, &header, question_end);
        Ok(Self {
            message,
            header,
            rcode: Rcode(rcode),
            question_end,
            answers_end,
            links: links.into_boxed_slice(),
            ttl_places: ttl_places.into_boxed_slice(),
            ede: ede.into_boxed_slice(),
            has_opt: opt.is_some(),
        })
    }

    /// The message, without additional records. TTLs above 2^31 - 1 have become 0 (RFC 2181 §8),
    /// the SOA's TTL is at most its MINIMUM (RFC 2308 §5).
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// The header as received, the additional count 0.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The rcode, extended bits included.
    pub fn rcode(&self) -> Rcode {
        self.rcode
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
    pub fn links(&self) -> impl Iterator<Item = Link<'_>> {
        self.links.iter().filter_map(|place| {
            let cname = self.record_at(place.cname)?;
            let signature = place.signature.and_then(|at| self.record_at(at));
            let (target, _) = read_name(&self.message, cname.rdata_at).ok()?;
            Some(Link { cname, signature, target })
        })
    }

    /// Whether a CNAME answers the question, or leads on from it.
    pub fn has_links(&self) -> bool {
        !self.links.is_empty()
    }

    /// The record of the answer section that begins at `at`.
    fn record_at(&self, at: usize) -> Option<Record<'_>> {
        let one = Header { answers: 1, authorities: 0, additionals: 0, ..self.header };
        let within = at < self.answers_end;
        within.then(|| Records::new(&self.message, &one, at).next())?.and_then(Result::ok)
    }

    /// Where the TTL of each record stands in the message.
    pub fn ttl_places(&self) -> &[u16] {
        &self.ttl_places
    }

    /// Extended errors of the reply, as EDNS options ready to be written (RFC 8914).
    pub fn ede_options(&self) -> &[u8] {
        &self.ede
    }

    /// Whether the upstream spoke EDNS.
    pub fn has_opt(&self) -> bool {
        self.has_opt
    }

    /// The records, from the answer section on.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        Records::new(&self.message, &self.header, self.question_end).map_while(Result::ok)
    }

    /// The TTL of a negative answer's SOA, which is never above its MINIMUM (RFC 2308 §5), seconds.
    pub fn negative_ttl(&self) -> Option<u32> {
        let mut records = self.records();
        let soa = records.find(|r| r.section == Section::Authority && r.rtype == Rtype::SOA)?;
        Some(soa.ttl)
    }

    /// The smallest TTL of all records, seconds; `None` without records.
    pub fn min_ttl(&self) -> Option<u32> {
        self.ttl_places.iter().filter_map(|place| u32_at(&self.message, usize::from(*place))).min()
    }

    /// Octets on the heap.
    pub fn heap_octets(&self) -> usize {
        let links = size_of_val(&*self.links);
        self.message.len() + 2 * self.ttl_places.len() + links + self.ede.len()
    }
}

/// Whether `message` repeats `question`; gives where it ends.
fn check_question(message: &[u8], question: &Question) -> Result<usize, AnswerError> {
    let (qname, qtype, qclass, question_end) = read_question(message)?;
    if qname.as_wire() != question.qname.as_wire()
        || (qtype, qclass) != (question.qtype, question.qclass)
    {
        return Err(AnswerError::WrongQuestion);
    }
    // A compressed question would shift all offsets when ours takes its place.
    if question_end != HEADER_OCTETS + qname.as_wire().len() + 4 {
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

fn read_ede(mut options: &[u8], ede: &mut Vec<u8>) -> Result<(), Malformed> {
    while !options.is_empty() {
        let code = u16_at(options, 0).ok_or(Malformed)?;
        let octets = usize::from(u16_at(options, 2).ok_or(Malformed)?);
        let option = options.get(..4 + octets).ok_or(Malformed)?;
        if code == OPTION_EDE && octets >= 2 && ede.len() + option.len() <= MAX_EDE_OCTETS {
            ede.extend_from_slice(option);
        }
        options = options.get(4 + octets..).unwrap_or(&[]);
    }
    Ok(())
}
