//! The real binary.

use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::client::SERVER;
use super::process::{self, PROGRAM, Process, until};
use super::space::Space;
use super::tls::AUTHORITY;

/// Where it is asked how it is, in a namespace that nothing else is in.
const ADMIN: &str = "127.0.0.1:9153";

pub(crate) struct Daemon {
    process: Process,
    config: PathBuf,
}

impl Daemon {
    /// Returns when it answers.
    pub(crate) fn start(space: &Space, text: &str) -> Self {
        let config = space.folder().join("privatelinkd.toml");
        let text = format!(
            "[listen]\ndns = ['{SERVER}']\nadmin = '{ADMIN}'\n[limits]\nworkers = 1\n{text}"
        );
        std::fs::write(&config, text).expect("written");
        let authority = space.folder().join(AUTHORITY);
        let mut process = Process::start(process::run(&config).env("SSL_CERT_FILE", authority));
        process.address();
        Self { process, config }
    }

    /// What it has written to stderr so far.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    pub(crate) fn wait_for_log(&self, text: &str) {
        self.process.wait_for_log(text);
    }

    /// Has it log its totals until they hold all of `texts`.
    pub(crate) fn wait_for_totals(&self, texts: &[&str]) {
        until(&texts.join("\n"), || {
            self.signal("-USR1");
            thread::sleep(Duration::from_millis(100));
            let log = self.log();
            texts.iter().all(|text| log.contains(text)).then_some(())
        });
    }

    pub(crate) fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// What `explain --live` says.
    pub(crate) fn explain(&self, name: &str) -> String {
        let output = Command::new(PROGRAM)
            .args(["explain", name, "--live", "--config"])
            .arg(&self.config)
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }
}
