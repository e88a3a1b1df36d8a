//! What a client gets when upstreams give nothing: kept answers past their time, remembered
//! failures. The clock of the runtime is paused: it moves on when everybody waits.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::kept::{keep, wire};
use super::*;
use crate::addresses::HostBlock;
use crate::config::Forward;
use crate::config::testing::{forward_all, plain};
use crate::forward::Forwarder;
use crate::metrics::{Counters, Event};
use crate::upstream::tests::{local, reply, udp_server};
use crate::upstream::{TryError, Upstream};

const NAME: &str = "www.example";
/// Past the TTL of 60 s that the tests' answers have.
const PAST: Duration = Duration::from_secs(100);

/// An engine whose one upstream is at `upstream`.
struct House {
    worker: Rc<Worker>,
    snapshot: Arc<Snapshot>,
    counters: Arc<Counters>,
}

impl House {
    fn new(upstream: SocketAddr) -> Self {
        Self::new_with(upstream, |_| {})
    }

    fn new_with(upstream: SocketAddr, change: impl FnOnce(&mut Forward)) -> Self {
        let mut rule = forward_all();
        rule.upstreams = vec![plain(upstream)];
        change(&mut rule);
        let snapshot = with(|config| config.forwards = vec![rule]);
        let (shared, counters) =
            (Shared { snapshot: ArcSwap::from_pointee(snapshot) }, Arc::<Counters>::default());
        let snapshot = shared.snapshot.load_full();
        let worker = Worker::new(Arc::new(shared), Forwarder::new(), Arc::clone(&counters));
        Self { worker: Rc::new(worker), snapshot, counters }
    }

    fn upstream(&self) -> Arc<Upstream> {
        let rule = self.snapshot.rules.iter().next().expect("one rule");
        Arc::clone(rule.targets()[0].upstream())
    }

    fn keep(&self, answer: &[(&str, u32, Rtype, Vec<u8>)], age: Duration) {
        keep(&self.snapshot, NAME, Rtype::A, 0, answer, age);
    }

    /// Asks; gives the reply as text with its extended errors, and how long it took.
    async fn ask(&self) -> (String, Duration) {
        let begun = tokio::time::Instant::now();
        let (request, mut out) = (query(NAME, 1, 1_232, 0), Vec::new());
        let asked = asked("10.0.0.1");
        let verdict = self.worker.answer(&self.snapshot, &asked, &request, &mut out);
        if verdict == Verdict::Forward {
            self.worker.resolve(&self.snapshot, &asked, &request, &mut out).await;
        }
        (format!("{}{}", text(&out), errors(&out)), begun.elapsed())
    }
}

/// The extended errors of a reply, as ` ede=CODE`.
fn errors(reply: &[u8]) -> String {
    let shown = Shown::read(reply).expect("a reply");
    let codes = shown.extended_errors.iter().filter_map(|error| error.split(' ').next());
    codes.map(|code| format!(" ede={code}")).collect()
}

fn address(ttl: u32, last: u8) -> Vec<(&'static str, u32, Rtype, Vec<u8>)> {
    vec![(NAME, ttl, Rtype::A, vec![203, 0, 113, last])]
}

fn plain_question() -> Question {
    Question { dnssec_ok: false, ..Question::plain(NAME.parse().expect("a name"), Rtype::A) }
}

/// NXDOMAIN, with a SOA that allows a minute.
fn denial() -> Vec<u8> {
    let rdata = [wire("ns.example"), wire("h.example"), [[0, 0, 0, 60]; 5].concat()].concat();
    let mut out = Vec::new();
    let bits = flags::QR | crate::wire::Rcode::NXDOMAIN.0;
    let mut writer = MessageWriter::begin(&mut out, 65_535, 1, bits);
    writer.raw(&wire(NAME)).expect("room");
    writer.raw(&[0, 1, 0, 1]).expect("room");
    writer.raw(&wire("example")).expect("room");
    writer.fixed(Rtype::SOA, 1, 60, rdata.len()).expect("room");
    writer.raw(&rdata).expect("room");
    writer.set_counts([1, 0, 1, 0]);
    out
}

/// A server that counts queries and says nothing.
async fn silent() -> (SocketAddr, Rc<Cell<u32>>) {
    let heard = Rc::new(Cell::new(0));
    let count = Rc::clone(&heard);
    let server = udp_server(move |_| {
        count.set(count.get() + 1);
        Vec::new()
    });
    (server.await, heard)
}

/// An address where nobody listens.
fn closed() -> SocketAddr {
    std::net::UdpSocket::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound")
}

#[tokio::test(start_paused = true)]
async fn what_is_past_its_time_serves_when_upstreams_cannot_be_reached() {
    local(async {
        let house = House::new(closed());
        house.keep(&address(60, 9), PAST);
        let (reply, _) = house.ask().await;
        assert_eq!(reply, "NOERROR ra: www.example. 30 A 203.0.113.9 ede=3");
        assert_eq!(house.counters.total(Event::Stale), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_waits_for_a_silent_upstream_no_longer_than_rfc_8767_says() {
    local(async {
        let (upstream, heard) = silent().await;
        let house = House::new(upstream);
        house.keep(&address(60, 9), PAST);
        let stale = "NOERROR ra: www.example. 30 A 203.0.113.9 ede=3";
        let (reply, took) = house.ask().await;
        assert_eq!(reply, stale);
        assert!((1_790..=1_810).contains(&took.as_millis()), "{took:?}");
        // While that question is still under way, and for a while after, nobody waits for it again.
        let (reply, took) = house.ask().await;
        assert_eq!((&*reply, took), (stale, Duration::ZERO));
        tokio::time::sleep(Duration::from_millis(300)).await;
        let before = heard.get();
        let (reply, took) = house.ask().await;
        assert_eq!((&*reply, took), (stale, Duration::ZERO));
        assert_eq!(heard.get(), before, "its failure is remembered");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_comes_after_the_stale_answer_is_kept_for_the_next() {
    local(async {
        let late = Rc::new(tokio::sync::Notify::new());
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let house = House::new(socket.local_addr().expect("bound"));
        house.keep(&address(60, 9), PAST);
        let now = Rc::clone(&late);
        tokio::task::spawn_local(async move {
            let mut query = [0; 512];
            let (octets, peer) = socket.recv_from(&mut query).await.expect("a query");
            now.notified().await;
            socket.send_to(&reply(&query[..octets], 0, 1), peer).await.expect("sent");
        });
        let (stale, _) = house.ask().await;
        assert!(stale.ends_with("ede=3"), "{stale}");
        late.notify_one();
        let found = || house.snapshot.cache.find(&plain_question().borrowed(), Instant::now());
        while found().is_none() {
            tokio::task::yield_now().await;
        }
        let (fresh, took) = house.ask().await;
        assert_eq!(fresh, "NOERROR ra: www.example. 60 A 10.0.0.0");
        assert_eq!(took, Duration::ZERO);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stale_denial_has_a_code_of_its_own() {
    local(async {
        let house = House::new(closed());
        let denial = Answer::parse(&denial(), &plain_question()).expect("a reply");
        let stored = Instant::now() - PAST;
        let kept = house.snapshot.cache.insert(&plain_question(), &denial, false, stored);
        assert_eq!(kept, Some(60));
        let (reply, _) = house.ask().await;
        assert!(reply.starts_with("NXDOMAIN ra: "), "{reply}");
        assert!(reply.contains("example. 30 SOA"), "{reply}");
        assert!(reply.ends_with("ede=19"), "{reply}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_remembered_for_its_ttl_and_then_tried_again() {
    local(async {
        let (upstream, heard) = silent().await;
        let house = House::new(upstream);
        let (reply, took) = house.ask().await;
        assert_eq!(reply, "SERVFAIL ra:  ede=22");
        assert!((1_990..=2_010).contains(&took.as_millis()), "{took:?}");
        let before = heard.get();
        let (reply, took) = house.ask().await;
        assert_eq!((&*reply, took), ("SERVFAIL ra:  ede=22", Duration::ZERO));
        assert_eq!(heard.get(), before);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn without_upstreams_for_longer_than_stale_says_there_is_an_error() {
    local(async {
        let house = House::new(closed());
        house.keep(&address(60, 9), Duration::from_secs(60 + 86_400));
        let (reply, _) = house.ask().await;
        assert!(reply.starts_with("SERVFAIL"), "{reply}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_for_again_shortly_before_its_end_is_fetched_anew_behind_the_answer() {
    local(async {
        let upstream = udp_server(|query| vec![reply(query, 0, 1)]).await;
        let house = House::new(upstream);
        house.keep(&address(60, 9), Duration::from_secs(55));
        let kept = "NOERROR ra: www.example. 5 A 203.0.113.9";
        // The first use of an entry does not make it popular.
        for _ in 0..2 {
            assert_eq!(house.ask().await, (kept.to_owned(), Duration::ZERO));
        }
        while house.counters.total(Event::Prefetched) == 0 {
            tokio::task::yield_now().await;
        }
        let (reply, took) = house.ask().await;
        assert_eq!(reply, "NOERROR ra: www.example. 60 A 10.0.0.0");
        assert_eq!(took, Duration::ZERO);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stale_chain_into_our_zones_ends_in_our_address() {
    local(async {
        let house = House::new(closed());
        let target = format!("api.{Q}");
        let public = (&*target, 60, Rtype::A, vec![20, 50, 1, 1]);
        house.keep(&[(NAME, 60, Rtype::CNAME, wire(&target)), public], PAST);
        let (reply, _) = house.ask().await;
        assert_eq!(
            reply,
            format!("NOERROR ra: www.example. 30 CNAME {target}.; {target}. 60 A 10.1.0.5 ede=3")
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_follows_somebody_else_waits_no_longer() {
    local(async {
        let (upstream, _) = silent().await;
        let house = House::new_with(upstream, |rule| rule.timeout = Duration::from_secs(4));
        house.keep(&address(60, 9), PAST);
        // A flight that began when nothing was past its time.
        let (worker, snapshot) = (Rc::clone(&house.worker), Arc::clone(&house.snapshot));
        let client = HostBlock::of([10, 0, 0, 1].into());
        tokio::task::spawn_local(async move {
            let question = plain_question();
            let rule = snapshot.rules.find(&(&question.qname).into());
            let _failed = worker.fetch_once(&snapshot, rule, client, &question).await;
        });
        tokio::task::yield_now().await;
        let (reply, took) = house.ask().await;
        assert!(reply.ends_with("ede=3"), "{reply}");
        assert!((1_790..=1_810).contains(&took.as_millis()), "{took:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_name_past_its_time_is_fetched_however_many_are_under_way() {
    local(async {
        let upstream = udp_server(|query| vec![reply(query, 0, 1)]).await;
        let house = House::new(upstream);
        house.keep(&address(60, 9), PAST);
        let name = |number: usize| format!("n{number}.example").parse().expect("a name");
        let under_way: Vec<_> = (0..super::super::refreshes::MOST)
            .map(|number| Question::plain(name(number), Rtype::A))
            .map(|question| house.worker.refreshes.begin(&question.borrowed()).expect("room"))
            .collect();
        let (reply, _) = house.ask().await;
        assert_eq!(reply, "NOERROR ra: www.example. 60 A 10.0.0.0");
        drop(under_way);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_counts_no_more_when_an_upstream_has_come_back() {
    local(async {
        let (upstream, heard) = silent().await;
        let house = House::new(upstream);
        let (failed, _) = house.ask().await;
        assert!(failed.starts_with("SERVFAIL"), "{failed}");
        let before = heard.get();
        house.upstream().renew();
        house.ask().await;
        assert!(heard.get() > before);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_remembered_failure_holds_no_records() {
    local(async {
        let upstream = udp_server(|query| vec![reply(query, 2, 50)]).await;
        let house = House::new(upstream);
        let (failed, _) = house.ask().await;
        assert!(failed.starts_with("SERVFAIL"), "{failed}");
        let question = plain_question();
        let known = house.snapshot.failures.recent(&question.borrowed(), Instant::now());
        let known = known.expect("remembered").octets();
        assert!(known < 128, "{known} octets");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn nothing_past_its_time_is_vouched_for() {
    local(async {
        let house = House::new(closed());
        keep(&house.snapshot, NAME, Rtype::A, flags::AD, &address(60, 9), PAST);
        let mut request = query(NAME, 1, 1_232, 0);
        request[3] |= 0x20;
        let mut out = Vec::new();
        house.worker.resolve(&house.snapshot, &asked("10.0.0.1"), &request, &mut out).await;
        assert_eq!(text(&out), "NOERROR ra: www.example. 30 A 203.0.113.9");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_popular_name_whose_new_answer_cannot_be_kept_is_left_alone_for_a_while() {
    local(async {
        let heard = Rc::new(Cell::new(0));
        let count = Rc::clone(&heard);
        let upstream = udp_server(move |query| {
            count.set(count.get() + 1);
            let mut reply = reply(query, 0, 1);
            // Its TTL: 0.
            let ttl_at = reply.len() - 10;
            reply[ttl_at..ttl_at + 4].fill(0);
            vec![reply]
        });
        let house = House::new(upstream.await);
        house.keep(&address(600, 9), Duration::from_secs(590));
        for _ in 0..10 {
            house.ask().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(heard.get(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_verdict_beside_a_dead_upstream_brings_stale_data_at_once() {
    local(async {
        let server = udp_server(|query| vec![reply(query, 2, 0)]).await;
        // The test reads no datagram that arrives there.
        let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let dead = silent.local_addr().expect("bound");
        let house = House::new_with(server, |rule| rule.upstreams.push(plain(dead)));
        let rule = house.snapshot.rules.iter().next().expect("one rule");
        let upstream = Arc::clone(rule.targets()[1].upstream());
        let now = tokio::time::Instant::now();
        while !upstream.is_down() {
            let unreachable = TryError::Unreachable(std::io::ErrorKind::HostUnreachable);
            upstream.note_failure(unreachable, now, now);
        }
        house.keep(&address(60, 1), PAST);
        let (reply, took) = house.ask().await;
        assert!(reply.contains("203.0.113.1") && reply.contains("ede=3"), "{reply}");
        assert!(took < Duration::from_millis(1_000), "{took:?}");
    })
    .await;
}
