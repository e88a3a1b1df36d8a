//! TCP at each of its bounds.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::*;
use crate::engine::Transport;

pub(super) struct Client(pub(super) TcpStream);

impl Client {
    pub(super) async fn connect(server: &Server) -> Self {
        Self(in_time(TcpStream::connect(server.address)).await.unwrap())
    }

    pub(super) async fn send(&mut self, messages: &[&[u8]]) {
        let mut stream = Vec::new();
        for message in messages {
            stream.extend_from_slice(&u16::try_from(message.len()).unwrap().to_be_bytes());
            stream.extend_from_slice(message);
        }
        in_time(self.0.write_all(&stream)).await.unwrap();
    }

    pub(super) async fn receive(&mut self) -> Vec<u8> {
        let octets = in_time(self.0.read_u16()).await.unwrap();
        let mut message = vec![0; usize::from(octets)];
        in_time(self.0.read_exact(&mut message)).await.unwrap();
        message
    }

    /// Whether the server closed, in whatever way.
    pub(super) async fn is_closed(&mut self) -> bool {
        in_time(self.0.read(&mut [0; 1])).await.map_or(true, |octets| octets == 0)
    }

    pub(super) async fn works(&mut self) -> bool {
        self.send(&[b"e?"]).await;
        self.receive().await == b"e?"
    }
}

#[test]
fn answers_go_out_as_they_are_ready() {
    for ip in ["127.0.0.1", "::1"] {
        local(async {
            let server = Server::start(ip, LIMITS);
            let mut client = Client::connect(&server).await;
            client.send(&[b"w1", b"e2", b"d3", b"w4", b"e5"]).await;
            assert_eq!(client.receive().await, b"e2");
            assert_eq!(client.receive().await, b"e5");
            server.fake.release(b"w4").await;
            assert_eq!(client.receive().await, b"w4");
            server.fake.release(b"w1").await;
            assert_eq!(client.receive().await, b"w1");
            let seen = server.fake.seen.borrow();
            assert!(seen.iter().all(|asked| asked.transport == Transport::Tcp));
            assert!(seen.iter().all(|asked| asked.client == server.address.ip()));
        });
    }
}

#[test]
fn a_message_may_come_octet_by_octet_and_be_of_any_size() {
    local(async {
        let server = Server::start("127.0.0.1", LIMITS);
        let mut client = Client::connect(&server).await;
        client.0.set_nodelay(true).unwrap();
        for octet in b"\0\x02eX" {
            client.0.write_all(&[*octet]).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(client.receive().await, b"eX");
        let mut large = vec![b'e'; 65_535];
        large[65_534] = b'!';
        client.send(&[&large]).await;
        assert_eq!(client.receive().await, large);
        assert!(client.works().await);
    });
}

#[test]
fn a_client_that_ended_its_side_gets_its_answers() {
    local(async {
        let server = Server::start("127.0.0.1", LIMITS);
        let mut client = Client::connect(&server).await;
        client.send(&[b"w1", b"e2"]).await;
        client.0.shutdown().await.unwrap();
        assert_eq!(client.receive().await, b"e2");
        server.fake.release(b"w1").await;
        assert_eq!(client.receive().await, b"w1");
        assert!(client.is_closed().await);
        until(|| server.shared.connections.open() == 0).await;
    });
}

#[test]
fn over_the_pipelining_bound_we_stop_reading() {
    local(async {
        let server = Server::start("127.0.0.1", Limits { tcp_pipelined: 2, ..LIMITS });
        let mut client = Client::connect(&server).await;
        client.send(&[b"w1", b"w2", b"e3", b"w4"]).await;
        client.0.shutdown().await.unwrap();
        server.fake.until_waiting(b"w2").await;
        assert_eq!(server.fake.seen.borrow().len(), 2);
        server.fake.release(b"w2").await;
        assert_eq!(client.receive().await, b"w2");
        assert_eq!(client.receive().await, b"e3");
        server.fake.release(b"w4").await;
        assert_eq!(client.receive().await, b"w4");
        server.fake.release(b"w1").await;
        assert_eq!(client.receive().await, b"w1");
        assert!(client.is_closed().await);
    });
}

#[test]
fn an_empty_message_ends_the_connection_after_its_answers() {
    local(async {
        let server = Server::start("127.0.0.1", LIMITS);
        let mut client = Client::connect(&server).await;
        client.send(&[b"e1", b"w2", b"", b"e3"]).await;
        assert_eq!(client.receive().await, b"e1");
        server.fake.release(b"w2").await;
        assert_eq!(client.receive().await, b"w2");
        assert!(client.is_closed().await);
        assert_eq!(server.fake.seen.borrow().len(), 2);
    });
}

#[test]
fn an_idle_connection_is_closed_but_not_one_that_waits() {
    local(async {
        let server = Server::start("127.0.0.1", Limits { tcp_idle: SHORT, ..LIMITS });
        let mut waits = Client::connect(&server).await;
        waits.send(&[b"w"]).await;
        let mut idle = Client::connect(&server).await;
        // Silence does not count as an answer.
        let mut dropped = Client::connect(&server).await;
        dropped.send(&[b"d"]).await;
        assert!(idle.is_closed().await && dropped.is_closed().await);
        tokio::time::sleep(SHORT).await;
        server.fake.release(b"w").await;
        assert_eq!(waits.receive().await, b"w");
        assert!(waits.is_closed().await);
        assert_eq!(server.shared.tally.tcp_idle.total(), 3);
    });
}

#[test]
fn a_message_that_drips_is_cut_off() {
    local(async {
        let server = Server::start("127.0.0.1", Limits { tcp_message: SHORT, ..LIMITS });
        let mut quiet = Client::connect(&server).await;
        let started = Instant::now();
        let (mut reader, mut writer) = Client::connect(&server).await.0.into_split();
        // An octet every few milliseconds, for as long as the server takes them.
        let drip = spawn_local(async move {
            writer.write_all(&[0xff]).await?;
            loop {
                writer.write_all(&[0xff]).await?;
                tokio::time::sleep(SHORT / 20).await;
            }
            #[allow(unreachable_code, reason = "names the error's type")]
            io::Result::Ok(())
        });
        let closed = in_time(reader.read(&mut [0; 1])).await;
        assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
        assert!(started.elapsed() >= SHORT);
        assert!(in_time(drip).await.unwrap().is_err());
        assert_eq!(server.shared.tally.tcp_slow_message.total(), 1);
        assert!(quiet.works().await, "one without a message under way is not concerned");
    });
}

#[test]
fn a_client_that_does_not_read_is_cut_off_and_bounded() {
    local(async {
        let server = Server::start("127.0.0.1", Limits { tcp_message: SHORT, ..LIMITS });
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        let mut client = Client(in_time(socket.connect(server.address)).await.unwrap());
        // 60 MB of answers, which no kernel keeps for us.
        let queries: Vec<&[u8]> = vec![b"b"; 1_000];
        client.send(&queries).await;
        until(|| server.shared.tally.tcp_slow_reader.total() == 1).await;
        until(|| server.shared.connections.open() == 0).await;
        assert!(server.fake.seen.borrow().len() < 1_000, "answers were made that nobody takes");
    });
}

#[test]
fn a_client_that_reads_in_the_end_gets_everything() {
    local(async {
        let server = Server::start("127.0.0.1", LIMITS);
        let mut client = Client::connect(&server).await;
        let queries: Vec<&[u8]> = vec![b"b"; 200];
        client.send(&queries).await;
        client.send(&[b"w"]).await;
        client.0.shutdown().await.unwrap();
        for _ in 0..200 {
            assert_eq!(client.receive().await.len(), 60_000);
        }
        server.fake.release(b"w").await;
        assert_eq!(client.receive().await, b"w");
        assert!(client.is_closed().await);
    });
}

#[test]
fn over_a_clients_cap_the_newcomer_is_closed() {
    local(async {
        let limits = Limits { tcp_connections_per_client: 2, ..LIMITS };
        let server = Server::start("127.0.0.1", limits);
        let mut first = Client::connect(&server).await;
        let mut second = Client::connect(&server).await;
        assert!(first.works().await && second.works().await);
        let mut third = Client::connect(&server).await;
        assert!(third.is_closed().await);
        assert_eq!(server.shared.tally.tcp_over_client_cap.total(), 1);
        // Another address has its own count.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.9:0".parse().unwrap()).unwrap();
        let mut other = Client(in_time(socket.connect(server.address)).await.unwrap());
        assert!(other.works().await);
        // A place given back is free again.
        drop(first);
        until(|| server.shared.connections.open() == 2).await;
        assert!(Client::connect(&server).await.works().await && second.works().await);
    });
}

#[test]
fn over_the_total_the_one_idle_longest_gives_way() {
    local(async {
        let server = Server::start("127.0.0.1", Limits { tcp_connections: 3, ..LIMITS });
        let mut waits = Client::connect(&server).await;
        waits.send(&[b"w"]).await;
        server.fake.until_waiting(b"w").await;
        let mut old = Client::connect(&server).await;
        assert!(old.works().await);
        let mut fresh = Client::connect(&server).await;
        assert!(fresh.works().await && old.works().await);
        // `fresh` is now the one idle longest; `waits` is older, but has a query under way.
        let mut newcomer = Client::connect(&server).await;
        assert!(newcomer.works().await);
        assert!(fresh.is_closed().await);
        assert!(old.works().await);
        server.fake.release(b"w").await;
        assert_eq!(waits.receive().await, b"w");
        assert_eq!(server.shared.tally.tcp_gave_way.total(), 1);
        assert_eq!(server.shared.connections.open(), 3);
    });
}

#[test]
fn a_bug_in_the_engine_costs_one_connection_or_one_answer() {
    local(async {
        let server = Server::start("127.0.0.1", LIMITS);
        let mut client = Client::connect(&server).await;
        client.send(&[b"q1", b"e2"]).await;
        assert_eq!(client.receive().await, b"e2");
        client.0.shutdown().await.unwrap();
        server.fake.release(b"q1").await;
        assert!(client.is_closed().await, "it does not wait for the answer that is lost");
        let mut client = Client::connect(&server).await;
        client.send(&[b"p"]).await;
        assert!(client.is_closed().await);
        assert!(Client::connect(&server).await.works().await);
    });
}

#[test]
fn a_stop_lets_connections_finish_and_takes_no_new_ones() {
    local(async {
        let server = Server::start("127.0.0.1", LIMITS);
        let mut busy = Client::connect(&server).await;
        busy.send(&[b"w"]).await;
        server.fake.until_waiting(b"w").await;
        let mut idle = Client::connect(&server).await;
        assert!(idle.works().await);
        let (fake, address) = (Rc::clone(&server.fake), server.address);
        let stopped = server.stop_by(Instant::now() + PATIENCE);
        let seen = async {
            assert!(idle.is_closed().await);
            assert!(TcpStream::connect(address).await.is_err());
            fake.release(b"w").await;
            assert_eq!(busy.receive().await, b"w");
            assert!(busy.is_closed().await);
        };
        tokio::join!(stopped, seen);
    });
}

async fn connect_from(server: &Server, client: std::net::Ipv4Addr) -> Client {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((client, 0).into()).unwrap();
    Client(in_time(socket.connect(server.address)).await.unwrap())
}

#[test]
fn few_connections_are_taken_in_between_two_looks_at_udp() {
    const MANY: usize = 64;
    local(async {
        let server = Server::start("127.0.0.1", LIMITS);
        // The kernel takes them in while this thread does nothing else.
        let connect = || std::net::TcpStream::connect(server.address).unwrap();
        let held: Vec<_> = (0..MANY).map(|_| connect()).collect();
        let opened = || usize::try_from(server.shared.tally.tcp_opened.total()).unwrap();
        let mut before = opened();
        let mut turns = 0;
        while before < held.len() {
            tokio::task::yield_now().await;
            let now = opened();
            assert!(now - before <= accept::ACCEPTS_PER_TURN, "{} at once", now - before);
            (before, turns) = (now, turns + 1);
            assert!(turns < 1_000_000, "they are never taken in");
        }
    });
}

#[test]
fn clients_outside_access_hold_no_place() {
    local(async {
        let server = Server::start("127.0.0.1", Limits { tcp_connections: 1, ..LIMITS });
        let mut served = Client::connect(&server).await;
        assert!(served.works().await);
        let mut closed = connect_from(&server, CLOSED).await;
        assert!(closed.is_closed().await);
        let mut refused = Vec::new();
        for _ in 0..outsiders::AT_ONCE {
            refused.push(connect_from(&server, REFUSED).await);
        }
        let count = || usize::try_from(server.shared.tally.tcp_outside_access.total()).unwrap();
        until(|| count() == outsiders::AT_ONCE + 1).await;
        let mut over = connect_from(&server, REFUSED).await;
        assert!(over.is_closed().await, "over the bound");
        // The fake refuses the first query by an echo; the server reads no second one.
        let mut first = refused.swap_remove(0);
        first.send(&[b"e1"]).await;
        assert_eq!(first.receive().await, b"e1");
        assert!(first.is_closed().await);
        let mut long = refused.swap_remove(0);
        long.send(&[&[b'e'; 513]]).await;
        assert!(long.is_closed().await);
        for mut silent in refused {
            assert!(silent.is_closed().await, "a second is over");
        }
        assert_eq!((server.shared.connections.open(), count()), (1, outsiders::AT_ONCE + 2));
        assert!(served.works().await, "nobody took its place");
    });
}

#[test]
fn a_query_that_waits_is_kept_without_what_no_answer_needs() {
    local(async {
        let server = Server::start("127.0.0.1", LIMITS);
        let mut client = Client::connect(&server).await;
        let long = [b'w'; 65_535];
        client.send(&[&long]).await;
        server.fake.release(&long[..KEPT]).await;
        assert_eq!(client.receive().await.len(), KEPT);
    });
}
