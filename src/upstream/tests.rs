//! Against servers in this process, on loopback.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::timeout;

use super::{Flaw, Link, TryError, Upstream};
use crate::config::{Scheme, UpstreamServer};
use crate::wire::{Question, Rcode, Rtype};

mod case;
mod closes;
mod cookies;
mod icmp;
mod mismatches;
mod seats;
mod streams;

/// Far more than any test needs: a test that fails says so instead of hanging.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) async fn local<T>(test: impl Future<Output = T>) -> T {
    LocalSet::new().run_until(async { timeout(PATIENCE, test).await.expect("in time") }).await
}

pub(crate) fn question() -> Question {
    Question::plain("www.example".parse().unwrap(), Rtype::A)
}

fn link(address: SocketAddr) -> Link {
    Link::new(Arc::new(Upstream::new(UpstreamServer::plain(address))), Link::receive_buffer())
}

/// A link to a server that is asked over TCP alone.
fn tcp_link(address: SocketAddr) -> Link {
    let server = UpstreamServer { scheme: Scheme::Tcp, ..UpstreamServer::plain(address) };
    Link::new(Arc::new(Upstream::new(server)), Link::receive_buffer())
}

/// Where the question of `query` ends.
fn question_end(query: &[u8]) -> usize {
    query[12..].iter().position(|octet| *octet == 0).unwrap() + 12 + 5
}

/// A reply to `query` with `flags` and `answers` records of type A.
pub(crate) fn reply(query: &[u8], flags: u16, answers: u16) -> Vec<u8> {
    let mut reply = query[..question_end(query)].to_vec();
    reply[2..4].copy_from_slice(&(0x8180 | flags).to_be_bytes());
    reply[6..8].copy_from_slice(&answers.to_be_bytes());
    reply[8..12].fill(0);
    for number in 0..answers {
        reply.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\0");
        reply.extend_from_slice(&number.to_be_bytes());
    }
    reply
}

/// The same reply to a question for `xww.example`.
fn other_question(query: &[u8]) -> Vec<u8> {
    let mut reply = reply(query, 0, 1);
    reply[13] = b'x';
    reply
}

/// A UDP server: `answer` gives the datagrams to send for each query.
pub(crate) async fn udp_server(
    mut answer: impl FnMut(&[u8]) -> Vec<Vec<u8>> + 'static,
) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    spawn_local(async move {
        let mut buffer = [0; 4096];
        loop {
            let (octets, peer) = socket.recv_from(&mut buffer).await.unwrap();
            for datagram in answer(&buffer[..octets]) {
                socket.send_to(&datagram, peer).await.unwrap();
            }
        }
    });
    address
}

/// A listener and a socket on one port.
pub(super) async fn tcp_and_udp() -> (TcpListener, UdpSocket) {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        // Another test may hold the same number for UDP.
        if let Ok(socket) = UdpSocket::bind(listener.local_addr().unwrap()).await {
            return (listener, socket);
        }
    }
}

/// A server on one port: UDP says TC, TCP does what `serve` does with each connection.
async fn tc_server<F: Future<Output = io::Result<()>>>(
    mut serve: impl FnMut(TcpStream, usize) -> F + 'static,
) -> SocketAddr {
    let (listener, socket) = tcp_and_udp().await;
    let address = listener.local_addr().unwrap();
    spawn_local(async move {
        let mut buffer = [0; 4096];
        loop {
            let (octets, peer) = socket.recv_from(&mut buffer).await.unwrap();
            let truncated = reply(&buffer[..octets], 0x0200, 0);
            socket.send_to(&truncated, peer).await.unwrap();
        }
    });
    spawn_local(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            // Connections are served one after the other; clients may hang up as they like.
            let _hung_up = serve(stream, number).await;
        }
    });
    address
}

pub(super) async fn read_query(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let octets = stream.read_u16().await?;
    let mut query = vec![0; usize::from(octets)];
    stream.read_exact(&mut query).await?;
    Ok(query)
}

pub(super) async fn write_reply(stream: &mut TcpStream, reply: &[u8]) -> io::Result<()> {
    stream.write_u16(u16::try_from(reply.len()).unwrap()).await?;
    stream.write_all(reply).await
}

#[tokio::test]
async fn a_good_answer_comes_back() {
    local(async {
        let server = udp_server(|query| vec![reply(query, 0, 2)]).await;
        let link = link(server);
        let answer = link.ask(&question()).await.unwrap();
        assert_eq!(answer.borrowed().header().answers, 2);
        let tally = link.upstream().tally();
        assert_eq!((tally.queries, tally.replies, tally.mismatches), (1, 1, 0));
    })
    .await;
}

#[tokio::test]
async fn ids_and_ports_vary() {
    local(async {
        let seen = Rc::new(RefCell::new((Vec::new(), Vec::new())));
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let link = link(socket.local_addr().unwrap());
        let into = Rc::clone(&seen);
        spawn_local(async move {
            let mut buffer = [0; 512];
            loop {
                let (octets, peer) = socket.recv_from(&mut buffer).await.unwrap();
                into.borrow_mut().0.push([buffer[0], buffer[1]]);
                into.borrow_mut().1.push(peer.port());
                socket.send_to(&reply(&buffer[..octets], 0, 1), peer).await.unwrap();
            }
        });
        for _ in 0..5_000 {
            link.ask(&question()).await.unwrap();
        }
        let (ids, ports) = &mut *seen.borrow_mut();
        assert!(ports.chunk_by(|one, next| one == next).all(|run| run.len() <= 4), "{ports:?}");
        ports.sort_unstable();
        let most = ports.chunk_by(|one, next| one == next).map(<[u16]>::len).max();
        // A port that was closed may be drawn again.
        assert!(most <= Some(16), "{most:?}");
        ports.dedup();
        assert!((1_100..=1_900).contains(&ports.len()), "{} ports", ports.len());
        ids.sort_unstable();
        ids.dedup();
        assert!(ids.len() > 4_500, "{} ids", ids.len());
    })
    .await;
}

#[tokio::test]
async fn replies_with_wrong_ids_are_ignored_and_counted() {
    local(async {
        let server = udp_server(|query| {
            let good = reply(query, 0, 1);
            let mut all: Vec<_> = (1..=20u8)
                .map(|turn| {
                    let mut wrong = reply(query, 0, 3);
                    wrong[0] ^= turn;
                    wrong
                })
                .collect();
            all.push(vec![7]);
            all.push(good);
            all
        })
        .await;
        let link = link(server);
        let answer = link.ask(&question()).await.unwrap();
        assert_eq!(answer.borrowed().header().answers, 1);
        assert_eq!(link.upstream().tally().mismatches, 21);
    })
    .await;
}

#[tokio::test]
async fn truncated_replies_are_fetched_over_one_tcp_connection() {
    local(async {
        // 4,000 records of 16 octets: nearly the 65,535 that TCP can carry.
        let server = tc_server(|mut stream, _| async move {
            loop {
                let query = read_query(&mut stream).await?;
                assert_eq!(&query[12..16], b"\x03www");
                assert_eq!(query[2..4], [0x01, 0x20], "RD and AD");
                assert_eq!(query[10..12], [0, 1], "an OPT");
                write_reply(&mut stream, &reply(&query, 0, 4_000)).await?;
            }
        })
        .await;
        let link = link(server);
        for _ in 0..3 {
            let answer = link.ask(&question()).await.unwrap();
            assert_eq!(answer.borrowed().header().answers, 4_000);
            assert!(answer.borrowed().message().len() > 64_000);
        }
        assert_eq!(link.upstream().tally().tcp_dials, 1);
    })
    .await;
}

#[tokio::test]
async fn many_queries_share_the_tcp_connection_out_of_order() {
    local(async {
        let server = tc_server(|mut stream, _| async move {
            let mut queries = Vec::new();
            for _ in 0..100 {
                queries.push(read_query(&mut stream).await?);
            }
            for query in queries.iter().rev() {
                write_reply(&mut stream, &reply(query, 0, 1)).await?;
            }
            read_query(&mut stream).await.map(drop)
        })
        .await;
        let link = Rc::new(link(server));
        let asks: Vec<_> = (0..100)
            .map(|number| {
                let link = Rc::clone(&link);
                let name = format!("n{number:03}.example").parse().unwrap();
                spawn_local(async move { link.ask(&Question::plain(name, Rtype::A)).await })
            })
            .collect();
        for ask in asks {
            ask.await.unwrap().unwrap();
        }
        assert_eq!(link.upstream().tally().tcp_dials, 1);
    })
    .await;
}

#[tokio::test]
async fn an_oversize_udp_reply_is_taken_whole() {
    local(async {
        let server = udp_server(|query| vec![reply(query, 0, 4_000)]).await;
        let answer = link(server).ask(&question()).await.unwrap();
        assert_eq!(answer.borrowed().header().answers, 4_000);
    })
    .await;
}

#[tokio::test]
async fn a_server_without_edns_is_asked_again_without() {
    for without_question in [true, false] {
        local(async {
            let server = udp_server(move |query| {
                if query[11] == 0 {
                    return vec![reply(query, 0, 1)];
                }
                let mut formerr = reply(query, 1, 0);
                if without_question {
                    formerr.truncate(12);
                    formerr[5] = 0;
                }
                vec![formerr]
            })
            .await;
            let link = link(server);
            let answer = link.ask(&question()).await.unwrap();
            assert_eq!((answer.rcode(), answer.borrowed().has_opt()), (Rcode::NOERROR, false));
            let tally = link.upstream().tally();
            // With a cookie, without one, and without EDNS.
            assert_eq!((tally.queries, tally.without_edns), (3, 1));
        })
        .await;
    }
}

#[tokio::test]
async fn a_server_that_always_says_formerr_is_asked_with_less_and_believed() {
    local(async {
        let server = udp_server(|query| vec![reply(query, 1, 0)]).await;
        let link = link(server);
        assert_eq!(link.ask(&question()).await.unwrap().rcode(), Rcode::FORMERR);
        assert_eq!(link.upstream().tally().queries, 3);
    })
    .await;
}

#[tokio::test]
async fn a_closed_port_fails_all_who_wait_at_once() {
    local(async {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        drop(socket);
        let link = Rc::new(link(address));
        let asks: Vec<_> = (0..50)
            .map(|_| {
                let link = Rc::clone(&link);
                spawn_local(async move { link.ask(&question()).await })
            })
            .collect();
        for ask in asks {
            let refused = TryError::Unreachable(io::ErrorKind::ConnectionRefused);
            assert_eq!(ask.await.unwrap(), Err(refused));
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_try_frees_its_place() {
    local(async {
        let server = udp_server(|_| Vec::new()).await;
        let link = Rc::new(link(server));
        // Far more than the pool can hold at once.
        for _ in 0..100 {
            let asks: Vec<_> = (0..200)
                .map(|_| {
                    let link = Rc::clone(&link);
                    spawn_local(async move { link.ask(&question()).await })
                })
                .collect();
            tokio::task::yield_now().await;
            for ask in asks {
                ask.abort();
                assert!(ask.await.unwrap_err().is_cancelled());
            }
        }
        assert_eq!(link.upstream().tally().queries, 20_000);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_full_pool_says_so() {
    local(async {
        let server = udp_server(|_| Vec::new()).await;
        let link = Rc::new(link(server));
        let asks: Vec<_> = (0..(256 - 32) * 64 + 32 * 512 + 1)
            .map(|_| {
                let link = Rc::clone(&link);
                spawn_local(async move { link.ask(&question()).await })
            })
            .collect();
        let mut asks = asks.into_iter();
        let last = asks.next_back().unwrap();
        assert_eq!(last.await.unwrap(), Err(TryError::Busy));
        asks.for_each(|ask| ask.abort());
    })
    .await;
}
