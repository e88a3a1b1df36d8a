//! Validation over signed zones of the tests' own.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use hickory_proto::dnssec::rdata::{DNSKEY, DNSSECRData};
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, NULL};
use hickory_proto::rr::{RData, Record, RecordType};

use super::clerk::{MAX_KEYS, MAX_QUERIES, MAX_SIGNATURES};
use super::parts::{signature, to_hickory};

use super::testing::{AnchorFile, Denial, Life, TTL, Zones, name};
use super::*;
use crate::config::DnssecConfig;
use crate::config::testing::minimal;
use crate::wire::{Answer, Ede, Name, QName, Question, Rtype};

const SECURE: Result<Security, Ede> = Ok(Security::Secure { ttl_seconds: TTL });
const INSECURE: Result<Security, Ede> = Ok(Security::Insecure);

/// A resolver over zones that counts what it is asked.
struct Resolver {
    zones: Zones,
    /// Names below this are not validated by any rule.
    passes: Option<Name>,
    asked: RefCell<Vec<(Name, Rtype)>>,
    silent: Cell<bool>,
}

impl Resolver {
    fn new(zones: Zones) -> Self {
        Self { zones, passes: None, asked: RefCell::default(), silent: Cell::new(false) }
    }

    fn answer(&self, question: &Question) -> Arc<Answer> {
        let qname = to_hickory(&question.qname).expect("a name");
        let query = Query::query(qname, RecordType::from(question.qtype.0));
        let octets = self.zones.answer(&query).to_vec().expect("encodable");
        Arc::new(Answer::parse(&octets, question).expect("a reply"))
    }

    fn count(&self, qtype: Rtype) -> usize {
        self.asked.borrow().iter().filter(|(_, asked)| *asked == qtype).count()
    }
}

impl Source for Resolver {
    fn validates(&self, name: &QName) -> bool {
        self.passes.as_ref().is_none_or(|zone| !name.to_name().is_within(zone))
    }

    async fn ask(&self, question: Question) -> Option<Arc<Answer>> {
        assert!(question.dnssec_ok && question.checking_disabled);
        self.asked.borrow_mut().push((question.qname.clone(), question.qtype));
        (!self.silent.get()).then(|| self.answer(&question))
    }
}

fn validator(file: &AnchorFile, negative: &[&str]) -> Result<Validator, AnchorError> {
    let negative = negative.iter().map(|name| name.parse().expect("a name")).collect();
    let config =
        DnssecConfig { trust_anchors: Some(file.0.clone()), negative_trust_anchors: negative };
    Validator::new(&config, &minimal().private_links)
}

fn question(qname: &str, qtype: Rtype) -> Question {
    let question = Question::plain(qname.parse().expect("a name"), qtype);
    Question { dnssec_ok: true, checking_disabled: true, ..question }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(work)
}

fn judge(
    validator: &Validator,
    resolver: &Resolver,
    question: &Question,
) -> Result<Security, crate::forward::Bogus> {
    let answer = resolver.answer(question);
    run(validator.validate(question, &answer.borrowed(), None, resolver))
}

fn ask(resolver: &Resolver, qname: &str, qtype: Rtype) -> Result<Security, Ede> {
    let file = AnchorFile::of_root(&resolver.zones);
    let validator = validator(&file, &["never.test"]).expect("anchors");
    judge(&validator, resolver, &question(qname, qtype)).map_err(|bogus| bogus.ede)
}

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

/// Does `change` to the answers to one question.
fn change(
    zones: &Zones,
    qname: &'static str,
    rtype: RecordType,
    mut change: impl FnMut(&Zones, &mut Message) + Send + 'static,
) {
    zones.tamper(move |zones, query, message| {
        if *query.name() == name(qname) && query.query_type() == rtype {
            change(zones, message);
        }
    });
}

/// Zones of which `signed.test` has so many keys; its parent names one, and so a signature over all
/// is needed.
fn with_keys(keys: usize) -> Zones {
    let mut zones = Zones::new();
    let key = zones.zone("signed.test").key();
    for number in 1..keys {
        let flags = 256 | u16::try_from(number).expect("few") << 9;
        let data = DNSKEY::with_flags(flags, key.public_key().clone());
        let data = RData::DNSSEC(DNSSECRData::DNSKEY(data));
        zones.zone_mut("signed.test").add(name("signed.test"), data);
    }
    zones
}

fn alter_address(message: &mut Message) {
    for record in &mut message.answers {
        if let RData::A(address) = &mut record.data {
            *address = A::new(192, 0, 2, 66);
        }
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
        &*bogus.expect_err("bogus").text,
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
    let link = run(validator.validate(&question, &answer.borrowed(), Some(1), &resolver));
    assert_eq!(link.map_err(|bogus| bogus.ede), SECURE);
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
fn nothing_below_a_negative_trust_anchor_is_validated() {
    let resolver = Resolver::new(Zones::new());
    resolver.zones.tamper(|_, _, message| alter_address(message));
    let file = AnchorFile::of_root(&resolver.zones);
    let validator = validator(&file, &["signed.test"]).expect("anchors");
    let judged = |qname: &str| {
        judge(&validator, &resolver, &question(qname, Rtype::A)).map_err(|bogus| bogus.ede)
    };
    assert_eq!(judged("www.signed.test"), INSECURE);
    assert_eq!(judged("signed.test"), INSECURE);
    let p = minimal().private_links[0].public_zone.to_string();
    assert_eq!(judged(&format!("x.{p}")), INSECURE);
    assert_eq!(judged(&format!("x.privatelink.{p}")), INSECURE);
    assert!(resolver.asked.borrow().is_empty());
    assert_eq!(judged("www.hashed.test"), Err(Ede::DnssecBogus));
    let mut passing = resolver;
    passing.passes = Some("hashed.test".parse().expect("a name"));
    let judged = judge(&validator, &passing, &question("www.hashed.test", Rtype::A));
    assert_eq!(judged.map_err(|bogus| bogus.ede), INSECURE);
}

#[test]
fn anchors_are_keys_or_digests_of_any_zone() {
    let resolver = Resolver::new(Zones::new());
    let judged = |text: &str, qname: &str| {
        let file = AnchorFile::new(text);
        let validator = validator(&file, &[]).expect("anchors");
        judge(&validator, &resolver, &question(qname, Rtype::A)).map_err(|bogus| bogus.ede)
    };
    let root = format!(". IN DS {}", resolver.zones.zone("").ds());
    assert_eq!(judged(&root, "www.signed.test"), SECURE);
    let island =
        format!("Hashed.Test. 60 in ds {} ; ours", resolver.zones.zone("hashed.test").ds());
    assert_eq!(judged(&island, "www.hashed.test"), SECURE);
    assert_eq!(judged(&island, "www.signed.test"), INSECURE);
    let both = format!("{root}\n{island}");
    assert_eq!(judged(&both, "over.signed.test"), SECURE);
    let wrong = format!(". DS {}", resolver.zones.zone("hashed.test").ds());
    assert_eq!(judged(&wrong, "www.signed.test"), Err(Ede::DnssecBogus));
}

#[test]
fn a_file_of_anchors_says_where_it_is_wrong() {
    let why = |text: &str| {
        let file = AnchorFile::new(text);
        let error = validator(&file, &[]).err().expect("an error");
        let said = error.to_string();
        assert!(said.starts_with(file.0.to_str().expect("a path")), "{said}");
        (error.line, error.what)
    };
    assert_eq!(why("; nothing").0, None);
    let (line, what) = why("\n. IN DS 20326 8 2 nonsense\n");
    assert_eq!(line, Some(2));
    assert!(what.starts_with("this DS record cannot be read"), "{what}");
    let (line, what) = why(". IN A 10.0.0.1");
    assert_eq!(line, Some(1));
    assert!(what.starts_with("a A record; write DS or DNSKEY records"), "{what}");
    assert_eq!(why("a..b DS 1 8 2 00").0, Some(1));
    assert_eq!(why("a.b").0, Some(1));
    assert_eq!(why(". IN DNSKEY 257 3 8 !").0, Some(1));
    let gone = AnchorFile("/nonexistent/anchors".into());
    let error = validator(&gone, &[]).err().expect("an error").to_string();
    assert!(error.starts_with("/nonexistent/anchors: cannot be read"), "{error}");
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

#[test]
fn a_question_takes_so_many_queries_and_no_more() {
    let resolver = Resolver::new(Zones::new());
    // The way up from an unsigned name is asked for label by label.
    let below = |labels: usize| format!("{}x.unsigned.test", "a.".repeat(labels));
    assert_eq!(ask(&resolver, &below(40), Rtype::A), INSECURE);
    let before = resolver.asked.borrow().len();
    assert!(before <= MAX_QUERIES, "{before}");
    assert_eq!(ask(&resolver, &below(80), Rtype::A), Err(Ede::DnssecIndeterminate));
    assert_eq!(resolver.asked.borrow().len() - before, MAX_QUERIES);
}

#[test]
fn each_zones_keys_are_asked_for_once() {
    let resolver = Resolver::new(Zones::new());
    assert_eq!(ask(&resolver, "lost.signed.test", Rtype::A), SECURE);
    assert_eq!(resolver.count(Rtype::DNSKEY), 4, "{:?}", resolver.asked);
    assert_eq!(resolver.count(Rtype::DS), 3, "{:?}", resolver.asked);
}

#[test]
fn more_signatures_and_keys_than_anybody_has_are_not_looked_at() {
    let judged = |signatures: usize| {
        let resolver = Resolver::new(Zones::new());
        change(&resolver.zones, "www.signed.test", RecordType::A, move |_, message| {
            let is_signature = |record: &&Record| signature(record).is_some();
            let one = message.answers.iter().find(is_signature).expect("signed").clone();
            message.add_answers(vec![one; signatures - 1]);
        });
        ask(&resolver, "www.signed.test", Rtype::A)
    };
    assert_eq!(judged(MAX_SIGNATURES), SECURE);
    assert_eq!(judged(MAX_SIGNATURES + 1), Err(Ede::DnssecIndeterminate));
    let judged = |keys: usize| ask(&Resolver::new(with_keys(keys)), "www.signed.test", Rtype::A);
    assert_eq!(judged(MAX_KEYS), SECURE);
    assert_eq!(judged(MAX_KEYS + 1), Err(Ede::DnssecIndeterminate));
}

#[test]
fn a_validator_knows_which_one_is_stricter() {
    let zones = Zones::new();
    let file = AnchorFile::of_root(&zones);
    let of = |negative: &[&str]| validator(&file, negative).expect("anchors");
    let (lax, strict) = (of(&["a.test", "b.test"]), of(&["a.test"]));
    assert!(strict.is_as_strict_as(&lax));
    assert!(!lax.is_as_strict_as(&strict));
    let other = AnchorFile::new(&format!(". IN DS {}", zones.zone("").ds()));
    assert!(!validator(&other, &["a.test"]).expect("anchors").is_as_strict_as(&strict));
}
