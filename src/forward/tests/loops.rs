//! Probes against a server that sends them back.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::LocalSet;

use super::rules::forward;
use crate::config::UpstreamSource;
use crate::forward::{Forwarder, LoopGuard, OwnAddresses, Rules, probe_all, probe_due};
use crate::upstream::tests::{local, reply, udp_server};
use crate::wire::{Name, QName, Query};

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
        let sources = [looping, healthy].map(UpstreamSource::Address).to_vec();
        let rules = Rules::build(&[forward(&["example"], sources)], OwnAddresses::default(), None);
        let targets = rules.iter().next().unwrap().targets();
        let forwarder = Forwarder::new();

        probe_all(&forwarder, &rules, &guard).await;
        assert!(targets[0].is_looping());
        assert!(!targets[1].is_looping());

        // Too early to look again, whatever a query thought.
        targets[1].suspect.store(true, Ordering::Relaxed);
        let sent = || rules.upstreams().iter().map(|u| u.tally().queries).sum::<u64>();
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
        let sources = vec![UpstreamSource::Address(server)];
        let rules = Rules::build(&[forward(&["."], sources)], OwnAddresses::default(), None);
        probe_all(&Forwarder::new(), &rules, &guard).await;
        let name = seen.take().expect("probed");
        // Still ours, so never forwarded; but it marks nobody.
        assert!(guard.note_return(&name, "10.0.0.4".parse().unwrap()));
        assert!(!rules.iter().next().unwrap().targets()[0].is_looping());
        assert!(!LoopGuard::new().is_probe(&name), "another process's probe");
    })
    .await;
}
