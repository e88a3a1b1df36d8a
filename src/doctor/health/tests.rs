//! Endpoints that answer their probes or not, and what that means.

use super::*;
use crate::config::testing::{defender, endpoint};
use crate::config::{Config, Probe, testing};
use crate::doctor::Severity;

const HUB: &str = "10.1.0.5";
const DATA: &str = "10.1.0.6";
const SPARE: &str = "10.2.0.5";

/// An endpoint that is probed, with these names.
fn probed(name: &str, names: &[(&str, &[&str])]) -> Endpoint {
    Endpoint { probe: Some(Probe::Tcp { port: 443 }), ..endpoint(name, &[], &[], names) }
}

fn hub() -> Endpoint {
    probed("hub", &[("api", &[HUB]), ("data", &[DATA])])
}

/// What is found where these addresses are down and all others up.
fn told(links: &[PrivateLink], down: &[&str]) -> Vec<Finding> {
    let states = |target: &Target| {
        let is_down = down.contains(&target.address.to_string().as_str());
        if is_down { State::Down("connection refused".to_owned()) } else { State::Up }
    };
    with_states(links, |target| Some(states(target)))
}

fn with_states(links: &[PrivateLink], state: impl Fn(&Target) -> Option<State>) -> Vec<Finding> {
    let targets = links
        .iter()
        .flat_map(|link| link.endpoints.iter().flat_map(move |endpoint| endpoint.targets(link)));
    let found = targets.map(|target| (target.clone(), state(&target))).collect();
    Health::new(found).findings(links)
}

fn the(findings: &[Finding]) -> &Finding {
    let [one] = findings else { panic!("{findings:#?}") };
    assert!(one.severity == Severity::Fine || !one.advice.is_empty(), "and now?");
    one
}

#[test]
fn names_that_have_no_address_left_are_a_problem() {
    let links = [defender(vec![hub()])];
    let findings = told(&links, &[HUB, DATA]);
    let all = the(&findings);
    assert_eq!((all.severity, all.check), (Severity::Problem, "endpoint-all-down"));
    assert_eq!(all.about, "endpoints of cloud.defender.microsoft.com");
    for part in [
        "10.1.0.5:443 of hub (tcp:443: connection refused), 10.1.0.6:443 of hub",
        "for api.cloud.defender.microsoft.com, data.cloud.defender.microsoft.com: clients get the \
         addresses all the same (all-down = \"serve-all\")",
    ] {
        assert!(all.found.contains(part), "{}", all.found);
    }
    // One name is enough.
    let findings = told(&links, &[DATA]);
    let one = the(&findings);
    assert_eq!(one.check, "endpoint-all-down");
    assert!(one.found.contains("no address for data.cloud"), "{}", one.found);
    assert!(!one.found.contains("api."), "{}", one.found);
}

#[test]
fn what_clients_get_then_is_said_as_the_file_has_it() {
    for (all_down, words) in [
        (AllDown::ServeAll, "the addresses all the same"),
        (AllDown::Servfail, "clients get SERVFAIL (all-down = \"servfail\")"),
        (AllDown::Public, "the public address, around the private link"),
    ] {
        let links = [PrivateLink { all_down, ..defender(vec![hub()]) }];
        let findings = told(&links, &[HUB, DATA]);
        assert!(the(&findings).found.contains(words), "{findings:?}");
    }
}

#[test]
fn names_that_another_endpoint_answers_are_a_warning() {
    let spare = || probed("spare", &[("api", &[SPARE]), ("data", &[SPARE])]);
    let unprobed = || endpoint("spare", &[], &[], &[("api", &[SPARE]), ("data", &[SPARE])]);
    for standby in [spare(), unprobed()] {
        let links = [defender(vec![hub(), standby])];
        let findings = told(&links, &[HUB, DATA]);
        let some = the(&findings);
        assert_eq!((some.severity, some.check), (Severity::Warning, "endpoint-some-down"));
        assert!(some.found.contains("every name has another address"), "{}", some.found);
    }
    // Another address of the same endpoint will do too.
    let links = [defender(vec![probed("hub", &[("api", &[HUB, DATA])])])];
    assert_eq!(the(&told(&links, &[HUB])).severity, Severity::Warning);
    // One that has no such name answers nothing.
    let links = [defender(vec![hub(), probed("spare", &[("api", &[SPARE])])])];
    assert_eq!(the(&told(&links, &[HUB, DATA])).severity, Severity::Problem);
}

#[test]
fn a_wildcard_counts_where_the_zone_has_one() {
    let wildcard = || Endpoint { addresses: vec![HUB.parse().unwrap()], ..probed("hub", &[]) };
    let findings = told(&[defender(vec![wildcard()])], &[HUB]);
    assert!(the(&findings).found.contains("for *.cloud.defender"), "{findings:?}");
    let link = PrivateLink { unlisted: Unlisted::Forward, ..defender(vec![wildcard()]) };
    assert_eq!(the(&told(&[link], &[HUB])).severity, Severity::Warning);
}

#[test]
fn what_this_host_cannot_try_is_a_warning_of_its_own() {
    let links = [defender(vec![hub()])];
    let untried = |_: &Target| Some(State::Untried("Network is unreachable".to_owned()));
    let findings = with_states(&links, untried);
    let one = the(&findings);
    assert_eq!((one.severity, one.check), (Severity::Warning, "endpoint-unprobed"));
    assert!(one.found.contains("10.1.0.5:443 of hub (Network is unreachable)"), "{}", one.found);
    let findings = with_states(&links, |_| None);
    assert_eq!(the(&findings).check, "endpoint-unprobed");
    assert!(the(&findings).found.starts_with("2 of 2 were not probed"), "{findings:?}");
}

#[test]
fn one_entry_with_several_zones_is_one_finding() {
    let zones = |number: usize, entry| PrivateLink {
        entry,
        public_zone: format!("p{number}.example").parse().unwrap(),
        private_zone: format!("privatelink.p{number}.example").parse().unwrap(),
        ..defender(vec![hub()])
    };
    let findings = told(&[zones(0, 0), zones(1, 0), zones(2, 1)], &[HUB, DATA]);
    let about: Vec<_> = findings.iter().map(|finding| finding.about.as_str()).collect();
    assert_eq!(about, ["endpoints of p0.example and of 1 more zone", "endpoints of p2.example"]);
    let listed = "api.p0.example, data.p0.example, api.p1.example, data.p1.example: clients";
    assert!(findings[0].found.contains(listed), "{}", findings[0].found);
}

#[test]
fn all_that_answer_are_fine_and_without_probes_there_is_nothing_to_say() {
    let findings = told(&[defender(vec![hub()])], &[]);
    assert_eq!(the(&findings).severity, Severity::Fine);
    assert!(the(&findings).found.contains("all 2"), "{findings:?}");
    let Config { private_links, .. } = testing::minimal();
    assert_eq!(told(&private_links, &[HUB]), []);
}
