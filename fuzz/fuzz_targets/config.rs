//! Any text as a configuration file: a meaning or at least one error, each with a place in the file.
//! A meaning can be put into force.
//!
//! Rewords whole lines with the program's own keys: octets alone seldom make a file that is one.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use privatelinkd::app;
use privatelinkd::config::{self, Config, UpstreamSource};

const SEEDS: [&str; 3] = [
    include_str!("../../config/quickstart.toml"),
    include_str!("../../config/privatelinkd.toml"),
    "[listen]\ndns=['127.0.0.1:53']\n[[expect]]\nclient='10.0.0.1'\nquery='a.test A'\nanswer=[]\n\
     [[forward]]\nzones=['.']\nupstreams=['10.0.0.1']\ntimeout='1s'\n[cache]\nsize='1MiB'\n\
     [log]\nformat='json'\nlevel='trace'\nqueries='all'\n[limits]\nworkers=1\ntcp-idle='1s'\n",
];
/// Values, right and wrong ones.
const VALUES: [&str; 24] = [
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
    "{ 'api' = ['10.1.0.5'] }",
    "[[]]",
    "\"\\u0000\\u001b\"",
    "1979-05-27T07:32:00Z",
];

fuzz_target!(|source: &str| {
    let report = config::read(source);
    let errors = report.diagnostics.iter().filter(|found| found.is_error()).count();
    assert_eq!(report.config.is_none(), errors > 0, "{:?}", report.diagnostics);
    let lines = source.lines().count().max(1);
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
        assert!(!link.endpoints.is_empty());
        for endpoint in &link.endpoints {
            assert!(!endpoint.addresses.is_empty() || !endpoint.names.is_empty());
            assert!(endpoint.names.iter().all(|(_, addresses)| !addresses.is_empty()));
            assert!(endpoint.sites.iter().all(|site| *site < config.sites.len()));
        }
    }
    assert!(config.forwards.iter().all(|rule| !rule.upstreams.is_empty()));
    put_into_force(&config);
});

fn put_into_force(config: &Config) {
    // The path is the input's: a pipe would be waited for.
    let reads_files = |source: &UpstreamSource| matches!(source, UpstreamSource::ResolvConf(_));
    if config.forwards.iter().flat_map(|forward| &forward.upstreams).any(reads_files) {
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
