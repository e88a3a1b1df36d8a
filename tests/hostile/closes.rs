//! Upstreams that close connections after a few queries, and upstreams beside dead ones.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;

use super::closing::{self, ADDRESS};
use super::daemon::{Daemon, Reply, config, query};
use super::process::until;
use super::upstream;

/// Questions at a time: more than one connection takes, and as many as Azure lets a VM have pending.
const AT_ONCE: u16 = 200;

/// A server that takes so many queries on a connection; over UDP it says that there is more.
fn closing_after(queries: usize) -> SocketAddr {
    let (listener, socket) = upstream::tcp_and_udp();
    let address = socket.local_addr().expect("bound");
    closing::serve(listener, move |stream| closing::answer(stream, queries));
    thread::spawn(move || {
        let mut buffer = [0; 4_096];
        while let Ok((octets, client)) = socket.recv_from(&mut buffer) {
            let _lost = socket.send_to(&closing::reply(&buffer[..octets], true), client);
        }
    });
    address
}

/// Asks for so many names at once; gives the replies by id.
fn ask_at_once(daemon: &Daemon, round: &str) -> HashMap<u16, Reply> {
    let socket = daemon.udp();
    for id in 0..AT_ONCE {
        socket.send(&query(id, &format!("n{id}.{round}.example."))).expect("sent");
    }
    let mut replies = HashMap::new();
    let mut buffer = [0; 4_096];
    while replies.len() < usize::from(AT_ONCE) {
        let Ok(octets) = socket.recv(&mut buffer) else { break };
        let id = u16::from_be_bytes([buffer[0], buffer[1]]);
        replies.insert(id, Reply::read(&buffer[..octets]));
    }
    replies
}

#[test]
fn upstreams_that_close_after_a_few_queries_cost_no_answer() {
    for transport in ["", "tcp://"] {
        for limit in [1, 10, 100] {
            let upstream = format!("{transport}{}", closing_after(limit));
            // Far more than it takes, so that a busy machine makes no difference.
            let mut daemon = Daemon::start(&config(&upstream, "30s"));
            for round in ["a", "b"] {
                let replies = ask_at_once(&daemon, round);
                let right = replies.values().filter(|reply| reply.address() == Some(ADDRESS));
                assert_eq!(right.count(), usize::from(AT_ONCE), "{upstream} {limit} {round}");
            }
            // A machine that is too busy makes it silent; ends of connections are failed tries.
            assert!(!daemon.log().contains("tries in a row"), "{}", daemon.log());
            daemon.assert_well();
        }
    }
}

#[test]
fn a_dead_upstream_delays_no_verdict_of_a_live_one() {
    for rcode in [ResponseCode::ServFail, ResponseCode::Refused, ResponseCode::NotImp] {
        let live = upstream::silent();
        upstream::saying(live.0, move |query| {
            let mut reply = closing::reply(query, false);
            let end = reply.len() - 16;
            reply.truncate(end);
            reply[3] = 0x80 | u8::try_from(u16::from(rcode)).expect("four bits");
            reply[6..8].fill(0);
            vec![reply]
        });
        let (_silent, dead) = upstream::silent();
        let upstreams = format!("{}', '{dead}", live.1);
        for policy in ["ordered", "spread", "fastest"] {
            let policy_line = format!("policy = '{policy}'\ntimeout =");
            let text = config(&upstreams, "2s").replace("timeout =", &policy_line);
            let mut daemon = Daemon::start(&text);
            let mut number = 0;
            let mut ask = || {
                number += 1;
                let begun = Instant::now();
                let reply = daemon.ask_udp(&format!("n{number}.example.")).expect("a reply");
                assert_eq!(reply.rcode(), ResponseCode::ServFail, "{rcode} {policy}");
                begun.elapsed()
            };
            // It has to be learnt once.
            ask();
            until("the dead one is known", || daemon.log().contains("is down").then_some(()));
            // The fastest of some: this machine may be busy.
            let took = (0..20).map(|_| ask()).min().expect("some");
            assert!(took < Duration::from_millis(250), "{rcode} {policy}: {took:?}");
            daemon.assert_well();
        }
    }
}
