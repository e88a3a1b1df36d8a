//! `drift`, from files and towards servers: the real binary throughout.

mod absent;
mod live;
#[path = "../harness/process.rs"]
mod process;
mod property;
#[path = "../harness/temporary.rs"]
mod temporary;
mod world;

use serde_json::json;

use temporary::Folder;
use world::{API, Outcome, endpoint, hub, list};

const CONFIG: &str = include_str!("daemon.toml");
/// Columns that a report keeps within.
const WIDTH: usize = 100;

/// What `drift` says of `CONFIG`, changed, and these endpoints.
fn drift(
    change: impl Fn(String) -> String,
    endpoints: &[serde_json::Value],
    json: bool,
) -> Outcome {
    let folder = Folder::new();
    folder.write("pld.toml", &change(CONFIG.to_owned()));
    folder.write("pe.json", &list(endpoints));
    let args = ["--config", "pld.toml", "pe.json", "--json"];
    folder.drift(&args[..if json { 4 } else { 3 }])
}

#[test]
fn what_azure_has_is_the_same() {
    let outcome = drift(|config| config, &[hub()], false);
    let same =
        "2 names compared with the configuration for no site, site frankfurt: no difference\n";
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(0), same), "{outcome:?}");
    assert_eq!(outcome.stderr, "");
    let outcome = drift(|config| config, &[hub()], true);
    assert_eq!(outcome.code, Some(0));
    let expected = json!({
        "same": true,
        "compared": {
            "names": 2,
            "clients": ["no site", "site frankfurt"],
            "servers": [],
            "lists": [{
                "source": { "file": "pe.json", "at": "" }, "count": 1,
                "of-interfaces": false, "is-complete": true
            }]
        },
        "counts": {
            "missing": 0, "different": 0, "stale": 0, "extra": 0, "public": 0, "unanswered": 0
        },
        "findings": [],
        "not-compared": [],
        "complaints": [],
    });
    assert_eq!(outcome.json(), expected);
}

#[test]
fn a_table_says_what_differs() {
    let endpoints = [
        endpoint(
            "hub-pe",
            "Approved",
            &[(API, &["10.1.0.15"]), ("new.cloud.defender.microsoft.com", &["10.1.0.7"])],
        ),
        endpoint("old-pe", "Rejected", &[("old.cloud.defender.microsoft.com", &["10.1.0.8"])]),
    ];
    let more = "\"data.westeurope\" = [\"10.1.0.6\"], \"old\" = [\"10.1.0.8\"]";
    let change = |config: String| config.replace("\"data.westeurope\" = [\"10.1.0.6\"]", more);
    let outcome = drift(change, &endpoints, false);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert_eq!(outcome.stdout, include_str!("table.txt"));
    let long: Vec<_> = outcome.stdout.lines().filter(|line| line.chars().count() > WIDTH).collect();
    assert!(long.is_empty(), "{long:?}");
    assert!(outcome.stderr.contains("old-pe"), "{outcome:?}");
    assert!(outcome.stderr.contains("Rejected, not Approved"), "{outcome:?}");
}

#[test]
fn json_says_the_same() {
    let weu = endpoint("weu-pe", "Approved", &[(API, &["10.3.0.9"])]);
    let change = |config: String| {
        let site = "[[private-link.endpoint]]\nname = \"weu\"\nsites = [\"frankfurt\"]\n\
                    names = { \"api\" = [\"10.3.0.5\"] }\n\n[log]";
        config.replace("[log]", site)
    };
    let outcome = drift(change, &[hub(), weu], true);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    let report = outcome.json();
    assert_eq!(report["same"], false);
    assert_eq!(report["counts"]["stale"], 1);
    let found = &report["findings"][0];
    assert_eq!(found["kind"], "stale");
    assert_eq!(found["names"], json!([API, "api.privatelink.cloud.defender.microsoft.com"]));
    assert_eq!(found["asked"], json!(["site frankfurt"]));
    assert_eq!(found["answered"], json!({ "outcome": "addresses", "addresses": ["10.3.0.5"] }));
    assert_eq!(found["configured"], "endpoint weu");
    let azure = found["azure"].as_array().expect("an array");
    let endpoints: Vec<_> = azure.iter().map(|one| &one["endpoint"]).collect();
    assert_eq!(endpoints, ["hub-pe", "weu-pe"]);
    assert_eq!(azure[1]["addresses"], json!(["10.3.0.9"]));
    assert_eq!(azure[1]["source"]["file"], "pe.json");
    assert!(azure[1]["source"]["at"].as_str().expect("text").contains("[1]"), "{found}");
    // Mended, it is the same.
    let mended = |config: String| change(config).replace("10.3.0.5", "10.3.0.9");
    let weu = endpoint("weu-pe", "Approved", &[(API, &["10.3.0.9"])]);
    let outcome = drift(mended, &[hub(), weu], true);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
}

#[test]
fn what_cannot_be_compared_exits_2() {
    let folder = Folder::new();
    folder.write("pld.toml", CONFIG);
    folder.write("pe.json", &list(&[hub()]));
    folder.write("none.json", "[]");
    folder.write("cut.json", &list(&[hub()])[..40]);
    folder.write("wrong.toml", "[listen]\n");
    for (args, says) in [
        (&["--config", "pld.toml", "gone.json"][..], "gone.json"),
        (&["--config", "pld.toml", "cut.json"], "cut.json"),
        // The good one alone would make the other's names extra.
        (&["--config", "pld.toml", "pe.json", "cut.json"], "nothing was compared"),
        (&["--config", "pld.toml", "none.json"], "no name of a private endpoint"),
        (&["--config", "gone.toml", "pe.json"], "gone.toml"),
        (&["--config", "wrong.toml", "pe.json"], "wrong.toml:1"),
        (
            &["--config", "pld.toml", "pe.json", "--live", "@nowhere"],
            "@nowhere: write the server's address",
        ),
        (&["--config", "pld.toml"], "FILE"),
    ] {
        let outcome = folder.drift(args);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{args:?} {outcome:?}");
        assert!(outcome.stderr.contains(says), "{args:?} {outcome:?}");
        // Programs read the same on stdout; people still read it on stderr.
        let outcome = folder.drift(&[args, &["--json"]].concat());
        assert_eq!(outcome.code, Some(2), "{args:?} {outcome:?}");
        let json = outcome.json();
        let keys: Vec<_> = json.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["error"], "{args:?} {outcome:?}");
        assert!(!outcome.stderr.is_empty(), "{args:?} {outcome:?}");
    }
}

#[test]
fn what_import_writes_has_no_drift() {
    let folder = Folder::new();
    let blob = [("st1.blob.core.windows.net", &["10.1.0.9"][..])];
    folder.write("pe.json", &list(&[hub(), endpoint("st-pe", "Approved", &blob)]));
    let output = folder.run(&["import", "azure", "--whole", "pe.json"]);
    assert!(output.status.success(), "{output:?}");
    folder.write("pld.toml", std::str::from_utf8(&output.stdout).expect("text"));
    let outcome = folder.drift(&["--config", "pld.toml", "pe.json"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.stdout.starts_with("3 names compared"), "{outcome:?}");
    // And any address that changes there shows.
    folder.write(
        "new.json",
        &list(&[hub(), endpoint("st-pe", "Approved", &[(blob[0].0, &["10.1.0.10"])])]),
    );
    let outcome = folder.drift(&["--config", "pld.toml", "new.json"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stdout.contains("1 stale"), "{outcome:?}");
}
