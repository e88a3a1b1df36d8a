//! What codes, ends and octets of streams do to a query over QUIC (RFC 9250 §4.3), and what the
//! codes do that end connections.

use super::quic::{Act, Asked, Opening, Pair, framed};
use super::*;

/// Codes of RFC 9250 §4.3, with their names.
const CODES: [(u64, &str); 8] = [
    (0, "DOQ_NO_ERROR"),
    (1, "DOQ_INTERNAL_ERROR"),
    (2, "DOQ_PROTOCOL_ERROR"),
    (3, "DOQ_REQUEST_CANCELLED"),
    (BUSY, "DOQ_EXCESSIVE_LOAD"),
    (5, "DOQ_UNSPECIFIED_ERROR"),
    (0xd098_ea5e, "DOQ_ERROR_RESERVED"),
    (0x1234, "an unknown code"),
];
const BUSY: u64 = 4;
const REQUEST_CANCELLED: u64 = 3;

impl Pair {
    fn doq(behaviour: impl Fn(&Asked) -> Act + 'static) -> Self {
        Self::start(Scheme::Quic, Opening::default(), behaviour)
    }

    /// Whose server does these acts, one for each query, and then answers.
    fn acting(acts: Vec<Act>) -> Self {
        Self::doq(move |asked| acts.get(asked.number).cloned().unwrap_or(Act::Answer))
    }

    /// Asks once for each of these codes, which end the stream.
    async fn fails_with(&self, codes: &[(u64, &str)], words: &str) {
        for &(code, name) in codes {
            let failed = TryError::ServerFailed(Breakdown::Reset);
            let expected = if code == BUSY { TryError::ServerBusy } else { failed };
            let words = format!("{words}: {name} ({code:#x})");
            assert_eq!(self.failure().await, (expected, words));
        }
    }
}

#[tokio::test]
async fn codes_that_end_a_stream_fail_its_query_at_once_and_not_the_connection() {
    local(async {
        let pair = Pair::acting(CODES.map(|(code, _)| Act::Reset(code)).to_vec());
        pair.fails_with(&CODES, "the server reset the query's stream").await;
        assert_eq!(pair.ask().await, Ok(()));
        assert_eq!((pair.dials(), pair.server.connections()), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn a_server_that_reads_no_query_fails_it_at_once_and_not_the_connection() {
    local(async {
        let codes = &CODES[1..];
        let stops = codes.iter().map(|(code, _)| *code).collect();
        let pair =
            Pair::start(Scheme::Quic, Opening { stops, ..Opening::default() }, |_| Act::Answer);
        pair.fails_with(codes, "the server stopped the query's stream").await;
        assert_eq!(pair.ask().await, Ok(()));
        assert_eq!((pair.dials(), pair.server.connections()), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn codes_that_end_a_connection_are_said_and_the_next_query_dials() {
    for (code, name) in CODES {
        local(async {
            let pair = Pair::acting(vec![Act::Answer, Act::Close(code, "so it is")]);
            assert_eq!(pair.ask().await, Ok(()));
            // The connection has brought a reply, so its end is not the end of the query, unless
            // the server has too much to do.
            let outcome = pair.ask().await;
            let words = format!("the server closed the connection: {name} ({code:#x}), so it is");
            match code {
                BUSY => assert_eq!(outcome, Err(TryError::ServerBusy)),
                _ => assert_eq!(outcome, Ok(()), "{name}"),
            }
            match code {
                // A clean end is no failure.
                0 => assert_eq!(reason(&pair.link), ""),
                _ => assert_eq!(reason(&pair.link), words),
            }
            assert_eq!(pair.ask().await, Ok(()));
            // The end may be a limit of one query for each connection.
            assert!((2..=3).contains(&pair.dials()), "{name}: {} dials", pair.dials());
        })
        .await;
    }
}

#[tokio::test]
async fn a_server_that_closes_each_connection_fails_and_is_not_dialled_for_each_query() {
    for (code, name) in CODES {
        local(async {
            let pair = Pair::doq(move |_| Act::Close(code, ""));
            let expected = match code {
                0 => TryError::Unprocessed,
                BUSY => TryError::ServerBusy,
                _ => TryError::Unreachable(io::ErrorKind::ConnectionReset),
            };
            for _ in 0..50 {
                assert_eq!(pair.ask().await, Err(expected), "{name}");
            }
            let dials = pair.dials();
            assert!(dials <= 25, "{name}: {dials} dials");
            assert!(pair.link.upstream().is_busy() == (code == BUSY));
        })
        .await;
    }
}

/// A reply with the question of `query`, as the stream carries it.
fn reply(query: &[u8]) -> Vec<u8> {
    framed(&server::reply(query, &[[192, 0, 2, 1]]))
}

#[tokio::test]
async fn streams_that_hold_no_message_or_a_part_of_one_fail_their_query_alone() {
    local(async {
        let pair = Pair::doq(|asked| {
            let whole = reply(&asked.query);
            match asked.number {
                0 => Act::Send(Vec::new()),
                1 => Act::Send(vec![vec![0]]),
                2 => Act::Send(vec![vec![0, 0]]),
                3 => Act::Send(vec![whole[..2].to_vec()]),
                4 => Act::Send(vec![whole[..whole.len() - 1].to_vec()]),
                5 => Act::Send(vec![framed(&[0])]),
                6 => Act::Send(vec![framed(&[&[0, 7], &whole[4..]].concat())]),
                _ => Act::Answer,
            }
        });
        let [without, within] = [
            "the server ended the stream without a reply",
            "the server ended the stream within a reply",
        ];
        let short = "the reply is shorter than a DNS header";
        let other = "the reply's id is 7, not 0 (RFC 9250 §4.2.1)";
        for words in [without, within, short, within, within, short, other] {
            assert_eq!(pair.failure().await, (TryError::Garbled, words.to_owned()));
        }
        assert_eq!(pair.ask().await, Ok(()));
        assert_eq!(pair.dials(), 1);
    })
    .await;
}

#[tokio::test]
async fn the_first_message_of_a_stream_counts_as_long_as_it_says() {
    local(async {
        let pair = Pair::doq(|asked| {
            let whole = reply(&asked.query);
            let other = framed(&server::reply(&asked.query, &[[192, 0, 2, 1], [192, 0, 2, 2]]));
            match asked.number {
                // Two messages, together and one after the other.
                0 => Act::Send(vec![[whole, other].concat()]),
                1 => Act::Send(vec![whole, other]),
                // More octets than the length says.
                2 => Act::Send(vec![[&whole[..], b"more"].concat()]),
                // A stream that stays open behind its reply.
                3 => Act::SendOn(vec![whole]),
                // A length that is too short for the message.
                4 => Act::Send(vec![[&[0, 40], &whole[2..]].concat()]),
                _ => Act::Answer,
            }
        });
        for number in 0..4 {
            assert_eq!(pair.ask().await, Ok(()), "{number}: {}", reason(&pair.link));
        }
        let (error, _) = pair.failure().await;
        assert_eq!(error, TryError::Unusable(privatelinkd::upstream::Flaw::Malformed));
        assert_eq!(pair.ask().await, Ok(()));
        assert_eq!(pair.dials(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_server_that_never_stops_sending_is_stopped() {
    local(async {
        let pair = Pair::doq(|asked| match asked.number {
            0 => Act::Repeat(Vec::new(), vec![0xff; 1_000]),
            _ => Act::Answer,
        });
        let (error, words) = pair.failure().await;
        assert_eq!(error, TryError::Garbled);
        assert_eq!(words, "the reply's id is 65535, not 0 (RFC 9250 §4.2.1)");
        // What the stream's window holds, and what lay in the server's own buffers.
        assert!(pair.server.octets() < 1 << 20, "{} octets", pair.server.octets());
        assert_eq!(pair.ask().await, Ok(()));
        assert_eq!(pair.dials(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_query_that_is_given_up_is_cancelled() {
    local(async {
        let pair = Pair::doq(|asked| match asked.number {
            0 => Act::Answer,
            1 => Act::Ignore,
            // A length, and then nothing.
            2 => Act::SendOn(vec![vec![1, 0, 9]]),
            _ => Act::Answer,
        });
        assert_eq!(pair.ask().await, Ok(()));
        for _ in 0..2 {
            let silence = timeout(Duration::from_millis(50), pair.ask()).await;
            assert!(silence.is_err(), "{silence:?}");
        }
        while pair.server.stops().len() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(pair.server.stops(), [REQUEST_CANCELLED; 2]);
        assert_eq!(pair.ask().await, Ok(()), "{}", reason(&pair.link));
    })
    .await;
}
