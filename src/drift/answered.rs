//! What came back for a name: its addresses of both families, or why there are none.

use std::fmt;
use std::net::IpAddr;

use serde::Serialize;

use crate::wire::{Answer, AnswerError, Name, Question, Rcode, Rtype, Section};

/// The types that are asked for each name.
pub(super) const TYPES: [Rtype; 2] = [Rtype::A, Rtype::AAAA];

/// How it went.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(into = "&'static str")]
pub enum Outcome {
    /// With addresses.
    Addresses,
    /// The name exists and has none.
    Nodata,
    /// The name does not exist.
    Nxdomain,
    /// An upstream is asked.
    Forwarded,
    /// By policy.
    Refused,
    /// With silence.
    Dropped,
    /// In another way.
    Failed(String),
}

/// What came back.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Answered {
    /// How it went.
    pub outcome: Outcome,
    /// Sorted; empty but for [`Outcome::Addresses`].
    pub addresses: Vec<IpAddr>,
}

impl From<Outcome> for &'static str {
    /// For programs; how it failed stands in a finding's reason.
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Addresses => "addresses",
            Outcome::Nodata => "nodata",
            Outcome::Nxdomain => "nxdomain",
            Outcome::Forwarded => "forwarded",
            Outcome::Refused => "refused",
            Outcome::Dropped => "dropped",
            Outcome::Failed(_) => "failed",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Addresses => "addresses",
            Self::Nodata => "NODATA",
            Self::Nxdomain => "NXDOMAIN",
            Self::Forwarded => "forwarded",
            Self::Refused => "REFUSED",
            Self::Dropped => "dropped",
            Self::Failed(how) => how,
        })
    }
}

impl From<Outcome> for Answered {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, addresses: Vec::new() }
    }
}

impl Answered {
    /// With these addresses, or NODATA.
    pub(super) fn with(mut addresses: Vec<IpAddr>) -> Self {
        addresses.sort_unstable();
        addresses.dedup();
        let outcome = if addresses.is_empty() { Outcome::Nodata } else { Outcome::Addresses };
        Self { outcome, addresses }
    }

    /// Asks `ask` for each type and puts the answers together. What is no answer ends it.
    pub(super) fn gather(mut ask: impl FnMut(Rtype) -> Self) -> Self {
        let mut all = Vec::new();
        for rtype in TYPES {
            match ask(rtype) {
                Self { outcome: Outcome::Addresses | Outcome::Nodata, addresses } => {
                    all.extend(addresses);
                }
                no_answer => return no_answer,
            }
        }
        Self::with(all)
    }

    /// What `reply` says to this question.
    pub(super) fn read(reply: &[u8], qname: &Name, qtype: Rtype) -> Result<Self, AnswerError> {
        let answer = Answer::parse(reply, &Question::plain(qname.clone(), qtype))?;
        match answer.rcode() {
            Rcode::NOERROR => {}
            Rcode::NXDOMAIN => return Ok(Outcome::Nxdomain.into()),
            Rcode::REFUSED => return Ok(Outcome::Refused.into()),
            rcode => return Ok(Outcome::Failed(rcode.to_string()).into()),
        }
        let records = answer.borrowed().records();
        let addresses = records.filter(|record| record.section == Section::Answer);
        let addresses = addresses.filter_map(|record| match record.rtype {
            Rtype::A => <[u8; 4]>::try_from(record.rdata).ok().map(IpAddr::from),
            Rtype::AAAA => <[u8; 16]>::try_from(record.rdata).ok().map(IpAddr::from),
            _ => None,
        });
        Ok(Self::with(addresses.collect()))
    }
}
