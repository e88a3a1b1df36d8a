//! Port 53, its right, and who has it, in a network namespace of each test's own. Needs root; says so
//! and does nothing without.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Output};

use super::patient::{Told, config, free};
use super::process::PROGRAM;
use super::temporary::File;

/// What keeps root from ports below 1024.
const WITHOUT_RIGHT: &str =
    "setpriv --bounding-set -net_bind_service --inh-caps -net_bind_service --";

/// Runs `script` in a namespace with a loopback of its own; `None` where that is not permitted.
fn within(script: &str) -> Option<Output> {
    let run = |script: &str| {
        let script = format!("ip link set lo up && {script}");
        Command::new("unshare")
            .args(["--net", "--pid", "--fork", "--kill-child"])
            .args(["--mount-proc", "sh", "-c", &script])
            .output()
    };
    let tried = run(&format!("{WITHOUT_RIGHT} true"));
    if !tried.as_ref().is_ok_and(|output| output.status.success()) {
        // Past the capture of the test runner, which shows nothing of a test that passes.
        let _lost = writeln!(std::io::stderr(), "doctor: a test is skipped: {tried:?}");
        return None;
    }
    Some(run(script).expect("it ran before"))
}

fn file() -> File {
    // Nobody is there: what upstreams say is not looked at here.
    File::new(&config("127.0.0.1:53", free()))
}

fn doctor(file: &File) -> String {
    format!("{PROGRAM} doctor --json --config {}", file.path().display())
}

#[test]
fn port_53_needs_a_right() {
    let file = file();
    let Some(output) = within(&doctor(&file)) else { return };
    assert_eq!(Told::of(&output).the("port")["severity"], "fine", "root has it");
    let output = within(&format!("{WITHOUT_RIGHT} {}", doctor(&file))).expect("as before");
    let words = Told::of(&output).words("port-denied");
    assert!(words.contains("CAP_NET_BIND_SERVICE") && words.contains("setcap"), "{words}");
    // Where the system gives it to everybody, nothing is missing.
    let script = format!(
        "sysctl -qw net.ipv4.ip_unprivileged_port_start=53 && {WITHOUT_RIGHT} {}",
        doctor(&file)
    );
    let told = Told::of(&within(&script).expect("as before"));
    assert_eq!(told.the("port")["severity"], "fine", "{:#?}", told.findings);
}

#[test]
fn a_resolv_conf_that_names_us_leaves_nobody() {
    let servers = File::new("nameserver 127.0.0.1\n");
    let from_file = format!("'resolv.conf:{}'", servers.path().display());
    let nobody = free();
    let text = config("127.0.0.1:53", nobody).replace(&format!("'{nobody}'"), &from_file);
    let file = File::new(&text);
    let Some(output) = within(&doctor(&file)) else { return };
    let told = Told::of(&output);
    assert_eq!(told.problems(), ["resolv-conf"], "{:#?}", told.findings);
    assert!(told.words("resolv-conf").contains("nobody is left to ask"));
}

#[test]
fn who_is_there_counts_more_than_the_right_that_is_missing() {
    let file = file();
    let mut script = String::new();
    write!(script, "{PROGRAM} run --config {} >/dev/null 2>&1 & ", file.path().display())
        .expect("a String takes all");
    // Until it listens.
    script += "n=0; until grep -q ':0035 ' /proc/net/udp || [ $n -ge 400 ]; do sleep 0.05; \
               n=$((n+1)); done; ";
    script += &format!("{WITHOUT_RIGHT} {}; code=$?; kill %1; exit $code", doctor(&file));
    let Some(output) = within(&script) else { return };
    let told = Told::of(&output);
    assert_eq!(told.the("port")["severity"], "fine", "{:#?}", told.findings);
    assert!(told.words("port").contains("answers api.cloud.defender.microsoft.com by this file"));
}

#[test]
fn dnsmasq_is_known_by_name() {
    if !Command::new("dnsmasq").arg("--version").output().is_ok_and(|o| o.status.success()) {
        let _lost = writeln!(std::io::stderr(), "doctor: no dnsmasq to be found on port 53");
        return;
    }
    let file = file();
    let mut script = String::from(
        "dnsmasq --keep-in-foreground --no-resolv --no-hosts --user=root --pid-file= \
         --conf-file=/dev/null & n=0; ",
    );
    script += "until grep -q ':0035 ' /proc/net/tcp || [ $n -ge 400 ]; do sleep 0.05; \
               n=$((n+1)); done; ";
    script += &format!("{}; code=$?; kill %1; exit $code", doctor(&file));
    let Some(output) = within(&script) else { return };
    let words = Told::of(&output).words("port-taken");
    assert!(words.contains("dnsmasq (process") && words.contains("port=0"), "{words}");
}
