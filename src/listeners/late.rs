//! The queries of one TCP connection that wait for upstreams, and the room for their answers.
//!
//! Many may finish at once, and each answer may be a whole frame; so they stand in a bounded room
//! until the connection takes them. What finds no room is thrown away and resolved again when its
//! turn comes: the engine is never paused (others may wait for the same answer), the client loses
//! nothing, and what waits is the query alone.

use std::mem;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::spawn_local;

use super::Answer;
use super::connections::{Account, Held};
use super::context::Context;
use super::frames::{MAX_FRAME_OCTETS, close_frame, open_frame};
use crate::engine::Asked;

/// Octets of one connection's answers that are finished and not yet taken to its output: four
/// largest frames, or two thousand octets for each of 128 queries, so that everyday answers are
/// never made twice.
pub(super) const LATE_OCTETS: u32 = 4 * MAX_FRAME;
#[allow(clippy::cast_possible_truncation, reason = "65,537; `try_from` is not const")]
const MAX_FRAME: u32 = MAX_FRAME_OCTETS as u32;

/// Queries that wait in tasks of their own.
pub(super) struct LateAnswers {
    /// At most `tcp-pipelined`, which is also the channel's size: handing over never waits.
    outstanding: usize,
    finished: mpsc::Receiver<Finished>,
    finish: mpsc::Sender<Finished>,
    /// One permit for each free octet of [`LATE_OCTETS`]. First come, first served.
    room: Arc<Semaphore>,
    account: Account,
}

/// A framed answer; empty when it is lost.
#[derive(Default)]
pub(super) struct Finished {
    pub(super) frame: Vec<u8>,
    /// Its room, given back with it.
    _room: Option<(OwnedSemaphorePermit, Held)>,
}

impl LateAnswers {
    /// For at most `pipelined` queries.
    pub(super) fn new(pipelined: usize, account: Account) -> Self {
        let (finish, finished) = mpsc::channel(pipelined.max(1));
        let room = Arc::new(Semaphore::new(LATE_OCTETS as usize));
        Self { outstanding: 0, finished, finish, room, account }
    }

    /// How many were started and not taken yet.
    pub(super) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Starts one; the caller keeps to the bound that it gave.
    pub(super) fn start<A: Answer>(
        &mut self,
        context: Rc<Context<A>>,
        snapshot: Arc<A::Snapshot>,
        asked: Asked,
        request: Vec<u8>,
    ) {
        self.outstanding += 1;
        let late = Late {
            finished: Finished::default(),
            finish: self.finish.clone(),
            room: Arc::clone(&self.room),
            account: self.account.clone(),
        };
        spawn_local(late.finish(context, snapshot, asked, request));
    }

    /// The next that is finished. Safe to drop; never `None`, as a sender is kept here.
    pub(super) async fn next(&mut self) -> Option<Finished> {
        let finished = self.finished.recv().await;
        self.outstanding -= usize::from(finished.is_some());
        finished
    }

    /// The next, if one is finished.
    pub(super) fn next_now(&mut self) -> Option<Finished> {
        let finished = self.finished.try_recv().ok();
        self.outstanding -= usize::from(finished.is_some());
        finished
    }
}

impl Drop for LateAnswers {
    fn drop(&mut self) {
        // Who waits for room has nobody to answer any more.
        self.room.close();
    }
}

/// One answer on its way from its task to its connection. Arrives however the task ends, so that
/// the connection never waits for one that is lost.
struct Late {
    finished: Finished,
    finish: mpsc::Sender<Finished>,
    room: Arc<Semaphore>,
    account: Account,
}

impl Late {
    async fn finish<A: Answer>(
        mut self,
        context: Rc<Context<A>>,
        snapshot: Arc<A::Snapshot>,
        asked: Asked,
        request: Vec<u8>,
    ) {
        let mut frame = resolve(&context, &snapshot, &asked, &request).await;
        let mut room = Arc::clone(&self.room).try_acquire_many_owned(octets(&frame)).ok();
        if room.is_none() {
            drop(frame);
            // For the largest frame, so that there is no third time. It comes as the client takes
            // what is before it; a client that does not is cut off, and this ends with it.
            let Ok(mut most) = Arc::clone(&self.room).acquire_many_owned(MAX_FRAME).await else {
                return;
            };
            // Mostly the cache has it now.
            frame = resolve(&context, &snapshot, &asked, &request).await;
            room = most.split(frame.len());
        }
        let Some(room) = room else { return };
        let held = self.account.hold(frame.len());
        context.shared.tally.tcp_over_memory.add(held.displaced);
        self.finished = Finished { frame, _room: Some((room, held)) };
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        // Never full; closed when the connection is gone.
        let _ = self.finish.try_send(mem::take(&mut self.finished));
    }
}

/// A framed answer that takes no more memory than it has octets.
async fn resolve<A: Answer>(
    context: &Context<A>,
    snapshot: &Arc<A::Snapshot>,
    asked: &Asked,
    request: &[u8],
) -> Vec<u8> {
    let mut frame = Vec::new();
    let begin = open_frame(&mut frame);
    context.worker.resolve(snapshot, asked, request, &mut frame).await;
    close_frame(&mut frame, begin);
    frame.shrink_to_fit();
    frame
}

/// A frame's length as permits.
fn octets(frame: &[u8]) -> u32 {
    u32::try_from(frame.len()).unwrap_or(u32::MAX)
}
