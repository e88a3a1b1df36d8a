//! One worker's way to all upstreams.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::failure::Failure;
use super::policy::{self, Attempt};
use super::rules::Rule;
use crate::config::UpstreamServer;
use crate::upstream::{Link, ReceiveBuffer, TryError, Upstream};
use crate::wire::{Answer, QName, Question};

/// A server that has not been asked for this long loses its sockets when another one gets some:
/// after reloads nothing stays behind.
const IDLE: Duration = Duration::from_secs(300);

/// One worker's sockets towards upstreams. Lives on that worker's thread, inside a `LocalSet`; it
/// outlives reloads.
pub struct Forwarder {
    links: RefCell<HashMap<UpstreamServer, Kept>>,
    buffer: ReceiveBuffer,
}

struct Kept {
    link: Rc<Link>,
    last_used: Instant,
}

impl Default for Forwarder {
    fn default() -> Self {
        Self::new()
    }
}

impl Forwarder {
    /// Opens nothing yet.
    pub fn new() -> Self {
        Self { links: RefCell::default(), buffer: Link::receive_buffer() }
    }

    /// Asks the servers of `rule` in their order until one has an answer: NOERROR or NXDOMAIN (or
    /// YXDOMAIN). Everything else is a [`Failure`], replies that do not help included. Ends when
    /// the rule's timeout has passed or at `deadline`, whichever is earlier, with the best of what
    /// came; dropping the future frees all it held.
    pub async fn ask(
        &self,
        rule: &Rule,
        question: &Question,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        let targets = rule.targets();
        let mark = rule.probe_zones().covering(&QName::from(&question.qname));
        let deadline = deadline.min(Instant::now() + rule.timeout());
        policy::ordered(self, &targets, mark, deadline, question).await
    }

    fn link(&self, upstream: &Arc<Upstream>) -> Rc<Link> {
        let now = Instant::now();
        let mut links = self.links.borrow_mut();
        if let Some(kept) = links.get_mut(upstream.server())
            && Arc::ptr_eq(kept.link.upstream(), upstream)
        {
            kept.last_used = now;
            return Rc::clone(&kept.link);
        }
        links.retain(|_, kept| now.duration_since(kept.last_used) < IDLE);
        let link = Rc::new(Link::new(Arc::clone(upstream), Rc::clone(&self.buffer)));
        links.insert(upstream.server().clone(), Kept { link: Rc::clone(&link), last_used: now });
        link
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
