//! Files beneath an open folder, in a tree that hostile code may be changing.
//!
//! Every path is resolved by the kernel (`openat2`) and cannot leave the
//! folder: not by `..`, not by a symbolic link, not by `/proc`. Only regular
//! files are read, without waiting for anybody. A link that stays inside is
//! followed.

use std::collections::VecDeque;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use camino::Utf8Path;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Stat, fstat, mkdirat,
    openat, openat2, renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

use crate::shim::Identity;

/// Why a path did not lead to what was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PathError {
    /// There is nothing.
    #[error("it does not exist")]
    Missing,
    /// It leaves the folder, or goes round in circles.
    #[error("it leads out of the workspace")]
    Outside,
    /// It is something else; what was expected.
    #[error("expected {0}")]
    Kind(&'static str),
    /// It is larger than it may be.
    #[error("it is too large")]
    TooLarge,
    /// The system refused.
    #[error(transparent)]
    System(#[from] io::Error),
}

impl From<Errno> for PathError {
    fn from(error: Errno) -> Self {
        match error {
            Errno::NOENT => Self::Missing,
            Errno::XDEV | Errno::LOOP => Self::Outside,
            Errno::NOTDIR => Self::Kind("a folder"),
            Errno::ISDIR => Self::Kind("a file"),
            other => Self::System(other.into()),
        }
    }
}

/// How symbolic links on the way are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    /// Followed, as long as they stay inside.
    Inside,
    /// Not at all.
    Never,
}

/// An open folder that nothing leads out of.
#[derive(Debug)]
pub(crate) struct Folder {
    handle: OwnedFd,
    owner: Option<Identity>,
}

impl Folder {
    /// Opens a folder of the host. What is made in it belongs to `owner`.
    pub(crate) fn open(path: &Utf8Path, owner: Option<Identity>) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let handle = openat(CWD, path.as_std_path(), flags, Mode::empty())?;
        Ok(Self { handle, owner })
    }

    /// Opens a path beneath.
    fn resolve(
        &self,
        path: impl AsRef<Path>,
        flags: OFlags,
        links: Links,
    ) -> Result<OwnedFd, PathError> {
        let path = path.as_ref();
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        if links == Links::Never {
            resolve |= ResolveFlags::NO_SYMLINKS;
        }
        // The kernel asks to try again when somebody renames folders meanwhile.
        let mut result = Err(Errno::AGAIN);
        for _ in 0..ATTEMPTS {
            result = openat2(
                &self.handle,
                path,
                flags | OFlags::CLOEXEC,
                Mode::empty(),
                resolve,
            );
            if !matches!(result, Err(Errno::AGAIN)) {
                break;
            }
        }
        Ok(result?)
    }

    /// A folder beneath.
    pub(crate) fn folder(&self, path: &str) -> Result<Self, PathError> {
        self.folder_by(path, Links::Inside)
    }

    pub(crate) fn folder_by(
        &self,
        path: impl AsRef<Path>,
        links: Links,
    ) -> Result<Self, PathError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        Ok(Self {
            handle: self.resolve(path, flags, links)?,
            owner: self.owner,
        })
    }

    /// What kind of thing a path leads to, links followed.
    pub(crate) fn kind(&self, path: &str) -> Result<FileType, PathError> {
        let found = self.resolve(path, OFlags::PATH, Links::Inside)?;
        Ok(FileType::from_raw_mode(fstat(found)?.st_mode))
    }

    /// Reads a regular file of at most `bytes_max`.
    pub(crate) fn read(&self, path: &str, bytes_max: u64) -> Result<Vec<u8>, PathError> {
        // Looked at before it is opened: opening a device can do something.
        if self.kind(path)? != FileType::RegularFile {
            return Err(PathError::Kind("a regular file"));
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = self.resolve(path, flags, Links::Inside)?;
        expect_regular(&file)?;
        let mut bytes = Vec::new();
        // It may grow while it is read.
        let limit = bytes_max.saturating_add(1);
        File::from(file).take(limit).read_to_end(&mut bytes)?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > bytes_max {
            return Err(PathError::TooLarge);
        }
        Ok(bytes)
    }

    /// Writes a file, whole or not at all, with the folders above it.
    ///
    /// A link at its place is replaced, not followed.
    pub(crate) fn write(&self, path: &str, bytes: &[u8]) -> Result<(), PathError> {
        let (above, name) = split(path).ok_or(PathError::Kind("a file"))?;
        let folder = self.make_folders(above, Links::Inside)?;
        let (temporary, file) = folder.create_temporary()?;
        let written = folder
            .fill(file, bytes)
            .and_then(|()| Ok(renameat(&folder.handle, &temporary, &folder.handle, name)?));
        if written.is_err() {
            // The error that counts is the first one.
            let _ = unlinkat(&folder.handle, &temporary, AtFlags::empty());
        }
        written
    }

    fn create_temporary(&self) -> Result<(String, OwnedFd), PathError> {
        for _ in 0..ATTEMPTS {
            let name = temporary_name();
            match self.create(&name, Mode::from_raw_mode(0o644)) {
                Err(Errno::EXIST) => {}
                other => return Ok((name, other?)),
            }
        }
        Err(Errno::EXIST.into())
    }

    /// Makes a new file that is not there yet.
    fn create(&self, name: impl AsRef<OsStr>, mode: Mode) -> Result<OwnedFd, Errno> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&self.handle, name.as_ref(), flags, mode)
    }

    fn fill(&self, file: OwnedFd, bytes: &[u8]) -> Result<(), PathError> {
        self.own(&file)?;
        let mut file = File::from(file);
        file.write_all(bytes)?;
        Ok(())
    }

    fn own(&self, file: impl AsFd) -> Result<(), Errno> {
        match self.owner {
            Some(owner) => rustix::fs::fchown(
                file,
                Some(Uid::from_raw(owner.uid)),
                Some(Gid::from_raw(owner.gid)),
            ),
            None => Ok(()),
        }
    }

    /// Makes a folder and those above it, where they are not there.
    pub(crate) fn make_folders(&self, path: &str, links: Links) -> Result<Self, PathError> {
        let mut folder = self.folder_by("", links)?;
        let mut so_far = String::new();
        for name in path.split('/').filter(|name| !name.is_empty()) {
            so_far = if so_far.is_empty() {
                name.to_owned()
            } else {
                format!("{so_far}/{name}")
            };
            folder = match self.folder_by(&so_far, links) {
                Err(PathError::Missing) => {
                    folder.make_folder(name)?;
                    self.folder_by(&so_far, links)?
                }
                other => other?,
            };
        }
        Ok(folder)
    }

    fn make_folder(&self, name: &str) -> Result<(), PathError> {
        match mkdirat(&self.handle, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => {
                let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let made = openat(&self.handle, name, flags, Mode::empty())?;
                Ok(self.own(made)?)
            }
            // Somebody else was faster.
            Err(Errno::EXIST) => Ok(()),
            Err(other) => Err(other.into()),
        }
    }

    /// Makes a new file at a path that no link is part of, with the folders
    /// above it, and fills it from `content`.
    pub(crate) fn unpack(
        &self,
        path: &str,
        executable: bool,
        content: &mut impl io::Read,
    ) -> Result<u64, PathError> {
        let (above, name) = split(path).ok_or(PathError::Kind("a file"))?;
        let folder = self.make_folders(above, Links::Never)?;
        let mode = if executable { 0o755 } else { 0o644 };
        let file = folder.create(name, Mode::from_raw_mode(mode))?;
        folder.own(&file)?;
        Ok(io::copy(content, &mut File::from(file))?)
    }

    /// Makes a symbolic link at a path that no link is part of.
    pub(crate) fn link(&self, path: &str, target: &str) -> Result<(), PathError> {
        let (above, name) = split(path).ok_or(PathError::Kind("a file"))?;
        let folder = self.make_folders(above, Links::Never)?;
        folder.add_link(OsStr::new(name), Path::new(target))
    }

    fn own_link(&self, name: &OsStr) -> Result<(), Errno> {
        let Some(owner) = self.owner else {
            return Ok(());
        };
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(&self.handle, name, Some(uid), Some(gid), flags)
    }

    /// Opens a regular file right in this folder, and says how large it is.
    pub(crate) fn open_file(&self, name: &OsStr) -> Result<(File, u64), PathError> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = self.resolve(name, flags, Links::Never)?;
        let found = expect_regular(&file)?;
        let size = u64::try_from(found.st_size).unwrap_or_default();
        Ok((File::from(file), size))
    }

    /// Where a symbolic link right in this folder leads.
    pub(crate) fn read_link(&self, name: &OsStr) -> Result<PathBuf, PathError> {
        let target = rustix::fs::readlinkat(&self.handle, name, Vec::new())?;
        Ok(OsString::from_vec(target.into_bytes()).into())
    }

    /// Makes a new folder right in this one, open to its owner alone.
    pub(crate) fn add_folder(&self, name: &OsStr) -> Result<(), PathError> {
        mkdirat(&self.handle, name, Mode::from_raw_mode(0o700))?;
        let made = self.folder_by(name, Links::Never)?;
        Ok(self.own(made.handle)?)
    }

    /// Makes a new file right in this folder and fills it from `content`.
    pub(crate) fn add_file(
        &self,
        name: &OsStr,
        mode: Mode,
        content: &mut impl io::Read,
    ) -> Result<(), PathError> {
        let file = self.create(name, Mode::from_raw_mode(0o600))?;
        self.own(&file)?;
        let mut file = File::from(file);
        io::copy(content, &mut file)?;
        // At the end: a change of owner takes bits away.
        Ok(rustix::fs::fchmod(&file, mode)?)
    }

    /// Makes a symbolic link right in this folder.
    pub(crate) fn add_link(&self, name: &OsStr, target: &Path) -> Result<(), PathError> {
        rustix::fs::symlinkat(target, &self.handle, name)?;
        Ok(self.own_link(name)?)
    }

    /// Changes the mode of this folder.
    pub(crate) fn set_mode(&self, mode: Mode) -> Result<(), PathError> {
        Ok(rustix::fs::fchmod(&self.handle, mode)?)
    }

    /// The entries of a folder, at most `entries_max`, sorted by name.
    pub(crate) fn list(&self, entries_max: usize) -> Result<Vec<Found>, PathError> {
        let mut found = Vec::new();
        for name in self.names()? {
            if found.len() == entries_max {
                return Err(PathError::TooLarge);
            }
            match statat(&self.handle, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => found.push(Found {
                    name: OsString::from_vec(name.into_bytes()),
                    kind: FileType::from_raw_mode(stat.st_mode),
                    mode: Mode::from_raw_mode(stat.st_mode),
                    size: u64::try_from(stat.st_size).unwrap_or_default(),
                    blocks: u64::try_from(stat.st_blocks).unwrap_or_default(),
                    modified: format!("{}.{}", stat.st_mtime, stat.st_mtime_nsec),
                }),
                // Removed meanwhile.
                Err(Errno::NOENT) => {}
                Err(other) => return Err(other.into()),
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// Removes everything in the folder, however deep it is.
    ///
    /// Never recursive: folders that are nested are moved up first, so that
    /// neither the stack, nor open files, nor path lengths limit it.
    pub(crate) fn clear(&self) -> Result<(), PathError> {
        let mut folders: VecDeque<CString> = self.remove_files(self.handle.as_fd())?.into();
        while let Some(name) = folders.pop_front() {
            let Some(inner) = self.enter(&name)? else {
                continue;
            };
            for nested in self.remove_files(inner.as_fd())? {
                let moved = CString::new(temporary_name()).map_err(io::Error::from)?;
                rename_away(inner.as_fd(), &nested, self.handle.as_fd(), &moved)?;
                folders.push_back(moved);
            }
            match unlinkat(&self.handle, name.as_c_str(), AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => {}
                // Somebody is still writing into it.
                Err(other) => return Err(other.into()),
            }
        }
        Ok(())
    }

    /// Opens a folder of ours for removal, whatever its mode; `None` when it is
    /// gone or no folder any more.
    fn enter(&self, name: &CStr) -> Result<Option<OwnedFd>, PathError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || openat(&self.handle, name, flags, Mode::empty());
        let mut opened = open();
        if matches!(opened, Err(Errno::ACCESS)) {
            rustix::fs::chmodat(
                &self.handle,
                name,
                Mode::from_raw_mode(0o700),
                AtFlags::empty(),
            )?;
            opened = open();
        }
        match opened {
            Ok(folder) => {
                // Without write permission nothing in it can be removed.
                let _ = rustix::fs::fchmod(&folder, Mode::from_raw_mode(0o700));
                Ok(Some(folder))
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(other) => Err(other.into()),
        }
    }

    /// Removes what is no folder, and names the folders.
    fn remove_files(&self, folder: impl AsFd) -> Result<Vec<CString>, PathError> {
        let mut folders = Vec::new();
        for name in names(folder.as_fd())? {
            match unlinkat(&folder, name.as_c_str(), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR | Errno::PERM) => folders.push(name),
                Err(other) => return Err(other.into()),
            }
        }
        Ok(folders)
    }

    fn names(&self) -> Result<Vec<CString>, PathError> {
        names(self.handle.as_fd())
    }
}

/// An entry of a folder.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) name: OsString,
    pub(crate) kind: FileType,
    pub(crate) mode: Mode,
    pub(crate) size: u64,
    /// What it takes of the disk, in 512 bytes.
    pub(crate) blocks: u64,
    /// When it was last changed; only to be compared.
    pub(crate) modified: String,
}

/// How often something is tried that others may get in the way of.
const ATTEMPTS: usize = 100;

fn expect_regular(file: impl AsFd) -> Result<Stat, PathError> {
    let found = fstat(file)?;
    if FileType::from_raw_mode(found.st_mode) == FileType::RegularFile {
        Ok(found)
    } else {
        Err(PathError::Kind("a regular file"))
    }
}

fn names(folder: impl AsFd) -> Result<Vec<CString>, PathError> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let name = entry?.file_name().to_owned();
        if !matches!(name.as_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    Ok(names)
}

/// Moves a folder, even one whose mode forbids it.
fn rename_away(
    from: impl AsFd,
    name: &CStr,
    to: impl AsFd,
    new_name: &CStr,
) -> Result<(), PathError> {
    let rename = || renameat_with(&from, name, &to, new_name, RenameFlags::NOREPLACE);
    match rename() {
        Err(Errno::ACCESS) => {
            // A folder that moves changes too: its `..` does.
            let mode = Mode::from_raw_mode(0o700);
            rustix::fs::chmodat(&from, name, mode, AtFlags::empty())?;
            Ok(rename()?)
        }
        other => Ok(other?),
    }
}

fn temporary_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!(".infraflow-{}-{number}", std::process::id())
}

/// The folder above and the name of a file.
fn split(path: &str) -> Option<(&str, &str)> {
    let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
    (!name.is_empty()).then_some((above, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    struct Place {
        _temporary: tempfile::TempDir,
        root: camino::Utf8PathBuf,
        folder: Folder,
    }

    fn place() -> Place {
        let temporary = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(temporary.path())
            .unwrap()
            .join("inside");
        fs::create_dir(&root).unwrap();
        fs::write(root.join("../outside"), "secret").unwrap();
        let folder = Folder::open(&root, None).unwrap();
        Place {
            _temporary: temporary,
            root,
            folder,
        }
    }

    fn told<T: std::fmt::Debug>(result: Result<T, PathError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn links_inside_are_followed_and_those_outside_are_not() {
        let place = place();
        fs::create_dir(place.root.join("a")).unwrap();
        fs::write(place.root.join("a/file"), "hello").unwrap();
        symlink("a/file", place.root.join("good")).unwrap();
        symlink("../outside", place.root.join("up")).unwrap();
        symlink("/etc/passwd", place.root.join("absolute")).unwrap();
        symlink("/etc", place.root.join("etc")).unwrap();
        symlink("/proc/self/root", place.root.join("magic")).unwrap();
        symlink("round", place.root.join("round")).unwrap();
        assert_eq!(place.folder.read("good", 5).unwrap(), b"hello");
        assert_eq!(place.folder.read("a/file", 5).unwrap(), b"hello");
        for path in ["up", "absolute", "etc/passwd", "magic/etc/passwd", "round"] {
            let told = told(place.folder.read(path, 100));
            assert_eq!(told, "it leads out of the workspace", "{path}");
        }
        assert_eq!(
            told(place.folder.read("../outside", 9)),
            "it leads out of the workspace"
        );
        assert_eq!(told(place.folder.read("none", 9)), "it does not exist");
    }

    #[test]
    fn only_regular_files_are_read_and_nobody_is_waited_for() {
        let place = place();
        rustix::fs::mknodat(
            &place.folder.handle,
            "pipe",
            FileType::Fifo,
            Mode::from_raw_mode(0o644),
            0,
        )
        .unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(place.root.join("socket")).unwrap();
        fs::create_dir(place.root.join("folder")).unwrap();
        for path in ["pipe", "socket", "folder", ""] {
            let told = told(place.folder.read(path, 100));
            assert_eq!(told, "expected a regular file", "{path}");
        }
    }

    #[test]
    fn a_file_of_the_limit_is_read_and_one_byte_more_is_not() {
        let place = place();
        fs::write(place.root.join("file"), "12345").unwrap();
        assert_eq!(place.folder.read("file", 5).unwrap(), b"12345");
        assert_eq!(told(place.folder.read("file", 4)), "it is too large");
    }

    #[test]
    fn writing_makes_folders_and_replaces_links() {
        let place = place();
        symlink("../outside", place.root.join("link")).unwrap();
        place.folder.write("link", b"mine").unwrap();
        assert_eq!(fs::read(place.root.join("../outside")).unwrap(), b"secret");
        assert_eq!(fs::read(place.root.join("link")).unwrap(), b"mine");
        place.folder.write("a/b/c", b"1").unwrap();
        place.folder.write("a/b/c", b"2").unwrap();
        assert_eq!(fs::read(place.root.join("a/b/c")).unwrap(), b"2");
        assert_eq!(fs::read_dir(place.root.join("a/b")).unwrap().count(), 1);
        symlink("/tmp", place.root.join("tmp")).unwrap();
        assert_eq!(
            told(place.folder.write("tmp/x", b"")),
            "it leads out of the workspace"
        );
        assert_eq!(told(place.folder.write("", b"")), "expected a file");
        assert_eq!(told(place.folder.write("a/b", b"")), "expected a file");
        assert_eq!(told(place.folder.write("link/x", b"")), "expected a folder");
        assert_eq!(fs::read_dir(place.root.join("a")).unwrap().count(), 1);
    }

    #[test]
    fn unpacking_goes_through_no_link_and_over_no_file() {
        let place = place();
        fs::create_dir(place.root.join("a")).unwrap();
        symlink("a", place.root.join("link")).unwrap();
        let unpack = |path| place.folder.unpack(path, false, &mut &b"x"[..]);
        assert_eq!(unpack("a/file").unwrap(), 1);
        assert_eq!(told(unpack("link/file")), "it leads out of the workspace");
        assert!(unpack("a/file").is_err());
    }

    #[test]
    fn listing_says_what_there_is() {
        let place = place();
        fs::write(place.root.join("b"), "12").unwrap();
        fs::create_dir(place.root.join("a")).unwrap();
        symlink("/etc", place.root.join("c")).unwrap();
        let list = place.folder.list(3).unwrap();
        let shown: Vec<_> = list
            .iter()
            .map(|found| (found.name.to_str().unwrap(), found.kind))
            .collect();
        assert_eq!(
            shown,
            [
                ("a", FileType::Directory),
                ("b", FileType::RegularFile),
                ("c", FileType::Symlink)
            ]
        );
        assert_eq!(told(place.folder.list(2)), "it is too large");
    }

    #[test]
    fn clearing_takes_everything_and_nothing_outside() {
        let place = place();
        fs::create_dir_all(place.root.join("a/b/c")).unwrap();
        fs::write(place.root.join("a/b/c/file"), "x").unwrap();
        symlink("../../outside", place.root.join("a/link")).unwrap();
        symlink("/", place.root.join("root")).unwrap();
        let closed = place.root.join("a/closed");
        fs::create_dir(&closed).unwrap();
        fs::create_dir(closed.join("inner")).unwrap();
        for path in [closed.join("inner"), closed] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
        }
        place.folder.clear().unwrap();
        assert_eq!(fs::read_dir(&place.root).unwrap().count(), 0);
        assert!(place.root.join("../outside").exists());
    }

    #[test]
    fn clearing_is_not_stopped_by_depth() {
        let place = place();
        let mut folder = Folder::open(&place.root, None).unwrap();
        for _ in 0..5_000 {
            folder.make_folder("d").unwrap();
            folder = folder.folder("d").unwrap();
        }
        drop(folder);
        place.folder.clear().unwrap();
        assert_eq!(fs::read_dir(&place.root).unwrap().count(), 0);
    }
}
