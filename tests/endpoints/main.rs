//! Private endpoints go down, flap and come back under the real binary, while clients ask all the
//! time: in network namespaces of the test's own.
//!
//! Needs root; says so and does nothing without.

mod client;
mod daemon;
#[path = "../harness/namespaces.rs"]
mod namespaces;
#[path = "../harness/process.rs"]
mod process;
mod space;
mod tls;

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::thread::sleep;
use std::time::{Duration, Instant};

use client::{Load, Said, ask};
use daemon::Daemon;
use process::until;
use space::Space;
use tls::Identities;

/// The probed addresses: each is up when it is there and somebody listens.
const HUB: Ipv4Addr = Ipv4Addr::new(10, 99, 9, 1);
const SPARE: Ipv4Addr = Ipv4Addr::new(10, 99, 9, 2);
const PORT: u16 = 443;

/// One a second each, two in a row.
const PROBES: &str = "[probes]\ninterval = '1s'\ntimeout = '300ms'\nrise = 2\nfall = 2\n";
/// `fall` times the interval and a second.
const MOVED_WITHIN: Duration = Duration::from_secs(3);
/// The shortest time between two probes: what is left of the interval, less a fifth.
const SHORTEST_WAIT: Duration = Duration::from_millis(680);

const NAME: &str = "api.cloud.defender.microsoft.com";

fn listen(address: Ipv4Addr) -> TcpListener {
    // Nobody accepts: a connection is enough, and there are fewer than the queue takes.
    TcpListener::bind((address, PORT)).expect("a listener")
}

/// Two endpoints, the second of which takes over.
fn hub_and_spare(space: &Space) -> Daemon {
    Daemon::start(
        space,
        &format!(
            "{PROBES}[[private-link]]\nservice = 'defender-for-containers'\n\
             [[private-link.endpoint]]\nname = 'hub'\naddresses = ['{HUB}']\nprobe = 'tcp:{PORT}'\n\
             [[private-link.endpoint]]\nname = 'spare'\naddresses = ['{SPARE}']\n\
             probe = 'tcp:{PORT}'\n"
        ),
    )
}

/// Waits until clients get `address`, and gives how long that took.
fn until_clients_get(load: &Load, address: Ipv4Addr) -> Duration {
    let begin = Instant::now();
    until(&format!("{address} is answered"), || load.all_get(address).then_some(()));
    begin.elapsed()
}

#[test]
fn answers_follow_an_endpoint_that_goes_and_comes_back() {
    space::within("refused", |space| {
        let (hub, _spare) = (listen(HUB), listen(SPARE));
        let daemon = hub_and_spare(space);
        let load = Load::start(NAME);
        until_clients_get(&load, HUB);
        drop(hub);
        let took = until_clients_get(&load, SPARE);
        assert!(took <= MOVED_WITHIN, "{took:?}\n{}", daemon.log());
        daemon.wait_for_log(&format!(
            "WARN privatelinkd::probes::news: endpoint hub of cloud.defender.microsoft.com: {HUB} is \
             down (tcp:{PORT}: connection refused, 2 in a row); answered now: the next endpoint"
        ));
        daemon.wait_for_totals(&[
            "endpoint-falls=1 endpoint-rises=0 endpoint-addresses-down=1",
            &format!("endpoint hub of cloud.defender.microsoft.com: {HUB} tcp:{PORT} state=down "),
            &format!(
                "endpoint spare of cloud.defender.microsoft.com: {SPARE} tcp:{PORT} state=up "
            ),
        ]);
        let explained = daemon.explain(NAME);
        for part in [
            format!("down      {HUB} of hub, for "),
            "tcp:443 connection refused".to_owned(),
            format!(
                "endpoint  spare, as those that come before it are down, by its wildcard: {SPARE}"
            ),
        ] {
            assert!(explained.contains(&part), "{part}\n{explained}");
        }

        // A reload is no reason to believe in it again.
        daemon.signal("-HUP");
        daemon.wait_for_log("reloaded ");
        let moves = load.moves();
        sleep(Duration::from_millis(500));
        assert_eq!(load.moves(), moves, "{}", daemon.log());

        let hub = listen(HUB);
        let took = until_clients_get(&load, HUB);
        assert!(took <= MOVED_WITHIN, "{took:?}\n{}", daemon.log());
        daemon.wait_for_log(&format!("{HUB} is up again after "));

        // Again, soon after: now it must prove itself for twice as long.
        drop(hub);
        until_clients_get(&load, SPARE);
        let _hub = listen(HUB);
        let took = until_clients_get(&load, HUB);
        assert!(took >= SHORTEST_WAIT * 3, "{took:?}\n{}", daemon.log());
        load.stop_and_find_no_fault();
    });
}

#[test]
fn answers_follow_an_endpoint_that_says_nothing() {
    space::within("silent", |space| {
        let (_hub, _spare) = (listen(HUB), listen(SPARE));
        let daemon = hub_and_spare(space);
        let load = Load::start(NAME);
        until_clients_get(&load, HUB);
        space.take_away(HUB);
        let took = until_clients_get(&load, SPARE);
        assert!(took <= MOVED_WITHIN, "{took:?}\n{}", daemon.log());
        daemon.wait_for_log(&format!("{HUB} is down (tcp:{PORT}: no reply in time, 2 in a row)"));
        space.give_back(HUB);
        let took = until_clients_get(&load, HUB);
        assert!(took <= MOVED_WITHIN, "{took:?}\n{}", daemon.log());
        load.stop_and_find_no_fault();
    });
}

#[test]
fn a_host_without_a_route_judges_nobody() {
    space::within("routeless", |space| {
        let (_hub, _spare) = (listen(HUB), listen(SPARE));
        let daemon = hub_and_spare(space);
        let load = Load::start(NAME);
        until_clients_get(&load, HUB);
        space.lose_routes();
        space.take_away(HUB);
        daemon.wait_for_log(&format!(
            "endpoint address {HUB}:{PORT} could not be probed: Network is unreachable"
        ));
        sleep(MOVED_WITHIN);
        assert_eq!(load.moves(), 1, "{}", daemon.log());
        load.stop_and_find_no_fault();
    });
}

/// The kernel gives the same error for both, with another meaning.
#[test]
fn a_gateway_without_a_route_speaks_of_the_endpoint() {
    space::within("gateway", |space| {
        let (_hub, _spare) = (listen(HUB), listen(SPARE));
        space.send_through_a_lost_gateway();
        let daemon = hub_and_spare(space);
        let load = Load::start(NAME);
        until_clients_get(&load, HUB);
        space.take_away(HUB);
        let took = until_clients_get(&load, SPARE);
        assert!(took <= MOVED_WITHIN, "{took:?}\n{}", daemon.log());
        // Gateways do not say it to everybody every time.
        daemon.wait_for_log(&format!("{HUB} is down (tcp:{PORT}: "));
        load.stop_and_find_no_fault();
    });
}

#[test]
fn flapping_does_not_flap_the_answers() {
    space::within("flapping", |space| {
        let _spare = listen(SPARE);
        let daemon = hub_and_spare(space);
        let load = Load::start(NAME);
        until_clients_get(&load, HUB);
        let begin = Instant::now();
        let mut flaps = 0;
        while begin.elapsed() < Duration::from_secs(12) {
            let hub = listen(HUB);
            sleep(Duration::from_millis(200));
            drop(hub);
            sleep(Duration::from_millis(300));
            flaps += 2;
        }
        // What the fewest probes make possible: 2 to go, 2 to come, 2, 4, 2, 8, 2 of at most 18, and
        // where it was to begin with.
        let moves = load.moves();
        assert!(flaps >= 40 && moves <= 7, "{moves} moves in {flaps} flaps\n{}", daemon.log());
        let _hub = listen(HUB);
        load.stop_and_find_no_fault();
    });
}

#[test]
fn when_all_is_down_each_zone_does_what_it_says() {
    space::within("all-down", |space| {
        let hub = listen(HUB);
        let _upstream = client::Upstream::start();
        let zone = |zones: &str, all_down: &str| {
            format!(
                "[[private-link]]\n{zones}\nall-down = '{all_down}'\n[[private-link.endpoint]]\n\
                 name = 'hub'\nnames.mine = ['{HUB}']\nprobe = 'tcp:{PORT}'\n"
            )
        };
        let pair = |public: &str, private: &str| {
            format!("public-zone = '{public}'\nprivate-zone = '{private}'\nunlisted = 'nxdomain'")
        };
        let (vault, vaultcore) = ("vault.azure.net", "privatelink.vaultcore.azure.net");
        let (blob, private_blob) = ("blob.core.windows.net", "privatelink.blob.core.windows.net");
        let (sql, private_sql) = ("database.windows.net", "privatelink.database.windows.net");
        let daemon = Daemon::start(
            space,
            &format!(
                "{PROBES}{}{}{}[[forward]]\nzones = ['.']\nupstreams = ['{}']\n",
                zone(&pair(sql, private_sql), "serve-all"),
                zone(&pair(vault, vaultcore), "servfail"),
                zone(&pair(blob, private_blob), "public"),
                client::Upstream::ADDRESS,
            ),
        );
        let mine = |zone: &str| ask(&format!("mine.{zone}"));
        let public = Said::Address(client::PUBLIC.into());
        let hub_s = Said::Address(IpAddr::from(HUB));
        let zones = [sql, private_sql, vault, vaultcore, blob, private_blob];
        let all_private = || zones.iter().all(|zone| mine(zone) == hub_s);
        assert!(all_private());
        assert_eq!(ask("alias.example"), hub_s, "a chain into the zone is cut");
        drop(hub);
        until("SERVFAIL", || (mine(vault) == Said::Failure).then_some(()));
        assert_eq!(mine(vaultcore), Said::Failure);
        assert_eq!([mine(sql), mine(private_sql)], [hub_s, hub_s]);
        assert_eq!([mine(blob), mine(private_blob)], [public, public]);
        assert_eq!(ask("alias.example"), public);
        let explained = daemon.explain(&format!("mine.{blob}"));
        assert!(explained.contains("down at every endpoint: all-down = \"public\""), "{explained}");
        let _hub = listen(HUB);
        until("an address", || (mine(vault) == hub_s).then_some(()));
        assert!(all_private(), "at once, whatever is kept");
        assert_eq!(ask("alias.example"), hub_s);
    });
}

#[test]
fn certificates_are_held_against_the_public_name() {
    space::within("tls", |space| {
        let identities = Identities::new(space.folder());
        let public = |name: &str| format!("{name}.cloud.defender.microsoft.com");
        let _servers = [
            identities.good(SPARE, &public("good")),
            identities.good(HUB, "other.example"),
            identities.expired(Ipv4Addr::new(10, 99, 9, 3), &public("expired")),
            identities.strange(Ipv4Addr::new(10, 99, 9, 4), &public("strange")),
        ];
        let _deaf = listen(Ipv4Addr::new(10, 99, 9, 5));
        let daemon = Daemon::start(
            space,
            &format!(
                "{PROBES}[[private-link]]\nservice = 'defender-for-containers'\n\
                 unlisted = 'nxdomain'\n[[private-link.endpoint]]\nname = 'hub'\n\
                 probe = 'tls:{PORT}'\n[private-link.endpoint.names]\ngood = ['{SPARE}']\n\
                 wrong = ['{HUB}']\nexpired = ['10.99.9.3']\nstrange = ['10.99.9.4']\n\
                 deaf = ['10.99.9.5']\n[[private-link]]\npublic-zone = 'vault.azure.net'\n\
                 private-zone = 'privatelink.vaultcore.azure.net'\n[[private-link.endpoint]]\n\
                 name = 'vault'\naddresses = ['{HUB}']\nprobe = 'tls:{PORT}#other.example'\n"
            ),
        );
        let wrong = public("wrong");
        for (address, why) in [
            ("10.99.9.1", &*format!("its certificate is for other.example, not for {wrong}")),
            ("10.99.9.3", "its certificate expired "),
            ("10.99.9.4", "no authority that we know signed its certificate"),
        ] {
            daemon.wait_for_log(&format!("hub of cloud.defender.microsoft.com: {address} is down"));
            daemon.wait_for_log(&format!(": not trusted: {why}"));
        }
        daemon
            .wait_for_log("10.99.9.5 is down (tls:443#deaf.cloud.defender.microsoft.com: no reply");
        daemon.wait_for_totals(&["endpoint-falls=4 endpoint-rises=0 endpoint-addresses-down=4"]);
        let log = daemon.log();
        for (address, name) in [(SPARE, public("good")), (HUB, "other.example".to_owned())] {
            let line = format!(": {address} tls:{PORT}#{name} state=up ");
            let line = log.lines().find(|at| at.contains(&line)).unwrap_or_else(|| panic!("{log}"));
            assert!(line.contains(" failed=0"), "{line}");
        }
    });
}
