//! Reading files that others name: the configuration, certificates, a resolv.conf.
//!
//! A path can lead to anything. Opening a FIFO waits for a writer, a device may never end, and
//! opening some devices changes them. So [`open_file`] opens regular files only and never waits,
//! and [`read_file`] reads a bounded number of octets. A file system that does not answer (NFS) can
//! still make a read of a regular file wait.

use std::fmt;
use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// `O_NONBLOCK`: opening never waits, and reads of the few files that are regular only by name
/// (`/proc/kmsg`) do not either. `O_NOCTTY`: a terminal does not become ours. std adds `O_CLOEXEC`.
const FLAGS: i32 = libc::O_NONBLOCK | libc::O_NOCTTY;

/// What a path leads to, where that is not a regular file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum FileKind {
    Fifo,
    CharacterDevice,
    BlockDevice,
    Directory,
    Socket,
    SymbolicLink,
    /// Something that this program does not know.
    Unknown,
}

impl FileKind {
    /// The kind of a file that is not regular; `None` for a regular file.
    pub fn of(file: FileType) -> Option<Self> {
        let kinds = [
            (file.is_fifo(), Self::Fifo),
            (file.is_char_device(), Self::CharacterDevice),
            (file.is_block_device(), Self::BlockDevice),
            (file.is_dir(), Self::Directory),
            (file.is_socket(), Self::Socket),
            (file.is_symlink(), Self::SymbolicLink),
        ];
        let known = kinds.into_iter().find_map(|(is_it, kind)| is_it.then_some(kind));
        known.or((!file.is_file()).then_some(Self::Unknown))
    }
}

impl fmt::Display for FileKind {
    /// With its article, as in "a directory".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fifo => "a FIFO (a pipe)",
            Self::CharacterDevice => "a character device",
            Self::BlockDevice => "a block device",
            Self::Directory => "a directory",
            Self::Socket => "a socket",
            Self::SymbolicLink => "a symbolic link",
            Self::Unknown => "a file of an unknown kind",
        })
    }
}

/// Why a file cannot be read. Displays what follows the path and a colon.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system does not open or read it.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// It is not a regular file.
    #[error("{0}; name a regular file, or a symbolic link to one")]
    NotRegular(FileKind),
    /// It is longer than the limit.
    #[error("larger than the limit of {}", shown(*limit))]
    TooLarge {
        /// The limit, octets.
        limit: u64,
    },
}

/// A size in the largest unit that divides it.
fn shown(octets: u64) -> String {
    match octets {
        octets if octets >= 1 << 20 && octets % (1 << 20) == 0 => format!("{} MiB", octets >> 20),
        octets if octets >= 1 << 10 && octets % (1 << 10) == 0 => format!("{} KiB", octets >> 10),
        octets => format!("{octets} octets"),
    }
}

/// Whether the last part of a path may be a symbolic link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Links {
    Follow,
    Refuse,
}

/// Opens a regular file for reading. Never waits for another process.
///
/// # Errors
/// The system's, or that it is not a regular file: then it is not even opened, unless another
/// process puts it there between the look and the opening.
pub fn open_file(path: &Path, links: Links) -> Result<File, FileError> {
    let (there, flags) = match links {
        Links::Follow => (fs::metadata(path)?, FLAGS),
        Links::Refuse => (fs::symlink_metadata(path)?, FLAGS | libc::O_NOFOLLOW),
    };
    refuse_special(there.file_type())?;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    refuse_special(file.metadata()?.file_type())?;
    Ok(file)
}

/// Reads a regular file of at most `limit` octets. Never waits for another process.
///
/// # Errors
/// See [`FileError`].
pub fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    read_up_to(open_file(path, Links::Follow)?, limit)
}

/// Reads a regular file, or waits for all of a FIFO, up to `limit` octets: for commands that a
/// person runs, which a shell gives `/dev/stdin` and `/dev/fd/63`. The daemon must not use it.
///
/// # Errors
/// See [`FileError`].
pub fn read_input(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    match open_file(path, Links::Follow) {
        // An open that waits: without a writer, a read would find the end at once.
        Err(FileError::NotRegular(FileKind::Fifo)) => read_up_to(File::open(path)?, limit),
        file => read_up_to(file?, limit),
    }
}

/// Reads all of `from`. Counts while it reads, because a pipe has no length beforehand.
///
/// # Errors
/// A read that fails, and more than `limit` octets.
pub fn read_up_to(from: impl Read, limit: u64) -> Result<Vec<u8>, FileError> {
    let mut octets = Vec::new();
    from.take(limit.saturating_add(1)).read_to_end(&mut octets)?;
    if octets.len() as u64 > limit { Err(FileError::TooLarge { limit }) } else { Ok(octets) }
}

fn refuse_special(file: FileType) -> Result<(), FileError> {
    FileKind::of(file).map_or(Ok(()), |kind| Err(FileError::NotRegular(kind)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;
    use std::process::Command;
    use std::thread;

    use super::*;

    const LIMIT: u64 = 1_024;

    /// A folder that goes with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("plinkd-files-{}-{name}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn file(&self, name: &str, octets: &[u8]) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, octets).unwrap();
            path
        }

        fn fifo(&self) -> PathBuf {
            let path = self.0.join("fifo");
            assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _gone = fs::remove_dir_all(&self.0);
        }
    }

    fn kind_of(path: &Path) -> FileKind {
        match read_file(path, LIMIT).unwrap_err() {
            FileError::NotRegular(kind) => kind,
            other => panic!("{}: {other}", path.display()),
        }
    }

    #[test]
    fn regular_files_and_links_to_them_are_read() {
        let folder = Folder::new("regular");
        let path = folder.file("a", b"text");
        assert_eq!(read_file(&path, LIMIT).unwrap(), b"text");
        let link = folder.0.join("link");
        symlink(&path, &link).unwrap();
        assert_eq!(read_file(&link, LIMIT).unwrap(), b"text");
        assert_eq!(read_input(&link, LIMIT).unwrap(), b"text");
        let refused = open_file(&link, Links::Refuse).unwrap_err();
        assert!(matches!(refused, FileError::NotRegular(FileKind::SymbolicLink)), "{refused}");
        let absent = read_file(&folder.0.join("absent"), LIMIT).unwrap_err();
        assert!(absent.to_string().starts_with("cannot be read: "), "{absent}");
    }

    #[test]
    fn the_limit_is_the_last_size_that_is_read() {
        let folder = Folder::new("limit");
        let path = folder.file("a", &[b'x'; 1_024]);
        assert_eq!(read_file(&path, 1_024).unwrap().len(), 1_024);
        let error = read_file(&path, 1_023).unwrap_err();
        assert!(matches!(error, FileError::TooLarge { limit: 1_023 }), "{error}");
        assert_eq!(error.to_string(), "larger than the limit of 1023 octets");
        assert_eq!(shown(1 << 10), "1 KiB");
        assert_eq!(shown(64 << 20), "64 MiB");
        // What has no length beforehand is counted.
        assert!(read_up_to(io::repeat(b'x'), LIMIT).is_err());
    }

    #[test]
    fn a_special_file_is_named_and_nothing_waits_for_it() {
        let folder = Folder::new("special");
        let _listens = UnixListener::bind(folder.0.join("socket")).unwrap();
        let fifo = folder.fifo();
        let link = folder.0.join("link");
        symlink(&fifo, &link).unwrap();
        assert_eq!(kind_of(&fifo), FileKind::Fifo);
        assert_eq!(kind_of(&link), FileKind::Fifo, "what the link leads to");
        assert_eq!(kind_of(&folder.0.join("socket")), FileKind::Socket);
        assert_eq!(kind_of(&folder.0), FileKind::Directory);
        for device in ["/dev/zero", "/dev/null", "/dev/tty"] {
            assert_eq!(kind_of(Path::new(device)), FileKind::CharacterDevice, "{device}");
            let error = read_input(Path::new(device), LIMIT).unwrap_err().to_string();
            assert!(error.starts_with("a character device; name a regular file"), "{error}");
        }
    }

    #[test]
    fn an_input_may_be_a_fifo_within_the_limit() {
        let folder = Folder::new("input");
        let fifo = folder.fifo();
        let written = |octets: usize| {
            let to = fifo.clone();
            let writer = thread::spawn(move || fs::write(to, vec![b'x'; octets]));
            let read = read_input(&fifo, LIMIT);
            let _broken_pipe = writer.join().unwrap();
            read
        };
        assert_eq!(written(1_024).unwrap().len(), 1_024);
        assert!(matches!(written(1_025).unwrap_err(), FileError::TooLarge { .. }));
    }
}
