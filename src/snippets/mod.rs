//! What to paste on the asking side, so that another resolver asks this daemon for its zones.
//!
//! Owns the targets' syntax and traps. Pure: zones, addresses and expected answers come in, a text
//! goes out, the same each time. Refuses to know where the addresses come from and how an answer is
//! decided.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod bind;
mod checks;
mod coredns;
mod dnsmasq;
mod resolv_conf;
mod resolved;
mod servers;
mod sheet;
mod target;
#[cfg(test)]
mod tests;
mod unbound;
mod windows;
mod zones;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::Serialize;

pub use checks::Check;
pub use servers::{Found, NoServer, PORT, is_of_one_link, servers};
pub use target::Target;
pub use zones::{Zone, is_plain, zones};

use crate::wire::Name;
use sheet::Sheet;

/// What a snippet is made of.
#[derive(Clone, Debug)]
pub struct Material {
    /// Where askers reach the daemon, or several of them, in the order in which they are asked.
    pub servers: Vec<SocketAddr>,
    /// What is forwarded, see [`zones`].
    pub zones: Vec<Zone>,
    /// Questions and what the daemon answers; the first ones in full, one for each further zone.
    pub checks: Vec<Check>,
    /// Whom those answers are for, where answers differ by client.
    pub client: Option<IpAddr>,
    /// Whether the daemon forwards every other name, too.
    pub forwards_all: bool,
    /// The longest that an answer may take.
    pub slowest: Duration,
    /// What whoever pastes should know beside what the target brings.
    pub warnings: Vec<String>,
}

/// Something to paste.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Snippet {
    /// For what.
    pub target: Target,
    /// In the target's own syntax, comments included.
    pub text: String,
    /// What may not do what was meant; also in the text.
    pub warnings: Vec<String>,
}

/// Why there is nothing to paste.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// No zone is served.
    #[error("the configuration has no [[private-link]], so there is no zone to forward")]
    NoZones,
    /// A zone that the target's syntax may read as something else.
    #[error(
        "the zone {zone} holds a character other than letters, digits, - and _, which no zone of \
         Azure's does; configure the resolver for it by hand, and give --config a file without it"
    )]
    OddZone {
        /// The zone.
        zone: Name,
    },
    /// The target takes no port.
    #[error(
        "{server}: {what} cannot carry a port, and the one that is always asked is {PORT}; let \
         privatelinkd listen there ([listen] dns), or name an address where it does with --server"
    )]
    Port {
        /// The daemon.
        server: SocketAddr,
        /// The target in words.
        what: &'static str,
    },
    /// An address that leads to the asker itself.
    #[error(
        "{server}: for {what} this is its own host, where privatelinkd does not run; write \
         --server with the address at which it is reached from there"
    )]
    Loopback {
        /// The daemon.
        server: SocketAddr,
        /// The target in words.
        what: &'static str,
    },
    /// No address of one host.
    #[error("{server}: nobody can be asked at this address; write the one that askers reach")]
    NoHost {
        /// What was given.
        server: SocketAddr,
    },
}

/// Writes the snippet for `target`.
///
/// # Errors
/// What the target cannot express, each with what to do.
pub fn write(target: Target, material: &Material) -> Result<Snippet, Refusal> {
    let mut material = material.clone();
    admit(target, &material)?;
    warnings(target, &mut material);
    let mut sheet = Sheet::new(target, &material.warnings);
    if target != Target::ResolvConf {
        zones::explain_aliases(&mut sheet, &material.zones);
    }
    match target {
        Target::Windows => windows::write(&mut sheet, &material),
        Target::Bind => bind::write(&mut sheet, &material),
        Target::Unbound => unbound::write(&mut sheet, &material),
        Target::Dnsmasq => dnsmasq::write(&mut sheet, &material),
        Target::SystemdResolved => resolved::write(&mut sheet, &material),
        Target::Coredns => coredns::write(&mut sheet, &material),
        Target::CorednsCustom => coredns::write_custom(&mut sheet, &material),
        Target::ResolvConf => resolv_conf::write(&mut sheet, &material),
    }
    Ok(Snippet { target, text: sheet.into_text(), warnings: material.warnings })
}

fn admit(target: Target, material: &Material) -> Result<(), Refusal> {
    if material.zones.is_empty() {
        return Err(Refusal::NoZones);
    }
    if let Some(odd) = material.zones.iter().find(|zone| !is_plain(&zone.name)) {
        return Err(Refusal::OddZone { zone: odd.name.clone() });
    }
    for &server in &material.servers {
        let (ip, what) = (server.ip(), target.in_words());
        if ip.is_unspecified() || ip.is_multicast() || server.port() == 0 {
            return Err(Refusal::NoHost { server });
        }
        if !target.takes_port() && server.port() != PORT {
            return Err(Refusal::Port { server, what });
        }
        if !target.shares_our_host() && ip.is_loopback() {
            return Err(Refusal::Loopback { server, what });
        }
    }
    Ok(())
}

/// Adds what the target brings, and leaves out servers that it would never ask.
fn warnings(target: Target, material: &mut Material) {
    let Material { servers, warnings, .. } = material;
    let what = target.in_words();
    if let Some(most) = target.most_servers().filter(|most| servers.len() > *most) {
        let never: Vec<String> = servers.split_off(most).iter().map(ToString::to_string).collect();
        warnings.push(format!(
            "{what} asks {most} servers at most, so this is left out: {}",
            never.join(", ")
        ));
    }
    if target.gets_other_names() && !material.forwards_all {
        warnings.push(format!(
            "{what} asks privatelinkd for names outside these zones, too, and the configuration \
             has no [[forward]] for \".\": it refuses them"
        ));
    }
    if let Some(patience) = target.patience().filter(|patience| material.slowest > *patience) {
        warnings.push(format!(
            "{what} waits {patience:?} for an answer, and a [[forward]] of the configuration has a \
             timeout of {:?}: shorten that one",
            material.slowest
        ));
    }
    let itself = |server: &&SocketAddr| server.ip().is_loopback() && server.port() == PORT;
    if let Some(server) = material.servers.iter().find(itself).filter(|_| target.takes_port_53()) {
        warnings.push(format!(
            "{what} on this host listens at {server} itself if nobody told it otherwise, and would \
             ask itself; let privatelinkd listen at another port or loopback address"
        ));
    }
}
