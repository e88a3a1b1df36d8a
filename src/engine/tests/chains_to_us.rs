//! Chains that enter a zone of ours: what stands behind our name refuses nothing.

use std::rc::Rc;

use super::upstream::{Answering, World, in_world, in_world_of};
use super::*;
use crate::wire::Query;

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
    let failing: Answering = Rc::new(|query| Some(reply(query, 2, &[], &[])));
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
