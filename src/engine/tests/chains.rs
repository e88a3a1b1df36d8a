//! Chains that an upstream gives in parts, in a strange order, or with records that do not belong
//! to them.

use std::rc::Rc;

use super::upstream::{Answering, World, in_world};
use super::*;
use crate::wire::Query;

/// DO among the extended flags.
const DO: u32 = 0x8000;

fn wire(name: &str) -> Vec<u8> {
    name.parse::<Name>().expect("a name").as_wire().to_vec()
}

/// A reply to `query` with answers as (owner, type, rdata), TTL 60.
fn reply(query: &Query<'_>, answers: &[(String, Rtype, Vec<u8>)]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut writer = MessageWriter::begin(&mut out, 4_096, 0, flags::QR | flags::RA);
    writer.raw(query.question()).expect("room");
    for (owner, rtype, rdata) in answers {
        writer.raw(&wire(owner)).expect("room");
        writer.fixed(*rtype, 1, 60, rdata.len()).expect("room");
        writer.raw(rdata).expect("room");
    }
    writer.set_counts([1, u16::try_from(answers.len()).expect("few"), 0, 0]);
    Some(out)
}

/// An upstream whose names `n0`, `n1` and so on lead each to the next one, `step` links an answer,
/// and the name of `last` to an address.
fn ladder(step: usize, last: usize) -> Answering {
    Rc::new(move |query| {
        let name = query.qname.to_string();
        let number = name.strip_prefix('n').and_then(|rest| rest.strip_suffix(".example"));
        let number: usize = number.and_then(|number| number.parse().ok()).expect("a name of ours");
        let name = |number: usize| format!("n{number}.example");
        let link = |from: usize| (name(from), Rtype::CNAME, wire(&name(from + 1)));
        let links = number..last.min(number + step);
        let mut answers: Vec<_> = links.clone().map(link).collect();
        if links.end == last {
            answers.push((name(last), Rtype::A, vec![192, 0, 2, 1]));
        }
        reply(query, &answers)
    })
}

async fn ask(world: &World, name: &str, extended: u32) -> String {
    text(&world.ask(&query(name, 1, 1_232, extended)).await)
}

#[test]
fn a_chain_in_parts_ends_within_16_links_or_is_a_failure() {
    for (step, last) in [(1, 16), (3, 16), (16, 16), (1, 17), (3, 17), (10, 17), (16, 17), (1, 99)]
    {
        in_world(
            ladder(step, last),
            |_, _| {},
            async move |world| {
                let first = ask(&world, "n0.example", 0).await;
                let heard = world.heard(Rtype::A);
                if last == 16 {
                    assert_eq!(first.matches("CNAME").count(), 16, "{step}: {first}");
                    assert!(first.ends_with("n16.example. 60 A 192.0.2.1"), "{step}: {first}");
                } else {
                    assert_eq!(first, "SERVFAIL ra: ", "{step} {last}");
                }
                // The cache or the remembered failure answers: no upstream is asked again.
                assert_eq!(ask(&world, "n0.example", 0).await, first);
                assert_eq!(world.heard(Rtype::A), heard, "{step} {last}");
                assert!(heard <= 17, "{heard}");
            },
        );
    }
}

#[test]
fn a_reversed_chain_is_passed_on_in_order_and_kept_so() {
    let answering = Rc::new(|query: &Query<'_>| {
        let records = [
            ("c.example".to_owned(), Rtype::A, vec![192, 0, 2, 1]),
            ("b.example".to_owned(), Rtype::CNAME, wire("c.example")),
            ("a.example".to_owned(), Rtype::CNAME, wire("b.example")),
        ];
        reply(query, &records)
    });
    in_world(
        answering,
        |_, _| {},
        async |world| {
            let expected = "NOERROR ra: a.example. 60 CNAME b.example.; \
                            b.example. 60 CNAME c.example.; c.example. 60 A 192.0.2.1";
            assert_eq!(ask(&world, "a.example", 0).await, expected);
            assert_eq!(ask(&world, "a.example", 0).await, expected);
            assert_eq!(world.heard(Rtype::A), 1);
        },
    );
}

#[test]
fn a_dname_alone_is_followed_to_its_end() {
    let answering = Rc::new(|query: &Query<'_>| match query.qname.to_string().as_str() {
        "x.old.example" => {
            reply(query, &[("old.example".to_owned(), Rtype::DNAME, wire("new.example"))])
        }
        _ => reply(query, &[("x.new.example".to_owned(), Rtype::A, vec![192, 0, 2, 1])]),
    });
    in_world(
        answering,
        |_, _| {},
        async |world| {
            // The data of a DNAME is hidden from the decoder.
            let answer = ask(&world, "x.old.example", 0).await;
            assert!(answer.starts_with("NOERROR ra: old.example. 60 DNAME "), "{answer}");
            let end = "x.old.example. 60 CNAME x.new.example.; x.new.example. 60 A 192.0.2.1";
            assert!(answer.ends_with(end), "{answer}");
        },
    );
}

#[test]
fn records_of_dnssec_go_to_clients_with_do_alone() {
    // An upstream that adds signatures whether DO is set or not.
    let answering = Rc::new(|query: &Query<'_>| {
        let name = query.qname.to_string();
        let signature = [&[0, 1, 13, 2, 0, 0, 0, 60][..], &[0; 10], &[0], &[7; 8]].concat();
        let records =
            [(name.clone(), Rtype::A, vec![192, 0, 2, 1]), (name.clone(), Rtype::RRSIG, signature)];
        reply(query, &records)
    });
    in_world(
        answering,
        |_, _| {},
        async |world| {
            for _new_and_kept in 0..2 {
                let plain = ask(&world, "www.example", 0).await;
                assert_eq!(plain, "NOERROR ra: www.example. 60 A 192.0.2.1");
                let signed = ask(&world, "www.example", DO).await;
                assert_eq!(signed.matches("RRSIG").count(), 1, "{signed}");
            }
            assert_eq!(world.heard(Rtype::A), 2);
            let asked = text(&world.ask(&query("www.example", 46, 1_232, 0)).await);
            assert_eq!(asked.matches("RRSIG").count(), 1, "{asked}");
        },
    );
}

#[test]
fn a_reply_that_is_an_answer_by_unsound_records_alone_is_a_failure() {
    let answering = Rc::new(|query: &Query<'_>| {
        let name = query.qname.to_string();
        let short = (name.clone(), Rtype::A, vec![192, 0, 2]);
        let whole = (name.clone(), Rtype::A, vec![192, 0, 2, 1]);
        match name.starts_with("bad") {
            true => reply(query, &[short]),
            false => reply(query, &[short, whole.clone(), whole]),
        }
    });
    in_world(
        answering,
        |_, _| {},
        async |world| {
            assert_eq!(ask(&world, "bad.example", 0).await, "SERVFAIL ra: ");
            let heard = world.heard(Rtype::A);
            assert_eq!(ask(&world, "bad.example", 0).await, "SERVFAIL ra: ");
            assert_eq!(world.heard(Rtype::A), heard, "remembered");
            let good = ask(&world, "good.example", 0).await;
            assert_eq!(good, "NOERROR ra: good.example. 60 A 192.0.2.1");
        },
    );
}

#[test]
fn no_ttl_is_above_the_limits_new_or_kept() {
    let day = |limit: u32| Duration::from_secs(limit.into());
    let answering = Rc::new(|query: &Query<'_>| {
        let name = query.qname.to_string();
        let mut soa = [wire("ns.example"), wire("admin.example")].concat();
        soa.extend([0; 16]);
        soa.extend(1_000_000_u32.to_be_bytes());
        let mut reply = match name.as_str() {
            "gone.example" => reply(query, &[(name, Rtype::SOA, soa)])?,
            _ => reply(query, &[(name, Rtype::A, vec![192, 0, 2, 1])])?,
        };
        if query.qname.to_string() == "gone.example" {
            // The one record stands in the authority section, and the name does not exist.
            (reply[7], reply[9], reply[3]) = (0, 1, reply[3] | 3);
        }
        let ttl_at = query.question_end() + query.qname.as_wire().len() + 4;
        reply[ttl_at..ttl_at + 4].copy_from_slice(&1_000_000_u32.to_be_bytes());
        Some(reply)
    });
    for (positive, negative) in [(86_400, 3_600), (500, 50)] {
        let change = move |config: &mut Config, _: &mut crate::config::Forward| {
            (config.cache.max_ttl, config.cache.max_negative_ttl) = (day(positive), day(negative));
        };
        in_world(answering.clone(), change, async move |world| {
            for _new_and_kept in 0..2 {
                let found = ask(&world, "www.example", 0).await;
                assert!(found.contains(&format!(" {positive} A ")), "{found}");
                let gone = ask(&world, "gone.example", 0).await;
                assert!(gone.contains(&format!(" {negative} SOA ")), "{gone}");
            }
            assert_eq!(world.heard(Rtype::A), 2);
        });
    }
}
