//! One worker's way to all upstreams.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::alarms::Alarms;
use super::course::Course;
use super::epoch::Epoch;
use super::failure::Failure;
use super::race::{self, Attempt};
use super::rules::Rule;
use crate::addresses::HostBlock;
use crate::config::Scheme;
use crate::sys::{self, ScopedAddress};
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
    epoch: Arc<Epoch>,
    /// Rings when the next epoch begins.
    next_epoch: Arc<Notify>,
    /// Of those who wait here.
    alarms: Alarms,
}

struct Kept {
    link: Rc<Link>,
    /// Of the network, when this was opened.
    network: u64,
    /// Of the upstream, when this was opened.
    upstream: u32,
    /// Since idle links were last looked for.
    is_used: bool,
}

impl Default for Forwarder {
    fn default() -> Self {
        Self::new()
    }
}

impl Forwarder {
    /// One whose network never changes. Opens nothing yet.
    pub fn new() -> Self {
        Self::within(Arc::default())
    }

    /// Opens nothing yet. When the next epoch begins, sockets and connections take no new queries
    /// any more; what waits on them is asked again over new ones, and listened to on both.
    pub fn within(epoch: Arc<Epoch>) -> Self {
        let next_epoch = epoch.follow();
        Self {
            links: RefCell::default(),
            swept: Cell::new(Instant::now()),
            buffer: Link::receive_buffer(),
            epoch,
            next_epoch,
            alarms: Alarms::default(),
        }
    }

    /// Which network it is, in the order of their coming.
    pub fn network(&self) -> u64 {
        self.epoch.number()
    }

    /// Asks the servers of `rule` in the order that its policy gives until one has an answer:
    /// NOERROR or NXDOMAIN (or YXDOMAIN). Everything else is a [`Failure`], replies that do not
    /// help included. The question takes its seats out of the share of `client`. Ends when the rule's timeout has passed or at `deadline`, whichever is
    /// earlier, with the best of what came; dropping the future frees all it held.
    pub async fn ask(
        &self,
        rule: &Rule,
        client: HostBlock,
        question: &Question,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        let asked = self.ask_others_first(rule, client, question, deadline, &[]);
        asked.await.map(|(answer, _)| answer)
    }

    /// The same, but the upstreams whose numbers are in `avoid` come after the others, those that
    /// are down aside. Returns the number of the upstream that answered, too.
    pub async fn ask_others_first(
        &self,
        rule: &Rule,
        client: HostBlock,
        question: &Question,
        deadline: Instant,
        avoid: &[u64],
    ) -> Result<(Answer, u64), Failure> {
        let (targets, begun) = (rule.targets(), Instant::now());
        let course = Course {
            question,
            client,
            targets: &targets,
            order: rule.order(),
            avoid,
            probe_zones: rule.probe_zones(),
            in_flight: rule.in_flight(),
            begun,
            deadline: deadline.min(begun + rule.timeout()),
            budget: rule.timeout(),
        };
        self.alarms.keep_ringing(&self.next_epoch);
        race::ask(self, &self.alarms, course).await
    }

    fn link(&self, upstream: &Arc<Upstream>) -> Rc<Link> {
        let (network, epoch) = (self.epoch.number(), upstream.epoch());
        let mut links = self.links.borrow_mut();
        if let Some(kept) = links.get_mut(&upstream.number())
            && kept.network == network
            && kept.upstream == epoch
        {
            kept.is_used = true;
            return Rc::clone(&kept.link);
        }
        // Who waits on one that goes holds it until the end of its own query.
        links.retain(|_, kept| kept.network == network);
        let now = Instant::now();
        if now.duration_since(self.swept.get()) >= IDLE {
            self.swept.set(now);
            links.retain(|_, kept| std::mem::take(&mut kept.is_used));
        }
        let link = Rc::new(self.open(upstream));
        let kept = Kept { link: Rc::clone(&link), network, upstream: epoch, is_used: true };
        links.insert(upstream.number(), kept);
        link
    }

    /// Asks `upstream` once over a connection made for this question: TCP for a plain server. Has
    /// no time limit.
    pub(super) async fn attempt_connected(
        &self,
        upstream: &Arc<Upstream>,
        question: &Question,
    ) -> Result<Answer, TryError> {
        self.open(upstream).ask_connected(question).await
    }

    fn open(&self, upstream: &Arc<Upstream>) -> Link {
        Link::new(Arc::clone(upstream), Rc::clone(&self.buffer))
    }

    /// The next query gets another one.
    fn forget(&self, link: &Rc<Link>) {
        let mut links = self.links.borrow_mut();
        let number = link.upstream().number();
        if links.get(&number).is_some_and(|kept| Rc::ptr_eq(&kept.link, link)) {
            links.remove(&number);
        }
    }
}

/// Whether the kernel sends nothing from a UDP socket because its source address is not ours any
/// more: known so before we have heard of it. There is a way then, for a new one; what the kernel
/// says depends on its version. Connections are dialled anew by themselves, with a backoff.
fn is_source_gone(upstream: &Upstream, kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{AddrNotAvailable, InvalidInput, NetworkUnreachable};
    let server = upstream.server();
    matches!(kind, NetworkUnreachable | AddrNotAvailable | InvalidInput)
        && server.scheme == Scheme::Plain
        && server.address().is_some_and(has_source)
}

fn has_source(address: &ScopedAddress) -> bool {
    address.socket().is_ok_and(|address| sys::source_towards(address).is_ok())
}

impl Attempt for Forwarder {
    async fn attempt(
        &self,
        upstream: &Arc<Upstream>,
        question: &Question,
    ) -> Result<Answer, TryError> {
        self.alarms.keep_ringing(&self.next_epoch);
        let changed = self.alarms.unset();
        // Read before the sockets are chosen, so that no change falls in between.
        let network = self.network();
        let link = self.link(upstream);
        let mut first = pin!(link.ask(question));
        let outcome = poll_fn(|context| match first.as_mut().poll(context) {
            Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
            Poll::Pending if self.network() != network => Poll::Ready(None),
            Poll::Pending => changed.poll(context).map(|()| None),
        });
        let waits = match outcome.await {
            Some(Err(TryError::Unreachable(kind))) if is_source_gone(upstream, kind) => {
                self.forget(&link);
                false
            }
            Some(outcome) => return outcome,
            None => true,
        };
        drop(changed);
        // The query, or its reply, may have been lost with the old network. Once: whoever asks has
        // tries left for a network that changes again. In a box, since nearly no query comes here.
        let link = self.link(upstream);
        let mut second = Box::pin(link.ask(question));
        tokio::select! {
            biased;
            // An error on the old way says nothing about the new one.
            Ok(answer) = &mut first, if waits => Ok(answer),
            outcome = &mut second => outcome,
        }
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

    #[test]
    fn a_source_is_gone_where_there_is_a_way() {
        let upstream =
            |address: &str| Upstream::new(UpstreamServer::plain(address.parse().unwrap()));
        let reached = upstream("127.0.0.1:53");
        assert!(is_source_gone(&reached, io::ErrorKind::NetworkUnreachable));
        assert!(is_source_gone(&reached, io::ErrorKind::InvalidInput));
        assert!(!is_source_gone(&reached, io::ErrorKind::ConnectionRefused));
        // Without its scope there is no way to it, on any machine: new sockets would not help.
        let nowhere = upstream("[fe80::1]:53");
        assert!(!is_source_gone(&nowhere, io::ErrorKind::InvalidInput));
    }

    #[tokio::test]
    async fn links_end_with_their_epoch_but_for_those_who_wait_on_them() {
        let (upstream, other) = (upstream(1), upstream(2));
        let epoch = Arc::new(Epoch::new());
        let forwarder = Forwarder::within(Arc::clone(&epoch));
        let waited_on = forwarder.link(&upstream);
        let unused = Rc::downgrade(&forwarder.link(&other));
        assert!(Rc::ptr_eq(&waited_on, &forwarder.link(&upstream)));
        epoch.advance();
        let new = forwarder.link(&upstream);
        assert!(!Rc::ptr_eq(&waited_on, &new));
        assert_eq!(unused.strong_count(), 0, "an old one was kept for nobody");
        assert_eq!(Rc::strong_count(&waited_on), 1, "only who waits holds it");
        assert!(Rc::ptr_eq(&new, &forwarder.link(&upstream)));
    }
}
