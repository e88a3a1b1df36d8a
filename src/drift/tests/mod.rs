//! Findings of each kind, from inventories and configurations made here.

mod absent;
mod configured;
mod served;
mod zones;

use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::azure::{Endpoint, EndpointList, LeftOut, Record, Source, ZonePair};
use crate::config::testing::{defender, endpoint, forward_all, minimal};
use crate::config::{PrivateLink, Site, Unlisted};
use crate::forward::{OwnAddresses, Rules};
use crate::upstream::Patience;

const API: &str = "api.cloud.defender.microsoft.com";
const API_Q: &str = "api.privatelink.cloud.defender.microsoft.com";
const DATA: &str = "data.westeurope.cloud.defender.microsoft.com";
const DATA_Q: &str = "data.westeurope.privatelink.cloud.defender.microsoft.com";
/// Nobody waits for it where a reply comes.
const PATIENCE: Patience = Patience { each: Duration::from_secs(20), udp_tries: 1 };

fn source(at: &str) -> Source {
    Source { file: "pe.json".to_owned(), at: at.to_owned() }
}

/// An endpoint of Azure's files.
fn azure(name: &str, records: &[(&str, &[&str])]) -> Endpoint {
    let record = |(index, (fqdn, addresses)): (usize, &(&str, &[&str]))| Record {
        fqdn: (*fqdn).to_owned(),
        addresses: addresses.iter().map(|ip| ip.parse().expect("an address")).collect(),
        group_id: None,
        member: None,
        source: source(&format!("[{index}]")),
        also: Vec::new(),
    };
    Endpoint {
        name: name.to_owned(),
        region: None,
        resource_type: None,
        group_ids: Vec::new(),
        records: records.iter().enumerate().map(record).collect(),
        source: source(""),
    }
}

fn inventory(endpoints: Vec<Endpoint>) -> Inventory {
    Inventory { endpoints, ..Inventory::default() }
}

/// What `minimal()` serves, as Azure has it.
fn hub() -> Endpoint {
    azure("hub-pe", &[(API, &["10.1.0.5"]), (DATA, &["10.1.0.6"])])
}

fn left_out(endpoint: Endpoint) -> LeftOut {
    let why = "its connection is Rejected, not Approved".to_owned();
    LeftOut { endpoint, why, is_unfit: true }
}

/// `minimal()` with a rule for everything else, so that what is not served is forwarded.
fn config(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = minimal();
    config.forwards.push(forward_all());
    change(&mut config);
    config
}

fn site(name: &str, network: &str) -> Site {
    Site { name: name.to_owned(), networks: vec![network.parse().expect("a prefix")] }
}

fn drifted(config: &Config, inventory: &Inventory) -> Report {
    drifted_with(config, inventory, Coverage::Whole)
}

fn drifted_with(config: &Config, inventory: &Inventory, coverage: Coverage) -> Report {
    let own = OwnAddresses::default();
    let snapshot = Snapshot::new(config, Rules::build(&config.forwards, &[], own, None));
    compare(inventory, coverage, Some((config, &snapshot)), &asked(&[]))
}

fn asked(servers: &[SocketAddr]) -> Live<'_> {
    Live { servers, patience: PATIENCE, progress: &|_, _| {} }
}

/// Each finding on a line: kind, names, who asked, what Azure has, what came.
fn lines(report: &Report) -> Vec<String> {
    let line = |finding: &Finding| {
        let Finding { kind, names, asked, azure, answered, .. } = finding;
        let azure: Vec<_> =
            azure.iter().map(|one| format!("{}={:?}", one.endpoint, one.addresses)).collect();
        let came = match &answered.outcome {
            Outcome::Addresses => format!("{:?}", answered.addresses),
            other => other.to_string(),
        };
        format!(
            "{} {} | {} | {} | {came}",
            kind.word(),
            names.join(" "),
            asked.join(", "),
            azure.join(" ")
        )
    };
    report.findings.iter().map(line).collect()
}
