//! Scripted servers on paused time, behind a rule as the daemon builds it.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::rules::{address, forward};
use crate::addresses::HostBlock;
use crate::config::{Forward, Policy};
use crate::forward::alarms::Alarms;
use crate::forward::course::Course;
use crate::forward::race::{self, Attempt};
use crate::forward::{Failure, OwnAddresses, Rule, Rules, Target};
use crate::upstream::tests::question;
use crate::upstream::{TryError, Upstream};
use crate::wire::{Answer, Ede, MessageWriter, Question, Rcode, flags};

pub(super) const BUDGET: Duration = Duration::from_secs(2);

/// What a server does with a query, after some milliseconds.
#[derive(Clone, Copy)]
pub(super) enum Does {
    Says(u64, u16),
    /// SERVFAIL with an extended error.
    Explains(u64),
    Fails(u64, TryError),
    Nothing,
}

/// A query as a server sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Heard {
    /// Since the script began.
    pub(super) at_ms: u64,
    /// The server's place in the rule, from 1.
    pub(super) server: u16,
    /// How many this server has heard before.
    pub(super) nth: usize,
    pub(super) is_probe: bool,
}

type Server = Box<dyn Fn(Heard) -> Does>;

pub(super) struct Script {
    begun: Instant,
    servers: RefCell<Vec<Server>>,
    heard: RefCell<Vec<Heard>>,
}

impl Attempt for Script {
    async fn attempt(
        &self,
        upstream: &Arc<Upstream>,
        question: &Question,
    ) -> Result<Answer, TryError> {
        let server = upstream.server().address().unwrap().port();
        let nth = self.heard.borrow().iter().filter(|heard| heard.server == server).count();
        let at_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap();
        let is_probe = question.qname.to_string() == ".";
        let heard = Heard { at_ms, server, nth, is_probe };
        self.heard.borrow_mut().push(heard);
        let does = self.servers.borrow()[usize::from(server) - 1](heard);
        let after = |after_ms| sleep(Duration::from_millis(after_ms));
        match does {
            Does::Says(after_ms, rcode) => {
                after(after_ms).await;
                upstream.note_reply();
                Ok(answer(question, rcode, None))
            }
            Does::Explains(after_ms) => {
                after(after_ms).await;
                upstream.note_reply();
                Ok(answer(question, 2, Some((Ede::Other, "bogus"))))
            }
            Does::Fails(after_ms, error) => {
                after(after_ms).await;
                Err(error)
            }
            Does::Nothing => pending().await,
        }
    }
}

fn answer(question: &Question, rcode: u16, ede: Option<(Ede, &str)>) -> Answer {
    let mut message = Vec::new();
    let mut writer = MessageWriter::begin(&mut message, 512, 0, flags::QR | rcode);
    writer.raw(question.qname.as_wire()).unwrap();
    writer.raw(&question.qtype.0.to_be_bytes()).unwrap();
    writer.raw(&question.qclass.to_be_bytes()).unwrap();
    writer.opt(Rcode::NOERROR, false, ede, &[]).unwrap();
    writer.set_counts([1, 0, 0, 1]);
    Answer::parse(&message, question).unwrap()
}

/// One rule for all names but those below `private.example`, which it looks for loops in too.
pub(super) struct Rig {
    pub(super) rules: Arc<Rules>,
    pub(super) script: Rc<Script>,
    /// Numbers of the servers that are asked last.
    pub(super) avoid: RefCell<Vec<u64>>,
}

impl Rig {
    pub(super) fn new(policy: Policy, servers: usize) -> Self {
        let sources = (1..=servers).map(|port| address(&format!("192.0.2.1:{port}"))).collect();
        let forward = Forward { policy, timeout: BUDGET, ..forward(&["example"], sources) };
        let protected = ["private.example".parse().unwrap()];
        let rules = Rules::build(&[forward], &protected, OwnAddresses::default(), None);
        let silent = (0..servers).map(|_| Box::new(|_| Does::Nothing) as Server).collect();
        let script = Script {
            begun: Instant::now(),
            servers: RefCell::new(silent),
            heard: RefCell::default(),
        };
        Self { rules: Arc::new(rules), script: Rc::new(script), avoid: RefCell::default() }
    }

    pub(super) fn ordered(servers: usize) -> Self {
        Self::new(Policy::Ordered, servers)
    }

    /// What the server at `place`, from 1, does from now on.
    pub(super) fn server(&self, place: usize, does: impl Fn(Heard) -> Does + 'static) {
        self.script.servers.borrow_mut()[place - 1] = Box::new(does);
    }

    /// Each server does these things one after the other from now on, the last again and again.
    pub(super) fn servers(&self, servers: &[&[Does]]) {
        for (index, does) in servers.iter().enumerate() {
            let (does, next) = (does.to_vec(), Cell::new(0));
            self.server(index + 1, move |_| {
                next.set(next.get() + 1);
                *does.get(next.get() - 1).unwrap_or(does.last().unwrap())
            });
        }
    }

    /// All servers answer after so many milliseconds each.
    pub(super) fn answer_after(&self, millis: &[u64]) {
        for (index, millis) in millis.iter().copied().enumerate() {
            self.server(index + 1, move |_| Does::Says(millis, 0));
        }
    }

    pub(super) fn rule(&self) -> Arc<Rule> {
        Arc::clone(self.rules.iter().next().unwrap())
    }

    pub(super) fn target(&self, place: usize) -> Arc<Target> {
        Arc::clone(&self.rule().targets()[place - 1])
    }

    pub(super) fn upstream(&self, place: usize) -> Arc<Upstream> {
        Arc::clone(self.target(place).upstream())
    }

    /// Makes the server at `place` count as down, as silence would.
    pub(super) fn take_down(&self, place: usize) {
        let unreachable = TryError::Unreachable(std::io::ErrorKind::NetworkUnreachable);
        let (upstream, now) = (self.upstream(place), Instant::now());
        while !upstream.is_down() {
            upstream.note_failure(unreachable, now, now);
        }
    }

    /// Asks once; gives the outcome, after how many milliseconds it came, and who was asked then.
    pub(super) async fn run(&self) -> (Result<Answer, Failure>, u64, Vec<(u64, u16)>) {
        self.run_within(BUDGET, &question()).await
    }

    pub(super) async fn run_within(
        &self,
        budget: Duration,
        question: &Question,
    ) -> (Result<Answer, Failure>, u64, Vec<(u64, u16)>) {
        let (rule, begun) = (self.rule(), Instant::now());
        let before = self.script.heard.borrow().len();
        let (targets, avoid) = (rule.targets(), self.avoid.borrow().clone());
        let course = Course {
            question,
            client: client(),
            targets: &targets,
            order: rule.order(),
            avoid: &avoid,
            probe_zones: rule.probe_zones(),
            in_flight: rule.in_flight(),
            begun,
            deadline: begun + budget,
            budget: rule.timeout(),
        };
        let alarms = Alarms::default();
        let outcome = tokio::select! {
            outcome = race::ask(&*self.script, &alarms, course) => outcome.map(|told| told.0),
            () = alarms.ring(Arc::default()) => unreachable!(),
        };
        let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap();
        let began_ms = u64::try_from((begun - self.script.begun).as_millis()).unwrap();
        let heard = self.script.heard.borrow();
        let asked = heard[before..].iter().filter(|heard| !heard.is_probe);
        (outcome, took_ms, asked.map(|heard| (heard.at_ms - began_ms, heard.server)).collect())
    }

    /// Asks once for what must be answered; gives after how many milliseconds it was.
    pub(super) async fn answered(&self) -> u64 {
        let (outcome, took_ms, _) = self.run().await;
        outcome.expect("an answer");
        took_ms
    }

    /// Who is asked first.
    pub(super) async fn first(&self) -> u16 {
        self.run().await.2[0].1
    }

    /// The probes that the server at `place` has heard, milliseconds since the script began.
    pub(super) fn probes(&self, place: u16) -> Vec<u64> {
        let heard = self.script.heard.borrow();
        let probes = heard.iter().filter(|heard| heard.is_probe && heard.server == place);
        probes.map(|heard| heard.at_ms).collect()
    }

    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.script.begun.elapsed().as_millis()).unwrap()
    }
}

/// A client.
pub(super) fn client() -> HostBlock {
    HostBlock::of([192, 0, 2, 9].into())
}

pub(super) fn rcode(outcome: &Result<Answer, Failure>) -> Rcode {
    outcome.as_ref().expect("an answer").rcode()
}

/// Draws that are the same in every run: true with `percent` of 100.
pub(super) fn dice(percent: u64) -> impl Fn() -> bool {
    // Multiplier and increment are Knuth's for MMIX; the upper bits are good enough for loss.
    let state = Cell::new(0x5eed_u64);
    move || {
        let next = state.get().wrapping_mul(6_364_136_223_846_793_005);
        state.set(next.wrapping_add(1_442_695_040_888_963_407));
        (state.get() >> 33) % 100 < percent
    }
}
