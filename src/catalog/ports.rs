//! The port of each service: what a probe may try.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::table::lines;

/// Name and port, separated by a tab.
const PORTS: &str = include_str!("data/ports.tsv");

static BY_SERVICE: LazyLock<HashMap<&'static str, u16>> = LazyLock::new(|| {
    let read = |line: &'static str| {
        let (name, port) = line.split_once('\t')?;
        Some((name, port.parse().ok()?))
    };
    lines(PORTS).filter_map(read).collect()
});

/// The TCP port that clients of this service use; `None` if there is no single one, or it is not
/// known.
///
/// ```
/// assert_eq!(privatelinkd::catalog::port("sql"), Some(1433));
/// assert_eq!(privatelinkd::catalog::port("relay"), None);
/// ```
pub fn port(service: &str) -> Option<u16> {
    BY_SERVICE.get(service).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::services;

    #[test]
    fn every_line_is_a_service_with_a_port() {
        for line in lines(PORTS) {
            let (name, port) = line.split_once('\t').expect("two cells");
            assert!(services().iter().any(|service| service.name == name), "{name}");
            assert_ne!(port.parse::<u16>().expect("a port"), 0, "{name}");
        }
        assert_eq!(BY_SERVICE.len(), lines(PORTS).count(), "none stands twice");
    }

    #[test]
    fn services_without_a_port_are_meant_to_have_none() {
        let mut without: Vec<&str> = services().iter().map(|service| service.name).collect();
        without.retain(|name| port(name).is_none());
        without.dedup();
        assert_eq!(
            without,
            [
                "app-gateway-containers",
                "chaos-studio",
                "file-shares",
                "hdinsight",
                "media-services",
                "relay"
            ]
        );
    }
}
