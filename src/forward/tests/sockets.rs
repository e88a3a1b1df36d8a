//! The whole floor against servers on loopback.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::task::spawn_local;

use super::rules::forward;
use super::script::client;
use crate::config::testing::plain;
use crate::forward::{Failure, Flights, Forwarder, OwnAddresses, Rule, Rules, probe_upstreams};
use crate::upstream::TryError;
use crate::upstream::tests::{local, question, reply, udp_server};
use crate::wire::{Name, Query, Rcode, Rtype};

/// A deadline behind every rule's.
fn far() -> tokio::time::Instant {
    tokio::time::Instant::now() + Duration::from_secs(60)
}

fn rules(servers: &[std::net::SocketAddr]) -> Rules {
    let sources = servers.iter().copied().map(plain).collect();
    Rules::build(&[forward(&["."], sources)], &[], OwnAddresses::default(), None)
}

fn rule(servers: &[std::net::SocketAddr]) -> Arc<Rule> {
    Arc::clone(rules(servers).iter().next().unwrap())
}

#[tokio::test]
async fn servfail_then_the_next() {
    local(async {
        let bad = udp_server(|query| vec![reply(query, 2, 0)]).await;
        let good = udp_server(|query| vec![reply(query, 0, 1)]).await;
        let rule = rule(&[bad, good]);
        let answer = Forwarder::new().ask(&rule, client(), &question(), far()).await.unwrap();
        assert_eq!(answer.rcode(), Rcode::NOERROR);
    })
    .await;
}

#[tokio::test]
async fn a_refused_port_costs_no_time() {
    local(async {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let closed = socket.local_addr().unwrap();
        drop(socket);
        let good = udp_server(|query| vec![reply(query, 0, 1)]).await;
        let rule = rule(&[closed, good]);
        Forwarder::new().ask(&rule, client(), &question(), far()).await.unwrap();
        // The try ended by the ICMP error, not by its share of the budget.
        assert_eq!(rule.targets()[0].upstream().tally().unreachable, 1);
    })
    .await;
}

#[tokio::test]
async fn a_silent_first_server_leaves_time_for_the_second() {
    local(async {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let good = udp_server(|query| vec![reply(query, 0, 1)]).await;
        let rule = rule(&[silent.local_addr().unwrap(), good]);
        let begun = Instant::now();
        Forwarder::new().ask(&rule, client(), &question(), far()).await.unwrap();
        assert!(begun.elapsed() < rule.timeout(), "{:?}", begun.elapsed());
    })
    .await;
}

#[tokio::test]
async fn one_that_is_back_is_found_by_a_probe() {
    local(async {
        let asked = Rc::new(Cell::new(None));
        let seen = Rc::clone(&asked);
        let server = udp_server(move |query| {
            seen.set(Some(Query::parse(query).unwrap().to_question()));
            vec![reply(query, 5, 0)]
        })
        .await;
        let rules = Arc::new(rules(&[server]));
        let upstream = Arc::clone(rules.iter().next().unwrap().targets()[0].upstream());
        let now = tokio::time::Instant::now();
        let unreachable = TryError::Unreachable(std::io::ErrorKind::NetworkUnreachable);
        (0..2).for_each(|_| upstream.note_failure(unreachable, now, now));
        assert!(upstream.is_down());
        let (forwarder, in_force) = (Rc::new(Forwarder::new()), Arc::clone(&rules));
        let probes = spawn_local(probe_upstreams(forwarder, move || Arc::clone(&in_force)));
        while upstream.is_down() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let question = asked.take().unwrap();
        assert_eq!((question.qname, question.qtype), (Name::root(), Rtype::NS));
        probes.abort();
    })
    .await;
}

#[tokio::test]
async fn nobody_answers() {
    local(async {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let rule = rule(&[silent.local_addr().unwrap()]);
        let begun = Instant::now();
        let outcome = Forwarder::new().ask(&rule, client(), &question(), far()).await;
        assert_eq!(outcome, Err(Failure::TimedOut));
        assert!(begun.elapsed() >= rule.timeout());
    })
    .await;
}

#[tokio::test]
async fn a_hundred_clients_are_one_query() {
    local(async {
        let queries = Rc::new(Cell::new(0));
        let counted = Rc::clone(&queries);
        let server = udp_server(move |query| {
            counted.set(counted.get() + 1);
            vec![reply(query, 0, 1)]
        })
        .await;
        let rule = rule(&[server]);
        let (forwarder, flights) = (Rc::new(Forwarder::new()), Arc::new(Flights::new(1_000)));
        let clients: Vec<_> = (0..100)
            .map(|_| {
                let (rule, forwarder) = (Arc::clone(&rule), Rc::clone(&forwarder));
                let flights = Arc::clone(&flights);
                spawn_local(async move {
                    let question = question();
                    let lead = async {
                        forwarder.ask(&rule, client(), &question, far()).await.map(Arc::new)
                    };
                    flights.run(client(), &question, || lead).await
                })
            })
            .collect();
        for client in clients {
            assert_eq!(client.await.unwrap().unwrap().borrowed().header().answers, 1);
        }
        assert_eq!((queries.get(), flights.waiting()), (1, 0));
    })
    .await;
}
