//! A query as a client sent it.

use super::constants::{CLASSIC_UDP_OCTETS, DNSSEC_OK, HEADER_OCTETS, OPT_OCTETS, Rtype, flags};
use super::message::{Header, Malformed, Records, Section, read_name_into};
use super::name::QName;
use super::question::{Question, QuestionRef};
use super::tsig::Tsig;
use super::u16_at;
use super::writer::MessageWriter;

/// What a query's OPT record says (RFC 6891 §6.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Edns {
    /// The largest UDP response the client takes, octets.
    pub udp_payload: u16,
    /// The DO bit (RFC 3225).
    pub dnssec_ok: bool,
}

/// A well-formed query with one question.
#[derive(Clone, Debug)]
pub struct Query<'a> {
    /// The whole message.
    pub message: &'a [u8],
    /// The header.
    pub header: Header,
    /// The name asked, lower case.
    pub qname: QName,
    /// The type asked.
    pub qtype: Rtype,
    /// The class asked.
    pub qclass: u16,
    /// EDNS, when the query has it.
    pub edns: Option<Edns>,
    /// Where the question section ends.
    question_end: usize,
}

/// Why a message is no query, and so what it gets (RFC 8906 §8, RFC 9619).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// No header, or a response: answering would feed a loop. Gets silence.
    NotAQuery,
    /// Gets FORMERR, header only.
    Malformed(Header),
    /// An opcode other than QUERY: gets NOTIMP, header only.
    Opcode(Header),
    /// An OPT record that breaks the rules: gets FORMERR with an OPT, so that the client does not
    /// take us for a server without EDNS (RFC 6891 §7).
    Options {
        /// The header.
        header: Header,
        /// Where the question section ends, so that it can be echoed.
        question_end: usize,
    },
    /// A TSIG: we share no key with any client, so it gets NOTAUTH with BADKEY (RFC 8945 §5.2.1).
    Signed {
        /// The header.
        header: Header,
        /// Where the question section ends, so that it can be echoed.
        question_end: usize,
        /// EDNS, when the query has it.
        edns: Option<Edns>,
        /// Where the TSIG record begins.
        tsig_at: usize,
    },
    /// An EDNS version above 0: gets BADVERS with our version (RFC 6891 §6.1.3).
    Version {
        /// The header.
        header: Header,
        /// Where the question section ends, so that it can be echoed.
        question_end: usize,
        /// The DO bit, to be echoed.
        dnssec_ok: bool,
    },
}

impl<'a> Query<'a> {
    const EMPTY: Self = Self {
        message: &[],
        header: Header::EMPTY,
        qname: QName::EMPTY,
        qtype: Rtype(0),
        qclass: 0,
        edns: None,
        question_end: 0,
    };

    /// Reads a datagram, or a message from a stream.
    pub fn parse(message: &'a [u8]) -> Result<Self, Fault> {
        let header = Header::read(message).ok_or(Fault::NotAQuery)?;
        if header.has(flags::QR) {
            return Err(Fault::NotAQuery);
        }
        if header.opcode() != 0 {
            return Err(Fault::Opcode(header));
        }
        let malformed = Fault::Malformed(header);
        if header.questions != 1 {
            return Err(malformed);
        }
        let mut query = Self { message, header, ..Self::EMPTY };
        let name_end =
            read_name_into(message, HEADER_OCTETS, &mut query.qname).map_err(|_| malformed)?;
        // The first name has nothing to point to but the header (RFC 1035 §4.1.4).
        if name_end != HEADER_OCTETS + query.qname.as_wire().len() {
            return Err(malformed);
        }
        let qtype = Rtype(u16_at(message, name_end).ok_or(malformed)?);
        let qclass = u16_at(message, name_end + 2).ok_or(malformed)?;
        let question_end = name_end + 4;
        // OPT is no type that one can ask for (RFC 6891 §6.1.1).
        if qtype == Rtype::OPT {
            return Err(malformed);
        }
        let opt = read_opt(message, &header, question_end).map_err(|broken| match broken {
            Broken::Message => malformed,
            Broken::Opt => Fault::Options { header, question_end },
            Broken::Signed { edns, tsig_at } => {
                Fault::Signed { header, question_end, edns, tsig_at }
            }
        })?;
        if let Some(opt) = opt.filter(|opt| opt.version > 0) {
            let dnssec_ok = opt.edns.dnssec_ok;
            return Err(Fault::Version { header, question_end, dnssec_ok });
        }
        (query.qtype, query.qclass, query.question_end) = (qtype, qclass, question_end);
        query.edns = opt.map(|opt| opt.edns);
        Ok(query)
    }

    /// A query that reads the same as `message` and is no longer than header, question and OPT:
    /// 282 octets at most. EDNS options (cookies, padding) and other records are left out, because
    /// no answer depends on them. A message that is no query is copied up to 512 octets.
    pub fn without_options(message: &[u8]) -> Vec<u8> {
        let Ok(query) = Query::parse(message) else {
            return message.get(..CLASSIC_UDP_OCTETS).unwrap_or(message).to_vec();
        };
        let mut kept = Vec::with_capacity(query.question_end + OPT_OCTETS);
        let flags = query.header.flags;
        let mut writer =
            MessageWriter::begin(&mut kept, CLASSIC_UDP_OCTETS, query.header.id, flags);
        // Name, type and class have 259 octets at most, the OPT 11: both fit.
        let questions = u16::from(writer.raw(query.question()).is_ok());
        let opts = query.edns.map_or(0, |edns| {
            let dnssec_ok = if edns.dnssec_ok { DNSSEC_OK } else { 0 };
            let root = writer.raw(&[0]);
            let fixed = writer.fixed(Rtype::OPT, edns.udp_payload, dnssec_ok, 0);
            u16::from(root.is_ok() && fixed.is_ok())
        });
        writer.set_counts([questions, 0, 0, opts]);
        kept
    }

    /// The question section as sent, to be echoed octet for octet.
    pub fn question(&self) -> &'a [u8] {
        self.message.get(HEADER_OCTETS..self.question_end).unwrap_or(&[])
    }

    /// Where the question section ends.
    pub fn question_end(&self) -> usize {
        self.question_end
    }

    /// The name asked, in the client's case, root octet included. A question is never compressed.
    pub fn qname_as_sent(&self) -> &'a [u8] {
        self.message.get(HEADER_OCTETS..self.question_end.saturating_sub(4)).unwrap_or(&[])
    }

    /// The question as the cache and the upstreams know it.
    pub fn as_question(&self) -> QuestionRef<'_> {
        QuestionRef {
            qname: self.qname.as_wire(),
            qtype: self.qtype,
            qclass: self.qclass,
            dnssec_ok: self.dnssec_ok(),
            checking_disabled: self.header.has(flags::CD),
        }
    }

    /// The same, owned.
    pub fn to_question(&self) -> Question {
        Question {
            qname: self.qname.to_name(),
            qtype: self.qtype,
            qclass: self.qclass,
            dnssec_ok: self.dnssec_ok(),
            checking_disabled: self.header.has(flags::CD),
        }
    }

    /// The DO bit.
    pub fn dnssec_ok(&self) -> bool {
        self.edns.is_some_and(|edns| edns.dnssec_ok)
    }
}

#[derive(Clone, Copy)]
struct Opt {
    version: u8,
    edns: Edns,
}

/// What of the records is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Broken {
    /// Their form, so that nothing can be told from them.
    Message,
    /// The OPT among them.
    Opt,
    /// Nothing, but there is a TSIG.
    Signed { edns: Option<Edns>, tsig_at: usize },
}

/// Walks all records to the message's last octet and reads the OPT among them.
fn read_opt(message: &[u8], header: &Header, at: usize) -> Result<Option<Opt>, Broken> {
    if header.answers | header.authorities | header.additionals == 0 {
        return if at == message.len() { Ok(None) } else { Err(Broken::Message) };
    }
    let mut records = Records::new(message, header, at);
    let mut opt = None;
    let mut is_valid = true;
    let mut tsig_at = None;
    for record in records.by_ref() {
        let record = record.map_err(|Malformed| Broken::Message)?;
        if record.rtype != Rtype::OPT {
            if record.rtype == Rtype::TSIG {
                // It is the last record, and there is one only (RFC 8945 §5.1).
                let is_last = record.end() == message.len();
                let is_sound = is_last && Tsig::of(message, &record).is_ok();
                tsig_at = Some(is_sound.then_some(record.owner_at).ok_or(Broken::Message)?);
            }
            continue;
        }
        // There is one only, its owner is the root (RFC 6891 §6.1.1, §6.1.2).
        is_valid &= opt.is_none()
            && record.section == Section::Additional
            && message.get(record.owner_at) == Some(&0)
            && check_options(record.rdata).is_ok();
        let [_extended_rcode, version, flags, _] = record.ttl.to_be_bytes();
        let edns = Edns { udp_payload: record.class, dnssec_ok: flags & 0x80 != 0 };
        opt = Some(Opt { version, edns });
    }
    match (records.position() == message.len(), is_valid, tsig_at) {
        (false, ..) => Err(Broken::Message),
        (true, false, _) => Err(Broken::Opt),
        (true, true, Some(tsig_at)) => {
            Err(Broken::Signed { edns: opt.map(|opt: Opt| opt.edns), tsig_at })
        }
        (true, true, None) => Ok(opt),
    }
}

/// The options are skipped, but their lengths must add up (RFC 6891 §6.1.2).
fn check_options(mut rdata: &[u8]) -> Result<(), Malformed> {
    while !rdata.is_empty() {
        let octets = usize::from(u16_at(rdata, 2).ok_or(Malformed)?);
        rdata = rdata.get(4 + octets..).ok_or(Malformed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &[u8] = b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\x03ApI\x01x\0\0\x01\0\x01";

    fn with_opt(ttl: [u8; 4], options: &[u8]) -> Vec<u8> {
        let mut query = PLAIN.to_vec();
        query[11] = 1;
        query.extend([0, 0, 41, 0x04, 0xd0]);
        query.extend(ttl);
        query.extend(u16::try_from(options.len()).expect("short").to_be_bytes());
        query.extend(options);
        query
    }

    #[test]
    fn without_options_a_query_reads_the_same_and_is_short() {
        let head = b"\x12\x34\x01\x10\0\x01\0\0\0\x02\0\x02\x03WwW\x07example\0\0\x1c\0\x01";
        let authority = b"\0\0\x01\0\x01\0\0\0\0\0\x04\x0a\0\0\x01";
        let mut long = [&head[..], authority, authority, authority].concat();
        // An OPT with DO and 60,000 octets of padding (RFC 7830).
        long.extend_from_slice(b"\0\0\x29\x04\xd0\0\0\x80\0\xea\x64\0\x0c\xea\x60");
        long.resize(long.len() + 60_000, 0);
        let kept = Query::without_options(&long);
        assert_eq!(kept.len(), head.len() + OPT_OCTETS);
        let (before, after) = (Query::parse(&long).unwrap(), Query::parse(&kept).unwrap());
        assert_eq!(after.header.id, before.header.id);
        assert_eq!(after.header.flags, before.header.flags);
        assert_eq!((after.edns, after.question()), (before.edns, before.question()));
        assert_eq!(after.to_question(), before.to_question());
        assert_eq!(Query::without_options(&kept), kept);
        assert_eq!(Query::without_options(&[0xff; 60_000]).len(), CLASSIC_UDP_OCTETS);
        assert_eq!(Query::without_options(&[]), b"");
    }

    #[test]
    fn reads_a_plain_query() {
        let query = Query::parse(PLAIN).expect("a query");
        assert_eq!(query.header.id, 0x1234);
        assert_eq!(query.qname.as_wire(), b"\x03api\x01x\0");
        assert_eq!(query.question(), b"\x03ApI\x01x\0\0\x01\0\x01");
        assert_eq!((query.qtype, query.qclass, query.edns), (Rtype::A, 1, None));
    }

    #[test]
    fn reads_edns() {
        let message = with_opt([0, 0, 0x80, 0], &[0, 10, 0, 2, 1, 2]);
        let query = Query::parse(&message).expect("a query");
        assert_eq!(query.edns, Some(Edns { udp_payload: 1232, dnssec_ok: true }));
    }

    #[test]
    fn every_prefix_is_a_fault_of_its_kind() {
        let message = with_opt([0; 4], &[0, 10, 0, 2, 1, 2]);
        for end in 0..message.len() {
            let fault = Query::parse(&message[..end]).expect_err("cut short");
            match end {
                0..12 => assert_eq!(fault, Fault::NotAQuery),
                _ => assert!(matches!(fault, Fault::Malformed(_)), "{end}"),
            }
        }
    }

    #[test]
    fn rfc_8906_faults() {
        let changed = |at: usize, value: u8| {
            let mut message = PLAIN.to_vec();
            message[at] = value;
            Query::parse(&message).map(|_| ()).expect_err("a fault")
        };
        assert_eq!(changed(2, 0x80), Fault::NotAQuery);
        assert!(matches!(changed(2, 0x28), Fault::Opcode(_)));
        assert!(matches!(changed(5, 0), Fault::Malformed(_)));
        assert!(matches!(changed(5, 2), Fault::Malformed(_)));
        assert!(matches!(changed(7, 1), Fault::Malformed(_)));
        assert!(matches!(changed(12, 0xc0), Fault::Malformed(_)));
        let into_the_header = b"\0\0\x01\0\0\x01\0\0\0\0\0\0\xc0\x04\0\x01\0\x01";
        assert!(matches!(Query::parse(into_the_header), Err(Fault::Malformed(_))));
        assert!(matches!(Query::parse(&with_opt([0, 1, 0, 0], &[])), Err(Fault::Version { .. })));
        assert!(matches!(Query::parse(&with_opt([0; 4], &[0, 1, 0])), Err(Fault::Options { .. })));
        let trailing = [PLAIN, &[0]].concat();
        assert!(matches!(Query::parse(&trailing), Err(Fault::Malformed(_))));
    }

    #[test]
    fn an_opt_that_breaks_the_rules_is_told_from_other_faults() {
        let good = with_opt([0; 4], &[]);
        let opt = &good[PLAIN.len()..];
        let is_options = |message: &[u8]| {
            matches!(Query::parse(message), Err(Fault::Options { question_end, .. })
                if question_end == PLAIN.len())
        };
        let mut two = [&good[..], opt].concat();
        two[11] = 2;
        assert!(is_options(&two));
        let mut as_answer = good.clone();
        (as_answer[7], as_answer[11]) = (1, 0);
        assert!(is_options(&as_answer));
        let mut named = [PLAIN, b"\x01x", opt].concat();
        named[11] = 1;
        assert!(is_options(&named));
    }
}
