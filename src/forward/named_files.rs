//! The resolv.conf files that rules name, and what each said when it last named a server.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::warn;

use super::resolv_conf::{self, ResolvConf};
use crate::config::UpstreamSource;
use crate::sys::{FileError, ScopedAddress};

/// The files of one configuration.
#[derive(Default)]
pub(super) struct NamedFiles(Mutex<HashMap<PathBuf, Known>>);

#[derive(Clone, Default)]
struct Known {
    /// Empty while the file has never named a server.
    servers: Vec<ScopedAddress>,
    /// The log says already that the file cannot be used.
    is_said: bool,
    /// Servers of the file of which the log says that they are left out.
    left_out: Vec<IpAddr>,
}

impl NamedFiles {
    /// The servers that the file at `path` names, or named before it became unusable.
    pub(super) fn servers(&self, path: &Path) -> Vec<ScopedAddress> {
        self.known().get(path).map(|known| known.servers.clone()).unwrap_or_default()
    }

    /// Takes over the servers that `previous` read from the files of `sources`, because some
    /// process may be writing a file during a reload. Warns once more about a file that cannot be
    /// used.
    pub(super) fn remember<'a>(
        &self,
        previous: &Self,
        sources: impl Iterator<Item = &'a UpstreamSource>,
    ) {
        let (old, mut known) = (previous.known(), self.known());
        for path in sources.filter_map(path_of) {
            if let Some(file) = old.get(path).filter(|file| !file.servers.is_empty()) {
                known.insert(path.to_owned(), Known { is_said: false, ..file.clone() });
            }
        }
    }

    /// Reads all files of `sources` and returns those whose servers changed. A file that cannot be
    /// used keeps the servers that it named before; the log says so once.
    pub(super) fn read<'a>(
        &self,
        sources: impl Iterator<Item = &'a UpstreamSource>,
    ) -> Vec<PathBuf> {
        let mut known = self.known();
        let mut seen: Vec<&Path> = Vec::new();
        let mut changed = Vec::new();
        for path in sources.filter_map(path_of) {
            if seen.contains(&path) {
                continue;
            }
            seen.push(path);
            let is_new = !known.contains_key(path);
            let file = known.entry(path.to_owned()).or_default();
            match resolv_conf::read(path) {
                Ok(ResolvConf { servers, without_interface }) => {
                    file.is_said = false;
                    file.leave_out(path, without_interface);
                    if servers.is_empty() {
                        if is_new {
                            warn!("{}: no nameserver line that can be read", path.display());
                        }
                    } else if servers != file.servers {
                        file.servers = servers;
                        changed.push(path.to_owned());
                    }
                }
                Err(error) => file.say(path, &error, is_new),
            }
        }
        changed
    }

    fn known(&self) -> MutexGuard<'_, HashMap<PathBuf, Known>> {
        // No change to it is left half done by a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Logs the servers that no query can be sent to, if the log does not say it already.
    fn leave_out(&mut self, path: &Path, servers: Vec<IpAddr>) {
        if self.left_out == servers {
            return;
        }
        for server in &servers {
            warn!(
                "{}: nameserver {server} is left out: a link-local address needs its network \
                 interface; write such as {server}%eth0",
                path.display()
            );
        }
        self.left_out = servers;
    }

    /// Logs once that the file cannot be used. Logs nothing about an absent file that has named
    /// servers before, because some process may be writing it.
    fn say(&mut self, path: &Path, error: &FileError, is_new: bool) {
        let is_absent =
            matches!(error, FileError::Unreadable(why) if why.kind() == io::ErrorKind::NotFound);
        if self.is_said || (is_absent && !is_new) {
            return;
        }
        self.is_said = true;
        let path = path.display();
        if self.servers.is_empty() {
            warn!("{path}: {error}; read again when it is there");
        } else {
            warn!("{path}: {error}; the servers that it named before stay in use");
        }
    }
}

fn path_of(source: &UpstreamSource) -> Option<&Path> {
    match source {
        UpstreamSource::ResolvConf(path) => Some(path),
        UpstreamSource::Server(_) => None,
    }
}
