//! Why a try failed, and what that says about its server.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::health::{DOUBT_TRIES, DOWN_TRIES};
use crate::metrics::Allowance;
use crate::sys;

/// Log lines about shortages of our own: a flood meets thousands a second.
static SHORTAGES: Mutex<Allowance> = Mutex::new(Allowance::new(1, Duration::from_secs(60)));

/// Why one try with one server gave no reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TryError {
    /// The kernel or the server's host refused or lost the way.
    #[error("unreachable: {0}")]
    Unreachable(io::ErrorKind),
    /// The server has not worked on the query and takes it on another connection: it announced the
    /// end of this one (GOAWAY, CONNECTION_CLOSE with NO_ERROR) or refused one stream of it
    /// (REFUSED_STREAM). The query goes over another connection, so a try fails with this only
    /// after many have ended or refused it.
    #[error("the server closed one connection after the other before it replied")]
    Unprocessed,
    /// What came over a connection is not a DNS reply.
    #[error("the server sent something that is not a DNS reply")]
    Garbled,
    /// The server replied to this very question, but not with something that can be its answer.
    #[error("the reply is unusable: {0}")]
    Unusable(Flaw),
    /// Only datagrams came that do not repeat the question: anybody can have sent them.
    #[error("only datagrams that do not answer the question arrived")]
    Mismatched,
    /// Its certificate is not one that we trust, or there is nothing to check it by. The upstream's
    /// last error says why.
    #[error("its certificate is not trusted")]
    Untrusted,
    /// As many queries wait for this server as its sockets may hold.
    #[error("too many queries wait for this server")]
    Busy,
    /// The server says that it has too much to do: HTTP's statuses 429 and 503, or the same in the
    /// words of HTTP/2, QUIC or HTTP/3. The upstream's last error says which.
    #[error("the server says that it is busy")]
    ServerBusy,
    /// The server refused the request with this HTTP status: one of 300 to 499 other than 429.
    #[error("refused by the server (HTTP {0})")]
    Declined(u16),
    /// The server failed at the query: an HTTP status of 500 to 599 other than 503, or its stream was
    /// reset.
    #[error("the server failed ({0})")]
    ServerFailed(Breakdown),
    /// This host has no descriptor, memory or port left for a socket. The server was not asked.
    #[error("this host has no file descriptor, memory or free port left; the log says which")]
    OwnShortage,
}

/// How a server says that it failed at one query, where it has no DNS reply for that.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Breakdown {
    /// With this HTTP status.
    #[error("HTTP {0}")]
    Status(u16),
    /// It reset the query's stream, but for the codes that have a meaning of their own (RFC 9250
    /// §4.3.2, RFC 9113 §6.4, RFC 9114 §8.1).
    #[error("it reset the query's stream")]
    Reset,
}

/// Why a reply cannot be an answer though its server certainly sent it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Flaw {
    /// Its CNAMEs lead in a circle, or are more than we follow.
    #[error("its CNAME chain is a loop or too long")]
    Endless,
    /// Its records are cut, break their form, or have names that cost too much to read.
    #[error("its records are malformed")]
    Malformed,
    /// It came over a connection as the reply to our query and repeats another question.
    #[error("it repeats another question")]
    OtherQuestion,
    /// It is truncated, and the server does not give the whole over TCP.
    #[error("it is truncated, and the server does not send the whole over TCP")]
    RestMissing,
    /// The server rejects the cookie that it has given us, and queries without one, over TCP too.
    #[error("the server rejects its own cookie (BADCOOKIE)")]
    BadCookie,
}

/// What a failed try says about the health of its server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Evidence {
    /// The server does not work: so many such tries in a row mark it down.
    Failing {
        /// Tries in a row.
        tries: u32,
    },
    /// The server replied, so it works. The failure is the name's.
    Alive,
    /// The server is there and refuses the request. Clients choose the names, and a server may
    /// refuse some names only. So a probe decides whether the server is down.
    Declines,
    /// Nothing: others can cause it, or we cause it ourselves.
    Nothing,
}

/// How a connection ended, and what it had carried until then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ending {
    pub(super) error: TryError,
    /// Sent over it.
    pub(super) queries: u32,
    /// Of these, answered.
    pub(super) replies: u32,
    /// A query waits on it. One that was given up counts until the connection's patience is over.
    pub(super) is_awaited: bool,
    /// Nothing was sent or came over it for [`CLOSED_IDLE`] before the queries that are unanswered.
    pub(super) was_idle: bool,
    /// The server has replied over another connection within [`HEARD`].
    pub(super) is_heard: bool,
}

/// What the end of a connection says of its server. But for [`Self::Failing`], its queries go over
/// another connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Meaning {
    /// It closes connections that nobody has used for a while.
    ClosesIdle,
    /// It takes so many queries on a connection.
    TakesQueries(u32),
    /// It takes no more connections than there are beside this one.
    TakesNoMoreConnections,
    /// It does not work.
    Failing,
}

/// How long a connection must be unused so that its end is no answer to the next query. Servers
/// with the shortest patience wait for two seconds or more.
pub(super) const CLOSED_IDLE: Duration = Duration::from_secs(1);
/// For how long a reply over one connection shows that a server works which closes others.
pub(super) const HEARD: Duration = Duration::from_secs(1);

impl Ending {
    /// The one table of what the ends of connections say, for all transports. A server that accepts
    /// and hangs up without a reply is as good as one that does not accept.
    pub(super) fn meaning(&self) -> Meaning {
        let Self { error, queries, replies, is_awaited, was_idle, is_heard } = *self;
        // Errors that say nothing about a limit of queries on one connection.
        let is_other_cause = matches!(
            error,
            TryError::OwnShortage
                | TryError::ServerBusy
                | TryError::Unreachable(io::ErrorKind::TimedOut)
        );
        match (replies, queries) {
            (0, 0) => Meaning::ClosesIdle,
            _ if !is_awaited => Meaning::ClosesIdle,
            (0, _) if is_other_cause || error == TryError::Garbled => Meaning::Failing,
            _ if is_other_cause || was_idle => Meaning::ClosesIdle,
            // Maybe it wants them one by one.
            (0, 2..) => Meaning::TakesQueries(1),
            (0, 1) if is_heard => Meaning::TakesNoMoreConnections,
            (0, 1) => Meaning::Failing,
            (replies, queries) if queries <= replies => Meaning::ClosesIdle,
            (replies, _) => Meaning::TakesQueries(replies),
        }
    }
}

/// Returns the kind of a system error. [`io::ErrorKind::OutOfMemory`] stands for every shortage of
/// our own, because std has no kind for it. Logs a shortage at most once a minute.
pub(super) fn kind_of(error: &io::Error) -> io::ErrorKind {
    if !sys::is_shortage(error) {
        return error.kind();
    }
    log_shortage(format_args!(
        "{error}; raise the limit of open files (systemd: LimitNOFILE=) or lower \
         limits.tcp-connections"
    ));
    io::ErrorKind::OutOfMemory
}

/// The same of an error of the bind or connect that draws the port of a socket towards `peer`.
pub(super) fn kind_of_connect(error: &io::Error, peer: SocketAddr) -> io::ErrorKind {
    if !sys::is_port_shortage(error, peer) {
        return kind_of(error);
    }
    log_shortage(format_args!(
        "no port is free towards {peer}; widen the range of ports (sysctl \
         net.ipv4.ip_local_port_range), or look for the program that holds them (ss -s)"
    ));
    io::ErrorKind::OutOfMemory
}

fn log_shortage(shortage: fmt::Arguments<'_>) {
    let mut allowance = SHORTAGES.lock().unwrap_or_else(PoisonError::into_inner);
    if allowance.take(Instant::now()) {
        warn!("no socket for an upstream: {shortage}");
    }
}

impl TryError {
    /// What an error of a socket means for its server.
    pub(super) fn of(error: &io::Error) -> Self {
        Self::of_kind(kind_of(error))
    }

    /// The same of an error of the bind or connect that draws the port of a socket towards `peer`.
    pub(super) fn of_connect(error: &io::Error, peer: SocketAddr) -> Self {
        Self::of_kind(kind_of_connect(error, peer))
    }

    /// The same of a kind that [`kind_of`] gave.
    pub(super) fn of_kind(kind: io::ErrorKind) -> Self {
        match kind {
            io::ErrorKind::OutOfMemory => Self::OwnShortage,
            kind => Self::Unreachable(kind),
        }
    }

    /// The one table of what failures say, for all transports. Silence is not here: it takes time,
    /// not only tries ([`super::Upstream::note_unanswered`]).
    pub(super) fn evidence(self) -> Evidence {
        match self {
            Self::Unreachable(_) | Self::Untrusted => Evidence::Failing { tries: DOUBT_TRIES },
            Self::Garbled | Self::Unprocessed => Evidence::Failing { tries: DOWN_TRIES },
            Self::Declined(_) => Evidence::Declines,
            // Clients choose the names that are asked, and strangers what a name's zone says. So
            // neither may decide whether a server is used for all other names.
            Self::Unusable(_) | Self::ServerBusy | Self::ServerFailed(_) => Evidence::Alive,
            Self::Mismatched | Self::Busy | Self::OwnShortage => Evidence::Nothing,
        }
    }

    /// Whether a connection that ended so shows that an ICMP error about a datagram to the same port
    /// was no forgery: the answer to a SYN must repeat its sequence number.
    pub(super) fn proves_icmp(self) -> bool {
        use io::ErrorKind::{
            ConnectionRefused, HostUnreachable, NetworkUnreachable, PermissionDenied,
        };
        let Self::Unreachable(kind) = self else { return false };
        matches!(kind, ConnectionRefused | HostUnreachable | NetworkUnreachable | PermissionDenied)
    }

    /// Whether the server itself replied, so that a probe has found it alive.
    pub fn is_sign_of_life(self) -> bool {
        self.evidence() == Evidence::Alive
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HUNG_UP: TryError = TryError::Unreachable(io::ErrorKind::UnexpectedEof);

    #[test]
    fn a_connections_end_blames_a_server_only_if_it_never_replied() {
        let fresh = Ending {
            error: HUNG_UP,
            queries: 0,
            replies: 0,
            is_awaited: true,
            was_idle: false,
            is_heard: false,
        };
        let after = |queries, replies| Ending { queries, replies, ..fresh }.meaning();
        assert_eq!(after(0, 0), Meaning::ClosesIdle, "nobody has used it");
        assert_eq!(after(1, 0), Meaning::Failing, "it accepts and hangs up");
        assert_eq!(after(2, 0), Meaning::TakesQueries(1));
        assert_eq!(after(512, 0), Meaning::TakesQueries(1));
        assert_eq!(after(512, 10), Meaning::TakesQueries(10));
        assert_eq!(after(2, 1), Meaning::TakesQueries(1));
        assert_eq!(after(7, 7), Meaning::ClosesIdle, "nothing is unanswered");
        let idle =
            |queries, replies| Ending { queries, replies, was_idle: true, ..fresh }.meaning();
        for (queries, replies) in [(1, 0), (2, 0), (8, 7)] {
            assert_eq!(idle(queries, replies), Meaning::ClosesIdle, "{queries} {replies}");
        }
        let beside =
            |queries, replies| Ending { queries, replies, is_heard: true, ..fresh }.meaning();
        assert_eq!(beside(1, 0), Meaning::TakesNoMoreConnections);
        assert_eq!(beside(2, 1), Meaning::TakesQueries(1));
        let of = |error, replies| Ending { error, queries: 9, replies, ..fresh }.meaning();
        let timed_out = TryError::Unreachable(io::ErrorKind::TimedOut);
        for error in [TryError::OwnShortage, TryError::ServerBusy, timed_out] {
            assert_eq!(of(error, 0), Meaning::Failing, "{error}");
            assert_eq!(of(error, 3), Meaning::ClosesIdle, "{error}: says nothing of a number");
        }
        assert_eq!(of(TryError::Garbled, 0), Meaning::Failing);
        assert_eq!(of(TryError::Garbled, 3), Meaning::TakesQueries(3));
        assert_eq!(of(TryError::Unprocessed, 3), Meaning::TakesQueries(3));
        for (queries, replies) in [(1, 0), (2, 0), (21, 20)] {
            let given_up = Ending { queries, replies, is_awaited: false, ..fresh }.meaning();
            assert_eq!(given_up, Meaning::ClosesIdle, "{queries} {replies}: nobody waits");
        }
    }

    #[test]
    fn a_shortage_of_ours_is_no_evidence_against_a_server() {
        for errno in [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS] {
            let error = TryError::of(&io::Error::from_raw_os_error(errno));
            assert_eq!(error, TryError::OwnShortage, "{errno}");
            assert_eq!(error.evidence(), Evidence::Nothing);
        }
        let no_port = io::Error::from_raw_os_error(libc::EADDRNOTAVAIL);
        let loopback = SocketAddr::from(([127, 0, 0, 1], 53));
        assert_eq!(TryError::of_connect(&no_port, loopback), TryError::OwnShortage);
        let refused = io::Error::from_raw_os_error(libc::ECONNREFUSED);
        let refused = TryError::of(&refused);
        assert_eq!(refused, TryError::Unreachable(io::ErrorKind::ConnectionRefused));
        assert_eq!(refused.evidence(), Evidence::Failing { tries: DOUBT_TRIES });
    }
}
