//! Where the upstreams are that the configuration names by host.
//!
//! Plain upstreams of the same configuration are asked, through hickory's resolver. What they said
//! is used for its TTL, and longer while they say nothing: behind a tunnel that is down, an address
//! of yesterday is better than none.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
    ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::Name as HickoryName;
use tokio::time::{Instant, timeout};

use super::race::first_of;
use crate::config::{Scheme, UpstreamServer};
use crate::wire::Name;

/// Addresses of one host that are dialled: more are only more ways to the same end.
pub(super) const ADDRESSES: usize = 4;
/// Servers that are asked for one host, for the same reason.
const SERVERS: usize = 6;
/// Shortest time for which an answer is used: names with a TTL of 0 exist.
const SHORTEST: Duration = Duration::from_secs(30);
/// Longest one: a host that moved is found again within the hour, whatever its TTL was.
const LONGEST: Duration = Duration::from_secs(3_600);
/// How long known addresses are used unasked after nobody answered.
const UNANSWERED: Duration = Duration::from_secs(10);
/// How long an expired address waits to be renewed before a dial takes it as it is: one round trip
/// on a slow path.
const RENEWAL: Duration = Duration::from_millis(500);
/// hickory's time limit for one try with one server; a dial's own bound ends before the second.
const HICKORY_TRY: Duration = Duration::from_secs(1);

/// The addresses of all upstreams that one configuration names by host. Shared by all workers.
#[derive(Debug)]
pub struct Bootstrap {
    hosts: Mutex<HashMap<Name, Host>>,
}

#[derive(Clone, Default, Debug)]
struct Host {
    servers: Vec<UpstreamServer>,
    addresses: Vec<IpAddr>,
    /// When `addresses` are looked for again.
    until: Option<Instant>,
}

impl Bootstrap {
    /// For these hosts, each with the servers to ask in their order; those that are encrypted or
    /// named by host themselves are not asked. What `previous` knew goes on.
    pub fn new(servers: HashMap<Name, Vec<UpstreamServer>>, previous: Option<&Self>) -> Self {
        let mut known = previous.map_or_else(HashMap::new, |previous| previous.lock().clone());
        let hosts = servers.into_iter().map(|(name, servers)| {
            let known = known.remove(&name).unwrap_or_default();
            (name, Host { servers: able(servers), ..known })
        });
        Self { hosts: Mutex::new(hosts.collect()) }
    }

    /// Whether it asks exactly these.
    pub fn asks(&self, servers: &HashMap<Name, Vec<UpstreamServer>>) -> bool {
        let hosts = self.lock();
        hosts.len() == servers.len()
            && servers.iter().all(|(name, servers)| {
                hosts.get(name).is_some_and(|host| host.servers == able(servers.clone()))
            })
    }

    /// From now on asks others: a resolv.conf has changed.
    pub fn ask_others(&self, servers: HashMap<Name, Vec<UpstreamServer>>) {
        let next = Self::new(servers, Some(self));
        let next = next.hosts.into_inner().unwrap_or_else(PoisonError::into_inner);
        *self.lock() = next;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, Host>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The addresses of `name`, at least one, or why there is none. May take as long as the servers
    /// do: give it a limit.
    pub(super) async fn addresses(&self, name: &Name) -> Result<Vec<IpAddr>, String> {
        let host = self.lock().get(name).cloned().unwrap_or_default();
        if !host.addresses.is_empty() && host.until.is_some_and(|until| Instant::now() < until) {
            return Ok(host.addresses);
        }
        if host.addresses.is_empty() {
            let (addresses, ttl) = look_up(name, &host.servers).await?;
            self.keep(name, Some(&addresses), ttl);
            return Ok(addresses);
        }
        match timeout(RENEWAL, look_up(name, &host.servers)).await {
            Ok(Ok((addresses, ttl))) => {
                self.keep(name, Some(&addresses), ttl);
                Ok(addresses)
            }
            Ok(Err(_)) | Err(_) => {
                self.keep(name, None, UNANSWERED);
                Ok(host.addresses)
            }
        }
    }

    /// `None`: those that are known.
    fn keep(&self, name: &Name, addresses: Option<&[IpAddr]>, time: Duration) {
        if let Some(host) = self.lock().get_mut(name) {
            if let Some(addresses) = addresses {
                host.addresses = addresses.to_vec();
            }
            host.until = Some(Instant::now() + time);
        }
    }
}

/// Those that can be asked for a host: no other host has to be known for it.
fn able(servers: Vec<UpstreamServer>) -> Vec<UpstreamServer> {
    let is_able = |server: &UpstreamServer| {
        !server.scheme.is_encrypted() && server.address().is_some_and(has_no_scope)
    };
    servers.into_iter().filter(is_able).take(SERVERS).collect()
}

/// hickory's resolver has no place for an interface.
fn has_no_scope(address: SocketAddr) -> bool {
    !matches!(address, SocketAddr::V6(address) if address.scope_id() != 0)
}

async fn look_up(
    name: &Name,
    servers: &[UpstreamServer],
) -> Result<(Vec<IpAddr>, Duration), String> {
    if servers.is_empty() {
        return Err("no plain upstream is there to ask for the host's address".to_owned());
    }
    let lookups = servers.iter().map(|server| look_up_at(name, server));
    first_of(lookups).await.map_err(|errors| {
        let why = errors.into_iter().next().unwrap_or_default();
        format!("the host has no known address: {why}")
    })
}

/// One resolver for one lookup: connections of a longer-lived one would belong to one worker.
async fn look_up_at(
    name: &Name,
    server: &UpstreamServer,
) -> Result<(Vec<IpAddr>, Duration), String> {
    let says = |error: &dyn std::fmt::Display| format!("{server}: {error}");
    let address = server.address().ok_or_else(|| says(&"no address"))?;
    let mut connections = match server.scheme {
        Scheme::Tcp => vec![ConnectionConfig::tcp()],
        _ => vec![ConnectionConfig::udp(), ConnectionConfig::tcp()],
    };
    connections.iter_mut().for_each(|connection| connection.port = address.port());
    // A server that knows only inner names may deny outer ones: the next is asked.
    let servers = vec![NameServerConfig::new(address.ip(), false, connections)];
    let mut options = ResolverOpts::default();
    options.cache_size = 0;
    options.timeout = HICKORY_TRY;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.use_hosts_file = ResolveHosts::Never;
    let resolver = TokioResolver::builder_with_config(
        ResolverConfig::from_name_servers(servers),
        TokioRuntimeProvider::new(),
    )
    .with_options(options)
    .build()
    .map_err(|error| says(&error))?;
    let name = HickoryName::from_ascii(name.to_string()).map_err(|error| says(&error))?;
    let found = resolver.lookup_ip(name).await.map_err(|error| says(&error))?;
    let ttls = found.as_lookup().answers().iter().map(|record| record.ttl);
    let ttl = Duration::from_secs(ttls.min().unwrap_or(0).into()).clamp(SHORTEST, LONGEST);
    let addresses = in_turn(found.iter());
    if addresses.is_empty() { Err(says(&"no address")) } else { Ok((addresses, ttl)) }
}

/// IPv4 and IPv6 in turn: one of the two may lead nowhere here.
fn in_turn(addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let (four, six): (Vec<_>, Vec<_>) = addresses.partition(IpAddr::is_ipv4);
    let longer = four.len().max(six.len());
    let pairs = (0..longer).flat_map(|at| [four.get(at), six.get(at)]);
    pairs.flatten().copied().take(ADDRESSES).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use tokio::task::LocalSet;
    use tokio::time::advance;

    use super::*;
    use crate::upstream::tests::{local, reply, udp_server};

    fn name() -> Name {
        "dns.example".parse().unwrap()
    }

    fn asking(servers: &[UpstreamServer]) -> HashMap<Name, Vec<UpstreamServer>> {
        HashMap::from([(name(), servers.to_vec())])
    }

    /// `answer` gives the number of addresses for a question of type A; `None`: silence. There is
    /// no IPv6.
    async fn server(answer: impl Fn() -> Option<u16> + 'static) -> UpstreamServer {
        let address = udp_server(move |query| {
            let is_a = query[12..].windows(5).any(|octets| octets == b"\0\0\x01\0\x01");
            let answers = answer().map(|answers| if is_a { answers } else { 0 });
            answers.map(|answers| reply(query, 0, answers)).into_iter().collect()
        });
        UpstreamServer::plain(address.await)
    }

    #[tokio::test]
    async fn addresses_are_found_and_bounded() {
        local(async {
            let bootstrap = Bootstrap::new(asking(&[server(|| Some(9)).await]), None);
            let found = bootstrap.addresses(&name()).await.unwrap();
            let expected = ["10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3"];
            assert_eq!(found, expected.map(|address| address.parse::<IpAddr>().unwrap()));
        })
        .await;
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_or_knows_nothing_is_passed_over() {
        for first in [None, Some(0)] {
            local(async move {
                let servers = [server(move || first).await, server(|| Some(1)).await];
                let bootstrap = Bootstrap::new(asking(&servers), None);
                assert_eq!(bootstrap.addresses(&name()).await.unwrap().len(), 1);
            })
            .await;
        }
    }

    #[tokio::test]
    async fn nobody_to_ask_is_said() {
        let encrypted = UpstreamServer {
            scheme: Scheme::Tls,
            ..UpstreamServer::plain("192.0.2.1:853".parse().unwrap())
        };
        for servers in [vec![], vec![encrypted]] {
            let bootstrap = Bootstrap::new(asking(&servers), None);
            let error = bootstrap.addresses(&name()).await.unwrap_err();
            assert!(error.contains("no plain upstream"), "{error}");
        }
    }

    #[tokio::test]
    async fn addresses_are_kept_for_their_ttl_and_while_nobody_answers() {
        // Without the limit that other tests have: the clock leaps here.
        LocalSet::new()
            .run_until(async {
                let answers = Rc::new(RefCell::new((Some(1), 0)));
                let state = Rc::clone(&answers);
                let server = server(move || {
                    state.borrow_mut().1 += 1;
                    state.borrow().0
                });
                let bootstrap = Bootstrap::new(asking(&[server.await]), None);
                let asked = || answers.borrow().1;
                assert_eq!(bootstrap.addresses(&name()).await.unwrap().len(), 1);
                assert_eq!(asked(), 2);
                tokio::time::pause();
                // The records' TTL is 60 s.
                advance(Duration::from_secs(59)).await;
                assert_eq!(bootstrap.addresses(&name()).await.unwrap().len(), 1);
                assert_eq!(asked(), 2);
                advance(Duration::from_secs(2)).await;
                answers.borrow_mut().0 = None;
                assert_eq!(bootstrap.addresses(&name()).await.unwrap().len(), 1, "the last known");
                advance(UNANSWERED + Duration::from_secs(1)).await;
                let next = Bootstrap::new(asking(&[]), Some(&bootstrap));
                assert_eq!(
                    next.addresses(&name()).await.unwrap().len(),
                    1,
                    "known by the one before"
                );
                tokio::time::resume();
                answers.borrow_mut().0 = Some(2);
                assert_eq!(bootstrap.addresses(&name()).await.unwrap().len(), 2);
            })
            .await;
    }

    #[tokio::test]
    async fn servers_are_compared_and_replaced() {
        let plain = |address: &str| UpstreamServer::plain(address.parse().unwrap());
        let (one, two) = (plain("192.0.2.1:53"), plain("192.0.2.2:53"));
        let bootstrap = Bootstrap::new(asking(std::slice::from_ref(&one)), None);
        assert!(bootstrap.asks(&asking(std::slice::from_ref(&one))));
        assert!(!bootstrap.asks(&asking(&[one.clone(), two.clone()])));
        assert!(!bootstrap.asks(&HashMap::new()));
        bootstrap.ask_others(asking(std::slice::from_ref(&two)));
        assert!(bootstrap.asks(&asking(&[two])));
        let many: Vec<_> = (0..=SERVERS).map(|_| one.clone()).collect();
        assert_eq!(able(many).len(), SERVERS);
    }
}
