//! Servers that close connections when they like: no query is lost by that.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinSet, spawn_local};
use tokio::time::sleep;

use super::*;
use crate::upstream::tests::reply;

/// What such a server has seen.
#[derive(Default)]
struct Seen {
    open: Cell<usize>,
    most_open: Cell<usize>,
    connections: Cell<usize>,
}

/// A TCP server; `serve` gets each connection in a task of its own, with how many are open beside.
async fn server<F: Future<Output = io::Result<()>> + 'static>(
    serve: impl Fn(TcpStream, usize) -> F + 'static,
) -> (Link, Rc<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let link = tcp_link(listener.local_addr().unwrap());
    let seen = Rc::new(Seen::default());
    spawn_local(listen(listener, Rc::clone(&seen), serve));
    (link, seen)
}

async fn listen<F: Future<Output = io::Result<()>> + 'static>(
    listener: TcpListener,
    seen: Rc<Seen>,
    serve: impl Fn(TcpStream, usize) -> F + 'static,
) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let beside = seen.open.get();
        seen.open.set(beside + 1);
        seen.connections.set(seen.connections.get() + 1);
        seen.most_open.set(seen.most_open.get().max(beside + 1));
        let (served, seen) = (serve(stream, beside), Rc::clone(&seen));
        spawn_local(async move {
            // Clients may hang up as they like.
            let _hung_up = served.await;
            seen.open.set(seen.open.get() - 1);
        });
    }
}

/// Answers so many queries, then hangs up, whatever else has come.
async fn answer(mut stream: TcpStream, queries: usize, after: Duration) -> io::Result<()> {
    for _ in 0..queries {
        let query = read_query(&mut stream).await?;
        sleep(after).await;
        write_reply(&mut stream, &reply(&query, 0, 1)).await?;
    }
    Ok(())
}

/// Asks for so many names at once; gives how many got no answer, and why.
async fn failures(link: &Rc<Link>, names: usize) -> Vec<TryError> {
    let mut asks = JoinSet::new();
    for number in 0..names {
        let link = Rc::clone(link);
        let name = format!("n{number}.example").parse().unwrap();
        asks.spawn_local(async move { link.ask(&Question::plain(name, Rtype::A)).await.err() });
    }
    asks.join_all().await.into_iter().flatten().collect()
}

#[tokio::test]
async fn all_queries_are_answered_however_few_a_connection_takes() {
    for limit in [1, 2, 10, 100] {
        local(async {
            let (link, seen) = server(move |stream, _| answer(stream, limit, Duration::ZERO)).await;
            let link = Rc::new(link);
            for round in 1..=3 {
                assert_eq!(failures(&link, 200).await, [], "{limit} a connection, round {round}");
            }
            // The server counts connections too that are closed here and not yet there.
            let most = seen.most_open.get();
            assert!(most <= 208, "{limit}: {most} open");
            // The first connection shows the limit; few of those after it carry less.
            let least = 3 * 200 / limit;
            let connections = seen.connections.get();
            assert!(connections <= least + least / 2 + 10, "{limit}: {connections}");
        })
        .await;
    }
}

#[tokio::test]
async fn truncated_replies_are_fetched_from_a_server_that_takes_one_query_a_connection() {
    local(async {
        let (listener, socket) = tcp_and_udp().await;
        let link = Rc::new(link(listener.local_addr().unwrap()));
        spawn_local(async move {
            let mut buffer = [0; 4096];
            loop {
                let (octets, peer) = socket.recv_from(&mut buffer).await.unwrap();
                let truncated = reply(&buffer[..octets], 0x0200, 0);
                socket.send_to(&truncated, peer).await.unwrap();
            }
        });
        let seen = Rc::new(Seen::default());
        spawn_local(listen(listener, Rc::clone(&seen), |stream, _| {
            answer(stream, 1, Duration::from_millis(1))
        }));
        assert_eq!(failures(&link, 200).await, []);
        assert!(seen.connections.get() >= 200);
        let tally = link.upstream().tally();
        assert_eq!((tally.unreachable, tally.unusable), (0, 0));
    })
    .await;
}

#[tokio::test]
async fn a_server_that_wants_queries_one_by_one_gets_them_so() {
    local(async {
        // It answers nothing on a connection on which two queries have come together.
        let (link, _) = server(|mut stream, _| async move {
            loop {
                let query = read_query(&mut stream).await?;
                sleep(Duration::from_millis(5)).await;
                let mut more = [0; 2];
                if stream.try_read(&mut more).is_ok() {
                    return Ok(());
                }
                write_reply(&mut stream, &reply(&query, 0, 1)).await?;
            }
        })
        .await;
        assert_eq!(failures(&Rc::new(link), 100).await, []);
    })
    .await;
}

#[tokio::test]
async fn a_server_that_takes_few_connections_gets_no_more() {
    local(async {
        // One query on each connection, and the fourth connection at a time is closed at once.
        let (link, seen) = server(|stream, beside| {
            let queries = if beside >= 3 { 0 } else { 1 };
            answer(stream, queries, Duration::from_millis(2))
        })
        .await;
        let link = Rc::new(link);
        assert_eq!(failures(&link, 200).await, []);
        let before = seen.connections.get();
        assert!(before < 800, "{before} connections for 200 queries");
    })
    .await;
}

#[tokio::test]
async fn a_connection_closed_while_nothing_waits_is_not_used_again() {
    local(async {
        let (link, seen) = server(|stream, _| answer(stream, 1, Duration::ZERO)).await;
        for connections in 1..=10 {
            link.ask(&question()).await.unwrap();
            // Its end is heard of without a query that would find it out.
            while seen.open.get() != 0 {
                sleep(Duration::from_millis(1)).await;
            }
            sleep(Duration::from_millis(20)).await;
            let tally = link.upstream().tally();
            assert_eq!((tally.tcp_queries, tally.tcp_dials), (connections, connections));
        }
    })
    .await;
}

#[tokio::test]
async fn an_end_by_chance_limits_connections_for_a_short_time_only() {
    local(async {
        // As a restart looks: three replies, and many queries without one.
        let is_first = Cell::new(true);
        let (link, _) = server(move |stream, _| {
            answer(stream, if is_first.take() { 3 } else { usize::MAX }, Duration::ZERO)
        })
        .await;
        let link = Rc::new(link);
        assert_eq!(failures(&link, 30).await, []);
        let dials = || link.upstream().tally().tcp_dials;
        let mut unchanged = 0;
        for _ in 0..40 {
            let before = dials();
            assert_eq!(failures(&link, 30).await, []);
            sleep(Duration::from_millis(150)).await;
            unchanged = if dials() == before { unchanged + 1 } else { 0 };
            if unchanged == 3 {
                return;
            }
        }
        panic!("{} dials", dials());
    })
    .await;
}

#[tokio::test]
async fn a_query_that_makes_a_server_hang_up_ends_few_connections() {
    local(async {
        let (link, seen) = server(|mut stream, _| async move {
            loop {
                let query = read_query(&mut stream).await?;
                if query[12..].starts_with(b"\x06poison") {
                    return Ok(());
                }
                sleep(Duration::from_millis(2)).await;
                write_reply(&mut stream, &reply(&query, 0, 1)).await?;
            }
        })
        .await;
        let link = Rc::new(link);
        link.ask(&question()).await.unwrap();
        let poison = Question::plain("poison.example".parse().unwrap(), Rtype::A);
        // Each connection beside one that has brought a reply may be one too many; 16 are not.
        assert!(link.ask(&poison).await.is_err());
        assert!((2..=16).contains(&seen.connections.get()), "{}", seen.connections.get());
        let before = seen.connections.get();
        let asked = spawn_local({
            let link = Rc::clone(&link);
            async move { link.ask(&poison).await }
        });
        assert_eq!(failures(&link, 100).await, []);
        assert!(asked.await.unwrap().is_err());
        let connections = seen.connections.get() - before;
        assert!(connections <= 16 + 100, "{connections}");
        assert_eq!(failures(&link, 100).await, [], "and it is no outage");
    })
    .await;
}

#[tokio::test]
async fn a_server_that_closes_each_connection_without_a_reply_fails_at_once() {
    local(async {
        let (link, seen) = server(|mut stream, _| async move {
            read_query(&mut stream).await?;
            Ok(())
        })
        .await;
        let link = Rc::new(link);
        let failed = failures(&link, 200).await;
        assert_eq!(failed.len(), 200);
        assert!(failed.iter().all(|error| matches!(error, TryError::Unreachable(_))), "{failed:?}");
        assert!(seen.connections.get() <= 36, "{} dials", seen.connections.get());
    })
    .await;
}

#[tokio::test]
async fn connections_are_bounded_while_a_server_is_slow() {
    local(async {
        let (link, seen) = server(|stream, _| answer(stream, 1, Duration::from_millis(60))).await;
        let link = Rc::new(link);
        assert_eq!(failures(&link, 300).await, []);
        let most = seen.most_open.get();
        assert!((20..=104).contains(&most), "{most} open");
    })
    .await;
}
