//! One connection to a server: what it has carried, and how it stands.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::failure::{CLOSED_IDLE, Ending, Meaning, TryError};
use super::transport::Channel;

/// One connection; dropping it closes it.
pub(super) struct Connection {
    /// Set when the dial has succeeded.
    pub(super) channel: OnceCell<Channel>,
    /// When its dial began.
    pub(super) dialled: Instant,
    pub(super) last_used: Cell<Instant>,
    pub(super) last_reply: Cell<Option<Instant>>,
    /// When the first query was sent that no reply has come after.
    pub(super) unanswered: Cell<Option<Instant>>,
    /// Whether nothing had happened on it for [`CLOSED_IDLE`] before that query.
    was_idle: Cell<bool>,
    /// Queries that have a seat on it.
    pub(super) waiting: Cell<usize>,
    /// Queries that have or had one.
    pub(super) queries: Cell<u32>,
    replies: Cell<u32>,
    /// What its end says; `None`: it has not ended.
    meaning: Cell<Option<Meaning>>,
    /// Rings when the keeper may have something to do sooner.
    pub(super) changed: Rc<Notify>,
    /// Dials it, and closes it when it is idle.
    pub(super) keeper: RefCell<Option<AbortHandle>>,
    /// Connections of its server that are open.
    open: Rc<Cell<usize>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.set(self.open.get().saturating_sub(1));
        if let Some(keeper) = self.keeper.get_mut() {
            keeper.abort();
        }
    }
}

impl Connection {
    /// One whose dial begins at `now`. It counts as `open` until it is dropped.
    pub(super) fn new(open: &Rc<Cell<usize>>, now: Instant) -> Self {
        open.set(open.get() + 1);
        Self {
            channel: OnceCell::new(),
            dialled: now,
            last_used: Cell::new(now),
            last_reply: Cell::new(None),
            unanswered: Cell::new(None),
            was_idle: Cell::new(false),
            waiting: Cell::new(0),
            queries: Cell::new(0),
            replies: Cell::new(0),
            meaning: Cell::new(None),
            changed: Rc::default(),
            keeper: RefCell::default(),
            open: Rc::clone(open),
        }
    }

    /// Whether the dial is still under way.
    pub(super) fn is_dialling(&self) -> bool {
        self.channel.get().is_none()
    }

    /// Whether it may carry one more query of `limit` in all.
    pub(super) fn has_room(&self, limit: Option<u32>) -> bool {
        !self.is_dialling() && limit.is_none_or(|limit| self.queries.get() < limit)
    }

    /// Whether it has carried all its queries, and has answered them.
    pub(super) fn is_spent(&self, limit: Option<u32>) -> bool {
        !self.is_dialling() && self.waiting.get() == 0 && !self.has_room(limit)
    }

    /// Whether queries have waited on it for `patience`, and nothing came.
    pub(super) fn is_silent(&self, now: Instant, patience: Duration) -> bool {
        let since = self.unanswered.get();
        since.is_some_and(|since| now.duration_since(since) >= patience)
    }

    /// A query leaves.
    pub(super) fn note_query(&self, now: Instant) {
        if self.unanswered.get().is_none() {
            self.was_idle.set(now.duration_since(self.last_used.get()) >= CLOSED_IDLE);
            self.unanswered.set(Some(now));
        }
        self.last_used.set(now);
    }

    /// A reply came. Returns whether it is the first one.
    pub(super) fn note_reply(&self, now: Instant) -> bool {
        self.replies.set(self.replies.get().saturating_add(1));
        self.last_used.set(now);
        self.unanswered.set(None);
        self.last_reply.replace(Some(now)).is_none()
    }

    /// Whether it has brought a reply.
    pub(super) fn has_replied(&self) -> bool {
        self.replies.get() > 0
    }

    /// What its end said, if that is known.
    pub(super) fn meaning(&self) -> Option<Meaning> {
        self.meaning.get()
    }

    /// It has ended. Returns what that says.
    pub(super) fn end(&self, error: TryError, is_heard: bool) -> Meaning {
        let ending = Ending {
            error,
            queries: self.queries.get(),
            replies: self.replies.get(),
            is_awaited: self.waiting.get() != 0,
            was_idle: self.was_idle.get() && self.unanswered.get().is_some(),
            is_heard,
        };
        let meaning = ending.meaning();
        self.meaning.set(Some(meaning));
        meaning
    }
}
