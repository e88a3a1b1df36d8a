//! What a configuration of 100,000 listed names takes: to read and build, and in the real binary
//! from start to first answer and from SIGHUP to the new answer, while a client asks.
//!
//!     cargo bench --bench reload
#![allow(clippy::print_stdout, reason = "a program for people: it prints what it found")]

#[path = "../tests/hostile/daemon.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod daemon;
#[path = "../tests/hostile/load.rs"]
mod load;
#[path = "../tests/harness/process.rs"]
mod process;
#[path = "../tests/harness/temporary.rs"]
mod temporary;

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use criterion::Criterion;
use privatelinkd::{app, config};

use daemon::{Daemon, PRIVATE, config_of_names};
use load::Load;
use process::until;

/// Listed names of a large configuration.
const MANY: usize = 100_000;
/// A server that nobody listens at: nothing here is forwarded.
const UPSTREAM: &str = "127.0.0.1:9";
/// Starts and reloads measured.
const ROUNDS: u8 = 11;
/// From start to first answer with an ordinary configuration.
const START_BUDGET: Duration = Duration::from_millis(100);
/// From SIGHUP to the first answer of 100,000 names.
const RELOAD_BUDGET: Duration = Duration::from_millis(500);

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .sample_size(10)
        .configure_from_args();
    in_process(&mut criterion);
    criterion.final_summary();
    start("start to first answer, 1 listed name", 0, Some(START_BUDGET));
    start("start to first answer, 100,000 listed names", MANY, None);
    reload();
}

/// The two halves of a reload.
fn in_process(criterion: &mut Criterion) {
    let text = config_of_names(UPSTREAM, MANY, 5);
    let mut group = criterion.benchmark_group("100,000 listed names");
    group.bench_function("read", |bencher| bencher.iter(|| config::read(black_box(&text))));
    let config = config::read(&text).config.expect("a good configuration");
    group.bench_function("build", |bencher| {
        bencher.iter_with_large_drop(|| app::build(&config, &config.listen.dns, None));
    });
    group.finish();
}

fn start(what: &str, names: usize, budget: Option<Duration>) {
    let config = config_of_names(UPSTREAM, names, 5);
    let times = (0..ROUNDS).map(|_| {
        let begin = Instant::now();
        let daemon = Daemon::start(&config);
        daemon.ask_udp(PRIVATE).expect("a reply");
        begin.elapsed()
    });
    tell(what, times.collect(), budget);
}

/// From one configuration of 100,000 names to another, where each has another address; first while
/// nobody asks, then while somebody always does.
fn reload() {
    let daemon = Daemon::start(&config_of_names(UPSTREAM, MANY, 5));
    let what = "SIGHUP to first new answer, 100,000 listed names";
    tell(&format!("{what}, quiet"), reloads(&daemon, 50), Some(RELOAD_BUDGET));
    let load = Load::start(&daemon);
    let times = reloads(&daemon, 100);
    let tally = load.stop();
    tell(&format!("{what}, under load"), times, Some(RELOAD_BUDGET));
    println!(
        "asked meanwhile: {}, lost: {}, wrong: {}, longest wait: {:?}",
        tally.asked, tally.lost, tally.wrong, tally.longest
    );
    assert_eq!((tally.lost, tally.wrong), (0, 0), "a reload was noticed");
}

/// Each to addresses that end in the next number from `first` on.
fn reloads(daemon: &Daemon, first: u8) -> Vec<Duration> {
    let reload = |last| {
        daemon.write_config(&config_of_names(UPSTREAM, MANY, last));
        let begin = Instant::now();
        daemon.signal("-HUP");
        until("the new address", || {
            let address = daemon.ask_udp(PRIVATE).expect("a reply").address();
            (address == Some(Ipv4Addr::new(10, 1, 0, last))).then_some(())
        });
        begin.elapsed()
    };
    (first..first + ROUNDS).map(reload).collect()
}

fn tell(what: &str, mut times: Vec<Duration>, budget: Option<Duration>) {
    times.sort_unstable();
    let (least, median, most) = (times[0], times[times.len() / 2], times[times.len() - 1]);
    print!("{what}: median {median:.1?} (least {least:.1?}, most {most:.1?})");
    match budget {
        None => println!(),
        Some(budget) if median <= budget => println!(", within {budget:?}"),
        Some(budget) => println!(", OVER {budget:?}"),
    }
}
