//! The real binary before each kind of encrypted server.

use std::cell::Cell;
use std::collections::HashSet;
use std::net::Ipv6Addr;

use privatelinkd::sys::ScopedAddress;
use rustls::{ServerConnection, StreamOwned};

use super::process::{self, Process};
use super::temporary::File;
use super::web::{Act, Asked, Web};
use super::*;

pub(crate) struct Daemon {
    pub(crate) process: Process,
    _config: File,
    address: SocketAddr,
}

impl Daemon {
    /// With these forward rules.
    pub(crate) fn start(rules: &str) -> Self {
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
        self.ask_for("www").await
    }

    /// The reply to a question for an A below `example`.
    pub(crate) async fn ask_for(&self, label: &str) -> Vec<u8> {
        let socket = UdpSocket::bind(anywhere()).await.unwrap();
        socket.connect(self.address).await.unwrap();
        let octets = u8::try_from(label.len()).unwrap();
        let query = [
            b"\x12\x34\x01\0\0\x01\0\0\0\0\0\x01",
            &[octets][..],
            label.as_bytes(),
            b"\x07example\0\0\x01\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\0",
        ]
        .concat();
        let mut buffer = [0; 1_232];
        socket.send(&query).await.unwrap();
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
            // hickory-server makes handshakes over QUIC one by one, and waits 5 s for a client that
            // has gone: so none goes.
            let mut daemons = Vec::new();
            for host in ["127.0.0.1", "dns.example"] {
                let daemon = Daemon::start(&format!(
                    "[[forward]]\nzones = ['.']\nupstreams = ['{}://{host}:{}']\nca-file = '{}'\n\
                     [[forward]]\nzones = ['inner.example']\nupstreams = ['{plain}']\n",
                    scheme.as_str(),
                    server.address.port(),
                    authority.file.display(),
                ));
                let reply = daemon.ask().await;
                assert!(holds(&reply, &[192, 0, 2, 1]), "{scheme:?} {host}: {reply:?}");
                daemons.push(daemon);
            }
        })
        .await;
    }
}

#[tokio::test]
async fn servers_of_tls_that_close_after_a_few_queries_cost_no_answer() {
    const PATIENCE: Duration = Duration::from_secs(90);
    // A busy machine makes few handshakes within the bound of a dial; `tests/interop` makes 200.
    for (limit, at_once) in [(1, 24), (10, 200), (100, 200)] {
        let test = async {
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
                 timeout = '30s'\n",
                authority.file.display(),
            ));
            let socket = UdpSocket::bind(anywhere()).await.unwrap();
            socket.connect(daemon.address).await.unwrap();
            for id in 0..at_once {
                let [high, low] = u16::to_be_bytes(id);
                let name = format!("n{id:03}");
                let head = [high, low, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 4];
                let query = [&head, name.as_bytes(), b"\x07example\0\0\x01\0\x01"].concat();
                socket.send(&query).await.unwrap();
            }
            let mut answered = HashSet::new();
            while answered.len() < usize::from(at_once) {
                let mut buffer = [0; 1_232];
                let octets = socket.recv(&mut buffer).await.unwrap();
                let reply = &buffer[..octets];
                assert!(reply.ends_with(&closing::ADDRESS.octets()), "{limit}: {reply:?}");
                answered.insert(reply[..2].to_vec());
            }
            // A machine that is too busy makes it silent; ends of connections are failed tries.
            let log = daemon.process.log();
            assert!(!log.contains("tries in a row"), "{log}");
        };
        LocalSet::new().run_until(async { timeout(PATIENCE, test).await.expect("in time") }).await;
    }
}

/// A plain server that answers questions of this type with this address, and says nothing to others.
async fn half_a_server(rtype: u16, address: &'static [u8]) -> SocketAddr {
    let socket = UdpSocket::bind(anywhere()).await.unwrap();
    let server = socket.local_addr().unwrap();
    spawn_local(async move {
        let mut buffer = [0; 4_096];
        loop {
            let (octets, peer) = socket.recv_from(&mut buffer).await.unwrap();
            let mut reply = server::reply(&buffer[..octets], &[]);
            let [.., high, low, _, _] = reply[..] else { panic!("no question") };
            if u16::from_be_bytes([high, low]) != rtype {
                continue;
            }
            reply[7] = 1;
            reply.extend_from_slice(b"\xc0\x0c");
            reply.extend_from_slice(&rtype.to_be_bytes());
            reply.extend_from_slice(b"\0\x01\0\0\0\x3c\0");
            reply.push(u8::try_from(address.len()).unwrap());
            reply.extend_from_slice(address);
            socket.send_to(&reply, peer).await.unwrap();
        }
    });
    server
}

#[tokio::test]
async fn a_host_is_reached_while_one_family_has_no_answer() {
    const A: u16 = 1;
    const AAAA: u16 = 28;
    const LOOPBACK: [u8; 16] = Ipv6Addr::LOCALHOST.octets();
    for scheme in SCHEMES {
        local(async {
            let authority = Authority::new();
            let identity = authority.sign(&["dns.example"]);
            for (listen, rtype, address) in
                [("127.0.0.1:0", A, &[127, 0, 0, 1][..]), ("[::1]:0", AAAA, &LOOPBACK[..])]
            {
                let server = Answering::start(scheme, &identity, listen.parse().unwrap()).await;
                let plain = half_a_server(rtype, address).await;
                let daemon = Daemon::start(&format!(
                    "[[forward]]\nzones = ['.']\nupstreams = ['{}://dns.example:{}']\n\
                     ca-file = '{}'\n\
                     [[forward]]\nzones = ['inner.example']\nupstreams = ['{plain}']\n",
                    scheme.as_str(),
                    server.address.port(),
                    authority.file.display(),
                ));
                let begun = Instant::now();
                let reply = daemon.ask().await;
                let waited = begun.elapsed();
                assert!(holds(&reply, &WEB), "{scheme:?} {listen}: {reply:?}");
                // Some 60 ms on a quiet machine. The silent look-up ends after four seconds.
                assert!(waited < Duration::from_secs(2), "{scheme:?} {listen}: {waited:?}");
            }
        })
        .await;
    }
}

/// Whether some record of `reply` has this address.
pub(crate) fn holds(reply: &[u8], address: &[u8; 4]) -> bool {
    let rdata = [&[0, 4], &address[..]].concat();
    reply.windows(rdata.len()).any(|octets| octets == rdata)
}

pub(crate) const WEB: [u8; 4] = [192, 0, 2, 1];
pub(crate) const SPARE: [u8; 4] = [192, 0, 2, 9];

/// A daemon before a web server that does as told, and before a plain server as its spare.
async fn with_spare(act: impl Fn(&Asked) -> Act + 'static) -> (Daemon, Web, Authority) {
    let authority = Authority::new();
    let identity = authority.sign(&["127.0.0.1"]);
    let web = Web::start(Scheme::Https, &identity, h2::server::Builder::new(), act).await;
    let spare = plain_server(&[SPARE]).await;
    let daemon = Daemon::start(&format!(
        "[[forward]]\nzones = ['.']\nupstreams = ['https://{}', '{spare}']\nca-file = '{}'\n",
        web.address,
        authority.file.display(),
    ));
    (daemon, web, authority)
}

/// Whether the spare answered.
async fn is_by_spare(daemon: &Daemon, label: &str) -> bool {
    let reply = daemon.ask_for(label).await;
    assert!(holds(&reply, &WEB) || holds(&reply, &SPARE), "{label}: {reply:?}");
    holds(&reply, &SPARE)
}

/// Gives the tasks of the servers their turns meanwhile.
async fn wait_for_log(daemon: &Daemon, text: &str) {
    while !daemon.process.log().contains(text) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_server_that_is_busy_is_left_alone_while_another_answers() {
    local(async {
        // Without the daemon's own probes for loops.
        let queries = Rc::new(Cell::new(0));
        let asked_for = Rc::clone(&queries);
        let busy = move |asked: &Asked| {
            let is_ours = asked.query[13..].to_ascii_lowercase().starts_with(b"number");
            asked_for.set(asked_for.get() + usize::from(is_ours));
            Act::Respond(503, vec![("retry-after", "60".to_owned())], Vec::new())
        };
        let (daemon, _web, _authority) = with_spare(busy).await;
        for number in 0..20 {
            assert!(is_by_spare(&daemon, &format!("number{number}")).await);
        }
        assert!(queries.get() <= 1, "{} queries", queries.get());
        let line = "is busy: HTTP 503 Service Unavailable, try again after 60 s";
        wait_for_log(&daemon, line).await;
        assert!(!daemon.process.log().contains("is down"));
    })
    .await;
}

#[tokio::test]
async fn a_server_that_refuses_everything_is_down_until_it_does_not() {
    local(async {
        let refuses = Rc::new(Cell::new(true));
        let is_refused = Rc::clone(&refuses);
        let act = move |asked: &Asked| match is_refused.get() {
            true => Act::Respond(404, Vec::new(), b"no such page".to_vec()),
            false => Act::answer(asked),
        };
        let (daemon, _web, _authority) = with_spare(act).await;
        for number in 0..20 {
            assert!(is_by_spare(&daemon, &format!("n{number}")).await);
        }
        let line = format!("is down: HTTP 404 Not Found for path {PATH} (");
        wait_for_log(&daemon, &line).await;
        refuses.set(false);
        wait_for_log(&daemon, "is up again").await;
        let mut number = 0;
        while is_by_spare(&daemon, &format!("m{number}")).await {
            number += 1;
        }
    })
    .await;
}

#[tokio::test]
async fn a_server_that_refuses_some_names_stays_up() {
    local(async {
        let act = |asked: &Asked| {
            let is_filtered = asked.query[13..].to_ascii_lowercase().starts_with(b"bad");
            if is_filtered { Act::Respond(403, Vec::new(), Vec::new()) } else { Act::answer(asked) }
        };
        let (daemon, web, _authority) = with_spare(act).await;
        for number in 0..40 {
            assert!(is_by_spare(&daemon, &format!("bad{number}")).await);
        }
        wait_for_log(&daemon, "refuses a query: HTTP 403 Forbidden").await;
        assert!(!is_by_spare(&daemon, "good").await);
        assert!(web.requests() >= 41, "it was asked for each");
        assert!(!daemon.process.log().contains("is down"));
    })
    .await;
}

#[tokio::test]
async fn clients_hear_the_status_of_the_only_server() {
    local(async {
        let authority = Authority::new();
        let identity = authority.sign(&["127.0.0.1"]);
        let statuses = [403, 500, 429];
        let act = move |asked: &Asked| {
            let status = match &asked.query[13..16] {
                name if name.eq_ignore_ascii_case(b"n00") => statuses[0],
                name if name.eq_ignore_ascii_case(b"n01") => statuses[1],
                _ => statuses[2],
            };
            Act::Respond(status, Vec::new(), Vec::new())
        };
        let web = Web::start(Scheme::Https, &identity, h2::server::Builder::new(), act).await;
        let daemon = Daemon::start(&format!(
            "[[forward]]\nzones = ['.']\nupstreams = ['https://{}']\nca-file = '{}'\n",
            web.address,
            authority.file.display(),
        ));
        for (label, words) in [
            ("n00", "upstream refuses: HTTP 403"),
            ("n01", "upstream fails: HTTP 500"),
            ("n02", "upstreams are too busy"),
        ] {
            let reply = daemon.ask_for(label).await;
            assert_eq!(reply[3] & 15, 2, "SERVFAIL");
            // The option of extended errors, with code 23.
            let octets = u8::try_from(2 + words.len()).unwrap();
            let option = [&[0, 15, 0, octets, 0, 23][..], words.as_bytes()].concat();
            assert!(reply.windows(option.len()).any(|some| some == option), "{label}: {reply:?}");
        }
    })
    .await;
}

/// Needs root; says so and does nothing without.
#[test]
fn a_link_local_server_is_reached_over_its_interface() {
    let needs = "ip link add here type veth peer name there";
    namespaces::within("link-local", needs, |_| {
        namespaces::ip("link set lo up");
        namespaces::ip("link add here type veth peer name there");
        namespaces::ip("link set there up");
        namespaces::ip("link set here up");
        namespaces::ip("addr add fe80::53/64 dev here nodad");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for scheme in SCHEMES {
            runtime.block_on(local(async {
                let authority = Authority::new();
                let identity = authority.sign(&["fe80::53"]);
                let here: ScopedAddress = "[fe80::53%here]:0".parse().unwrap();
                let server = Answering::start(scheme, &identity, here.socket().unwrap()).await;
                let daemon = Daemon::start(&format!(
                    "[[forward]]\nzones = ['.']\nupstreams = ['{}://[fe80::53%here]:{}']\n\
                     ca-file = '{}'\n",
                    scheme.as_str(),
                    server.address.port(),
                    authority.file.display(),
                ));
                let reply = daemon.ask().await;
                assert!(holds(&reply, &WEB), "{scheme:?}: {reply:?}");
            }));
        }
    });
}
