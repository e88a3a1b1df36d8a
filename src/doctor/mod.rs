//! `doctor`: a host, its configuration and its surroundings, looked at from outside.
//!
//! Observing and meaning are two things: `survey`, `plan`, `asking`, `looping`, `ports` and `probing`
//! look, the other modules say what it means, and know no network. Everything that waits has an end,
//! and so has the whole. Changes nothing, but listens for a moment where the daemon would, if it does
//! not run.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod asking;
mod clock;
mod configuration;
mod finding;
mod health;
mod looping;
mod mistakes;
mod plan;
mod ports;
mod probing;
mod remedies;
mod resolv_conf;
mod seen;
mod signed;
mod sites;
mod subjects;
mod survey;
mod upstreams;
mod via;

use std::net::SocketAddr;
use std::path::Path;
use std::time::SystemTime;

pub use finding::{Finding, Severity};

use crate::config::{self, LoadError};
use crate::sys;
use clock::Clock;

/// What is to be looked at.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The configuration file.
    pub config: &'a Path,
    /// Resolvers that clients ask.
    pub via: &'a [SocketAddr],
}

/// Looks at everything there is to look at; gives the findings in an order that is always the same.
/// Takes up to 15 seconds when nobody answers, and calls `progress` with what comes next.
///
/// # Errors
/// The file cannot be read, so that there is nothing to look at.
pub fn examine(request: &Request<'_>, progress: &dyn Fn(&str)) -> Result<Vec<Finding>, LoadError> {
    match config::load(request.config) {
        Ok(loaded) => Ok(survey::survey(request, &loaded, progress)),
        Err(error) => match configuration::unusable(request.config, &error) {
            Some(finding) => Ok(vec![finding, clock(Vec::new())]),
            None => Err(error),
        },
    }
}

fn clock(signatures: Vec<(u32, u32)>) -> Finding {
    let synchronised = sys::is_clock_synchronised().ok();
    Clock { now: SystemTime::now(), synchronised, signatures }.finding()
}
