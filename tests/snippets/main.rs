//! `snippet` by the real binary: every text octet by octet, the syntax of those that no program
//! here can read, and what it says where it cannot help. tests/interop has the real programs.
//!
//! After a change that is meant: SNIPPETS=record cargo test --test snippets

mod corefile;
mod powershell;
#[path = "../harness/temporary.rs"]
mod temporary;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use temporary::File;

/// Set to `record`, the expected texts are written instead of compared.
const MODE: &str = "SNIPPETS";
/// File of the expected text, and the arguments that make it.
const TEXTS: &[(&str, &str)] = &[
    ("windows.ps1", "windows"),
    ("windows-two.ps1", "windows --server 10.0.0.4 --server fd00::4 --server 10.0.0.6"),
    ("bind.conf", "bind"),
    ("bind-two.conf", "bind --server 10.0.0.4:5300 --server [fd00::4]:5300 --client 10.1.2.3"),
    ("unbound.conf", "unbound"),
    ("unbound-loopback.conf", "unbound --server 127.0.0.1:5300"),
    ("dnsmasq.conf", "dnsmasq"),
    ("dnsmasq-two.conf", "dnsmasq --server 10.0.0.4 --server [fd00::4]:5300"),
    ("systemd-resolved.conf", "systemd-resolved"),
    ("systemd-resolved-port.conf", "systemd-resolved --server 127.0.0.1:5300 --server fd00::4"),
    ("coredns.corefile", "coredns --client 127.0.0.1"),
    ("coredns-two.corefile", "coredns --server 10.0.0.4 --server [fd00::4]:5300"),
    ("coredns-custom.yaml", "coredns-custom"),
    ("coredns-custom-two.yaml", "coredns-custom --server 10.0.0.4 --server 10.0.1.4"),
    ("resolv.conf", "resolv-conf"),
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/snippets")
}

fn run(config: impl AsRef<Path>, arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_privatelinkd"))
        .arg("snippet")
        .args(arguments.split(' '))
        .arg("--config")
        .arg(folder().join(config))
        .output()
        .expect("the program runs")
}

fn text(arguments: &str) -> String {
    let output = run("privatelinkd.toml", arguments);
    assert!(output.status.success(), "{arguments}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// What is complained of, without a success.
fn complaint(config: impl AsRef<Path>, arguments: &str) -> String {
    let output = run(config, arguments);
    assert!(!output.status.success() && output.stdout.is_empty(), "{arguments}: {output:?}");
    String::from_utf8(output.stderr).expect("UTF-8")
}

#[test]
fn texts_are_as_expected_octet_by_octet() {
    let record = std::env::var(MODE).is_ok_and(|mode| mode == "record");
    for (file, arguments) in TEXTS {
        let path = folder().join("expected").join(file);
        let found = text(arguments);
        if record {
            std::fs::write(&path, found).expect("the expected text is written");
            continue;
        }
        let expected = std::fs::read_to_string(&path).expect("the expected text");
        assert!(found == expected, "{file} differs; {MODE}=record writes it anew:\n{found}");
    }
}

#[test]
fn every_target_has_an_expected_text_and_every_text_is_made() {
    let mut files: Vec<String> = std::fs::read_dir(folder().join("expected"))
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .collect();
    let mut known: Vec<&str> = TEXTS.iter().map(|(file, _)| *file).collect();
    files.sort_unstable();
    known.sort_unstable();
    assert_eq!(files, known);
    let help = Command::new(env!("CARGO_BIN_EXE_privatelinkd"))
        .args(["snippet", "--help"])
        .output()
        .expect("the program runs");
    let help = String::from_utf8(help.stdout).expect("UTF-8");
    let (_, values) = help.split_once("[possible values: ").expect("the targets");
    let (values, _) = values.split_once(']').expect("their end");
    for target in values.split(',').map(str::trim) {
        let made = |(_, arguments): &&(&str, &str)| arguments.split(' ').next() == Some(target);
        assert!(TEXTS.iter().any(|text| made(&text)), "{target}");
    }
}

#[test]
fn the_answers_are_those_of_the_clients_site() {
    assert!(text("bind").contains("\n//   10.1.0.5\n"), "{}", text("bind"));
    let frankfurt = text("bind --client 10.1.2.3");
    assert!(frankfurt.contains("\n//   10.2.0.5\n") && !frankfurt.contains("10.1.0.5"));
    assert!(frankfurt.contains("as privatelinkd answers 10.1.2.3"), "{frankfurt}");
}

#[test]
fn json_has_the_same_text_and_warnings() {
    let json: Value =
        serde_json::from_str(&text("windows --json --server 10.0.0.4")).expect("JSON");
    assert_eq!(json["target"], "windows");
    assert_eq!(json["text"], text("windows --server 10.0.0.4"));
    let warnings = json["warnings"].as_array().expect("a list");
    assert!(warnings[0].as_str().expect("text").contains("--client"), "{warnings:?}");
    assert_eq!(json.as_object().expect("an object").len(), 3);
}

#[test]
fn warnings_go_to_stderr_and_into_the_text() {
    let output = run("privatelinkd.toml", "unbound --server 10.0.0.4:5300 --client 203.0.113.1");
    let (text, said) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    for part in ["203.0.113.1 is not in [access] allow", "another port than [listen] dns has (53)"]
    {
        assert!(said.contains(part), "{said}");
        let in_text = text.replace("\n# ", " ");
        assert!(in_text.contains(part), "{text}");
    }
    assert!(text.contains("privatelinkd explain NAME --client IP"), "{text}");
}

#[test]
fn what_a_target_cannot_carry_is_an_error_that_says_what_to_do() {
    for target in ["windows", "resolv-conf"] {
        let said = complaint("privatelinkd.toml", &format!("{target} --server 10.0.0.4:5300"));
        assert!(said.contains("10.0.0.4:5300") && said.contains("cannot carry a port"), "{said}");
        assert!(said.contains("[listen] dns"), "{said}");
    }
    for target in ["windows", "coredns-custom"] {
        let said = complaint("privatelinkd.toml", &format!("{target} --server 127.0.0.1"));
        assert!(said.contains("write --server"), "{said}");
    }
    for server in ["fe80::1%2", "[fe80::1%2]:53", "example.com", "10.0.0.4:x", "10.0.0.4:"] {
        let said = complaint("privatelinkd.toml", &format!("bind --server {server}"));
        assert!(said.contains("write"), "{said}");
    }
    let said = complaint("privatelinkd.toml", "bind --server 0.0.0.0");
    assert!(said.contains("nobody can be asked"), "{said}");
    let said = complaint("privatelinkd.toml", "nslookup");
    assert!(said.contains("systemd-resolved"), "{said}");
    let said = complaint("none.toml", "bind");
    assert!(said.contains("none.toml: cannot be read"), "{said}");
}

#[test]
fn a_zone_that_a_syntax_could_misread_is_refused_by_name() {
    let file = File::new(
        r#"
        listen = { dns = ["10.0.0.4:53"] }
        access = { allow = ["private"] }
        [[private-link]]
        public-zone = "a\\\"b.example"
        private-zone = "privatelink.example"
        endpoint = [{ name = "hub", addresses = ["10.1.0.5"] }]
        "#,
    );
    let said = complaint(file.path(), "bind");
    assert!(said.contains("the zone a\\\"b.example holds a character"), "{said}");
}

#[test]
fn zones_from_which_azure_leads_into_ours_are_forwarded_too() {
    let config = |forward: &str| {
        format!(
            r#"
            listen = {{ dns = ["10.0.0.4:53"] }}
            access = {{ allow = ["loopback", "private"] }}
            [[private-link]]
            service = "monitor"
            [[private-link.endpoint]]
            name = "hub"
            [private-link.endpoint.names]
            "api.monitor.azure.com" = ["10.1.0.5"]
            "one.ods.opinsights.azure.com" = ["10.1.0.6"]
            {forward}
            "#
        )
    };
    let forward = "[[forward]]\nzones = [\".\"]\nupstreams = [\"168.63.129.16\"]";
    let file = File::new(&config(forward));
    let output = run(file.path(), "bind");
    assert!(output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let alias = "applicationinsights.azure.com";
    for zone in [alias, "services.visualstudio.com", "ods.opinsights.azure.com"] {
        assert!(text.contains(&format!("\nzone \"{zone}\" {{\n    type forward;")), "{text}");
    }
    assert!(text.contains("Azure's own aliases") && !text.contains(&format!("    \"{alias}\";")));
    for private in
        ["api.privatelink.monitor.azure.com.", "one.privatelink.ods.opinsights.azure.com."]
    {
        assert!(text.contains(private), "{private}\n{text}");
    }
    // Without an upstream for them, nobody follows the alias.
    let file = File::new(&config(""));
    let said = String::from_utf8(run(file.path(), "bind").stderr).expect("UTF-8");
    assert!(said.contains(&format!("no [[forward]] covers {alias}")), "{said}");
}

#[test]
fn a_daemon_for_this_host_alone_is_named_as_such() {
    let file = File::new(
        r#"
        listen = { dns = ["127.0.0.1:5300"] }
        access = { allow = ["10.0.0.0/8"] }
        [[private-link]]
        service = "defender-for-containers"
        endpoint = [{ name = "hub", addresses = ["10.1.0.5"] }]
        "#,
    );
    let output = run(file.path(), "dnsmasq");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("only this host itself can ask"), "{said}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("server=/cloud.defender.microsoft.com/127.0.0.1#5300"), "{text}");
    // Asked as one who may ask, by the wildcard: 10.0.0.1.
    assert!(text.contains("api.cloud.defender.microsoft.com A\n#   api.privatelink"), "{text}");
}

#[test]
fn the_corefiles_are_read_by_their_grammar() {
    for (file, arguments) in TEXTS.iter().filter(|(_, arguments)| arguments.starts_with("coredns"))
    {
        let text = text(arguments);
        let corefile = match text.split_once("  privatelinkd.server: |\n") {
            None => text.clone(),
            Some((_, block)) => {
                let lines = block.lines().take_while(|line| line.starts_with("    "));
                lines.map(|line| format!("{}\n", &line[4..])).collect()
            }
        };
        let blocks = corefile::read(&corefile).unwrap_or_else(|wrong| panic!("{file}: {wrong}"));
        let zones: Vec<&str> = blocks.iter().map(|block| block.zone.as_str()).collect();
        let expected = [
            "cloud.defender.microsoft.com:53",
            "vault.azure.net:53",
            "privatelink.vaultcore.azure.net:53",
            "database.windows.net:53",
        ];
        assert_eq!(zones, expected, "{file}");
        for block in &blocks {
            let forward = block.directive("forward").expect("a forward");
            assert_eq!(forward[1], ".", "{file}: all names of the zone");
            let servers = &forward[2..];
            assert_eq!(servers.first().map(String::as_str), Some("10.0.0.4:53"), "{file}");
            assert_eq!(servers.len(), if file.contains("two") { 2 } else { 1 }, "{file}");
            assert_eq!(block.directive("cache").expect("a cache"), ["cache", "60"], "{file}");
        }
    }
}

#[test]
fn the_powershell_is_balanced_and_uses_cmdlets_as_they_are_documented() {
    for (file, arguments) in TEXTS.iter().filter(|(_, arguments)| arguments.starts_with("windows"))
    {
        let text = text(arguments);
        let script = powershell::read(&text).unwrap_or_else(|wrong| panic!("{file}: {wrong}"));
        let zones = [
            "cloud.defender.microsoft.com",
            "privatelink.cloud.defender.microsoft.com",
            "vault.azure.net",
            "privatelink.vaultcore.azure.net",
            "database.windows.net",
            "privatelink.database.windows.net",
        ];
        let strings: Vec<&str> = script.strings.iter().map(String::as_str).collect();
        let servers: &[&str] =
            if file.contains("two") { &["10.0.0.4", "fd00::4"] } else { &["10.0.0.4"] };
        assert_eq!(strings, [servers, &zones, &["Forwarder"]].concat(), "{file}");
        // What is suggested in comments is held to the same: verification, and the alternatives.
        let comments = powershell::commands_in_comments(&text).expect("commands");
        let asked = comments.iter().filter(|command| *command == "Resolve-DnsName").count();
        assert!(asked >= 6, "{file}: {comments:?}");
        for wanted in ["Get-DnsServerZone", "Clear-DnsServerCache"] {
            assert!(script.commands.iter().any(|command| command == wanted), "{file}: {wanted}");
        }
    }
}
