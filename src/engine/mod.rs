//! The decision: what a query gets.
#![allow(missing_docs)]
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    Udp,
    Tcp,
}

/// Who asks, how, and when.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Canonical: no IPv4-mapped IPv6.
    pub client: IpAddr,
    pub transport: Transport,
    pub now: Instant,
    /// Any number; turns the order of addresses.
    pub rotation: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// `out` holds the reply.
    Reply,
    /// Say nothing.
    Drop,
    /// Call `resolve`.
    Forward,
}

pub struct Snapshot {
    pub limits: crate::config::Limits,
}

/// One thread's engine. Not `Send`: it holds the thread's upstream sockets.
pub struct Worker {}

impl Worker {
    /// The configuration in force; load it once a batch.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        unreachable!()
    }
    /// Decides at once, appends the reply to `out`, counts and logs.
    pub fn answer(
        &self,
        _snapshot: &Arc<Snapshot>,
        _asked: &Asked,
        _request: &[u8],
        _out: &mut Vec<u8>,
    ) -> Verdict {
        Verdict::Drop
    }
    /// Finishes a query that [`Self::answer`] said to forward: always appends a reply to `out`,
    /// inside the rule's budget. Never cancelled by the caller.
    pub async fn resolve(
        &self,
        _snapshot: Arc<Snapshot>,
        _asked: &Asked,
        _request: &[u8],
        _out: &mut Vec<u8>,
    ) {
    }
}
