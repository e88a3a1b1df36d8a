//! The real binary before servers that break the rules of their protocol. Its clients are answered by
//! the next server, or hear SERVFAIL in time; and a server that keeps the rules again is asked again.

use std::cell::Cell;
use std::fs;

use super::daemon::{Daemon, SPARE, WEB, holds};
use super::quic::http3::{
    CONTROL_STREAM, DATA, GOAWAY, HEADERS, control, frame, head, number, promise,
};
use super::quic::{Act, Asked, Opening, QuicServer, framed};
use super::settings::{Beyond, Limited};
use super::*;

/// The daemon's budget for one query.
const BUDGET: Duration = Duration::from_secs(1);
/// What a busy machine may add to it.
const BUSY_MACHINE: Duration = Duration::from_secs(4);
/// What the daemon may run for while a query waits for its budget. A task that spins needs all of
/// the time; a daemon without optimisation needs 10 to 50 ms.
const CPU_TIME: Duration = Duration::from_millis(600);
/// How much the daemon may grow by one case, of which it needs some 3 MiB.
const GROWTH_KIB: u64 = 32 << 10;
/// Descriptors that it may have open: those of a few connections, and its own.
const DESCRIPTORS: usize = 100;

/// In the place of words: the queries fail, as with SERVFAIL, and the server is not down.
const STAYS_UP: &str = "(stays up)";

/// What a server does until it keeps the rules.
struct Case {
    what: &'static str,
    scheme: Scheme,
    /// Streams that it opens, before HTTP/3's control stream if it has one.
    opening: Opening,
    act: fn(&Asked) -> Act,
    /// What the log says of it beside another server; empty: the log need say nothing. Or
    /// [`STAYS_UP`].
    words: &'static str,
}

/// A server of one case.
struct Far {
    url: String,
    authority: Authority,
    behave: Box<dyn Fn()>,
}

impl Far {
    fn quic(case: &Case) -> Self {
        let authority = Authority::new();
        let identity = authority.sign(&["127.0.0.1"]);
        let (behaves, act) = (Rc::new(Cell::new(false)), case.act);
        let does = Rc::clone(&behaves);
        let behaviour = move |asked: &Asked| if does.get() { Act::Answer } else { act(asked) };
        let server = QuicServer::start(case.scheme, &identity, case.opening.clone(), behaviour);
        let url = format!("{}://{}", case.scheme.as_str(), server.address);
        Self { url, authority, behave: Box::new(move || behaves.set(true)) }
    }

    /// Over HTTP/2, without a stream for anybody.
    async fn limited(beyond: Beyond) -> Self {
        let authority = Authority::new();
        let identity = authority.sign(&["127.0.0.1"]);
        let server = Limited::start(&identity, 0, beyond).await;
        let url = format!("https://{}", server.address);
        Self { url, authority, behave: Box::new(move || server.allow(100)) }
    }

    /// A daemon that asks it, and then `spare`.
    fn daemon(&self, spare: Option<&UpstreamServer>) -> Daemon {
        let spare = spare.map_or_else(String::new, |spare| format!(", '{spare}'"));
        Daemon::start(&format!(
            "[[forward]]\nzones = ['.']\nupstreams = ['{}'{spare}]\nca-file = '{}'\n\
             timeout = '{} ms'\n",
            self.url,
            self.authority.file.display(),
            BUDGET.as_millis(),
        ))
    }
}

/// What the kernel says of the daemon.
struct Footprint {
    memory_kib: u64,
    cpu_time: Duration,
    descriptors: usize,
}

impl Footprint {
    fn of(daemon: &Daemon) -> Self {
        let folder = format!("/proc/{}", daemon.process.id());
        let status = fs::read_to_string(format!("{folder}/status")).unwrap();
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let memory_kib = memory.trim().trim_end_matches(" kB").parse().unwrap();
        let stat = fs::read_to_string(format!("{folder}/stat")).unwrap();
        // Behind the name in brackets: the state is the first field, utime the 12th, stime the 13th.
        let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        // Linux shows 100 ticks a second on every machine.
        let cpu_time = Duration::from_millis(10 * ticks);
        let descriptors = fs::read_dir(format!("{folder}/fd")).unwrap().count();
        Self { memory_kib, cpu_time, descriptors }
    }
}

/// Before the server and a good one: each query is answered.
async fn check_beside_another(what: &str, far: &Far, words: &str) {
    let spare = plain_server(&[SPARE]).await;
    let daemon = far.daemon(Some(&spare));
    let before = Footprint::of(&daemon);
    for number in 0..8 {
        let reply = daemon.ask_for(&format!("n{number}")).await;
        assert!(holds(&reply, &SPARE), "{what}, {number}: {reply:?}");
    }
    if words == STAYS_UP {
        let log = daemon.process.log();
        assert!(!log.contains("is down"), "{what}: {log}");
        return check(what, &daemon, &before);
    }
    let wait = async {
        while !daemon.process.log().contains(words) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let said = timeout(BUSY_MACHINE, wait).await;
    assert!(said.is_ok(), "{what}: {words} is not in the log");
    check(what, &daemon, &before);
}

/// Before the server alone: each query has an end, and the server is asked again.
async fn check_alone(what: &str, far: &Far) {
    let daemon = far.daemon(None);
    let before = Footprint::of(&daemon);
    for number in 0..2 {
        let begun = Instant::now();
        let reply = daemon.ask_for(&format!("n{number}")).await;
        assert_eq!(reply[3] & 15, 2, "SERVFAIL: {what}");
        assert!(begun.elapsed() < BUDGET + BUSY_MACHINE, "{what}: {:?}", begun.elapsed());
    }
    let used = Footprint::of(&daemon).cpu_time.saturating_sub(before.cpu_time);
    assert!(used < CPU_TIME, "{what}: {used:?} of CPU time");
    (far.behave)();
    let mut number = 0;
    while !holds(&daemon.ask_for(&format!("m{number}")).await, &WEB) {
        number += 1;
    }
    check(what, &daemon, &before);
}

fn check(what: &str, daemon: &Daemon, before: &Footprint) {
    let now = Footprint::of(daemon);
    let grown = now.memory_kib.saturating_sub(before.memory_kib);
    assert!(grown < GROWTH_KIB, "{what}: {grown} KiB more");
    assert!(now.descriptors < DESCRIPTORS, "{what}: {} descriptors", now.descriptors);
    let log = daemon.process.log();
    assert!(!log.contains("panicked"), "{what}: {log}");
}

async fn check_all(cases: Vec<Case>) {
    for case in cases {
        local(async {
            check_beside_another(case.what, &Far::quic(&case), case.words).await;
        })
        .await;
        local(async { check_alone(case.what, &Far::quic(&case)).await }).await;
    }
}

#[tokio::test]
async fn servers_over_quic_cost_no_answer_whatever_they_do() {
    let doq = |what, act, words| Case {
        what,
        scheme: Scheme::Quic,
        opening: Opening::default(),
        act,
        words,
    };
    check_all(vec![
        doq("an internal error", |_| Act::Reset(1), STAYS_UP),
        doq(
            "load on a stream",
            |_| Act::Reset(4),
            "is busy: the server reset the query's stream: DOQ_EXCESSIVE_LOAD (0x4)",
        ),
        doq(
            "load on the connection",
            |_| Act::Close(4, "later"),
            "is busy: the server closed the connection: DOQ_EXCESSIVE_LOAD (0x4), later",
        ),
        doq("a protocol error", |_| Act::Close(2, "no"), "is down: unreachable: connection reset"),
        doq(
            "a clean end",
            |_| Act::Close(0, ""),
            "is down: the server closed one connection after",
        ),
        doq(
            "no reply",
            |_| Act::Send(Vec::new()),
            "is down: the server ended the stream without a reply",
        ),
        doq(
            "half a reply",
            |asked| Act::Send(vec![framed(&asked.query)[..20].to_vec()]),
            "is down: the server ended the stream within a reply",
        ),
        doq(
            "octets for ever",
            |_| Act::Repeat(vec![0xff, 0xff, 0, 0], vec![0; 1_000]),
            "is down: ",
        ),
        doq("silence", |_| Act::Ignore, "is down: no reply to "),
    ])
    .await;
}

#[tokio::test]
async fn servers_over_http3_cost_no_answer_whatever_they_do() {
    let http3 = |what, act, words| {
        let opening = Opening { streams: vec![control()], ..Opening::default() };
        Case { what, scheme: Scheme::H3, opening, act, words }
    };
    check_all(vec![
        http3(
            "data first",
            |asked| Act::Send(vec![frame(DATA, &asked.query)]),
            "(H3_FRAME_UNEXPECTED) (4 tries in a row)",
        ),
        http3(
            "load on a stream",
            |_| Act::Reset(0x107),
            "is busy: the server reset the query's stream: H3_EXCESSIVE_LOAD (0x107)",
        ),
        http3(
            "load on the connection",
            |_| Act::Close(0x107, ""),
            "is busy: the server closed the connection: H3_EXCESSIVE_LOAD (0x107)",
        ),
        http3(
            "rejection",
            |_| Act::Reset(0x10b),
            "is down: the server closed one connection after",
        ),
        http3(
            "fields for ever",
            |_| Act::Repeat(promise(HEADERS, 1 << 29), vec![1; 1_000]),
            "is down: the server sends far more than any reply needs",
        ),
        http3(
            "data for ever",
            |_| Act::Repeat(head(200), frame(DATA, &[0; 1_000])),
            "is down: the reply is larger than 65535 octets",
        ),
        http3(
            "a part of a frame",
            |_| Act::SendOn(vec![promise(HEADERS, 1_000)]),
            "is down: no reply",
        ),
        http3("silence", |_| Act::Ignore, "is down: no reply to "),
    ])
    .await;
}

#[tokio::test]
async fn servers_that_allow_no_streams_cost_no_answer() {
    for (beyond, words) in [
        (Beyond::Refuse, "is down: the server closed one"),
        (Beyond::Ignore, "is down: no reply to"),
    ] {
        let what = format!("{beyond:?}");
        local(async {
            check_beside_another(&what, &Far::limited(beyond).await, words).await;
        })
        .await;
        local(async { check_alone(&what, &Far::limited(beyond).await).await }).await;
    }
}

/// These never keep the rules.
#[tokio::test]
async fn servers_that_open_their_connections_in_a_wrong_way_cost_no_answer() {
    let leaving = [control(), frame(GOAWAY, &[0])].concat();
    let unsettled = [number(CONTROL_STREAM), frame(GOAWAY, &[0])].concat();
    let streams = |streams| Opening { streams, ..Opening::default() };
    let none = Opening { streams: vec![control()], client_streams: Some(0), ..Opening::default() };
    for (what, scheme, opening, words) in [
        ("no streams", Scheme::Quic, none.clone(), "is down: no reply to"),
        ("no streams", Scheme::H3, none, "is down: no reply to"),
        ("goaway", Scheme::H3, streams(vec![leaving]), ""),
        ("no settings", Scheme::H3, streams(vec![unsettled]), "(H3_MISSING_SETTINGS) (4 tries"),
    ] {
        local(async {
            let case = Case { what, scheme, opening, act: |_| Act::Ignore, words };
            check_beside_another(what, &Far::quic(&case), words).await;
        })
        .await;
    }
}
