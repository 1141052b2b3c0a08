//! Private folders on the host's disk, for tools that run without a jail.
//!
//! Removed when the call is over; what a killed host leaves is removed when the
//! next one starts.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::sync::atomic::{AtomicU64, Ordering};

use camino::{Utf8Path, Utf8PathBuf};

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A folder of one call, open to us alone.
pub(crate) struct LooseFolder(Utf8PathBuf);

impl LooseFolder {
    /// Makes one in `parent`, which is made too.
    pub(crate) fn make(parent: &Utf8Path) -> io::Result<Self> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = Self(parent.join(format!("{}-{number}", std::process::id())));
        folder.renew()?;
        Ok(folder)
    }

    pub(crate) fn path(&self) -> &Utf8Path {
        &self.0
    }

    /// Empties it, with a fresh home and a fresh folder for temporary files.
    pub(crate) fn renew(&self) -> io::Result<()> {
        remove(&self.0)?;
        for name in ["private", "home", "tmp"] {
            make_private(&self.0.join(name))?;
        }
        Ok(())
    }
}

impl Drop for LooseFolder {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.0) {
            tracing::warn!(folder = %self.0, %error, "a private folder cannot be removed");
        }
    }
}

/// Makes a folder that only we may enter, and those above it.
pub(crate) fn make_private(path: &Utf8Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Removes a folder of ours, if it is there.
pub(crate) fn remove(path: &Utf8Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loose_folder_is_empty_each_time_and_gone_at_the_end() {
        let parent = tempfile::tempdir().unwrap();
        let parent = Utf8Path::from_path(parent.path()).unwrap();
        let folder = LooseFolder::make(parent).unwrap();
        let path = folder.path().to_owned();
        std::fs::write(path.join("private/key"), "secret").unwrap();
        folder.renew().unwrap();
        assert!(!path.join("private/key").exists());
        assert!(path.join("home").is_dir());
        drop(folder);
        assert!(!path.exists());
    }
}
