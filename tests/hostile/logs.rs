//! A reader of the log that stops, and floods of lines.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, ChildStderr};
use std::thread;
use std::time::{Duration, Instant};

use super::daemon::{self, PRIVATE, PRIVATE_ADDRESS, receive};
use super::process::{self, PATIENCE, until};
use super::temporary::File;
use super::upstream;

/// More lines than the log's queue holds, and a pipe beside it.
const QUERIES: u16 = 10_000;
/// How long `timeout` lets queries under way go on at a stop.
const TIMEOUT: &str = "300ms";
/// The longest that a stop takes: `timeout`, half a second more, two seconds for the log, and as
/// much again for a machine that does other things.
const STOP: Duration = Duration::from_secs(6);

/// A daemon whose stderr is read only when the test reads it.
struct Unread {
    child: Child,
    address: SocketAddr,
    config: File,
}

impl Unread {
    fn start(log: &str) -> Self {
        let config = File::new(&config(log));
        let mut child = process::run(config.path()).spawn().expect("the daemon starts");
        let mut first = String::new();
        let stdout = child.stdout.as_mut().expect("stdout");
        BufReader::new(stdout).read_line(&mut first).expect("a line");
        let address = first.strip_prefix("listening on ").and_then(|rest| rest.split(' ').next());
        let address = address.and_then(|address| address.parse().ok());
        let address = address.unwrap_or_else(|| panic!("no address: {first}"));
        Self { child, address, config }
    }

    /// Sends the queries one after the other. Each one must be answered.
    fn ask(&self, queries: u16) {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.connect(self.address).expect("connected");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        for id in 0..queries {
            socket.send(&daemon::query(id, PRIVATE)).expect("sent");
            let reply = receive(&socket).unwrap_or_else(|| panic!("query {id} has no answer"));
            assert_eq!(reply.address(), Some(PRIVATE_ADDRESS), "query {id}");
        }
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let status = std::process::Command::new("kill").args([signal, &pid]).status();
        assert!(status.expect("kill runs").success());
    }

    fn stderr(&mut self) -> BufReader<ChildStderr> {
        BufReader::new(self.child.stderr.take().expect("read once"))
    }

    /// Sends SIGTERM. The daemon must end within [`STOP`], with success.
    fn stop(&mut self) {
        let begin = Instant::now();
        self.signal("-TERM");
        let status = until("the end", || self.child.try_wait().expect("a child"));
        assert!(status.success(), "{status}");
        assert!(begin.elapsed() < STOP, "{:?}", begin.elapsed());
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

fn config(log: &str) -> String {
    format!("{}[log]\n{log}\n", daemon::config(&upstream::closed().to_string(), TIMEOUT))
}

/// Reads lines until one holds `text`. Returns all of them, that one included.
fn read_until(stderr: &mut impl BufRead, text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line: &String| !line.contains(text)) {
        let mut line = String::new();
        assert!(stderr.read_line(&mut line).expect("text") > 0, "the end, without {text}");
        lines.push(line);
    }
    lines
}

#[test]
fn a_reader_that_never_reads_costs_neither_answers_nor_the_stop() {
    for format in ["text", "json"] {
        let mut daemon = Unread::start(&format!("queries = 'all'\nformat = '{format}'"));
        daemon.ask(QUERIES);
        daemon.stop();
        // What the pipe held is whole up to its last line.
        let mut text = String::new();
        daemon.stderr().read_to_string(&mut text).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() > 100, "{format}: {}", lines.len());
        let outcome = if format == "json" { r#""outcome":"Private""# } else { "outcome=Private" };
        // Before them stand the lines of the start: one, and as root one more.
        let start = lines.iter().take_while(|line| !line.contains(outcome)).count();
        assert!(start <= 2, "{format}: {:?}", &lines[..start]);
        assert!(
            lines[start..lines.len() - 1].iter().all(|line| line.contains(outcome)),
            "{format}"
        );
    }
}

#[test]
fn a_reader_that_comes_back_finds_warnings_and_the_number_of_lost_lines() {
    for format in ["text", "json"] {
        let mut daemon = Unread::start(&format!("queries = 'all'\nformat = '{format}'"));
        daemon.ask(QUERIES);
        // The room of query lines is full. A refused reload is said all the same.
        daemon.config.write("[listen]\ndns = 7\n");
        daemon.signal("-HUP");
        daemon.ask(1);
        let mut stderr = daemon.stderr();
        let mut lines = read_until(&mut stderr, "log lines were lost");
        let said = lines.last().expect("the line").clone();
        if !lines.iter().any(|line| line.contains("not reloaded")) {
            lines.extend(read_until(&mut stderr, "not reloaded"));
        }
        if format == "json" {
            let line: serde_json::Value = serde_json::from_str(&said).expect("an object");
            assert_eq!(line["level"], "WARN", "{said}");
        } else {
            assert!(said.contains(" WARN "), "{said}");
        }
        let (before, _) = said.split_once(" log lines").expect("a number of log lines");
        let lost = before.rsplit([' ', '"']).next().expect("a word");
        let lost: u64 = lost.parse().expect("a number");
        daemon.signal("-USR1");
        lines.extend(read_until(&mut stderr, "totals: "));
        let totals = lines.last().expect("the totals");
        assert!(totals.contains(&format!("log-lost={lost} log-left-out=0")), "{lost}: {totals}");

        let rest = thread::spawn(move || stderr.lines().map_while(Result::ok).collect::<Vec<_>>());
        daemon.stop();
        lines.extend(rest.join().expect("text"));
        assert!(lines.iter().any(|line| line.contains("stopped; ")), "the last line");
        // Each query has its line, or is counted.
        let logged = lines.iter().filter(|line| line.contains("Private")).count();
        assert_eq!(u64::try_from(logged).expect("few") + lost, u64::from(QUERIES) + 1);
    }
}

#[test]
fn a_flood_of_refused_queries_gets_so_many_lines_and_the_rest_is_counted() {
    const REFUSED: u16 = 4_000;
    let log = "queries = 'refused'\n[access]\nallow = ['192.0.2.0/24']";
    let config = File::new(&config(log));
    let mut process = process::Process::start(&mut process::run(config.path()));
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(process.address()).expect("connected");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    for id in 0..REFUSED {
        socket.send(&daemon::query(id, PRIVATE)).expect("sent");
        assert!(receive(&socket).is_some(), "query {id} has no answer");
    }
    process.signal("-TERM");
    assert!(process.wait().success());
    process.wait_for_log("stopped; ");
    let log = process.log();
    let logged = log.matches("outcome=Refused").count();
    // 1,000 at once, and 100 more in each second that the flood takes.
    assert!((1_000..usize::from(REFUSED)).contains(&logged), "{logged}");
    let left_out = usize::from(REFUSED) - logged;
    assert!(log.contains(&format!("log-lost=0 log-left-out={left_out}")), "{logged}: {log}");
    let told: usize = log
        .lines()
        .filter_map(|line| line.split_once(" lines about queries with outcome Refused"))
        .filter_map(|(before, _)| before.rsplit(' ').next()?.parse::<usize>().ok())
        .sum();
    assert_eq!(told, left_out);
}

/// A configuration with a warning, whose expectation does not hold.
fn unmet() -> File {
    let warned = "[[forward]]\nzones = ['x.test']\nupstreams = ['192.0.2.1']\n\
         rebind-allow = ['y.x.test']\n";
    let expect =
        format!("[[expect]]\nclient = '127.0.0.1'\nquery = '{PRIVATE} A'\nanswer = ['10.9.9.9']\n");
    File::new(&format!("{}{warned}{expect}", config("queries = 'all'")))
}

#[test]
fn a_start_that_fails_writes_its_warnings_and_then_its_error() {
    let output = process::run(unmet().path()).output().expect("the daemon runs");
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).expect("text");
    let warning = stderr.find("rebind-allow").expect("the warning, which the log has");
    let error = stderr.find("privatelinkd: ").expect("the error");
    assert!(warning < error && stderr.contains("10.9.9.9"), "{stderr}");
}

#[test]
fn a_start_that_fails_ends_though_stderr_is_full() {
    let (_unread, mut pipe) = std::io::pipe().expect("a pipe");
    // What a pipe holds by default (pipe(7)).
    pipe.write_all(&[b'x'; 65_536]).expect("room in the pipe");
    let begin = Instant::now();
    let config = unmet();
    let mut child = process::run(config.path()).stderr(pipe).spawn().expect("the daemon starts");
    let status = until("the end", || child.try_wait().expect("a child"));
    assert_eq!(status.code(), Some(1));
    assert!(begin.elapsed() < STOP, "{:?}", begin.elapsed());
}
