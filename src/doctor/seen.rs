//! What a reply says, as far as findings are made of it. Replies are hostile; names and numbers are
//! all that is taken from them.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use crate::addresses::{Class, reaches};
use crate::wire::{
    Answer, AnswerRef, DNSSEC_OK, Ede, HEADER_OCTETS, Header, Name, OPTION_EDE, Question, Rcode,
    Records, Rtype, Section, flags, skip_name, u16_at, u32_at,
};

/// Where the expiration and the inception of a signature stand in its data (RFC 4034 §3.1).
const SIGNATURE_TIMES: [usize; 2] = [8, 12];
/// Extended errors and signatures that are looked at in one reply.
const MOST: usize = 16;

/// What came of a question.
pub(super) type Outcome = Result<Seen, Silence>;

/// Why there is nothing to see.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Silence {
    /// Nothing came within this time.
    Timeout(Duration),
    /// A network, a host or a handshake says no, in these words.
    Failed(String),
    /// The server answers with a status of HTTP, in these words.
    Status(String),
    /// What came is no DNS reply to the question.
    Garbled,
    /// There was no time left to ask.
    NotAsked,
}

impl Silence {
    /// Whether the way there is in doubt: somebody who says no is there.
    pub(super) fn is_of_the_way(&self) -> bool {
        match self {
            Self::Timeout(_) => true,
            // The words of `io::ErrorKind`: network unreachable, host unreachable, network down.
            Self::Failed(why) => ["unreachable", "network down"].iter().any(|w| why.contains(w)),
            Self::Status(_) | Self::Garbled | Self::NotAsked => false,
        }
    }
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout(patience) => write!(f, "no reply within {patience:?}"),
            Self::Failed(why) | Self::Status(why) => f.write_str(why),
            Self::Garbled => f.write_str("what comes back is no DNS reply to the question"),
            Self::NotAsked => f.write_str("not asked: the time for the whole examination is over"),
        }
    }
}

/// A reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Seen {
    pub(super) rcode: Rcode,
    /// Of the end of the chain.
    pub(super) addresses: Vec<IpAddr>,
    /// Where CNAMEs lead, in order.
    pub(super) chain: Vec<Name>,
    pub(super) has_opt: bool,
    /// Whether DO came back; `None` where the transport does not tell.
    pub(super) dnssec_ok: Option<bool>,
    pub(super) checking_disabled: bool,
    pub(super) recursion_available: bool,
    pub(super) truncated: bool,
    pub(super) octets: usize,
    pub(super) has_ds: bool,
    /// Inception and expiration of signatures, in seconds since 1970 modulo 2^32.
    pub(super) signatures: Vec<(u32, u32)>,
    /// Codes of extended errors.
    pub(super) errors: Vec<u16>,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            rcode: Rcode::NOERROR,
            addresses: Vec::new(),
            chain: Vec::new(),
            has_opt: false,
            dnssec_ok: None,
            checking_disabled: false,
            recursion_available: false,
            truncated: false,
            octets: 0,
            has_ds: false,
            signatures: Vec::new(),
            errors: Vec::new(),
        }
    }
}

impl Seen {
    /// Reads the octets of a reply to `question`.
    pub(super) fn read(message: &[u8], question: &Question) -> Outcome {
        let header = Header::read(message).ok_or(Silence::Garbled)?;
        if !header.has(flags::QR) || header.opcode() != 0 {
            return Err(Silence::Garbled);
        }
        let bare = Self {
            rcode: Rcode(header.flags & flags::RCODE),
            truncated: header.has(flags::TC),
            octets: message.len(),
            dnssec_ok: Some(false),
            ..Self::of_header(&header)
        };
        // An error may leave the question out (RFC 6891 §7), and a truncated reply end anywhere.
        if bare.truncated || (header.questions == 0 && bare.rcode != Rcode::NOERROR) {
            return Ok(bare);
        }
        let answer = Answer::parse(message, question).map_err(|_| Silence::Garbled)?;
        let octets = message.len();
        let seen = Self { octets, dnssec_ok: Some(false), ..Self::of(answer.borrowed(), question) };
        Ok(with_opt(seen, message, &header))
    }

    /// What an answer says that an upstream's connection has read.
    pub(super) fn of(answer: AnswerRef<'_>, question: &Question) -> Self {
        let mut seen = Self {
            rcode: answer.rcode(),
            chain: answer.links().map(|link| link.target.to_name()).collect(),
            has_opt: answer.has_opt(),
            octets: answer.message().len(),
            ..Self::of_header(answer.header())
        };
        for record in answer.records().filter(|record| record.section == Section::Answer) {
            let v4 = || <[u8; 4]>::try_from(record.rdata).ok().map(IpAddr::from);
            let v6 = || <[u8; 16]>::try_from(record.rdata).ok().map(IpAddr::from);
            match record.rtype {
                Rtype::A => seen.addresses.extend(v4()),
                Rtype::AAAA => seen.addresses.extend(v6()),
                Rtype::DS => seen.has_ds |= question.qtype == Rtype::DS,
                Rtype::RRSIG if seen.signatures.len() < MOST => {
                    let [expiration, inception] =
                        SIGNATURE_TIMES.map(|place| u32_at(record.rdata, place));
                    seen.signatures.extend(inception.zip(expiration));
                }
                _ => {}
            }
        }
        seen.addresses.sort_unstable();
        seen.addresses.dedup();
        seen
    }

    fn of_header(header: &Header) -> Self {
        Self {
            checking_disabled: header.has(flags::CD),
            recursion_available: header.has(flags::RA),
            ..Self::default()
        }
    }

    /// Whether any address leads to a public network.
    pub(super) fn is_public(&self) -> bool {
        self.addresses.iter().any(|address| reaches(*address, |class| class == Class::Public))
    }

    /// Whether there is an address, and all of them lead to networks of somebody's own.
    pub(super) fn is_private(&self) -> bool {
        let is_own = |address: &IpAddr| reaches(*address, |class| class == Class::Private);
        !self.addresses.is_empty() && self.addresses.iter().all(is_own)
    }

    /// Whether there is an address, and all of them are among these.
    pub(super) fn is_among(&self, addresses: &[IpAddr]) -> bool {
        !self.addresses.is_empty() && self.addresses.iter().all(|ip| addresses.contains(ip))
    }

    /// Whether the chain passes through `zone`.
    pub(super) fn passes(&self, zone: &Name) -> bool {
        self.chain.iter().any(|name| name.is_within(zone))
    }
}

/// The rcode, the addresses, and why.
impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.rcode, &*self.addresses) {
            (Rcode::NOERROR, []) if self.chain.is_empty() => f.write_str("no address")?,
            (Rcode::NOERROR, []) => f.write_str("a CNAME and no address")?,
            (Rcode::NOERROR, _) => f.write_str(&list(&self.addresses))?,
            (rcode, _) => write!(f, "{rcode}")?,
        }
        match self.errors.first() {
            Some(code) => write!(f, " (extended error {code}, {})", Ede::name(*code)),
            None => Ok(()),
        }
    }
}

/// What came, in words.
pub(super) fn in_words(outcome: &Outcome) -> String {
    match outcome {
        Ok(seen) => seen.to_string(),
        Err(silence) => silence.to_string(),
    }
}

pub(super) fn list(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What the OPT record says; `Answer` leaves that out.
fn with_opt(mut seen: Seen, message: &[u8], header: &Header) -> Seen {
    let Ok(name_end) = skip_name(message, HEADER_OCTETS) else { return seen };
    let records = Records::new(message, header, name_end + 4).map_while(Result::ok);
    for record in records.filter(|record| record.rtype == Rtype::OPT) {
        seen.dnssec_ok = Some(record.ttl & DNSSEC_OK != 0);
        let mut rest = record.rdata;
        while let (Some(code), Some(octets)) = (u16_at(rest, 0), u16_at(rest, 2)) {
            let end = 4 + usize::from(octets);
            if code == OPTION_EDE && seen.errors.len() < MOST {
                seen.errors.extend(rest.get(4..end).and_then(|option| u16_at(option, 0)));
            }
            rest = rest.get(end..).unwrap_or(&[]);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::question_message;
    use crate::wire::{CLASS_IN, MessageWriter};

    fn question(qtype: Rtype) -> Question {
        Question::plain("api.example".parse().unwrap(), qtype)
    }

    /// A reply with the records that `write` appends, and their count, and an OPT.
    fn reply(bits: u16, answers: u16, write: impl FnOnce(&mut MessageWriter<'_>)) -> Vec<u8> {
        let mut octets = Vec::new();
        let mut writer = MessageWriter::begin(&mut octets, 4_096, 7, flags::QR | bits);
        writer.raw(b"\x03api\x07example\0\0\x01\0\x01").unwrap();
        write(&mut writer);
        writer.opt(Rcode::NOERROR, true, Some((Ede::DnssecBogus, "why")), &[]).unwrap();
        writer.set_counts([1, answers, 0, 1]);
        octets
    }

    #[test]
    fn a_reply_is_taken_apart() {
        let octets = reply(flags::RA | flags::CD, 3, |writer| {
            writer.record([0xc0, 12], Rtype::CNAME, CLASS_IN, 60, 4).unwrap();
            writer.raw(b"\x01x\xc0\x10").unwrap();
            let target = [0xc0, 12 + 13 + 4 + 12];
            for address in [[20, 1, 2, 3], [10, 1, 0, 5]] {
                writer.record(target, Rtype::A, CLASS_IN, 60, 4).unwrap();
                writer.raw(&address).unwrap();
            }
        });
        let seen = Seen::read(&octets, &question(Rtype::A)).unwrap();
        assert_eq!(list(&seen.addresses), "10.1.0.5, 20.1.2.3");
        assert_eq!(seen.chain, ["x.example".parse().unwrap()]);
        assert!(seen.passes(&"example".parse().unwrap()));
        assert!(seen.is_public() && !seen.is_private());
        assert!(seen.has_opt && seen.checking_disabled && seen.recursion_available);
        assert_eq!((seen.dnssec_ok, seen.errors), (Some(true), vec![6]));
    }

    #[test]
    fn times_of_signatures_are_found() {
        let octets = reply(0, 1, |writer| {
            writer.record([0xc0, 12], Rtype::RRSIG, CLASS_IN, 60, 19).unwrap();
            writer.raw(&[0, 1, 8, 2, 0, 0, 0, 60, 0, 0, 0, 9, 0, 0, 0, 7, 0, 0, 0]).unwrap();
        });
        let question = Question { dnssec_ok: true, ..question(Rtype::A) };
        let seen = Seen::read(&octets, &question).unwrap();
        assert_eq!(seen.signatures, [(7, 9)]);
    }

    #[test]
    fn errors_and_cut_replies_may_lack_what_others_have() {
        let formerr = b"\0\x07\x80\x01\0\0\0\0\0\0\0\0";
        let seen = Seen::read(formerr, &question(Rtype::A)).unwrap();
        assert_eq!((seen.rcode, seen.has_opt), (Rcode::FORMERR, false));
        let cut = &reply(flags::TC, 9, |_| {})[..30];
        assert!(Seen::read(cut, &question(Rtype::A)).unwrap().truncated);
        let whole = reply(0, 0, |_| {});
        for end in 0..whole.len() {
            // No prefix is taken for more than it is, and none does harm.
            let read = Seen::read(&whole[..end], &question(Rtype::A));
            assert!(end == whole.len() || read.is_err() || end >= 29, "{end}: {read:?}");
        }
        let query = question_message(7, &question(Rtype::A), true);
        assert_eq!(Seen::read(&query, &question(Rtype::A)), Err(Silence::Garbled));
        assert_eq!(Seen::read(&whole, &question(Rtype::AAAA)), Err(Silence::Garbled));
    }

    #[test]
    fn outcomes_read_well() {
        let bogus = Seen { rcode: Rcode::SERVFAIL, errors: vec![6], ..Seen::default() }.to_string();
        assert_eq!(bogus, "SERVFAIL (extended error 6, DNSSEC Bogus)");
        assert_eq!(Seen::default().to_string(), "no address");
        let silence = Err(Silence::Timeout(Duration::from_secs(2)));
        assert_eq!(in_words(&silence), "no reply within 2s");
    }
}
