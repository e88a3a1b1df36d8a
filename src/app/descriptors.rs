//! The limit of open files, and its division between clients and upstreams.

use std::collections::HashSet;

use tracing::{debug, warn};

use crate::admin;
use crate::config::{Config, Scheme, UpstreamSource};
use crate::listeners::{self, Shared};
use crate::sys::{self, DescriptorLimit};
use crate::upstream::Link;

/// Files of the process itself: standard ones, signals, netlink, the socket of systemd, the cache
/// file, what is read at a reload, the control thread's runtime; and as many again to spare.
const PROCESS: u64 = 16;
/// Files of one worker's runtime: epoll, its waker, and what tokio may duplicate.
const RUNTIME: u64 = 4;
/// Sockets of one address in one worker: UDP and TCP.
const LISTENERS: u64 = 2;
/// Servers that a resolv.conf names at most (resolv.conf(5), MAXNS).
const RESOLV_CONF_SERVERS: u64 = 3;
/// Connections to `listen.admin` and its listener.
const ADMIN: u64 = admin::MAX_CONNECTIONS as u64 + 1;
/// Sockets of one worker to one server that is asked over UDP.
const PLAIN_SERVER: u64 = Link::MOST_DESCRIPTORS as u64;
/// The same over QUIC: a connection keeps its socket for three probe timeouts longer, until it has
/// drained (RFC 9000 §10.2). With a server that closes many, as many sockets are in that state.
const QUIC_SERVER: u64 = 2 * Link::MOST_CONNECTIONS as u64;
/// Refused TCP clients of one worker that are still to get their answer.
const OUTSIDERS: u64 = listeners::REFUSED_AT_ONCE as u64;
/// Probes of endpoints that run at once.
const PROBES: u64 = 128;

/// What a configuration needs, in open files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Needs {
    /// Without these nothing runs.
    fixed: u64,
    /// Sockets to upstreams.
    upstreams: u64,
    /// Connections of clients.
    clients: u64,
}

impl Needs {
    /// Of `config` with so many workers and addresses that are listened on.
    fn of(config: &Config, workers: usize, addresses: usize) -> Self {
        let (workers, addresses) = (workers as u64, addresses as u64);
        let sources: HashSet<_> =
            config.forwards.iter().flat_map(|forward| &forward.upstreams).collect();
        let sockets = sources.iter().map(|source| match source {
            UpstreamSource::Server(server) => match server.scheme {
                Scheme::Plain => PLAIN_SERVER,
                Scheme::Tcp | Scheme::Tls | Scheme::Https => Link::MOST_CONNECTIONS as u64,
                Scheme::Quic | Scheme::H3 => QUIC_SERVER,
            },
            UpstreamSource::ResolvConf(_) => RESOLV_CONF_SERVERS * PLAIN_SERVER,
        });
        let sockets: u64 = sockets.sum();
        let mut endpoints = config.private_links.iter().flat_map(|link| &link.endpoints);
        let probes = if endpoints.any(|endpoint| endpoint.probe.is_some()) { PROBES } else { 0 };
        let admin = if config.listen.admin.is_some() { ADMIN } else { 0 };
        // The control thread asks upstreams too.
        let askers = workers + 1;
        Self {
            fixed: PROCESS
                + workers * (RUNTIME + OUTSIDERS + LISTENERS * addresses)
                + admin
                + probes,
            upstreams: askers * sockets,
            clients: config.limits.tcp_connections as u64,
        }
    }

    fn sum(self) -> u64 {
        self.fixed + self.upstreams + self.clients
    }

    /// Returns how many client connections leave enough files for sockets to upstreams, if `limit`
    /// files may be open. If there are too few files, upstreams keep half of them, because a
    /// connection without an answer does not help a client.
    fn room_for_clients(self, limit: u64) -> u64 {
        let free = limit.saturating_sub(self.fixed);
        (free - self.upstreams.min(free.div_ceil(2))).max(1)
    }
}

/// Raises the limit of open files to what `config` needs, and tells `listeners` how many
/// connections that leaves to clients. Says what to do where the limit stays too low.
pub(super) fn make_room(config: &Config, workers: usize, addresses: usize, listeners: &Shared) {
    let needs = Needs::of(config, workers, addresses);
    let limit = match sys::raise_descriptor_limit(needs.sum()) {
        Ok(limit) => limit,
        Err(error) => {
            warn!("the limit of open files cannot be read: {error}");
            return;
        }
    };
    let room = needs.room_for_clients(limit.soft);
    listeners.connections.set_room(usize::try_from(room).unwrap_or(usize::MAX));
    match shortage(needs, limit, room) {
        Some(text) => warn!("{text}"),
        None => debug!("open files: limit {}, needed at most {}", limit.soft, needs.sum()),
    }
}

/// What the log says of a limit that is too low.
fn shortage(needs: Needs, limit: DescriptorLimit, room: u64) -> Option<String> {
    (limit.soft < needs.sum()).then(|| {
        format!(
            "the limit of open files is {}, and the configuration may need {}: {} for TCP clients, \
             {} for upstreams, {} for the rest. TCP clients get {} connections at most. Set \
             LimitNOFILE={} in the unit (containers: --ulimit nofile), or lower \
             limits.tcp-connections or limits.workers",
            limit.soft,
            needs.sum(),
            needs.clients,
            needs.upstreams,
            needs.fixed,
            room.min(needs.clients),
            needs.sum()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::{forward_all, minimal};

    #[test]
    fn needs_grow_with_workers_addresses_servers_and_clients() {
        let mut config = minimal();
        config.forwards = Vec::new();
        config.limits.tcp_connections = 100;
        let bare = Needs::of(&config, 2, 3);
        assert_eq!(bare, Needs { fixed: 16 + 2 * (4 + 16 + 2 * 3), upstreams: 0, clients: 100 });
        config.forwards = vec![forward_all(), forward_all()];
        let servers = config.forwards[0].upstreams.len() as u64;
        let asks = Needs::of(&config, 2, 3);
        // A server that two rules name counts once; the control thread asks as workers do.
        assert_eq!(asks.upstreams, 3 * servers * Link::MOST_DESCRIPTORS as u64);
        config.forwards = vec![crate::config::Forward {
            upstreams: vec![UpstreamSource::ResolvConf("/etc/resolv.conf".into())],
            ..forward_all()
        }];
        assert_eq!(Needs::of(&config, 2, 3).upstreams, 9 * Link::MOST_DESCRIPTORS as u64);
    }

    #[test]
    fn clients_leave_what_upstreams_need_and_half_where_that_is_too_much() {
        let needs = Needs { fixed: 20, upstreams: 100, clients: 1_000 };
        assert_eq!(needs.room_for_clients(1_120), 1_000);
        assert_eq!(needs.room_for_clients(220), 100);
        assert_eq!(needs.room_for_clients(120), 50);
        assert_eq!(needs.room_for_clients(40), 10);
        for limit in [0, 20, 21] {
            assert_eq!(needs.room_for_clients(limit), 1, "{limit}");
        }
    }

    #[test]
    fn a_limit_that_is_too_low_is_said_with_the_numbers_and_what_to_do() {
        let needs = Needs { fixed: 20, upstreams: 100, clients: 1_000 };
        let said = |soft| shortage(needs, DescriptorLimit { soft, hard: soft }, 7);
        assert_eq!(said(1_120), None);
        let text = said(1_119).unwrap();
        let begin = "the limit of open files is 1119, and the configuration may need 1120: ";
        assert!(text.starts_with(begin), "{text}");
        assert!(text.contains("TCP clients get 7 connections at most"), "{text}");
        assert!(text.contains("LimitNOFILE=1120"), "{text}");
    }
}
