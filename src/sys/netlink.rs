//! What the kernel says of changes to this host's network (rtnetlink(7)).
//!
//! Only *that* something has changed is read, and of what kind: whoever cares looks for himself,
//! since news come in any order, in pieces, and not at all when there are too many.

use std::fmt;
use std::io;
use std::ops::BitOrAssign;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, socket,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Octets read of one datagram. The kinds stand in the first 28 of a message; one of a link with
/// many virtual functions is longer than this, and its rest may be lost.
const DATAGRAM_OCTETS: usize = 8_192;
/// Datagrams read in one call: more than the kernel's default receive buffer holds, so that a call
/// sees its end, and an end for the call while somebody writes a million routes.
const MOST_DATAGRAMS: usize = 1_024;
/// `sizeof(struct nlmsghdr)`; messages are padded to four octets.
const HEADER_OCTETS: usize = 16;
const ALIGNMENT: usize = 4;
/// The multicast group RTNLGRP_IPV6_RULE (linux/rtnetlink.h), which has no old-style mask.
const IPV6_RULE_GROUP: u32 = 19;

/// What has changed in this host's network.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct NetworkChanges {
    /// Addresses came or went, or had their lifetime renewed.
    pub addresses: bool,
    /// Interfaces came, went, or changed their state.
    pub links: bool,
    /// Routes came or went, others than those of addresses of this host and of multicast.
    pub routes: bool,
    /// Rules of policy routing came or went, by which tunnels like to take over.
    pub rules: bool,
    /// There was more than we read: it may have been anything.
    pub lost: bool,
}

impl NetworkChanges {
    /// Nothing that we know of.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

impl BitOrAssign for NetworkChanges {
    fn bitor_assign(&mut self, other: Self) {
        self.addresses |= other.addresses;
        self.links |= other.links;
        self.routes |= other.routes;
        self.rules |= other.rules;
        self.lost |= other.lost;
    }
}

impl fmt::Display for NetworkChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            (self.addresses, "addresses"),
            (self.links, "links"),
            (self.routes, "routes"),
            (self.rules, "routing rules"),
            (self.lost, "more than was heard"),
        ];
        let words: Vec<_> = kinds.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect();
        f.write_str(&words.join(", "))
    }
}

/// Hears of changes to the network of the namespace that it was opened in.
#[derive(Debug)]
pub struct NetworkWatch {
    socket: AsyncFd<OwnedFd>,
    buffer: Box<[u8]>,
}

impl NetworkWatch {
    /// Subscribes to the news of addresses, links, routes and rules. Needs no privilege.
    ///
    /// # Errors
    /// The kernel's, where a sandbox keeps netlink from us.
    ///
    /// # Panics
    /// Outside a runtime with I/O.
    pub fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let route = SockProtocol::NetlinkRoute;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, route)?;
        let groups = libc::RTMGRP_LINK
            | libc::RTMGRP_IPV4_IFADDR
            | libc::RTMGRP_IPV4_ROUTE
            | libc::RTMGRP_IPV4_RULE
            | libc::RTMGRP_IPV6_IFADDR
            | libc::RTMGRP_IPV6_ROUTE;
        let groups = groups.cast_unsigned() | 1 << (IPV6_RULE_GROUP - 1);
        // Port 0: the kernel chooses one.
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        // SAFETY: an `OwnedFd` keeps its descriptor open until it is dropped, never replaces it,
        // and `as_raw_fd` always gives that one.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
        Ok(Self { socket, buffer: vec![0; DATAGRAM_OCTETS].into() })
    }

    /// Waits for news. Dropping the future loses none.
    ///
    /// # Errors
    /// The kernel's; the watch is of no more use then.
    pub async fn changed(&mut self) -> io::Result<NetworkChanges> {
        let Self { socket, buffer } = self;
        loop {
            let mut ready = socket.readable().await?;
            let (changes, is_end) = read_all(socket.get_ref(), buffer)?;
            if is_end {
                // What comes from here on is told anew.
                ready.clear_ready();
            }
            if !changes.is_empty() {
                return Ok(changes);
            }
        }
    }

    /// What has come meanwhile; waits for nothing.
    ///
    /// # Errors
    /// As [`Self::changed`].
    pub fn pending(&mut self) -> io::Result<NetworkChanges> {
        Ok(read_all(self.socket.get_ref(), &mut self.buffer)?.0)
    }
}

/// Reads what is there; gives also whether that was all.
fn read_all(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<(NetworkChanges, bool)> {
    let mut changes = NetworkChanges::default();
    for _ in 0..MOST_DATAGRAMS {
        match recvfrom::<NetlinkAddr>(socket.as_raw_fd(), buffer) {
            // Only the kernel has port 0: nobody else has news for us.
            Ok((octets, Some(from))) if from.pid() == 0 => {
                changes |= read(buffer.get(..octets).unwrap_or(&[]));
            }
            Ok(_) | Err(Errno::EINTR) => {}
            // The kernel had no room for news; it says so once, and goes on.
            Err(Errno::ENOBUFS) => changes.lost = true,
            Err(Errno::EAGAIN) => return Ok((changes, true)),
            Err(error) => return Err(error.into()),
        }
    }
    Ok((changes, false))
}

/// What the messages of one datagram are about.
fn read(mut datagram: &[u8]) -> NetworkChanges {
    let mut changes = NetworkChanges::default();
    // Every turn takes a header's length at least off the rest.
    while let Some(length) = u32_at(datagram, 0).and_then(|length| usize::try_from(length).ok()) {
        if length < HEADER_OCTETS {
            break;
        }
        let message = datagram.get(..length).unwrap_or(datagram);
        match u16_at(message, 4).unwrap_or_default() {
            libc::RTM_NEWADDR | libc::RTM_DELADDR => changes.addresses = true,
            libc::RTM_NEWLINK | libc::RTM_DELLINK => changes.links = true,
            libc::RTM_NEWRULE | libc::RTM_DELRULE => changes.rules = true,
            libc::RTM_NEWROUTE | libc::RTM_DELROUTE => {
                changes.routes |= leads_elsewhere(message.get(HEADER_OCTETS..).unwrap_or(&[]));
            }
            _ => {}
        }
        datagram = datagram.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or(&[]);
    }
    changes
}

/// Whether a route (`struct rtmsg`) can lead to an upstream: it is no copy that the kernel made
/// for one destination, and not one of those that come with each address.
fn leads_elsewhere(route: &[u8]) -> bool {
    let (Some(&table), Some(&kind)) = (route.get(4), route.get(7)) else { return true };
    let is_copy = u32_at(route, 8).is_some_and(|flags| flags & libc::RTM_F_CLONED != 0);
    let comes_with_an_address = table == libc::RT_TABLE_LOCAL
        || matches!(
            kind,
            libc::RTN_LOCAL | libc::RTN_BROADCAST | libc::RTN_ANYCAST | libc::RTN_MULTICAST
        );
    !is_copy && !comes_with_an_address
}

fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    octets.get(at..)?.first_chunk().copied().map(u16::from_ne_bytes)
}

fn u32_at(octets: &[u8], at: usize) -> Option<u32> {
    octets.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

/// Returns what the messages of one datagram are about. For the fuzz target `netlink`.
#[cfg(fuzzing)]
pub fn read_network_changes(datagram: &[u8]) -> NetworkChanges {
    read(datagram)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message of this type, padded.
    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER_OCTETS + body.len()).unwrap();
        let mut octets = length.to_ne_bytes().to_vec();
        octets.extend(kind.to_ne_bytes());
        octets.resize(HEADER_OCTETS, 0);
        octets.extend(body);
        octets.resize(octets.len().next_multiple_of(ALIGNMENT), 0);
        octets
    }

    fn route(table: u8, kind: u8, flags: u32) -> Vec<u8> {
        let mut body = vec![2, 24, 0, 0, table, 0, 0, kind];
        body.extend(flags.to_ne_bytes());
        message(libc::RTM_NEWROUTE, &body)
    }

    #[test]
    fn every_message_of_a_datagram_counts() {
        // The first body's length is no multiple of four.
        let datagram = [
            message(libc::RTM_DELADDR, &[0; 9]),
            message(libc::RTM_NEWLINK, &[]),
            message(libc::RTM_DELRULE, &[]),
        ];
        let changes = read(&datagram.concat());
        let expected =
            NetworkChanges { addresses: true, links: true, rules: true, ..Default::default() };
        assert_eq!(changes, expected);
        assert_eq!(changes.to_string(), "addresses, links, routing rules");
    }

    #[test]
    fn only_routes_that_lead_somewhere_count() {
        let (main, local) = (254, libc::RT_TABLE_LOCAL);
        for (octets, counts) in [
            (route(main, libc::RTN_UNICAST, 0), true),
            (route(main, libc::RTN_BLACKHOLE, 0), true),
            // A tunnel's own table; numbers over 255 show as 252.
            (route(252, libc::RTN_UNICAST, 0), true),
            (route(main, libc::RTN_UNICAST, libc::RTM_F_CLONED), false),
            (route(local, libc::RTN_LOCAL, 0), false),
            (route(local, libc::RTN_UNICAST, 0), false),
            (route(main, libc::RTN_MULTICAST, 0), false),
        ] {
            assert_eq!(read(&octets).routes, counts, "{octets:?}");
        }
    }

    #[test]
    fn garbage_ends() {
        let whole =
            [route(254, libc::RTN_UNICAST, 0), message(libc::RTM_NEWADDR, &[0; 8])].concat();
        for length in 0..whole.len() {
            // Whatever it says: it ends, without a panic.
            read(&whole[..length]);
        }
        assert!(read(&[0; 64]).is_empty(), "a length below the header's");
        // A length beyond the datagram: what is there still tells its kind.
        let mut long = message(libc::RTM_NEWADDR, &[]);
        long[..4].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert!(read(&long).addresses);
    }

    #[tokio::test]
    async fn the_kernel_lets_us_listen() {
        let mut watch = NetworkWatch::open().unwrap();
        // Whatever this machine's network does meanwhile, looking is no error.
        watch.pending().unwrap();
    }
}
