//! Members that an endpoint must have names for: Defender's `api` and `data`.

use super::facts::Requirement;
use super::log::{Log, shown};
use super::model::{Endpoint, Record};
use super::names::{Hints, places};

/// Notes each member that is required of the endpoint and that it has no name for.
pub(super) fn complain_of_missing_members(
    endpoint: &Endpoint,
    requirements: &[Requirement],
    log: &mut Log,
) {
    let hints =
        Hints { resource_type: endpoint.resource_type.as_deref(), group_ids: &endpoint.group_ids };
    let is_meant = |requirement: &&Requirement| {
        let kinds = (&endpoint.resource_type, &requirement.resource_type);
        let same_kind = match kinds {
            (Some(here), Some(there)) => here.eq_ignore_ascii_case(there),
            _ => true,
        };
        let has = |group: &String| group.eq_ignore_ascii_case(&requirement.group_id);
        same_kind && endpoint.group_ids.iter().any(has)
    };
    let mut meant: Vec<&Requirement> = requirements.iter().filter(is_meant).collect();
    meant.sort_by(|a, b| a.source.cmp(&b.source));
    let (required, whose): (Vec<&str>, String) = match meant.first() {
        Some(first) => {
            let members = meant.iter().flat_map(|r| r.members.iter().map(String::as_str));
            (members.collect(), first.source.to_string())
        }
        None => {
            let place = endpoint.records.iter().find_map(|record| {
                places(&record.fqdn, hints).into_iter().find(|p| p.service.members.len() > 1)
            });
            let Some(place) = place else { return };
            (place.service.members.to_vec(), format!("service {}", place.service.name))
        }
    };
    let mut missing: Vec<&str> = required
        .into_iter()
        .filter(|member| !endpoint.records.iter().any(|record| is_of(record, member, hints)))
        .collect();
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() {
        return;
    }
    let missing: Vec<String> = missing.into_iter().map(shown).collect();
    log.noted(
        &endpoint.source,
        format!(
            "private endpoint {}: no name for {}, which {whose} requires; each member has an \
             address of its own: give the output of az network nic show for its network interface",
            shown(endpoint.title()),
            missing.join(" and "),
        ),
    );
}

/// Whether a record is the member's: the file says so, or its name begins so. A region may stand
/// behind the member's name (`data-westeurope`, `data.westeurope`).
fn is_of(record: &Record, member: &str, hints: Hints<'_>) -> bool {
    let said = match &record.member {
        Some(known) => known.to_lowercase(),
        None => {
            let place = places(&record.fqdn, hints).into_iter().next();
            let relative = place.map_or_else(|| record.fqdn.clone(), |place| place.relative);
            relative.replace('.', "-")
        }
    };
    let rest = said.strip_prefix(&member.to_lowercase());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}
