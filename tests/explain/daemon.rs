//! The real binary on free ports, and plain HTTP towards it.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Command, Output};
use std::thread;

use super::process::{self, PATIENCE, PROGRAM, Process};
use super::temporary::File;

/// A running daemon; ended with the test.
pub(crate) struct Daemon {
    process: Process,
    pub(crate) dns: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) file: File,
}

impl Daemon {
    pub(crate) fn start(config: &str) -> Self {
        let file = File::new(config);
        let mut process = Process::start(&mut process::run(file.path()));
        let (dns, admin) = (process.address(), process.address());
        Self { process, dns, admin, file }
    }

    /// Asks over UDP and waits for the reply.
    pub(crate) fn query(&self, name: &str) {
        let output = privatelinkd(&["query", name, &format!("@{}", self.dns)]);
        assert!(output.status.success(), "{output:?}");
    }

    pub(crate) fn hang_up(&self) {
        self.process.signal("-HUP");
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

/// Runs the binary to its end.
pub(crate) fn privatelinkd(args: &[&str]) -> Output {
    Command::new(PROGRAM).args(args).output().expect("it runs")
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
