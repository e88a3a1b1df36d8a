//! Upstreams that deny names which ours lie below. In all of these, `api` and `data.westeurope` are
//! listed below P and Q.

use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::kept::{answered, wire};
use super::*;
use crate::config::testing::{forward_all, plain};
use crate::config::{AllDown, Endpoint, Probe};
use crate::forward::Forwarder;
use crate::metrics::Counters;
use crate::upstream::tests::{local, udp_server};
use crate::wire::Ede;

/// The SOA that upstreams deny with, and as a reply of ours shows it when nothing has aged.
const THEIRS: &str = "microsoft.com. 60 SOA ns.microsoft.com. h.microsoft.com. 60 60 60 60 60";

/// Everything is forwarded that is not listed.
fn forwarding() -> Snapshot {
    with(|config| {
        config.private_links[0].unlisted = Unlisted::Forward;
        config.forwards = vec![forward_all()];
    })
}

fn soa() -> (&'static str, Rtype, Vec<u8>) {
    let names = [wire("ns.microsoft.com"), wire("h.microsoft.com")].concat();
    ("microsoft.com", Rtype::SOA, [names, [[0, 0, 0, 60]; 5].concat()].concat())
}

fn ns() -> (&'static str, Rtype, Vec<u8>) {
    ("microsoft.com", Rtype::NS, wire("ns.microsoft.com"))
}

/// NXDOMAIN to an A question for `chain[0]`, behind CNAMEs to the other names. With an extended
/// error, and with AD.
fn denial(chain: &[&str], authority: &[(&str, Rtype, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    let bits = flags::QR | flags::AD | crate::wire::Rcode::NXDOMAIN.0;
    let mut writer = MessageWriter::begin(&mut out, 65_535, 1, bits);
    writer.raw(&wire(chain[0])).expect("room");
    writer.raw(&[0, 1, 0, 1]).expect("room");
    let links = chain.windows(2).map(|two| (two[0], Rtype::CNAME, wire(two[1])));
    let records: Vec<_> = links.chain(authority.iter().cloned()).collect();
    for (owner, rtype, rdata) in &records {
        writer.raw(&wire(owner)).expect("room");
        writer.fixed(*rtype, 1, 60, rdata.len()).expect("room");
        writer.raw(rdata).expect("room");
    }
    let why = Some((Ede::Filtered, "by the upstream"));
    writer.opt(crate::wire::Rcode::NXDOMAIN, false, why, &[]).expect("room");
    let count = |records: usize| u16::try_from(records).expect("few");
    writer.set_counts([1, count(chain.len() - 1), count(authority.len()), 1]);
    out
}

/// Puts such a denial into the cache as one that came `age` ago.
fn deny(snapshot: &Snapshot, chain: &[&str], authority: &[(&str, Rtype, Vec<u8>)], age: Duration) {
    let question = Question::plain(chain[0].parse().expect("a name"), Rtype::A);
    let question = Question { dnssec_ok: false, ..question };
    let answer = Answer::parse(&denial(chain, authority), &question).expect("a reply");
    snapshot.cache.insert(&question, &answer, false, Instant::now() - age).expect("kept");
}

/// What comes for `chain[0]` when the cache holds such a denial.
fn denied(snapshot: &Snapshot, chain: &[&str]) -> String {
    deny(snapshot, chain, &[soa()], Duration::ZERO);
    ask(snapshot, chain[0], Rtype::A)
}

#[test]
fn a_label_above_a_listed_name_is_the_upstreams_where_others_are() {
    let types = [Rtype::A, Rtype::AAAA, Rtype::NS, Rtype::DS, Rtype::CNAME, Rtype::ANY];
    for zone in [P, Q] {
        let name = format!("westeurope.{zone}");
        for qtype in types {
            let query = query(&name, qtype.0, 1_232, 0);
            assert_eq!(decided(&forwarding(), &asked("10.0.0.1"), &query).0, Verdict::Forward);
            for unlisted in [Unlisted::Wildcard, Unlisted::Nxdomain] {
                let ours = with(|config| {
                    config.private_links[0].unlisted = unlisted;
                    config.forwards = vec![forward_all()];
                });
                let (verdict, reply) = decided(&ours, &asked("10.0.0.1"), &query);
                assert_eq!(verdict, Verdict::Reply(Outcome::Private));
                assert!(text(&reply).starts_with("NOERROR aa ra:"), "{}", text(&reply));
            }
        }
    }
}

#[test]
fn what_the_upstream_has_there_comes_through() {
    let snapshot = forwarding();
    let name = format!("westeurope.{P}");
    let address = [(&*name, 60, Rtype::A, vec![203, 0, 113, 9])];
    let (question, answer) = answered(&name, Rtype::A, 0, &address);
    snapshot.cache.insert(&question, &answer, false, Instant::now()).expect("kept");
    assert_eq!(ask(&snapshot, &name, Rtype::A), format!("NOERROR ra: {name}. 60 A 203.0.113.9"));
}

#[test]
fn a_denial_of_a_name_above_ours_is_nodata_with_the_upstreams_soa() {
    let snapshot = forwarding();
    let labels = [&*format!("westeurope.{P}"), &*format!("westeurope.{Q}")];
    let zones = [P, "defender.microsoft.com", "microsoft.com", "com", "."];
    for name in labels.into_iter().chain(zones) {
        assert_eq!(denied(&snapshot, &[name]), format!("NOERROR ra:  | {THEIRS}"), "{name}");
    }
    // Nothing of ours lies below these.
    let others =
        [format!("x.{P}"), format!("x.westeurope.{P}"), format!("x.{Q}"), format!("y.api.{Q}")];
    for name in others.iter().map(String::as_str).chain(["www.microsoft.com", "org"]) {
        assert_eq!(denied(&snapshot, &[name]), format!("NXDOMAIN ra:  | {THEIRS}"), "{name}");
    }
}

#[test]
fn nodata_is_not_vouched_for_and_keeps_the_upstreams_extended_error() {
    let snapshot = forwarding();
    for (name, expected) in [
        (format!("westeurope.{P}"), format!("NOERROR ra:  | {THEIRS}")),
        (format!("x.{P}"), format!("NXDOMAIN ra ad:  | {THEIRS}")),
    ] {
        deny(&snapshot, &[&name], &[soa()], Duration::ZERO);
        let mut wants_ad = query(&name, 1, 1_232, 0);
        wants_ad[3] |= 0x20;
        for transport in [Transport::Udp, Transport::Tcp] {
            let asked = Asked { transport, ..asked("10.0.0.1") };
            let (verdict, reply) = decided(&snapshot, &asked, &wants_ad);
            assert_eq!(verdict, Verdict::Reply(Outcome::Cached));
            assert_eq!(text(&reply), expected);
            let errors = Shown::read(&reply).expect("a reply").extended_errors;
            assert_eq!(errors, ["17 (Filtered): by the upstream"]);
        }
    }
}

#[test]
fn the_end_of_a_chain_is_what_is_denied() {
    let snapshot = forwarding();
    let above = format!("westeurope.{Q}");
    let cname = format!("www.contoso.com. 60 CNAME {above}.");
    assert_eq!(
        denied(&snapshot, &["www.contoso.com", &above]),
        format!("NOERROR ra: {cname} | {THEIRS}")
    );
    // The question's own name exists: it has a CNAME.
    let public = format!("westeurope.{P}");
    assert_eq!(
        denied(&snapshot, &[&public, "gone.contoso.com"]),
        format!("NXDOMAIN ra: {public}. 60 CNAME gone.contoso.com. | {THEIRS}")
    );
}

#[test]
fn a_denial_without_a_soa_becomes_no_referral() {
    let snapshot = forwarding();
    // It could not be kept; so as it comes.
    let hears = |name: &str| {
        let question = Question::plain(name.parse().expect("a name"), Rtype::A);
        let answer = Answer::parse(&denial(&[name], &[ns()]), &question).expect("a reply");
        let request = query(name, 1, 1_232, 0);
        let query = crate::wire::Query::parse(&request).expect("a query");
        let (asked, mut out) = (asked("10.0.0.1"), Vec::new());
        let answer = (&answer.borrowed(), reply::Age::NEW);
        let outcome = decide::answer_late(&snapshot, &asked, &query, answer, &mut out);
        assert_eq!(outcome, Outcome::Forwarded);
        text(&out)
    };
    assert_eq!(hears(&format!("westeurope.{P}")), "NOERROR ra: ");
    let theirs = "microsoft.com. 60 NS ns.microsoft.com.";
    assert_eq!(hears(&format!("x.{P}")), format!("NXDOMAIN ra:  | {theirs}"));
}

#[test]
fn a_kept_denial_is_heard_by_the_tables_in_force() {
    let (old, mut new) = (forwarding(), forwarding());
    let name = format!("westeurope.{P}");
    assert!(denied(&old, &[&name]).starts_with("NOERROR"));
    new.zones = Arc::default();
    new.cache = Arc::clone(&old.cache);
    assert_eq!(ask(&new, &name, Rtype::A), format!("NXDOMAIN ra:  | {THEIRS}"));
    assert!(ask(&old, &name, Rtype::A).starts_with("NOERROR"));
}

/// While every address of a name is down, upstreams answer for it; not for what lies below it.
#[test]
fn a_name_that_is_down_and_has_ours_below_it_is_not_denied() {
    for (unlisted, below) in [(Unlisted::Forward, "x.four"), (Unlisted::Wildcard, "x.other")] {
        let snapshot = with(|config| {
            let names: [(&str, &[&str]); 3] =
                [("four", &["10.1.0.4"]), ("five", &["10.1.0.4"]), (below, &["10.1.0.5"])];
            let wildcard: &[&str] = match unlisted {
                Unlisted::Wildcard => &["10.1.0.5"],
                _ => &[],
            };
            let hub = endpoint("hub", &[], wildcard, &names);
            let hub = Endpoint { probe: Some(Probe::Tcp { port: 443 }), ..hub };
            let link = defender(vec![hub]);
            config.private_links =
                vec![crate::config::PrivateLink { unlisted, all_down: AllDown::Public, ..link }];
            config.forwards = vec![forward_all()];
        });
        for pulse in snapshot.zones().pulses() {
            pulse.set(pulse.target().address.to_string() != "10.1.0.4");
        }
        assert_eq!(
            denied(&snapshot, &[&format!("four.{P}")]),
            format!("NOERROR ra:  | {THEIRS}"),
            "a listed name, or the wildcard, lies below it"
        );
        let five = denied(&snapshot, &[&format!("five.{Q}")]);
        let expected = if unlisted == Unlisted::Wildcard { "NOERROR" } else { "NXDOMAIN" };
        assert_eq!(five, format!("{expected} ra:  | {THEIRS}"));
    }
}

#[test]
fn a_chain_goes_on_behind_a_name_above_ours() {
    let snapshot = forwarding();
    let above = format!("westeurope.{Q}");
    let link = [("www.contoso.com", 60, Rtype::CNAME, wire(&above))];
    let (question, answer) = answered("www.contoso.com", Rtype::A, 0, &link);
    let next = chase::next(&snapshot.zones, &question, &answer.borrowed());
    assert_eq!(next.map(|name| name.to_string()), Some(above));
}

#[test]
fn an_explanation_says_that_private_names_lie_below() {
    let snapshot = forwarding();
    let explained = |name: &str| {
        let (name, client) = (name.parse().expect("a name"), "10.0.0.1".parse().expect("one"));
        let ask = Ask { name, rtype: Rtype::A, client, dnssec: false };
        snapshot.explain(&ask, true).expect("a reply of ours")
    };
    let below = |explanation: &Explanation| -> Vec<String> {
        let names = explanation.steps.iter().filter_map(|step| match step {
            Step::NamesBelow { name } => Some(name.clone()),
            _ => None,
        });
        names.collect()
    };
    let above = format!("westeurope.{P}");
    for name in [&*above, P, "microsoft.com"] {
        assert_eq!(explained(name).verdict, Conclusion::Forwarded);
        assert_eq!(below(&explained(name)), [name]);
    }
    for name in [format!("x.{P}"), format!("api.{P}"), "www.contoso.com".to_owned()] {
        assert_eq!(below(&explained(&name)), [""; 0], "{name}");
    }
    let json = serde_json::to_string(&explained(&above)).expect("JSON");
    assert!(json.contains(&format!(r#"{{"step":"names-below","name":"{above}"}}"#)), "{json}");
    // What the cache keeps is explained as clients hear it.
    for chain in [vec![&*above], vec!["www.contoso.com", &above]] {
        deny(&snapshot, &chain, &[soa()], Duration::ZERO);
        let explanation = explained(chain[0]);
        assert_eq!(below(&explanation), [&*above]);
        assert_eq!(explanation.reply.map(|reply| reply.rcode).as_deref(), Some("NOERROR"));
    }
    deny(&snapshot, &[&above, "gone.contoso.com"], &[soa()], Duration::ZERO);
    let rcode = explained(&above).reply.map(|reply| reply.rcode);
    assert_eq!(rcode.as_deref(), Some("NXDOMAIN"));
}

/// A worker that asks the upstream at `address`, and what it gives for `name`, with its errors.
async fn asks(address: std::net::SocketAddr, name: &str, kept: Option<Duration>) -> String {
    let snapshot = with(|config| {
        config.private_links[0].unlisted = Unlisted::Forward;
        config.forwards = vec![forward_all()];
        config.forwards[0].upstreams = vec![plain(address)];
    });
    if let Some(age) = kept {
        deny(&snapshot, &[name], &[soa()], age);
    }
    let shared = Arc::new(Shared { snapshot: ArcSwap::from_pointee(snapshot) });
    let snapshot = shared.snapshot.load_full();
    let worker = Rc::new(Worker::new(shared, Forwarder::new(), Arc::<Counters>::default()));
    let (request, asked, mut out) = (query(name, 1, 1_232, 0), asked("10.0.0.1"), Vec::new());
    let verdict = worker.answer(&snapshot, &asked, &request, &mut out);
    assert_eq!(verdict, Verdict::Forward);
    worker.resolve(&snapshot, &asked, &request, &mut out).await;
    let errors = Shown::read(&out).expect("a reply").extended_errors;
    let codes = errors.iter().filter_map(|error| error.split(' ').next());
    codes.fold(text(&out), |text, code| format!("{text} ede={code}"))
}

#[tokio::test(start_paused = true)]
async fn a_denial_of_this_moment_is_nodata() {
    local(async {
        for (name, expected) in
            [(format!("westeurope.{Q}"), "NOERROR"), (format!("x.{Q}"), "NXDOMAIN")]
        {
            let chain = name.clone();
            let upstream = udp_server(move |query| {
                let mut reply = denial(&[&chain], &[soa()]);
                reply[..2].copy_from_slice(&query[..2]);
                vec![reply]
            });
            let heard = asks(upstream.await, &name, None).await;
            assert_eq!(heard, format!("{expected} ra:  | {THEIRS} ede=17"));
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stale_denial_is_stale_nodata() {
    local(async {
        let closed = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = closed.local_addr().expect("bound");
        drop(closed);
        let stale = THEIRS.replacen("60", "30", 1);
        let past = Some(Duration::from_secs(100));
        // 3 is "Stale Answer", 19 "Stale NXDOMAIN Answer" (RFC 8914); 17 is the upstream's.
        for (name, expected) in [
            (format!("westeurope.{P}"), format!("NOERROR ra:  | {stale} ede=3 ede=17")),
            (format!("x.{P}"), format!("NXDOMAIN ra:  | {stale} ede=19 ede=17")),
        ] {
            assert_eq!(asks(address, &name, past).await, expected);
        }
        // With nothing kept, it fails as any forwarded name does.
        let failed = asks(address, &format!("westeurope.{P}"), None).await;
        assert!(failed.starts_with("SERVFAIL ra:  ede="), "{failed}");
    })
    .await;
}
