//! The real binary, and what one asks it.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, RecordType};

use super::process::{self, PATIENCE, Process};
use super::space::Space;

pub(crate) struct Daemon {
    process: Process,
    address: SocketAddr,
    is_v6: bool,
}

/// Writes the file.
pub(crate) fn config(space: &Space, listen: &str, rules: &str) -> PathBuf {
    let config = space.folder().join("privatelinkd.toml");
    let text = format!("[listen]\ndns = {listen}\n[limits]\nworkers = 1\n{rules}timeout = '2s'\n");
    std::fs::write(&config, text).expect("written");
    config
}

/// A query that was sent.
pub(crate) struct Waiting(UdpSocket);

impl Daemon {
    pub(crate) fn start(space: &Space, upstream: SocketAddr) -> Self {
        let rule = format!("[[forward]]\nzones = ['.']\nupstreams = ['{upstream}']\n");
        Self::start_with(space, "['127.0.0.1:0']", &rule, upstream.is_ipv6())
    }

    /// Listens there (the list, and what else the table has), with these rules, the last of which
    /// may still take a key. The upstream is
    /// asked for AAAA if it is reached over IPv6.
    pub(crate) fn start_with(space: &Space, listen: &str, rules: &str, is_v6: bool) -> Self {
        let mut process = Process::start(&mut process::run(&config(space, listen, rules)));
        Self { address: process.address(), process, is_v6 }
    }

    /// What it has written to stderr so far.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    pub(crate) fn wait_for_log(&self, text: &str) {
        self.process.wait_for_log(text);
    }

    pub(crate) fn signal(&self, signal: &str) {
        self.process.signal(signal);
    }

    /// The address in the answer, which is the one that the upstream was asked from; `None`: a
    /// failure.
    pub(crate) fn ask(&self) -> Option<IpAddr> {
        self.send().receive()
    }

    pub(crate) fn send(&self) -> Waiting {
        self.send_for("whence.example.")
    }

    /// Asks for another name, because the failure of a name is remembered.
    pub(crate) fn send_for(&self, name: &str) -> Waiting {
        self.send_from(0, name)
    }

    /// From this port, where the kernel has none left to give.
    pub(crate) fn send_from(&self, port: u16, name: &str) -> Waiting {
        let socket = UdpSocket::bind(("127.0.0.1", port)).expect("a socket");
        socket.connect(self.address).expect("connected");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let mut message = Message::new(1, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        let name = Name::from_ascii(name).expect("a name");
        let rtype = if self.is_v6 { RecordType::AAAA } else { RecordType::A };
        message.add_query(Query::query(name, rtype));
        socket.send(&message.to_vec().expect("encodable")).expect("sent");
        Waiting(socket)
    }
}

impl Waiting {
    /// See [`Daemon::ask`].
    pub(crate) fn receive(&self) -> Option<IpAddr> {
        let mut reply = [0; 4_096];
        let octets = self.0.recv(&mut reply).expect("the daemon says something");
        let message = Message::from_vec(&reply[..octets]).expect("a message");
        match message.answers.last()?.data {
            RData::A(address) => Some(address.0.into()),
            RData::AAAA(address) => Some(address.0.into()),
            _ => None,
        }
    }
}
