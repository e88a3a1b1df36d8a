//! What systemd hears: ready, reloading, stopping (sd_notify(3)), as Type=notify wants it.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Longer than any start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

struct Started {
    daemon: Child,
    home: PathBuf,
    socket: UnixDatagram,
}

impl Started {
    fn new(name: &str) -> Self {
        let home = std::env::temp_dir().join(format!("privatelinkd-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&home).expect("a folder");
        let socket = UnixDatagram::bind(home.join("notify")).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let config = home.join("privatelinkd.toml");
        let text = "[listen]\ndns = ['127.0.0.1:0']\n[[private-link]]\n\
            service = 'defender-for-containers'\n[[private-link.endpoint]]\nname = 'hub'\n\
            addresses = ['10.1.0.5']\n";
        std::fs::write(&config, text).expect("written");
        let daemon = Command::new(env!("CARGO_BIN_EXE_privatelinkd"))
            .args(["run", "--config"])
            .arg(&config)
            .env("NOTIFY_SOCKET", home.join("notify"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the daemon starts");
        Self { daemon, home, socket }
    }

    fn heard(&self) -> String {
        let mut buffer = [0; 1_024];
        let octets = self.socket.recv(&mut buffer).expect("a message before patience ends");
        String::from_utf8_lossy(&buffer[..octets]).into_owned()
    }

    fn signal(&self, name: &str) {
        let done = Command::new("kill").args([name, &self.daemon.id().to_string()]).status();
        assert!(done.expect("kill runs").success());
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _gone = self.daemon.kill();
        let _gone = self.daemon.wait();
        let _gone = std::fs::remove_dir_all(&self.home);
    }
}

#[test]
fn systemd_hears_of_every_change() {
    let mut started = Started::new("notify");
    assert_eq!(started.heard().trim(), "READY=1");
    started.signal("-HUP");
    let reloading = started.heard();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(started.heard().trim(), "READY=1");
    started.signal("-TERM");
    assert_eq!(started.heard().trim(), "STOPPING=1");
    assert_eq!(started.daemon.wait().expect("it ends").code(), Some(0));
}
