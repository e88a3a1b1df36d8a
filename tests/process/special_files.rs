//! FIFOs and devices where the daemon expects a file: a clear message, and never a wait.

use std::fs;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::daemon::{Daemon, PRIVATE, PRIVATE_ADDRESS, config};
use super::process::{self, PATIENCE, PROGRAM, until};
use super::temporary::{File, Folder};
use super::upstream;

const FIFO: &str = "a FIFO (a pipe)";
/// How long a reply may take that waits for no file.
const AT_ONCE: Duration = Duration::from_secs(1);

fn fifo(path: &Path) -> PathBuf {
    let new = path.with_extension("new");
    assert!(Command::new("mkfifo").arg(&new).status().expect("mkfifo runs").success());
    fs::rename(&new, path).expect("renamed");
    path.to_owned()
}

/// Runs a command to its end, which must come by itself.
fn ended(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().expect("a child").is_none() {
        if Instant::now() > deadline {
            let _gone = child.kill();
            panic!("{command:?} waits");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().expect("its output")
}

fn refused(command: &mut Command, what: &str) {
    let output = ended(command);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{command:?}: {stderr}");
    assert!(stderr.contains(what), "{command:?}: {stderr}");
}

fn assert_answers_at_once(daemon: &Daemon) {
    let begun = Instant::now();
    let address = daemon.ask_udp(PRIVATE).expect("a reply").address();
    assert_eq!(address, Some(PRIVATE_ADDRESS));
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
}

#[test]
fn a_configuration_or_trust_anchors_that_are_no_file_are_refused() {
    let folder = Folder::new();
    let fifo = fifo(&folder.path().join("fifo"));
    let good = config(&upstream::closed().to_string(), "300ms");
    for (special, kind) in [(fifo.as_path(), FIFO), (Path::new("/dev/zero"), "a character device")]
    {
        let shown = special.display();
        refused(&mut process::run(special), &format!("{shown}: this is {kind}; a configuration"));
        refused(
            Command::new(PROGRAM).arg("check").arg(special),
            &format!("{shown}: this is {kind}; a configuration"),
        );
        let anchors = File::new(&format!("{good}[dnssec]\ntrust-anchors = '{shown}'\n"));
        let said = format!("dnssec.trust-anchors: {shown}: {kind}; name a regular file");
        refused(&mut process::run(anchors.path()), &said);
        refused(Command::new(PROGRAM).arg("check").arg(anchors.path()), &said);
    }
}

#[test]
fn a_reload_refuses_a_configuration_that_became_a_fifo() {
    let folder = Folder::new();
    let path = folder.path().join("privatelinkd.toml");
    let good = config(&upstream::closed().to_string(), "300ms");
    // As Kubernetes mounts it: a link to the file.
    folder.write("data.toml", &good);
    std::os::unix::fs::symlink(folder.path().join("data.toml"), &path).expect("a link");
    let daemon = Daemon::start_with(&path);
    fifo(&path);
    daemon.signal("-HUP");
    daemon.wait_for_log("not reloaded: the configuration in force stays");
    let said =
        format!("{}: this is {FIFO}; a configuration must be a regular file", path.display());
    assert!(daemon.log().contains(&said), "{}", daemon.log());
    assert_answers_at_once(&daemon);
}

#[test]
fn a_ca_file_that_became_a_fifo_holds_no_thread() {
    let folder = Folder::new();
    let authorities = folder.path().join("ca.pem");
    let authority = rcgen::generate_simple_self_signed(["ca.example".to_owned()]);
    folder.write("ca.pem", &authority.expect("a certificate").cert.pem());
    let upstream = format!("tls://{}", upstream::closed());
    let text = config(&upstream, "300ms") + &format!("ca-file = '{}'\n", authorities.display());
    let mut daemon = Daemon::start(&text);
    // A worker dials for it and reads the file.
    assert!(daemon.ask_udp("www.example.").expect("a reply").address().is_none());
    fifo(&authorities);
    daemon.signal("-HUP");
    daemon.wait_for_log("reloaded");
    until("a dial that looks at the file", || {
        assert!(daemon.ask_udp("www.example.").expect("a reply").address().is_none());
        assert_answers_at_once(&daemon);
        daemon.log().contains(&format!("ca-file {}: {FIFO}", authorities.display())).then_some(())
    });
    assert!(daemon.log().contains("the authorities read before stay in use"), "{}", daemon.log());
    daemon.assert_well();
    daemon.signal("-TERM");
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
}

#[test]
#[allow(clippy::print_stderr, reason = "says what was not tested")]
fn a_resolv_conf_that_becomes_a_fifo_keeps_its_servers() {
    let server = Ipv4Addr::new(127, 77, 53, 9);
    let Ok(socket) = std::net::UdpSocket::bind((server, 53)) else {
        eprintln!("not seen here: only who may bind port 53 can be a resolv.conf's server");
        return;
    };
    let public = Ipv4Addr::new(203, 0, 113, 9);
    let _arrived = upstream::answering(socket, public, Duration::ZERO);
    let folder = Folder::new();
    let path = folder.path().join("resolv.conf");
    folder.write("resolv.conf", &format!("nameserver {server}\n"));
    let mut daemon = Daemon::start(&config(&format!("resolv.conf:{}", path.display()), "2s"));
    fifo(&path);
    let said = format!("{}: {FIFO}; name a regular file", path.display());
    daemon.wait_for_log(&said);
    assert!(daemon.log().contains("the servers that it named before stay in use"));
    assert_answers_at_once(&daemon);
    assert_eq!(daemon.ask_udp("www.example.").expect("a reply").address(), Some(public));
    // A reload says it once more and goes on.
    daemon.signal("-HUP");
    daemon.wait_for_log("reloaded");
    until("the second line", || (daemon.log().matches(&said).count() == 2).then_some(()));
    assert_eq!(daemon.ask_udp("two.example.").expect("a reply").address(), Some(public));
    daemon.assert_well();
    // The file is one again: nothing is left of it.
    fs::remove_file(&path).expect("removed");
    folder.write("resolv.conf", "nameserver 127.77.53.10\n");
    daemon.wait_for_log("upstreams are now 127.77.53.10:53");
}

#[test]
fn an_import_takes_a_fifo_and_refuses_a_device() {
    let import = |file: &str| ended(Command::new(PROGRAM).args(["import", "azure", file]));
    let device = import("/dev/zero");
    assert_eq!(device.status.code(), Some(2));
    let said = String::from_utf8_lossy(&device.stderr).into_owned();
    assert!(said.contains("/dev/zero: a character device; name a file or a FIFO"), "{said}");

    // As `import azure <(az …)` does it.
    let folder = Folder::new();
    let path = fifo(&folder.path().join("fifo"));
    let to = path.clone();
    let writer = std::thread::spawn(move || {
        let mut to = fs::File::create(to).expect("a reader came");
        to.write_all(b"[]").expect("written");
    });
    let empty = import(path.to_str().expect("text"));
    writer.join().expect("written");
    let said = String::from_utf8_lossy(&empty.stderr).into_owned();
    assert!(!said.contains("FIFO") && !said.contains("cannot be read"), "{said}");
}
