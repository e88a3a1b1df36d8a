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
    /// Whether `inner` waits for octets. `h3_quinn` panics if its stream is stopped meanwhile.
    is_read: bool,
}

/// What a stream that the server opens counts, and a piece at least. `h3` keeps the pieces of a frame
/// in a list, and goes through the list for each piece that comes: so the pieces have a bound too. Of
/// replies, few pieces are smaller than a packet.
const PIECE_OCTETS: usize = 256;

impl<Q> Metered<Q> {
    pub(super) fn new(inner: Q, meter: Meter) -> Self {
        Self { inner, meter }
    }

    fn stream<S>(&self, inner: S) -> MeteredStream<S> {
        MeteredStream { inner, meter: self.meter.clone(), octets: 0, is_read: false }
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
        // A stream without octets costs time too. `h3` closes the connection for this error.
        let counted = self.meter.take(PIECE_OCTETS);
        let counted = counted.map(|()| self.stream(stream));
        Poll::Ready(counted.map_err(|why| ConnectionErrorIncoming::InternalError(why.to_string())))
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
        let polled = self.inner.poll_data(context);
        self.is_read = polled.is_pending();
        let data = ready!(polled)?;
        let octets = data.as_ref().map_or(0, |data| data.remaining().max(PIECE_OCTETS));
        self.octets = self.octets.saturating_add(u64::try_from(octets).unwrap_or(u64::MAX));
        match self.meter.take(octets) {
            Ok(()) if self.octets <= FOR_A_QUERY => Poll::Ready(Ok(data)),
            _ => Poll::Ready(Err(StreamErrorIncoming::Unknown(super::meter::Exceeded.into()))),
        }
    }

    fn stop_sending(&mut self, error_code: u64) {
        // Dropping a stream that is read stops it too.
        if !self.is_read {
            self.inner.stop_sending(error_code);
        }
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
        let Self { inner, meter, octets, is_read } = self;
        let (sending, receiving) = inner.split();
        (sending, MeteredStream { inner: receiving, meter, octets, is_read })
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use bytes::Bytes;

    use super::*;

    /// A stream of pieces of one octet, or one that waits for ever.
    struct Pieces {
        waits: bool,
        stops: u32,
    }

    impl RecvStream for Pieces {
        type Buf = Bytes;

        fn poll_data(
            &mut self,
            _: &mut Context<'_>,
        ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
            if self.waits { Poll::Pending } else { Poll::Ready(Ok(Some(Bytes::from_static(b"x")))) }
        }

        fn stop_sending(&mut self, _: u64) {
            assert!(!self.waits, "as in h3_quinn");
            self.stops += 1;
        }

        fn recv_id(&self) -> StreamId {
            StreamId::try_from(0).unwrap()
        }
    }

    fn stream(waits: bool) -> MeteredStream<Pieces> {
        let meter = Meter::new();
        meter.allow_query();
        Metered::new((), meter).stream(Pieces { waits, stops: 0 })
    }

    fn poll(stream: &mut MeteredStream<Pieces>) -> Poll<bool> {
        stream.poll_data(&mut Context::from_waker(Waker::noop())).map(|data| data.is_ok())
    }

    #[test]
    fn a_stream_has_as_many_pieces_as_fit_if_each_has_256_octets() {
        let mut stream = stream(false);
        let pieces = (0..100_000).take_while(|_| poll(&mut stream) == Poll::Ready(true)).count();
        assert_eq!(pieces, 160 * 1_024 / 256);
    }

    #[test]
    fn a_stream_is_stopped_unless_it_is_read() {
        let mut idle = stream(false);
        idle.stop_sending(7);
        assert_eq!(poll(&mut idle), Poll::Ready(true));
        idle.stop_sending(7);
        assert_eq!(idle.inner.stops, 2);
        let mut waiting = stream(true);
        assert_eq!(poll(&mut waiting), Poll::Pending);
        waiting.stop_sending(7);
        assert_eq!(waiting.inner.stops, 0);
    }
}
