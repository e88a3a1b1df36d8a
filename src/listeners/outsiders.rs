//! TCP connections of clients outside `[access]`: one query, one refusal, and no place in the table.
//!
//! So such clients displace no connection of a client that may ask. A worker answers few of them at
//! a time, each for one second at most, and closes the others at once.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::{Instant, timeout};

use super::answer::Answer;
use super::context::Context;
use super::frames::{close_frame, open_frame};
use crate::engine::{Transport, Verdict};

/// Connections of one thread that wait for their query. A person who looks for a fault needs one.
pub const AT_ONCE: usize = 16;
/// From `accept` to the end.
const WHOLE_TIME: Duration = Duration::from_secs(1);
/// The longest query that is refused with an answer (RFC 1035 §4.2.1).
const MOST_OCTETS: usize = 512;

/// Counts the connections that wait on this thread.
#[derive(Clone, Default)]
pub(super) struct Outsiders(Rc<Cell<usize>>);

/// One of them; given back when dropped.
struct Seat(Rc<Cell<usize>>);

impl Outsiders {
    fn enter(&self) -> Option<Seat> {
        let taken = self.0.get();
        (taken < AT_ONCE).then(|| {
            self.0.set(taken + 1);
            Seat(Rc::clone(&self.0))
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// Refuses the first query of `stream` and closes it. Closes it at once if [`AT_ONCE`] wait.
pub(super) fn refuse<A: Answer>(stream: TcpStream, peer: SocketAddr, context: &Rc<Context<A>>) {
    let Some(seat) = context.outsiders.enter() else { return };
    let context = Rc::clone(context);
    spawn_local(async move {
        let _seat = seat;
        let _late = timeout(WHOLE_TIME, refuse_one(stream, peer, &context)).await;
    });
}

async fn refuse_one<A: Answer>(
    mut stream: TcpStream,
    peer: SocketAddr,
    context: &Context<A>,
) -> Option<()> {
    let octets = usize::from(stream.read_u16().await.ok()?);
    if octets > MOST_OCTETS {
        return None;
    }
    let mut query = vec![0; octets];
    stream.read_exact(&mut query).await.ok()?;
    let mut reply = Vec::new();
    {
        let snapshot = context.worker.snapshot();
        let asked = context.asked(peer.ip(), Transport::Tcp, Instant::now().into_std());
        let begin = open_frame(&mut reply);
        // A reload may let the client ask from now on: its next connection gets a place.
        match context.worker.answer(&snapshot, &asked, &query, &mut reply) {
            Verdict::Reply(_) => close_frame(&mut reply, begin),
            Verdict::Drop(_) | Verdict::Forward => return None,
        }
    }
    stream.write_all(&reply).await.ok()?;
    stream.shutdown().await.ok()
}
