//! When addresses are probed, on paused time, and what one probe finds.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

use super::attempt::{Attempt, Dial, unreached};
use super::prober::{Anew, PROBES_AT_ONCE, probe_with};
use crate::config::testing::{defender, endpoint};
use crate::config::{Endpoint, Probe, Probes, Target};
use crate::zones::{Fault, Pulse, State, Zones};

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What an address does when it is probed.
#[derive(Clone, PartialEq, Debug)]
enum Does {
    Accepts,
    Refuses,
    Nothing,
    Ours,
    Panics,
}

/// Addresses as a test wants them, and when each was probed.
struct Script {
    begin: Instant,
    does: RefCell<HashMap<IpAddr, Does>>,
    probes: RefCell<HashMap<IpAddr, Vec<Duration>>>,
    under_way: Cell<usize>,
    most_under_way: Cell<usize>,
}

impl Attempt for Script {
    async fn attempt(&self, target: &Target) -> Result<(), Fault> {
        let address = target.address;
        self.probes.borrow_mut().entry(address).or_default().push(self.begin.elapsed());
        self.under_way.set(self.under_way.get() + 1);
        self.most_under_way.set(self.most_under_way.get().max(self.under_way.get()));
        let _ends = Ends(&self.under_way);
        let does = self.does.borrow().get(&address).cloned().unwrap_or(Does::Accepts);
        sleep(millis(5)).await;
        match does {
            Does::Accepts => Ok(()),
            Does::Refuses => Err(Fault::Refused),
            Does::Nothing => std::future::pending().await,
            Does::Ours => Err(Fault::Ours("no route".to_owned())),
            Does::Panics => panic!("as the test wants it"),
        }
    }
}

struct Ends<'a>(&'a Cell<usize>);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// A prober at work.
struct Rig {
    script: Rc<Script>,
    anew: Rc<Anew>,
    current: Rc<RefCell<(Arc<Zones>, Probes)>>,
}

const SETTINGS: Probes =
    Probes { interval: millis(5_000), timeout: millis(2_000), rise: 2, fall: 3 };

fn zones(addresses: &[String]) -> Arc<Zones> {
    let lists = addresses.chunks(64).enumerate().map(|(number, list)| {
        let list: Vec<&str> = list.iter().map(String::as_str).collect();
        let probe = Some(Probe::Tcp { port: 443 });
        Endpoint { probe, ..endpoint(&number.to_string(), &[], &list, &[]) }
    });
    Arc::new(Zones::new(&[defender(lists.collect())]))
}

fn addresses(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("10.1.{}.{}", n / 256, n % 256)).collect()
}

/// Runs `test` while so many addresses are probed.
async fn probed<T>(count: usize, test: impl AsyncFnOnce(&Rig) -> T) -> T {
    let rig = Rig {
        script: Rc::new(Script {
            begin: Instant::now(),
            does: RefCell::default(),
            probes: RefCell::default(),
            under_way: Cell::new(0),
            most_under_way: Cell::new(0),
        }),
        anew: Rc::default(),
        current: Rc::new(RefCell::new((zones(&addresses(count)), SETTINGS))),
    };
    let current = Rc::clone(&rig.current);
    let current = move || {
        let (zones, settings) = &*current.borrow();
        (Arc::clone(zones), *settings)
    };
    let tasks = LocalSet::new();
    let prober =
        tasks.spawn_local(probe_with(Rc::clone(&rig.script), Rc::clone(&rig.anew), current));
    let outcome = tasks.run_until(test(&rig)).await;
    assert!(!prober.is_finished(), "probes go on for ever");
    outcome
}

impl Rig {
    fn does(&self, address: usize, does: Does) {
        let address = addresses(address + 1)[address].parse().expect("an address");
        self.script.does.borrow_mut().insert(address, does);
    }

    fn all_do(&self, does: &Does) {
        for pulse in self.current.borrow().0.pulses() {
            self.script.does.borrow_mut().insert(pulse.target().address, does.clone());
        }
    }

    fn pulse(&self, at: usize) -> Arc<Pulse> {
        Arc::clone(&self.current.borrow().0.pulses()[at])
    }

    fn times(&self, at: usize) -> Vec<Duration> {
        let address = addresses(at + 1)[at].parse::<IpAddr>().expect("an address");
        self.script.probes.borrow().get(&address).cloned().unwrap_or_default()
    }

    fn probes(&self) -> usize {
        self.script.probes.borrow().values().map(Vec::len).sum()
    }

    /// How long it takes until the address is in this state.
    async fn until(&self, at: usize, state: State) -> Duration {
        let begin = Instant::now();
        while self.pulse(at).state() != state {
            assert!(begin.elapsed() < millis(600_000), "never {state:?}");
            sleep(millis(1)).await;
        }
        begin.elapsed()
    }
}

#[tokio::test(start_paused = true)]
async fn probes_are_spread_and_come_in_time() {
    probed(200, async |rig| {
        sleep(millis(5_000)).await;
        let first: Vec<_> = (0..200).map(|at| rig.times(at)[0]).collect();
        let early = first.iter().filter(|time| **time < millis(2_200)).count();
        assert!((60..160).contains(&early), "{early} of 200 in the first half");
        sleep(millis(300_000)).await;
        let mut gaps: Vec<Duration> = Vec::new();
        for at in 0..200 {
            gaps.extend(rig.times(at).windows(2).map(|pair| pair[1] - pair[0]));
        }
        gaps.sort();
        // The interval, less a third of the time-out, up to a fifth less by chance.
        let longest = millis(5_000 - 2_000 / 3);
        assert!(gaps[0] >= longest.mul_f64(0.79), "{:?}", gaps[0]);
        assert!(gaps[gaps.len() - 1] <= longest + millis(5), "{:?}", gaps[gaps.len() - 1]);
        assert!(gaps[gaps.len() / 10] < longest.mul_f64(0.84), "not in step");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_goes_is_found_out_within_fall_intervals_and_comes_back_within_rise() {
    probed(50, async |rig| {
        sleep(millis(20_000)).await;
        for (at, does) in [(0, Does::Refuses), (1, Does::Nothing), (2, Does::Nothing)] {
            rig.does(at, does);
            let took = rig.until(at, State::Down).await;
            assert!(took <= SETTINGS.interval * SETTINGS.fall, "{took:?}");
            assert!(took >= SETTINGS.interval, "one failure is not enough: {took:?}");
            rig.does(at, Does::Accepts);
            let took = rig.until(at, State::Up).await;
            assert!(took <= SETTINGS.interval * SETTINGS.rise, "{took:?}");
        }
        let tally = rig.current.borrow().0.tally().to_string();
        assert!(tally.contains("endpoint-falls=3 endpoint-rises=3 endpoint-addresses-down=0"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn flapping_settles() {
    probed(1, async |rig| {
        for turn in 0..20_000_u32 {
            let does = if turn % 2 == 0 { Does::Refuses } else { Does::Accepts };
            rig.does(0, does);
            sleep(millis(400)).await;
        }
        let tally = rig.current.borrow().0.tally().to_string();
        let falls = tally.split(' ').find_map(|word| word.strip_prefix("endpoint-falls="));
        let falls: u32 = falls.and_then(|falls| falls.parse().ok()).expect("a count");
        assert!((1..=8).contains(&falls), "two hours of flapping moved answers {falls} times");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn so_many_at_once_and_no_more() {
    probed(300, async |rig| {
        rig.all_do(&Does::Nothing);
        sleep(millis(60_000)).await;
        assert_eq!(rig.script.most_under_way.get(), PROBES_AT_ONCE);
        // Everybody has a turn: 128 each two seconds.
        let fewest = (0..300).map(|at| rig.times(at).len()).min().expect("some");
        let most = (0..300).map(|at| rig.times(at).len()).max().expect("some");
        assert!(fewest >= 9 && most - fewest <= 3, "{fewest} to {most}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_reload_lets_go_of_what_goes_and_begins_with_what_comes() {
    probed(3, async |rig| {
        rig.does(0, Does::Refuses);
        rig.does(2, Does::Nothing);
        rig.until(0, State::Down).await;
        let old = Arc::clone(&rig.current.borrow().0);
        let mut all = addresses(5);
        all.drain(1..3);
        let mut new = Arc::into_inner(zones(&all)).expect("nobody else's");
        new.go_on_from(&old);
        rig.current.borrow_mut().0 = Arc::new(new);
        let reloaded = rig.script.begin.elapsed();
        assert_eq!(rig.pulse(0).state(), State::Down, "who stays keeps its state");
        sleep(millis(60_000)).await;
        assert_eq!(rig.script.under_way.get(), 0, "what was let go is under way no more");
        for gone in [1, 2] {
            let last = *rig.times(gone).last().expect("probed before");
            assert!(last <= reloaded + millis(1_000), "{last:?} after {reloaded:?}");
        }
        for new in [3, 4] {
            assert!(rig.times(new)[0] <= reloaded + millis(6_000), "{:?}", rig.times(new));
        }
        let series = rig.times(0);
        assert!(series.windows(2).all(|pair| pair[1] - pair[0] >= millis(3_400)), "{series:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn other_settings_count_at_once() {
    probed(1, async |rig| {
        rig.current.borrow_mut().1.interval = millis(3_600_000);
        sleep(millis(20_000)).await;
        rig.current.borrow_mut().1.interval = millis(5_000);
        let before = rig.probes();
        sleep(millis(6_100)).await;
        assert!(rig.probes() > before, "it waits for no hour");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn in_another_network_all_are_probed_soon_and_failures_of_before_do_not_count() {
    probed(100, async |rig| {
        sleep(millis(20_000)).await;
        rig.all_do(&Does::Nothing);
        sleep(millis(7_500)).await;
        let counted =
            |rig: &Rig| -> u64 { (0..100).map(|at| rig.pulse(at).report().failures).sum() };
        let (before, under_way) = (counted(rig), rig.script.under_way.get());
        assert!(under_way > 10, "{under_way}");
        rig.all_do(&Does::Accepts);
        let probes = rig.probes();
        rig.anew.begin();
        sleep(millis(1_500)).await;
        // Those under way are waited for, all others have had their turn.
        assert!(rig.probes() - probes >= 100 - under_way, "{}", rig.probes() - probes);
        sleep(millis(2_100)).await;
        assert!((0..100).all(|at| rig.times(at).last() >= Some(&millis(27_500))));
        assert_eq!(counted(rig), before, "they were sent into the old one");
        assert!((0..100).all(|at| rig.pulse(at).state() == State::Up));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_network_that_changes_all_the_time_multiplies_no_probes() {
    probed(10, async |rig| {
        for _ in 0..600 {
            rig.anew.begin();
            sleep(millis(100)).await;
        }
        let probes = rig.probes();
        assert!((100..=6_100).contains(&probes), "{probes} of 10 addresses in a minute");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_tried_keeps_its_state_and_a_panic_ends_nothing() {
    probed(2, async |rig| {
        rig.does(0, Does::Ours);
        rig.does(1, Does::Panics);
        sleep(millis(60_000)).await;
        for at in [0, 1] {
            assert_eq!(rig.pulse(at).state(), State::Up);
            assert!(rig.times(at).len() >= 10, "{:?}", rig.times(at));
        }
        rig.does(1, Does::Refuses);
        rig.until(1, State::Down).await;
        rig.does(1, Does::Ours);
        sleep(millis(60_000)).await;
        assert_eq!(rig.pulse(1).state(), State::Down);
    })
    .await;
}

fn target(address: std::net::SocketAddr, tls_name: Option<&str>) -> Target {
    let port = address.port();
    let probe = match tls_name {
        Some(name) => Probe::Tls { port, name: Some(name.to_owned()) },
        None => Probe::Tcp { port },
    };
    Target { address: address.ip(), probe }
}

#[tokio::test]
async fn a_connection_is_enough_for_tcp_and_a_closed_port_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let here = target(listener.local_addr().expect("an address"), None);
    assert_eq!(Dial.attempt(&here).await, Ok(()));
    // It is closed with a reset, so nothing of it stays.
    let (mut peer, _) = listener.accept().await.expect("a connection");
    let read = tokio::io::AsyncReadExt::read(&mut peer, &mut [0]).await;
    assert_eq!(read.map_err(|error| error.kind()), Err(std::io::ErrorKind::ConnectionReset));
    drop((listener, peer));
    assert_eq!(Dial.attempt(&here).await, Err(Fault::Refused));
}

#[test]
fn what_this_host_says_by_itself_is_no_word_about_the_address() {
    use std::io::{Error, ErrorKind};
    let fault = |kind: ErrorKind| unreached(&Error::from(kind), false);
    assert_eq!(fault(ErrorKind::ConnectionRefused), Fault::Refused);
    assert_eq!(fault(ErrorKind::HostUnreachable), Fault::Unreachable);
    assert_eq!(fault(ErrorKind::TimedOut), Fault::Timeout);
    for ours in [
        ErrorKind::NetworkUnreachable,
        ErrorKind::NetworkDown,
        ErrorKind::AddrNotAvailable,
        ErrorKind::PermissionDenied,
        ErrorKind::InvalidInput,
        ErrorKind::OutOfMemory,
    ] {
        assert!(matches!(fault(ours), Fault::Ours(_)), "{ours:?}");
    }
    // A gateway without a route has been asked.
    let told = |kind: ErrorKind| unreached(&Error::from(kind), true);
    assert_eq!(told(ErrorKind::NetworkUnreachable), Fault::Unreachable);
    assert!(matches!(told(ErrorKind::OutOfMemory), Fault::Ours(_)));
    // EMFILE: no file is left.
    assert!(matches!(unreached(&Error::from_raw_os_error(24), false), Fault::Ours(_)));
}
