//! Taking in TCP connections, whatever `accept` says.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{spawn_local, yield_now};
use tokio::time::{Instant, sleep};

use super::answer::{Admission, Answer};
use super::connection::Connection;
use super::context::Context;
use super::outsiders;

/// After an `accept` that failed on our side: time for connections to end. The kernel keeps
/// newcomers in its backlog meanwhile.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(50);
/// Between two log lines about failures, of which a flood can make many a second.
const BETWEEN_COMPLAINTS: Duration = Duration::from_secs(60);

/// Connections taken in before the thread's other tasks run: each costs some 50 µs from `accept` to
/// `close`, so UDP waits less than a millisecond for clients that only connect.
pub(super) const ACCEPTS_PER_TURN: usize = 8;

/// Accepts for ever.
pub(super) async fn serve<A: Answer>(listener: Rc<TcpListener>, context: Rc<Context<A>>) {
    let mut complained: Option<Instant> = None;
    let mut accepted = 0;
    loop {
        if accepted >= ACCEPTS_PER_TURN {
            accepted = 0;
            // Looks at all sockets before this task goes on.
            yield_now().await;
        }
        let error = match listener.accept().await {
            Ok((stream, peer)) => {
                accepted += 1;
                if open(stream, peer, &context) {
                    // If it is on this thread, it closes before the next one takes a descriptor.
                    accepted = 0;
                    yield_now().await;
                }
                continue;
            }
            Err(error) => error,
        };
        if is_the_connections(&error) {
            continue;
        }
        context.shared.tally.accept_failed.add(1);
        if complained.is_none_or(|when| when.elapsed() >= BETWEEN_COMPLAINTS) {
            complained = Some(Instant::now());
            tracing::warn!(
                "cannot accept TCP connections: {error}; lower limits.tcp-connections or raise \
                 the limit of open files (systemd: LimitNOFILE=)"
            );
        }
        // Descriptors ran out: as with our own bound, the one idle longest gives way.
        if context.shared.connections.displace_one(Instant::now()) {
            context.shared.tally.tcp_gave_way.add(1);
        }
        sleep(PAUSE_AFTER_FAILURE).await;
    }
}

/// Serves the connection. Returns whether another one gives way for it.
fn open<A: Answer>(stream: TcpStream, peer: SocketAddr, context: &Rc<Context<A>>) -> bool {
    let (admission, limits) = {
        let snapshot = context.worker.snapshot();
        (A::admission(&snapshot, peer.ip()), A::limits(&snapshot))
    };
    if admission != Admission::Served {
        context.shared.tally.tcp_outside_access.add(1);
        if admission == Admission::Refused {
            outsiders::refuse(stream, peer, context);
        }
        return false;
    }
    let Ok(connection) = Connection::admit(stream, peer, limits, Rc::clone(context)) else {
        context.shared.tally.tcp_over_client_cap.add(1);
        return false;
    };
    context.shared.tally.tcp_opened.add(1);
    let displaces = connection.displaces();
    spawn_local(connection.run());
    displaces
}

/// The connection failed before we took it, and Linux tells us here (accept(2), "Error handling"):
/// the next one is as good as any.
fn is_the_connections(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::ECONNRESET
                | libc::EINTR
                | libc::EPERM
                | libc::EPROTO
                | libc::ENETDOWN
                | libc::ENOPROTOOPT
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::EHOSTUNREACH
                | libc::EOPNOTSUPP
                | libc::ENETUNREACH
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connections_failure_is_told_from_ours() {
        let theirs = io::Error::from_raw_os_error(libc::ECONNABORTED);
        assert!(is_the_connections(&theirs));
        for errno in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM] {
            assert!(!is_the_connections(&io::Error::from_raw_os_error(errno)), "{errno}");
        }
    }
}
