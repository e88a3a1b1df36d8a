//! The real binary on free ports, its file, and plain HTTP towards it.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long the daemon may take for what it should do at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// A configuration file that goes with the test.
pub(crate) struct File(PathBuf);

impl File {
    pub(crate) fn new(text: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("privatelinkd-explain-{}-{number}.toml", std::process::id());
        let file = Self(std::env::temp_dir().join(name));
        file.write(text);
        file
    }

    pub(crate) fn write(&self, text: &str) {
        std::fs::write(&self.0, text).expect("a temporary file");
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.0);
    }
}

/// A running daemon; ended with the test.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) dns: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) file: File,
}

impl Daemon {
    pub(crate) fn start(config: &str) -> Self {
        let file = File::new(config);
        let mut child = Command::new(env!("CARGO_BIN_EXE_privatelinkd"))
            .args(["run", "--config"])
            .arg(file.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the daemon starts");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
        let mut address = || {
            let line = lines.next().expect("the daemon says where it listens").expect("text");
            line.split(' ').nth(2).expect("an address").parse().expect("an address")
        };
        let (dns, admin) = (address(), address());
        Self { child, dns, admin, file }
    }

    /// Asks over UDP and waits for the reply.
    pub(crate) fn query(&self, name: &str) {
        let output = privatelinkd(&["query", name, &format!("@{}", self.dns)]);
        assert!(output.status.success(), "{output:?}");
    }

    pub(crate) fn hang_up(&self) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-HUP", &id]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// `explain … --live`, as text.
    pub(crate) fn explain(&self, args: &[&str]) -> String {
        let admin = self.admin.to_string();
        stdout(&[&["explain"], args, &["--live", "--admin", &admin]].concat())
    }

    /// A whole request and its whole reply.
    pub(crate) fn http(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.admin).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("a reply");
        reply
    }

    pub(crate) fn get(&self, path: &str) -> String {
        self.http(&format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.admin))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// Runs the binary to its end.
pub(crate) fn privatelinkd(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_privatelinkd")).args(args).output().expect("it runs")
}

/// What it says when all is well.
pub(crate) fn stdout(args: &[&str]) -> String {
    let output = privatelinkd(args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// What it says when it cannot do it; exit code 1.
pub(crate) fn stderr(args: &[&str]) -> String {
    let output = privatelinkd(args);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
    String::from_utf8(output.stderr).expect("text")
}

/// Tries until `done` gives something.
pub(crate) fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = done() {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "never: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// An upstream that answers every question of type A with 192.0.2.80, TTL 300, and no other.
pub(crate) fn upstream() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("bound");
    thread::spawn(move || {
        let mut buffer = [0; 1_500];
        while let Ok((octets, client)) = socket.recv_from(&mut buffer) {
            if let Some(reply) = answer(&buffer[..octets]) {
                let _lost = socket.send_to(&reply, client);
            }
        }
    });
    address
}

fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let name = query.get(12..)?.iter().position(|octet| *octet == 0)?;
    let end = 12 + name + 5;
    if query.get(end - 4..end)? != [0, 1, 0, 1] {
        return None;
    }
    // QR, RD, RA; one question, one answer.
    let mut reply = [&query[..2], &[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0], &query[12..end]].concat();
    reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4, 192, 0, 2, 80]);
    Some(reply)
}

/// The configuration of these tests.
pub(crate) fn config(upstream: SocketAddr, api: &str) -> String {
    let mut text = String::from("[listen]\ndns = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\n");
    text += include_str!("daemon.toml");
    text = text.replace("API", api);
    write!(text, "\n[[forward]]\nzones = [\"example\"]\nupstreams = [\"{upstream}\"]\n")
        .expect("a String takes all");
    text
}
