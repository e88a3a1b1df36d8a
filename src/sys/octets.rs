//! Socket addresses and control messages as the kernel lays them out.
//!
//! They are read and written as octets, by offset, so that no pointer is cast here. The layouts are
//! Linux's (`sockaddr_in`, `sockaddr_in6`: ip(7), ipv6(7); `cmsghdr`: cmsg(3)).

use std::mem::{offset_of, size_of};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Octets of the larger address, `sockaddr_in6`.
pub(super) const NAME_OCTETS: usize = size_of::<libc::sockaddr_in6>();
/// Octets of the smaller one.
const NAME_V4_OCTETS: usize = size_of::<libc::sockaddr_in>();
/// Where a control message's payload starts; `cmsghdr` is as long as its own alignment asks.
const CONTROL_HEADER_OCTETS: usize = size_of::<libc::cmsghdr>();
/// Room for one control message, `in6_pktinfo` being the longest we ask for, and its padding.
pub(super) const CONTROL_OCTETS: usize =
    (CONTROL_HEADER_OCTETS + size_of::<libc::in6_pktinfo>()).next_multiple_of(size_of::<usize>());

/// A peer's address, as `msg_name` wants it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct Name(pub(super) [u8; NAME_OCTETS]);

impl Name {
    pub(super) const EMPTY: Self = Self([0; NAME_OCTETS]);

    /// The address in it; `None` when the kernel wrote neither IPv4 nor IPv6.
    pub(super) fn read(&self) -> Option<SocketAddr> {
        let family = u16::from_ne_bytes(self.array(0)?);
        let port = u16::from_be_bytes(self.array(2)?);
        match i32::from(family) {
            libc::AF_INET => {
                let address = Ipv4Addr::from(self.array::<4>(4)?);
                Some(SocketAddr::V4(SocketAddrV4::new(address, port)))
            }
            libc::AF_INET6 => {
                let flow = u32::from_ne_bytes(self.array(4)?);
                let address = Ipv6Addr::from(self.array::<16>(8)?);
                let scope = u32::from_ne_bytes(self.array(24)?);
                Some(SocketAddr::V6(SocketAddrV6::new(address, port, flow, scope)))
            }
            _ => None,
        }
    }

    /// Writes `address`; returns how many octets count.
    pub(super) fn write(&mut self, address: &SocketAddr) -> usize {
        let mut to = Cursor { octets: &mut self.0, at: 0 };
        match address {
            SocketAddr::V4(v4) => {
                to.put(&family(libc::AF_INET));
                to.put(&v4.port().to_be_bytes());
                to.put(&v4.ip().octets());
                to.put(&[0; 8]);
                NAME_V4_OCTETS
            }
            SocketAddr::V6(v6) => {
                to.put(&family(libc::AF_INET6));
                to.put(&v6.port().to_be_bytes());
                to.put(&v6.flowinfo().to_ne_bytes());
                to.put(&v6.ip().octets());
                to.put(&v6.scope_id().to_ne_bytes());
                NAME_OCTETS
            }
        }
    }

    fn array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        array(&self.0, at)
    }
}

/// The control data of one message.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct Control(pub(super) [u8; CONTROL_OCTETS]);

impl Control {
    pub(super) const EMPTY: Self = Self([0; CONTROL_OCTETS]);

    /// The way back that the first `length` octets tell of.
    pub(super) fn read(&self, length: usize) -> ReplyPath {
        self.packet_info(length).unwrap_or(ReplyPath::Bound)
    }

    /// The first control message is the only one that our sockets ask for.
    fn packet_info(&self, length: usize) -> Option<ReplyPath> {
        let octets = self.0.get(..length)?;
        let level = i32::from_ne_bytes(array(octets, offset_of!(libc::cmsghdr, cmsg_level))?);
        let kind = i32::from_ne_bytes(array(octets, offset_of!(libc::cmsghdr, cmsg_type))?);
        let info = octets.get(CONTROL_HEADER_OCTETS..)?;
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // `ipi_spec_dst`, not `ipi_addr`: for a broadcast it is still an address of ours.
                let at = offset_of!(libc::in_pktinfo, ipi_spec_dst);
                Some(ReplyPath::V4(Ipv4Addr::from(array::<4>(info, at)?)))
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                let at = offset_of!(libc::in6_pktinfo, ipi6_addr);
                let address = Ipv6Addr::from(array::<16>(info, at)?);
                let at = offset_of!(libc::in6_pktinfo, ipi6_ifindex);
                let interface = u32::from_ne_bytes(array(info, at)?);
                // No reply can leave from a group's address (RFC 4291 §2.7).
                (!address.is_multicast()).then_some(ReplyPath::V6(address, interface))
            }
            _ => None,
        }
    }

    /// Writes what makes a reply take `path`; returns how many octets count, 0 for none.
    pub(super) fn write(&mut self, path: ReplyPath) -> usize {
        match path {
            ReplyPath::Bound => 0,
            ReplyPath::V4(source) => {
                let mut info = [0; size_of::<libc::in_pktinfo>()];
                // Interface 0: the routing table says where it goes, the source stays ours.
                let mut to =
                    Cursor { octets: &mut info, at: offset_of!(libc::in_pktinfo, ipi_spec_dst) };
                to.put(&source.octets());
                self.put(libc::IPPROTO_IP, libc::IP_PKTINFO, &info)
            }
            ReplyPath::V6(source, interface) => {
                let mut info = [0; size_of::<libc::in6_pktinfo>()];
                let mut to = Cursor { octets: &mut info, at: 0 };
                to.put(&source.octets());
                // A link-local source means nothing without its link (RFC 4007 §6); for the others
                // the routing table decides.
                let interface = if source.is_unicast_link_local() { interface } else { 0 };
                to.put(&interface.to_ne_bytes());
                self.put(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info)
            }
        }
    }

    fn put(&mut self, level: i32, kind: i32, info: &[u8]) -> usize {
        let length = CONTROL_HEADER_OCTETS + info.len();
        self.0 = [0; CONTROL_OCTETS];
        for (at, field) in [
            (offset_of!(libc::cmsghdr, cmsg_len), &length.to_ne_bytes()[..]),
            (offset_of!(libc::cmsghdr, cmsg_level), &level.to_ne_bytes()[..]),
            (offset_of!(libc::cmsghdr, cmsg_type), &kind.to_ne_bytes()[..]),
            (CONTROL_HEADER_OCTETS, info),
        ] {
            Cursor { octets: &mut self.0, at }.put(field);
        }
        length.next_multiple_of(size_of::<usize>())
    }
}

/// How a reply gets back from the address that the query came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplyPath {
    /// The socket is bound to one address; there is nothing to choose.
    Bound,
    /// A wildcard socket; the query came to this address.
    V4(Ipv4Addr),
    /// The same with the index of the interface it came in by, which link-local addresses need.
    V6(Ipv6Addr, u32),
}

/// Writes field after field; what does not fit is left out, and the sizes above make all fit.
struct Cursor<'a> {
    octets: &'a mut [u8],
    at: usize,
}

impl Cursor<'_> {
    fn put(&mut self, field: &[u8]) {
        let end = self.at + field.len();
        if let Some(to) = self.octets.get_mut(self.at..end) {
            to.copy_from_slice(field);
        }
        self.at = end;
    }
}

fn array<const N: usize>(octets: &[u8], at: usize) -> Option<[u8; N]> {
    octets.get(at..)?.first_chunk().copied()
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "AF_INET is 2 and AF_INET6 is 10"
)]
fn family(family: i32) -> [u8; 2] {
    (family as u16).to_ne_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back_as_they_were_written() {
        for text in ["192.0.2.7:53", "[2001:db8::7]:5353", "[fe80::1%3]:53"] {
            let address: SocketAddr = text.parse().unwrap();
            let mut name = Name::EMPTY;
            let length = name.write(&address);
            assert_eq!(length, if address.is_ipv4() { 16 } else { 28 });
            assert_eq!(name.read(), Some(address));
        }
    }

    #[test]
    fn an_unknown_family_is_no_address() {
        assert_eq!(Name::EMPTY.read(), None);
    }

    #[test]
    fn a_path_comes_back_as_it_was_written() {
        let link_local = "fe80::1".parse().unwrap();
        for path in [
            ReplyPath::Bound,
            ReplyPath::V4(Ipv4Addr::new(192, 0, 2, 7)),
            ReplyPath::V6(link_local, 3),
        ] {
            let mut control = Control::EMPTY;
            let length = control.write(path);
            assert_eq!(control.read(length), path);
        }
    }

    #[test]
    fn only_link_local_sources_pin_the_interface() {
        let global = "2001:db8::1".parse().unwrap();
        let mut control = Control::EMPTY;
        let length = control.write(ReplyPath::V6(global, 3));
        assert_eq!(control.read(length), ReplyPath::V6(global, 0));
    }

    #[test]
    fn a_group_address_is_no_source() {
        let mut control = Control::EMPTY;
        let length = control.write(ReplyPath::V6("ff02::1".parse().unwrap(), 3));
        assert_eq!(control.read(length), ReplyPath::Bound);
    }

    #[test]
    fn control_data_cut_anywhere_is_harmless() {
        let mut control = Control::EMPTY;
        let length = control.write(ReplyPath::V4(Ipv4Addr::LOCALHOST));
        for cut in 0..CONTROL_HEADER_OCTETS + 8 {
            assert_eq!(control.read(cut), ReplyPath::Bound, "cut at {cut}");
        }
        assert_eq!(control.read(length + CONTROL_OCTETS), ReplyPath::Bound);
    }
}
