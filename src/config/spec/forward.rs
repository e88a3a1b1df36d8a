//! `[[forward]]` as typed.

use std::time::Duration;

use super::{FORWARD, MANY};
use crate::config::findings::{Findings, Problem};
use crate::config::limits;
use crate::config::table::{Field, List, Listed, Table};
use crate::config::upstreams::UpstreamSource;
use crate::config::values;
use crate::wire::Name;

pub(in crate::config) struct ForwardSpec {
    pub(in crate::config) zones: List<Name>,
    pub(in crate::config) upstreams: List<UpstreamSource>,
    pub(in crate::config) timeout: Field<Duration>,
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
    ForwardSpec { zones, upstreams, timeout }
}
