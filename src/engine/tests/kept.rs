//! Kept answers.

use super::*;

/// Puts an upstream's reply into the cache: answers as (owner, ttl, type, rdata).
pub(super) fn keep(
    snapshot: &Snapshot,
    name: &str,
    qtype: Rtype,
    bits: u16,
    answers: &[(&str, u32, Rtype, Vec<u8>)],
    age: Duration,
) {
    let (question, answer) = answered(name, qtype, bits, answers);
    snapshot.cache.insert(&question, &answer, false, Instant::now() - age).expect("kept");
}

/// A question, and what an upstream says to it.
pub(super) fn answered(
    name: &str,
    qtype: Rtype,
    bits: u16,
    answers: &[(&str, u32, Rtype, Vec<u8>)],
) -> (Question, Answer) {
    let question = Question::plain(name.parse().expect("a name"), qtype);
    let question = Question { dnssec_ok: false, ..question };
    let mut out = Vec::new();
    let mut writer = MessageWriter::begin(&mut out, 65_535, 1, flags::QR | bits);
    writer.raw(question.qname.as_wire()).expect("room");
    writer.raw(&[qtype.0.to_be_bytes(), [0, 1]].concat()).expect("room");
    for (owner, ttl, rtype, rdata) in answers {
        let owner: Name = owner.parse().expect("a name");
        writer.raw(owner.as_wire()).expect("room");
        writer.fixed(*rtype, 1, *ttl, rdata.len()).expect("room");
        writer.raw(rdata).expect("room");
    }
    writer.set_counts([1, u16::try_from(answers.len()).expect("few"), 0, 0]);
    let answer = Answer::parse(&out, &question).expect("a reply");
    (question, answer)
}

pub(super) fn wire(name: &str) -> Vec<u8> {
    name.parse::<Name>().expect("a name").as_wire().to_vec()
}

#[test]
fn a_kept_answer_counts_its_ttls_down() {
    let snapshot = with(|_| {});
    let answers = [("www.example", 300, Rtype::A, vec![203, 0, 113, 9])];
    keep(
        &snapshot,
        "www.example",
        Rtype::A,
        flags::AA | flags::AD,
        &answers,
        Duration::from_secs(100),
    );
    assert_eq!(
        ask(&snapshot, "www.example", Rtype::A),
        "NOERROR ra: www.example. 200 A 203.0.113.9"
    );
    // AD only for those who ask for it (RFC 6840 §5.7).
    let mut wants_ad = query("www.example", 1, 1_232, 0);
    wants_ad[3] |= 0x20;
    let (_, reply) = decided(&snapshot, &asked("10.0.0.1"), &wants_ad);
    assert_eq!(text(&reply), "NOERROR ra ad: www.example. 200 A 203.0.113.9");
    // Access is looked at first.
    assert_eq!(ask_from(&snapshot, "192.0.2.1", "www.example", Rtype::A), "REFUSED ra: ");
}

#[test]
fn a_kept_chain_into_our_zones_is_cut_and_ends_in_our_address() {
    fn chain(end: &str) -> Vec<(&str, u32, Rtype, Vec<u8>)> {
        vec![
            ("www.contoso.com", 300, Rtype::CNAME, wire("edge.contoso.com")),
            ("edge.contoso.com", 200, Rtype::CNAME, wire(end)),
            (end, 60, Rtype::A, vec![20, 50, 1, 1]),
        ]
    }
    let snapshot = with(|_| {});
    let (private, age) = (format!("api.{Q}"), Duration::from_secs(50));
    let head = "www.contoso.com. 250 CNAME edge.contoso.com.; edge.contoso.com. 150 CNAME";
    keep(&snapshot, "www.contoso.com", Rtype::A, 0, &chain(&format!("api.{Q}")), age);
    assert_eq!(
        ask(&snapshot, "www.contoso.com", Rtype::A),
        format!("NOERROR ra: {head} api.{Q}.; api.{Q}. 60 A 10.1.0.5")
    );
    keep(&snapshot, "www.contoso.com", Rtype::A, 0, &chain(&format!("api.{P}")), age);
    assert_eq!(
        ask(&snapshot, "www.contoso.com", Rtype::A),
        format!("NOERROR ra: {head} api.{P}.; api.{P}. 60 CNAME api.{Q}.; api.{Q}. 60 A 10.1.0.5")
    );
    let soa_answer = vec![
        ("six.contoso.com", 300, Rtype::CNAME, wire(&format!("api.{Q}"))),
        (&*private, 60, Rtype::AAAA, vec![0x20; 16]),
    ];
    keep(&snapshot, "six.contoso.com", Rtype::AAAA, 0, &soa_answer, age);
    assert_eq!(
        ask(&snapshot, "six.contoso.com", Rtype::AAAA),
        format!("NOERROR ra: six.contoso.com. 250 CNAME api.{Q}. | {SOA}")
    );
}

#[test]
fn an_answer_cannot_bring_a_protected_name_beside_its_own() {
    let snapshot = with(|_| {});
    let name = format!("api.{P}");
    let answers = [
        ("www.contoso.com", 300, Rtype::A, vec![203, 0, 113, 9]),
        (&*name, 300, Rtype::A, vec![20, 50, 1, 1]),
    ];
    keep(&snapshot, "www.contoso.com", Rtype::A, 0, &answers, Duration::ZERO);
    assert_eq!(
        ask(&snapshot, "www.contoso.com", Rtype::A),
        "NOERROR ra: www.contoso.com. 300 A 203.0.113.9"
    );
}

#[test]
fn a_kept_answer_that_does_not_fit_loses_authority_first_then_is_truncated() {
    let snapshot = with(|_| {});
    let many: Vec<_> =
        (0..40).map(|i| ("big.example", 60, Rtype::A, vec![203, 0, 113, i])).collect();
    keep(&snapshot, "big.example", Rtype::A, 0, &many, Duration::ZERO);
    let (_, reply) = decided(&snapshot, &asked("10.0.0.1"), &query("big.example", 1, 0, 0));
    assert_eq!(text(&reply), "NOERROR tc ra: ");
}

#[test]
fn a_large_answer_gives_over_udp_what_its_whole_would_give() {
    let snapshot = with(|_| {});
    let address = |i: u16| vec![203, 0, i.to_be_bytes()[0], i.to_be_bytes()[1]];
    // Up to what a message can hold: owners are spelt out here.
    for count in [1, 40, 41, 42, 43, 44, 60, 100, 200, 1_000, 2_300] {
        let many: Vec<_> = (0..count).map(|i| ("big.example", 60, Rtype::A, address(i))).collect();
        keep(&snapshot, "big.example", Rtype::A, 0, &many, Duration::ZERO);
        // Header, question, the OPT, and 27 octets for each record.
        let fits = 12 + 17 + 11 + 27 * usize::from(count) <= 1_232;
        let reply = ask(&snapshot, "big.example", Rtype::A);
        if fits {
            assert_eq!(reply.matches(" A ").count(), usize::from(count));
        } else {
            assert_eq!(reply, "NOERROR tc ra: ", "{count}");
        }
        let tcp = Asked { transport: Transport::Tcp, ..asked("10.0.0.1") };
        let (_, reply) = decided(&snapshot, &tcp, &query("big.example", 1, 1_232, 0));
        assert_eq!(text(&reply).matches(" A ").count(), usize::from(count));
    }
    // A chain to us is cut before what makes it large.
    let end = format!("api.{Q}");
    let link = ("www.contoso.com", 300, Rtype::CNAME, wire(&end));
    let many = (0..1_000).map(|i| (&*end, 60, Rtype::A, address(i)));
    let answers: Vec<_> = std::iter::once(link).chain(many).collect();
    keep(&snapshot, "www.contoso.com", Rtype::A, 0, &answers, Duration::ZERO);
    assert_eq!(
        ask(&snapshot, "www.contoso.com", Rtype::A),
        format!("NOERROR ra: www.contoso.com. 300 CNAME api.{Q}.; api.{Q}. 60 A 10.1.0.5")
    );
}
