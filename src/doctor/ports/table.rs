//! Who holds a port: the kernel's tables of sockets, and whose descriptors those are.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use crate::sys::Transport;

/// Lines of one table that are read: a busy host has some 100,000 connections.
const MAX_LINES: usize = 1_000_000;
/// Descriptors that are looked at.
const MAX_DESCRIPTORS: usize = 1_000_000;
/// The states of sockets that wait for others: `TCP_LISTEN`, and `TCP_CLOSE` for UDP ones that are not
/// connected (include/net/tcp_states.h).
const WAITING: [(Transport, &str); 2] = [(Transport::Tcp, "0A"), (Transport::Udp, "07")];

/// A socket that waits for others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Waiting {
    pub(super) transport: Transport,
    pub(super) address: SocketAddr,
    pub(super) user: u32,
    pub(super) inode: u64,
}

/// A program.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::doctor) struct Program {
    pub(in crate::doctor) id: u32,
    /// As the kernel has it: up to 15 octets.
    pub(in crate::doctor) name: String,
    /// Its systemd unit, if it has one.
    pub(in crate::doctor) unit: Option<String>,
}

/// All sockets of this network namespace that wait for others.
pub(super) fn waiting() -> Vec<Waiting> {
    let tables = [
        ("udp", Transport::Udp),
        ("udp6", Transport::Udp),
        ("tcp", Transport::Tcp),
        ("tcp6", Transport::Tcp),
    ];
    tables.iter().flat_map(|(table, transport)| read_table(table, *transport)).collect()
}

fn read_table(table: &str, transport: Transport) -> Vec<Waiting> {
    let Ok(file) = File::open(Path::new("/proc/self/net").join(table)) else { return Vec::new() };
    let lines = BufReader::new(file).lines().map_while(Result::ok).skip(1).take(MAX_LINES);
    lines.filter_map(|line| read_line(&line, transport)).collect()
}

/// `sl local remote state queues timer retransmits uid timeout inode …` (proc_pid_net(5)).
fn read_line(line: &str, transport: Transport) -> Option<Waiting> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let address = read_address(words.next()?)?;
    let state = words.nth(1)?;
    if !WAITING.contains(&(transport, state)) {
        return None;
    }
    let user = words.nth(3)?.parse().ok()?;
    let inode = words.nth(1)?.parse().ok()?;
    Some(Waiting { transport, address, user, inode })
}

/// Words of 32 bits as the machine has them, in hexadecimal digits, and the port as a number.
fn read_address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let digits = ip.get(at * 8..at * 8 + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    let ip: IpAddr = match ip.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let octets = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
            Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Whether a socket at `theirs` keeps one from `ours`.
pub(super) fn is_in_the_way(theirs: SocketAddr, ours: SocketAddr) -> bool {
    let (their_ip, our_ip) = (theirs.ip().to_canonical(), ours.ip().to_canonical());
    // `::` mostly takes IPv4 too, and the table does not say whether it does.
    let takes_both = their_ip == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    theirs.port() == ours.port()
        && (takes_both
            || their_ip.is_ipv4() == our_ip.is_ipv4()
                && (their_ip == our_ip || their_ip.is_unspecified() || our_ip.is_unspecified()))
}

/// Whose sockets these are, as far as we may look. Others' programs need root.
pub(super) fn programs(inodes: &[u64]) -> HashMap<u64, Program> {
    let mut found = HashMap::new();
    let Ok(processes) = fs::read_dir("/proc") else { return found };
    let mut left = MAX_DESCRIPTORS;
    for process in processes.filter_map(Result::ok) {
        let Some(id) = process.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else { continue };
        for descriptor in descriptors.filter_map(Result::ok).take(left) {
            left -= 1;
            let link = fs::read_link(descriptor.path());
            let inode = link.ok().as_deref().and_then(Path::to_str).and_then(socket_of);
            if let Some(inode) = inode.filter(|inode| inodes.contains(inode)) {
                found.entry(inode).or_insert_with(|| program(id));
            }
        }
    }
    found
}

fn socket_of(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

fn program(id: u32) -> Program {
    let read = |file: &str| fs::read_to_string(format!("/proc/{id}/{file}")).unwrap_or_default();
    let name = printable(read("comm").trim());
    Program { id, name, unit: unit_of(&read("cgroup")) }
}

/// `0::/system.slice/named.service`: the last part, if it is a service.
fn unit_of(groups: &str) -> Option<String> {
    let mut parts = groups.lines().filter_map(|line| line.rsplit('/').next());
    parts.find(|part| part.ends_with(".service")).map(printable)
}

/// A process names itself.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel_are_read() {
        // As a little-endian machine writes 127.0.0.53:53 and [::1]:53.
        let line = "  13: 3500007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000   \
            101        0 18999 2 0000000000000000 0";
        let read = read_line(line, Transport::Udp);
        if cfg!(target_endian = "little") {
            let expected = Waiting {
                transport: Transport::Udp,
                address: "127.0.0.53:53".parse().unwrap(),
                user: 101,
                inode: 18_999,
            };
            assert_eq!(read, Some(expected));
            let six = read_address("00000000000000000000000001000000:0035");
            assert_eq!(six, Some("[::1]:53".parse().unwrap()));
        }
        assert_eq!(read_line(&line.replace(" 07 ", " 01 "), Transport::Udp), None, "connected");
        assert_eq!(read_line(line, Transport::Tcp), None);
        for broken in ["", "0: 1", "0: 0100007:0035 0:0 07", "0: zz00007F:0035 0:0 07 a b c d e f"]
        {
            assert_eq!(read_line(broken, Transport::Udp), None, "{broken}");
        }
    }

    #[test]
    fn our_own_socket_is_found_to_be_ours() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let listener = std::net::TcpListener::bind("[::1]:0").unwrap();
        let all = waiting();
        let inodes = [
            (Transport::Udp, socket.local_addr().unwrap()),
            (Transport::Tcp, listener.local_addr().unwrap()),
        ]
        .map(|(transport, address)| {
            let is_it = |one: &&Waiting| one.transport == transport && one.address == address;
            all.iter().find(is_it).unwrap_or_else(|| panic!("{address}: {all:?}")).inode
        });
        let found = programs(&inodes);
        for inode in inodes {
            assert_eq!(found[&inode].id, std::process::id());
        }
    }

    #[test]
    fn wildcards_are_in_the_way_of_their_family() {
        let check = |theirs: &str, ours: &str| {
            is_in_the_way(theirs.parse().unwrap(), ours.parse().unwrap())
        };
        assert!(check("127.0.0.53:53", "0.0.0.0:53"));
        assert!(check("0.0.0.0:53", "127.0.0.1:53"));
        assert!(check("[::]:53", "127.0.0.1:53"));
        assert!(check("10.0.0.1:53", "10.0.0.1:53"));
        assert!(!check("127.0.0.53:53", "127.0.0.1:53"));
        assert!(!check("127.0.0.53:53", "[::]:53"));
        assert!(!check("0.0.0.0:53", "[::1]:53"));
        assert!(!check("10.0.0.1:54", "10.0.0.1:53"));
    }

    #[test]
    fn a_unit_is_the_last_part_of_a_group() {
        let unit = |text: &str| unit_of(text);
        assert_eq!(unit("0::/system.slice/named.service\n").as_deref(), Some("named.service"));
        assert_eq!(unit("0::/user.slice/session-1.scope\n"), None);
        assert_eq!(unit(""), None);
    }
}
