//! Resolvers that clients ask, with one fault each.

use super::patient::{Told, config};
use super::servers::{A, Asked, NXDOMAIN, SERVFAIL, Said, address, internet, serve, through};
use super::temporary::File;

const PRIVATE: &str = "10.1.0.5";
const PUBLIC: &str = "20.1.0.5";
const HOP: &str = "api.privatelink.cloud.defender.microsoft.com";

/// What is said of the public and of the private name, to A; the rest is as it should be.
fn told_of(
    public: impl Fn(&Asked) -> Said + Send + Sync + 'static,
    private: impl Fn(&Asked) -> Said + Send + Sync + 'static,
) -> Told {
    let resolver = serve(move |asked| match (&*asked.name, asked.rtype) {
        (HOP, A) => private(asked),
        ("api.cloud.defender.microsoft.com", A) => public(asked),
        ("api.cloud.defender.microsoft.com", _) => Said::records(through(HOP, None)),
        _ => internet(asked),
    });
    let file = File::new(&config("127.0.0.1:0", serve(internet)));
    Told::by(&file, &["--via", &resolver.to_string()])
}

fn right(_: &Asked) -> Said {
    Said::records(through(HOP, Some(PRIVATE)))
}

fn right_directly(_: &Asked) -> Said {
    Said::records(vec![address(PRIVATE)])
}

#[test]
fn one_that_forwards_to_us_is_fine() {
    let told = told_of(right, right_directly);
    assert_eq!((told.code, told.problems()), (Some(0), vec![]), "{:#?}", told.findings);
    assert!(told.words("via").contains(PRIVATE));
}

#[test]
fn a_missing_forwarder_is_found() {
    let told = told_of(|_| Said::records(through(HOP, Some(PUBLIC))), |_| Said::code(NXDOMAIN));
    assert_eq!((told.code, told.problems()), (Some(1), vec!["via-public"]));
    // The daemon's port is not 53, which is all that Windows forwards to.
    let words = told.words("via-public");
    assert!(words.contains("type forward") && words.contains("Windows: listen on port 53"));
}

#[test]
fn one_that_forwards_the_public_zone_alone_is_found() {
    let told = told_of(right, |_| Said::code(NXDOMAIN));
    assert_eq!(told.problems(), ["via-only-public"]);
    let told = told_of(right, |_| Said::records(vec![address(PUBLIC)]));
    assert_eq!(told.problems(), ["via-only-public"]);
}

#[test]
fn a_rebinding_filter_is_found_in_both_its_forms() {
    // Unbound leaves the CNAME and takes the address, dnsmasq takes both.
    for stripped in [through(HOP, None), Vec::new()] {
        let told = told_of(move |_| Said::records(stripped.clone()), |_| Said::code(0));
        assert_eq!(told.problems(), ["via-rebind-filter"]);
        let words = told.words("via-rebind-filter");
        assert!(words.contains("private-domain") && words.contains("rebind-domain-ok"), "{words}");
    }
}

#[test]
fn a_validator_is_told_from_one_that_cannot_reach_us() {
    let validating = |asked: &Asked| match asked.unchecked {
        true => right(asked),
        false => Said::code(SERVFAIL),
    };
    let told = told_of(validating, |_| Said::code(SERVFAIL));
    assert_eq!(told.problems(), ["via-validates"]);
    assert!(told.words("via-validates").contains("domain-insecure"));
    let told = told_of(|_| Said::code(SERVFAIL), |_| Said::code(SERVFAIL));
    assert_eq!(told.problems(), ["via-fails"]);
}

#[test]
fn one_that_nobody_reaches_and_one_that_may_not_ask_are_found() {
    let told = told_of(|_| Said::Nothing, |_| Said::Nothing);
    assert_eq!(told.problems(), ["via-unreachable"]);
    let text = config("127.0.0.1:0", serve(internet)) + "[access]\nallow = ['10.0.0.0/8']\n";
    let resolver = serve(internet).to_string();
    let told = Told::by(&File::new(&text), &["--via", &resolver]);
    assert_eq!(told.problems(), ["via-refused"]);
    assert!(told.words("via-refused").contains("127.0.0.1/32"));
}
