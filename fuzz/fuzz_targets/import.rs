//! Any text as two of Azure's files: an inventory whose addresses are private, in the same octets
//! whatever the order of files, and a configuration without errors.
#![no_main]

use libfuzzer_sys::fuzz_target;
use privatelinkd::addresses::Class;
use privatelinkd::azure::{self, Extent};
use privatelinkd::config;

/// What parts the two files.
const SPLIT: &str = "\n---\n";

fuzz_target!(|text: &str| {
    let (first, second) = text.split_once(SPLIT).unwrap_or((text, ""));
    let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let files = [file("a", first), file("b", second)];
    let inventory = azure::read(&files);
    for record in inventory.endpoints.iter().flat_map(|endpoint| &endpoint.records) {
        assert!(!record.addresses.is_empty());
        assert!(record.addresses.iter().all(|a| Class::of(*a) == Class::Private), "{record:?}");
    }
    for complaint in &inventory.complaints {
        let line = complaint.to_string();
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
    let [a, b] = files;
    assert_eq!(azure::read(&[b, a]), inventory);
    let fragment = azure::fragment(&inventory, &[], Extent::Whole).expect("no sites");
    if !fragment.text.is_empty() {
        let report = config::read(&fragment.text);
        assert!(report.config.is_some(), "{:?}\n{}", report.diagnostics, fragment.text);
    }
});
