//! Datagrams that reach a query and are not its reply.

use super::*;

/// An A record's reply that answers nothing, in each way that a datagram with the right id can.
fn foreign(query: &[u8]) -> Vec<Vec<u8>> {
    let good = reply(query, 0, 1);
    let end = question_end(query);
    let header = |flags: [u8; 2]| [&query[..2], &flags, &[0; 8]].concat();
    let mut is_query = good.clone();
    is_query[2] &= 0x7f;
    let mut other_opcode = good.clone();
    other_opcode[2] |= 0x20;
    let mut other_type = good.clone();
    other_type[end - 3] ^= 1;
    let mut truncated = other_question(query);
    truncated[2] |= 0x02;
    let mut no_question = good.clone();
    no_question[5] = 0;
    vec![
        query[..2].to_vec(),
        good[..11].to_vec(),
        good[..end - 1].to_vec(),
        is_query,
        other_opcode,
        other_type,
        other_question(query),
        truncated,
        no_question,
        [&query[..2], &[0xff; 200]].concat(),
        // NOERROR, SERVFAIL, NXDOMAIN, REFUSED, and TC, each without a question.
        header([0x81, 0x80]),
        header([0x81, 0x82]),
        header([0x81, 0x83]),
        header([0x81, 0x85]),
        header([0x83, 0x80]),
    ]
}

fn kinds() -> usize {
    let mut query = Vec::new();
    super::super::query::write_in(&mut query, 1, &question(), Some(&[]), None);
    foreign(&query).len()
}

#[tokio::test]
async fn the_genuine_reply_behind_a_foreign_datagram_is_taken() {
    for kind in 0..kinds() {
        local(async move {
            let server =
                udp_server(move |query| vec![foreign(query).remove(kind), reply(query, 0, 2)])
                    .await;
            let link = link(server);
            let answer = link.ask(&question()).await;
            let answer = answer.unwrap_or_else(|error| panic!("{kind}: {error}"));
            assert_eq!(answer.borrowed().header().answers, 2);
            let tally = link.upstream().tally();
            let counts = (tally.queries, tally.mismatches, tally.tcp_dials, tally.garbled);
            assert_eq!(counts, (1, 1, 0, 0), "{kind}");
        })
        .await;
    }
}

#[tokio::test]
async fn the_genuine_reply_is_waited_for_past_several_and_for_a_while() {
    local(async {
        let socket = Rc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let link = link(socket.local_addr().unwrap());
        spawn_local(async move {
            let mut buffer = [0; 512];
            let (octets, peer) = socket.recv_from(&mut buffer).await.unwrap();
            for datagram in foreign(&buffer[..octets]).iter().take(7) {
                socket.send_to(datagram, peer).await.unwrap();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            socket.send_to(&reply(&buffer[..octets], 0, 2), peer).await.unwrap();
        });
        let answer = link.ask(&question()).await.unwrap();
        assert_eq!(answer.borrowed().header().answers, 2);
        let tally = link.upstream().tally();
        assert_eq!((tally.mismatches, tally.tcp_dials), (7, 0));
    })
    .await;
}

/// A server whose datagrams are what `says` makes of a query, and whose TCP gives the answer.
async fn server_with_tcp(says: fn(&[u8]) -> Vec<Vec<u8>>) -> SocketAddr {
    let (listener, socket) = tcp_and_udp().await;
    let address = listener.local_addr().unwrap();
    spawn_local(async move {
        let mut buffer = [0; 512];
        loop {
            let (octets, peer) = socket.recv_from(&mut buffer).await.unwrap();
            for datagram in says(&buffer[..octets]) {
                socket.send_to(&datagram, peer).await.unwrap();
            }
        }
    });
    spawn_local(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            while let Ok(query) = read_query(&mut stream).await {
                write_reply(&mut stream, &reply(&query, 0, 3)).await.unwrap();
            }
        }
    });
    address
}

#[tokio::test]
async fn after_its_time_a_query_that_met_foreign_datagrams_goes_over_tcp() {
    local(async {
        let link = link(server_with_tcp(|query| vec![other_question(query)]).await);
        let begun = tokio::time::Instant::now();
        let answer = link.ask(&question()).await.unwrap();
        assert_eq!(answer.borrowed().header().answers, 3);
        assert!(begun.elapsed() >= Duration::from_millis(250), "{:?}", begun.elapsed());
        let tally = link.upstream().tally();
        assert_eq!((tally.mismatches, tally.tcp_queries), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_foreign_datagrams_sends_a_query_over_tcp_at_once() {
    local(async {
        let link = link(server_with_tcp(|query| vec![other_question(query); 9]).await);
        let begun = tokio::time::Instant::now();
        let answer = link.ask(&question()).await.unwrap();
        assert_eq!(answer.borrowed().header().answers, 3);
        assert!(begun.elapsed() < Duration::from_millis(200), "{:?}", begun.elapsed());
        assert_eq!(link.upstream().tally().tcp_queries, 1);
    })
    .await;
}

#[tokio::test]
async fn foreign_datagrams_blame_nobody() {
    local(async {
        // TCP is closed.
        let link = link(udp_server(|query| vec![other_question(query); 9]).await);
        for _ in 0..10 {
            assert_eq!(link.ask(&question()).await, Err(TryError::Mismatched));
        }
        let tally = link.upstream().tally();
        assert_eq!((tally.replies, tally.unreachable, tally.garbled), (0, 0, 0));
        assert!(tally.mismatches >= 80, "{}", tally.mismatches);
    })
    .await;
}

#[tokio::test]
async fn a_few_foreign_datagrams_and_closed_tcp_are_silence() {
    local(async {
        let link = link(udp_server(|query| vec![other_question(query)]).await);
        let ask = timeout(Duration::from_secs(1), link.ask(&question())).await;
        assert!(ask.is_err(), "{ask:?}");
    })
    .await;
}

#[tokio::test]
async fn a_genuine_reply_that_is_late_beats_tcp_that_says_nothing() {
    local(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = UdpSocket::bind(listener.local_addr().unwrap()).await.unwrap();
        let link = link(listener.local_addr().unwrap());
        spawn_local(async move {
            let mut buffer = [0; 512];
            let (octets, peer) = socket.recv_from(&mut buffer).await.unwrap();
            socket.send_to(&other_question(&buffer[..octets]), peer).await.unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            read_query(&mut stream).await.unwrap();
            socket.send_to(&reply(&buffer[..octets], 0, 2), peer).await.unwrap();
            std::future::pending::<()>().await;
        });
        let answer = link.ask(&question()).await.unwrap();
        assert_eq!(answer.borrowed().header().answers, 2);
    })
    .await;
}

#[tokio::test]
async fn a_forged_formerr_without_a_question_takes_no_edns_away() {
    local(async {
        let server = udp_server(|query| {
            if query[11] == 0 {
                return Vec::new();
            }
            let bare = [&query[..2], &[0x81, 0x81], &[0; 8]].concat();
            vec![bare, reply(query, 0, 2)]
        })
        .await;
        let answer = link(server).ask(&question()).await.unwrap();
        assert_eq!(answer.borrowed().header().answers, 2);
    })
    .await;
}

#[tokio::test]
async fn a_reply_with_broken_records_is_fetched_over_tcp_at_once() {
    local(async {
        let cut = |query: &[u8]| {
            let mut cut = reply(query, 0, 1);
            cut.pop();
            vec![cut]
        };
        let link = link(server_with_tcp(cut).await);
        let begun = tokio::time::Instant::now();
        let answer = link.ask(&question()).await.unwrap();
        assert_eq!(answer.borrowed().header().answers, 3);
        assert!(begun.elapsed() < Duration::from_millis(200), "{:?}", begun.elapsed());
        assert_eq!(link.upstream().tally().mismatches, 0);
    })
    .await;
}

#[tokio::test]
async fn a_reply_with_broken_records_and_closed_tcp_is_the_names_failure() {
    local(async {
        let server = udp_server(|query| {
            let mut cut = reply(query, 0, 1);
            cut.pop();
            vec![cut]
        })
        .await;
        let link = link(server);
        for _ in 0..10 {
            let outcome = link.ask(&question()).await;
            assert_eq!(outcome, Err(TryError::Unusable(Flaw::Malformed)));
        }
        let tally = link.upstream().tally();
        assert_eq!((tally.replies, tally.unreachable), (10, 0));
    })
    .await;
}

#[tokio::test]
async fn a_chain_in_circles_is_a_reply_and_says_what_it_is() {
    local(async {
        let server = udp_server(|query| {
            let mut circle = reply(query, 0, 0);
            circle[7] = 1;
            circle.extend_from_slice(b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x02\xc0\x0c");
            vec![circle]
        })
        .await;
        let link = link(server);
        let outcome = link.ask(&question()).await;
        let answer = outcome.expect("a reply");
        assert!(answer.is_endless());
        assert_eq!(answer.borrowed().records().count(), 0);
        assert_eq!(link.upstream().tally().replies, 1);
    })
    .await;
}
