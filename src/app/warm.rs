//! Keeps the cache over a restart, so that a restart behind a dead tunnel still answers. The daemon
//! reads the file after the start, and writes it every five minutes and at the stop.
//!
//! While the daemon answers, a thread of its own reads or writes the file, so no query waits for the
//! disk. The last save is different: the control thread makes it after the workers have stopped, and
//! the process ends when the file is on the disk. A slow disk delays the end of the process, no answer.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing::{debug, info, warn};

use crate::cache::Cache;
use crate::cache::file::{self, SaveError};
use crate::config::{Config, Dnssec};
use crate::engine::Snapshot;
use crate::forward::Rule;
use crate::special;

/// How often the file is written: what a killed process loses.
pub(super) const SAVE_EVERY: Duration = Duration::from_secs(300);
/// Its name in the directory that systemd gives.
const NAME: &str = "cache";

/// The file, the configuration that its answers belong to, and the thread that reads or writes it.
#[derive(Default)]
pub(super) struct WarmCache {
    /// `None` when nothing is kept over a restart.
    path: Option<PathBuf>,
    /// What the configuration says of where answers come from, and of what is let through.
    origin: String,
    at_work: Option<JoinHandle<()>>,
}

/// A file, and the answers that belong into it.
struct Place {
    path: PathBuf,
    tag: file::Tag,
}

impl WarmCache {
    /// Goes by `config` from now on.
    pub(super) fn adopt(&mut self, config: &Config) {
        let named = config.cache.file.clone().or_else(in_state_directory);
        self.path = named.filter(|_| config.cache.size_octets > 0);
        let validates = config.forwards.iter().any(|rule| rule.dnssec == Dnssec::Validate);
        let links = config.private_links.iter().filter(|link| link.require_private || validates);
        let zones: Vec<_> = links
            .map(|link| (&link.public_zone, &link.private_zone, link.require_private))
            .collect();
        // What is special never comes into the cache, and must not come from a file either.
        let special: Vec<_> = special::zones().into_iter().map(|zone| zone.name).collect();
        self.origin = format!(
            "{:?} {:?} {zones:?} {:?} {special:?}",
            config.forwards, config.dnssec, config.special
        );
    }

    /// Reads the file on a thread of its own, while the workers answer already.
    pub(super) fn load(&mut self, snapshot: &Snapshot) {
        let Some(place) = self.place(snapshot) else { return };
        let cache = Arc::clone(&snapshot.cache);
        self.begin("cache-load", move || load(&cache, &place));
    }

    /// Writes the file on a thread of its own, unless such a thread is still at work.
    pub(super) fn save(&mut self, snapshot: &Snapshot) {
        if self.at_work.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        let Some(place) = self.place(snapshot) else { return };
        let cache = Arc::clone(&snapshot.cache);
        self.begin("cache-save", move || save(&cache, &place));
    }

    /// Writes the file on the calling thread and returns when the file is on the disk. First it waits
    /// for a thread that still reads or writes the file. The daemon calls this after its workers have
    /// stopped, as the last step of a stop.
    pub(super) fn save_last(mut self, snapshot: &Snapshot) {
        if let Some(thread) = self.at_work.take() {
            // It logs what went wrong itself.
            let _ended = thread.join();
        }
        if let Some(place) = self.place(snapshot) {
            save(&snapshot.cache, &place);
        }
    }

    /// The file, with what tells its answers from those of other servers: a resolv.conf may name
    /// others than before, and a file of trust anchors hold others.
    fn place(&self, snapshot: &Snapshot) -> Option<Place> {
        let path = self.path.clone()?;
        let servers = |rule: &Arc<Rule>| {
            let targets = rule.targets();
            targets.iter().map(|target| target.upstream().server().clone()).collect::<Vec<_>>()
        };
        let servers: Vec<_> = snapshot.rules.iter().map(servers).collect();
        let anchors = snapshot.validator.anchor_file();
        let origin = format!("{} {servers:?} {anchors:?}", self.origin);
        Some(Place { path, tag: file::tag_of(&origin) })
    }

    fn begin(&mut self, name: &str, work: impl FnOnce() + Send + 'static) {
        match std::thread::Builder::new().name(name.to_owned()).spawn(work) {
            Ok(thread) => self.at_work = Some(thread),
            Err(error) => warn!("no thread for the cache's file: {error}"),
        }
    }
}

/// In the directory that systemd gives, if it gives one; several are separated by colons
/// (systemd.exec(5)), ours names one.
fn in_state_directory() -> Option<PathBuf> {
    let directories = std::env::var_os("STATE_DIRECTORY")?;
    let first = std::env::split_paths(&directories).next()?;
    first.is_absolute().then(|| first.join(NAME))
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
        Err(error @ SaveError { replaced: false, .. }) => {
            warn!("{error}; the file of the save before stays")
        }
        Err(error) => warn!("{error}; the new file is in place, but a power cut may lose it"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::build;
    use super::*;
    use crate::config::Forward;
    use crate::config::testing::{forward_all, minimal};
    use crate::dnssec::testing::{AnchorFile, Zones};

    #[test]
    fn answers_of_other_trust_anchors_are_not_taken() {
        let anchors = AnchorFile::of_root(&Zones::new());
        let mut config = minimal();
        config.forwards = vec![Forward { dnssec: Dnssec::Validate, ..forward_all() }];
        config.dnssec.trust_anchors = Some(anchors.0.clone());
        config.cache.file = Some("/nonexistent/cache".into());
        // As a start does each time.
        let tag = || {
            let mut warm = WarmCache::default();
            warm.adopt(&config);
            warm.place(&build(&config, &[], None).expect("fit")).expect("a file").tag
        };
        let before = tag();
        assert_eq!(before, tag());
        let text = std::fs::read_to_string(&anchors.0).expect("a file");
        let other = std::fs::read_to_string(&AnchorFile::of_root(&Zones::new()).0).expect("a file");
        std::fs::write(&anchors.0, text + &other).expect("ours");
        assert_ne!(before, tag());
    }
}
