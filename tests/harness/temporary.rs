//! Files and folders that go with the test.

#![allow(dead_code, reason = "each suite uses its part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Another one for every caller.
fn path(suffix: &str) -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let (suite, number) = (env!("CARGO_CRATE_NAME"), NEXT.fetch_add(1, Ordering::Relaxed));
    let name = format!("privatelinkd-{suite}-{}-{number}{suffix}", process::id());
    std::env::temp_dir().join(name)
}

pub(crate) struct File(PathBuf);

impl File {
    pub(crate) fn new(text: &str) -> Self {
        let file = Self(path(".toml"));
        file.write(text);
        file
    }

    pub(crate) fn write(&self, text: &str) {
        fs::write(&self.0, text).expect("a temporary file");
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _gone = fs::remove_file(&self.0);
    }
}

pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let folder = Self(path(""));
        fs::create_dir_all(&folder.0).expect("a temporary folder");
        folder
    }

    /// Writes a file in it.
    pub(crate) fn write<T: AsRef<[u8]> + ?Sized>(&self, name: &str, octets: &T) {
        fs::write(self.0.join(name), octets).expect("a temporary file");
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}
