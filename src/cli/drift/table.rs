//! Findings as a table for people.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::azure::{Complaint, Severity};
use crate::drift::{Compared, Finding, Kind, Outcome, Report};
use crate::engine::printable;

/// Columns of an ordinary terminal's log viewer and mail.
const WIDTH: usize = 100;
/// Addresses of one cell; what is more is counted.
const MOST_ADDRESSES: usize = 4;
/// Classes of clients that the sum names; more are counted.
const MOST_CLASSES: usize = 4;
/// Names that one server leaves unanswered and that have a row; more are counted.
const MOST_UNANSWERED: usize = 8;
/// Between columns.
const GAP: &str = "  ";
/// Widest a column grows for one long cell; the row then stands out by what is more.
const WIDEST: usize = 36;

/// What to do where an endpoint is not gone, but in a part of Azure that no file holds.
const ELSEWHERE: &str = "If an endpoint is not gone but in another subscription or resource group, \
                         give that list too, or say --partial.";

/// The whole report: findings under their names, what was not compared, the sum.
pub(super) fn table(report: &Report, complaints: &[Complaint]) -> String {
    let (findings, silences) = shown(&report.findings);
    let rows: Vec<[String; 4]> = findings.iter().map(|finding| row(finding)).collect();
    let head = ["KIND", "ASKED BY", "AZURE HAS", "ANSWERED"].map(str::to_owned);
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            let cells = std::iter::once(&head).chain(&rows).filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0).min(WIDEST)
        })
        .collect();
    let mut text = String::new();
    let mut above: &[String] = &[];
    if !rows.is_empty() {
        text += &line(&head, &widths);
    }
    for (finding, row) in findings.into_iter().zip(&rows) {
        if finding.names != above {
            text += &wrapped(&printable(&finding.names.join(" and ")), "");
            above = &finding.names;
        }
        text += &line(row, &widths);
        text += &wrapped(&details(finding), "      ");
    }
    for (asked, count) in silences.iter().filter(|(_, count)| **count > MOST_UNANSWERED) {
        let more = count - MOST_UNANSWERED;
        text += &wrapped(&printable(&format!("{more} more unanswered by {asked}: see --json")), "");
    }
    if !rows.is_empty() {
        text.push('\n');
    }
    if report.relies_on_lists {
        text += &wrapped(ELSEWHERE, "");
    }
    for note in &report.not_compared {
        text += &wrapped(&printable(&format!("not compared: {note}")), "");
    }
    text + &wrapped(&summary(report, complaints), "")
}

/// What gets a row, and how much each server has left unanswered: of that only the first are shown,
/// as a dead server says the same of each name.
fn shown(findings: &[Finding]) -> (Vec<&Finding>, BTreeMap<String, usize>) {
    let mut silences: BTreeMap<String, usize> = BTreeMap::new();
    let is_shown = |finding: &&Finding| {
        if finding.kind != Kind::Unanswered {
            return true;
        }
        let count = silences.entry(finding.asked.join(", ")).or_default();
        *count += 1;
        *count <= MOST_UNANSWERED
    };
    (findings.iter().filter(is_shown).collect(), silences)
}

fn row(finding: &Finding) -> [String; 4] {
    let azure: Vec<_> = finding.azure.iter().map(|expected| listed(&expected.addresses)).collect();
    let azure = if azure.is_empty() { "nothing".to_owned() } else { azure.join(" or ") };
    let answered = match &finding.answered.outcome {
        Outcome::Addresses => listed(&finding.answered.addresses),
        // The details say more.
        Outcome::Failed(_) => "no answer".to_owned(),
        other => other.to_string(),
    };
    let asked = finding.asked.join(", ");
    [finding.kind.word().to_owned(), asked, azure, answered].map(|cell| printable(&cell))
}

fn listed(addresses: &[IpAddr]) -> String {
    let mut texts: Vec<_> =
        addresses.iter().take(MOST_ADDRESSES).map(ToString::to_string).collect();
    if let Some(more) = addresses.len().checked_sub(MOST_ADDRESSES).filter(|more| *more > 0) {
        texts.push(format!("{more} more"));
    }
    texts.join(", ")
}

/// What the columns do not say: why, and where it stands on both sides.
fn details(finding: &Finding) -> String {
    let azure = finding
        .azure
        .iter()
        .map(|expected| format!("Azure: {} in {}", expected.endpoint, expected.source));
    let configured = finding.configured.iter().map(|place| format!("here: {place}"));
    let details = std::iter::once(finding.why.clone()).chain(configured).chain(azure);
    printable(&details.collect::<Vec<_>>().join("; "))
}

/// A row of the table.
fn line(cells: &[String; 4], widths: &[usize]) -> String {
    let cells: Vec<_> =
        cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
    format!("{GAP}{}\n", cells.join(GAP).trim_end())
}

/// Words on as few lines as they fit on, each behind `indent`.
fn wrapped(text: &str, indent: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        let fits = |line: &&mut String| line.chars().count() + 1 + word.chars().count() <= WIDTH;
        match lines.last_mut().filter(fits) {
            Some(line) => *line += &format!(" {word}"),
            None => lines.push(format!("{indent}{word}")),
        }
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn summary(report: &Report, complaints: &[Complaint]) -> String {
    let Compared { names, clients, servers, .. } = &report.compared;
    let count = |number: usize, one: &str, many: &str| {
        format!("{number} {}", if number == 1 { one } else { many })
    };
    let mut with = Vec::new();
    match clients.len() {
        0 => {}
        1..=MOST_CLASSES => with.push(format!("the configuration for {}", clients.join(", "))),
        many => with.push(format!("the configuration for {many} classes of clients")),
    }
    with.extend(servers.iter().cloned());
    let mut counts: Vec<_> = Kind::ALL
        .iter()
        .map(|kind| (report.counts.of(*kind), kind.word()))
        .filter(|(number, _)| *number > 0)
        .map(|(number, word)| format!("{number} {word}"))
        .collect();
    if counts.is_empty() {
        counts.push("no difference".to_owned());
    }
    let left_out = complaints.iter().filter(|c| c.severity == Severity::LeftOut).count();
    let left_out = match left_out {
        0 => String::new(),
        some => format!("; {} left out of the files", count(some, "thing", "things")),
    };
    let names = count(*names, "name", "names");
    printable(&format!(
        "{names} compared with {}: {}{left_out}",
        with.join(", "),
        counts.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drift::Answered;

    fn unanswered(name: String, server: &str) -> Finding {
        Finding {
            kind: Kind::Unanswered,
            names: vec![name],
            asked: vec![server.to_owned()],
            azure: Vec::new(),
            answered: Answered {
                outcome: Outcome::Failed("A: no reply".into()),
                addresses: vec![],
            },
            configured: None,
            why: "A: no reply".to_owned(),
        }
    }

    #[test]
    fn of_a_dead_server_only_the_first_names_have_rows() {
        for (names, more) in [(MOST_UNANSWERED, 0), (MOST_UNANSWERED + 3, 3)] {
            let of = |server| (0..names).map(move |n| unanswered(format!("n{n}.example"), server));
            let findings = of("@192.0.2.1:53").chain(of("@192.0.2.2:53")).collect();
            let text = table(&Report { findings, ..Report::default() }, &[]);
            assert_eq!(text.matches("  unanswered  ").count(), 2 * MOST_UNANSWERED, "{text}");
            let line = format!("{more} more unanswered by @192.0.2.2:53");
            assert_eq!(text.contains(&line), more > 0, "{text}");
        }
    }
}
