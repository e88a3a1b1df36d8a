//! Datagrams that go out together, in one `sendmmsg`.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};

use super::batch::BATCH_SLOTS;
use super::octets::{Control, Name, ReplyPath};
use super::udp::SEND_FLAGS;

/// At most [`BATCH_SLOTS`] datagrams that wait to be sent from one socket. Its memory grows to what
/// was needed and is kept.
#[derive(Default)]
pub struct Outbox {
    /// One payload behind the other.
    octets: Vec<u8>,
    datagrams: Vec<Datagram>,
    /// What the last call got: memory to use again, never read.
    places: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

struct Datagram {
    /// Where its payload ends: it begins where the one before ends.
    end: usize,
    name: Name,
    /// 0 for the peer that the socket is connected to.
    name_octets: u32,
    control: Control,
    control_octets: usize,
}

/// How sending ended that did not take everything. The first datagram left is the one it concerns.
#[derive(Debug)]
pub struct Unsent {
    /// How many had gone.
    pub sent: usize,
    /// Why the next did not.
    pub error: io::Error,
}

impl Outbox {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.datagrams.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// Whether the next one needs a [`Self::send`] first.
    pub fn is_full(&self) -> bool {
        self.datagrams.len() >= BATCH_SLOTS
    }

    /// Adds a datagram to the peer that the socket is connected to; `write` appends its payload.
    /// Does nothing when the box is full.
    pub fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.is_full() {
            return;
        }
        write(&mut self.octets);
        self.datagrams.push(Datagram {
            end: self.octets.len(),
            name: Name::EMPTY,
            name_octets: 0,
            control: Control::EMPTY,
            control_octets: 0,
        });
    }

    /// Adds a datagram to `peer` that takes `path`. Does nothing when the box is full.
    pub fn push_to(&mut self, payload: &[u8], peer: SocketAddr, path: ReplyPath) {
        if self.is_full() {
            return;
        }
        self.octets.extend_from_slice(payload);
        let (mut name, mut control) = (Name::EMPTY, Control::EMPTY);
        let name_octets = u32::try_from(name.write(&peer)).unwrap_or_default();
        let control_octets = control.write(path);
        let end = self.octets.len();
        self.datagrams.push(Datagram { end, name, name_octets, control, control_octets });
    }

    /// The payloads that wait, in their order.
    pub fn payloads(&self) -> impl Iterator<Item = &[u8]> {
        let begins = std::iter::once(0).chain(self.datagrams.iter().map(|datagram| datagram.end));
        let ends = self.datagrams.iter().map(|datagram| datagram.end);
        begins.zip(ends).map(|(begin, end)| self.octets.get(begin..end).unwrap_or_default())
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.octets.clear();
        self.datagrams.clear();
    }

    /// Forgets the first `count`.
    pub fn drop_first(&mut self, count: usize) {
        if count >= self.datagrams.len() {
            return self.clear();
        }
        let octets = count.checked_sub(1).and_then(|last| self.datagrams.get(last));
        let octets = octets.map_or(0, |datagram| datagram.end);
        self.octets.drain(..octets);
        self.datagrams.drain(..count);
        for datagram in &mut self.datagrams {
            datagram.end -= octets;
        }
    }

    /// Sends what waits. Never waits itself. What was sent is forgotten, all the rest is kept.
    ///
    /// # Errors
    /// What the kernel says of the first datagram that is left; those behind it were not tried.
    pub fn send(&mut self, socket: &impl AsFd) -> Result<usize, Unsent> {
        let mut total = 0;
        // Every turn takes at least one off.
        while !self.is_empty() {
            match self.send_once(socket) {
                Ok(sent) => {
                    total += sent;
                    self.drop_first(sent);
                }
                Err(error) => return Err(Unsent { sent: total, error }),
            }
        }
        Ok(total)
    }

    /// At least one when it is `Ok`.
    fn send_once(&mut self, socket: &impl AsFd) -> io::Result<usize> {
        let Self { octets, datagrams, places, headers } = self;
        places.clear();
        headers.clear();
        let (mut rest, mut begin) = (octets.as_mut_slice(), 0);
        for Datagram { end, .. } in &*datagrams {
            let Some((payload, behind)) = rest.split_at_mut_checked(end - begin) else { break };
            (rest, begin) = (behind, *end);
            let iov_base = payload.as_mut_ptr().cast();
            places.push(libc::iovec { iov_base, iov_len: payload.len() });
        }
        // Both are complete before their places are noted: neither moves any more.
        for (place, datagram) in places.iter_mut().zip(datagrams) {
            // SAFETY: `mmsghdr` is integers and pointers; zero is valid for each.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_iov = place;
            header.msg_hdr.msg_iovlen = 1;
            if datagram.name_octets > 0 {
                header.msg_hdr.msg_name = (&raw mut datagram.name).cast();
                header.msg_hdr.msg_namelen = datagram.name_octets;
            }
            if datagram.control_octets > 0 {
                header.msg_hdr.msg_control = (&raw mut datagram.control).cast();
                header.msg_hdr.msg_controllen = datagram.control_octets as _;
            }
            headers.push(header);
        }
        let (fd, count) = (socket.as_fd().as_raw_fd(), headers.len());
        let count = u32::try_from(count).unwrap_or_default();
        // SAFETY: `count` headers; each points at its place, its payload and, where there are
        // such, its name and control data, with their lengths. All that lies in `self`, which is
        // borrowed mutably and does not change during the call; the kernel writes nothing but the
        // headers. The descriptor is borrowed, so open.
        let sent = unsafe { libc::sendmmsg(fd, headers.as_mut_ptr(), count, SEND_FLAGS as _) };
        match usize::try_from(sent) {
            Ok(sent) if sent > 0 => Ok(sent),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    fn socket() -> UdpSocket {
        UdpSocket::bind("127.0.0.1:0").unwrap()
    }

    fn push(outbox: &mut Outbox, payload: &[u8]) {
        outbox.push(|out| out.extend_from_slice(payload));
    }

    #[test]
    fn a_full_box_goes_out_in_order_and_takes_no_more() {
        let (ours, theirs) = (socket(), socket());
        ours.connect(theirs.local_addr().unwrap()).unwrap();
        let mut outbox = Outbox::default();
        for number in 0..BATCH_SLOTS + 3 {
            assert_eq!(outbox.is_full(), number >= BATCH_SLOTS);
            push(&mut outbox, &[1].repeat(number));
        }
        let lengths: Vec<_> = outbox.payloads().map(<[u8]>::len).collect();
        assert_eq!(lengths, (0..BATCH_SLOTS).collect::<Vec<_>>());
        assert_eq!(outbox.send(&ours).unwrap(), BATCH_SLOTS);
        assert!(outbox.is_empty());
        for number in 0..BATCH_SLOTS {
            assert_eq!(theirs.recv(&mut [0; 100]).unwrap(), number);
        }
    }

    #[test]
    fn what_cannot_go_stops_the_rest_until_it_is_dropped() {
        let (ours, first, last) = (socket(), socket(), socket());
        let mut outbox = Outbox::default();
        let address = |socket: &UdpSocket| socket.local_addr().unwrap();
        outbox.push_to(b"first", address(&first), ReplyPath::Bound);
        // Nothing can be sent to port 0.
        outbox.push_to(b"nowhere", "127.0.0.1:0".parse().unwrap(), ReplyPath::Bound);
        outbox.push_to(b"last", address(&last), ReplyPath::Bound);
        let unsent = outbox.send(&ours).unwrap_err();
        assert_eq!((unsent.sent, unsent.error.kind()), (1, io::ErrorKind::InvalidInput));
        assert_eq!(outbox.payloads().collect::<Vec<_>>(), [&b"nowhere"[..], b"last"]);
        outbox.drop_first(1);
        assert_eq!(outbox.send(&ours).unwrap(), 1);
        assert_eq!(first.recv(&mut [0; 100]).unwrap(), 5);
        assert_eq!(last.recv(&mut [0; 100]).unwrap(), 4);
        outbox.drop_first(1);
        assert!(outbox.is_empty());
    }

    #[test]
    fn an_error_of_a_connected_socket_leaves_everything() {
        let (ours, theirs) = (socket(), socket());
        ours.connect(theirs.local_addr().unwrap()).unwrap();
        drop(theirs);
        ours.send(b"x").unwrap();
        let mut outbox = Outbox::default();
        push(&mut outbox, b"a");
        push(&mut outbox, b"b");
        let unsent = outbox.send(&ours).unwrap_err();
        assert_eq!((unsent.sent, unsent.error.kind()), (0, io::ErrorKind::ConnectionRefused));
        assert_eq!(outbox.len(), 2);
    }
}
