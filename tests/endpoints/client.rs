//! Who asks, and the upstream that is asked in turn.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// The daemon's address, in a namespace that nothing else is in.
pub(crate) const SERVER: &str = "127.0.0.1:53";
/// What the upstream gives every name.
pub(crate) const PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
/// Threads that ask.
const CLIENTS: usize = 2;
/// Between two questions of one: a thousand a second each, as far as the machine goes.
const REST: Duration = Duration::from_millis(1);
/// The daemon's own bound for an answer, and some.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a client is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Said {
    /// The last record's address.
    Address(IpAddr),
    /// SERVFAIL.
    Failure,
    /// No address, whatever else.
    Empty,
}

struct Client {
    socket: UdpSocket,
    query: Vec<u8>,
}

impl Client {
    fn new(name: &str) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.connect(SERVER).expect("connected");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let mut message = Message::new(1, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        let name = Name::from_ascii(name).expect("a name");
        message.add_query(Query::query(name, RecordType::A));
        Self { socket, query: message.to_vec().expect("encodable") }
    }

    fn ask(&self) -> Said {
        self.socket.send(&self.query).expect("sent");
        let mut reply = [0; 4_096];
        let octets = self.socket.recv(&mut reply).expect("the daemon says something");
        let message = Message::from_vec(&reply[..octets]).expect("a message");
        if message.metadata.response_code == ResponseCode::ServFail {
            return Said::Failure;
        }
        match message.answers.last().map(|record| &record.data) {
            Some(RData::A(address)) => Said::Address(address.0.into()),
            _ => Said::Empty,
        }
    }
}

/// One question.
pub(crate) fn ask(name: &str) -> Said {
    Client::new(name).ask()
}

/// Clients that ask for one name all the time.
pub(crate) struct Load {
    seen: Arc<Seen>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Seen {
    ends: AtomicBool,
    asked: AtomicUsize,
    /// What each client was told last.
    now: [Mutex<Option<Said>>; CLIENTS],
    /// What the first one was told, each time that it was something else than before.
    changes: Mutex<Vec<Said>>,
    faults: AtomicUsize,
}

impl Load {
    pub(crate) fn start(name: &str) -> Self {
        let seen = Arc::new(Seen::default());
        let start = |number: usize| {
            let (seen, client) = (Arc::clone(&seen), Client::new(name));
            thread::spawn(move || {
                while !seen.ends.load(Ordering::Relaxed) {
                    seen.note(number, client.ask());
                    thread::sleep(REST);
                }
            })
        };
        let threads = (0..CLIENTS).map(start).collect();
        Self { seen, threads }
    }

    /// Whether that is what everybody was told last.
    pub(crate) fn all_get(&self, address: Ipv4Addr) -> bool {
        let wanted = Some(Said::Address(address.into()));
        self.seen.now.iter().all(|now| *now.lock().expect("a client") == wanted)
    }

    /// How often clients were told something else than before; the first time counts.
    pub(crate) fn moves(&self) -> usize {
        self.seen.changes.lock().expect("a client").len()
    }

    /// Every answer had an address, and there were many.
    pub(crate) fn stop_and_find_no_fault(self) {
        self.seen.ends.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a client got no answer");
        }
        let asked = self.seen.asked.load(Ordering::Relaxed);
        assert_eq!(self.seen.faults.load(Ordering::Relaxed), 0, "of {asked}");
        assert!(asked > 1_000, "{asked} is no load");
    }
}

impl Seen {
    fn note(&self, client: usize, said: Said) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if !matches!(said, Said::Address(_)) {
            self.faults.fetch_add(1, Ordering::Relaxed);
        }
        let before = self.now[client].lock().expect("a client").replace(said);
        if client == 0 && before != Some(said) {
            self.changes.lock().expect("a client").push(said);
        }
    }
}

/// Gives every name a public address; `alias.example` by way of a name of the blob zone.
pub(crate) struct Upstream {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Upstream {
    pub(crate) const ADDRESS: &str = "127.0.0.2:5300";

    pub(crate) fn start() -> Self {
        let socket = UdpSocket::bind(Self::ADDRESS).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a time-out");
        let ends = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ends);
        let thread = thread::spawn(move || {
            let mut buffer = [0; 4_096];
            while !told.load(Ordering::Relaxed) {
                let Ok((octets, peer)) = socket.recv_from(&mut buffer) else { continue };
                let reply = Self::reply(&buffer[..octets]);
                socket.send_to(&reply, peer).expect("sent");
            }
        });
        Self { ends, thread: Some(thread) }
    }

    fn reply(query: &[u8]) -> Vec<u8> {
        let mut message = Message::from_vec(query).expect("a query");
        message.metadata.message_type = MessageType::Response;
        message.metadata.recursion_available = true;
        let mut name = message.queries[0].name().clone();
        if name.to_lowercase().to_string() == "alias.example." {
            let target = Name::from_ascii("mine.blob.core.windows.net.").expect("a name");
            let link = RData::CNAME(CNAME(target.clone()));
            message.answers.push(Record::from_rdata(name, 60, link));
            name = target;
        }
        message.answers.push(Record::from_rdata(name, 60, RData::A(A(PUBLIC))));
        message.to_vec().expect("encodable")
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}
