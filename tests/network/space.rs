//! Two network namespaces with a cable between them: near is the daemon's, far the upstream's.

use std::env;
use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{RData, Record};

use super::namespaces::{self, ip, run};
use super::process::until;
use super::{FIRST, FIRST_V6, UPSTREAM, UPSTREAM_V6};

/// Set for the upstream.
const SERVE: &str = "PRIVATELINKD_NETWORK_SERVE";

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
        self.near("link add near type veth peer name far0 netns far");
        self.near(&format!("addr add {FIRST}/24 dev near"));
        self.near("link set near up");
        self.far("link set lo up");
        self.far(&format!("addr add {UPSTREAM}/32 dev lo"));
        self.far("addr add 10.99.0.1/24 dev far0");
        self.far("link set far0 up");
        self.far("route add 10.99.1.0/24 dev far0");
        // Without the seconds in which an address may not be used yet.
        self.near(&format!("addr add {FIRST_V6}/64 dev near nodad"));
        self.near(&format!("route add {UPSTREAM_V6} dev near"));
        self.far(&format!("addr add {UPSTREAM_V6}/128 dev far0 nodad"));
        self.far("route add fd99::/64 dev far0");
        self.far("route add fd99:1::/64 dev far0");
        self.route_to_upstream();
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

/// In the far namespace: answers every query with the address it came from, TTL 0.
pub(crate) fn serve_if_asked() {
    let Some(ready) = env::var_os(SERVE) else { return };
    let sockets =
        [UPSTREAM, UPSTREAM_V6].map(|address| UdpSocket::bind((address, 53)).expect("a socket"));
    fs::write(ready, "").expect("written");
    std::thread::scope(|scope| {
        for socket in &sockets {
            scope.spawn(|| serve(socket));
        }
    });
}

fn serve(socket: &UdpSocket) {
    let mut buffer = [0; 4_096];
    loop {
        let (octets, peer) = socket.recv_from(&mut buffer).expect("a query");
        let mut message = Message::from_vec(&buffer[..octets]).expect("a query");
        let name = message.queries[0].name().clone();
        message.metadata.message_type = MessageType::Response;
        message.metadata.recursion_available = true;
        let source = match peer.ip() {
            IpAddr::V4(source) => RData::A(A(source)),
            IpAddr::V6(source) => RData::AAAA(AAAA(source)),
        };
        message.answers.push(Record::from_rdata(name, 0, source));
        // There may be no way back: that is what the tests are about.
        let _lost = socket.send_to(&message.to_vec().expect("encodable"), peer);
    }
}
