//! The lock of a data directory: one infraflow at a time.
//!
//! An exclusive `flock` on `<data_dir>/lock`. The file stays; only the lock
//! counts. What is written in it is for people.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};

use camino::Utf8Path;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::getpid;

use super::wire::Holder;

/// What came of trying to take the lock.
pub(crate) enum Taken {
    /// It is ours until every copy of the file is closed.
    Ours(File),
    /// Somebody else has it.
    Theirs(Holder),
}

/// Tries to take the lock of a data directory, which is made when it is not
/// there.
///
/// # Errors
/// When the folder or the file cannot be made, or the file system has no locks.
pub(crate) fn try_take(data_dir: &Utf8Path, host: i32) -> io::Result<Taken> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)?;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(data_dir.join("lock"))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(written(host, getpid().as_raw_pid()).as_bytes())?;
            Ok(Taken::Ours(file))
        }
        Err(Errno::WOULDBLOCK) => {
            let mut text = String::new();
            file.take(1_024).read_to_string(&mut text)?;
            Ok(Taken::Theirs(read(&text)))
        }
        Err(other) => Err(other.into()),
    }
}

fn written(host: i32, watchdog: i32) -> String {
    format!("host {host}\nwatchdog {watchdog}\n")
}

fn read(text: &str) -> Holder {
    let find = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
    };
    Holder {
        host: find("host "),
        watchdog: find("watchdog "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = Utf8Path::from_path(folder.path()).unwrap().join("new/data");
        let Taken::Ours(first) = try_take(&data_dir, 4711).unwrap() else {
            panic!("nobody has it");
        };
        let Taken::Theirs(holder) = try_take(&data_dir, 4712).unwrap() else {
            panic!("the first has it");
        };
        assert_eq!(
            holder,
            Holder {
                host: Some(4711),
                watchdog: Some(getpid().as_raw_pid())
            }
        );
        let copy = first.try_clone().unwrap();
        drop(first);
        assert!(
            matches!(try_take(&data_dir, 4712).unwrap(), Taken::Theirs(_)),
            "a copy holds it too"
        );
        drop(copy);
        assert!(matches!(try_take(&data_dir, 4712).unwrap(), Taken::Ours(_)));
    }

    #[test]
    fn lock_files_of_all_kinds() {
        for (text, host, watchdog) in [
            ("", None, None),
            ("host 12\nwatchdog 13\n", Some(12), Some(13)),
            ("host x\nwatchdog 13", None, Some(13)),
            ("nonsense\n\n", None, None),
        ] {
            assert_eq!(read(text), Holder { host, watchdog }, "{text:?}");
        }
    }
}
