//! `[[forward]]` as typed.

use std::path::PathBuf;
use std::time::Duration;

use super::{FORWARD, MANY};
use crate::config::findings::{Findings, Problem};
use crate::config::limits;
use crate::config::model::{Dnssec, Policy};
use crate::config::table::{Field, List, Listed, Table};
use crate::config::upstreams::UpstreamSource;
use crate::config::values;
use crate::wire::{Name, Rtype};

pub(in crate::config) struct ForwardSpec {
    pub(in crate::config) zones: List<Name>,
    pub(in crate::config) upstreams: List<UpstreamSource>,
    pub(in crate::config) policy: Field<Policy>,
    pub(in crate::config) timeout: Field<Duration>,
    pub(in crate::config) probe: Field<(Name, Rtype)>,
    pub(in crate::config) require_private: Field<bool>,
    pub(in crate::config) rebind_protection: Field<bool>,
    pub(in crate::config) rebind_allow: List<Name>,
    pub(in crate::config) dnssec: Field<Dnssec>,
    pub(in crate::config) ca_file: Field<PathBuf>,
    pub(in crate::config) pins: List<[u8; 32]>,
}

pub(super) fn read(table: &Table<'_>, findings: &mut Findings<'_>) -> ForwardSpec {
    table.only(FORWARD, findings);
    let wanted = "write a zone such as \"corp.example\", or \".\" for everything";
    let listed = Listed { wanted, at_least_one: true, at_most: MANY };
    let zones = table.list("zones", &listed, findings, values::zone);
    if zones.is_missing() {
        table.missing("zones", "write zones = [\".\"] for everything", findings);
    }
    let at_most = limits::MAX_UPSTREAMS;
    let listed = Listed { wanted: values::WANTED_UPSTREAM, at_least_one: true, at_most };
    let upstreams = table.list("upstreams", &listed, findings, values::upstream);
    if upstreams.is_missing() {
        table.missing("upstreams", "write upstreams = [\"10.0.0.4\"]", findings);
    }
    let policies =
        [("ordered", Policy::Ordered), ("fastest", Policy::Fastest), ("spread", Policy::Spread)];
    let wanted = "write a zone such as \"corp.example\"";
    let listed = Listed { wanted, at_least_one: false, at_most: MANY };
    let rebind_allow = table.list("rebind-allow", &listed, findings, values::zone);
    let choices = [("pass", Dnssec::Pass), ("validate", Dnssec::Validate)];
    let ca_file = |text: &str| values::file(text, values::WANTED_FILE);
    let at_most = limits::MAX_PINS;
    let listed = Listed { wanted: values::WANTED_PIN, at_least_one: true, at_most };
    ForwardSpec {
        zones,
        upstreams,
        policy: table.choice("policy", &policies, findings),
        timeout: read_timeout(table, findings),
        probe: table.text("probe", values::WANTED_PROBE, findings, values::probe),
        require_private: table.flag("require-private", findings),
        rebind_protection: table.flag("rebind-protection", findings),
        rebind_allow,
        dnssec: table.choice("dnssec", &choices, findings),
        ca_file: table.text("ca-file", values::WANTED_FILE, findings, ca_file),
        pins: table.list("pins", &listed, findings, values::pin),
    }
}

fn read_timeout(table: &Table<'_>, findings: &mut Findings<'_>) -> Field<Duration> {
    let range = &limits::TIMEOUT;
    let timeout = table.text("timeout", &values::wanted_duration(range), findings, |text| {
        values::duration(text, range)
    });
    if let Some(at) = timeout.good().filter(|at| at.value > limits::TIMEOUT_WARN) {
        let problem = Problem::new(
            "a Windows DNS server that asks here gives up after about 5.5 s; stay below 4s",
        );
        findings.warn(table.path.key("timeout"), at.span, problem);
    }
    timeout
}
