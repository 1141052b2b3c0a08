//! The workspaces of runs: one folder each, `<data_dir>/work/<run id>`.
//!
//! Tools write into a workspace as their own user, so everything in it may be
//! hostile: it is only ever touched beneath an open folder ([`beneath`]). This
//! module never runs anything and never removes a workspace by itself.

mod archive;
mod beneath;
pub mod retention;
mod store;
pub mod upload;

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::time::SystemTime;

use camino::{Utf8Path, Utf8PathBuf};
use infraflow_core::id::RunId;
use infraflow_core::ports::Trust;
use infraflow_core::tool::{CallError, Entry, EntryKind, GuestPath};
use rustix::fs::FileType;
use rustix::process::{Gid, Uid};

pub(crate) use self::beneath::{Folder, PathError};
use crate::errors::{system, too_large, too_many};
use crate::limits::{
    WORKSPACE_DEPTH, WORKSPACE_LIST, WORKSPACE_MEASURED, WORKSPACE_READ, WORKSPACE_WRITE,
};
use crate::loose::make_private;
use crate::shim::Identity;
use crate::tasks::blocking;

/// The workspaces of a data directory. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Workspaces {
    work: Utf8PathBuf,
    private: Utf8PathBuf,
    owner: Option<Identity>,
}

/// A workspace that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkspaceEntry {
    /// Its run.
    pub run: RunId,
    /// When its folder was last changed; a lower bound of its last use.
    pub modified: SystemTime,
}

/// Why workspaces cannot be looked at or removed.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// The folder of all workspaces cannot be read.
    #[error("list the workspaces in `{folder}`")]
    List {
        /// The folder.
        folder: Utf8PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A workspace cannot be removed. What could be removed is gone; trying
    /// again does no harm.
    #[error("remove the workspace of run `{run}`")]
    Remove {
        /// The run.
        run: RunId,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The mark of a workspace that is not trusted, in the run's private folder.
const UNTRUSTED: &str = "untrusted";

impl Workspaces {
    /// The workspaces of a data directory; `owner` is whom their files belong
    /// to, when that is not ourselves.
    pub(crate) fn new(data_dir: &Utf8Path, owner: Option<Identity>) -> Self {
        Self {
            work: data_dir.join("work"),
            private: data_dir.join("private"),
            owner,
        }
    }

    /// Where a run's workspace is, or would be.
    pub fn path(&self, run: RunId) -> Utf8PathBuf {
        self.work.join(run.to_string())
    }

    /// A folder of ours for what belongs to a run but not into its workspace.
    pub(crate) fn private(&self, run: RunId) -> Utf8PathBuf {
        self.private.join(run.to_string())
    }

    /// The workspaces that are there, in no order.
    ///
    /// # Errors
    /// When the folder cannot be read. Before the first run there is none, and
    /// no error.
    pub async fn list(&self) -> Result<Vec<WorkspaceEntry>, WorkspaceError> {
        let folder = self.work.clone();
        let listed = blocking({
            let folder = folder.clone();
            move || list(&folder)
        });
        listed
            .await
            .map_err(|source| WorkspaceError::List { folder, source })
    }

    /// What a run's workspace and everything private of that run take of the
    /// disk, in bytes. At least: what cannot be read, is deeper than 200
    /// folders, or comes after a million entries is not counted.
    ///
    /// Looks at every entry, so it takes a moment; of a run that has ended the
    /// answer does not change.
    pub async fn bytes(&self, run: RunId) -> u64 {
        let folders = [self.path(run), self.private(run)];
        blocking(move || {
            let mut entries_left = WORKSPACE_MEASURED;
            let open = folders.iter().flat_map(|path| Folder::open(path, None));
            let bytes = open.map(|folder| measure(&folder, 0, &mut entries_left));
            bytes.fold(0, u64::saturating_add)
        })
        .await
    }

    /// Removes a run's workspace and everything private of that run. No error
    /// when there is none. Call it only when no tool of the run is running.
    ///
    /// # Errors
    /// When something in it cannot be removed.
    pub async fn remove(&self, run: RunId) -> Result<(), WorkspaceError> {
        let folders = [self.path(run), self.staging(run), self.private(run)];
        blocking(move || folders.iter().try_for_each(|folder| remove(folder)))
            .await
            .map_err(|source| WorkspaceError::Remove { run, source })
    }

    /// Notes that code of a stranger comes into a run's workspace.
    pub(crate) async fn distrust(&self, run: RunId) -> Result<(), CallError> {
        let this = self.clone();
        blocking(move || this.mark_untrusted(run))
            .await
            .map_err(|error| system("note that the workspace is not trusted", &error))
    }

    fn mark_untrusted(&self, run: RunId) -> io::Result<()> {
        let private = self.private(run);
        make_private(&private)?;
        std::fs::write(private.join(UNTRUSTED), "")
    }

    fn is_marked_untrusted(&self, run: RunId) -> io::Result<bool> {
        self.private(run).join(UNTRUSTED).try_exists()
    }

    /// How far what a run works with is trusted: as far as the run itself, and
    /// no further than what came into its workspace.
    pub(crate) async fn trust(&self, run: RunId, trust: Trust) -> Result<Trust, CallError> {
        let this = self.clone();
        let is_marked = blocking(move || this.is_marked_untrusted(run))
            .await
            .map_err(|error| system("look whether the workspace is trusted", &error))?;
        Ok(if is_marked { Trust::Untrusted } else { trust })
    }

    /// Makes a run's workspace, if it is not there, and opens it.
    pub(crate) async fn open(&self, run: RunId) -> Result<Folder, CallError> {
        let this = self.clone();
        blocking(move || this.make(run))
            .await
            .map_err(|error| system("make the workspace", &error))
    }

    fn make(&self, run: RunId) -> io::Result<Folder> {
        let path = self.path(run);
        make_private(&self.work)?;
        match DirBuilder::new().mode(0o755).create(&path) {
            Ok(()) => own(&path, self.owner)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        Folder::open(&path, self.owner)
    }

    /// Makes a private folder that the tools of a run may write to.
    pub(crate) async fn make_bound(&self, path: Utf8PathBuf) -> Result<Utf8PathBuf, CallError> {
        let owner = self.owner;
        blocking(move || {
            make_private(&path)?;
            own(&path, owner)?;
            Ok(path)
        })
        .await
        .map_err(|error| system("make a private folder", &error))
    }

    /// Reads a file.
    pub(crate) async fn read(&self, run: RunId, path: GuestPath) -> Result<Vec<u8>, CallError> {
        let folder = self.open(run).await?;
        blocking(move || {
            folder
                .read(path.as_str(), WORKSPACE_READ.0)
                .map_err(|error| match error {
                    PathError::TooLarge => too_large("workspace_read_bytes", WORKSPACE_READ),
                    other => blame(&path, &other),
                })
        })
        .await
    }

    /// Writes a file.
    pub(crate) async fn write(
        &self,
        run: RunId,
        path: GuestPath,
        data: Vec<u8>,
    ) -> Result<(), CallError> {
        if data.len() > WORKSPACE_WRITE.to_usize() {
            return Err(too_large("workspace_write_bytes", WORKSPACE_WRITE));
        }
        let folder = self.open(run).await?;
        blocking(move || {
            folder
                .write(path.as_str(), &data)
                .map_err(|error| blame(&path, &error))
        })
        .await
    }

    /// Lists a folder.
    pub(crate) async fn list_folder(
        &self,
        run: RunId,
        path: GuestPath,
    ) -> Result<Vec<Entry>, CallError> {
        let folder = self.open(run).await?;
        blocking(move || {
            let listed = folder
                .folder(path.as_str())
                .and_then(|folder| folder.list(WORKSPACE_LIST));
            match listed {
                Ok(found) => Ok(found.into_iter().map(entry).collect()),
                Err(PathError::TooLarge) => Err(too_many("workspace_list_entries", WORKSPACE_LIST)),
                Err(other) => Err(blame(&path, &other)),
            }
        })
        .await
    }

    /// Opens a folder that is made, or emptied when it is there.
    pub(crate) async fn fresh(&self, run: RunId, path: &GuestPath) -> Result<Folder, CallError> {
        let folder = self.open(run).await?;
        let path = path.clone();
        blocking(move || {
            let fresh = || {
                let inner = folder.make_folders(path.as_str(), beneath::Links::Inside)?;
                inner.clear()?;
                Ok(inner)
            };
            fresh().map_err(|error| blame(&path, &error))
        })
        .await
    }

    /// Unpacks an upload into a folder that is emptied first.
    pub(crate) async fn unpack(
        &self,
        run: RunId,
        path: &GuestPath,
        bytes: Vec<u8>,
    ) -> Result<(), CallError> {
        let folder = self.fresh(run, path).await?;
        blocking(move || upload::unpack(&bytes, &folder)).await
    }

    /// Checks that a path leads to something of the expected kind.
    pub(crate) async fn expect(
        &self,
        run: RunId,
        path: &GuestPath,
        expected: Expected,
    ) -> Result<(), CallError> {
        let folder = self.open(run).await?;
        let path = path.clone();
        blocking(move || {
            let found = folder
                .kind(path.as_str())
                .map_err(|error| blame(&path, &error))?;
            let (fits, text) = match expected {
                Expected::File => (found == FileType::RegularFile, "a regular file"),
                Expected::Folder => (found == FileType::Directory, "a folder"),
                Expected::FileOrFolder => (
                    matches!(found, FileType::RegularFile | FileType::Directory),
                    "a file or a folder",
                ),
            };
            if fits {
                Ok(())
            } else {
                Err(CallError::Invalid(format!("`{path}`: expected {text}")))
            }
        })
        .await
    }
}

/// What a path should lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    File,
    Folder,
    FileOrFolder,
}

/// What an error of a path means to whoever gave the path.
pub(crate) fn blame(path: &GuestPath, error: &PathError) -> CallError {
    match error {
        PathError::Missing => CallError::NotFound(format!("`{path}`")),
        PathError::System(error) => system(&format!("use `{path}`"), error),
        PathError::Outside | PathError::Kind(_) | PathError::TooLarge => {
            CallError::Invalid(format!("`{path}`: {error}"))
        }
    }
}

fn entry(found: beneath::Found) -> Entry {
    let kind = match found.kind {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Directory,
        FileType::Symlink => EntryKind::Symlink,
        _ => EntryKind::Other,
    };
    Entry {
        name: found.name.to_string_lossy().into_owned(),
        kind,
        size: if kind == EntryKind::File {
            found.size
        } else {
            0
        },
    }
}

fn own(path: &Utf8Path, owner: Option<Identity>) -> io::Result<()> {
    let Some(owner) = owner else { return Ok(()) };
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    Ok(rustix::fs::chown(path.as_std_path(), Some(uid), Some(gid))?)
}

fn list(folder: &Utf8Path) -> io::Result<Vec<WorkspaceEntry>> {
    let entries = match folder.read_dir_utf8() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        // What is not named like a run is not ours.
        if let Ok(run) = entry.file_name().parse() {
            let modified = entry.metadata()?.modified()?;
            found.push(WorkspaceEntry { run, modified });
        }
    }
    Ok(found)
}

/// The bytes beneath a folder. Calls itself no deeper than [`WORKSPACE_DEPTH`].
fn measure(folder: &Folder, depth: usize, entries_left: &mut usize) -> u64 {
    let Ok(found) = folder.list(*entries_left) else {
        return 0;
    };
    *entries_left = entries_left.saturating_sub(found.len());
    let mut bytes = 0_u64;
    for entry in found {
        bytes = bytes.saturating_add(entry.blocks.saturating_mul(512));
        if entry.kind == FileType::Directory
            && depth < WORKSPACE_DEPTH
            && let Ok(inner) = folder.folder_by(&entry.name, beneath::Links::Never)
        {
            bytes = bytes.saturating_add(measure(&inner, depth + 1, entries_left));
        }
    }
    bytes
}

fn remove(path: &Utf8Path) -> io::Result<()> {
    let cleared = match Folder::open(path, None) {
        Ok(folder) => folder.clear(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    match cleared {
        Ok(()) => std::fs::remove_dir(path),
        Err(PathError::System(error)) => Err(error),
        Err(other) => Err(io::Error::other(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use infraflow_core::id::{EventId, EventSource, ProjectName, WorkflowName};

    fn run() -> RunId {
        RunId::derive(
            &ProjectName::default_project(),
            &EventSource::new("source:x").unwrap(),
            &EventId::new("1").unwrap(),
            &WorkflowName::new("w").unwrap(),
        )
    }

    fn path(text: &str) -> GuestPath {
        GuestPath::new(text).unwrap()
    }

    fn workspaces() -> (tempfile::TempDir, Workspaces) {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = Utf8Path::from_path(folder.path()).unwrap();
        let workspaces = Workspaces::new(data_dir, None);
        (folder, workspaces)
    }

    #[tokio::test]
    async fn a_workspace_lives_from_its_first_use_until_it_is_removed() {
        let (_folder, workspaces) = workspaces();
        assert_eq!(workspaces.list().await.unwrap(), []);
        workspaces.remove(run()).await.unwrap();
        workspaces
            .write(run(), path("a/b"), b"x".to_vec())
            .await
            .unwrap();
        assert_eq!(workspaces.read(run(), path("a/b")).await.unwrap(), b"x");
        let list = workspaces.list().await.unwrap();
        assert_eq!(list.iter().map(|w| w.run).collect::<Vec<_>>(), [run()]);
        std::fs::create_dir_all(workspaces.private(run()).join("tofu")).unwrap();
        workspaces.remove(run()).await.unwrap();
        assert!(!workspaces.path(run()).exists() && !workspaces.private(run()).exists());
        assert_eq!(workspaces.list().await.unwrap(), []);
    }

    #[tokio::test]
    async fn the_bytes_of_a_workspace_are_those_on_the_disk() {
        let (_folder, workspaces) = workspaces();
        assert_eq!(workspaces.bytes(run()).await, 0);
        let data = vec![1; 100_000];
        for file in ["a/b/c", "d"] {
            let written = workspaces.write(run(), path(file), data.clone());
            written.await.unwrap();
        }
        let both = workspaces.bytes(run()).await;
        assert!((200_000..300_000).contains(&both), "{both}");
        let private = workspaces.private(run()).join("tofu");
        std::fs::create_dir_all(&private).unwrap();
        std::fs::write(private.join("provider"), &data).unwrap();
        let all = workspaces.bytes(run()).await;
        assert!((300_000..400_000).contains(&all), "{all}");
        // A hole takes no room, a link takes none of what it leads to.
        let root = workspaces.path(run());
        let hole = std::fs::File::create(root.join("hole")).unwrap();
        hole.set_len(1 << 40).unwrap();
        std::os::unix::fs::symlink("/", root.join("link")).unwrap();
        assert!(workspaces.bytes(run()).await < 400_000);
        let folder = Folder::open(&root, None).unwrap();
        assert_eq!(measure(&folder, 0, &mut 3), 0, "not even looked at");
        let mut entries_left = 4;
        assert!(measure(&folder, 0, &mut entries_left) < both);
        assert_eq!(entries_left, 0);
    }

    #[tokio::test]
    async fn errors_name_the_path_and_blame_the_right_one() {
        let (_folder, workspaces) = workspaces();
        workspaces
            .write(run(), path("file"), b"x".to_vec())
            .await
            .unwrap();
        let link = workspaces.path(run()).join("link");
        std::os::unix::fs::symlink("/etc/passwd", link).unwrap();
        assert_eq!(
            workspaces.read(run(), path("none")).await,
            Err(CallError::NotFound("`none`".to_owned()))
        );
        assert_eq!(
            workspaces.read(run(), path("link")).await,
            Err(CallError::Invalid(
                "`link`: it leads out of the workspace".to_owned()
            ))
        );
        assert_eq!(
            workspaces.list_folder(run(), path("file")).await,
            Err(CallError::Invalid("`file`: expected a folder".to_owned()))
        );
        let too_long = vec![0; WORKSPACE_WRITE.to_usize() + 1];
        assert_eq!(
            workspaces.write(run(), path("big"), too_long).await,
            Err(too_large("workspace_write_bytes", WORKSPACE_WRITE))
        );
        let largest = vec![0; WORKSPACE_WRITE.to_usize()];
        workspaces.write(run(), path("big"), largest).await.unwrap();
        assert!(workspaces.read(run(), path("big")).await.is_ok());
        let expected = workspaces
            .expect(run(), &path("link"), Expected::File)
            .await;
        assert!(matches!(expected, Err(CallError::Invalid(_))));
    }

    #[tokio::test]
    async fn listing_is_bounded() {
        let (_folder, workspaces) = workspaces();
        workspaces.open(run()).await.unwrap();
        let folder = workspaces.path(run());
        for number in 0..WORKSPACE_LIST {
            std::fs::File::create(folder.join(number.to_string())).unwrap();
        }
        let listed = workspaces.list_folder(run(), GuestPath::root()).await;
        assert_eq!(listed.unwrap().len(), WORKSPACE_LIST);
        std::fs::File::create(folder.join("one-more")).unwrap();
        assert_eq!(
            workspaces.list_folder(run(), GuestPath::root()).await,
            Err(too_many("workspace_list_entries", WORKSPACE_LIST))
        );
    }

    #[tokio::test]
    async fn a_fresh_folder_is_empty() {
        let (_folder, workspaces) = workspaces();
        for text in ["", "a/b"] {
            let file = path(&format!("./{text}/old"));
            workspaces.write(run(), file.clone(), vec![]).await.unwrap();
            workspaces.fresh(run(), &path(text)).await.unwrap();
            let read = workspaces.read(run(), file).await;
            assert!(matches!(read, Err(CallError::NotFound(_))));
        }
        workspaces.write(run(), path("f"), vec![]).await.unwrap();
        assert!(matches!(
            workspaces.fresh(run(), &path("f")).await,
            Err(CallError::Invalid(_))
        ));
    }
}
