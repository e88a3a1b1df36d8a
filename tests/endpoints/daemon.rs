//! The real binary.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::client::SERVER;
use super::space::Space;
use super::tls::AUTHORITY;

/// The bound of a wait on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Where it is asked how it is, in a namespace that nothing else is in.
const ADMIN: &str = "127.0.0.1:9153";

pub(crate) struct Daemon {
    child: Child,
    config: PathBuf,
    stderr: Arc<Mutex<String>>,
}

impl Daemon {
    /// Returns when it answers.
    pub(crate) fn start(space: &Space, text: &str) -> Self {
        let config = space.folder().join("privatelinkd.toml");
        let text = format!(
            "[listen]\ndns = ['{SERVER}']\nadmin = '{ADMIN}'\n[limits]\nworkers = 1\n{text}"
        );
        std::fs::write(&config, text).expect("written");
        let mut child = Command::new(env!("CARGO_BIN_EXE_privatelinkd"))
            .args(["run", "--config"])
            .arg(&config)
            .env("SSL_CERT_FILE", space.folder().join(AUTHORITY))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the daemon starts");
        let stderr = Arc::new(Mutex::new(String::new()));
        let (log, pipe) = (Arc::clone(&stderr), child.stderr.take().expect("stderr"));
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                let mut log = log.lock().expect("the log");
                log.push_str(&line);
                log.push('\n');
            }
        });
        let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
        let first = lines.next();
        thread::spawn(move || lines.for_each(drop));
        let daemon = Self { child, config, stderr };
        assert!(matches!(first, Some(Ok(_))), "it does not listen: {}", daemon.log());
        daemon
    }

    /// What it has written to stderr so far.
    pub(crate) fn log(&self) -> String {
        self.stderr.lock().expect("the log").clone()
    }

    pub(crate) fn wait_for_log(&self, text: &str) {
        until(text, self, || self.log().contains(text).then_some(()));
    }

    /// Has it log its totals until they hold all of `texts`.
    pub(crate) fn wait_for_totals(&self, texts: &[&str]) {
        until(&texts.join("\n"), self, || {
            self.signal("USR1");
            thread::sleep(Duration::from_millis(100));
            let log = self.log();
            texts.iter().all(|text| log.contains(text)).then_some(())
        });
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status().expect("kill runs");
        assert!(status.success());
    }

    /// What `explain --live` says.
    pub(crate) fn explain(&self, name: &str) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_privatelinkd"))
            .args(["explain", name, "--live", "--config"])
            .arg(&self.config)
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// Waits until `look` gives something.
pub(crate) fn until<T>(what: &str, daemon: &Daemon, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}\n{}", daemon.log());
        thread::sleep(LOOK_EVERY);
    }
}
