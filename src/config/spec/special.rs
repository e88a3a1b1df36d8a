//! `[special]` as typed.

use super::SPECIAL;
use crate::config::findings::{Findings, Path, Problem};
use crate::config::limits;
use crate::config::model::SpecialConfig;
use crate::config::spec::ForwardSpec;
use crate::config::table::{List, Listed, Table};
use crate::config::values;
use crate::special;
use crate::wire::Name;

pub(in crate::config) struct SpecialSpec {
    forward: List<Name>,
    answer: List<Name>,
}

pub(super) fn read(table: &Table<'_>, findings: &mut Findings<'_>) -> SpecialSpec {
    table.only(SPECIAL, findings);
    let wanted =
        "write special zones such as \"local\" or \"10.in-addr.arpa\"; \".\" is all of them";
    let at_most = limits::MAX_SPECIAL_ZONES;
    let listed = Listed { wanted, at_least_one: false, at_most };
    let forward = table.list("forward", &listed, findings, values::zone);
    let answer = table.list("answer", &listed, findings, values::zone);
    let zones = special::zones();
    let concerns = |name: &Name| {
        zones.iter().any(|zone| zone.name.is_within(name) || name.is_within(&zone.name))
    };
    for (key, list) in [("forward", &forward), ("answer", &answer)] {
        for at in list.items.iter().filter(|at| !concerns(&at.value)) {
            let problem = "no effect: this is no special zone, and none lies above or below it";
            findings.warn(table.path.key(key), at.span, Problem::new(problem));
        }
    }
    for at in &answer.items {
        if let Some(other) = forward.items.iter().find(|other| other.value == at.value) {
            let line = findings.line(other.span);
            let problem = format!("forward has this zone too (line {line}); keep one of the two");
            findings.error(table.path.key("answer"), at.span, Problem::new(problem));
        }
    }
    SpecialSpec { forward, answer }
}

impl SpecialSpec {
    /// Warns of zones in `answer` that a forward rule has.
    pub(in crate::config) fn check(&self, rules: &[ForwardSpec], findings: &mut Findings<'_>) {
        let path = Path::Root.key("special");
        for at in self.answer.items.iter().filter(|at| !at.value.is_root()) {
            let mut zones = rules.iter().flat_map(|rule| &rule.zones.items);
            if let Some(zone) = zones.find(|zone| zone.value == at.value) {
                let line = findings.line(zone.span);
                let problem = format!("no effect: a forward rule has this zone (line {line})");
                findings.warn(path.key("answer"), at.span, Problem::new(problem));
            }
        }
    }

    /// Returns what it means.
    pub(in crate::config) fn resolve(self) -> SpecialConfig {
        SpecialConfig { forward: self.forward.values(), answer: self.answer.values() }
    }
}
