//! Files that hold no answer of Azure's which can be used, each with one line that says what to run.
//!
//! A file is refused here only by what no usable file has: its first line, or members that belong to
//! another format.

use serde_json::Value;

use super::json::{Node, same_word};
use super::log::shown;

/// What to run to get what a foreign file does not hold.
const ASK: &str = "run az network private-endpoint list -o json and az network nic list -o json";
/// How PowerShell has to print.
const POWERSHELL: &str = "in PowerShell add | ConvertTo-Json -Depth 10";
/// How to run the same command again.
const ANEW: &str =
    "run the same command with -o json, or in PowerShell with | ConvertTo-Json -Depth 10";
/// How the levels of messages begin that az writes to stderr.
const LEVELS: [&str; 5] = ["WARNING:", "ERROR:", "INFO:", "DEBUG:", "Traceback "];
/// What PowerShell writes for an object that lies deeper than its `-Depth`: the name of its type, or
/// its members.
const TYPE_NAMES: [&str; 3] = ["Microsoft.Azure.", "System.", "@{"];
/// Members that hold lists or objects in every shape.
const NESTED: [&str; 19] = [
    "aRecords",
    "aaaaRecords",
    "customDnsConfigs",
    "data",
    "fqdns",
    "groupIds",
    "ipAddresses",
    "ipConfigurations",
    "manualPrivateLinkServiceConnections",
    "networkInterfaces",
    "privateDnsZoneConfigs",
    "privateEndpoint",
    "privateLinkConnectionProperties",
    "privateLinkServiceConnectionState",
    "privateLinkServiceConnections",
    "properties",
    "records",
    "recordSets",
    "requiredMembers",
];

/// Why a text that is neither JSON nor a zone export cannot be used, and what to run.
pub(super) fn text(text: &str) -> String {
    let text = text.trim_start();
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let first = lines.next().unwrap_or("").trim_end();
    let second = lines.next().unwrap_or("").trim();
    let is_date = |word: &str| word.len() >= 10 && word.starts_with("20") && word.contains('-');
    if text.contains('\0') {
        return "it has NUL characters: UTF-16 without a byte order mark, or no text; in PowerShell \
                write … | Out-File -Encoding utf8 FILE"
            .to_owned();
    }
    if first == "null" {
        return format!("null: the command found nothing; {ASK}");
    }
    if let Some(why) = coloured(text).or_else(|| message(text, first)) {
        return why;
    }
    let (what, run) = if first.split(['T', ' ']).next().is_some_and(is_date) {
        ("a log with a time before each line", "write the answer alone: az … -o json > FILE")
    } else if first.starts_with('<') {
        ("a web page or XML, perhaps a page to sign in", "run az login, then run the command again")
    } else if is_bicep(text) {
        ("Bicep, which says what to create and not what Azure has", ASK)
    } else if is_terraform(text) {
        ("Terraform's own language", "run terraform show -json > state.json")
    } else if is_of_dig(text) {
        ("output of dig, which says nothing about private endpoints", ASK)
    } else if first.starts_with("@{") || is_property_list(first) {
        ("what PowerShell prints on a screen", POWERSHELL)
    } else if is_rule(second) || first.starts_with("+--") {
        ("a table (-o table, or what PowerShell prints)", ANEW)
    } else if first.starts_with("---") || first.starts_with("- ") || is_yaml_key(first) {
        ("YAML (-o yaml)", ANEW)
    } else if first.contains('\t') {
        ("tab-separated values (-o tsv), which have no column names", ANEW)
    } else if [',', ';'].iter().any(|comma| first.matches(*comma).count() >= 2) {
        ("CSV, as the portal exports lists, without the names of private endpoints", ASK)
    } else {
        return "neither JSON nor a zone export ($ORIGIN); write it with az … -o json, or with az \
                network private-dns zone export"
            .to_owned();
    };
    format!("{what}; {run}")
}

/// Why a text that begins like JSON is none, where its text or the faulty line tells.
pub(super) fn inside_json(text: &str, line: &str) -> Option<String> {
    coloured(text).or_else(|| {
        is_message(line).then(|| {
            format!(
                "messages of az stand in its answer ({}); write the answer alone: az … -o json > \
                 FILE, without 2>&1",
                shown(line.trim())
            )
        })
    })
}

/// Why an object cannot be used although it has members of Azure's, and what to run.
pub(super) fn object(node: &Node<'_>) -> Option<String> {
    let text = |key: &str| node.own(key).and_then(|value| value.value().as_str());
    let schema = text("$schema").unwrap_or("");
    if schema.contains("eploymentTemplate") || schema.contains("eploymentParameters") {
        return Some(format!(
            "an ARM template or export, which holds expressions and not what Azure has; {ASK}"
        ));
    }
    if node.own("statusCode").is_some() && text("content").is_some() {
        return Some(
            "the answer of Invoke-AzRestMethod with the JSON inside a text; print its Content alone: \
             (Invoke-AzRestMethod …).Content"
                .to_owned(),
        );
    }
    // Resources of Azure have a kind too, and a type.
    if text("apiVersion").and(text("kind")).is_some() && node.own("type").is_none() {
        return Some(
            "an object of Kubernetes, which has files as texts; write such a text into a file of \
             its own"
                .to_owned(),
        );
    }
    let error = node.own("error").filter(|error| error.value().is_object())?;
    let of = |key: &str| error.own(key).and_then(|value| value.value().as_str()).map(shown);
    let (code, message) = (of("code")?, of("message").unwrap_or_default());
    Some(format!("an error of Azure's, not its answer ({code}: {message}); run the command again"))
}

/// Why a document cannot be used that is a list of another program's objects, by the first of them.
pub(super) fn list(node: &Node<'_>) -> Option<String> {
    let first = node.items().next().unwrap_or_else(|| node.clone());
    let is_of_windows = first.own("hostName").is_some() && first.own("recordData").is_some();
    is_of_windows.then(|| {
        "records of Windows DNS (Get-DnsServerResourceRecord) without the name of their zone; run \
         dnscmd /ZoneExport ZONE FILE"
            .to_owned()
    })
}

/// Where PowerShell's `ConvertTo-Json` wrote the name of a type because an object lies deeper than
/// its `-Depth`, which is 2 if not given.
pub(super) fn cut_by_depth(value: &Value) -> Option<String> {
    let is_cut =
        |value: &Value| value.as_str().is_some_and(|t| TYPE_NAMES.iter().any(|n| t.starts_with(n)));
    match value {
        Value::Array(items) => items.iter().find_map(cut_by_depth),
        Value::Object(members) => members.iter().find_map(|(key, value)| {
            let cut = match value {
                Value::Array(items) => items.iter().any(is_cut),
                value => is_cut(value),
            };
            if cut && NESTED.iter().any(|known| same_word(known, key)) {
                return Some(format!(
                    "ConvertTo-Json cut it off: {} is the name of a type; run it again with | \
                     ConvertTo-Json -Depth 10",
                    shown(key)
                ));
            }
            cut_by_depth(value)
        }),
        _ => None,
    }
}

/// Colours of `-o jsonc`, which are escape sequences.
fn coloured(text: &str) -> Option<String> {
    let why = "it has colours of a terminal (-o jsonc); run the same command with -o json";
    text.contains('\u{1b}').then(|| why.to_owned())
}

/// A message of az before its answer or where its answer belongs.
fn message(text: &str, first: &str) -> Option<String> {
    if !is_message(first) {
        return None;
    }
    let is_answer = |line: &str| line.starts_with(['[', '{', '$']);
    let said = shown(first.trim());
    Some(if text.lines().skip(1).any(is_answer) {
        format!(
            "messages of az stand before its answer ({said}); write the answer alone: az … -o json > \
             FILE, without 2>&1"
        )
    } else {
        format!("a message of az stands where its answer belongs ({said}); run the command again")
    })
}

/// Whether az, or PowerShell that ran it, says something here.
pub(super) fn is_message(line: &str) -> bool {
    let line = line.trim_start();
    // Windows PowerShell puts the name of the program before the first line of its stderr.
    let line = ["az : ", "az.cmd : "].iter().find_map(|p| line.strip_prefix(p)).unwrap_or(line);
    LEVELS.iter().any(|level| line.starts_with(level)) || line.starts_with("Please run 'az login'")
}

fn is_bicep(text: &str) -> bool {
    let of_bicep = |line: &str| {
        line.starts_with("targetScope")
            || line.starts_with("@description(")
            || (line.starts_with("resource ") && line.contains(" '") && line.contains('@'))
            || (line.starts_with("param ") && line.split_whitespace().count() >= 3)
    };
    text.lines().any(of_bicep)
}

fn is_terraform(text: &str) -> bool {
    const BLOCKS: [&str; 6] =
        ["resource \"", "data \"", "provider \"", "module \"", "variable \"", "terraform {"];
    text.lines().any(|line| BLOCKS.iter().any(|block| line.trim_start().starts_with(block)))
}

/// Whether dig printed it: a head, or comments with two semicolons.
pub(super) fn is_of_dig(text: &str) -> bool {
    ["; <<>>", ";;"].iter().any(|head| text.trim_start().starts_with(head))
}

/// `Name        : pe`, as PowerShell's Format-List writes it.
fn is_property_list(line: &str) -> bool {
    line.split_once(" : ").is_some_and(|(key, _)| is_word(key.trim_end()))
}

/// `name: pe`.
fn is_yaml_key(line: &str) -> bool {
    let key = line.split_once(": ").map(|(key, _)| key).or_else(|| line.strip_suffix(':'));
    key.is_some_and(is_word)
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The line below the heads of a table.
fn is_rule(line: &str) -> bool {
    line.starts_with("--") && line.chars().all(|c| c == '-' || c == ' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_foreign_text_has_its_own_line() {
        for (of, says) in [
            ("\0[\0]", "NUL characters"),
            ("\u{1b}[94m\"a\"", "colours of a terminal"),
            ("<!DOCTYPE html>\n<html>", "a page to sign in; run az login"),
            ("<?xml version=\"1.0\"?>", "a web page or XML"),
            ("WARNING: old\n[{}]", "stand before its answer (WARNING: old)"),
            ("az : WARNING: old\n{}", "stand before its answer"),
            (
                "ERROR: AADSTS700082: expired",
                "its answer belongs (ERROR: AADSTS700082: expired); run",
            ),
            ("ERROR: Please run 'az login'", "a message of az"),
            ("param location string = 'x'\n", "Bicep"),
            ("// pe\nresource pe 'Microsoft.Network/privateEndpoints@2023-06-01' = {", "Bicep"),
            ("resource \"azurerm_private_endpoint\" \"pe\" {\n}", "terraform show -json"),
            (
                "# azurerm_private_endpoint.pe:\nresource \"azurerm_private_endpoint\" \"pe\" {",
                "Terr",
            ),
            ("; <<>> DiG 9.18 <<>> a.b\n", "output of dig"),
            (";; flags: qr rd ra; QUERY: 1, ANSWER: 2\na. 10 IN A 10.0.0.1", "output of dig"),
            ("@{Name=pe; Type=x}", "ConvertTo-Json -Depth 10"),
            ("Name              : pe-sql\nType : x", "PowerShell prints on a screen"),
            ("Name    Location\n------  ----\npe  x", "a table (-o table"),
            ("\nName    Location\n\n----  ----\n", "a table"),
            ("+------+\n| name |\n+------+", "a table"),
            ("- name: pe\n  id: x", "YAML"),
            ("name: pe\nid: x", "YAML"),
            ("customDnsConfigs:\n- fqdn: x", "YAML"),
            ("pe\twesteurope\trg", "-o tsv"),
            ("\"NAME\",\"RESOURCE GROUP\",\"LOCATION\"\n\"pe\",\"rg\",\"x\"", "CSV"),
            ("NAME;TYPE;LOCATION", "CSV"),
            ("null\n", "found nothing"),
            ("2026-11-29T10:00:00.1Z [\n2026-11-29T10:00:00.1Z   {", "a log with a time"),
            ("hello", "neither JSON nor a zone export"),
            ("", "neither JSON nor a zone export"),
        ] {
            let why = text(of);
            assert!(why.contains(says), "{of:?}: {why}");
            assert!(!why.contains(char::is_control) && why.len() < 400, "{of:?}: {why}");
        }
    }

    #[test]
    fn names_of_types_tell_that_powershell_cut_the_file() {
        for (cut, text) in [
            (true, r#"{ "CustomDnsConfigs": "System.Object[]" }"#),
            (true, r#"[{ "CustomDnsConfigs": ["Microsoft.Azure.Commands.Network.Models.X"] }]"#),
            (true, r#"[{ "properties": "@{provisioningState=Succeeded}" }]"#),
            (true, r#"{ "a": { "b": [{ "PrivateLinkServiceConnectionState": "@{Status=x}" }] } }"#),
            (false, r#"{ "CustomDnsConfigs": [], "Description": "@{x}", "fqdns": ["a.b"] }"#),
            (false, r#"{ "properties": "text", "Records": ["10.0.0.5"] }"#),
        ] {
            let value: Value = serde_json::from_str(text).expect("JSON");
            assert_eq!(cut_by_depth(&value).is_some(), cut, "{text}");
        }
    }
}
