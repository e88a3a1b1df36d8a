//! What systemd hears: ready, reloading, stopping (sd_notify(3)), as Type=notify wants it.

#[path = "harness/process.rs"]
mod process;
#[path = "harness/temporary.rs"]
mod temporary;

use std::os::unix::net::UnixDatagram;

use process::{PATIENCE, Process};
use temporary::Folder;

const CONFIG: &str = "[listen]\ndns = ['127.0.0.1:0']\n[[private-link]]\n\
    service = 'defender-for-containers'\n[[private-link.endpoint]]\nname = 'hub'\n\
    addresses = ['10.1.0.5']\n";
const SERVING: &str = "STATUS=serving 1 private-link zone; 0 upstreams";

struct Started {
    process: Process,
    home: Folder,
    socket: UnixDatagram,
}

impl Started {
    /// With `rest` behind [`CONFIG`].
    fn new(rest: &str) -> Self {
        let home = Folder::new();
        let notify = home.path().join("notify");
        let socket = UnixDatagram::bind(&notify).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        home.write("privatelinkd.toml", &format!("{CONFIG}{rest}"));
        let mut run = process::run(&home.path().join("privatelinkd.toml"));
        let process = Process::start(run.env("NOTIFY_SOCKET", notify));
        Self { process, home, socket }
    }

    fn heard(&self) -> String {
        let mut buffer = [0; 1_024];
        let octets = self.socket.recv(&mut buffer).expect("a message before patience ends");
        String::from_utf8_lossy(&buffer[..octets]).into_owned()
    }
}

#[test]
fn systemd_hears_of_every_change() {
    let mut started = Started::new("");
    assert_eq!(started.heard().trim(), format!("READY=1\n{SERVING}"));
    started.process.signal("-HUP");
    let reloading = started.heard();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(started.heard().trim(), format!("READY=1\n{SERVING}"));
    started.process.signal("-TERM");
    assert_eq!(started.heard().trim(), "STOPPING=1");
    assert_eq!(started.process.wait().code(), Some(0));
}

#[test]
fn a_refused_reload_ends_and_does_not_look_successful() {
    let started = Started::new("");
    started.heard();
    started.home.write("privatelinkd.toml", &format!("{CONFIG}nmae = 'x'\n"));
    started.process.signal("-HUP");
    assert!(started.heard().starts_with("RELOADING=1\n"));
    let refused = started.heard();
    let file = started.home.path().join("privatelinkd.toml");
    let begin = format!(
        "READY=1\n{SERVING}; the last reload was refused: {}:8: error: private-link.endpoint.nmae:",
        file.display()
    );
    assert!(refused.starts_with(&begin), "{refused}");
    assert_eq!(refused.trim().lines().count(), 2, "{refused}");
    // Mended, and the line forgets it.
    started.home.write("privatelinkd.toml", CONFIG);
    started.process.signal("-HUP");
    assert!(started.heard().starts_with("RELOADING=1\n"));
    assert_eq!(started.heard().trim(), format!("READY=1\n{SERVING}"));
}

#[test]
fn upstreams_that_are_all_down_are_in_the_status() {
    // Nothing listens on this port of loopback.
    let closed = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let closed = closed.local_addr().expect("bound");
    let mut started =
        Started::new(&format!("[[forward]]\nzones = ['.']\nupstreams = ['{closed}']\n"));
    let up = "STATUS=serving 1 private-link zone; 1 upstream";
    assert!(started.heard().trim().starts_with(&format!("READY=1\n{up}")));
    let address = started.process.address();
    let client = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    client.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    for id in 0..4 {
        let name = [3, b'w', b'w', b'0' + id, 7];
        let query = [&[0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], &name, b"example\0\0\x01\0\x01"];
        client.send_to(&query.concat(), address).expect("sent");
        client.recv(&mut [0; 512]).expect("a reply");
    }
    assert_eq!(started.heard().trim(), format!("{up}, all down"));
}

#[test]
fn sigusr2_means_nothing_and_ends_nothing() {
    let started = Started::new("");
    started.heard();
    started.process.signal("-USR2");
    started.process.wait_for_log("SIGUSR2 has no meaning");
    started.process.signal("-USR1");
    started.process.wait_for_log("totals: ");
}

#[test]
fn the_unit_checks_the_file_before_it_signals_a_reload() {
    let unit = include_str!("../systemd/privatelinkd.service");
    let commands = |key: &str| -> Vec<&str> {
        unit.lines().filter_map(|line| line.strip_prefix(key)).collect()
    };
    let reload = commands("ExecReload=");
    assert_eq!(reload, [commands("ExecStartPre=")[0], "/bin/kill -HUP $MAINPID"]);
    let file = reload[0].strip_prefix("/usr/bin/privatelinkd check ").expect("a check");
    assert!(commands("ExecStart=")[0].ends_with(file), "the same file");
}
