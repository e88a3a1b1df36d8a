//! What happened to clients' sockets, for metrics. Rare events only: the atomics are shared.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Events since the start, all workers together.
#[derive(Default, Debug)]
pub struct Tally {
    /// UDP replies given up: a full socket buffer, no route, a packet filter.
    pub udp_unsent: Count,
    /// Queries for upstreams that were dropped because more came than could be forwarded.
    pub udp_shed: Count,
    /// Receive calls that failed.
    pub udp_receive_failed: Count,
    /// Queries longer than a receive slot; what is there of them is answered, with an error.
    pub udp_truncated: Count,
    /// TCP connections served.
    pub tcp_opened: Count,
    /// Refused or closed at once, without a place: the client is outside `[access]`.
    pub tcp_outside_access: Count,
    /// Closed at once: the client holds as many as it may.
    pub tcp_over_client_cap: Count,
    /// Closed for a newcomer: as many are open as may be, or descriptors ran out.
    pub tcp_gave_way: Count,
    /// Closed after `tcp-idle`, which is everyday.
    pub tcp_idle: Count,
    /// Cut off: a message that did not end in time.
    pub tcp_slow_message: Count,
    /// Cut off: a client that did not take its answers in time.
    pub tcp_slow_reader: Count,
    /// Closed because all together held too many octets of late answers, and they the most.
    pub tcp_over_memory: Count,
    /// `accept` that failed on our side: no descriptors, no memory.
    pub accept_failed: Count,
}

impl fmt::Display for Tally {
    /// `label=value` words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            ("udp-unsent", &self.udp_unsent),
            ("udp-shed", &self.udp_shed),
            ("udp-receive-failed", &self.udp_receive_failed),
            ("udp-truncated", &self.udp_truncated),
            ("tcp-opened", &self.tcp_opened),
            ("tcp-outside-access", &self.tcp_outside_access),
            ("tcp-over-client-cap", &self.tcp_over_client_cap),
            ("tcp-gave-way", &self.tcp_gave_way),
            ("tcp-idle", &self.tcp_idle),
            ("tcp-slow-message", &self.tcp_slow_message),
            ("tcp-slow-reader", &self.tcp_slow_reader),
            ("tcp-over-memory", &self.tcp_over_memory),
            ("accept-failed", &self.accept_failed),
        ];
        for (index, (label, count)) in counts.into_iter().enumerate() {
            write!(f, "{}{label}={}", if index == 0 { "" } else { " " }, count.total())?;
        }
        Ok(())
    }
}

/// One counter.
#[derive(Default, Debug)]
pub struct Count(AtomicU64);

impl Count {
    /// How many so far.
    pub fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, more: usize) {
        self.0.fetch_add(more as u64, Ordering::Relaxed);
    }
}
