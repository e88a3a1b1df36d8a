//! Where answers and Azure part: names and addresses of Azure's files beside what the configuration
//! makes of them, and beside what a server says right now.
//!
//! The configuration's answers come out of the real decision, so that they cannot differ from what
//! clients get. Refuses to know the shapes of Azure's files, and who reads the findings.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod absence;
mod answered;
mod clients;
mod configured;
mod judge;
mod known;
mod live;
mod offline;
mod pairs;
mod report;
#[cfg(test)]
mod tests;

use crate::azure::Inventory;
use crate::config::Config;
use crate::engine::Snapshot;

pub use absence::Coverage;
pub use answered::{Answered, Outcome};
pub use live::Live;
pub use report::{Compared, Counts, Expected, Finding, Kind, Report};

/// Compares what the files say with the configuration, where there is one, and with what servers
/// answer. `coverage` says what it means that the files lack something.
pub fn compare(
    inventory: &Inventory,
    coverage: Coverage,
    configured: Option<(&Config, &Snapshot)>,
    live: &Live<'_>,
) -> Report {
    let links = configured.map_or(&[][..], |(config, _)| &config.private_links);
    let known = known::Known::new(inventory, links, coverage);
    let listed = configured::Listed::new(links, &known);
    let mut report = Report::default();
    report.compared.names = known.subjects.len() + listed.strangers.len();
    report.compared.lists.clone_from(&inventory.lists);
    report.relies_on_lists = listed.strangers.iter().any(|stranger| stranger.gone.is_some());
    report.not_compared.clone_from(&known.nameless);
    if let Some((config, snapshot)) = configured {
        offline::compare(config, snapshot, &known, &listed, &mut report);
    }
    live::compare(live, &known, &listed, &mut report);
    report.finish();
    report
}
