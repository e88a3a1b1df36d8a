//! Proofs that there is nothing.

use hickory_proto::op::{Query, ResponseCode};

use super::super::testing::Denial;
use super::*;

#[test]
fn denials_are_proven() {
    let resolver = Resolver::new(Zones::new());
    for (qname, expected) in [
        ("www.signed.test", SECURE),
        ("www.hashed.test", SECURE),
        ("www.unsigned.test", INSECURE),
        ("below.www.signed.test", SECURE),
        ("below.www.hashed.test", SECURE),
        ("below.www.unsigned.test", INSECURE),
        ("deep.below.www.signed.test", SECURE),
        ("deep.below.www.hashed.test", SECURE),
        ("none.test", SECURE),
        ("none", SECURE),
        ("a.wild.signed.test", SECURE),
        ("a.wild.hashed.test", SECURE),
    ] {
        assert_eq!(ask(&resolver, qname, Rtype::TXT), expected, "{qname}");
    }
}

#[test]
fn wildcards_need_a_denial_of_the_name_itself() {
    let resolver = Resolver::new(Zones::new());
    let names = ["x.signed.test", "x.hashed.test", "a.wild.signed.test", "b.c.wild.hashed.test"];
    for qname in names {
        assert_eq!(ask(&resolver, qname, Rtype::A), SECURE, "{qname}");
    }
    resolver.zones.tamper(|_, query, message| {
        if query.query_type() == RecordType::A {
            message.authorities.clear();
        }
    });
    for qname in names {
        assert_eq!(ask(&resolver, qname, Rtype::A), Err(Ede::NsecMissing), "{qname}");
    }
}

#[test]
fn a_wildcard_from_above_a_name_that_is_there_is_bogus() {
    for zone in ["signed.test", "hashed.test"] {
        let resolver = Resolver::new(Zones::new());
        resolver.zones.tamper(move |zones, query, message| {
            let asked = name("x.www").append_domain(&name(zone)).expect("short");
            if *query.name() != asked {
                return;
            }
            // What `*` has, for a name below one that is there, with the zone's own denials of it.
            let denied = zones.untampered(&Query::query(asked.clone(), RecordType::A));
            let other = name("y").append_domain(&name(zone)).expect("short");
            *message = zones.untampered(&Query::query(other, RecordType::A));
            message.queries.clone_from(&denied.queries);
            message.authorities = denied.authorities;
            for record in &mut message.answers {
                record.name = asked.clone();
            }
        });
        let got = ask(&resolver, &format!("x.www.{zone}"), Rtype::A);
        assert_eq!(got, Err(Ede::NsecMissing), "{zone}");
    }
}

#[test]
fn a_denial_of_another_zone_proves_nothing() {
    for other in ["none.www.unsigned.test", "none.www.hashed.test"] {
        let resolver = Resolver::new(Zones::new());
        change(&resolver.zones, "www.signed.test", RecordType::A, move |zones, message| {
            *message = zones.untampered(&Query::query(name(other), RecordType::A));
            message.queries = vec![Query::query(name("www.signed.test"), RecordType::A)];
        });
        let got = ask(&resolver, "www.signed.test", Rtype::A);
        assert_eq!(got, Err(Ede::NsecMissing), "{other}");
    }
    let resolver = Resolver::new(Zones::new());
    change(&resolver.zones, "www.signed.test", RecordType::A, |_, message| {
        message.metadata.response_code = ResponseCode::NXDomain;
    });
    assert_eq!(ask(&resolver, "www.signed.test", Rtype::A), Err(Ede::DnssecBogus));
}

#[test]
fn hashes_and_opt_outs_weaken_denials() {
    let judged = |iterations, opt_out, qname| {
        let zones = Zones::with_hashed(Denial::Nsec3 { iterations, opt_out });
        ask(&Resolver::new(zones), qname, Rtype::A)
    };
    for qname in ["none.www.hashed.test", "x.hashed.test"] {
        assert_eq!(judged(100, false, qname), SECURE, "{qname}");
        assert_eq!(judged(101, false, qname), INSECURE, "{qname}");
        assert_eq!(judged(0, true, qname), INSECURE, "{qname}");
    }
    assert_eq!(judged(150, false, "none.www.hashed.test"), INSECURE);
    assert_eq!(judged(151, false, "none.www.hashed.test"), Err(Ede::DnssecBogus));
}
