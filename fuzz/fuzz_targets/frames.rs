//! Streams of octets from a client and from an upstream. However a client's stream is cut, the same
//! messages come out of it; an upstream's reply is the first frame that has the query's id.
//!
//! The input: how many pieces, the length of each, and the rest is the stream.
#![no_main]

use std::io::ErrorKind;

use libfuzzer_sys::fuzz_target;
use privatelinkd::listeners::read_frames;
use privatelinkd::upstream::ask_in_frames;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

/// Octets of the largest frame: the most that a client's buffer may hold.
const MAX_FRAME_OCTETS: usize = 2 + 65_535;
/// Replies that no query asked for, before the connection ends.
const UNASKED: usize = 16;
const QUERY: [u8; 17] = *b"\0\0\x01\0\0\x01\0\0\0\0\0\0\0\0\x01\0\x01";

thread_local! {
    static RUNTIME: Runtime =
        Builder::new_current_thread().enable_time().build().expect("a runtime");
}

fuzz_target!(|input: &[u8]| {
    let Some((&count, rest)) = input.split_first() else { return };
    let (lengths, stream) = rest.split_at(usize::from(count).min(rest.len()));

    let expected = frames(stream);
    let (whole, held) = read_frames([stream].into_iter());
    assert_eq!(whole, expected);
    assert!(held <= MAX_FRAME_OCTETS);
    let (in_pieces, held) = read_frames(pieces(stream, lengths));
    assert_eq!(in_pieces, expected);
    assert!(held <= MAX_FRAME_OCTETS);

    RUNTIME.with(|runtime| check_upstream(runtime, stream));
});

/// The complete messages of a stream.
fn frames(mut stream: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while let Some((length, rest)) = stream.split_first_chunk() {
        let Some((frame, rest)) = rest.split_at_checked(u16::from_be_bytes(*length).into()) else {
            break;
        };
        frames.push(frame);
        stream = rest;
    }
    frames
}

/// `stream` in pieces of these lengths, in turn; a length counts 1, 16 or 256 octets.
fn pieces<'a>(mut stream: &'a [u8], lengths: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut lengths = lengths.iter().cycle();
    std::iter::from_fn(move || {
        let length = lengths.next().map_or(stream.len(), |&octet| {
            usize::from(octet & 0x3f) << [0, 0, 4, 8][usize::from(octet >> 6)]
        });
        let (piece, rest) = stream.split_at(length.max(1).min(stream.len()));
        stream = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// An upstream sends `stream` and then the reply.
fn check_upstream(runtime: &Runtime, stream: &[u8]) {
    let (ours, theirs) = duplex(stream.len() + MAX_FRAME_OCTETS);
    let local = LocalSet::new();
    let (reply, sent) = local.block_on(runtime, async {
        tokio::join!(ask_in_frames(ours, &QUERY), serve(theirs, stream))
    });
    let (sent, id) = sent;
    let mut frames = frames(&sent).into_iter();
    let mut unasked = 0;
    let expected = loop {
        match frames.next() {
            None => break Err(ErrorKind::UnexpectedEof),
            Some(frame) if frame.starts_with(&id) => break Ok(frame.to_vec()),
            Some(_) if unasked == UNASKED => break Err(ErrorKind::InvalidData),
            Some(_) => unasked += 1,
        }
    };
    assert_eq!(reply, expected);
}

/// Reads the query, sends `stream` and a reply. Returns what it sent and the query's id.
async fn serve(mut theirs: DuplexStream, stream: &[u8]) -> (Vec<u8>, [u8; 2]) {
    let mut query = [0; 2 + QUERY.len()];
    theirs.read_exact(&mut query).await.expect("a query");
    assert_eq!(query[..2], [0, 17]);
    assert_eq!(query[4..], QUERY[2..]);
    let id = [query[2], query[3]];
    let sent = [stream, &[0, 4], &id, b"ok"].concat();
    // The other end may be closed already.
    let _ = theirs.write_all(&sent).await;
    (sent, id)
}
