//! The real binary on a free port, and what one asks it.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};

use super::process::{self, PATIENCE, Process};
use super::temporary::File;

/// The public zone of [`config`].
pub(crate) const PUBLIC_ZONE: &str = "cloud.defender.microsoft.com.";
/// A private name of [`config`], and its address.
pub(crate) const PRIVATE: &str = "api.cloud.defender.microsoft.com.";
pub(crate) const PRIVATE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 5);

/// A configuration with one private zone and one upstream for the rest.
pub(crate) fn config(upstream: &str, timeout: &str) -> String {
    format!(
        "[listen]\ndns = ['127.0.0.1:0']\n\
         [[private-link]]\nservice = 'defender-for-containers'\n\
         [[private-link.endpoint]]\nname = 'hub'\naddresses = ['{PRIVATE_ADDRESS}']\n\
         names = {{ 'api' = ['{PRIVATE_ADDRESS}'] }}\n\
         [[forward]]\nzones = ['.']\nupstreams = ['{upstream}']\ntimeout = '{timeout}'\n"
    )
}

/// The same where the zone lists so many names besides, all of them with the address of `last`.
pub(crate) fn config_of_names(upstream: &str, names: usize, last: u8) -> String {
    let config = config(upstream, "300ms").replace("10.1.0.5", &format!("10.1.0.{last}"));
    let listed: String =
        (0..names).map(|name| format!(", 'n{name}' = ['10.1.0.{last}']")).collect();
    config.replace("] }", &format!("]{listed} }}"))
}

pub(crate) struct Daemon {
    process: Process,
    address: SocketAddr,
    /// Its own file; `None` where the test has another.
    config: Option<File>,
}

impl Daemon {
    pub(crate) fn start(config: &str) -> Self {
        let config = File::new(config);
        let daemon = Self::start_with(config.path());
        Self { config: Some(config), ..daemon }
    }

    /// With the test's own file.
    pub(crate) fn start_with(config: &Path) -> Self {
        Self::run(&mut process::run(config))
    }

    /// With the test's own command.
    pub(crate) fn run(command: &mut Command) -> Self {
        let mut process = Process::start(command);
        Self { address: process.address(), process, config: None }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What it has written to stderr so far.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    pub(crate) fn wait_for_log(&self, text: &str) {
        self.process.wait_for_log(text);
    }

    /// Puts another file in the place of its own.
    pub(crate) fn write_config(&self, config: &str) {
        self.config.as_ref().expect("its own file").write(config);
    }

    pub(crate) fn signal(&self, signal: &str) {
        self.process.signal(signal);
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.process.wait()
    }

    /// It lives, it answers, and no thread of it has panicked.
    pub(crate) fn assert_well(&mut self) {
        assert!(self.process.ended().is_none(), "gone: {}", self.log());
        assert_eq!(self.ask_udp(PRIVATE).expect("a reply").address(), Some(PRIVATE_ADDRESS));
        assert_eq!(self.ask_tcp(PRIVATE).expect("a reply").address(), Some(PRIVATE_ADDRESS));
        assert!(!self.log().contains("panic"), "{}", self.log());
    }

    /// Processor time so far.
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("proc(5)");
        // Fields 14 and 15, user and system time in hundredths of a second; the name in field 2
        // has no space.
        let ticks = stat.split(' ').skip(13).take(2).map(|n| n.parse::<u64>().expect("a number"));
        Duration::from_millis(10 * ticks.sum::<u64>())
    }

    pub(crate) fn ask_udp(&self, name: &str) -> Option<Reply> {
        self.ask_udp_for(name, RecordType::A)
    }

    pub(crate) fn ask_udp_for(&self, name: &str, rtype: RecordType) -> Option<Reply> {
        let socket = self.udp();
        socket.send(&query_for(1, name, rtype)).expect("sent");
        receive(&socket)
    }

    /// A socket that sends to the daemon, and waits up to [`PATIENCE`].
    pub(crate) fn udp(&self) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.connect(self.address).expect("connected");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        socket
    }

    pub(crate) fn ask_tcp(&self, name: &str) -> Option<Reply> {
        self.ask_tcp_from(Ipv4Addr::LOCALHOST, name)
    }

    pub(crate) fn ask_tcp_from(&self, client: Ipv4Addr, name: &str) -> Option<Reply> {
        let mut stream = self.connect(client);
        let message = query(2, name);
        let length = u16::try_from(message.len()).expect("short").to_be_bytes();
        stream.write_all(&[&length, &message[..]].concat()).ok()?;
        let mut length = [0; 2];
        stream.read_exact(&mut length).ok()?;
        let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut reply).ok()?;
        Some(Reply::read(&reply))
    }

    /// A connection from `client`.
    pub(crate) fn connect(&self, client: Ipv4Addr) -> TcpStream {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.expect("a socket");
        socket.bind(&SocketAddr::new(IpAddr::V4(client), 0).into()).expect("bound");
        socket.connect(&self.address.into()).expect("connected");
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        stream
    }
}

/// A query for the name's A, with RD.
pub(crate) fn query(id: u16, name: &str) -> Vec<u8> {
    query_for(id, name, RecordType::A)
}

/// A query with RD.
fn query_for(id: u16, name: &str, rtype: RecordType) -> Vec<u8> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).expect("a name"), rtype));
    message.to_vec().expect("encodable")
}

pub(crate) fn receive(socket: &UdpSocket) -> Option<Reply> {
    let mut reply = [0; 4_096];
    let octets = socket.recv(&mut reply).ok()?;
    Some(Reply::read(&reply[..octets]))
}

pub(crate) struct Reply(Message);

impl Reply {
    pub(crate) fn read(octets: &[u8]) -> Self {
        Self(Message::from_vec(octets).expect("a message"))
    }

    pub(crate) fn rcode(&self) -> ResponseCode {
        self.0.metadata.response_code
    }

    /// The last record's address.
    pub(crate) fn address(&self) -> Option<Ipv4Addr> {
        match self.0.answers.last()?.data {
            RData::A(address) => Some(address.0),
            _ => None,
        }
    }
}
