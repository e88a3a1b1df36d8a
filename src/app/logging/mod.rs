//! Log lines on stderr, as `[log]` wants them.
//!
//! No thread but the writer's waits for stderr: [`queue`] bounds the lines that wait, [`writer`] writes
//! them and counts those that are lost.

mod panics;
mod queue;
mod writer;

use std::fmt;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, filter::LevelFilter};

use crate::config::{Diagnostic, Log, LogFormat, LogLevel};
use crate::engine::query_lines;
use queue::{LOST, QUERY};
use writer::{Lines, Sink};

/// They warn of each connection that ends badly. An upstream's state and last error say the same,
/// once.
const LIBRARIES_OF_CONNECTIONS: [&str; 5] = ["h2", "h3", "hickory_net", "quinn", "rustls"];

/// Most warnings about a configuration file in the log, each time it is read: whoever reads a log
/// looks for something else, and `check` has them all.
const MAX_WARNINGS: usize = 20;

/// How long the end of the process waits for lines that are not written yet. With the longest time
/// that queries may take, this stays below the unit's `TimeoutStopSec`.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// Handle on the running log. Dropping it writes what waits, for [`FLUSH_LIMIT`] at most.
pub(super) struct Logging {
    filter: reload::Handle<Targets, Registry>,
    lines: Arc<Lines>,
}

impl Logging {
    /// Starts logging for the whole process; a second call in one process changes nothing.
    ///
    /// A full disk, a closed stderr or a reader that does not read costs lines, never an answer.
    /// Lost lines are counted, and one line says how many there were.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(super) fn start(log: Log) -> io::Result<Self> {
        let (filter, handle) = reload::Layer::new(targets(log.level));
        let lines = Arc::new(Lines::default());
        let sink = Sink(Arc::clone(&lines));
        let layer = match log.format {
            LogFormat::Text => {
                let colour = io::stderr().is_terminal();
                layer().with_writer(sink).with_ansi(colour).log_internal_errors(false).boxed()
            }
            LogFormat::Json => layer()
                .json()
                .flatten_event(true)
                .with_writer(sink)
                .log_internal_errors(false)
                .boxed(),
        };
        lines.write_to(writer::stderr(), tell_lost)?;
        // Only tests run two daemons in a process; the first one's log serves both.
        if tracing_subscriber::registry().with(filter).with(layer).try_init().is_ok() {
            panics::log();
        }
        Ok(Self { filter: handle, lines })
    }

    /// The log's own share of the totals, as `label=value` words.
    pub(super) fn tally(&self) -> impl fmt::Display {
        format!("log-lost={} log-left-out={}", self.lines.lost(), query_lines::left_out())
    }

    /// Changes the level.
    pub(super) fn set_level(&self, level: LogLevel) {
        // It fails only when the log itself is gone.
        let _gone = self.filter.reload(targets(level));
    }
}

fn targets(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // The libraries log a line for each message at info.
    let libraries = level.min(LevelFilter::WARN);
    let connections = LIBRARIES_OF_CONNECTIONS.map(|library| (library, LevelFilter::ERROR));
    Targets::new()
        .with_default(libraries)
        .with_targets(connections)
        .with_target("privatelinkd", level)
        // A warning for whatever strangers sign badly; ours are counted, one a minute.
        .with_target("hickory_net::dnssec", LevelFilter::OFF)
        .with_target(QUERY, LevelFilter::INFO)
        // At every level: which lines were lost is not known.
        .with_target(LOST, LevelFilter::WARN)
}

fn tell_lost(lines: u64) {
    let (noun, verb) = if lines == 1 { ("line", "was") } else { ("lines", "were") };
    tracing::warn!(
        target: LOST,
        "{lines} log {noun} {verb} lost: stderr did not take them in time"
    );
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.lines.flush(FLUSH_LIMIT);
    }
}

/// Logs what there is to be said about a configuration file that is used all the same.
pub(super) fn warn_of(warnings: &[Diagnostic], path: &Path) {
    for line in lines(warnings, path) {
        tracing::warn!("{line}");
    }
}

fn lines(warnings: &[Diagnostic], path: &Path) -> Vec<String> {
    let (first, more) = warnings.split_at(warnings.len().min(MAX_WARNINGS));
    let mut lines: Vec<String> =
        first.iter().map(|warning| warning.in_file(path).to_string()).collect();
    if !more.is_empty() {
        let (path, more) = (path.display(), more.len());
        lines.push(format!("{path}: {more} more warnings: `privatelinkd check {path}` shows all"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_has_only_so_many_warnings_and_says_how_many_more() {
        let report = crate::config::read("[log]\nlevel = 'loud'");
        let one = report.diagnostics.first().expect("a finding");
        for (count, logged) in [(0, 0), (1, 1), (20, 20), (21, 21), (1_000, 21)] {
            let lines = lines(&vec![one.clone(); count], Path::new("f.toml"));
            assert_eq!(lines.len(), logged, "{count}");
            let says_more = lines.last().is_some_and(|line| {
                *line
                    == format!(
                        "f.toml: {} more warnings: `privatelinkd check f.toml` shows all",
                        count.saturating_sub(20)
                    )
            });
            assert_eq!(says_more, count > 20);
        }
    }
}
