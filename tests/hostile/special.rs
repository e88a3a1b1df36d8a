//! Names without a place in the public DNS: they stay here, whatever a client asks of them.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;

use super::daemon::Daemon;
use super::process::until;
use super::upstream;

const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
/// An upstream that is known by name alone, which counts as outside the site. It is looked up at the
/// other one.
const OUTSIDE: &str = "tcp://ns.outside.example:9";

/// What an upstream was asked, in lower case.
type Asked = Arc<Mutex<BTreeSet<String>>>;

/// An upstream that answers everything.
fn upstream() -> (SocketAddr, Asked) {
    let (front, address) = upstream::silent();
    let asked = Asked::default();
    let noted = Arc::clone(&asked);
    upstream::saying(front, move |query| {
        if let Ok(message) = Message::from_vec(query) {
            let name = message.queries[0].name().to_string().to_ascii_lowercase();
            noted.lock().expect("it").insert(name);
        }
        upstream::answer(query, ELSEWHERE).into_iter().collect()
    });
    (address, asked)
}

fn daemon(upstreams: &[&str], more: &str) -> Daemon {
    Daemon::start(&format!(
        "[listen]\ndns = ['127.0.0.1:0']\n[[forward]]\nzones = ['.']\nupstreams = {upstreams:?}\n{more}"
    ))
}

fn has(asked: &Asked, name: &str) -> bool {
    asked.lock().expect("it").contains(name)
}

/// Names below every kind of special zone, and of every zone the apex.
const NOWHERE: [&str; 14] = [
    "localhost.",
    "a.localhost.",
    "invalid.",
    "x.invalid.",
    "hidden.onion.",
    "x.alt.",
    "_dns.resolver.arpa.",
    "resolver.arpa.",
    "1.0.0.127.in-addr.arpa.",
    "4.3.2.0.in-addr.arpa.",
    "1.2.0.192.in-addr.arpa.",
    "255.255.255.255.in-addr.arpa.",
    "1.8.b.d.0.1.0.0.2.ip6.arpa.",
    "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa.",
];
const SITE: [&str; 11] = [
    "local.",
    "dc1.corp.local.",
    "nas.home.arpa.",
    "www.test.",
    "default.service.arpa.",
    "4.3.2.10.in-addr.arpa.",
    "1.0.16.172.in-addr.arpa.",
    "1.0.168.192.in-addr.arpa.",
    "1.0.64.100.in-addr.arpa.",
    "1.0.254.169.in-addr.arpa.",
    "1.d.f.ip6.arpa.",
];

#[test]
fn special_names_never_leave() {
    let (inside, asked) = upstream();
    let daemon = daemon(&[&inside.to_string(), OUTSIDE], "");
    let types = [RecordType::A, RecordType::PTR, RecordType::TXT, RecordType::NS, RecordType::ANY];
    let mut queries = 0;
    for name in NOWHERE.into_iter().chain(SITE) {
        for rtype in types {
            let reply = daemon.ask_udp_for(name, rtype).expect("a reply");
            let code = reply.rcode();
            assert!(matches!(code, ResponseCode::NoError | ResponseCode::NXDomain), "{name}");
            queries += 1;
        }
        daemon.ask_tcp(name).expect("a reply");
        queries += 1;
    }
    assert_eq!(daemon.ask_udp("a.localhost.").expect("one").address(), Some(Ipv4Addr::LOCALHOST));
    // Behind the others on the same socket: what was forwarded before has come by now.
    assert_eq!(daemon.ask_udp("www.example.").expect("one").address(), Some(ELSEWHERE));
    assert!(has(&asked, "www.example."));
    for name in NOWHERE.into_iter().chain(SITE) {
        assert!(!has(&asked, name), "{name}");
    }
    daemon.signal("-USR1");
    daemon.wait_for_log(&format!(" special={} ", queries + 1));
}

#[test]
fn a_sites_names_go_to_upstreams_inside_and_to_the_rules_that_name_them() {
    let (inside, asked) = upstream();
    let all_inside = daemon(&[&inside.to_string()], "");
    for name in SITE {
        assert_eq!(all_inside.ask_udp(name).expect("one").address(), Some(ELSEWHERE), "{name}");
        assert!(has(&asked, name), "{name}");
    }
    for name in NOWHERE {
        all_inside.ask_udp(name).expect("a reply");
    }
    all_inside.ask_udp("www.example.").expect("a reply");
    assert!(NOWHERE.iter().all(|name| !has(&asked, name)));

    let (ruled, asked) = upstream();
    let rule = format!(
        "[[forward]]\nzones = ['3.2.10.in-addr.arpa', 'corp.local', 'x.invalid']\n\
         upstreams = ['{ruled}']\n"
    );
    let by_rule = daemon(&[OUTSIDE, &inside.to_string()], &rule);
    for name in ["4.3.2.10.in-addr.arpa.", "dc1.corp.local.", "x.invalid."] {
        assert_eq!(by_rule.ask_udp(name).expect("one").address(), Some(ELSEWHERE), "{name}");
        assert!(has(&asked, name), "{name}");
    }
    let code = |name: &str| by_rule.ask_udp(name).expect("a reply").rcode();
    for name in ["2.10.in-addr.arpa.", "10.in-addr.arpa.", "local."] {
        assert_eq!(code(name), ResponseCode::NoError, "{name}");
    }
    assert_eq!(code("9.2.10.in-addr.arpa."), ResponseCode::NXDomain);
}

#[test]
fn a_reload_that_takes_a_zone_back_takes_its_kept_answers_too() {
    let keeping = upstream::Keeping::start(ELSEWHERE);
    let config = format!(
        "[listen]\ndns = ['127.0.0.1:0']\n[[forward]]\nzones = ['.']\nupstreams = ['{}']\n",
        keeping.address()
    );
    let daemon = Daemon::start(&config);
    let address = |name| daemon.ask_udp(name).expect("a reply").address();
    assert_eq!(address("nas.local."), Some(ELSEWHERE));
    daemon.write_config(&format!("{config}[special]\nanswer = ['local']\n"));
    daemon.signal("-HUP");
    daemon.wait_for_log("reloaded ");
    until("the name is denied", || address("nas.local.").is_none().then_some(()));
    daemon.write_config(&config);
    daemon.signal("-HUP");
    until("the name is back", || (address("nas.local.") == Some(ELSEWHERE)).then_some(()));
}
