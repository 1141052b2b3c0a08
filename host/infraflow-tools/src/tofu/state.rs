//! The state of modules that have no backend of their own.
//!
//! The host keeps it encrypted (`Blobs`) under a name per project, environment,
//! workflow and folder. During a call it lies decrypted in a folder that only
//! this call's jail sees: `<data_dir>/tofu/<key>/state/terraform.tfstate`.
//! What lies there at the beginning of a call was left behind by one that was
//! cut off, is newer than what is stored, and is stored first.
//!
//! One call per key at a time in this host; between hosts the store's
//! compare-and-set decides. A new state is never thrown away: when it cannot be
//! stored, it stays where it is and the error says where.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};
use infraflow_core::Json;
use infraflow_core::id::Digest;
use infraflow_core::ports::{BlobError, Revision, ToolScope};
use infraflow_core::tool::{CallError, GuestPath};
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedMutexGuard;

use crate::context::Context;
use crate::errors::system;
use crate::limits::TOFU_STATE;
use crate::loose::{make_private, remove};
use crate::shim::Identity;
use crate::tasks::blocking;
use crate::workspace::{Folder, PathError};

/// The file's name in its folder.
pub(super) const FILE: &str = "terraform.tfstate";

/// One call per key at a time.
#[derive(Default)]
pub(crate) struct StateLocks {
    locks: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl StateLocks {
    /// Waits until no other call has the key, or the attempt is to end.
    async fn lock(&self, key: &str, scope: &ToolScope) -> Result<OwnedMutexGuard<()>, CallError> {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            // Locks that nobody has or waits for are forgotten.
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(locks.entry(key.to_owned()).or_default())
        };
        tokio::select! {
            guard = lock.lock_owned() => Ok(guard),
            _ = scope.stop.stopped() => Err(CallError::Unavailable(
                "the attempt was ended while another call had the state".to_owned(),
            )),
        }
    }
}

/// A state that is there for one call.
pub(super) struct HeldState<'a> {
    context: &'a Context,
    key: Key,
    base: Base,
    _guard: OwnedMutexGuard<()>,
}

/// What a state belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    /// The pointer's name in the store.
    pointer: String,
    /// The folder of this host.
    folder: Utf8PathBuf,
}

impl Key {
    fn of(data_dir: &Utf8Path, scope: &ToolScope, dir: &GuestPath) -> Self {
        let pointer = format!(
            "tofu-state.{}.{}.{}.{}",
            scope.project,
            scope.environment,
            scope.workflow,
            Digest::of(dir.as_str().as_bytes()).to_hex()
        );
        // The name itself may be longer than a file name may be.
        let name = Digest::of(pointer.as_bytes()).to_hex();
        let folder = data_dir.join("tofu").join(name);
        Self { pointer, folder }
    }

    fn state_folder(&self) -> Utf8PathBuf {
        self.folder.join("state")
    }

    /// Where a state goes that contradicts the stored one.
    fn conflict(&self) -> Utf8PathBuf {
        self.folder.with_extension("conflict")
    }
}

/// What the state was when the call began; on disk beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Base {
    /// The pointer's name, for people who find the folder.
    pointer: String,
    /// Digest and revision of the stored state; `None`: there was none.
    stored: Option<(String, u64)>,
}

impl Base {
    fn digest(&self) -> Option<&str> {
        self.stored.as_ref().map(|(digest, _)| digest.as_str())
    }

    fn revision(&self) -> Option<Revision> {
        self.stored
            .as_ref()
            .map(|(_, revision)| Revision(*revision))
    }
}

impl<'a> HeldState<'a> {
    /// Takes the state of a module for one call.
    ///
    /// # Errors
    /// When an earlier state of this host contradicts the stored one, or the
    /// store does not answer.
    pub(super) async fn take(
        context: &'a Context,
        scope: &ToolScope,
        dir: &GuestPath,
    ) -> Result<Self, CallError> {
        let key = Key::of(&context.config.data_dir, scope, dir);
        let guard = context.states.lock(&key.pointer, scope).await?;
        if key.conflict().exists() {
            return Err(contradiction(&key));
        }
        if key.folder.exists() {
            // Whoever wrote it must be gone before it is read.
            context.processes.settle().await;
            salvage(context, &key).await?;
        }
        let stored = pointer(context, &key).await?;
        let state = match stored {
            Some((digest, _)) => Some(
                context
                    .blobs
                    .get(digest, TOFU_STATE.0)
                    .await
                    .map_err(|error| blob_error(&key, &error))?,
            ),
            None => None,
        };
        let base = Base {
            pointer: key.pointer.clone(),
            stored: stored.map(|(digest, revision)| (digest.to_hex(), revision.0)),
        };
        let owner = context.processes.jail().identity();
        let laid = {
            let (key, base) = (key.clone(), base.clone());
            blocking(move || lay_out(&key, &base, state.as_deref(), owner)).await
        };
        laid.map_err(|error| system("lay out the state", &error))?;
        Ok(Self {
            context,
            key,
            base,
            _guard: guard,
        })
    }

    /// The folder with the state's file, on the host.
    pub(super) fn folder(&self) -> Utf8PathBuf {
        self.key.state_folder()
    }

    /// Stores the state if it changed, and removes it from the disk.
    ///
    /// # Errors
    /// When it cannot be stored; it then stays on the disk, and the text says
    /// where.
    pub(super) async fn give_back(self) -> Result<(), CallError> {
        store(self.context, &self.key, &self.base).await
    }
}

/// Writes the folder of a call: first what it is based on, then the state.
fn lay_out(
    key: &Key,
    base: &Base,
    state: Option<&[u8]>,
    owner: Option<Identity>,
) -> io::Result<()> {
    use io::Write as _;
    let folder = key.state_folder();
    make_private(&folder)?;
    let new_file = |path: Utf8PathBuf| {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600).open(path)
    };
    let text = serde_json::to_vec(base)?;
    new_file(key.folder.join("base.json"))?.write_all(&text)?;
    let own = |path: &Utf8Path| match owner {
        Some(owner) => std::os::unix::fs::chown(path, Some(owner.uid), Some(owner.gid)),
        None => Ok(()),
    };
    if let Some(state) = state {
        let path = folder.join(FILE);
        new_file(path.clone())?.write_all(state)?;
        own(&path)?;
    }
    own(&folder)
}

/// Stores what a call that was cut off has left behind.
async fn salvage(context: &Context, key: &Key) -> Result<(), CallError> {
    let path = key.folder.join("base.json");
    let read = blocking(move || std::fs::read(path)).await;
    match read.map(|bytes| serde_json::from_slice::<Base>(&bytes)) {
        Ok(Ok(base)) => {
            tracing::warn!(
                state = key.pointer,
                "a state was left behind and is stored now"
            );
            store(context, key, &base).await
        }
        // It was cut off before the tool was started.
        Ok(Err(_)) => remove_folder(key).await,
        Err(error) if error.kind() == io::ErrorKind::NotFound => remove_folder(key).await,
        Err(error) => Err(system("read a state that was left behind", &error)),
    }
}

async fn store(context: &Context, key: &Key, base: &Base) -> Result<(), CallError> {
    let state = match read_state(key).await {
        Ok(state) => state,
        Err(why) => {
            keep_apart(key).await?;
            return Err(CallError::Internal(format!(
                "the state that the tool left cannot be used ({why}); it is kept at `{}`: mend it, \
                 or remove that folder to go on with the stored state",
                key.conflict()
            )));
        }
    };
    let Some(state) = state else {
        return remove_folder(key).await;
    };
    let digest = Digest::of(&state);
    if base.digest() == Some(digest.to_hex().as_str()) {
        return remove_folder(key).await;
    }
    if let Err(error) = set(context, key, base, state, digest).await {
        if error != BlobError::Conflict(key.pointer.clone()) && !is_conflict(&error) {
            return Err(CallError::Unavailable(format!(
                "the new state cannot be stored: {error}; it is kept at `{}` and stored with the \
                 next call",
                key.state_folder()
            )));
        }
        keep_apart(key).await?;
        return Err(contradiction(key));
    }
    remove_folder(key).await
}

fn is_conflict(error: &BlobError) -> bool {
    matches!(error, BlobError::Conflict(_))
}

async fn set(
    context: &Context,
    key: &Key,
    base: &Base,
    state: Vec<u8>,
    digest: Digest,
) -> Result<(), BlobError> {
    let blobs = &context.blobs;
    let stored = blobs.pointer(&key.pointer).await?;
    if stored.is_some_and(|(stored, _)| stored == digest) {
        // Cut off between storing and removing.
        return Ok(());
    }
    blobs.put(state).await?;
    let expected = base.revision();
    blobs.set_pointer(&key.pointer, digest, expected).await?;
    Ok(())
}

/// Reads the state as a jail left it: hostile code may have had it.
async fn read_state(key: &Key) -> Result<Option<Vec<u8>>, String> {
    let folder = key.state_folder();
    blocking(move || {
        let folder = match Folder::open(&folder, None) {
            Ok(folder) => folder,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        match folder.read(FILE, TOFU_STATE.0) {
            Ok(state) if is_state(&state) => Ok(Some(state)),
            Ok(_) => Err("it is cut or damaged".to_owned()),
            Err(PathError::Missing) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
}

/// Whether it is a whole state: a JSON object with a version.
fn is_state(bytes: &[u8]) -> bool {
    let document = serde_json::from_slice::<Json>(bytes);
    document.is_ok_and(|state| state.get("version").is_some_and(Json::is_u64))
}

async fn keep_apart(key: &Key) -> Result<(), CallError> {
    let (from, to) = (key.folder.clone(), key.conflict());
    blocking(move || std::fs::rename(from, to))
        .await
        .map_err(|error| system("keep a state apart", &error))
}

async fn remove_folder(key: &Key) -> Result<(), CallError> {
    let folder = key.folder.clone();
    blocking(move || remove(&folder))
        .await
        .map_err(|error| system("remove a state that is stored", &error))
}

fn contradiction(key: &Key) -> CallError {
    CallError::Internal(format!(
        "the state was changed by somebody else while this host worked on it: both are kept, the \
         stored one under `{}`, this host's at `{}`; bring them together, then remove that folder",
        key.pointer,
        key.conflict()
    ))
}

async fn pointer(context: &Context, key: &Key) -> Result<Option<(Digest, Revision)>, CallError> {
    let stored = context.blobs.pointer(&key.pointer).await;
    stored.map_err(|error| blob_error(key, &error))
}

fn blob_error(key: &Key, error: &BlobError) -> CallError {
    let text = format!("read the state `{}`: {error}", key.pointer);
    match error {
        BlobError::Unavailable(_) => CallError::Unavailable(text),
        BlobError::NotFound(_)
        | BlobError::Conflict(_)
        | BlobError::TooLarge { .. }
        | BlobError::Damaged(_) => CallError::Internal(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_state() {
        for (text, whole) in [
            (r#"{"version":4,"serial":1}"#, true),
            ("", false),
            (r#"{"version":4,"ser"#, false),
            (r#"{"version":"4"}"#, false),
            ("[]", false),
        ] {
            assert_eq!(is_state(text.as_bytes()), whole, "{text}");
        }
    }

    #[test]
    fn what_a_state_is_based_on_round_trips() {
        let base = Base {
            pointer: "tofu-state.x".to_owned(),
            stored: Some(("ab".to_owned(), 7)),
        };
        let bytes = serde_json::to_vec(&base).unwrap();
        assert_eq!(serde_json::from_slice::<Base>(&bytes).unwrap(), base);
        assert_eq!(base.revision(), Some(Revision(7)));
    }
}
