//! Very many forward zones: the probes for loops leave at their pace, and a reload sends none again.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hickory_proto::op::Message;
use hickory_proto::rr::Name;

use super::daemon::Daemon;
use super::loops::relay_below;
use super::process::until;
use super::upstream;

/// Far more zones than probes leave while this runs.
const MANY: usize = 5_000;
/// From one probe to the next at one upstream.
const PACE: Duration = Duration::from_millis(100);

/// A rule for each zone.
fn config(upstream: SocketAddr, zones: impl Iterator<Item = usize>) -> String {
    let rules = zones.map(|zone| {
        format!("[[forward]]\nzones = ['z{zone}.example']\nupstreams = ['{upstream}']\n")
    });
    format!("[listen]\ndns = ['127.0.0.1:0']\n{}", rules.collect::<String>())
}

/// How often each zone was probed, by name.
type Probes = Arc<Mutex<HashMap<String, usize>>>;

fn counting_upstream() -> (SocketAddr, Probes) {
    let (front, address) = upstream::silent();
    let probes = Probes::default();
    let seen = Arc::clone(&probes);
    upstream::saying(front, move |query| {
        let Ok(message) = Message::from_vec(query) else { return Vec::new() };
        let name = message.queries[0].name().to_string().to_ascii_lowercase();
        if let Some((_, zone)) = name.split_once('.').filter(|_| name.contains("_loop-")) {
            *seen.lock().expect("it").entry(zone.to_owned()).or_default() += 1;
        }
        upstream::answer(query, Ipv4Addr::new(192, 0, 2, 80)).into_iter().collect()
    });
    (address, probes)
}

fn count(probes: &Probes) -> usize {
    probes.lock().expect("it").values().sum()
}

#[test]
fn a_start_with_five_thousand_rules_probes_ten_times_a_second() {
    let (upstream, probes) = counting_upstream();
    let config = config(upstream, 0..MANY);
    let begun = Instant::now();
    let daemon = Daemon::start(&config);
    for wanted in [1, 10, 30] {
        until("more probes come", || (count(&probes) >= wanted).then_some(()));
        // However late this thread looks: so many need so long.
        let (sent, elapsed) = (count(&probes), begun.elapsed());
        let least = PACE * u32::try_from(sent - 1).expect("few");
        assert!(elapsed + PACE >= least, "{sent} within {elapsed:?}");
    }
    assert!(daemon.ask_udp("www.z4999.example.").expect("a reply").address().is_some());
    // A reload of the same file begins nothing again: what was probed stays so.
    daemon.signal("-HUP");
    daemon.wait_for_log("reloaded ");
    until("probes go on", || (count(&probes) >= 60).then_some(()));
    let elapsed = begun.elapsed();
    let least = PACE * u32::try_from(count(&probes) - 1).expect("few");
    assert!(elapsed + PACE >= least, "{elapsed:?} for {}", count(&probes));
    // One may have been under way at the reload.
    let twice = probes.lock().expect("it").values().filter(|times| **times > 1).count();
    assert!(twice <= 1, "{twice} zones were probed again");
    assert!(!daemon.log().contains("panic"), "{}", daemon.log());
}

#[test]
fn a_reload_probes_what_is_new_and_nothing_else() {
    let (upstream, probes) = counting_upstream();
    let daemon = Daemon::start(&config(upstream, 0..12));
    until("all are probed", || (count(&probes) == 12).then_some(()));
    // What this gets back went out behind the last probe's reply.
    daemon.ask_udp("www.z0.example.").expect("a reply");
    daemon.signal("-HUP");
    daemon.wait_for_log("reloaded ");
    daemon.write_config(&config(upstream, 0..13));
    daemon.signal("-HUP");
    let is_probed = || probes.lock().expect("it").contains_key("z12.example.");
    until("the new zone is probed", || is_probed().then_some(()));
    assert_eq!(count(&probes), 13);
}

#[test]
fn a_loop_that_a_client_runs_into_is_found_before_the_many_others() {
    let front = upstream::tcp_and_udp();
    let address = front.1.local_addr().expect("bound");
    let daemon = Daemon::start(&config(address, 0..MANY));
    relay_below(Name::from_ascii("z4999.example.").expect("a name"), front, daemon.address());
    // The relay gives it back, so nobody answers.
    daemon.ask_udp("www.z4999.example.").expect("a reply");
    daemon.wait_for_log("for zone z4999.example back");
}
