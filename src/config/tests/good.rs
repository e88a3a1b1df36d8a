//! Good files mean what they say.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::config;
use crate::catalog::Cloud;
use crate::config::testing::{defender, endpoint, forward_all, minimal, plain};
use crate::config::{
    AllDown, CacheConfig, Dnssec, DnssecConfig, Expect, Forward, LogFormat, LogLevel, LogQueries,
    Policy, PrivateLink, Refused, Scheme, Site, Trust, Unlisted, UpstreamHost, UpstreamServer,
    UpstreamSource, limits, read,
};
use crate::sys::ScopedAddress;
use crate::wire::{Name, Rtype};

pub(super) const QUICKSTART: &str = include_str!("../../../config/quickstart.toml");
pub(super) const PACKAGED: &str = include_str!("../../../config/privatelinkd.toml");

fn sockets(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().expect("a socket address")).collect()
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

/// Compared by what it shows, field by field.
fn assert_same<T: std::fmt::Debug>(found: &T, expected: &T) {
    assert_eq!(format!("{found:#?}"), format!("{expected:#?}"));
}

#[test]
fn shipped_files_have_neither_errors_nor_warnings() {
    for text in [QUICKSTART, PACKAGED] {
        assert_eq!(read(text).diagnostics, []);
    }
}

#[test]
fn the_quickstart_means_what_it_says() {
    let config = config(QUICKSTART);
    let listen: Vec<ScopedAddress> =
        sockets(&["127.0.0.1:5300", "[::1]:5300"]).into_iter().map(Into::into).collect();
    assert_eq!(config.listen.dns, listen);
    assert_eq!(config.access.refused, Refused::Answer);
    let allow: Vec<_> = config.access.allow.iter().map(ToString::to_string).collect();
    assert_eq!(
        allow.join(" "),
        "127.0.0.0/8 ::1/128 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 169.254.0.0/16 fc00::/7 \
         fe80::/10"
    );
    assert!(config.sites.is_empty());
    let hub = endpoint(
        "hub",
        &[],
        &["10.1.0.5"],
        &[("api", &["10.1.0.5"]), ("data.westeurope", &["10.1.0.6"])],
    );
    assert_same(&config.private_links, &vec![defender(vec![hub])]);
    let forward = Forward {
        zones: vec![Name::root()],
        upstreams: vec![UpstreamSource::ResolvConf(PathBuf::from("/etc/resolv.conf"))],
        ..forward_all()
    };
    assert_eq!(config.forwards, [forward]);
    assert_eq!(config.cache, CacheConfig { size_octets: 64 << 20, ..minimal().cache });
    let expect = Expect {
        client: "127.0.0.1".parse().expect("an address"),
        qname: name("api.cloud.defender.microsoft.com"),
        qtype: Rtype::A,
        answer: vec!["10.1.0.5".parse().expect("an address")],
        line: 18,
    };
    assert_same(&config.expects, &vec![expect]);
    assert_eq!(config.log.level, LogLevel::Info);
    assert_eq!(config.limits.in_flight, 10_000);
    assert_eq!(config.limits.workers, limits::table().first().map_or(0, default_count));
}

fn default_count(limit: &limits::Limit) -> usize {
    match limit.bound {
        limits::Bound::Count(range) => range.default_here(),
        limits::Bound::Time(_) => 0,
    }
}

#[test]
fn the_packaged_file_shows_the_defaults_and_its_examples() {
    let packaged = config(PACKAGED);
    let frankfurt = Site {
        name: "frankfurt".to_owned(),
        networks: ["10.1.0.0/16", "fd00:1::/48"].map(|net| net.parse().expect("a net")).to_vec(),
    };
    assert_same(&packaged.sites, &vec![frankfurt]);
    let hub = endpoint(
        "weu-hub",
        &[0],
        &["10.1.0.5"],
        &[("api", &["10.1.0.5"]), ("data.westeurope", &["10.1.0.6"])],
    );
    let storage = PrivateLink {
        entry: 1,
        service: None,
        cloud: Cloud::Commercial,
        public_zone: name("blob.core.windows.net"),
        private_zone: name("privatelink.blob.core.windows.net"),
        unlisted: Unlisted::Forward,
        ttl_seconds: 60,
        negative_ttl_seconds: 10,
        all_down: AllDown::ServeAll,
        require_private: false,
        endpoints: vec![endpoint("storage", &[], &[], &[("contosologs", &["10.1.0.9"])])],
    };
    assert_same(&packaged.private_links, &vec![defender(vec![hub]), storage]);
    // What is not an example is a default, so a file without it means the same.
    let bare = config(QUICKSTART);
    assert_eq!(packaged.limits, bare.limits);
    assert_eq!(packaged.log, bare.log);
    assert_eq!(packaged.cache, bare.cache);
    assert_same(&packaged.access, &bare.access);
    let forward = Forward {
        zones: vec![Name::root()],
        upstreams: packaged.forwards[0].upstreams.clone(),
        ..forward_all()
    };
    assert_eq!(packaged.forwards, [forward]);
    assert_eq!(packaged.dnssec, bare.dnssec);
}

#[test]
fn every_value_can_be_other_than_its_default() {
    let config = config(
        "listen.dns = ['0.0.0.0:5353']\n\
         access = { allow = ['10.0.0.0/8', 'fd00::1'], refused = 'drop' }\n\
         cache = { size = '2MiB', stale = '0s', max-ttl = '12h', \
         max-negative-ttl = '5m', prefetch = false, failure-ttl = '5s', \
         file = '/var/cache/answers' }\n\
         dnssec = { trust-anchors = '/etc/root.key', negative-trust-anchors = ['lab.example'] }\n\
         log = { format = 'json', level = 'trace', queries = 'all' }\n\
         [limits]\nworkers = 3\nin-flight = 4\nupstream-in-flight = 2\ntcp-connections = 5\n\
         tcp-connections-per-client = 6\ntcp-pipelined = 7\ntcp-idle = '8s'\ntcp-message = '9s'\n\
         [[forward]]\nzones = ['Corp.Example.', '10.in-addr.arpa']\n\
         upstreams = ['10.0.0.4', '10.0.0.4:5300', 'fd00::4', '[fd00::4]:5300', 'resolv.conf', \
         'resolv.conf:/run/other.conf', 'tls://ns.corp.example']\ntimeout = '1500ms'\n\
         policy = 'spread'\nprobe = 'corp.example SOA'\nrebind-protection = true\n\
         rebind-allow = ['lab.corp.example']\ndnssec = 'validate'\nca-file = '/etc/ca.pem'\n\
         pins = ['sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=']\n\
         [[forward]]\nzones = ['internal.example']\nupstreams = ['10.0.0.6']\n\
         require-private = true\n\
         [[private-link]]\npublic-zone = 'vault.azure.net'\n\
         private-zone = 'privatelink.vaultcore.azure.net'\nunlisted = 'forward'\n\
         ttl = '5m'\nnegative-ttl = '1s'\nrequire-private = true\n\
         [[private-link.endpoint]]\nname = 'v'\nnames = { 'A.b' = ['fd00::9', '10.0.0.9'] }\n",
    );
    assert_eq!(config.access.refused, Refused::Drop);
    assert_eq!(config.access.allow.last().map(ToString::to_string), Some("fd00::1/128".into()));
    let cache = CacheConfig {
        size_octets: 2 << 20,
        stale: Duration::ZERO,
        max_ttl: Duration::from_secs(43_200),
        max_negative_ttl: Duration::from_secs(300),
        prefetch: false,
        failure_ttl: Duration::from_secs(5),
        file: Some(PathBuf::from("/var/cache/answers")),
    };
    assert_eq!(config.cache, cache);
    let dnssec = DnssecConfig {
        trust_anchors: Some(PathBuf::from("/etc/root.key")),
        negative_trust_anchors: vec![name("lab.example")],
    };
    assert_eq!(config.dnssec, dnssec);
    let log = (config.log.format, config.log.level, config.log.queries);
    assert_eq!(log, (LogFormat::Json, LogLevel::Trace, LogQueries::All));
    let l = config.limits;
    let counts = (l.workers, l.in_flight, l.tcp_connections, l.tcp_connections_per_client);
    assert_eq!(counts, (3, 4, 5, 6));
    assert_eq!(l.upstream_in_flight, 2);
    let rest = (l.tcp_pipelined, l.tcp_idle.as_secs(), l.tcp_message.as_secs());
    assert_eq!(rest, (7, 8, 9));
    // A bare address means port 53.
    let asked = sockets(&["10.0.0.4:53", "10.0.0.4:5300", "[fd00::4]:53", "[fd00::4]:5300"]);
    let files = ["/etc/resolv.conf", "/run/other.conf"].map(PathBuf::from);
    let encrypted = UpstreamServer {
        scheme: Scheme::Tls,
        host: UpstreamHost::Name { name: name("ns.corp.example"), port: 853 },
        trust: Trust { ca_file: Some(PathBuf::from("/etc/ca.pem")), pins: vec![[0; 32]] },
        ..UpstreamServer::plain(SocketAddr::from(([0; 4], 0)))
    };
    let forward = Forward {
        zones: vec![name("corp.example"), name("10.in-addr.arpa")],
        upstreams: asked
            .into_iter()
            .map(plain)
            .chain(files.into_iter().map(UpstreamSource::ResolvConf))
            .chain([UpstreamSource::Server(encrypted)])
            .collect(),
        policy: Policy::Spread,
        timeout: Duration::from_millis(1500),
        probe: (name("corp.example"), Rtype::SOA),
        require_private: false,
        rebind_protection: Some(vec![name("lab.corp.example")]),
        dnssec: Dnssec::Validate,
    };
    let private = Forward {
        zones: vec![name("internal.example")],
        upstreams: vec![plain(SocketAddr::from(([10, 0, 0, 6], 53)))],
        require_private: true,
        ..forward_all()
    };
    assert_eq!(config.forwards, [forward, private]);
    let link = &config.private_links[0];
    assert_eq!((link.ttl_seconds, link.negative_ttl_seconds), (300, 1));
    assert_eq!((link.unlisted, link.require_private), (Unlisted::Forward, true));
    assert_same(
        &link.endpoints,
        &vec![endpoint("v", &[], &[], &[("a.b", &["fd00::9", "10.0.0.9"])])],
    );
}
