//! A UDP socket that receives and sends in batches.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::ptr;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::batch::{BATCH_SLOTS, Batch};
use super::outbox::{Outbox, Unsent};

/// A bound, non-blocking UDP socket.
#[derive(Debug)]
pub struct UdpSocket {
    socket: std::net::UdpSocket,
}

/// What became of the replies of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Sent {
    /// Handed to the kernel.
    pub sent: usize,
    /// Given up: the socket's buffer was full, or the kernel refused this one (no route, a packet
    /// filter). The client asks again; waiting would make everybody else wait too.
    pub dropped: usize,
}

impl UdpSocket {
    /// `socket` must be non-blocking.
    pub(super) fn new(socket: std::net::UdpSocket) -> Self {
        Self { socket }
    }

    /// Gives the socket to the current runtime, which then tells when datagrams are there.
    ///
    /// # Errors
    /// The kernel's, when the runtime cannot watch one more descriptor.
    ///
    /// # Panics
    /// Outside a runtime with I/O.
    pub fn watched(self) -> io::Result<AsyncFd<Self>> {
        // SAFETY: `self` owns the descriptor, open until it is dropped, never replaced, and
        // `as_raw_fd` below always returns that one.
        Ok(unsafe { AsyncFd::register_with_interest(self, Interest::READABLE) }?)
    }

    /// The address bound.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Takes what has come, at most [`BATCH_SLOTS`] datagrams; returns how many.
    /// Fewer than that means that the queue was seen empty.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there. Anything else concerns this call alone (an ICMP error
    /// that the kernel kept for us, no memory): the socket stays good.
    pub fn recv_batch(&self, batch: &mut Batch) -> io::Result<usize> {
        let headers = batch.arm();
        // SAFETY: `arm` gives `BATCH_SLOTS` headers whose pointers stay good while `batch` is
        // borrowed; the descriptor is open; a null timeout is allowed.
        let received = unsafe {
            libc::recvmmsg(self.as_raw_fd(), headers, SLOTS, RECEIVE_FLAGS, ptr::null_mut())
        };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        batch.set_filled(received);
        Ok(received)
    }

    /// Sends every reply of `batch`, each from where its query came to. Never waits.
    pub fn send_batch(&self, batch: &mut Batch) -> Sent {
        let headers = batch.outgoing();
        let mut sent = Sent::default();
        let mut rest = headers;
        // Every turn takes at least one message off `rest`.
        while !rest.is_empty() {
            let count = u32::try_from(rest.len()).unwrap_or(SLOTS);
            // SAFETY: `outgoing` wrote `count` headers whose pointers stay good while `batch` is
            // borrowed, which `rest` does; the descriptor is open.
            let done =
                unsafe { libc::sendmmsg(self.as_raw_fd(), rest.as_mut_ptr(), count, SEND_FLAGS) };
            let taken = match usize::try_from(done) {
                Ok(done) if done > 0 => {
                    sent.sent += done;
                    done
                }
                _ if socket_is_full(&io::Error::last_os_error()) => {
                    sent.dropped += rest.len();
                    break;
                }
                // This one cannot go; the next goes elsewhere.
                _ => {
                    sent.dropped += 1;
                    1
                }
            };
            rest = rest.get_mut(taken..).unwrap_or_default();
        }
        sent
    }

    /// Sends what waits in `outbox`, and empties it. Never waits.
    pub fn send_all(&self, outbox: &mut Outbox) -> Sent {
        let mut sent = Sent::default();
        // Every turn takes at least one datagram out.
        while !outbox.is_empty() {
            match outbox.send(self) {
                Ok(count) => sent.sent += count,
                Err(Unsent { sent: count, error }) => {
                    sent.sent += count;
                    // Otherwise this one cannot go; the next goes elsewhere.
                    let dropped = if socket_is_full(&error) { outbox.len() } else { 1 };
                    sent.dropped += dropped;
                    outbox.drop_first(dropped);
                }
            }
        }
        sent
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for UdpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Never wait, whatever the descriptor's mode.
const RECEIVE_FLAGS: i32 = libc::MSG_DONTWAIT;
/// As above, and no signal when the other side is gone.
pub(super) const SEND_FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
#[allow(clippy::cast_possible_truncation, reason = "64")]
const SLOTS: u32 = BATCH_SLOTS as u32;

/// No message more goes out now, whoever it is for.
fn socket_is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM))
}

#[cfg(test)]
mod tests;
