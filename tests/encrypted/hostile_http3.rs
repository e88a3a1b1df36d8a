//! HTTP/3 servers that break its rules, written octet by octet (RFC 9114).

use super::quic::http3::{
    CANCEL_PUSH, CONTROL_STREAM, DATA, ENCODER_STREAM, GOAWAY, GREASE, H2_PING, HEADERS,
    MAX_PUSH_ID, PUSH_PROMISE, PUSH_STREAM, SETTINGS, UNKNOWN, control, frame, head, number,
    promise, section,
};
use super::quic::{Act, Asked, Opening, Pair};
use super::*;

/// Codes of RFC 9114 §8.1.
const INTERNAL_ERROR: u64 = 0x102;
const FRAME_UNEXPECTED: u64 = 0x105;
const EXCESSIVE_LOAD: u64 = 0x107;
const ID_ERROR: u64 = 0x108;
const MISSING_SETTINGS: u64 = 0x10a;
const REQUEST_REJECTED: u64 = 0x10b;
const REQUEST_CANCELLED: u64 = 0x10c;

/// More octets than a server may send for one query, buffers on the way included.
const MOST_OCTETS: usize = 2 << 20;

/// What a server sends on the stream of a query.
type Response = fn(&Asked) -> Vec<u8>;

impl Pair {
    /// Whose server has nothing to say of itself.
    fn http3(behaviour: impl Fn(&Asked) -> Act + 'static) -> Self {
        Self::with_streams(vec![control()], behaviour)
    }

    /// Whose server opens these streams first.
    fn with_streams(streams: Vec<Vec<u8>>, behaviour: impl Fn(&Asked) -> Act + 'static) -> Self {
        Self::start(Scheme::H3, Opening { streams, ..Opening::default() }, behaviour)
    }

    /// Whose server does this with the first query, and answers the others.
    fn at_first(act: impl Fn(&Asked) -> Act + 'static) -> Self {
        Self::http3(move |asked| if asked.number == 0 { act(asked) } else { Act::Answer })
    }

    /// Asks until the server answers. After a failure, the backoff delays the next dial.
    async fn recovers(&self) {
        while self.ask().await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn data(query: &[u8]) -> Vec<u8> {
    frame(DATA, &server::reply(query, &[[192, 0, 2, 1]]))
}

#[tokio::test]
async fn frames_and_streams_without_a_meaning_are_ignored() {
    let nothing = || [frame(UNKNOWN, b"what?"), frame(GREASE, &[]), frame(GREASE, &[7; 900])];
    let around = move |asked: &Asked| {
        let nothing = nothing().concat();
        let parts = [&nothing[..], &head(200), &nothing, &data(&asked.query), &nothing];
        Act::Send(match asked.number % 3 {
            0 => vec![parts.concat()],
            1 => parts.iter().map(|part| part.to_vec()).collect(),
            // Each octet of its own, as far as the network leaves it so.
            _ => parts.concat().iter().map(|octet| vec![*octet]).collect(),
        })
    };
    let settings = [number(CONTROL_STREAM), frame(SETTINGS, &[0x21, 0x07, 0x33, 0x00])].concat();
    let quiet = [
        // No control stream, and thus no SETTINGS.
        vec![],
        vec![vec![]],
        vec![number(CONTROL_STREAM)],
        vec![control()],
        vec![[settings, frame(GREASE, b"x"), frame(UNKNOWN, b"y")].concat()],
        // A push that the client forbids, unknown streams, and QPACK instructions for an empty table.
        vec![control(), [number(PUSH_STREAM), number(0), head(200)].concat()],
        vec![control(), number(GREASE), [number(UNKNOWN), vec![9; 1_000]].concat()],
        vec![control(), [number(ENCODER_STREAM), vec![0x3f; 100]].concat()],
    ];
    for streams in quiet {
        local(async {
            let pair = Pair::with_streams(streams.clone(), around);
            for number in 0..6 {
                let words = || format!("{streams:x?}, {number}: {}", reason(&pair.link));
                assert_eq!(pair.ask().await, Ok(()), "{}", words());
            }
            assert_eq!(pair.dials(), 1, "{streams:x?}");
        })
        .await;
    }
}

#[tokio::test]
async fn bodies_come_in_any_number_of_frames_and_before_trailers() {
    local(async {
        let pair = Pair::http3(|asked| {
            let whole = server::reply(&asked.query, &[[192, 0, 2, 1]]);
            let single: Vec<u8> = whole.iter().flat_map(|octet| frame(DATA, &[*octet])).collect();
            let trailers =
                frame(HEADERS, &[&[0, 0][..], &super::quic::http3::literal("x", "y")].concat());
            let empty = frame(DATA, &[]);
            Act::Send(vec![match asked.number {
                0 => [head(200), single].concat(),
                1 => [head(200), data(&asked.query), trailers].concat(),
                2 => [head(103), head(103), head(200), data(&asked.query)].concat(),
                3 => [head(200), data(&asked.query), empty].concat(),
                // RFC 9114 §7.2.1 allows frames without a payload anywhere among the others.
                _ => [head(200), empty.clone(), empty.clone(), data(&asked.query), empty].concat(),
            }])
        });
        for number in 0..5 {
            assert_eq!(pair.ask().await, Ok(()), "{number}: {}", reason(&pair.link));
        }
        assert_eq!(pair.dials(), 1);
    })
    .await;
}

#[tokio::test]
async fn frames_in_a_wrong_place_end_the_connection_with_a_word() {
    let stream = |act: Response| move |asked: &Asked| Act::SendOn(vec![act(asked)]);
    let wrong: [(&str, Response); 8] = [
        ("data first", |asked| [data(&asked.query), head(200)].concat()),
        ("settings", |_| [frame(SETTINGS, &[]), head(200)].concat()),
        ("goaway", |_| [head(200), frame(GOAWAY, &[0])].concat()),
        ("a cancelled push", |_| frame(CANCEL_PUSH, &[0])),
        ("a push id", |_| [head(200), frame(MAX_PUSH_ID, &[0])].concat()),
        ("a promise", |_| frame(PUSH_PROMISE, &[&[0][..], &section(200, &[])].concat())),
        ("a late promise", |_| [head(200), frame(PUSH_PROMISE, &[0, 0, 0, 0xd9])].concat()),
        ("a ping", |_| frame(H2_PING, &[7; 8])),
    ];
    for (what, act) in wrong {
        local(async {
            let pair = Pair::at_first(stream(act));
            let (error, words) = pair.failure().await;
            assert_eq!(error, TryError::Garbled, "{what}");
            assert!(words.contains("H3_FRAME_UNEXPECTED"), "{what}: {words}");
            pair.recovers().await;
            assert_eq!(pair.server.closes(), [FRAME_UNEXPECTED], "{what}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_control_stream_that_breaks_the_rules_ends_the_connection_with_a_word() {
    let after = |frames: &[u8]| [&control(), frames].concat();
    let alone = |frames: &[u8]| [&number(CONTROL_STREAM), frames].concat();
    for (what, streams, code, name) in [
        ("no settings", vec![alone(&frame(GOAWAY, &[0]))], MISSING_SETTINGS, "H3_MISSING_SETTINGS"),
        ("data", vec![after(&data(&[0; 20]))], FRAME_UNEXPECTED, "H3_FRAME_UNEXPECTED"),
        (
            "settings twice",
            vec![after(&frame(SETTINGS, &[]))],
            FRAME_UNEXPECTED,
            "H3_FRAME_UNEXPECTED",
        ),
        ("two of them", vec![control(), control()], 0x103, "H3_STREAM_CREATION_ERROR"),
        ("a setting of HTTP/2", vec![alone(&frame(SETTINGS, &[2, 0]))], 0x109, "H3_SETTINGS_ERROR"),
        (
            "goaway with another's stream",
            vec![after(&frame(GOAWAY, &[3]))],
            ID_ERROR,
            "H3_ID_ERROR",
        ),
        ("a ping", vec![after(&frame(H2_PING, &[7; 8]))], FRAME_UNEXPECTED, "H3_FRAME_UNEXPECTED"),
    ] {
        local(async {
            let pair = Pair::with_streams(streams, |_| Act::Ignore);
            let (error, words) = pair.failure().await;
            assert_eq!(error, TryError::Garbled, "{what}");
            assert!(words.contains(name), "{what}: {words}");
            while pair.server.closes().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(pair.server.closes(), [code], "{what}");
        })
        .await;
    }
}

#[tokio::test]
async fn codes_that_end_a_stream_fail_its_query_alone() {
    local(async {
        let failed = TryError::ServerFailed(Breakdown::Reset);
        let codes = [
            (EXCESSIVE_LOAD, TryError::ServerBusy, "H3_EXCESSIVE_LOAD"),
            (INTERNAL_ERROR, failed, "H3_INTERNAL_ERROR"),
            (REQUEST_CANCELLED, failed, "H3_REQUEST_CANCELLED"),
            (0x1234, failed, "0x1234"),
        ];
        let pair = Pair::http3(move |asked| {
            codes.get(asked.number).map_or(Act::Answer, |(code, ..)| Act::Reset(*code))
        });
        for (_, expected, name) in codes {
            let (error, words) = pair.failure().await;
            assert_eq!(error, expected, "{name}");
            assert!(words.contains(name), "{words}");
        }
        assert_eq!(pair.ask().await, Ok(()));
        assert_eq!(pair.dials(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_rejected_request_is_sent_over_another_connection() {
    local(async {
        let pair = Pair::http3(|asked| match asked.number % 2 {
            1 => Act::Reset(REQUEST_REJECTED),
            _ => Act::Answer,
        });
        for number in 0..10 {
            assert_eq!(pair.ask().await, Ok(()), "{number}: {}", reason(&pair.link));
        }
        assert_eq!(reason(&pair.link), "", "nothing went wrong");
    })
    .await;
}

#[tokio::test]
async fn too_many_fields_fail_their_query_alone() {
    local(async {
        let large = "y".repeat(20_000);
        let many = [("x", "y"); 1_000];
        let pair = Pair::http3(move |asked| {
            let large = frame(HEADERS, &section(200, &[("x", &large)]));
            let many = frame(HEADERS, &section(200, &many));
            match asked.number {
                0 => Act::Send(vec![large]),
                1 => Act::Send(vec![many]),
                // The stream stays open, and all comes at once.
                2 => Act::SendOn(vec![[head(103), large].concat()]),
                3 => Act::SendOn(vec![[head(103), many].concat()]),
                _ => Act::Answer,
            }
        });
        for number in 0..4 {
            let (error, words) = pair.failure().await;
            assert_eq!(error, TryError::Garbled);
            assert!(words.starts_with("Header too big"), "{number}: {words}");
        }
        assert_eq!(pair.ask().await, Ok(()), "{}", reason(&pair.link));
        assert_eq!(pair.dials(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_server_that_sends_for_ever_is_hung_up_on() {
    let too_much = "the server sends far more than any reply needs";
    for (what, first, then, expected) in [
        ("a frame that is ignored", promise(UNKNOWN, 1 << 29), vec![1; 1_000], too_much),
        ("a field section", promise(HEADERS, 1 << 29), vec![1; 1_000], too_much),
        ("a field section behind the head", head(200), promise(HEADERS, 1 << 29), too_much),
        ("unknown frames", Vec::new(), frame(UNKNOWN, b"x"), too_much),
        ("reserved frames without octets", Vec::new(), frame(GREASE, &[]), too_much),
        ("informational responses", Vec::new(), head(103), "HTTP 103 Early Hints"),
        ("trailers", head(200), head(200), "the reply's body is empty"),
        ("data", head(200), frame(DATA, &[b'x'; 100]), "the reply is larger than 65535 octets"),
        ("data without octets", head(200), frame(DATA, &[]), "the reply's body is empty"),
    ] {
        local(async {
            let some = then.repeat(1_024 / then.len() + 1);
            let pair = Pair::at_first(move |_| Act::Repeat(first.clone(), some.clone()));
            let (error, words) = pair.failure().await;
            assert_eq!(error, TryError::Garbled, "{what}");
            assert!(words.contains(expected), "{what}: {words}");
            pair.recovers().await;
            assert!(pair.server.octets() < MOST_OCTETS, "{what}: {}", pair.server.octets());
        })
        .await;
    }
}

#[tokio::test]
async fn a_server_that_opens_stream_after_stream_is_hung_up_on() {
    for flood in [Vec::new(), number(GREASE), [number(PUSH_STREAM), number(0)].concat()] {
        local(async {
            let opening = Opening {
                streams: vec![control()],
                flood: Some(flood.clone()),
                ..Opening::default()
            };
            let pair = Pair::start(Scheme::H3, opening, |_| Act::Ignore);
            let (error, words) = pair.failure().await;
            assert_eq!(error, TryError::Garbled, "{flood:?}");
            assert_eq!(words, "the server sends far more than any reply needs", "{flood:?}");
            // As many as a query allows, if each has 256 octets; and those on the way.
            let streams = pair.server.streams();
            assert!(streams < 1_200, "{flood:?}: {streams} streams");
        })
        .await;
    }
}

#[tokio::test]
async fn bodies_that_are_longer_than_they_say_fail_their_query_alone() {
    local(async {
        let pair = Pair::http3(|asked| {
            let declared = frame(HEADERS, &section(200, &[("content-length", "12")]));
            // The stream stays open, and the client has asked quinn for more of it.
            match asked.number {
                0 => Act::SendOn(vec![[declared, data(&asked.query)].concat()]),
                1 => Act::SendOn(vec![head(404)]),
                2 => Act::Send(vec![[head(200), promise(DATA, 400), vec![0; 20]].concat()]),
                _ => Act::Answer,
            }
        });
        let words = "the reply's Content-Length is 12, and its body is longer";
        assert_eq!(pair.failure().await, (TryError::Garbled, words.to_owned()));
        assert_eq!(pair.failure().await.0, TryError::Declined(404));
        // A frame that is cut ends the connection, which has brought replies: another one is asked.
        assert_eq!(pair.ask().await, Ok(()));
        let words =
            "the server broke the rules of HTTP/3: received incomplete frame (H3_FRAME_ERROR)";
        assert_eq!(reason(&pair.link), words);
        assert_eq!(pair.dials(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_query_that_is_given_up_is_cancelled() {
    local(async {
        let pair = Pair::http3(|asked| match asked.number {
            1 => Act::Ignore,
            2 => Act::SendOn(vec![promise(HEADERS, 60_000)]),
            3 => Act::SendOn(vec![[head(200), promise(DATA, 100), vec![0; 20]].concat()]),
            _ => Act::Answer,
        });
        assert_eq!(pair.ask().await, Ok(()));
        for _ in 0..3 {
            let silence = timeout(Duration::from_millis(50), pair.ask()).await;
            assert!(silence.is_err(), "{silence:?}");
        }
        while pair.server.stops().len() < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(pair.ask().await, Ok(()), "{}", reason(&pair.link));
    })
    .await;
}

#[tokio::test]
async fn a_server_that_says_goaway_gets_no_more_queries_on_that_connection() {
    local(async {
        // Each connection takes the first request alone.
        let leaving = [control(), frame(GOAWAY, &number(4))].concat();
        let pair = Pair::with_streams(vec![leaving], |_| Act::Answer);
        for number in 0..10 {
            assert_eq!(pair.ask().await, Ok(()), "{number}: {}", reason(&pair.link));
        }
        let connections = pair.server.connections();
        assert!((10..=20).contains(&connections), "{connections} connections");
        assert_eq!(reason(&pair.link), "", "nothing went wrong");
    })
    .await;
}
