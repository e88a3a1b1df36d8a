//! The memory of one `recvmmsg` and the `sendmmsg` that answers it.
//!
//! Allocated once, used for ever: headers, addresses and control data lie where the kernel was told
//! they lie. A batch belongs to one thread; sockets of that thread may share it.

use std::mem;
use std::net::SocketAddr;
use std::ptr::{self, NonNull};

use super::octets::{CONTROL_OCTETS, Control, NAME_OCTETS, Name, ReplyPath};

/// Datagrams in one call. The cost of a system call is lost in the noise from about 32 on; 64 keeps
/// a batch (some 170 KiB with replies) in the second-level cache.
pub const BATCH_SLOTS: usize = 64;
/// Octets kept of a datagram. Queries are far below the 1,232 that we offer for EDNS (DNS flag day
/// 2020); what is longer than this is cut and marked.
pub const RECEIVE_OCTETS: usize = 1_280;
/// Octets that a reply may take without an allocation: the most we ever send over UDP.
pub const REPLY_OCTETS: usize = 1_232;

#[allow(clippy::cast_possible_truncation, reason = "28")]
const NAME_OCTETS_U32: u32 = NAME_OCTETS as u32;

/// One datagram's place.
struct Slot {
    /// Points at `payload`, always.
    receive: libc::iovec,
    /// Points at the reply while it is sent.
    send: libc::iovec,
    name: Name,
    control: Control,
    payload: [u8; RECEIVE_OCTETS],
}

/// All that the kernel reads and writes.
struct Kernel {
    received: [libc::mmsghdr; BATCH_SLOTS],
    sending: [libc::mmsghdr; BATCH_SLOTS],
    slots: [Slot; BATCH_SLOTS],
}

/// Buffers for [`BATCH_SLOTS`] datagrams and their replies.
pub struct Batch {
    /// From `Box::into_raw`. The headers inside hold pointers derived from it, so it is never
    /// turned back into a `Box` before the end.
    kernel: NonNull<Kernel>,
    /// Slots that the last receive filled.
    filled: usize,
    replies: Box<[Vec<u8>]>,
}

/// One datagram of a batch.
#[derive(Debug)]
pub struct Received<'a> {
    /// What came, at most [`RECEIVE_OCTETS`].
    pub payload: &'a [u8],
    /// More came than `payload` holds.
    pub truncated: bool,
    /// Who sent it, as the kernel says: IPv4-mapped addresses are not folded here.
    pub peer: SocketAddr,
    /// How a reply goes back.
    pub path: ReplyPath,
    /// What `send_batch` sends to `peer`; left empty, nothing goes out.
    pub reply: &'a mut Vec<u8>,
}

impl Batch {
    /// Allocates all that a batch ever needs.
    #[must_use]
    pub fn new() -> Self {
        // SAFETY: `Kernel` is integers, arrays of them and raw pointers; zero is valid for each.
        let kernel: Box<Kernel> = Box::new(unsafe { mem::zeroed() });
        let kernel = NonNull::from(Box::leak(kernel));
        for index in 0..BATCH_SLOTS {
            // SAFETY: `kernel` is a live allocation that nobody else refers to, and `index` is
            // inside both arrays; only places are computed, no reference is made.
            unsafe {
                let received: *mut libc::mmsghdr = (&raw mut (*kernel.as_ptr()).received).cast();
                let slots: *mut Slot = (&raw mut (*kernel.as_ptr()).slots).cast();
                let header = &raw mut (*received.add(index)).msg_hdr;
                let slot = slots.add(index);
                (*slot).receive.iov_base = (&raw mut (*slot).payload).cast();
                (*slot).receive.iov_len = RECEIVE_OCTETS;
                (*header).msg_iov = &raw mut (*slot).receive;
                (*header).msg_iovlen = 1;
                (*header).msg_name = (&raw mut (*slot).name).cast();
                (*header).msg_control = (&raw mut (*slot).control).cast();
            }
        }
        let replies = (0..BATCH_SLOTS).map(|_| Vec::with_capacity(REPLY_OCTETS)).collect();
        // Every header has to be armed once.
        Self { kernel, filled: BATCH_SLOTS, replies }
    }

    /// The datagrams of the last receive, in the order in which they came.
    pub fn received(&mut self) -> impl Iterator<Item = Received<'_>> {
        let filled = self.filled;
        let (kernel, replies) = self.parts();
        let slots = kernel.slots.iter().zip(&kernel.received).take(filled);
        slots.zip(replies).filter_map(|((slot, header), reply)| {
            Some(Received {
                payload: slot.payload.get(..header.msg_len as usize).unwrap_or(&slot.payload),
                truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
                peer: slot.name.read()?,
                path: slot.control.read(control_octets(&header.msg_hdr)),
                reply,
            })
        })
    }

    /// Readies the slots that the last receive used; returns the headers for the next one.
    pub(super) fn arm(&mut self) -> *mut libc::mmsghdr {
        let filled = mem::take(&mut self.filled);
        let (kernel, replies) = self.parts();
        for (header, reply) in kernel.received.iter_mut().zip(replies).take(filled) {
            header.msg_hdr.msg_namelen = NAME_OCTETS_U32;
            header.msg_hdr.msg_controllen = CONTROL_OCTETS as _;
            header.msg_hdr.msg_flags = 0;
            reply.clear();
        }
        // SAFETY: a place inside the live allocation; deriving it from the allocation's own pointer
        // lets the kernel reach the slots through the headers, whose pointers come from there too.
        unsafe { (&raw mut (*self.kernel.as_ptr()).received).cast() }
    }

    /// Notes what the kernel filled.
    pub(super) fn set_filled(&mut self, filled: usize) {
        self.filled = filled.min(BATCH_SLOTS);
    }

    /// Headers for the slots that have a reply. The pointers inside are good until the batch is
    /// used again.
    pub(super) fn outgoing(&mut self) -> &mut [libc::mmsghdr] {
        let filled = self.filled;
        let (kernel, replies) = self.parts();
        let mut headers = kernel.sending.iter_mut();
        let mut count = 0;
        let slots = kernel.slots.iter_mut().zip(&kernel.received).zip(replies).take(filled);
        for ((slot, received), reply) in slots.filter(|(_, reply)| !reply.is_empty()) {
            let Some(header) = headers.next() else { break };
            let path = slot.control.read(control_octets(&received.msg_hdr));
            let control_octets = slot.control.write(path);
            let header = &mut header.msg_hdr;
            header.msg_name = (&raw mut slot.name).cast();
            header.msg_namelen = received.msg_hdr.msg_namelen;
            header.msg_control = match control_octets {
                0 => ptr::null_mut(),
                _ => (&raw mut slot.control).cast(),
            };
            header.msg_controllen = control_octets as _;
            slot.send = libc::iovec { iov_base: reply.as_mut_ptr().cast(), iov_len: reply.len() };
            header.msg_iov = &raw mut slot.send;
            header.msg_iovlen = 1;
            count += 1;
        }
        kernel.sending.get_mut(..count).unwrap_or_default()
    }

    fn parts(&mut self) -> (&mut Kernel, &mut [Vec<u8>]) {
        // SAFETY: the allocation lives as long as `self`, and `&mut self` makes this the only
        // reference. The headers' pointers are not used by the kernel while it lives.
        (unsafe { self.kernel.as_mut() }, &mut self.replies)
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `Box::leak` in `new` and is given back once.
        drop(unsafe { Box::from_raw(self.kernel.as_ptr()) });
    }
}

/// Control octets that the kernel wrote; the field's type is the C library's choice.
#[allow(clippy::unnecessary_cast, reason = "u32 with musl, usize with glibc")]
fn control_octets(header: &libc::msghdr) -> usize {
    header.msg_controllen as usize
}
