//! Records of one message written into another, and what that makes of an answer.

use super::answer::{Answer, AnswerRef};
use super::constants::{HEADER_OCTETS, MAX_MESSAGE_OCTETS, POINTER_TO_QUESTION, Rtype};
use super::message::{Malformed, Record, Section, canonical_rdata, read_name};
use super::name::QName;
use super::question::Question;
use super::u32_at;
use super::writer::{Full, MessageWriter};

/// The last place that the 14 bits of a pointer can name (RFC 1035 §4.1.4).
const MAX_POINTED_AT: usize = 0x3fff;

/// Appends records to a message that begins with a question for `qname`: all their names
/// uncompressed, but for an owner that is the question's or the last record's.
pub struct RecordCopier<'q> {
    qname: &'q [u8],
    /// The last owner that was written out, and a pointer to it.
    last: Option<(QName, [u8; 2])>,
}

impl<'q> RecordCopier<'q> {
    /// Copies behind a question for `qname`, which is in lower case.
    pub fn new(qname: &'q [u8]) -> Self {
        Self { qname, last: None }
    }

    /// Appends `record` of `message`. Fails where a name is broken, or the message is full.
    pub fn copy(
        &mut self,
        writer: &mut MessageWriter<'_>,
        message: &[u8],
        record: &Record<'_>,
    ) -> Result<(), Malformed> {
        let (owner, _) = read_name(message, record.owner_at)?;
        self.owner(writer, &owner)?;
        Self::data(writer, message, record)
    }

    /// The same for a record of a message with the same question, whose owner mostly is a pointer to
    /// that.
    pub(super) fn copy_from_reply(
        &mut self,
        writer: &mut MessageWriter<'_>,
        message: &[u8],
        record: &Record<'_>,
    ) -> Result<(), Malformed> {
        if record.owner_octets(message) != POINTER_TO_QUESTION {
            return self.copy(writer, message, record);
        }
        writer.raw(&POINTER_TO_QUESTION).map_err(|Full| Malformed)?;
        Self::data(writer, message, record)
    }

    fn data(
        writer: &mut MessageWriter<'_>,
        message: &[u8],
        record: &Record<'_>,
    ) -> Result<(), Malformed> {
        let fixed = writer.fixed(record.rtype, record.class, record.ttl, 0);
        fixed.map_err(|Full| Malformed)?;
        writer.rdata(|out| canonical_rdata(message, record, out))
    }

    /// Appends a CNAME that leads from `owner` to `target`.
    pub(super) fn cname(
        &mut self,
        writer: &mut MessageWriter<'_>,
        (owner, target): (&QName, &QName),
        ttl: u32,
        class: u16,
    ) -> Result<(), Malformed> {
        self.owner(writer, owner)?;
        let target = target.as_wire();
        let fixed = writer.fixed(Rtype::CNAME, class, ttl, target.len());
        fixed.and_then(|()| writer.raw(target)).map_err(|Full| Malformed)
    }

    fn owner(&mut self, writer: &mut MessageWriter<'_>, owner: &QName) -> Result<(), Malformed> {
        let place = writer.len();
        let known = self.last.as_ref().filter(|(last, _)| last.as_wire() == owner.as_wire());
        let octets = match known {
            _ if owner.as_wire() == self.qname => &POINTER_TO_QUESTION[..],
            Some((_, pointer)) => &pointer[..],
            None => owner.as_wire(),
        };
        writer.raw(octets).map_err(|Full| Malformed)?;
        if octets.len() > 2 && place <= MAX_POINTED_AT {
            let [high, low] = u16::try_from(place).unwrap_or(0).to_be_bytes();
            self.last = Some((owner.clone(), [high | 0xc0, low]));
        }
        Ok(())
    }
}

/// The longest TTLs that an answer may show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TtlLimits {
    /// For records, seconds.
    pub positive_seconds: u32,
    /// For the authority section of an answer that has nothing of what was asked, seconds.
    pub negative_seconds: u32,
}

impl Answer {
    /// The same after `age_seconds` in caches on the way here, which no TTL tells of.
    #[must_use]
    pub fn aged(mut self, age_seconds: u32) -> Self {
        if age_seconds > 0 {
            let left = self.borrowed().ttl_places().map(|place| {
                let ttl_seconds = u32_at(self.borrowed().message(), place).unwrap_or(0);
                (place, ttl_seconds.saturating_sub(age_seconds))
            });
            let left: Vec<_> = left.collect();
            left.into_iter().for_each(|(place, ttl_seconds)| self.set_ttl(place, ttl_seconds));
        }
        self
    }

    /// The same with no TTL above `limits`.
    pub fn capped(mut self, qtype: Rtype, limits: TtlLimits) -> Self {
        let answer = self.borrowed();
        let is_asked = |record: &Record<'_>| {
            record.section == Section::Answer && (record.rtype == qtype || qtype == Rtype::ANY)
        };
        let least = limits.positive_seconds.min(limits.negative_seconds);
        if !answer.records().any(|record| record.ttl > least) {
            return self;
        }
        let is_negative = !answer.records().any(|record| is_asked(&record));
        let over = answer.records().filter_map(|record| {
            let most = match record.section {
                Section::Authority if is_negative => limits.negative_seconds,
                _ => limits.positive_seconds,
            };
            (record.ttl > most).then_some((record.ttl_at, most))
        });
        let over: Vec<_> = over.collect();
        for (place, ttl_seconds) in over {
            self.set_ttl(place, ttl_seconds);
        }
        self
    }
}

impl AnswerRef<'_> {
    /// The answer for who did not set DO: without signatures and denials, unless they are what was
    /// asked for (RFC 4035 §3.2.1). The octets stay as they are where there are none.
    pub fn without_dnssec(&self, question: &Question) -> Result<Answer, Malformed> {
        let is_left_out = |record: &Record<'_>| question.leaves_out(record.rtype, record.section);
        if !self.records().any(|record| is_left_out(&record)) {
            return Ok(self.to_answer());
        }
        self.with_records(question, self.records().filter(|record| !is_left_out(record)), false)
    }

    /// The answer without the records of the answer section at `places`, which are numbers in
    /// ascending order.
    pub fn without_answers(
        &self,
        question: &Question,
        places: &[usize],
    ) -> Result<Answer, Malformed> {
        let records = self.records().enumerate().filter(|(place, record)| {
            record.section != Section::Answer || places.binary_search(place).is_err()
        });
        self.with_records(question, records.map(|(_, record)| record), true)
    }

    /// The first `links` CNAMEs of the chain, with their signatures, and nothing of what they lead to.
    /// With DO, the records that a validator needs for these links, too.
    pub fn way(&self, question: &Question, links: usize) -> Result<Answer, Malformed> {
        if question.dnssec_ok {
            let records = self.link_records(links).chain(self.denials(links));
            return self.with_records(question, records, false);
        }
        let links = self.links().take(links);
        let records = links.flat_map(|link| std::iter::once(link.cname).chain(link.signature));
        self.with_records(question, records, false)
    }

    /// The rcode and the extended errors alone.
    pub fn without_records(&self, question: &Question) -> Result<Answer, Malformed> {
        self.with_records(question, std::iter::empty(), true)
    }

    /// A message with this header and question, and with such records; `errors`: with its extended
    /// errors too.
    fn with_records<'r>(
        &self,
        question: &Question,
        records: impl Iterator<Item = Record<'r>>,
        errors: bool,
    ) -> Result<Answer, Malformed> {
        let mut out = Vec::with_capacity(self.message().len());
        let header = self.header();
        let mut writer =
            MessageWriter::begin(&mut out, MAX_MESSAGE_OCTETS, header.id, header.flags);
        let question_octets = self.message().get(HEADER_OCTETS..self.question_end());
        writer.raw(question_octets.ok_or(Malformed)?).map_err(|Full| Malformed)?;
        let mut copier = RecordCopier::new(question.qname.as_wire());
        let (mut answers, mut authorities) = (0, 0);
        for record in records {
            copier.copy(&mut writer, self.message(), &record)?;
            match record.section {
                Section::Answer => answers += 1,
                Section::Authority | Section::Additional => authorities += 1,
            }
        }
        let errors = errors && self.has_opt();
        if errors {
            let written = writer.opt(self.rcode(), question.dnssec_ok, None, self.ede_options());
            written.map_err(|Full| Malformed)?;
        }
        writer.set_counts([1, answers, authorities, u16::from(errors)]);
        // The DNAME above the last link may lead on and on from there, behind a name of ours.
        Answer::parse_endless(&out, question).map_err(|_| Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Rcode, flags};

    fn answer(question: &Question, records: &[(Rtype, &[u8])], authorities: u16) -> Answer {
        let mut out = Vec::new();
        let mut writer = MessageWriter::begin(&mut out, MAX_MESSAGE_OCTETS, 7, flags::QR);
        writer.raw(question.qname.as_wire()).expect("room");
        writer.raw(&[question.qtype.0.to_be_bytes(), [0, 1]].concat()).expect("room");
        for (rtype, rdata) in records {
            writer.record(POINTER_TO_QUESTION, *rtype, 1, 60, rdata.len()).expect("room");
            writer.raw(rdata).expect("room");
        }
        let count = u16::try_from(records.len()).expect("few");
        writer.set_counts([1, count - authorities, authorities, 0]);
        Answer::parse(&out, question).expect("a reply")
    }

    fn types(answer: &Answer) -> Vec<(Section, Rtype)> {
        answer.borrowed().records().map(|record| (record.section, record.rtype)).collect()
    }

    #[test]
    fn who_did_not_ask_for_signatures_gets_none() {
        let a: &[u8] = &[10, 0, 0, 1];
        let signature = (Rtype::RRSIG, &[0_u8, 1][..]);
        let question = |qtype| Question::plain("www.test".parse().expect("a name"), qtype);
        let all = [(Rtype::A, a), signature, (Rtype::NSEC, &[0]), signature];
        let stripped = |qtype| {
            let question = question(qtype);
            let answer = answer(&question, &all, 2);
            types(&answer.borrowed().without_dnssec(&question).expect("well-formed"))
        };
        assert_eq!(stripped(Rtype::A), [(Section::Answer, Rtype::A)]);
        assert_eq!(
            stripped(Rtype::RRSIG),
            [
                (Section::Answer, Rtype::A),
                (Section::Answer, Rtype::RRSIG),
                (Section::Authority, Rtype::RRSIG)
            ]
        );
        assert_eq!(
            stripped(Rtype::ANY),
            [(Section::Answer, Rtype::A), (Section::Answer, Rtype::RRSIG)]
        );
        let plain = answer(&question(Rtype::A), &[(Rtype::A, a)], 0);
        assert_eq!(plain.borrowed().without_dnssec(&question(Rtype::A)), Ok(plain.clone()));
    }

    #[test]
    fn a_verdict_changes_ad_and_ttls_alone() {
        let question = Question::plain("www.test".parse().expect("a name"), Rtype::A);
        let answer = answer(&question, &[(Rtype::A, &[10, 0, 0, 1])], 0);
        let secure = answer.clone().judged(true, 50);
        assert!(secure.borrowed().header().has(flags::AD));
        assert_eq!(secure.borrowed().min_ttl(), Some(50));
        assert_eq!(secure.rcode(), Rcode::NOERROR);
        let insecure = secure.judged(false, u32::MAX);
        assert!(!insecure.borrowed().header().has(flags::AD));
        assert_eq!(insecure.borrowed().min_ttl(), Some(50));
        assert_eq!(answer.clone().judged(false, u32::MAX), answer);
    }

    #[test]
    fn the_way_is_its_links_alone() {
        let question = Question::plain("www.test".parse().expect("a name"), Rtype::A);
        let target: &[u8] = b"\x03end\x04test\0";
        let mut out = Vec::new();
        let mut writer = MessageWriter::begin(&mut out, MAX_MESSAGE_OCTETS, 7, flags::QR);
        writer.raw(question.qname.as_wire()).expect("room");
        writer.raw(&[0, 1, 0, 1]).expect("room");
        writer.record(POINTER_TO_QUESTION, Rtype::CNAME, 1, 60, target.len()).expect("room");
        writer.raw(target).expect("room");
        writer.raw(target).expect("room");
        writer.fixed(Rtype::A, 1, 60, 4).expect("room");
        writer.raw(&[20, 1, 2, 3]).expect("room");
        writer.set_counts([1, 2, 0, 0]);
        let answer = Answer::parse(&out, &question).expect("a reply");
        let way = answer.borrowed().way(&question, 1).expect("well-formed");
        assert_eq!(types(&way), [(Section::Answer, Rtype::CNAME)]);
        assert_eq!(way.borrowed().links().count(), 1);
    }

    #[test]
    fn what_is_left_without_records_says_why() {
        let question = Question::plain("www.test".parse().expect("a name"), Rtype::A);
        let mut out = Vec::new();
        let bits = flags::QR | Rcode::SERVFAIL.0;
        let mut writer = MessageWriter::begin(&mut out, MAX_MESSAGE_OCTETS, 7, bits);
        writer.raw(question.qname.as_wire()).expect("room");
        writer.raw(&[0, 1, 0, 1]).expect("room");
        writer.record(POINTER_TO_QUESTION, Rtype::A, 1, 60, 4).expect("room");
        writer.raw(&[10, 0, 0, 1]).expect("room");
        let why = Some((crate::wire::Ede::Other, "why"));
        writer.opt(Rcode::SERVFAIL, false, why, &[]).expect("room");
        writer.set_counts([1, 1, 0, 1]);
        let answer = Answer::parse(&out, &question).expect("a reply");
        let bare = answer.borrowed().without_records(&question).expect("well-formed");
        assert_eq!(bare.borrowed().records().count(), 0);
        assert_eq!(bare.rcode(), Rcode::SERVFAIL);
        assert_eq!(bare.ede_options(), answer.ede_options());
        assert!(!bare.ede_options().is_empty());
    }

    #[test]
    fn the_time_in_caches_is_taken_from_each_ttl() {
        let question = Question::plain("www.test".parse().expect("a name"), Rtype::A);
        // Its MINIMUM is 60 s, as its TTL.
        let soa: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 60];
        let whole = answer(&question, &[(Rtype::A, &[10, 0, 0, 1]), (Rtype::SOA, soa)], 1);
        for (age_seconds, left) in [(0, 60), (1, 59), (60, 0), (61, 0), (u32::MAX, 0)] {
            let aged = whole.clone().aged(age_seconds);
            let ttls: Vec<_> = aged.borrowed().records().map(|record| record.ttl).collect();
            assert_eq!(ttls, [left; 2], "{age_seconds}");
            assert_eq!(aged.borrowed().negative_ttl(), Some(left));
        }
    }
}
