//! Asking a snapshot without a network: `[[expect]]`, and the queries that `explain` and `query` send.

use std::net::IpAddr;
use std::time::Instant;

use super::snapshot::Snapshot;
use super::{Asked, Outcome, Silent, Transport, Verdict, decide};
use crate::client;
use crate::config::Expect;
use crate::wire::{Header, Name, Question, Records, Rtype, Section};

/// An `[[expect]]` that does not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expectation {
    /// The line of the file it stands in.
    pub line: usize,
    /// What was asked, by whom, what was expected and what came.
    pub what: String,
}

impl Snapshot {
    /// Asks as `client` would over TCP, from the tables alone; gives the verdict and the reply.
    fn try_query(&self, client: IpAddr, qname: &Name, qtype: Rtype) -> (Verdict, Vec<u8>) {
        let asked = Asked { client, transport: Transport::Tcp, now: Instant::now(), rotation: 0 };
        let (query, mut reply) = (query_message(0, qname, qtype, false), Vec::new());
        let verdict = decide(self, &asked, &query, &mut reply, &mut Silent);
        (verdict, reply)
    }

    /// Which of `expects` do not hold.
    pub fn unmet(&self, expects: &[Expect]) -> Vec<Expectation> {
        expects.iter().filter_map(|expect| self.unmet_one(expect)).collect()
    }

    fn unmet_one(&self, expect: &Expect) -> Option<Expectation> {
        let (verdict, reply) = self.try_query(expect.client, &expect.qname, expect.qtype);
        let found = match verdict {
            Verdict::Reply(Outcome::Private) => Ok(addresses(&reply)),
            Verdict::Reply(Outcome::Refused) => Err("it is refused"),
            Verdict::Forward | Verdict::Reply(_) => {
                Err("it is forwarded, not answered from a private-link zone")
            }
            Verdict::Drop(_) => Err("the client is dropped"),
        };
        let mut expected = expect.answer.clone();
        expected.sort_unstable();
        let found = match found {
            Ok(mut found) => {
                found.sort_unstable();
                if found == expected {
                    return None;
                }
                format!("the answer is {found:?}")
            }
            Err(why) => why.to_owned(),
        };
        let Expect { client, qname, qtype, .. } = expect;
        let what = format!("{client} asks {qname} {qtype}: expected {expected:?}, but {found}");
        Some(Expectation { line: expect.line, what })
    }
}

/// A query as a stub resolver sends it: RD, EDNS, DO when signatures are wanted.
pub fn query_message(id: u16, qname: &Name, qtype: Rtype, dnssec_ok: bool) -> Vec<u8> {
    let question = Question { dnssec_ok, ..Question::plain(qname.clone(), qtype) };
    client::message(id, &question, true)
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
