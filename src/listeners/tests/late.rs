//! Late TCP answers at the bounds on their octets.

use std::collections::BTreeSet;

use tokio::net::TcpSocket;

use super::super::connections::LATE_OCTETS_IN_ALL;
use super::super::late::LATE_OCTETS;
use super::tcp::Client;
use super::*;

/// As many as `LIMITS` lets one connection have under way.
const QUERIES: u8 = 100;

/// A client whose kernel keeps little for it.
async fn narrow_client(server: &Server) -> Client {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    Client(in_time(socket.connect(server.address)).await.unwrap())
}

/// Asks for `count` answers of 65,535 octets, and lets them finish at the same moment.
async fn ask(client: &mut Client, server: &Server, count: u8) {
    let queries: Vec<[u8; 2]> = (0..count).map(|index| [b'l', index]).collect();
    client.send(&queries.iter().map(<[u8; 2]>::as_slice).collect::<Vec<_>>()).await;
    server.fake.open(usize::from(count)).await;
}

/// Waits until no connection and no query is left; then nothing may be held.
async fn until_nothing_is_left(server: &Server) {
    until(|| server.shared.connections.open() == 0).await;
    // Each query under way has the snapshot; the fake has one more.
    until(|| Arc::strong_count(&server.fake.limits) == 1).await;
    assert_eq!(server.shared.connections.held_octets(), 0);
}

#[test]
fn what_fits_is_resolved_once_and_what_does_not_twice() {
    for (count, resolved) in [(4, 4), (5, 6)] {
        local(async {
            let server = Server::start("127.0.0.1", LIMITS);
            let mut client = Client::connect(&server).await;
            ask(&mut client, &server, count).await;
            for _ in 0..count {
                assert_eq!(client.receive().await.len(), 65_535);
            }
            assert_eq!(server.fake.resolved.get(), resolved, "{count} queries");
            drop(client);
            until_nothing_is_left(&server).await;
        });
    }
}

#[test]
fn a_client_that_reads_gets_all_of_many_large_answers() {
    local(async {
        let server = Server::start("127.0.0.1", LIMITS);
        let mut client = Client::connect(&server).await;
        ask(&mut client, &server, QUERIES).await;
        let mut answered = BTreeSet::new();
        for _ in 0..QUERIES {
            let answer = client.receive().await;
            assert_eq!(answer.len(), 65_535);
            answered.insert(answer[1]);
            assert!(server.shared.connections.held_octets() <= LATE_OCTETS as usize);
        }
        assert_eq!(answered.len(), usize::from(QUERIES), "each once");
        assert!(server.fake.resolved.get() <= 2 * usize::from(QUERIES));
        assert!(client.works().await);
        drop(client);
        until_nothing_is_left(&server).await;
        assert_eq!(server.shared.tally.tcp_slow_reader.total(), 0);
        assert_eq!(server.shared.tally.tcp_over_memory.total(), 0);
    });
}

#[test]
fn a_client_that_does_not_read_is_cut_off_and_holds_little() {
    local(async {
        let server = Server::start("127.0.0.1", Limits { tcp_message: SHORT, ..LIMITS });
        let mut client = narrow_client(&server).await;
        ask(&mut client, &server, QUERIES).await;
        let mut most = 0;
        until(|| {
            most = most.max(server.shared.connections.held_octets());
            server.shared.tally.tcp_slow_reader.total() == 1
        })
        .await;
        assert!((1..=LATE_OCTETS as usize).contains(&most), "{most}");
        until_nothing_is_left(&server).await;
        assert!(Client::connect(&server).await.works().await);
        // Nothing of it keeps the worker from stopping.
        server.stop_by(Instant::now() + PATIENCE).await;
    });
}

#[test]
fn a_client_that_goes_leaves_nothing_behind() {
    local(async {
        let server = Server::start("127.0.0.1", LIMITS);
        let mut client = narrow_client(&server).await;
        ask(&mut client, &server, QUERIES).await;
        until(|| server.shared.connections.held_octets() > 0).await;
        drop(client);
        until_nothing_is_left(&server).await;
        let resolved = server.fake.resolved.get();
        assert!(resolved < usize::from(QUERIES) * 3 / 2, "{resolved}: nothing more for nobody");
        // And one that goes before its answers are there.
        server.fake.is_open.set(false);
        let mut client = Client::connect(&server).await;
        client.send(&[b"l1", b"l2"]).await;
        server.fake.until_waiting(b"l2").await;
        // A reset: one that only ends its side still gets its answers.
        client.0.set_zero_linger().unwrap();
        drop(client);
        until(|| server.shared.connections.open() == 0).await;
        server.fake.open(2).await;
        until_nothing_is_left(&server).await;
    });
}

#[test]
fn over_the_octets_in_all_the_largest_holder_gives_way_and_not_who_asks() {
    local(async {
        let server = Server::start("127.0.0.1", LIMITS);
        let connections = &server.shared.connections;
        let hog = connections.admit("192.0.2.1".parse().unwrap(), Instant::now(), &LIMITS).unwrap();
        let held = hog.account().hold(LATE_OCTETS_IN_ALL);
        let mut client = Client::connect(&server).await;
        client.send(&[b"w1"]).await;
        server.fake.release(b"w1").await;
        assert_eq!(client.receive().await, b"w1");
        in_time(hog.displaced()).await;
        assert_eq!(server.shared.tally.tcp_over_memory.total(), 1);
        drop((held, hog, client));
        until_nothing_is_left(&server).await;
    });
}
