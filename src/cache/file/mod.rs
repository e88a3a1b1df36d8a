//! Keeps the cache in a file, so that a restart while no upstream can be reached still answers.
//!
//! [`save`] writes a second file beside the first and renames it when its content is on the disk, so
//! the file under the first name is always whole: the old one or the new one.
//! [`load`] trusts nothing in a file: it may be cut off, damaged, of another version, of another
//! configuration, or another user's. A file cannot show who wrote it, so [`load`] refuses a file that
//! another user owns or may write.

mod format;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::{Instant, SystemTime};

use ::ring::digest::{SHA256, digest};

pub use self::format::{read_from, write_to};
use super::Cache;
use crate::sys::{self, FileError, FileKind, Links};

/// Tells configurations apart whose answers may differ.
pub type Tag = [u8; 32];

/// The tag of a configuration from all that decides what its answers are, such as its rules and
/// servers, written out in any way that is the same in each run.
pub fn tag_of(configuration: &str) -> Tag {
    let mut tag = Tag::default();
    let digest = digest(&SHA256, configuration.as_bytes());
    tag.iter_mut().zip(digest.as_ref()).for_each(|(to, octet)| *to = *octet);
    tag
}

/// Owner only: names that somebody has asked for are nobody else's business.
const MODE: u32 = 0o600;
/// Group or others may write.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// The user who may write everything anyway.
const ROOT: u32 = 0;
/// Octets that are written at once.
const WRITE_OCTETS: usize = 64 * 1_024;

/// One moment by both clocks: the one that runs evenly, and the one that survives a restart.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// For the cache.
    pub now: Instant,
    /// For the file.
    pub wall: SystemTime,
}

impl Moment {
    /// This one.
    pub fn now() -> Self {
        Self { now: Instant::now(), wall: SystemTime::now() }
    }
}

/// What was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Saved {
    /// Answers.
    pub entries: u64,
    /// The file's size.
    pub octets: u64,
}

/// What was read.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Loaded {
    /// Answers that are kept now.
    pub entries: u64,
    /// Those that are not: past their time for too long, already there and younger, without room, or
    /// no answers.
    pub left_out: u64,
}

/// Why a save failed. `replaced` says which file has the name now.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} {}: {source}", .path.display())]
pub struct SaveError {
    /// What was tried.
    pub step: &'static str,
    /// Whether the new file has the name already. `false`: the file of the save before is untouched.
    /// `true`: only the sync of the directory failed, so the rename may not survive a power cut.
    pub replaced: bool,
    /// On what.
    pub path: PathBuf,
    /// What the system says.
    pub source: io::Error,
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
#[error("the cache file {} {problem}", .path.display())]
pub struct LoadError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: LoadProblem,
}

/// What is wrong with a cache file. None of it is worth more than a line in the log: the next save
/// puts a good one in its place.
#[derive(Debug, thiserror::Error)]
pub enum LoadProblem {
    /// As at the first start.
    #[error("is not there")]
    Missing,
    /// The system does not give it.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// A symbolic link, a directory, a device.
    #[error("is {0}, where a regular file should be; remove it")]
    NotAFile(FileKind),
    /// Others than its owner may write it.
    #[error(
        "is writable by users other than its owner (mode {0:o}), so it is not loaded; delete it"
    )]
    Exposed(u32),
    /// Somebody else's, who wrote it or can.
    #[error(
        "belongs to user {0}, who is neither the daemon's user nor root, so it is not loaded; \
         delete it"
    )]
    NotOurs(u32),
    /// It does not begin like one.
    #[error("is no cache file")]
    Foreign,
    /// Another version of this program wrote it.
    #[error("has format {found}, this version reads format {ours}", ours = format::VERSION)]
    OtherVersion {
        /// Its format.
        found: u32,
    },
    /// Its answers came from other upstreams, or for other rules.
    #[error("was written with another configuration, whose answers may be wrong now")]
    OtherConfiguration,
    /// It holds more than the cache may.
    #[error("has {found} octets, more than cache.size ({most})")]
    TooLarge {
        /// Its size, octets.
        found: u64,
        /// The cache's, octets.
        most: u64,
    },
    /// It was cut off, or something was appended.
    #[error("has {found} octets where its header says {expected}")]
    WrongLength {
        /// Its size, octets.
        found: u64,
        /// The size that it should have, octets.
        expected: u64,
    },
    /// Its checksum does not fit its content.
    #[error("is damaged: its checksum is wrong")]
    Damaged,
}

/// Writes what `cache` holds to `path`, in three steps: it writes a file beside it (its name and
/// `.new`) and syncs that to the disk, renames it to `path`, and syncs the directory. It blocks the
/// calling thread as long as the disk does, but no user of the cache; a second save waits for the
/// first.
///
/// # Errors
/// When a step up to the rename fails, the old file is untouched and the new one is removed. When the
/// sync of the directory fails, the new file is at `path` already and stays there: it is whole, but
/// after a power cut the old one may be back. [`SaveError::replaced`] tells the two apart.
pub fn save(cache: &Cache, path: &Path, tag: &Tag) -> Result<Saved, SaveError> {
    save_with(cache, path, tag, sync_directory)
}

/// [`save`], with the step that syncs the directory as an argument: a test makes only that step fail.
pub(super) fn save_with(
    cache: &Cache,
    path: &Path,
    tag: &Tag,
    sync: impl FnOnce(&Path) -> io::Result<()>,
) -> Result<Saved, SaveError> {
    // Nothing is in there that a panic could leave half-way.
    let _one = cache.saving.lock().unwrap_or_else(PoisonError::into_inner);
    let failed = |step, path: &Path| {
        let path = path.to_owned();
        move |source| SaveError { step, replaced: false, path, source }
    };
    let there = fs::symlink_metadata(path).ok();
    if let Some(kind) = there.and_then(|there| FileKind::of(there.file_type())) {
        let what = format!("it is {kind}, where a regular file should be");
        return Err(failed("replace", path)(io::Error::other(what)));
    }
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    // What a save left that was cut off; a link is removed, not followed.
    let _absent = fs::remove_file(&new);
    let options = OpenOptions::new().write(true).create_new(true).mode(MODE).to_owned();
    let file = options.open(&new).map_err(failed("create", &new))?;
    let put = || {
        let mut to = BufWriter::with_capacity(WRITE_OCTETS, file);
        let saved = write_to(cache, tag, Moment::now(), &mut to).map_err(failed("write", &new))?;
        to.get_ref().sync_all().map_err(failed("write", &new))?;
        fs::rename(&new, path).map_err(failed("replace", path))?;
        Ok(saved)
    };
    let saved = put().inspect_err(|_| {
        // What failed is said already.
        let _absent = fs::remove_file(&new);
    })?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    sync(directory).map_err(|source| SaveError {
        replaced: true,
        ..failed("sync the directory", directory)(source)
    })?;
    Ok(saved)
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Puts into `cache` what [`save`] wrote of one at `path` with the same `tag`, as much older as it
/// has become by the system's clock. Where that clock shows a time before the file was written,
/// nobody knows its age, and all of it counts as past its time, of use only while nobody gives
/// anything newer. What is in the cache already and younger stays, so that this may go on while
/// queries are answered.
///
/// # Errors
/// Nothing of a file that is not whole is kept; see [`read_from`].
pub fn load(cache: &Cache, path: &Path, tag: &Tag) -> Result<Loaded, LoadError> {
    load_at(cache, path, tag, Moment::now())
}

fn load_at(cache: &Cache, path: &Path, tag: &Tag, at: Moment) -> Result<Loaded, LoadError> {
    let loaded = open(path).and_then(|mut file| read_from(cache, tag, at, &mut file));
    loaded.map_err(|problem| LoadError { path: path.to_owned(), problem })
}

/// Opens a regular file that nobody else has written or may write.
fn open(path: &Path) -> Result<File, LoadProblem> {
    let file = sys::open_file(path, Links::Refuse).map_err(|error| match error {
        FileError::Unreadable(why) if why.kind() == io::ErrorKind::NotFound => LoadProblem::Missing,
        FileError::NotRegular(kind) => LoadProblem::NotAFile(kind),
        FileError::Unreadable(why) => LoadProblem::Unreadable(why),
        FileError::TooLarge { .. } => LoadProblem::Unreadable(io::ErrorKind::FileTooLarge.into()),
    })?;
    let there = file.metadata()?;
    believe(there.uid(), there.mode() & 0o7777, sys::effective_user())?;
    Ok(file)
}

/// Refuses a file that anybody but `us` and root may have written.
pub(super) fn believe(owner: u32, mode: u32, us: u32) -> Result<(), LoadProblem> {
    if owner != us && owner != ROOT {
        return Err(LoadProblem::NotOurs(owner));
    }
    if mode & WRITABLE_BY_OTHERS != 0 {
        return Err(LoadProblem::Exposed(mode));
    }
    Ok(())
}
