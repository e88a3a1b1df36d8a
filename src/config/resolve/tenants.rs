//! `unlisted` that takes names of other tenants away from clients.

use super::pairs::Zones;
use crate::config::findings::{Findings, Path, Problem};
use crate::config::model::Unlisted;
use crate::config::spec::PrivateLinkSpec;

/// Warns where other tenants have names in the zones, and these are not forwarded.
pub(super) fn warn_of_hidden(
    spec: &PrivateLinkSpec,
    zones: &Zones,
    unlisted: Unlisted,
    path: Path<'_>,
    findings: &mut Findings<'_>,
) {
    let Some(service) = zones.service.filter(|service| service.other_tenants) else { return };
    let broken = match unlisted {
        Unlisted::Forward => return,
        Unlisted::Nxdomain => "clients get NXDOMAIN for all of them",
        Unlisted::Wildcard => "clients get the endpoint's address for all of them",
    };
    let first = zones.pairs.first().map(|pair| pair.public.value.to_string()).unwrap_or_default();
    let whose = match zones.pairs.len() {
        0 | 1 => format!("{first} ({})", service.name),
        2 => format!("{first} and 1 more zone of {}", service.name),
        several => format!("{first} and {} more zones of {}", several - 1, service.name),
    };
    let problem = format!(
        "other tenants have names in {whose}, and {broken}; write unlisted = \"forward\", and list \
         your own names"
    );
    match spec.unlisted.good() {
        Some(at) => findings.warn(path.key("unlisted"), at.span, Problem::new(problem)),
        None => {
            let problem = format!("\"wildcard\" when it is left out: {problem}");
            findings.warn(path.key("unlisted"), spec.span, Problem::bare(problem));
        }
    }
}
