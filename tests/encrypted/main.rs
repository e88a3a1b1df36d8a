//! Encrypted upstreams against servers in this process: that answers come, whom we trust, what
//! happens when connections end.

#[path = "../harness/closing.rs"]
mod closing;
mod daemon;
mod doq;
mod frames;
mod hostile;
mod hostile_http3;
mod identity;
#[path = "../harness/namespaces.rs"]
mod namespaces;
#[path = "../harness/process.rs"]
mod process;
mod quic;
mod relay;
mod server;
mod settings;
mod statuses;
#[path = "../harness/temporary.rs"]
mod temporary;
mod trust;
mod web;

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use privatelinkd::config::{Scheme, Trust, UpstreamHost, UpstreamServer};
use privatelinkd::upstream::{Bootstrap, Breakdown, Link, TryError, Upstream};
use privatelinkd::wire::{Name, Question, Rtype};
use tokio::net::UdpSocket;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, timeout};

use identity::{Authority, Identity};
use process::PATIENCE;
use relay::Relay;
use server::{Answering, PATH};

const SCHEMES: [Scheme; 4] = [Scheme::Tls, Scheme::Https, Scheme::Quic, Scheme::H3];

fn anywhere() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// An upstream that is known by its address alone.
fn upstream(scheme: Scheme, address: SocketAddr, trust: Trust) -> UpstreamServer {
    let is_http = matches!(scheme, Scheme::Https | Scheme::H3);
    UpstreamServer {
        scheme,
        host: UpstreamHost::Address(address.into()),
        tls_name: None,
        path: if is_http { PATH.to_owned() } else { String::new() },
        trust,
    }
}

fn trusting(authority: &Authority) -> Trust {
    Trust { ca_file: Some(authority.file.clone()), pins: Vec::new() }
}

fn link(server: UpstreamServer) -> Link {
    Link::new(Arc::new(Upstream::new(server)), Link::receive_buffer())
}

fn question() -> Question {
    Question::plain("www.example".parse().unwrap(), Rtype::A)
}

async fn asked(link: &Link) -> Result<(), TryError> {
    let answer = link.ask(&question()).await?;
    assert_eq!(answer.borrowed().header().answers, 1);
    Ok(())
}

fn reason(link: &Link) -> String {
    link.upstream().last_error().map_or_else(String::new, |(_, reason)| reason)
}

async fn local<T>(test: impl Future<Output = T>) -> T {
    LocalSet::new().run_until(async { timeout(PATIENCE, test).await.expect("in time") }).await
}

#[tokio::test]
async fn many_queries_share_one_connection_and_are_padded() {
    for scheme in SCHEMES {
        local(async {
            let authority = Authority::new();
            let identity = authority.sign(&["127.0.0.1"]);
            let server = Answering::start(scheme, &identity, anywhere()).await;
            let link = Rc::new(link(upstream(scheme, server.address, trusting(&authority))));
            asked(&link).await.unwrap();
            let asks: Vec<_> = (0..50)
                .map(|number| {
                    let link = Rc::clone(&link);
                    let name = "x".repeat(number + 1) + ".example";
                    let question = Question::plain(name.parse().unwrap(), Rtype::A);
                    spawn_local(async move { link.ask(&question).await })
                })
                .collect();
            for ask in asks {
                ask.await.unwrap().unwrap_or_else(|error| panic!("{scheme:?}: {error}"));
            }
            let tally = link.upstream().tally();
            assert_eq!((tally.tcp_dials, tally.queries, tally.replies), (1, 51, 51), "{scheme:?}");
            let queries = server.queries();
            assert_eq!(queries.len(), 51);
            for query in queries {
                assert_eq!(query.len() % 128, 0, "{scheme:?}: {} octets", query.len());
                // RFC 8484 §4.1, RFC 9250 §4.2.1.
                assert!(scheme == Scheme::Tls || query[..2] == [0, 0], "{scheme:?}");
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_server_that_ends_each_connection_after_100_queries_loses_none() {
    for scheme in [Scheme::Quic, Scheme::H3] {
        local(async {
            let authority = Authority::new();
            let identity = authority.sign(&["127.0.0.1"]);
            let server = Answering::start(scheme, &identity, anywhere()).await;
            let link = link(upstream(scheme, server.address, trusting(&authority)));
            for number in 0..250 {
                let outcome = asked(&link).await;
                assert_eq!(outcome, Ok(()), "{scheme:?}, {number}: {}", reason(&link));
            }
            let dials = link.upstream().tally().tcp_dials;
            assert!((2..=4).contains(&dials), "{scheme:?}: {dials} dials");
        })
        .await;
    }
}

#[tokio::test]
async fn a_server_that_restarts_is_dialled_again() {
    for scheme in SCHEMES {
        local(async {
            let authority = Authority::new();
            let identity = authority.sign(&["127.0.0.1"]);
            let first = Answering::start(scheme, &identity, anywhere()).await;
            let address = first.address;
            let link = link(upstream(scheme, address, trusting(&authority)));
            asked(&link).await.unwrap();
            drop(first);
            let _second = Answering::start(scheme, &identity, address).await;
            let deadline = Instant::now() + Duration::from_secs(3);
            while let Err(error) = asked(&link).await {
                assert!(Instant::now() < deadline, "{scheme:?}: {error}: {}", reason(&link));
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            assert!(link.upstream().tally().tcp_dials >= 2, "{scheme:?}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_connection_that_swallows_all_is_replaced_within_one_query() {
    for scheme in SCHEMES {
        local(async {
            let authority = Authority::new();
            let identity = authority.sign(&["127.0.0.1"]);
            let server = Answering::start(scheme, &identity, anywhere()).await;
            let relay = match scheme {
                Scheme::Tls | Scheme::Https => Relay::tcp(server.address).await,
                _ => Relay::udp(server.address).await,
            };
            let link = link(upstream(scheme, relay.address, trusting(&authority)));
            asked(&link).await.unwrap();
            relay.swallow();
            let begun = Instant::now();
            assert_eq!(asked(&link).await, Ok(()), "{scheme:?}: {}", reason(&link));
            let waited = begun.elapsed();
            // Some milliseconds in fact; less than the usual budget on a busy machine.
            assert!(waited < Duration::from_millis(1_900), "{scheme:?}: {waited:?}");
            assert_eq!(link.upstream().tally().tcp_dials, 2, "{scheme:?}");
            asked(&link).await.unwrap();
            assert_eq!(link.upstream().tally().tcp_dials, 2, "{scheme:?}");
        })
        .await;
    }
}

/// A plain server that gives these addresses for every name.
async fn plain_server(addresses: &'static [[u8; 4]]) -> UpstreamServer {
    let socket = UdpSocket::bind(anywhere()).await.unwrap();
    let address = socket.local_addr().unwrap();
    spawn_local(async move {
        let mut buffer = [0; 4_096];
        loop {
            let (octets, peer) = socket.recv_from(&mut buffer).await.unwrap();
            let reply = server::reply(&buffer[..octets], addresses);
            socket.send_to(&reply, peer).await.unwrap();
        }
    });
    UpstreamServer::plain(address)
}

#[tokio::test]
async fn a_host_is_found_by_the_plain_upstreams_and_all_its_addresses_are_tried() {
    for scheme in SCHEMES {
        local(async {
            let authority = Authority::new();
            let identity = authority.sign(&["dns.example"]);
            let server = Answering::start(scheme, &identity, anywhere()).await;
            // Nobody is at the first one.
            let plain = plain_server(&[[127, 0, 0, 77], [127, 0, 0, 1]]).await;
            let name: Name = "dns.example".parse().unwrap();
            let host = UpstreamHost::Name { name: name.clone(), port: server.address.port() };
            let named =
                UpstreamServer { host, ..upstream(scheme, anywhere(), trusting(&authority)) };
            let bootstrap = Bootstrap::new(HashMap::from([(name, vec![plain])]), None);
            let upstream = Upstream::new(named).found_by(Arc::new(bootstrap));
            let link = Link::new(Arc::new(upstream), Link::receive_buffer());
            assert_eq!(asked(&link).await, Ok(()), "{scheme:?}: {}", reason(&link));
        })
        .await;
    }
}

#[tokio::test]
async fn a_host_that_nobody_knows_is_said() {
    local(async {
        let name: Name = "dns.example".parse().unwrap();
        let host = UpstreamHost::Name { name: name.clone(), port: 853 };
        let named = UpstreamServer { host, ..upstream(Scheme::Tls, anywhere(), Trust::default()) };
        let servers = HashMap::from([(name, vec![plain_server(&[]).await])]);
        let bootstrap = Arc::new(Bootstrap::new(servers, None));
        let upstream = Arc::new(Upstream::new(named).found_by(bootstrap));
        let link = Link::new(upstream, Link::receive_buffer());
        let expected = TryError::Unreachable(io::ErrorKind::AddrNotAvailable);
        assert_eq!(asked(&link).await, Err(expected));
        assert!(reason(&link).contains("no known address"), "{}", reason(&link));
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_is_closed_after_each_answer_is_dialled_for_each_query() {
    local(async {
        let authority = Authority::new();
        let address = server::tls_by_hand(&authority.sign(&["127.0.0.1"]), |stream, _| {
            let query = server::read_query(stream)?;
            server::write_reply(stream, &server::reply(&query, &[[192, 0, 2, 1]]))?;
            stream.conn.send_close_notify();
            stream.flush()
        });
        let link = link(upstream(Scheme::Tls, address, trusting(&authority)));
        for _ in 0..5 {
            assert_eq!(asked(&link).await, Ok(()), "{}", reason(&link));
        }
        assert_eq!(link.upstream().tally().tcp_dials, 5);
    })
    .await;
}

#[tokio::test]
async fn half_a_frame_is_a_dead_connection() {
    local(async {
        let authority = Authority::new();
        let address = server::tls_by_hand(&authority.sign(&["127.0.0.1"]), |stream, _| {
            let query = server::read_query(stream)?;
            let reply = server::reply(&query, &[[192, 0, 2, 1]]);
            stream.write_all(&[0, 45])?;
            stream.write_all(&reply[..20])?;
            stream.flush()
        });
        let link = link(upstream(Scheme::Tls, address, trusting(&authority)));
        let outcome = asked(&link).await;
        assert!(matches!(outcome, Err(TryError::Unreachable(_))), "{outcome:?}");
        assert_eq!(link.upstream().tally().tcp_dials, 1);
    })
    .await;
}

#[tokio::test]
async fn what_is_not_tls_is_said() {
    for scheme in [Scheme::Tls, Scheme::Https] {
        local(async {
            let address = server::tcp_by_hand(|mut stream, _| {
                stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")?;
                stream.read_to_end(&mut Vec::new()).map(drop)
            });
            let link =
                link(upstream(scheme, address, Trust { ca_file: None, pins: vec![[0; 32]] }));
            assert_eq!(asked(&link).await, Err(TryError::Garbled));
            assert_ne!(reason(&link), "");
        })
        .await;
    }
}

#[tokio::test]
async fn an_http_request_that_is_refused_does_not_end_the_connection() {
    local(async {
        let authority = Authority::new();
        let identity = authority.sign(&["127.0.0.1"]);
        let server = Answering::start(Scheme::Https, &identity, anywhere()).await;
        let server = upstream(Scheme::Https, server.address, trusting(&authority));
        // The server resets the stream of a request for another path than its own.
        let link = link(UpstreamServer { path: "/elsewhere".to_owned(), ..server });
        for _ in 0..3 {
            assert_eq!(asked(&link).await, Err(TryError::ServerFailed(Breakdown::Reset)));
            // Longer than a connection may be silent.
            tokio::time::sleep(Duration::from_millis(510)).await;
        }
        assert!(reason(&link).contains("stream"), "{}", reason(&link));
        let tally = link.upstream().tally();
        assert_eq!((tally.tcp_dials, tally.tcp_queries), (1, 3));
    })
    .await;
}
