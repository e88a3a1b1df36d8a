//! One worker's way to all upstreams.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio::time::Instant;

use super::course::Course;
use super::failure::Failure;
use super::race::{self, Attempt};
use super::rules::Rule;
use crate::upstream::{Link, ReceiveBuffer, TryError, Upstream};
use crate::wire::{Answer, Question};

/// When a server gets its sockets, those are closed that nobody has used since the last such look,
/// this long ago at least: after reloads nothing stays behind.
const IDLE: Duration = Duration::from_secs(300);

/// One worker's sockets towards upstreams. Lives on that worker's thread, inside a `LocalSet`; it
/// outlives reloads.
pub struct Forwarder {
    /// By the upstream's number.
    links: RefCell<HashMap<u64, Kept, RandomState>>,
    /// When idle links were last looked for.
    swept: Cell<Instant>,
    buffer: ReceiveBuffer,
}

struct Kept {
    link: Rc<Link>,
    /// Of the upstream, when this was opened.
    epoch: u32,
    /// Since idle links were last looked for.
    is_used: bool,
}

impl Default for Forwarder {
    fn default() -> Self {
        Self::new()
    }
}

impl Forwarder {
    /// Opens nothing yet.
    pub fn new() -> Self {
        Self {
            links: RefCell::default(),
            swept: Cell::new(Instant::now()),
            buffer: Link::receive_buffer(),
        }
    }

    /// Asks the servers of `rule` in the order that its policy gives until one has an answer:
    /// NOERROR or NXDOMAIN (or YXDOMAIN). Everything else is a [`Failure`], replies that do not
    /// help included. Ends when the rule's timeout has passed or at `deadline`, whichever is
    /// earlier, with the best of what came; dropping the future frees all it held.
    pub async fn ask(
        &self,
        rule: &Rule,
        question: &Question,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        let (targets, begun) = (rule.targets(), Instant::now());
        let course = Course {
            question,
            targets: &targets,
            order: rule.order(),
            probe_zones: rule.probe_zones(),
            in_flight: rule.in_flight(),
            begun,
            deadline: deadline.min(begun + rule.timeout()),
        };
        race::ask(self, course).await
    }

    fn link(&self, upstream: &Arc<Upstream>) -> Rc<Link> {
        let epoch = upstream.epoch();
        let mut links = self.links.borrow_mut();
        if let Some(kept) = links.get_mut(&upstream.number())
            && kept.epoch == epoch
        {
            kept.is_used = true;
            return Rc::clone(&kept.link);
        }
        let now = Instant::now();
        if now.duration_since(self.swept.get()) >= IDLE {
            self.swept.set(now);
            links.retain(|_, kept| std::mem::take(&mut kept.is_used));
        }
        let link = Rc::new(self.open(upstream));
        links.insert(upstream.number(), Kept { link: Rc::clone(&link), epoch, is_used: true });
        link
    }

    fn open(&self, upstream: &Arc<Upstream>) -> Link {
        Link::new(Arc::clone(upstream), Rc::clone(&self.buffer))
    }
}

impl Attempt for Forwarder {
    async fn attempt(
        &self,
        upstream: &Arc<Upstream>,
        question: &Question,
    ) -> Result<Answer, TryError> {
        self.link(upstream).ask(question).await
    }
}

/// Asks over sockets of its own each time: one whose source address is gone cannot hide that the
/// path is back.
pub(super) struct Afresh(pub(super) Rc<Forwarder>);

impl Attempt for Afresh {
    async fn attempt(
        &self,
        upstream: &Arc<Upstream>,
        question: &Question,
    ) -> Result<Answer, TryError> {
        self.0.open(upstream).ask(question).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::UpstreamServer;

    fn upstream(port: u16) -> Arc<Upstream> {
        Arc::new(Upstream::new(UpstreamServer::plain(([127, 0, 0, 1], port).into())))
    }

    #[tokio::test]
    async fn sockets_are_kept_until_the_path_changes() {
        let (forwarder, upstream) = (Forwarder::new(), upstream(1));
        let first = forwarder.link(&upstream);
        assert!(Rc::ptr_eq(&first, &forwarder.link(&upstream)));
        upstream.renew();
        let second = forwarder.link(&upstream);
        assert!(!Rc::ptr_eq(&first, &second));
        assert!(Rc::ptr_eq(&second, &forwarder.link(&upstream)));
        assert_eq!(forwarder.links.borrow().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn sockets_that_nobody_uses_are_closed() {
        let (forwarder, left, used) = (Forwarder::new(), upstream(1), upstream(2));
        forwarder.link(&left);
        for port in 3..=4 {
            tokio::time::advance(IDLE).await;
            forwarder.link(&used);
            forwarder.link(&upstream(port));
        }
        let links = forwarder.links.borrow();
        assert!(links.contains_key(&used.number()) && !links.contains_key(&left.number()));
    }
}
