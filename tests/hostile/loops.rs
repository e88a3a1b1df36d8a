//! An upstream that sends every query back.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RecordType};

use super::daemon::{Daemon, PUBLIC_ZONE, config};
use super::process::until;
use super::upstream;

const ASKED: usize = 20;
/// Queries that the relay may see for [`ASKED`] of a client and the probes: nothing grows.
const RELAYED: usize = 10 * ASKED;
/// How long a client may wait for its failure: less than the rule's time-out.
const FAST: Duration = Duration::from_millis(1_500);
/// What all of it may cost.
const PROCESSOR_TIME: Duration = Duration::from_secs(2);

/// What a relay says of all names that it does not send back.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 80);
/// How long a failure may take that is known beforehand.
const AT_ONCE: Duration = Duration::from_millis(200);

/// Sends to the daemon what the daemon sends to it, and back; counts.
fn relay(front: UdpSocket, daemon: SocketAddr) -> Arc<AtomicUsize> {
    relay_below(Name::root(), front, daemon)
}

/// The same for names below `zone`; answers others with [`ELSEWHERE`].
fn relay_below(zone: Name, front: UdpSocket, daemon: SocketAddr) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let back = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    back.connect(daemon).expect("connected");
    let askers: Arc<Mutex<HashMap<[u8; 2], SocketAddr>>> = Arc::default();
    let (front, back) = (Arc::new(front), Arc::new(back));
    let there = (Arc::clone(&front), Arc::clone(&back), Arc::clone(&askers), Arc::clone(&count));
    thread::spawn(move || {
        let (front, back, askers, count) = there;
        let mut buffer = [0; 4_096];
        while let Ok((octets, asker)) = front.recv_from(&mut buffer) {
            count.fetch_add(1, Ordering::Relaxed);
            let Some(query) = buffer.get(..octets) else { continue };
            if !is_below(query, &zone) {
                if let Some(reply) = upstream::answer(query, ELSEWHERE) {
                    let _lost = front.send_to(&reply, asker);
                }
                continue;
            }
            askers.lock().expect("the table").insert([buffer[0], buffer[1]], asker);
            let _lost = back.send(&buffer[..octets]);
        }
    });
    thread::spawn(move || {
        let mut buffer = [0; 4_096];
        while let Ok(octets) = back.recv(&mut buffer) {
            let asker = askers.lock().expect("the table").remove(&[buffer[0], buffer[1]]);
            if let Some(asker) = asker {
                let _lost = front.send_to(&buffer[..octets], asker);
            }
        }
    });
    count
}

fn is_below(query: &[u8], zone: &Name) -> bool {
    let message = Message::from_vec(query).expect("the daemon sends messages");
    message.queries.first().is_some_and(|query| zone.zone_of(query.name()))
}

#[test]
fn a_forwarding_loop_is_named_and_costs_nothing() {
    let (front, address) = upstream::silent();
    let mut daemon = Daemon::start(&config(&address.to_string(), "2s"));
    let relayed = relay(front, daemon.address());
    // Before it is found, a query of a client's fails too, and stops going round.
    let first = daemon.ask_udp("first.example.").expect("a reply");
    assert!(matches!(first.rcode(), ResponseCode::ServFail | ResponseCode::Refused));
    daemon.wait_for_log("forwarding loop");
    until("the loop is known to all who answer", || {
        let begin = Instant::now();
        daemon.ask_udp("second.example.").expect("a reply");
        (begin.elapsed() < FAST).then_some(())
    });
    let before = relayed.load(Ordering::Relaxed);
    for index in 0..ASKED {
        let begin = Instant::now();
        let reply = daemon.ask_udp(&format!("n{index}.example.")).expect("a reply");
        assert!(matches!(reply.rcode(), ResponseCode::ServFail | ResponseCode::Refused));
        assert!(begin.elapsed() < FAST, "{:?}", begin.elapsed());
    }
    let relayed = relayed.load(Ordering::Relaxed);
    assert!(relayed - before <= ASKED && relayed <= RELAYED, "{before}, then {relayed}");
    assert!(daemon.processor_time() < PROCESSOR_TIME, "{:?}", daemon.processor_time());
    daemon.assert_well();
}

#[test]
fn a_conditional_forwarder_to_us_loops_for_its_zone_alone() {
    let (front, address) = upstream::silent();
    let mut daemon = Daemon::start(&config(&address.to_string(), "2s"));
    let zone = Name::from_ascii(PUBLIC_ZONE).expect("a name");
    relay_below(zone, front, daemon.address());
    daemon.wait_for_log("forwarding loop: upstream");
    daemon.wait_for_log(&format!("for zone {} back", PUBLIC_ZONE.trim_end_matches('.')));
    let begin = Instant::now();
    let reply = daemon.ask_udp_for(PUBLIC_ZONE, RecordType::SOA).expect("a reply");
    assert_eq!(reply.rcode(), ResponseCode::ServFail);
    assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
    let reply = daemon.ask_udp("www.example.").expect("a reply");
    assert_eq!((reply.rcode(), reply.address()), (ResponseCode::NoError, Some(ELSEWHERE)));
    assert!(!daemon.log().contains("for zone . back"), "{}", daemon.log());
    daemon.assert_well();
}
