//! Two network namespaces with a cable between them: near is the daemon's, far the upstream's.

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{RData, Record, RecordType};
use privatelinkd::sys::{self, ScopedAddress};

use super::namespaces::{self, ip, run};
use super::process::{PATIENCE, until};
use super::{FIRST, FIRST_V6, UPSTREAM, UPSTREAM_V6};

/// Set for the upstream.
const SERVE: &str = "PRIVATELINKD_NETWORK_SERVE";

/// Set for the client: whom it asks.
const ASK: &str = "PRIVATELINKD_NETWORK_ASK";
/// Asked for this name, the upstream says that it has the address [`UPSTREAM`] alone.
pub(crate) const HOST: &str = "dns.example";
/// The upstream's link-local address; ours is the first one.
pub(crate) const LINK_LOCAL: &str = "fe80::53";
/// Where the upstream listens on every interface.
pub(crate) const EVERYWHERE: u16 = 5_353;

/// The two namespaces, seen from the near one.
pub(crate) struct Space {
    folder: PathBuf,
}

/// Runs `test` inside namespaces of its own, with an upstream that answers. `name` is unique.
pub(crate) fn within(name: &str, test: impl FnOnce(&Space)) {
    let needs = "mount -t tmpfs tmpfs /run && ip netns add far && \
        ip link add near type veth peer name far0 netns far";
    namespaces::within(name, needs, |folder| {
        let space = Space { folder };
        space.furnish();
        let _upstream = space.start_upstream();
        test(&space);
    });
}

impl Space {
    fn furnish(&self) {
        run(Command::new("mount").args(["-t", "tmpfs", "tmpfs", "/run"]));
        self.near("netns add far");
        self.near("link set lo up");
        self.join("near", "far0");
        self.near(&format!("addr add {FIRST}/24 dev near"));
        self.far("link set lo up");
        self.far(&format!("addr add {UPSTREAM}/32 dev lo"));
        self.far("addr add 10.99.0.1/24 dev far0");
        self.far("route add 10.99.1.0/24 dev far0");
        // Without the seconds in which an address may not be used yet.
        self.near(&format!("addr add {FIRST_V6}/64 dev near nodad"));
        self.near(&format!("route add {UPSTREAM_V6} dev near"));
        self.far(&format!("addr add {UPSTREAM_V6}/128 dev far0 nodad"));
        self.far("route add fd99::/64 dev far0");
        self.far("route add fd99:1::/64 dev far0");
        self.route_to_upstream();
    }

    /// Lays a cable. Each end has one link-local address, and may use it at once.
    pub(crate) fn join(&self, near: &str, far: &str) {
        self.near(&format!("link add {near} type veth peer name {far} netns far"));
        self.near(&format!("link set {near} addrgenmode none"));
        self.far(&format!("link set {far} addrgenmode none"));
        self.near(&format!("link set {near} up"));
        self.far(&format!("link set {far} up"));
        self.near(&format!("addr add fe80::1/64 dev {near} nodad"));
        self.far(&format!("addr add {LINK_LOCAL}/64 dev {far} nodad"));
    }

    /// Puts the way to the upstream into place; its source address is [`FIRST`].
    pub(crate) fn route_to_upstream(&self) {
        self.near(&format!("route replace {UPSTREAM} via 10.99.0.1"));
    }

    /// Runs `ip` on the daemon's side.
    pub(crate) fn near(&self, line: &str) {
        ip(line);
    }

    /// The same with many lines.
    pub(crate) fn near_batch(&self, lines: &[String]) {
        let file = self.folder.join("batch");
        fs::write(&file, lines.join("\n")).expect("written");
        run(Command::new("ip").arg("-batch").arg(file));
    }

    /// Runs `ip` on the upstream's side.
    pub(crate) fn far(&self, line: &str) {
        run(Command::new("ip").args(["-netns", "far"]).args(line.split(' ')));
    }

    /// Whether a client on the far side gets an answer from this address, which has one of its
    /// interfaces.
    pub(crate) fn far_is_answered_by(&self, server: &str) -> bool {
        let client = Command::new("ip")
            .args(["netns", "exec", "far"])
            .arg(env::current_exe().expect("this program"))
            .args(["--ignored", "--exact", "client"])
            .env(ASK, server)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status();
        client.expect("ip runs").success()
    }

    /// Of the test's own.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns when it listens.
    fn start_upstream(&self) -> Upstream {
        let ready = self.folder.join("ready");
        let upstream = Command::new("ip")
            .args(["netns", "exec", "far"])
            .arg(env::current_exe().expect("this program"))
            .args(["--ignored", "--exact", "upstream"])
            .env(SERVE, &ready)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("ip runs");
        let upstream = Upstream(upstream);
        until("the upstream listens", || ready.exists().then_some(()));
        upstream
    }
}

/// This program in the far namespace.
struct Upstream(Child);

impl Drop for Upstream {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// In the far namespace: answers every query over UDP and TCP with the address it came from, TTL 0.
pub(crate) fn serve_if_asked() {
    let Some(ready) = env::var_os(SERVE) else { return };
    let link_local = LINK_LOCAL.parse().expect("an address");
    let interface = sys::scope_id("far0").expect("an interface");
    let addresses: [SocketAddr; 4] = [
        (UPSTREAM, 53).into(),
        (UPSTREAM_V6, 53).into(),
        SocketAddrV6::new(link_local, 53, 0, interface).into(),
        (Ipv6Addr::UNSPECIFIED, EVERYWHERE).into(),
    ];
    let udp = addresses.map(|address| UdpSocket::bind(address).expect("a socket"));
    let tcp = addresses.map(|address| TcpListener::bind(address).expect("a listener"));
    fs::write(ready, "").expect("written");
    std::thread::scope(|scope| {
        for socket in &udp {
            scope.spawn(|| serve(socket));
        }
        for listener in &tcp {
            scope.spawn(|| serve_connections(listener));
        }
    });
}

fn serve(socket: &UdpSocket) {
    let mut buffer = [0; 4_096];
    loop {
        let (octets, peer) = socket.recv_from(&mut buffer).expect("a query");
        // There may be no way back: that is what the tests are about.
        let _lost = socket.send_to(&answer(&buffer[..octets], peer.ip()), peer);
    }
}

/// One query a connection is enough.
fn serve_connections(listener: &TcpListener) {
    loop {
        let (mut stream, peer) = listener.accept().expect("a connection");
        let mut octets = [0; 2];
        let read = stream.read_exact(&mut octets).and_then(|()| {
            let mut query = vec![0; u16::from_be_bytes(octets).into()];
            stream.read_exact(&mut query).map(|()| query)
        });
        let Ok(query) = read else { continue };
        let reply = answer(&query, peer.ip());
        let octets = u16::try_from(reply.len()).expect("short").to_be_bytes();
        let _lost = stream.write_all(&[&octets, &reply[..]].concat());
    }
}

fn answer(query: &[u8], peer: IpAddr) -> Vec<u8> {
    let mut message = Message::from_vec(query).expect("a query");
    let name = message.queries[0].name().clone();
    let is_host = name.to_ascii().trim_end_matches('.').eq_ignore_ascii_case(HOST);
    let is_a = message.queries[0].query_type() == RecordType::A;
    message.metadata.message_type = MessageType::Response;
    message.metadata.recursion_available = true;
    let data = match if is_host { UPSTREAM } else { peer } {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    };
    if !is_host || is_a {
        message.answers.push(Record::from_rdata(name, 0, data));
    }
    message.to_vec().expect("encodable")
}

/// In the far namespace: fails unless an answer comes.
pub(crate) fn ask_if_asked() {
    let Some(server) = env::var_os(ASK) else { return };
    let server: ScopedAddress = server.to_str().expect("a text").parse().expect("an address");
    let socket = UdpSocket::bind("[::]:0").expect("a socket");
    socket.connect(server.socket().expect("an interface")).expect("connected");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\0\0\x01\0\x01";
    socket.send(query).expect("sent");
    let mut reply = [0; 4_096];
    let octets = socket.recv(&mut reply).expect("a reply");
    assert_eq!(reply[..2], query[..2]);
    assert_eq!((octets > 12, reply[3] & 15), (true, 0), "refused");
}
