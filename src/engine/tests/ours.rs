//! Private names, and what every query gets whatever its name.

use super::*;

#[test]
fn a_public_name_keeps_its_label_and_ends_in_the_address() {
    let snapshot = with(|_| {});
    assert_eq!(
        ask(&snapshot, &format!("api.{P}"), Rtype::A),
        format!("NOERROR aa ra: api.{P}. 60 CNAME api.{Q}.; api.{Q}. 60 A 10.1.0.5")
    );
    assert_eq!(
        ask(&snapshot, &format!("data.westeurope.{P}"), Rtype::A),
        format!(
            "NOERROR aa ra: data.westeurope.{P}. 60 CNAME data.westeurope.{Q}.; \
             data.westeurope.{Q}. 60 A 10.1.0.6"
        )
    );
    assert_eq!(
        ask(&snapshot, &format!("a.b.c.{Q}"), Rtype::A),
        format!("NOERROR aa ra: a.b.c.{Q}. 60 A 10.1.0.5")
    );
}

#[test]
fn every_other_type_is_nodata_with_the_soa() {
    let snapshot = with(|_| {});
    let mut seen = 0;
    for qtype in 0..=u16::MAX {
        let public =
            decided(&snapshot, &asked("10.0.0.1"), &query(&format!("api.{P}"), qtype, 0, 0));
        let private =
            decided(&snapshot, &asked("10.0.0.1"), &query(&format!("api.{Q}"), qtype, 0, 0));
        let cname = format!("api.{P}. 60 CNAME api.{Q}.");
        match Rtype(qtype) {
            Rtype::A => assert!(text(&public.1).ends_with("A 10.1.0.5")),
            Rtype::CNAME => {
                assert_eq!(text(&public.1), format!("NOERROR aa ra: {cname}"));
                assert_eq!(text(&private.1), format!("NOERROR aa ra:  | {SOA}"));
            }
            Rtype::ANY => {
                assert_eq!(text(&public.1), format!("NOERROR aa ra: {cname}"));
                assert_eq!(text(&private.1), format!("NOERROR aa ra: api.{Q}. 60 A 10.1.0.5"));
            }
            Rtype::OPT => assert_eq!(public.0, Verdict::Reply(Outcome::Fault)),
            Rtype::AXFR | Rtype::IXFR => {
                assert_eq!(public.0, Verdict::Reply(Outcome::Refused));
            }
            _ => {
                assert_eq!(text(&public.1), format!("NOERROR aa ra: {cname} | {SOA}"), "{qtype}");
                assert_eq!(text(&private.1), format!("NOERROR aa ra:  | {SOA}"), "{qtype}");
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 65_536 - 6);
}

#[test]
fn ipv6_endpoints_answer_aaaa() {
    let snapshot = with(|config| {
        config.private_links = vec![defender(vec![endpoint(
            "e",
            &[],
            &["10.1.0.5", "fd00::5"],
            &[("six", &["fd00::6"])],
        )])];
    });
    assert_eq!(
        ask(&snapshot, &format!("x.{Q}"), Rtype::AAAA),
        format!("NOERROR aa ra: x.{Q}. 60 AAAA fd00::5")
    );
    assert_eq!(ask(&snapshot, &format!("six.{Q}"), Rtype::A), format!("NOERROR aa ra:  | {SOA}"));
    assert_eq!(
        ask(&snapshot, &format!("six.{Q}"), Rtype::ANY),
        format!("NOERROR aa ra: six.{Q}. 60 AAAA fd00::6")
    );
}

#[test]
fn the_apex_and_empty_non_terminals_exist() {
    let snapshot = with(|_| {});
    assert_eq!(ask(&snapshot, Q, Rtype::SOA), format!("NOERROR aa ra: {SOA}"));
    for qtype in [Rtype::A, Rtype::NS, Rtype::DS, Rtype::AAAA] {
        assert_eq!(ask(&snapshot, Q, qtype), format!("NOERROR aa ra:  | {SOA}"));
        assert_eq!(
            ask(&snapshot, &format!("westeurope.{Q}"), qtype),
            format!("NOERROR aa ra:  | {SOA}")
        );
    }
    assert_eq!(
        ask(&snapshot, &format!("westeurope.{P}"), Rtype::A),
        format!("NOERROR aa ra: westeurope.{P}. 60 CNAME westeurope.{Q}. | {SOA}")
    );
}

#[test]
fn unlisted_names_are_missing_or_forwarded() {
    let missing = with(|config| config.private_links[0].unlisted = Unlisted::Nxdomain);
    assert_eq!(
        ask(&missing, &format!("x.{P}"), Rtype::A),
        format!("NXDOMAIN aa ra: x.{P}. 60 CNAME x.{Q}. | {SOA}")
    );
    assert_eq!(ask(&missing, &format!("x.{Q}"), Rtype::A), format!("NXDOMAIN aa ra:  | {SOA}"));
    let foreign = with(|config| {
        config.private_links[0].unlisted = Unlisted::Forward;
        config.forwards = vec![crate::config::testing::forward_all()];
    });
    for name in [format!("x.{P}"), format!("x.{Q}"), P.to_owned()] {
        let verdict = decided(&foreign, &asked("10.0.0.1"), &query(&name, 1, 1232, 0)).0;
        assert_eq!(verdict, Verdict::Forward, "{name}");
    }
    assert!(ask(&foreign, &format!("api.{P}"), Rtype::A).ends_with("A 10.1.0.5"));
}

#[test]
fn the_public_apex_and_its_ds_are_forwarded() {
    let snapshot = with(|config| config.forwards = vec![crate::config::testing::forward_all()]);
    for qtype in [Rtype::DS, Rtype::A, Rtype::SOA, Rtype::NS] {
        let verdict = decided(&snapshot, &asked("10.0.0.1"), &query(P, qtype.0, 1232, 0)).0;
        assert_eq!(verdict, Verdict::Forward, "{qtype}");
    }
    let without_rule = with(|_| {});
    assert_eq!(ask(&without_rule, P, Rtype::DS), "REFUSED ra: ");
}

#[test]
fn the_question_is_echoed_octet_for_octet() {
    let snapshot = with(|_| {});
    let mut message = query(&format!("api.{P}"), 1, 1232, 0);
    message[13..16].copy_from_slice(b"ApI");
    message[17..22].copy_from_slice(b"cLOuD");
    let (_, reply) = decided(&snapshot, &asked("10.0.0.1"), &message);
    let question = 12..12 + 3 + 1 + P.len() + 2 + 4;
    assert_eq!(reply[question.clone()], message[question]);
    // The label is kept in the target in the client's case.
    assert!(reply.windows(16).any(|w| w == b"\x03ApI\x0bprivatelink"));
    assert_eq!(reply[2], 0x85, "QR AA RD");
    assert_eq!(reply[3], 0x80, "RA, no AD");
}

#[test]
fn a_target_above_255_octets_is_yxdomain() {
    let snapshot = with(|_| {});
    // P takes 30 octets and Q 42: 213 octets of x fit, 214 do not.
    let fits = format!("{}{}", "a.".repeat(106), "");
    let label = |octets: usize| format!("{}.", "a".repeat(octets - 1));
    let x_213 = format!("{}{}", "a.".repeat(105), label(3));
    assert_eq!(fits.len() + 1, 213);
    assert_eq!(x_213.len(), 213);
    let ok = ask(&snapshot, &format!("{x_213}{P}"), Rtype::A);
    assert!(ok.starts_with("NOERROR") && ok.ends_with("A 10.1.0.5"), "{ok}");
    let long = ask(&snapshot, &format!("{}{P}", "a.".repeat(107)), Rtype::A);
    assert_eq!(long, "YXDOMAIN aa ra: ");
    // The longest names of both zones.
    let x_225 = format!("{}{}", "a.".repeat(111), label(3));
    assert_eq!(ask(&snapshot, &format!("{x_225}{P}"), Rtype::AAAA), "YXDOMAIN aa ra: ");
    assert!(ask(&snapshot, &format!("{x_213}{Q}"), Rtype::A).ends_with("A 10.1.0.5"));
}

#[test]
fn addresses_rotate() {
    let ips = ["10.1.0.1", "10.1.0.2", "10.1.0.3"];
    let snapshot = with(|config| {
        config.private_links = vec![defender(vec![endpoint("e", &[], &ips, &[])])];
    });
    let order = |rotation| {
        let asked = Asked { rotation, ..asked("10.0.0.1") };
        let (_, reply) = decided(&snapshot, &asked, &query(&format!("x.{Q}"), 1, 0, 0));
        let message = Message::from_vec(&reply).expect("a reply");
        message.answers.iter().map(|r| r.data.to_string()).collect::<Vec<_>>().join(" ")
    };
    let turns =
        ["10.1.0.1 10.1.0.2 10.1.0.3", "10.1.0.2 10.1.0.3 10.1.0.1", "10.1.0.3 10.1.0.1 10.1.0.2"];
    // Every number, and every second one: a client that asks A and AAAA in turn.
    for step in [1, 2] {
        let mut seen = [0; 3];
        for number in 0..300 {
            let order = order(number * step);
            seen[turns.iter().position(|turn| *turn == order).expect("a turn")] += 1;
        }
        assert!(seen.iter().all(|times| (80..=120).contains(times)), "{seen:?}");
    }
}

#[test]
fn a_reply_that_does_not_fit_is_truncated_and_whole_over_tcp() {
    let ips: Vec<String> = (0..64).map(|i| format!("10.1.0.{i}")).collect();
    let ips: Vec<&str> = ips.iter().map(String::as_str).collect();
    let snapshot = with(|config| {
        config.private_links = vec![defender(vec![endpoint("e", &[], &ips, &[])])];
    });
    let name = format!("x.{P}");
    for (payload, limit, whole) in [(0, 512, false), (512, 512, false), (65_535, 1_232, true)] {
        let (_, reply) = decided(&snapshot, &asked("10.0.0.1"), &query(&name, 1, payload, 0));
        assert!(reply.len() <= limit, "{payload}: {}", reply.len());
        let expected = if whole { "NOERROR aa ra: " } else { "NOERROR aa tc ra: " };
        assert!(text(&reply).starts_with(expected), "{payload}");
    }
    let tcp = Asked { transport: Transport::Tcp, ..asked("10.0.0.1") };
    let (_, reply) = decided(&snapshot, &tcp, &query(&name, 1, 0, 0));
    assert_eq!(Message::from_vec(&reply).expect("a reply").answers.len(), 65);
}

#[test]
fn opt_answers_opt_and_do_is_echoed() {
    let snapshot = with(|_| {});
    let name = format!("api.{P}");
    for (payload, extended, expected) in
        [(0, 0, None), (4096, 0, Some(false)), (512, 0x8000, Some(true))]
    {
        let (_, reply) =
            decided(&snapshot, &asked("10.0.0.1"), &query(&name, 1, payload, extended));
        let edns = Message::from_vec(&reply).expect("a reply").edns;
        let shown = edns.as_ref().map(|edns| edns.flags().dnssec_ok);
        assert_eq!(shown, expected);
        assert!(edns.is_none_or(|edns| edns.version() == 0 && edns.max_payload() == 1_232));
    }
}

#[test]
fn faults_get_what_rfc_8906_wants_and_never_more_than_was_asked() {
    let snapshot = with(|_| {});
    let good = query(&format!("api.{P}"), 1, 1_232, 0);
    let reply_to = |message: &[u8]| {
        let (verdict, reply) = decided(&snapshot, &asked("10.0.0.1"), message);
        assert!(reply.len() <= message.len(), "{} > {}", reply.len(), message.len());
        (verdict, reply)
    };
    let code = |message: &[u8]| reply_to(message).1.get(3).map(|octet| octet & 15);
    let changed = |at: usize, value: u8| {
        let mut message = good.clone();
        message[at] = value;
        message
    };
    assert_eq!(code(&changed(2, 0x28)), Some(4), "opcode UPDATE: NOTIMP");
    assert_eq!(code(&changed(5, 0)), Some(1), "no question: FORMERR");
    assert_eq!(code(&changed(5, 2)), Some(1), "two questions: FORMERR");
    assert_eq!(code(&good[..20]), Some(1), "cut: FORMERR");
    assert_eq!(reply_to(&changed(2, 0x80)).0, Verdict::Drop(Silence::NotAQuery));
    assert_eq!(reply_to(&good[..11]).0, Verdict::Drop(Silence::NotAQuery));
    let version = query(&format!("api.{P}"), 1, 1_232, 0x0001_0000);
    let (_, reply) = reply_to(&version);
    let message = Message::from_vec(&reply).expect("a reply");
    // 16 is BADVERS here; hickory calls it BADSIG.
    assert_eq!(u16::from(message.metadata.response_code), 16);
    assert_eq!(message.edns.expect("an OPT").version(), 0);
    assert_eq!(message.queries.len(), 1);
}

#[test]
fn a_broken_opt_gets_formerr_with_opt_and_errors_echo_cd() {
    let snapshot = with(|_| {});
    let mut broken = query(&format!("api.{P}"), 1, 1_232, 0);
    // An option that ends before its length does (RFC 6891 §7).
    let length_at = broken.len() - 1;
    broken[length_at] = 3;
    broken.extend([0, 10, 0]);
    broken[3] |= 0x10;
    let (_, reply) = decided(&snapshot, &asked("10.0.0.1"), &broken);
    assert!(reply.len() <= broken.len());
    let message = Message::from_vec(&reply).expect("a reply");
    assert_eq!(message.metadata.response_code, ResponseCode::FormErr);
    assert!(message.metadata.checking_disabled, "RFC 4035 §3.2.2");
    assert!(message.edns.is_some());
    assert_eq!(message.queries.len(), 1);
}

#[test]
fn classes_and_transfers_that_we_do_not_serve_are_refused() {
    let snapshot = with(|_| {});
    let mut chaos = query("version.bind", Rtype::TXT.0, 1_232, 0);
    let class_at = chaos.len() - 11 - 1;
    chaos[class_at] = 3;
    let (verdict, reply) = decided(&snapshot, &asked("10.0.0.1"), &chaos);
    assert_eq!((verdict, text(&reply)), (Verdict::Reply(Outcome::Refused), "REFUSED ra: ".into()));
    assert_eq!(ask(&snapshot, Q, Rtype::AXFR), "REFUSED ra: ");
}

#[test]
fn strangers_are_refused_or_dropped_before_anything_is_looked_up() {
    let snapshot = with(|_| {});
    let refused = ask_from(&snapshot, "192.0.2.1", &format!("api.{P}"), Rtype::A);
    assert_eq!(refused, "REFUSED ra: ");
    let (_, reply) =
        decided(&snapshot, &asked("2001:db8::1"), &query(&format!("api.{P}"), 1, 1_232, 0));
    assert!(reply.windows(6).any(|w| w == [0, 15, 0, 38, 0, 18]), "EDE 18 with its text");
    let dropping = with(|config| config.access.refused = Refused::Drop);
    let (verdict, reply) = decided(&dropping, &asked("192.0.2.1"), &[0xff; 40]);
    assert_eq!((verdict, reply.len()), (Verdict::Drop(Silence::Access), 0));
}

#[test]
fn sites_choose_endpoints() {
    let snapshot = with(|config| {
        config.sites = vec![crate::config::Site {
            name: "paris".to_owned(),
            networks: vec!["10.2.0.0/16".parse().expect("a prefix")],
        }];
        config.private_links = vec![defender(vec![
            endpoint("hub", &[], &["10.1.0.5"], &[]),
            endpoint("paris", &[0], &["10.2.0.5"], &[]),
        ])];
    });
    let name = format!("api.{Q}");
    assert!(ask_from(&snapshot, "10.2.9.9", &name, Rtype::A).ends_with("A 10.2.0.5"));
    assert!(ask_from(&snapshot, "10.3.9.9", &name, Rtype::A).ends_with("A 10.1.0.5"));
}
