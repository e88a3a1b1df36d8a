//! Asking a snapshot without a network: `[[expect]]`, and the queries that `explain` and `query` send.

use std::net::IpAddr;
use std::time::Instant;

use super::recorder::{Recorder, Silent, Step, Steps};
use super::snapshot::Snapshot;
use super::{Asked, Outcome, Transport, Verdict, decide};
use crate::config::Expect;
use crate::wire::{
    CLASSIC_UDP_OCTETS, Header, MessageWriter, Name, QName, Question, Rcode, Records, Rtype,
    Section, flags,
};

/// An `[[expect]]` that does not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expectation {
    /// The line of the file it stands in.
    pub line: usize,
    /// What was asked, by whom, what was expected and what came.
    pub what: String,
}

/// Most expectations that one configuration is told about: nobody reads more, and a log takes them
/// line by line.
pub const MAX_UNMET: usize = 1_000;

impl Snapshot {
    /// Asks as `client` would over TCP, from the tables alone; gives the verdict and the reply.
    pub fn try_query(&self, client: IpAddr, qname: &Name, qtype: Rtype) -> (Verdict, Vec<u8>) {
        self.try_recorded(client, qname, qtype, &mut Silent)
    }

    fn try_recorded(
        &self,
        client: IpAddr,
        qname: &Name,
        qtype: Rtype,
        recorder: &mut impl Recorder,
    ) -> (Verdict, Vec<u8>) {
        // As a socket gives it: networks are never written as IPv4 inside IPv6.
        let client = client.to_canonical();
        let asked = Asked { client, transport: Transport::Tcp, now: Instant::now(), rotation: 0 };
        let (query, mut reply) = (query_message(0, qname, qtype, false), Vec::new());
        let verdict = decide(self, &asked, &query, &mut reply, recorder);
        (verdict, reply)
    }

    /// Which of `expects` do not hold, the first [`MAX_UNMET`] of them.
    pub fn unmet(&self, expects: &[Expect]) -> Vec<Expectation> {
        expects.iter().filter_map(|expect| self.unmet_one(expect)).take(MAX_UNMET).collect()
    }

    fn unmet_one(&self, expect: &Expect) -> Option<Expectation> {
        let Expect { client, qname, qtype, .. } = expect;
        let (verdict, reply) = self.try_query(*client, qname, *qtype);
        let mut expected = expect.answer.clone();
        expected.sort_unstable();
        expected.dedup();
        let mut found = addresses(&reply);
        found.sort_unstable();
        // A kept answer that leads to us is private too, and gone with the cache: the file alone counts.
        let is_ours = self.zones.find(&QName::from(qname)).is_some_and(|f| f.is_ours());
        let is_private = verdict == Verdict::Reply(Outcome::Private) && is_ours;
        let is_special = verdict == Verdict::Reply(Outcome::Special);
        if (is_private || is_special) && found == expected {
            return None;
        }
        let mut steps = Steps::default();
        self.try_recorded(*client, qname, *qtype, &mut steps);
        let found = match verdict {
            Verdict::Reply(Outcome::Private) if is_ours => {
                format!("the answer is {found:?}{}", endpoint(&steps))
            }
            Verdict::Reply(Outcome::Special) => {
                format!("it is a special name, and the answer is {found:?}")
            }
            Verdict::Reply(Outcome::Refused) => format!("it is refused{}", refusal(&steps)),
            Verdict::Forward | Verdict::Reply(_) => {
                "it is forwarded, not answered from a private-link zone".to_owned()
            }
            Verdict::Drop(_) => {
                "the client is dropped: it is not in [access] allow, and refused = \"drop\""
                    .to_owned()
            }
        };
        let site = site(&steps);
        let what =
            format!("{client}{site} asks {qname} {qtype}: expected {expected:?}, but {found}");
        Some(Expectation { line: expect.line, what })
    }
}

/// The client's site, where it has one.
fn site(steps: &Steps) -> String {
    let site = steps.0.iter().find_map(|step| match step {
        Step::Client { site, .. } => site.as_deref(),
        _ => None,
    });
    site.map_or_else(String::new, |site| format!(" (site {site})"))
}

/// Who gave the answer.
fn endpoint(steps: &Steps) -> String {
    let endpoint = steps.0.iter().find_map(|step| match step {
        Step::Endpoint { endpoint, wildcard, .. } => Some((endpoint, wildcard)),
        _ => None,
    });
    endpoint.map_or_else(String::new, |(endpoint, wildcard)| {
        format!(", from endpoint {endpoint}{}", if *wildcard { " by its wildcard" } else { "" })
    })
}

fn refusal(steps: &Steps) -> String {
    let because = steps.0.iter().find_map(|step| match step {
        Step::Refused { because } => Some(because),
        _ => None,
    });
    because.map_or_else(String::new, |because| format!(": {because}"))
}

/// A query as a stub resolver sends it: RD, EDNS, DO when signatures are wanted.
pub fn query_message(id: u16, qname: &Name, qtype: Rtype, dnssec_ok: bool) -> Vec<u8> {
    let question = Question { dnssec_ok, ..Question::plain(qname.clone(), qtype) };
    question_message(id, &question, true)
}

/// The same for any question: its own DO and CD, and an OPT record where `edns` says so; DO needs
/// one.
pub fn question_message(id: u16, question: &Question, edns: bool) -> Vec<u8> {
    let bits = if question.checking_disabled { flags::RD | flags::CD } else { flags::RD };
    let mut message = Vec::with_capacity(CLASSIC_UDP_OCTETS);
    let mut writer = MessageWriter::begin(&mut message, CLASSIC_UDP_OCTETS, id, bits);
    let written = writer
        .raw(question.qname.as_wire())
        .and_then(|()| writer.raw(&question.qtype.0.to_be_bytes()))
        .and_then(|()| writer.raw(&question.qclass.to_be_bytes()))
        .and_then(|()| match edns {
            true => writer.opt(Rcode::NOERROR, question.dnssec_ok, None, &[]),
            false => Ok(()),
        });
    // A name has at most 255 octets.
    debug_assert!(written.is_ok(), "a query always fits");
    writer.set_counts([1, 0, 0, u16::from(edns)]);
    message
}

/// The addresses in the answer section of a reply of ours.
fn addresses(reply: &[u8]) -> Vec<IpAddr> {
    let question_end = crate::wire::skip_name(reply, crate::wire::HEADER_OCTETS).map(|at| at + 4);
    let (Some(header), Ok(at)) = (Header::read(reply), question_end) else { return Vec::new() };
    Records::new(reply, &header, at)
        .map_while(Result::ok)
        .take_while(|record| record.section == Section::Answer)
        .filter_map(|record| match record.rtype {
            Rtype::A => <[u8; 4]>::try_from(record.rdata).ok().map(IpAddr::from),
            Rtype::AAAA => <[u8; 16]>::try_from(record.rdata).ok().map(IpAddr::from),
            _ => None,
        })
        .collect()
}
