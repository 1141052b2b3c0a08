//! A small disk of one's own, that can be filled.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::host::command;

/// Its size: enough for the streams of a few runs.
const SIZE: &str = "size=24m";

/// What is written at once while it is filled.
const BLOCK: usize = 64 * 1024;

/// A mounted folder.
#[derive(Debug)]
pub struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// Mounts one; `None` where that is not allowed (it needs root).
    ///
    /// # Panics
    /// When there is no folder for it.
    pub fn mount() -> Option<Self> {
        let folder = tempfile::Builder::new()
            .prefix("infraflow-disk-")
            .tempdir()
            .expect("a folder for the disk");
        let path = folder.path().to_owned();
        run("mount", &["-t", "tmpfs", "-o", SIZE, "tmpfs"], &path).then_some(Self { folder })
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    fn filler(&self) -> PathBuf {
        self.folder.path().join("filler")
    }

    /// Fills it to the last byte.
    ///
    /// # Panics
    /// When nothing can be written at all.
    pub fn fill(&self) {
        let mut file = fs::File::create(self.filler()).expect("a file that fills the disk");
        let mut size = BLOCK;
        let block = vec![0; BLOCK];
        while size > 0 {
            let bytes = block.get(..size).unwrap_or_default();
            if file.write_all(bytes).is_err() {
                size /= 2;
            }
        }
    }

    /// Makes room again.
    pub fn make_room(&self) {
        // Not there: it was never filled.
        drop(fs::remove_file(self.filler()));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whoever still has a file open there keeps it.
        run("umount", &["-l"], self.folder.path());
    }
}

fn run(program: &str, arguments: &[&str], path: &Path) -> bool {
    let output = command(Path::new(program))
        .args(arguments)
        .arg(path)
        .output();
    output.is_ok_and(|output| output.status.success())
}
