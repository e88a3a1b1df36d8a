//! Servers that keep the case of a query's name, servers that fold it, and forgers.

use super::*;
use crate::wire::HEADER_OCTETS;

/// The same message, its question's name in lower case.
fn folded(message: &[u8]) -> Vec<u8> {
    let mut folded = message.to_vec();
    folded[HEADER_OCTETS..question_end(message)].make_ascii_lowercase();
    folded
}

/// A server over TCP and UDP, and what it makes of a reply on each.
async fn server(over_tcp: fn(&[u8]) -> Vec<u8>, over_udp: fn(&[u8]) -> Vec<u8>) -> SocketAddr {
    let (listener, socket) = tcp_and_udp().await;
    let address = listener.local_addr().unwrap();
    spawn_local(async move {
        let mut buffer = [0; 512];
        loop {
            let (octets, peer) = socket.recv_from(&mut buffer).await.unwrap();
            let said = over_udp(&reply(&buffer[..octets], 0, 1));
            socket.send_to(&said, peer).await.unwrap();
        }
    });
    spawn_local(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            while let Ok(query) = read_query(&mut stream).await {
                write_reply(&mut stream, &over_tcp(&reply(&query, 0, 3))).await.unwrap();
            }
        }
    });
    address
}

#[tokio::test]
async fn queries_vary_in_case_and_answers_are_in_lower_case() {
    local(async {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let into = Rc::clone(&seen);
        let server = udp_server(move |query| {
            into.borrow_mut().push(query[HEADER_OCTETS..question_end(query) - 4].to_vec());
            vec![reply(query, 0, 1)]
        })
        .await;
        let link = link(server);
        for _ in 0..200 {
            let answer = link.ask(&question()).await.unwrap();
            assert_eq!(&answer.borrowed().question()[..13], b"\x03www\x07example\0");
        }
        let seen = &mut *seen.borrow_mut();
        seen.sort_unstable();
        seen.dedup();
        // Ten letters: 1,024 ways to write them.
        assert!(seen.len() > 120, "{}", seen.len());
        let tally = link.upstream().tally();
        assert_eq!((tally.queries, tally.other_case, tally.mismatches), (200, 0, 0));
    })
    .await;
}

#[tokio::test]
async fn owners_that_spell_the_name_out_are_in_lower_case_too() {
    local(async {
        let server = udp_server(|query| {
            let end = question_end(query);
            let mut spelt = reply(query, 0, 0);
            spelt[7] = 1;
            spelt.extend_from_slice(&query[HEADER_OCTETS..end - 4]);
            spelt.extend_from_slice(b"\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\0\0\x01");
            vec![spelt]
        })
        .await;
        let link = link(server);
        for _ in 0..20 {
            let answer = link.ask(&question()).await.unwrap();
            let behind_header = &answer.borrowed().message()[HEADER_OCTETS..];
            assert!(!behind_header.iter().any(u8::is_ascii_uppercase));
            assert_eq!(answer.borrowed().header().answers, 1);
        }
    })
    .await;
}

#[tokio::test]
async fn a_server_that_folds_over_tcp_too_is_known_after_one_query() {
    local(async {
        let link = link(server(folded, folded).await);
        for number in 0..50 {
            let outcome = link.ask(&question()).await;
            assert!(outcome.is_ok(), "{number}: {outcome:?}");
        }
        let tally = link.upstream().tally();
        // A case that happens to be lower shows nothing.
        assert!((1..=3).contains(&tally.tcp_queries), "{}", tally.tcp_queries);
        assert_eq!((tally.replies, tally.mismatches), (50, 0));
        assert!(!link.upstream().is_in_doubt());
    })
    .await;
}

#[tokio::test]
async fn a_box_that_folds_datagrams_alone_is_known_after_four_queries() {
    local(async {
        let link = link(server(<[u8]>::to_vec, folded).await);
        for _ in 0..50 {
            link.ask(&question()).await.unwrap();
        }
        let tally = link.upstream().tally();
        assert!((4..=5).contains(&tally.tcp_queries), "{}", tally.tcp_queries);
    })
    .await;
}

#[tokio::test]
async fn a_server_that_folds_and_has_no_tcp_loses_no_query() {
    local(async {
        let link = link(udp_server(|query| vec![folded(&reply(query, 0, 1))]).await);
        for number in 0..50 {
            let outcome = link.ask(&question()).await;
            assert!(outcome.is_ok(), "{number}: {outcome:?}");
        }
        let tally = link.upstream().tally();
        assert!((54..=60).contains(&tally.queries), "{}", tally.queries);
        assert_eq!((tally.replies, tally.unreachable), (50, 0));
    })
    .await;
}

#[tokio::test]
async fn forged_datagrams_in_lower_case_are_neither_taken_nor_believed() {
    local(async {
        // The forger knows id, port and name of each query, but not its case.
        let server = udp_server(|query| {
            let mut forged = folded(&reply(query, 0, 3));
            // Never by chance what was sent.
            if folded(query)[..question_end(query)] == query[..question_end(query)] {
                forged[HEADER_OCTETS + 1] ^= 0x20;
            }
            vec![forged, reply(query, 0, 1)]
        })
        .await;
        let link = link(server);
        for number in 0..50 {
            let answer = link.ask(&question()).await.unwrap();
            assert_eq!(answer.borrowed().header().answers, 1, "{number}");
        }
        assert_eq!(link.upstream().tally().other_case, 50, "the case still varies");
    })
    .await;
}
