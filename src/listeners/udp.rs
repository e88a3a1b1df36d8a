//! One UDP socket: a batch in, a batch out; what must wait for an upstream goes out later.

use std::rc::Rc;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use super::Answer;
use super::context::Context;
use super::late_udp::{self, Socket, Way};
use crate::engine::{Transport, Verdict};
use crate::sys::{BATCH_SLOTS, Batch};

/// After a receive that failed. Such errors pass (no memory, an ICMP error kept for us); a pause
/// keeps one that does not from taking the whole processor.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(5);

/// Serves `socket` for ever. Dropped at any await, it leaves no query half answered.
pub(super) async fn serve<A: Answer>(socket: Rc<Socket>, context: Rc<Context<A>>) {
    loop {
        // An error here is the runtime's end.
        let Ok(mut ready) = socket.io.readable().await else { return };
        let received = {
            let mut batch = context.batch.borrow_mut();
            let received = socket.get_ref().recv_batch(&mut batch);
            if received.is_ok() {
                answer_batch(&socket, &context, &mut batch);
            }
            received
        };
        match received {
            // More is likely there. Let the upstreams' answers in first: `yield_now` polls them.
            Ok(BATCH_SLOTS) => {
                drop(ready);
                yield_now().await;
            }
            // The queue was seen empty, so the next datagram is news; saves asking once more.
            Ok(_) => ready.clear_ready(),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => ready.clear_ready(),
            Err(error) => {
                drop(ready);
                context.shared.tally.udp_receive_failed.add(1);
                tracing::debug!("a UDP receive failed: {error}");
                sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
}

/// One snapshot and one look at the clock for all of them.
fn answer_batch<A: Answer>(socket: &Rc<Socket>, context: &Rc<Context<A>>, batch: &mut Batch) {
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
                late_udp::start(context, way, asked, &snapshot, message.payload);
            }
        }
    }
    let sent = socket.get_ref().send_batch(batch);
    if sent.dropped > 0 {
        context.shared.tally.udp_unsent.add(sent.dropped);
    }
}
