//! Private endpoints that answer their probes or not, on loopback.

use std::net::TcpListener;

use super::patient::{Told, config, daemon, doctor, free};
use super::servers::{internet, serve};
use super::temporary::File;

/// The zone with these endpoints, each probed at `port`, and nothing else wrong but that the addresses
/// are loopback's.
fn probed(listen: &str, port: u16, more: &str, endpoints: &[(&str, &str)]) -> String {
    let text = config(listen, serve(internet));
    let (head, tail) = text.split_once("[[private-link.endpoint]]").expect("one");
    let (_, forward) = tail.split_once("[[forward]]").expect("one");
    let endpoints: String = endpoints
        .iter()
        .map(|(name, ip)| {
            format!(
                "[[private-link.endpoint]]\nname = '{name}'\nnames = {{ 'api' = ['{ip}'] }}\n\
                 probe = 'tcp:{port}'\n"
            )
        })
        .collect();
    let unlisted = "unlisted = 'nxdomain'\n";
    format!("{head}{unlisted}{more}{endpoints}[[forward]]{forward}")
}

/// A port of 127.0.0.1 with a listener.
fn listening() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let port = listener.local_addr().expect("bound").port();
    (listener, port)
}

#[test]
fn a_name_without_an_address_that_answers_is_a_problem() {
    let port = free().port();
    let endpoints = [("hub", "127.0.0.1"), ("spare", "127.0.0.2")];
    let file = File::new(&probed("127.0.0.1:0", port, "", &endpoints));
    let told = Told::by(&file, &[]);
    assert_eq!((told.code, told.problems()), (Some(1), vec!["endpoint-all-down"]));
    let words = told.words("endpoint-all-down");
    for part in ["127.0.0.1:", " of hub (tcp:", "connection refused", "127.0.0.2", "ip route get"] {
        assert!(words.contains(part), "{part}: {words}");
    }
    assert!(words.contains("no address for api.cloud.defender.microsoft.com"), "{words}");
    let file = File::new(&probed("127.0.0.1:0", port, "all-down = 'servfail'\n", &endpoints));
    let words = Told::by(&file, &[]).words("endpoint-all-down");
    assert!(words.contains("clients get SERVFAIL"), "{words}");
}

#[test]
fn an_endpoint_whose_names_another_one_answers_is_a_warning() {
    let (_listener, port) = listening();
    let endpoints = [("hub", "127.0.0.2"), ("spare", "127.0.0.1")];
    let file = File::new(&probed("127.0.0.1:0", port, "", &endpoints));
    let told = Told::by(&file, &[]);
    assert_eq!((told.code, told.problems()), (Some(0), vec![]), "{:#?}", told.findings);
    assert_eq!(told.the("endpoint-some-down")["severity"], "warning");
    assert!(told.words("endpoint-some-down").contains("127.0.0.2:"));
    let file = File::new(&probed("127.0.0.1:0", port, "", &endpoints[1..]));
    let told = Told::by(&file, &[]);
    assert_eq!(told.the("endpoint-probes")["severity"], "fine");
    assert!(!told.checks().contains(&"endpoint-some-down"));
}

#[test]
fn a_running_daemon_that_answers_all_the_same_hides_nothing() {
    let (listen, port) = (free(), free().port());
    let text = probed(&listen.to_string(), port, "", &[("hub", "127.0.0.1")]);
    let file = File::new(&text);
    let _daemon = daemon(&file);
    let told = Told::by(&file, &[]);
    assert_eq!(told.problems(), ["endpoint-all-down"], "{:#?}", told.findings);
    assert_eq!(told.the("port")["severity"], "fine");
}

#[test]
fn the_lines_of_a_remedy_stand_below_each_other() {
    let file = File::new("[listen]\ndns = ['127.0.0.1:0']\n[acess]\nallow = ['private']\n");
    let output = doctor(&file, &[]);
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.contains("\n            help: "), "{text}");
    assert!(!text.contains("?    help"), "{text}");
}
