//! What is not ours: which servers to ask, in which order, for how long, and how often at once.
//!
//! Owns forward rules, policies and failover inside one query's budget, probes of servers that are
//! down, the merging of identical questions, the search for forwarding loops, and the end of sockets
//! when the network changes. Knows nothing of private names, caches or clients' sockets.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod alarms;
mod course;
mod epoch;
mod failure;
mod flights;
mod forwarder;
mod lanes;
mod loop_guard;
mod loop_pace;
mod loop_search;
mod loops;
mod named_files;
mod own;
mod policy;
mod probes;
mod race;
mod resolv_conf;
mod rules;
mod target;

#[cfg(test)]
mod tests;

pub use epoch::Epoch;
pub use failure::{Failure, Unproven, Unwanted};
pub use flights::Flights;
pub use forwarder::Forwarder;
pub use loop_guard::{Echo, LoopGuard};
pub use loops::probe_for_loops;
pub use own::{OwnAddresses, own_upstreams};
pub use probes::probe_upstreams;
#[cfg(fuzzing)]
pub use resolv_conf::parse_resolv_conf;
pub use resolv_conf::{ResolvConf, read as read_resolv_conf};
pub use rules::{Rule, Rules};
pub use target::Target;
