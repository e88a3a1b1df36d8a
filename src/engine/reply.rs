//! Replies: header, question and OPT around whatever the answer is.

use super::Transport;
use super::denial::Denial;
use crate::forward::{Echo, Failure};
use crate::wire::{
    AnswerRef, CLASS_IN, CLASSIC_UDP_OCTETS, Ede, Edns, Fault, Full, Header, MessageWriter,
    OPT_OCTETS, POINTER_TO_QUESTION, Query, Rcode, Rtype, Tsig, UDP_PAYLOAD_OCTETS, flags, u32_at,
};

/// What every record of a stale answer says (RFC 8767 §4).
const STALE_TTL_SECONDS: u32 = 30;

/// What time has made of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Age {
    /// It holds; so many seconds are to be taken off its TTLs.
    Seconds(u32),
    /// It is past its time.
    Stale,
}

impl Age {
    /// An upstream's answer of this moment.
    pub(super) const NEW: Self = Self::Seconds(0);

    pub(super) fn ttl(self, ttl: u32) -> u32 {
        match self {
            Self::Seconds(age) => ttl.saturating_sub(age),
            Self::Stale => STALE_TTL_SECONDS,
        }
    }

    /// The extended error that goes with it.
    pub(super) fn why(self, rcode: Rcode) -> Option<(Ede, &'static str)> {
        let code = if rcode == Rcode::NXDOMAIN { Ede::StaleNxdomain } else { Ede::StaleAnswer };
        (self == Self::Stale).then_some((code, "no upstream gave a newer answer"))
    }
}

/// A reply to a well-formed query, under way.
pub(super) struct Reply<'a> {
    pub(super) writer: MessageWriter<'a>,
    /// Records in answer and authority.
    pub(super) answers: u16,
    pub(super) authorities: u16,
    query: &'a Query<'a>,
}

impl<'a> Reply<'a> {
    /// Writes header and question, and keeps room for the OPT when the query has one.
    pub(super) fn begin(query: &'a Query<'a>, transport: Transport, out: &'a mut Vec<u8>) -> Self {
        let limit = match transport {
            Transport::Udp => query.edns.map_or(CLASSIC_UDP_OCTETS, |edns| {
                let asked = usize::from(edns.udp_payload);
                asked.clamp(CLASSIC_UDP_OCTETS, usize::from(UDP_PAYLOAD_OCTETS))
            }),
            Transport::Tcp => crate::wire::MAX_MESSAGE_OCTETS,
        };
        let mut writer = MessageWriter::begin(out, limit, query.header.id, 0);
        // A question has at most 259 octets, the OPT 11: both fit into 512.
        let _fits = writer.raw(query.question());
        if query.edns.is_some() {
            let _fits = writer.reserve(OPT_OCTETS);
        }
        Self { writer, answers: 0, authorities: 0, query }
    }

    /// Whether the client set DO.
    pub(super) fn dnssec_ok(&self) -> bool {
        self.query.dnssec_ok()
    }

    /// Takes everything behind the question back and says that there is more (RFC 2181 §9).
    pub(super) fn truncate(&mut self) {
        self.writer.truncate(self.query.question_end());
        (self.answers, self.authorities) = (0, 0);
    }

    /// Writes the OPT and the header. `bits` are AA, AD or TC; the error is left out where it does
    /// not fit, as are `options`.
    pub(super) fn finish(
        mut self,
        bits: u16,
        rcode: Rcode,
        ede: Option<(Ede, &str)>,
        options: &[u8],
    ) {
        let mut additionals = 0;
        let mut rcode = rcode;
        if self.query.edns.is_some() {
            self.writer.release(OPT_OCTETS);
            let dnssec_ok = self.query.dnssec_ok();
            let fits = MessageWriter::opt_octets(ede, options) <= self.writer.room();
            let (ede, options) = if fits { (ede, options) } else { (None, &[][..]) };
            additionals = u16::from(self.writer.opt(rcode, dnssec_ok, ede, options).is_ok());
        } else if rcode.0 > flags::RCODE {
            // The upper bits have no place without OPT.
            rcode = Rcode::SERVFAIL;
        }
        let echoed = self.query.header.flags & (flags::RD | flags::CD);
        // RA always: glibc takes an empty answer without it for a lame server's.
        let word = flags::QR | flags::RA | echoed | bits | (rcode.0 & flags::RCODE);
        self.writer.set_u16(2, word);
        self.writer.set_counts([1, self.answers, self.authorities, additionals]);
    }
}

/// A reply that holds nothing but the question.
pub(super) fn empty(
    query: &Query<'_>,
    transport: Transport,
    rcode: Rcode,
    ede: Option<(Ede, &str)>,
    out: &mut Vec<u8>,
) {
    Reply::begin(query, transport, out).finish(0, rcode, ede, &[]);
}

/// Answers a loop probe that came back with one TXT record, which no cache keeps.
pub(super) fn echo(
    query: &Query<'_>,
    transport: Transport,
    echo: &Echo,
    ede: (Ede, &str),
    out: &mut Vec<u8>,
) {
    let mut reply = Reply::begin(query, transport, out);
    // A question of at most 259 octets and a record of 29 fit into 512.
    let fixed = reply.writer.record(POINTER_TO_QUESTION, Rtype::TXT, CLASS_IN, 0, echo.len());
    if fixed.is_ok() && reply.writer.raw(echo).is_ok() {
        reply.answers = 1;
    }
    reply.finish(0, Rcode::NOERROR, Some(ede), &[]);
}

/// SERVFAIL with the reason, and with those that an upstream gave.
pub(super) fn failure(
    query: &Query<'_>,
    transport: Transport,
    failure: &Failure,
    out: &mut Vec<u8>,
) {
    let options = match failure {
        Failure::BadReply(answer) => answer.ede_options(),
        _ => &[],
    };
    let text = failure.text();
    let ede = Some((failure.ede(), &*text));
    Reply::begin(query, transport, out).finish(0, Rcode::SERVFAIL, ede, options);
}

/// Answers what is no query, as RFC 8906 §8 and RFC 6891 §6.1.3 want it; gives false for silence.
/// Never larger than what came.
pub(super) fn fault(fault: Fault, message: &[u8], out: &mut Vec<u8>) -> bool {
    match fault {
        Fault::NotAQuery => return false,
        Fault::Malformed(header) => header_only(&header, Rcode::FORMERR, out),
        // A server that does not know an opcode does not know its flags (RFC 8906 §3.1.4).
        Fault::Opcode(header) => {
            let word = flags::QR | header.flags & flags::OPCODE | Rcode::NOTIMP.0;
            MessageWriter::begin(out, 0, header.id, word);
        }
        Fault::Signed { header, question_end, edns, tsig_at } => {
            let begin = out.len();
            if bad_key(&header, message, question_end, edns, tsig_at, out).is_err() {
                out.truncate(begin);
                header_only(&header, Rcode::FORMERR, out);
            }
        }
        Fault::Options { header, question_end } => {
            with_opt(&header, message, question_end, Rcode::FORMERR, false, out);
        }
        Fault::Version { header, question_end, dnssec_ok } => {
            with_opt(&header, message, question_end, Rcode::BADVERS, dnssec_ok, out);
        }
    }
    true
}

/// The question and an OPT; both came in `message`, so both fit.
fn with_opt(
    header: &Header,
    message: &[u8],
    question_end: usize,
    rcode: Rcode,
    dnssec_ok: bool,
    out: &mut Vec<u8>,
) {
    let word = error_flags(header, rcode);
    let mut writer = MessageWriter::begin(out, message.len(), header.id, word);
    let question = message.get(crate::wire::HEADER_OCTETS..question_end).unwrap_or(&[]);
    let questions = u16::from(writer.raw(question).is_ok());
    let opts = u16::from(writer.opt(rcode, dnssec_ok, None, &[]).is_ok());
    writer.set_counts([questions, 0, 0, opts]);
}

/// Answers NOTAUTH to a signature with a key that we do not have. An error if the reply would be
/// larger than the query.
fn bad_key(
    header: &Header,
    message: &[u8],
    question_end: usize,
    edns: Option<Edns>,
    tsig_at: usize,
    out: &mut Vec<u8>,
) -> Result<(), Full> {
    let word = error_flags(header, Rcode::NOTAUTH);
    let mut writer = MessageWriter::begin(out, message.len(), header.id, word);
    writer.raw(message.get(crate::wire::HEADER_OCTETS..question_end).ok_or(Full)?)?;
    if let Some(edns) = edns {
        writer.opt(Rcode::NOTAUTH, edns.dnssec_ok, None, &[])?;
    }
    Tsig::read(message, tsig_at).map_err(|_| Full)?.write_bad_key(&mut writer)?;
    writer.set_counts([1, 0, 0, 1 + u16::from(edns.is_some())]);
    Ok(())
}

fn header_only(header: &Header, rcode: Rcode, out: &mut Vec<u8>) {
    MessageWriter::begin(out, 0, header.id, error_flags(header, rcode));
}

fn error_flags(header: &Header, rcode: Rcode) -> u16 {
    // CD is copied into every response (RFC 4035 §3.2.2).
    let echoed = header.flags & (flags::OPCODE | flags::RD | flags::CD);
    flags::QR | flags::RA | echoed | (rcode.0 & flags::RCODE)
}

/// Writes an upstream's answer, its TTLs as time has left them.
pub(super) fn from_answer(mut reply: Reply<'_>, answer: &AnswerRef<'_>, age: Age, denial: Denial) {
    let header = answer.header();
    let asks_ad = reply.query.dnssec_ok() || reply.query.header.has(flags::AD);
    // What was authentic then may have signatures that have ended since. And what the upstream
    // proves is its own NXDOMAIN.
    let may_vouch = asks_ad && age != Age::Stale && denial == Denial::AsSaid;
    let mut bits = if may_vouch { header.flags & flags::AD } else { 0 };
    if copy_records(&mut reply, answer, age, denial).is_err() {
        reply.truncate();
        bits = flags::TC;
    }
    let rcode = match denial {
        Denial::AsSaid => answer.rcode(),
        Denial::AsNodata => Rcode::NOERROR,
    };
    reply.finish(bits, rcode, age.why(rcode), answer.ede_options());
}

/// Copies the records; without the authority section where that is what does not fit and nobody
/// needs it (RFC 2181 §9).
fn copy_records(
    reply: &mut Reply<'_>,
    answer: &AnswerRef<'_>,
    age: Age,
    denial: Denial,
) -> Result<(), Full> {
    let message = answer.message();
    let from = answer.question_end();
    let all = message.get(from..).ok_or(Full)?;
    let header = answer.header();
    // NOERROR with NS records and no SOA is a referral, and no NODATA (RFC 2308 §2.2).
    let misleads = denial == Denial::AsNodata && answer.negative_ttl().is_none();
    (reply.answers, reply.authorities) = (header.answers, header.authorities);
    if misleads || reply.writer.raw(all).is_err() {
        // Only a SOA says that a chain's end has no data, so it is not spare (RFC 2308 §2.2).
        let spare = header.answers > 0
            && answer.rcode() == Rcode::NOERROR
            && !reply.query.dnssec_ok()
            && answer.negative_ttl().is_none();
        if !spare && !misleads {
            return Err(Full);
        }
        reply.writer.raw(message.get(from..answer.answers_end()).ok_or(Full)?)?;
        reply.authorities = 0;
    }
    if age != Age::NEW {
        let end = reply.writer.len();
        for place in answer.ttl_places() {
            if place < end {
                let ttl = u32_at(message, place).unwrap_or(0);
                reply.writer.set_u32(place, age.ttl(ttl));
            }
        }
    }
    Ok(())
}
