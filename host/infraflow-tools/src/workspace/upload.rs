//! Folders that a person hands over (`run --playbook`): packed by the client,
//! unpacked into a workspace.
//!
//! The format is a tar archive (ustar, with PAX records for long names),
//! compressed with zstd. It holds regular files, folders and symbolic links
//! that stay inside; nothing else, no owner, no time and no mode but
//! "executable", so that equal folders give equal bytes.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path};

use camino::{Utf8Path, Utf8PathBuf};
use infraflow_core::limits::ByteCount;
use infraflow_core::tool::{CallError, GuestPath};
use tar::{Archive, Builder, Entry, EntryType, Header};

use super::beneath::{Folder, Links, PathError};
use crate::errors::{system, too_large, too_many};
use crate::limits::{UPLOAD_ENTRIES, UPLOAD_UNPACKED};

// ---- packing --------------------------------------------------------------------

/// Why a folder cannot be handed over.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// Something cannot be read.
    #[error("read `{path}`")]
    Read {
        /// What.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something is neither a file, nor a folder, nor a link.
    #[error("hand over `{0}`: it is neither a file, nor a folder, nor a symbolic link")]
    Special(Utf8PathBuf),
    /// A link leads out of the folder.
    #[error("hand over `{0}`: it is a symbolic link that leads out of the folder")]
    LinkOutside(Utf8PathBuf),
    /// A name is not UTF-8.
    #[error("hand over the files of `{0}`: a name in it is not UTF-8")]
    Name(Utf8PathBuf),
    /// There is too much.
    #[error("hand over `{folder}`: it is larger than {allowed}, packed")]
    TooLarge {
        /// The folder.
        folder: Utf8PathBuf,
        /// What is allowed.
        allowed: ByteCount,
    },
    /// There are too many files.
    #[error("hand over `{folder}`: it has more than {UPLOAD_ENTRIES} entries")]
    TooMany {
        /// The folder.
        folder: Utf8PathBuf,
    },
}

/// Packs a folder for an upload of at most `bytes_max` bytes.
///
/// `.git` folders and the paths in `leave_out` are left out. Links are kept when they stay inside. Equal
/// folders give equal bytes.
///
/// # Errors
/// When something cannot be read or handed over, or it is too much.
pub fn pack(
    folder: &Utf8Path,
    leave_out: &[Utf8PathBuf],
    bytes_max: u64,
) -> Result<Vec<u8>, PackError> {
    let unwritable = |source| PackError::Read {
        path: folder.to_owned(),
        source,
    };
    let entries = entries_of(folder, leave_out)?;
    let compressor = zstd::Encoder::new(Vec::new(), COMPRESSION).map_err(unwritable)?;
    let mut archive = Builder::new(compressor);
    for entry in entries {
        let path = folder.join(&entry);
        add(&mut archive, folder, &entry).map_err(|error| match error {
            AddError::Io(source) => PackError::Read { path, source },
            AddError::Pack(error) => error,
        })?;
        if too_long(archive.get_ref().get_ref(), bytes_max) {
            break;
        }
    }
    let compressor = archive.into_inner().map_err(unwritable)?;
    let bytes = compressor.finish().map_err(unwritable)?;
    if too_long(&bytes, bytes_max) {
        return Err(PackError::TooLarge {
            folder: folder.to_owned(),
            allowed: ByteCount(bytes_max),
        });
    }
    Ok(bytes)
}

/// zstd's default: quick, and playbooks are small.
const COMPRESSION: i32 = 3;

fn too_long(bytes: &[u8], bytes_max: u64) -> bool {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX) > bytes_max
}

/// What to hand over, relative to the folder, sorted, folders first.
fn entries_of(folder: &Utf8Path, leave_out: &[Utf8PathBuf]) -> Result<Vec<Utf8PathBuf>, PackError> {
    let mut entries = Vec::new();
    let mut open = vec![Utf8PathBuf::new()];
    while let Some(inner) = open.pop() {
        let path = folder.join(&inner);
        let failed = |source| PackError::Read {
            path: path.clone(),
            source,
        };
        for found in fs::read_dir(&path).map_err(failed)? {
            let found = found.map_err(failed)?;
            let name = found.file_name();
            let name = name.to_str().ok_or_else(|| PackError::Name(path.clone()))?;
            if name == ".git" || leave_out.contains(&path.join(name)) {
                continue;
            }
            if found.file_type().map_err(failed)?.is_dir() {
                open.push(inner.join(name));
            }
            entries.push(inner.join(name));
            if entries.len() > UPLOAD_ENTRIES {
                let folder = folder.to_owned();
                return Err(PackError::TooMany { folder });
            }
        }
    }
    entries.sort();
    Ok(entries)
}

enum AddError {
    Io(io::Error),
    Pack(PackError),
}

impl From<io::Error> for AddError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn add(
    archive: &mut Builder<zstd::Encoder<'static, Vec<u8>>>,
    folder: &Utf8Path,
    entry: &Utf8Path,
) -> Result<(), AddError> {
    let path = folder.join(entry);
    let found = path.symlink_metadata()?;
    let mut header = Header::new_ustar();
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    if found.is_dir() {
        header.set_entry_type(EntryType::Directory);
        header.set_mode(0o755);
        archive.append_data(&mut header, entry, io::empty())?;
    } else if found.is_symlink() {
        let target = path.read_link_utf8()?;
        if !stays_inside(entry.as_std_path(), target.as_std_path()) {
            return Err(AddError::Pack(PackError::LinkOutside(path)));
        }
        header.set_entry_type(EntryType::Symlink);
        header.set_mode(0o777);
        archive.append_link(&mut header, entry, &target)?;
    } else if found.is_file() {
        let executable = found.permissions().mode() & 0o111 != 0;
        header.set_entry_type(EntryType::Regular);
        header.set_mode(if executable { 0o755 } else { 0o644 });
        header.set_size(found.len());
        // A file that changes meanwhile must not break the archive.
        let file = fs::File::open(&path)?.take(found.len());
        let padded = file.chain(io::repeat(0)).take(found.len());
        archive.append_data(&mut header, entry, padded)?;
    } else {
        return Err(AddError::Pack(PackError::Special(path)));
    }
    Ok(())
}

/// Whether a link stays inside, by its text alone.
pub(super) fn stays_inside(link: &Path, target: &Path) -> bool {
    if target.as_os_str().is_empty() {
        return false;
    }
    let mut depth = link.components().count().saturating_sub(1);
    for part in target.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return false,
            },
            Component::Normal(_) => depth += 1,
            Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    true
}

// ---- unpacking ------------------------------------------------------------------

/// Unpacks an upload into an empty folder.
///
/// # Errors
/// `Invalid` for anything that is not as [`pack`] makes it, `LimitExceeded` for
/// too much. What was unpacked by then stays.
pub(crate) fn unpack(bytes: &[u8], folder: &Folder) -> Result<(), CallError> {
    let damaged = |error: io::Error| {
        CallError::Invalid(format!(
            "the upload is damaged: expected a tar archive compressed with zstd: {error}"
        ))
    };
    let plain = zstd::Decoder::new(bytes).map_err(damaged)?;
    let mut left = UPLOAD_UNPACKED.0;
    // The archive's own overhead is bounded by its entries.
    let overhead = u64::try_from(UPLOAD_ENTRIES * 4_096).unwrap_or(u64::MAX);
    let mut archive = Archive::new(plain.take(left.saturating_add(overhead)));
    for (count, entry) in archive.entries().map_err(damaged)?.enumerate() {
        if count >= UPLOAD_ENTRIES {
            return Err(too_many("upload_entries", UPLOAD_ENTRIES));
        }
        let mut entry = entry.map_err(damaged)?;
        left = left
            .checked_sub(entry.size())
            .ok_or_else(|| too_large("upload_unpacked_bytes", UPLOAD_UNPACKED))?;
        unpack_entry(&mut entry, folder)?;
    }
    Ok(())
}

fn unpack_entry(entry: &mut Entry<'_, impl Read>, folder: &Folder) -> Result<(), CallError> {
    let refused = |path: &Path, why: &str| {
        CallError::Invalid(format!("the upload holds `{}`: {why}", path.display()))
    };
    let path = entry
        .path()
        .map_err(|_| CallError::Invalid("the upload holds a name that is no path".to_owned()))?
        .into_owned();
    let Some(checked) = path.to_str().and_then(|text| GuestPath::new(text).ok()) else {
        return Err(refused(&path, "it leads outside"));
    };
    if checked.is_root() {
        return Ok(());
    }
    let mode = entry.header().mode().unwrap_or_default();
    if mode & 0o7000 != 0 {
        return Err(refused(&path, "it has a set-id or sticky bit"));
    }
    let kind = entry.header().entry_type();
    let unpacked = match kind {
        EntryType::Directory => folder
            .make_folders(checked.as_str(), Links::Never)
            .map(|_| ()),
        EntryType::Regular => folder
            .unpack(checked.as_str(), mode & 0o111 != 0, entry)
            .map(|_| ()),
        EntryType::Symlink => {
            let target = entry.link_name().ok().flatten();
            let target = target.as_deref().and_then(Utf8Path::from_path);
            match target {
                Some(target) if stays_inside(Path::new(checked.as_str()), target.as_std_path()) => {
                    folder.link(checked.as_str(), target.as_str())
                }
                Some(_) | None => return Err(refused(&path, "it is a link that leads outside")),
            }
        }
        _ => {
            return Err(refused(
                &path,
                "it is neither a file, nor a folder, nor a symbolic link",
            ));
        }
    };
    unpacked.map_err(|error| match error {
        PathError::System(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            refused(&path, "it is there twice")
        }
        PathError::System(error) => system("unpack the upload", &error),
        other => refused(&path, &other.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::symlink;

    fn temporary() -> (tempfile::TempDir, Utf8PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap();
        (folder, path)
    }

    fn unpacked(bytes: &[u8]) -> (tempfile::TempDir, Result<(), CallError>) {
        let (folder, path) = temporary();
        let result = unpack(bytes, &Folder::open(&path, None).unwrap());
        (folder, result)
    }

    #[test]
    fn what_is_packed_comes_out_again() {
        let (_from, from) = temporary();
        fs::create_dir_all(from.join("roles/x/tasks")).unwrap();
        fs::create_dir_all(from.join(".git/objects")).unwrap();
        fs::create_dir_all(from.join("sub/.git")).unwrap();
        fs::create_dir(from.join("empty")).unwrap();
        fs::write(from.join("site.yml"), "- hosts: all\n").unwrap();
        fs::write(from.join("run.sh"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(from.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        let long = format!("roles/x/tasks/{}", "ü".repeat(100));
        fs::write(from.join(&long), "long").unwrap();
        symlink("../site.yml", from.join("roles/link")).unwrap();
        let bytes = pack(&from, &[], 1 << 20).unwrap();
        assert_eq!(bytes, pack(&from, &[], 1 << 20).unwrap(), "equal bytes");
        let (to, result) = unpacked(&bytes);
        result.unwrap();
        let read = |path: &str| fs::read_to_string(to.path().join(path)).unwrap();
        assert_eq!(read("site.yml"), "- hosts: all\n");
        assert_eq!(read("roles/link"), "- hosts: all\n");
        assert_eq!(read(&long), "long");
        let mode = fs::metadata(to.path().join("run.sh")).unwrap();
        assert_eq!(mode.permissions().mode() & 0o7777, 0o755);
        assert!(to.path().join("empty").is_dir());
        assert!(!to.path().join(".git").exists() && !to.path().join("sub/.git").exists());
    }

    #[test]
    fn what_is_left_out_stays_here() {
        let (_from, from) = temporary();
        for path in ["data/nats/store", "roles/data", "key", "keys"] {
            fs::create_dir_all(from.join(path).parent().unwrap()).unwrap();
            fs::write(from.join(path), "x").unwrap();
        }
        let leave_out = [from.join("data"), from.join("key")];
        let (to, result) = unpacked(&pack(&from, &leave_out, 1 << 20).unwrap());
        result.unwrap();
        for (path, is_there) in [
            ("data", false),
            ("key", false),
            ("keys", true),
            ("roles/data", true),
        ] {
            assert_eq!(to.path().join(path).exists(), is_there, "{path}");
        }
    }

    #[test]
    fn what_cannot_be_handed_over_is_named() {
        let (_from, from) = temporary();
        let told = || pack(&from, &[], 1 << 20).unwrap_err().to_string();
        let bad = from.join("bad");
        for target in ["/etc/passwd", "../x", "a/../../x"] {
            symlink(target, &bad).unwrap();
            let expected =
                format!("hand over `{bad}`: it is a symbolic link that leads out of the folder");
            assert_eq!(told(), expected);
            fs::remove_file(&bad).unwrap();
        }
        let socket = std::os::unix::net::UnixListener::bind(&bad).unwrap();
        assert!(told().contains("neither a file"), "{}", told());
        drop(socket);
        fs::remove_file(&bad).unwrap();
        fs::write(&bad, "x").unwrap();
        let size = pack(&from, &[], 1 << 20).unwrap().len();
        let size = u64::try_from(size).unwrap();
        assert!(pack(&from, &[], size).is_ok());
        assert!(matches!(
            pack(&from, &[], size - 1),
            Err(PackError::TooLarge { .. })
        ));
    }

    fn archive(make: impl FnOnce(&mut Builder<Vec<u8>>)) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        make(&mut builder);
        zstd::encode_all(&builder.into_inner().unwrap()[..], 1).unwrap()
    }

    /// Names are set raw: the library refuses to write bad ones.
    fn entry(name: &str, kind: EntryType, link: &str, mode: u32) -> Vec<u8> {
        archive(|builder| {
            let mut header = Header::new_gnu();
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
            header.set_entry_type(kind);
            header.set_mode(mode);
            header.set_size(0);
            header.set_cksum();
            builder.append(&header, io::empty()).unwrap();
        })
    }

    #[test]
    fn hostile_uploads_are_refused() {
        use EntryType as T;
        let cases = [
            (entry("../x", T::Regular, "", 0o644), "it leads outside"),
            (entry("/x", T::Regular, "", 0o644), "it leads outside"),
            (
                entry("a/../../x", T::Regular, "", 0o644),
                "it leads outside",
            ),
            (
                entry("x", T::Symlink, "/etc", 0o777),
                "a link that leads outside",
            ),
            (
                entry("x", T::Symlink, "../x", 0o777),
                "a link that leads outside",
            ),
            (
                entry("x", T::Symlink, "", 0o777),
                "a link that leads outside",
            ),
            (entry("x", T::Link, "y", 0o644), "neither a file"),
            (entry("x", T::Fifo, "", 0o644), "neither a file"),
            (entry("x", T::Char, "", 0o644), "neither a file"),
            (entry("x", T::Block, "", 0o644), "neither a file"),
            (entry("x", T::Regular, "", 0o4755), "set-id"),
            (entry("x", T::Directory, "", 0o2755), "set-id"),
            (b"no archive".to_vec(), "the upload is damaged"),
        ];
        for (bytes, expected) in cases {
            let (folder, result) = unpacked(&bytes);
            let told = result.unwrap_err().to_string();
            assert!(told.contains(expected), "{told}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{told}");
        }
    }

    #[test]
    fn nothing_is_written_through_a_link_of_the_archive() {
        let bytes = archive(|builder| {
            let mut link = Header::new_gnu();
            link.set_entry_type(EntryType::Symlink);
            link.set_mode(0o777);
            link.set_size(0);
            builder.append_link(&mut link, "a", "b").unwrap();
            let mut file = Header::new_gnu();
            file.set_mode(0o644);
            file.set_size(1);
            builder.append_data(&mut file, "a/x", &b"x"[..]).unwrap();
        });
        let (_folder, result) = unpacked(&bytes);
        let told = result.unwrap_err().to_string();
        assert!(told.contains("leads out of the workspace"), "{told}");
    }

    #[test]
    fn a_bomb_is_refused_by_what_it_says_it_is() {
        let bytes = archive(|builder| {
            let mut header = Header::new_gnu();
            header.set_path("big").unwrap();
            header.set_mode(0o644);
            header.set_size(UPLOAD_UNPACKED.0 + 1);
            header.set_cksum();
            builder.append(&header, io::empty()).unwrap();
        });
        let (_folder, result) = unpacked(&bytes);
        assert_eq!(
            result,
            Err(too_large("upload_unpacked_bytes", UPLOAD_UNPACKED))
        );
    }

    #[test]
    fn links_by_their_text() {
        for (link, target, inside) in [
            ("a", "b", true),
            ("a/b", "../c", true),
            ("a/b", "../../c", false),
            ("a", "b/../c", true),
            ("a", "b/../../c", false),
            ("a", "/b", false),
            ("a", "", false),
            ("a/b/c", "../../d/./e", true),
        ] {
            assert_eq!(
                stays_inside(Path::new(link), Path::new(target)),
                inside,
                "{link} -> {target}"
            );
        }
    }

    proptest! {
        #[test]
        fn unpacking_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
            let _ = unpacked(&bytes);
            let compressed = zstd::encode_all(&bytes[..], 1).unwrap();
            let _ = unpacked(&compressed);
        }
    }
}
