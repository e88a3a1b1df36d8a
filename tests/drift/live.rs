//! `drift --live`.

use super::temporary::Folder;
use super::world::{API, DATA, Daemon, Outcome, endpoint, hub, list, reply, truncating, udp};
use super::{CONFIG, WIDTH};

/// NOERROR; recursion desired and available.
const GOOD: u16 = 0x8180;

/// What `drift --live` alone says of these servers, and Azure's `api`.
fn live(servers: &[&str]) -> Outcome {
    let folder = Folder::new();
    folder.write("pe.json", &list(&[endpoint("hub-pe", "Approved", &[(API, &["10.1.0.5"])])]));
    let servers = servers.iter().flat_map(|server| ["--live", *server]);
    folder.drift(&["pe.json"].into_iter().chain(servers).collect::<Vec<_>>())
}

#[test]
fn a_running_daemon_that_serves_what_azure_has_is_the_same() {
    let daemon = Daemon::start(CONFIG);
    let folder = Folder::new();
    folder.write("pld.toml", CONFIG);
    folder.write("pe.json", &list(&[hub()]));
    let server = format!("@{}", daemon.dns);
    // No configuration is read.
    let outcome = folder.drift(&["pe.json", "--live", &server]);
    let same = format!("2 names compared with {server}: no difference\n");
    assert_eq!((outcome.code, outcome.stdout), (Some(0), same), "{}", outcome.stderr);
    let outcome = folder.drift(&["--config", "pld.toml", "pe.json", "--live", &server, "--json"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let compared = &outcome.json()["compared"];
    assert_eq!((&compared["servers"][0], &compared["names"]), (&server.into(), &2.into()));
}

#[test]
fn a_running_daemon_that_was_not_reloaded_differs_and_its_new_file_does_not() {
    let daemon = Daemon::start(CONFIG);
    let folder = Folder::new();
    let anew = [(API, &["10.1.0.15"][..]), (DATA, &["10.1.0.6"])];
    folder.write("pld.toml", &CONFIG.replace("10.1.0.5", "10.1.0.15"));
    folder.write("pe.json", &list(&[endpoint("hub-pe", "Approved", &anew)]));
    let server = format!("@{}", daemon.dns);
    let outcome = folder.drift(&["--config", "pld.toml", "pe.json", "--live", &server]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    let row = outcome.stdout.lines().find(|line| line.trim().starts_with("stale")).expect("a row");
    let cells: Vec<_> = row.split_whitespace().collect();
    assert_eq!(cells, ["stale", &server, "10.1.0.15", "10.1.0.5"]);
    assert!(outcome.stdout.ends_with(": 1 stale\n"), "{outcome:?}");
}

#[test]
fn public_addresses_and_silence_have_words_of_their_own() {
    let public = udp(|query| vec![reply(query, GOOD, &[[20, 1, 2, 3]])]);
    let silent = udp(|_| Vec::new());
    let good = udp(|query| vec![reply(query, GOOD, &[[10, 1, 0, 5]])]);
    let outcome = live(&[&public, &silent, &good]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    let rows: Vec<Vec<_>> =
        outcome.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(rows.contains(&vec!["public", &public, "10.1.0.5", "20.1.2.3"]), "{outcome:?}");
    assert!(rows.contains(&vec!["unanswered", &silent, "10.1.0.5", "no", "answer"]), "{outcome:?}");
    assert!(outcome.stdout.contains("A: no reply"), "{outcome:?}");
    assert!(outcome.stdout.ends_with(": 1 public, 1 unanswered\n"), "{outcome:?}");
    assert!(outcome.stdout.lines().all(|line| line.chars().count() <= WIDTH), "{outcome:?}");
    // Nothing is drawn where stderr is no terminal.
    assert!(!outcome.stderr.contains("asked"), "{outcome:?}");
}

#[test]
fn a_truncated_answer_comes_over_tcp() {
    let framed = |reply: Vec<u8>| {
        let length = u16::try_from(reply.len()).expect("short").to_be_bytes();
        [&length[..], &reply].concat()
    };
    let whole = truncating(move |query| framed(reply(query, GOOD, &[[10, 1, 0, 5]])));
    let outcome = live(&[&whole]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    // One that begins and does not end.
    let half = truncating(|_| vec![0xff, 0xff, 1, 2, 3]);
    let outcome = live(&[&half]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stdout.contains("A: no reply over TCP: timed out"), "{outcome:?}");
}

#[test]
fn hostile_replies_are_neither_believed_nor_shown_raw() {
    // Forged ones first: another id, another question, a query, fragments. The right one last.
    let forged = udp(|query| {
        let right = reply(query, GOOD, &[[10, 1, 0, 5]]);
        let mut other_id = reply(query, GOOD, &[[20, 1, 2, 3]]);
        other_id[0] ^= 0xff;
        let mut other_name = reply(query, GOOD, &[[20, 1, 2, 3]]);
        other_name[13] ^= 0x1f;
        let fragments = (0..12).map(|octets| right[..octets].to_vec());
        fragments.chain([other_id, other_name, query.to_vec(), right.clone()]).collect()
    });
    let outcome = live(&[&forged]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    // An address that the question does not lead to.
    let beside = udp(|query| {
        let mut beside = reply(query, GOOD, &[]);
        beside[7] = 1;
        beside.extend(b"\x04evil\x00\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x0a\x01\x00\x05");
        vec![beside]
    });
    // A CNAME to the name itself, and counts without records.
    let circle = udp(|query| {
        let mut circle = reply(query, GOOD, &[]);
        circle[7] = 1;
        circle.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 2, 0xc0, 12]);
        vec![circle]
    });
    let counts = udp(|query| {
        let mut counts = reply(query, GOOD, &[]);
        counts[6..12].fill(0xff);
        vec![counts]
    });
    for (server, kind, how) in [
        (beside, "missing", "answered without an address"),
        (circle, "unanswered", "a CNAME chain without an end"),
        (counts, "unanswered", "malformed replies only"),
    ] {
        let outcome = live(&[&server]);
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        assert!(outcome.stdout.contains(how), "{outcome:?}");
        assert!(outcome.stdout.ends_with(&format!(": 1 {kind}\n")), "{outcome:?}");
    }
    // Names of a file reach the terminal without their control characters.
    let folder = Folder::new();
    let odd = endpoint("a\u{1b}[31mb", "Approved", &[(API, &["10.1.0.5"])]);
    folder.write("pe.json", &list(&[odd]));
    let outcome =
        folder.drift(&["pe.json", "--live", &udp(|query| vec![reply(query, 0x8183, &[])])]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(
        !outcome.stdout.contains('\u{1b}') && !outcome.stderr.contains('\u{1b}'),
        "{outcome:?}"
    );
}
