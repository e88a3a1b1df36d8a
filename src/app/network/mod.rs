//! The network changes under a running daemon: tunnels come and go, a machine sleeps and wakes.
//!
//! Owns what is heard of that, and the decision whether sockets towards upstreams are still good.
//! What is done about it is the daemon's. News never decide: they say when to look where upstreams
//! are reached from, and only a difference there costs sockets and connections.

mod news;
mod paths;
mod report;
mod wake;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::forward::Rules;
use crate::sys::{self, LocalAddress, NetworkChanges, NetworkWatch};
use paths::{Paths, look};
use report::Report;

/// What hosts that are known by name alone are judged by: the ways to nowhere in particular
/// (RFC 5737, RFC 3849). Nothing is ever sent there.
const ANYWHERE: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 53),
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)), 53),
];

/// Why to look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cause {
    /// It is time: finds what nobody told us, where news cannot be had.
    Housekeeping,
    /// The kernel says that this has changed.
    Heard(NetworkChanges),
    /// The machine slept for so long. Whatever was open then is somebody else's problem by now.
    Woke(Duration),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Housekeeping => f.write_str("seen without being told"),
            Self::Heard(changes) => write!(f, "{changes}"),
            Self::Woke(asleep) => write!(f, "woke after {} s of sleep", asleep.as_secs()),
        }
    }
}

/// News of the network, for as long as it is held.
pub(super) struct News {
    causes: mpsc::Receiver<Cause>,
    /// End with it.
    _tasks: JoinSet<()>,
}

impl News {
    /// Begins to listen; what cannot be heard is said once, and done without. Within a `LocalSet`.
    pub(super) fn listen() -> Self {
        Self::listen_to(NetworkWatch::open(), sys::time_asleep)
    }

    fn listen_to<W: news::Watch + 'static>(
        watch: io::Result<W>,
        asleep: impl Fn() -> io::Result<Duration> + 'static,
    ) -> Self {
        // One each that waits to be told; they stand still until it has been.
        let (tell, causes) = mpsc::channel(1);
        let mut tasks = JoinSet::new();
        let told = tell.clone();
        tasks.spawn_local(async move {
            let error = match watch {
                Ok(watch) => news::follow(watch, told).await,
                Err(error) => Some(error),
            };
            if let Some(error) = error {
                warn!(
                    "cannot hear of changes to the network ({error}): they are looked for every \
                     few seconds instead; allow AF_NETLINK to be told at once"
                );
            }
        });
        tasks.spawn_local(async move {
            if let Some(error) = wake::follow(asleep, tell).await {
                warn!("cannot tell when this machine slept: {error}");
            }
        });
        Self { causes, _tasks: tasks }
    }

    /// The next reason to look; never, when there is nobody left to hear of any. Dropping the
    /// future loses none.
    pub(super) async fn next(&mut self) -> Cause {
        match self.causes.recv().await {
            Some(cause) => cause,
            None => std::future::pending().await,
        }
    }
}

impl Cause {
    /// Whether the addresses of this host may be others now.
    fn concerns_addresses(&self) -> bool {
        match self {
            Self::Housekeeping => false,
            Self::Heard(changes) => changes.addresses || changes.lost,
            Self::Woke(_) => true,
        }
    }
}

/// What is known of the network.
#[derive(Default)]
pub(super) struct Network {
    paths: Paths,
    report: Report,
}

impl Network {
    /// Looks at the network for `cause`, and has `rules` follow: whose upstreams are probed, and
    /// which of them are ourselves by the addresses that `local` reads. Gives whether sockets and
    /// connections towards upstreams must be made anew.
    pub(super) fn follow(
        &mut self,
        cause: Cause,
        rules: &Rules,
        local: impl Fn() -> io::Result<Vec<LocalAddress>>,
    ) -> bool {
        let read_addresses = || {
            if let Ok(local) = local() {
                rules.set_local(local);
            }
        };
        let concerns_addresses = cause.concerns_addresses();
        if concerns_addresses {
            read_addresses();
        }
        let is_another = self.look(cause, rules);
        if is_another {
            // Where no news can be had this is all that tells of it.
            if !concerns_addresses {
                read_addresses();
            }
            rules.doubt_hosts();
            rules.probe_anew();
        } else if cause != Cause::Housekeeping {
            // Whoever could not be reached may be now, also from where it was reached before.
            rules.probe_now();
        }
        is_another
    }

    /// Looks where the upstreams of `rules` are reached from, and says so in the log when that has
    /// changed. Gives whether sockets and connections towards them must be made anew.
    fn look(&mut self, cause: Cause, rules: &Rules) -> bool {
        let targets: Vec<_> = rules.iter().map(|rule| rule.targets()).collect();
        let servers = targets.iter().flat_map(|targets| targets.iter());
        let mut peers = Vec::new();
        for server in servers {
            match server.upstream().server().address() {
                Some(address) => peers.push(address.clone()),
                None => peers.extend(ANYWHERE.map(Into::into)),
            }
        }
        let moved = self.paths.look(peers, look);
        if moved.is_none() && !matches!(cause, Cause::Woke(_)) {
            if cause != Cause::Housekeeping {
                debug!("the network has changed ({cause}), the ways to upstreams have not");
            }
            return false;
        }
        if let Some(unsaid) = self.report.may_say(Instant::now()) {
            let moved = moved.map(|moved| format!("{moved}; ")).unwrap_or_default();
            info!("network changed ({cause}): {moved}upstream sockets are made anew{unsaid}");
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use tokio::task::LocalSet;

    use super::paths::{Look, Source};
    use super::*;
    use crate::config::Forward;
    use crate::config::testing::{forward_all, plain};
    use crate::forward::OwnAddresses;
    use crate::upstream::Haste;

    /// A kernel without netlink.
    struct Nobody;

    impl news::Watch for Nobody {
        async fn changed(&mut self) -> io::Result<NetworkChanges> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn pending(&mut self) -> io::Result<NetworkChanges> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_netlink_a_sleep_is_still_noticed() {
        for watch in [Ok(Nobody), Err(io::ErrorKind::PermissionDenied.into())] {
            let slept = Rc::new(Cell::new(Duration::from_secs(100)));
            let reading = Rc::clone(&slept);
            let check = async {
                let mut news = News::listen_to(watch, move || Ok(reading.get()));
                tokio::time::sleep(Duration::from_secs(10)).await;
                slept.set(Duration::from_secs(160));
                assert_eq!(news.next().await, Cause::Woke(Duration::from_secs(60)));
            };
            LocalSet::new().run_until(check).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_anything_to_hear_the_wait_never_ends() {
        let check = async {
            let mut news = News::listen_to(Ok(Nobody), || Err(io::ErrorKind::Unsupported.into()));
            let wait = tokio::time::timeout(Duration::from_secs(3_600), news.next());
            assert!(wait.await.is_err());
        };
        LocalSet::new().run_until(check).await;
    }

    #[tokio::test]
    async fn only_another_way_or_a_sleep_makes_sockets_anew() {
        let forward =
            Forward { upstreams: vec![plain("127.0.0.1:53".parse().unwrap())], ..forward_all() };
        let rules = Rules::build(&[forward], &[], OwnAddresses::default(), None);
        let mut network = Network::default();
        let everything =
            NetworkChanges { addresses: true, links: true, routes: true, rules: true, lost: true };
        assert!(!network.look(Cause::Housekeeping, &rules), "the first look knows no other");
        assert!(!network.look(Cause::Housekeeping, &rules));
        assert!(!network.look(Cause::Heard(everything), &rules), "loopback is where it was");
        assert!(network.look(Cause::Woke(Duration::from_secs(2)), &rules));
    }

    #[tokio::test]
    async fn another_way_that_nobody_told_of_is_followed_all_the_same() {
        let peers: [SocketAddr; 2] =
            ["192.0.2.1:53", "192.0.2.2:53"].map(|peer| peer.parse().unwrap());
        let forward = Forward { upstreams: peers.map(plain).to_vec(), ..forward_all() };
        let listen = vec!["0.0.0.0:53".parse().unwrap()];
        let own = OwnAddresses { listen, local: Vec::new() };
        let rules = Rules::build(&[forward], &[], own, None);
        let upstreams = || rules.iter().next().unwrap().targets().len();
        let mut network = Network::default();
        let read = Cell::new(0);
        let local = || {
            read.set(read.get() + 1);
            Ok(vec![peers[0].ip().into()])
        };
        assert!(!network.follow(Cause::Housekeeping, &rules, local));
        assert_eq!((upstreams(), read.get(), rules.alarm().take_haste()), (2, 0, None));

        // As if they had been reached from elsewhere before.
        let elsewhere = Source { ip: "198.51.100.7".parse().unwrap(), scope: 0 };
        network.paths.look(peers.map(Into::into).to_vec(), |_| Look::Way(elsewhere));
        assert!(network.follow(Cause::Housekeeping, &rules, local));
        assert_eq!(
            (upstreams(), read.get(), rules.alarm().take_haste()),
            (1, 1, Some(Haste::Anew))
        );

        let routes = Cause::Heard(NetworkChanges { routes: true, ..Default::default() });
        assert!(!network.follow(routes, &rules, local));
        assert_eq!((read.get(), rules.alarm().take_haste()), (1, Some(Haste::Due)));
        let addresses = Cause::Heard(NetworkChanges { addresses: true, ..Default::default() });
        assert!(!network.follow(addresses, &rules, local));
        assert!(network.follow(Cause::Woke(Duration::from_secs(2)), &rules, local));
        assert_eq!((read.get(), rules.alarm().take_haste()), (3, Some(Haste::Anew)));
    }

    #[test]
    fn causes_read_well() {
        let changes = NetworkChanges { addresses: true, routes: true, ..Default::default() };
        assert_eq!(Cause::Heard(changes).to_string(), "addresses, routes");
        let woke = Cause::Woke(Duration::from_millis(61_500));
        assert_eq!(woke.to_string(), "woke after 61 s of sleep");
    }
}
