//! The real binary before each kind of encrypted server.

use std::collections::HashSet;

use rustls::{ServerConnection, StreamOwned};

use super::process::{self, Process};
use super::temporary::File;
use super::*;

struct Daemon {
    process: Process,
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
        Self { address: process.address(), process, _config: config }
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

#[tokio::test]
async fn servers_of_tls_that_close_after_a_few_queries_cost_no_answer() {
    const AT_ONCE: u16 = 200;
    for limit in [1, 10, 100] {
        local(async {
            let authority = Authority::new();
            let config = authority.sign(&["127.0.0.1"]).server_config(b"dot");
            let listener = std::net::TcpListener::bind(anywhere()).unwrap();
            let address = listener.local_addr().unwrap();
            closing::serve(listener, move |stream| {
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = StreamOwned::new(connection, stream);
                closing::answer(&mut stream, limit)?;
                stream.conn.send_close_notify();
                stream.flush()
            });
            // Far more than it takes, so that a busy machine makes no difference.
            let daemon = Daemon::start(&format!(
                "[[forward]]\nzones = ['.']\nupstreams = ['tls://{address}']\nca-file = '{}'\n\
                 timeout = '15s'\n",
                authority.file.display(),
            ));
            let socket = UdpSocket::bind(anywhere()).await.unwrap();
            socket.connect(daemon.address).await.unwrap();
            for id in 0..AT_ONCE {
                let [high, low] = id.to_be_bytes();
                let name = format!("n{id:03}");
                let head = [high, low, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 4];
                let query = [&head, name.as_bytes(), b"\x07example\0\0\x01\0\x01"].concat();
                socket.send(&query).await.unwrap();
            }
            let mut answered = HashSet::new();
            while answered.len() < usize::from(AT_ONCE) {
                let mut buffer = [0; 1_232];
                let octets = socket.recv(&mut buffer).await.unwrap();
                let reply = &buffer[..octets];
                assert!(reply.ends_with(&closing::ADDRESS.octets()), "{limit}: {reply:?}");
                answered.insert(reply[..2].to_vec());
            }
            assert!(!daemon.process.log().contains("is down"), "{}", daemon.process.log());
        })
        .await;
    }
}
