//! Probes against servers that send them back, and against hosts that only say so.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::{LocalSet, spawn_local};

use super::rules::forward;
use super::script::client;
use crate::config::testing::plain;
use crate::forward::loops::probe_due;
use crate::forward::target::{Evidence, Mark};
use crate::forward::{Failure, Forwarder, LoopGuard, OwnAddresses, Rules};
use crate::upstream::tests::{local, reply, udp_server};
use crate::wire::{QName, Query, Question, Rcode, Rtype};
use tokio::time::Instant;

/// How a server treats a probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Does {
    /// It knows the name for itself.
    Resolves,
    /// It asks us and says what we say.
    Forwards,
    /// It knows the name for itself, and a host that saw the name sends it to us too.
    Leaks,
    /// As `Forwards`, but it has no answer.
    ForwardsAndFails,
}

/// A server whose behaviour may change, over UDP and TCP; it counts its queries over each.
#[derive(Clone)]
struct Fake {
    guard: Arc<LoopGuard>,
    does: Rc<Cell<Does>>,
    /// How many more probes are sent to us.
    returns: Rc<Cell<usize>>,
    names: Rc<RefCell<Vec<QName>>>,
    over_udp: Rc<Cell<usize>>,
    over_tcp: Rc<Cell<usize>>,
}

impl Fake {
    fn new(guard: &Arc<LoopGuard>, does: Does) -> Self {
        Self {
            guard: Arc::clone(guard),
            does: Rc::new(Cell::new(does)),
            returns: Rc::new(Cell::new(usize::MAX)),
            names: Rc::default(),
            over_udp: Rc::default(),
            over_tcp: Rc::default(),
        }
    }

    fn says(&self, query: &[u8]) -> Vec<u8> {
        let parsed = Query::parse(query).unwrap();
        let (qname, now) = (parsed.qname, Instant::now().into_std());
        let echo = self.guard.echo(&qname, now).expect("only probes come");
        self.names.borrow_mut().push(qname.clone());
        let does = self.does.get();
        if does == Does::Resolves || self.returns.get() == 0 {
            return reply(query, 3, 0);
        }
        self.returns.set(self.returns.get() - 1);
        assert!(self.guard.note_return(&qname, "10.0.0.9".parse().unwrap(), now));
        match does {
            Does::Forwards => with_txt(query, &echo),
            Does::ForwardsAndFails => reply(query, 2, 0),
            _ => reply(query, 3, 0),
        }
    }

    async fn over_udp(&self) -> SocketAddr {
        let fake = self.clone();
        udp_server(move |query| {
            fake.over_udp.set(fake.over_udp.get() + 1);
            vec![fake.says(query)]
        })
        .await
    }

    /// On one port.
    async fn over_both(&self) -> SocketAddr {
        let (listener, socket) = loop {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            if let Ok(socket) = UdpSocket::bind(listener.local_addr().unwrap()).await {
                break (listener, socket);
            }
        };
        let address = listener.local_addr().unwrap();
        let fake = self.clone();
        spawn_local(async move {
            let mut buffer = [0; 4096];
            while let Ok((octets, peer)) = socket.recv_from(&mut buffer).await {
                fake.over_udp.set(fake.over_udp.get() + 1);
                let _gone = socket.send_to(&fake.says(&buffer[..octets]), peer).await;
            }
        });
        let fake = self.clone();
        spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                fake.over_tcp.set(fake.over_tcp.get() + 1);
                spawn_local(serve(stream, fake.clone()));
            }
        });
        address
    }
}

async fn serve(mut stream: TcpStream, fake: Fake) {
    while let Ok(octets) = stream.read_u16().await {
        let mut query = vec![0; usize::from(octets)];
        stream.read_exact(&mut query).await.unwrap();
        let reply = fake.says(&query);
        stream.write_u16(u16::try_from(reply.len()).unwrap()).await.unwrap();
        stream.write_all(&reply).await.unwrap();
    }
}

/// The reply to `query` with one TXT record.
fn with_txt(query: &[u8], rdata: &[u8]) -> Vec<u8> {
    let mut reply = reply(query, 0, 0);
    reply[7] = 1;
    reply.extend_from_slice(b"\xc0\x0c\0\x10\0\x01\0\0\0\0\0");
    reply.push(u8::try_from(rdata.len()).unwrap());
    reply.extend_from_slice(rdata);
    reply
}

/// Rules of one zone with these servers.
fn rules_of(zone: &str, servers: &[SocketAddr]) -> Rules {
    let sources = servers.iter().copied().map(plain).collect();
    Rules::build(&[forward(&[zone], sources)], &[], OwnAddresses::default(), None)
}

async fn ask(rules: &Rules, name: &str) -> Result<Rcode, Failure> {
    let rule = rules.iter().next().unwrap();
    let deadline = Instant::now() + Duration::from_secs(1);
    let question = Question::plain(name.parse().unwrap(), Rtype::A);
    let answer = Forwarder::new().ask(rule, client(), &question, deadline).await;
    answer.map(|answer| answer.rcode())
}

#[tokio::test]
async fn a_loop_is_found_skipped_and_found_gone() {
    // Without the time limit of `local`: this test moves the clock.
    let test = async {
        let guard = Arc::new(LoopGuard::new());
        // Over UDP alone, so that returns are all there is.
        let looping = Fake::new(&guard, Does::Forwards);
        let healthy = Fake::new(&guard, Does::Resolves);
        let rules = rules_of("example", &[looping.over_udp().await, healthy.over_udp().await]);
        let targets = rules.iter().next().unwrap().targets();
        let forwarder = Rc::new(Forwarder::new());

        probe_due(&forwarder, &rules, &guard).await;
        assert!(targets[0].is_looping());
        assert!(!targets[1].is_looping());

        // Too early to look again, whatever a query thought.
        targets[1].suspect(Mark::at(0));
        let sent = || looping.over_udp.get() + healthy.over_udp.get();
        assert_eq!(sent(), 3);
        probe_due(&forwarder, &rules, &guard).await;
        assert_eq!(sent(), 3);

        looping.does.set(Does::Resolves);
        // The clock stands still while sockets work: it would run ahead of them.
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(31)).await;
        tokio::time::resume();
        probe_due(&forwarder, &rules, &guard).await;
        assert_eq!(sent(), 5);
        assert!(!targets[0].is_looping());
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn the_only_upstream_is_skipped_when_its_connection_proves_the_loop() {
    local(async {
        let guard = Arc::new(LoopGuard::new());
        let fake = Fake::new(&guard, Does::Forwards);
        let rules = rules_of(".", &[fake.over_both().await]);
        probe_due(&Rc::new(Forwarder::new()), &rules, &guard).await;
        assert_eq!((fake.over_udp.get(), fake.over_tcp.get()), (2, 1));
        assert_eq!(ask(&rules, "www.example").await, Err(Failure::Looping));
    })
    .await;
}

#[tokio::test]
async fn one_return_is_not_enough() {
    local(async {
        let guard = Arc::new(LoopGuard::new());
        let fakes = [Does::Leaks, Does::Resolves].map(|does| Fake::new(&guard, does));
        fakes[0].returns.set(1);
        let servers = [fakes[0].over_udp().await, fakes[1].over_udp().await];
        let rules = rules_of(".", &servers);
        probe_due(&Rc::new(Forwarder::new()), &rules, &guard).await;
        assert_eq!(fakes[0].over_udp.get(), 2, "a second probe");
        let names = fakes[0].names.borrow();
        assert_ne!(names[0].label(0), names[1].label(0));
        assert!(rules.iter().next().unwrap().targets().iter().all(|target| !target.is_looping()));
    })
    .await;
}

#[tokio::test]
async fn the_connection_refutes_a_host_that_knows_every_probe() {
    local(async {
        let guard = Arc::new(LoopGuard::new());
        let fakes = [Does::Leaks, Does::Leaks].map(|does| Fake::new(&guard, does));
        let servers = [fakes[0].over_both().await, fakes[1].over_both().await];
        let rules = rules_of(".", &servers);
        probe_due(&Rc::new(Forwarder::new()), &rules, &guard).await;
        assert_eq!((fakes[0].over_udp.get(), fakes[0].over_tcp.get()), (2, 1));
        assert!(rules.iter().next().unwrap().targets().iter().all(|target| !target.is_looping()));
    })
    .await;
}

#[tokio::test]
async fn returns_alone_never_take_the_last_upstream_away() {
    local(async {
        for does in [Does::Leaks, Does::Forwards, Does::ForwardsAndFails] {
            for servers in 1..=3 {
                let guard = Arc::new(LoopGuard::new());
                let mut addresses = Vec::new();
                for _ in 0..servers {
                    // Nothing confirms over TCP.
                    addresses.push(Fake::new(&guard, does).over_udp().await);
                }
                let rules = rules_of("private.example", &addresses);
                probe_due(&Rc::new(Forwarder::new()), &rules, &guard).await;
                let targets = rules.iter().next().unwrap().targets();
                assert!(targets.iter().all(|target| target.is_looping()));
                assert_eq!(rules.probed().len(), servers, "their health is looked at");
                // A reload keeps the marks and what they are worth.
                let sources: Vec<_> = addresses.iter().copied().map(plain).collect();
                let forwards = [forward(&["private.example"], sources)];
                let after = Rules::build(&forwards, &[], OwnAddresses::default(), Some(&rules));
                let rule = after.iter().next().unwrap();
                assert!(rule.targets().iter().all(|target| target.is_looping()));
                let (targets, mark) = (rule.targets(), Mark::at(0));
                assert!(rule.order().first(&targets, mark, &[]).is_some(), "{does:?}, {servers}");
                assert_eq!(rule.order().all(&targets, mark, 0, &[]).len(), servers);
                // Proof of one leaves the others.
                targets[0].set_looping(mark, Evidence::Proven);
                let left = rule.order().all(&targets, mark, usize::MAX, &[]);
                assert_eq!(left, (1..servers).collect::<Vec<_>>());
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_number_is_good_for_one_probe() {
    local(async {
        let guard = Arc::new(LoopGuard::new());
        let fake = Fake::new(&guard, Does::Resolves);
        let rules = rules_of(".", &[fake.over_udp().await]);
        probe_due(&Rc::new(Forwarder::new()), &rules, &guard).await;
        let name = fake.names.borrow()[0].clone();
        let now = Instant::now().into_std();
        assert!(!guard.note_return(&name, "10.0.0.4".parse().unwrap(), now));
        assert_eq!(guard.echo(&name, now), None);
        assert!(!rules.iter().next().unwrap().targets()[0].is_looping());
    })
    .await;
}

#[tokio::test]
async fn a_private_zone_below_the_root_rule_loops_alone() {
    local(async {
        let guard = Arc::new(LoopGuard::new());
        let zone: crate::wire::Name = "p.example".parse().unwrap();
        // A conditional forwarder for the private-link zone points here.
        let (below, fake) = (zone.clone(), Fake::new(&guard, Does::Forwards));
        let server = udp_server(move |query| {
            let parsed = Query::parse(query).unwrap();
            let is_below = parsed.to_question().qname.is_within(&below);
            vec![if is_below { fake.says(query) } else { reply(query, 0, 1) }]
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
        probe_due(&Rc::new(Forwarder::new()), &rules, &guard).await;
        let target = &rule.targets()[0];
        assert!(!target.loops_for(Mark::at(0)) && target.loops_for(Mark::at(1)));
        target.set_looping(Mark::at(1), Evidence::Proven);
        assert_eq!(ask(&rules, "p.example").await, Err(Failure::Looping));
        assert_eq!(ask(&rules, "a.b.p.example").await, Err(Failure::Looping));
        assert_eq!(ask(&rules, "www.example").await, Ok(Rcode::NOERROR));
    })
    .await;
}

#[tokio::test]
async fn probes_of_one_zone_at_one_server_never_overlap() {
    local(async {
        let guard = Arc::new(LoopGuard::new());
        // It never answers: probes take the rule's whole timeout.
        let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let sources = vec![plain(silent.local_addr().unwrap())];
        let forwards = [forward(&["a.example", "b.example"], sources)];
        let rules = Rules::build(&forwards, &[], OwnAddresses::default(), None);
        let targets = rules.iter().next().unwrap().targets();
        let (target, forwarder) = (&targets[0], Rc::new(Forwarder::new()));
        let meanwhile = async {
            while target.upstream().tally().queries < 2 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            // They are under way, so their time is known already, and no other one begins.
            assert!(target.probed_ms(Mark::at(0)).is_some());
            target.suspect(Mark::at(0));
            probe_due(&forwarder, &rules, &guard).await;
            assert_eq!(target.upstream().tally().queries, 2);
            assert!(target.claim(Mark::at(0), 1).is_none());
            // After a reload nothing is known of a probe that is under way, so it is sent again.
            let after = Rules::build(&forwards, &[], OwnAddresses::default(), Some(&rules));
            assert_eq!(after.iter().next().unwrap().targets()[0].probed_ms(Mark::at(0)), None);
        };
        tokio::join!(probe_due(&forwarder, &rules, &guard), meanwhile);
        assert!(target.claim(Mark::at(0), 1).is_some());
    })
    .await;
}

#[tokio::test]
async fn a_server_that_a_file_has_named_since_is_probed() {
    local(async {
        let guard = Arc::new(LoopGuard::new());
        let server = udp_server(|query| vec![reply(query, 3, 0)]).await;
        let sources = vec![plain(server)];
        let rules = Rules::build(&[forward(&["."], sources)], &[], OwnAddresses::default(), None);
        let targets = rules.iter().next().unwrap().targets();
        for _ in 0..2 {
            probe_due(&Rc::new(Forwarder::new()), &rules, &guard).await;
            assert_eq!(targets[0].upstream().tally().queries, 1);
        }
    })
    .await;
}
