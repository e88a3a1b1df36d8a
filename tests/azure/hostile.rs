//! Files that nobody means well with: no panic, no endless work, and always a complaint.

use std::fmt::Write as _;
use std::path::Path;

use crate::command::run;
use crate::temporary::Folder;
use privatelinkd::addresses::Class;
use privatelinkd::azure::{self, Extent, Inventory};
use privatelinkd::config;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Zones of somebody's own: all would be looked through for each name, if anything was.
const ZONES: usize = 2_000;

fn import(text: &str) -> (Inventory, String) {
    let files = [("f.json".to_owned(), text.to_owned())];
    let inventory = azure::read(&files);
    let fragment = azure::fragment(&inventory, &[], Extent::Whole).expect("no sites");
    if !fragment.text.is_empty() {
        let report = config::read(&fragment.text);
        assert!(report.config.is_some(), "{:?}\n{}", report.diagnostics, fragment.text);
    }
    (inventory, fragment.text)
}

fn endpoint(name: &str, fqdn: &str) -> String {
    let value = serde_json::json!({
        "name": name,
        "location": name,
        "privateLinkServiceConnections": [{
            "groupIds": [name],
            "privateLinkServiceId": format!("/providers/{name}/x/y"),
            "privateLinkServiceConnectionState": { "status": "Approved" },
        }],
        "customDnsConfigs": [{ "fqdn": fqdn, "ipAddresses": ["10.0.0.5"] }],
    });
    value.to_string()
}

#[test]
fn a_file_cut_anywhere_is_refused_as_a_whole() {
    let text = format!("[{}]", endpoint("pe", "acct.blob.core.windows.net"));
    assert_eq!(import(&text).0.endpoints.len(), 1);
    for end in 1..text.len() {
        let (inventory, toml) = import(&text[..end]);
        assert!(inventory.endpoints.is_empty() && toml.is_empty(), "cut at {end}");
        assert!(!inventory.complaints.is_empty(), "cut at {end}");
    }
}

#[test]
fn deep_nesting_is_refused() {
    for depth in [127, 128, 100_000] {
        for (open, close) in [("[", "]"), ("{\"value\":[", "]}"), ("{\"a\":", "}")] {
            let text = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            assert!(!import(&text).0.complaints.is_empty(), "{open} {depth}");
        }
    }
}

#[test]
fn huge_texts_are_cut_in_messages_and_refused_as_names() {
    let huge = "ä\u{1b}".repeat(3_500_000);
    let named = endpoint("pe", "acct.blob.core.windows.net");
    let name = format!("\"name\":{}", serde_json::json!(huge));
    let (inventory, toml) = import(&named.replacen("\"name\":\"pe\"", &name, 1));
    assert_eq!(inventory.endpoints[0].name.len(), huge.len());
    assert!(toml.lines().all(|line| line.len() < 2_000), "a line of a comment is too long");
    assert!(!toml.contains('\u{1b}'));
    assert_eq!(inventory.endpoints.len(), 1);
    let (inventory, toml) = import(&endpoint("pe", &huge));
    assert!(toml.is_empty());
    assert!(inventory.complaints.iter().all(|complaint| complaint.text.len() < 2_000));
}

#[test]
fn many_unknown_types_cost_a_thousand_complaints_and_objects_one() {
    let text = format!("[{}{{}}]", "{\"type\":\"a/b\"},".repeat(200_000));
    let (inventory, _) = import(&text);
    assert_eq!(inventory.complaints.len(), 1_002);
    assert!(inventory.complaints.iter().any(|c| c.text == "199000 more like these"));
    for (one, what) in [("{},", "objects of no kind"), ("5,", "values outside any object")] {
        let text = format!("[{}]", one.repeat(200_000).trim_end_matches(','));
        let (inventory, _) = import(&text);
        assert_eq!(inventory.complaints.len(), 1, "{:?}", inventory.complaints);
        let said = &inventory.complaints[0].text;
        assert!(said.starts_with(&format!("the first of 200000 {what}")), "{said}");
    }
}

#[test]
fn keys_of_any_spelling_and_number_are_read_in_time() {
    // Each look-up of a key that is not there goes through all of these.
    let many: String = (0..300_000).map(|n| format!("\"Private_Endpoint{n}\":1,")).collect();
    let named = endpoint("pe", "acct.blob.core.windows.net");
    let text = named.replacen('{', &format!("{{{many}"), 1);
    assert_eq!(import(&text).0.endpoints.len(), 1);
    // Two spellings of one key: Azure's own counts.
    let twice =
        named.replacen("\"customDnsConfigs\"", "\"CustomDnsConfigs\":5,\"customDnsConfigs\"", 1);
    let (inventory, toml) = import(&twice);
    assert!(inventory.complaints.is_empty() && !toml.is_empty(), "{:?}", inventory.complaints);
}

#[test]
fn states_of_terraform_may_nest_as_deep_as_any_file() {
    let (open, close) = (r#"{"child_modules":[{"resources":[]},"#, "]}");
    for depth in [30, 60, 64, 1_000] {
        let modules = format!("{}{{}}{}", open.repeat(depth), close.repeat(depth));
        let text = format!(r#"{{"terraform_version":"1","values":{{"root_module":{modules}}}}}"#);
        assert!(!import(&text).0.complaints.is_empty(), "{depth}");
    }
    let odd = r#"{"terraform_version":5,"values":[],"resources":{"a":1},"child_modules":"x"}"#;
    assert!(!import(odd).0.complaints.is_empty());
}

#[test]
fn quoted_strings_that_never_end_take_no_record_with_them() {
    let zone = "$ORIGIN privatelink.blob.core.windows.net\nx TXT \"a\n";
    let records = "a 10 IN A 10.0.0.1\n".repeat(20);
    let (inventory, toml) = import(&format!("{zone}{records}y TXT \"b\"\n"));
    assert!(toml.is_empty(), "{toml}");
    let said = &inventory.complaints[0].text;
    assert!(said.contains("a quotation mark is never closed"), "{said}");
}

#[test]
fn many_zones_and_endpoints_take_no_time_worth_a_word() {
    let mut text = String::from("[");
    for number in 0..ZONES {
        // Zones of their own, names that clash, and addresses that several have.
        let zone = format!("privatelink.z{number}.example");
        let address = format!("10.0.{}.{}", number % 7, number % 251);
        let _infallible = write!(
            text,
            "{{\"fqdn\":\"a.{zone}.\",\"name\":\"a\",\"aRecords\":[{{\"ipv4Address\":\"{address}\"}}]}},\
             {{\"name\":\"pe{number}\",\"customDnsConfigs\":[{{\"fqdn\":\"b.z{number}.example\",\
             \"ipAddresses\":[\"{address}\"]}}]}},"
        );
    }
    text.pop();
    text.push(']');
    let (inventory, toml) = import(&text);
    assert!(inventory.endpoints.len() >= ZONES, "{}", inventory.endpoints.len());
    assert!(toml.matches("[[private-link]]").count() == ZONES);
}

#[test]
fn texts_of_the_files_stay_inside_strings_and_comments() {
    for evil in
        ["\"]\n[[forward]]\nzones = [\".\"]", "'''", "\\", "\\u0000", "#", "\u{7f}", "\u{202e}x"]
    {
        let text = endpoint(evil, "acct.blob.core.windows.net");
        let files = [(format!("{evil}.json"), text)];
        let inventory = azure::read(&files);
        let fragment = azure::fragment(&inventory, &[], Extent::Whole).expect("no sites").text;
        let report = config::read(&fragment);
        let config =
            report.config.unwrap_or_else(|| panic!("{:?}\n{fragment}", report.diagnostics));
        assert_eq!((config.forwards.len(), config.private_links[0].endpoints.len()), (1, 1));
    }
}

/// Rounds of [`files_with_any_change_do_no_worse_than_complain`].
const ROUNDS: usize = 1_500;

#[test]
fn files_with_any_change_do_no_worse_than_complain() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/import");
    let seeds = std::fs::read_dir(folder)
        .expect("seeds")
        .map(|entry| std::fs::read_to_string(entry.expect("an entry").path()).expect("a seed"));
    let mut seeds: Vec<String> = seeds.collect();
    seeds.sort_unstable();
    assert!(seeds.len() >= 5);
    let mut random = StdRng::seed_from_u64(7);
    let mut usable = 0;
    for round in 0..ROUNDS {
        let mut octets = seeds[round % seeds.len()].clone().into_bytes();
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(0..octets.len());
            match random.random_range(0..4) {
                0 => octets[at] = random.random_range(32..127),
                1 => drop(octets.remove(at)),
                2 => {
                    let digit = b'0' + random.random_range(0..10);
                    if octets[at].is_ascii_digit() {
                        octets[at] = digit;
                    }
                }
                _ => {
                    let end = (at + random.random_range(1..40)).min(octets.len());
                    let piece = octets[at..end].to_vec();
                    let to = random.random_range(0..octets.len());
                    octets.splice(to..to, piece);
                }
            }
        }
        let text = String::from_utf8(octets).expect("ASCII");
        let (first, second) = text.split_once("\n---\n").unwrap_or((&text, ""));
        let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let [a, b] = [file("a", first), file("b", second)];
        let inventory = azure::read(&[a.clone(), b.clone()]);
        assert_eq!(azure::read(&[b, a]), inventory, "{text}");
        let records = inventory.endpoints.iter().flat_map(|endpoint| &endpoint.records);
        for record in records {
            assert!(record.addresses.iter().all(|a| Class::of(*a) == Class::Private), "{text}");
        }
        let fragment = azure::fragment(&inventory, &[], Extent::Whole).expect("no sites").text;
        if !fragment.is_empty() {
            usable += 1;
            let report = config::read(&fragment);
            assert!(report.config.is_some(), "{:?}\n{text}\n{fragment}", report.diagnostics);
        }
    }
    assert!(usable > ROUNDS / 10, "only {usable} came to a configuration");
}

#[test]
fn names_of_files_do_not_act_on_a_terminal() {
    let folder = Folder::new();
    let (left_out, gone) = ("a\u{1b}[31m\nb.json", "gone\u{1b}[31m.json");
    folder.write(left_out, br#"{ "type": "other" }"#);
    let pair = ["import", "azure", left_out];
    for args in [&pair[..], &["import", "azure", gone], &["drift", "--live", "@127.0.0.1", gone]] {
        let said = run(folder.path(), args, b"");
        assert!(said.stderr.contains("?[31m") && said.code != 0, "{said:?}");
        assert!(!(said.stdout + &said.stderr).contains('\u{1b}'), "{args:?}");
    }
}
