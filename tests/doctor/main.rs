//! `doctor` against a world that is wrong in one way at a time: the real binary, servers on loopback,
//! and network namespaces for what needs port 53.

mod endpoints;
mod patient;
#[path = "../harness/process.rs"]
mod process;
mod servers;
mod space;
#[path = "../harness/temporary.rs"]
mod temporary;
mod upstreams;
mod vias;

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use patient::{Told, config, daemon, doctor, free};
use servers::{Said, internet, serve};
use temporary::File;

/// What the whole may take, whoever is silent.
const WHOLE: Duration = Duration::from_secs(15);

#[test]
fn a_world_without_faults_has_no_problems_and_is_told_in_order() {
    let file = File::new(&config(&free().to_string(), serve(internet)));
    let told = Told::by(&file, &[]);
    assert_eq!((told.code, told.problems()), (Some(0), vec![]), "{:#?}", told.findings);
    let checks = told.checks();
    // The clock of the machine that tests is what it is.
    assert!(checks[1].starts_with("clock"), "{checks:?}");
    let expected = ["config", checks[1], "port", "upstream", "mistakes", "loop", "ds"];
    assert_eq!(checks, expected);
    assert_eq!(checks, Told::by(&file, &[]).checks());
}

#[test]
fn a_file_that_is_no_configuration_is_a_problem_and_one_that_is_not_there_is_no_look() {
    let file = File::new("[listen]\ndns = ['nonsense']\n");
    let told = Told::by(&file, &[]);
    assert_eq!((told.code, told.problems()), (Some(1), vec!["config-errors"]));
    assert!(told.words("config-errors").contains("nonsense"));
    let gone = File::new("");
    std::fs::remove_file(gone.path()).expect("ours");
    let output = doctor(&gone, &[]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{output:?}");
    let vias = ["--via", "127.0.0.1"].repeat(5);
    assert_eq!(doctor(&file, &vias).status.code(), Some(2));
    // Programs read why on stdout.
    for (file, args) in [(&gone, &[][..]), (&file, &vias), (&file, &["--via", "a:b:c"])] {
        let output = doctor(file, &[args, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert!(json["error"].as_str().is_some_and(|why| !why.is_empty()), "{output:?}");
        assert!(!output.stderr.is_empty(), "{output:?}");
    }
}

#[test]
fn expectations_that_do_not_hold_are_told_with_their_lines() {
    let text = config("127.0.0.1:0", serve(internet));
    let expects = "[[expect]]\nclient = '10.1.2.3'\n\
        query = 'api.cloud.defender.microsoft.com A'\nanswer = ['10.9.9.9']\n";
    let line = text.lines().count() + 1;
    let told = Told::by(&File::new(&(text + expects)), &[]);
    assert_eq!(told.problems(), ["config-expect"]);
    assert!(told.words("config-expect").contains(&format!("line {line}: ")), "{line}");
}

#[test]
fn people_read_findings_and_what_to_do() {
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = silent.local_addr().expect("bound");
    let file = File::new(&config(&free().to_string(), address));
    let output = doctor(&file, &[]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).expect("text");
    let expected = format!(
        "PROBLEM  upstream {address} (rule for .): does not answer: no reply within 2s\n         -> "
    );
    assert!(text.contains(&expected), "{text}");
    assert!(text.contains("fine     configuration"), "{text}");
    let quiet = String::from_utf8(doctor(&file, &["--quiet"]).stdout).expect("text");
    assert!(quiet.contains(&expected) && !quiet.contains("fine     "), "{quiet}");
    assert!(quiet.trim_end().ends_with("fine"), "the counts stay: {quiet}");
}

#[test]
fn the_whole_ends_in_time_whoever_is_silent() {
    let silent: Vec<_> =
        (0..40).map(|_| UdpSocket::bind("127.0.0.1:0").expect("a socket")).collect();
    let servers: Vec<_> =
        silent.iter().map(|socket| format!("'{}'", socket.local_addr().expect("bound"))).collect();
    let text = config(&free().to_string(), silent[0].local_addr().expect("bound"))
        .replace(&servers[0], &servers.join(", "));
    let begun = Instant::now();
    let via = silent[0].local_addr().expect("bound").to_string();
    let told = Told::by(&File::new(&text), &["--via", &via]);
    assert!(begun.elapsed() < WHOLE, "{:?}", begun.elapsed());
    let silent_ones =
        told.problems().iter().filter(|check| **check == "upstream-unreachable").count();
    assert_eq!(silent_ones, 32, "the bound of servers");
    assert!(told.words("upstreams-left-out").contains("8 more"));
}

#[test]
fn a_taken_port_has_a_name() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("bound");
    let told = Told::by(&File::new(&config(&address.to_string(), serve(internet))), &[]);
    assert_eq!(told.problems(), ["port-taken"]);
    let words = told.words("port-taken");
    assert!(
        words.contains(&format!("(process {}) on {address} (UDP)", std::process::id())),
        "{words}"
    );
}

#[test]
fn the_daemon_is_known_and_one_that_says_something_else_is_too() {
    let address = free();
    let text = config(&address.to_string(), serve(internet));
    let file = File::new(&text);
    let daemon = daemon(&file);
    let told = Told::by(&file, &[]);
    assert_eq!(told.problems(), Vec::<&str>::new(), "{:#?}", told.findings);
    let words = told.words("port");
    assert!(words.contains(&format!("(process {})", daemon.id())), "{words}");
    // The file goes on without it.
    file.write(&text.replace("10.1.0.5", "10.1.0.7"));
    let told = Told::by(&file, &[]);
    assert_eq!(told.problems(), ["daemon-differs"]);
    let words = told.words("daemon-differs");
    assert!(words.contains("10.1.0.5") && words.contains("10.1.0.7"), "{words}");
}

#[test]
fn a_silent_upstream_is_not_asked_for_what_it_cannot_say() {
    let told = Told::by(&File::new(&config("127.0.0.1:0", serve(|_| Said::Nothing))), &[]);
    assert_eq!(told.problems(), ["upstream-unreachable"]);
    assert_eq!(told.the("ds-unknown")["severity"], "warning");
    assert!(!told.checks().contains(&"mistakes"), "{:#?}", told.findings);
}
