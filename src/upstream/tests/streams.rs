//! Connections: what ends them, and what their queries see of that.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, advance};

use super::*;
use crate::config::Trust;

#[tokio::test]
async fn half_a_length_is_a_dead_connection() {
    local(async {
        let server = tc_server(|mut stream, _| async move {
            read_query(&mut stream).await?;
            stream.write_all(&[0]).await
        })
        .await;
        let outcome = tcp_link(server).ask(&question()).await;
        assert!(matches!(outcome, Err(TryError::Unreachable(_))), "{outcome:?}");
    })
    .await;
}

#[tokio::test]
async fn a_connection_closed_at_once_is_dialled_no_more_than_once() {
    local(async {
        let server = tc_server(|stream, _| async move {
            drop(stream);
            Ok(())
        })
        .await;
        let link = tcp_link(server);
        let outcome = link.ask(&question()).await;
        assert!(matches!(outcome, Err(TryError::Unreachable(_))), "{outcome:?}");
        assert_eq!(link.upstream().tally().tcp_dials, 1);
    })
    .await;
}

#[tokio::test]
async fn a_truncated_reply_whose_rest_is_refused_is_the_names_failure() {
    local(async {
        let server = udp_server(|query| vec![reply(query, 0x0200, 0)]).await;
        let link = link(server);
        for _ in 0..10 {
            let outcome = link.ask(&question()).await;
            assert_eq!(outcome, Err(TryError::Unusable(Flaw::RestMissing)));
        }
        let (_, reason) = link.upstream().last_error().unwrap();
        assert!(reason.contains("refused"), "{reason}");
        let tally = link.upstream().tally();
        assert_eq!((tally.replies, tally.unreachable), (10, 0));
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_died_is_dialled_again() {
    local(async {
        // Each connection answers one query, then hangs up on the next.
        let server = tc_server(|mut stream, _| async move {
            let query = read_query(&mut stream).await?;
            write_reply(&mut stream, &reply(&query, 0, 1)).await
        })
        .await;
        let link = link(server);
        for dials in 1..=5 {
            link.ask(&question()).await.unwrap();
            assert_eq!(link.upstream().tally().tcp_dials, dials);
        }
    })
    .await;
}

/// A TCP server that answers connections after the first `silent` ones, each in a task of its own.
async fn server_with_silent_connections(silent: usize) -> UpstreamServer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    spawn_local(async move {
        for number in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            spawn_local(async move {
                let mut replies = 0;
                while let Ok(query) = read_query(&mut stream).await {
                    // A first answer, then silence, and open until the client goes.
                    if number >= silent || replies == 0 {
                        write_reply(&mut stream, &reply(&query, 0, 1)).await.unwrap();
                        replies += 1;
                    }
                }
            });
        }
    });
    UpstreamServer { scheme: Scheme::Tcp, ..UpstreamServer::plain(address) }
}

#[tokio::test]
async fn a_connection_that_swallows_a_query_is_replaced_within_that_query() {
    local(async {
        let server = server_with_silent_connections(1).await;
        let link = Link::new(Arc::new(Upstream::new(server)), Link::receive_buffer());
        link.ask(&question()).await.unwrap();
        let begun = Instant::now();
        link.ask(&question()).await.unwrap();
        let waited = begun.elapsed();
        assert!(waited >= Duration::from_millis(500), "{waited:?}");
        link.ask(&question()).await.unwrap();
        let tally = link.upstream().tally();
        assert_eq!((tally.tcp_dials, tally.queries, tally.replies), (2, 4, 3));
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_swallows_queries_is_replaced_however_short_their_patience() {
    local(async {
        let server = server_with_silent_connections(1).await;
        let link = Link::new(Arc::new(Upstream::new(server)), Link::receive_buffer());
        link.ask(&question()).await.unwrap();
        let mut given_up = 0;
        while timeout(Duration::from_millis(100), link.ask(&question())).await.is_err() {
            given_up += 1;
            assert!(given_up < 20, "nobody noticed");
        }
        assert!(given_up >= 1, "the connection was not silent");
        assert_eq!(link.upstream().tally().tcp_dials, 2);
    })
    .await;
}

#[tokio::test]
async fn a_reply_to_a_query_that_was_given_up_is_a_sign_of_life() {
    local(async {
        let server = tc_server(|mut stream, _| async move {
            loop {
                let query = read_query(&mut stream).await?;
                tokio::time::sleep(Duration::from_millis(200)).await;
                write_reply(&mut stream, &reply(&query, 0, 1)).await?;
            }
        })
        .await;
        let server = UpstreamServer { scheme: Scheme::Tcp, ..UpstreamServer::plain(server) };
        let link = Link::new(Arc::new(Upstream::new(server)), Link::receive_buffer());
        link.ask(&question()).await.unwrap();
        assert!(timeout(Duration::from_millis(50), link.ask(&question())).await.is_err());
        tokio::time::sleep(Duration::from_millis(600)).await;
        link.ask(&question()).await.unwrap();
        let tally = link.upstream().tally();
        assert_eq!((tally.tcp_dials, tally.queries, tally.replies), (1, 3, 2));
    })
    .await;
}

#[tokio::test]
async fn a_slow_server_keeps_its_connection() {
    local(async {
        let server = tc_server(|mut stream, _| async move {
            loop {
                let query = read_query(&mut stream).await?;
                tokio::time::sleep(Duration::from_millis(600)).await;
                write_reply(&mut stream, &reply(&query, 0, 1)).await?;
            }
        })
        .await;
        let server = UpstreamServer { scheme: Scheme::Tcp, ..UpstreamServer::plain(server) };
        let link = Link::new(Arc::new(Upstream::new(server)), Link::receive_buffer());
        for _ in 0..3 {
            link.ask(&question()).await.unwrap();
        }
        assert_eq!(link.upstream().tally().tcp_dials, 1);
    })
    .await;
}

#[tokio::test]
async fn a_connection_on_which_others_get_replies_is_kept() {
    local(async {
        // Never answers the first question, but all others.
        let server = tc_server(|mut stream, _| async move {
            loop {
                let query = read_query(&mut stream).await?;
                if query[12..].starts_with(b"\x04slow") {
                    continue;
                }
                write_reply(&mut stream, &reply(&query, 0, 1)).await?;
            }
        })
        .await;
        let server = UpstreamServer { scheme: Scheme::Tcp, ..UpstreamServer::plain(server) };
        let link = Rc::new(Link::new(Arc::new(Upstream::new(server)), Link::receive_buffer()));
        link.ask(&question()).await.unwrap();
        let slow = Rc::clone(&link);
        let slow = spawn_local(async move {
            slow.ask(&Question::plain("slow.example".parse().unwrap(), Rtype::A)).await
        });
        for _ in 0..12 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            link.ask(&question()).await.unwrap();
        }
        assert!(!slow.is_finished());
        assert_eq!(link.upstream().tally().tcp_dials, 1);
        slow.abort();
    })
    .await;
}

#[tokio::test]
async fn only_so_many_queries_wait_on_a_connection() {
    local(async {
        let server = tc_server(|mut stream, _| async move {
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.map(drop)
        })
        .await;
        let server = UpstreamServer { scheme: Scheme::Tcp, ..UpstreamServer::plain(server) };
        let link = Rc::new(Link::new(Arc::new(Upstream::new(server)), Link::receive_buffer()));
        let asks: Vec<_> = (0..512)
            .map(|_| {
                let link = Rc::clone(&link);
                spawn_local(async move { link.ask(&question()).await })
            })
            .collect();
        while link.upstream().tally().tcp_queries < 512 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(link.ask(&question()).await, Err(TryError::Busy));
        asks.iter().for_each(|ask| ask.abort());
    })
    .await;
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_dialled_with_backoff() {
    local(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let server = UpstreamServer { scheme: Scheme::Tcp, ..UpstreamServer::plain(address) };
        let link = Link::new(Arc::new(Upstream::new(server)), Link::receive_buffer());
        let refused = Err(TryError::Unreachable(io::ErrorKind::ConnectionRefused));
        for _ in 0..1_000 {
            assert_eq!(link.ask(&question()).await, refused);
        }
        // At most 50 ms have passed, or as much more as this machine was busy.
        let dials = link.upstream().tally().tcp_dials;
        assert!((1..100).contains(&dials), "{dials} dials");
        let (_, reason) = link.upstream().last_error().unwrap();
        assert!(reason.contains("refused"), "{reason}");

        let listener = TcpListener::bind(address).await.unwrap();
        spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let query = read_query(&mut stream).await.unwrap();
            write_reply(&mut stream, &reply(&query, 0, 1)).await.unwrap();
        });
        while link.ask(&question()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    // Without the limit that other tests have: the clock leaps here.
    let test = async {
        let (closed, is_closed) = tokio::sync::oneshot::channel();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            for _ in 0..2 {
                let query = read_query(&mut stream).await.unwrap();
                write_reply(&mut stream, &reply(&query, 0, 1)).await.unwrap();
            }
            let mut rest = Vec::new();
            assert_eq!(stream.read_to_end(&mut rest).await.unwrap(), 0);
            closed.send(()).unwrap();
        });
        let server = UpstreamServer { scheme: Scheme::Tcp, ..UpstreamServer::plain(address) };
        let link = Link::new(Arc::new(Upstream::new(server)), Link::receive_buffer());
        link.ask(&question()).await.unwrap();
        tokio::time::pause();
        advance(Duration::from_secs(59)).await;
        tokio::time::resume();
        link.ask(&question()).await.unwrap();
        assert_eq!(link.upstream().tally().tcp_dials, 1);
        tokio::time::pause();
        advance(Duration::from_secs(61)).await;
        is_closed.await.unwrap();
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(start_paused = true)]
async fn a_dial_outlives_its_queries_and_has_a_bound() {
    local(async {
        // The kernel accepts; nobody answers the handshake.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = UpstreamServer {
            scheme: Scheme::Tls,
            trust: Trust { ca_file: None, pins: vec![[0; 32]] },
            ..UpstreamServer::plain(listener.local_addr().unwrap())
        };
        let link = Link::new(Arc::new(Upstream::new(server)), Link::receive_buffer());
        let begun = Instant::now();
        assert!(timeout(Duration::from_millis(900), link.ask(&question())).await.is_err());
        let timed_out = Err(TryError::Unreachable(io::ErrorKind::TimedOut));
        assert_eq!(link.ask(&question()).await, timed_out);
        // The clock counts in milliseconds.
        assert_eq!(begun.elapsed().as_millis() / 10, 250, "the first query's dial");
        assert_eq!(link.ask(&question()).await, timed_out, "at once, since it must wait");
        assert_eq!(begun.elapsed().as_millis() / 10, 250);
        assert_eq!(link.upstream().tally().tcp_dials, 1);
        let (_, reason) = link.upstream().last_error().unwrap();
        assert_eq!(reason, "no connection within 2.5s");
    })
    .await;
}

#[tokio::test]
async fn a_server_that_sends_replies_for_ever_is_hung_up_on() {
    local(async {
        let (sent, was_sent) = tokio::sync::oneshot::channel();
        let mut sent = Some(sent);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let link = tcp_link(listener.local_addr().unwrap());
        spawn_local(async move {
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().await.unwrap();
                let Ok(query) = read_query(&mut stream).await else { continue };
                let good = reply(&query, 0, 1);
                write_reply(&mut stream, &good).await.unwrap();
                let mut replies = 0;
                while replies < 1_000 && write_reply(&mut stream, &good).await.is_ok() {
                    replies += 1;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                if let Some(sent) = sent.take() {
                    sent.send(replies).unwrap();
                }
            }
        });
        link.ask(&question()).await.unwrap();
        let replies = was_sent.await.unwrap();
        // A few may leave before the end of the connection is known there.
        assert!(replies < 200, "{replies}");
        // The next query dials.
        link.ask(&question()).await.unwrap();
        let tally = link.upstream().tally();
        assert_eq!((tally.tcp_dials, tally.replies), (2, 2));
    })
    .await;
}

#[tokio::test]
async fn a_connection_proves_who_sent_an_error_without_a_question() {
    local(async {
        let server = tc_server(|mut stream, _| async move {
            loop {
                let mut query = read_query(&mut stream).await?;
                let rcode = if query[11] == 0 { 2 } else { 1 };
                query.truncate(12);
                query[2..].fill(0);
                query[2..4].copy_from_slice(&[0x80, rcode]);
                write_reply(&mut stream, &query).await?;
            }
        })
        .await;
        let link = tcp_link(server);
        assert_eq!(link.ask(&question()).await.unwrap().rcode(), Rcode::SERVFAIL);
        assert_eq!(link.upstream().tally().without_edns, 1);
    })
    .await;
}

#[tokio::test]
async fn a_reply_to_another_question_is_unusable_over_tcp_too() {
    local(async {
        let server = tc_server(|mut stream, _| async move {
            loop {
                let query = read_query(&mut stream).await?;
                write_reply(&mut stream, &other_question(&query)).await?;
            }
        })
        .await;
        let outcome = tcp_link(server).ask(&question()).await;
        assert_eq!(outcome, Err(TryError::Unusable(Flaw::OtherQuestion)));
    })
    .await;
}

#[tokio::test]
async fn records_that_no_decoder_knows_pass_over_tcp() {
    local(async {
        // A type without a meaning, and no RDATA.
        let server = tc_server(|mut stream, _| async move {
            loop {
                let query = read_query(&mut stream).await?;
                let mut odd = reply(&query, 0, 1);
                let octets = odd.len();
                odd[octets - 14..octets - 12].copy_from_slice(&[0xff, 0x01]);
                odd.truncate(octets - 4);
                odd[octets - 6..].fill(0);
                write_reply(&mut stream, &odd).await?;
            }
        })
        .await;
        let answer = tcp_link(server).ask(&question()).await.unwrap();
        assert_eq!(answer.borrowed().header().answers, 1);
    })
    .await;
}
