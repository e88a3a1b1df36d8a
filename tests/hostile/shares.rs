//! One client's flood of names that are never answered, and what it costs the others.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;

use super::daemon::{Daemon, config, query};
use super::upstream;

/// The zone of which the upstream answers nothing.
const TARPIT: &str = "tarpit.example.";
/// What the upstream takes for all other names.
const ANSWER_TIME: Duration = Duration::from_millis(5);
/// Questions a second of the attacker.
const FLOOD: u32 = 5_000;
/// From one bunch of them to the next.
const BUNCH_EVERY: Duration = Duration::from_millis(10);
/// How long the flood takes all seats before the other client begins: twice what its questions
/// need to fill `limits.upstream-in-flight`.
const HEAD_START: u32 = 4_000;
/// Fresh names of the other client: four seconds at 50 a second.
const FRESH: usize = 200;
const FRESH_EVERY: Duration = Duration::from_millis(20);
/// How many of them may fail: 1 %.
const MAY_FAIL: usize = FRESH / 100;
/// When the client asks again, as resolvers do: a datagram may find the daemon's buffer full.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How often it asks at most.
const TRIES: usize = 5;

/// Sends the flood until `stop` is set; counts what is sent.
fn flood(socket: &UdpSocket, zone: &str, stop: &AtomicBool, sent: &AtomicUsize) {
    let bunch = FLOOD * u32::try_from(BUNCH_EVERY.as_millis()).expect("short") / 1_000;
    let (begun, mut bunches) = (Instant::now(), 0);
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..bunch {
            let number = sent.fetch_add(1, Ordering::Relaxed);
            let id = u16::try_from(number % 65_536).expect("below 65,536");
            // What does not fit into the daemon's buffer is lost, as it is on a network.
            let _lost = socket.send(&query(id, &format!("x{number}.{zone}")));
        }
        bunches += 1;
        let next = begun + BUNCH_EVERY * bunches;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// Asks for a fresh name's address; gives the RCODE.
fn ask(client: &UdpSocket, number: usize) -> Option<ResponseCode> {
    let query = query(u16::try_from(number).expect("few"), &format!("fresh{number}.example.org."));
    let mut reply = [0; 4_096];
    for _ in 0..TRIES {
        client.send(&query).expect("sent");
        // Replies to earlier questions may still come.
        while let Ok(octets) = client.recv(&mut reply) {
            if octets > 3 && reply[..2] == query[..2] {
                return Some(ResponseCode::from(0, reply[3] & 15));
            }
        }
    }
    None
}

/// Floods the daemon from one address, and gives how many fresh names of another client fail. The
/// flood asks for names below `zone`.
fn failures_during_a_flood(attacker: &str, zone: &'static str) -> (usize, Daemon) {
    let upstream = upstream::answering_all_but(TARPIT, ANSWER_TIME);
    let daemon = Daemon::start(&config(&upstream.to_string(), "2s"));
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let attack = {
        let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
        let socket = UdpSocket::bind((attacker, 0)).expect("a socket");
        socket.connect(daemon.address()).expect("connected");
        thread::spawn(move || flood(&socket, zone, &stop, &sent))
    };
    while sent.load(Ordering::Relaxed) < usize::try_from(HEAD_START).expect("small") {
        thread::sleep(BUNCH_EVERY);
    }
    let client = daemon.udp();
    client.set_read_timeout(Some(ASK_AGAIN)).expect("a time-out");
    let mut failed = 0;
    for number in 0..FRESH {
        let begun = Instant::now();
        failed += usize::from(ask(&client, number) != Some(ResponseCode::NoError));
        thread::sleep((begun + FRESH_EVERY).saturating_duration_since(Instant::now()));
    }
    stop.store(true, Ordering::Relaxed);
    attack.join().expect("the attacker does not panic");
    // The rest of the flood leaves the daemon's buffer meanwhile.
    assert_eq!(ask(&client, FRESH), Some(ResponseCode::NoError));
    (failed, daemon)
}

#[test]
fn a_flood_of_silent_names_costs_other_clients_nothing() {
    let (failed, mut daemon) = failures_during_a_flood("127.0.0.9", TARPIT);
    assert!(failed <= MAY_FAIL, "{failed} of {FRESH} failed\n{}", daemon.log());
    assert!(!daemon.log().contains("is down"), "{}", daemon.log());
    daemon.assert_well();
}

/// All users of a resolver that forwards to us have one address.
#[test]
fn a_flood_of_silent_names_costs_other_users_of_the_same_resolver_nothing() {
    let (failed, mut daemon) = failures_during_a_flood("127.0.0.1", TARPIT);
    assert!(failed <= MAY_FAIL, "{failed} of {FRESH} failed\n{}", daemon.log());
    assert!(!daemon.log().contains("is down"), "{}", daemon.log());
    daemon.assert_well();
}
