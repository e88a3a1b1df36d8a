//! DNS over HTTP/3: one stream for each query, on a connection that the `h3` crate drives.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::SystemTime;

use bytes::{Buf, Bytes};
use h3::client::{RequestStream, SendRequest, builder};
use h3::error::{Code, ConnectionError, LocalError, StreamError};
use h3::quic::{ConnectionErrorIncoming, OpenStreams, RecvStream};
use quinn::VarInt;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::sync::SetOnce;
use tokio::task::{AbortHandle, spawn_local};

use super::fault::{Fault, Reply};
use super::http::{MAX_HEADER_OCTETS, MOST_INFORMATIONAL, Requests};
use super::meter::{Exceeded, Meter};
use super::metered_quic::Metered;
use super::quic::{self, Codes, Line};
use crate::upstream::failure::{Breakdown, TryError};

/// Streams that the server may have open towards us: one for control and two for the compression of
/// headers (RFC 9114 §6.2), and some of kinds that we do not know.
const SERVER_STREAMS: u32 = 8;
/// H3_NO_ERROR (RFC 9114 §8.1).
const NO_ERROR: VarInt = VarInt::from_u32(0x100);
/// H3_NO_ERROR and H3_EXCESSIVE_LOAD (RFC 9114 §8.1).
const H3: Codes = Codes { clean: 0x100, busy: 0x107, name: h3_name };
/// Frames without octets in a row that a body may have among the others.
const MOST_EMPTY: u32 = 8;

type Opener = Metered<h3_quinn::OpenStreams>;

/// An open connection; dropping it closes it.
pub(super) struct Http3 {
    sender: SendRequest<Opener, Bytes>,
    requests: Requests,
    meter: Meter,
    line: Line,
    driver: AbortHandle,
    /// Why it has ended, once `h3` or a query has found that out.
    closed: Rc<SetOnce<Fault>>,
}

impl Drop for Http3 {
    fn drop(&mut self) {
        self.driver.abort();
        self.line.connection.close(NO_ERROR, b"");
    }
}

/// The stream of a reply. Dropped, the server hears that nobody waits for it.
struct Incoming<S: RecvStream>(RequestStream<S, Bytes>);

impl<S: RecvStream> Drop for Incoming<S> {
    fn drop(&mut self) {
        self.0.stop_sending(Code::H3_REQUEST_CANCELLED);
    }
}

impl Http3 {
    /// Connects. What the server says of itself comes later.
    ///
    /// # Panics
    /// Outside a tokio `LocalSet`.
    pub(super) async fn open(
        address: std::net::SocketAddr,
        name: &ServerName<'static>,
        config: ClientConfig,
        requests: Requests,
    ) -> Result<Self, Fault> {
        let line = Line::open(address, name, config, SERVER_STREAMS).await?;
        let meter = Meter::new();
        let quic = h3_quinn::Connection::new(line.connection.clone());
        let built = builder()
            .max_field_section_size(MAX_HEADER_OCTETS.into())
            .send_grease(false)
            .build(Metered::new(quic, meter.clone()))
            .await;
        let (mut connection, sender) = built.map_err(|error| connection_fault(&error))?;
        let closed = Rc::new(SetOnce::new());
        let closes = Rc::clone(&closed);
        let driver = spawn_local(async move {
            let end = poll_fn(|context| connection.poll_close(context)).await;
            // A query may have closed it before.
            let _closed = closes.set(connection_fault(&end));
        });
        Ok(Self { sender, requests, meter, line, driver: driver.abort_handle(), closed })
    }

    /// Waits for the end of the connection. Whoever drops it closes it all the same.
    pub(super) fn ended(&self) -> impl Future<Output = Fault> + use<> {
        let (line, closed) = (self.line.clone(), Rc::clone(&self.closed));
        async move { fault_before(&line.connection.closed().await, &closed) }
    }

    /// Sends `query` and returns its reply. Dropping the future tells the server to stop.
    pub(super) async fn ask(&self, query: &[u8]) -> Result<Reply, Fault> {
        if let Some(end) = self.line.connection.close_reason() {
            return Err(fault_before(&end, &self.closed));
        }
        self.meter.allow_query();
        let reply = exchange(self.sender.clone(), &self.requests, query).await;
        reply.map_err(|error| {
            let error = match error {
                End::Fault(fault) => return fault,
                End::Stream(error) => error,
            };
            let fault = stream_fault(&error);
            let is_broken = fault.error == TryError::Garbled && fault.is_dead;
            if is_broken && self.closed.set(fault.clone()).is_ok() {
                self.line.connection.close(close_code(&error), b"");
            }
            // Another query, or what the server says of itself, may have been the reason.
            self.closed.get().filter(|_| fault.is_dead).cloned().unwrap_or(fault)
        })
    }
}

/// Sends `query` on a stream of its own, and returns the reply.
pub(super) async fn exchange<O: OpenStreams<Bytes>>(
    mut sender: SendRequest<O, Bytes>,
    requests: &Requests,
    query: &[u8],
) -> Result<Reply, End> {
    let stream = sender.send_request(requests.post(query.len())).await?;
    let mut stream = Incoming(stream);
    // A server that replies early need not take the body; what it says is read below.
    if stream.0.send_data(Bytes::copy_from_slice(query)).await.is_ok() {
        let _early = stream.0.finish().await;
    }
    let mut head = stream.0.recv_response().await?;
    for _ in 0..MOST_INFORMATIONAL {
        if !head.status().is_informational() {
            break;
        }
        head = stream.0.recv_response().await?;
    }
    let mut body = requests.read(head.status(), head.headers(), SystemTime::now())?;
    // `h3` reports a frame without octets as if it were the body's end.
    let mut empty = 0;
    while empty <= MOST_EMPTY {
        let Some(mut chunk) = stream.0.recv_data().await? else {
            empty += 1;
            continue;
        };
        empty = 0;
        while chunk.has_remaining() {
            let octets = chunk.chunk().len();
            body.push(chunk.chunk())?;
            chunk.advance(octets);
        }
    }
    Ok(body.finish()?)
}

/// What the end of a connection means for a query that has not left.
fn fault_before(end: &quinn::ConnectionError, closed: &SetOnce<Fault>) -> Fault {
    match (end, closed.get()) {
        (quinn::ConnectionError::LocallyClosed, Some(why)) => why.clone(),
        _ => quic::fault_before(end, H3),
    }
}

fn h3_name(code: u64) -> Option<String> {
    let name = Code::from(code).to_string();
    // `h3` writes a code that it does not know as a number.
    (!name.starts_with("0x")).then_some(name)
}

/// With what we close a connection whose server broke the protocol.
fn close_code(error: &StreamError) -> VarInt {
    let code = match error {
        StreamError::Undefined(why) if why.is::<Exceeded>() => H3.busy,
        StreamError::ConnectionError(ConnectionError::Local {
            error: LocalError::Application { code, .. },
        }) => code.value(),
        _ => H3.clean,
    };
    VarInt::from_u64(code).unwrap_or(NO_ERROR)
}

/// Why an exchange ended without a reply.
pub(super) enum End {
    Fault(Fault),
    Stream(StreamError),
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<StreamError> for End {
    fn from(error: StreamError) -> Self {
        Self::Stream(error)
    }
}

pub(super) fn stream_fault(error: &StreamError) -> Fault {
    let words = error.to_string();
    match error {
        // RFC 9114 §5.2: the server ends the connection in good order.
        StreamError::RemoteClosing => Fault::dead(TryError::Unprocessed, &words),
        StreamError::ConnectionError(error) => connection_fault(error),
        // RFC 9114 §4.1.1: the server has not begun with this query.
        StreamError::RemoteTerminate { code: Code::H3_REQUEST_REJECTED } => {
            Fault::of_query(TryError::Unprocessed, &words)
        }
        StreamError::Undefined(why) if why.is::<Exceeded>() => {
            Fault::dead(TryError::Garbled, &why.to_string())
        }
        StreamError::RemoteTerminate { code } => {
            let is_busy = code.value() == H3.busy;
            let words = format!("the server reset the query's stream: {}", H3.words(code.value()));
            let failed = TryError::ServerFailed(Breakdown::Reset);
            Fault::of_query(if is_busy { TryError::ServerBusy } else { failed }, &words)
        }
        _ => Fault::of_query(TryError::Garbled, &words),
    }
}

fn connection_fault(error: &ConnectionError) -> Fault {
    let words = error.to_string();
    let lost = TryError::Unreachable(std::io::ErrorKind::ConnectionReset);
    match error {
        error if error.is_h3_no_error() => Fault::dead(TryError::Unprocessed, &words),
        ConnectionError::Timeout => {
            Fault::dead(TryError::Unreachable(std::io::ErrorKind::TimedOut), &words)
        }
        ConnectionError::Remote(ConnectionErrorIncoming::ApplicationClose { error_code }) => {
            let is_busy = *error_code == H3.busy;
            let words = format!("the server closed the connection: {}", H3.words(*error_code));
            Fault::dead(if is_busy { TryError::ServerBusy } else { lost }, &words)
        }
        // Of [`Metered`]: the server opens stream after stream.
        ConnectionError::Remote(ConnectionErrorIncoming::InternalError(why)) => {
            Fault::dead(TryError::Garbled, why)
        }
        ConnectionError::Remote(ConnectionErrorIncoming::Undefined(why)) => {
            match why.downcast_ref::<quinn::ConnectionError>() {
                Some(error) => quic::fault(error, H3),
                None => Fault::dead(lost, &words),
            }
        }
        ConnectionError::Local { error: LocalError::Application { code, reason, .. } } => {
            let words = format!("the server broke the rules of HTTP/3: {reason} ({code})");
            Fault::dead(TryError::Garbled, &words)
        }
        ConnectionError::Local { .. } => Fault::dead(TryError::Garbled, &words),
        _ => Fault::dead(lost, &words),
    }
}
