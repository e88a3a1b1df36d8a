//! When zones are searched for loops, and which first. No probe is sent here.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::LocalSet;
use tokio::time::{Instant, timeout};

use super::rules::forward;
use crate::config::Forward;
use crate::config::testing::plain;
use crate::forward::loop_guard::LoopGuard;
use crate::forward::loop_pace::Pace;
use crate::forward::loop_search::search;
use crate::forward::target::Mark;
use crate::forward::{OwnAddresses, Rules};
use crate::wire::Name;

/// A search that has begun.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Begun {
    after: Duration,
    zone: String,
    server: u64,
}

/// A daemon's search, whose rules may change.
struct World {
    rules: Rc<RefCell<Arc<Rules>>>,
    guard: Arc<LoopGuard>,
    changed: Notify,
    pace: Pace,
    begun: Rc<RefCell<Vec<Begun>>>,
    /// Each search takes so long.
    takes: Duration,
    start: Instant,
}

fn server(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], 53))
}

/// A rule for each of these zones, with one server.
fn rules_of(zones: impl Iterator<Item = String>, last: u8) -> Vec<Forward> {
    zones.map(|zone| forward(&[&zone], vec![plain(server(last))])).collect()
}

fn build(forwards: &[Forward], protected: &[&str], previous: Option<&Rules>) -> Rules {
    let protected: Vec<Name> = protected.iter().map(|zone| zone.parse().expect("one")).collect();
    Rules::build(forwards, &protected, OwnAddresses::default(), previous)
}

impl World {
    fn new(rules: Rules, takes: Duration) -> Self {
        Self {
            rules: Rc::new(RefCell::new(Arc::new(rules))),
            guard: Arc::new(LoopGuard::new()),
            changed: Notify::new(),
            pace: Pace::default(),
            begun: Rc::default(),
            takes,
            start: Instant::now(),
        }
    }

    /// Searches for so long; gives what began in that time.
    async fn search_for(&self, time: Duration) -> Vec<Begun> {
        let before = self.begun.borrow().len();
        let current = || (Arc::clone(&self.rules.borrow()), Arc::clone(&self.guard));
        let search = search(current, &self.changed, &self.pace, |search, _| {
            let begun = Begun {
                after: self.start.elapsed(),
                zone: search.zone.to_string(),
                server: search.claim.target.upstream().number(),
            };
            self.begun.borrow_mut().push(begun);
            let takes = self.takes;
            async move {
                let _until_done = search;
                tokio::time::sleep(takes).await;
            }
        });
        let ended = LocalSet::new().run_until(timeout(time, search)).await;
        assert!(ended.is_err(), "a search goes on for ever");
        self.begun.borrow()[before..].to_vec()
    }

    fn reload(&self, forwards: &[Forward], protected: &[&str]) {
        let before = Arc::clone(&self.rules.borrow());
        *self.rules.borrow_mut() = Arc::new(build(forwards, protected, Some(&before)));
        self.changed.notify_one();
    }
}

/// The most that began within any second.
fn most_a_second<'a>(begun: impl Iterator<Item = &'a Begun>) -> usize {
    let times: Vec<_> = begun.map(|one| one.after).collect();
    let within = |from: &Duration| {
        times.iter().filter(|at| **at >= *from && **at < *from + Duration::from_secs(1)).count()
    };
    times.iter().map(within).max().unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn five_thousand_zones_are_searched_at_the_stated_pace_and_not_again_after_a_reload() {
    let forwards = rules_of((0..5_000).map(|n| format!("z{n}.example")), 1);
    let world = World::new(build(&forwards, &[], None), Duration::from_millis(20));
    let begun = world.search_for(Duration::from_secs(510)).await;
    assert_eq!(begun.len(), 5_000);
    assert_eq!(begun.iter().map(|one| &one.zone).collect::<HashSet<_>>().len(), 5_000);
    assert!(most_a_second(begun.iter().take(200)) <= 10);
    assert!(begun[9].after <= Duration::from_secs(1), "{:?}", begun[9]);
    assert!(begun[4_999].after <= Duration::from_secs(505), "{:?}", begun[4_999]);

    world.reload(&forwards, &[]);
    assert_eq!(world.search_for(Duration::from_secs(60)).await, []);
    // One rule has another server, and one zone is new.
    let mut others = forwards.clone();
    others[7] = forward(&["z7.example"], vec![plain(server(2))]);
    others.push(forward(&["new.example"], vec![plain(server(1))]));
    world.reload(&others, &[]);
    let begun = world.search_for(Duration::from_secs(60)).await;
    let mut zones: Vec<_> = begun.iter().map(|one| &*one.zone).collect();
    zones.sort_unstable();
    assert_eq!(zones, ["new.example", "z7.example"]);
}

#[tokio::test(start_paused = true)]
async fn all_servers_together_have_a_pace_and_each_has_its_share() {
    let forwards: Vec<_> = (1..=40)
        .flat_map(|last| rules_of((0..50).map(move |n| format!("z{n}.s{last}.example")), last))
        .collect();
    let world = World::new(build(&forwards, &[], None), Duration::from_millis(20));
    let begun = world.search_for(Duration::from_secs(60)).await;
    assert_eq!(begun.len(), 2_000);
    assert!(most_a_second(begun.iter().take(300)) <= 50);
    let mut servers: HashMap<u64, Vec<Begun>> = HashMap::new();
    for one in &begun {
        servers.entry(one.server).or_default().push(one.clone());
    }
    assert_eq!(servers.len(), 40);
    assert!(servers.values().all(|begun| most_a_second(begun.iter()) <= 10));
    let last = begun.last().expect("many").after;
    assert!(last <= Duration::from_secs(45), "{last:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_client_ran_into_is_searched_first_and_then_what_is_likely() {
    let mut forwards = rules_of((0..500).map(|n| format!("z{n}.example")), 1);
    forwards.extend(rules_of([".".to_owned()].into_iter(), 1));
    let rules = build(&forwards, &["p.test", "q.p.test"], None);
    let world = World::new(rules, Duration::from_millis(20));
    let begun = world.search_for(Duration::from_millis(350)).await;
    let zones: Vec<_> = begun.iter().map(|one| &*one.zone).take(4).collect();
    assert_eq!(zones, [".", "p.test", "q.p.test", "z0.example"]);
    let late = world.rules.borrow().iter().nth(499).expect("a rule").targets();
    late[0].suspect(Mark::at(0));
    let begun = world.search_for(Duration::from_millis(3_500)).await;
    assert!(begun.iter().any(|one| one.zone == "z499.example"), "{begun:?}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_does_not_keep_others_from_being_searched() {
    let mut forwards = rules_of((0..5_000).map(|n| format!("z{n}.example")), 1);
    forwards.extend(rules_of((0..10).map(|n| format!("z{n}.test")), 2));
    let world = World::new(build(&forwards, &[], None), Duration::from_secs(30));
    let begun = world.search_for(Duration::from_secs(20)).await;
    let others = begun.iter().filter(|one| one.zone.ends_with(".test")).count();
    assert_eq!((others, begun.len()), (10, 10 + 16), "16 searches at once at one server");
}

#[tokio::test(start_paused = true)]
async fn searches_under_way_are_bounded() {
    let forwards: Vec<_> = (1..=20)
        .flat_map(|last| rules_of((0..50).map(move |n| format!("z{n}.s{last}.example")), last))
        .collect();
    let world = World::new(build(&forwards, &[], None), Duration::from_secs(1_000));
    assert_eq!(world.search_for(Duration::from_secs(60)).await.len(), 128);
}
