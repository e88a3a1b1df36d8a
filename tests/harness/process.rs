//! The real binary while it runs: started, read, sent signals, ended with the test. What it is
//! configured with and what it is asked is each suite's own.

#![allow(dead_code, reason = "each suite uses its part")]

use std::io::{BufRead, BufReader, Lines};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_privatelinkd");
/// The bound of a wait that should take microseconds to some seconds, on a machine that does other
/// things too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Waits until `look` gives something.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(LOOK_EVERY);
    }
}

/// `run` with this file.
pub(crate) fn run(config: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["run", "--config"]).arg(config);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Ends with this. A test that fails shows its log.
pub(crate) struct Process {
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    stderr: Arc<Mutex<String>>,
}

impl Process {
    /// Of [`run`], to which a suite may add.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().expect("the daemon starts");
        let stdout = BufReader::new(child.stdout.take().expect("stdout")).lines();
        let stderr = Arc::new(Mutex::new(String::new()));
        let (log, pipe) = (Arc::clone(&stderr), child.stderr.take().expect("stderr"));
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                *log.lock().expect("the log") += &(line + "\n");
            }
        });
        Self { child, stdout, stderr }
    }

    /// Waits until it says where it listens. It does so once for each address, that of `admin` last.
    pub(crate) fn address(&mut self) -> SocketAddr {
        let Some(Ok(line)) = self.stdout.next() else { panic!("it does not listen") };
        let address = line.strip_prefix("listening on ").and_then(|rest| rest.split(' ').next());
        let address = address.and_then(|address| address.parse().ok());
        address.unwrap_or_else(|| panic!("no address: {line}"))
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to stderr so far.
    pub(crate) fn log(&self) -> String {
        self.stderr.lock().expect("the log").clone()
    }

    pub(crate) fn wait_for_log(&self, text: &str) {
        until(text, || self.log().contains(text).then_some(()));
    }

    /// Sends a signal, named as kill(1) takes it. Who says that it listens hears signals too, so
    /// nothing is waited for.
    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill").arg(signal).arg(self.id().to_string()).status();
        assert!(status.expect("kill runs").success());
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child")
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        until("the daemon ends", || self.ended())
    }
}

impl Drop for Process {
    #[allow(clippy::print_stderr, reason = "belongs to what a failing test says")]
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
        if thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
        }
    }
}
