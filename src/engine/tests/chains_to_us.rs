//! Chains that enter a zone of ours: what stands behind our name refuses nothing, and what proves
//! the links in front of it goes along.

use std::rc::Rc;
use std::sync::Arc;

use super::upstream::{Answering, World, in_world, in_world_of};
use super::*;
use crate::wire::{Ede, Query, Rcode, Records, Section, read_name, u16_at};

/// DO among the extended flags.
const DO: u32 = 0x8000;

/// Owner, type, RDATA.
type Line = (String, Rtype, Vec<u8>);

fn wire(name: &str) -> Vec<u8> {
    name.parse::<Name>().expect("a name").as_wire().to_vec()
}

fn cname(owner: &str, target: &str) -> Line {
    (owner.to_owned(), Rtype::CNAME, wire(target))
}

/// A reply to `query` with these answers and authorities, TTL 60.
fn reply(query: &Query<'_>, rcode: u16, answers: &[Line], authorities: &[Line]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = MessageWriter::begin(&mut out, 4_096, 0, flags::QR | flags::RA | rcode);
    writer.raw(query.question()).expect("room");
    for (owner, rtype, rdata) in answers.iter().chain(authorities) {
        writer.raw(&wire(owner)).expect("room");
        writer.fixed(*rtype, 1, 60, rdata.len()).expect("room");
        writer.raw(rdata).expect("room");
    }
    let count = |lines: &[Line]| u16::try_from(lines.len()).expect("few");
    writer.set_counts([1, count(answers), count(authorities), 0]);
    out
}

/// Answers each question with these links, from the question's name on.
fn links(links: Vec<Line>) -> Answering {
    Rc::new(move |query| {
        let name = query.qname.to_string();
        let first = links.iter().position(|(owner, ..)| *owner == name)?;
        Some(reply(query, 0, &links[first..], &[]))
    })
}

async fn ask(world: &World, name: &str) -> String {
    text(&world.ask(&query(name, 1, 1_232, 0)).await)
}

/// `www.example`, then so many links, to `api` of our public zone, and a circle behind it.
fn into_circle(before: usize) -> Vec<Line> {
    let name = |number: usize| match number {
        0 => "www.example".to_owned(),
        number => format!("n{number}.example"),
    };
    let mut links: Vec<_> =
        (1..before).map(|number| cname(&name(number - 1), &name(number))).collect();
    links.push(cname(&name(before - 1), &format!("api.{P}")));
    links.push(cname(&format!("api.{P}"), &format!("api.{Q}")));
    links.push(cname(&format!("api.{Q}"), &format!("api.{P}")));
    links
}

fn private_end() -> String {
    format!("api.{P}. 60 CNAME api.{Q}.; api.{Q}. 60 A 10.1.0.5")
}

#[test]
fn a_circle_behind_our_name_is_cut_off() {
    for before in [1, 2, 16] {
        in_world(
            links(into_circle(before)),
            |_, _| {},
            async move |world| {
                for _new_and_kept in 0..2 {
                    let found = ask(&world, "www.example").await;
                    assert!(found.starts_with("NOERROR ra: www.example. 60 CNAME"), "{found}");
                    assert!(found.ends_with(&private_end()), "{before}: {found}");
                    assert_eq!(found.matches("CNAME").count(), before + 1, "{found}");
                }
                assert_eq!(world.heard(Rtype::A), 1);
            },
        );
    }
    // Our name stands behind more links than we follow.
    in_world(
        links(into_circle(17)),
        |_, _| {},
        async |world| {
            assert_eq!(ask(&world, "www.example").await, "SERVFAIL ra: ");
            let heard = world.heard(Rtype::A);
            assert_eq!(ask(&world, "www.example").await, "SERVFAIL ra: ");
            assert_eq!(world.heard(Rtype::A), heard, "remembered");
        },
    );
}

#[test]
fn more_links_than_we_follow_behind_our_name_are_cut_off() {
    let mut all = into_circle(1);
    all.truncate(1);
    all.push(cname(&format!("api.{P}"), "m0.example"));
    all.extend((0..40).map(|n| cname(&format!("m{n}.example"), &format!("m{}.example", n + 1))));
    in_world(
        links(all),
        |_, _| {},
        async |world| {
            let expected = format!("NOERROR ra: www.example. 60 CNAME api.{P}.; {}", private_end());
            assert_eq!(ask(&world, "www.example").await, expected);
        },
    );
}

#[test]
fn a_circle_behind_our_name_is_cut_off_in_a_chain_that_comes_in_parts() {
    let circle = into_circle(2);
    let answering = Rc::new(move |query: &Query<'_>| match query.qname.to_string().as_str() {
        "www.example" => Some(reply(query, 0, &circle[..1], &[])),
        "n1.example" => Some(reply(query, 0, &circle[1..], &[])),
        _ => None,
    });
    in_world(
        answering,
        |_, _| {},
        async |world| {
            let found = ask(&world, "www.example").await;
            assert!(found.ends_with(&private_end()), "{found}");
            assert_eq!(found.matches("CNAME").count(), 3, "{found}");
        },
    );
    // The second part leads back to the first one, and never to us.
    let answering = Rc::new(|query: &Query<'_>| match query.qname.to_string().as_str() {
        "www.example" => Some(reply(query, 0, &[cname("www.example", "n1.example")], &[])),
        _ => Some(reply(query, 0, &[cname("n1.example", "www.example")], &[])),
    });
    in_world(
        answering,
        |_, _| {},
        async |world| assert_eq!(ask(&world, "www.example").await, "SERVFAIL ra: "),
    );
}

#[test]
fn a_circle_has_no_data_and_the_next_upstream_may_know_better() {
    let circle = || {
        let mut all = vec![cname("www.example", "b.example"), cname("b.example", "www.example")];
        all.push(("b.example".to_owned(), Rtype::A, vec![192, 0, 2, 9]));
        links(all)
    };
    in_world(
        circle(),
        |_, _| {},
        async |world| assert_eq!(ask(&world, "www.example").await, "SERVFAIL ra: "),
    );
    let good = || links(vec![("www.example".to_owned(), Rtype::A, vec![192, 0, 2, 1])]);
    in_world_of(
        vec![circle(), good()],
        |_, _| {},
        async |world| {
            let expected = "NOERROR ra: www.example. 60 A 192.0.2.1";
            assert_eq!(ask(&world, "www.example").await, expected);
        },
    );
    // The one that shows the way to us counts, whatever the others fail with and in which order.
    let failing: Answering = Rc::new(|query| {
        let mut out = Vec::new();
        let mut writer = MessageWriter::begin(&mut out, 512, 0, flags::QR | Rcode::SERVFAIL.0);
        writer.raw(query.question()).expect("room");
        writer.opt(Rcode::SERVFAIL, false, Some((Ede::Other, "why")), &[]).expect("room");
        writer.set_counts([1, 0, 0, 1]);
        Some(out)
    });
    let shown: Answering = Rc::new(|query| Some(reply(query, 2, &into_circle(1)[..1], &[])));
    for shows in [links(into_circle(1)), shown] {
        for all in [[Rc::clone(&shows), Rc::clone(&failing)], [Rc::clone(&failing), shows.clone()]]
        {
            in_world_of(
                all.to_vec(),
                |_, _| {},
                async |world| {
                    let found = ask(&world, "www.example").await;
                    assert!(found.ends_with(&private_end()), "{found}");
                },
            );
        }
    }
}

/// A signature over `covered` by `signer`, whose owner has so many labels that are no wildcard's.
fn signature(owner: &str, covered: Rtype, labels: u8, signer: &str, tag: u8) -> Line {
    let mut rdata = covered.0.to_be_bytes().to_vec();
    rdata.extend([13, labels, 0, 0, 0, 60]);
    rdata.extend([0x70, 0, 0, 0, 0x60, 0, 0, 0, 0, tag]);
    rdata.extend(wire(signer));
    rdata.extend([7; 64]);
    (owner.to_owned(), Rtype::RRSIG, rdata)
}

/// Each record as `section owner type`, a signature with the type that it covers.
fn lines(reply: &[u8], question_end: usize) -> Vec<String> {
    let header = crate::wire::Header::read(reply).expect("a header");
    let line = |record: crate::wire::Record<'_>| {
        let (owner, _) = read_name(reply, record.owner_at).expect("an owner");
        let section = match record.section {
            Section::Answer => "an",
            Section::Authority => "au",
            Section::Additional => return None,
        };
        assert!(record.ttl <= 60);
        let rtype = match record.rtype {
            Rtype::RRSIG => format!("{}!", Rtype(u16_at(record.rdata, 0).expect("a type"))),
            rtype => rtype.to_string(),
        };
        Some(format!("{section} {owner} {rtype}"))
    };
    let records = Records::new(reply, &header, question_end).map(|record| record.expect("whole"));
    records.filter_map(line).collect()
}

async fn lines_for(world: &World, name: &str, qtype: Rtype, extended: u32) -> Vec<String> {
    let request = query(name, qtype.0, 1_232, extended);
    let question_end = 12 + wire(name).len() + 4;
    lines(&world.ask(&request).await, question_end)
}

/// `www.example` leads to us by a CNAME that two keys have signed, made from a wildcard or not.
fn signed(is_wildcard: bool) -> Answering {
    Rc::new(move |query| {
        let labels = if is_wildcard { 1 } else { 2 };
        let owner = "www.example";
        let answers = [
            cname(owner, &format!("api.{P}")),
            signature(owner, Rtype::CNAME, labels, "example", 1),
            signature(owner, Rtype::CNAME, labels, "example", 2),
            (format!("api.{P}"), Rtype::A, vec![203, 0, 113, 9]),
        ];
        let nsec = |owner: &str, next: &str| {
            (owner.to_owned(), Rtype::NSEC, [wire(next), vec![0, 1, 0x40]].concat())
        };
        let authorities = [
            ("example".to_owned(), Rtype::NS, wire("ns.example")),
            nsec("*.example", "z.example"),
            signature("*.example", Rtype::NSEC, 1, "example", 1),
            signature("*.example", Rtype::NSEC, 1, "example", 2),
            // What the upstream proves of the end.
            nsec("microsoft.com", "z.microsoft.com"),
            signature("microsoft.com", Rtype::NSEC, 2, "microsoft.com", 3),
        ];
        Some(reply(query, 0, &answers, &authorities))
    })
}

#[test]
fn the_proofs_of_a_wildcards_link_to_us_go_to_clients_with_do() {
    in_world(
        signed(true),
        |_, _| {},
        async |world| {
            let (public, private) = (format!("an api.{P} CNAME"), format!("an api.{Q} A"));
            let links = ["an www.example CNAME", "an www.example CNAME!", "an www.example CNAME!"];
            let proofs = ["au *.example NSEC", "au *.example NSEC!", "au *.example NSEC!"];
            for _new_and_kept in 0..2 {
                let found = lines_for(&world, "www.example", Rtype::A, DO).await;
                let expected = [&links[..], &[&public, &private], &proofs].concat();
                assert_eq!(found, expected);
                let found = lines_for(&world, "www.example", Rtype::AAAA, DO).await;
                let soa = format!("au {Q} SOA");
                assert_eq!(found, [&links[..], &[&public, &*soa], &proofs].concat());
                let found = lines_for(&world, "www.example", Rtype::A, 0).await;
                assert_eq!(found, [links[0], &public, &private]);
            }
            assert_eq!(world.heard(Rtype::A), 2);
            // A query for the CNAME itself gets the upstream's whole answer.
            let found = lines_for(&world, "www.example", Rtype::CNAME, DO).await;
            assert_eq!(found[..3], links);
        },
    );
    // A link that is no wildcard's needs no proof.
    in_world(
        signed(false),
        |_, _| {},
        async |world| {
            let found = lines_for(&world, "www.example", Rtype::A, DO).await;
            assert_eq!(found.len(), 5, "{found:?}");
            assert!(found.iter().all(|line| line.starts_with("an ")), "{found:?}");
        },
    );
}

#[test]
fn proofs_that_find_no_room_truncate_the_reply() {
    let many = Rc::new(|query: &Query<'_>| {
        let answers = [
            cname("www.example", &format!("api.{P}")),
            signature("www.example", Rtype::CNAME, 1, "example", 1),
        ];
        let nsec3 = |n: usize| {
            let owner = format!("{n:032}.example");
            let rdata = [&[1, 0, 0, 0, 0, 20][..], &[9; 20], &[0, 1, 0x40]].concat();
            let proof = signature(&owner, Rtype::NSEC3, 2, "example", 1);
            [(owner, Rtype::NSEC3, rdata), proof]
        };
        let authorities: Vec<_> = (0..8).flat_map(nsec3).collect();
        Some(reply(query, 0, &answers, &authorities))
    });
    in_world(
        many,
        |_, _| {},
        async |world| {
            let whole = lines_for(&world, "www.example", Rtype::A, DO).await;
            assert_eq!(whole.len(), 4 + 16, "{whole:?}");
            let snapshot = Arc::clone(&world.worker.snapshot());
            let over_udp = |extended| {
                let request = query("www.example", 1, 1_232, extended);
                text(&decided(&snapshot, &asked("10.0.0.1"), &request).1)
            };
            assert_eq!(over_udp(DO), "NOERROR tc ra: ");
        },
    );
}

#[test]
fn the_dname_of_a_link_to_us_goes_to_clients_with_do() {
    let answering = Rc::new(|query: &Query<'_>| {
        let answers = [
            ("old.example".to_owned(), Rtype::DNAME, wire(P)),
            signature("old.example", Rtype::DNAME, 2, "example", 1),
            cname("api.old.example", &format!("api.{P}")),
            (format!("api.{P}"), Rtype::A, vec![203, 0, 113, 9]),
        ];
        Some(reply(query, 0, &answers, &[]))
    });
    in_world(
        answering,
        |_, _| {},
        async |world| {
            let (public, private) = (format!("an api.{P} CNAME"), format!("an api.{Q} A"));
            for _new_and_kept in 0..2 {
                let found = lines_for(&world, "api.old.example", Rtype::A, DO).await;
                let dname = ["an old.example DNAME", "an old.example DNAME!"];
                let expected =
                    [&dname[..], &["an api.old.example CNAME", &public, &private]].concat();
                assert_eq!(found, expected);
                let found = lines_for(&world, "api.old.example", Rtype::A, 0).await;
                assert_eq!(found, ["an api.old.example CNAME", &public, &private]);
            }
        },
    );
}

/// The DNAME's target lies below its owner, so it would lead on from our name again and again.
#[test]
fn a_dname_into_its_own_zone_fails_no_private_name() {
    let owner = "defender.microsoft.com";
    let answering = Rc::new(move |query: &Query<'_>| {
        let answers = [
            (owner.to_owned(), Rtype::DNAME, wire(P)),
            signature(owner, Rtype::DNAME, 3, owner, 1),
            cname("api.defender.microsoft.com", &format!("api.{P}")),
        ];
        Some(reply(query, 0, &answers, &[]))
    });
    in_world(
        answering,
        |_, _| {},
        async |world| {
            let private = format!("an api.{Q} A");
            for extended in [0, DO, 0, DO] {
                let found =
                    lines_for(&world, "api.defender.microsoft.com", Rtype::A, extended).await;
                assert_eq!(found.last(), Some(&private), "{extended:x}: {found:?}");
            }
        },
    );
}
