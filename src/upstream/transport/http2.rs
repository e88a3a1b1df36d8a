//! DNS over HTTP/2: one stream for each query, on a connection that the `h2` crate drives.

use std::rc::Rc;
use std::time::SystemTime;

use bytes::Bytes;
use h2::Reason;
use h2::client::{Builder, SendRequest};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::SetOnce;
use tokio::task::{AbortHandle, spawn_local};

use super::fault::{Fault, Reply};
use super::http::{MAX_HEADER_OCTETS, Requests};
use super::meter::{Meter, Metered};
use crate::upstream::failure::{Breakdown, TryError};

/// Octets of one reply that the server may send before we read them: the largest reply.
const STREAM_WINDOW: u32 = 65_535;
/// The same of all replies together.
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Streams at once before the server has said how many it allows. RFC 9113 §6.5.2 recommends that
/// servers allow no fewer.
const FIRST_STREAMS: usize = 100;
/// Streams that we gave up and the server has not heard of that: as many as may wait at once.
const RESET_STREAMS: usize = 512;

/// An open connection; dropping it closes it.
pub(super) struct Http2 {
    sender: SendRequest<Bytes>,
    requests: Requests,
    meter: Meter,
    driver: AbortHandle,
    end: Rc<SetOnce<Fault>>,
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Http2 {
    /// Takes over `stream`. What the server says of itself comes later.
    ///
    /// # Panics
    /// Outside a tokio `LocalSet`.
    pub(super) async fn open(
        stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
        requests: Requests,
    ) -> Result<Self, Fault> {
        let meter = Meter::new();
        let (sender, connection) = Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEADER_OCTETS)
            .max_concurrent_reset_streams(RESET_STREAMS)
            .initial_max_send_streams(FIRST_STREAMS)
            .handshake(Metered::new(stream, meter.clone()))
            .await
            .map_err(|error| fault(&error))?;
        let end = Rc::new(SetOnce::new());
        let ended = Rc::clone(&end);
        let driver = spawn_local(async move {
            let closed = || Fault::dead(TryError::Unprocessed, "the server closed the connection");
            let why = connection.await.map_or_else(|error| fault(&error), |()| closed());
            // A connection has one driver.
            let _is_first = ended.set(Fault { is_dead: true, ..why });
        });
        Ok(Self { sender, requests, meter, driver: driver.abort_handle(), end })
    }

    /// Waits for the end of the connection. Does not keep it open.
    pub(super) fn ended(&self) -> impl Future<Output = Fault> + use<> {
        let end = Rc::clone(&self.end);
        async move { end.wait().await.clone() }
    }

    /// Sends `query` and returns its reply. Dropping the future tells the server to stop.
    pub(super) async fn ask(&self, query: &[u8]) -> Result<Reply, Fault> {
        self.meter.allow_query();
        let sender = self.sender.clone().ready().await;
        let mut sender = sender.map_err(|error| fault(&error))?;
        let request = self.requests.post(query.len());
        let sent = sender.send_request(request, false);
        let (response, mut stream) = sent.map_err(|error| fault(&error))?;
        // A server that replies early need not take the body.
        let _early = stream.send_data(Bytes::copy_from_slice(query), true);
        let (head, mut chunks) = response.await.map_err(|error| fault(&error))?.into_parts();
        let mut body = self.requests.read(head.status, &head.headers, SystemTime::now())?;
        while let Some(chunk) = chunks.data().await {
            let chunk = match chunk {
                // RFC 9113 §8.1: it has replied without the whole request.
                Err(error) if is_early_end(&error) => break,
                chunk => chunk.map_err(|error| fault(&error))?,
            };
            // It fails only when the stream has ended.
            let _ended = chunks.flow_control().release_capacity(chunk.len());
            body.push(&chunk)?;
        }
        body.finish()
    }
}

fn is_early_end(error: &h2::Error) -> bool {
    error.is_reset() && error.is_remote() && error.reason() == Some(Reason::NO_ERROR)
}

/// What an error means for its query.
fn fault(error: &h2::Error) -> Fault {
    if let Some(error) = error.get_io() {
        return Fault::from(error);
    }
    let words = error.to_string();
    let by_server = error.reason().filter(|_| error.is_remote());
    match by_server {
        // RFC 9113 §6.8: the server ends the connection in good order, and has not begun with this
        // query.
        Some(Reason::NO_ERROR) if error.is_go_away() => Fault::dead(TryError::Unprocessed, &words),
        Some(Reason::ENHANCE_YOUR_CALM) => {
            Fault { is_dead: error.is_go_away(), ..Fault::of_query(TryError::ServerBusy, &words) }
        }
        Some(_) if error.is_go_away() => {
            Fault::dead(TryError::Unreachable(std::io::ErrorKind::ConnectionReset), &words)
        }
        // RFC 9113 §8.7: the server has not begun with this query.
        Some(Reason::REFUSED_STREAM) => Fault::of_query(TryError::Unprocessed, &words),
        Some(_) => Fault::of_query(TryError::ServerFailed(Breakdown::Reset), &words),
        // We end the stream, or the connection, because the server broke the protocol.
        None => Fault { is_dead: !error.is_reset(), ..Fault::of_query(TryError::Garbled, &words) },
    }
}
