//! The real binary on a free port, and what one asks it.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use super::process::{self, Process};
use super::temporary::File;

/// How long a reply may take before it counts as silence.
const SILENCE: Duration = Duration::from_millis(2_500);
/// How long silence is waited for where it is what the case wants: replies take microseconds.
pub(crate) const EXPECTED_SILENCE: Duration = Duration::from_millis(150);

/// A running daemon.
pub(crate) struct Daemon {
    _process: Process,
    _config: File,
    address: SocketAddr,
}

impl Daemon {
    /// Starts the daemon with this configuration, which listens on one address.
    pub(crate) fn start(config: &str) -> Self {
        let config = File::new(config);
        let mut process = Process::start(&mut process::run(config.path()));
        Self { address: process.address(), _process: process, _config: config }
    }

    /// The reply to a datagram from `client`; `None` for silence.
    pub(crate) fn ask_udp(&self, client: IpAddr, query: &[u8]) -> Option<Vec<u8>> {
        let socket = UdpSocket::bind((client, 0)).expect("a socket");
        socket.connect(self.address).expect("connected");
        socket.send(query).expect("sent");
        socket.set_read_timeout(Some(patience(query))).expect("a time-out");
        let mut reply = vec![0; 65_535];
        let octets = socket.recv(&mut reply).ok()?;
        reply.truncate(octets);
        Some(reply)
    }

    /// The reply over a connection of its own; `None` for silence, or for its end.
    pub(crate) fn ask_tcp(&self, client: IpAddr, query: &[u8]) -> Option<Vec<u8>> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.expect("a socket");
        socket.bind(&SocketAddr::new(client, 0).into()).expect("bound");
        socket.connect(&self.address.into()).expect("connected");
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(patience(query))).expect("a time-out");
        let length = u16::try_from(query.len()).expect("short").to_be_bytes();
        stream.write_all(&[&length, query].concat()).expect("sent");
        let mut length = [0; 2];
        stream.read_exact(&mut length).ok()?;
        let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut reply).expect("a whole reply");
        Some(reply)
    }
}

/// Responses and scraps get silence; all else must be answered, within the upstream's budget.
fn patience(query: &[u8]) -> Duration {
    if query.len() < 12 || query[2] & 0x80 != 0 { EXPECTED_SILENCE } else { SILENCE }
}
