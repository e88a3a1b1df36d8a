//! Explanations: a decision with all its steps, for people and for programs.
//!
//! The same type is made from a file and by the running daemon, and travels as JSON between the
//! two; whoever prints it need not know where it came from.

use std::net::IpAddr;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::expect::query_message;
use super::recorder::{Step, Steps};
use super::shown::{Shown, Undecodable};
use super::snapshot::Snapshot;
use super::{Asked, Outcome, Transport, Verdict, decide};
use crate::wire::{Name, Rtype};

/// What is to be explained.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ask {
    /// The name asked.
    pub name: Name,
    /// The type asked.
    pub rtype: Rtype,
    /// Who asks.
    pub client: IpAddr,
    /// Whether the client wants signatures (DO): such answers are kept apart from the others.
    pub dnssec: bool,
}

/// Why a name is answered as it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Explanation {
    /// The name asked.
    pub name: String,
    /// The type's mnemonic.
    pub r#type: String,
    /// Who asks.
    pub client: IpAddr,
    /// From the running daemon, its cache and its upstreams; otherwise from a file alone.
    pub live: bool,
    /// What it comes to.
    pub verdict: Conclusion,
    /// What was decided, in order.
    pub steps: Vec<Step>,
    /// The reply over TCP; none where an upstream must be asked, or nothing is said.
    pub reply: Option<Shown>,
}

/// What a decision comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Conclusion {
    /// Answered from a private-link zone.
    Private,
    /// Answered as a special name.
    Special,
    /// Answered from the cache.
    Cached,
    /// Refused by policy.
    Refused,
    /// Answered in another way: a fault, or a query of our own that came back.
    Answered,
    /// Silence.
    Dropped,
    /// An upstream is asked.
    Forwarded,
}

impl From<Verdict> for Conclusion {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Reply(Outcome::Private) => Self::Private,
            Verdict::Reply(Outcome::Special) => Self::Special,
            Verdict::Reply(Outcome::Cached) => Self::Cached,
            Verdict::Reply(Outcome::Refused) => Self::Refused,
            Verdict::Reply(_) => Self::Answered,
            Verdict::Drop(_) => Self::Dropped,
            Verdict::Forward => Self::Forwarded,
        }
    }
}

impl Snapshot {
    /// Decides as for a query over TCP, and tells how. Sends nothing and changes nothing. `live`
    /// says whether this snapshot is the one in force.
    ///
    /// # Errors
    /// A kept answer that the decoder does not take.
    pub fn explain(&self, ask: &Ask, live: bool) -> Result<Explanation, Undecodable> {
        let client = ask.client.to_canonical();
        let asked = Asked { client, transport: Transport::Tcp, now: Instant::now(), rotation: 0 };
        let query = query_message(0, &ask.name, ask.rtype, ask.dnssec);
        let (mut reply, mut steps) = (Vec::new(), Steps::default());
        let verdict = decide(self, &asked, &query, &mut reply, &mut steps);
        let reply = match verdict {
            Verdict::Reply(_) => Some(Shown::read(&reply)?),
            Verdict::Drop(_) | Verdict::Forward => None,
        };
        Ok(Explanation {
            name: ask.name.to_string(),
            r#type: ask.rtype.to_string(),
            client,
            live,
            verdict: verdict.into(),
            steps: steps.0,
            reply,
        })
    }
}
