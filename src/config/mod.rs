//! The configuration file: what the user typed, checked and turned into what it means.
//!
//! Owns the file's keys, defaults, ranges and every check that needs nothing but the file. Refuses
//! to know sockets, the machine's own addresses, and time.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod diagnostic;
mod findings;
pub mod limits;
mod load;
mod model;
mod outline;
mod probes;
mod resolve;
mod spec;
mod suggest;
mod syntax;
mod table;
mod upstreams;
mod values;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use diagnostic::{Diagnostic, Severity};
pub use load::{LoadError, Loaded, MAX_FILE_OCTETS, Report, load, load_stdin, read};
pub use model::{
    Access, CacheConfig, Config, Dnssec, DnssecConfig, Endpoint, Expect, Forward, Limits, Listen,
    Log, LogFormat, LogLevel, LogQueries, Names, Policy, PrivateLink, Process, Refused, Site,
    SpecialConfig, Unlisted,
};
pub use probes::{AllDown, Probe, Probes, Target};
pub use upstreams::{Scheme, Trust, UpstreamHost, UpstreamServer, UpstreamSource};

/// Every accepted key by table, in the order of the documentation; `""` is the top of the file.
pub fn keys() -> &'static [(&'static str, &'static [&'static str])] {
    spec::KEYS
}
