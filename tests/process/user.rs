//! A daemon that root starts becomes the user that it is told.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use super::daemon::{Daemon, PRIVATE, config};
use super::process::{self, until};
use super::temporary::{File, Folder};
use super::upstream;

/// The number of the user `nobody`. It also stands for a user without an entry on the host.
const USER: u32 = 65_534;

/// Says why where this process is not root's.
fn is_root(test: &str) -> bool {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|itself| itself.uid() == 0);
    if !is_root {
        // Past the capture of the test runner, which shows nothing of a test that passes.
        let _lost = writeln!(std::io::stderr(), "process: {test} is skipped: needs root");
    }
    is_root
}

/// A line of proc_pid_status(5) of every thread that lives on; some end while this reads.
fn lines(daemon: &Daemon, key: &str) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).expect("proc");
    tasks
        .filter_map(|task| {
            let status = std::fs::read_to_string(task.expect("a thread").path().join("status"));
            let status = status.ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("the line");
            Some(line.split_whitespace().collect::<Vec<_>>().join(" "))
        })
        .collect()
}

fn good() -> String {
    config(&upstream::closed().to_string(), "300ms")
}

fn run_as(user: &str, config: &Path) -> Command {
    let mut command = process::run(config);
    command.args(["--user", user]);
    command
}

#[test]
fn every_thread_becomes_the_user_and_keeps_no_capability() {
    if !is_root("every_thread_becomes_the_user_and_keeps_no_capability") {
        return;
    }
    let file = File::new(&(good() + "[limits]\nworkers = 2\n"));
    for user in ["nobody", "65534"] {
        let mut daemon = Daemon::run(&mut run_as(user, file.path()));
        let ids = format!("{USER} {USER} {USER} {USER}");
        let threads = lines(&daemon, "Uid:");
        assert!(threads.len() >= 3, "{threads:?}");
        assert!(threads.iter().all(|thread| *thread == ids), "{threads:?}");
        assert!(lines(&daemon, "Gid:").iter().all(|thread| !thread.split(' ').any(|id| id == "0")));
        assert!(
            !lines(&daemon, "Groups:").iter().any(|groups| groups.split(' ').any(|g| g == "0"))
        );
        for set in ["CapEff:", "CapPrm:"] {
            let capabilities = lines(&daemon, set);
            assert!(capabilities.iter().all(|set| set == "0000000000000000"), "{capabilities:?}");
        }
        daemon.wait_for_log(&format!("running as user {user} (number {USER})"));
        daemon.assert_well();
    }
}

#[test]
fn the_user_of_the_file_reloads_it_and_saves_the_cache() {
    if !is_root("the_user_of_the_file_reloads_it_and_saves_the_cache") {
        return;
    }
    let keeping = upstream::Keeping::start(Ipv4Addr::new(203, 0, 113, 7));
    let folder = Folder::new();
    chown(folder.path(), Some(USER), Some(USER)).expect("its folder");
    let cache = folder.path().join("cache");
    let text = format!(
        "{}[cache]\nfile = '{}'\n[process]\nuser = 'nobody'\n",
        config(&keeping.address().to_string(), "2s"),
        cache.display()
    );
    let mut daemon = Daemon::start(&text);
    assert!(lines(&daemon, "Uid:").iter().all(|ids| ids.starts_with("65534 ")));
    daemon.ask_udp("www.example.").expect("a reply");
    daemon.write_config(&text.replace("10.1.0.5", "10.1.0.50"));
    daemon.signal("-HUP");
    until("the new address", || {
        let address = daemon.ask_udp(PRIVATE).expect("a reply").address();
        (address == Some(Ipv4Addr::new(10, 1, 0, 50))).then_some(())
    });
    daemon.write_config(&text.replace("'nobody'", "'root'"));
    daemon.signal("-HUP");
    daemon.wait_for_log("process.user has changed; that takes a restart");
    daemon.signal("-TERM");
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
    let saved = std::fs::metadata(&cache).expect("the cache's file");
    assert_eq!((saved.uid(), saved.mode() & 0o777), (USER, 0o600));
    // The next start reads it.
    let again = Daemon::start(&text);
    again.wait_for_log("answers kept from before the restart: 1;");
}

#[test]
fn a_user_that_cannot_be_is_an_error_and_root_is_said() {
    let file = File::new(&good());
    let output = run_as("no-such-user-here", file.path()).output().expect("it runs");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("this host has no user \"no-such-user-here\""), "{stderr}");
    if !is_root("a_user_that_cannot_be_is_an_error_and_root_is_said") {
        return;
    }
    let daemon = Daemon::start(&good());
    daemon.wait_for_log("running as root; set user in [process]");
    // Another user's daemon cannot become a third one.
    let place = Folder::new();
    place.write("config.toml", &good());
    let path = place.path().join("config.toml");
    std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o755)).expect("ours");
    let program = place.path().join("privatelinkd");
    std::fs::copy(process::PROGRAM, &program).expect("a copy that others may run");
    let output = Command::new("setpriv")
        .args(["--reuid=1234", "--regid=1234", "--clear-groups"])
        .arg(&program)
        .args(["run", "--user", "65534", "--config"])
        .arg(&path)
        .output()
        .expect("setpriv runs");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("runs as user 1234, and only root can become user 65534"), "{stderr}");
}

#[test]
fn a_file_that_the_user_cannot_read_is_said_at_the_start() {
    if !is_root("a_file_that_the_user_cannot_read_is_said_at_the_start") {
        return;
    }
    let file = File::new(&good());
    std::fs::set_permissions(file.path(), PermissionsExt::from_mode(0o600)).expect("ours");
    let mut daemon = Daemon::run(&mut run_as("nobody", file.path()));
    daemon.wait_for_log("user nobody cannot read the file, so reloads fail");
    daemon.signal("-HUP");
    daemon.wait_for_log("not reloaded: the configuration in force stays");
    daemon.assert_well();
}
