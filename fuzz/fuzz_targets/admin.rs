//! Any octets as a request over HTTP: an answer with JSON in it, or none. And any text as the query
//! part of a URL: what is understood can be written and is understood again.
//!
//! The input: one octet that chooses, and the text or the request.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use privatelinkd::admin::{read_fields, serve_connection, write_fields};
use privatelinkd::engine::Shared;
use privatelinkd_fuzz::{SNAPSHOT, snapshot};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::runtime::{Builder, Runtime};

/// Octets of either direction that the stream holds: more than a head may have.
const STREAM_OCTETS: usize = 64 * 1_024;

static SHARED: LazyLock<Arc<Shared>> =
    LazyLock::new(|| Arc::new(Shared { snapshot: Arc::new(snapshot()).into() }));
thread_local! {
    static RUNTIME: Runtime =
        Builder::new_current_thread().enable_time().build().expect("a runtime");
}

fuzz_target!(|input: &[u8]| {
    let Some((&choice, rest)) = input.split_first() else { return };
    if choice & 1 == 0 {
        if let Ok(text) = std::str::from_utf8(rest) {
            check_fields(text);
        }
        return;
    }
    let reply = RUNTIME.with(|runtime| runtime.block_on(request(rest)));
    if !reply.is_empty() {
        check_reply(&reply);
    }
});

fn check_fields(text: &str) {
    let Some(ask) = read_fields(text) else { return };
    let written = write_fields(&ask).expect("what was read can be written");
    assert_eq!(read_fields(&written).as_ref(), Some(&ask), "{written}");
    let explanation = SNAPSHOT.explain(&ask, true).expect("nothing is kept");
    assert_eq!(explanation.client, ask.client.to_canonical());
}

/// Sends `octets` over one connection, and reads until the daemon closes it.
async fn request(octets: &[u8]) -> Vec<u8> {
    let (mut ours, theirs) = duplex(STREAM_OCTETS);
    let client = async {
        // The daemon may close it before it has read all.
        let _ = ours.write_all(octets).await;
        let _ = ours.shutdown().await;
        let mut reply = Vec::new();
        let _ = ours.read_to_end(&mut reply).await;
        reply
    };
    tokio::join!(client, serve_connection(theirs, Arc::clone(&SHARED))).0
}

/// One response, without a body only where HTTP says so.
fn check_reply(reply: &[u8]) {
    let head_end = reply.windows(4).position(|octets| octets == b"\r\n\r\n").expect("a head");
    let head = std::str::from_utf8(&reply[..head_end]).expect("ASCII");
    let status = head.split(' ').nth(1).and_then(|word| word.parse::<u16>().ok());
    let status = status.expect("a status");
    assert!(matches!(status, 100 | 200 | 400 | 404 | 405 | 414 | 421 | 431), "{head}");
    let body = &reply[head_end + 4..];
    let is_ours = matches!(status, 200 | 404 | 405 | 421) || head.contains("application/json");
    if is_ours {
        let head = head.to_ascii_lowercase();
        assert!(head.contains("x-content-type-options: nosniff"), "{head}");
        assert!(body.is_empty() || body.ends_with(b"}\n"));
    }
}
