//! What whole files come to; `tests/azure` holds more of them.

use super::names::{Names, places};
use super::*;

fn read_one(text: &str) -> Inventory {
    read(&[("f".to_owned(), text.to_owned())])
}

/// `name addresses…` of every record, and every complaint.
fn summary(inventory: &Inventory) -> Vec<String> {
    let records = inventory.endpoints.iter().flat_map(|endpoint| &endpoint.records);
    let records = records.map(|record| {
        let addresses: Vec<_> = record.addresses.iter().map(ToString::to_string).collect();
        format!("{} {}", record.fqdn, addresses.join(" "))
    });
    records.chain(inventory.complaints.iter().map(ToString::to_string)).collect()
}

#[test]
fn a_master_file_is_read_by_the_rules_of_rfc_1035() {
    let zone = "$TTL 1h ; a comment\r\n$ORIGIN net.\r\n$ORIGIN privatelink.blob.core.windows\r\n\
                @ IN 3600 SOA a. b. ( 1 2 ; c )\r\n 3 4\r\n 5 )\r\n\
                One 10 IN A 10.0.0.1\r\n\tIN AAAA fd00::1\r\n A ( 10.0.0.2\r\n )\r\n\
                two.privatelink.blob.core.windows.net. A 10.0.0.3\r\n\
                three IN TXT \"a ; ( \\\" b\" c\r\n A 10.0.0.4\r\n";
    assert_eq!(
        summary(&read_one(zone)),
        [
            "one.privatelink.blob.core.windows.net 10.0.0.1 10.0.0.2 fd00::1",
            "three.privatelink.blob.core.windows.net 10.0.0.4",
            "two.privatelink.blob.core.windows.net 10.0.0.3",
            "f: line 12: left out: TXT record: only A and AAAA lead to an endpoint",
        ]
    );
}

#[test]
fn an_origin_without_its_final_dot_is_absolute_at_the_start() {
    const ZONE: &str = "privatelink.blob.core.windows.net";
    for (head, record) in [
        ("$ORIGIN privatelink.blob.core.windows.net\n", "a 10 IN A 10.0.0.1"),
        ("$ORIGIN privatelink.blob.core.windows.net.\n", "a 10 IN A 10.0.0.1"),
        ("$origin PRIVATELINK.blob.core.windows.net\r\n", "A\t1h30m\tin\ta\t10.0.0.1\r\n"),
        ("$ORIGIN privatelink.blob.core.windows.net\r", "a 10 IN A 10.0.0.1\r"),
        (" $TTL 3600\n $ORIGIN privatelink.blob.core.windows.net\n", "a A 10.0.0.1"),
        ("$ORIGIN blob.core.windows.net\n$ORIGIN privatelink\n", "a A 10.0.0.1"),
        ("$ORIGIN net.\n$ORIGIN privatelink.blob.core.windows\n", "a A 10.0.0.1"),
        (";  zone NAME: privatelink.blob.core.windows.net\n", "a IN A 10.0.0.1"),
        (";Zone name: privatelink.blob.core.windows.net.\n$TTL 10\n$ORIGIN @\n", "a A 10.0.0.1"),
        ("a.privatelink.blob.core.windows.net. 10 IN A 10.0.0.1\n", ""),
        (
            ";\n;  Database file (null) for Default zone scope in zone \
             privatelink.blob.core.windows.net.\n;      Zone version:  5\n;\n\n\
             @  IN  SOA dc1.a.local. hostmaster.a.local. ( 5 900 600 86400 3600 )\n\
             @  NS  dc1.a.local.\n",
            "a  600  A  10.0.0.1",
        ),
        (";  Database file x.dns for privatelink.blob.core.windows.net zone.\n", "a A 10.0.0.1"),
        ("$ORIGIN x.net\n; Zone name: privatelink.blob.core.windows.net\n", "a A 10.0.0.1"),
        ("$ORIGIN privatelink.blob.core.windows.net\nx TXT \"a\nb\"\n", "a A 10.0.0.1"),
        ("$ORIGIN privatelink.blob.core.windows.net\nx TXT ( \"a\"\n\"b\" )\n", "a A 10.0.0.1"),
    ] {
        let inventory = read_one(&format!("{head}{record}"));
        let told = summary(&inventory);
        assert_eq!(told[0], format!("a.{ZONE} 10.0.0.1"), "{head}: {told:?}");
        let strings = usize::from(head.contains("TXT"));
        assert_eq!(inventory.complaints.len(), strings, "{head}: {told:?}");
        assert_eq!(inventory.endpoints[0].name, ZONE);
    }
    for (text, why) in [
        (
            "$ORIGIN privatelink.blob.core.windows.net\n$ORIGIN privatelink.vaultcore.azure.net\n",
            "line 2: refused: $ORIGIN privatelink.vaultcore.azure.net has no final dot and follows",
        ),
        (
            "$ORIGIN privatelink.a.example\n$ORIGIN privatelink.b.example\n",
            "line 2: refused: $ORIGIN privatelink.b.example has no final dot",
        ),
        ("$ORIGIN\na A 10.0.0.1\n", "line 1: refused: one name belongs behind $ORIGIN"),
        ("$ORIGIN a.b c\n", "line 1: refused: one name belongs behind $ORIGIN"),
        ("a 10 IN A 10.0.0.1\n", "line 1: refused: a relative name before any $ORIGIN"),
    ] {
        let told = summary(&read_one(text));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with(&format!("f: {why}")), "{told:?}");
    }
}

#[test]
fn a_record_is_in_the_zone_of_its_own_export() {
    let inventory = read_one(
        "$ORIGIN privatelink.one.example.\n@ SOA a. b. 1 2 3 4 5\na A 10.0.0.1\n\
         $ORIGIN privatelink.two.example.\n@ SOA a. b. 1 2 3 4 5\n$ORIGIN sub\nb A 10.0.0.2\n",
    );
    let zones: Vec<&str> = inventory.endpoints.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(zones, ["privatelink.one.example", "privatelink.two.example"]);
}

#[test]
fn broken_master_files_are_refused_as_a_whole() {
    let good = "$ORIGIN privatelink.blob.core.windows.net.\na A 10.0.0.1\n";
    assert_eq!(summary(&read_one(good)), ["a.privatelink.blob.core.windows.net 10.0.0.1"]);
    for (line, why) in [
        ("b A", "one address belongs behind A"),
        ("b A 10.0.0.2 10.0.0.3", "one address belongs behind A"),
        ("b 10 IN", "a line without a record type"),
        ("b SOA (", "a parenthesis is never closed"),
        ("b SOA ( ( ) )", "a parenthesis inside another"),
        ("b )", "never opened"),
        ("b TXT \"x", "a quotation mark is never closed"),
        ("$INCLUDE other", "leads to another file"),
        ("$GENERATE 1-9 a A 10.0.0.$", "no directive of a zone export"),
    ] {
        let said = summary(&read_one(&format!("{good}{line}\n")));
        assert_eq!(said.len(), 1, "{line}: {said:?}");
        assert!(said[0].starts_with("f: line 3: refused: ") && said[0].contains(why), "{said:?}");
    }
    let relative = summary(&read_one("$TTL 10\na A 10.0.0.1\n"));
    assert!(relative[0].contains("a relative name before any $ORIGIN"), "{relative:?}");
}

#[test]
fn a_name_is_the_likeliest_services() {
    let first = |name: &str, resource_type: Option<&str>, group: &[&str]| {
        let group_ids: Vec<String> = group.iter().map(|id| (*id).to_owned()).collect();
        let places = places(name, Hints { resource_type, group_ids: &group_ids });
        places.first().map(|place| format!("{} {}", place.service.name, place.public_zone))
    };
    let private = "acct.privatelink.blob.core.windows.net";
    let blob = Some("storage-blob blob.core.windows.net".to_owned());
    assert_eq!(first(private, None, &[]), blob);
    assert_eq!(first("acct.blob.core.windows.net", None, &[]), blob);
    let scopes = Some("microsoft.insights/privatelinkscopes");
    let monitor = Some("monitor blob.core.windows.net".to_owned());
    assert_eq!(first(private, scopes, &["azuremonitor"]), monitor);
    assert_eq!(first(private, None, &["AzureMonitor"]), monitor);
    assert_eq!(first("privatelink.blob.core.windows.net", None, &[]), None, "a zone is no name");
    assert_eq!(first("www.example.com", None, &[]), None);
}

#[test]
fn zones_that_would_take_others_names_are_not_learnt() {
    let names = Names::new([]);
    assert_eq!(names.pair("a.b.example"), None);
    for (name, pairs) in [
        ("a.privatelink.b.example", 1),
        ("a.privatelink.example", 0),
        ("a.privatelink.windows.net", 0),
        ("a.b.example", 0),
    ] {
        let set = format!(
            "[{{\"fqdn\":\"{name}\",\"name\":\"a\",\"aRecords\":[{{\"ipv4Address\":\"10.0.0.1\"}}]}}]"
        );
        let inventory = read_one(&set);
        assert_eq!(inventory.pairs.len(), pairs, "{name}: {:?}", inventory.pairs);
    }
}

#[test]
fn pages_of_resource_graph_are_counted_by_their_rows() {
    let page = |name: &str| {
        format!(
            "{{\"count\":1,\"total_records\":2,\"skip_token\":\"x\",\"data\":[{{\"id\":\"/{name}\",\
             \"name\":\"{name}\",\"customDnsConfigs\":[{{\"fqdn\":\"{name}.vault.azure.net\",\
             \"ipAddresses\":[\"10.0.0.1\"]}}]}}]}}"
        )
    };
    let cut = |pages: &[&str]| {
        let files: Vec<_> =
            pages.iter().enumerate().map(|(n, name)| (n.to_string(), page(name))).collect();
        read(&files)
            .complaints
            .iter()
            .any(|complaint| complaint.text.starts_with("cut off: 1 of 2"))
    };
    assert!(cut(&["a"]));
    assert!(cut(&["a", "a"]), "the same page twice");
    assert!(!cut(&["a", "b"]));
}

#[test]
fn names_that_places_disagree_about_are_doubtful() {
    let inventory = read_one(
        r#"[{ "name": "pe", "customDnsConfigs": [{ "fqdn": "a.vault.azure.net", "ipAddresses": ["10.0.0.1"] },
              { "fqdn": "b.vault.azure.net", "ipAddresses": ["10.0.0.2"] }] },
            { "name": "pe", "customDnsConfigs": [{ "fqdn": "b.vault.azure.net", "ipAddresses": ["10.0.0.3"] }] },
            { "type": "Microsoft.Network/privateDnsZones/A", "name": "c",
              "fqdn": "c.privatelink.vaultcore.azure.net.", "aRecords": [{ "ipv4Address": "10.0.0.1" }] }]"#,
    );
    assert_eq!(inventory.doubtful, ["b.vault.azure.net", "c.privatelink.vaultcore.azure.net"]);
    assert_eq!(inventory.endpoints.len(), 1);
}

#[test]
fn a_list_without_a_usable_name_is_not_called_empty() {
    let inventory = read_one(
        r#"{ "name": "pe", "customDnsConfigs": [{ "fqdn": "a b", "ipAddresses": ["10.0.0.1"] }] }"#,
    );
    let texts: Vec<_> = inventory.complaints.iter().map(|c| c.text.as_str()).collect();
    assert!(texts.iter().any(|text| text.contains("no usable name")), "{texts:?}");
    assert!(!texts.iter().any(|text| text.contains("is empty")), "{texts:?}");
}

/// `place count whole|part` of every list; lists of interfaces are marked.
fn lists_of(files: &[&str]) -> Vec<String> {
    let files: Vec<_> =
        files.iter().enumerate().map(|(at, text)| (format!("{at}"), (*text).to_owned())).collect();
    let line = |list: EndpointList| {
        let what = if list.of_interfaces { " interfaces" } else { "" };
        let reach = if list.is_complete { "whole" } else { "part" };
        format!("{} {}{what} {reach}", list.source, list.count)
    };
    read(&files).lists.into_iter().map(line).collect()
}

/// A private endpoint's object with this id and these further members.
fn listed(id: usize, more: &str) -> String {
    format!("{{ \"id\": \"/x/privateEndpoints/{id}\", \"customDnsConfigs\": []{more} }}")
}

#[test]
fn lists_of_private_endpoints_are_told_from_single_objects() {
    let (one, two) = (listed(1, ""), listed(2, ""));
    let record = r#"{ "fqdn": "a.privatelink.blob.core.windows.net", "aRecords": [] }"#;
    for (text, lists) in [
        (format!("[{one}, {two}]"), &["0 2 whole"][..]),
        (format!("[{one}]"), &["0 1 whole"]),
        // What `show` prints, once or several times.
        (one.clone(), &[]),
        (format!("{one}\n{two}"), &[]),
        ("[]".to_owned(), &[]),
        (format!("[{record}]"), &[]),
        // Only private endpoints count.
        (format!("[{one}, {record}]"), &["0 1 whole"]),
        // The lists inside count, not what is around them.
        (format!("[[{one}], [{two}]]"), &["0: [0] 1 whole", "0: [1] 1 whole"]),
        (format!("{{ \"mine\": [{one}], \"other\": {two} }}"), &["0: mine 1 whole"]),
        (format!("[{{ \"mine\": {one} }}, {{ \"mine\": {two} }}]"), &["0 2 whole"]),
        (format!("[{{ \"mine\": [{one}, {two}] }}]"), &["0: [0].mine 2 whole"]),
    ] {
        assert_eq!(lists_of(&[&text]), lists, "{text}");
    }
}

#[test]
fn a_list_of_interfaces_counts_those_of_private_endpoints() {
    let own = r#"{ "id": "/x/networkInterfaces/a", "ipConfigurations": [],
        "privateEndpoint": { "id": "/x/privateEndpoints/a" } }"#;
    let machine = r#"{ "id": "/x/networkInterfaces/b", "ipConfigurations": [] }"#;
    assert_eq!(lists_of(&[&format!("[{own}, {machine}]")]), ["0 1 interfaces whole"]);
    assert_eq!(lists_of(&[&format!("[{machine}]")]), [""; 0]);
    assert_eq!(lists_of(&[own]), [""; 0]);
    let mixed = format!("[{own}, {}]", listed(1, ""));
    assert_eq!(lists_of(&[&mixed]), ["0 1 whole"]);
}

#[test]
fn a_list_that_is_cut_off_is_not_whole() {
    let (one, two) = (listed(1, ""), listed(2, ""));
    let rest = |next: &str| format!("{{ \"value\": [{one}, {two}]{next} }}");
    assert_eq!(lists_of(&[&rest("")]), ["0: value 2 whole"]);
    assert_eq!(lists_of(&[&rest(", \"nextLink\": null")]), ["0: value 2 whole"]);
    assert_eq!(lists_of(&[&rest(", \"nextLink\": \"https://x/?t\"")]), ["0: value 2 part"]);
    let graph = |more: &str, rows: &str| format!("{{ \"count\": 1{more}, \"data\": [{rows}] }}");
    assert_eq!(lists_of(&[&graph("", &one)]), ["0: data 1 whole"]);
    assert_eq!(lists_of(&[&graph(", \"skip_token\": \"t\"", &one)]), ["0: data 1 part"]);
    let of_two = |row: &str| graph(", \"total_records\": 2, \"skip_token\": \"t\"", row);
    assert_eq!(lists_of(&[&of_two(&one)]), ["0: data 1 part"]);
    // One page twice is still one page; both pages are everything.
    assert_eq!(lists_of(&[&of_two(&one), &of_two(&one)]), ["0: data 1 part", "1: data 1 part"]);
    assert_eq!(lists_of(&[&of_two(&one), &of_two(&two)]), ["0: data 1 whole", "1: data 1 whole"]);
}

#[test]
fn a_plain_list_as_long_as_a_page_of_resource_graph_may_be_one() {
    let plain = |count: usize, more: &str| {
        let rows: Vec<_> = (0..count).map(|id| listed(id, more)).collect();
        lists_of(&[&format!("[{}]", rows.join(","))])
    };
    let row = ", \"tenantId\": \"t\"";
    assert_eq!(plain(100, row), ["0 100 part"]);
    assert_eq!(plain(1_000, row), ["0 1000 part"]);
    assert_eq!(plain(99, row), ["0 99 whole"]);
    // `az network private-endpoint list` prints everything.
    assert_eq!(plain(100, ""), ["0 100 whole"]);
}

#[test]
fn rows_and_terraforms_state_do_not_prove_that_an_endpoint_is_gone() {
    let row = r#"{ "name": "pe", "fqdn": "a.vault.azure.net", "ip": "10.0.0.1" }"#;
    let endpoint = r#"{ "name": "pe", "custom_dns_configs": [
        { "fqdn": "a.vault.azure.net", "ip_addresses": ["10.0.0.1"] }] }"#;
    let resource = format!("{{ \"type\": \"azurerm_private_endpoint\", \"values\": {endpoint} }}");
    let state = format!(
        "{{ \"terraform_version\": \"1\", \"values\": {{ \"root_module\": {{ \"resources\": \
         [{resource}] }} }} }}"
    );
    let envelope = format!("{{ \"rows\": [{endpoint}], \"metadata\": {{}} }}");
    for (text, lists) in [
        (format!("[{row}]"), 0),
        (format!("[{resource}]"), 0),
        (state, 0),
        (format!("[{endpoint}]"), 1),
        (envelope, 1),
    ] {
        let inventory = read_one(&text);
        assert_eq!(inventory.endpoints.len(), 1, "{text}: {:?}", inventory.complaints);
        assert_eq!(inventory.lists.len(), lists, "{text}");
    }
}
