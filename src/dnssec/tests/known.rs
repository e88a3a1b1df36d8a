//! Proven keys and unsigned zones outlive a question: for how long, and for which names.

use std::time::{Duration, SystemTime};

use hickory_proto::op::Query;

use super::super::known::{Clocks, Known, MAX_ZONES, Proven};
use super::super::parts::{Part, signature};
use super::super::testing::Life;
use super::super::whole::Whole;
use super::*;

/// A validator over zones, with the zones that its questions have proven.
struct House {
    resolver: Resolver,
    validator: Validator,
    known: Arc<KnownZones>,
}

impl House {
    fn new(zones: Zones) -> Self {
        let file = AnchorFile::of_root(&zones);
        let validator = validator(&file, &[]).expect("anchors");
        Self { resolver: Resolver::new(zones), validator, known: Arc::default() }
    }

    fn ask_in(&self, session: &mut Session, qname: &str, qtype: Rtype) -> Result<Security, Ede> {
        let question = question(qname, qtype);
        let answer = self.resolver.answer(&question);
        let answer = answer.borrowed();
        let judged = self.validator.validate(&question, &answer, None, &self.resolver, session);
        worth(run(judged))
    }

    fn ask(&self, qname: &str, qtype: Rtype) -> Result<Security, Ede> {
        self.ask_in(&mut self.session(), qname, qtype)
    }

    fn session(&self) -> Session {
        Session::new(Arc::clone(&self.known))
    }

    /// Returns the cost of an answer: questions about keys, and signatures that the validator sees.
    fn cost(&self, qname: &str, qtype: Rtype) -> (Result<Security, Ede>, usize, usize) {
        let (mut session, before) = (self.session(), self.resolver.asked.borrow().len());
        let judged = self.ask_in(&mut session, qname, qtype);
        (judged, self.resolver.asked.borrow().len() - before, session.effort.signatures)
    }

    fn path(&self, qname: &str) -> Vec<Known> {
        let name: Name = qname.parse().expect("a name");
        self.known.path(&name, &Name::root(), Clocks::read())
    }
}

fn zones_in(path: &[Known]) -> Vec<String> {
    path.iter().map(|known| known.zone.to_string()).collect()
}

#[test]
fn the_second_answer_of_a_zone_costs_its_own_signature_alone() {
    let house = House::new(Zones::new());
    let (judged, queries, signatures) = house.cost("www.signed.test", Rtype::A);
    assert_eq!(judged, SECURE);
    assert_eq!((queries, signatures), (5, 6), "three sets of keys, two of digests, and the answer");
    assert_eq!(house.cost("mail.signed.test", Rtype::A), (SECURE, 0, 1));
    assert_eq!(house.cost("signed.test", Rtype::SOA), (SECURE, 0, 1));
    // The zones above are known too.
    assert_eq!(house.cost("test", Rtype::SOA), (SECURE, 0, 1));
    assert_eq!(house.cost("www.hashed.test", Rtype::A), (SECURE, 2, 3));
    // A denial: a SOA and an NSEC.
    assert_eq!(house.cost("none.www.signed.test", Rtype::A), (SECURE, 0, 2));
    // An answer by a wildcard: its signature, and the denial's.
    assert_eq!(house.cost("x.wild.signed.test", Rtype::A), (SECURE, 0, 2));
    assert_eq!(zones_in(&house.path("www.signed.test")), [".", "test", "signed.test"]);
}

#[test]
fn names_of_an_unsigned_zone_cost_nothing_once_that_is_proven() {
    for anchor_is_digest in [false, true] {
        let zones = Zones::new();
        let mut house = House::new(zones);
        if anchor_is_digest {
            let file = AnchorFile::new(&format!(". DS {}", house.resolver.zones.zone("").ds()));
            house.validator = validator(&file, &[]).expect("anchors");
        }
        assert_eq!(house.ask("www.unsigned.test", Rtype::A), INSECURE);
        assert_eq!(zones_in(&house.path("x.unsigned.test")), [".", "test", "unsigned.test"]);
        for qname in ["mail.unsigned.test", "a.b.c.unsigned.test", "unsigned.test"] {
            assert_eq!(house.cost(qname, Rtype::A), (INSECURE, 0, 0), "{qname}");
        }
        // The parent's word about it is signed, and says so.
        let (judged, queries, _) = house.cost("unsigned.test", Rtype::DS);
        assert_eq!((judged, queries), (SECURE, 0));
        // A denial by the zone itself is not signed.
        let (judged, queries, _) = house.cost("unsigned.test", Rtype::NSEC);
        assert_eq!((judged, queries), (INSECURE, 0));
        // A chain that leads there is signed up to it.
        let (judged, queries, signatures) = house.cost("out.signed.test", Rtype::A);
        assert_eq!((judged, queries, signatures), (INSECURE, 2, 3));
    }
}

#[test]
fn what_a_parent_says_at_an_unsigned_zone_is_still_signed() {
    let house = House::new(Zones::new());
    assert_eq!(house.ask("www.signed.test", Rtype::A), SECURE);
    // A zone below it that nothing signs, by an NSEC that stands where it begins.
    let at = Clocks::read();
    let cut: Name = "mail.signed.test".parse().expect("a name");
    house.known.learn(cut, Proven::Unsigned, 300, at);
    // Its signature is seen, and not checked.
    assert_eq!(house.cost("mail.signed.test", Rtype::A), (INSECURE, 0, 1));
    change(&house.resolver.zones, "mail.signed.test", RecordType::NSEC, |zones, message| {
        let denial = Query::query(name("mail.signed.test"), RecordType::TXT);
        message.answers = zones.untampered(&denial).authorities;
        message.answers.retain(|record| record.name == name("mail.signed.test"));
        message.authorities.clear();
    });
    assert_eq!(house.ask("mail.signed.test", Rtype::NSEC), SECURE);
}

#[test]
fn a_zones_keys_prove_neither_themselves_nor_their_digest() {
    let house = House::new(with_keys(2));
    assert_eq!(house.ask("www.signed.test", Rtype::A), SECURE);
    // Keys that are all known, but not all that there are, and unsigned.
    change(&house.resolver.zones, "signed.test", RecordType::DNSKEY, |_, message| {
        message.answers = vec![message.answers.remove(1)];
    });
    assert_eq!(house.ask("signed.test", Rtype::DNSKEY), Err(Ede::RrsigsMissing));
    change(&house.resolver.zones, "signed.test", RecordType::DS, |zones, message| {
        message.answers.retain(|record| signature(record).is_none());
        let by_child = zones.zone("signed.test").sign(&message.answers, None, Life::default());
        message.add_answer(by_child);
    });
    assert_eq!(house.ask("signed.test", Rtype::DS), Err(Ede::DnssecBogus));
    assert_eq!(house.cost("mail.signed.test", Rtype::A), (SECURE, 0, 1));
}

#[test]
fn keys_are_known_no_longer_than_they_their_digest_and_their_parents_hold() {
    let left = |qname: &'static str, rtype: RecordType| {
        let house = House::new(with_keys(2));
        change(&house.resolver.zones, qname, rtype, move |zones, message| {
            message.answers.retain(|record| signature(record).is_none());
            let signer = if rtype == RecordType::DS { "test" } else { qname };
            let life = Life { from: -60, until: 100 };
            message.add_answer(zones.zone(signer).sign(&message.answers, None, life));
        });
        assert_eq!(house.ask("www.signed.test", Rtype::A), SECURE);
        house.path("www.signed.test").iter().map(|known| known.left_seconds).collect::<Vec<_>>()
    };
    let is = |seconds: u32, at_most: u32| (at_most - 10..=at_most).contains(&seconds);
    let by_keys = left("signed.test", RecordType::DNSKEY);
    assert!(is(by_keys[1], TTL) && is(by_keys[2], 100), "{by_keys:?}");
    let by_digest = left("signed.test", RecordType::DS);
    assert!(is(by_digest[1], TTL) && is(by_digest[2], 100), "{by_digest:?}");
    let by_parent = left("test", RecordType::DNSKEY);
    assert!(is(by_parent[0], TTL) && is(by_parent[1], 100) && is(by_parent[2], 100));
}

#[test]
fn what_was_not_proven_is_not_known() {
    // A key that has no DS.
    let house = House::new(Zones::new());
    change(&house.resolver.zones, "signed.test", RecordType::DNSKEY, |zones, message| {
        message.answers.clear();
        let other = zones.zone("hashed.test").key();
        let data = RData::DNSSEC(DNSSECRData::DNSKEY(other));
        message.add_answer(Record::from_rdata(name("signed.test"), TTL, data));
    });
    assert!(house.ask("www.signed.test", Rtype::A).is_err());
    // The root's keys are the anchor's to prove.
    assert_eq!(zones_in(&house.path("www.signed.test")), ["."]);
    // Another zone's denial, and no signatures.
    let house = House::new(Zones::new());
    house.resolver.zones.tamper(|zones, query, message| {
        if name("signed.test").zone_of(query.name()) {
            message.answers.retain(|record| signature(record).is_none());
            if query.query_type() == RecordType::DS {
                let other = Query::query(name("unsigned.test"), RecordType::DS);
                message.answers.clear();
                message.authorities = zones.untampered(&other).authorities;
            }
        }
    });
    assert!(house.ask("www.signed.test", Rtype::A).is_err());
    // The root's keys are the anchor's to prove.
    assert_eq!(zones_in(&house.path("www.signed.test")), ["."]);
    // A second signature beside a good one.
    let house = House::new(Zones::new());
    house.resolver.zones.tamper(|zones, query, message| {
        if query.query_type() == RecordType::A && *query.name() == name("www.signed.test") {
            // A signature by the parent, whose keys are then asked for; they do not prove it.
            let data: Vec<_> = message.answers[..1].to_vec();
            message.answers.insert(1, zones.zone("test").sign(&data, None, Life::default()));
        }
    });
    assert_eq!(house.ask("www.signed.test", Rtype::A), SECURE);
}

#[test]
fn a_round_past_what_is_known_keeps_it_unless_better_comes() {
    let house = House::new(Zones::new());
    assert_eq!(house.ask("www.signed.test", Rtype::A), SECURE);
    let first = house.path("www.signed.test").pop().expect("known").learned;
    let mut session = house.session();
    change(&house.resolver.zones, "mail.signed.test", RecordType::A, |_, m| alter_address(m));
    assert_eq!(house.ask_in(&mut session, "mail.signed.test", Rtype::A), Err(Ede::DnssecBogus));
    assert!(session.took_proven_keys_only());
    let at_fault: Vec<_> = session.at_fault().iter().map(|fault| fault.zone.to_string()).collect();
    assert_eq!(at_fault, ["signed.test", "test", "."]);
    let zone: Name = "signed.test".parse().expect("a name");
    session.renew(zone.clone(), Instant::now());
    let before = house.resolver.asked.borrow().len();
    assert_eq!(house.ask_in(&mut session, "mail.signed.test", Rtype::A), Err(Ede::DnssecBogus));
    let asked = house.resolver.asked.borrow()[before..].to_vec();
    let expected = [(zone.clone(), Rtype::DNSKEY), (zone, Rtype::DS)];
    assert!(asked.len() == 2 && expected.iter().all(|one| asked.contains(one)), "{asked:?}");
    assert_eq!(house.path("www.signed.test").pop().expect("known").learned, first);
    // The same round with a good answer.
    assert_eq!(house.ask_in(&mut session, "www.signed.test", Rtype::A), SECURE);
    assert!(house.path("www.signed.test").pop().expect("known").learned > first);
}

#[test]
fn a_zone_that_is_not_renewed_does_not_inherit_the_repeat_of_the_one_above() {
    let house = House::new(Zones::new());
    assert_eq!(house.ask("www.signed.test", Rtype::A), SECURE);
    let name = |text: &str| text.parse::<Name>().expect("a name");
    let mut session = house.session();
    session.renew(name("test"), Instant::now());
    assert!(session.has_renewed(&name("test")) && !session.has_renewed(&name("signed.test")));
    assert!(session.fresh_since(&name("signed.test")).is_some());
    session.accept(name("signed.test"));
    assert!(session.fresh_since(&name("test")).is_some());
    assert!(session.fresh_since(&name("www.signed.test")).is_none());
    assert!(!session.has_renewed(&name("signed.test")));
    // Its proven keys count again, too.
    let before = house.resolver.asked.borrow().len();
    assert_eq!(house.ask_in(&mut session, "mail.signed.test", Rtype::A), SECURE);
    assert_eq!(house.resolver.asked.borrow().len(), before);
}

#[test]
fn faults_tell_proven_keys_from_others() {
    let house = House::new(Zones::new());
    assert_eq!(house.ask("www.signed.test", Rtype::A), SECURE);
    let mut session = house.session();
    change(&house.resolver.zones, "hashed.test", RecordType::DNSKEY, |_, message| {
        message.answers.clear();
    });
    assert!(house.ask_in(&mut session, "www.hashed.test", Rtype::A).is_err());
    let faults = session.at_fault();
    let shown: Vec<_> =
        faults.iter().map(|fault| (fault.zone.to_string(), fault.is_proven)).collect();
    let expected = [("hashed.test", false), ("test", true), (".", true)];
    assert_eq!(shown, expected.map(|(zone, is_proven)| (zone.to_owned(), is_proven)));
}

#[test]
fn rounds_share_what_a_question_may_cost() {
    let house = House::new(Zones::new());
    let mut session = house.session();
    let deep = format!("{}x.unsigned.test", "a.".repeat(40));
    assert_eq!(house.ask_in(&mut session, &deep, Rtype::A), INSECURE);
    let before = session.effort.queries;
    assert!(before > 40 && before <= 64, "{before}");
    for known in house.path(&deep) {
        session.renew(known.zone, Instant::now());
    }
    let again = house.ask_in(&mut session, &deep, Rtype::A);
    assert_eq!(again, Err(Ede::DnssecIndeterminate));
}

fn bare_zone(number: usize) -> Name {
    format!("z{number}.test").parse().expect("a name")
}

#[test]
fn the_table_is_bounded_and_the_least_used_zone_goes() {
    let (known, at) = (KnownZones::default(), Clocks::read());
    for number in 0..MAX_ZONES {
        known.learn(bare_zone(number), Proven::Unsigned, 300, at);
    }
    let is_known = |number: usize| !known.path(&bare_zone(number), &Name::root(), at).is_empty();
    assert!(is_known(0));
    known.learn(bare_zone(MAX_ZONES), Proven::Unsigned, 300, at);
    assert_eq!(known.len(), MAX_ZONES);
    assert!(is_known(0) && !is_known(1) && is_known(2) && is_known(MAX_ZONES));
    // A zone that is known already keeps its place.
    known.learn(bare_zone(0), Proven::Unsigned, 300, at);
    assert!(is_known(3) && known.len() == MAX_ZONES);
    // Those whose time is over go first, all of them.
    let later = Clocks { now: at.now + Duration::from_secs(300), ..at };
    known.learn(bare_zone(MAX_ZONES + 1), Proven::Unsigned, 300, later);
    assert_eq!(known.len(), 1);
}

#[test]
fn a_zone_is_known_for_its_time_by_both_clocks() {
    let (known, at) = (KnownZones::default(), Clocks::read());
    let zone = bare_zone(0);
    known.learn(zone.clone(), Proven::Unsigned, 0, at);
    assert!(known.is_empty());
    known.learn(zone.clone(), Proven::Unsigned, 60, at);
    let is_known = |now: u64, wall: u64| {
        let at = Clocks {
            now: at.now + Duration::from_secs(now),
            wall: at.wall + Duration::from_secs(wall),
        };
        !known.path(&zone, &Name::root(), at).is_empty()
    };
    assert!(is_known(59, 59));
    assert!(!is_known(60, 0), "the clock on the wall was set back");
    assert!(!is_known(0, 60), "the machine slept");
    let back = Clocks { wall: SystemTime::UNIX_EPOCH, ..at };
    assert!(!known.path(&zone, &Name::root(), back).is_empty());
    assert!(known.has_learned_since(&bare_zone(0), at.now - Duration::from_secs(1)));
    assert!(!known.has_learned_since(&bare_zone(0), at.now));
    assert!(!known.has_learned_since(&bare_zone(1), at.now - Duration::from_secs(1)));
}

#[test]
fn names_are_compared_whole_and_only_below_the_anchor() {
    let (known, at) = (KnownZones::default(), Clocks::read());
    let [test, zone] = ["test", "a.test"].map(|name| name.parse::<Name>().expect("a name"));
    known.learn(zone.clone(), Proven::Unsigned, 60, at);
    let found = |name: &str, top: &Name| {
        zones_in(&known.path(&name.parse().expect("a name"), top, at)).concat()
    };
    assert_eq!(found("x.a.test", &test), "a.test");
    assert_eq!(found("A.TEST", &test), "a.test");
    assert_eq!(found("x.aa.test", &test), "");
    assert_eq!(found("x.a.test", &"x.a.test".parse().expect("a name")), "");
    let keys = Part::new(
        &Whole::of(Zones::new().untampered(&Query::query(name("test"), RecordType::DNSKEY))),
        name("test"),
        RecordType::DNSKEY,
    );
    assert_eq!(keys.bare_keys().expect("keys").signature_count(), 0);
}
