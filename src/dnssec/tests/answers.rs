//! What is signed, what is not, and what is altered.

use hickory_proto::op::{Query, ResponseCode};
use hickory_proto::rr::rdata::{CNAME, NULL};

use super::super::parts::signature;
use super::super::testing::Life;
use super::*;

#[test]
fn what_is_signed_is_secure_and_what_is_not_is_not() {
    let resolver = Resolver::new(Zones::new());
    for (qname, qtype, expected) in [
        ("www.signed.test", Rtype::A, SECURE),
        ("www.hashed.test", Rtype::A, SECURE),
        ("www.unsigned.test", Rtype::A, INSECURE),
        ("signed.test", Rtype::DNSKEY, SECURE),
        ("signed.test", Rtype::DS, SECURE),
        ("unsigned.test", Rtype::DS, SECURE),
        (".", Rtype::SOA, SECURE),
        ("www.signed.test", Rtype::RRSIG, INSECURE),
    ] {
        assert_eq!(ask(&resolver, qname, qtype), expected, "{qname} {qtype}");
    }
}

#[test]
fn an_altered_record_is_bogus() {
    let resolver = Resolver::new(Zones::new());
    change(&resolver.zones, "www.signed.test", RecordType::A, |_, message| alter_address(message));
    assert_eq!(ask(&resolver, "www.signed.test", Rtype::A), Err(Ede::DnssecBogus));
    let file = AnchorFile::of_root(&resolver.zones);
    let validator = validator(&file, &[]).expect("anchors");
    let bogus = judge(&validator, &resolver, &question("www.signed.test", Rtype::A));
    assert_eq!(
        &*bogus.expect_err("bogus").text(),
        "DNSSEC: the signature of www.signed.test. A does not validate"
    );
}

#[test]
fn a_signature_counts_within_its_time() {
    for (life, expected) in [
        (Life { from: -60, until: 60 }, Ok(())),
        (Life { from: -60, until: -2 }, Err(Ede::SignatureExpired)),
        (Life { from: 60, until: 120 }, Err(Ede::SignatureNotYetValid)),
    ] {
        for qname in ["www.signed.test", "signed.test"] {
            let resolver = Resolver::new(with_keys(2));
            let rtype = if qname == "signed.test" { RecordType::DNSKEY } else { RecordType::A };
            change(&resolver.zones, qname, rtype, move |zones, message| {
                message.answers.retain(|record| signature(record).is_none());
                let signature = zones.zone("signed.test").sign(&message.answers, None, life);
                message.add_answer(signature);
            });
            let got = ask(&resolver, "www.signed.test", Rtype::A);
            assert_eq!(got.map(|_| ()), expected, "{life:?} {qname}");
        }
    }
}

#[test]
fn no_ttl_outlives_its_signature() {
    let resolver = Resolver::new(Zones::new());
    change(&resolver.zones, "www.signed.test", RecordType::A, |zones, message| {
        message.answers.retain(|record| signature(record).is_none());
        let life = Life { from: -60, until: 100 };
        let signature = zones.zone("signed.test").sign(&message.answers, None, life);
        message.add_answer(signature);
    });
    let got = ask(&resolver, "www.signed.test", Rtype::A);
    let Ok(Security::Secure { ttl_seconds }) = got else { panic!("{got:?}") };
    assert!((90..=100).contains(&ttl_seconds), "{ttl_seconds}");
}

#[test]
fn what_is_missing_is_named() {
    let strip = |message: &mut Message| {
        message.answers.retain(|record| signature(record).is_none());
    };
    let resolver = Resolver::new(Zones::new());
    change(&resolver.zones, "www.signed.test", RecordType::A, move |_, message| strip(message));
    assert_eq!(ask(&resolver, "www.signed.test", Rtype::A), Err(Ede::RrsigsMissing));
    change(&resolver.zones, "none.www.signed.test", RecordType::A, |_, message| {
        let denials = [RecordType::NSEC, RecordType::RRSIG];
        message.authorities.retain(|record| !denials.contains(&record.record_type()));
    });
    assert_eq!(ask(&resolver, "none.www.signed.test", Rtype::A), Err(Ede::NsecMissing));
    change(&resolver.zones, "signed.test", RecordType::DNSKEY, |_, message| {
        message.answers.clear();
    });
    assert_eq!(ask(&resolver, "www.signed.test", Rtype::A), Err(Ede::DnskeyMissing));
    resolver.silent.set(true);
    assert_eq!(ask(&resolver, "www.hashed.test", Rtype::A), Err(Ede::DnssecIndeterminate));
}

#[test]
fn an_unsigned_zone_needs_its_parents_word() {
    let resolver = Resolver::new(Zones::new());
    // Signatures are taken away, and the parent's word about another zone put in.
    resolver.zones.tamper(|zones, query, message| {
        if name("signed.test").zone_of(query.name()) {
            message.answers.retain(|record| signature(record).is_none());
            if query.query_type() == RecordType::DS {
                let other = Query::query(name("unsigned.test"), RecordType::DS);
                message.answers.clear();
                message.authorities = zones.untampered(&other).authorities;
            }
        }
    });
    let got = ask(&resolver, "www.signed.test", Rtype::A);
    assert!(got.is_err(), "{got:?}");
}

#[test]
fn chains_are_as_good_as_their_worst_part() {
    let resolver = Resolver::new(Zones::new());
    for (qname, qtype, expected) in [
        ("in.signed.test", Rtype::A, SECURE),
        ("in.signed.test", Rtype::CNAME, SECURE),
        ("in.signed.test", Rtype::ANY, SECURE),
        ("over.signed.test", Rtype::A, SECURE),
        ("over.signed.test", Rtype::TXT, SECURE),
        ("out.signed.test", Rtype::A, INSECURE),
        ("out.signed.test", Rtype::TXT, INSECURE),
        ("lost.signed.test", Rtype::A, SECURE),
    ] {
        assert_eq!(ask(&resolver, qname, qtype), expected, "{qname} {qtype}");
    }
    change(&resolver.zones, "over.signed.test", RecordType::A, |_, message| alter_address(message));
    assert_eq!(ask(&resolver, "over.signed.test", Rtype::A), Err(Ede::DnssecBogus));
    // What is thrown away need not be good.
    let file = AnchorFile::of_root(&resolver.zones);
    let validator = validator(&file, &[]).expect("anchors");
    let question = question("over.signed.test", Rtype::A);
    let answer = resolver.answer(&question);
    let link =
        run(validator.validate(&question, &answer.borrowed(), Some(1), &resolver, &mut session()));
    assert_eq!(worth(link), SECURE);
    // An end without a proof is none.
    change(&resolver.zones, "lost.signed.test", RecordType::A, |_, message| {
        message.authorities.clear();
    });
    assert_eq!(ask(&resolver, "lost.signed.test", Rtype::A), Err(Ede::NsecMissing));
    change(&resolver.zones, "out.signed.test", RecordType::A, |_, message| {
        for record in &mut message.answers {
            if let RData::CNAME(CNAME(target)) = &mut record.data {
                *target = name("mail.unsigned.test");
            }
            if record.name == name("www.unsigned.test") {
                record.name = name("mail.unsigned.test");
            }
        }
    });
    assert_eq!(ask(&resolver, "out.signed.test", Rtype::A), Err(Ede::DnssecBogus));
}

#[test]
fn the_links_to_an_error_must_hold() {
    let file_and_resolver = || {
        let resolver = Resolver::new(Zones::new());
        (AnchorFile::of_root(&resolver.zones), resolver)
    };
    let judged = |is_forged: bool| {
        let (file, resolver) = file_and_resolver();
        change(&resolver.zones, "over.signed.test", RecordType::A, move |_, message| {
            message.metadata.response_code = ResponseCode::ServFail;
            message.answers.retain(|record| record.name == name("over.signed.test"));
            for record in &mut message.answers {
                if let RData::CNAME(CNAME(target)) = &mut record.data
                    && is_forged
                {
                    *target = name("mail.hashed.test");
                }
            }
        });
        let validator = validator(&file, &[]).expect("anchors");
        let question = question("over.signed.test", Rtype::A);
        let answer = resolver.answer(&question);
        let link = run(validator.validate(
            &question,
            &answer.borrowed(),
            Some(1),
            &resolver,
            &mut session(),
        ));
        let whole =
            run(validator.validate(&question, &answer.borrowed(), None, &resolver, &mut session()));
        (worth(link), worth(whole))
    };
    assert_eq!(judged(false), (SECURE, INSECURE));
    assert_eq!(judged(true), (Err(Ede::DnssecBogus), Err(Ede::DnssecBogus)));
}

#[test]
fn a_dname_signs_the_cname_that_it_makes() {
    let by_dname = |target: &'static str| {
        let resolver = Resolver::new(Zones::new());
        change(&resolver.zones, "www.d.signed.test", RecordType::A, move |zones, message| {
            let to = NULL::with(b"\x06hashed\x04test\x00".to_vec());
            let data = RData::Unknown { code: RecordType::from(39), rdata: to };
            let dname = Record::from_rdata(name("d.signed.test"), TTL, data);
            let cname = RData::CNAME(CNAME(name(target)));
            let signature =
                zones.zone("signed.test").sign(std::slice::from_ref(&dname), None, Life::default());
            *message = zones.untampered(&Query::query(name(target), RecordType::A));
            message.queries = vec![Query::query(name("www.d.signed.test"), RecordType::A)];
            let cname = Record::from_rdata(name("www.d.signed.test"), TTL, cname);
            message.answers.splice(0..0, [dname, signature, cname]);
        });
        ask(&resolver, "www.d.signed.test", Rtype::A)
    };
    assert_eq!(by_dname("www.hashed.test"), SECURE);
    assert_eq!(by_dname("mail.hashed.test"), Err(Ede::RrsigsMissing));
}

#[test]
fn a_dname_whose_target_has_upper_case_letters_is_as_good() {
    let resolver = Resolver::new(Zones::new());
    change(&resolver.zones, "www.d.signed.test", RecordType::A, |zones, message| {
        let to = |target: &[u8]| {
            let rdata = NULL::with(target.to_vec());
            let data = RData::Unknown { code: RecordType::DNAME, rdata };
            Record::from_rdata(name("d.signed.test"), TTL, data)
        };
        // The signature covers the canonical form (RFC 4034 §6.2).
        let canonical = to(b"\x06hashed\x04test\x00");
        let zone = zones.zone("signed.test");
        let signature = zone.sign(std::slice::from_ref(&canonical), None, Life::default());
        *message = zones.untampered(&Query::query(name("www.hashed.test"), RecordType::A));
        message.queries = vec![Query::query(name("www.d.signed.test"), RecordType::A)];
        let cname = RData::CNAME(CNAME(name("www.Hashed.test")));
        let cname = Record::from_rdata(name("www.d.signed.test"), TTL, cname);
        let dname = to(b"\x06Hashed\x04tEST\x00");
        message.answers.splice(0..0, [dname, signature, cname]);
    });
    assert_eq!(ask(&resolver, "www.d.signed.test", Rtype::A), SECURE);
}

#[test]
fn records_that_were_not_asked_for_are_left_out() {
    let judged = |qname: &'static str, others: Vec<Record>| {
        let resolver = Resolver::new(Zones::new());
        change(&resolver.zones, qname, RecordType::A, move |_, message| {
            for other in others.clone() {
                message.answers.insert(0, other);
            }
        });
        let file = AnchorFile::of_root(&resolver.zones);
        let validator = validator(&file, &["never.test"]).expect("anchors");
        let question = question(qname, Rtype::A);
        let answer = resolver.answer(&question);
        let judged = judge(&validator, &resolver, &question);
        let security = worth(judged.clone());
        let left = judged.map_or(answer.borrowed().to_answer(), |j| j.with((*answer).clone()).0);
        let records = left.borrowed().records().map(|record| record.rtype).collect::<Vec<_>>();
        (security, records)
    };
    let of = |owner: &str, data: RData| Record::from_rdata(name(owner), TTL, data);
    let forged = || RData::A(A::new(192, 0, 2, 66));
    let aaaa = || RData::AAAA("2001:db8::66".parse().expect("an address"));
    let here = "over.signed.test";
    // Data beside a CNAME is dropped earlier (RFC 2181 §10.1), so validation never sees it.
    assert_eq!(judged(here, vec![of(here, forged())]).0, SECURE);
    let www = "www.signed.test";
    assert_eq!(judged(www, vec![of(www, forged())]).0, Err(Ede::DnssecBogus));
    // Records of another type, with their signatures.
    let zones = Zones::new();
    let signature = zones.zone("signed.test").sign(&[of(www, aaaa())], None, Life::default());
    let signed = vec![Rtype::A, Rtype::RRSIG];
    assert_eq!(judged(www, vec![of(www, aaaa())]), (SECURE, signed.clone()));
    assert_eq!(judged(www, vec![of(www, aaaa()), signature]), (SECURE, signed));
    let unsigned = "www.unsigned.test";
    assert_eq!(judged(unsigned, vec![of(unsigned, aaaa())]), (INSECURE, vec![Rtype::A]));
    let text = RData::Unknown { code: RecordType::from(99), rdata: NULL::with(vec![0]) };
    let chain = vec![Rtype::CNAME, Rtype::RRSIG, Rtype::A, Rtype::RRSIG];
    assert_eq!(judged(here, vec![of("www.hashed.test", text)]), (SECURE, chain));
    let out = "out.signed.test";
    assert_eq!(judged(out, vec![of(out, forged())]).0, INSECURE);
}

#[test]
fn all_records_of_a_name_are_judged_each_by_itself() {
    let any = |tamper: bool| {
        let resolver = Resolver::new(Zones::new());
        change(&resolver.zones, "www.signed.test", RecordType::ANY, move |zones, message| {
            let address = zones.untampered(&Query::query(name("www.signed.test"), RecordType::A));
            message.answers = address.answers;
            message.authorities.clear();
            if tamper {
                let text =
                    RData::Unknown { code: RecordType::from(99), rdata: NULL::with(vec![0]) };
                message.add_answer(Record::from_rdata(name("www.signed.test"), TTL, text));
            }
        });
        ask(&resolver, "www.signed.test", Rtype::ANY)
    };
    assert_eq!(any(false), SECURE);
    assert_eq!(any(true), Err(Ede::RrsigsMissing));
    let resolver = Resolver::new(Zones::new());
    change(&resolver.zones, "www.signed.test", RecordType::ANY, |zones, message| {
        let address = zones.untampered(&Query::query(name("www.signed.test"), RecordType::A));
        message.answers = address.answers;
        message.answers.retain(|record| signature(record).is_some());
    });
    assert_eq!(ask(&resolver, "www.signed.test", Rtype::ANY), INSECURE);
}
