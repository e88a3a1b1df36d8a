//! `explain`, from the file and from the running daemon, and the bounds of what the daemon serves
//! for it: the real binary throughout.

mod above;
mod daemon;
#[path = "../harness/process.rs"]
mod process;
#[path = "../harness/temporary.rs"]
mod temporary;

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use daemon::{Daemon, config, privatelinkd, stderr, stdout, upstream};
use process::until;
use serde_json::Value;
use temporary::File;

const API: &str = "api.cloud.defender.microsoft.com";
/// A server that nobody is.
const NOBODY: &str = "127.0.0.1:1";
/// The bounds of `admin`, as they stand in its source.
const CONNECTIONS: usize = 64;
const HEAD_TIME: Duration = Duration::from_secs(2);
/// How long a whole request may wait for an answer, however many are half sent.
const AT_ONCE: Duration = Duration::from_secs(1);
const WHOLE_TIME: Duration = Duration::from_secs(10);

fn offline(args: &[&str]) -> String {
    let file = File::new(&config(NOBODY.parse().expect("an address"), "10.1.0.5"));
    stdout(&[&["explain"], args, &["--config", file.path().to_str().expect("text")]].concat())
}

fn running() -> Daemon {
    Daemon::start(&config(NOBODY.parse().expect("an address"), "10.1.0.5"))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// The status and the JSON of an HTTP reply.
fn parts(reply: &str) -> (u16, Value) {
    let (head, body) = reply.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
    assert!(head.contains("content-type: application/json"), "{head}");
    (status, json(body))
}

/// The one step of this kind.
fn step<'a>(explanation: &'a Value, kind: &str) -> &'a Value {
    let steps = explanation["steps"].as_array().expect("steps");
    steps.iter().find(|step| step["step"] == kind).unwrap_or_else(|| panic!("{explanation:#}"))
}

#[test]
fn a_file_explains_a_private_name_by_the_clients_site() {
    let hub = offline(&[API]);
    assert!(hub.contains("from the configuration file"), "{hub}");
    assert!(hub.contains("endpoint  hub, for every site, which lists the name: 10.1.0.5"), "{hub}");
    assert!(hub.contains("api.privatelink.cloud.defender.microsoft.com. 60 A 10.1.0.5"), "{hub}");
    let weu = json(&offline(&[API, "--client", "10.1.2.3", "--json"]));
    assert_eq!(weu["verdict"], "private");
    assert_eq!(weu["live"], false);
    assert_eq!(step(&weu, "client")["site"], "frankfurt");
    assert_eq!(step(&weu, "endpoint")["because"], "own-site");
    assert_eq!(weu["reply"]["answer"][1]["data"], "10.3.0.5");
}

#[test]
fn a_file_explains_what_is_forwarded_refused_and_unlisted() {
    let forwarded = offline(&["www.example"]);
    assert!(forwarded.contains("cache     unknown from the file"), "{forwarded}");
    assert!(forwarded.contains("rule for example: 127.0.0.1:1; within 2000 ms"), "{forwarded}");
    let forwarded = json(&offline(&["www.example", "--json"]));
    let upstream = &step(&forwarded, "rule")["upstreams"][0];
    assert_eq!(upstream["address"], "127.0.0.1:1");
    assert_eq!((&upstream["down"], &upstream["looping"]), (&false.into(), &false.into()));
    assert_eq!((&upstream["rtt-us"], &upstream["last-error"]), (&Value::Null, &Value::Null));
    let refused = json(&offline(&[API, "--client", "192.0.2.1", "--json"]));
    assert_eq!(refused["verdict"], "refused");
    assert_eq!(step(&refused, "client")["allowed"], false);
    let uncovered = json(&offline(&["www.example.org", "--json"]));
    assert_eq!(step(&uncovered, "refused")["because"], "no forward rule covers this name");
    let unlisted = json(&offline(&["nope.cloud.defender.microsoft.com", "--json"]));
    assert_eq!(unlisted["reply"]["rcode"], "NXDOMAIN");
    assert!(step(&unlisted, "zone")["place"].as_str().expect("text").contains("no endpoint"));
}

#[test]
fn the_daemon_explains_a_private_name_as_the_file_does() {
    let daemon = running();
    let live = json(&daemon.explain(&[API, "--client", "10.1.2.3", "--json"]));
    let mut file = json(&offline(&[API, "--client", "10.1.2.3", "--json"]));
    assert_eq!(live["live"], true);
    file["live"] = true.into();
    assert_eq!(live, file);
    let text = daemon.explain(&[API]);
    assert!(text.contains("from the running daemon"), "{text}");
    assert!(text.contains("endpoint  hub"), "{text}");
    // Without --type and --client: A, asked from here.
    let (status, plain) = parts(&daemon.get(&format!("/explain?name={API}")));
    assert_eq!((status, &plain), (200, &json(&daemon.explain(&[API, "--json"]))));
    // Octets that a URL must encode come through.
    let odd = json(&daemon.explain(&["a\\000\\.b&c=d%41+#.example", "--json"]));
    assert_eq!(odd["name"], "a\\000\\.b&c=d%41+#.example");
}

#[test]
fn a_kept_answer_is_shown_with_its_age() {
    let daemon = Daemon::start(&config(upstream(), "10.1.0.5"));
    let before = daemon.explain(&["www.example"]);
    assert!(before.contains("cache     no kept answer"), "{before}");
    daemon.query("www.example");
    let kept = json(&daemon.explain(&["www.example", "--json"]));
    assert_eq!(kept["verdict"], "cached");
    assert_eq!(kept["reply"]["answer"][0]["data"], "192.0.2.80");
    let aged = until("the answer ages", || {
        let kept = json(&daemon.explain(&["www.example", "--json"]));
        let cache = step(&kept, "cache").clone();
        (cache["age-seconds"].as_u64() > Some(0)).then_some(cache)
    });
    let seconds = |key: &str| aged[key].as_u64().expect("seconds");
    assert_eq!(seconds("age-seconds") + seconds("left-seconds"), 300);
    let text = daemon.explain(&["www.example"]);
    assert!(text.contains("cache     kept answer, "), "{text}");
    // Answers with signatures are others.
    let signed = daemon.explain(&["www.example", "--dnssec"]);
    assert!(signed.contains("cache     no kept answer"), "{signed}");
}

#[test]
fn an_upstream_that_is_down_says_so() {
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = silent.local_addr().expect("bound");
    let text = config(address, "10.1.0.5");
    // The second has every answer, after the first has had its share of the budget.
    let both = format!("\"{address}\", \"{}\"", upstream());
    let daemon = Daemon::start(&text.replace(&format!("\"{address}\""), &both));
    let before = daemon.explain(&["a.example"]);
    assert!(before.contains(&format!("{address} (up, not measured yet, ")), "{before}");
    // Two silent tries raise doubt; probes find out the rest.
    for name in ["b.example", "c.example"] {
        daemon.query(name);
    }
    let upstreams = until("it is down", || {
        let live = json(&daemon.explain(&["a.example", "--json"]));
        let upstreams = step(&live, "rule")["upstreams"].clone();
        (upstreams[0]["down"] == true).then_some(upstreams)
    });
    assert!(upstreams[0]["counts"]["timeouts"].as_u64() >= Some(4), "{upstreams:#}");
    let reason = upstreams[0]["last-error"]["text"].as_str().expect("a reason");
    assert!(reason.starts_with("no reply to "), "{reason}");
    assert_eq!(upstreams[1]["down"], false);
    assert!(upstreams[1]["rtt-us"].as_u64() > Some(0), "{upstreams:#}");
    let text = daemon.explain(&["a.example"]);
    assert!(text.contains(&format!("{address} (down for ")), "{text}");
}

#[test]
fn an_upstream_that_loops_says_so() {
    let relay = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let daemon = Daemon::start(&config(relay.local_addr().expect("bound"), "10.1.0.5"));
    let dns = daemon.dns;
    std::thread::spawn(move || {
        let mut buffer = [0; 1_500];
        while let Ok((octets, from)) = relay.recv_from(&mut buffer) {
            if from != dns {
                let _lost = relay.send_to(&buffer[..octets], dns);
            }
        }
    });
    // Who explains hears signals too. Every reload looks for loops.
    assert!(!daemon.explain(&["a.example"]).contains("looping"));
    daemon.hang_up();
    until("the loop", || daemon.explain(&["a.example"]).contains("(looping: ").then_some(()));
}

#[test]
fn a_reload_is_in_force_in_what_is_explained() {
    let daemon = running();
    assert!(daemon.explain(&[API]).contains("10.1.0.5"));
    daemon.file.write(&config(NOBODY.parse().expect("an address"), "10.1.0.77"));
    daemon.hang_up();
    until("the new address", || daemon.explain(&[API]).contains("10.1.0.77").then_some(()));
}

#[test]
fn a_daemon_that_is_not_there_is_said_in_words() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("bound").to_string();
    drop(free);
    let said = stderr(&["explain", API, "--live", "--admin", &address]);
    let wanted = format!("the daemon at {address} does not answer: is it running");
    assert!(said.contains(&wanted), "{said}");
    assert_eq!(said.matches("refused").count(), 1, "{said}");

    let text = config(NOBODY.parse().expect("an address"), "10.1.0.5");
    let file = File::new(&text.replace("admin = \"127.0.0.1:0\"\n", ""));
    let path = file.path().to_str().expect("text");
    let said = stderr(&["explain", API, "--live", "--config", path]);
    assert!(said.contains("[listen] has no admin address"), "{said}");
    // With one, the file says where to ask.
    file.write(&text.replace("admin = \"127.0.0.1:0\"", &format!("admin = \"{address}\"")));
    let said = stderr(&["explain", API, "--live", "--config", path]);
    assert!(said.contains(&wanted), "{said}");
}

#[test]
fn another_server_at_the_address_is_not_taken_for_the_daemon() {
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = other.local_addr().expect("bound").to_string();
    std::thread::spawn(move || {
        for reply in ["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", "220 smtp\x1b[31m\r\n"] {
            let (mut stream, _) = other.accept().expect("a client");
            let _head = stream.read(&mut [0; 1_024]);
            let _gone = stream.write_all(reply.as_bytes());
        }
    });
    for _ in 0..2 {
        let said = stderr(&["explain", API, "--live", "--admin", &address]);
        assert!(said.contains("is not privatelinkd, or one of another version"), "{said}");
        assert!(!said.contains('\x1b'), "{said}");
    }
}

#[test]
fn a_port_that_is_taken_is_said_at_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound");
    let text = config(NOBODY.parse().expect("an address"), "10.1.0.5");
    let file =
        File::new(&text.replace("admin = \"127.0.0.1:0\"", &format!("admin = \"{address}\"")));
    let said = stderr(&["run", "--config", file.path().to_str().expect("text")]);
    assert!(said.contains(&format!("listen.admin: cannot listen on {address}")), "{said}");
    assert!(said.contains("is taken by another program"), "{said}");
}

#[test]
fn check_warns_of_an_open_admin_address_and_refuses_one_that_dns_has() {
    let text = config(NOBODY.parse().expect("an address"), "10.1.0.5");
    let file = File::new(&text.replace("admin = \"127.0.0.1:0\"", "admin = \"10.9.9.9:9153\""));
    let path = file.path().to_str().expect("text");
    let output = privatelinkd(&["check", path]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("not a loopback address"), "{said}");
    let same =
        text.replace("127.0.0.1:0\"]", "0.0.0.0:9153\"]").replace("127.0.0.1:0", "127.0.0.1:9153");
    file.write(&same);
    assert!(stderr(&["check", path]).contains("listen.dns takes this port over TCP (line 2)"));
}

#[test]
fn wrong_requests_get_their_status_and_say_why() {
    let daemon = running();
    let error = |reply: &str| {
        let (status, body) = parts(reply);
        (status, body["error"].as_str().expect("text").to_owned())
    };
    for (query, wanted) in [
        ("", "missing field `name`"),
        ("?name=a..b", "is no domain name"),
        ("?name=a&type=NOPE", "write a record type"),
        ("?name=a&client=here", "write an IP address"),
        ("?name=a&site=b", "unknown field"),
    ] {
        let (status, why) = error(&daemon.get(&format!("/explain{query}")));
        assert!(status == 400 && why.contains(wanted), "{query}: {status} {why}");
    }
    assert_eq!(error(&daemon.get("/metrics")).0, 404);
    let host = daemon.admin;
    assert_eq!(
        error(&daemon.http(&format!("POST /explain HTTP/1.1\r\nhost: {host}\r\n\r\n"))).0,
        405
    );
    let foreign = "GET /explain?name=a HTTP/1.1\r\nhost: evil.example:9153\r\n\r\n";
    assert_eq!(error(&daemon.http(foreign)).0, 421);
    // A head that is too long never reaches a path.
    let long = daemon.get(&format!("/explain?name={}", "a".repeat(9_000)));
    assert!(long.starts_with("HTTP/1.1 431") || long.starts_with("HTTP/1.1 414"), "{long}");
    let fits = daemon.get(&format!("/explain?name={}", "a".repeat(7_900)));
    assert_eq!(error(&fits).0, 400);
}

/// Opens a connection and says only a part of a head.
fn begin(daemon: &Daemon) -> TcpStream {
    let mut stream = TcpStream::connect(daemon.admin).expect("connected");
    stream.set_read_timeout(Some(WHOLE_TIME * 2)).expect("a time-out");
    stream.write_all(b"GET /explain?name=a").expect("sent");
    stream
}

/// Whether the daemon closes it, whatever it says before.
fn is_over(stream: &mut TcpStream) -> bool {
    match stream.read_to_end(&mut Vec::new()) {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn half_sent_requests_delay_no_other_and_are_cut_off() {
    let daemon = running();
    let start = Instant::now();
    // One more than are held: the oldest gives way.
    let mut slow: Vec<TcpStream> = (0..=CONNECTIONS).map(|_| begin(&daemon)).collect();
    // Octets that trickle do not wind the clock up again.
    let mut trickling = slow[CONNECTIONS].try_clone().expect("a second handle");
    std::thread::spawn(move || {
        while trickling.write_all(b"a").is_ok() {
            std::thread::sleep(Duration::from_millis(500));
        }
    });
    let asked = Instant::now();
    assert_eq!(parts(&daemon.get("/explain?name=a.example")).0, 200);
    assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
    assert!(is_over(&mut slow[0]));
    assert!(start.elapsed() < HEAD_TIME, "it gave way: {:?}", start.elapsed());
    assert!(slow.iter_mut().all(is_over));
    assert!(start.elapsed() < WHOLE_TIME, "{:?}", start.elapsed());
    // Names are answered all the while, and afterwards.
    daemon.query(API);
}

#[test]
fn foreign_names_get_no_explanation_on_any_address() {
    for listen in ["127.0.0.2:0", "0.0.0.0:0"] {
        let text = config(NOBODY.parse().expect("an address"), "10.1.0.5");
        let text = text.replace("admin = \"127.0.0.1:0\"", &format!("admin = \"{listen}\""));
        let mut daemon = Daemon::start(&text);
        if daemon.admin.ip().is_unspecified() {
            daemon.admin.set_ip("127.0.0.1".parse().expect("an address"));
        }
        let status = |host: &str| {
            let request = format!("GET /explain?name=a.example HTTP/1.1\r\nhost: {host}\r\n\r\n");
            parts(&daemon.http(&request)).0
        };
        let own = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("proc(5)");
        for host in ["127.0.0.2", "10.9.9.9:9153", "[fd00::1]", "localhost", own.trim()] {
            assert_eq!(status(host), 200, "{listen}: {host}");
        }
        for host in ["evil.example", "privatelinkd.monitoring.svc:9153"] {
            assert_eq!(status(host), 421, "{listen}: {host}");
        }
    }
}
