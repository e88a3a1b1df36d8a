//! Forwarding loops: who sends back to us what we ask.
//!
//! Where the daemon runs, it has looked itself, and is asked. Where it does not, its addresses are
//! free, and we listen there for a moment for questions that nobody else asks.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use super::finding::Finding;
use crate::admin;
use crate::engine::{Ask, Step, question_message};
use crate::wire::{Name, Query, Question, Rcode, Rtype};

/// How long a question may take to come back, over whatever resolvers; they answer within it too.
const RETURN: Duration = Duration::from_millis(1_500);
/// How a probe's label begins, and how many octets of hexadecimal digits follow.
const LABEL: &str = "_doctor-";
/// A type for private use (RFC 6895 §3.1): what is asked with it is in no cache.
const NOBODYS_TYPE: Rtype = Rtype(65_280);
/// For the running daemon's explanations, all together.
const DAEMON: Duration = Duration::from_secs(3);

/// A server that sends questions below a zone back to us.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Loop {
    pub(super) server: String,
    pub(super) zone: Name,
    /// Who brought them, where that is known.
    pub(super) from: Option<IpAddr>,
}

impl Loop {
    pub(super) fn finding(&self) -> Finding {
        let Self { server, zone, from } = self;
        let from = from.map_or_else(String::new, |ip| format!(" (they come from {ip})"));
        let found = format!(
            "sends our queries for {zone} back to us{from}: names that are neither ours nor kept fail"
        );
        Finding::problem("loop", format!("upstream {server}"), found)
            .advise(format!(
                "a rule of its own for that zone, with servers that do not forward here: [[forward]] \
                 zones = [\"{zone}\"]"
            ))
            .advise(format!("or remove what forwards {zone} from {server} to this host"))
    }
}

/// The resolver that clients ask is asked by us too.
pub(super) fn mutual(via: SocketAddr, zones: &str, sends_ours: bool) -> Finding {
    let about = format!("resolver {via} and the rule for {zones}");
    if sends_ours {
        let found = "it forwards to us, and we forward to it names of the zones that it sends here \
                     (unlisted = \"forward\"): those go round in a circle and fail";
        return Finding::problem("loop-mutual", about, found)
            .advise("write a [[forward]] rule for those public zones, to servers outside: 168.63.129.16, or what that resolver itself asks");
    }
    let found = "it forwards to us, and we forward to it: only what lies outside the private-link \
                 zones comes back answered";
    Finding::warning("loop-mutual", about, found)
        .advise("better name in upstreams what that resolver itself asks")
}

/// A question for a server, and the zone that it is below.
pub(super) struct Probe {
    pub(super) server: String,
    pub(super) address: SocketAddr,
    pub(super) zone: Name,
}

/// Sends all probes, and listens at the free addresses of `listen` for those that come back.
/// Repeats a returned probe under another name. If that one comes back too, the upstream loops. One
/// return proves nothing: other servers know the name, and may ask for it for reasons of their own.
pub(super) fn listen_for(probes: Vec<Probe>, listen: &[SocketAddr]) -> Vec<Loop> {
    let sockets: Vec<_> =
        listen.iter().filter_map(|address| UdpSocket::bind(address).ok()).collect();
    if sockets.is_empty() || probes.is_empty() {
        return Vec::new();
    }
    let (told, tell) = channel();
    let end = Instant::now() + RETURN;
    for socket in sockets {
        let told = told.clone();
        let _refused = thread::Builder::new().spawn(move || {
            hear(&socket, end, |label, from| {
                let _nobody = told.send((label, from));
            });
        });
    }
    drop(told);
    let mut under_way = HashMap::new();
    for probe in probes {
        if let Some(label) = send(&probe) {
            under_way.insert(label, (probe, Turn::First));
        }
    }
    let mut loops: Vec<Loop> = Vec::new();
    // Ends when all have ended who hear.
    while let Ok((label, from)) = tell.recv() {
        match under_way.remove(&label) {
            Some((probe, Turn::First)) => {
                if let Some(label) = send(&probe) {
                    under_way.insert(label, (probe, Turn::Second));
                }
            }
            Some((Probe { server, zone, .. }, Turn::Second)) => {
                loops.push(Loop { server, zone, from: Some(from) });
            }
            None => {}
        }
        if under_way.is_empty() {
            break;
        }
    }
    loops.sort_by(|one, other| (&one.server, &one.zone).cmp(&(&other.server, &other.zone)));
    loops
}

/// Which of a probe's two names is under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Turn {
    First,
    Second,
}

/// Sends the probe under a new name and returns its label. Does not wait for the reply.
fn send(probe: &Probe) -> Option<String> {
    let label = format!("{LABEL}{:016x}", rand::random::<u64>());
    let name = label.parse::<Name>().ok()?.under(&probe.zone).ok()?;
    let message = question_message(rand::random(), &Question::plain(name, Rtype::TXT), true);
    let any: IpAddr = if probe.address.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.send_to(&message, probe.address).ok().map(|_| label)
}

/// Tells of every probe's label, and refuses all that comes, so that nobody waits for us.
fn hear(socket: &UdpSocket, end: Instant, mut tell: impl FnMut(String, IpAddr)) {
    let mut buffer = [0; 512];
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()) {
        if socket.set_read_timeout(Some(left)).is_err() {
            return;
        }
        let Ok((octets, from)) = socket.recv_from(&mut buffer) else { continue };
        let Some(message) = buffer.get_mut(..octets) else { continue };
        let Ok(query) = Query::parse(message) else { continue };
        let name = query.to_question().qname;
        let label = name.labels().next().map(|label| String::from_utf8_lossy(label).into_owned());
        if let Some(label) = label.filter(|label| label.starts_with(LABEL)) {
            tell(label, from.ip());
        }
        if let [_, _, first, second, ..] = message {
            *first |= 0x80;
            *second = u8::try_from(Rcode::REFUSED.0).unwrap_or(0);
        }
        let _lost = socket.send_to(message, from);
    }
}

/// Asks the running daemon who sends its queries for `zones` back.
///
/// # Errors
/// It does not say.
pub(super) fn ask_daemon(address: SocketAddr, zones: Vec<Name>) -> Result<Vec<Loop>, String> {
    let (told, tell) = channel();
    let asked = thread::Builder::new().spawn(move || {
        let _nobody = told.send(ask_each(address, zones));
    });
    asked.map_err(|error| error.to_string())?;
    tell.recv_timeout(DAEMON).unwrap_or_else(|_| Err(format!("no reply within {DAEMON:?}")))
}

fn ask_each(address: SocketAddr, zones: Vec<Name>) -> Result<Vec<Loop>, String> {
    let mut loops: Vec<Loop> = Vec::new();
    for zone in zones {
        let ask = Ask {
            name: zone.clone(),
            rtype: NOBODYS_TYPE,
            client: Ipv4Addr::LOCALHOST.into(),
            dnssec: false,
        };
        let explanation = admin::explain(address, &ask).map_err(|error| error.to_string())?;
        let upstreams = explanation.steps.into_iter().filter_map(|step| match step {
            Step::Rule { upstreams, .. } => Some(upstreams),
            _ => None,
        });
        let looping = upstreams.flatten().filter(|upstream| upstream.looping);
        loops.extend(looping.map(|upstream| Loop {
            server: upstream.report.address,
            zone: zone.clone(),
            from: None,
        }));
    }
    Ok(loops)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends the first `most` queries to `to`, and nothing back.
    fn relay(to: SocketAddr, most: usize) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 512];
            let mut left = most;
            while let Ok((octets, _)) = socket.recv_from(&mut buffer) {
                // What is refused comes here too.
                if buffer[2] & 0x80 == 0 && left > 0 {
                    left -= 1;
                    let _gone = socket.send_to(&buffer[..octets], to);
                }
            }
        });
        address
    }

    #[test]
    fn what_comes_back_is_a_loop_and_silence_is_none() {
        let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let zone: Name = "cloud.defender.microsoft.com".parse().unwrap();
        let probe = |server: &str, address| Probe {
            server: server.to_owned(),
            address,
            zone: zone.clone(),
        };
        let probes = vec![
            probe("silent", silent.local_addr().unwrap()),
            probe("overheard", relay(free, 1)),
            probe("looping", relay(free, 2)),
        ];
        let loops = listen_for(probes, &[free]);
        let expected =
            Loop { server: "looping".to_owned(), zone, from: Some("127.0.0.1".parse().unwrap()) };
        assert_eq!(loops, [expected]);
        let found = loops[0].finding();
        assert!(found.found.contains("for cloud.defender.microsoft.com back"), "{}", found.found);
    }

    #[test]
    fn nobody_listens_where_somebody_is() {
        let theirs = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = theirs.local_addr().unwrap();
        let begun = Instant::now();
        let probe = Probe { server: String::new(), address, zone: Name::root() };
        assert_eq!(listen_for(vec![probe], &[address]), []);
        assert!(begun.elapsed() < RETURN, "nothing to wait for");
    }

    #[test]
    fn a_circle_fails_only_where_names_of_ours_are_forwarded() {
        use crate::doctor::Severity;
        let via = "10.0.0.1:53".parse().unwrap();
        assert_eq!(mutual(via, ".", true).severity, Severity::Problem);
        assert_eq!(mutual(via, ".", false).severity, Severity::Warning);
    }
}
