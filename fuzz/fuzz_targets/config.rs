//! Any text as a configuration file: a meaning or at least one error, each with a place in the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use privatelinkd::config;
use privatelinkd::zones::Zones;

fuzz_target!(|source: &str| {
    let report = config::read(source);
    let errors = report.diagnostics.iter().filter(|found| found.is_error()).count();
    assert_eq!(report.config.is_none(), errors > 0, "{:?}", report.diagnostics);
    let lines = source.lines().count().max(1);
    for found in &report.diagnostics {
        assert!(found.line <= lines + 1, "line {} of {lines}", found.line);
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
    let _ = Zones::new(&config.private_links);
});
