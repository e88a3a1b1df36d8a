//! One observation at a time, from an upstream that is as it should be.

use std::time::Duration;

use super::*;
use crate::doctor::Severity;

fn good() -> Seen {
    Seen {
        has_opt: true,
        dnssec_ok: Some(true),
        checking_disabled: true,
        recursion_available: true,
        octets: 800,
        ..Seen::default()
    }
}

fn observed(asked: Asked) -> Observed {
    Observed {
        server: "10.0.0.4:53".to_owned(),
        host: "10.0.0.4".to_owned(),
        zones: ".".to_owned(),
        covers_root: true,
        validates: false,
        probe: ". NS".to_owned(),
        asked,
        absent: Vec::new(),
    }
}

fn plain(bare: Outcome, edns: Outcome, tcp: Outcome) -> Observed {
    observed(Asked::Plain(Box::new(Datagrams { bare, edns, tcp, large: None })))
}

fn silence() -> Outcome {
    Err(Silence::Timeout(Duration::from_secs(2)))
}

fn closed() -> Outcome {
    Err(Silence::Failed("connection refused".to_owned()))
}

/// The one finding there is.
fn one(observed: &Observed) -> (Severity, &'static str, String) {
    let findings = observed.findings();
    assert_eq!(findings.len(), 1, "{findings:#?}");
    let Finding { severity, check, found, advice, .. } = findings.into_iter().next().unwrap();
    assert!(severity == Severity::Fine || !advice.is_empty(), "{found}: and now?");
    (severity, check, found)
}

#[test]
fn a_good_one_is_fine() {
    let (severity, check, _) = one(&plain(Ok(good()), Ok(good()), Ok(good())));
    assert_eq!((severity, check), (Severity::Fine, "upstream"));
    let over_tls = Seen { dnssec_ok: None, ..good() };
    assert_eq!(one(&observed(Asked::Connection(Ok(over_tls)))).0, Severity::Fine);
}

#[test]
fn silence_closed_ports_and_one_way_streets_are_told_apart() {
    let (_, check, found) = one(&plain(silence(), silence(), silence()));
    assert_eq!(check, "upstream-unreachable");
    assert!(found.contains("no reply within 2s"), "{found}");
    let (_, check, found) = one(&plain(closed(), closed(), closed()));
    assert_eq!(
        (check, found.as_str()),
        ("upstream-unreachable", "does not answer: connection refused")
    );
    // Who says no is there; what says that there is no way is this host or one between.
    let no_way = || Err(Silence::Failed("network unreachable".to_owned()));
    for (outcome, advice) in [(closed(), "listen on"), (no_way(), "ip route get")] {
        let finding = plain(outcome.clone(), outcome.clone(), outcome).findings().remove(0);
        assert!(finding.advice[0].contains(advice), "{:?}", finding.advice);
    }
    let (_, check, _) = one(&plain(silence(), silence(), Ok(good())));
    assert_eq!(check, "upstream-udp");
    let (severity, check, found) = one(&plain(Ok(good()), Ok(good()), closed()));
    assert_eq!((severity, check), (Severity::Problem, "upstream-tcp"));
    assert!(found.contains("connection refused"), "{found}");
    let not_asked = || Err(Silence::NotAsked);
    assert_eq!(one(&plain(not_asked(), not_asked(), not_asked())).1, "upstream-not-asked");
}

#[test]
fn azures_own_resolver_is_explained() {
    let mut azure = plain(silence(), silence(), silence());
    azure.host = AZURE.to_owned();
    assert!(azure.findings()[0].advice.last().unwrap().contains("inbound endpoint"));
}

#[test]
fn edns_that_is_dropped_refused_stripped_or_cleared_is_named() {
    let dropped = plain(Ok(good()), silence(), Ok(good()));
    let (severity, check, found) = one(&dropped);
    assert_eq!((severity, check), (Severity::Problem, "upstream-edns"));
    assert!(found.contains("drops such queries"), "{found}");
    let bare = Seen { has_opt: false, dnssec_ok: Some(false), ..good() };
    for (seen, words) in [
        (Seen { rcode: Rcode::FORMERR, ..bare.clone() }, "says FORMERR to EDNS"),
        (bare, "takes that out"),
        (Seen { dnssec_ok: Some(false), ..good() }, "the bit DO comes back cleared"),
        (Seen { checking_disabled: false, ..good() }, "the bit CD comes back cleared"),
        (
            Seen { dnssec_ok: Some(false), checking_disabled: false, ..good() },
            "the bits DO and CD come back cleared",
        ),
    ] {
        let mut observed = plain(Ok(good()), Ok(seen), Ok(good()));
        let (severity, _, found) = one(&observed);
        assert!(severity == Severity::Warning && found.contains(words), "{found}");
        observed.validates = true;
        let (severity, _, found) = one(&observed);
        assert!(severity == Severity::Problem && found.contains("every signed name"), "{found}");
    }
}

#[test]
fn what_it_says_matters() {
    let says = |rcode| {
        let seen = Seen { rcode, ..good() };
        one(&plain(Ok(seen.clone()), Ok(seen), Ok(good())))
    };
    assert_eq!(says(Rcode::REFUSED).1, "upstream-refuses");
    assert_eq!(says(Rcode::SERVFAIL).0, Severity::Warning);
    let stub = Seen { recursion_available: false, ..good() };
    let mut observed = plain(Ok(stub.clone()), Ok(stub), Ok(good()));
    assert_eq!(one(&observed).1, "upstream-no-recursion");
    observed.covers_root = false;
    assert_eq!(one(&observed).0, Severity::Fine, "authoritative for the rule's zones");
}

#[test]
fn an_answer_may_be_too_large_but_not_for_what_is_offered() {
    let with = |octets| {
        let cut = Seen { truncated: true, octets: 28, ..good() };
        let large = Some((Ok(cut), Ok(Seen { octets, ..good() })));
        let (bare, edns, tcp) = (Ok(good()), Ok(good()), Ok(good()));
        one(&observed(Asked::Plain(Box::new(Datagrams { bare, edns, tcp, large })))).1
    };
    assert_eq!(with(1_232), "upstream-cuts");
    assert_eq!(with(1_233), "upstream");
}

#[test]
fn an_address_for_a_name_that_nobody_has_is_a_lie() {
    let mut observed = plain(Ok(good()), Ok(good()), Ok(good()));
    let name: Name = "qzxv.invalid".parse().unwrap();
    observed.absent = vec![(name.clone(), Ok(Seen { rcode: Rcode::NXDOMAIN, ..good() }))];
    assert_eq!(one(&observed).0, Severity::Fine);
    observed
        .absent
        .push((name, Ok(Seen { addresses: vec!["203.0.113.7".parse().unwrap()], ..good() })));
    let (_, check, found) = one(&observed);
    assert!(check == "upstream-lies" && found.contains("203.0.113.7"), "{found}");
}

#[test]
fn a_certificate_that_does_not_do_is_told_in_its_words() {
    let words = "the certificate has expired".to_owned();
    let observed = observed(Asked::Connection(Err(Silence::Failed(words))));
    let finding = observed.findings().remove(0);
    assert!(finding.found.contains("the certificate has expired"), "{}", finding.found);
    assert!(finding.advice[0].contains("ca-file"), "{:?}", finding.advice);
}

#[test]
fn a_status_of_http_is_told_with_what_to_write() {
    let words = "HTTP 404 Not Found for path /dns".to_owned();
    let observed = observed(Asked::Connection(Err(Silence::Status(words))));
    let (severity, check, found) = one(&observed);
    assert_eq!((severity, check), (Severity::Problem, "upstream-http"));
    assert_eq!(found, "answers, but not with DNS: HTTP 404 Not Found for path /dns");
    assert!(observed.findings()[0].advice[0].contains("path"));
}
