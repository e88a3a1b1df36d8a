//! ICMP errors: a host off the path can send them to every port.

use socket2::{Domain, Protocol, Socket, Type};

use super::*;

/// Sends the sender of a query an ICMP port-unreachable that looks like the server's host. `None`
/// without the right to raw sockets.
struct Forger {
    socket: Socket,
}

impl Forger {
    #[allow(clippy::print_stderr, reason = "says what was not tested")]
    fn new() -> Option<Self> {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).ok();
        if socket.is_none() {
            eprintln!("skipped: forging ICMP needs CAP_NET_RAW");
        }
        socket.map(|socket| Self { socket })
    }

    /// Claims that what `client` sent to `server` has found its port closed.
    fn forge(&self, client: SocketAddr, server: SocketAddr) {
        let loopback = [127, 0, 0, 1];
        // What the client is supposed to have sent: the IP header and the UDP header.
        let ip = [&[0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0][..], &loopback, &loopback].concat();
        let udp = [client.port().to_be_bytes(), server.port().to_be_bytes(), [0, 8], [0, 0]];
        let mut icmp = [&[3, 3, 0, 0, 0, 0, 0, 0][..], &ip, udp.as_flattened()].concat();
        let words = icmp.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
        let sum: u32 = words.sum();
        let sum = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
        icmp[2..4].copy_from_slice(&(!sum).to_be_bytes());
        let address: SocketAddr = "127.0.0.1:0".parse().unwrap();
        self.socket.send_to(&icmp, &address.into()).unwrap();
    }
}

/// A server over UDP alone. Before each reply, which comes after `delay`, an error is forged.
async fn disturbed_server(forger: Forger, delay: Duration) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    spawn_local(async move {
        let mut buffer = [0; 4096];
        for number in 0.. {
            let (octets, peer) = socket.recv_from(&mut buffer).await.unwrap();
            if number > 0 {
                (0..20).for_each(|_| forger.forge(peer, address));
                tokio::time::sleep(delay).await;
            }
            socket.send_to(&reply(&buffer[..octets], 0, 1), peer).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn forged_errors_neither_fail_queries_nor_blame_the_server() {
    let Some(forger) = Forger::new() else { return };
    local(async {
        let link = link(disturbed_server(forger, Duration::from_millis(20)).await);
        for number in 0..20 {
            let outcome = link.ask(&question()).await;
            assert!(outcome.is_ok(), "{number}: {outcome:?}");
        }
        let tally = link.upstream().tally();
        assert_eq!((tally.replies, tally.unreachable), (20, 0));
        // One for each query but the first, however many were sent.
        assert_eq!(tally.icmp_errors, 19);
    })
    .await;
}

#[tokio::test]
async fn after_an_error_tcp_brings_the_answer() {
    local(async {
        // The port is closed over UDP.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let link = link(listener.local_addr().unwrap());
        spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            while let Ok(query) = read_query(&mut stream).await {
                write_reply(&mut stream, &reply(&query, 0, 3)).await.unwrap();
            }
        });
        for _ in 0..5 {
            let answer = link.ask(&question()).await.unwrap();
            assert_eq!(answer.borrowed().header().answers, 3);
        }
        let tally = link.upstream().tally();
        assert_eq!((tally.icmp_errors, tally.tcp_queries, tally.unreachable), (5, 5, 0));
    })
    .await;
}

#[tokio::test]
async fn an_error_that_tcp_confirms_ends_the_try_after_the_time_of_a_reply() {
    local(async {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let link = link(socket.local_addr().unwrap());
        let now = tokio::time::Instant::now();
        link.upstream().note_answer(Rcode::NOERROR, now, now + Duration::from_millis(40));
        let usual = link.upstream().rtt().unwrap().timeout();
        drop(socket);
        let begun = tokio::time::Instant::now();
        let outcome = link.ask(&question()).await;
        assert_eq!(outcome, Err(TryError::Unreachable(io::ErrorKind::ConnectionRefused)));
        let waited = begun.elapsed();
        assert!(waited >= usual && waited < usual + Duration::from_secs(1), "{waited:?}");
        let tally = link.upstream().tally();
        assert_eq!((tally.icmp_errors, tally.unreachable, tally.tcp_dials), (1, 1, 1));
    })
    .await;
}

#[tokio::test]
async fn an_error_beside_tcp_that_says_nothing_is_silence() {
    local(async {
        // The kernel accepts connections; no process reads them.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let link = link(listener.local_addr().unwrap());
        let ask = timeout(Duration::from_millis(500), link.ask(&question())).await;
        assert!(ask.is_err(), "{ask:?}");
        assert_eq!(link.upstream().tally().unreachable, 0);
    })
    .await;
}
