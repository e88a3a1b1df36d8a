//! The addresses that the configuration listens on: free, ours already, or taken, and by whom.

mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::finding::Finding;
use super::seen::{Outcome, in_words, list};
use crate::sys::{self, BindError, Refusal, ScopedAddress, Transport};
use table::Program;

/// How the kernel calls us.
const OURSELVES: &str = "privatelinkd";

/// One address, as it was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Port {
    pub(super) address: ScopedAddress,
    pub(super) state: State,
}

/// What the kernel says to who would listen there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// It can be had.
    Free,
    /// Somebody is there; who, as far as we may know.
    Taken(Vec<Holder>),
    /// Not with our rights. The first port that needs none.
    Denied(u16),
    /// It is no address of this host, or of no family that it speaks; in these words.
    Impossible(String),
    /// This host has no interface of its name or number; in these words.
    NoInterface(String),
}

/// Who listens.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Holder {
    pub(super) address: SocketAddr,
    pub(super) user: u32,
    pub(super) program: Option<Program>,
    pub(super) transports: Transports,
}

/// Over which transports somebody listens.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub(super) struct Transports {
    pub(super) udp: bool,
    pub(super) tcp: bool,
}

/// Tries to listen there, for a moment, with `listen.freebind` as configured.
pub(super) fn look(address: &ScopedAddress, freebind: bool) -> Port {
    let holders = || holders(SocketAddr::new(address.ip(), address.port()));
    let state = match sys::bind(std::slice::from_ref(address), 1, freebind) {
        Ok(_) => State::Free,
        Err(BindError { refusal: Refusal::InUse(_), .. }) => State::Taken(holders()),
        Err(BindError { refusal: Refusal::Denied(_), .. }) => match holders() {
            // The kernel looks at rights first.
            holders if holders.is_empty() => State::Denied(sys::first_unprivileged_port()),
            holders => State::Taken(holders),
        },
        Err(BindError { refusal: refusal @ Refusal::NoInterface, .. }) => {
            State::NoInterface(refusal.to_string())
        }
        Err(BindError { refusal, .. }) => State::Impossible(refusal.to_string()),
    };
    Port { address: address.clone(), state }
}

fn holders(address: SocketAddr) -> Vec<Holder> {
    let mut waiting = table::waiting();
    waiting.retain(|socket| table::is_in_the_way(socket.address, address));
    let inodes: Vec<_> = waiting.iter().map(|socket| socket.inode).collect();
    let programs = table::programs(&inodes);
    let mut holders: Vec<Holder> = Vec::new();
    for socket in waiting {
        let program = programs.get(&socket.inode).cloned();
        let same = holders
            .iter_mut()
            .find(|holder| holder.address == socket.address && holder.program == program);
        let transports = match same {
            Some(holder) => &mut holder.transports,
            None => {
                let transports = Transports::default();
                let (address, user) = (socket.address, socket.user);
                holders.push(Holder { address, user, program, transports });
                match holders.last_mut() {
                    Some(last) => &mut last.transports,
                    None => continue,
                }
            }
        };
        match socket.transport {
            Transport::Udp => transports.udp = true,
            Transport::Tcp => transports.tcp = true,
        }
    }
    holders.sort_unstable();
    holders
}

impl Port {
    /// Whether privatelinkd listens there: by its name, or by its answer to a private name.
    pub(super) fn is_ours(&self, answer: Option<&Answered>) -> bool {
        let State::Taken(holders) = &self.state else { return false };
        let is_us = |holder: &Holder| holder.program.as_ref().is_some_and(|p| p.name == OURSELVES);
        let is_known = |answer: &Answered| answer.is_right() || answer.is_standby();
        holders.iter().any(is_us) || answer.is_some_and(is_known)
    }

    /// What that means; `answer` is what was said there to a private name.
    pub(super) fn finding(&self, answer: Option<&Answered>) -> Finding {
        let about = format!("listen address {}", self.address);
        match &self.state {
            State::Free => Finding::fine(
                "port",
                about,
                "free for UDP and TCP; no privatelinkd listens there now",
            ),
            State::Impossible(why) => Finding::problem("port-impossible", about, why)
                .advise("ip address show")
                .advise("write addresses of this host, or 0.0.0.0 and [::], into [listen] dns")
                .advise("for one that comes later (VRRP, a tunnel): freebind = true in [listen]"),
            State::NoInterface(why) => {
                Finding::problem("port-impossible", about, why).advise("ip link show")
            }
            State::Denied(start) => self.denied(about, *start),
            State::Taken(holders) if self.is_ours(answer) => self.ours(about, holders, answer),
            State::Taken(holders) => self.taken(about, holders),
        }
    }

    fn denied(&self, about: String, start: u16) -> Finding {
        let port = self.address.port();
        let found = format!(
            "ports below {start} need the capability CAP_NET_BIND_SERVICE, which this user and \
             program have not; free otherwise"
        );
        Finding::problem("port-denied", about, found)
            .advise(
                "the packaged unit gives it: systemctl start privatelinkd (a unit of your own: \
                 AmbientCapabilities=CAP_NET_BIND_SERVICE)",
            )
            .advise("setcap cap_net_bind_service=+ep /usr/bin/privatelinkd")
            .advise(format!("sysctl net.ipv4.ip_unprivileged_port_start={port}"))
            .advise("or a port above it, such as 5300, where who forwards here can name a port")
    }

    fn ours(&self, about: String, holders: &[Holder], answer: Option<&Answered>) -> Finding {
        let who = holders.iter().find_map(|holder| holder.program.as_ref());
        let who = who.map_or_else(String::new, |program| format!(" (process {})", program.id));
        match answer {
            Some(answer) if !answer.is_right() && answer.is_standby() => {
                let Answered { name, outcome, expected, .. } = answer;
                let found = format!(
                    "privatelinkd is there{who}, and says {} of {name}, where this file says {} \
                     while all is up: its probes have found an endpoint down",
                    in_words(outcome),
                    list(expected)
                );
                Finding::warning("endpoint-down", about, found)
                    .advise(format!("see which: privatelinkd explain {name} --live"))
                    .advise("journalctl -u privatelinkd says since when, and why")
            }
            Some(answer) if !answer.is_right() => {
                let Answered { name, outcome, expected, .. } = answer;
                let found = format!(
                    "privatelinkd is there{who}, and says {} of {name}, where this file says {}",
                    in_words(outcome),
                    list(expected)
                );
                Finding::problem("daemon-differs", about, found)
                    .advise(
                        "it may run with what the file was before: systemctl reload privatelinkd",
                    )
                    .advise("journalctl -u privatelinkd -n 20 says why a reload was refused")
            }
            Some(Answered { name, .. }) => {
                let found = format!("privatelinkd is there{who}, and answers {name} by this file");
                Finding::fine("port", about, found)
            }
            None => Finding::fine("port", about, format!("privatelinkd is there{who}")),
        }
    }

    fn taken(&self, about: String, holders: &[Holder]) -> Finding {
        let port = self.address.port();
        if holders.is_empty() {
            let found = "taken, by whom cannot be seen (another network namespace shares it, or the \
                 program has just gone)";
            return Finding::problem("port-taken", about, found)
                .advise(format!("ss -lntup 'sport = :{port}'"));
        }
        let named: Vec<_> = holders.iter().map(Holder::in_words).collect();
        let mut finding =
            Finding::problem("port-taken", about, format!("taken by {}", named.join(", and ")));
        if holders.iter().all(|holder| holder.program.is_none()) {
            finding = finding.advise("as root, this command names the program");
        }
        let remedies: BTreeSet<_> = holders.iter().map(|holder| self.remedy(holder)).collect();
        finding.advise_all(remedies.into_iter().flatten())
    }

    fn remedy(&self, holder: &Holder) -> Vec<String> {
        let host = "[listen] dns = [\"<this host's own address>:53\", \"127.0.0.1:53\"]";
        let line = |text: &str| text.to_owned();
        let name = holder.program.as_ref().map(|program| program.name.as_str());
        match name {
            Some(name) if name.starts_with("systemd-resolve") => vec![
                format!("either leave it its own address and write {host}"),
                line(
                    "or mkdir -p /etc/systemd/resolved.conf.d && printf '[Resolve]\\nDNSStubListener=no\\n' > /etc/systemd/resolved.conf.d/no-stub.conf && systemctl restart systemd-resolved",
                ),
            ],
            Some("dnsmasq") => vec![
                format!(
                    "either keep it to its own address (bind-interfaces, listen-address=…; libvirt's \
                     and others' have theirs already) and write {host}"
                ),
                line("or turn its DNS off, DHCP stays: port=0 in /etc/dnsmasq.conf"),
            ],
            Some("named") => vec![format!(
                "either listen-on {{ 127.0.0.1; }}; in its options and {host}; or systemctl disable \
                 --now named"
            )],
            Some("unbound") => vec![format!(
                "either interface: 127.0.0.1 in its server: clause and {host}; or systemctl disable \
                 --now unbound"
            )],
            Some(OURSELVES) => vec![line("systemctl stop privatelinkd")],
            _ => {
                let unit = holder.program.as_ref().and_then(|program| program.unit.clone());
                let port = self.address.port();
                let stop = unit.map_or_else(
                    || format!("see who it is: ss -lntup 'sport = :{port}'"),
                    |unit| format!("systemctl disable --now {unit}"),
                );
                vec![format!("{stop}; or give privatelinkd another address or port")]
            }
        }
    }
}

impl Holder {
    fn in_words(&self) -> String {
        let over = match self.transports {
            Transports { udp: true, tcp: true } => "UDP and TCP",
            Transports { udp: true, .. } => "UDP",
            _ => "TCP",
        };
        let who = match &self.program {
            Some(Program { id, name, .. }) => format!("{name} (process {id})"),
            None => format!("a program of user {}", self.user),
        };
        format!("{who} on {} ({over})", self.address)
    }
}

/// What was said at an address to a private name, and what this file says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Answered {
    pub(super) name: String,
    pub(super) outcome: Outcome,
    pub(super) expected: Vec<IpAddr>,
    /// What may take its place while an endpoint is down.
    pub(super) standby: Vec<IpAddr>,
}

impl Answered {
    fn is_standby(&self) -> bool {
        self.outcome.as_ref().is_ok_and(|seen| seen.is_among(&self.standby))
    }

    fn is_right(&self) -> bool {
        self.outcome.as_ref().is_ok_and(|seen| seen.addresses == self.expected)
    }
}
