//! HTTP/2 servers that send frames for ever, written octet by octet.

use std::cell::Cell;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink, split};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

/// More octets than a server may send for one query, buffers of sockets on the way included.
const MOST_OCTETS: usize = 16 << 20;

/// Types of frames (RFC 9113 §6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const UNKNOWN: u8 = 0x2a;

const END_HEADERS: u8 = 4;
/// ":status: 200" (RFC 7541, appendix A).
const STATUS_200: &[u8] = &[0x88];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let octets = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&octets[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A literal header field that is not indexed, whose value has as many octets.
fn field(octets: u8) -> Vec<u8> {
    [&[0x00, 1, b'x', octets][..], &vec![b'y'; usize::from(octets)]].concat()
}

/// What a server sends once, and then again and again.
struct Flood {
    first: Vec<u8>,
    then: Vec<u8>,
}

fn floods() -> Vec<(&'static str, Flood)> {
    let flood = |first: &[Vec<u8>], then: Vec<u8>| {
        // Some of them in one write.
        Flood { first: first.concat(), then: then.repeat(1_024 / then.len() + 1) }
    };
    let head = frame(HEADERS, END_HEADERS, 1, STATUS_200);
    let many_fields: Vec<u8> = (0..60).flat_map(|_| field(100)).collect();
    vec![
        ("settings", flood(&[], frame(SETTINGS, 0, 0, &[]))),
        ("pings", flood(&[], frame(PING, 0, 0, &[7; 8]))),
        ("pongs", flood(&[], frame(PING, 1, 0, &[7; 8]))),
        ("windows", flood(&[], frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]))),
        ("priorities", flood(&[], frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 9]))),
        ("unknown frames", flood(&[], frame(UNKNOWN, 0, 1, b"x"))),
        (
            "continuations",
            flood(&[frame(HEADERS, 0, 1, STATUS_200)], frame(CONTINUATION, 0, 1, &many_fields)),
        ),
        (
            "empty continuations",
            flood(&[frame(HEADERS, 0, 1, STATUS_200)], frame(CONTINUATION, 0, 1, &[])),
        ),
        ("large headers", flood(&[], frame(HEADERS, END_HEADERS, 1, &many_fields.repeat(2)))),
        ("informational", flood(&[], frame(HEADERS, END_HEADERS, 1, &[0x08, 3, b'1', b'0', b'3']))),
        ("data of one octet", flood(std::slice::from_ref(&head), frame(DATA, 0, 1, b"x"))),
        ("empty data", flood(std::slice::from_ref(&head), frame(DATA, 0, 1, &[]))),
        ("promises", flood(&[head], frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x82]))),
        ("resets", flood(&[], frame(RST_STREAM, 0, 1, &[0, 0, 0, 2]))),
    ]
}

/// Sends the flood to each client until it goes; the cell counts octets.
async fn server(identity: &Identity, flood: Flood) -> (SocketAddr, Rc<Cell<usize>>) {
    let listener = TcpListener::bind(anywhere()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(identity.server_config(b"h2"));
    let octets = Rc::new(Cell::new(0));
    let sent = Rc::clone(&octets);
    spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let (mut reader, mut writer) = split(stream);
            // The query has come with the preface, or comes soon.
            let mut preface = [0; 24];
            if reader.read_exact(&mut preface).await.is_err() {
                continue;
            }
            spawn_local(async move { copy(&mut reader, &mut sink()).await.is_ok() });
            tokio::time::sleep(Duration::from_millis(20)).await;
            let first = [frame(SETTINGS, 0, 0, &[]), flood.first.clone()].concat();
            let mut is_there = writer.write_all(&first).await.is_ok();
            while is_there && sent.get() < 2 * MOST_OCTETS {
                is_there = writer.write_all(&flood.then).await.is_ok();
                sent.set(sent.get() + flood.then.len());
            }
        }
    });
    (address, octets)
}

#[tokio::test]
async fn a_server_that_sends_frames_for_ever_is_hung_up_on() {
    let authority = Authority::new();
    let identity = authority.sign(&["127.0.0.1"]);
    for (what, flood) in floods() {
        local(async {
            let (address, octets) = server(&identity, flood).await;
            let link = link(upstream(Scheme::Https, address, trusting(&authority)));
            let outcome = asked(&link).await;
            // The query may be the one whose stream is reset, before the flood is noticed.
            let is_reset = outcome == Err(TryError::ServerFailed(Breakdown::Reset));
            assert!(
                outcome == Err(TryError::Garbled) || is_reset && what == "resets",
                "{what}: {outcome:?}, {}",
                reason(&link)
            );
            // Until the server knows that its client has gone.
            let mut before = usize::MAX;
            while before != octets.get() {
                before = octets.get();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            assert!(before < MOST_OCTETS, "{what}: {before} octets");
        })
        .await;
    }
}
