//! Endpoints that are gone from a complete list, and files that say nothing of what they lack.

use serde_json::{Value, json};

use super::temporary::Folder;
use super::world::{Outcome, endpoint, hub, list};

const SQL: &str = "sql1.database.windows.net";

/// Endpoints of five services, each in zones of its own.
fn endpoints() -> Vec<Value> {
    let of = |name: &str, target: &str, group: &str, fqdn: &str, ip: &str| {
        let mut one = endpoint(name, "Approved", &[(fqdn, &[ip])]);
        let connection = &mut one["privateLinkServiceConnections"][0];
        connection["privateLinkServiceId"] =
            json!(format!("/subscriptions/s/resourceGroups/hub/providers/{target}/one"));
        connection["groupIds"] = json!([group]);
        one
    };
    let (storage, vault) = ("Microsoft.Storage/storageAccounts", "Microsoft.KeyVault/vaults");
    vec![
        hub(),
        of("blob-pe", storage, "blob", "st1.blob.core.windows.net", "10.1.0.10"),
        of("file-pe", storage, "file", "st1.file.core.windows.net", "10.1.0.11"),
        of("kv-pe", vault, "vault", "kv1.vault.azure.net", "10.1.0.20"),
        of("sql-pe", "Microsoft.Sql/servers", "sqlServer", SQL, "10.1.0.21"),
    ]
}

/// A folder with what `import` makes of all endpoints, as `pld.toml`.
fn imported() -> Folder {
    let folder = Folder::new();
    folder.write("pe.json", &list(&endpoints()));
    let output = folder.run(&["import", "azure", "--whole", "pe.json"]);
    assert!(output.status.success(), "{output:?}");
    folder.write("pld.toml", std::str::from_utf8(&output.stdout).expect("text"));
    let outcome = folder.drift(&["--config", "pld.toml", "pe.json"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    folder
}

fn without_sql() -> Vec<Value> {
    endpoints().into_iter().filter(|one| one["name"] != "sql-pe").collect()
}

/// What `drift` says of these files, with more arguments.
fn drift(folder: &Folder, files: &[(&str, &str)], more: &[&str]) -> Outcome {
    files.iter().for_each(|(name, text)| folder.write(name, text));
    let names: Vec<_> = files.iter().map(|(name, _)| *name).collect();
    folder.drift(&[&["--config", "pld.toml"][..], &names, more].concat())
}

fn is_stale(outcome: &Outcome) {
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stdout.contains(&format!("{SQL} and sql1.privatelink.")), "{outcome:?}");
    assert!(outcome.stdout.contains(": 1 stale"), "{outcome:?}");
}

fn is_not_compared(outcome: &Outcome, why: &str) {
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let words = outcome.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    let note = "not compared: zone database.windows.net -> privatelink.database.windows.net: ";
    assert!(words.contains(note) && words.contains(why), "{words}");
}

#[test]
fn an_endpoint_that_is_gone_from_a_list_is_stale_in_every_shape_of_lists() {
    let folder = imported();
    let outcome = drift(&folder, &[("less.json", &list(&without_sql()))], &[]);
    is_stale(&outcome);
    let expected = "
  KIND   ASKED BY      AZURE HAS  ANSWERED
sql1.database.windows.net and sql1.privatelink.database.windows.net
  stale  every client  nothing    10.1.0.21
      less.json is a list of 4 private endpoints, none of which has a name in this zone; no approved
      endpoint has 10.1.0.21; here: endpoint sql-pe

If an endpoint is not gone but in another subscription or resource group, give that list too, or say
--partial.
6 names compared with the configuration for no site: 1 stale
";
    assert_eq!(format!("\n{}", outcome.stdout), expected);
    let rows = without_sql();
    let rest = json!({ "value": rows }).to_string();
    let graph = json!({ "count": 4, "total_records": 4, "skip_token": null, "data": rows });
    let page = |rows: &[Value], token: Option<&str>| {
        json!({ "count": 2, "total_records": 4, "skip_token": token, "data": rows }).to_string()
    };
    let pages = [page(&rows[..2], Some("t")), page(&rows[2..], None)];
    is_stale(&drift(&folder, &[("rest.json", &rest)], &[]));
    is_stale(&drift(&folder, &[("graph.json", &graph.to_string())], &[]));
    is_stale(&drift(&folder, &[("1.json", &pages[0]), ("2.json", &pages[1])], &[]));
    let json = drift(&folder, &[("less.json", &list(&rows))], &["--json"]).json();
    let lists = json!([{ "source": { "file": "less.json", "at": "" }, "count": 4,
        "of-interfaces": false, "is-complete": true }]);
    assert_eq!(json["compared"]["lists"], lists);
    assert_eq!(json["counts"]["stale"], 1);
}

#[test]
fn a_list_of_interfaces_says_which_endpoints_there_are() {
    let folder = imported();
    let interface = |one: &Value| {
        let name = one["name"].as_str().expect("a name");
        let ids = one["customDnsConfigs"].as_array().expect("names").iter();
        let configurations = ids.map(|config| {
            json!({
                "privateIPAddress": config["ipAddresses"][0],
                "privateLinkConnectionProperties": { "fqdns": [config["fqdn"]] },
            })
        });
        json!({
            "id": format!("/subscriptions/s/networkInterfaces/{name}.nic"),
            "type": "Microsoft.Network/networkInterfaces",
            "provisioningState": "Succeeded",
            "privateEndpoint": { "id": one["id"] },
            "ipConfigurations": configurations.collect::<Vec<_>>(),
        })
    };
    let less: Vec<_> = without_sql().iter().map(interface).collect();
    is_stale(&drift(&folder, &[("nic.json", &list(&less))], &[]));
    // One interface alone is no list.
    let outcome = drift(&folder, &[("nic.json", &less[1].to_string())], &[]);
    is_not_compared(&outcome, "no file is a list of private endpoints");
}

#[test]
fn files_that_are_no_complete_list_say_nothing_of_what_they_lack() {
    let folder = imported();
    let rows = without_sql();
    let cut = json!({ "value": rows, "nextLink": "https://management.example/?t" }).to_string();
    is_not_compared(&drift(&folder, &[("cut.json", &cut)], &[]), "value is one page of");
    let graph = json!({ "count": 4, "total_records": 9, "data": rows }).to_string();
    is_not_compared(&drift(&folder, &[("graph.json", &graph)], &[]), "data is one page of");
    // A whole list beside a part of one.
    let both = [("cut.json", &*cut), ("less.json", &*list(&rows))];
    is_not_compared(&drift(&folder, &both, &[]), "cut.json: value is one page of");
    let shown: String = rows.iter().map(Value::to_string).collect();
    is_not_compared(&drift(&folder, &[("shown.json", &shown)], &[]), "no file is a list");
    let record = json!([{ "fqdn": "st1.privatelink.blob.core.windows.net.", "name": "st1",
        "type": "Microsoft.Network/privateDnsZones/A",
        "aRecords": [{ "ipv4Address": "10.1.0.10" }] }]);
    is_not_compared(&drift(&folder, &[("a.json", &record.to_string())], &[]), "no file is a list");
    let less = list(&rows);
    let partial = drift(&folder, &[("less.json", &less)], &["--partial"]);
    is_not_compared(&partial, "said to hold only a part");
    // A list without anything in it: there is nothing to compare.
    for none in ["[]", "{ \"value\": [] }", "{ \"count\": 0, \"total_records\": 0, \"data\": [] }"]
    {
        let outcome = drift(&folder, &[("none.json", none)], &[]);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{outcome:?}");
    }
}

#[test]
fn an_endpoint_that_is_there_without_names_or_approval_is_not_called_gone() {
    let folder = imported();
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut all = endpoints();
        change(all.last_mut().expect("sql"));
        list(&all)
    };
    let nameless = changed(&|sql| sql["customDnsConfigs"] = json!([]));
    let outcome = drift(&folder, &[("pe.json", &nameless)], &[]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.stdout.contains("the files do not tell; endpoint"), "{outcome:?}");
    let status = |sql: &mut Value| {
        sql["privateLinkServiceConnections"][0]["privateLinkServiceConnectionState"]["status"] =
            json!("Disconnected");
    };
    for text in [
        changed(&status),
        changed(&|sql| {
            status(sql);
            sql["customDnsConfigs"] = json!([]);
        }),
    ] {
        let outcome = drift(&folder, &[("pe.json", &text)], &[]);
        is_stale(&outcome);
        assert!(outcome.stdout.contains("is Disconnected, not Approved"), "{outcome:?}");
    }
}

#[test]
fn zones_of_ones_own_are_in_no_list() {
    let folder = imported();
    let own = "\n[[private-link]]\npublic-zone = \"corp.example\"\n\
               private-zone = \"privatelink.corp.example\"\nunlisted = \"forward\"\n\
               [[private-link.endpoint]]\nname = \"app\"\nnames = { \"app\" = [\"10.1.0.99\"] }\n";
    let text = std::fs::read_to_string(folder.path().join("pld.toml")).expect("written");
    folder.write("pld.toml", &(text + own));
    let outcome = drift(&folder, &[("pe.json", &list(&endpoints()))], &[]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.stdout.contains("not compared: zone corp.example"), "{outcome:?}");
}
