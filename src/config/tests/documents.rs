//! What is written about the configuration says all of it, and nothing that is not so.

use std::collections::BTreeSet;

use super::config;
use super::good::{PACKAGED, QUICKSTART};
use crate::config::{keys, limits, read};

const PAGE: &str = include_str!("../../../docs/CONFIG.md");

/// Keys by table as a sample file writes them, commented ones included.
fn keys_of_sample(text: &str) -> BTreeSet<(String, String)> {
    let mut table = String::new();
    let mut found = BTreeSet::new();
    for line in text.lines() {
        let line = line.strip_prefix("# ").unwrap_or(line);
        if let Some(header) = line.strip_prefix('[') {
            table = header.split(']').next().unwrap_or("").trim_start_matches('[').to_owned();
            let (above, last) = table.rsplit_once('.').unwrap_or(("", &table));
            found.insert((above.to_owned(), last.to_owned()));
        } else if let Some((key, _)) = line.split_once('=') {
            found.insert((table.clone(), key.trim().to_owned()));
        }
    }
    found
}

/// Every accepted key with its table, in order.
fn accepted() -> Vec<(String, String)> {
    let pairs = keys().iter().flat_map(|(table, keys)| keys.iter().map(move |key| (*table, *key)));
    pairs.map(|(table, key)| (table.to_owned(), key.to_owned())).collect()
}

#[test]
fn every_accepted_key_stands_in_the_packaged_file() {
    let found = keys_of_sample(PACKAGED);
    let missing: Vec<_> = accepted().into_iter().filter(|key| !found.contains(key)).collect();
    assert_eq!(missing, []);
}

/// The page's sections, `## [table]` or `## [[table]]`, with the rows of their tables of keys.
fn rows_of_page() -> Vec<(String, Vec<String>)> {
    let mut table = None;
    let mut rows = Vec::new();
    for line in PAGE.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            let name = title.strip_prefix("`[").and_then(|title| title.strip_suffix("]`"));
            table = name.map(|name| name.trim_matches(['[', ']']).to_owned());
        } else if let (Some(table), Some(row)) = (&table, line.strip_prefix("| `")) {
            let cells = format!("`{row}");
            let cells = cells.trim_end_matches('|').split(" | ").map(|cell| cell.trim().to_owned());
            rows.push((table.clone(), cells.collect()));
        }
    }
    rows
}

#[test]
fn the_page_lists_the_accepted_keys_in_their_order() {
    let listed: Vec<_> = rows_of_page()
        .into_iter()
        .map(|(table, cells)| (table, cells[0].trim_matches('`').to_owned()))
        .collect();
    let tables: BTreeSet<_> = keys().iter().map(|(table, _)| (*table).to_owned()).collect();
    // A table is documented by its section, not by a row of the one above.
    let expected: Vec<_> = accepted()
        .into_iter()
        .filter(|(table, key)| {
            let inner = if table.is_empty() { key.clone() } else { format!("{table}.{key}") };
            !tables.contains(&inner)
        })
        .collect();
    assert_eq!(listed, expected);
}

#[test]
fn the_pages_limits_are_those_of_the_program() {
    let rows: Vec<_> = rows_of_page().into_iter().filter(|(table, _)| table == "limits").collect();
    let expected: Vec<_> = limits::table()
        .iter()
        .map(|limit| {
            let cells = [
                format!("`{}`", limit.key),
                limit.bound.default_text(),
                limit.bound.to_string(),
                limit.reason.to_owned(),
            ];
            ("limits".to_owned(), cells.to_vec())
        })
        .collect();
    assert_eq!(rows, expected);
}

#[test]
fn the_pages_ranges_and_defaults_are_those_of_the_program() {
    let ranges = [
        ("private-link", "ttl", limits::TTL),
        ("private-link", "negative-ttl", limits::NEGATIVE_TTL),
        ("probes", "interval", limits::PROBE_INTERVAL),
        ("probes", "timeout", limits::PROBE_TIMEOUT),
        ("forward", "timeout", limits::TIMEOUT),
        ("cache", "stale", limits::STALE),
        ("cache", "max-ttl", limits::MAX_TTL),
        ("cache", "max-negative-ttl", limits::MAX_NEGATIVE_TTL),
        ("cache", "failure-ttl", limits::FAILURE_TTL),
    ];
    let rows = rows_of_page();
    let row_of = |table: &str, key: &str| {
        let is_it = |(at, cells): &&(String, Vec<String>)| at == table && cells[0] == key;
        rows.iter().find(is_it).expect("a row")
    };
    for (key, range) in [("rise", limits::PROBE_RISE), ("fall", limits::PROBE_FALL)] {
        let (_, cells) = row_of("probes", &format!("`{key}`"));
        assert_eq!(cells[2], format!("`{}`", range.default_here()), "{key}");
        assert!(cells[1].contains(&range.to_string()), "{key}: {range}");
    }
    let targets = format!("{} addresses", limits::MAX_PROBE_TARGETS);
    assert!(PAGE.replace(',', "").contains(&targets), "{targets}");
    for (table, key, range) in ranges {
        let row = row_of(table, &format!("`{key}`"));
        let default = row.1[2].trim_matches(['`', '"']);
        assert_eq!(humantime::parse_duration(default), Ok(range.default), "{key}");
        assert!(row.1[1].contains(&range.to_string()), "{key}: {range}");
    }
}

#[test]
fn examples_of_the_page_are_good() {
    let examples: Vec<_> = PAGE.split("```toml\n").skip(1).collect();
    assert!(examples.len() >= keys().len() - 1, "one for each table");
    for example in examples {
        let example = example.split("```").next().expect("the example's end");
        let mut text = example.to_owned();
        if !text.contains("[listen]") {
            text.push_str("\n[listen]\ndns = [\"127.0.0.1:53\"]\n");
        }
        if !text.contains("[[forward]]") {
            text.push_str("\n[[forward]]\nzones = [\".\"]\nupstreams = [\"10.0.0.4\"]\n");
        }
        let report = read(&text);
        let errors: Vec<_> = report.diagnostics.iter().filter(|d| d.is_error()).collect();
        assert!(errors.is_empty(), "{text}\n{errors:#?}");
    }
    // The sample files' first lines say how to use them; both are whole.
    assert_eq!(config(QUICKSTART).private_links.len(), 1);
}
