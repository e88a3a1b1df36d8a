//! One UDP socket: a batch in, a batch out; what must wait for an upstream goes out later, together
//! with whatever else is ready by then.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::task::{spawn_local, yield_now};
use tokio::time::{Instant, sleep};

use super::Answer;
use super::context::{Context, Work};
use crate::engine::{Asked, Transport, Verdict};
use crate::sys::{BATCH_SLOTS, Batch, Outbox, ReplyPath, UdpSocket};

/// After a receive that failed. Such errors pass (no memory, an ICMP error kept for us); a pause
/// keeps one that does not from taking the whole processor.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(5);

/// A socket and what waits to leave by it.
pub(super) struct Socket {
    io: AsyncFd<UdpSocket>,
    /// Late answers of one turn of this thread: see [`Late::finish`].
    late: RefCell<Outbox>,
}

impl Socket {
    /// Must be called inside the runtime that is to watch it.
    pub(super) fn new(socket: UdpSocket) -> io::Result<Self> {
        Ok(Self { io: socket.watched()?, late: RefCell::default() })
    }

    fn get_ref(&self) -> &UdpSocket {
        self.io.get_ref()
    }
}

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
                let late = Late {
                    socket: Rc::clone(socket),
                    peer: message.peer,
                    path: message.path,
                    asked,
                    _work: context.in_flight.begin(),
                };
                let request = message.payload.to_vec();
                spawn_local(late.finish(Rc::clone(context), Arc::clone(&snapshot), request));
            }
        }
    }
    let sent = socket.get_ref().send_batch(batch);
    if sent.dropped > 0 {
        context.shared.tally.udp_unsent.add(sent.dropped);
    }
}

/// An answer that has to wait.
struct Late {
    socket: Rc<Socket>,
    peer: SocketAddr,
    path: ReplyPath,
    asked: Asked,
    _work: Work,
}

impl Late {
    /// Late answers come in bunches too: one receive from an upstream's socket finishes many. The
    /// first of a bunch lets all tasks go on that can, then sends what they have left in the box.
    /// No timer is in this: where nothing else can go on, it sends at once.
    async fn finish<A: Answer>(
        self,
        context: Rc<Context<A>>,
        snapshot: Arc<A::Snapshot>,
        request: Vec<u8>,
    ) {
        let mut reply = context.spare.take();
        context.worker.resolve(&snapshot, &self.asked, &request, &mut reply).await;
        let is_first = !reply.is_empty() && self.leave(&context, &reply);
        context.spare.give_back(reply);
        if is_first {
            others_first().await;
            self.send(&context);
        }
    }

    /// Puts `reply` into the box; says whether it is the only one there.
    fn leave<A>(&self, context: &Context<A>, reply: &[u8]) -> bool {
        if self.socket.late.borrow().is_full() {
            self.send(context);
        }
        let mut late = self.socket.late.borrow_mut();
        late.push_to(reply, self.peer, self.path);
        late.len() == 1
    }

    fn send<A>(&self, context: &Context<A>) {
        let sent = self.socket.get_ref().send_all(&mut self.socket.late.borrow_mut());
        if sent.dropped > 0 {
            context.shared.tally.udp_unsent.add(sent.dropped);
        }
    }
}

/// Lets the tasks run that can run now. tokio's `yield_now` would also wait for a look at all
/// sockets.
async fn others_first() {
    let mut is_over = false;
    poll_fn(|context| {
        if is_over {
            return Poll::Ready(());
        }
        is_over = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
