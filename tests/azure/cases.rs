//! The folders of `cases/`: what their files come to, on stdout and on stderr.
//!
//! `good-…` exits 0 and says nothing, `noted-…` exits 0, `bad-…` exits 1, or 2 when nothing is written.
//! After a change that means to move them: `PRIVATELINKD_RECORD=1 cargo test --test azure`, and read
//! the difference.

use std::fs;
use std::path::{Path, PathBuf};

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use crate::command::{Said, run};
use crate::temporary::Folder;

/// What a fragment lacks.
const REST: &str = "\n[listen]\ndns = [\"127.0.0.1:5300\"]\n\n[[forward]]\nzones = [\".\"]\n\
                    upstreams = [\"127.0.0.1:1\"]\n";
/// Cases of which `check` warns, and with what: what Azure holds is doubtful by itself.
const WARNED: [(&str, &str); 2] = [
    ("noted-defender-wildcard", "api and data of defender-for-containers have one each"),
    ("noted-zones-by-address", "neither \"privatelink.\" and the public zone nor one we know"),
];

struct Case {
    name: String,
    folder: PathBuf,
    files: Vec<String>,
    args: Vec<String>,
}

impl Case {
    fn import(&self, files: &[String]) -> Said {
        let mut args = vec!["import", "azure"];
        args.extend(files.iter().chain(&self.args).map(String::as_str));
        run(&self.folder, &args, b"")
    }
}

fn cases() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/azure/cases");
    let mut cases: Vec<Case> = fs::read_dir(root)
        .expect("the cases")
        .map(|entry| {
            let folder = entry.expect("an entry").path();
            let names = fs::read_dir(&folder).expect("a folder");
            let name =
                |path: &Path| path.file_name().expect("a name").to_string_lossy().to_string();
            let mut files: Vec<String> =
                names.map(|file| name(&file.expect("a file").path())).collect();
            files.retain(|name| name != "args" && !name.starts_with("expected."));
            files.sort();
            let args = fs::read_to_string(folder.join("args")).unwrap_or_default();
            let args = args.lines().map(str::to_owned).collect();
            Case { name: name(&folder), folder, files, args }
        })
        .collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(cases.len() >= 50, "only {} cases found", cases.len());
    cases
}

#[test]
fn every_case_comes_to_what_is_expected() {
    let record = std::env::var_os("PRIVATELINKD_RECORD").is_some();
    assert!(!record || std::env::var_os("CI").is_none(), "nothing is recorded in CI");
    for case in cases() {
        let said = case.import(&case.files);
        for (name, is) in [("expected.toml", &said.stdout), ("expected.stderr", &said.stderr)] {
            let path = case.folder.join(name);
            if record {
                fs::write(&path, is).expect("a writable case");
            }
            let expected = fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(is, &expected, "{}: {name}", case.name);
        }
        let code = match case.name.split('-').next() {
            Some("good") => {
                assert_eq!(said.stderr, "", "{}", case.name);
                0
            }
            Some("noted") => {
                assert_ne!(said.stderr, "", "{}", case.name);
                0
            }
            Some("bad") if said.stdout.is_empty() => 2,
            Some("bad") => 1,
            _ => panic!("{}: neither good nor noted nor bad", case.name),
        };
        assert_eq!(said.code, code, "{}", case.name);
    }
}

#[test]
fn what_is_written_passes_check_without_a_warning() {
    let folder = Folder::new();
    for case in cases() {
        let text = case.import(&case.files).stdout;
        if text.is_empty() {
            continue;
        }
        let whole = case.args.iter().any(|arg| arg == "--whole");
        let text = if whole { text } else { text + REST };
        folder.write("c.toml", text.as_bytes());
        let said = run(folder.path(), &["check", "c.toml"], b"");
        assert_eq!(said.code, 0, "{}: {}\n{text}", case.name, said.stderr);
        match WARNED.iter().find(|(name, _)| *name == case.name) {
            Some((_, warning)) => {
                assert!(said.stderr.contains(warning), "{}: {}", case.name, said.stderr);
            }
            None => assert_eq!(said.stderr, "", "{}\n{text}", case.name),
        }
    }
}

#[test]
fn the_order_of_files_changes_nothing() {
    let mut random = StdRng::seed_from_u64(5);
    let mut several = 0;
    for case in cases().iter().filter(|case| case.files.len() > 1) {
        several += 1;
        let first = case.import(&case.files);
        let mut files = case.files.clone();
        files.reverse();
        assert_eq!(case.import(&files), first, "{} reversed", case.name);
        files.shuffle(&mut random);
        assert_eq!(case.import(&files), first, "{}: {files:?}", case.name);
        // A file given twice says nothing new.
        files.push(case.files[0].clone());
        assert_eq!(case.import(&files).stdout, first.stdout, "{}: {files:?}", case.name);
    }
    assert!(several >= 10, "only {several} cases of several files");
}

#[test]
fn standard_input_is_a_file_like_others() {
    let folder = Folder::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/azure/cases");
    let octets = fs::read(root.join("good-endpoint-list-cli/pe.json")).expect("a case");
    let said = run(folder.path(), &["import", "azure", "-"], &octets);
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
    assert!(said.stdout.contains("# -: [0].customDnsConfigs[0]"), "{}", said.stdout);
    let twice = run(folder.path(), &["import", "azure", "-", "-"], &octets);
    assert_eq!((twice.code, twice.stdout.as_str()), (2, ""));
}

#[test]
fn json_holds_the_inventory_and_every_complaint() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/azure/cases");
    let args = ["import", "azure", "--json", "pe.json", "a.json", "group.json"];
    let said = run(&root.join("bad-stale-record"), &args, b"");
    assert_eq!((said.code, said.stderr.as_str()), (1, ""));
    let json: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
    let record = &json["endpoints"][0]["records"][0];
    assert_eq!(record["fqdn"], "acct.blob.core.windows.net");
    assert_eq!(record["addresses"][0], "10.1.0.5");
    assert_eq!(json["complaints"].as_array().map(Vec::len), Some(2));
    assert_eq!(json["complaints"][0]["severity"], "left-out");
    assert_eq!(json["complaints"][0]["source"]["file"], "a.json");
    let fragment = json["fragment"].as_str().expect("text");
    assert!(fragment.contains("service = \"storage-blob\""), "{fragment}");
}

#[test]
fn files_that_cannot_be_read_are_named_and_nothing_is_written() {
    let folder = Folder::new();
    folder.write("latin1.json", b"[\"\xe9\"]");
    folder.write("ok.json", b"[]");
    folder.write("pe.json.gz", b"\x1f\x8b\x08\0\0\0\0\0");
    folder.write("all.zip", b"PK\x03\x04\x14\0");
    fs::create_dir(folder.path().join("answers")).expect("a directory");
    let files = ["ok.json", "gone.json", "latin1.json", "pe.json.gz", "all.zip", "answers/"];
    let args: Vec<&str> = ["import", "azure"].into_iter().chain(files).collect();
    let said = run(folder.path(), &args, b"");
    assert_eq!((said.code, said.stdout.as_str()), (2, ""));
    let lines: Vec<_> = said.stderr.lines().collect();
    let starts = [
        "privatelinkd: gone.json: cannot be read: No such file",
        "latin1.json: neither UTF-8 nor",
        "pe.json.gz: a gzip file; unpack it",
        "all.zip: a ZIP file; unpack it",
        "answers: a directory; name the files in it, such as answers/*.json",
    ];
    assert_eq!(lines.len(), starts.len(), "{lines:?}");
    for (line, start) in lines.iter().zip(starts) {
        assert!(line.starts_with(start), "{line}");
    }
}

#[test]
fn each_foreign_file_costs_one_line_that_says_what_to_run() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/azure/cases");
    for case in ["bad-foreign-formats", "bad-powershell-depth"] {
        for entry in fs::read_dir(folder.join(case)).expect("a case") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().to_string();
            if name.starts_with("expected.") {
                continue;
            }
            let said = run(&folder.join(case), &["import", "azure", &name], b"");
            assert_eq!((said.code, said.stdout.as_str()), (2, ""), "{name}");
            let lines: Vec<_> = said.stderr.lines().collect();
            assert_eq!(lines.len(), 2, "{name}: {lines:?}");
            assert!(lines[1].contains("no usable name in these files"), "{name}: {lines:?}");
        }
    }
}

#[test]
fn a_service_of_ones_own_has_no_names_and_that_is_no_failure() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/azure/cases");
    let args = ["import", "azure", "--json", "pe.json", "nic.json"];
    let said = run(&folder.join("noted-private-link-service"), &args, b"");
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
    let json: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
    let names: Vec<_> = json["nameless"].as_array().expect("a list").iter().collect();
    assert_eq!(names.len(), 2);
    assert_eq!(names[0]["name"], "pe-alias");
    assert_eq!((&json["left-out"], &json["fragment"]), (&serde_json::json!([]), &"".into()));
}

#[test]
fn sites_are_refused_with_what_to_write() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/azure/cases/good-sites");
    for (sites, says) in [
        (&["westeurope"][..], "write KEY=NETWORK"),
        (&["westeurope=10.1.0.0/33"], "10.1.0.0/33 is no network"),
        (&["westeurope=10.1.0.1/16"], "write 10.1.0.0/16"),
        (&["=10.1.0.0/16"], "1 to 64 printable characters"),
        (&["nowhere=10.1.0.0/16"], "there is: eastus, westeurope, pe-eus, pe-weu"),
        (&["eastus=10.1.0.0/16", "westeurope=10.1.0.0/16"], "is in eastus and in westeurope"),
    ] {
        let mut args = vec!["import", "azure", "weu.json", "eus.json"];
        args.extend(sites.iter().flat_map(|site| ["--sites", site]));
        let said = run(&root, &args, b"");
        assert_eq!((said.code, said.stdout.as_str()), (2, ""), "{sites:?}");
        assert!(said.stderr.contains(says), "{sites:?}: {}", said.stderr);
    }
}
