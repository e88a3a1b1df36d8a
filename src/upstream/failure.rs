//! Why a try failed, and what that says about its server.

use std::io;
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
    /// The server has not worked on the query and takes it on another connection: it closed this
    /// one in order (FIN, close_notify, GOAWAY, CONNECTION_CLOSE with NO_ERROR), or refused one
    /// stream of it (REFUSED_STREAM). A [`super::stream::Stream`] asks again over another
    /// connection. A try fails with this only after many connections have ended so.
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
    /// This host has no descriptor or memory left for a socket. The server was not asked.
    #[error("this host has no file descriptor or memory left; raise the limit of open files")]
    OwnShortage,
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
    /// Nothing: others can cause it, or we cause it ourselves.
    Nothing,
}

/// Returns the kind of a system error. [`io::ErrorKind::OutOfMemory`] stands for every shortage of
/// our own, because std has no kind for it. Logs a shortage at most once a minute.
pub(super) fn kind_of(error: &io::Error) -> io::ErrorKind {
    if !sys::is_shortage(error) {
        return error.kind();
    }
    let mut allowance = SHORTAGES.lock().unwrap_or_else(PoisonError::into_inner);
    if allowance.take(Instant::now()) {
        warn!(
            "no socket for an upstream: {error}; raise the limit of open files (systemd: \
             LimitNOFILE=) or lower limits.tcp-connections"
        );
    }
    io::ErrorKind::OutOfMemory
}

impl TryError {
    /// What an error of a socket means for its server.
    pub(super) fn of(error: &io::Error) -> Self {
        Self::of_kind(kind_of(error))
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
            // Clients choose the names that are asked, and strangers what a name's zone says. So
            // neither may decide whether a server is used for all other names.
            Self::Unusable(_) => Evidence::Alive,
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

    #[test]
    fn a_shortage_of_ours_is_no_evidence_against_a_server() {
        for errno in [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS] {
            let error = TryError::of(&io::Error::from_raw_os_error(errno));
            assert_eq!(error, TryError::OwnShortage, "{errno}");
            assert_eq!(error.evidence(), Evidence::Nothing);
        }
        let refused = io::Error::from_raw_os_error(libc::ECONNREFUSED);
        let refused = TryError::of(&refused);
        assert_eq!(refused, TryError::Unreachable(io::ErrorKind::ConnectionRefused));
        assert_eq!(refused.evidence(), Evidence::Failing { tries: DOUBT_TRIES });
    }
}
