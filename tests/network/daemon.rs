//! The real binary, and what one asks it.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, RecordType};

use super::space::Space;

/// The bound of a wait on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

pub(crate) struct Daemon {
    child: Child,
    address: SocketAddr,
    upstream: SocketAddr,
    stderr: Arc<Mutex<String>>,
}

/// A query that was sent.
pub(crate) struct Waiting(UdpSocket);

impl Daemon {
    pub(crate) fn start(space: &Space, upstream: SocketAddr) -> Self {
        let config = space.folder().join("privatelinkd.toml");
        let text = format!(
            "[listen]\ndns = ['127.0.0.1:0']\n[limits]\nworkers = 1\n\
             [[forward]]\nzones = ['.']\nupstreams = ['{upstream}']\ntimeout = '2s'\n"
        );
        std::fs::write(&config, text).expect("written");
        let mut child = Command::new(env!("CARGO_BIN_EXE_privatelinkd"))
            .args(["run", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the daemon starts");
        let stderr = Arc::new(Mutex::new(String::new()));
        let (log, pipe) = (Arc::clone(&stderr), child.stderr.take().expect("stderr"));
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                let mut log = log.lock().expect("the log");
                log.push_str(&line);
                log.push('\n');
            }
        });
        let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
        let first = lines.next();
        thread::spawn(move || lines.for_each(drop));
        let Some(Ok(first)) = first else {
            panic!("it does not listen: {}", stderr.lock().expect("the log"))
        };
        let address = first.split(' ').nth(2).and_then(|word| word.parse().ok());
        let address = address.unwrap_or_else(|| panic!("no address: {first}"));
        Self { child, address, upstream, stderr }
    }

    /// What it has written to stderr so far.
    pub(crate) fn log(&self) -> String {
        self.stderr.lock().expect("the log").clone()
    }

    pub(crate) fn wait_for_log(&self, text: &str) {
        until(text, || self.log().contains(text).then_some(()));
    }

    /// The address in the answer, which is the one that the upstream was asked from; `None`: a
    /// failure.
    pub(crate) fn ask(&self) -> Option<IpAddr> {
        self.send().receive()
    }

    pub(crate) fn send(&self) -> Waiting {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.connect(self.address).expect("connected");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let mut message = Message::new(1, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        let name = Name::from_ascii("whence.example.").expect("a name");
        let rtype = if self.upstream.is_ipv4() { RecordType::A } else { RecordType::AAAA };
        message.add_query(Query::query(name, rtype));
        socket.send(&message.to_vec().expect("encodable")).expect("sent");
        Waiting(socket)
    }
}

impl Waiting {
    /// See [`Daemon::ask`].
    pub(crate) fn receive(&self) -> Option<IpAddr> {
        let mut reply = [0; 4_096];
        let octets = self.0.recv(&mut reply).expect("the daemon says something");
        let message = Message::from_vec(&reply[..octets]).expect("a message");
        match message.answers.last()?.data {
            RData::A(address) => Some(address.0.into()),
            RData::AAAA(address) => Some(address.0.into()),
            _ => None,
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// Waits until `look` gives something.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(LOOK_EVERY);
    }
}
