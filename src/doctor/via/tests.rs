//! One resolver after another, each with its own fault.

use super::*;
use crate::doctor::Severity;
use crate::doctor::remedies::defender;
use crate::doctor::seen::Silence;

const PRIVATE: &str = "10.1.0.5";
const PUBLIC: &str = "20.1.0.5";
const HOP: &str = "api.privatelink.cloud.defender.microsoft.com";

fn seen(addresses: &[&str]) -> Outcome {
    Ok(Seen {
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        chain: vec![HOP.parse().unwrap()],
        ..Seen::default()
    })
}

fn says(rcode: Rcode) -> Outcome {
    Ok(Seen { rcode, ..Seen::default() })
}

fn good() -> Sight {
    Sight {
        via: "10.0.0.1:53".parse().unwrap(),
        pair: defender(),
        name: "api.cloud.defender.microsoft.com".parse().unwrap(),
        private_name: HOP.parse().unwrap(),
        ours: Ours::Addresses(vec![PRIVATE.parse().unwrap()], Vec::new()),
        standby: Vec::new(),
        a: seen(&[PRIVATE]),
        unchecked: seen(&[PRIVATE]),
        aaaa: seen(&[]),
        private: Ok(Seen { addresses: vec![PRIVATE.parse().unwrap()], ..Seen::default() }),
        us: "10.0.0.9:53".parse().unwrap(),
        is_running: true,
    }
}

/// The one finding there is.
fn one(sight: &Sight) -> Finding {
    let findings = sight.findings();
    assert_eq!(findings.len(), 1, "{findings:#?}");
    let finding = findings.into_iter().next().unwrap();
    assert!(finding.severity == Severity::Fine || !finding.advice.is_empty(), "and now?");
    finding
}

/// The finding's check and all its advice.
fn told(sight: &Sight) -> (&'static str, String) {
    let finding = one(sight);
    (finding.check, finding.advice.join("\n"))
}

#[test]
fn the_same_answer_is_fine() {
    assert_eq!(one(&good()).severity, Severity::Fine);
    let six = "fd00::5";
    let ours = Ours::Addresses(vec![PRIVATE.parse().unwrap()], vec![six.parse().unwrap()]);
    assert_eq!(one(&Sight { ours, aaaa: seen(&[six]), ..good() }).severity, Severity::Fine);
}

#[test]
fn a_public_address_is_a_forwarder_that_is_missing() {
    let (check, advice) = told(&Sight { a: seen(&[PUBLIC]), private: seen(&[]), ..good() });
    assert_eq!(check, "via-public");
    for line in ["-Name cloud.defender", "-Name privatelink.cloud", "UseRootHint $false"] {
        assert!(advice.contains(line), "{advice}");
    }
    // One public address among private ones is one too many.
    assert_eq!(told(&Sight { a: seen(&[PRIVATE, PUBLIC]), ..good() }).0, "via-public");
}

#[test]
fn a_name_without_its_address_is_a_filter() {
    for a in [seen(&[]), Ok(Seen::default())] {
        let (check, advice) = told(&Sight { a, private: Ok(Seen::default()), ..good() });
        assert_eq!(check, "via-rebind-filter");
        assert!(advice.contains("private-domain: \"cloud.defender.microsoft.com\""), "{advice}");
        assert!(advice.contains("rebind-domain-ok=/privatelink.cloud.defender"), "{advice}");
    }
}

#[test]
fn validation_is_told_from_other_failures_by_cd() {
    let failing = Sight { a: says(Rcode::SERVFAIL), private: says(Rcode::SERVFAIL), ..good() };
    let (check, advice) = told(&failing);
    assert_eq!(check, "via-validates");
    assert!(advice.contains("domain-insecure") && advice.contains("validate-except"), "{advice}");
    let failing = Sight { unchecked: says(Rcode::SERVFAIL), ..failing };
    assert_eq!(told(&failing).0, "via-fails");
    let (_, advice) = told(&Sight { is_running: false, ..failing });
    assert!(advice.contains("start it"), "{advice}");
}

#[test]
fn the_private_name_is_asked_by_itself() {
    for private in [says(Rcode::NXDOMAIN), seen(&[PUBLIC]), Err(Silence::Garbled)] {
        let (check, advice) = told(&Sight { private, ..good() });
        assert_eq!(check, "via-only-public");
        assert!(advice.contains("-Name privatelink.cloud"), "{advice}");
    }
}

#[test]
fn other_private_addresses_are_told_apart_by_the_hop() {
    assert_eq!(told(&Sight { a: seen(&["10.9.9.9"]), ..good() }).0, "via-differs");
    let without = Ok(Seen { addresses: vec!["10.9.9.9".parse().unwrap()], ..Seen::default() });
    assert_eq!(told(&Sight { a: without, ..good() }).0, "public-zone-hijacked");
}

#[test]
fn refusals_denials_and_silence_have_their_own_words() {
    let served = one(&Sight { ours: Ours::Refused, ..good() });
    assert_eq!((served.severity, served.check), (Severity::Warning, "via-refused"));
    let refused = Sight { ours: Ours::Refused, a: says(Rcode::REFUSED), ..good() };
    let (check, advice) = told(&refused);
    assert_eq!((one(&refused).severity, check), (Severity::Problem, "via-refused"));
    assert!(advice.contains("\"10.0.0.1/32\""), "{advice}");
    assert_eq!(told(&Sight { a: says(Rcode::REFUSED), ..good() }).0, "via-refuses");
    assert_eq!(told(&Sight { a: says(Rcode::NXDOMAIN), ..good() }).0, "via-denies");
    let silence = Err(Silence::Timeout(std::time::Duration::from_secs(2)));
    let (check, advice) = told(&Sight { a: silence, is_running: false, ..good() });
    assert!(check == "via-unreachable" && advice.contains("start it"), "{advice}");
}

#[test]
fn aaaa_neither_leaks_nor_denies() {
    let leak = Sight { aaaa: seen(&["2603:1030::5"]), ..good() };
    assert_eq!(one(&leak).check, "via-public-ipv6");
    for rcode in [Rcode::NXDOMAIN, Rcode::SERVFAIL] {
        assert_eq!(one(&Sight { aaaa: says(rcode), ..good() }).check, "via-aaaa");
    }
}

#[test]
fn an_address_that_takes_over_is_no_foreign_one() {
    let other = "10.2.0.5";
    let standby = [PRIVATE, other].map(|ip| ip.parse().unwrap()).to_vec();
    let moved = Sight { a: seen(&[other]), private: seen(&[other]), standby, ..good() };
    let finding = one(&moved);
    assert_eq!((finding.severity, finding.check), (Severity::Warning, "via-standby"));
    assert!(finding.advice[0].contains("--client 10.0.0.1 --live"), "{:?}", finding.advice);
    // Without probes no address takes over.
    assert_eq!(told(&Sight { standby: Vec::new(), ..moved }).0, "via-differs");
}
