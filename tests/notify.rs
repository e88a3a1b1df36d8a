//! What systemd hears: ready, reloading, stopping (sd_notify(3)), as Type=notify wants it.

#[path = "harness/process.rs"]
mod process;
#[path = "harness/temporary.rs"]
mod temporary;

use std::os::unix::net::UnixDatagram;

use process::{PATIENCE, Process};
use temporary::Folder;

struct Started {
    process: Process,
    _home: Folder,
    socket: UnixDatagram,
}

impl Started {
    fn new() -> Self {
        let home = Folder::new();
        let notify = home.path().join("notify");
        let socket = UnixDatagram::bind(&notify).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let text = "[listen]\ndns = ['127.0.0.1:0']\n[[private-link]]\n\
            service = 'defender-for-containers'\n[[private-link.endpoint]]\nname = 'hub'\n\
            addresses = ['10.1.0.5']\n";
        home.write("privatelinkd.toml", text);
        let mut run = process::run(&home.path().join("privatelinkd.toml"));
        let process = Process::start(run.env("NOTIFY_SOCKET", notify));
        Self { process, _home: home, socket }
    }

    fn heard(&self) -> String {
        let mut buffer = [0; 1_024];
        let octets = self.socket.recv(&mut buffer).expect("a message before patience ends");
        String::from_utf8_lossy(&buffer[..octets]).into_owned()
    }
}

#[test]
fn systemd_hears_of_every_change() {
    let mut started = Started::new();
    assert_eq!(started.heard().trim(), "READY=1");
    started.process.signal("-HUP");
    let reloading = started.heard();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(started.heard().trim(), "READY=1");
    started.process.signal("-TERM");
    assert_eq!(started.heard().trim(), "STOPPING=1");
    assert_eq!(started.process.wait().code(), Some(0));
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
