//! Files as a whole: syntax, types, unknown keys, and what cannot be read at all.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{E, FORWARD, LISTEN, Said, W, check, rest, whole};
use crate::config::{LoadError, MAX_FILE_OCTETS, load, read};

#[test]
fn unknown_keys_are_errors_with_a_suggestion() {
    const LINK: &str = "[[private-link]]\nservice = 'defender-for-containers'\n\
                        [[private-link.endpoint]]\nname = 'hub'\naddresses = ['10.1.0.5']\n\
                        names.api = ['10.1.0.5']\n";
    let link = |text: &str, said: Said| rest(&format!("{LINK}{text}"), said);
    check([
        rest("[acces]\n", &[(E, 6, "acces", "did you mean \"access\"?")]),
        rest("[cache]\nsiez = '1MiB'", &[(E, 7, "cache.siez", "allowed: size")]),
        rest("[access]\nallowed = ['private']", &[(E, 7, "access.allowed", "mean \"allow\"?")]),
        link(
            "adresses = ['10.1.0.6']",
            &[(E, 12, "private-link.endpoint.adresses", "did you mean \"addresses\"?")],
        ),
        link(
            "[[private-link.endpoints]]",
            &[(E, 12, "private-link.endpoints", "did you mean \"endpoint\"?")],
        ),
        // Keys of later versions are not taken in silence.
        whole(
            &format!("{LISTEN}port = 53\n{FORWARD}"),
            &[(E, 3, "listen.port", "unknown key; allowed: dns, admin")],
        ),
        rest("listeners = 2", &[(E, 6, "forward.listeners", "unknown key; allowed: zones, upst")]),
        rest("[cache]\nstal = '24h'", &[(E, 7, "cache.stal", "did you mean \"stale\"?")]),
        link("probes = 'tcp:443'", &[(E, 12, "private-link.endpoint.probes", "mean \"probe\"?")]),
    ]);
}

#[test]
fn syntax_errors_come_all_with_their_lines() {
    let text = "[listen]\ndns = [\"127.0.0.1:53\"\n\n[access\nallow = ['private']\nallow = []\n\
                [cache]\nsize = 64MiB\n[log]\nlevel = 'x\n";
    let report = read(text);
    assert!(report.config.is_none());
    let lines: Vec<_> = report.diagnostics.iter().filter(|d| d.key.is_empty()).collect();
    for line in [8, 10] {
        assert!(lines.iter().any(|d| d.line == line && d.is_error()), "{line}: {lines:#?}");
    }
    check([
        rest("[cache]\nsize = '1MiB'\nsize = '2MiB'", &[(E, 8, "", "duplicate key")]),
        rest("[cache]\n[cache]", &[(E, 7, "", "duplicate key")]),
    ]);
}

#[test]
fn other_faults_stand_beside_those_of_syntax() {
    let report = read(&format!("{LISTEN}{FORWARD}timeout = 'soon'\n[cache]\nsize = 64MiB\n"));
    let found: Vec<_> = report.diagnostics.iter().map(|d| (d.line, d.key.as_str())).collect();
    assert!(found.contains(&(6, "forward.timeout")), "{found:?}");
    assert!(found.iter().any(|(line, _)| *line == 8), "{found:?}");
}

#[test]
fn all_errors_of_a_file_come_at_once_in_its_order() {
    check([whole(
        "[listen]\ndns = ['127.0.0.1']\n\
         [access]\nallow = ['10.1.2.3/8']\nrefused = 'no'\n\
         [[site]]\nname = 'x'\nnetworks = ['10.1.0.0/16']\n\
         [[private-link]]\nservice = 'defender'\nttl = '2h'\n\
         [[private-link.endpoint]]\nname = 'hub'\nsites = ['y']\naddresses = ['8.8.8.8']\n\
         [[forward]]\nzones = ['.']\nupstreams = ['dns.google']\n\
         [cache]\nsize = '1KiB'\n[limits]\nworkers = 1000\n[lgo]\n",
        &[
            (E, 2, "listen.dns", "the port is missing"),
            (E, 4, "access.allow", "10.0.0.0/8"),
            (E, 5, "access.refused", "write \"answer\" or \"drop\""),
            (W, 7, "site.name", "no endpoint names this site"),
            (E, 10, "private-link.service", "not in the catalogue"),
            (E, 11, "private-link.ttl", "1s to 1h"),
            (E, 14, "private-link.endpoint.sites", "no [[site]] has this name; write \"x\""),
            (E, 15, "private-link.endpoint.addresses", "a public address"),
            (E, 18, "forward.upstreams", "a host name"),
            (E, 20, "cache.size", "1MiB"),
            (E, 22, "limits.workers", "1 to 256"),
            (E, 23, "lgo", "allowed: listen, access"),
        ],
    )]);
}

#[test]
fn a_file_that_says_nothing_is_told_what_to_say() {
    const NOTHING: Said =
        &[(E, 1, "listen", "missing; write [listen]"), (E, 1, "", "nothing to answer")];
    check([whole("", NOTHING), whole("# nothing\n", NOTHING)]);
    check([whole(LISTEN, &[(E, 1, "", "at least one [[private-link]] or [[forward]]")])]);
    // Editors on Windows put a mark in front, and end lines with two characters.
    check([whole(&format!("\u{feff}{LISTEN}{FORWARD}").replace('\n', "\r\n"), &[])]);
}

/// A directory of this test alone, gone with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(test: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("plinkd-config-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory for the test");
        Self(path)
    }

    fn file(&self, name: &str, octets: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, octets).expect("a file for the test");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_good_file_loads_with_its_warnings() {
    let scratch = Scratch::new("good");
    let path = scratch.file("a.toml", format!("{LISTEN}{FORWARD}timeout = '5s'\n").as_bytes());
    let loaded = load(&path).expect("a good file");
    assert_eq!(loaded.config.forwards.len(), 1);
    assert_eq!(loaded.warnings.iter().map(|warning| warning.line).collect::<Vec<_>>(), [6]);
}

#[test]
fn errors_name_the_file_and_the_line() {
    let scratch = Scratch::new("bad");
    let path = scratch.file("a.toml", format!("{LISTEN}{FORWARD}timeout = '1m'\nx = 1").as_bytes());
    let error = load(&path).expect_err("a bad file");
    let text = error.to_string();
    let lines: Vec<_> = text.lines().collect();
    let path = path.display();
    assert!(lines[0].starts_with(&format!("{path}:6: error: forward.timeout: found '1m'; write")));
    assert!(lines[1].starts_with(&format!("{path}:7: error: forward.x: unknown key")), "{text}");
}

#[test]
fn files_that_are_no_text_are_refused_whole() {
    let scratch = Scratch::new("refused");
    let error = load(&scratch.0.join("none.toml")).expect_err("nothing to read");
    assert!(matches!(error, LoadError::Unreadable { .. }), "{error}");
    assert!(error.to_string().contains("cannot be read"), "{error}");
    let error = load(&scratch.file("latin.toml", b"[listen]\n# caf\xe9\n")).expect_err("no UTF-8");
    assert!(matches!(error, LoadError::NotUtf8 { line: 2, .. }), "{error}");
    let utf16 = |octets: fn(u16) -> [u8; 2], mark: &str| -> Vec<u8> {
        format!("{mark}{LISTEN}").encode_utf16().flat_map(octets).collect()
    };
    for octets in [
        utf16(u16::to_le_bytes, "\u{feff}"),
        utf16(u16::to_be_bytes, "\u{feff}"),
        utf16(u16::to_le_bytes, ""),
        utf16(u16::to_be_bytes, ""),
        format!("\u{feff}{LISTEN}").chars().flat_map(|c| u32::from(c).to_le_bytes()).collect(),
    ] {
        let error = load(&scratch.file("utf16.toml", &octets)).expect_err("no UTF-8");
        assert!(matches!(error, LoadError::Utf16 { .. }), "{error}");
        assert!(error.to_string().contains("iconv -f UTF-16 -t UTF-8"), "{error}");
    }
}

#[test]
fn oversize_files_are_refused() {
    let scratch = Scratch::new("large");
    let path = scratch.file("large.toml", b"");
    let file = fs::OpenOptions::new().write(true).open(&path).expect("the file");
    file.set_len(MAX_FILE_OCTETS + 1).expect("a file with a hole");
    let error = load(&path).expect_err("too large");
    assert!(matches!(error, LoadError::TooLarge { .. }), "{error}");
    assert!(error.to_string().contains("larger than the limit of 64 MiB"), "{error}");
}

#[test]
fn special_files_are_refused_before_anything_waits() {
    let scratch = Scratch::new("special");
    let fifo = scratch.0.join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo runs").success());
    for (path, kind) in [
        (fifo.as_path(), "a FIFO (a pipe)"),
        (Path::new("/dev/zero"), "a character device"),
        (scratch.0.as_path(), "a directory"),
    ] {
        let error = load(path).expect_err("no regular file");
        assert!(matches!(error, LoadError::NotAFile { .. }), "{error}");
        let expected =
            format!("{}: this is {kind}; a configuration must be a regular file", path.display());
        assert!(error.to_string().starts_with(&expected), "{error}");
    }
}
