//! Starts that must not succeed: one clear message each.

use std::net::TcpListener;
use std::path::Path;

use super::daemon::{PRIVATE, config};
use super::temporary::{File, Folder};
use super::{process, upstream};

/// What stderr says when `run` ends by itself with a failure.
fn refused(path: &Path) -> String {
    // Ends by itself; the test runner's own bound is the last resort.
    let output = process::run(path).output().expect("the daemon runs");
    let stderr = String::from_utf8(output.stderr).expect("text");
    assert!(output.status.code().is_some_and(|code| code != 0), "{:?} {stderr}", output.status);
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert_eq!(stderr.matches("privatelinkd: ").count(), 1, "one message: {stderr}");
    assert!(output.stdout.is_empty(), "it said that it listens");
    stderr
}

fn refused_text(config: &str) -> String {
    refused(File::new(config).path())
}

fn good() -> String {
    config(&upstream::closed().to_string(), "300ms")
}

#[test]
fn a_port_that_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = taken.local_addr().expect("bound").to_string();
    let stderr = refused_text(&good().replace("127.0.0.1:0", &address));
    assert!(stderr.contains(&address), "{stderr}");
}

#[test]
fn a_file_that_is_not_there() {
    let folder = Folder::new();
    let path = folder.path().join("absent");
    let stderr = refused(&path);
    assert!(stderr.contains(&path.display().to_string()), "{stderr}");
}

#[test]
fn a_file_with_errors_says_all_of_them() {
    let stderr = refused_text(&good().replace("'300ms'", "'soon'").replace("'hub'", "7"));
    assert!(stderr.contains("timeout") && stderr.contains("endpoint.name"), "{stderr}");
}

#[test]
fn an_expectation_that_does_not_hold() {
    let expect =
        format!("[[expect]]\nclient = '127.0.0.1'\nquery = '{PRIVATE} A'\nanswer = ['10.9.9.9']\n");
    let stderr = refused_text(&format!("{}{expect}", good()));
    assert!(stderr.contains("expect") && stderr.contains("10.9.9.9"), "{stderr}");
}

#[test]
fn an_upstream_that_is_the_daemon_itself() {
    let ourselves = upstream::closed().to_string();
    let text = config(&ourselves, "300ms").replace("127.0.0.1:0", &ourselves);
    let stderr = refused_text(&text);
    assert!(stderr.contains("forwarding loop") && stderr.contains(&ourselves), "{stderr}");
}
