//! What is asked, what is remembered, and what a dial sees of it; servers are scripts, time is paused.

use std::sync::Mutex as StdMutex;

use tokio::task::LocalSet;
use tokio::time::{advance, sleep, timeout};

use super::*;
use crate::config::Scheme;
use crate::upstream::search::Search;

/// What a server does with one question.
#[derive(Clone)]
pub(in crate::upstream) enum Says {
    /// Gives addresses with this TTL, in seconds.
    Has(&'static [&'static str], u64),
    /// Has none, for as many seconds.
    Denies(u64),
    /// SERVFAIL, REFUSED, no way there.
    Fails,
    /// Nothing: the try fails after four seconds.
    Nothing,
    /// This host has no socket to ask with.
    Shortage,
}

use Says::{Denies, Fails, Has, Nothing, Shortage};

/// What the servers say from now on, each after so many milliseconds, and what they were asked.
#[derive(Default)]
struct Script {
    says: HashMap<(u16, bool), (u64, Says)>,
    asked: Vec<(u16, Family)>,
}

#[derive(Clone, Default)]
struct World(Arc<StdMutex<Script>>);

impl World {
    /// The server with this port answers questions for A and AAAA so.
    fn server(self, port: u16, four: (u64, Says), six: (u64, Says)) -> Self {
        self.0.lock().unwrap().says.extend([((port, true), four), ((port, false), six)]);
        self
    }

    fn asker(&self) -> Asker {
        let world = self.clone();
        Asker(Arc::new(move |_, family, server| {
            let port = server.address().unwrap().port();
            let mut script = world.0.lock().unwrap();
            script.asked.push((port, family));
            let (ms, says) = script.says[&(port, family == Family::Four)].clone();
            Box::pin(async move {
                let ms = if matches!(says, Nothing) { 4_000 } else { ms };
                sleep(Duration::from_millis(ms)).await;
                match says {
                    Has(addresses, ttl) => Ok(Found {
                        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
                        ttl: Duration::from_secs(ttl),
                    }),
                    Denies(ttl) => {
                        let reason = format!("{port} denies");
                        Err(Miss::Denied { ttl: Duration::from_secs(ttl), reason })
                    }
                    Fails | Nothing => Err(Miss::Failed(format!("{port} fails"))),
                    Shortage => Err(Miss::OwnShortage("no descriptor".to_owned())),
                }
            })
        }))
    }

    fn bootstrap(&self) -> Arc<Bootstrap> {
        let mut ports: Vec<u16> =
            self.0.lock().unwrap().says.keys().map(|(port, _)| *port).collect();
        ports.sort_unstable();
        ports.dedup();
        let servers = ports.into_iter().map(server).collect();
        let asker = self.asker();
        Arc::new(Bootstrap { asker, ..Bootstrap::new(HashMap::from([(name(), servers)]), None) })
    }

    /// What was asked since the last call.
    fn asked(&self) -> Vec<(u16, Family)> {
        std::mem::take(&mut self.0.lock().unwrap().asked)
    }
}

fn server(port: u16) -> UpstreamServer {
    UpstreamServer::plain(([127, 0, 0, 1], port).into())
}

fn name() -> Name {
    "dns.example".parse().unwrap()
}

fn search(bootstrap: &Arc<Bootstrap>) -> Search {
    Search::new(Arc::clone(bootstrap), name(), None)
}

/// The addresses that one dial gets, each with the milliseconds at which it comes.
async fn dial_of(mut search: Search) -> Vec<(u64, String)> {
    let begun = Instant::now();
    let mut all = Vec::new();
    while let Some(address) = search.next().await {
        let ms = u64::try_from(begun.elapsed().as_millis()).unwrap();
        all.push((ms, address.to_string()));
    }
    all
}

async fn dial(bootstrap: &Arc<Bootstrap>) -> Vec<(u64, String)> {
    dial_of(search(bootstrap)).await
}

fn at(expected: &[(u64, &str)]) -> Vec<(u64, String)> {
    expected.iter().map(|(ms, address)| (*ms, (*address).to_owned())).collect()
}

async fn scripted(test: impl Future<Output = ()>) {
    LocalSet::new().run_until(test).await;
}

const FOUR: Says = Has(&["192.0.2.1"], 60);
const SIX: Says = Has(&["2001:db8::1"], 60);
const BOTH: [(u16, Family); 2] = [(1, Family::Four), (1, Family::Six)];

#[tokio::test(start_paused = true)]
async fn a_family_without_an_answer_holds_up_nobody() {
    scripted(async {
        let world = World::default().server(1, (10, FOUR), (0, Nothing));
        assert_eq!(dial(&world.bootstrap()).await, at(&[(10, "192.0.2.1")]));
        let world = World::default().server(1, (0, Nothing), (10, SIX));
        assert_eq!(dial(&world.bootstrap()).await, at(&[(60, "2001:db8::1")]));
        // A server that fails for one family, or has none of it, is not waited for either.
        for says in [Fails, Denies(60)] {
            let world = World::default().server(1, (20, says.clone()), (10, SIX));
            assert_eq!(dial(&world.bootstrap()).await, at(&[(20, "2001:db8::1")]));
            let world = World::default().server(1, (10, FOUR), (20, says));
            assert_eq!(dial(&world.bootstrap()).await, at(&[(10, "192.0.2.1")]));
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_family_that_was_last_reached_is_waited_for() {
    scripted(async {
        let world = World::default().server(1, (40, FOUR), (10, SIX));
        let expected = at(&[(40, "192.0.2.1"), (40, "2001:db8::1")]);
        assert_eq!(dial(&world.bootstrap()).await, expected);
        let world = World::default().server(1, (10, FOUR), (40, SIX));
        let expected = at(&[(10, "192.0.2.1"), (40, "2001:db8::1")]);
        assert_eq!(dial(&world.bootstrap()).await, expected);
        let preferred = "2001:db8::1".parse().ok();
        let expected = at(&[(40, "2001:db8::1"), (40, "192.0.2.1")]);
        let preferring = Search::new(world.bootstrap(), name(), preferred);
        assert_eq!(dial_of(preferring).await, expected);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn addresses_that_come_late_join_the_dial_and_are_bounded() {
    scripted(async {
        const MANY: &[&str] = &["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5"];
        let world = World::default().server(1, (0, Has(MANY, 60)), (900, SIX));
        let expected =
            at(&[(0, "192.0.2.1"), (0, "192.0.2.2"), (0, "192.0.2.3"), (900, "2001:db8::1")]);
        assert_eq!(
            dial(&world.bootstrap()).await,
            expected,
            "one place is left for the other family"
        );
        let world = World::default().server(1, (0, Has(MANY, 60)), (0, Denies(60)));
        let bootstrap = world.bootstrap();
        assert_eq!(dial(&bootstrap).await.len(), ADDRESSES);
        assert_eq!(bootstrap.host(&name()).of(Family::Four).addresses.len(), ADDRESSES);
        let two = Has(&["2001:db8::1", "2001:db8::2", "2001:db8::3"], 60);
        let world = World::default().server(1, (0, Has(MANY, 60)), (0, two));
        let found: Vec<String> =
            dial(&world.bootstrap()).await.into_iter().map(|(_, address)| address).collect();
        assert_eq!(found, ["192.0.2.1", "2001:db8::1", "192.0.2.2", "2001:db8::2"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn each_family_is_remembered_for_itself() {
    scripted(async {
        let world = World::default().server(1, (10, FOUR), (10, Has(&["2001:db8::1"], 3_600)));
        let bootstrap = world.bootstrap();
        dial(&bootstrap).await;
        assert_eq!(world.asked(), BOTH);
        advance(Duration::from_secs(59)).await;
        assert_eq!(dial(&bootstrap).await.len(), 2);
        assert_eq!(world.asked(), []);
        advance(Duration::from_secs(2)).await;
        // Only IPv4 has expired: it is preferred, and waited for a little.
        assert_eq!(dial(&bootstrap).await, at(&[(10, "192.0.2.1"), (10, "2001:db8::1")]));
        assert_eq!(world.asked(), [(1, Family::Four)]);

        for (says, seconds) in [(Denies(90), 90), (Denies(0), 30), (Fails, 10)] {
            let world = World::default().server(1, (10, Has(&["192.0.2.1"], 3_600)), (10, says));
            let bootstrap = world.bootstrap();
            dial(&bootstrap).await;
            advance(Duration::from_secs(seconds - 1)).await;
            dial(&bootstrap).await;
            assert_eq!(world.asked(), BOTH, "{seconds}");
            advance(Duration::from_secs(2)).await;
            // The repeated look-up delays no dial.
            let mut second = search(&bootstrap);
            assert_eq!(
                timeout(Duration::ZERO, second.next()).await.unwrap(),
                "192.0.2.1".parse().ok()
            );
            tokio::task::yield_now().await;
            assert_eq!(world.asked(), [(1, Family::Six)], "{seconds}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn expired_addresses_serve_while_nobody_answers() {
    scripted(async {
        let world = World::default().server(1, (10, FOUR), (10, SIX));
        let bootstrap = world.bootstrap();
        dial(&bootstrap).await;
        let world = world.server(1, (0, Nothing), (0, Nothing));
        advance(Duration::from_secs(61)).await;
        let mut waiting = search(&bootstrap);
        let begun = Instant::now();
        assert_eq!(waiting.next().await, "192.0.2.1".parse().ok());
        assert_eq!(begun.elapsed(), Duration::from_millis(500));
        // The second dial does not wait as long once more.
        let mut second = search(&bootstrap);
        assert_eq!(timeout(Duration::ZERO, second.next()).await.unwrap(), "192.0.2.1".parse().ok());
        advance(Duration::from_secs(4)).await;
        world.asked();
        assert_eq!(dial(&bootstrap).await, at(&[(0, "192.0.2.1"), (0, "2001:db8::1")]));
        assert_eq!(world.asked(), [], "the failure is remembered");
        advance(Duration::from_secs(11)).await;
        let world = world.server(1, (10, Has(&["192.0.2.7"], 60)), (10, Denies(60)));
        assert_eq!(dial(&bootstrap).await, at(&[(10, "192.0.2.7")]), "what is denied is gone");
        // What every server denies may be an outage of theirs.
        advance(Duration::from_secs(61)).await;
        world.server(1, (10, Denies(60)), (10, Denies(60)));
        assert_eq!(dial(&bootstrap).await, at(&[(10, "192.0.2.7")]));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn each_family_comes_from_the_first_server_that_has_it() {
    scripted(async {
        // A dead server costs its time alone.
        let dead = || World::default().server(1, (0, Nothing), (0, Nothing));
        let world = dead().server(2, (10, FOUR), (10, SIX));
        assert_eq!(dial(&world.bootstrap()).await, at(&[(310, "192.0.2.1"), (310, "2001:db8::1")]));
        // One that has only one family is passed over for the other one, and only for that.
        for says in [Fails, Nothing] {
            let world = World::default().server(1, (10, FOUR), (20, says.clone()));
            let world = world.server(2, (10, FOUR), (10, SIX));
            let found = dial(&world.bootstrap()).await;
            let late = if matches!(says, Fails) { 30 } else { 310 };
            assert_eq!(found, at(&[(10, "192.0.2.1"), (late, "2001:db8::1")]));
            assert_eq!(world.asked(), [BOTH[0], BOTH[1], (2, Family::Six)]);
        }
        // One that knows the host and has no other address ends the search.
        let world = World::default().server(1, (10, FOUR), (20, Denies(60)));
        let world = world.server(2, (10, FOUR), (10, SIX));
        assert_eq!(dial(&world.bootstrap()).await, at(&[(10, "192.0.2.1")]));
        assert_eq!(world.asked(), BOTH);
        // One that knows nothing may know only inner names.
        let world = World::default().server(1, (10, Denies(60)), (10, Denies(60)));
        let world = world.server(2, (10, FOUR), (10, SIX));
        assert_eq!(dial(&world.bootstrap()).await, at(&[(20, "192.0.2.1"), (20, "2001:db8::1")]));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_host_without_any_address_is_asked_for_by_every_dial() {
    scripted(async {
        for (says, reason) in [(Fails, "1 fails"), (Denies(3_600), "1 denies")] {
            let world = World::default().server(1, (10, says.clone()), (10, says));
            let bootstrap = world.bootstrap();
            for _ in 0..2 {
                let mut search = search(&bootstrap);
                assert_eq!(search.next().await, None);
                let (Miss::Denied { reason: said, .. } | Miss::Failed(said)) = search.miss() else {
                    panic!("another miss");
                };
                assert_eq!(said, reason);
                assert_eq!(world.asked(), BOTH);
            }
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_shortage_of_ours_is_said_and_not_remembered() {
    scripted(async {
        let world = World::default().server(1, (0, Fails), (0, Shortage));
        let bootstrap = world.bootstrap();
        let mut first = search(&bootstrap);
        assert_eq!(first.next().await, None);
        assert!(matches!(first.miss(), Miss::OwnShortage(_)), "{:?}", first.miss());
        let world = world.server(1, (0, FOUR), (0, Shortage));
        assert_eq!(dial(&bootstrap).await.len(), 1);
        let world = world.server(1, (0, FOUR), (0, SIX));
        assert_eq!(dial(&bootstrap).await.len(), 2, "asked again at once");
        assert_eq!(world.asked().last(), Some(&(1, Family::Six)));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn dials_at_once_share_one_look_up() {
    scripted(async {
        let world = World::default().server(1, (10, FOUR), (10, SIX));
        let bootstrap = world.bootstrap();
        let (one, two) = tokio::join!(dial(&bootstrap), dial(&bootstrap));
        assert_eq!((one.len(), two.len()), (2, 2));
        assert_eq!(world.asked(), BOTH);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn another_network_makes_every_address_doubtful() {
    scripted(async {
        let world = World::default().server(1, (10, FOUR), (10, Denies(3_600)));
        let bootstrap = world.bootstrap();
        dial(&bootstrap).await;
        world.asked();
        // What is under way is of the old network, and so is its result.
        advance(Duration::from_secs(61)).await;
        let world = world.server(1, (50, Has(&["192.0.2.66"], 60)), (50, Fails));
        let mut old = search(&bootstrap);
        assert!(timeout(Duration::from_millis(1), old.next()).await.is_err());
        bootstrap.doubt();
        let world = world.server(1, (100, Has(&["198.51.100.1"], 60)), (100, SIX));
        let expected = at(&[(100, "198.51.100.1"), (100, "2001:db8::1")]);
        assert_eq!(dial(&bootstrap).await, expected);
        assert_eq!(world.asked(), [BOTH[0], BOTH[0], BOTH[1]]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_first_look_up_begins_again_over_another_network() {
    scripted(async {
        let world = World::default().server(1, (50, FOUR), (50, Fails));
        let bootstrap = world.bootstrap();
        let mut waiting = search(&bootstrap);
        assert!(timeout(Duration::from_millis(1), waiting.next()).await.is_err());
        bootstrap.doubt();
        assert_eq!(waiting.next().await, "192.0.2.1".parse().ok());
        assert_eq!(world.asked(), [BOTH, BOTH].concat());
        // New servers have the same effect. If no server knows the host, the search ends.
        let world = world.server(2, (50, Fails), (50, Fails));
        bootstrap.ask_others(HashMap::from([(name(), vec![server(2)])]));
        bootstrap.doubt();
        assert_eq!(dial(&bootstrap).await.len(), 1, "the address that expired");
        world.asked();
        let unknown = world.bootstrap();
        let mut waiting = search(&unknown);
        assert!(timeout(Duration::from_millis(1), waiting.next()).await.is_err());
        unknown.ask_others(HashMap::from([(name(), vec![server(2)])]));
        assert_eq!(waiting.next().await, None);
        assert_eq!(waiting.miss(), Miss::Failed("2 fails".to_owned()));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_reload_goes_on_with_what_is_known() {
    scripted(async {
        let world = World::default().server(1, (10, FOUR), (0, Nothing));
        let bootstrap = world.bootstrap();
        let mut first = search(&bootstrap);
        first.next().await;
        world.asked();
        let next = Bootstrap::new(HashMap::from([(name(), vec![server(1)])]), Some(&bootstrap));
        let next = Arc::new(next);
        let mut second = search(&next);
        assert_eq!(timeout(Duration::ZERO, second.next()).await.unwrap(), "192.0.2.1".parse().ok());
        tokio::task::yield_now().await;
        assert_eq!(world.asked(), [(1, Family::Six)], "what was under way began anew");
    })
    .await;
}

#[test]
fn a_look_up_that_is_dropped_is_free_for_others() {
    let world = World::default().server(1, (10, FOUR), (10, SIX));
    let bootstrap = world.bootstrap();
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().unwrap()
    };
    let mut first = LocalSet::new().block_on(&runtime(), async { search(&bootstrap) });
    let later = scripted(async {
        assert_eq!(first.next().await, None);
        assert_eq!(dial(&bootstrap).await.len(), 2);
    });
    runtime().block_on(later);
}

#[tokio::test]
async fn nobody_to_ask_is_said() {
    scripted(async {
        let encrypted = UpstreamServer { scheme: Scheme::Tls, ..server(853) };
        for servers in [vec![], vec![encrypted]] {
            let bootstrap = Arc::new(Bootstrap::new(HashMap::from([(name(), servers)]), None));
            let mut search = search(&bootstrap);
            assert_eq!(search.next().await, None);
            let Miss::Failed(reason) = search.miss() else { panic!("another miss") };
            assert!(reason.contains("no plain upstream"), "{reason}");
        }
    })
    .await;
}

#[test]
fn servers_are_compared_and_replaced() {
    let asking = |servers: &[UpstreamServer]| HashMap::from([(name(), servers.to_vec())]);
    let (one, two) = (server(1), server(2));
    let bootstrap = Bootstrap::new(asking(std::slice::from_ref(&one)), None);
    assert!(bootstrap.asks(&asking(std::slice::from_ref(&one))));
    assert!(!bootstrap.asks(&asking(&[one.clone(), two.clone()])));
    assert!(!bootstrap.asks(&HashMap::new()));
    bootstrap.ask_others(asking(std::slice::from_ref(&two)));
    assert!(bootstrap.asks(&asking(&[two])));
    let many: Vec<_> = (0..=SERVERS).map(|_| one.clone()).collect();
    assert_eq!(able(many).len(), SERVERS);
}
