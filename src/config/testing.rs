//! Configurations for the tests of the floors above.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{
    Access, AllDown, CacheConfig, Config, Dnssec, DnssecConfig, Endpoint, Forward, Limits, Listen,
    Log, LogFormat, LogLevel, LogQueries, Names, Policy, PrivateLink, Probes, Process, Refused,
    SpecialConfig, Unlisted, UpstreamServer, UpstreamSource, limits,
};
use crate::catalog::Cloud;
use crate::wire::{Name, Rtype};

/// Everybody on loopback and in 10/8 may ask; one Defender zone with `api`, `data.westeurope` and
/// a wildcard; nothing is forwarded.
pub(crate) fn minimal() -> Config {
    Config {
        listen: Listen {
            dns: vec!["127.0.0.1:0".parse().expect("an address")],
            admin: None,
            freebind: false,
        },
        access: Access {
            allow: ["127.0.0.0/8", "10.0.0.0/8", "::1/128", "fd00::/8"]
                .map(|net| net.parse().expect("a prefix"))
                .to_vec(),
            refused: Refused::Answer,
        },
        sites: Vec::new(),
        private_links: vec![defender(vec![endpoint(
            "hub",
            &[],
            &["10.1.0.5"],
            &[("api", &["10.1.0.5"]), ("data.westeurope", &["10.1.0.6"])],
        )])],
        probes: Probes::default(),
        forwards: Vec::new(),
        cache: CacheConfig {
            size_octets: 1 << 20,
            stale: limits::STALE.default,
            max_ttl: limits::MAX_TTL.default,
            max_negative_ttl: limits::MAX_NEGATIVE_TTL.default,
            prefetch: true,
            failure_ttl: limits::FAILURE_TTL.default,
            file: None,
        },
        dnssec: DnssecConfig::default(),
        special: SpecialConfig::default(),
        expects: Vec::new(),
        log: Log { format: LogFormat::Text, level: LogLevel::Info, queries: LogQueries::None },
        limits: Limits {
            workers: 1,
            in_flight: 100,
            upstream_in_flight: 100,
            tcp_connections: 10,
            tcp_connections_per_client: 5,
            tcp_pipelined: 10,
            tcp_idle: Duration::from_secs(10),
            tcp_message: Duration::from_secs(5),
        },
        process: Process::default(),
    }
}

/// A rule that forwards everything to a server that nobody asks.
pub(crate) fn forward_all() -> Forward {
    Forward {
        zones: vec![Name::root()],
        upstreams: vec![plain("127.0.0.1:1".parse().expect("an address"))],
        policy: Policy::Ordered,
        timeout: Duration::from_secs(2),
        probe: (Name::root(), Rtype::NS),
        require_private: false,
        rebind_protection: None,
        dnssec: Dnssec::Pass,
    }
}

/// Plain DNS at `address`.
pub(crate) fn plain(address: SocketAddr) -> UpstreamSource {
    UpstreamSource::Server(UpstreamServer::plain(address))
}

/// Defender's zone with these endpoints, `unlisted = "wildcard"`.
pub(crate) fn defender(endpoints: Vec<Endpoint>) -> PrivateLink {
    PrivateLink {
        entry: 0,
        service: Some("defender-for-containers".to_owned()),
        cloud: Cloud::Commercial,
        public_zone: "cloud.defender.microsoft.com".parse().expect("a name"),
        private_zone: "privatelink.cloud.defender.microsoft.com".parse().expect("a name"),
        unlisted: Unlisted::Wildcard,
        ttl_seconds: 60,
        negative_ttl_seconds: 10,
        require_private: false,
        all_down: AllDown::ServeAll,
        endpoints,
    }
}

/// An endpoint from texts.
pub(crate) fn endpoint(
    name: &str,
    sites: &[usize],
    addresses: &[&str],
    names: &[(&str, &[&str])],
) -> Endpoint {
    let ips = |texts: &[&str]| -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    };
    let mut listed = Names::default();
    for (name, addresses) in names {
        listed.push(name.parse().expect("a name"), ips(addresses));
    }
    Endpoint {
        name: name.to_owned(),
        sites: sites.to_vec(),
        addresses: ips(addresses),
        names: listed,
        probe: None,
    }
}
