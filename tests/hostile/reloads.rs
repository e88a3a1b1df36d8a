//! Changes under the running daemon, and its end.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use hickory_proto::op::ResponseCode;

use super::daemon::{Daemon, PRIVATE, PRIVATE_ADDRESS, config, config_of_names, query, receive};
use super::load::Load;
use super::process::{PATIENCE, until};
use super::temporary::File;
use super::upstream;

/// Listed names of a large configuration.
const MANY_NAMES: usize = 100_000;
/// A public name whose upstream takes a second, and the private name that its chain leads to.
const LATE: &str = "late.example.";
const PRIVATE_TARGET: &str = "api.privatelink.cloud.defender.microsoft.com.";

#[test]
fn a_bad_file_changes_nothing_and_a_good_one_the_answer() {
    let good = config(&upstream::closed().to_string(), "300ms");
    let mut daemon = Daemon::start(&good);
    daemon.write_config(&good.replace("'hub'", "'hub'\nport = 53"));
    daemon.signal("-HUP");
    daemon.wait_for_log("not reloaded");
    assert!(daemon.log().contains("port"), "no reason: {}", daemon.log());
    daemon.assert_well();
    daemon.write_config(&good.replace("10.1.0.5", "10.1.0.50"));
    daemon.signal("-HUP");
    until("the new address", || {
        let address = daemon.ask_udp(PRIVATE).expect("a reply").address();
        (address == Some(Ipv4Addr::new(10, 1, 0, 50))).then_some(())
    });
    // An unmet expectation is no better than a bad file.
    let expect =
        format!("[[expect]]\nclient = '127.0.0.1'\nquery = '{PRIVATE} A'\nanswer = ['10.9.9.9']\n");
    daemon.write_config(&format!("{good}{expect}"));
    daemon.signal("-HUP");
    daemon.wait_for_log("expect:");
    let address = daemon.ask_udp(PRIVATE).expect("a reply").address();
    assert_eq!(address, Some(Ipv4Addr::new(10, 1, 0, 50)));
}

/// How long it takes is measured by `cargo bench --bench reload`; here it counts that nobody
/// notices.
#[test]
fn nothing_is_lost_while_100_000_names_come_and_go() {
    let upstream = upstream::closed().to_string();
    let daemon = Daemon::start(&config(&upstream, "300ms"));
    let load = Load::start(&daemon);
    for (names, last) in [(MANY_NAMES, 50), (0, 51)] {
        daemon.write_config(&config_of_names(&upstream, names, last));
        daemon.signal("-HUP");
        until("the new address", || {
            let address = daemon.ask_udp(PRIVATE).expect("a reply").address();
            (address == Some(Ipv4Addr::new(10, 1, 0, last))).then_some(())
        });
    }
    let tally = load.stop();
    assert_eq!((tally.lost, tally.wrong), (0, 0), "{tally:?}");
    assert!(tally.asked > 0 && !daemon.log().contains("panic"), "{}", daemon.log());
}

/// A client of the old configuration waits for a chain that leads into a zone of ours. A client of the
/// new one, which has no such zone, must not get that answer: it is cut where the zone was.
#[test]
fn a_question_under_way_is_not_joined_once_other_names_are_private() {
    let (socket, address) = upstream::silent();
    let public = Ipv4Addr::new(203, 0, 113, 66);
    let (tell, told) = channel();
    upstream::saying(socket, move |query| {
        let mut reply = upstream::answer(query, public).expect("the daemon sends messages");
        if query[13..17].eq_ignore_ascii_case(b"late") {
            let _ended = tell.send(());
            thread::sleep(Duration::from_secs(1));
            let chain = (LATE.parse().expect("a name"), PRIVATE_TARGET.parse().expect("a name"));
            reply = upstream::chain(&reply, chain);
        }
        vec![reply]
    });
    let with_zone = config(&address.to_string(), "5s");
    let daemon = Daemon::start(&with_zone);
    let first = daemon.udp();
    first.send(&query(1, LATE)).expect("sent");
    told.recv_timeout(PATIENCE).expect("the upstream is asked");
    let zone = with_zone.find("[[private-link]]").expect("there")
        ..with_zone.find("[[forward]]").expect("there");
    daemon.write_config(&with_zone.replace(&with_zone[zone], ""));
    daemon.signal("-HUP");
    daemon.wait_for_log("reloaded");
    let second = daemon.udp();
    second.send(&query(2, LATE)).expect("sent");
    let reply = receive(&first).expect("a reply");
    assert_eq!(reply.address(), Some(PRIVATE_ADDRESS), "the old configuration's answer");
    let reply = receive(&second).expect("a reply");
    assert_eq!((reply.rcode(), reply.address()), (ResponseCode::NoError, Some(public)));
}

#[test]
fn a_stop_waits_for_those_who_wait() {
    let (socket, address) = upstream::silent();
    let public = Ipv4Addr::new(203, 0, 113, 7);
    let arrived = upstream::answering(socket, public, Duration::from_millis(300));
    let mut daemon = Daemon::start(&config(&address.to_string(), "5s"));
    // The loop probe of the start comes first.
    arrived.recv_timeout(PATIENCE).expect("the upstream is probed");
    let client = daemon.udp();
    client.send(&query(9, "late.example.")).expect("sent");
    arrived.recv_timeout(PATIENCE).expect("the upstream is asked");
    daemon.signal("-TERM");
    let reply = receive(&client).expect("the answer, in spite of the stop");
    assert_eq!((reply.rcode(), reply.address()), (ResponseCode::NoError, Some(public)));
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
}

#[test]
#[allow(clippy::print_stderr, reason = "says what was not tested")]
fn a_resolv_conf_that_changes_is_followed() {
    // The port of a resolv.conf is always 53.
    let addresses = [Ipv4Addr::new(127, 77, 53, 1), Ipv4Addr::new(127, 77, 53, 2)];
    let mut receivers = Vec::new();
    for (index, address) in addresses.into_iter().enumerate() {
        let Ok(socket) = UdpSocket::bind((address, 53)) else {
            eprintln!("not seen here: only who may bind port 53 can be a resolv.conf's server");
            return;
        };
        let last = u8::try_from(index).expect("two");
        let answer = Ipv4Addr::new(203, 0, 113, last);
        receivers.push(upstream::answering(socket, answer, Duration::ZERO));
    }
    let name_server = |address: Ipv4Addr| format!("nameserver {address}\n");
    let file = File::new(&name_server(addresses[0]));
    let upstream = format!("resolv.conf:{}", file.path().display());
    let mut daemon = Daemon::start(&config(&upstream, "2s"));
    let address = |daemon: &Daemon| daemon.ask_udp("www.example.").expect("a reply").address();
    assert_eq!(address(&daemon), Some(Ipv4Addr::new(203, 0, 113, 0)));
    file.write(&name_server(addresses[1]));
    until("the second name server's answer", || {
        (address(&daemon) == Some(Ipv4Addr::new(203, 0, 113, 1))).then_some(())
    });
    // A file that is gone changes nothing, across a reload either.
    std::fs::remove_file(file.path()).expect("removed");
    daemon.signal("-HUP");
    daemon.wait_for_log("reloaded");
    let reply = daemon.ask_udp("other.example.").expect("a reply");
    assert_eq!(reply.address(), Some(Ipv4Addr::new(203, 0, 113, 1)));
    daemon.assert_well();
}
