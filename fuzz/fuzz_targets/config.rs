//! Any text as a configuration file: a meaning or at least one error, each with a place in the file.
//! A meaning can be put into force.
//!
//! Rewords whole lines with the program's own keys: octets alone seldom make a file that is one.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use privatelinkd::app;
use privatelinkd::config::{self, Config, Trust, Unlisted, UpstreamServer, UpstreamSource};

const SEEDS: [&str; 4] = [
    include_str!("../../config/quickstart.toml"),
    include_str!("../../config/privatelinkd.toml"),
    "[listen]\ndns=['127.0.0.1:53']\n[[expect]]\nclient='10.0.0.1'\nquery='a.test A'\nanswer=[]\n\
     [[forward]]\nzones=['.']\nupstreams=['10.0.0.1']\ntimeout='1s'\n[cache]\nsize='1MiB'\n\
     [log]\nformat='json'\nlevel='trace'\nqueries='all'\n[limits]\nworkers=1\ntcp-idle='1s'\n",
    "[listen]\ndns=['127.0.0.1:53']\n[[forward]]\nzones=['.']\nupstreams=['udp://10.0.0.3',\n\
     'tcp://[fd00::3]:53',\n'tls://a.test#b.test',\n'https://10.0.0.3/q#b.test',\n\
     'quic://10.0.0.3:8853',\n'h3://a.test']\npolicy='spread'\nprobe='a.test SOA'\n\
     rebind-protection=true\nrebind-allow=['a.test']\ndnssec='validate'\nca-file='/a'\n\
     pins=['sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=']\n\
     [cache]\nstale='0s'\nprefetch=false\nfailure-ttl='5s'\nfile='/a'\n\
     [dnssec]\ntrust-anchors='/a'\nnegative-trust-anchors=['b.test']\n",
];
/// Values, right and wrong ones.
const VALUES: [&str; 30] = [
    "'10.1.0.5'",
    "['10.1.0.5', 'fd00::5']",
    "'127.0.0.1:53'",
    "['[::]:53']",
    "'10.1.0.0/16'",
    "['loopback', 'private']",
    "'60s'",
    "'0s'",
    "'1500ms'",
    "'64MiB'",
    "'0'",
    "-1",
    "0",
    "1e400",
    "true",
    "''",
    "'.'",
    "'a.test AAAA'",
    "'privatelink.vault.azure.net'",
    "'{regionName}'",
    "['10.0.0.3', 'tls://a.test#b.test', 'https://a.test/q']",
    "['tcp://10.0.0.3', 'h3://[fd00::3]:1', 'quic://a.test:1']",
    "['sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=']",
    "'a.test TYPE65'",
    "'/etc/a'",
    "'validate'",
    "{ 'api' = ['10.1.0.5'] }",
    "[[]]",
    "\"\\u0000\\u001b\"",
    "1979-05-27T07:32:00Z",
];

fuzz_target!(|source: &str| {
    let report = config::read(source);
    let errors = report.diagnostics.iter().filter(|found| found.is_error()).count();
    assert_eq!(report.config.is_none(), errors > 0, "{:?}", report.diagnostics);
    // The reader reports a lone carriage return, and reads on as if a line ended there.
    let lines = source.replace("\r\n", "\n").replace('\r', "\n").lines().count().max(1);
    for found in &report.diagnostics {
        assert!(
            (1..=lines + 1).contains(&found.line) && found.column >= 1,
            "line {} of {lines}",
            found.line
        );
        assert!(!found.to_string().is_empty());
    }

    // A meaning is whole: what the floors above rely on without looking again.
    let Some(config) = report.config else { return };
    assert!(!config.listen.dns.is_empty());
    for link in &config.private_links {
        assert!(!link.endpoints.is_empty() || link.unlisted != Unlisted::Wildcard);
        for endpoint in &link.endpoints {
            assert!(!endpoint.addresses.is_empty() || !endpoint.names.is_empty());
            assert!(endpoint.names.iter().all(|(_, addresses)| !addresses.is_empty()));
            assert!(endpoint.sites.iter().all(|site| *site < config.sites.len()));
        }
    }
    for rule in &config.forwards {
        assert!(!rule.upstreams.is_empty());
        assert!(!rule.require_private || rule.rebind_protection.is_none());
        for source in &rule.upstreams {
            if let UpstreamSource::Server(server) = source {
                check_server(server);
            }
        }
    }
    put_into_force(&config);
});

/// Certificates are for who shows one, and what is shown of a server can be written.
fn check_server(server: &UpstreamServer) {
    let is_encrypted = server.scheme.is_encrypted();
    assert!(is_encrypted || (server.tls_name.is_none() && server.trust == Trust::default()));
    let text = format!(
        "[listen]\ndns=['127.0.0.1:0']\n[[forward]]\nzones=['.']\nupstreams=['resolv.conf', {:?}]",
        server.to_string()
    );
    let again =
        config::read(&text).config.expect("as it is written in the file").forwards.remove(0);
    let plain = UpstreamServer { trust: Trust::default(), ..server.clone() };
    assert_eq!(again.upstreams[1], UpstreamSource::Server(plain));
}

fn put_into_force(config: &Config) {
    // The paths are the input's: a pipe would be waited for.
    let reads_files = |source: &UpstreamSource| match source {
        UpstreamSource::ResolvConf(_) => true,
        UpstreamSource::Server(server) => server.trust.ca_file.is_some(),
    };
    let files = config.dnssec.trust_anchors.iter().chain(&config.cache.file);
    let upstreams = config.forwards.iter().flat_map(|forward| &forward.upstreams);
    if files.count() > 0 || upstreams.into_iter().any(reads_files) {
        return;
    }
    if let Ok(snapshot) = app::build(config, &config.listen.dns, None) {
        let _ = app::prove(config, &snapshot);
    }
}

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let pick = (seed >> 8) as usize;
    let text = match seed % 8 {
        0 if seed % 64 == 0 || size < 8 => SEEDS[pick % SEEDS.len()].to_owned(),
        0..4 => match std::str::from_utf8(&data[..size]) {
            Ok(text) => reworded(text, seed % 8, pick),
            Err(_) => return fuzzer_mutate(data, size, max_size),
        },
        _ => return fuzzer_mutate(data, size, max_size),
    };
    let octets = text.len().min(max_size);
    data[..octets].copy_from_slice(&text.as_bytes()[..octets]);
    octets
});

/// `text` with a line added, dropped, doubled, or given another value.
fn reworded(text: &str, how: u32, pick: usize) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let at = pick % (lines.len() + 1);
    let value = VALUES[(pick >> 4) % VALUES.len()];
    match how {
        0 => lines.insert(at, any_key(pick, value)),
        1 if at < lines.len() => {
            let line = lines.remove(at);
            lines.insert(pick / 7 % (lines.len() + 1), line);
        }
        2 if at < lines.len() => {
            let line = lines[at].clone();
            lines.insert(pick / 5 % (lines.len() + 1), line);
        }
        _ if at < lines.len() => {
            let key = lines[at].split('=').next().unwrap_or_default().to_owned();
            lines[at] = format!("{key}= {value}");
        }
        _ => lines.truncate(at / 2),
    }
    lines.join("\n")
}

/// A table's heading, or one of its keys with `value`.
fn any_key(pick: usize, value: &str) -> String {
    let tables = config::keys();
    let (table, keys) = tables[pick % tables.len()];
    match pick / 3 % 4 {
        0 => format!("[{table}]"),
        1 => format!("[[{table}]]"),
        _ => format!("{} = {value}", keys[pick / 11 % keys.len()]),
    }
}
