//! Names in RDATA: whatever the case of their letters, signatures cover the lower one.

use hickory_proto::rr::rdata::{MX, NS, NULL};

use super::super::testing::Life;
use super::*;

/// Returns whether `www.signed.test` validates if the reply has `served` instead of `signed`.
fn judged(signed: Vec<RData>, served: Vec<RData>) -> Result<Security, Ede> {
    let resolver = Resolver::new(Zones::new());
    let rtype = signed[0].record_type();
    change(&resolver.zones, "www.signed.test", rtype, move |zones, message| {
        let records = |all: &[RData]| -> Vec<_> {
            let of = |data: &RData| Record::from_rdata(name("www.signed.test"), TTL, data.clone());
            all.iter().map(of).collect()
        };
        let zone = zones.zone("signed.test");
        let signature = zone.sign(&records(&signed), None, Life::default());
        message.authorities.clear();
        message.answers = records(&served);
        message.add_answer(signature);
    });
    ask(&resolver, "www.signed.test", Rtype(rtype.into()))
}

fn unknown(code: u16, octets: &[u8]) -> RData {
    RData::Unknown { code: RecordType::from(code), rdata: NULL::with(octets.to_vec()) }
}

#[test]
fn types_that_hickory_does_not_know() {
    let address = [0; 8];
    for (code, front) in [
        (39, &[][..]),
        // MINFO and RP have two names, PX too behind a preference.
        (14, b"\x01a\x00"),
        (17, b"\x01a\x00"),
        (26, b"\x00\x0a\x01a\x00"),
        // AFSDB, RT and KX have a preference, A6 a part of an address.
        (18, b"\x00\x01"),
        (21, b"\x00\x01"),
        (36, b"\x00\x01"),
        (38, &[&[64][..], &address].concat()),
    ] {
        let with = |target: &[u8]| unknown(code, &[front, target].concat());
        let signed = || vec![with(b"\x03end\x04test\x00")];
        assert_eq!(judged(signed(), signed()), SECURE, "{code}");
        let upper = vec![with(b"\x03End\x04TEST\x00")];
        assert_eq!(judged(signed(), upper), SECURE, "{code}");
        let other = vec![with(b"\x03Enb\x04TEST\x00")];
        assert_eq!(judged(signed(), other), Err(Ede::DnssecBogus), "{code}");
    }
    // The first name too.
    let upper = unknown(17, b"\x01A\x00\x01B\x00");
    assert_eq!(judged(vec![unknown(17, b"\x01a\x00\x01b\x00")], vec![upper]), SECURE);
    // Old servers compress names there (RFC 3597 §4): the question's name.
    let spelt = b"\x03www\x06signed\x04test\x00".repeat(2);
    let compressed = unknown(17, &[0xc0, 12, 0xc0, 12]);
    assert_eq!(judged(vec![unknown(17, &spelt)], vec![compressed]), SECURE);
}

#[test]
fn letters_of_what_is_no_name_count() {
    for code in [99, 65_280] {
        let [lower, upper] = [unknown(code, b"\x01a\x00"), unknown(code, b"\x01A\x00")];
        assert_eq!(judged(vec![lower.clone()], vec![lower.clone()]), SECURE, "{code}");
        assert_eq!(judged(vec![lower], vec![upper]), Err(Ede::DnssecBogus), "{code}");
    }
}

#[test]
fn sets_are_in_the_order_of_their_lower_case() {
    let ns = |text: &str| RData::NS(NS(name(text)));
    let signed = || vec![ns("a.example"), ns("b.example")];
    assert_eq!(judged(signed(), vec![ns("B.example"), ns("a.example")]), SECURE);
    // One record in two spellings is one record.
    assert_eq!(judged(signed(), vec![ns("A.example"), ns("a.example"), ns("b.example")]), SECURE);
    let mx = |text: &str| RData::MX(MX::new(10, name(text)));
    assert_eq!(
        judged(vec![mx("a.example"), mx("b.example")], vec![mx("B.example"), mx("a.example")]),
        SECURE
    );
}

#[test]
fn ttls_of_one_set_may_differ() {
    let resolver = Resolver::new(Zones::new());
    change(&resolver.zones, "www.signed.test", RecordType::A, |zones, message| {
        let address = |last: u8| {
            let data = RData::A(A::new(192, 0, 2, last));
            Record::from_rdata(name("www.signed.test"), TTL, data)
        };
        let mut records = vec![address(1), address(2)];
        let zone = zones.zone("signed.test");
        let signature = zone.sign(&records, None, Life::default());
        records[1].ttl = 17;
        records.push(signature);
        message.answers = records;
    });
    let lowest = Ok(Security::Secure { ttl_seconds: 17 });
    assert_eq!(ask(&resolver, "www.signed.test", Rtype::A), lowest);
}
