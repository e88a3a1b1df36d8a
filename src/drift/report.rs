//! What was found.

use std::net::IpAddr;

use serde::Serialize;

use super::answered::Answered;
use crate::azure::{EndpointList, Source};

/// How an answer and Azure part; the order is that of the report.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Azure has the name, and there is no private answer.
    Missing,
    /// The answer is an address that Azure has for something else, or only a part of them.
    Different,
    /// An address that no approved endpoint has, or a listed name in a zone of which complete lists
    /// have no endpoint.
    Stale,
    /// A listed name that Azure does not have.
    Extra,
    /// A server answers with a public address: traffic leaves around the private link.
    Public,
    /// A server does not answer.
    Unanswered,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Missing, Self::Different, Self::Stale, Self::Extra, Self::Public, Self::Unanswered];

    /// As reports write it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Different => "different",
            Self::Stale => "stale",
            Self::Extra => "extra",
            Self::Public => "public",
            Self::Unanswered => "unanswered",
        }
    }
}

/// What Azure has for a name, from one endpoint.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Expected {
    /// Azure's name of the endpoint.
    pub endpoint: String,
    /// Sorted.
    pub addresses: Vec<IpAddr>,
    /// Where the files say so.
    pub source: Source,
}

/// One thing that parts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    /// What kind of thing.
    pub kind: Kind,
    /// The names that it holds for, public ones first.
    pub names: Vec<String>,
    /// The classes of clients that get the answer, or the server that gave it.
    pub asked: Vec<String>,
    /// What Azure has, approved endpoints only.
    pub azure: Vec<Expected>,
    /// What the answer is.
    pub answered: Answered,
    /// What in the configuration makes it so.
    pub configured: Option<String>,
    /// In words.
    pub why: String,
}

/// How much was compared.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
pub struct Compared {
    /// Names; a public one and its private one count as one.
    pub names: usize,
    /// The classes of clients that were asked for.
    pub clients: Vec<String>,
    /// The servers that were asked.
    pub servers: Vec<String>,
    /// The lists of private endpoints that the files have. Where all of them are complete, they say
    /// which zones have no endpoint.
    pub lists: Vec<EndpointList>,
}

/// Findings of each kind.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
#[allow(missing_docs, reason = "the kinds' names")]
pub struct Counts {
    pub missing: usize,
    pub different: usize,
    pub stale: usize,
    pub extra: usize,
    pub public: usize,
    pub unanswered: usize,
}

impl Counts {
    /// Of this kind.
    pub fn of(&self, kind: Kind) -> usize {
        match kind {
            Kind::Missing => self.missing,
            Kind::Different => self.different,
            Kind::Stale => self.stale,
            Kind::Extra => self.extra,
            Kind::Public => self.public,
            Kind::Unanswered => self.unanswered,
        }
    }

    fn count(&mut self, kind: Kind) {
        *match kind {
            Kind::Missing => &mut self.missing,
            Kind::Different => &mut self.different,
            Kind::Stale => &mut self.stale,
            Kind::Extra => &mut self.extra,
            Kind::Public => &mut self.public,
            Kind::Unanswered => &mut self.unanswered,
        } += 1;
    }
}

/// The whole comparison.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// Nothing parts.
    pub same: bool,
    /// How much was compared.
    pub compared: Compared,
    /// Findings of each kind.
    pub counts: Counts,
    /// By kind, then by name.
    pub findings: Vec<Finding>,
    /// What was not compared, and why.
    pub not_compared: Vec<String>,
    /// Some names count as gone only because no list has an endpoint of their zone.
    #[serde(skip)]
    pub relies_on_lists: bool,
}

impl Report {
    /// Puts the findings into their order and counts them.
    pub(super) fn finish(&mut self) {
        self.findings
            .sort_by(|a, b| (a.kind, &a.names, &a.asked).cmp(&(b.kind, &b.names, &b.asked)));
        for finding in &self.findings {
            self.counts.count(finding.kind);
        }
        self.same = self.findings.is_empty();
    }
}
