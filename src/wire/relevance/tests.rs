//! Replies with more, or less, than answers their question.

use super::*;
use crate::wire::{Answer, Name, flags};

type Line<'a> = (&'a str, Rtype, &'a [u8]);

fn wire(name: &str) -> Vec<u8> {
    name.parse::<Name>().expect("a name").as_wire().to_vec()
}

fn question(qtype: Rtype) -> Question {
    Question::plain("www.test".parse().expect("a name"), qtype)
}

fn reply(qtype: Rtype, answers: &[Line<'_>], authorities: &[Line<'_>]) -> Vec<u8> {
    let question = question(qtype);
    let mut out = Vec::new();
    let mut writer = MessageWriter::begin(&mut out, MAX_MESSAGE_OCTETS, 7, flags::QR);
    writer.raw(question.qname.as_wire()).expect("room");
    writer.raw(&[qtype.0.to_be_bytes(), [0, 1]].concat()).expect("room");
    for (owner, rtype, rdata) in answers.iter().chain(authorities) {
        writer.raw(&wire(owner)).expect("room");
        writer.fixed(*rtype, 1, 60, rdata.len()).expect("room");
        writer.raw(rdata).expect("room");
    }
    let count = |lines: &[Line<'_>]| u16::try_from(lines.len()).expect("few");
    writer.set_counts([1, count(answers), count(authorities), 0]);
    out
}

fn kept(qtype: Rtype, answers: &[Line<'_>], authorities: &[Line<'_>]) -> Vec<String> {
    let message = reply(qtype, answers, authorities);
    let answer = Answer::parse(&message, &question(qtype)).expect("a reply");
    let line = |record: Record<'_>| {
        let (owner, _) = read_name(answer.borrowed().message(), record.owner_at).expect("a name");
        format!("{owner} {}", record.rtype)
    };
    answer.borrowed().records().map(line).collect()
}

#[test]
fn what_the_question_does_not_lead_to_is_dropped() {
    let (cdn, ours) = (wire("cdn.test"), wire("ours.private"));
    let a: &[u8] = &[203, 0, 113, 9];
    let answers = [
        ("cdn.test", Rtype::A, a),
        ("www.test", Rtype::CNAME, &*cdn),
        ("www.test", Rtype::CNAME, &*ours),
        ("ours.private", Rtype::A, a),
        ("test", Rtype::DNAME, &*cdn),
        ("test", Rtype::A, a),
    ];
    let expected = ["test DNAME", "www.test CNAME", "cdn.test A"];
    assert_eq!(kept(Rtype::A, &answers, &[("ours.private", Rtype::A, a)]), expected);
}

/// Answers in the order in which they are kept, each as its owner, type, and first octet.
fn lines(question: &Question, answers: &[Line<'_>]) -> Result<Vec<String>, AnswerError> {
    let message = reply(question.qtype, answers, &[]);
    let answer = Answer::parse(&message, question)?;
    let line = |record: Record<'_>| {
        let (owner, _) = read_name(answer.borrowed().message(), record.owner_at).expect("a name");
        format!("{owner} {} {}", record.rtype, record.rdata.last().expect("octets"))
    };
    Ok(answer.borrowed().records().map(line).collect())
}

#[test]
fn unsound_records_and_duplicates_are_dropped() {
    let a = |last: u8| vec![192, 0, 2, last];
    let (a1, a2) = (a(1), a(2));
    let answers: [Line<'_>; 6] = [
        ("www.test", Rtype::A, &a1),
        ("www.test", Rtype::A, &[192, 0, 2]),
        ("www.test", Rtype::A, &a1),
        ("www.test", Rtype(250), &a1),
        ("www.test", Rtype::A, &a2),
        ("www.test", Rtype::A, &a1),
    ];
    let question = question(Rtype::A);
    assert_eq!(lines(&question, &answers), Ok(vec!["www.test A 1".into(), "www.test A 2".into()]));
    // Only a duplicate, so that the reply looks plain.
    let plain = |records: &[(Rtype, &[u8])], class: u16| {
        let mut out = Vec::new();
        let mut writer = MessageWriter::begin(&mut out, MAX_MESSAGE_OCTETS, 7, flags::QR);
        writer.question(&question).expect("room");
        for (rtype, rdata) in records {
            writer.record([0xc0, 12], *rtype, class, 60, rdata.len()).expect("room");
            writer.raw(rdata).expect("room");
        }
        writer.set_counts([1, u16::try_from(records.len()).expect("few"), 0, 0]);
        Answer::parse(&out, &question).map(|answer| answer.borrowed().records().count())
    };
    let (first, second) = ((Rtype::A, &*a1), (Rtype::A, &*a2));
    assert_eq!(plain(&[first, second, first, second], 1), Ok(2));
    assert_eq!(plain(&[first, second], 1), Ok(2));
    // Nothing is left: the reply is no answer.
    for unsound in [(Rtype::A, &[192, 0, 2][..]), (Rtype::OPT, &[]), (Rtype::ANY, &[1])] {
        assert_eq!(plain(&[unsound], 1), Err(AnswerError::Malformed), "{unsound:?}");
        assert_eq!(plain(&[unsound, first], 1), Ok(1), "{unsound:?}");
    }
    assert_eq!(plain(&[first], 3), Err(AnswerError::Malformed));
}

#[test]
fn data_beside_a_cname_is_dropped() {
    let target = wire("cdn.test");
    let answers: [Line<'_>; 6] = [
        ("www.test", Rtype::A, &[203, 0, 113, 9]),
        ("www.test", Rtype::CNAME, &target),
        ("www.test", Rtype::RRSIG, &[0, 5, 5]),
        ("www.test", Rtype::RRSIG, &[0, 1, 1]),
        ("www.test", Rtype::NSEC, &[7]),
        ("cdn.test", Rtype::A, &[203, 0, 113, 8]),
    ];
    let signed = Question { dnssec_ok: true, ..question(Rtype::A) };
    let expected = ["www.test CNAME 0", "www.test RRSIG 5", "www.test NSEC 7", "cdn.test A 8"];
    assert_eq!(lines(&signed, &answers), Ok(expected.map(str::to_owned).to_vec()));
    // A client without DO gets no records of DNSSEC (RFC 4035 §3.2.1).
    let expected = ["www.test CNAME 0", "cdn.test A 8"];
    assert_eq!(lines(&question(Rtype::A), &answers), Ok(expected.map(str::to_owned).to_vec()));
}

#[test]
fn a_chain_is_passed_on_in_its_order() {
    let (b, c) = (wire("b.test"), wire("c.test"));
    let answers: [Line<'_>; 8] = [
        ("c.test", Rtype::RRSIG, &[0, 1, 1]),
        ("c.test", Rtype::A, &[192, 0, 2, 2]),
        ("b.test", Rtype::RRSIG, &[0, 5, 5]),
        ("b.test", Rtype::CNAME, &c),
        ("c.test", Rtype::A, &[192, 0, 2, 1]),
        ("www.test", Rtype::CNAME, &b),
        ("www.test", Rtype::RRSIG, &[0, 5, 6]),
        ("c.test", Rtype::RRSIG, &[0, 1, 3]),
    ];
    let signed = Question { dnssec_ok: true, ..question(Rtype::A) };
    let expected = [
        "www.test CNAME 0",
        "www.test RRSIG 6",
        "b.test CNAME 0",
        "b.test RRSIG 5",
        "c.test A 2",
        "c.test A 1",
        "c.test RRSIG 1",
        "c.test RRSIG 3",
    ];
    assert_eq!(lines(&signed, &answers), Ok(expected.map(str::to_owned).to_vec()));
    let any = question(Rtype::ANY);
    let mixed: [Line<'_>; 4] = [
        ("www.test", Rtype::TXT, b"a"),
        ("www.test", Rtype::A, &[192, 0, 2, 2]),
        ("www.test", Rtype::TXT, b"b"),
        ("www.test", Rtype::A, &[192, 0, 2, 1]),
    ];
    let expected = ["www.test A 2", "www.test A 1", "www.test TXT 97", "www.test TXT 98"];
    assert_eq!(lines(&any, &mixed), Ok(expected.map(str::to_owned).to_vec()));
    // Types in any order, and each together, stay as they came; many types too.
    let sets: Vec<Line<'_>> =
        (1_000..1_040).rev().map(|n| ("www.test", Rtype(n), &[7][..])).collect();
    let as_came = |count: usize| {
        let kept = lines(&any, &sets[..count]).expect("an answer");
        kept.iter().zip(&sets).all(|(line, set)| line.contains(&set.1.to_string()))
    };
    assert!(as_came(8));
    assert!(!as_came(9), "sorted by type, as more sets are not told apart");
    assert_eq!(lines(&any, &sets).map(|kept| kept.len()), Ok(40));
}

#[test]
fn a_dname_makes_the_cname_that_is_not_there() {
    let ask = |qname: &str, qtype| Question::plain(qname.parse().expect("a name"), qtype);
    let parse = |question: &Question, answers: &[Line<'_>]| {
        let mut out = Vec::new();
        let mut writer = MessageWriter::begin(&mut out, MAX_MESSAGE_OCTETS, 7, flags::QR);
        writer.question(question).expect("room");
        for (owner, rtype, rdata) in answers {
            writer.raw(&wire(owner)).expect("room");
            writer.fixed(*rtype, 1, 77, rdata.len()).expect("room");
            writer.raw(rdata).expect("room");
        }
        writer.set_counts([1, u16::try_from(answers.len()).expect("few"), 0, 0]);
        Answer::parse(&out, question).expect("an answer")
    };
    let text = |answer: &Answer| {
        let owner = |record: &Record<'_>| {
            read_name(answer.borrowed().message(), record.owner_at).expect("a name").0
        };
        let line =
            |record: Record<'_>| format!("{} {} {}", owner(&record), record.ttl, record.rtype);
        answer.borrowed().records().map(line).collect::<Vec<_>>()
    };
    let (to, deep) = (wire("new.test"), wire("newer.test"));
    let end: Line<'_> = ("x.newer.test", Rtype::A, &[192, 0, 2, 1]);
    let dnames: [Line<'_>; 3] =
        [end, ("new.test", Rtype::DNAME, &deep), ("old.test", Rtype::DNAME, &to)];
    let answer = parse(&ask("x.old.test", Rtype::A), &dnames);
    let expected = [
        "old.test 77 DNAME",
        "x.old.test 77 CNAME",
        "new.test 77 DNAME",
        "x.new.test 77 CNAME",
        "x.newer.test 77 A",
    ];
    assert_eq!(text(&answer), expected);
    let targets: Vec<_> = answer.borrowed().links().map(|l| l.target.to_string()).collect();
    assert_eq!(targets, ["x.new.test", "x.newer.test"]);
    // CNAME asks for the link, and a DNAME's own name does not change.
    let link = parse(&ask("x.old.test", Rtype::CNAME), &dnames[2..]);
    assert_eq!(text(&link), ["old.test 77 DNAME", "x.old.test 77 CNAME"]);
    let own = parse(&ask("old.test", Rtype::DNAME), &dnames[2..]);
    assert_eq!(text(&own), ["old.test 77 DNAME"]);
    // What a DNAME makes too long is YXDOMAIN (RFC 6672 §2.2), at 255 octets it is not.
    let front = format!("{}.{}", "a".repeat(63), "b".repeat(63));
    for (last, rcode) in [(61, Rcode::NOERROR), (62, Rcode::YXDOMAIN)] {
        let target = wire(&format!("{}.{}", "c".repeat(63), "d".repeat(last)));
        let question = ask(&format!("{front}.old.test"), Rtype::A);
        let answer = parse(&question, &[("old.test", Rtype::DNAME, &target)]);
        assert_eq!(answer.rcode(), rcode);
        assert_eq!(answer.borrowed().has_links(), rcode == Rcode::NOERROR);
        assert_eq!(text(&answer)[0], "old.test 77 DNAME");
    }
}

#[test]
fn who_asks_for_a_cname_gets_no_address_of_its_target() {
    let target = wire("ours.private");
    let a: &[u8] = &[203, 0, 113, 9];
    let answers = [("www.test", Rtype::CNAME, &*target), ("ours.private", Rtype::A, a)];
    assert_eq!(kept(Rtype::CNAME, &answers, &[]), ["www.test CNAME"]);
    assert_eq!(kept(Rtype::A, &answers, &[]), ["www.test CNAME", "ours.private A"]);
}

#[test]
fn a_link_knows_its_signature_wherever_it_stands() {
    let question = Question { dnssec_ok: true, ..question(Rtype::A) };
    let (b, c) = (wire("b.test"), wire("c.test"));
    let of = |covered: u8, tag: u8| vec![0, covered, tag];
    let (first, second, other) = (of(5, 1), of(5, 2), of(1, 3));
    let lines: [Line<'_>; 5] = [
        ("www.test", Rtype::CNAME, &b),
        ("b.test", Rtype::CNAME, &c),
        ("b.test", Rtype::RRSIG, &other),
        ("b.test", Rtype::RRSIG, &second),
        ("www.test", Rtype::RRSIG, &first),
    ];
    let mut out = Vec::new();
    let mut writer = MessageWriter::begin(&mut out, MAX_MESSAGE_OCTETS, 7, flags::QR);
    writer.raw(&wire("www.test")).expect("room");
    writer.raw(&[0, 1, 0, 1]).expect("room");
    for (owner, rtype, rdata) in lines {
        writer.raw(&wire(owner)).expect("room");
        writer.fixed(rtype, 1, 60, rdata.len()).expect("room");
        writer.raw(rdata).expect("room");
    }
    writer.set_counts([1, 5, 0, 0]);
    let answer = Answer::parse(&out, &question).expect("a reply");
    let tags = answer.borrowed().links().map(|link| link.signature.map(|record| record.rdata[2]));
    assert_eq!(tags.collect::<Vec<_>>(), [Some(1), Some(2)]);
}

#[test]
fn a_chain_without_an_end_is_no_answer() {
    let parse = |chain: &[(String, String)]| {
        let question = Question::plain("n0.test".parse().expect("a name"), Rtype::A);
        let mut out = Vec::new();
        let mut writer = MessageWriter::begin(&mut out, MAX_MESSAGE_OCTETS, 7, flags::QR);
        writer.raw(question.qname.as_wire()).expect("room");
        writer.raw(&[0, 1, 0, 1]).expect("room");
        for (owner, target) in chain {
            let target = wire(target);
            writer.raw(&wire(owner)).expect("room");
            writer.fixed(Rtype::CNAME, 1, 60, target.len()).expect("room");
            writer.raw(&target).expect("room");
        }
        writer.set_counts([1, u16::try_from(chain.len()).expect("few"), 0, 0]);
        Answer::parse(&out, &question).map(|answer| answer.borrowed().links().count())
    };
    let link = |from: usize, to: usize| (format!("n{from}.test"), format!("n{to}.test"));
    let straight = |links: usize| (0..links).map(|n| link(n, n + 1)).collect::<Vec<_>>();
    assert_eq!(parse(&straight(16)), Ok(16));
    assert_eq!(parse(&straight(17)), Err(AnswerError::Endless));
    assert_eq!(parse(&[link(0, 1), link(1, 0)]), Err(AnswerError::Endless));
    assert_eq!(parse(&[link(0, 0)]), Err(AnswerError::Endless));
    let backwards = |links: usize| straight(links).into_iter().rev().collect::<Vec<_>>();
    assert_eq!(parse(&backwards(16)), Ok(16));
    assert_eq!(parse(&backwards(17)), Err(AnswerError::Endless));
    // Its first link is the last of many.
    assert_eq!(parse(&backwards(40)), Err(AnswerError::Endless));
}
