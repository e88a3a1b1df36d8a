//! Endpoints whose addresses are down: what is answered then.

use super::kept::{answered, keep, wire};
use super::*;
use crate::config::testing::forward_all;
use crate::config::{AllDown, Endpoint, PrivateLink, Probe};

/// One endpoint at `10.1.0.5` to `10.1.0.7` and `fd00::5`, probed, and a rule for everything.
fn hub(all_down: AllDown) -> Snapshot {
    with(|config| {
        let addresses = ["10.1.0.5", "10.1.0.6", "10.1.0.7", "fd00::5"];
        let hub = endpoint("hub", &[], &addresses, &[("four", &["10.1.0.5"])]);
        let hub = Endpoint { probe: Some(Probe::Tcp { port: 443 }), ..hub };
        config.private_links = vec![PrivateLink { all_down, ..defender(vec![hub]) }];
        config.forwards = vec![forward_all()];
    })
}

fn set(snapshot: &Snapshot, up: bool, addresses: &[&str]) {
    for pulse in snapshot.zones().pulses() {
        if addresses.contains(&pulse.target().address.to_string().as_str()) {
            pulse.set(up);
        }
    }
}

const ALL: [&str; 4] = ["10.1.0.5", "10.1.0.6", "10.1.0.7", "fd00::5"];

/// The addresses in order, turned so.
fn order(snapshot: &Snapshot, rotation: u32) -> Vec<String> {
    let asked = Asked { rotation, ..asked("10.0.0.1") };
    let (_, reply) = decided(snapshot, &asked, &query(&format!("x.{Q}"), 1, 1_232, 0));
    let message = Message::from_vec(&reply).expect("a reply");
    message.answers.iter().map(|record| record.data.to_string()).collect()
}

#[test]
fn addresses_that_are_down_leave_the_answer_and_the_others_still_take_turns() {
    let snapshot = hub(AllDown::ServeAll);
    set(&snapshot, false, &["10.1.0.6"]);
    let mut first = std::collections::HashMap::new();
    for rotation in 0..400 {
        let order = order(&snapshot, rotation);
        let mut sorted = order.clone();
        sorted.sort();
        assert_eq!(sorted, ["10.1.0.5", "10.1.0.7"], "each once");
        *first.entry(order[0].clone()).or_insert(0) += 1;
    }
    assert!(first.len() == 2 && first.values().all(|times| *times > 150), "{first:?}");
    set(&snapshot, true, &["10.1.0.6"]);
    assert_eq!(order(&snapshot, 0).len(), 3);
}

#[test]
fn serve_all_answers_as_if_all_were_up() {
    let snapshot = hub(AllDown::ServeAll);
    let types = [Rtype::A, Rtype::AAAA, Rtype::ANY, Rtype(65), Rtype::CNAME];
    let before = types.map(|rtype| ask(&snapshot, &format!("x.{P}"), rtype));
    set(&snapshot, false, &ALL);
    assert_eq!(types.map(|rtype| ask(&snapshot, &format!("x.{P}"), rtype)), before);
}

#[test]
fn servfail_says_why_and_only_where_there_would_be_addresses() {
    let snapshot = hub(AllDown::Servfail);
    let names = [format!("x.{P}"), format!("x.{Q}")];
    let nodata = ask(&snapshot, &format!("four.{P}"), Rtype::AAAA);
    let https = ask(&snapshot, &names[0], Rtype(65));
    set(&snapshot, false, &["10.1.0.5", "10.1.0.6", "10.1.0.7"]);
    for name in &names {
        // SERVFAIL would have musl give up the whole look-up, and IPv6 is up.
        assert!(ask(&snapshot, name, Rtype::A).contains("A 10.1.0.5"));
        assert!(ask(&snapshot, name, Rtype::AAAA).ends_with("AAAA fd00::5"));
    }
    set(&snapshot, false, &ALL);
    for name in &names {
        for rtype in [Rtype::A, Rtype::AAAA] {
            assert_eq!(ask(&snapshot, name, rtype), "SERVFAIL ra: ");
            let (_, reply) =
                decided(&snapshot, &asked("10.0.0.1"), &query(name, rtype.0, 1_232, 0));
            let shown = Shown::read(&reply).expect("a reply");
            let why = "0 (Other): every address of this private endpoint is down";
            assert_eq!(shown.extended_errors, [why]);
        }
    }
    assert_eq!(ask(&snapshot, &format!("four.{P}"), Rtype::A), "SERVFAIL ra: ");
    // ANY has addresses where there is no CNAME.
    assert_eq!(ask(&snapshot, &names[1], Rtype::ANY), "SERVFAIL ra: ");
    assert!(ask(&snapshot, &names[0], Rtype::ANY).starts_with("NOERROR"));
    assert_eq!(ask(&snapshot, &format!("four.{P}"), Rtype::AAAA), nodata);
    assert_eq!(ask(&snapshot, &names[0], Rtype(65)), https);
    set(&snapshot, true, &["10.1.0.6"]);
    assert!(ask(&snapshot, &names[0], Rtype::A).ends_with("A 10.1.0.6"));
}

#[test]
fn public_is_the_upstreams_until_an_address_is_up() {
    let snapshot = hub(AllDown::Public);
    let forwarded = |name: &str, rtype: Rtype| {
        let query = query(name, rtype.0, 1_232, 0);
        decided(&snapshot, &asked("10.0.0.1"), &query).0 == Verdict::Forward
    };
    let names = [format!("x.{P}"), format!("x.{Q}"), format!("four.{P}")];
    assert!(!names.iter().any(|name| forwarded(name, Rtype::A)));
    set(&snapshot, false, &["10.1.0.5"]);
    assert!(forwarded(&names[2], Rtype::A), "each name for itself");
    assert!(!forwarded(&names[0], Rtype::A));
    set(&snapshot, false, &ALL);
    for rtype in [Rtype::A, Rtype::AAAA, Rtype(65), Rtype::CNAME] {
        assert!(names.iter().all(|name| forwarded(name, rtype)));
    }
    assert!(!forwarded(Q, Rtype::SOA), "the zone itself stays ours");
    set(&snapshot, true, &["fd00::5"]);
    assert!(!forwarded(&names[0], Rtype::A));
}

/// A public answer that was kept meanwhile is cut where it enters our zone, as soon as that is ours
/// again.
#[test]
fn a_kept_chain_ends_in_the_public_address_only_as_long_as_all_is_down() {
    let snapshot = hub(AllDown::Public);
    set(&snapshot, false, &ALL);
    let end = format!("x.{Q}");
    let chain = [
        ("shop.example", 60, Rtype::CNAME, wire(&end)),
        (&*end, 60, Rtype::A, vec![203, 0, 113, 7]),
    ];
    keep(&snapshot, "shop.example", Rtype::A, 0, &chain, Duration::ZERO);
    assert_eq!(
        ask(&snapshot, "shop.example", Rtype::A),
        format!("NOERROR ra: shop.example. 60 CNAME x.{Q}.; x.{Q}. 60 A 203.0.113.7")
    );
    set(&snapshot, true, &["10.1.0.6"]);
    let ours = ask(&snapshot, "shop.example", Rtype::A);
    assert!(ours.ends_with(&format!("x.{Q}. 60 A 10.1.0.6")), "{ours}");
    assert!(!ours.contains("203.0.113.7"), "{ours}");
}

/// The way to us alone, kept while the name was ours, is no answer while it is the upstream's.
#[test]
fn a_kept_way_to_us_holds_only_while_an_address_is_up() {
    let snapshot = hub(AllDown::Public);
    let way = [("shop.example", 60, Rtype::CNAME, wire(&format!("x.{P}")))];
    let (question, answer) = answered("shop.example", Rtype::A, 0, &way);
    snapshot.cache.insert(&question, &answer, true, Instant::now()).expect("kept");
    let shop = query("shop.example", 1, 1_232, 0);
    let verdict = || decided(&snapshot, &asked("10.0.0.1"), &shop).0;
    for _ in 0..2 {
        let ours = ask(&snapshot, "shop.example", Rtype::A);
        assert!(ours.contains(&format!("x.{P}. 60 CNAME x.{Q}.; x.{Q}. 60 A 10.1.0.")), "{ours}");
        set(&snapshot, false, &ALL);
        assert_eq!(verdict(), Verdict::Forward);
        set(&snapshot, true, &ALL);
    }
}

#[test]
fn expectations_are_about_the_file_and_not_about_who_is_down() {
    let old = hub(AllDown::Servfail);
    set(&old, false, &ALL);
    let mut new = hub(AllDown::Servfail);
    assert!(ask(&new, &format!("x.{P}"), Rtype::A).starts_with("NOERROR"));
    new.go_on_from(&old);
    assert_eq!(ask(&new, &format!("x.{P}"), Rtype::A), "SERVFAIL ra: ");
}

#[test]
fn an_explanation_names_what_is_down_and_what_is_answered() {
    let snapshot = hub(AllDown::Public);
    let explained = || {
        let name = format!("x.{P}").parse().expect("a name");
        let client = "10.0.0.1".parse().expect("an address");
        let ask = Ask { name, rtype: Rtype::A, client, dnssec: false };
        snapshot.explain(&ask, true).expect("a reply of ours")
    };
    let down = |explanation: &Explanation| {
        let find = |step: &Step| match step {
            Step::Down { addresses } => Some(addresses.clone()),
            _ => None,
        };
        explanation.steps.iter().find_map(find).unwrap_or_default()
    };
    assert_eq!(down(&explained()), []);
    set(&snapshot, false, &["10.1.0.6"]);
    let explanation = explained();
    let expected = DownAddress {
        address: "10.1.0.6".parse().expect("an address"),
        endpoint: "hub".to_owned(),
        probe: "tcp:443".to_owned(),
        since_seconds: 0,
        proving: false,
        last_failure: Some("connection refused".to_owned()),
    };
    assert_eq!(down(&explanation), [expected]);
    let answered = explanation.steps.iter().find_map(|step| match step {
        Step::Endpoint { addresses, .. } => Some(addresses.len()),
        _ => None,
    });
    assert_eq!(answered, Some(3), "10.1.0.5, 10.1.0.7 and fd00::5");
    set(&snapshot, false, &ALL);
    let explanation = explained();
    assert_eq!(explanation.verdict, Conclusion::Forwarded);
    assert_eq!(down(&explanation).len(), 4);
    let json = serde_json::to_string(&explanation).expect("JSON");
    assert!(json.contains(r#"{"step":"down","addresses":[{"address":"10.1.0.5","#), "{json}");
    assert!(json.contains(r#"all-down = \"public\""#), "{json}");
}
