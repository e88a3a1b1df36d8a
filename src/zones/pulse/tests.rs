//! Pulses that fall, rise and flap.

use std::time::Duration;

use super::*;
use crate::config::Probe;

const SETTINGS: Probes =
    Probes { interval: Duration::from_secs(5), timeout: Duration::from_secs(2), rise: 2, fall: 3 };

fn target(address: &str) -> Target {
    let probe = Probe::Tcp { port: 443 };
    Target { address: address.parse().expect("an address"), probe }
}

fn pulse() -> (Arc<Pulses>, Pulse) {
    let all = Arc::<Pulses>::default();
    (Arc::clone(&all), Pulse::new(target("10.1.0.5"), all))
}

/// Notes probes, `+` for one that succeeds and `-` for one that fails, and gives the state after
/// each: `U`p, `P`roving or `D`own.
fn states(pulse: &Pulse, probes: &str) -> String {
    let note = |probe: char| {
        let outcome = if probe == '+' { Ok(()) } else { Err(Fault::Refused) };
        let before = pulse.state();
        let change = pulse.note(outcome, &SETTINGS, Instant::now());
        let (after, up) = (pulse.state(), State::Up);
        assert_eq!(change == Some(Change::Fell), before == up && after != up);
        assert_eq!(change == Some(Change::Rose), before != up && after == up);
        match after {
            State::Up => 'U',
            State::Proving => 'P',
            State::Down => 'D',
        }
    };
    probes.chars().map(note).collect()
}

#[test]
fn so_many_failures_in_a_row_are_down_and_so_many_successes_up() {
    let (all, pulse) = pulse();
    assert_eq!(pulse.state(), State::Up, "who is new is up");
    assert_eq!(states(&pulse, "--+--+---"), "UUUUUUUUD");
    assert!(all.any_down());
    assert_eq!(states(&pulse, "+-+-++"), "DDDDDU");
    assert!(!all.any_down());
    // The first probes count like any.
    let (_, new) = self::pulse();
    assert_eq!(states(&new, "---"), "UUD");
}

#[test]
fn who_flaps_must_prove_itself_twice_as_long_each_time_up_to_a_bound() {
    let (_, pulse) = pulse();
    states(&pulse, "---");
    let mut wanted = Vec::new();
    for _ in 0..7 {
        let mut good = 0;
        while pulse.state() != State::Up {
            good += 1;
            let after = states(&pulse, "+");
            let expected = if good < 2 { "D" } else { "P" };
            assert!(after == "U" || after == expected, "{good}: {after}");
        }
        wanted.push(good);
        // A failure on the way begins the proof anew.
        states(&pulse, "---+++-");
    }
    assert_eq!(wanted, [2, 4, 8, 16, 32, 32, 32]);
}

#[test]
fn who_stayed_up_for_a_while_is_believed_again() {
    let (_, pulse) = pulse();
    let calm = CALM_PROBES as usize;
    assert_eq!(states(&pulse, "---++---++++"), "UUDDUUUDDPPU");
    // Failures that lead to nothing do not count against it.
    states(&pulse, &("+".repeat(calm - 1) + "--"));
    assert_eq!(states(&pulse, "---"), "DDD", "one good probe too few");
    assert_eq!(states(&pulse, "+++++++"), "DPPPPPP");
    assert_eq!(states(&pulse, "+"), "U");
    states(&pulse, &"+".repeat(calm));
    assert_eq!(states(&pulse, "---++"), "UUDDU");
}

#[test]
fn flapping_moves_answers_seldom() {
    let (all, pulse) = pulse();
    // Up and down as if by chance: a day at the default interval.
    let mut random = 1_u32;
    for _ in 0..17_280 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        states(&pulse, if random >> 31 == 0 { "+" } else { "-" });
    }
    let falls = all.falls.load(Ordering::Relaxed);
    assert!((3..=8).contains(&falls), "{falls}");
}

#[test]
fn what_is_our_own_fault_changes_nothing_and_is_told() {
    let (all, pulse) = pulse();
    assert_eq!(states(&pulse, "--"), "UU");
    for _ in 0..10 {
        let ours = Err(Fault::Ours("Network is unreachable".to_owned()));
        assert_eq!(pulse.note(ours, &SETTINGS, Instant::now()), None);
    }
    let report = pulse.report();
    assert_eq!((report.state, report.probes, report.failures), (State::Up, 2, 2));
    let (told, _) = report.last_fault.expect("a fault");
    assert_eq!(told, "could not be probed: Network is unreachable");
    assert_eq!(states(&pulse, "-"), "D", "and those before still count");
    let counts = "endpoint-probes=3 endpoint-probes-failed=3 endpoint-falls=1 \
                  endpoint-rises=0 endpoint-addresses-down=1";
    assert_eq!(all.to_string(), counts);
}

#[test]
fn a_target_that_goes_takes_its_state_along() {
    let all = Arc::<Pulses>::default();
    let mut before = Register { all: Arc::clone(&all), ..Register::default() };
    let (stays, goes) = (before.pulse(&target("10.1.0.5")), before.pulse(&target("10.1.0.6")));
    stays.set(false);
    goes.set(false);
    let old = before.finish();
    let mut after = Register::following(&all, &old);
    assert!(Arc::ptr_eq(&after.pulse(&target("10.1.0.5")), &stays));
    assert_eq!(after.pulse(&target("10.1.0.7")).state(), State::Up);
    let new = after.finish();
    assert_eq!(new.len(), 2);
    assert_eq!(all.down.0.load(Ordering::Relaxed), 2, "the old tables are still in use");
    drop((old, goes));
    assert_eq!(all.down.0.load(Ordering::Relaxed), 1);
    drop((new, stays));
    assert!(!all.any_down());
}

#[tokio::test(start_paused = true)]
async fn a_report_is_one_line() {
    let (_, pulse) = pulse();
    states(&pulse, "+--");
    tokio::time::advance(Duration::from_secs(5)).await;
    states(&pulse, "-");
    tokio::time::advance(Duration::from_secs(42)).await;
    assert_eq!(
        pulse.report().to_string(),
        "state=down since=42s probes=4 failed=3 last-failure=\"connection refused, 42 s ago\""
    );
}
