//! Servers that want their cookie, reject ours, or are silent about it.

use super::*;

#[tokio::test]
async fn badcookie_brings_the_cookie_and_the_query_is_asked_again_at_once() {
    local(async {
        // As `require-server-cookie` of BIND has it.
        let server = server(
            |_| unreachable!(),
            |query| match cookie(query) {
                Some(cookie) if cookie.len() == 8 => vec![bad_cookie(query, SERVER)],
                _ => vec![speaks(query, 1)],
            },
        )
        .await;
        let link = link(server);
        ask_often(&link, 10).await;
        let tally = link.upstream().tally();
        assert_eq!((tally.queries, tally.bad_cookie, tally.other_cookie), (11, 1, 0));
        assert_eq!(cookies(&link), Cookies::Yes);
    })
    .await;
}

#[tokio::test]
async fn queries_of_one_moment_are_all_asked_again_after_badcookie() {
    local(async {
        let server = server(
            |_| unreachable!(),
            |query| match cookie(query) {
                Some(cookie) if cookie[8..] != *SERVER => vec![bad_cookie(query, SERVER)],
                _ => vec![speaks(query, 1)],
            },
        )
        .await;
        let link = Rc::new(link(server));
        let asks: Vec<_> = (0..20)
            .map(|_| {
                let link = Rc::clone(&link);
                spawn_local(async move { link.ask(&question()).await.map(|answer| answer.rcode()) })
            })
            .collect();
        for ask in asks {
            assert_eq!(ask.await.unwrap(), Ok(Rcode::NOERROR));
        }
        assert_eq!(link.upstream().tally().queries, 40);
    })
    .await;
}

#[tokio::test]
async fn a_second_badcookie_leads_to_tcp() {
    for gives_cookie in [true, false] {
        local(async move {
            let mut number = 0;
            let server = server(
                |query| speaks(query, 2),
                move |query| {
                    number += 1;
                    let server = if gives_cookie { &[number; 16][..] } else { &[] };
                    vec![bad_cookie(query, server)]
                },
            )
            .await;
            let link = link(server);
            let answer = link.ask(&question()).await.unwrap();
            assert_eq!(answer.borrowed().header().answers, 2);
            let tally = link.upstream().tally();
            let over_udp = if gives_cookie { 2 } else { 1 };
            assert_eq!((tally.bad_cookie, tally.tcp_queries), (over_udp, 1));
            assert_eq!(tally.queries, over_udp + 1);
        })
        .await;
    }
}

#[tokio::test]
async fn badcookie_for_ever_is_the_servers_failure_and_no_answer() {
    local(async {
        let mut number = 0;
        let server = server(
            |query| bad_cookie(query, &[255; 16]),
            move |query| {
                number += 1;
                vec![bad_cookie(query, &[number; 16])]
            },
        )
        .await;
        let link = link(server);
        let outcome = link.ask(&question()).await;
        assert_eq!(outcome, Err(TryError::Unusable(Flaw::BadCookie)));
        // With a cookie: twice over UDP, once over TCP. Without: once over each.
        assert_eq!(link.upstream().tally().queries, 5);
        for _ in 0..10 {
            let outcome = link.ask(&question()).await;
            assert_eq!(outcome, Err(TryError::Unusable(Flaw::BadCookie)));
        }
        assert!(!link.upstream().is_in_doubt(), "it replies");
    })
    .await;
}

#[tokio::test]
async fn a_server_that_rejects_queries_with_cookies_keeps_its_edns() {
    for kind in 0..4 {
        local(async move {
            let rejects = move |query: &[u8]| match (cookie(query), kind) {
                (None, _) => is_dumb(query, 1),
                (_, 0) => reply(query, FORMERR, 0),
                (_, 1) => with_opt(reply(query, FORMERR, 0), 0, &[]),
                (_, 2) => [&query[..2], &[0x81, 0x84], &[0; 8]].concat(),
                // BADVERS.
                (_, _) => with_opt(reply(query, 0, 0), 1, &[]),
            };
            let link = link(udp_server(move |query| vec![rejects(query)]).await);
            ask_often(&link, 20).await;
            let tally = link.upstream().tally();
            assert_eq!((tally.queries, tally.without_edns), (24, 0), "{kind}");
            assert_eq!(cookies(&link), Cookies::Off, "{kind}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_rejection_of_one_name_says_nothing_about_cookies() {
    local(async {
        let server = udp_server(|query| vec![with_opt(reply(query, FORMERR, 0), 0, &[])]).await;
        let link = link(server);
        for _ in 0..10 {
            assert_eq!(link.ask(&question()).await.unwrap().rcode(), Rcode::FORMERR);
        }
        assert_eq!(cookies(&link), Cookies::No);
    })
    .await;
}

/// Asks `link` a question whose time is over before the server replies.
async fn ask_in_vain(link: &Link) {
    let begun = tokio::time::Instant::now();
    let ask = timeout(Duration::from_millis(50), link.ask(&question())).await;
    assert!(ask.is_err(), "{ask:?}");
    link.upstream().note_unanswered(begun, tokio::time::Instant::now());
}

/// As the race of a question does.
async fn ask_and_note(link: &Link) {
    let begun = tokio::time::Instant::now();
    let answer = link.ask(&question()).await.unwrap();
    link.upstream().note_answer(answer.rcode(), begun, tokio::time::Instant::now());
}

#[tokio::test]
async fn after_silence_a_query_has_no_cookie() {
    local(async {
        // A box on the path drops what has a cookie.
        let server = udp_server(|query| match cookie(query) {
            Some(_) => Vec::new(),
            None => vec![is_dumb(query, 1)],
        })
        .await;
        let link = link(server);
        for number in 0..4 {
            assert_eq!(cookies(&link), Cookies::No, "{number}");
            ask_in_vain(&link).await;
            ask_and_note(&link).await;
        }
        assert_eq!(cookies(&link), Cookies::Off);
        ask_often(&link, 20).await;
        assert_eq!(link.upstream().tally().queries, 28);
    })
    .await;
}

#[tokio::test]
async fn a_server_that_speaks_cookies_gets_them_also_while_it_is_silent() {
    local(async {
        let seen: Shared<Vec<Option<usize>>> = Rc::default();
        let (into, is_silent) = (Rc::clone(&seen), Rc::new(RefCell::new(false)));
        let silent = Rc::clone(&is_silent);
        let server = udp_server(move |query| {
            into.borrow_mut().push(cookie(query).map(<[u8]>::len));
            if *silent.borrow() { Vec::new() } else { vec![speaks(query, 1)] }
        })
        .await;
        let first = link(server);
        let others = || Link::new(Arc::clone(first.upstream()), Link::receive_buffer());
        let second = others();
        ask_and_note(&first).await;
        is_silent.replace(true);
        ask_in_vain(&first).await;
        // Or a forger would only have to keep a server busy. Another worker knows it too.
        ask_in_vain(&first).await;
        ask_in_vain(&second).await;
        let all_came = async || {
            let sent = usize::try_from(first.upstream().tally().queries).unwrap();
            while seen.borrow().len() < sent {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        all_came().await;
        assert_eq!(*seen.borrow(), [Some(8), Some(24), Some(24), Some(8)]);
        // One that is down may be behind a new box.
        while !first.upstream().is_down() {
            ask_in_vain(&first).await;
        }
        all_came().await;
        is_silent.replace(false);
        seen.borrow_mut().clear();
        let third = others();
        ask_and_note(&third).await;
        ask_and_note(&third).await;
        assert_eq!(*seen.borrow(), [None, Some(8)]);
    })
    .await;
}

#[tokio::test]
async fn servers_that_are_asked_over_connections_alone_get_no_cookie() {
    local(async {
        let address = tc_server(|mut stream, _| async move {
            loop {
                let query = read_query(&mut stream).await?;
                assert_eq!(cookie(&query), None);
                write_reply(&mut stream, &is_dumb(&query, 1)).await?;
            }
        })
        .await;
        ask_often(&tcp_link(address), 3).await;
    })
    .await;
}

#[tokio::test]
async fn a_truncated_reply_without_the_cookie_goes_over_tcp_and_says_nothing() {
    local(async {
        let mut asked = 0;
        let server = server(
            |query| speaks(query, 2),
            move |query| {
                asked += 1;
                vec![if asked == 1 { speaks(query, 1) } else { reply(query, 0x0200, 0) }]
            },
        )
        .await;
        let link = link(server);
        ask_often(&link, 10).await;
        let tally = link.upstream().tally();
        assert_eq!((tally.tcp_queries, tally.other_cookie), (9, 0));
        assert_eq!(cookies(&link), Cookies::Yes);
    })
    .await;
}

#[tokio::test]
async fn a_server_that_folds_case_and_speaks_cookies_is_known_for_both() {
    local(async {
        let folds = |query: &[u8]| {
            let mut said = speaks(query, 1);
            said[12..question_end(query)].make_ascii_lowercase();
            said
        };
        let link = link(server(folds, move |query| vec![folds(query)]).await);
        ask_often(&link, 20).await;
        let tally = link.upstream().tally();
        // A case that happens to be lower shows nothing.
        assert!((1..=3).contains(&tally.other_case), "{}", tally.other_case);
        assert_eq!((tally.other_cookie, cookies(&link)), (0, Cookies::Yes));
    })
    .await;
}
