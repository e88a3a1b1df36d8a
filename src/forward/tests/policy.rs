//! Scripted servers on paused time.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::config::UpstreamServer;
use crate::forward::Failure;
use crate::forward::policy::{Attempt, ordered, step};
use crate::forward::target::{Mark, PROBED_ZONES, ProbeZones, Target};
use crate::upstream::tests::question;
use crate::upstream::{TryError, Upstream};
use crate::wire::{Answer, Ede, MessageWriter, Name, QName, Question, Rcode, flags};

const BUDGET: Duration = Duration::from_secs(2);

/// What a server does with each query, after some milliseconds.
#[derive(Clone, Copy)]
enum Does {
    Says(u64, u16),
    /// SERVFAIL with an extended error.
    Explains(u64),
    Fails(u64, TryError),
    Nothing,
}
use Does::{Explains, Fails, Nothing, Says};

struct Script {
    begun: Instant,
    servers: HashMap<SocketAddr, Vec<Does>>,
    /// (milliseconds, port of the server asked)
    asked: RefCell<Vec<(u128, u16)>>,
}

impl Attempt for Script {
    async fn attempt(
        &self,
        upstream: &Arc<Upstream>,
        question: &Question,
    ) -> Result<Answer, TryError> {
        let address = upstream.server().address().unwrap();
        let port = address.port();
        let nth = self.asked.borrow().iter().filter(|(_, asked)| *asked == port).count();
        self.asked.borrow_mut().push((self.begun.elapsed().as_millis(), port));
        let script = &self.servers[&address];
        match *script.get(nth).unwrap_or(script.last().unwrap()) {
            Says(after_ms, rcode) => {
                sleep(Duration::from_millis(after_ms)).await;
                upstream.note_reply();
                Ok(answer(question, rcode, None))
            }
            Explains(after_ms) => {
                sleep(Duration::from_millis(after_ms)).await;
                Ok(answer(question, 2, Some((Ede::Other, "bogus"))))
            }
            Fails(after_ms, error) => {
                sleep(Duration::from_millis(after_ms)).await;
                Err(error)
            }
            Nothing => pending().await,
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

/// Two zones, the second below the first.
fn zones() -> ProbeZones {
    let names = ["example", "private.example"].map(|name| name.parse().unwrap());
    ProbeZones::new(&names, std::iter::empty())
}

fn targets(servers: usize) -> Vec<Arc<Target>> {
    (1..=servers)
        .map(|port| {
            let port = u16::try_from(port).unwrap();
            let upstream = Upstream::new(UpstreamServer::plain(([192, 0, 2, 1], port).into()));
            Arc::new(Target::new(Arc::new(upstream), &zones()))
        })
        .collect()
}

/// Runs one query; gives its outcome, when that came, and who was asked when.
async fn run(
    targets: &[Arc<Target>],
    servers: &[&[Does]],
) -> (Result<Answer, Failure>, u128, Vec<(u128, u16)>) {
    run_within(BUDGET, Mark::at(0), targets, servers).await
}

async fn run_within(
    budget: Duration,
    mark: Mark,
    targets: &[Arc<Target>],
    servers: &[&[Does]],
) -> (Result<Answer, Failure>, u128, Vec<(u128, u16)>) {
    let begun = Instant::now();
    let addresses = targets.iter().map(|target| target.upstream().server().address().unwrap());
    let servers = addresses.zip(servers.iter().map(|does| does.to_vec())).collect();
    let script = Script { begun, servers, asked: RefCell::default() };
    let outcome = ordered(&script, targets, mark, begun + budget, &question()).await;
    (outcome, begun.elapsed().as_millis(), script.asked.into_inner())
}

fn rcode(outcome: &Result<Answer, Failure>) -> Rcode {
    outcome.as_ref().expect("an answer").rcode()
}

#[test]
fn steps_share_the_budget() {
    assert_eq!(step(BUDGET, 2), Duration::from_millis(500));
    assert_eq!(step(BUDGET, 100), Duration::from_millis(100));
    assert_eq!(step(Duration::from_secs(30), 1), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn the_first_server_alone_is_asked_while_it_answers() {
    for code in [0, 3, 6] {
        let (outcome, at, asked) = run(&targets(3), &[&[Says(20, code)], &[Nothing]]).await;
        assert_eq!((rcode(&outcome).0, at, asked), (code, 20, vec![(0, 1)]));
    }
}

#[tokio::test(start_paused = true)]
async fn bad_replies_and_errors_move_on_at_once() {
    let refused = TryError::Unreachable(io::ErrorKind::ConnectionRefused);
    for bad in [
        Says(5, 2),
        Says(5, 5),
        Says(5, 4),
        Says(5, 1),
        Fails(5, refused),
        Fails(5, TryError::Garbled),
        Fails(5, TryError::Busy),
    ] {
        let (outcome, at, asked) = run(&targets(2), &[&[bad], &[Says(5, 3)]]).await;
        assert_eq!((rcode(&outcome), at), (Rcode::NXDOMAIN, 10));
        assert_eq!(asked, [(0, 1), (5, 2)]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_first_server_costs_its_share_only() {
    let (outcome, at, asked) = run(&targets(2), &[&[Nothing], &[Says(30, 0)]]).await;
    assert_eq!((rcode(&outcome), at), (Rcode::NOERROR, 530));
    assert_eq!(asked, [(0, 1), (500, 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_first_server_is_still_listened_to() {
    let (outcome, at, asked) = run(&targets(2), &[&[Says(700, 0)], &[Nothing]]).await;
    assert_eq!((rcode(&outcome), at), (Rcode::NOERROR, 700));
    assert_eq!(asked, [(0, 1), (500, 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_datagram_is_made_good_in_the_second_round() {
    let (outcome, at, asked) = run(&targets(1), &[&[Nothing, Says(10, 0)]]).await;
    assert_eq!((rcode(&outcome), at), (Rcode::NOERROR, 1_010));
    assert_eq!(asked, [(0, 1), (1_000, 1)]);
}

#[tokio::test(start_paused = true)]
async fn the_budget_is_never_exceeded() {
    let targets = targets(3);
    let (outcome, at, asked) = run(&targets, &[&[Nothing], &[Nothing], &[Nothing]]).await;
    assert_eq!((outcome, at), (Err(Failure::TimedOut), 2_000));
    let ports: Vec<_> = asked.iter().map(|(_, port)| *port).collect();
    assert_eq!(ports, [1, 2, 3, 1, 2, 3]);
    assert!(targets.iter().all(|target| target.upstream().tally().timeouts == 1));
    assert!(targets.iter().all(|target| target.is_suspect(Mark::at(0))));
}

#[tokio::test(start_paused = true)]
async fn when_all_have_failed_nobody_waits() {
    let refused = Fails(1, TryError::Unreachable(io::ErrorKind::ConnectionRefused));
    let (outcome, at, asked) = run(&targets(2), &[&[refused], &[refused]]).await;
    assert_eq!(outcome, Err(Failure::Unreachable(io::ErrorKind::ConnectionRefused)));
    assert_eq!((at, asked), (2, vec![(0, 1), (1, 2)]));
}

#[tokio::test(start_paused = true)]
async fn the_most_telling_bad_reply_is_the_result() {
    let cases: [(&[Does], &[Does], u16); 3] = [
        (&[Says(1, 2)], &[Says(1, 5)], 2),
        (&[Says(1, 5)], &[Says(1, 2)], 2),
        (&[Says(1, 5)], &[Fails(1, TryError::Garbled)], 5),
    ];
    for (first, second, expected) in cases {
        let (outcome, at, _) = run(&targets(2), &[first, second]).await;
        let Err(Failure::BadReply(answer)) = outcome else { panic!("{outcome:?}") };
        assert_eq!((answer.rcode().0, at), (expected, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_servfail_that_explains_itself_is_kept() {
    for servers in [[Explains(1), Says(1, 2)], [Says(1, 2), Explains(1)]] {
        let (outcome, _, _) = run(&targets(2), &[&servers[..1], &servers[1..]]).await;
        let Err(Failure::BadReply(answer)) = outcome else { panic!("{outcome:?}") };
        assert!(answer.ede_options().ends_with(b"bogus"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_bad_reply_beside_silence_is_given_at_the_end_of_the_budget() {
    let targets = targets(2);
    let (outcome, at, asked) = run(&targets, &[&[Says(1, 2)], &[Nothing]]).await;
    assert!(matches!(outcome, Err(Failure::BadReply(_))));
    // The first has spoken; only the silent one is asked again.
    assert_eq!((at, asked), (2_000, vec![(0, 1), (1, 2), (501, 2)]));
    assert_eq!(targets[0].upstream().tally().timeouts, 0);
    assert!(!targets[1].is_suspect(Mark::at(0)));
}

#[tokio::test(start_paused = true)]
async fn a_failure_does_not_repeat_the_query_of_a_try_that_has_just_begun() {
    let refused = Fails(510, TryError::Garbled);
    let (outcome, at, asked) = run(&targets(2), &[&[refused], &[Says(300, 0)]]).await;
    assert_eq!((rcode(&outcome), at), (Rcode::NOERROR, 800));
    assert_eq!(asked, [(0, 1), (500, 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_server_known_to_be_silent_costs_nothing() {
    let targets = targets(2);
    let servers: &[&[Does]] = &[&[Nothing], &[Says(1, 0)]];
    let mut took = Vec::new();
    for _ in 0..20 {
        let (outcome, at, _) = run(&targets, servers).await;
        assert_eq!(rcode(&outcome), Rcode::NOERROR);
        took.push(at);
    }
    // Three to learn it, and one canary, since less than a second passes afterwards.
    assert_eq!(took[..4], [501, 501, 501, 101]);
    assert!(took[4..].iter().all(|at| *at == 1), "{took:?}");

    // It is back: the next canary finds out, and the order is the file's again.
    tokio::time::advance(Duration::from_secs(1)).await;
    for _ in 0..3 {
        let (_, at, asked) = run(&targets, &[&[Says(7, 0)], &[Says(1, 0)]]).await;
        assert_eq!((at, asked), (7, vec![(0, 1)]));
    }
}

#[tokio::test(start_paused = true)]
async fn looping_servers_are_skipped_for_the_zone_that_loops() {
    let targets = targets(2);
    let (wide, narrow) = (Mark::at(0), Mark::at(1));
    assert!(targets[0].set_looping(narrow));
    let servers: &[&[Does]] = &[&[Says(1, 0)], &[Says(1, 3)]];
    let (outcome, _, asked) = run_within(BUDGET, narrow, &targets, servers).await;
    assert_eq!((rcode(&outcome), asked), (Rcode::NXDOMAIN, vec![(0, 2)]));
    assert!(targets[1].set_looping(narrow));
    let (outcome, at, asked) = run_within(BUDGET, narrow, &targets, servers).await;
    assert_eq!((outcome, at, asked), (Err(Failure::Looping), 0, vec![]));
    for other in [wide, Mark::NONE] {
        let (outcome, _, asked) = run_within(BUDGET, other, &targets, servers).await;
        assert_eq!((rcode(&outcome), asked), (Rcode::NOERROR, vec![(0, 1)]));
    }
    assert_eq!(run(&[], servers).await.0, Err(Failure::NoUpstream));
}

#[test]
fn the_deepest_probed_zone_has_the_say() {
    let zones = zones();
    for (name, expected) in [
        ("example", Mark::at(0)),
        ("www.example", Mark::at(0)),
        ("private.example", Mark::at(1)),
        ("a.b.private.example", Mark::at(1)),
        ("elsewhere", Mark::NONE),
    ] {
        let name: Name = name.parse().unwrap();
        assert_eq!(zones.covering(&QName::from(&name)), expected, "{name}");
    }
}

#[test]
fn no_more_zones_are_probed_than_there_are_bits() {
    let zones: Vec<Name> = (0..70).map(|zone| format!("z{zone}").parse().unwrap()).collect();
    let zones = ProbeZones::new(&zones, zones.iter().take(1));
    let mut marks: Vec<_> = zones.iter().map(|(mark, _)| mark).collect();
    assert_eq!(marks.len(), PROBED_ZONES);
    marks.dedup();
    assert_eq!(marks.len(), PROBED_ZONES);
    assert!(!marks.contains(&Mark::NONE));
    let beyond: Name = "z69".parse().unwrap();
    assert_eq!(zones.covering(&QName::from(&beyond)), Mark::NONE);
}

#[tokio::test(start_paused = true)]
async fn a_reply_in_hand_wins_over_a_deadline() {
    let targets = targets(2);
    let budget = Duration::from_millis(250);
    let servers: &[&[Does]] = &[&[Says(5, 2)], &[Nothing]];
    let (outcome, at, _) = run_within(budget, Mark::at(0), &targets, servers).await;
    let Err(Failure::BadReply(answer)) = outcome else { panic!("{outcome:?}") };
    assert_eq!((answer.rcode(), at), (Rcode::SERVFAIL, 250));
    assert_eq!(targets[1].upstream().tally().timeouts, 1);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_blames_only_who_had_time() {
    let (mark, servers) = (Mark::at(1), [&[Nothing][..], &[Nothing], &[Nothing]]);
    let asked = targets(3);
    let budget = Duration::from_millis(150);
    let (outcome, at, log) = run_within(budget, mark, &asked, &servers).await;
    assert_eq!((outcome, at), (Err(Failure::TimedOut), 150));
    assert_eq!(log, [(0, 1), (100, 2)]);
    let timeouts: Vec<_> = asked.iter().map(|t| t.upstream().tally().timeouts).collect();
    assert_eq!(timeouts, [1, 0, 0]);
    assert!(asked[0].is_suspect(mark) && !asked[0].is_suspect(Mark::at(0)));
    assert!(!asked[1].is_suspect(mark) && !asked[2].is_suspect(mark));

    let (outcome, at, log) = run_within(Duration::ZERO, mark, &asked, &servers).await;
    assert_eq!((outcome, at, log), (Err(Failure::TimedOut), 0, vec![]));
}
