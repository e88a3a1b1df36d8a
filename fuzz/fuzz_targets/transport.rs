//! Any octets as what an upstream sends over HTTP/2 (behind the client's preface), over the streams of
//! HTTP/3, and over a stream of DNS over QUIC: each query ends with a reply or with a reason, and a
//! server that goes on for ever is read no further than it may send for one query.
//!
//! The input: one octet that chooses, one with the length of a piece, and then over HTTP/2 two octets
//! with a length and so many octets that come first; the rest comes again and again, or once. Over
//! HTTP/3, the same for each of three streams that the server opens is before that. Over QUIC the rest
//! is the stream.
#![no_main]

use std::collections::VecDeque;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use privatelinkd::upstream::{Sent, ask_over_http2, ask_over_http3, ask_over_quic};
use privatelinkd_fuzz::field;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, copy, duplex, sink, split};
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

/// Bits of the first octet: the protocol, and whether the last octets come again and again.
const PROTOCOL: u8 = 3;
const HTTP2: u8 = 0;
const HTTP3: u8 = 1;
const REPEATS: u8 = 4;
/// Streams that a server opens over HTTP/3. They stay open, and the query's stream ends.
const STREAMS: usize = 3;
/// Octets that a server may send for one query: 64 KiB, and 160 KiB.
const MOST_OCTETS: usize = 224 << 10;
/// What the last call that reads may bring beyond them, and what is on the way.
const BEYOND: usize = 32 << 10;
/// Pieces of streams of HTTP/3: each counts as 256 octets at least.
const MOST_PIECES: usize = MOST_OCTETS / 256;
/// What a server that never stops would send.
const ENDLESS: usize = 2 * MOST_OCTETS;
/// Octets on the way from the server.
const ON_THE_WAY: usize = 4 << 10;
/// Characters of a reason.
const REASON_CHARS: usize = 200;
const QUERY: [u8; 17] = *b"\0\0\x01\0\0\x01\0\0\0\0\0\0\0\0\x01\0\x01";

thread_local! {
    static RUNTIME: Runtime =
        Builder::new_current_thread().enable_time().build().expect("a runtime");
}

fuzz_target!(|input: &[u8]| {
    let &[choice, piece, ref rest @ ..] = input else { return };
    let (piece, mut rest) = (usize::from(piece) + 1, rest);
    let reply = RUNTIME.with(|runtime| {
        let local = LocalSet::new();
        match choice & PROTOCOL {
            HTTP2 => {
                let Some(first) = field(&mut rest) else { return None };
                let (then, times) = match choice & REPEATS {
                    0 => (rest.to_vec(), 1),
                    // Some of them in one write.
                    _ if !rest.is_empty() => {
                        let then = rest.repeat(1_024 / rest.len() + 1);
                        let times = ENDLESS / then.len();
                        (then, times)
                    }
                    _ => (Vec::new(), 0),
                };
                Some(local.block_on(runtime, over_http2(first, &then, times, piece)))
            }
            HTTP3 => {
                let mut streams = Vec::new();
                for _ in 0..STREAMS {
                    streams.push(sent(field(&mut rest)?, piece));
                }
                let response = Sent { ends: true, ..sent(field(&mut rest)?, piece) };
                let then = if choice & REPEATS == 0 { 1 } else { ENDLESS };
                let then = (!rest.is_empty()).then(|| (Bytes::copy_from_slice(rest), then));
                let ask = ask_over_http3(streams, Sent { then, ..response }, &QUERY);
                let (reply, [octets, pieces]) = local.block_on(runtime, ask);
                assert!(octets <= MOST_OCTETS + BEYOND, "{octets} octets");
                assert!(pieces <= MOST_PIECES + STREAMS + 2, "{pieces} pieces");
                Some(reply)
            }
            _ => {
                let reply = local.block_on(runtime, over_quic(rest, piece));
                assert_eq!(reply.as_ref().ok().map(Vec::as_slice), first_message(rest));
                Some(reply)
            }
        }
    });
    match reply {
        Some(Ok(octets)) => assert!((1..=65_535).contains(&octets.len())),
        Some(Err(reason)) => {
            assert!(!reason.is_empty() && reason.chars().count() <= REASON_CHARS);
            assert!(!reason.chars().any(char::is_control), "{reason}");
        }
        None => {}
    }
});

/// A stream of these octets in pieces, which stays open.
fn sent(octets: &[u8], piece: usize) -> Sent {
    let pieces: VecDeque<_> = octets.chunks(piece).map(Bytes::copy_from_slice).collect();
    Sent { pieces, ..Sent::default() }
}

/// The message that counts on a stream of DNS over QUIC.
fn first_message(stream: &[u8]) -> Option<&[u8]> {
    let (length, rest) = stream.split_first_chunk()?;
    let message = rest.get(..u16::from_be_bytes(*length).into())?;
    message.starts_with(&[0, 0]).then_some(message)
}

async fn over_quic(stream: &[u8], piece: usize) -> Result<Vec<u8>, String> {
    let (ours, theirs) = duplex(piece);
    let server = async move {
        let (_, mut writer) = split(theirs);
        // The client may have gone.
        let _ = writer.write_all(stream).await;
    };
    tokio::join!(ask_over_quic(ours), server).0
}

async fn over_http2(
    first: &[u8],
    then: &[u8],
    times: usize,
    piece: usize,
) -> Result<Vec<u8>, String> {
    let (ours, theirs) = duplex(ON_THE_WAY);
    let (reply, octets) =
        tokio::join!(ask_over_http2(ours, &QUERY), serve(theirs, first, then, times, piece));
    assert!(octets <= MOST_OCTETS + BEYOND, "{octets} octets");
    reply
}

/// Sends the octets until the client goes, and ends the stream. Returns how many it sent.
async fn serve(
    theirs: DuplexStream,
    first: &[u8],
    then: &[u8],
    times: usize,
    piece: usize,
) -> usize {
    let (mut reader, mut writer) = split(theirs);
    let mut octets = 0;
    let sends = async {
        // HTTP/2 begins with the client: its preface is 24 octets.
        let mut preface = [0; 24];
        reader.read_exact(&mut preface).await?;
        let mut nowhere = sink();
        let reads = copy(&mut reader, &mut nowhere);
        let writes = async {
            for piece in first.chunks(piece) {
                writer.write_all(piece).await?;
                octets += piece.len();
            }
            for _ in 0..times {
                writer.write_all(then).await?;
                octets += then.len();
            }
            writer.shutdown().await
        };
        tokio::join!(async { reads.await.map(drop) }, writes).1
    };
    // The client may have gone.
    let _: std::io::Result<()> = sends.await;
    octets
}
