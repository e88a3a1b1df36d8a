//! Servers that speak cookies, that speak none, that break them, and forgers.

use super::*;
use crate::upstream::Cookies;
use crate::wire::{Header, cookie_of};

mod refusals;

/// The server cookie of servers that have one.
const SERVER: &[u8] = b"16 octets of it.";
/// FORMERR and BADCOOKIE as the low bits of the header have them.
const FORMERR: u16 = 1;
const BADCOOKIE: u16 = 7;

/// The data of the COOKIE option of `query`.
fn cookie(query: &[u8]) -> Option<&[u8]> {
    cookie_of(query, &Header::read(query).unwrap(), question_end(query))
}

fn client(query: &[u8]) -> Option<&[u8]> {
    cookie(query).map(|cookie| &cookie[..8])
}

/// A COOKIE option with such data.
fn option(data: &[u8]) -> Vec<u8> {
    [&[0, 10], &u16::try_from(data.len()).unwrap().to_be_bytes(), data].concat()
}

/// `reply` with an OPT record that has such options; `rcode`: the upper bits of the rcode.
fn with_opt(mut reply: Vec<u8>, rcode: u8, options: &[u8]) -> Vec<u8> {
    reply[11] = 1;
    reply.extend_from_slice(&[0, 0, 41, 4, 208, rcode, 0, 0, 0]);
    reply.extend_from_slice(&u16::try_from(options.len()).unwrap().to_be_bytes());
    reply.extend_from_slice(options);
    reply
}

/// The reply of a server that speaks cookies and has this one.
fn speaks_with(query: &[u8], answers: u16, server: &[u8]) -> Vec<u8> {
    let cookie = client(query).map(|client| option(&[client, server].concat()));
    with_opt(reply(query, 0, answers), 0, &cookie.unwrap_or_default())
}

fn speaks(query: &[u8], answers: u16) -> Vec<u8> {
    speaks_with(query, answers, SERVER)
}

/// A reply with an OPT record and without a cookie.
fn is_dumb(query: &[u8], answers: u16) -> Vec<u8> {
    with_opt(reply(query, 0, answers), 0, &[])
}

/// BADCOOKIE, with the cookie that the server wants.
fn bad_cookie(query: &[u8], server: &[u8]) -> Vec<u8> {
    let cookie = client(query).map(|client| option(&[client, server].concat()));
    with_opt(reply(query, BADCOOKIE, 0), 1, &cookie.unwrap_or_default())
}

/// A server over TCP and UDP: what it says on each.
async fn server(
    mut over_tcp: impl FnMut(&[u8]) -> Vec<u8> + 'static,
    mut over_udp: impl FnMut(&[u8]) -> Vec<Vec<u8>> + 'static,
) -> SocketAddr {
    let (listener, socket) = tcp_and_udp().await;
    let address = listener.local_addr().unwrap();
    spawn_local(async move {
        let mut buffer = [0; 512];
        loop {
            let (octets, peer) = socket.recv_from(&mut buffer).await.unwrap();
            for datagram in over_udp(&buffer[..octets]) {
                socket.send_to(&datagram, peer).await.unwrap();
            }
        }
    });
    spawn_local(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            while let Ok(query) = read_query(&mut stream).await {
                write_reply(&mut stream, &over_tcp(&query)).await.unwrap();
            }
        }
    });
    address
}

fn cookies(link: &Link) -> Cookies {
    link.upstream().report().cookies
}

/// Asks so often that what a server does with cookies is known, and wants an answer each time.
async fn ask_often(link: &Link, often: usize) {
    for number in 0..often {
        let outcome = link.ask(&question()).await;
        let answer = outcome.unwrap_or_else(|error| panic!("{number}: {error}"));
        assert_eq!(answer.rcode(), Rcode::NOERROR, "{number}");
        assert!(answer.borrowed().has_opt(), "{number}: EDNS is kept");
    }
}

/// A server's ways that a test changes, and what it has seen.
type Shared<T> = Rc<RefCell<T>>;

#[tokio::test]
async fn a_server_gets_its_cookie_back_and_answers_keep_none() {
    local(async {
        let seen: Shared<Vec<Vec<u8>>> = Rc::default();
        let into = Rc::clone(&seen);
        let server = udp_server(move |query| {
            let mut seen = into.borrow_mut();
            seen.push(cookie(query).expect("a cookie").to_vec());
            // A new one each time.
            vec![speaks_with(query, 1, &[u8::try_from(seen.len()).unwrap(); 32])]
        })
        .await;
        let link = link(server);
        for _ in 0..20 {
            let answer = link.ask(&question()).await.unwrap();
            let ours = seen.borrow()[0][..8].to_vec();
            assert!(!answer.octets().windows(8).any(|octets| octets == ours));
            assert!(!answer.octets().windows(4).any(|octets| octets == [0, 10, 0, 40]));
            assert_eq!(answer.ede_options(), b"");
        }
        let seen = seen.borrow();
        assert_eq!(seen[0].len(), 8, "only ours at first");
        for (number, cookie) in seen.iter().enumerate().skip(1) {
            assert_eq!(cookie[..8], seen[0][..8]);
            assert_eq!(cookie[8..], [u8::try_from(number).unwrap(); 32]);
        }
        let tally = link.upstream().tally();
        assert_eq!((tally.queries, tally.mismatches, tally.other_cookie), (20, 0, 0));
        assert_eq!(cookies(&link), Cookies::Yes);
    })
    .await;
}

#[tokio::test]
async fn another_link_and_another_server_get_another_client_cookie() {
    local(async {
        let seen: Shared<Vec<Vec<u8>>> = Rc::default();
        let mut servers = Vec::new();
        for _ in 0..2 {
            let into = Rc::clone(&seen);
            let server = udp_server(move |query| {
                into.borrow_mut().push(cookie(query).expect("a cookie").to_vec());
                vec![speaks(query, 1)]
            });
            servers.push(server.await);
        }
        // The next epoch of a server has a link of its own: see `forward::Forwarder`.
        for server in servers {
            let upstream = Arc::new(Upstream::new(UpstreamServer::plain(server)));
            for _ in 0..2 {
                let link = Link::new(Arc::clone(&upstream), Link::receive_buffer());
                link.ask(&question()).await.unwrap();
            }
        }
        let seen = &mut *seen.borrow_mut();
        assert!(seen.iter().all(|cookie| cookie.len() == 8), "no server cookie goes along");
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 4);
    })
    .await;
}

#[tokio::test]
async fn a_server_without_cookies_costs_nothing_more() {
    local(async {
        let server = server(|_| unreachable!(), |query| vec![is_dumb(query, 1)]).await;
        let link = link(server);
        ask_often(&link, 50).await;
        let tally = link.upstream().tally();
        assert_eq!((tally.queries, tally.replies, tally.mismatches), (50, 50, 0));
        assert_eq!(cookies(&link), Cookies::No);
    })
    .await;
}

#[tokio::test]
async fn an_echo_of_the_option_proves_nothing() {
    local(async {
        let is_echo = Rc::new(RefCell::new(true));
        let echoes = Rc::clone(&is_echo);
        let server = udp_server(move |query| {
            let cookie = cookie(query).expect("a cookie");
            assert_eq!(cookie.len(), 8);
            let options = if *echoes.borrow() { option(cookie) } else { Vec::new() };
            vec![with_opt(reply(query, 0, 1), 0, &options)]
        })
        .await;
        let link = link(server);
        ask_often(&link, 5).await;
        is_echo.replace(false);
        ask_often(&link, 5).await;
        let tally = link.upstream().tally();
        assert_eq!((tally.queries, tally.other_cookie, tally.mismatches), (10, 0, 0));
        assert_eq!(cookies(&link), Cookies::No);
    })
    .await;
}

/// Replies of a forger who knows id, port, name and letters of a query, but not its cookie.
fn forged(query: &[u8]) -> Vec<Vec<u8>> {
    let ours = client(query).unwrap_or(&[0; 8]);
    let mut other = ours.to_vec();
    other[7] ^= 1;
    let with = |data: &[u8]| with_opt(reply(query, 0, 3), 0, &option(data));
    vec![
        reply(query, 0, 3),
        is_dumb(query, 3),
        with(&other),
        with(&[&other, SERVER].concat()),
        with(&[]),
        with(&ours[..7]),
        with(&[ours, &SERVER[..7]].concat()),
        with(&[ours, &[7; 33]].concat()),
        with_opt(reply(query, 0, 3), 0, &[option(&other), option(ours)].concat()),
        // Errors that would have us ask with less, over TCP, or not at all.
        reply(query, FORMERR, 0),
        with_opt(reply(query, FORMERR, 0), 0, &[]),
        [&query[..2], &[0x81, 0x81], &[0; 8]].concat(),
        with_opt(reply(query, BADCOOKIE, 0), 1, &option(&[&other, SERVER].concat())),
        with_opt(reply(query, BADCOOKIE, 0), 1, &[]),
        reply(query, 5, 0),
        reply(query, 3, 0),
    ]
}

fn kinds() -> usize {
    let mut query = Vec::new();
    super::super::query::write_in(&mut query, 1, &question(), Some(&[]), None);
    forged(&query).len()
}

#[tokio::test]
async fn forged_replies_without_the_cookie_are_neither_taken_nor_believed() {
    for kind in 0..kinds() {
        local(async move {
            let mut is_first = true;
            let server = server(
                |query| speaks(query, 1),
                move |query| {
                    let genuine = speaks(query, 1);
                    if std::mem::take(&mut is_first) {
                        return vec![genuine];
                    }
                    assert!(cookie(query).is_some_and(|cookie| cookie.len() == 24), "{kind}");
                    vec![forged(query).remove(kind), genuine]
                },
            )
            .await;
            let link = link(server);
            for number in 0..20 {
                let answer = link.ask(&question()).await;
                let answer = answer.unwrap_or_else(|error| panic!("{kind}, {number}: {error}"));
                assert_eq!(answer.borrowed().header().answers, 1, "{kind}, {number}");
            }
            let tally = link.upstream().tally();
            assert_eq!((tally.other_cookie, tally.without_edns), (19, 0), "{kind}");
            assert_eq!(cookies(&link), Cookies::Yes, "{kind}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_forged_flood_without_the_cookie_is_waited_out_or_goes_over_tcp() {
    local(async {
        let mut is_first = true;
        let server = server(
            |query| speaks(query, 1),
            move |query| match std::mem::take(&mut is_first) {
                true => vec![speaks(query, 1)],
                false => vec![is_dumb(query, 3); 9],
            },
        )
        .await;
        let link = link(server);
        for number in 0..4 {
            let answer = link.ask(&question()).await.unwrap();
            assert_eq!(answer.borrowed().header().answers, 1, "{number}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_server_that_stops_speaking_cookies_is_known_after_one_query() {
    local(async {
        let has_stopped = Rc::new(RefCell::new(false));
        let stopped = [Rc::clone(&has_stopped), Rc::clone(&has_stopped)];
        let [over_tcp, over_udp] = stopped.map(|stopped| {
            move |query: &[u8]| match *stopped.borrow() {
                true => is_dumb(query, 1),
                false => speaks(query, 1),
            }
        });
        let server = server(over_tcp, move |query| vec![over_udp(query)]).await;
        let link = link(server);
        ask_often(&link, 5).await;
        assert_eq!((link.upstream().tally().queries, cookies(&link)), (5, Cookies::Yes));
        has_stopped.replace(true);
        ask_often(&link, 20).await;
        let tally = link.upstream().tally();
        assert_eq!((tally.other_cookie, tally.tcp_queries, tally.queries), (1, 1, 26));
        assert_eq!(cookies(&link), Cookies::Off);
        assert!(!link.upstream().is_in_doubt());
    })
    .await;
}

#[tokio::test]
async fn a_server_that_stops_and_has_no_tcp_loses_no_query() {
    local(async {
        let (mut asked, without) = (0, Rc::new(RefCell::new(0)));
        let counted = Rc::clone(&without);
        let server = udp_server(move |query| {
            asked += 1;
            *counted.borrow_mut() += usize::from(cookie(query).is_none());
            vec![if asked <= 5 { speaks(query, 1) } else { is_dumb(query, 1) }]
        })
        .await;
        let link = link(server);
        ask_often(&link, 50).await;
        let tally = link.upstream().tally();
        assert_eq!((tally.other_cookie, tally.replies, tally.unreachable), (4, 50, 0));
        assert_eq!(*without.borrow(), 45, "one each to four queries, and then all");
        assert_eq!(cookies(&link), Cookies::Off);
    })
    .await;
}

#[tokio::test]
async fn a_box_that_strips_the_option_of_datagrams_is_known_after_four_queries() {
    local(async {
        let mut asked = 0;
        let server = server(
            |query| speaks(query, 1),
            move |query| {
                asked += 1;
                vec![if asked <= 5 { speaks(query, 1) } else { is_dumb(query, 1) }]
            },
        )
        .await;
        let link = link(server);
        ask_often(&link, 50).await;
        let tally = link.upstream().tally();
        assert_eq!((tally.other_cookie, tally.tcp_queries), (4, 4));
        assert_eq!(cookies(&link), Cookies::Off);
    })
    .await;
}

#[tokio::test]
async fn servers_of_one_address_that_speak_and_do_not_lose_no_query() {
    // By turns over UDP; TCP meets one of either kind.
    for tcp_speaks in [false, true] {
        local(async move {
            let mut asked = 0;
            let server = server(
                move |query| if tcp_speaks { speaks(query, 1) } else { is_dumb(query, 1) },
                move |query| {
                    asked += 1;
                    vec![if asked % 2 == 1 { speaks(query, 1) } else { is_dumb(query, 1) }]
                },
            )
            .await;
            let link = link(server);
            ask_often(&link, 50).await;
            let tally = link.upstream().tally();
            assert_eq!(tally.replies, 50);
            match tcp_speaks {
                false => assert_eq!((tally.other_cookie, tally.tcp_queries), (1, 1)),
                true => assert_eq!(tally.other_cookie, tally.tcp_queries),
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_cache_that_gives_other_clients_cookies_loses_no_query() {
    // Before any cookie is proven, as routers and balancers do that cache the option.
    let cached = |query: &[u8]| with_opt(reply(query, 0, 1), 0, &option(b"someone'sserver's"));
    for has_tcp in [true, false] {
        local(async move {
            let server = match has_tcp {
                true => server(cached, move |query| vec![cached(query)]).await,
                false => udp_server(move |query| vec![cached(query)]).await,
            };
            let link = link(server);
            ask_often(&link, 50).await;
            let tally = link.upstream().tally();
            let troubles = if has_tcp { 1 } else { 4 };
            assert_eq!((tally.other_cookie, tally.replies), (troubles, 50));
            assert_eq!(cookies(&link), Cookies::Off);
        })
        .await;
    }
}

#[tokio::test]
async fn cookies_of_a_wrong_length_lose_no_query() {
    let octets = (0..8).chain(9..16).chain([41, 500]);
    for octets in octets {
        local(async move {
            let odd = move |query: &[u8]| {
                let mut data = client(query).unwrap_or(&[0; 8]).to_vec();
                data.resize(octets, 7);
                with_opt(reply(query, 0, 1), 0, &option(&data))
            };
            let link = link(server(odd, move |query| vec![odd(query)]).await);
            ask_often(&link, 5).await;
            let tally = link.upstream().tally();
            assert_eq!((tally.other_cookie, tally.tcp_queries), (1, 1), "{octets}");
            assert_eq!(cookies(&link), Cookies::Off);
        })
        .await;
    }
}
