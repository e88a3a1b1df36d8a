//! What `explain` listens to while a decision is made.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::upstream::UpstreamReport;
use crate::zones::Preference;

/// Hears the steps of a decision. On the packet path it is [`Silent`], and the steps are never
/// even made.
pub trait Recorder {
    /// Takes a step; `step` builds it only for those who listen.
    fn note(&mut self, step: impl FnOnce() -> Step) {
        self.note_some(|| Some(step()));
    }

    /// Takes a step, where there is one.
    fn note_some(&mut self, step: impl FnOnce() -> Option<Step>);

    /// The kept answer that was used is asked for often and ends soon: time to fetch it anew.
    fn note_end_is_near(&mut self) {}
}

/// Listens to nothing, at no cost.
pub struct Silent;

impl Recorder for Silent {
    #[inline]
    fn note_some(&mut self, _step: impl FnOnce() -> Option<Step>) {}
}

/// Keeps all steps, in order.
#[derive(Default)]
pub struct Steps(pub Vec<Step>);

impl Recorder for Steps {
    fn note_some(&mut self, step: impl FnOnce() -> Option<Step>) {
        self.0.extend(step());
    }
}

/// One step of a decision.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Step {
    /// The client was looked up.
    Client {
        /// Its address.
        address: IpAddr,
        /// Whether it may ask.
        allowed: bool,
        /// Its site's name.
        site: Option<String>,
    },
    /// The name stands in a private-link zone.
    Zone {
        /// The public zone.
        public_zone: String,
        /// The private zone.
        private_zone: String,
        /// What the name is there.
        place: String,
    },
    /// No private-link zone has the name.
    NoZone,
    /// A name of ours lies below a name that upstreams answer: their NXDOMAIN becomes NODATA.
    NamesBelow {
        /// The upstreams' name.
        name: String,
    },
    /// The name is a special one.
    Special {
        /// Its zone.
        zone: String,
        /// The RFC that says so.
        source: String,
        /// Why it is answered here or forwarded.
        because: SpecialReason,
        /// A server of its rule outside the site, where that is the reason.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        outside: Option<String>,
    },
    /// An endpoint was chosen.
    Endpoint {
        /// Its name.
        endpoint: String,
        /// Why this one.
        because: Preference,
        /// Whether the name is covered by its wildcard, not listed.
        wildcard: bool,
        /// Its addresses for the name, without those left out.
        addresses: Vec<IpAddr>,
    },
    /// Addresses that the name has are down, and left out of the answer while others are up.
    Down {
        /// At whatever endpoint, in the file's order.
        addresses: Vec<DownAddress>,
    },
    /// The chain of a kept or forwarded answer leads to a name of ours and is cut there.
    Cut {
        /// The name of ours.
        at: String,
    },
    /// The cache was looked at.
    Cache {
        /// Whether it had an answer that still holds.
        hit: bool,
        /// How long ago the answer came, seconds.
        age_seconds: Option<u32>,
        /// For how long it still holds, seconds.
        left_seconds: Option<u32>,
        /// Where none holds: for how long one has been past its time, seconds, that serves when no
        /// upstream answers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expired_seconds: Option<u32>,
    },
    /// A forward rule covers the name.
    Rule {
        /// The zones that the rule covers.
        zones: Vec<String>,
        /// Its upstreams, in the file's order.
        upstreams: Vec<UpstreamState>,
        /// The budget of one query, milliseconds.
        timeout_ms: u64,
    },
    /// What is looked for in an upstream's answer.
    Checks {
        /// The zone that wants every address in it to be private.
        require_private: Option<String>,
        /// No address in it may be private.
        rebind_protection: bool,
        /// Its signatures are validated.
        dnssec: bool,
    },
    /// The query is not answered.
    Refused {
        /// Why.
        because: String,
    },
}

/// Why a special name is answered here or forwarded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SpecialReason {
    /// Answered: no server has it, or the configuration says so.
    Nowhere,
    /// Answered: a site's servers may have it, but one of the rule's is outside.
    Outside,
    /// Forwarded: all servers of the rule are inside.
    Inside,
}

/// An address that its probes say is down.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DownAddress {
    /// The address.
    pub address: IpAddr,
    /// The endpoint that has it.
    pub endpoint: String,
    /// What is tried, as in the configuration.
    pub probe: String,
    /// For how long it has been down, seconds.
    pub since_seconds: u64,
    /// It answers again, but has flapped: it serves where nothing else is up.
    pub proving: bool,
    /// What last went wrong.
    pub last_failure: Option<String>,
}

/// An upstream in its part in a rule. Up, not looping and without any counts where nobody has asked
/// it yet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UpstreamState {
    /// Its state, as all rules see it.
    #[serde(flatten)]
    pub report: UpstreamReport,
    /// It sends this rule's queries back to us: it is not asked.
    pub looping: bool,
}
