//! Replies as large as they can be cost steps in proportion to their size, or are refused.

use super::super::clerk::{Clerk, MAX_HASH_ROUNDS, MAX_QUERIES, MAX_STEPS};
use super::super::known::{Clocks, Known, Proven};
use super::super::testing::Denial;
use super::super::trust::{MAX_TRUSTED, nearest};
use super::super::whole::{
    MAX_MAPPED_TYPES, MAX_PROOFS, MAX_SIGNATURES_OF_ANSWER, MAX_TYPES, Unfit, Whole,
};
use super::*;
use crate::wire::{MAX_MESSAGE_OCTETS, MessageWriter, Section, flags};

/// The owner that is the question's name.
const HERE: &[u8] = &[0xc0, 12];

/// A record, but for its class and TTL.
#[derive(Clone)]
struct Plain {
    section: Section,
    owner: Vec<u8>,
    rtype: Rtype,
    rdata: Vec<u8>,
}

/// A record of the question's name.
fn here(section: Section, rtype: u16, rdata: impl AsRef<[u8]>) -> Plain {
    Plain { section, owner: HERE.to_vec(), rtype: Rtype(rtype), rdata: rdata.as_ref().to_vec() }
}

/// An answer with `first` and as many of `others` as fit, and the number of all of them.
fn large(
    question: &Question,
    first: &[Plain],
    others: impl Iterator<Item = Plain>,
) -> (Answer, usize) {
    let mut out = Vec::new();
    let mut writer = MessageWriter::begin(&mut out, MAX_MESSAGE_OCTETS, 0, flags::QR | flags::RA);
    writer.question(question).expect("room");
    let mut counts = [1, 0, 0, 0];
    for record in first.iter().cloned().chain(others) {
        let Plain { section, owner, rtype, rdata } = record;
        if writer.room() < owner.len() + 10 + rdata.len() {
            break;
        }
        writer.raw(&owner).expect("room");
        writer.fixed(rtype, 1, 300, rdata.len()).expect("room");
        writer.raw(&rdata).expect("room");
        counts[if section == Section::Answer { 1 } else { 2 }] += 1;
    }
    writer.set_counts(counts);
    let records = usize::from(counts[1] + counts[2]);
    (Answer::parse(&out, question).expect("a reply"), records)
}

/// RDATA of a signature that is none, of `signed.test` over a type.
fn signature(covered: u16, number: u16) -> Vec<u8> {
    let now = super::super::parts::now_seconds().get();
    let fixed = [&covered.to_be_bytes()[..], &[13, 3], &[0, 0, 1, 44]].concat();
    let life = [(now + 600).to_be_bytes(), (now - 600).to_be_bytes()].concat();
    let tail = [&[0, 7][..], b"\x06signed\x04test\x00", &number.to_be_bytes(), &[7; 62]].concat();
    [fixed, life, tail].concat()
}

/// RDATA of an NSEC whose next name is `number`.
fn nsec(number: u16) -> Vec<u8> {
    let [high, low] = number.to_be_bytes();
    vec![2, high, low, 0, 0, 1, 0x40]
}

fn addresses() -> impl Iterator<Item = Plain> {
    (0..u32::MAX).map(|number| here(Section::Answer, 1, number.to_be_bytes()))
}

/// The verdict on an answer to `question`, and the steps that it took.
fn steps(question: &Question, answer: &Answer) -> (Result<Security, Ede>, usize) {
    let resolver = Resolver::new(Zones::new());
    let file = AnchorFile::of_root(&resolver.zones);
    let validator = validator(&file, &[]).expect("anchors");
    let mut session = session();
    let answer = answer.borrowed();
    let judged = run(validator.validate(question, &answer, None, &resolver, &mut session));
    (worth(judged), session.effort.steps)
}

#[test]
fn four_thousand_addresses_and_a_bad_signature() {
    let question = question("www.signed.test", Rtype::A);
    let signed = |signatures: u16| -> Vec<_> {
        (0..signatures).map(|number| here(Section::Answer, 46, signature(1, number))).collect()
    };
    let (answer, records) = large(&question, &signed(1), addresses());
    assert!(records > 4_000, "{records}");
    let (judged, taken) = steps(&question, &answer);
    assert_eq!(judged, Err(Ede::DnssecBogus));
    // Read, looked at, hashed and copied, and the keys of three zones.
    assert!(taken < 4 * records + 200, "{taken}");
    // With as many signatures as one answer may have, each over all the records.
    let (answer, records) = large(&question, &signed(64), addresses());
    let (judged, taken) = steps(&question, &answer);
    assert_eq!(judged, Err(Ede::DnssecIndeterminate));
    assert!(taken > MAX_STEPS && taken < 70 * records, "{taken}");
}

#[test]
fn thousands_of_other_types_at_one_name() {
    let types = |qname: &str, qtype| {
        let question = question(qname, qtype);
        let others = (300..30_000).map(|rtype| here(Section::Answer, rtype, [7]));
        let address = here(Section::Answer, 1, [192, 0, 2, 1]);
        let (answer, records) = large(&question, &[address], others);
        assert!(records > 4_000, "{records}");
        (steps(&question, &answer), records)
    };
    let ((judged, taken), _) = types("www.signed.test", Rtype::ANY);
    assert_eq!((judged, taken), (Err(Ede::DnssecIndeterminate), 0));
    let ((judged, taken), records) = types("www.unsigned.test", Rtype::A);
    assert_eq!(judged, INSECURE);
    assert!(taken < records + 200, "{taken}");
}

#[test]
fn thousands_of_dnames_above_a_chain() {
    let question = question("x.d.signed.test", Rtype::A);
    let owner = b"\x01d\x06signed\x04test\x00".to_vec();
    let others = (0..u16::MAX).map(|number| {
        let [high, low] = number.to_be_bytes();
        let rdata = vec![2, high, low, 0];
        Plain { section: Section::Answer, owner: owner.clone(), rtype: Rtype::DNAME, rdata }
    });
    let cname = here(Section::Answer, 5, [1, b'x', 2, 0, 0, 0]);
    let (answer, records) = large(&question, &[cname], others);
    let (judged, taken) = steps(&question, &answer);
    assert!(judged.is_err(), "{judged:?}");
    assert!(taken < 4 * records + 200, "{taken}");
}

/// Brings the same answer's records to every question about NS and DS.
struct Flood {
    resolver: Resolver,
    denials: u16,
}

impl Source for Flood {
    fn validates(&self, _: &QName) -> bool {
        true
    }

    async fn ask(&self, question: Question, since: Option<Instant>) -> Option<Brought> {
        let brought = self.resolver.ask(question.clone(), since).await?;
        if question.qtype != Rtype::NS {
            return Some(brought);
        }
        let denials = (0..self.denials).map(|number| Plain {
            // Short, or reading so many names costs too much before.
            owner: vec![0],
            ..here(Section::Authority, 47, nsec(number))
        });
        let (answer, _) = large(&question, &[], denials);
        Some(Brought { answer: Arc::new(answer), ..brought })
    }
}

#[test]
fn thousands_of_unsigned_denials_for_each_key_question() {
    let judged = |denials: u16| {
        let resolver = Resolver::new(Zones::new());
        let file = AnchorFile::of_root(&resolver.zones);
        let validator = validator(&file, &[]).expect("anchors");
        let question = question(&format!("{}x.unsigned.test", "a.".repeat(40)), Rtype::A);
        let answer = resolver.answer(&question);
        let flood = Flood { resolver, denials };
        let mut session = session();
        let answer = answer.borrowed();
        let judged = run(validator.validate(&question, &answer, None, &flood, &mut session));
        (worth(judged), session.effort.steps, session.effort.queries)
    };
    let most = u16::try_from(MAX_PROOFS).expect("few");
    let (_, taken, queries) = judged(most);
    assert!(queries > 30 && queries <= MAX_QUERIES + 1, "{queries}");
    // Each is read, and looked at once for the part.
    assert!(taken < queries * (2 * MAX_PROOFS + 30), "{taken}");
    for denials in [most + 1, 3_400] {
        let (judged, taken, queries) = judged(denials);
        assert_eq!(judged, Err(Ede::DnssecIndeterminate));
        assert!(taken < 200 && queries < 10, "{taken} {queries}");
    }
}

#[test]
fn what_no_honest_answer_has_is_not_read() {
    let question_of = |qtype| question("www.signed.test", qtype);
    let read = |question: &Question, records: &[Plain]| {
        let (answer, _) = large(question, records, std::iter::empty());
        Whole::read(&answer.borrowed()).map(|_| ())
    };
    let few = |most: usize, record: &dyn Fn(u16) -> Plain| -> Vec<Plain> {
        (0..u16::try_from(most).expect("few")).map(record).collect()
    };
    let question = question_of(Rtype::A);
    let signed = |number| here(Section::Answer, 46, signature(1, number));
    assert_eq!(read(&question, &few(MAX_SIGNATURES_OF_ANSWER, &signed)), Ok(()));
    let refused = Err(Unfit::TooMany("signatures"));
    assert_eq!(read(&question, &few(MAX_SIGNATURES_OF_ANSWER + 1, &signed)), refused);
    let denials = |number| here(Section::Authority, 47, nsec(number));
    assert_eq!(read(&question, &few(MAX_PROOFS, &denials)), Ok(()));
    let refused = Err(Unfit::TooMany("proofs"));
    assert_eq!(read(&question, &few(MAX_PROOFS + 1, &denials)), refused);
    // NSEC, NSEC3 and CSYNC, each with maps of 256 types a window.
    let maps = |windows: u8| -> Vec<u8> {
        (0..windows).flat_map(|window| [&[window, 32][..], &[0xff; 32]].concat()).collect()
    };
    let full = u8::try_from(MAX_MAPPED_TYPES / 256).expect("few");
    for (rtype, front) in
        [(47, &[0][..]), (50, &[1, 0, 0, 0, 1, 7, 2, 8, 8]), (62, &[0, 0, 0, 1, 0, 3])]
    {
        let with = |windows, more: &[u8]| {
            let rdata = [front, &maps(windows), more].concat();
            read(&question_of(Rtype(rtype)), &[here(Section::Answer, rtype, rdata)])
        };
        assert_eq!(with(full, &[]), Ok(()), "{rtype}");
        let refused = Err(Unfit::TooMany("types in bit maps"));
        assert_eq!(with(full, &[255, 1, 0x80]), refused, "{rtype}");
    }
    let types = |number| here(Section::Answer, 300 + number, [7]);
    assert_eq!(read(&question_of(Rtype::ANY), &few(MAX_TYPES, &types)), Ok(()));
    let refused = Err(Unfit::TooMany("types"));
    assert_eq!(read(&question_of(Rtype::ANY), &few(MAX_TYPES + 1, &types)), refused);
    assert_eq!(read(&question, &few(MAX_TYPES + 1, &types)), Ok(()));
}

#[test]
fn all_steps_and_hashes_of_a_question_are_counted() {
    let iterated = Denial::Nsec3 { iterations: 100, opt_out: false };
    let resolver = Resolver::new(Zones::with_hashed(iterated));
    let spent = |steps: usize, hash_rounds: usize| {
        let mut session = session();
        (session.effort.steps, session.effort.hash_rounds) = (steps, hash_rounds);
        let mut clerk = Clerk::new(&resolver, &mut session);
        let qname: Name = "none.mail.hashed.test".parse().expect("a name");
        let is_brought = run(clerk.bring(qname, RecordType::A)).is_some();
        (is_brought, session.effort.steps, session.effort.hash_rounds)
    };
    let (is_brought, steps, hash_rounds) = spent(0, 0);
    assert!(is_brought && steps > 0);
    // The names from the asked one up to the root, and three more.
    assert_eq!(hash_rounds, 101 * (4 + 3));
    for (excess, is_affordable) in [(0, true), (1, false)] {
        assert_eq!(spent(MAX_STEPS - steps + excess, 0).0, is_affordable);
        assert_eq!(spent(0, MAX_HASH_ROUNDS - hash_rounds + excess).0, is_affordable);
    }
}

#[test]
fn name_servers_are_not_copied_for_each_look() {
    let resolver = Resolver::new(Zones::new());
    change(&resolver.zones, "signed.test", RecordType::NS, |_, message| {
        message.add_answers((0..500).map(|number| {
            let data = hickory_proto::rr::rdata::NS(name(&format!("ns{number}.test")));
            Record::from_rdata(name("signed.test"), TTL, RData::NS(data))
        }));
    });
    let mut session = session();
    let mut clerk = Clerk::new(&resolver, &mut session);
    let qname: Name = "signed.test".parse().expect("a name");
    let part = run(clerk.bring(qname, RecordType::NS)).expect("an answer");
    assert_eq!(part.len(), 1);
    // All that were asked for are judged.
    assert_eq!(ask(&resolver, "signed.test", Rtype::NS), Err(Ede::DnssecBogus));
}

#[test]
fn the_zones_that_are_trusted_at_once_are_bounded() {
    let zone = |labels: usize| format!("{}test", "a.".repeat(labels)).parse::<Name>();
    let known = |labels: usize| Known {
        zone: zone(labels).expect("a name"),
        proven: Proven::Unsigned,
        learned: Clocks::read().now,
        left_seconds: 60,
    };
    let of = |zones: usize| {
        let path = nearest((0..zones).map(known).collect());
        path.iter().map(|known| known.zone.label_count()).collect::<Vec<_>>()
    };
    assert!(of(0).is_empty());
    assert_eq!(of(MAX_TRUSTED), (1..=MAX_TRUSTED).collect::<Vec<_>>());
    // The anchor's zone and the deepest ones.
    let kept: Vec<_> = std::iter::once(1).chain(3..=MAX_TRUSTED + 1).collect();
    assert_eq!(of(MAX_TRUSTED + 1), kept);
    assert_eq!(of(100).len(), MAX_TRUSTED);
}
