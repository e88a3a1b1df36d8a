//! Kept answers over a restart: read when the daemon comes up, written every few minutes and when it
//! ends, so that a restart behind a dead tunnel still answers.
//!
//! Files are read and written on threads of their own: nobody waits for a disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing::{debug, info, warn};

use crate::cache::{Cache, file};
use crate::config::Config;
use crate::engine::Snapshot;

/// How often the file is written: what a killed process loses.
pub(super) const SAVE_EVERY: Duration = Duration::from_secs(300);
/// Its name in the directory that systemd gives.
const NAME: &str = "cache";

/// The file, and who is at work on it.
#[derive(Default)]
pub(super) struct WarmCache {
    at_work: Option<JoinHandle<()>>,
}

/// Where the file is and whose answers it holds.
struct Place {
    path: PathBuf,
    tag: file::Tag,
}

impl Place {
    /// `None` when nothing is kept over a restart.
    fn of(config: &Config, snapshot: &Snapshot) -> Option<Self> {
        if config.cache.size_octets == 0 {
            return None;
        }
        let path = config.cache.file.clone().or_else(|| {
            let directories = std::env::var_os("STATE_DIRECTORY")?;
            // Several are separated by colons (systemd.exec(5)); ours names one.
            let first = std::env::split_paths(&directories).next()?;
            first.is_absolute().then(|| first.join(NAME))
        })?;
        Some(Self { path, tag: tag(config, snapshot) })
    }
}

/// Tells answers of other upstreams, or by other rules, from ours.
fn tag(config: &Config, snapshot: &Snapshot) -> file::Tag {
    let servers: Vec<_> = snapshot
        .rules
        .iter()
        .map(|rule| {
            rule.targets().iter().map(|target| target.upstream().server().clone()).collect()
        })
        .collect::<Vec<Vec<_>>>();
    let told = format!("{:?} {:?} {servers:?}", config.forwards, config.dnssec);
    file::tag_of(&told)
}

impl WarmCache {
    /// Reads the file behind the first queries' backs.
    pub(super) fn load(&mut self, config: &Config, snapshot: &Snapshot) {
        let Some(place) = Place::of(config, snapshot) else { return };
        let cache = Arc::clone(&snapshot.cache);
        self.begin("cache-load", move || load(&cache, &place));
    }

    /// Writes the file, unless somebody is still at work on it.
    pub(super) fn save(&mut self, config: &Config, snapshot: &Snapshot) {
        if self.at_work.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        let Some(place) = Place::of(config, snapshot) else { return };
        let cache = Arc::clone(&snapshot.cache);
        self.begin("cache-save", move || save(&cache, &place));
    }

    /// Writes the file and waits for that: the last thing before the end.
    pub(super) fn save_last(mut self, config: &Config, snapshot: &Snapshot) {
        if let Some(thread) = self.at_work.take() {
            // It logs what went wrong itself.
            let _ended = thread.join();
        }
        if let Some(place) = Place::of(config, snapshot) {
            save(&snapshot.cache, &place);
        }
    }

    fn begin(&mut self, name: &str, work: impl FnOnce() + Send + 'static) {
        match std::thread::Builder::new().name(name.to_owned()).spawn(work) {
            Ok(thread) => self.at_work = Some(thread),
            Err(error) => warn!("no thread for the cache's file: {error}"),
        }
    }
}

fn load(cache: &Cache, Place { path, tag }: &Place) {
    let begun = Instant::now();
    match file::load(cache, path, tag) {
        Ok(file::Loaded { entries, left_out }) => info!(
            "answers kept from before the restart: {entries}; left out: {left_out}; in {:?}",
            begun.elapsed()
        ),
        Err(file::LoadError { problem: file::LoadProblem::Missing, .. }) => {
            debug!("no answers of before: {} is not there", path.display());
        }
        Err(error) => warn!("{error}; the cache begins empty"),
    }
}

fn save(cache: &Cache, Place { path, tag }: &Place) {
    let begun = Instant::now();
    match file::save(cache, path, tag) {
        Ok(file::Saved { entries, octets }) => debug!(
            "answers written to {}: {entries}, {octets} octets, in {:?}",
            path.display(),
            begun.elapsed()
        ),
        Err(error) => warn!("{error}; a restart would not know what is kept now"),
    }
}
