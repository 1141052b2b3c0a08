//! Compiled components on disk.
//!
//! An entry is machine code that this process will run, so it is trusted only
//! when it can have been written by this user alone: the folder and the file
//! belong to this user, nobody else may write them, and the file is regular and
//! no link. Beside that each entry holds a SHA-256 over the engine, the
//! component and the code, so that a damaged, truncated, renamed or swapped
//! entry is not run either. There is no key in that sum on purpose: whoever can
//! write the folder as this user can read any key that this process can, and
//! can replace this program as well.
//!
//! Whatever is not trusted is compiled again and replaced. A cache that cannot
//! be written costs time, never a failure.

use std::fs::{DirBuilder, File, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use infraflow_core::id::Digest;
use rustix::fs::{Mode, OFlags};
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::error::SandboxError;
use crate::limits::{CACHE_ENTRIES, CACHE_ENTRY};

const MAGIC: &[u8; 16] = b"infraflow-code-1";
const SUM_BYTES: usize = 32;
const SUFFIX: &str = ".code";
const UNFINISHED: &str = ".unfinished";
const UNFINISHED_FOR: Duration = Duration::from_secs(3_600);

/// A folder of compiled components, for one engine.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
    /// Wasmtime's version and every setting that code depends on.
    engine_key: u64,
    written: AtomicU64,
}

impl Cache {
    /// Opens a folder, or makes it (mode 0700), and throws out what is too old.
    ///
    /// # Errors
    /// When it cannot be made, or somebody else could write it.
    pub(crate) fn open(folder: &Path, engine: &Engine) -> Result<Self, SandboxError> {
        let failed = |source| SandboxError::Cache {
            path: folder.to_owned(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(failed)?;
        let metadata = std::fs::symlink_metadata(folder).map_err(failed)?;
        let private = if metadata.is_dir() {
            only_ours(&metadata)
        } else {
            Err("it is not a folder")
        };
        private.map_err(|reason| SandboxError::CacheNotPrivate {
            path: folder.to_owned(),
            reason,
        })?;
        let cache = Self {
            folder: folder.to_owned(),
            engine_key: engine_key(engine),
            written: AtomicU64::new(0),
        };
        cache.sweep().map_err(failed)?;
        Ok(cache)
    }

    /// The compiled form of a component, when there is one that can be trusted.
    pub(crate) fn load(&self, engine: &Engine, digest: Digest) -> Option<Component> {
        match self.read(digest) {
            Ok(code) => deserialize(engine, &code)
                .inspect_err(|error| {
                    tracing::warn!(%digest, error = %error.root_cause(), "compiled component is of another engine");
                })
                .ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(%digest, %error, "compiled component is not trusted, compiling again");
                None
            }
        }
    }

    /// Keeps the compiled form of a component.
    pub(crate) fn store(&self, digest: Digest, component: &Component) {
        let stored = component
            .serialize()
            .map_err(io::Error::other)
            .and_then(|code| self.write(digest, &code));
        if let Err(error) = stored {
            tracing::warn!(%digest, %error, "compiled component cannot be kept, it is compiled anew at the next start");
        }
    }

    fn entry(&self, digest: Digest) -> PathBuf {
        let key = self.engine_key;
        self.folder
            .join(format!("{}-{key:016x}{SUFFIX}", digest.to_hex()))
    }

    /// The machine code of an entry, checked.
    fn read(&self, digest: Digest) -> io::Result<Trusted> {
        let path = self.entry(digest);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::open(&path, flags, Mode::empty())?);
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(refused("it is not a regular file"));
        }
        only_ours(&metadata).map_err(refused)?;
        if metadata.len() > CACHE_ENTRY.0 {
            return Err(refused("it is larger than any entry"));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
        Read::by_ref(&mut file)
            .take(CACHE_ENTRY.0)
            .read_to_end(&mut bytes)?;
        let damaged = || refused("it is damaged");
        let sealed = bytes.strip_prefix(MAGIC).ok_or_else(damaged)?;
        let (sum, code) = sealed.split_at_checked(SUM_BYTES).ok_or_else(damaged)?;
        if sum == self.sum(digest, code) {
            let code_at = MAGIC.len() + SUM_BYTES;
            Ok(Trusted { bytes, code_at })
        } else {
            Err(damaged())
        }
    }

    fn sum(&self, digest: Digest, code: &[u8]) -> [u8; SUM_BYTES] {
        let mut hash = Sha256::new();
        hash.update(MAGIC);
        hash.update(self.engine_key.to_be_bytes());
        hash.update(digest.to_hex());
        hash.update(code);
        hash.finalize().into()
    }

    /// Writes an entry under a name of its own and moves it into place, so that
    /// nobody ever sees a part of one.
    fn write(&self, digest: Digest, code: &[u8]) -> io::Result<()> {
        let count = self.written.fetch_add(1, Ordering::Relaxed);
        let unfinished = self.folder.join(format!(
            "{}-{}-{count}{UNFINISHED}",
            digest.to_hex(),
            std::process::id()
        ));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let mut file = File::from(rustix::fs::open(&unfinished, flags, mode)?);
        let moved = file
            .write_all(MAGIC)
            .and_then(|()| file.write_all(&self.sum(digest, code)))
            .and_then(|()| file.write_all(code))
            .and_then(|()| std::fs::rename(&unfinished, self.entry(digest)));
        if moved.is_err() {
            // The error that counts is the first one.
            let _ = std::fs::remove_file(&unfinished);
        }
        moved
    }

    /// Removes what was never finished, what is of another engine, and the
    /// oldest entries above [`CACHE_ENTRIES`].
    fn sweep(&self) -> io::Result<()> {
        let ours = format!("-{:016x}{SUFFIX}", self.engine_key);
        let now = SystemTime::now();
        let mut kept: Vec<(SystemTime, PathBuf)> = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let Ok(modified) = entry.metadata().and_then(|metadata| metadata.modified()) else {
                continue;
            };
            let age = now.duration_since(modified).unwrap_or_default();
            if name.ends_with(&ours) {
                kept.push((modified, entry.path()));
            } else if name.ends_with(SUFFIX) || (name.ends_with(UNFINISHED) && age > UNFINISHED_FOR)
            {
                remove(&entry.path());
            }
        }
        kept.sort();
        let surplus = kept.len().saturating_sub(CACHE_ENTRIES);
        for (_, path) in kept.into_iter().take(surplus) {
            remove(&path);
        }
        Ok(())
    }
}

/// Machine code of an entry that passed every check.
struct Trusted {
    bytes: Vec<u8>,
    code_at: usize,
}

impl Trusted {
    fn code(&self) -> &[u8] {
        self.bytes.get(self.code_at..).unwrap_or_default()
    }
}

/// Loads machine code. The bytes are in memory that nobody else can change, so
/// what was checked is what is loaded.
#[expect(
    unsafe_code,
    reason = "wasmtime cannot check machine code; `Trusted` says that this user's process wrote it"
)]
fn deserialize(engine: &Engine, trusted: &Trusted) -> wasmtime::Result<Component> {
    // SAFETY: the bytes must be what `Component::serialize` returned. `Trusted` is
    // made in `Cache::read` alone, after these checks: only this user can have
    // written the file, and its SHA-256 is the one that `Cache::write` stored with
    // what `serialize` had returned for this component and an engine of the same
    // version and settings.
    unsafe { Component::deserialize(engine, trusted.code()) }
}

fn refused(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, reason)
}

fn only_ours(metadata: &Metadata) -> Result<(), &'static str> {
    let us = rustix::process::geteuid().as_raw();
    owner_and_mode(metadata.uid(), us, metadata.mode())
}

fn owner_and_mode(owner: u32, us: u32, mode: u32) -> Result<(), &'static str> {
    if owner != us {
        Err("it belongs to another user")
    } else if mode & 0o022 != 0 {
        Err("its group or everybody may write it")
    } else {
        Ok(())
    }
}

fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::debug!(path = %path.display(), %error, "cannot remove a compiled component");
    }
}

fn engine_key(engine: &Engine) -> u64 {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    struct Case {
        folder: tempfile::TempDir,
        engine: Engine,
        cache: Cache,
        digest: Digest,
    }

    impl Case {
        /// A cache with one entry.
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let engine = Engine::default();
            let path = folder.path().join("cache");
            let cache = Cache::open(&path, &engine).unwrap();
            let digest = Digest::of(COMPONENT);
            cache.store(digest, &Component::new(&engine, COMPONENT).unwrap());
            Self {
                folder,
                engine,
                cache,
                digest,
            }
        }

        fn loads(&self) -> bool {
            self.cache.load(&self.engine, self.digest).is_some()
        }

        fn entry(&self) -> PathBuf {
            self.cache.entry(self.digest)
        }
    }

    #[test]
    fn entries_are_private_and_load() {
        let case = Case::new();
        assert!(case.loads());
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&case.entry()), 0o600);
        assert_eq!(mode(&case.cache.folder), 0o700);
        assert_eq!(std::fs::read_dir(&case.cache.folder).unwrap().count(), 1);
    }

    #[test]
    fn an_entry_that_others_may_write_is_not_trusted() {
        let case = Case::new();
        for (mode, trusted) in [(0o620, false), (0o602, false), (0o644, true), (0o600, true)] {
            std::fs::set_permissions(case.entry(), PermissionsExt::from_mode(mode)).unwrap();
            assert_eq!(case.loads(), trusted, "{mode:o}");
        }
    }

    #[test]
    fn an_entry_of_another_user_is_not_trusted() {
        for (owner, mode, trusted) in [
            (7, 0o100_600, true),
            (8, 0o100_600, false),
            (0, 0o100_600, false),
            (7, 0o100_666, false),
        ] {
            assert_eq!(owner_and_mode(owner, 7, mode).is_ok(), trusted);
        }
        let case = Case::new();
        // Only root can give a file away; the table above holds for everybody.
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(case.entry(), Some(64_123), None).unwrap();
            assert!(!case.loads());
        }
    }

    #[test]
    fn a_damaged_entry_is_not_trusted() {
        let case = Case::new();
        let whole = std::fs::read(case.entry()).unwrap();
        let step = whole.len() / 50;
        for at in (0..whole.len()).step_by(step) {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(case.entry(), &damaged).unwrap();
            assert!(!case.loads(), "byte {at} flipped");
        }
        for length in [0, 1, 16, 40, 48, whole.len() - 1] {
            std::fs::write(case.entry(), &whole[..length]).unwrap();
            assert!(!case.loads(), "cut to {length}");
        }
        std::fs::write(case.entry(), [&whole[..], b"x"].concat()).unwrap();
        assert!(!case.loads(), "something added");
        std::fs::write(case.entry(), whole).unwrap();
        assert!(case.loads());
    }

    #[test]
    fn an_entry_of_another_component_or_engine_is_not_trusted() {
        let case = Case::new();
        let other = Digest::of(b"other");
        std::fs::copy(case.entry(), case.cache.entry(other)).unwrap();
        assert!(case.cache.load(&case.engine, other).is_none());

        let mut config = wasmtime::Config::new();
        config.epoch_interruption(true);
        let engine = Engine::new(&config).unwrap();
        assert_ne!(engine_key(&engine), engine_key(&case.engine));
    }

    #[test]
    fn links_folders_and_pipes_are_not_trusted() {
        let case = Case::new();
        let kept = case.folder.path().join("kept");
        std::fs::rename(case.entry(), &kept).unwrap();
        symlink(&kept, case.entry()).unwrap();
        assert!(!case.loads(), "a link");
        std::fs::remove_file(case.entry()).unwrap();
        std::fs::create_dir(case.entry()).unwrap();
        assert!(!case.loads(), "a folder");
        std::fs::remove_dir(case.entry()).unwrap();
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(
            rustix::fs::CWD,
            case.entry(),
            rustix::fs::FileType::Fifo,
            mode,
            0,
        )
        .unwrap();
        assert!(!case.loads(), "a pipe");
    }

    #[test]
    fn a_folder_that_others_may_write_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).unwrap();
        let error = Cache::open(&path, &Engine::default()).unwrap_err();
        assert!(error.to_string().contains("mode 0700"), "{error}");

        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(Cache::open(&file, &Engine::default()).is_err());
        let link = folder.path().join("link");
        std::fs::create_dir(folder.path().join("target")).unwrap();
        symlink(folder.path().join("target"), &link).unwrap();
        assert!(Cache::open(&link, &Engine::default()).is_err());
    }

    #[test]
    fn a_sweep_removes_what_can_never_be_used() {
        let case = Case::new();
        let folder = &case.cache.folder;
        for name in [
            "aa-0000000000000000.code",
            "old.unfinished",
            "new.unfinished",
            "other",
        ] {
            std::fs::write(folder.join(name), "").unwrap();
        }
        let old = SystemTime::now() - 2 * UNFINISHED_FOR;
        let file = File::options()
            .write(true)
            .open(folder.join("old.unfinished"));
        file.unwrap().set_modified(old).unwrap();
        for number in 0..CACHE_ENTRIES {
            let path = case.cache.entry(Digest::of(&number.to_be_bytes()));
            std::fs::write(&path, "").unwrap();
        }
        let file = File::options().write(true).open(case.entry()).unwrap();
        file.set_modified(old).unwrap();
        case.cache.sweep().unwrap();
        let names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let entries = names.iter().filter(|name| name.ends_with(SUFFIX)).count();
        assert_eq!(entries, CACHE_ENTRIES);
        assert!(!case.entry().exists(), "the oldest goes");
        assert!(names.contains(&"new.unfinished".to_owned()));
        assert!(names.contains(&"other".to_owned()));
        assert!(!names.contains(&"old.unfinished".to_owned()));
    }

    #[test]
    fn a_cache_that_cannot_be_written_is_no_failure() {
        let case = Case::new();
        std::fs::remove_dir_all(&case.cache.folder).unwrap();
        let component = Component::new(&case.engine, COMPONENT).unwrap();
        case.cache.store(case.digest, &component);
        assert!(!case.loads());
    }
}
