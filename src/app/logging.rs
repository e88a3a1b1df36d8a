//! Log lines on stderr, as `[log]` wants them.

use std::io::{self, IsTerminal};

use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, filter::LevelFilter};

use crate::config::{Log, LogFormat, LogLevel};

/// They warn of each connection that ends badly. An upstream's state and last error say the same,
/// once.
const LIBRARIES_OF_CONNECTIONS: [&str; 5] = ["h2", "h3", "hickory_net", "quinn", "rustls"];

/// Handle on the running log.
pub(super) struct Logging {
    filter: reload::Handle<Targets, Registry>,
}

impl Logging {
    /// A full disk or a closed stderr costs lines, never an answer: errors of writing are not
    /// logged, since that would write to the same place.
    ///
    /// Starts logging for the whole process; a second call in one process changes nothing.
    pub(super) fn start(log: Log) -> Self {
        let (filter, handle) = reload::Layer::new(targets(log.level));
        let lines = match log.format {
            LogFormat::Text => {
                let colour = io::stderr().is_terminal();
                fmt::layer()
                    .with_writer(io::stderr)
                    .with_ansi(colour)
                    .log_internal_errors(false)
                    .boxed()
            }
            LogFormat::Json => fmt::layer()
                .json()
                .flatten_event(true)
                .with_writer(io::stderr)
                .log_internal_errors(false)
                .boxed(),
        };
        // Only tests run two daemons in a process; the first one's log serves both.
        let _first = tracing_subscriber::registry().with(filter).with(lines).try_init();
        Self { filter: handle }
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
        .with_target("query", LevelFilter::INFO)
}
