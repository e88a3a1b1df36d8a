//! The real binary before each kind of encrypted server.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::*;

/// Ends with this, and its configuration file too.
struct Daemon {
    child: Child,
    config: PathBuf,
    address: SocketAddr,
}

impl Daemon {
    /// With these forward rules.
    fn start(rules: &str) -> Self {
        let file = format!("privatelinkd-encrypted-{}.toml", std::process::id());
        let config = std::env::temp_dir().join(file);
        let text = format!(
            "[listen]\ndns = ['127.0.0.1:0']\n[[private-link]]\n\
             service = 'defender-for-containers'\n[[private-link.endpoint]]\nname = 'hub'\n\
             addresses = ['10.1.0.5']\n{rules}"
        );
        fs::write(&config, text).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_privatelinkd"))
            .args(["run", "--config"])
            .arg(&config)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().expect("the daemon says where it listens").unwrap();
        let address = first.split(' ').nth(2).unwrap().parse().unwrap();
        Self { child, config, address }
    }

    /// The reply to a question for www.example A.
    async fn ask(&self) -> Vec<u8> {
        let socket = UdpSocket::bind(anywhere()).await.unwrap();
        socket.connect(self.address).await.unwrap();
        let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\0\0\x01\0\x01";
        let mut buffer = [0; 1_232];
        socket.send(query).await.unwrap();
        let octets = socket.recv(&mut buffer).await.unwrap();
        buffer[..octets].to_vec()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
        let _gone = fs::remove_file(&self.config);
    }
}

#[tokio::test]
async fn the_daemon_asks_servers_of_each_kind_by_address_and_by_host() {
    for scheme in SCHEMES {
        local(async {
            let authority = Authority::new();
            let identity = authority.sign(&["127.0.0.1", "dns.example"]);
            let server = Answering::start(scheme, &identity, anywhere()).await;
            let plain = plain_server(&[[127, 0, 0, 1]]).await;
            for host in ["127.0.0.1", "dns.example"] {
                let daemon = Daemon::start(&format!(
                    "[[forward]]\nzones = ['.']\nupstreams = ['{}://{host}:{}']\nca-file = '{}'\n\
                     [[forward]]\nzones = ['inner.example']\nupstreams = ['{plain}']\n",
                    scheme.as_str(),
                    server.address.port(),
                    authority.file.display(),
                ));
                let reply = daemon.ask().await;
                assert!(reply.ends_with(&[0, 4, 192, 0, 2, 1]), "{scheme:?} {host}: {reply:?}");
            }
        })
        .await;
    }
}
