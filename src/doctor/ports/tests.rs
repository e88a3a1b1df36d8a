//! What the kernel says, and what it means.

use super::*;
use crate::doctor::Severity;
use crate::doctor::seen::{Seen, Silence};

fn holder(address: &str, name: &str, unit: Option<&str>) -> Holder {
    Holder {
        address: address.parse().unwrap(),
        user: 101,
        program: (!name.is_empty()).then(|| Program {
            id: 42,
            name: name.to_owned(),
            unit: unit.map(str::to_owned),
        }),
        transports: Transports { udp: true, tcp: true },
    }
}

fn taken(holders: &[Holder]) -> Port {
    Port { address: "0.0.0.0:53".parse().unwrap(), state: State::Taken(holders.to_vec()) }
}

fn told(port: &Port) -> (Severity, String, String) {
    let finding = port.finding(None);
    (finding.severity, finding.found, finding.advice.join("\n"))
}

fn answered(outcome: Outcome) -> Answered {
    let name = "api.cloud.defender.microsoft.com".to_owned();
    let expected = vec!["10.1.0.5".parse().unwrap()];
    Answered { name, outcome, expected, standby: Vec::new() }
}

fn address(text: &str) -> Outcome {
    Ok(Seen { addresses: vec![text.parse().unwrap()], ..Seen::default() })
}

#[test]
fn known_programs_have_their_own_remedies() {
    for (name, remedy) in [
        ("systemd-resolve", "DNSStubListener=no"),
        ("dnsmasq", "port=0"),
        ("named", "listen-on"),
        ("unbound", "interface: 127.0.0.1"),
    ] {
        let (severity, found, advice) = told(&taken(&[holder("127.0.0.53:53", name, None)]));
        assert_eq!(severity, Severity::Problem);
        assert!(found.contains(&format!("{name} (process 42) on 127.0.0.53:53")), "{found}");
        assert!(advice.contains(remedy), "{advice}");
    }
}

#[test]
fn others_are_named_by_unit_process_or_user() {
    let (_, _, advice) = told(&taken(&[holder("0.0.0.0:53", "coredns", Some("coredns.service"))]));
    assert!(advice.contains("systemctl disable --now coredns.service"), "{advice}");
    let (_, _, advice) = told(&taken(&[holder("0.0.0.0:53", "coredns", None)]));
    assert!(advice.contains("ss -lntup 'sport = :53'"), "{advice}");
    let (_, found, advice) = told(&taken(&[holder("0.0.0.0:53", "", None)]));
    assert!(found.contains("a program of user 101 on 0.0.0.0:53 (UDP and TCP)"), "{found}");
    assert!(advice.contains("as root"), "{advice}");
    let (severity, found, _) = told(&taken(&[]));
    assert!(severity == Severity::Problem && found.contains("cannot be seen"), "{found}");
}

#[test]
fn we_are_known_by_name_or_by_answer() {
    let us = taken(&[holder("0.0.0.0:53", OURSELVES, None)]);
    assert_eq!(us.finding(None).severity, Severity::Fine);
    let right = answered(address("10.1.0.5"));
    assert_eq!(us.finding(Some(&right)).severity, Severity::Fine);
    let unseen = taken(&[holder("0.0.0.0:53", "", None)]);
    assert_eq!(unseen.finding(Some(&right)).severity, Severity::Fine);
    assert!(unseen.is_ours(Some(&right)) && !unseen.is_ours(None));
    for wrong in [address("10.1.0.6"), Err(Silence::Garbled)] {
        let wrong = answered(wrong);
        assert_eq!(us.finding(Some(&wrong)).check, "daemon-differs");
        assert_eq!(unseen.finding(Some(&wrong)).check, "port-taken");
    }
}

#[test]
fn missing_rights_are_not_taken_for_taken_ports() {
    let port = Port { address: "0.0.0.0:53".parse().unwrap(), state: State::Denied(1_024) };
    let (severity, found, advice) = told(&port);
    assert!(severity == Severity::Problem && found.contains("below 1024"), "{found}");
    for remedy in ["setcap", "AmbientCapabilities", "ip_unprivileged_port_start=53", "5300"] {
        assert!(advice.contains(remedy), "{advice}");
    }
}

#[test]
fn sockets_of_this_process_are_found_in_the_way() {
    let free = look(&"127.0.0.1:0".parse().unwrap(), false);
    assert_eq!(free.state, State::Free);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let State::Taken(holders) = look(&address.into(), false).state else { panic!("not taken") };
    let program = holders[0].program.as_ref().expect("our own process");
    assert_eq!((program.id, holders[0].transports.udp), (std::process::id(), true));
    let nobodys = look(&"192.0.2.200:53".parse().unwrap(), false);
    let finding = nobodys.finding(None);
    // Without the right to bind port 53, that is what the kernel says first.
    assert!(["port-impossible", "port-denied"].contains(&finding.check), "{finding:?}");
}

#[test]
fn an_answer_that_probes_have_moved_is_of_this_file_all_the_same() {
    let standby = ["10.1.0.5", "10.2.0.5"].map(|ip| ip.parse().unwrap()).to_vec();
    let moved = |ip| Answered { standby: standby.clone(), ..answered(address(ip)) };
    for holder in [OURSELVES, ""] {
        let port = taken(&[holder_on_all(holder)]);
        let finding = port.finding(Some(&moved("10.2.0.5")));
        assert_eq!((finding.severity, finding.check), (Severity::Warning, "endpoint-down"));
        assert!(finding.advice[0].contains("--live"), "{:?}", finding.advice);
        assert!(port.is_ours(Some(&moved("10.2.0.5"))));
        assert_eq!(port.finding(Some(&moved("10.1.0.5"))).severity, Severity::Fine);
        assert_eq!(port.finding(Some(&moved("10.3.0.5"))).severity, Severity::Problem);
    }
}

fn holder_on_all(program: &str) -> Holder {
    holder("0.0.0.0:53", program, None)
}
