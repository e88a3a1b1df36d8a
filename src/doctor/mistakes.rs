//! The two mistakes that users copy from drafts of Azure's documentation, as they look from
//! outside: a private zone of the public zone's own name, and a wildcard above the public zone.

use super::finding::Finding;
use super::remedies::Pair;
use super::seen::{Outcome, Seen};
use crate::wire::Name;

/// The zone that the second mistake takes whole.
pub(super) const TAKEN_WHOLE: &str = "defender.microsoft.com";
/// What is in the way of it: the zone that Private Link has.
pub(super) const OURS_IN_IT: &str = "cloud.defender.microsoft.com";

/// A private address without the CNAME into the private zone: who answers has a private zone named
/// like the public one.
pub(super) fn without_hop(
    who: &str,
    name: &Name,
    pair: &Pair,
    outcome: &Outcome,
) -> Option<Finding> {
    let seen = outcome.as_ref().ok().filter(|seen| is_without_hop(seen, pair))?;
    let Pair { public, private } = pair;
    let found = format!(
        "{name} is {seen} there, without a CNAME into {private}: a zone named {public} stands in \
         the way, and hides every other name of it"
    );
    Some(
        Finding::problem("public-zone-hijacked", format!("{who}, {name}"), found)
            .advise(format!(
                "in Azure, replace the private DNS zone {public} by {private}, with the same \
                 records"
            ))
            .advise(format!("az network private-dns zone list --query \"[?name=='{public}']\"")),
    )
}

pub(super) fn is_without_hop(seen: &Seen, pair: &Pair) -> bool {
    seen.is_private() && !seen.passes(&pair.private)
}

/// `name` is drawn at random below [`TAKEN_WHOLE`], and stands in no zone of ours.
pub(super) fn taken_whole(who: &str, name: &Name, outcome: &Outcome) -> Option<Finding> {
    let seen = outcome.as_ref().ok().filter(|seen| seen.is_private())?;
    let found = format!(
        "{name}, which nobody has, is {seen} there: somebody answers for all of \
         *.{TAKEN_WHOLE}, and so for portals and services that have no private endpoint"
    );
    Some(
        Finding::problem("zone-above-hijacked", format!("{who}, *.{TAKEN_WHOLE}"), found)
            .advise(format!(
                "remove the zone or the wildcard record {TAKEN_WHOLE}; only {OURS_IN_IT} has \
                 private endpoints"
            ))
            .advise(format!(
                "az network private-dns zone list --query \"[?name=='{TAKEN_WHOLE}']\""
            )),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity;
    use crate::doctor::remedies::defender;
    use crate::doctor::seen::Silence;

    fn seen(address: &str, chain: &[&str]) -> Outcome {
        Ok(Seen {
            addresses: vec![address.parse().unwrap()],
            chain: chain.iter().map(|name| name.parse().unwrap()).collect(),
            ..Seen::default()
        })
    }

    #[test]
    fn a_private_address_needs_the_hop() {
        let (name, pair) = ("api.cloud.defender.microsoft.com".parse().unwrap(), defender());
        let check = |outcome: &Outcome| without_hop("upstream 10.0.0.4:53", &name, &pair, outcome);
        let found = check(&seen("10.1.0.5", &[])).unwrap();
        assert_eq!((found.severity, found.check), (Severity::Problem, "public-zone-hijacked"));
        assert!(found.found.contains("is 10.1.0.5 there, without a CNAME"), "{}", found.found);
        let hop = "api.privatelink.cloud.defender.microsoft.com";
        assert_eq!(check(&seen("10.1.0.5", &[hop])), None);
        assert_eq!(check(&seen("20.1.0.5", &[])), None);
        assert!(check(&seen("10.1.0.5", &["elsewhere.example"])).is_some());
        assert_eq!(check(&Err(Silence::Garbled)), None);
    }

    #[test]
    fn a_name_that_nobody_has_has_no_private_address() {
        let name = "x7.defender.microsoft.com".parse().unwrap();
        let check = |outcome: &Outcome| taken_whole("resolver 10.0.0.1:53", &name, outcome);
        assert_eq!(check(&seen("10.1.0.5", &[])).unwrap().check, "zone-above-hijacked");
        assert_eq!(check(&seen("20.1.0.5", &[])), None);
        assert_eq!(check(&Ok(Seen::default())), None);
    }
}
