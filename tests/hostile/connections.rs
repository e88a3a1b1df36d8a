//! One client that takes all the connections it gets.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use super::daemon::{Daemon, PRIVATE, PRIVATE_ADDRESS, config};
use super::process::until;
use super::upstream;

const OPENED: usize = 300;
const CAP: usize = 100;

#[test]
fn half_open_connections_of_one_client_are_its_own_trouble() {
    let text = config(&upstream::closed().to_string(), "300ms");
    let limits = format!("[limits]\ntcp-connections-per-client = {CAP}\ntcp-message = '60s'\n");
    let daemon = Daemon::start(&format!("{text}{limits}"));
    let greedy = Ipv4Addr::LOCALHOST;
    let mut streams: Vec<TcpStream> = (0..OPENED)
        .map(|_| {
            let mut stream = daemon.connect(greedy);
            // The first octet of a length; those over the cap may be gone by now.
            let _gone = stream.write_all(&[0]);
            stream.set_read_timeout(Some(Duration::from_millis(1))).expect("a time-out");
            stream
        })
        .collect();
    until("the connections over the cap are closed", || {
        streams.retain_mut(|stream| !is_closed(stream));
        (streams.len() <= CAP).then_some(())
    });
    assert_eq!(daemon.ask_udp(PRIVATE).expect("UDP").address(), Some(PRIVATE_ADDRESS));
    let other = Ipv4Addr::new(127, 0, 0, 2);
    let reply = daemon.ask_tcp_from(other, PRIVATE).expect("TCP of another client");
    assert_eq!(reply.address(), Some(PRIVATE_ADDRESS));
    // Those inside the cap are held, and give their places back.
    assert_eq!(streams.len(), CAP);
    drop(streams);
    until("the client may connect again", || daemon.ask_tcp(PRIVATE));
}

fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0]) {
        Ok(octets) => octets == 0,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}
