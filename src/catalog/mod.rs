//! The Private Link services that we know by name: their zones and what Azure calls them.
//!
//! Owns facts about Azure, nothing about this installation.

/// One service of the catalogue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Service {
    /// What `service = "…"` says.
    pub name: &'static str,
    /// The zone that clients ask, without a final dot.
    pub public_zone: &'static str,
    /// The zone that holds the addresses, without a final dot.
    pub private_zone: &'static str,
    /// Azure's resource type.
    pub resource_type: &'static str,
    /// Azure's group id (also called subresource).
    pub group_id: &'static str,
    /// What one private endpoint holds an address for, each its own; one entry: a single address.
    pub members: &'static [&'static str],
}

/// Sorted by name.
const SERVICES: &[Service] = &[Service {
    name: "defender-for-containers",
    public_zone: "cloud.defender.microsoft.com",
    private_zone: "privatelink.cloud.defender.microsoft.com",
    resource_type: "Microsoft.Security/privateLinks",
    group_id: "containers",
    members: &["api", "data"],
}];

/// The service of this name.
///
/// ```
/// let service = privatelinkd::catalog::find("defender-for-containers").unwrap();
/// assert_eq!(service.public_zone, "cloud.defender.microsoft.com");
/// ```
pub fn find(service: &str) -> Option<&'static Service> {
    SERVICES.iter().find(|known| known.name == service)
}

/// All services, sorted by name.
pub fn services() -> &'static [Service] {
    SERVICES
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::wire::Name;

    #[test]
    fn names_are_unique_and_sorted() {
        assert!(services().is_sorted_by(|a, b| a.name < b.name));
        assert!(!services().is_empty());
    }

    #[test]
    fn zones_are_names_and_no_zone_is_both_public_and_private() {
        let zone = |text: &str| text.parse::<Name>().expect("a valid zone");
        let public: HashSet<_> = services().iter().map(|s| zone(s.public_zone)).collect();
        for service in services() {
            assert!(!public.contains(&zone(service.private_zone)), "{}", service.name);
            assert!(!service.members.is_empty(), "{}", service.name);
        }
    }

    #[test]
    fn a_service_is_found_by_its_exact_name() {
        assert_eq!(find("defender-for-containers").map(|s| s.group_id), Some("containers"));
        assert_eq!(find("Defender-for-Containers"), None);
    }
}
