//! Taking a whole workspace along: to the store, from the store, to another run.
//!
//! What comes in is unpacked beside the workspace and takes its place in one
//! step, so that a crash leaves the old one or the new one. It is not flushed to
//! the disk: after a loss of power whoever is careful restores once more.

use std::io::{self, Write};

use camino::Utf8PathBuf;
use infraflow_core::id::RunId;
use infraflow_core::limits::ByteCount;
use infraflow_core::ports::{Trust, WorkspaceStoreError};
use rustix::fs::{CWD, Mode, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::{Folder, Workspaces, archive, own, remove};
use crate::limits::WORKSPACE_STORED;
use crate::loose::make_private;
use crate::tasks::blocking;

/// The beginning of a stored workspace; how far it is trusted and a compressed
/// archive follow. In front of the archive, so that nothing in a workspace can
/// pass for it.
const MAGIC: &[u8] = b"infraflow-workspace-1 ";
const TRUSTED: &[u8] = b"trusted\n";
const UNTRUSTED: &[u8] = b"untrusted\n";

/// zstd's default: quick enough not to be noticed after a step.
const COMPRESSION: i32 = 3;

/// What folders are called while they are filled. Never the name of a run.
const STAGING: &str = ".new-";

impl Workspaces {
    /// Whether there is a workspace of the run.
    pub(crate) async fn is_here(&self, run: RunId) -> bool {
        let path = self.path(run);
        blocking(move || path.is_dir()).await
    }

    /// A run's workspace as bytes for the store.
    pub(crate) async fn pack(&self, run: RunId) -> Result<Vec<u8>, WorkspaceStoreError> {
        let this = self.clone();
        blocking(move || this.packed(run, WORKSPACE_STORED)).await
    }

    /// Replaces a run's workspace by a packed one.
    pub(crate) async fn replace(
        &self,
        run: RunId,
        packed: Vec<u8>,
    ) -> Result<(), WorkspaceStoreError> {
        let this = self.clone();
        blocking(move || this.unpacked(run, &packed)).await
    }

    /// Replaces a run's workspace by a copy of another one.
    pub(crate) async fn copy(&self, from: RunId, to: RunId) -> Result<(), WorkspaceStoreError> {
        let this = self.clone();
        blocking(move || this.copied(from, to)).await
    }

    /// Removes what a killed host has not finished.
    ///
    /// # Errors
    /// When something cannot be read or removed.
    pub(crate) fn remove_half_done(&self) -> io::Result<()> {
        let entries = match self.work.read_dir_utf8() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_name().starts_with(STAGING) {
                remove(entry.path())?;
            }
        }
        Ok(())
    }

    /// Where a new workspace of a run is put together.
    pub(super) fn staging(&self, run: RunId) -> Utf8PathBuf {
        self.work.join(format!("{STAGING}{run}"))
    }

    fn packed(&self, run: RunId, allowed: ByteCount) -> Result<Vec<u8>, WorkspaceStoreError> {
        let folder = self.existing(run)?;
        let mut bounded = Bounded {
            bytes: MAGIC.to_vec(),
            allowed: allowed.to_usize(),
        };
        bounded
            .bytes
            .extend_from_slice(match self.trust_of_files(run)? {
                Trust::Trusted => TRUSTED,
                Trust::Untrusted => UNTRUSTED,
            });
        let packed = zstd::Encoder::new(&mut bounded, COMPRESSION)
            .map_err(|error| failed("compress the workspace", &error))
            .and_then(|compressor| archive::pack(&folder, compressor))
            .and_then(|compressor| {
                let finished = compressor.finish().map(|_| ());
                finished.map_err(|error| failed("compress the workspace", &error))
            });
        if bounded.is_full() {
            return Err(WorkspaceStoreError::TooLarge {
                what: "packed bytes",
                allowed: allowed.0,
            });
        }
        packed.map(|()| bounded.bytes)
    }

    fn unpacked(&self, run: RunId, packed: &[u8]) -> Result<(), WorkspaceStoreError> {
        let (trust, compressed) = read_head(packed)?;
        let plain = zstd::Decoder::new(compressed)
            .map_err(|error| failed("decompress the workspace", &error))?;
        self.fill(run, |folder| archive::unpack(plain, folder))?;
        self.take_place(run, trust)
    }

    fn copied(&self, from: RunId, to: RunId) -> Result<(), WorkspaceStoreError> {
        let source = self.existing(from)?;
        let trust = self.trust_of_files(from)?;
        self.fill(to, |folder| {
            let (reader, writer) =
                io::pipe().map_err(|error| failed("copy the workspace", &error))?;
            let (packed, unpacked) = std::thread::scope(|scope| {
                let packer = scope.spawn(|| archive::pack(&source, writer).map(drop));
                let unpacked = unpack_to_the_end(reader, folder);
                let packed = packer.join();
                (
                    packed.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                    unpacked,
                )
            });
            joined(packed, unpacked)
        })?;
        self.take_place(to, trust)
    }

    /// Opens a workspace that must be there.
    fn existing(&self, run: RunId) -> Result<Folder, WorkspaceStoreError> {
        match Folder::open(&self.path(run), None) {
            Ok(folder) => Ok(folder),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(WorkspaceStoreError::NotFound(run))
            }
            Err(error) => Err(failed("open the workspace", &error)),
        }
    }

    /// How far what is in a workspace is trusted, whoever started the run.
    fn trust_of_files(&self, run: RunId) -> Result<Trust, WorkspaceStoreError> {
        match self.is_marked_untrusted(run) {
            Ok(true) => Ok(Trust::Untrusted),
            Ok(false) => Ok(Trust::Trusted),
            Err(error) => Err(failed("look whether the workspace is trusted", &error)),
        }
    }

    /// Fills an empty folder beside a run's workspace. When that fails, nothing
    /// of it stays.
    fn fill(
        &self,
        run: RunId,
        fill: impl FnOnce(&Folder) -> Result<(), WorkspaceStoreError>,
    ) -> Result<(), WorkspaceStoreError> {
        let staging = self.staging(run);
        let make = || {
            remove(&staging)?;
            make_private(&staging)?;
            Folder::open(&staging, self.owner)
        };
        let folder = make().map_err(|error| failed("make a folder for the workspace", &error))?;
        let filled = fill(&folder);
        if filled.is_err()
            && let Err(error) = remove(&staging)
        {
            tracing::warn!(%run, %error, "a workspace that was not restored cannot be removed");
        }
        filled
    }

    /// Puts what was filled into the place of the workspace.
    fn take_place(&self, run: RunId, trust: Trust) -> Result<(), WorkspaceStoreError> {
        let (staging, path) = (self.staging(run), self.path(run));
        let place = || {
            own(&staging, self.owner)?;
            rustix::fs::chmod(staging.as_std_path(), Mode::from_raw_mode(0o755))?;
            // First: files of strangers are never there without their mark. It
            // is never taken away, as no checkout takes it away.
            if trust == Trust::Untrusted {
                self.mark_untrusted(run)?;
            }
            let rename = |flags| {
                let (from, to) = (staging.as_std_path(), path.as_std_path());
                renameat_with(CWD, from, CWD, to, flags)
            };
            match rename(RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                other => return Ok(other?),
            }
            rename(RenameFlags::EXCHANGE)?;
            remove(&staging)
        };
        place().map_err(|error| failed("put the workspace into its place", &error))
    }
}

/// Unpacks a plain archive from a pipe whose other end must not break while its
/// writer is fine.
fn unpack_to_the_end(
    mut reader: io::PipeReader,
    folder: &Folder,
) -> Result<(), WorkspaceStoreError> {
    archive::unpack(&mut reader, folder)?;
    // The archive's end comes before the end of its padding.
    let rest = io::copy(&mut reader, &mut io::sink());
    rest.map(drop)
        .map_err(|error| failed("copy the workspace", &error))
}

/// One result of both ends of a pipe: when one end fails, so does the other.
fn joined(
    packed: Result<(), WorkspaceStoreError>,
    unpacked: Result<(), WorkspaceStoreError>,
) -> Result<(), WorkspaceStoreError> {
    use WorkspaceStoreError::Io;
    match (packed, unpacked) {
        (Err(Io(packed)), Err(Io(unpacked))) => Err(Io(format!("{unpacked}; {packed}"))),
        (Err(Io(_)), Err(cause)) => Err(cause),
        (packed, unpacked) => packed.and(unpacked),
    }
}

fn read_head(packed: &[u8]) -> Result<(Trust, &[u8]), WorkspaceStoreError> {
    let head = packed.strip_prefix(MAGIC);
    let trusted = head.and_then(|rest| rest.strip_prefix(TRUSTED));
    let untrusted = head.and_then(|rest| rest.strip_prefix(UNTRUSTED));
    match (trusted, untrusted) {
        (Some(rest), _) => Ok((Trust::Trusted, rest)),
        (None, Some(rest)) => Ok((Trust::Untrusted, rest)),
        (None, None) => Err(WorkspaceStoreError::Unfit(
            "what is stored is no workspace, or one of a newer infraflow".to_owned(),
        )),
    }
}

fn failed(what: &str, error: &io::Error) -> WorkspaceStoreError {
    WorkspaceStoreError::Io(format!("{what}: {error}"))
}

/// Bytes up to a limit; what does not fit any more is an error.
struct Bounded {
    bytes: Vec<u8>,
    allowed: usize,
}

impl Bounded {
    fn is_full(&self) -> bool {
        self.bytes.len() > self.allowed
    }
}

impl Write for Bounded {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.is_full() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        // One byte more than allowed shows that there was more.
        let room = self.allowed + 1 - self.bytes.len();
        let taken = buffer.get(..room).unwrap_or(buffer);
        self.bytes.extend_from_slice(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::Path;

    use camino::Utf8Path;
    use infraflow_core::id::{EventId, EventSource, ProjectName, WorkflowName};

    fn run(name: &str) -> RunId {
        RunId::derive(
            &ProjectName::default_project(),
            &EventSource::new("source:x").unwrap(),
            &EventId::new(name).unwrap(),
            &WorkflowName::new("w").unwrap(),
        )
    }

    struct Place {
        workspaces: Workspaces,
        _folder: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let data_dir = Utf8Path::from_path(folder.path()).unwrap();
            Self {
                workspaces: Workspaces::new(data_dir, None),
                _folder: folder,
            }
        }

        /// The folder of a run, made when it is not there.
        fn root(&self, name: &str) -> Utf8PathBuf {
            self.workspaces.make(run(name)).unwrap();
            self.workspaces.path(run(name))
        }

        fn pack(&self, name: &str) -> Result<Vec<u8>, WorkspaceStoreError> {
            self.workspaces.packed(run(name), WORKSPACE_STORED)
        }

        fn restore(&self, name: &str, packed: &[u8]) -> Result<(), WorkspaceStoreError> {
            self.workspaces.unpacked(run(name), packed)
        }

        /// Everything below the folder of all workspaces, for whoever expects
        /// nothing half-done.
        fn names(&self) -> Vec<String> {
            let entries = self.workspaces.work.read_dir_utf8().unwrap();
            let mut names: Vec<String> = entries
                .map(|entry| entry.unwrap().file_name().to_owned())
                .collect();
            names.sort();
            names
        }
    }

    fn mode(path: impl AsRef<Path>) -> u32 {
        let found = fs::symlink_metadata(path).unwrap();
        found.permissions().mode() & 0o7777
    }

    fn set_mode(path: impl AsRef<Path>, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Names of every kind and length, modes, links, an empty folder.
    fn furnish(root: &Utf8Path) {
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::create_dir(root.join("empty")).unwrap();
        fs::create_dir_all(root.join(".git/refs/heads")).unwrap();
        fs::write(root.join("a/b/file"), "hello").unwrap();
        fs::write(root.join("run.sh"), "#!/bin/sh\n").unwrap();
        fs::write(root.join("key"), "secret").unwrap();
        fs::write(root.join("closed"), "").unwrap();
        fs::write(root.join("a").join("x".repeat(255)), "long").unwrap();
        for (name, mode) in [("run.sh", 0o755), ("key", 0o600), ("closed", 0o444)] {
            set_mode(root.join(name), mode);
        }
        let odd = root.as_std_path().join(OsStr::from_bytes(b"odd \xff\n"));
        fs::create_dir(&odd).unwrap();
        fs::write(odd.join(OsStr::from_bytes(b"\xfe")), "bytes").unwrap();
        symlink("b/file", root.join("a/inner")).unwrap();
        symlink(OsStr::from_bytes(b"odd \xff\n"), root.join("to-odd")).unwrap();
        symlink("n".repeat(300), root.join("dangling")).unwrap();
        fs::write(root.join("a/b/read-only"), "").unwrap();
        set_mode(root.join("a/b"), 0o555);
    }

    fn check(root: &Utf8Path) {
        let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
        assert_eq!(read("a/b/file"), "hello");
        assert_eq!(read("a/inner"), "hello");
        assert_eq!(read(&format!("a/{}", "x".repeat(255))), "long");
        let odd = root.as_std_path().join("to-odd");
        assert_eq!(
            fs::read(odd.join(OsStr::from_bytes(b"\xfe"))).unwrap(),
            b"bytes"
        );
        assert_eq!(
            fs::read_link(root.join("dangling")).unwrap(),
            Path::new(&"n".repeat(300))
        );
        assert_eq!(fs::read_dir(root.join("empty")).unwrap().count(), 0);
        assert!(root.join(".git/refs/heads").is_dir());
        for (name, expected) in [
            ("run.sh", 0o755),
            ("key", 0o600),
            ("closed", 0o444),
            ("a/b", 0o555),
            ("empty", 0o755),
            ("", 0o755),
        ] {
            assert_eq!(mode(root.join(name)), expected, "{name}");
        }
    }

    #[test]
    fn what_is_stored_comes_back_as_it_was() {
        let place = Place::new();
        let root = place.root("one");
        furnish(&root);
        let packed = place.pack("one").unwrap();
        assert_eq!(packed, place.pack("one").unwrap(), "equal bytes");
        place.restore("two", &packed).unwrap();
        let restored = place.workspaces.path(run("two"));
        check(&restored);
        assert_eq!(place.pack("two").unwrap(), packed);
        // Over one that is there, too: nothing of the old one stays.
        fs::write(restored.join("old"), "").unwrap();
        place.restore("two", &packed).unwrap();
        check(&restored);
        assert!(!restored.join("old").exists());
        assert_eq!(place.names().len(), 2);
    }

    #[test]
    fn a_copy_is_as_its_original() {
        let place = Place::new();
        furnish(&place.root("one"));
        let copy = || place.workspaces.copied(run("one"), run("two"));
        copy().unwrap();
        check(&place.workspaces.path(run("two")));
        fs::write(place.root("two").join("old"), "").unwrap();
        copy().unwrap();
        assert_eq!(place.pack("one").unwrap(), place.pack("two").unwrap());
        assert_eq!(
            place.workspaces.copied(run("none"), run("two")),
            Err(WorkspaceStoreError::NotFound(run("none")))
        );
        // One whose source cannot be taken along leaves the old one.
        symlink("/etc", place.root("one").join("out")).unwrap();
        let told = copy().unwrap_err().to_string();
        assert!(told.contains("`out`: it is a link"), "{told}");
        check(&place.workspaces.path(run("two")));
        assert_eq!(place.names().len(), 2);
    }

    #[test]
    fn trust_goes_along_and_never_comes_back() {
        let place = Place::new();
        let trusted = |name| place.workspaces.trust_of_files(run(name)).unwrap();
        place.root("stranger");
        place.workspaces.mark_untrusted(run("stranger")).unwrap();
        place.root("own");
        let (stranger, own) = (place.pack("stranger").unwrap(), place.pack("own").unwrap());
        for (name, packed, expected) in [
            ("a", &own, Trust::Trusted),
            ("a", &stranger, Trust::Untrusted),
            ("a", &own, Trust::Untrusted),
            ("b", &stranger, Trust::Untrusted),
        ] {
            place.restore(name, packed).unwrap();
            assert_eq!(trusted(name), expected, "{name}");
        }
        for (from, to, expected) in [
            ("own", "c", Trust::Trusted),
            ("stranger", "c", Trust::Untrusted),
        ] {
            place.workspaces.copied(run(from), run(to)).unwrap();
            assert_eq!(trusted(to), expected);
        }
    }

    #[test]
    fn what_cannot_be_taken_along_is_named() {
        let place = Place::new();
        assert_eq!(
            place.pack("one"),
            Err(WorkspaceStoreError::NotFound(run("one")))
        );
        let bad = place.root("one").join("bad");
        for target in ["/etc/passwd", "../x", "a/../../x"] {
            symlink(target, &bad).unwrap();
            let told = place.pack("one").unwrap_err().to_string();
            let expected = "the workspace holds `bad`: it is a link that leads outside";
            assert_eq!(told, expected, "{target}");
            fs::remove_file(&bad).unwrap();
        }
        let socket = std::os::unix::net::UnixListener::bind(&bad).unwrap();
        let told = place.pack("one").unwrap_err().to_string();
        assert!(told.contains("neither a file"), "{told}");
        drop(socket);
        fs::remove_file(&bad).unwrap();
        fs::write(&bad, "").unwrap();
        set_mode(&bad, 0o4755);
        let told = place.pack("one").unwrap_err().to_string();
        assert!(told.contains("set-id"), "{told}");
    }

    #[test]
    fn the_packed_size_at_and_past_its_limit() {
        let place = Place::new();
        furnish(&place.root("one"));
        let size = u64::try_from(place.pack("one").unwrap().len()).unwrap();
        let packed = |allowed| {
            let allowed = ByteCount(allowed);
            place.workspaces.packed(run("one"), allowed)
        };
        assert!(packed(size).is_ok());
        for allowed in [size - 1, 64, 0] {
            let what = "packed bytes";
            let expected = WorkspaceStoreError::TooLarge { what, allowed };
            assert_eq!(packed(allowed), Err(expected));
        }
    }

    #[test]
    fn a_restore_that_fails_or_was_cut_off_leaves_the_old_one() {
        let place = Place::new();
        furnish(&place.root("one"));
        let packed = place.pack("one").unwrap();
        let root = place.root("two");
        fs::write(root.join("mine"), "").unwrap();
        let cut = packed.get(..packed.len() / 2).unwrap();
        let head = packed.get(..MAGIC.len() + TRUSTED.len()).unwrap();
        for damaged in [cut, head, &packed[..5], b"", b"no workspace"] {
            assert!(place.restore("two", damaged).is_err());
            assert!(root.join("mine").exists());
            assert_eq!(place.names().len(), 2, "nothing half-done stays");
        }
        // A host that was killed in the middle of it.
        let half = place.workspaces.staging(run("two"));
        fs::create_dir(&half).unwrap();
        fs::write(half.join("half"), "").unwrap();
        place.restore("two", &packed).unwrap();
        check(&root);
        assert!(!root.join("half").exists());
        fs::create_dir_all(half.join("x")).unwrap();
        place.workspaces.remove_half_done().unwrap();
        assert_eq!(place.names().len(), 2);
        check(&root);
    }
}
