//! A test runs itself again inside new namespaces, for the network, for mounts and for processes:
//! whatever becomes of it, nothing of them stays. Needs root; says so and does nothing without.

use std::env;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Set inside; a folder of the test's own.
const INSIDE: &str = "PRIVATELINKD_TEST_INSIDE";
/// unshare(1) makes mounts private by itself.
const UNSHARE: [&str; 6] = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];

/// Runs `test` inside namespaces of its own, with a folder of its own. `name` is unique; `needs` is
/// a script of what must be permitted there.
pub(crate) fn within(name: &str, needs: &str, test: impl FnOnce(PathBuf)) {
    if let Some(folder) = env::var_os(INSIDE) {
        return test(folder.into());
    }
    let suite = env!("CARGO_CRATE_NAME");
    if let Some(reason) = not_permitted(needs) {
        // Past the capture of the test runner, which shows nothing of a test that passes.
        let _lost = writeln!(std::io::stderr(), "{suite}: {name} is skipped: {reason}");
        return;
    }
    let folder = format!("privatelinkd-{suite}-{}-{name}", std::process::id());
    let folder = env::temp_dir().join(folder);
    fs::create_dir_all(&folder).expect("a folder");
    let thread = std::thread::current();
    let this = thread.name().expect("the runner names threads after tests");
    let output = Command::new("unshare")
        .args(UNSHARE)
        .arg(env::current_exe().expect("this program"))
        .args(["--exact", this, "--nocapture", "--test-threads=1"])
        .env(INSIDE, &folder)
        .stdin(Stdio::null())
        .output()
        .expect("unshare runs");
    fs::remove_dir_all(&folder).expect("removed");
    let said =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    assert!(output.status.success(), "{}\n{}", said[0], said[1]);
    // A name that is not this test's runs nothing, and that is a success too.
    assert!(said[0].contains("1 passed"), "{}\n{}", said[0], said[1]);
}

/// Why there are no namespaces for us, if so.
fn not_permitted(needs: &str) -> Option<String> {
    let tried = Command::new("unshare").args(UNSHARE).args(["sh", "-c", needs]).output();
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("unshare: {error}")),
    }
}

/// Runs it to a success.
pub(crate) fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

/// Runs `ip` with the words of a line.
pub(crate) fn ip(line: &str) {
    run(Command::new("ip").args(line.split(' ')));
}
