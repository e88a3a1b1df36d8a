//! What statuses, headers and bodies of HTTP do to a query, and what ends of streams and
//! connections do.

use super::web::{Act, Asked, Web};
use super::*;

const HTTP: [Scheme; 2] = [Scheme::Https, Scheme::H3];
const DNS_MESSAGE: &str = "application/dns-message";

/// A server and a link to it.
struct Pair {
    web: Web,
    link: Rc<Link>,
    _authority: Authority,
}

impl Pair {
    async fn new(scheme: Scheme, behaviour: impl Fn(&Asked) -> Act + 'static) -> Self {
        Self::limited(scheme, h2::server::Builder::new(), behaviour).await
    }

    async fn limited(
        scheme: Scheme,
        builder: h2::server::Builder,
        behaviour: impl Fn(&Asked) -> Act + 'static,
    ) -> Self {
        let authority = Authority::new();
        let identity = authority.sign(&["127.0.0.1"]);
        let web = Web::start(scheme, &identity, builder, behaviour).await;
        let link = Rc::new(link(upstream(scheme, web.address, trusting(&authority))));
        Self { web, link, _authority: authority }
    }

    /// What comes of one query.
    async fn ask(&self) -> Result<(), TryError> {
        asked(&self.link).await
    }

    async fn failure(&self) -> (TryError, String) {
        let error = self.ask().await.expect_err("a failure");
        (error, reason(&self.link))
    }
}

#[tokio::test]
async fn statuses_have_words_of_their_own_and_do_not_end_the_connection() {
    for scheme in HTTP {
        local(async {
            let codes = [429, 503, 403, 404, 302, 500, 204];
            let pair = Pair::new(scheme, move |asked| match codes.get(asked.number) {
                Some(302) => {
                    let place = "https://other.example/dns-query".to_owned();
                    Act::Respond(302, vec![("location", place)], b"<html>".to_vec())
                }
                Some(code) => Act::Respond(*code, Vec::new(), b"<html>".to_vec()),
                None => Act::answer(asked),
            })
            .await;
            let path = format!("HTTP 404 Not Found for path {PATH}");
            let redirect = "HTTP 302 Found to other.example; redirects are not followed";
            for (error, words) in [
                (TryError::ServerBusy, "HTTP 429 Too Many Requests"),
                (TryError::ServerBusy, "HTTP 503 Service Unavailable"),
                (TryError::Declined(403), "HTTP 403 Forbidden"),
                (TryError::Declined(404), &path),
                (TryError::Declined(302), redirect),
                (TryError::ServerFailed(Breakdown::Status(500)), "HTTP 500 Internal Server Error"),
                (TryError::Garbled, "HTTP 204 No Content and no DNS message"),
            ] {
                assert_eq!(pair.failure().await, (error, words.to_owned()), "{scheme:?}");
            }
            assert_eq!(pair.ask().await, Ok(()));
            let tally = pair.link.upstream().tally();
            assert_eq!((tally.tcp_dials, tally.queries), (1, 8), "{scheme:?}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_busy_server_counts_as_busy_until_it_answers_or_its_time_is_over() {
    for scheme in HTTP {
        local(async {
            let pair = Pair::new(scheme, |asked| match asked.number {
                0 => Act::Respond(429, vec![("retry-after", "86400".to_owned())], Vec::new()),
                _ => Act::answer(asked),
            })
            .await;
            let (error, words) = pair.failure().await;
            assert_eq!(error, TryError::ServerBusy);
            assert_eq!(words, "HTTP 429 Too Many Requests, try again after 60 s");
            let upstream = pair.link.upstream();
            assert!(upstream.is_busy() && !upstream.is_down());
            let seconds = upstream.report().busy_seconds;
            assert!((1..=60).contains(&seconds), "{seconds}");
            // The clock of busy servers counts in milliseconds.
            tokio::time::sleep(Duration::from_millis(5)).await;
            let begun = Instant::now();
            let answer = pair.link.ask(&question()).await.unwrap();
            upstream.note_answer(answer.rcode(), begun, Instant::now());
            assert!(!upstream.is_busy());
        })
        .await;
    }
}

#[tokio::test]
async fn the_age_of_a_reply_counts_against_its_ttls() {
    for scheme in HTTP {
        local(async {
            let ages = ["0", "25", "60", "61", "99999999999999999999", "-1", "old"];
            let pair = Pair::new(scheme, move |asked| {
                Act::answer_with(
                    asked,
                    &[("age", ages[asked.number]), ("cache-control", "no-store")],
                )
            })
            .await;
            // The record's own TTL is 60 s.
            for left in [60, 35, 0, 0, 0, 60, 60] {
                let answer = pair.link.ask(&question()).await.unwrap();
                assert_eq!(answer.borrowed().min_ttl(), Some(left), "{scheme:?}");
            }
        })
        .await;
    }
}

#[tokio::test]
async fn bodies_that_are_no_dns_messages_are_said() {
    for scheme in HTTP {
        local(async {
            let with = |fields: &[(&'static str, &str)], body: Vec<u8>| {
                let field = |(name, value): &(&'static str, &str)| (*name, (*value).to_owned());
                Act::Respond(200, fields.iter().map(field).collect(), body)
            };
            let acts = move |asked: &Asked| {
                let good = server::reply(&asked.query, &[[192, 0, 2, 1]]);
                match asked.number {
                    0 => with(&[("content-type", "text/html; charset=utf-8")], good),
                    1 => with(&[("content-type", DNS_MESSAGE)], Vec::new()),
                    2 => with(&[("content-type", DNS_MESSAGE)], vec![0; 65_536]),
                    3 => with(&[("content-length", "70000")], vec![0; 70_000]),
                    4 => with(&[("content-type", "Application/DNS-Message; charset=utf-8")], good),
                    _ => with(&[], good),
                }
            };
            let pair = Pair::new(scheme, acts).await;
            for words in [
                "the reply's content type is \"text/html; charset=utf-8\", not \
                 application/dns-message",
                "the reply's body is empty",
                "the reply is larger than 65535 octets",
                "the reply is larger than 65535 octets: 70000 octets",
            ] {
                let (error, said) = pair.failure().await;
                assert_eq!(error, TryError::Garbled);
                assert!(said.starts_with(words), "{scheme:?}: {said}");
            }
            for _ in 0..2 {
                assert_eq!(pair.ask().await, Ok(()), "{scheme:?}: {}", reason(&pair.link));
            }
            assert_eq!(pair.link.upstream().tally().tcp_dials, 1, "{scheme:?}");
        })
        .await;
    }
}

#[tokio::test]
async fn the_largest_reply_passes() {
    for scheme in HTTP {
        local(async {
            // Records of 16 octets behind 29 of header and question, and padding in an option.
            let pair = Pair::new(scheme, |asked| {
                let addresses: Vec<_> = (0..4_000_u16)
                    .map(|number| {
                        let [high, low] = number.to_be_bytes();
                        [192, 0, high, low]
                    })
                    .collect();
                let reply = server::reply(&asked.query, &addresses);
                Act::Respond(200, vec![("content-type", DNS_MESSAGE.to_owned())], reply)
            })
            .await;
            for _ in 0..5 {
                let answer = pair.link.ask(&question()).await.unwrap();
                assert_eq!(answer.borrowed().header().answers, 4_000, "{scheme:?}");
            }
        })
        .await;
    }
}

#[tokio::test]
async fn requests_name_the_server_with_its_port_and_path() {
    for scheme in HTTP {
        local(async {
            let pair = Pair::new(scheme, Act::answer).await;
            assert_eq!(pair.ask().await, Ok(()));
            let port = pair.web.address.port();
            assert_eq!(pair.web.urls(), [format!("https://127.0.0.1:{port}{PATH}")], "{scheme:?}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_server_that_leaves_after_each_seven_replies_loses_no_query() {
    for scheme in HTTP {
        local(async {
            let pair = Pair::new(scheme, |asked| match (Act::answer(asked), asked.of_connection) {
                (Act::Respond(status, headers, body), 6) => {
                    Act::RespondAndLeave(status, headers, body)
                }
                (act, _) => act,
            })
            .await;
            for number in 0..70 {
                let outcome = pair.ask().await;
                assert_eq!(outcome, Ok(()), "{scheme:?}, {number}: {}", reason(&pair.link));
            }
            let dials = pair.link.upstream().tally().tcp_dials;
            // Ten connections carry 70 queries; what replaces one may be dialled twice.
            assert!((5..=35).contains(&dials), "{scheme:?}: {dials} dials");
            assert_eq!(reason(&pair.link), "", "nothing went wrong");
        })
        .await;
    }
}

#[tokio::test]
async fn a_query_that_the_server_refuses_to_begin_is_sent_again() {
    for scheme in HTTP {
        local(async {
            let pair = Pair::new(scheme, |asked| match asked.number % 4 {
                3 => Act::Refuse,
                _ => Act::answer(asked),
            })
            .await;
            for number in 0..40 {
                let outcome = pair.ask().await;
                assert_eq!(outcome, Ok(()), "{scheme:?}, {number}: {}", reason(&pair.link));
            }
            assert!(pair.web.requests() > 40, "{scheme:?}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_server_that_refuses_to_begin_with_any_query_fails_and_is_not_dialled_for_each() {
    for scheme in HTTP {
        local(async {
            let pair = Pair::new(scheme, |_| Act::Refuse).await;
            for _ in 0..50 {
                assert_eq!(pair.ask().await, Err(TryError::Unprocessed), "{scheme:?}");
            }
            let dials = pair.link.upstream().tally().tcp_dials;
            assert!(dials <= 25, "{scheme:?}: {dials} dials");
        })
        .await;
    }
}

#[tokio::test]
async fn queries_wait_for_a_server_that_takes_them_one_by_one() {
    local(async {
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(1);
        let pair = Pair::limited(Scheme::Https, builder, Act::answer).await;
        assert_eq!(pair.ask().await, Ok(()));
        let asks = (0..50).map(|_| {
            let link = Rc::clone(&pair.link);
            spawn_local(async move { asked(&link).await })
        });
        for ask in asks.collect::<Vec<_>>() {
            assert_eq!(ask.await.unwrap(), Ok(()), "{}", reason(&pair.link));
        }
        assert_eq!(pair.web.requests(), 51);
    })
    .await;
}

#[tokio::test]
async fn queries_before_a_server_has_named_its_limit_teach_no_other() {
    for (limit, begin) in [(100, 200), (10, 50)] {
        local(async {
            let mut builder = h2::server::Builder::new();
            builder.max_concurrent_streams(limit);
            let pair = Pair::limited(Scheme::Https, builder, Act::answer).await;
            let asks = (0..begin).map(|_| {
                let link = Rc::clone(&pair.link);
                spawn_local(async move { asked(&link).await })
            });
            for ask in asks.collect::<Vec<_>>() {
                assert_eq!(ask.await.unwrap(), Ok(()), "{limit}: {}", reason(&pair.link));
            }
            let dials = || pair.link.upstream().tally().tcp_dials;
            let first = dials();
            assert!(limit < 100 || first == 1, "{limit}: {first} dials");
            for _ in 0..50 {
                assert_eq!(pair.ask().await, Ok(()), "{limit}: {}", reason(&pair.link));
            }
            assert!(dials() <= first + 1, "{limit}: {first}, then {} dials", dials());
        })
        .await;
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_with_the_query() {
    for scheme in HTTP {
        local(async {
            let pair = Pair::new(scheme, |asked| match asked.number {
                0 => Act::answer(asked),
                _ => Act::Ignore,
            })
            .await;
            assert_eq!(pair.ask().await, Ok(()));
            let silence = timeout(Duration::from_millis(300), pair.ask()).await;
            assert!(silence.is_err(), "{scheme:?}: {silence:?}");
        })
        .await;
    }
}
