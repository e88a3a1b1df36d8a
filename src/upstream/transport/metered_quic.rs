//! A QUIC connection for the `h3` crate, whose server may send as much as a meter says.
//!
//! `h3` reads a whole HEADERS or SETTINGS frame into memory before it looks at it, however long the
//! frame says it is.

use std::task::{Context, Poll, ready};

use bytes::Buf;
use h3::error::Code;
use h3::quic::{
    BidiStream, Connection, ConnectionErrorIncoming, OpenStreams, RecvStream, SendStream,
    StreamErrorIncoming, StreamId, WriteBuf,
};

use super::meter::{FOR_A_QUERY, Meter};

/// `inner`, with octets counted where they are read.
#[derive(Clone)]
pub(super) struct Metered<Q> {
    inner: Q,
    meter: Meter,
}

/// A stream of a [`Metered`] connection. No stream may send more than one query's octets.
pub(super) struct MeteredStream<S> {
    inner: S,
    meter: Meter,
    octets: u64,
}

impl<Q> Metered<Q> {
    pub(super) fn new(inner: Q, meter: Meter) -> Self {
        Self { inner, meter }
    }

    fn stream<S>(&self, inner: S) -> MeteredStream<S> {
        MeteredStream { inner, meter: self.meter.clone(), octets: 0 }
    }
}

impl<B: Buf, Q: OpenStreams<B>> OpenStreams<B> for Metered<Q> {
    type BidiStream = MeteredStream<Q::BidiStream>;
    type SendStream = Q::SendStream;

    fn poll_open_bidi(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Self::BidiStream, StreamErrorIncoming>> {
        let stream = ready!(self.inner.poll_open_bidi(context))?;
        Poll::Ready(Ok(self.stream(stream)))
    }

    fn poll_open_send(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Self::SendStream, StreamErrorIncoming>> {
        self.inner.poll_open_send(context)
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.inner.close(code, reason);
    }
}

impl<B: Buf, Q: Connection<B>> Connection<B> for Metered<Q> {
    type RecvStream = MeteredStream<Q::RecvStream>;
    type OpenStreams = Metered<Q::OpenStreams>;

    fn poll_accept_recv(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Self::RecvStream, ConnectionErrorIncoming>> {
        let stream = ready!(self.inner.poll_accept_recv(context))?;
        Poll::Ready(Ok(self.stream(stream)))
    }

    fn poll_accept_bidi(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Self::BidiStream, ConnectionErrorIncoming>> {
        let stream = ready!(self.inner.poll_accept_bidi(context))?;
        Poll::Ready(Ok(self.stream(stream)))
    }

    fn opener(&self) -> Self::OpenStreams {
        Metered { inner: self.inner.opener(), meter: self.meter.clone() }
    }
}

impl<S: RecvStream> RecvStream for MeteredStream<S> {
    type Buf = S::Buf;

    fn poll_data(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Self::Buf>, StreamErrorIncoming>> {
        let data = ready!(self.inner.poll_data(context))?;
        let octets = data.as_ref().map_or(0, Buf::remaining);
        self.octets = self.octets.saturating_add(u64::try_from(octets).unwrap_or(u64::MAX));
        match self.meter.take(octets) {
            Ok(()) if self.octets <= FOR_A_QUERY => Poll::Ready(Ok(data)),
            _ => Poll::Ready(Err(StreamErrorIncoming::Unknown(super::meter::Exceeded.into()))),
        }
    }

    fn stop_sending(&mut self, error_code: u64) {
        self.inner.stop_sending(error_code);
    }

    fn recv_id(&self) -> StreamId {
        self.inner.recv_id()
    }
}

impl<B: Buf, S: SendStream<B>> SendStream<B> for MeteredStream<S> {
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.inner.poll_ready(context)
    }

    fn send_data<T: Into<WriteBuf<B>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.inner.send_data(data)
    }

    fn poll_finish(&mut self, context: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.inner.poll_finish(context)
    }

    fn reset(&mut self, reset_code: u64) {
        self.inner.reset(reset_code);
    }

    fn send_id(&self) -> StreamId {
        self.inner.send_id()
    }
}

impl<B: Buf, S: BidiStream<B>> BidiStream<B> for MeteredStream<S> {
    type SendStream = S::SendStream;
    type RecvStream = MeteredStream<S::RecvStream>;

    fn split(self) -> (Self::SendStream, Self::RecvStream) {
        let Self { inner, meter, octets } = self;
        let (sending, receiving) = inner.split();
        (sending, MeteredStream { inner: receiving, meter, octets })
    }
}
