//! Any text as a resolv.conf: at most three servers, each on port 53, and written down again they
//! are the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use privatelinkd::forward::parse_resolv_conf;
use privatelinkd::sys::ScopedAddress;

fuzz_target!(|text: &str| {
    let servers = parse_resolv_conf(text);
    assert!(servers.len() <= 3);
    let named = text.lines().filter(|line| line.starts_with("nameserver")).count();
    assert!(servers.len() <= named);
    assert!(servers.iter().all(|server| server.port() == 53));

    let line = |server: &ScopedAddress| match server.interface() {
        Some(interface) => format!("nameserver {}%{interface}\n", server.ip()),
        None => format!("nameserver {} # comment\n", server.ip()),
    };
    let written: String = servers.iter().map(line).collect();
    assert_eq!(parse_resolv_conf(&written), servers);

    // Lines before do not change what later lines mean, unless they are servers themselves.
    assert_eq!(parse_resolv_conf(&format!("options edns0\r\n{text}")), servers);
});
