//! Runs the cases of `cases/` against the real binary, over UDP and TCP; README.md beside this file
//! says how they are written.

mod case;
mod daemon;
#[path = "../harness/process.rs"]
mod process;
#[path = "../harness/temporary.rs"]
mod temporary;
mod upstream;

use std::fs;
use std::path::Path;

use case::{Exchange, Transport};
use daemon::Daemon;
use upstream::Upstream;

/// Fewer exchanges than this, and the files were not read.
const LEAST_EXCHANGES: usize = 200;

#[test]
fn every_case_holds_over_udp_and_tcp() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    let upstream =
        Upstream::start(&fs::read_to_string(folder.join("upstream.zone")).expect("zone"));
    let config = fs::read_to_string(folder.join("daemon.toml")).expect("config");
    let config = config
        .replace("LISTEN", "127.0.0.1:0")
        .replace("UPSTREAM", &upstream.address().to_string());
    let daemon = Daemon::start(&config);
    let mut files: Vec<_> = fs::read_dir(folder.join("cases"))
        .expect("cases")
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    let mut done = 0;
    let mut failures = Vec::new();
    for file in files {
        for exchange in case::read(&file) {
            for transport in [Transport::Udp, Transport::Tcp] {
                if exchange.only.is_none_or(|only| only == transport) {
                    done += 1;
                    if let Err(why) = check(&exchange, transport, &daemon) {
                        failures.push(format!("{} over {transport:?}: {why}", exchange.place));
                    }
                }
            }
        }
    }
    assert!(done >= LEAST_EXCHANGES, "only {done} exchanges were found");
    assert!(failures.is_empty(), "{} of {done} failed:\n{}", failures.len(), failures.join("\n"));
}

fn check(exchange: &Exchange, transport: Transport, daemon: &Daemon) -> Result<(), String> {
    let query = &exchange.query;
    let reply = match transport {
        Transport::Udp => daemon.ask_udp(exchange.client, query),
        Transport::Tcp => daemon.ask_tcp(exchange.client, query),
    };
    exchange.compare(query, reply.as_deref())
}
