//! The memory of one `recvmmsg` on a connected socket: what came, without who sent it.
//!
//! Slots hold the largest datagram there is, so that a reply over the size we offered is whole.
//! They are far apart, and pages that nothing was ever written to take no memory.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

/// Datagrams in one call: most of a system call's own cost is gone by then.
pub const INBOX_SLOTS: usize = 32;
/// The largest UDP payload over IPv4 is 65,507 octets, over IPv6 (without jumbograms) 65,527.
const SLOT_OCTETS: usize = 65_535;
/// From slot to slot. No multiple of a page: the slots' beginnings would all fall into the same
/// few sets of the processor's cache.
const STRIDE_OCTETS: usize = 65_536 + 320;
#[allow(clippy::cast_possible_truncation, reason = "32")]
const SLOTS: u32 = INBOX_SLOTS as u32;

/// Room for [`INBOX_SLOTS`] datagrams of connected sockets. Belongs to one thread, whose sockets
/// may share it.
pub struct Inbox {
    octets: Box<[u8]>,
    /// Lengths of what the last receive brought.
    lengths: [usize; INBOX_SLOTS],
    filled: usize,
}

impl Inbox {
    /// Reserves addresses; memory comes with use.
    #[must_use]
    pub fn new() -> Self {
        // Zeroed by the kernel, page by page, when touched first.
        let octets = vec![0; STRIDE_OCTETS * INBOX_SLOTS].into_boxed_slice();
        Self { octets, lengths: [0; INBOX_SLOTS], filled: 0 }
    }

    /// Takes what has come to the non-blocking `socket`, at most [`INBOX_SLOTS`] datagrams; returns
    /// how many. Fewer than that means that the queue was seen empty, or that an error waits, of
    /// which readiness tells again.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there; else the socket's pending error, taken off it.
    pub fn receive(&mut self, socket: &impl AsFd) -> io::Result<usize> {
        self.filled = 0;
        let mut places = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; INBOX_SLOTS];
        for (place, slot) in places.iter_mut().zip(self.octets.chunks_exact_mut(STRIDE_OCTETS)) {
            place.iov_base = slot.as_mut_ptr().cast();
            place.iov_len = SLOT_OCTETS;
        }
        // SAFETY: `mmsghdr` is integers and pointers; zero is valid for each.
        let mut headers: [libc::mmsghdr; INBOX_SLOTS] = unsafe { std::mem::zeroed() };
        for (header, place) in headers.iter_mut().zip(&mut places) {
            header.msg_hdr.msg_iov = place;
            header.msg_hdr.msg_iovlen = 1;
        }
        let (fd, headers_at) = (socket.as_fd().as_raw_fd(), headers.as_mut_ptr());
        // SAFETY: `SLOTS` headers, each with one place that points at `SLOT_OCTETS` octets of a
        // slot of its own; all of them outlive the call, and nothing else refers to them during
        // it. The descriptor is borrowed, so open. A null timeout is allowed.
        let received = unsafe {
            libc::recvmmsg(fd, headers_at, SLOTS, libc::MSG_DONTWAIT as _, ptr::null_mut())
        };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        for (length, header) in self.lengths.iter_mut().zip(&headers) {
            *length = header.msg_len as usize;
        }
        self.filled = received.min(INBOX_SLOTS);
        Ok(self.filled)
    }

    /// What the last receive brought, in the order in which it came.
    pub fn messages(&self) -> impl Iterator<Item = &[u8]> {
        let slots = self.octets.chunks_exact(STRIDE_OCTETS).zip(self.lengths);
        slots.take(self.filled).map(|(slot, length)| slot.get(..length).unwrap_or_default())
    }
}

impl Default for Inbox {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    fn pair() -> (UdpSocket, UdpSocket) {
        let (ours, theirs) = (UdpSocket::bind("127.0.0.1:0"), UdpSocket::bind("127.0.0.1:0"));
        let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
        ours.connect(theirs.local_addr().unwrap()).unwrap();
        theirs.connect(ours.local_addr().unwrap()).unwrap();
        ours.set_nonblocking(true).unwrap();
        (ours, theirs)
    }

    #[test]
    fn a_full_inbox_and_the_rest_come_in_order_and_whole() {
        let (ours, theirs) = pair();
        let mut inbox = Inbox::new();
        for number in 0..=INBOX_SLOTS {
            let octets = if number == 3 { 65_507 } else { number };
            theirs.send(&vec![u8::try_from(number).unwrap(); octets]).unwrap();
        }
        assert_eq!(inbox.receive(&ours).unwrap(), INBOX_SLOTS);
        for (number, message) in inbox.messages().enumerate() {
            assert_eq!(message.len(), if number == 3 { 65_507 } else { number });
            assert!(message.iter().all(|octet| usize::from(*octet) == number));
        }
        assert_eq!(inbox.receive(&ours).unwrap(), 1);
        assert_eq!(inbox.messages().map(<[u8]>::len).collect::<Vec<_>>(), [INBOX_SLOTS]);
    }

    #[test]
    fn nothing_and_errors_leave_it_empty() {
        let (ours, theirs) = pair();
        let mut inbox = Inbox::new();
        theirs.send(b"x").unwrap();
        assert_eq!(inbox.receive(&ours).unwrap(), 1);
        assert_eq!(inbox.receive(&ours).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(inbox.messages().count(), 0);
        drop(theirs);
        ours.send(b"x").unwrap();
        assert_eq!(inbox.receive(&ours).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
