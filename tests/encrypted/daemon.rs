//! The real binary before each kind of encrypted server.

use super::process::{self, Process};
use super::temporary::File;
use super::*;

struct Daemon {
    _process: Process,
    _config: File,
    address: SocketAddr,
}

impl Daemon {
    /// With these forward rules.
    fn start(rules: &str) -> Self {
        let config = File::new(&format!(
            "[listen]\ndns = ['127.0.0.1:0']\n[[private-link]]\n\
             service = 'defender-for-containers'\n[[private-link.endpoint]]\nname = 'hub'\n\
             addresses = ['10.1.0.5']\n{rules}"
        ));
        let mut process = Process::start(&mut process::run(config.path()));
        Self { address: process.address(), _process: process, _config: config }
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
