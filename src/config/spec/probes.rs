//! `[probes]` as typed.

use std::time::Duration;

use super::PROBES;
use crate::config::findings::{Findings, Span};
use crate::config::limits;
use crate::config::table::{Field, Table};
use crate::config::values;

pub(in crate::config) struct ProbesSpec {
    pub(in crate::config) interval: Field<Duration>,
    pub(in crate::config) timeout: Field<Duration>,
    pub(in crate::config) rise: Field<usize>,
    pub(in crate::config) fall: Field<usize>,
    pub(in crate::config) span: Span,
}

pub(super) fn read(table: &Table<'_>, findings: &mut Findings<'_>) -> ProbesSpec {
    table.only(PROBES, findings);
    let time = |key, range: &limits::TimeRange, findings: &mut Findings<'_>| {
        let wanted = values::wanted_duration(range);
        table.text(key, &wanted, findings, |text| values::duration(text, range))
    };
    ProbesSpec {
        interval: time("interval", &limits::PROBE_INTERVAL, findings),
        timeout: time("timeout", &limits::PROBE_TIMEOUT, findings),
        rise: table.count("rise", &limits::PROBE_RISE, findings),
        fall: table.count("fall", &limits::PROBE_FALL, findings),
        span: table.span,
    }
}
