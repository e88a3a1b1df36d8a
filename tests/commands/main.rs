//! The command line as people type it: words in other programs' order, pasted names, exit codes, and
//! JSON on failure. The real binary throughout.

mod messages;
#[path = "../harness/process.rs"]
mod process;
mod server;
#[path = "../harness/temporary.rs"]
mod temporary;

use std::io::Write;
use std::process::{Command, Output, Stdio};

use process::{PROGRAM, Process};
use serde_json::Value;
use server::Server;
use temporary::File;

const API: &str = "api.cloud.defender.microsoft.com";
/// A port of loopback that has no server.
const DEAD: &str = "@127.0.0.1:1";
const GOOD: &str = "[listen]\ndns = [\"127.0.0.1:0\"]\n[[private-link]]\n\
    service = \"defender-for-containers\"\nunlisted = \"nxdomain\"\n[[private-link.endpoint]]\n\
    name = \"hub\"\nnames = { \"api\" = [\"10.1.0.5\"] }\n";

fn run(args: &[&str]) -> Output {
    Command::new(PROGRAM).args(args).stdin(Stdio::null()).output().expect("it runs")
}

/// Runs it with `text` on standard input.
fn run_with(args: &[&str], text: &str) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    // It may end before it reads.
    let _gone = child.stdin.take().expect("stdin").write_all(text.as_bytes());
    child.wait_with_output().expect("it ends")
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).expect("text")
}

#[test]
fn query_takes_words_in_the_order_of_other_programs() {
    let server = Server::start("127.0.0.1:0");
    let (at, port) = (format!("@{}", server.address), server.address.port().to_string());
    let by_name = format!("@localhost:{port}");
    let reverse = "5.0.1.10.in-addr.arpa";
    for (args, name, rtype) in [
        (&[API, &at][..], API, 1),
        (&[&at, API], API, 1),
        (&[&at, API, "AAAA"], API, 28),
        (&[API, "aaaa", &at], API, 28),
        (&["AAAA", API, &at], API, 28),
        (&["AAAA", &at, API], API, 28),
        (&["-t", "AAAA", API, &at], API, 28),
        (&[API, &at, "-t", "TYPE65"], API, 65),
        (&[API, "IN", "AAAA", &at], API, 28),
        (&[API, &by_name], API, 1),
        (&["@127.0.0.1", "-p", &port, API], API, 1),
        (&["@localhost", "-p", &port, API], API, 1),
        (&["-x", "10.1.0.5", &at], reverse, 12),
        (&["10.1.0.5", &at], reverse, 12),
        (&["-x", "10.1.0.5", "NS", &at], reverse, 2),
        (&[&format!("https://{API}:443/path?x"), &at], API, 1),
        (&[&format!(" {API}. "), &at], API, 1),
    ] {
        let output = run(&[&["query"], args].concat());
        assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
        assert_eq!(server.asked(), (name.to_owned(), rtype), "{args:?}");
    }
}

#[test]
fn query_takes_scopes_by_name_and_number() {
    let server = Server::start("[::1]:0");
    let port = server.address.port();
    for at in [format!("@[::1%lo]:{port}"), format!("@[::1%1]:{port}"), format!("@[::1]:{port}")] {
        let output = run(&["query", API, &at, "--json"]);
        assert_eq!(output.status.code(), Some(0), "{at}: {output:?}");
        let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(json["transport"], "UDP", "{json:#}");
        assert_eq!(server.asked().0, API);
    }
    let output = run(&["query", API, "@::1%lo", "-p", &port.to_string()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn query_tries_every_address_of_a_host() {
    // localhost may be ::1 too, where this server does not listen.
    let server = Server::start("127.0.0.1:0");
    let output = run(&["query", API, &format!("@localhost:{}", server.address.port())]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text(&output.stdout).contains(&format!("from {}", server.address)), "{output:?}");
}

#[test]
fn explain_takes_what_is_pasted() {
    let file = File::new(GOOD);
    let path = file.path().to_str().expect("text");
    let explain = |args: &[&str]| run(&[&["explain"], args, &["--config", path]].concat());
    let plain = text(&explain(&[API]).stdout);
    assert!(plain.contains("10.1.0.5"), "{plain}");
    for (words, note) in [
        (&[&format!("https://{API}/path")[..]][..], "the host of this is api.cloud"),
        (&[&format!("https://user@{API}:8443/?q#f")], "the host of this is api.cloud"),
        (&[&format!("{API}:443")], "the host of this is api.cloud"),
        (&[&format!("{API}/path")], "the host of this is api.cloud"),
        (&[&format!("{API}.")], ""),
        (&[&format!("  {API}.\u{a0}")], ""),
        (&[&format!("“{API}”,")], ""),
        (&[API, "A"], ""),
        (&["A", API], ""),
        (&["-t", "A", API], ""),
    ] {
        let output = explain(words);
        assert_eq!(text(&output.stdout), plain, "{words:?}: {output:?}");
        let said = text(&output.stderr);
        assert!(said.contains(note) && said.is_empty() == note.is_empty(), "{words:?}: {said}");
    }
    // Upper case is the same name.
    let upper = explain(&[&API.to_ascii_uppercase()]);
    assert!(text(&upper.stdout).contains("10.1.0.5"), "{upper:?}");
    let reverse = text(&explain(&["10.1.0.5"]).stdout);
    assert!(reverse.starts_with("5.0.1.10.in-addr.arpa PTR"), "{reverse}");
}

#[test]
fn a_configuration_is_named_as_people_name_it() {
    let file = File::new(GOOD);
    let path = file.path().to_str().expect("text");
    for args in [&["check", path][..], &["check", "--config", path]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
        assert!(text(&output.stdout).starts_with(&format!("{path}: OK")), "{output:?}");
    }
    let output = run_with(&["check", path, "--config", path, "-"], GOOD);
    assert_eq!(text(&output.stdout).matches(": OK (").count(), 3, "{output:?}");
    let output = run_with(&["check", "-"], &GOOD.replace("nxdomain", "no"));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("\n-:5: error: private-link.unlisted"), "{output:?}");
    for args in [&["run", path][..], &["run", "--config", path]] {
        let mut command = Command::new(PROGRAM);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        assert!(Process::start(&mut command).address().ip().is_loopback());
    }
}

/// What is typed wrongly exits 2, what fails exits 1, and both say what to do; with `--json` on
/// stdout too.
#[test]
fn failures_have_their_exit_code_and_their_words() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let silent = format!("@{}", silent.local_addr().expect("bound"));
    let no_file = ["--config", "/nonexistent/x.toml"];
    let (api, file) = (API, no_file[1]);
    for (code, args, said) in [
        (2, &["query", "@10.0.0.256", api][..], "@10.0.0.256: write a server as @10.0.0.4"),
        (2, &["query", api, "@10.0.0.4:"], "@10.0.0.4:: write a server as"),
        (2, &["query", api, "@fe80::1"], "needs its network interface: write it as @fe80::1%eth0"),
        (2, &["query", api, "@fe80::1%none0"], "this host has no network interface none0"),
        (2, &["query", api, "@tls://10.0.0.4"], "a URL; questions go over UDP"),
        (2, &["query", api, "@10.0.0.4:53", "-p", "54"], "a port here and another with -p"),
        (2, &["query", api, "@10.0.0.4", "@10.0.0.5"], "@10.0.0.5: a second server"),
        (2, &["query", api, "other.example"], "other.example: write a record type"),
        (2, &["query", api, "A", "AAAA"], "too many words"),
        (2, &["query", "-t", "A", api, "AAAA"], "AAAA: a second type"),
        (2, &["query", "-x", "10.1.0.5", api], "-x has the address already"),
        (2, &["query", "-x", api], "invalid value"),
        (2, &["query", api, "+short"], "+short: an option of dig"),
        (2, &["query", DEAD], "the name is missing"),
        (2, &["query"], "required arguments were not provided"),
        (2, &["query", "bücher.example"], "is not ASCII; DNS has such a name in its xn-- form"),
        (2, &["query", "a..example"], "a..example: not a valid domain name: an empty label"),
        (2, &["explain", "bücher.example"], "is not ASCII; DNS has such a name in its xn-- form"),
        (2, &["explain", "a b.example"], "a space cannot stand in a domain name"),
        (2, &["explain", api, "@10.0.0.4"], "explain asks no server; `privatelinkd query` does"),
        (2, &["explain", api, "NOTYPE"], "NOTYPE: write a record type"),
        (2, &["explain", api, "--client", "here"], "invalid value 'here'"),
        (2, &["check", "-", "-"], "standard input can be read once"),
        (2, &["snippet", "nothing"], "invalid value 'nothing'"),
        (2, &["import", "azure", file], "cannot be read"),
        (2, &["import", "azure", "-", "-"], "standard input can be read once"),
        (1, &["query", api, DEAD], "no reply from 127.0.0.1:1 over UDP: Connection refused"),
        (1, &["query", api, DEAD, "--tcp"], "no reply from 127.0.0.1:1 over TCP: Connection ref"),
        (1, &["query", api, &silent, "--timeout", "20ms"], "over UDP within 20ms, asked 2 times"),
        (1, &["query", api, "@host.invalid"], "@host.invalid: this host's resolver"),
        (1, &["explain", api, no_file[0], file], "/nonexistent/x.toml: cannot be read"),
        (1, &["explain", api, "--live", no_file[0], file], "--admin ADDR does without"),
        (
            1,
            &["explain", api, "--live", "--admin", "127.0.0.1:1"],
            "help: see that it runs (systemctl status privatelinkd)",
        ),
        (1, &["snippet", "unbound", no_file[0], file], "/nonexistent/x.toml: cannot be read"),
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
        assert!(text(&output.stderr).contains(said), "{args:?}: {output:?}");
        assert_eq!(text(&output.stdout), "", "{args:?}");
        let output = run(&[args, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
        assert!(text(&output.stderr).contains(said), "{args:?}: {output:?}");
        let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let keys: Vec<_> = json.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["error"], "{args:?}");
        assert!(json["error"].as_str().expect("text").contains(said), "{args:?}: {json}");
    }
}

/// Those whose JSON is a list keep it when they fail.
#[test]
fn lists_stay_lists_when_a_command_fails() {
    for (args, entries) in
        [(&["check", "/nonexistent/x.toml", "--json"][..], 1), (&["services", "zzz", "--json"], 0)]
    {
        let output = run(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
        let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(json.as_array().expect("a list").len(), entries, "{args:?}");
    }
}

#[test]
fn a_reader_that_goes_changes_no_exit_code() {
    let good = GOOD.replace("127.0.0.1:0", "127.0.0.1:53");
    let bad = File::new(&good.replace("nxdomain", "no"));
    let (good, bad) = (File::new(&good), bad.path().to_str().expect("text").to_owned());
    let good = good.path().to_str().expect("text");
    for (args, code) in [
        (&["services"][..], 0),
        (&["services", "--json"], 0),
        (&["man"], 0),
        (&["completions", "bash"], 0),
        (&["--help"], 0),
        (&["query", "--help"], 0),
        (&["explain", API, "--config", good], 0),
        (&["check", good], 0),
        (&["check", &bad, "--json"], 1),
        (&["query", API, "@10.0.0.256", "--json"], 2),
    ] {
        let mut command = Command::new(PROGRAM);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it runs");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
        let said = text(&output.stderr);
        assert!(!said.contains("panicked") && !said.contains("roken pipe"), "{args:?}: {said}");
        assert_eq!(said.is_empty(), code != 2, "{args:?}: {said}");
    }
}

#[test]
fn the_help_shows_every_form_and_the_exit_codes() {
    for (command, wanted) in [
        (
            "query",
            &["query @10.0.0.4 ", " -t AAAA ", " -x 10.1.0.5 ", "@fe80::1%eth0", "https://"][..],
        ),
        ("explain", &["explain https://", "--live"]),
        ("check", &["check privatelinkd.toml", "check --config ", "check -"]),
        ("run", &["run config/quickstart.toml", "run --config "]),
    ] {
        let help = text(&run(&[command, "--help"]).stdout);
        for part in wanted {
            assert!(help.contains(part), "{command} {part}: {help}");
        }
        assert!(help.contains("Exits 0 "), "{help}");
        let man = text(&run(&["man"]).stdout);
        assert!(man.contains(&format!("PRIVATELINKD {}", command.to_uppercase())), "{command}");
    }
    let help = text(&run(&["--help"]).stdout);
    assert!(help.contains("Exits 0 ") && help.contains("{\"error\": \"…\"}"), "{help}");
}
