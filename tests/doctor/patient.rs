//! The real binary: the doctor, and the daemon that is looked at.

use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use super::process::{self, PROGRAM, Process};
use super::temporary::File;

/// Defender's zone, and everything else to `upstream`.
pub(crate) fn config(listen: &str, upstream: SocketAddr) -> String {
    format!(
        "[listen]\ndns = ['{listen}']\n\
         [[private-link]]\nservice = 'defender-for-containers'\n\
         [[private-link.endpoint]]\nname = 'hub'\naddresses = ['10.1.0.5']\n\
         names = {{ 'api' = ['10.1.0.5'], 'data.westeurope' = ['10.1.0.6'] }}\n\
         [[forward]]\nzones = ['.']\nupstreams = ['{upstream}']\n"
    )
}

/// What the doctor said.
pub(crate) struct Told {
    pub(crate) code: Option<i32>,
    pub(crate) findings: Vec<Value>,
}

impl Told {
    /// Runs `doctor --json` on the file with more arguments.
    pub(crate) fn by(file: &File, args: &[&str]) -> Self {
        Self::of(&doctor(file, &[&["--json"], args].concat()))
    }

    pub(crate) fn of(output: &Output) -> Self {
        let text = String::from_utf8_lossy(&output.stdout);
        let findings = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{output:?}"));
        Self { code: output.status.code(), findings }
    }

    pub(crate) fn checks(&self) -> Vec<&str> {
        self.findings.iter().filter_map(|finding| finding["check"].as_str()).collect()
    }

    /// The one finding of this kind.
    pub(crate) fn the(&self, check: &str) -> &Value {
        let mut those = self.findings.iter().filter(|finding| finding["check"] == check);
        let first = those.next().unwrap_or_else(|| panic!("no {check}: {:#?}", self.findings));
        assert!(those.next().is_none(), "more than one {check}: {:#?}", self.findings);
        first
    }

    /// Its words and all its advice, in one.
    pub(crate) fn words(&self, check: &str) -> String {
        let finding = self.the(check);
        format!("{} {} {}", finding["about"], finding["found"], finding["advice"])
    }

    /// The kinds of all problems.
    pub(crate) fn problems(&self) -> Vec<&str> {
        let problems = self.findings.iter().filter(|finding| finding["severity"] == "problem");
        problems.filter_map(|finding| finding["check"].as_str()).collect()
    }
}

pub(crate) fn doctor(file: &File, args: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.arg("doctor").arg("--config").arg(file.path()).args(args).stdin(Stdio::null());
    command.output().expect("it runs")
}

/// Returns when it listens.
pub(crate) fn daemon(file: &File) -> Process {
    let mut daemon = Process::start(&mut process::run(file.path()));
    daemon.address();
    daemon
}

/// An address that nobody has: below the ports that the kernel gives to who names none, so that no
/// client's socket comes in between, and another for each test.
pub(crate) fn free() -> SocketAddr {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    loop {
        let place = std::process::id() as usize * 101 + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(10_000 + place % 20_000).expect("a port");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let is_free = std::net::UdpSocket::bind(address).is_ok()
            && std::net::TcpListener::bind(address).is_ok();
        if is_free {
            return address;
        }
    }
}
