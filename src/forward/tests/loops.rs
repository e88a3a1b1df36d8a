//! Probes against a server that sends them back.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::LocalSet;

use super::rules::forward;
use super::script::client;
use crate::config::testing::plain;
use crate::forward::target::Mark;
use crate::forward::{Failure, Forwarder, LoopGuard, OwnAddresses, Rules, probe_all, probe_due};
use crate::upstream::tests::{local, reply, udp_server};
use crate::wire::{Name, QName, Query, Question, Rcode, Rtype};
use tokio::time::Instant;

#[test]
fn other_names_are_no_probes() {
    let (guard, other) = (LoopGuard::new(), LoopGuard::new());
    let client = "10.0.0.4".parse().unwrap();
    for name in ["www.example", "_loop-0123456789abcdef0123456789abcdef.example", "."] {
        let name: Name = name.parse().unwrap();
        assert!(!guard.is_probe(&QName::from(&name)));
        assert!(!guard.note_return(&QName::from(&name), client));
    }
    assert!(!other.is_probe(&QName::from(&Name::root())));
}

#[tokio::test]
async fn a_loop_is_found_skipped_and_found_gone() {
    // Without the time limit of `local`: this test moves the clock.
    let test = async {
        let guard = Arc::new(LoopGuard::new());
        let loops = Rc::new(Cell::new(true));
        let (at_server, sends_back) = (Arc::clone(&guard), Rc::clone(&loops));
        // What our own listener would see if this server forwarded to us.
        let looping = udp_server(move |query| {
            let parsed = Query::parse(query).unwrap();
            assert!(at_server.is_probe(&parsed.qname), "only probes");
            if sends_back.get() {
                assert!(at_server.note_return(&parsed.qname, "10.0.0.9".parse().unwrap()));
            }
            vec![reply(query, 2, 0)]
        })
        .await;
        let healthy = udp_server(|query| vec![reply(query, 3, 0)]).await;
        let sources = [looping, healthy].map(plain).to_vec();
        let rules =
            Rules::build(&[forward(&["example"], sources)], &[], OwnAddresses::default(), None);
        let targets = rules.iter().next().unwrap().targets();
        let forwarder = Forwarder::new();

        probe_all(&forwarder, &rules, &guard).await;
        assert!(targets[0].is_looping());
        assert!(!targets[1].is_looping());

        // Too early to look again, whatever a query thought.
        targets[1].suspect(Mark::at(0));
        let sent = || targets.iter().map(|t| t.upstream().tally().queries).sum::<u64>();
        let before = sent();
        probe_due(&forwarder, &rules, &guard).await;
        assert_eq!(sent(), before);

        loops.set(false);
        // The clock stands still while sockets work: it would run ahead of them.
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(31)).await;
        tokio::time::resume();
        probe_due(&forwarder, &rules, &guard).await;
        assert_eq!(sent(), before + 2);
        assert!(!targets[0].is_looping());
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_number_is_good_for_one_probe() {
    local(async {
        let guard = Arc::new(LoopGuard::new());
        let seen = Rc::new(Cell::new(None));
        let into = Rc::clone(&seen);
        let server = udp_server(move |query| {
            into.set(Some(Query::parse(query).unwrap().qname));
            vec![reply(query, 3, 0)]
        })
        .await;
        let sources = vec![plain(server)];
        let rules = Rules::build(&[forward(&["."], sources)], &[], OwnAddresses::default(), None);
        probe_all(&Forwarder::new(), &rules, &guard).await;
        let name = seen.take().expect("probed");
        // Still ours, so never forwarded; but it marks nobody.
        assert!(guard.note_return(&name, "10.0.0.4".parse().unwrap()));
        assert!(!rules.iter().next().unwrap().targets()[0].is_looping());
        assert!(!LoopGuard::new().is_probe(&name), "another process's probe");
    })
    .await;
}

#[tokio::test]
async fn a_private_zone_below_the_root_rule_loops_alone() {
    local(async {
        let guard = Arc::new(LoopGuard::new());
        let (at_server, zone) = (Arc::clone(&guard), "p.example".parse::<Name>().unwrap());
        // A conditional forwarder for the private-link zone points here.
        let below = zone.clone();
        let server = udp_server(move |query| {
            let parsed = Query::parse(query).unwrap();
            if parsed.to_question().qname.is_within(&below) {
                assert!(at_server.note_return(&parsed.qname, "10.0.0.9".parse().unwrap()));
                return vec![reply(query, 5, 0)];
            }
            vec![reply(query, 0, 1)]
        })
        .await;
        let sources = vec![plain(server)];
        let other = forward(&["other.example"], vec![]);
        let protected =
            [zone, "other.example".parse().unwrap(), "q.other.example".parse().unwrap()];
        let forwards = [forward(&["."], sources), other];
        let rules = Rules::build(&forwards, &protected, OwnAddresses::default(), None);
        let rule = rules.iter().next().unwrap();
        assert_eq!(format!("{:?}", rule.probe_zones()), "[., p.example]");
        let forwarder = Forwarder::new();
        probe_all(&forwarder, &rules, &guard).await;
        assert!(rule.targets()[0].is_looping());

        let deadline = Instant::now() + Duration::from_secs(1);
        let ask = async |name: &str, qtype| {
            forwarder
                .ask(rule, client(), &Question::plain(name.parse().unwrap(), qtype), deadline)
                .await
        };
        assert_eq!(ask("p.example", Rtype::SOA).await, Err(Failure::Looping));
        assert_eq!(ask("a.b.p.example", Rtype::A).await, Err(Failure::Looping));
        assert_eq!(ask("www.example", Rtype::A).await.unwrap().rcode(), Rcode::NOERROR);
    })
    .await;
}

#[tokio::test]
async fn probes_of_one_zone_at_one_server_never_overlap() {
    local(async {
        let guard = LoopGuard::new();
        // It never answers: probes take the rule's whole timeout.
        let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let sources = vec![plain(silent.local_addr().unwrap())];
        let forwards = [forward(&["a.example", "b.example"], sources)];
        let rules = Rules::build(&forwards, &[], OwnAddresses::default(), None);
        let targets = rules.iter().next().unwrap().targets();
        let (target, forwarder) = (&targets[0], Forwarder::new());
        let meanwhile = async {
            // It is under way, so its time is known already, and nobody begins another.
            assert!(target.probed_ms(Mark::at(0)).is_some());
            target.suspect(Mark::at(0));
            probe_all(&forwarder, &rules, &guard).await;
            probe_due(&forwarder, &rules, &guard).await;
            assert_eq!(target.upstream().tally().queries, 2);
        };
        tokio::join!(probe_all(&forwarder, &rules, &guard), meanwhile);
        probe_all(&forwarder, &rules, &guard).await;
        assert_eq!(target.upstream().tally().queries, 4);
    })
    .await;
}

#[tokio::test]
async fn a_server_that_a_file_has_named_since_is_probed() {
    local(async {
        let guard = LoopGuard::new();
        let server = udp_server(|query| vec![reply(query, 3, 0)]).await;
        let sources = vec![plain(server)];
        let rules = Rules::build(&[forward(&["."], sources)], &[], OwnAddresses::default(), None);
        let targets = rules.iter().next().unwrap().targets();
        for _ in 0..2 {
            probe_due(&Forwarder::new(), &rules, &guard).await;
            assert_eq!(targets[0].upstream().tally().queries, 1);
        }
    })
    .await;
}
