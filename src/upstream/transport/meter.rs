//! How much a server may send over one connection.
//!
//! A server that never stops sending (headers, settings, pings, promises, bodies) keeps a worker
//! busy. So each query allows the server a number of octets, and a connection whose server has sent
//! more ends.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Octets that a server may send before the first query: settings, and pings while nobody asks.
const AT_FIRST: u64 = 64 << 10;
/// Octets for each query: the largest reply, the largest header list, and as much again for frames
/// around them.
pub(super) const FOR_A_QUERY: u64 = 160 << 10;
/// Octets that queries with short replies leave over, at most: those of as many queries as may
/// wait on one connection.
const MOST: u64 = 512 * FOR_A_QUERY;

/// Octets that the server may still send.
#[derive(Clone, Debug)]
pub(super) struct Meter(Arc<AtomicU64>);

/// The server sent more than it may.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the server sends far more than any reply needs")]
pub(super) struct Exceeded;

impl Meter {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(AT_FIRST)))
    }

    /// A query leaves.
    pub(super) fn allow_query(&self) {
        let left = self.0.load(Ordering::Relaxed);
        self.0.store(left.saturating_add(FOR_A_QUERY).min(MOST), Ordering::Relaxed);
    }

    /// These octets came.
    pub(super) fn take(&self, octets: usize) -> Result<(), Exceeded> {
        let left = self.0.load(Ordering::Relaxed);
        let octets = u64::try_from(octets).unwrap_or(u64::MAX);
        self.0.store(left.saturating_sub(octets), Ordering::Relaxed);
        if octets > left { Err(Exceeded) } else { Ok(()) }
    }
}

/// A stream whose peer may send as much as its meter says.
pub(super) struct Metered<S> {
    stream: S,
    meter: Meter,
}

impl<S> Metered<S> {
    pub(super) fn new(stream: S, meter: Meter) -> Self {
        Self { stream, meter }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let octets = buffer.filled().len().saturating_sub(before);
        let taken = self.meter.take(octets);
        Poll::Ready(taken.map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why)))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, octets)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, octets)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[test]
    fn queries_allow_octets_up_to_a_limit() {
        let meter = Meter::new();
        assert_eq!(meter.take(64 << 10), Ok(()));
        assert_eq!(meter.take(1), Err(Exceeded));
        meter.allow_query();
        assert_eq!(meter.take(160 << 10), Ok(()));
        assert_eq!(meter.take(1), Err(Exceeded));
        (0..10_000).for_each(|_| meter.allow_query());
        assert_eq!(meter.take(512 * (160 << 10)), Ok(()));
        assert_eq!(meter.take(1), Err(Exceeded));
    }

    #[tokio::test]
    async fn a_stream_ends_at_its_limit() {
        let (ours, mut theirs) = duplex(1 << 20);
        theirs.write_all(&vec![0; 70_000]).await.unwrap();
        let mut metered = Metered::new(ours, Meter::new());
        let mut octets = vec![0; 65_536];
        metered.read_exact(&mut octets).await.unwrap();
        let error = metered.read(&mut octets).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        metered.write_all(b"ours has no limit").await.unwrap();
    }
}
