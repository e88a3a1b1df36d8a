//! Servers of HTTP/2, HTTP/3 and QUIC that are octets in memory: for the fuzz target `transport`.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h3::client::builder;
use h3::error::Code;
use h3::quic::{
    Connection, ConnectionErrorIncoming, OpenStreams, RecvStream, SendStream, StreamErrorIncoming,
    StreamId, WriteBuf,
};
use rustls::pki_types::ServerName;
use tokio::io::DuplexStream;
use tokio::task::spawn_local;

use super::fault::{Fault, Reply};
use super::http::{MAX_HEADER_OCTETS, Requests};
use super::http2::Http2;
use super::http3::{End, exchange, stream_fault};
use super::meter::Meter;
use super::metered_quic::Metered;
use super::quic;

/// What a stream of a server brings.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    /// None of them is empty.
    pub pieces: VecDeque<Bytes>,
    /// What follows again and again, this often; not empty.
    pub then: Option<(Bytes, usize)>,
    /// Whether the stream ends behind it. Otherwise nothing more comes.
    pub ends: bool,
}

impl Sent {
    fn next(&mut self) -> Option<Bytes> {
        if let Some(piece) = self.pieces.pop_front() {
            return Some(piece);
        }
        let (piece, left) = self.then.as_mut().filter(|(_, left)| *left > 0)?;
        *left -= 1;
        Some(piece.clone())
    }
}

/// Asks a server over HTTP/2, and waits for the end of the connection. Returns the octets of the
/// reply, or why there is none.
pub async fn ask_over_http2(stream: DuplexStream, query: &[u8]) -> Result<Vec<u8>, String> {
    let connection = Http2::open(stream, requests()?).await.map_err(|fault| fault.reason)?;
    let reply = connection.ask(query).await;
    connection.ended().await;
    told(reply)
}

/// Asks a server over HTTP/3 that opens `streams` and sends `response` on the query's. Returns what
/// [`ask_over_http2`] does, and how many octets and pieces were read.
pub async fn ask_over_http3(
    streams: Vec<Sent>,
    response: Sent,
    query: &[u8],
) -> (Result<Vec<u8>, String>, [usize; 2]) {
    let read = Rc::new(Cell::new([0; 2]));
    let server = Server { streams: streams.into(), response, read: Rc::clone(&read) };
    let reply = ask_server(server, query).await;
    (reply.map_err(|fault| fault.reason).and_then(|reply| told(Ok(reply))), read.get())
}

/// Reads a reply from a stream of QUIC.
pub async fn ask_over_quic(mut stream: DuplexStream) -> Result<Vec<u8>, String> {
    told(quic::read_reply(&mut stream).await)
}

fn told(reply: Result<Reply, Fault>) -> Result<Vec<u8>, String> {
    reply.map(|reply| reply.octets).map_err(|fault| fault.reason)
}

fn requests() -> Result<Requests, String> {
    let name = ServerName::try_from("dns.example").map_err(|error| error.to_string())?;
    Requests::new(&name, 443, "/dns-query").map_err(|fault| fault.reason)
}

async fn ask_server(server: Server, query: &[u8]) -> Result<Reply, Fault> {
    let meter = Meter::new();
    meter.allow_query();
    let built = builder()
        .max_field_section_size(MAX_HEADER_OCTETS.into())
        .send_grease(false)
        .build(Metered::new(server, meter))
        .await;
    let garbled = |words: String| Fault::of_query(super::super::TryError::Garbled, &words);
    let (mut connection, sender) = built.map_err(|error| garbled(error.to_string()))?;
    let driver =
        spawn_local(async move { poll_fn(|context| connection.poll_close(context)).await });
    let requests = requests().map_err(garbled)?;
    let reply = exchange(sender, &requests, query).await;
    driver.abort();
    reply.map_err(|end| match end {
        End::Fault(fault) => fault,
        End::Stream(error) => stream_fault(&error),
    })
}

/// What QUIC is for `h3`: a server that has said all it will say.
#[derive(Clone)]
struct Server {
    /// That it opens, and have not been taken yet.
    streams: VecDeque<Sent>,
    response: Sent,
    /// Octets and pieces.
    read: Rc<Cell<[usize; 2]>>,
}

/// A stream of it. What is written to it is lost.
struct Stream {
    sent: Sent,
    read: Rc<Cell<[usize; 2]>>,
}

impl Server {
    fn stream(&self, sent: Sent) -> Stream {
        Stream { sent, read: Rc::clone(&self.read) }
    }
}

/// The first stream of a client.
fn request_stream() -> StreamId {
    StreamId::try_from(0).expect("a stream of QUIC")
}

impl OpenStreams<Bytes> for Server {
    type BidiStream = Stream;
    type SendStream = Stream;

    fn poll_open_bidi(&mut self, _: &mut Context<'_>) -> Poll<Result<Stream, StreamErrorIncoming>> {
        Poll::Ready(Ok(self.stream(self.response.clone())))
    }

    fn poll_open_send(&mut self, _: &mut Context<'_>) -> Poll<Result<Stream, StreamErrorIncoming>> {
        Poll::Ready(Ok(self.stream(Sent::default())))
    }

    fn close(&mut self, _: Code, _: &[u8]) {}
}

impl Connection<Bytes> for Server {
    type RecvStream = Stream;
    type OpenStreams = Self;

    fn poll_accept_recv(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<Result<Stream, ConnectionErrorIncoming>> {
        let Some(sent) = self.streams.pop_front() else { return Poll::Pending };
        Poll::Ready(Ok(self.stream(sent)))
    }

    fn poll_accept_bidi(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<Result<Stream, ConnectionErrorIncoming>> {
        Poll::Pending
    }

    fn opener(&self) -> Self {
        self.clone()
    }
}

impl RecvStream for Stream {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        let piece = self.sent.next();
        if let Some(piece) = &piece {
            let [octets, pieces] = self.read.get();
            self.read.set([octets + piece.len(), pieces + 1]);
        }
        if piece.is_none() && !self.sent.ends { Poll::Pending } else { Poll::Ready(Ok(piece)) }
    }

    fn stop_sending(&mut self, _: u64) {}

    fn recv_id(&self) -> StreamId {
        request_stream()
    }
}

impl SendStream<Bytes> for Stream {
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        Poll::Ready(Ok(()))
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, _: T) -> Result<(), StreamErrorIncoming> {
        Ok(())
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        Poll::Ready(Ok(()))
    }

    fn reset(&mut self, _: u64) {}

    fn send_id(&self) -> StreamId {
        request_stream()
    }
}
