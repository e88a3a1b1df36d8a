//! Probes of private endpoints: whether a connection, or a TLS handshake, comes to its end at each
//! address that the configuration wants probed. What they find out, `zones` keeps and answers by.
//!
//! Nobody waits for a probe. Knows no query and no name but those in certificates.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod attempt;
mod news;
mod prober;
#[cfg(test)]
mod tests;

pub use attempt::probe_once;
pub use news::reports;
pub use prober::{Anew, probe_endpoints};
