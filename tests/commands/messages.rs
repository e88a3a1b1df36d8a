//! What `check` says of files that people wrote, pasted and saved in all ways: one message for one
//! fault, and one that says what to do.

use super::temporary::Folder;
use super::{run, text};

const LISTEN: &str = "[listen]\ndns = [\"127.0.0.1:5300\"]\n";
const FORWARD: &str = "[[forward]]\nzones = [\".\"]\nupstreams = [\"127.0.0.1:5399\"]\n";
const DEFENDER: &str = "[[private-link]]\nservice = \"defender-for-containers\"\n\
    unlisted = \"nxdomain\"\n[[private-link.endpoint]]\nname = \"weu-hub\"\n\
    [private-link.endpoint.names]\n\"api\" = [\"10.1.0.5\"]\n\"data.westeurope\" = [\"10.1.0.6\"]\n";
const BLOB: &str = "[[private-link]]\nservice = \"storage-blob\"\n[[private-link.endpoint]]\n\
    name = \"blob\"\nnames = { \"contosodata\" = [\"10.1.0.10\"] }\n";

/// The lines that `check` says of these octets, without the file's name and without the last one,
/// which counts the errors.
fn said(octets: &[u8]) -> Vec<String> {
    let folder = Folder::new();
    folder.write("x.toml", octets);
    let path = folder.path().join("x.toml");
    let path = path.to_str().expect("text");
    let output = run(&["check", path]);
    let said = text(&output.stderr);
    let mut lines: Vec<String> =
        said.lines().map(|line| line.replace(&format!("{path}:"), "")).collect();
    if output.status.success() {
        return lines;
    }
    let last = lines.pop().expect("a last line");
    assert!(last.contains("not usable, "), "{said}");
    lines
}

/// One error, whose line begins with `line` and whose words hold `parts`.
fn one(octets: &[u8], line: &str, parts: &[&str]) {
    let said = said(octets);
    let errors: Vec<_> = said.iter().filter(|line| !line.starts_with("    help: ")).collect();
    let [error] = errors.as_slice() else { panic!("one error: {said:#?}") };
    assert!(error.trim_start().starts_with(line), "{line}: {said:#?}");
    for part in parts {
        assert!(said.join("\n").contains(part), "{part}: {said:#?}");
    }
}

#[test]
fn an_endpoint_before_its_entry_is_told_what_belongs_above() {
    let endpoint = "[[private-link.endpoint]]\nname = \"hub\"\naddresses = [\"10.1.0.5\"]\n";
    let remedy = "write a [[private-link]] with service = \"…\" above it";
    for (text, line) in [
        (
            format!("{LISTEN}{endpoint}{FORWARD}"),
            "3: error: private-link: [[private-link.endpoint]]",
        ),
        (
            format!("{LISTEN}{endpoint}{DEFENDER}"),
            "3: error: private-link: [[private-link.endpoint]]",
        ),
        (
            format!("{LISTEN}[private-link.endpoint.names]\napi = [\"10.1.0.5\"]\n"),
            "3: error: private-link: [private-link.endpoint.names] stands before any",
        ),
    ] {
        let said = said(text.as_bytes());
        let all = said.join("\n");
        assert!(said[0].starts_with(line) || all.contains(line), "{said:#?}");
        assert!(all.contains(remedy), "{said:#?}");
        assert_eq!(all.matches("error: private-link").count(), 1, "{said:#?}");
    }
    let names = "[[private-link]]\nservice = \"aks\"\n[private-link.endpoint.names]\n";
    let all = said(format!("{LISTEN}{names}").as_bytes()).join("\n");
    assert!(all.contains("write a [[private-link.endpoint]] with name = \"…\" above it"), "{all}");
}

#[test]
fn what_stands_twice_names_the_first_place() {
    let cache = "[cache]\nsize = \"1MiB\"\n";
    for (text, expected) in [
        (
            format!("{LISTEN}{FORWARD}[listen]\nadmin = \"127.0.0.1:9153\"\n"),
            "6: error: found listen; duplicate key: [listen] stands on line 1 already",
        ),
        (
            format!("{LISTEN}{FORWARD}{cache}stale = \"1h\"\nsize = \"2MiB\"\n"),
            "9: error: found size; duplicate key: it stands on line 7 already",
        ),
        (
            format!("cache.stale = \"1h\"\n{LISTEN}{FORWARD}{cache}"),
            "7: error: found cache; duplicate key: cache.stale = … stands on line 1 already",
        ),
        (
            format!("cache = {{ stale = \"1h\" }}\n{LISTEN}{FORWARD}{cache}"),
            "7: error: found cache; duplicate key: cache = … stands on line 1 already",
        ),
        (
            format!("{LISTEN}{DEFENDER}\"api\" = [\"10.1.0.7\"]\n"),
            "11: error: found \"api\"; duplicate key: it stands on line 9 already",
        ),
    ] {
        one(text.as_bytes(), expected, &[]);
    }
    let twice = format!("{LISTEN}{FORWARD}{LISTEN}");
    let said = said(twice.as_bytes()).join("\n");
    assert!(
        said.contains("6: error: found listen; duplicate key: [listen] stands on line 1"),
        "{said}"
    );
    assert!(said.contains("7: error: found dns; duplicate key: it stands on line 2"), "{said}");
    let single = FORWARD.replace("[[forward]]", "[forward]");
    let all = super::messages::said(format!("{LISTEN}{single}{single}").as_bytes()).join("\n");
    assert!(all.contains("forward stands on line 3 already"), "{all}");
    assert!(all.contains("two brackets each time: [[forward]]"), "{all}");
    assert!(!all.contains("found zones"), "{all}");
}

#[test]
fn one_fault_is_one_message() {
    let cr = format!("{LISTEN}{DEFENDER}{FORWARD}").replace('\n', "\r");
    one(
        cr.as_bytes(),
        "1: error: every line ends with a carriage return alone",
        &["tr '\\r' '\\n'"],
    );
    let many = format!("{LISTEN}{FORWARD}{}", "# x\r".repeat(3_000));
    one(
        many.as_bytes(),
        "6: error: a carriage return without a line feed, here and 2999 times",
        &[],
    );
    // Without quotes, on many lines: a few are shown, and the rest are counted.
    let names: String = (0..2_000).map(|n| format!("\"n{n}\" [\"10.1.0.5\"]\n")).collect();
    let lines = said(format!("{LISTEN}{DEFENDER}{names}").as_bytes());
    assert!(lines.len() < 20, "{lines:#?}");
    assert!(lines.join("\n").contains("the same 1995 times more, last on line 2010"), "{lines:#?}");
}

#[test]
fn a_piece_at_the_wrong_place_says_where_it_belongs() {
    let probe = "[[private-link.endpoint]]\nname = \"weu-hub\"\nprobe = \"tcp:443\"\n";
    one(
        format!("{LISTEN}{DEFENDER}{BLOB}{FORWARD}{probe}").as_bytes(),
        "19: error: private-link[2].endpoint[2]: neither addresses nor names",
        &[
            "belongs to the last [[private-link]] above it: service = \"storage-blob\" (line 11)",
            "the endpoint \"weu-hub\" on line 6 belongs to service = \"defender-for-containers\" \
             (line 3): add probe there",
        ],
    );
    let other = probe.replace("weu-hub", "other");
    one(
        format!("{LISTEN}{DEFENDER}{BLOB}{FORWARD}{other}").as_bytes(),
        "19: error: private-link[2].endpoint[2]: neither addresses nor names; write addresses",
        &["it belongs to service = \"storage-blob\" (line 11)"],
    );
}

#[test]
fn an_import_that_is_appended_twice_is_said_once_for_each_entry() {
    one(
        format!("{LISTEN}{FORWARD}{DEFENDER}{DEFENDER}").as_bytes(),
        "15: error: private-link[2].service: found \"defender-for-containers\"; this entry stands \
         twice: service = \"defender-for-containers\" (line 6) has the endpoint \"weu-hub\"",
        &["the output of `import azure` was probably appended twice"],
    );
    let lines = said(format!("{LISTEN}{FORWARD}{DEFENDER}{BLOB}{DEFENDER}{BLOB}").as_bytes());
    assert_eq!(lines.iter().filter(|line| line.contains("stands twice")).count(), 2, "{lines:#?}");
    assert_eq!(lines.len(), 4, "{lines:#?}");
    // Two entries of one service with different names are fine.
    let other = BLOB.replace("contosodata", "other");
    assert_eq!(said(format!("{LISTEN}{FORWARD}{BLOB}{other}").as_bytes()), [""; 0]);
}

#[test]
fn encodings_are_named_with_what_to_do() {
    let good = format!("\u{feff}{LISTEN}{FORWARD}");
    assert_eq!(said(good.as_bytes()), [""; 0]);
    let utf16 = |order: fn(u16) -> [u8; 2], text: &str| -> Vec<u8> {
        text.encode_utf16().flat_map(order).collect()
    };
    for octets in [
        utf16(u16::to_le_bytes, &good),
        utf16(u16::to_be_bytes, &good),
        utf16(u16::to_le_bytes, &good[3..]),
        utf16(u16::to_be_bytes, &good[3..]),
    ] {
        one(
            &octets,
            "the file is UTF-16 text",
            &["iconv -f UTF-16 -t UTF-8", "Out-File -Encoding utf8"],
        );
    }
    let latin: Vec<u8> = [LISTEN.as_bytes(), b"# caf\xe9\n"].concat();
    one(&latin, "3: the line has an octet that is not UTF-8 text", &["save the file as UTF-8"]);
    one(format!("{LISTEN}\u{feff}{FORWARD}").as_bytes(), "3: error: U+FEFF stands here", &[]);
    one(format!("{LISTEN}{FORWARD}\0").as_bytes(), "6: error: a control character (U+0000)", &[]);
}

/// Each is line 2 of a file, behind `[listen]`.
#[test]
fn a_line_that_is_no_toml_says_what_to_write() {
    const RIGHT: &str = "write dns = [\"127.0.0.1:5300\"]";
    for (line, parts) in [
        ("dns = [“127.0.0.1:5300”]", &["`“` (U+201C) is no quote of TOML", RIGHT][..]),
        ("dns = [‘127.0.0.1:5300’]", &["`‘` (U+2018) is no quote of TOML", RIGHT]),
        ("dns = [„127.0.0.1:5300“]", &["`„` (U+201E) is no quote", RIGHT]),
        ("\u{a0}\u{a0}dns = [\"127.0.0.1:5300\"]", &["U+00A0 stands here", RIGHT]),
        ("dns\u{a0}=\u{a0}[\"127.0.0.1:5300\"]", &["U+00A0 stands here", RIGHT]),
        ("\u{200b}dns = [\"127.0.0.1:5300\"]", &["U+200B stands here", RIGHT]),
        ("dns [\"127.0.0.1:5300\"]", &["= is missing", RIGHT]),
        ("dns: [\"127.0.0.1:5300\"]", &["joined by = in TOML, not by a colon", RIGHT]),
        (
            "dns = [127.0.0.1:5300]",
            &["found 127.0.0.1:5300; a text needs quotes", "\"127.0.0.1:5300\""],
        ),
        ("dns =", &["a value is missing; write it behind dns ="]),
        ("dns", &["a key without a value; write dns = and the value"]),
        ("dns = [\"127.0.0.1:5300\" \"[::1]:5300\"]", &["a comma is missing"]),
        ("dns = [\"127.0.0.1:5300\"];", &["only a comment (# …) may follow"]),
        ("dns = [\"127.0.0.1:5300]", &["a quote is opened here and not closed"]),
        ("dns = [\"127.0.0.1:5300\"", &["the list that begins here has no end; write ]"]),
        (
            "dns = [\"C:\\Users\\dns\"]",
            &["a backslash inside \"…\" begins an escape", "single quotes"],
        ),
        ("// a comment", &["a comment begins with # in TOML"]),
        ("```toml", &["stands around code in Markdown; delete this line"]),
        ("<<<<<<< HEAD", &["a conflict that git could not merge"]),
        ("dns = [\"127.0.0.1:5300\"] – here", &["`–` (U+2013) can only stand inside quotes"]),
    ] {
        let rest = if line.contains("dns") { "" } else { "dns = [\"127.0.0.1:5300\"]\n" };
        one(format!("[listen]\n{line}\n{rest}{FORWARD}").as_bytes(), "2: error: ", parts);
    }
    // A tab is a space.
    let tabs = format!("[listen]\n\tdns\t=\t[\"127.0.0.1:5300\"]\t\n{FORWARD}");
    assert_eq!(said(tabs.as_bytes()), [""; 0]);
    // Other faults stand beside, and none that follows from a broken line.
    let two = format!(
        "[listen]\ndns [\"127.0.0.1:5300\"]\n{FORWARD}timeout = \"soon\"\n[cache]\nsize = 64MiB\nstale = 24h\n"
    );
    let lines = said(two.as_bytes());
    let at: Vec<&str> =
        lines.iter().filter_map(|line| line.split_once(": error").map(|l| l.0)).collect();
    assert_eq!(at, ["2", "6", "8", "9"], "{lines:#?}");
}

#[test]
fn other_formats_are_named() {
    let yaml = "listen:\n  dns:\n    - 127.0.0.1:53\nforward:\n  - zones: [\".\"]\n";
    for (text, format) in [
        (yaml, "this is YAML"),
        ("---\nlisten:\n", "this is YAML"),
        ("{\n  \"listen\": {\n    \"dns\": [\"127.0.0.1:53\"]\n  }\n}\n", "this is JSON"),
        ("<!DOCTYPE html>\n<html>\n", "this is a web page"),
    ] {
        one(text.as_bytes(), "1: error: ", &[format, "a configuration is TOML", "docs/CONFIG.md"]);
    }
}
