//! Upstreams that send queries back, and hosts that only make it look so.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
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

/// What the stranger asks for and hears: less than a probe waits.
const OVERHEARD: Duration = Duration::from_millis(300);

/// Sends to the daemon what the daemon sends to it, and back, over UDP and TCP; counts.
fn relay(front: (TcpListener, UdpSocket), daemon: SocketAddr) -> Arc<AtomicUsize> {
    relay_below(Name::root(), front, daemon)
}

/// The same for names below `zone`; answers others with [`ELSEWHERE`].
pub(crate) fn relay_below(
    zone: Name,
    (listener, front): (TcpListener, UdpSocket),
    daemon: SocketAddr,
) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let back = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    back.connect(daemon).expect("connected");
    relay_connections(listener, zone.clone(), daemon);
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

/// The TCP half.
fn relay_connections(listener: TcpListener, zone: Name, daemon: SocketAddr) {
    serve_connections(listener, move |query| {
        if !is_below(query, &zone) {
            return upstream::answer(query, ELSEWHERE);
        }
        let mut there = TcpStream::connect(daemon).ok()?;
        there.write_all(&framed(query)).ok()?;
        read_frame(&mut there)
    });
}

/// Answers each query over TCP by `says`.
fn serve_connections(
    listener: TcpListener,
    says: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + 'static,
) {
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            while let Some(query) = read_frame(&mut stream) {
                let Some(reply) = says(&query) else { break };
                let _lost = stream.write_all(&framed(&reply));
            }
        }
    });
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).expect("short").to_be_bytes();
    [&length, message].concat()
}

fn read_frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).ok()?;
    Some(message)
}

/// How the stranger brings a probe to the daemon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum By {
    Udp,
    Tcp,
}

/// An upstream that answers all names with [`ELSEWHERE`], over UDP and, where `has_tcp`, over TCP.
/// A stranger at `from` reads its queries along and sends each probe to the daemon, whose address
/// comes later, before the upstream replies. Tells of each probe whether the daemon answered it.
fn overheard(
    (listener, front): (TcpListener, UdpSocket),
    has_tcp: bool,
    (from, by): (Ipv4Addr, By),
    daemon: Arc<Mutex<Option<SocketAddr>>>,
) -> Receiver<bool> {
    let (tell, told) = channel();
    let (also_tell, at) = (tell.clone(), Arc::clone(&daemon));
    if has_tcp {
        serve_connections(listener, move |query| {
            replay(query, (from, by), &at, &also_tell);
            upstream::answer(query, ELSEWHERE)
        });
    }
    thread::spawn(move || {
        let mut buffer = [0; 4_096];
        while let Ok((octets, client)) = front.recv_from(&mut buffer) {
            let query = &buffer[..octets];
            replay(query, (from, by), &daemon, &tell);
            let Some(reply) = upstream::answer(query, ELSEWHERE) else { continue };
            let _lost = front.send_to(&reply, client);
        }
    });
    told
}

fn replay(
    query: &[u8],
    (from, by): (Ipv4Addr, By),
    daemon: &Mutex<Option<SocketAddr>>,
    tell: &std::sync::mpsc::Sender<bool>,
) {
    if !query.windows(6).any(|part| part.eq_ignore_ascii_case(b"_loop-")) {
        return;
    }
    let daemon = until("the daemon's address is known", || *daemon.lock().expect("it"));
    let is_answered = match by {
        By::Udp => {
            let socket = UdpSocket::bind((from, 0)).expect("a socket");
            socket.set_read_timeout(Some(OVERHEARD)).expect("a time-out");
            socket.send_to(query, daemon).expect("sent");
            socket.recv(&mut [0; 512]).is_ok()
        }
        By::Tcp => {
            let mut stream = TcpStream::connect(daemon).expect("connected");
            stream.write_all(&framed(query)).expect("sent");
            read_frame(&mut stream).is_some()
        }
    };
    let _nobody = tell.send(is_answered);
}

/// A daemon whose only upstream has that stranger.
fn daemon_overheard(access: &str, has_tcp: bool, who: (Ipv4Addr, By)) -> (Daemon, Receiver<bool>) {
    let front = upstream::tcp_and_udp();
    let address = front.1.local_addr().expect("bound");
    let at = Arc::default();
    let told = overheard(front, has_tcp, who, Arc::clone(&at));
    let config = config(&address.to_string(), "2s");
    let daemon = Daemon::start(&format!("{config}[access]\n{access}\n"));
    *at.lock().expect("it") = Some(daemon.address());
    (daemon, told)
}

fn assert_forwards(daemon: &Daemon) {
    for name in ["www.example.", PUBLIC_ZONE] {
        let reply = daemon.ask_udp(name).expect("a reply");
        let expected = (ResponseCode::NoError, Some(ELSEWHERE));
        assert_eq!((reply.rcode(), reply.address()), expected, "{name}: {}", daemon.log());
    }
}

fn is_below(query: &[u8], zone: &Name) -> bool {
    let message = Message::from_vec(query).expect("the daemon sends messages");
    message.queries.first().is_some_and(|query| zone.zone_of(query.name()))
}

#[test]
fn a_forwarding_loop_is_named_and_costs_nothing() {
    let front = upstream::tcp_and_udp();
    let address = front.1.local_addr().expect("bound");
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
    let front = upstream::tcp_and_udp();
    let address = front.1.local_addr().expect("bound");
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

/// Of the zones that are probed: the root, and the public and private zone of the service.
const ZONES: usize = 3;

#[test]
fn a_stranger_who_reads_every_probe_cannot_take_the_only_upstream_away() {
    let allowed = "allow = ['127.0.0.0/8']";
    let stranger = Ipv4Addr::new(127, 0, 0, 9);
    for by in [By::Udp, By::Tcp] {
        // The upstream's TCP is closed: nothing refutes the stranger.
        let (mut daemon, told) = daemon_overheard(allowed, false, (stranger, by));
        until("all zones seem to loop", || {
            let count = daemon.log().matches("seems to send our queries").count();
            (count == ZONES).then_some(())
        });
        assert_eq!(told.iter().take(2 * ZONES).collect::<Vec<_>>(), [true; 2 * ZONES]);
        assert_forwards(&daemon);
        daemon.assert_well();
        // Its TCP is open: the third probe refutes the stranger.
        let (mut daemon, told) = daemon_overheard(allowed, true, (stranger, by));
        assert_eq!(told.iter().take(3 * ZONES).collect::<Vec<_>>(), [true; 3 * ZONES]);
        assert_forwards(&daemon);
        assert!(!daemon.log().contains("forwarding loop"), "{}", daemon.log());
        daemon.assert_well();
    }
}

#[test]
fn a_stranger_outside_access_gets_no_answer_and_marks_nothing() {
    let stranger = (Ipv4Addr::new(127, 0, 0, 9), By::Udp);
    for (refused, is_answered) in [("drop", false), ("answer", true)] {
        let access = format!("allow = ['127.0.0.1']\nrefused = '{refused}'");
        let (mut daemon, told) = daemon_overheard(&access, true, stranger);
        assert_eq!(told.iter().take(ZONES).collect::<Vec<_>>(), [is_answered; ZONES]);
        assert_forwards(&daemon);
        assert!(told.try_recv().is_err(), "a second probe: {}", daemon.log());
        assert!(!daemon.log().contains("forwarding loop"), "{}", daemon.log());
        daemon.assert_well();
    }
}

#[test]
fn a_probe_that_ended_is_a_name_like_others() {
    let (front, address) = upstream::silent();
    let (tell, told) = channel();
    upstream::saying(front, move |query| {
        let _nobody = tell.send(query.to_vec());
        upstream::answer(query, ELSEWHERE).into_iter().collect()
    });
    let daemon = Daemon::start(&config(&address.to_string(), "2s"));
    let is_root_probe =
        |query: &Vec<u8>| query.windows(7).any(|part| part.eq_ignore_ascii_case(b"&_loop-"));
    let probe = told.iter().find(is_root_probe).expect("a probe");
    let name = Message::from_vec(&probe).expect("a query").queries[0].name().to_string();
    // The probe has had its reply by the time that this is answered.
    daemon.ask_udp("www.example.").expect("a reply");
    let reply = until("its number is worth nothing", || {
        daemon.ask_udp(&name).filter(|reply| reply.rcode() == ResponseCode::NoError)
    });
    assert_eq!(reply.address(), Some(ELSEWHERE));
}
