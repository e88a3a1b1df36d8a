//! Connections over QUIC, and DNS over them (RFC 9250): one stream for each query.

use std::future::ready;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{
    ConnectionError, EndpointConfig, ReadError, RecvStream, TokioRuntime, TransportConfig, VarInt,
    WriteError,
};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::fault::{Fault, Reply};
use crate::upstream::failure::{Breakdown, TryError};
use crate::wire::u16_at;

/// Octets of one stream that the server may send before we read them: more than the largest reply.
const STREAM_WINDOW: u32 = 128 << 10;
/// The same of all streams together.
const CONNECTION_WINDOW: u32 = 1 << 20;

/// DOQ_NO_ERROR and DOQ_EXCESSIVE_LOAD (RFC 9250 §4.3).
const DOQ: Codes = Codes { clean: 0, busy: 4, name: doq_name };
/// Why a stream brought no whole reply.
const CUT: &str = "the server ended the stream within a reply";
/// RFC 9250 §4.3.
const DOQ_NO_ERROR: VarInt = VarInt::from_u32(0);
const DOQ_REQUEST_CANCELLED: VarInt = VarInt::from_u32(3);

/// A QUIC connection and its socket.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) connection: quinn::Connection,
    /// Holds the socket.
    _endpoint: quinn::Endpoint,
}

impl Line {
    /// Connects from a socket of its own, which follows a change of routes. The server may open
    /// `server_streams` unidirectional streams at once.
    pub(super) async fn open(
        address: SocketAddr,
        name: &ServerName<'static>,
        config: ClientConfig,
        server_streams: u32,
    ) -> Result<Self, Fault> {
        let socket = match address {
            SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let socket = socket.map_err(|error| Fault::of_connect(&error, address))?;
        let runtime = Arc::new(TokioRuntime);
        let endpoint = quinn::Endpoint::new(EndpointConfig::default(), None, socket, runtime)?;
        let unusable = |words: String| Fault::dead(TryError::Garbled, &words);
        let tls = QuicClientConfig::try_from(config).map_err(|why| unusable(why.to_string()))?;
        let mut client = quinn::ClientConfig::new(Arc::new(tls));
        client.transport_config(Arc::new(transport(server_streams)));
        let connecting = endpoint.connect_with(client, address, &name.to_str());
        let connecting = connecting.map_err(|why| unusable(why.to_string()))?;
        let connection = connecting.await.map_err(|error| {
            let kind = lost(&error);
            Fault::dead(TryError::Unreachable(kind), &error.to_string())
        })?;
        Ok(Self { connection, _endpoint: endpoint })
    }
}

fn transport(server_streams: u32) -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(server_streams))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .datagram_receive_buffer_size(None);
    transport
}

/// The codes with which a protocol above QUIC ends connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Codes {
    /// In good order.
    pub(super) clean: u64,
    /// The server has too much to do.
    pub(super) busy: u64,
    /// What the protocol calls a code; `None`: it does not know the code.
    pub(super) name: fn(u64) -> Option<String>,
}

impl Codes {
    /// A code for people.
    pub(super) fn words(&self, code: u64) -> String {
        let name = (self.name)(code);
        format!("{} ({code:#x})", name.as_deref().unwrap_or("an unknown code"))
    }
}

/// RFC 9250 §4.3 and §8.4.
fn doq_name(code: u64) -> Option<String> {
    let name = match code {
        0x0 => "DOQ_NO_ERROR",
        0x1 => "DOQ_INTERNAL_ERROR",
        0x2 => "DOQ_PROTOCOL_ERROR",
        0x3 => "DOQ_REQUEST_CANCELLED",
        0x4 => "DOQ_EXCESSIVE_LOAD",
        0x5 => "DOQ_UNSPECIFIED_ERROR",
        0xd098_ea5e => "DOQ_ERROR_RESERVED",
        _ => return None,
    };
    Some(name.to_owned())
}

/// What the end of a connection means for the queries on it.
pub(super) fn fault(error: &ConnectionError, codes: Codes) -> Fault {
    let error_kind = match error {
        ConnectionError::ApplicationClosed(close) => {
            let code = close.error_code.into_inner();
            let error_kind = match code {
                code if code == codes.clean => TryError::Unprocessed,
                code if code == codes.busy => TryError::ServerBusy,
                _ => TryError::Unreachable(lost(error)),
            };
            let words = format!("the server closed the connection: {}", codes.words(code));
            let said = String::from_utf8_lossy(&close.reason);
            let words = if said.is_empty() { words } else { format!("{words}, {said}") };
            return Fault::dead(error_kind, &words);
        }
        // RFC 9000 §20.1: NO_ERROR.
        ConnectionError::ConnectionClosed(close) if u64::from(close.error_code) == 0 => {
            TryError::Unprocessed
        }
        _ => TryError::Unreachable(lost(error)),
    };
    Fault::dead(error_kind, &error.to_string())
}

/// The same for a query that has not left: an idle connection ends in good order too.
pub(super) fn fault_before(error: &ConnectionError, codes: Codes) -> Fault {
    match error {
        ConnectionError::TimedOut => Fault::dead(TryError::Unprocessed, &error.to_string()),
        error => fault(error, codes),
    }
}

fn lost(error: &ConnectionError) -> io::ErrorKind {
    match error {
        ConnectionError::TimedOut => io::ErrorKind::TimedOut,
        _ => io::ErrorKind::ConnectionReset,
    }
}

/// An open connection of DNS over QUIC; dropping it closes it.
pub(super) struct Quic {
    line: Line,
}

/// The stream of a reply. Dropped before its end, the server hears that nobody waits for it.
struct Incoming(RecvStream);

impl Drop for Incoming {
    fn drop(&mut self) {
        // It fails if the stream has ended.
        let _ended = self.0.stop(DOQ_REQUEST_CANCELLED);
    }
}

impl Drop for Quic {
    fn drop(&mut self) {
        self.line.connection.close(DOQ_NO_ERROR, b"");
    }
}

impl Quic {
    pub(super) async fn open(
        address: SocketAddr,
        name: &ServerName<'static>,
        config: ClientConfig,
    ) -> Result<Self, Fault> {
        Line::open(address, name, config, 0).await.map(|line| Self { line })
    }

    /// Waits for the end of the connection. Whoever drops it closes it all the same.
    pub(super) fn ended(&self) -> impl Future<Output = Fault> + use<> {
        let line = self.line.clone();
        async move { fault_before(&line.connection.closed().await, DOQ) }
    }

    /// Sends `query`, whose id is 0 (RFC 9250 §4.2.1), and returns its reply.
    pub(super) async fn ask(&self, query: &[u8]) -> Result<Reply, Fault> {
        let opened = self.line.connection.open_bi().await;
        let (mut outgoing, incoming) = opened.map_err(|error| fault_before(&error, DOQ))?;
        let mut incoming = Incoming(incoming);
        let octets = u16::try_from(query.len()).unwrap_or(u16::MAX);
        let frame = [&octets.to_be_bytes(), query].concat();
        match outgoing.write_all(&frame).await {
            // A server that has read enough may stop the stream without an error, and reply.
            Err(WriteError::Stopped(DOQ_NO_ERROR)) => {}
            written => written.map_err(|error| write_fault(&error))?,
        }
        // It fails if the server has stopped the stream: then reading says more.
        let _stopped = outgoing.finish();
        read_reply(&mut incoming.0).await
    }
}

/// Reads the first message of a stream. Octets behind it are not waited for.
pub(super) async fn read_reply<R: AsyncRead + Unpin>(incoming: &mut R) -> Result<Reply, Fault> {
    let mut length = [0; 2];
    match fill(incoming, &mut length).await? {
        0 => return Err(garbled("the server ended the stream without a reply")),
        1 => return Err(garbled(CUT)),
        _ => {}
    }
    let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
    if fill(incoming, &mut reply).await? < reply.len() {
        return Err(garbled(CUT));
    }
    // The end mostly came with the reply: then nothing is left to stop.
    tokio::select! {
        biased;
        _end = incoming.read(&mut length) => {}
        () = ready(()) => {}
    }
    match u16_at(&reply, 0) {
        Some(0) => Ok(Reply::new(reply)),
        Some(id) => Err(garbled(&format!("the reply's id is {id}, not 0 (RFC 9250 §4.2.1)"))),
        None => Err(garbled("the reply is shorter than a DNS header")),
    }
}

/// Reads until `buffer` is full or the stream ends. Returns how many octets came.
async fn fill<R: AsyncRead + Unpin>(incoming: &mut R, buffer: &mut [u8]) -> Result<usize, Fault> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match incoming.read(rest).await.map_err(|error| read_fault(&error))? {
            0 => break,
            octets => filled += octets,
        }
    }
    Ok(filled)
}

fn garbled(reason: &str) -> Fault {
    Fault::of_query(TryError::Garbled, reason)
}

/// What a stream's end by the server means; `how` it ended, for people.
fn stream_fault(how: &str, code: VarInt) -> Fault {
    let code = code.into_inner();
    let reason = format!("the server {how} the query's stream: {}", DOQ.words(code));
    let failed = TryError::ServerFailed(Breakdown::Reset);
    let error = if code == DOQ.busy { TryError::ServerBusy } else { failed };
    Fault::of_query(error, &reason)
}

fn write_fault(error: &WriteError) -> Fault {
    match error {
        WriteError::Stopped(code) => stream_fault("stopped", *code),
        WriteError::ConnectionLost(error) => fault(error, DOQ),
        WriteError::ClosedStream | WriteError::ZeroRttRejected => garbled(&error.to_string()),
    }
}

/// quinn gives its own error as the inner one.
fn read_fault(error: &io::Error) -> Fault {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<ReadError>());
    match inner {
        Some(ReadError::Reset(code)) => stream_fault("reset", *code),
        Some(ReadError::ConnectionLost(error)) => fault(error, DOQ),
        _ => garbled(&error.to_string()),
    }
}
