//! How forwarding goes on when upstreams do not: policies, probes, guards, `[cache]`, `[dnssec]`.

use super::{Case, E, FORWARD, LISTEN, Said, W, check, config, rest, whole};
use crate::config::{Dnssec, Policy};
use crate::wire::{Name, Rtype};

/// A rule for `corp.example` with these lines, from line 9, beside the one for `.`.
fn rule(text: &str, said: Said) -> Case {
    let corp = "[[forward]]\nzones = ['corp.example']\nupstreams = ['10.0.0.5']";
    rest(&format!("{corp}\n{text}"), said)
}

#[test]
fn a_rule_has_a_policy_and_a_probe() {
    const POLICY: &str = "forward[2].policy";
    const PROBE: &str = "forward[2].probe";
    check([
        rule("policy = 'fastest'", &[]),
        rule("policy = 'fast'", &[(E, 9, POLICY, "write \"ordered\", \"fastest\" or \"spread\"")]),
        rule("policy = 'sprad'", &[(E, 9, POLICY, "did you mean \"spread\"?")]),
        rule("policy = 1", &[(E, 9, POLICY, "an integer cannot stand here")]),
        rule("probe = '.'", &[(E, 9, PROBE, "such as \". NS\" or \"corp.example SOA\"")]),
        rule("probe = ''", &[(E, 9, PROBE, "write a name and a type")]),
        rule("probe = '. NS IN'", &[(E, 9, PROBE, "write a name and a type")]),
        rule("probe = 'a..b A'", &[(E, 9, PROBE, "an empty label")]),
        rule("probe = '. NSS'", &[(E, 9, PROBE, "no type that can be asked for")]),
        rule("probe = true", &[(E, 9, PROBE, "a boolean cannot stand here; write a name")]),
    ]);
    for rtype in ["ANY", "AXFR", "IXFR", "OPT", "TYPE0", "TYPE41", "TYPE250", "TYPE65536"] {
        let probe = format!("probe = '. {rtype}'");
        check([rule(&probe, &[(E, 9, PROBE, "no type that can be asked for")])]);
    }
    let probes = [
        (". NS", ".", Rtype::NS),
        ("Corp.Example soa", "corp.example", Rtype::SOA),
        ("a.example. A", "a.example", Rtype::A),
        ("a.example AAAA", "a.example", Rtype::AAAA),
        ("a.example TXT", "a.example", Rtype::TXT),
        ("a.example CNAME", "a.example", Rtype::CNAME),
        ("a.example MX", "a.example", Rtype(15)),
        (" a.example  HTTPS ", "a.example", Rtype(65)),
        ("a.example TYPE65280", "a.example", Rtype(65_280)),
    ];
    for (text, name, rtype) in probes {
        let config = config(&rule(&format!("probe = '{text}'"), &[]).text);
        let name: Name = name.parse().expect("a name");
        assert_eq!(config.forwards[1].probe, (name, rtype), "{text}");
    }
}

#[test]
fn the_words_of_a_rule_mean_what_they_say() {
    let found = |text: &str| config(&rule(text, &[]).text).forwards.remove(1);
    let policies =
        [("ordered", Policy::Ordered), ("fastest", Policy::Fastest), ("spread", Policy::Spread)];
    for (word, policy) in policies {
        assert_eq!(found(&format!("policy = '{word}'")).policy, policy);
    }
    for (word, dnssec) in [("pass", Dnssec::Pass), ("validate", Dnssec::Validate)] {
        assert_eq!(found(&format!("dnssec = '{word}'")).dnssec, dnssec);
    }
    assert!(found("require-private = true").require_private);
    assert!(!found("require-private = false").require_private);
    assert_eq!(found("rebind-protection = false").rebind_protection, None);
    assert_eq!(found("rebind-protection = true").rebind_protection, Some(Vec::new()));
    let allowed = found("rebind-protection = true\nrebind-allow = ['Lab.corp.example.']");
    let lab: Name = "lab.corp.example".parse().expect("a name");
    assert_eq!(allowed.rebind_protection, Some(vec![lab]));
}

#[test]
fn what_answers_may_hold_is_no_contradiction() {
    const PRIVATE: &str = "forward[2].require-private";
    const REBIND: &str = "forward[2].rebind-protection";
    const ALLOW: &str = "forward[2].rebind-allow";
    check([
        rule("require-private = 'true'", &[(E, 9, PRIVATE, "true or false, without quotes")]),
        rule(
            "rebind-protection = 1",
            &[(E, 9, REBIND, "an integer cannot stand here; write true")],
        ),
        rule(
            "require-private = true\nrebind-protection = true",
            &[(E, 10, REBIND, "require-private (line 9) refuses public addresses and this")],
        ),
        rule("require-private = true\nrebind-protection = false", &[]),
        rule(
            "rebind-allow = ['lab.corp.example']",
            &[(W, 9, ALLOW, "no effect without rebind-protection = true")],
        ),
        rule(
            "rebind-protection = false\nrebind-allow = ['lab.corp.example']",
            &[(W, 10, ALLOW, "no effect without")],
        ),
        rule(
            "rebind-protection = 'yes'\nrebind-allow = ['lab.corp.example']",
            &[(E, 9, REBIND, "a string cannot stand here")],
        ),
        rule(
            "rebind-protection = true\nrebind-allow = ['lab.corp.example', '*.b', 'a..b', '.']",
            &[
                (E, 10, "forward[2].rebind-allow[2]", "without \"*.\": \"b\""),
                (E, 10, "forward[2].rebind-allow[3]", "an empty label"),
                (W, 10, ALLOW, "every name is below it: nothing would be refused"),
            ],
        ),
        rule("rebind-protection = true\nrebind-allow = []", &[]),
        // Behind the rule for everything.
        rest("require-private = true", &[(W, 6, "forward.require-private", "nearly every name")]),
        rest("require-private = false", &[]),
        rest("rebind-protection = true", &[]),
    ]);
}

#[test]
fn a_private_link_zone_that_asks_nobody_has_nothing_to_refuse() {
    let link = |text: &str, said: Said| {
        rest(
            &format!(
                "[[private-link]]\nservice = 'defender-for-containers'\n{text}\n\
                 [[private-link.endpoint]]\nname = 'hub'\nnames.api = ['10.1.0.5']"
            ),
            said,
        )
    };
    const KEY: &str = "private-link.require-private";
    let forwarded = link("require-private = true\nunlisted = 'forward'", &[]);
    assert!(config(&forwarded.text).private_links[0].require_private);
    check([
        forwarded,
        link(
            "require-private = true\nunlisted = 'nxdomain'",
            &[(W, 8, KEY, "write unlisted = \"forward\"")],
        ),
        link("require-private = false\nunlisted = 'nxdomain'", &[]),
        link(
            "require-private = true\nunlisted = 'forwad'",
            &[(E, 9, "private-link.unlisted", "did you mean \"forward\"?")],
        ),
        link("require-private = 1\nunlisted = 'forward'", &[(E, 8, KEY, "write true or false")]),
    ]);
}

#[test]
fn the_cache_is_off_or_useful() {
    let size = |text: &str, said: Said| rest(&format!("[cache]\nsize = {text}"), said);
    const WRONG: Said = &[(E, 7, "cache.size", "\"1MiB\" to \"64GiB\"), or \"0\"")];
    check(
        ["'1023KiB'", "'65GiB'", "'much'", "'-1MiB'", "64", "'0.5'", "''"].map(|t| size(t, WRONG)),
    );
    check(["'0'", "'1MiB'", "'64GiB'", "'100MB'"].map(|text| size(text, &[])));
}

#[test]
fn the_cache_outlives_upstreams_and_restarts() {
    let cache = |text: &str, said: Said| rest(&format!("[cache]\n{text}"), said);
    check([
        cache("stale = '8days'", &[(E, 7, "cache.stale", "\"24h\" (0s to 7days); \"0s\" turns")]),
        cache("stale = 'off'", &[(E, 7, "cache.stale", "\"0s\" turns it off")]),
        cache("stale = 0", &[(E, 7, "cache.stale", "an integer cannot stand here; write a dur")]),
        cache("stale = '7days'\nprefetch = false\nfailure-ttl = '5s'", &[]),
        cache("prefetch = 'on'", &[(E, 7, "cache.prefetch", "write true or false")]),
        cache("max-ttl = '1s'\nmax-negative-ttl = '1s'", &[]),
        cache("max-ttl = '25h'", &[(E, 7, "cache.max-ttl", "\"12h\" (1s to 1day)")]),
        cache("max-ttl = '0s'", &[(E, 7, "cache.max-ttl", "(1s to 1day)")]),
        cache("max-negative-ttl = '61m'", &[(E, 7, "cache.max-negative-ttl", "(1s to 1h)")]),
        cache("failure-ttl = '999ms'", &[(E, 7, "cache.failure-ttl", "\"2s\" (1s to 5s)")]),
        cache("failure-ttl = '5001ms'", &[(E, 7, "cache.failure-ttl", "(1s to 5s)")]),
        cache("file = ''", &[(E, 7, "cache.file", "write the whole path, such as \"/var/lib")]),
        cache("file = 'cache'", &[(E, 7, "cache.file", "leave the key out for systemd's state")]),
        cache("file = '/var/lib/'", &[(E, 7, "cache.file", "this is a directory")]),
        cache("file = '/'", &[(E, 7, "cache.file", "this is a directory")]),
        cache("size = '0'\nfile = '/a'", &[(W, 8, "cache.file", "nothing is kept there")]),
    ]);
    let found = config(&format!(
        "{LISTEN}{FORWARD}[cache]\nstale = '0s'\nprefetch = false\nfailure-ttl = '1500ms'\n\
         file = '/var/cache/answers'"
    ));
    assert!(found.cache.stale.is_zero() && !found.cache.prefetch);
    assert_eq!(found.cache.failure_ttl.as_millis(), 1_500);
    assert_eq!(found.cache.file, Some("/var/cache/answers".into()));
}

#[test]
fn validation_has_anchors_and_a_rule() {
    let dnssec = |text: &str, said: Said| {
        whole(&format!("{LISTEN}{FORWARD}dnssec = 'validate'\n[dnssec]\n{text}"), said)
    };
    let found = config(
        &dnssec("trust-anchors = '/etc/root.key'\nnegative-trust-anchors = ['Corp.example']", &[])
            .text,
    );
    assert_eq!(found.dnssec.trust_anchors, Some("/etc/root.key".into()));
    let corp: Name = "corp.example".parse().expect("a name");
    assert_eq!(found.dnssec.negative_trust_anchors, [corp]);
    const NEGATIVE: &str = "dnssec.negative-trust-anchors";
    check([
        dnssec("", &[]),
        dnssec("negative-trust-anchors = []", &[]),
        dnssec(
            "trust-anchors = 'root.key'",
            &[(E, 8, "dnssec.trust-anchors", "the root's own keys, which are built in")],
        ),
        dnssec("trust-anchors = ['/a']", &[(E, 8, "dnssec.trust-anchors", "an array cannot")]),
        dnssec("negative-trust-anchors = 'a.example'", &[(E, 8, NEGATIVE, "write a list")]),
        dnssec("negative-trust-anchors = ['.']", &[(W, 8, NEGATIVE, "nothing would be validated")]),
        dnssec(
            "negative-trust-anchors = ['a.example', 'A.example.']",
            &[(E, 8, "dnssec.negative-trust-anchors[2]", "stands twice")],
        ),
        dnssec("anchors = '/a'", &[(E, 8, "dnssec.anchors", "trust-anchors, negative-trust")]),
        rest("dnssec = 'on'", &[(E, 6, "forward.dnssec", "write \"pass\" or \"validate\"")]),
        rest("[dnssec]", &[(W, 6, "dnssec", "no forward rule has dnssec = \"validate\"")]),
        rest("dnssec = 'pass'\n[dnssec]", &[(W, 7, "dnssec", "no forward rule has dnssec")]),
        // What it was meant to be is not known.
        rest("dnssec = 'validat'\n[dnssec]", &[(E, 6, "forward.dnssec", "\"validate\"")]),
    ]);
}
