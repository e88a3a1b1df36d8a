//! UDP answers that have to wait for an upstream.
//!
//! Tasks wait for them. A task that is done waits for the next query, with its memory: it is larger
//! than what allocators have at hand. Answers leave in bunches, as they come: one receive from an
//! upstream's socket finishes many.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use tokio::io::unix::AsyncFd;
use tokio::task::spawn_local;

use super::Answer;
use super::context::{Context, Work};
use crate::engine::Asked;
use crate::sys::{BATCH_SLOTS, Outbox, REPLY_OCTETS, ReplyPath, UdpSocket};

/// Tasks of one thread that wait for work: as many as a few batches need. Some 4 KiB each.
pub(super) const IDLE_TASKS: usize = 4 * BATCH_SLOTS;

/// Queries of one socket that wait for a task: some ten milliseconds' work, which a flood draws out
/// to a hundred. Who comes on top of them would wait until it asks again.
pub(super) const BACKLOG: usize = 1_024;

/// A socket and what waits to leave by it.
pub(super) struct Socket {
    pub(super) io: AsyncFd<UdpSocket>,
    /// Late answers of one turn of this thread: see [`Way::take`].
    late: RefCell<Outbox>,
}

impl Socket {
    /// Must be called inside the runtime that is to watch it.
    pub(super) fn new(socket: UdpSocket) -> io::Result<Self> {
        Ok(Self { io: socket.watched()?, late: RefCell::default() })
    }

    pub(super) fn get_ref(&self) -> &UdpSocket {
        self.io.get_ref()
    }
}

/// How an answer goes to its client.
pub(super) struct Way {
    pub(super) socket: Rc<Socket>,
    pub(super) peer: SocketAddr,
    pub(super) path: ReplyPath,
}

/// One query to be answered.
struct Job<A: Answer> {
    way: Way,
    asked: Asked,
    snapshot: Arc<A::Snapshot>,
    request: Vec<u8>,
    _work: Work,
}

/// Where a task without work gets the next.
struct Desk<A: Answer> {
    job: Cell<Option<Job<A>>>,
    waker: Cell<Option<Waker>>,
}

/// The tasks without work, and buffers of queries that were answered.
pub(super) struct Idle<A: Answer> {
    desks: RefCell<Vec<Rc<Desk<A>>>>,
    buffers: RefCell<Vec<Vec<u8>>>,
}

impl<A: Answer> Default for Idle<A> {
    fn default() -> Self {
        Self { desks: RefCell::default(), buffers: RefCell::default() }
    }
}

impl<A: Answer> Idle<A> {
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.desks.borrow().len()
    }
}

/// Queries of one socket that wait for a task.
pub(super) struct Backlog<A: Answer>(VecDeque<Job<A>>);

impl<A: Answer> Default for Backlog<A> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<A: Answer> Backlog<A> {
    /// Puts `request` at the end; false when there is no room.
    pub(super) fn push(
        &mut self,
        context: &Context<A>,
        way: Way,
        asked: Asked,
        snapshot: &Arc<A::Snapshot>,
        request: &[u8],
    ) -> bool {
        if self.0.len() >= BACKLOG {
            return false;
        }
        let mut buffer = context.idle.buffers.borrow_mut().pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(request);
        let (snapshot, work) = (Arc::clone(snapshot), context.in_flight.begin());
        self.0.push_back(Job { way, asked, snapshot, request: buffer, _work: work });
        true
    }

    /// Has tasks answer the first `most` of them.
    pub(super) fn start(&mut self, context: &Rc<Context<A>>, most: usize) {
        for job in self.0.drain(..most.min(self.0.len())) {
            start(context, job);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn start<A: Answer>(context: &Rc<Context<A>>, job: Job<A>) {
    let desk = context.idle.desks.borrow_mut().pop();
    match desk {
        Some(desk) => {
            desk.job.set(Some(job));
            if let Some(waker) = desk.waker.take() {
                waker.wake();
            }
        }
        None => drop(spawn_local(answer_each(Rc::clone(context), job))),
    }
}

/// Answers `first`, then what comes to its desk.
async fn answer_each<A: Answer>(context: Rc<Context<A>>, first: Job<A>) {
    let desk = Rc::new(Desk { job: Cell::new(None), waker: Cell::default() });
    let mut reply = Vec::with_capacity(REPLY_OCTETS);
    let mut job = first;
    loop {
        answer(&context, &job, &mut reply).await;
        let request = mem::take(&mut job.request);
        // Nothing of it waits along: a stop counts what is under way, a reload lets go of the old.
        drop(job);
        {
            let Idle { desks, buffers } = &context.idle;
            let (mut desks, mut buffers) = (desks.borrow_mut(), buffers.borrow_mut());
            if buffers.len() < IDLE_TASKS {
                buffers.push(request);
            }
            if desks.len() >= IDLE_TASKS {
                return;
            }
            desks.push(Rc::clone(&desk));
        }
        job = poll_fn(|context| match desk.job.take() {
            Some(job) => Poll::Ready(job),
            None => {
                desk.waker.set(Some(context.waker().clone()));
                Poll::Pending
            }
        })
        .await;
    }
}

/// The first of a bunch lets all tasks go on that can, then sends what they have left in the box.
/// No timer is in this: where nothing else can go on, it sends at once.
async fn answer<A: Answer>(context: &Context<A>, job: &Job<A>, reply: &mut Vec<u8>) {
    reply.clear();
    context.worker.resolve(&job.snapshot, &job.asked, &job.request, reply).await;
    if !reply.is_empty() && job.way.take(context, reply) {
        others_first().await;
        job.way.send_all(context);
    }
}

impl Way {
    /// Puts `reply` into the box; says whether it is the only one there.
    fn take<A: Answer>(&self, context: &Context<A>, reply: &[u8]) -> bool {
        if self.socket.late.borrow().is_full() {
            self.send_all(context);
        }
        let mut late = self.socket.late.borrow_mut();
        late.push_to(reply, self.peer, self.path);
        late.len() == 1
    }

    fn send_all<A: Answer>(&self, context: &Context<A>) {
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
