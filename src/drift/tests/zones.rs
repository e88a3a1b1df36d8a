//! Zones inside wider ones: the files tell which pair a name lies in, not the catalogue's wider zone.

use super::*;
use crate::azure;
use crate::config;

const LEDGER: &str = r#"{ "name": "pe-ledger", "networkInterfaces": [{ "id": "/x/networkInterfaces/nic" }],
    "privateLinkServiceConnections": [{ "groupIds": ["default"],
        "privateLinkServiceId": "/s/providers/Microsoft.Fabrikam/ledgers/l",
        "privateLinkServiceConnectionState": { "status": "Approved" } }],
    "customDnsConfigs": [{ "fqdn": "main.k1.ledger.azure.com", "ipAddresses": ["10.1.0.70"] }] }"#;
const RECORD: &str = r#"{ "type": "Microsoft.Network/privateDnsZones/A", "name": "main.k1",
    "fqdn": "main.k1.privatelink.ledger.azure.com.",
    "aRecords": [{ "ipv4Address": "10.1.0.70" }] }"#;
const PUBLIC: &str = "main.k1.ledger.azure.com";
const PRIVATE: &str = "main.k1.privatelink.ledger.azure.com";

fn files(texts: &[&str]) -> Inventory {
    let files: Vec<_> =
        texts.iter().enumerate().map(|(n, text)| (n.to_string(), (*text).to_owned())).collect();
    azure::read(&files)
}

fn configured(entry: &str, names: &str) -> Config {
    let report = config::read(&format!(
        "[listen]\ndns = [\"127.0.0.1:5300\"]\n[[forward]]\nzones = [\".\"]\n\
         upstreams = [\"127.0.0.1:1\"]\n[[private-link]]\n{entry}\nunlisted = \"forward\"\n\
         [[private-link.endpoint]]\nname = \"pe-ledger\"\nnames = {{ {names} }}\n"
    ));
    report.config.unwrap_or_else(|| panic!("{:?}", report.diagnostics))
}

#[test]
fn a_zone_inside_a_wider_one_is_right_only_with_its_own_pair() {
    let files = files(&[LEDGER, RECORD]);
    let severe = files.complaints.iter().find(|it| it.severity != azure::Severity::Noted);
    assert!(severe.is_none(), "{severe:?}");
    let own = "public-zone = \"ledger.azure.com\"\nprivate-zone = \"privatelink.ledger.azure.com\"";
    let right = drifted(&configured(own, "\"main.k1\" = [\"10.1.0.70\"]"), &files);
    assert!(right.same, "{:?}", lines(&right));

    let wider = "service = \"resource-manager\"";
    let wrong = drifted(&configured(wider, "\"main.k1.ledger\" = [\"10.1.0.70\"]"), &files);
    let missing = format!("missing {PRIVATE} | every client | pe-ledger=[10.1.0.70] | forwarded");
    assert_eq!(lines(&wrong), [missing]);

    // As this program once wrote it: both names in front of the wider zone.
    let both = "\"main.k1.ledger\" = [\"10.1.0.70\"], \
                \"main.k1.privatelink.ledger\" = [\"10.1.0.70\"]";
    let wrong = drifted(&configured(wider, both), &files);
    assert!(!wrong.same);
    assert!(lines(&wrong).iter().all(|line| line.starts_with("extra ")), "{:?}", lines(&wrong));
}

#[test]
fn a_name_whose_zones_are_not_known_has_no_private_form_of_another_service() {
    let files = files(&[LEDGER]);
    let other = configured("service = \"resource-manager\"", "management = [\"10.1.0.9\"]");
    let report = drifted(&other, &files);
    let missing = format!("missing {PUBLIC} | every client | pe-ledger=[10.1.0.70] | forwarded");
    assert!(lines(&report).contains(&missing), "{:?}", lines(&report));
}
