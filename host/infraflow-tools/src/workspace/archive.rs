//! A whole workspace as one archive: packed for another host or a copy,
//! unpacked into an empty folder.
//!
//! Tar with files, folders and symbolic links that stay inside, sorted; modes
//! are kept, owners and times are not, so that equal workspaces give equal
//! bytes. Names are bytes, not text. `.git` folders are part of it: checkouts
//! have no alternates, so git goes on working in them.
//!
//! Both sides are hostile: the folder was written by tools, and the archive is
//! read as if it had been, too.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use infraflow_core::ports::WorkspaceStoreError;
use rustix::fs::{FileType, Mode};
use tar::{Archive, Builder, Entry, EntryType, Header};

use super::beneath::{Folder, Found, Links, PathError};
use super::upload::stays_inside;
use crate::limits::{WORKSPACE_DEPTH, WORKSPACE_ENTRIES, WORKSPACE_UNPACKED};

/// Longest path in an archive; that of Linux.
const PATH_BYTES: usize = 4_096;

fn too_many_bytes() -> WorkspaceStoreError {
    WorkspaceStoreError::TooLarge {
        what: "unpacked bytes",
        allowed: WORKSPACE_UNPACKED.0,
    }
}

fn too_many(what: &'static str, allowed: usize) -> WorkspaceStoreError {
    WorkspaceStoreError::TooLarge {
        what,
        allowed: u64::try_from(allowed).unwrap_or(u64::MAX),
    }
}

fn unfit(path: &Path, why: &str) -> WorkspaceStoreError {
    let path = path.to_string_lossy();
    WorkspaceStoreError::Unfit(format!(
        "the workspace holds `{}`: {why}",
        path.escape_debug()
    ))
}

fn failed(what: &str, path: &Path, error: &PathError) -> WorkspaceStoreError {
    let path = path.to_string_lossy();
    WorkspaceStoreError::Io(format!("{what} `{}`: {error}", path.escape_debug()))
}

/// What is left of the limits.
struct Left {
    bytes: u64,
    entries: usize,
}

impl Left {
    fn all() -> Self {
        Self {
            bytes: WORKSPACE_UNPACKED.0,
            entries: WORKSPACE_ENTRIES,
        }
    }

    fn take_entry(&mut self) -> Result<(), WorkspaceStoreError> {
        let left = self.entries.checked_sub(1);
        self.entries = left.ok_or_else(|| too_many("entries", WORKSPACE_ENTRIES))?;
        Ok(())
    }

    fn take_bytes(&mut self, bytes: u64) -> Result<(), WorkspaceStoreError> {
        self.bytes = self.bytes.checked_sub(bytes).ok_or_else(too_many_bytes)?;
        Ok(())
    }
}

// ---- packing --------------------------------------------------------------------

/// Writes everything beneath a folder.
///
/// # Errors
/// When something cannot be read or taken along, it is too much, or `to` fails.
pub(super) fn pack<W: Write>(folder: &Folder, to: W) -> Result<W, WorkspaceStoreError> {
    let mut packer = Packer {
        archive: Builder::new(to),
        left: Left::all(),
    };
    packer.folder(folder, Path::new(""), 0)?;
    let finished = packer.archive.into_inner();
    finished.map_err(|error| failed("pack", Path::new("."), &error.into()))
}

struct Packer<W: Write> {
    archive: Builder<W>,
    left: Left,
}

impl<W: Write> Packer<W> {
    /// Adds what is in a folder. Calls itself no deeper than
    /// [`WORKSPACE_DEPTH`].
    fn folder(
        &mut self,
        folder: &Folder,
        path: &Path,
        depth: usize,
    ) -> Result<(), WorkspaceStoreError> {
        let found = folder
            .list(self.left.entries)
            .map_err(|error| match error {
                PathError::TooLarge => too_many("entries", WORKSPACE_ENTRIES),
                other => failed("read", path, &other),
            })?;
        for entry in found {
            let path = path.join(&entry.name);
            self.left.take_entry()?;
            if path.as_os_str().len() > PATH_BYTES {
                return Err(too_many("bytes in a path", PATH_BYTES));
            }
            match entry.kind {
                FileType::Directory => self.inner(folder, &entry, &path, depth + 1)?,
                FileType::RegularFile => self.file(folder, &entry, &path)?,
                FileType::Symlink => self.link(folder, &entry, &path)?,
                _ => {
                    let why = "it is neither a file, nor a folder, nor a symbolic link";
                    return Err(unfit(&path, why));
                }
            }
        }
        Ok(())
    }

    fn inner(
        &mut self,
        folder: &Folder,
        entry: &Found,
        path: &Path,
        depth: usize,
    ) -> Result<(), WorkspaceStoreError> {
        if depth > WORKSPACE_DEPTH {
            return Err(too_many("folders within folders", WORKSPACE_DEPTH));
        }
        let mut header = header(EntryType::Directory, entry.mode);
        self.append(&mut header, path, io::empty())?;
        let inner = folder.folder_by(&entry.name, Links::Never);
        let inner = inner.map_err(|error| failed("read", path, &error))?;
        self.folder(&inner, path, depth)
    }

    fn file(
        &mut self,
        folder: &Folder,
        entry: &Found,
        path: &Path,
    ) -> Result<(), WorkspaceStoreError> {
        if entry.mode.intersects(Mode::SUID | Mode::SGID) {
            return Err(unfit(path, "it has a set-id bit"));
        }
        let opened = folder.open_file(&entry.name);
        let (file, size) = opened.map_err(|error| failed("read", path, &error))?;
        self.left.take_bytes(size)?;
        let mut header = header(EntryType::Regular, entry.mode);
        header.set_size(size);
        // A file that changes meanwhile must not break the archive.
        let padded = file.take(size).chain(io::repeat(0)).take(size);
        self.append(&mut header, path, padded)
    }

    fn link(
        &mut self,
        folder: &Folder,
        entry: &Found,
        path: &Path,
    ) -> Result<(), WorkspaceStoreError> {
        let target = folder.read_link(&entry.name);
        let target = target.map_err(|error| failed("read", path, &error))?;
        if !stays_inside(path, &target) {
            return Err(unfit(path, "it is a link that leads outside"));
        }
        let mut header = header(EntryType::Symlink, Mode::from_raw_mode(0o777));
        let added = self.archive.append_link(&mut header, path, &target);
        added.map_err(|error| unwritten(path, error))
    }

    fn append(
        &mut self,
        header: &mut Header,
        path: &Path,
        content: impl Read,
    ) -> Result<(), WorkspaceStoreError> {
        let added = self.archive.append_data(header, path, content);
        added.map_err(|error| unwritten(path, error))
    }
}

fn header(kind: EntryType, mode: Mode) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode.as_raw_mode() & 0o777);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    header
}

fn unwritten(path: &Path, error: io::Error) -> WorkspaceStoreError {
    failed("pack", path, &error.into())
}

// ---- unpacking ------------------------------------------------------------------

/// Unpacks an archive into an empty folder.
///
/// # Errors
/// `Unfit` for anything that is not as [`pack`] makes it, `TooLarge` for too
/// much. What was unpacked by then stays.
pub(super) fn unpack(from: impl Read, folder: &Folder) -> Result<(), WorkspaceStoreError> {
    let damaged = |error: io::Error| {
        WorkspaceStoreError::Unfit(format!("what is stored is no workspace: {error}"))
    };
    let overhead = u64::try_from(WORKSPACE_ENTRIES * 2 * PATH_BYTES).unwrap_or(u64::MAX);
    let bounded = from.take(WORKSPACE_UNPACKED.0.saturating_add(overhead));
    let mut archive = Archive::new(bounded);
    let mut unpacker = Unpacker {
        folder,
        left: Left::all(),
        folders: Vec::new(),
        long_name: None,
        long_target: None,
    };
    // Raw: the library would take names of any length into memory.
    for entry in archive.entries().map_err(damaged)?.raw(true) {
        unpacker.entry(&mut entry.map_err(damaged)?)?;
    }
    unpacker.finish()
}

struct Unpacker<'a> {
    folder: &'a Folder,
    left: Left,
    /// Folders with the modes that they get at the end, when nothing is put
    /// into them any more.
    folders: Vec<(PathBuf, Mode)>,
    /// What came ahead of the entry that it belongs to.
    long_name: Option<PathBuf>,
    long_target: Option<PathBuf>,
}

impl Unpacker<'_> {
    fn entry(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<(), WorkspaceStoreError> {
        match entry.header().entry_type() {
            EntryType::GNULongName => self.long_name = Some(long(entry)?),
            EntryType::GNULongLink => self.long_target = Some(long(entry)?),
            kind => self.file(kind, entry)?,
        }
        Ok(())
    }

    fn file(
        &mut self,
        kind: EntryType,
        entry: &mut Entry<'_, impl Read>,
    ) -> Result<(), WorkspaceStoreError> {
        let short = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
        let name = self.long_name.take();
        let path = name.unwrap_or_else(|| short(&entry.header().path_bytes()));
        if path.components().count() > WORKSPACE_DEPTH + 1 {
            return Err(too_many("folders within folders", WORKSPACE_DEPTH));
        }
        let (above, name) = checked(&path).ok_or_else(|| unfit(&path, "it leads outside"))?;
        self.left.take_entry()?;
        self.left.take_bytes(entry.size())?;
        let mode = entry.header().mode().unwrap_or(u32::MAX);
        if mode & !0o777 != 0 {
            return Err(unfit(&path, "it has a set-id or sticky bit"));
        }
        let mode = Mode::from_raw_mode(mode);
        let folder = self.folder.folder_by(above, Links::Never);
        let folder = folder.map_err(|error| refused(&path, error))?;
        let target = self.long_target.take();
        let done = match kind {
            EntryType::Directory => {
                self.folders.push((path.clone(), mode));
                folder.add_folder(name)
            }
            EntryType::Regular => folder.add_file(name, mode, entry),
            EntryType::Symlink => {
                let target = target
                    .or_else(|| entry.header().link_name_bytes().map(|bytes| short(&bytes)))
                    .filter(|target| stays_inside(&path, target));
                let outside = || unfit(&path, "it is a link that leads outside");
                folder.add_link(name, &target.ok_or_else(outside)?)
            }
            _ => {
                let why = "it is neither a file, nor a folder, nor a symbolic link";
                return Err(unfit(&path, why));
            }
        };
        done.map_err(|error| refused(&path, error))
    }

    /// Closes the folders, the innermost first.
    fn finish(self) -> Result<(), WorkspaceStoreError> {
        for (path, mode) in self.folders.into_iter().rev() {
            let folder = self.folder.folder_by(&path, Links::Never);
            let closed = folder.and_then(|folder| folder.set_mode(mode));
            closed.map_err(|error| failed("unpack", &path, &error))?;
        }
        Ok(())
    }
}

/// A name that is too long for a header.
fn long(entry: &mut Entry<'_, impl Read>) -> Result<PathBuf, WorkspaceStoreError> {
    let mut bytes = Vec::new();
    // One more for the NUL at its end, and one to see that it is too long.
    let limit = u64::try_from(PATH_BYTES + 2).unwrap_or(u64::MAX);
    let read = entry.by_ref().take(limit).read_to_end(&mut bytes);
    read.map_err(|error| failed("unpack", Path::new("."), &error.into()))?;
    if bytes.last() == Some(&0) {
        bytes.pop();
    }
    if bytes.len() > PATH_BYTES {
        return Err(too_many("bytes in a path", PATH_BYTES));
    }
    Ok(PathBuf::from(OsStr::from_bytes(&bytes)))
}

/// The folder and the name of a path that is nothing but names.
fn checked(path: &Path) -> Option<(&Path, &OsStr)> {
    let mut parts = path.components();
    let only_names = parts.all(|part| matches!(part, Component::Normal(_)));
    let has_nul = path.as_os_str().as_bytes().contains(&0);
    if !only_names || has_nul {
        return None;
    }
    Some((path.parent()?, path.file_name()?))
}

fn refused(path: &Path, error: PathError) -> WorkspaceStoreError {
    match error {
        PathError::System(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            unfit(path, "it is there twice")
        }
        PathError::System(_) => failed("unpack", path, &error),
        other => unfit(path, &other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use camino::Utf8Path;
    use proptest::prelude::*;
    use std::fs;

    fn unpacked(archive: &[u8]) -> (tempfile::TempDir, Result<(), WorkspaceStoreError>) {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap();
        let result = unpack(archive, &Folder::open(path, None).unwrap());
        (folder, result)
    }

    /// Fields are set raw: the library refuses to write bad ones.
    fn raw(name: &[u8], kind: EntryType, link: &str, mode: u32, size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_cksum();
        header
    }

    fn archive(headers: &[Header]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for header in headers {
            builder.append(header, io::empty()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn hostile_archives_are_refused() {
        use EntryType as T;
        let one = |name: &str, kind, link: &str, mode| raw(name.as_bytes(), kind, link, mode, 0);
        let file = |name: &str| one(name, T::Regular, "", 0o644);
        let link = |target: &str| one("x", T::Symlink, target, 0o777);
        let special = |kind| one("x", kind, "y", 0o644);
        let cases: &[(&[Header], &str)] = &[
            (&[file("../x")], "leads outside"),
            (&[file("/x")], "leads outside"),
            (&[file("a/../../x")], "leads outside"),
            (&[file("..")], "leads outside"),
            (&[file("")], "leads outside"),
            (&[one("/", T::Directory, "", 0o755)], "leads outside"),
            (&[file("none/x")], "does not exist"),
            (&[link("/etc")], "a link that leads outside"),
            (&[link("../x")], "a link that leads outside"),
            (&[link("")], "a link that leads outside"),
            (&[special(T::Link)], "neither a file"),
            (&[special(T::Fifo)], "neither a file"),
            (&[special(T::Char)], "neither a file"),
            (&[special(T::Block)], "neither a file"),
            (&[special(T::GNUSparse)], "neither a file"),
            (&[special(T::XHeader)], "neither a file"),
            (&[one("x", T::Regular, "", 0o4755)], "set-id"),
            (&[one("x", T::Directory, "", 0o2755)], "set-id"),
            (&[one("x", T::Directory, "", 0o1777)], "set-id"),
        ];
        for (headers, expected) in cases {
            let (folder, result) = unpacked(&archive(headers));
            let told = result.unwrap_err().to_string();
            assert!(told.contains(expected), "{told}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{told}");
        }
        let (_folder, result) = unpacked(&archive(&[file("x"), file("x")]));
        let told = result.unwrap_err().to_string();
        assert!(told.contains("it is there twice"), "{told}");
        assert!(unpacked(&[b'x'; 1_024]).1.is_err());
    }

    #[test]
    fn nothing_is_written_through_a_link_of_the_archive() {
        use EntryType::{Directory, Regular, Symlink};
        let (folder, result) = unpacked(&archive(&[
            raw(b"b", Directory, "", 0o755, 0),
            raw(b"a", Symlink, "b", 0o777, 0),
            raw(b"a/x", Regular, "", 0o644, 0),
        ]));
        let told = result.unwrap_err().to_string();
        assert!(told.contains("leads out of the workspace"), "{told}");
        assert!(!folder.path().join("b/x").exists());
    }

    #[test]
    fn bombs_are_refused() {
        use EntryType::{Directory, GNULongName, Regular};
        let large = raw(b"x", Regular, "", 0o644, WORKSPACE_UNPACKED.0 + 1);
        assert_eq!(unpacked(&archive(&[large])).1, Err(too_many_bytes()));
        let many = too_many("entries", WORKSPACE_ENTRIES);
        let mut left = Left::all();
        left.entries = 1;
        assert_eq!(left.take_entry(), Ok(()));
        assert_eq!(left.take_entry(), Err(many));
        let name = vec![b'x'; PATH_BYTES + 1];
        let size = u64::try_from(name.len()).unwrap();
        let mut builder = Builder::new(Vec::new());
        let long = raw(b"l", GNULongName, "", 0o644, size);
        builder.append(&long, &name[..]).unwrap();
        let told = unpacked(&builder.into_inner().unwrap()).1;
        assert_eq!(told, Err(too_many("bytes in a path", PATH_BYTES)));
        // Deeper than anything is packed.
        let mut builder = Builder::new(Vec::new());
        for depth in 1..=WORKSPACE_DEPTH + 2 {
            let path = vec!["d"; depth].join("/");
            let mut header = raw(b"", Directory, "", 0o755, 0);
            builder.append_data(&mut header, path, io::empty()).unwrap();
        }
        let deep = too_many("folders within folders", WORKSPACE_DEPTH);
        assert_eq!(unpacked(&builder.into_inner().unwrap()).1, Err(deep));
    }

    #[test]
    fn folders_at_and_past_the_depth() {
        let place = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(place.path()).unwrap();
        let packed = || pack(&Folder::open(root, None).unwrap(), Vec::new());
        let deepest = root.join(vec!["d"; WORKSPACE_DEPTH].join("/"));
        fs::create_dir_all(&deepest).unwrap();
        fs::write(deepest.join("file"), "x").unwrap();
        let archive = packed().unwrap();
        assert_eq!(unpacked(&archive).1, Ok(()));
        fs::create_dir(deepest.join("d")).unwrap();
        let expected = too_many("folders within folders", WORKSPACE_DEPTH);
        assert_eq!(packed(), Err(expected));
    }

    #[test]
    fn a_sparse_file_counts_whole() {
        let place = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(place.path()).unwrap();
        let file = fs::File::create(root.join("sparse")).unwrap();
        file.set_len(WORKSPACE_UNPACKED.0 + 1).unwrap();
        let packed = pack(&Folder::open(root, None).unwrap(), Vec::new());
        assert_eq!(packed, Err(too_many_bytes()));
    }

    proptest! {
        #[test]
        fn unpacking_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
            let _ = unpacked(&bytes);
        }
    }
}
