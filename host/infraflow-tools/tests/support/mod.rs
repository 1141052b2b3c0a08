//! Stand-ins for what the host gives the tool door: a store, secrets, a log, a
//! stop signal. Shared by the tests and by the stand-in program, so it needs no
//! development dependency.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use infraflow_core::grant::{Capability, Permissions};
use infraflow_core::id::{
    Digest, EnvironmentName, EventId, EventSource, ProjectName, RunId, SecretName, StepId,
    WorkflowName,
};
use infraflow_core::line::Line;
use infraflow_core::mask::MaskSet;
use infraflow_core::ports::{
    BlobError, Blobs, BoxFuture, LineSink, Revision, Secret, SecretError, Secrets, StopReason,
    StopSignal, ToolFacts, ToolScope, Trust,
};
use tokio::sync::watch;

/// A store in a folder, without encryption.
pub(crate) struct FolderBlobs {
    folder: PathBuf,
    /// Whether the store is away.
    pub(crate) away: AtomicBool,
}

impl FolderBlobs {
    pub(crate) fn new(folder: PathBuf) -> Self {
        fs::create_dir_all(&folder).unwrap();
        Self {
            folder,
            away: AtomicBool::new(false),
        }
    }

    fn check(&self) -> Result<(), BlobError> {
        if self.away.load(Ordering::Relaxed) {
            Err(BlobError::Unavailable("it is away".to_owned()))
        } else {
            Ok(())
        }
    }

    fn read_pointer(&self, name: &str) -> Option<(Digest, Revision)> {
        let text = fs::read_to_string(self.folder.join(name)).ok()?;
        let (digest, revision) = text.split_once(' ')?;
        Some((digest.parse().ok()?, Revision(revision.parse().ok()?)))
    }

    /// Lets a pointer point elsewhere, as another host would.
    pub(crate) fn overwrite(&self, name: &str, bytes: &[u8]) {
        let digest = Digest::of(bytes);
        fs::write(self.folder.join(digest.to_hex()), bytes).unwrap();
        let revision = self
            .read_pointer(name)
            .map_or(1, |(_, revision)| revision.0 + 1);
        fs::write(self.folder.join(name), format!("{digest} {revision}")).unwrap();
    }

    /// The names that point at something and start with `prefix`.
    pub(crate) fn names(&self, prefix: &str) -> Vec<String> {
        let entries = fs::read_dir(&self.folder).unwrap().flatten();
        let names = entries.map(|entry| entry.file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(prefix)).collect()
    }

    /// What a name points at.
    pub(crate) fn content(&self, name: &str) -> Option<Vec<u8>> {
        let (digest, _) = self.read_pointer(name)?;
        fs::read(self.folder.join(digest.to_hex())).ok()
    }
}

impl Blobs for FolderBlobs {
    fn put(&self, bytes: Vec<u8>) -> BoxFuture<'_, Result<Digest, BlobError>> {
        Box::pin(async move {
            self.check()?;
            let digest = Digest::of(&bytes);
            fs::write(self.folder.join(digest.to_hex()), bytes).unwrap();
            Ok(digest)
        })
    }

    fn get(&self, digest: Digest, bytes_max: u64) -> BoxFuture<'_, Result<Vec<u8>, BlobError>> {
        Box::pin(async move {
            self.check()?;
            let read = fs::read(self.folder.join(digest.to_hex()));
            let bytes = read.map_err(|_| BlobError::NotFound(digest.to_string()))?;
            let length = u64::try_from(bytes.len()).unwrap();
            if length > bytes_max {
                return Err(BlobError::TooLarge {
                    what: digest.to_string(),
                    bytes: length,
                    allowed: bytes_max,
                });
            }
            Ok(bytes)
        })
    }

    fn pointer<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<(Digest, Revision)>, BlobError>> {
        Box::pin(async move {
            self.check()?;
            Ok(self.read_pointer(name))
        })
    }

    fn set_pointer<'a>(
        &'a self,
        name: &'a str,
        digest: Digest,
        expected: Option<Revision>,
    ) -> BoxFuture<'a, Result<Revision, BlobError>> {
        Box::pin(async move {
            self.check()?;
            let found = self.read_pointer(name).map(|(_, revision)| revision);
            if found != expected {
                return Err(BlobError::Conflict(name.to_owned()));
            }
            let next = Revision(found.map_or(1, |revision| revision.0 + 1));
            fs::write(self.folder.join(name), format!("{digest} {}", next.0)).unwrap();
            Ok(next)
        })
    }
}

/// Secrets by name.
#[derive(Default)]
pub(crate) struct MapSecrets(pub(crate) BTreeMap<String, String>);

impl Secrets for MapSecrets {
    fn read(&self, name: &SecretName) -> Result<Secret, SecretError> {
        match self.0.get(name.as_str()) {
            Some(value) => Ok(Secret::new(value)),
            None => Err(SecretError::Unknown(name.clone())),
        }
    }
}

/// Keeps every line.
#[derive(Default)]
pub(crate) struct Lines {
    lines: Mutex<Vec<Line>>,
    more: tokio::sync::Notify,
}

impl LineSink for Lines {
    fn line(&self, line: Line) {
        self.lines.lock().unwrap().push(line);
        self.more.notify_waiters();
    }
}

impl Lines {
    /// What was logged.
    pub(crate) fn all(&self) -> Vec<Line> {
        self.lines.lock().unwrap().clone()
    }

    /// The texts of what was logged.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.all().into_iter().map(|line| line.text).collect()
    }

    /// Waits for a line that holds a text.
    pub(crate) async fn wait_for(&self, text: &str) {
        loop {
            let mut more = std::pin::pin!(self.more.notified());
            more.as_mut().enable();
            if self.texts().iter().any(|line| line.contains(text)) {
                return;
            }
            more.await;
        }
    }
}

/// A stop signal that a test gives.
pub(crate) struct Stop(watch::Sender<Option<StopReason>>);

impl Default for Stop {
    fn default() -> Self {
        Self(watch::channel(None).0)
    }
}

impl Stop {
    pub(crate) fn stop(&self, reason: StopReason) {
        self.0.send_replace(Some(reason));
    }
}

impl StopSignal for Stop {
    fn reason(&self) -> Option<StopReason> {
        *self.0.borrow()
    }

    fn stopped(&self) -> BoxFuture<'_, StopReason> {
        Box::pin(async move {
            let mut signal = self.0.subscribe();
            let reason = signal.wait_for(Option::is_some).await;
            reason
                .ok()
                .and_then(|reason| *reason)
                .unwrap_or(StopReason::Interrupt)
        })
    }
}

/// The run of a name.
pub(crate) fn run_of(name: &str) -> RunId {
    RunId::derive(
        &ProjectName::default_project(),
        &EventSource::new("source:test").unwrap(),
        &EventId::new(name).unwrap(),
        &WorkflowName::new("test").unwrap(),
    )
}

/// A scope of a run, and what it writes to.
pub(crate) fn scope_of(run: &str, capabilities: &[&str]) -> (ToolScope, Arc<Lines>, Arc<Stop>) {
    let lines = Arc::new(Lines::default());
    let stop = Arc::new(Stop::default());
    let list: Arc<[Capability]> = capabilities.iter().map(|c| c.parse().unwrap()).collect();
    let scope = ToolScope {
        run: run_of(run),
        workflow: WorkflowName::new("test").unwrap(),
        project: ProjectName::default_project(),
        environment: EnvironmentName::default_environment(),
        step: StepId::new("step").unwrap(),
        attempt: 1,
        event_source: None,
        event_commit: None,
        trust: Trust::Untrusted,
        permissions: Permissions::new(Arc::clone(&list), list),
        lines: lines.clone(),
        mask: MaskSet::default(),
        stop: stop.clone(),
        facts: Arc::new(ToolFacts::default()),
    };
    (scope, lines, stop)
}
