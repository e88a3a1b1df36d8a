//! One UDP socket: a batch in, a batch out; what must wait for an upstream goes out later.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use super::Answer;
use super::context::Context;
use super::late_udp::{Backlog, Socket, Way};
use crate::engine::{Transport, Verdict};
use crate::sys::{BATCH_SLOTS, Batch};

/// After a receive that failed. Such errors pass (no memory, an ICMP error kept for us); a pause
/// keeps one that does not from taking the whole processor.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(5);
/// Queries in a batch from which on more are expected at once.
const MANY: usize = 8;
/// Queries forwarded before the socket is looked at again: they cost some 10 µs each, so whoever
/// can be answered at once waits less than a millisecond for them.
pub(super) const STARTS: usize = 64;
/// Full batches in a row after which the socket counts as flooded: 256 queries, which a millisecond
/// or two brings where all is well.
pub(super) const FLOODED_AFTER: u32 = 4;
/// Queries forwarded from each batch of a flooded socket: those who ask for what must be
/// forwarded are not shut out altogether, and cost the others an eighth of the time.
pub(super) const STARTS_FLOODED: usize = 4;

/// Serves `socket` for ever. Dropped at any await, it leaves no query half answered, but throws away
/// what waits to be forwarded, which is something under a flood only.
///
/// Those that can be answered at once go first: while the socket's queue is not seen empty for
/// several receives, queries for upstreams wait in a backlog, and are dropped when that is full. A
/// flood of names that nobody has costs the others nothing but the receiving of it.
pub(super) async fn serve<A: Answer>(socket: Rc<Socket>, context: Rc<Context<A>>) {
    let mut backlog = Backlog::default();
    let mut full_batches = 0;
    loop {
        // With a backlog there is something to do whatever the socket says.
        let ready = if backlog.is_empty() {
            // An error here is the runtime's end.
            let Ok(ready) = socket.io.readable().await else { return };
            Some(ready)
        } else {
            None
        };
        let received = receive_and_answer(&socket, &context, &mut backlog);
        let is_drained = !matches!(received, Ok(BATCH_SLOTS));
        full_batches = if is_drained { 0 } else { full_batches + 1 };
        let is_flooded = full_batches >= FLOODED_AFTER;
        backlog.start(&context, if is_flooded { STARTS_FLOODED } else { STARTS });
        match received {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                context.shared.tally.udp_receive_failed.add(1);
                tracing::debug!("a UDP receive failed: {error}");
                sleep(PAUSE_AFTER_ERROR).await;
                continue;
            }
            // The queue was seen empty, so the next datagram is news; saves asking once more.
            _ if is_drained => ready.into_iter().for_each(|mut ready| ready.clear_ready()),
            _ => {}
        }
        if !is_drained || !backlog.is_empty() {
            // Let the upstreams' answers in first: `yield_now` polls them.
            yield_now().await;
        }
    }
}

/// Receives and answers until little comes, or a batch's worth was answered. Gives how the last
/// receive ended.
fn receive_and_answer<A: Answer>(
    socket: &Rc<Socket>,
    context: &Rc<Context<A>>,
    backlog: &mut Backlog<A>,
) -> io::Result<usize> {
    let mut batch = context.batch.borrow_mut();
    let mut answered = 0;
    loop {
        let received = socket.get_ref().recv_batch(&mut batch)?;
        answer_batch(socket, context, &mut batch, backlog);
        answered += received;
        // While many were answered, others came: looking is cheaper than asking to be told.
        if received < MANY || answered >= BATCH_SLOTS {
            return Ok(received);
        }
    }
}

/// One snapshot and one look at the clock for all of them.
fn answer_batch<A: Answer>(
    socket: &Rc<Socket>,
    context: &Rc<Context<A>>,
    batch: &mut Batch,
    backlog: &mut Backlog<A>,
) {
    let snapshot = context.worker.snapshot();
    let now = Instant::now().into_std();
    for message in batch.received() {
        // Nobody can receive there; a reply would be an error of ours.
        if message.peer.port() == 0 {
            continue;
        }
        if message.truncated {
            context.shared.tally.udp_truncated.add(1);
        }
        let asked = context.asked(message.peer.ip(), Transport::Udp, now);
        match context.worker.answer(&snapshot, &asked, message.payload, message.reply) {
            Verdict::Reply(_) => {}
            Verdict::Drop(_) => message.reply.clear(),
            Verdict::Forward => {
                message.reply.clear();
                let (peer, path) = (message.peer, message.path);
                let way = Way { socket: Rc::clone(socket), peer, path };
                if !backlog.push(context, way, asked, &snapshot, message.payload) {
                    context.shared.tally.udp_shed.add(1);
                }
            }
        }
    }
    let sent = socket.get_ref().send_batch(batch);
    if sent.dropped > 0 {
        context.shared.tally.udp_unsent.add(sent.dropped);
    }
}
