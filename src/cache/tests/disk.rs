//! The cache file on the disk: how a save replaces it, and which file is believed.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use super::super::file::{Loaded, Saved, believe, load, save, save_with};
use super::file::{TAG, cache, name};
use super::*;

/// A directory of one test.
struct Home(PathBuf);

impl Home {
    fn new(test: &str) -> Self {
        let home = std::env::temp_dir().join(format!("plinkd-cache-{test}-{}", std::process::id()));
        let _absent = fs::remove_dir_all(&home);
        fs::create_dir(&home).expect("a directory");
        Self(home)
    }

    fn file(&self) -> PathBuf {
        self.0.join("cache")
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _absent = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_file_is_replaced_whole_and_is_its_owners_alone() {
    let home = Home::new("replaced");
    let (old, now) = (cache(), Instant::now());
    keep_addresses(&old, [name(0)].into_iter(), now);
    fs::write(home.file(), "what stood there").expect("a file");
    // A save that was cut off left this.
    fs::write(home.0.join("cache.new"), "half").expect("a file");
    let saved = save(&old, &home.file(), &TAG).expect("it can be written");
    let there = fs::metadata(home.file()).expect("it is there");
    assert_eq!((there.mode() & 0o7777, there.len()), (0o600, saved.octets));
    assert_eq!(saved.entries, 1);
    assert_eq!(fs::read_dir(&home.0).expect("a directory").count(), 1);
    let new = cache();
    let loaded = load(&new, &home.file(), &TAG).expect("it can be read");
    assert_eq!(loaded, Loaded { entries: 1, left_out: 0 });
    // An empty cache has a file too, and one that is turned off reads none.
    let nothing = save(&cache(), &home.file(), &TAG).expect("it can be written");
    assert_eq!(nothing, Saved { entries: 0, octets: 100 });
    assert_eq!(load(&new, &home.file(), &TAG).expect("it can be read"), Loaded::default());
}

#[test]
fn what_cannot_be_written_says_what_and_where() {
    let home = Home::new("unwritable");
    let said = |path: &Path| save(&cache(), path, &TAG).expect_err("it cannot").to_string();
    let absent = home.0.join("absent/cache");
    let expected = format!("cannot create {}.new: No such file", absent.display());
    assert!(said(&absent).starts_with(&expected), "{}", said(&absent));

    fs::write(home.file(), "precious").expect("a file");
    let link = home.0.join("link");
    symlink(home.file(), &link).expect("a link");
    let expected = format!(
        "cannot replace {}: it is a symbolic link, where a regular file should be",
        link.display()
    );
    assert_eq!(said(&link), expected);
    assert_eq!(fs::read_to_string(home.file()).expect("untouched"), "precious");
    assert!(said(&home.0).ends_with("it is a directory, where a regular file should be"));
    // A directory in the new file's place.
    fs::create_dir(home.0.join("cache.new")).expect("a directory");
    assert!(said(&home.file()).starts_with(&format!("cannot create {}", home.0.display())));
    assert_eq!(fs::read_to_string(home.file()).expect("untouched"), "precious");
}

#[test]
fn a_failed_sync_of_the_directory_leaves_the_new_file_in_place() {
    let home = Home::new("unsynced");
    let (full, now) = (cache(), Instant::now());
    save(&cache(), &home.file(), &TAG).expect("it can be written");
    keep_addresses(&full, [name(0)].into_iter(), now);
    let error = save_with(&full, &home.file(), &TAG, |_| Err(io::Error::other("a broken disk")))
        .expect_err("the sync fails");
    let expected = format!("cannot sync the directory {}: a broken disk", home.0.display());
    assert_eq!((error.to_string(), error.replaced), (expected, true));
    let loaded = load(&cache(), &home.file(), &TAG).expect("the new file is whole");
    assert_eq!(loaded, Loaded { entries: 1, left_out: 0 });
    // A save that fails before the rename leaves the file of the save before.
    fs::create_dir(home.0.join("cache.new")).expect("a directory");
    let error = save(&cache(), &home.file(), &TAG).expect_err("the name is taken");
    assert!(!error.replaced, "{error}");
    let loaded = load(&cache(), &home.file(), &TAG).expect("the file before is whole");
    assert_eq!(loaded, Loaded { entries: 1, left_out: 0 });
}

#[test]
fn what_is_no_file_of_ours_is_not_opened() {
    let home = Home::new("unreadable");
    let said = |path: &Path| load(&cache(), path, &TAG).expect_err("it cannot").to_string();
    let begin = format!("the cache file {}", home.file().display());
    assert_eq!(said(&home.file()), format!("{begin} is not there"));
    save(&cache(), &home.file(), &TAG).expect("it can be written");
    let link = home.0.join("link");
    symlink(home.file(), &link).expect("a link");
    assert!(said(&link).ends_with("is a symbolic link, where a regular file should be; remove it"));
    assert!(said(&home.0).contains("is a directory"));
    assert!(said(Path::new("/dev/null")).contains("is a character device"));
    fs::set_permissions(home.file(), fs::Permissions::from_mode(0o620)).expect("its owner");
    assert!(said(&home.file()).contains("is writable by users other than its owner (mode 620)"));
    fs::set_permissions(home.file(), fs::Permissions::from_mode(0o640)).expect("its owner");
    assert!(load(&cache(), &home.file(), &TAG).is_ok());
}

#[test]
fn a_file_of_another_user_is_not_believed() {
    let said = |owner, mode, us| believe(owner, mode, us).map_err(|problem| problem.to_string());
    assert_eq!(said(990, 0o600, 990), Ok(()));
    assert_eq!(said(0, 0o644, 990), Ok(()), "root may write everything");
    let stranger = "belongs to user 1000, who is neither the daemon's user nor root, so it is not \
                    loaded; delete it";
    assert_eq!(said(1_000, 0o644, 990), Err(stranger.to_owned()));
    assert_eq!(said(1_000, 0o600, 0), Err(stranger.to_owned()));
    assert!(said(990, 0o620, 990).is_err());

    let home = Home::new("stranger");
    save(&cache(), &home.file(), &TAG).expect("it can be written");
    // Only root can give files away; elsewhere the rule above has to do.
    let owner = fs::metadata(home.file()).expect("it is there").uid();
    if owner == 0 && chown(home.file(), Some(1_000), None).is_ok() {
        let error = load(&cache(), &home.file(), &TAG).expect_err("not ours").to_string();
        assert!(error.ends_with(stranger), "{error}");
    }
}
