//! Many packets: broken ones, and good ones that nobody answers.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::daemon::{Daemon, PRIVATE, PRIVATE_ADDRESS, config, query, receive};
use super::process::until;
use super::upstream;

const DATAGRAMS: usize = 30_000;
const CONNECTIONS: usize = 300;
const MESSAGES_A_CONNECTION: usize = 20;
const MISSES: usize = 2_000;
/// Private names asked while the misses wait.
const ASKED: usize = 50;
/// What a private name may take meanwhile.
const AT_ONCE: Duration = Duration::from_millis(50);
/// How many of them may take longer, because the machine did something else.
const LATE: usize = 5;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }

    fn octet(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }

    /// A damaged query, or noise.
    fn packet(&mut self) -> Vec<u8> {
        if self.below(4) == 0 {
            return (0..self.below(600)).map(|_| self.octet()).collect();
        }
        let name = ["api", "x.api", "*"][self.below(3)];
        let zone = ["cloud.defender.microsoft.com.", "example.", "test."][self.below(3)];
        let mut packet = query(0, &format!("{name}.{zone}"));
        for _ in 0..=self.below(4) {
            let at = self.below(packet.len());
            match self.below(4) {
                0 => packet[at] ^= 1 << self.below(8),
                1 => packet[at] = self.octet(),
                2 => packet.insert(at, self.octet()),
                _ => packet.truncate(at.max(1)),
            }
        }
        packet
    }
}

#[test]
fn noise_over_udp_and_tcp_changes_nothing() {
    let mut daemon = Daemon::start(&config(&upstream::closed().to_string(), "300ms"));
    let pid = daemon.pid();
    let (socket, mut dice) = (daemon.udp(), Dice(7));
    for _ in 0..DATAGRAMS {
        // What does not fit into the daemon's buffer is lost, as it is on a network.
        let _lost = socket.send(&dice.packet());
    }
    // A question right behind the noise may find the daemon's buffer full.
    let asking = daemon.udp();
    asking.set_read_timeout(Some(Duration::from_millis(200))).expect("a time-out");
    until("the noise is worked off", || {
        asking.send(&query(3, PRIVATE)).expect("sent");
        receive(&asking)
    });
    daemon.assert_well();
    for _ in 0..CONNECTIONS {
        let mut stream = daemon.connect(Ipv4Addr::LOCALHOST);
        for _ in 0..MESSAGES_A_CONNECTION {
            let packet = dice.packet();
            let octets = u16::try_from(packet.len()).expect("short");
            // Now and then a length that is not the message's.
            let octets = if dice.below(10) == 0 { octets ^ 3 } else { octets };
            if stream.write_all(&[&octets.to_be_bytes(), &packet[..]].concat()).is_err() {
                // It hung up, as it may.
                break;
            }
        }
    }
    daemon.assert_well();
    assert_eq!(daemon.pid(), pid);
}

fn private_names_are_answered_while_misses_wait(upstream: SocketAddr) {
    let mut daemon = Daemon::start(&config(&upstream.to_string(), "2s"));
    let (misses, private) = (daemon.udp(), daemon.udp());
    let mut late = 0;
    for miss in 0..MISSES {
        let id = u16::try_from(miss).expect("few");
        misses.send(&query(id, &format!("n{miss}.example."))).expect("sent");
        if miss % (MISSES / ASKED) == 0 {
            let begin = Instant::now();
            private.send(&query(3, PRIVATE)).expect("sent");
            let reply = receive(&private).expect("a reply");
            assert_eq!(reply.address(), Some(PRIVATE_ADDRESS));
            late += usize::from(begin.elapsed() > AT_ONCE);
        }
    }
    assert!(late <= LATE, "{late} of {ASKED} private names took more than {AT_ONCE:?}");
    daemon.assert_well();
}

#[test]
fn private_names_are_answered_while_a_closed_port_is_asked() {
    private_names_are_answered_while_misses_wait(upstream::closed());
}

#[test]
fn private_names_are_answered_while_a_silent_upstream_is_asked() {
    let (_held, address) = upstream::silent();
    private_names_are_answered_while_misses_wait(address);
}
