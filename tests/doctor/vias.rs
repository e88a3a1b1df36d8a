//! Resolvers that clients ask, with one fault each.

use super::patient::{Told, config, free};
use super::servers::{
    A, Asked, NXDOMAIN, SERVFAIL, Said, address, internet, relay, serve, through,
};
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

/// The configuration with a site, for which its endpoint is.
fn with_site(listen: &str, networks: &str) -> File {
    let text = config(listen, serve(internet));
    let endpoint = "name = 'hub'\n";
    let text = text.replace(endpoint, &format!("{endpoint}sites = ['oslo']\n"));
    File::new(&format!("{text}[[site]]\nname = 'oslo'\nnetworks = ['{networks}']\n"))
}

#[test]
fn one_that_belongs_to_no_site_is_a_warning() {
    let resolver = serve(internet).to_string();
    let told = Told::by(&with_site("127.0.0.1:0", "10.1.0.0/16"), &["--via", &resolver]);
    assert_eq!(told.the("via-no-site")["severity"], "warning");
    let words = told.words("via-no-site");
    for part in ["its address is 127.0.0.1", "in no [[site]]", "127.0.0.1/32", "(oslo)"] {
        assert!(words.contains(part), "{part}: {words}");
    }
    let told = Told::by(&with_site("127.0.0.1:0", "127.0.0.0/8"), &["--via", &resolver]);
    assert!(told.words("via-site").contains("count as site oslo"));
    assert!(!told.checks().contains(&"via-no-site"));
}

#[test]
fn the_address_that_a_resolver_asks_from_is_heard() {
    // The daemon does not run: its address is free, and the resolver sends on to it.
    let listen = free();
    let resolver = relay(listen).to_string();
    let told = Told::by(&with_site(&listen.to_string(), "10.1.0.0/16"), &["--via", &resolver]);
    let words = told.words("via-no-site");
    assert!(words.contains("its queries come from 127.0.0.1"), "{words}");
    // Sending on to us is what it is there for: no loop.
    assert!(!told.problems().contains(&"loop"), "{:#?}", told.findings);
}
