//! Listen addresses that come later, as those of VRRP and of tunnels do.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};

use super::process::{self, PATIENCE, Process, until};
use super::space::{self, Space};

/// The address that comes later.
const LATE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 2));
const DNS: SocketAddr = SocketAddr::new(LATE, 5_300);
const LOW: SocketAddr = SocketAddr::new(LATE, 53);
const ADMIN: SocketAddr = SocketAddr::new(LATE, 9_153);
/// From the coming of an address to the first answer there. The daemon needs some 200 ms, and where no
/// news can be had 3 s.
const SERVED_WITHIN: Duration = Duration::from_secs(2);

/// `[listen]` with these lines, and a rule that nobody uses: `localhost` needs no upstream.
fn config(space: &Space, listen: &str) -> PathBuf {
    let path = space.folder().join("late.toml");
    let text = format!(
        "[listen]\n{listen}\n[limits]\nworkers = 2\n\
         [[forward]]\nzones = ['example']\nupstreams = ['127.0.0.1:1']\n"
    );
    std::fs::write(&path, text).expect("written");
    path
}

fn query() -> Vec<u8> {
    let mut message = Message::new(1, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii("localhost.").expect("one"), RecordType::A));
    message.to_vec().expect("encodable")
}

/// Whether the daemon answers at `address` over UDP within a tenth of a second. Each time from
/// another port, so that all workers are asked in the end.
fn answers(address: SocketAddr) -> bool {
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a time-out");
    // There may be no way yet.
    socket.connect(address).is_ok()
        && socket.send(&query()).is_ok()
        && socket.recv(&mut [0; 512]).is_ok()
}

fn add(space: &Space) -> Instant {
    space.near(&format!("addr add {LATE}/32 dev near"));
    Instant::now()
}

#[test]
fn an_address_that_comes_later_is_served_then() {
    space::within("late", |space| {
        let listen = format!("dns = ['{DNS}', '127.0.0.1:5300']\nadmin = '{ADMIN}'");
        let notify = Notify::open(space.folder());
        let mut command = process::run(&config(space, &listen));
        let mut daemon = Process::start(command.env("NOTIFY_SOCKET", &notify.path));
        assert_eq!(daemon.address(), "127.0.0.1:5300".parse().expect("one"));
        daemon.wait_for_log(&format!("no interface has {LATE} yet"));
        notify.wait_for(&format!("waiting for listen address {DNS}, {ADMIN}"));
        assert!(answers("127.0.0.1:5300".parse().expect("one")) && !answers(DNS));

        let since = add(space);
        until("it is served", || answers(DNS).then_some(()));
        assert!(since.elapsed() < SERVED_WITHIN, "{:?}: {}", since.elapsed(), daemon.log());
        for _ in 0..20 {
            assert!(answers(DNS), "each worker has its socket: {}", daemon.log());
        }
        for address in [DNS, ADMIN] {
            until("TCP is served", || TcpStream::connect(address).ok());
        }
        daemon.wait_for_log(&format!("listening on {DNS} (UDP and TCP)"));
        daemon.wait_for_log(&format!("listening on {ADMIN} (admin, HTTP)"));
        notify.wait_for("1 upstream");

        // It stays bound over the time without its address.
        space.near(&format!("addr del {LATE}/32 dev near"));
        assert!(!answers(DNS));
        add(space);
        until("it is served again", || answers(DNS).then_some(()));
        assert_eq!(daemon.log().matches("listening on").count(), 2, "{}", daemon.log());
        assert!(daemon.ended().is_none());
    });
}

#[test]
fn freebind_listens_before_the_address_comes() {
    space::within("freebind", |space| {
        let v6: SocketAddr = "[fd77::2]:5300".parse().expect("one");
        let listen = format!("dns = ['{DNS}', '{v6}']\nadmin = '{ADMIN}'\nfreebind = true");
        let mut daemon = Process::start(&mut process::run(&config(space, &listen)));
        assert_eq!(daemon.address(), DNS);
        daemon.wait_for_log(&format!("no interface has {LATE} yet: {DNS} is bound"));
        assert!(!answers(DNS));
        add(space);
        space.near("addr add fd77::2/128 dev near nodad");
        for address in [DNS, v6] {
            until("it is served", || answers(address).then_some(()));
        }
        until("admin is served", || TcpStream::connect(ADMIN).ok());
    });
}

/// How a daemon ends that cannot start, and what it says.
fn fails(command: &mut Command) -> String {
    let mut daemon = Process::start(command);
    assert!(!daemon.wait().success());
    until("it says why", || Some(daemon.log()).filter(|log| log.contains("cannot listen on")))
}

#[test]
fn without_any_address_the_daemon_ends_and_says_what_to_do() {
    space::within("none", |space| {
        let listen = format!("dns = ['{DNS}', '10.77.0.3:5300']");
        let said = fails(&mut process::run(&config(space, &listen)));
        let expected = format!("cannot listen on {DNS} (UDP): no interface has this address");
        assert!(said.contains(&expected) && said.contains("freebind = true"), "{said}");
        // A port of another program is no address that comes later.
        let taken = UdpSocket::bind("127.0.0.1:5300").expect("free");
        let listen = format!("dns = ['{DNS}', '127.0.0.1:5300']");
        let said = fails(&mut process::run(&config(space, &listen)));
        assert!(said.contains("port 5300 is taken"), "{said}");
        drop(taken);
    });
}

/// Sets the first port that everybody may bind, in the daemon's namespace.
fn unprivileged_from(port: u16) {
    let file = Path::new("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    std::fs::write(file, port.to_string()).expect("written as root");
}

#[test]
fn a_low_port_comes_later_only_if_the_later_user_may_bind_it() {
    space::within("user", |space| {
        unprivileged_from(1_024);
        let listen = format!("dns = ['{LOW}', '127.0.0.1:5300']");
        let config_of = |more: &str| config(space, &format!("{listen}\n{more}"));
        // The user must reach the file.
        namespaces_open(space.folder());
        let run = |config: &Path| {
            let mut command = process::run(config);
            command.args(["--user", "nobody"]);
            command
        };
        let said = fails(&mut run(&config_of("")));
        assert!(said.contains("user nobody may not listen on port 53"), "{said}");
        assert!(said.contains("freebind = true") && said.contains("AmbientCapabilities"), "{said}");
        {
            let mut daemon = Process::start(&mut run(&config_of("freebind = true")));
            assert_eq!(daemon.address(), LOW);
            add(space);
            until("it is served", || answers(LOW).then_some(()));
            space.near(&format!("addr del {LATE}/32 dev near"));
        }
        {
            // As a unit does with User= and AmbientCapabilities=: it is this user already.
            let mut command = Command::new("setpriv");
            let bits = "--inh-caps=+net_bind_service --ambient-caps=+net_bind_service";
            command.args(["--reuid=nobody", "--clear-groups"]).args(bits.split(' '));
            let run = run(&config_of(""));
            command.arg(run.get_program()).args(run.get_args());
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut daemon = Process::start(&mut command);
            daemon.wait_for_log("already running as user nobody");
            daemon.address();
            add(space);
            until("it is served", || answers(LOW).then_some(()));
            space.near(&format!("addr del {LATE}/32 dev near"));
        }
        unprivileged_from(53);
        let mut daemon = Process::start(&mut run(&config_of("")));
        daemon.address();
        add(space);
        until("it is served", || answers(LOW).then_some(()));
        drop(daemon);
    });
}

/// Lets other users into the test's folder.
fn namespaces_open(folder: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).expect("ours");
}

/// What the daemon tells systemd.
struct Notify {
    path: PathBuf,
    socket: UnixDatagram,
}

impl Notify {
    fn open(folder: &Path) -> Self {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        Self { path, socket }
    }

    /// Waits for a status with this text at its end.
    fn wait_for(&self, text: &str) {
        let mut message = [0; 4_096];
        loop {
            let octets = self.socket.recv(&mut message).expect(text);
            let said = String::from_utf8_lossy(&message[..octets]);
            let status = said.lines().find_map(|line| line.strip_prefix("STATUS="));
            if status.is_some_and(|status| status.ends_with(text)) {
                return;
            }
        }
    }
}
