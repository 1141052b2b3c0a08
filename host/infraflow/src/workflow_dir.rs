//! The folder of workflows: imported at the start and whenever it changes. A
//! file with problems keeps the version before it, and the problems are shown.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use infraflow_core::id::WorkflowName;
use infraflow_core::limits::DOCUMENT;
use infraflow_engine::Engine;
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

/// How long to wait for more changes before the folder is read: editors write a
/// file in several steps.
const SETTLE: Duration = Duration::from_millis(100);

/// The folder is read at least this often: not every file system tells of
/// changes.
const POLL: Duration = Duration::from_secs(30);

/// The folder of workflows.
pub(crate) struct WorkflowDir {
    folder: Utf8PathBuf,
    problems: Mutex<BTreeMap<Utf8PathBuf, String>>,
}

impl WorkflowDir {
    /// A folder; it may be missing.
    pub(crate) fn new(folder: Utf8PathBuf) -> Self {
        Self {
            folder,
            problems: Mutex::default(),
        }
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Utf8Path {
        &self.folder
    }

    /// What is wrong with its files.
    pub(crate) fn problems(&self) -> BTreeMap<Utf8PathBuf, String> {
        self.problems
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Reads the folder: new and changed files are stored, workflows whose file
    /// is gone are removed. Returns how many there are.
    pub(crate) async fn import(&self, engine: &Engine) -> usize {
        let mut problems = BTreeMap::new();
        let mut names: BTreeMap<WorkflowName, Utf8PathBuf> = BTreeMap::new();
        let mut kept = Vec::new();
        for path in self.files(&mut problems) {
            match self.import_file(engine, &path).await {
                Ok(name) => {
                    if let Some(other) = names.insert(name.clone(), path.clone()) {
                        let problem = format!(
                            "workflow `{name}` stands in `{other}` too: one of them must go"
                        );
                        problems.insert(path, problem);
                    }
                }
                Err(problem) => {
                    kept.push(origin_of(&path));
                    problems.insert(path, problem);
                }
            }
        }
        self.remove_gone(engine, &names, &kept).await;
        self.note(problems);
        names.len()
    }

    fn note(&self, problems: BTreeMap<Utf8PathBuf, String>) {
        let mut known = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        for (path, problem) in &problems {
            if known.get(path) != Some(problem) {
                tracing::warn!(%path, "workflow file has problems, the version before it stays:\n{problem}");
            }
        }
        *known = problems;
    }

    fn files(&self, problems: &mut BTreeMap<Utf8PathBuf, String>) -> Vec<Utf8PathBuf> {
        let entries = match self.folder.read_dir_utf8() {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return vec![],
            Err(error) => {
                problems.insert(
                    self.folder.clone(),
                    format!("the folder cannot be read: {error}"),
                );
                return vec![];
            }
        };
        let mut files: Vec<Utf8PathBuf> = entries
            .filter_map(Result::ok)
            .map(|entry| entry.path().to_owned())
            .filter(|path| matches!(path.extension(), Some("yaml" | "yml")))
            .filter(|path| !path.file_name().is_some_and(|name| name.starts_with('.')))
            .collect();
        files.sort();
        files
    }

    async fn import_file(&self, engine: &Engine, path: &Utf8Path) -> Result<WorkflowName, String> {
        let text = read_text(path)?;
        engine
            .catalog()
            .put(path.as_str(), &text, &origin_of(path))
            .await
            .map_err(|error| error.to_string())
    }

    async fn remove_gone(
        &self,
        engine: &Engine,
        names: &BTreeMap<WorkflowName, Utf8PathBuf>,
        kept: &[String],
    ) {
        let prefix = origin_of(&self.folder);
        for entry in &engine.catalog().current().entries {
            let stored = &entry.stored;
            let is_ours = stored.origin.starts_with(&prefix);
            if !is_ours || names.contains_key(&stored.name) || kept.contains(&stored.origin) {
                continue;
            }
            tracing::info!(workflow = %stored.name, "workflow removed: its file is gone");
            if let Err(error) = engine.catalog().remove(stored.name.clone()).await {
                tracing::warn!(%error, "workflow not removed");
            }
        }
    }
}

/// Where a workflow of a file came from, as the store notes it.
fn origin_of(path: &Utf8Path) -> String {
    format!("file {path}")
}

/// Reads a workflow file, bounded.
pub(crate) fn read_text(path: &Utf8Path) -> Result<String, String> {
    let length = fs::metadata(path)
        .map_err(|error| format!("`{path}`: {error}"))?
        .len();
    if length > DOCUMENT.0 {
        return Err(format!(
            "`{path}` has {length} bytes, more than the {DOCUMENT} that a workflow may have"
        ));
    }
    let bytes = fs::read(path).map_err(|error| format!("`{path}`: {error}"))?;
    infraflow_workflow::document::text_of_file(path.as_str(), &bytes)
        .map(str::to_owned)
        .map_err(|report| report.to_string())
}

/// Imports the folder whenever it changes. Never returns.
pub(crate) async fn follow(dir: Arc<WorkflowDir>, engine: Arc<Engine>) {
    let (sender, mut changes) = mpsc::channel(1);
    let watcher = watch(dir.folder(), sender);
    if let Err(error) = &watcher {
        tracing::warn!(%error, folder = %dir.folder(), "folder of workflows not watched, it is read now and then");
    }
    loop {
        // A closed channel means that there is no watcher: then time alone counts.
        let changed = async {
            if changes.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
        };
        if tokio::time::timeout(POLL, changed).await.is_ok() {
            tokio::time::sleep(SETTLE).await;
            while changes.try_recv().is_ok() {}
        }
        dir.import(&engine).await;
    }
}

fn watch(folder: &Utf8Path, changes: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |_| {
        // A full channel means that a look is due already.
        let _full = changes.try_send(());
    })?;
    watcher.watch(folder.as_std_path(), RecursiveMode::NonRecursive)?;
    Ok(watcher)
}
