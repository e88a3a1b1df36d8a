//! How to see that it works: questions with the answers that the daemon gives.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use super::sheet::Sheet;
use super::{Material, PORT};
use crate::wire::{Name, Rtype};

/// A question and its answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// The name asked.
    pub name: Name,
    /// The type asked.
    pub rtype: Rtype,
    /// The targets of CNAMEs, in order.
    pub chain: Vec<Name>,
    /// In any order; none: there is no record of this type.
    pub addresses: Vec<IpAddr>,
}

impl Check {
    /// The answer in one line.
    pub(super) fn in_words(&self) -> String {
        let mut words: Vec<String> = self.chain.iter().map(ToString::to_string).collect();
        words.extend(self.addresses.iter().map(ToString::to_string));
        if self.addresses.is_empty() {
            words.push(format!("no {} record, and no error", self.rtype));
        }
        words.join(", ")
    }
}

/// Begins the part about verification: whom the answers are for.
pub(super) fn begin(sheet: &mut Sheet, material: &Material) -> bool {
    sheet.between();
    if material.checks.is_empty() {
        sheet.note(
            "Verify: no name of the configuration is answered from a private-link zone for this \
             client; \"privatelinkd explain NAME --client IP\" tells why.",
        );
        return false;
    }
    let whom = match material.client {
        Some(client) => format!("as privatelinkd answers {client}, addresses in any order"),
        None => "addresses in any order".to_owned(),
    };
    sheet.note(&format!("Verify, with the expected answer below each command ({whom})."));
    true
}

/// Verification by `dig`: each daemon, then the resolver that listens at `at`, or the one of
/// resolv.conf.
pub(super) fn with_dig(sheet: &mut Sheet, material: &Material, at: Option<&str>) {
    if !begin(sheet, material) {
        return;
    }
    sheet.note("privatelinkd is reached from here:");
    for (server, check) in material.servers.iter().zip(material.checks.iter().cycle()) {
        dig(sheet, &at_server(*server), check);
    }
    sheet.note("The resolver asks it:");
    for check in &material.checks {
        dig(sheet, &at.map(|at| format!("@{at} ")).unwrap_or_default(), check);
    }
}

fn at_server(server: SocketAddr) -> String {
    let mut text = format!("@{} ", server.ip());
    if server.port() != PORT {
        let _infallible = write!(text, "-p {} ", server.port());
    }
    text
}

/// What `dig +short` prints is what stands below it.
fn dig(sheet: &mut Sheet, at: &str, check: &Check) {
    let Check { name, rtype, chain, addresses } = check;
    sheet.quote(format_args!("$ dig +short {at}{name} {rtype}"));
    for target in chain {
        sheet.quote(format_args!("{target}."));
    }
    for address in addresses {
        sheet.quote(address);
    }
    if addresses.is_empty() {
        sheet.quote(format_args!("(no {rtype} record, and no error)"));
    }
}
